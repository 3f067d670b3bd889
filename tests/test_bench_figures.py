"""Figures of the benchmark are written as they were measured."""

from __future__ import annotations

import pytest

from tools.bench.figures import figure


@pytest.mark.parametrize(
    ("value", "form", "scale", "written"),
    [
        (58140.0, "{:.0f}", 1, "58140"),
        (60000.4, "{:.0f}", 1, "60000"),
        (0.04, "{:.0f}", 1e3, "40"),
        (100.0, "{:.0f}/s", 1, "100/s"),
        (0.5, "{:.2f} GiB/s", 1, "0.50 GiB/s"),
        (0.0, "{:.0f}", 1, ""),
        (float("nan"), "{:.0f}", 1, ""),
        (float("inf"), "{:.0f}", 1, ""),
    ],
)
def test_a_figure_keeps_its_zeros_and_what_was_not_measured_is_empty(
    value: float, form: str, scale: float | int, written: str
) -> None:
    assert figure(value, form, scale) == written
