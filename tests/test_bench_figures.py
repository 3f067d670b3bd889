"""Figures of the benchmark are written as they were measured."""

from __future__ import annotations

import pytest

from tools.bench import kernel_path, real_call, rounds
from tools.bench.audio import Sent
from tools.bench.figures import figure
from tools.bench.printing import measured
from tools.bench.rounds import Bar, Packets
from tools.bench.sip import FORWARDING, KERNEL_PATH, RTPENGINE


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


def test_a_bar_over_rounds_says_where_their_median_lies() -> None:
    """A ratio of 0.99 is another thing if all rounds have said so, and if they have said anything from 0.8 to 1.2."""
    bar = rounds.at_least("rate", [0.8, 0.9, 0.99, 1.0, 1.2], 0.95)
    assert bar.range is not None and bar.range[0] < bar.value == 0.99 < bar.range[1] and bar.is_met
    assert measured(bar) == f"0.99 ({bar.range[0]:.2f} to {bar.range[1]:.2f})"


def test_a_bar_of_a_single_value_has_no_range() -> None:
    assert measured(Bar("the slowest, ms", 18.346, "at most 100", is_met=True)) == "18.35"


@pytest.mark.parametrize(
    ("value", "is_least_met", "is_most_met"), [(1.9, False, True), (2.0, True, True), (2.1, True, False)]
)
def test_a_bar_is_met_at_its_limit(value: float, is_least_met: bool, is_most_met: bool) -> None:
    least, most = rounds.at_least("", [value] * 3, 2.0), rounds.at_most("", [value] * 3, 2.0, "{:.0f}")
    assert (least.is_met, most.is_met) == (is_least_met, is_most_met)
    assert (least.limit, most.limit) == ("at least 2.00", "at most 2")


def test_two_ways_that_differ_by_less_than_their_rounds_do_are_equal() -> None:
    even = rounds.not_below("", [0.9, 0.95, 1.1], [1.0, 1.0, 1.0])
    assert even.is_met and even.value == 0.95 and even.range == (0.9, 1.1)
    assert not rounds.not_below("", [0.9, 0.95, 0.99], [1.0, 1.0, 1.0]).is_met


@pytest.mark.parametrize("effort", (kernel_path.FULL, real_call.FULL))
def test_media_is_compared_over_at_least_ten_rounds(effort: Packets | real_call.Effort) -> None:
    assert effort.rounds >= 10


def test_of_a_call_all_is_compared_over_rounds_but_how_many_streams_the_kernel_has_carried() -> None:
    figures = {way: real_call.Figures() for way in (FORWARDING, real_call.USER_SPACE, KERNEL_PATH, RTPENGINE)}
    for number in range(1, 4):
        for one in figures.values():
            one.signalling.append(1e-3)
            one.beginning.append(1e-4)
            one.packet.append(number * 1e-8)
            one.audio.note(Sent(sent=9, arrived=9, cpu=0.1, machine=0.1 * number, median_delay=0.0, percentile_99=0.0))
            one.in_kernel.append(real_call.STREAMS)
    bars = {bar.name: bar for bar in real_call._bars(figures)}
    assert [name for name, bar in bars.items() if bar.range is None] == ["streams in the kernel"]
    cpu = bars["the daemon's CPU of a packet, µs"]
    assert cpu.is_met and measured(cpu) == "0.020 (0.010 to 0.030)"
