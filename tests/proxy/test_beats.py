"""Timers run together that run from time to time."""

from __future__ import annotations

import pytest

from proxy.beats import next_beat
from proxy.measure.loop_delay import LOOK_SECONDS
from proxy.movers.kernel import KEEP_SECONDS


@pytest.mark.parametrize(
    ("now", "at"), ((0.0, 0.5), (0.25, 0.5), (0.49, 1.0), (0.5, 1.0), (0.51, 1.0), (1234567.75, 1234568.0))
)
def test_a_beat_is_the_same_for_whoever_asks_in_time(now: float, at: float) -> None:
    assert next_beat(now, 0.5) == at


@pytest.mark.parametrize("number", range(100, 200))
def test_a_timer_that_has_just_run_does_not_run_again_for_rounding(number: int) -> None:
    now = 123456 + number * 0.01
    assert 0.004 < next_beat(now, 0.01) - now < 0.016


def test_rows_are_kept_in_a_wake_up_that_is_had_anyway() -> None:
    assert next_beat(1234567.8, KEEP_SECONDS) % LOOK_SECONDS == 0
