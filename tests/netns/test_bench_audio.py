"""The bench of calls with audio does what it says: each way carries all of it, and what it costs is accounted for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest

from tests.harness.waiting import attempts
from tests.netns.namespaces import needs_root
from tools.bench import audio, ends, sip, sip_ways
from tools.bench.audio import Audio
from tools.bench.sip_ways import Way

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

STREAMS, SECONDS, PACKETS = 3, 0.2, 30


@pytest.mark.parametrize(
    "begin",
    (sip_ways.forwarding, sip_ways.kernel, sip_ways.pinhole, partial(sip_ways.pinhole, kernel_path="tcx")),
    ids=("forwarding", "kernel", "user space", "kernel path"),
)
def test_each_way_carries_all_audio(begin: Callable[[], AbstractContextManager[Way]]) -> None:
    figures = Audio()
    with begin() as way, sip.phones(way) as pair:
        first = pair.hold(STREAMS, "audio")
        for _ in range(2):
            sent = audio.send(way, pair, first, STREAMS, SECONDS)
            assert sent.arrived == sent.sent == PACKETS
            figures.note(sent)
        pair.caller("release")
    assert figures.lost == [0, 0] and min(figures.median_delay) > 0
    assert all(figures.per_core) == bool(way.gateway)
    assert len(list(audio.rows([figures], figures, STREAMS))) == 7
    delay, cpu = audio.bars(figures, figures, STREAMS)
    assert delay.is_met and delay.range == (0, 0) and cpu.range == (1, 1)


def test_both_ends_of_a_stream_in_the_kernel_are_timed() -> None:
    with sip_ways.pinhole(kernel_path="tcx") as way:
        measured: list[ends.Ends] = []
        for _ in attempts(3, lambda: measured):  # who gets no processor for so long ends it late, once
            found = ends.measure(way, 1)
            measured.append(found)
            if 0 <= found.bye[0] < ends.SEEN_SECONDS and 0 <= found.death[0] < ends.SEEN_SECONDS:
                break
    assert len(found.bars()) == 2
