"""What a whole call costs the gateway's processes: its signalling, and three minutes of audio both ways.

Nobody waits for three minutes. Signalling is measured by calls without audio, and audio by packets of streams that have
begun; what a stream costs until it has begun is measured by its first packets. A call has two streams.

What the kernel does for a packet in the sender's context is in nobody's account here: `packets` measures that.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from statistics import median

from tools.bench import sip, sip_ways
from tools.bench.rounds import Bar, Progress, in_turn, machine, ratio
from tools.bench.sip_ways import Phones, Way

USER_SPACE, KERNEL_PATH, RTPENGINE = "pinhole, user space", "pinhole, kernel path", "kamailio"
CALL_SECONDS, PACKETS_A_SECOND, WAYS_OF_A_CALL = 180, 50, 2
STREAMS = 1000
FIRST_SECONDS, SETTLING_SECONDS = 0.2, 0.5
MOST_BESIDE_OTHERS = 1 / 20
MOST_CPU_OF_PACKET = 0.05e-6


@dataclass(frozen=True, slots=True)
class Effort:
    rounds: int
    calls: int
    seconds: float
    """Of audio."""


FULL = Effort(rounds=5, calls=1000, seconds=10)
QUICK = Effort(rounds=2, calls=400, seconds=5)


@dataclass(slots=True)
class Figures:
    """One way's, a value for each round, in seconds of CPU."""

    signalling: list[float] = field(default_factory=list)
    """Of a call without audio."""
    beginning: list[float] = field(default_factory=list)
    """Of a stream's first packets."""
    packet: list[float] = field(default_factory=list)
    """Of each one after these."""

    def calls(self) -> list[float]:
        """Of a call of three minutes, round by round."""
        first = round(FIRST_SECONDS * PACKETS_A_SECOND)
        more = CALL_SECONDS * PACKETS_A_SECOND - first
        each = zip(self.signalling, self.beginning, self.packet, strict=True)
        return [said + WAYS_OF_A_CALL * (begun + more * packet) for said, begun, packet in each]


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Effort
    figures: dict[str, Figures]
    bars: list[Bar]


def run(effort: Effort, say: Progress) -> Report:
    """Build the labs, measure, take them down. Raises RuntimeError when a way does not carry what it should."""
    with contextlib.ExitStack() as stack:
        say("building a lab for each way")
        ways = (
            sip_ways.pinhole(USER_SPACE),
            sip_ways.pinhole(KERNEL_PATH, kernel_path="tcx"),
            sip_ways.kamailio_with_rtpengine(),
        )
        stand = [stack.enter_context(way) for way in ways]
        figures = {way.name: Figures() for way in stand}
        for number in range(effort.rounds):
            for way in in_turn(stand, number):
                say(f"round {number + 1} of {effort.rounds}: {way.name}")
                _measure(way, figures[way.name], effort)
    return Report(machine(), effort, figures, _bars(figures))


def _measure(way: Way, figures: Figures, effort: Effort) -> None:
    with sip.phones(way) as pair:
        before = way.cpu_seconds()
        pair.caller("calls", count=effort.calls, kind="audio")
        time.sleep(SETTLING_SECONDS)
        figures.signalling.append((way.cpu_seconds() - before) / effort.calls)
        first = pair.hold(STREAMS, "audio")
        _, spent = _send(way, pair, first, FIRST_SECONDS)
        figures.beginning.append(spent / STREAMS)
        arrived, spent = _send(way, pair, first, effort.seconds)
        figures.packet.append(spent / arrived)
        pair.caller("release")


def _send(way: Way, pair: Phones, first: int, seconds: float) -> tuple[int, float]:
    """Audio for so long. How many packets arrived, and what they took of the CPU."""
    pair.callee("listen", first=first, streams=STREAMS)
    time.sleep(SETTLING_SECONDS)  # whatever was still to be done for the calls is done
    before = way.cpu_seconds()
    pair.caller("send", streams=STREAMS, seconds=seconds)
    heard = pair.callee("heard")
    return heard["packets"], way.cpu_seconds() - before


def _bars(figures: dict[str, Figures]) -> list[Bar]:
    path = figures[KERNEL_PATH]
    bars = []
    for other in (RTPENGINE, USER_SPACE):
        share = ratio(path.calls(), figures[other].calls())
        bars.append(Bar(f"a call of three minutes beside {other}", share, "at most 0.05", share <= MOST_BESIDE_OTHERS))
    cpu = median(path.packet)
    bars.append(Bar("the daemon's CPU of a packet, µs", cpu * 1e6, "below 0.05", cpu < MOST_CPU_OF_PACKET))
    return bars
