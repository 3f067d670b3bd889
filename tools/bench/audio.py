"""Audio by a way: what a packet of it costs, and how late it comes.

Two accounts are kept. That of the gateway's processes knows nothing of what the kernel does on the time of others, and
nothing disturbs it. That of the whole machine is the time in which no processor was idle: all of a packet's way is in
it, its sender and receiver as well, and whatever else the machine does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tools.bench.figures import figure
from tools.bench.rounds import Bar, at_most, not_below
from tools.bench.sip_ways import Phones, Way
from tools.bench.ways import TICKS

LAST_SECONDS = 0.3
"""After the last packet was sent: until the last one has come."""
MOST_DELAY_SECONDS = 5e-6


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of audio that was sent for a while. All times are seconds."""

    sent: int
    arrived: int
    cpu: float
    """Of the gateway's processes."""
    machine: float
    """Of all processors together."""
    median_delay: float
    percentile_99: float


@dataclass(slots=True)
class Audio:
    """One way's, with some number of streams; a value for each round."""

    per_core: list[float] = field(default_factory=list)
    """Packets passed on for each second of the gateway's CPU."""
    machine: list[float] = field(default_factory=list)
    """Seconds of the whole machine for a packet."""
    lost: list[float] = field(default_factory=list)
    """Share of them."""
    median_delay: list[float] = field(default_factory=list)
    percentile_99: list[float] = field(default_factory=list)

    def note(self, sent: Sent) -> None:
        """One round more."""
        self.per_core.append(sent.arrived / sent.cpu if sent.cpu else 0.0)
        self.machine.append(sent.machine / sent.arrived)
        self.lost.append(1 - sent.arrived / sent.sent)
        self.median_delay.append(sent.median_delay)
        self.percentile_99.append(sent.percentile_99)

    def added(self, bare: Audio) -> tuple[float, float]:
        """How much later than by another way its packets come: the median, and the 99th percentile."""
        return (
            median(_beyond(self.median_delay, bare.median_delay)),
            median(_beyond(self.percentile_99, bare.percentile_99)),
        )


def _beyond(values: list[float], others: list[float]) -> list[float]:
    """Round by round."""
    return [value - other for value, other in zip(values, others, strict=True)]


def send(way: Way, pair: Phones, first: int, streams: int, seconds: float, settling: float = 0.0) -> Sent:
    """Audio for so long, in as many of the calls that are held; `first` is the number of the first one. Before that
    nothing is sent for `settling` seconds. Raises RuntimeError when nothing comes."""
    pair.callee("listen", first=first, streams=streams)
    time.sleep(settling)
    cpu, machine = way.cpu_seconds(), busy_seconds()
    sent = pair.caller("send", streams=streams, seconds=seconds)["packets"]
    time.sleep(LAST_SECONDS)
    cpu, machine = way.cpu_seconds() - cpu, busy_seconds() - machine
    heard = pair.callee("heard", wanted=sent)
    return Sent(sent, heard["packets"], cpu, machine, heard["median"], heard["percentile_99"])


def rows(every: Sequence[Audio], forwarding: Audio, streams: int) -> Iterator[tuple[str, ...]]:
    """The lines of a table that has a column for each way."""
    title = f"{streams} streams: "
    yield title + "packets/s a core", *(figure(median(one.per_core)) for one in every)
    yield title + "machine's CPU of a packet, µs", *(figure(median(one.machine), "{:.1f}", 1e6) for one in every)
    more = [median(_beyond(one.machine, forwarding.machine)) for one in every]
    yield title + "beyond forwarding's", *(f"{seconds * 1e6:.1f}" for seconds in more)
    yield title + "delay, µs", *(figure(median(one.median_delay), scale=1e6) for one in every)
    yield title + "99th percentile", *(figure(median(one.percentile_99), scale=1e6) for one in every)
    added = [one.added(forwarding) for one in every]
    yield title + "added (p99)", *(f"{at * 1e6:.0f} ({most * 1e6:.0f})" for at, most in added)
    yield title + "lost", *(f"{median(one.lost):.2%}" for one in every)


def bars(path: Audio, forwarding: Audio, streams: int) -> list[Bar]:
    """What is wanted of the kernel path beside plain forwarding."""
    more = [seconds * 1e6 for seconds in _beyond(path.median_delay, forwarding.median_delay)]
    delay = f"delay through the kernel path beyond forwarding's, {streams} streams, µs"
    machine = f"packets for a second of the machine's CPU, {streams} streams: kernel path / forwarding"
    return [
        at_most(delay, more, MOST_DELAY_SECONDS * 1e6, "{:.0f}"),
        not_below(machine, forwarding.machine, path.machine),
    ]


def busy_seconds() -> float:
    """What all processors together have been busy, since some time: the time that they were not idle. The kernel keeps
    account of that to the microsecond, and of all else by ticks."""
    _, *times = Path("/proc/stat").read_text().partition("\n")[0].split()
    idle, waiting = map(int, times[3:5])
    return time.monotonic() * (os.cpu_count() or 1) - (idle + waiting) / TICKS
