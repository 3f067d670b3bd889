"""What all comparisons have in common: ways that take turns, ratios within a round, and what is wanted of them.

Ways are compared within a round, where they follow each other in seconds, and the median over the rounds counts: a
machine that is busy with something else for a while then moves both sides of a ratio.
"""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

RESAMPLES = 2000

Progress = Callable[[str], None]
"""Says what is done now."""
Way = TypeVar("Way")


@dataclass(frozen=True, slots=True)
class Packets:
    """How many packets are measured."""

    rounds: int
    packets: int
    """By each way and of each kind, in each round."""


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    value: float
    limit: str
    is_met: bool
    range: tuple[float, float] | None = None
    """Where the value lies with a probability of 95 %, if it is a median over rounds."""


def in_turn(ways: Sequence[Way], number: int) -> Sequence[Way]:
    """Another way begins each round, so that none is always measured behind the same one."""
    first = number % len(ways)
    return [*ways[first:], *ways[:first]]


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the ratios round by round."""
    return median(ratios(over, under))


def interval(values: list[float]) -> tuple[float, float]:
    """Where their median lies with a probability of 95 %, by drawing from them again and again (bootstrap)."""
    draw = random.Random(0)
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def at_least(name: str, values: list[float], least: float) -> Bar:
    """The median of what the rounds have said."""
    value = median(values)
    return Bar(name, value, f"at least {least:.2f}", value >= least, interval(values))


def at_most(name: str, values: list[float], most: float, form: str = "{:.2f}") -> Bar:
    """The median of what the rounds have said. `form` has the limit."""
    value = median(values)
    return Bar(name, value, f"at most {form.format(most)}", value <= most, interval(values))


def not_below(name: str, over: list[float], under: list[float]) -> Bar:
    """Two ways that are equally fast are so within what can be measured alone: below is what is so with 95 %."""
    low, high = interval(ratios(over, under))
    return Bar(name, ratio(over, under), "not below 1", high >= 1, (low, high))


def percentile_99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


def ranged(values: list[float], form: str = "{:.2f}", scale: float = 1e6) -> str:
    """Their median times `scale`, and where it lies, as `form` has each."""
    low, high = interval(values)
    middle, least, most = (form.format(value * scale) for value in (median(values), low, high))
    return f"{middle} ({least} to {most})"


def machine() -> str:
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    model = next(models, ": unknown processor").partition(": ")[2]
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}"
