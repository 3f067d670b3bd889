"""FTP through pinhole beside the kernel's own helper, HAProxy and ftp-proxy: what is measured, and the bars."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench import ways
from tools.bench.rounds import Bar, Progress, in_turn, machine, not_below, ratio
from tools.bench.ways import Way

GIB = 1 << 30
KERNEL, PINHOLE, ROUTED, CROWDED, HAPROXY, FTP_PROXY = (
    "kernel",
    "pinhole",
    "pinhole, no NAT",
    "pinhole, crowded",
    "haproxy",
    "ftp-proxy",
)
FEW = 10
"""Sessions that stand by while those of the uncrowded gateway are counted."""

LEAST_OF_KERNEL = 0.80
MOST_IDLE_BYTES = 60 * 1024
MOST_CHANGE_OF_COST = 0.20


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    duels: int
    """Rounds of bulk beside HAProxy alone."""
    bulk_bytes: int
    sessions: int
    """A round, for each way."""
    first_bytes: int
    """A round, for each way."""
    idle_sessions: int


FULL = Effort(rounds=11, duels=50, bulk_bytes=GIB, sessions=960, first_bytes=200, idle_sessions=5000)
QUICK = Effort(rounds=3, duels=10, bulk_bytes=GIB // 2, sessions=320, first_bytes=100, idle_sessions=5000)


@dataclass(slots=True)
class Bulk:
    """One way's, a value for each round; empty where it was not measured."""

    download: list[float] = field(default_factory=list)
    """Bytes a second."""
    upload: list[float] = field(default_factory=list)
    gib_cpu: list[float] = field(default_factory=list)
    """Seconds of the gateway's process, for each GiB downloaded or uploaded."""


@dataclass(slots=True)
class Figures(Bulk):
    sessions: list[float] = field(default_factory=list)
    """A second."""
    session_cpu: list[float] = field(default_factory=list)
    """Seconds of the gateway's process, for each session."""
    first_byte: list[float] = field(default_factory=list)
    """Seconds, one for each transfer of all rounds."""


@dataclass(frozen=True, slots=True)
class Idle:
    sessions: int
    bytes_each: float
    """Growth of the gateway's resident memory."""
    kernel_bytes_each: float
    """Growth of the kernel's slabs: of the whole machine, halved, for two of a session's four sockets are ours."""


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Effort
    figures: dict[str, Figures]
    duel: dict[str, Bulk]
    idle: Idle
    bars: list[Bar]


def run(effort: Effort, say: Progress) -> Report:
    """Build the labs, measure, take them down. Raises RuntimeError when a way does not carry what it should."""
    with contextlib.ExitStack() as stack:
        say("building a lab for each way")
        all_ways = (
            ways.kernel(),
            ways.pinhole(PINHOLE, snat="interface"),
            ways.pinhole(ROUTED, snat="none"),
            ways.pinhole(CROWDED, snat="interface"),
            ways.ftp_proxy(),
        )
        stand = {way.name: way for way in map(stack.enter_context, all_ways)}
        stand[HAPROXY] = stack.enter_context(ways.haproxy(beside=stand[ROUTED]))
        figures = {name: Figures() for name in stand}
        idle = _crowd(stand[PINHOLE], stand[CROWDED], effort, say)
        for number in range(1, effort.rounds + 1):
            say(f"round {number} of {effort.rounds}")
            # Bulk by itself: what a burst of sessions leaves behind would slow one way's and not the other's.
            for measure in (_measure_bulk, _measure_sessions):
                for way in in_turn(tuple(stand.values()), number):
                    measure(way, figures[way.name], effort)
        duel = in_duel(stand, effort.duels, say, lambda way, bulk: _measure_bulk(way, bulk, effort))
        say("comparing what was sent with the audit log")
        _check_carried(stand, effort)
    return Report(machine(), effort, figures, duel, idle, _bars(figures, duel, idle))


def in_duel(stand: dict[str, Way], rounds: int, say: Progress, measure: Callable[[Way, Bulk], None]) -> dict[str, Bulk]:
    """Bulk once more, of pinhole and HAProxy alone, one right behind the other on their gateway: they differ by less
    than two rounds of either do, so it takes many to tell."""
    figures = {name: Bulk() for name in (ROUTED, HAPROXY)}
    for number in range(1, rounds + 1):
        say(f"beside HAProxy alone: round {number} of {rounds}")
        for way in in_turn([stand[name] for name in figures], number):
            measure(way, figures[way.name])
    return figures


