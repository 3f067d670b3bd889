"""Oracle TNS through pinhole beside plain forwarding and HAProxy: what is measured, and the bars.

Plain forwarding needs no helper here: the listener is outside, so what a redirect names can be reached as it is.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from tools.bench import ftp, ways
from tools.bench.ftp import GIB, HAPROXY, KERNEL, LEAST_OF_KERNEL, PINHOLE, ROUTED, Bulk
from tools.bench.rounds import Bar, Progress, in_turn, machine, not_below, ratio
from tools.bench.server import BARE_LISTENER_PORT, INSTANCE_PORT, LISTENER_PORT
from tools.bench.ways import Way

MOST_CPU_OF_HAPROXY = 1.5
"""For a GiB. A relay that copied each byte into the process and out of it again would need several times as much."""


@dataclass(frozen=True, slots=True)
class Effort:
    rounds: int
    duels: int
    """Rounds of bulk beside HAProxy alone."""
    bulk_bytes: int
    sessions: int
    """A round, for each way, with and without a redirect."""


FULL = Effort(rounds=11, duels=40, bulk_bytes=2 * GIB, sessions=960)
QUICK = Effort(rounds=3, duels=10, bulk_bytes=GIB // 2, sessions=320)


@dataclass(slots=True)
class Figures(Bulk):
    """Bulk is what comes after ACCEPT."""

    sessions: list[float] = field(default_factory=list)
    """A second: CONNECT and ACCEPT."""
    redirected: list[float] = field(default_factory=list)
    """A second: CONNECT, REDIRECT, CONNECT and ACCEPT."""
    session_cpu: list[float] = field(default_factory=list)
    """Seconds of the gateway's process."""
    redirected_cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Effort
    figures: dict[str, Figures]
    duel: dict[str, Bulk]
    bars: list[Bar]


def run(effort: Effort, say: Progress) -> Report:
    """Build the labs, measure, take them down. Raises RuntimeError when a way does not carry what it should."""
    with contextlib.ExitStack() as stack:
        say("building a lab for each way")
        all_ways = (
            ways.kernel(ports=f"{LISTENER_PORT}, {INSTANCE_PORT}"),
            ways.pinhole(PINHOLE, snat="interface"),
            ways.pinhole(ROUTED, snat="none"),
        )
        stand = {way.name: way for way in map(stack.enter_context, all_ways)}
        stand[HAPROXY] = stack.enter_context(ways.haproxy(beside=stand[ROUTED], port=BARE_LISTENER_PORT))
        figures = {name: Figures() for name in stand}
        for number in range(1, effort.rounds + 1):
            say(f"round {number} of {effort.rounds}")
            for measure in (_measure_bulk, _measure_sessions):
                for way in in_turn(tuple(stand.values()), number):
                    measure(way, figures[way.name], effort)
        duel = ftp.in_duel(stand, effort.duels, say, lambda way, bulk: _measure_bulk(way, bulk, effort))
        say("comparing what was sent with the audit log")
        for name in (PINHOLE, ROUTED):
            _check_carried(stand[name], effort)
    return Report(machine(), effort, figures, duel, _bars(figures, duel))


def _port(way: Way) -> int:
    return BARE_LISTENER_PORT if way.name == HAPROXY else LISTENER_PORT


def _measure_bulk(way: Way, figures: Bulk, effort: Effort) -> None:
    before = way.cpu_seconds()
    for upload, rates in ((False, figures.download), (True, figures.upload)):
        done = way.clients.order("tns_transfer", upload=upload, count=effort.bulk_bytes, port=_port(way))
        rates.append(effort.bulk_bytes / done["seconds"])
    figures.gib_cpu.append((way.cpu_seconds() - before) / (2 * effort.bulk_bytes / GIB))


def _measure_sessions(way: Way, figures: Figures, effort: Effort) -> None:
    for redirected, rates, costs in (
        (False, figures.sessions, figures.session_cpu),
        (True, figures.redirected, figures.redirected_cpu),
    ):
        if redirected and way.name == HAPROXY:  # which follows none
            continue
        before = way.cpu_seconds()
        done = way.clients.order("tns_sessions", count=effort.sessions, port=_port(way), redirected=redirected)
        rates.append(effort.sessions / done["seconds"])
        costs.append((way.cpu_seconds() - before) / effort.sessions)


def _check_carried(way: Way, effort: Effort) -> None:
    """That pinhole has carried it all, by its audit log. RuntimeError if not."""
    assert way.daemon is not None
    transfers = 2 * (effort.rounds + (effort.duels if way.name == ROUTED else 0))
    accepted = transfers + effort.rounds * 2 * effort.sessions
    way.daemon.wait_for("session.closed", accepted + effort.rounds * effort.sessions)
    log = way.daemon.audit("session.closed")
    carried = sum(line["bytes_from_client"] + line["bytes_from_server"] for line in log)
    if not 0 <= carried - transfers * effort.bulk_bytes < len(log) * 4096:
        raise RuntimeError(f"{way.name} carried {carried} bytes, not {transfers * effort.bulk_bytes}")
    for event, count in (
        ("tns.accepted", accepted),
        ("tns.redirected", effort.rounds * effort.sessions),
        ("pinhole.used", effort.rounds * effort.sessions),
        ("violation", 0),
    ):
        if (told := len(way.daemon.audit(event))) != count:
            raise RuntimeError(f"{way.name}: {told} lines of {event}, not {count}")


def _bars(figures: dict[str, Figures], duel: dict[str, Bulk]) -> list[Bar]:
    kernel, pinhole, routed, haproxy = figures[KERNEL], figures[PINHOLE], duel[ROUTED], duel[HAPROXY]
    bars = []
    for way in ("download", "upload"):
        value = ratio(getattr(pinhole, way), getattr(kernel, way))
        limit = f"at least {LEAST_OF_KERNEL:.2f}"
        bars.append(Bar(f"{way}: pinhole / kernel", value, limit, value >= LEAST_OF_KERNEL))
        name = f"{way}: pinhole, no NAT / haproxy"
        bars.append(not_below(name, getattr(routed, way), getattr(haproxy, way)))
    cost = ratio(routed.gib_cpu, haproxy.gib_cpu)
    name = "CPU for a GiB: pinhole, no NAT / haproxy"
    bars.append(Bar(name, cost, f"at most {MOST_CPU_OF_HAPROXY:.2f}", cost <= MOST_CPU_OF_HAPROXY))
    return bars
