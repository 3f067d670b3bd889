"""What a whole call costs the gateway's processes: its signalling, and three minutes of audio both ways.

Nobody waits for three minutes. Signalling is measured by calls without audio, and audio by packets of streams that have
begun; what a stream costs until it has begun is measured by its first packets. A call has two streams.

What the kernel does for a packet in the sender's context is in the account of the whole machine alone, with all that
sender and receiver do; `packets` measures it by itself. Ways that have no process carry the audio as well: beside them
stand the delay of a packet, and that account.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from statistics import median

from tools.bench import audio, ends, sip, sip_ways
from tools.bench.audio import Audio
from tools.bench.ends import Ends
from tools.bench.rounds import Bar, Progress, at_most, in_turn, interval, machine, ratios
from tools.bench.sip import FORWARDING, KERNEL_PATH, RTPENGINE
from tools.bench.sip_ways import Way

USER_SPACE = "pinhole, user space"
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
    tries: int
    """Of each end of a call."""


FULL = Effort(rounds=10, calls=1000, seconds=10, tries=10)
QUICK = Effort(rounds=2, calls=400, seconds=5, tries=2)


@dataclass(slots=True)
class Figures:
    """One way's, a value for each round, in seconds of CPU."""

    signalling: list[float] = field(default_factory=list)
    """Of a call without audio."""
    beginning: list[float] = field(default_factory=list)
    """Of a stream's first packets."""
    packet: list[float] = field(default_factory=list)
    """Of each one after these."""
    audio: Audio = field(default_factory=Audio)
    """Of the same packets."""
    in_kernel: list[int] = field(default_factory=list)
    """How many of the streams the kernel has carried then, where the way is pinhole's."""

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
    ends: Ends
    bars: list[Bar]


def run(effort: Effort, say: Progress) -> Report:
    """Build the labs, measure, take them down. Raises RuntimeError when a way does not carry what it should."""
    with contextlib.ExitStack() as stack:
        say("building a lab for each way")
        ways = (
            sip_ways.forwarding(),
            sip_ways.kernel(),
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
        say("ends of calls")
        by_name = {way.name: way for way in stand}
        found = ends.measure(by_name[KERNEL_PATH], effort.tries)
    return Report(machine(), effort, figures, found, _bars(figures) + found.bars())


def _measure(way: Way, figures: Figures, effort: Effort) -> None:
    with sip.phones(way) as pair:
        before = way.cpu_seconds()
        pair.caller("calls", count=effort.calls, kind="audio")
        time.sleep(SETTLING_SECONDS)
        figures.signalling.append((way.cpu_seconds() - before) / effort.calls)
        first = pair.hold(STREAMS, "audio")
        # whatever was still to be done for the calls is done before
        begun = audio.send(way, pair, first, STREAMS, FIRST_SECONDS, SETTLING_SECONDS)
        figures.beginning.append(begun.cpu / STREAMS)
        sent = audio.send(way, pair, first, STREAMS, effort.seconds, SETTLING_SECONDS)
        figures.packet.append(sent.cpu / sent.arrived)
        figures.audio.note(sent)
        if way.daemon is not None:
            figures.in_kernel.append(way.daemon.ask("status")["fastpath"]["streams"])
        pair.caller("release")


def _bars(figures: dict[str, Figures]) -> list[Bar]:
    path = figures[KERNEL_PATH]
    bars = []
    for other in (RTPENGINE, USER_SPACE):
        shares = ratios(path.calls(), figures[other].calls())
        bars.append(at_most(f"a call of three minutes beside {other}", shares, MOST_BESIDE_OTHERS))
    least = min(path.in_kernel)
    bars.append(Bar("streams in the kernel", least, f"{STREAMS}", least == STREAMS))
    cpu = [seconds * 1e6 for seconds in path.packet]
    is_met = median(path.packet) < MOST_CPU_OF_PACKET
    bars.append(Bar("the daemon's CPU of a packet, µs", median(cpu), "below 0.05", is_met, interval(cpu)))
    return bars + audio.bars(path.audio, figures[FORWARDING].audio, STREAMS)