def _crowd(few: Way, many: Way, effort: Effort, say: Progress) -> Idle:
    """Open the sessions that stand by, and see what they take."""
    for way in (few, many):
        way.clients.order("sessions", count=effort.sessions)  # the first ones fill caches and pools
    few.clients.order("hold", count=FEW)
    say(f"opening {effort.idle_sessions} sessions that stay idle")
    before, kernel_before = many.resident_bytes(), _slab_bytes()
    many.clients.order("hold", count=effort.idle_sessions)
    assert many.daemon is not None
    if (standing := many.daemon.ask("status")["sessions"]) != effort.idle_sessions:
        raise RuntimeError(f"{standing} sessions stand, not {effort.idle_sessions}")
    return Idle(
        effort.idle_sessions,
        (many.resident_bytes() - before) / effort.idle_sessions,
        (_slab_bytes() - kernel_before) / effort.idle_sessions / 2,
    )


def _measure_bulk(way: Way, figures: Bulk, effort: Effort) -> None:
    if way.name == CROWDED:
        return
    before = way.cpu_seconds()
    for upload, rates in ((False, figures.download), (True, figures.upload)):
        do = "bare_transfer" if way.name == HAPROXY else "transfer"
        seconds = way.clients.order(do, upload=upload, count=effort.bulk_bytes)["seconds"]
        rates.append(effort.bulk_bytes / seconds)
    figures.gib_cpu.append((way.cpu_seconds() - before) / (2 * effort.bulk_bytes / GIB))


def _measure_sessions(way: Way, figures: Figures, effort: Effort) -> None:
    if way.name == HAPROXY:  # which knows no FTP
        return
    before = way.cpu_seconds()
    seconds = way.clients.order("sessions", count=effort.sessions)["seconds"]
    figures.sessions.append(effort.sessions / seconds)
    figures.session_cpu.append((way.cpu_seconds() - before) / effort.sessions)
    figures.first_byte += way.clients.order("first_byte", count=effort.first_bytes)["seconds"]


def _check_carried(stand: dict[str, Way], effort: Effort) -> None:
    """That each of pinhole's transfers is in its audit log, byte for byte. RuntimeError if not.

    The other gateways forward nothing of their own either, but for what the kernel relates to a session.
    """
    for name, way in stand.items():
        if way.daemon is None:
            continue
        rounds = {CROWDED: 0, ROUTED: effort.rounds + effort.duels}.get(name, effort.rounds)
        wanted = 2 * rounds * effort.bulk_bytes
        way.daemon.wait_for("pinhole.closed", len(way.daemon.audit("pinhole.opened")))
        bulk = (line["bytes_in"] + line["bytes_out"] for line in way.daemon.audit("pinhole.closed"))
        if (carried := sum(count for count in bulk if count >= effort.bulk_bytes)) != wanted:
            raise RuntimeError(f"{name} carried {carried} bytes of {wanted}")
        if violations := way.daemon.audit("violation"):
            raise RuntimeError(f"{name}: {violations[0]}")


def _bars(figures: dict[str, Figures], duel: dict[str, Bulk], idle: Idle) -> list[Bar]:
    kernel, pinhole, crowded = figures[KERNEL], figures[PINHOLE], figures[CROWDED]
    routed, haproxy = duel[ROUTED], duel[HAPROXY]
    bars = []

    def at_least(name: str, value: float, limit: float) -> None:
        bars.append(Bar(name, value, f"at least {limit:.2f}", value >= limit))

    at_least("download: pinhole / kernel", ratio(pinhole.download, kernel.download), LEAST_OF_KERNEL)
    at_least("upload: pinhole / kernel", ratio(pinhole.upload, kernel.upload), LEAST_OF_KERNEL)
    bars.append(not_below("download: pinhole, no NAT / haproxy", routed.download, haproxy.download))
    bars.append(not_below("upload: pinhole, no NAT / haproxy", routed.upload, haproxy.upload))
    at_least("sessions a second: pinhole / ftp-proxy", ratio(pinhole.sessions, figures[FTP_PROXY].sessions), 1.0)
    limit = MOST_IDLE_BYTES / 1024
    kib = idle.bytes_each / 1024
    bars.append(Bar("KiB of the process for an idle session", kib, f"at most {limit:.0f}", kib <= limit))
    cost = ratio(crowded.session_cpu, pinhole.session_cpu)
    name = f"cost of a session: {idle.sessions} stand by / {FEW} do"
    within = f"1 ± {MOST_CHANGE_OF_COST:.2f}"
    bars.append(Bar(name, cost, within, abs(cost - 1) <= MOST_CHANGE_OF_COST))
    return bars


def _slab_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    return 0
