"""How a figure is written: what a benchmark prints is data."""

from __future__ import annotations

from math import isfinite


def figure(value: float, form: str = "{:.0f}", scale: float = 1.0) -> str:
    """A measured value times `scale`, as `form` has it. What was not measured (0 or no number) has an empty place."""
    return form.format(value * scale) if value and isfinite(value) else ""
