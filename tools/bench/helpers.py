"""A session of each helper: what it costs beside plain forwarding and beside the kernel's helper, and beside thousands
of sessions that are open.

Sessions are had one after the other, so their time is that of a single client. All ways route without NAT, for plain
forwarding carries no session of most helpers otherwise.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tools.bench.case import Case
from tools.bench.cases import CASES
from tools.bench.rounds import Bar, Progress, in_turn, machine, ratio
from tools.bench.ways import DESCRIPTORS, cpu_seconds, give_order, resident_bytes, start_program
from tools.lab import Daemon, Lab, pinhole

PLAIN, KERNEL, PINHOLE, CROWDED = "plain", "kernel", "pinhole", "crowded"
MOST_GROWTH = 1.10
"""How many times as much a session may cost when thousands are open."""
HELD_AT_ONCE = 500
"""How many sessions are opened by one order, which has a time limit."""
LEAST_LEFT = 0.95
"""The part of the sessions that must have been seen, and the part of those that were open at first and must be at the
end: others end meanwhile, too."""


@dataclass(frozen=True, slots=True)
class Effort:
    rounds: int
    sessions: int
    """A round, for each way."""
    held: int


FULL = Effort(rounds=7, sessions=200, held=5000)
QUICK = Effort(rounds=3, sessions=20, held=200)


@dataclass(slots=True)
class Figures:
    """A value for each round."""

    seconds: list[float] = field(default_factory=list)
    """Of a session, the median of the round."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of the gateway's process for a session. The kernel's work is in nobody's account."""


@dataclass(slots=True)
class Found:
    """What was measured of one helper."""

    what: str
    figures: dict[str, Figures]
    """By way."""
    bytes_each: float = 0.0
    """Growth of the process with each session that is held."""


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Effort
    found: dict[str, Found]
    """By helper."""
    bars: list[Bar]


@dataclass(slots=True)
class Way:
    """A gateway, with the two ends of a case on either side of it."""

    name: str
    dialler: subprocess.Popen[str]
    daemon: Daemon | None = None

    def cpu_seconds(self) -> float:
        """Of the daemon."""
        return 0.0 if self.daemon is None else cpu_seconds(self.daemon.pid)

    def resident_bytes(self) -> int:
        assert self.daemon is not None
        return resident_bytes(self.daemon.pid)

    def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """One of the methods of `tools.bench.case_ends.Dialler`. RuntimeError when it fails or takes too long."""
        return give_order(self.dialler, do, **arguments)


def run(effort: Effort, say: Progress, helpers: Collection[str] = ()) -> Report:
    """Measure these helpers, or all. Raises RuntimeError when a way does not carry what it should."""
    found = {name: _measure(case, effort, say) for name, case in CASES.items() if not helpers or name in helpers}
    return Report(machine(), effort, found, [bar for name, one in found.items() for bar in bars(CASES[name], one)])


def _measure(case: Case, effort: Effort, say: Progress) -> Found:
    say(f"{case.helper}: building a lab for each way")
    with contextlib.ExitStack() as stack:
        ways = [stack.enter_context(_forwarding(case, by_helper=False))]
        if case.kernel:
            ways.append(stack.enter_context(_forwarding(case, by_helper=True)))
        ways += (stack.enter_context(_pinhole(name, case)) for name in (PINHOLE, CROWDED))
        found = Found(case.what, {way.name: Figures() for way in ways})
        for way in ways:
            way.order("sessions", count=effort.sessions)  # the first ones fill caches and pools
        standing = _crowd(ways[-1], found, effort, say)
        for number in range(1, effort.rounds + 1):
            say(f"{case.helper}: round {number} of {effort.rounds}")
            for way in in_turn(ways, number):
                _measure_sessions(way, found.figures[way.name], effort)
        for way in ways[-2:]:
            _check_carried(way, 1 if case.in_one_flow else (effort.rounds + 1) * effort.sessions)
        if _standing(ways[-1]) < LEAST_LEFT * standing:
            raise RuntimeError(f"{case.helper}: of {standing} open sessions {_standing(ways[-1])} are left")
        return found


def _measure_sessions(way: Way, figures: Figures, effort: Effort) -> None:
    before = way.cpu_seconds()
    figures.seconds.append(median(way.order("sessions", count=effort.sessions)["seconds"]))
    figures.cpu.append((way.cpu_seconds() - before) / effort.sessions)


def _crowd(way: Way, found: Found, effort: Effort, say: Progress) -> int:
    """Open the sessions that stay open, and see what they take. Returns how many the daemon says that there are."""
    say(f"opening {effort.held} sessions that stay open")
    before = way.resident_bytes()
    for at in range(0, effort.held, HELD_AT_ONCE):
        way.order("hold", count=min(HELD_AT_ONCE, effort.held - at))
    found.bytes_each = (way.resident_bytes() - before) / effort.held
    return _standing(way)


def _standing(way: Way) -> int:
    assert way.daemon is not None
    count: int = way.daemon.ask("status")["sessions"]
    return count


def _check_carried(way: Way, count: int) -> None:
    """That pinhole has carried so many sessions and refused nothing. RuntimeError if not. Two of them may be one to
    pinhole: a client may take a port again that it has asked from before."""
    assert way.daemon is not None
    if (opened := way.daemon.ask("status")["sessions_opened"]) < LEAST_LEFT * count:
        raise RuntimeError(f"{way.name}: {opened} sessions were opened, not {count}")
    if violations := way.daemon.audit("violation"):
        raise RuntimeError(f"{way.name}: {violations[0]}")
    if denied := way.daemon.audit("session.denied"):
        raise RuntimeError(f"{way.name}: {denied[0]}")


# -- the ways ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _ends(lab: Lab, name: str, case: Case, daemon: Daemon | None = None) -> Iterator[Way]:
    server = str(lab.server.v4)
    programs = [
        start_program(host, "tools.bench.case_ends", end, case.helper, server)
        for host, end in ((lab.server, "serve"), (lab.client, "dial"))
    ]
    try:
        yield Way(name, programs[-1], daemon)
    finally:
        for program in programs:
            program.kill()
            program.wait()


@contextlib.contextmanager
def _forwarding(case: Case, by_helper: bool) -> Iterator[Way]:
    """The kernel forwards. With its helper only the port of the case passes, and what it relates to a session; without,
    everything."""
    rules = ""
    if by_helper:
        match = f"{case.transport} dport {case.port}"
        rules = f"""
            table inet gateway {{
                ct helper one {{ type "{case.kernel}" protocol {case.transport}; l3proto ip; }}
                chain helper {{ type filter hook prerouting priority filter; {match} ct helper set "one"; }}
                chain forward {{
                    type filter hook forward priority filter; policy drop;
                    ct state established,related accept
                    iifname lan0 {match} accept
                }}
            }}
        """
    with Lab("routed") as lab:
        lab.firewall(rules)
        with _ends(lab, KERNEL if by_helper else PLAIN, case) as way:
            yield way


@contextlib.contextmanager
def _pinhole(name: str, case: Case) -> Iterator[Way]:
    """As an ordinary user with two capabilities. Nothing is forwarded, so nothing passes it by."""
    options = f"options: {{{case.helper}: {case.options}}}" if case.options else ""
    most = DESCRIPTORS
    text = f"""
version: 1
{f"session-helpers: {case.entries}" if case.entries else ""}
policies:
  - name: lan-out
    from: [lan0]
    action: accept
    {options}
limits:
  sessions: {most}
  sessions_per_client: {most}
  pinholes: {most}
  pinholes_per_session: {most}
  pinholes_per_client: {most}
timeouts: {{udp_idle: 3600}}
"""
    with Lab("routed") as lab, pinhole(lab, text, unprivileged=True, nofile=DESCRIPTORS) as daemon:
        daemon.lock_down()
        with _ends(lab, name, case, daemon) as way:
            yield way


# -- what is wanted ----------------------------------------------------------------------------------------------------


def bars(case: Case, found: Found) -> list[Bar]:
    """What is wanted of the helper, and whether it is so."""
    plain, pinhole, crowded = (found.figures[name] for name in (PLAIN, PINHOLE, CROWDED))

    def at_most(name: str, value: float, limit: float, form: str = "{:.2f}") -> Bar:
        return Bar(f"{case.helper}: {name}", value, f"at most {form.format(limit)}", value <= limit * (1 + 1e-9))

    bars = []
    if case.most_of_plain is not None:
        longer = ratio(pinhole.seconds, plain.seconds)
        bars.append(at_most("time of a session, pinhole / plain", longer, case.most_of_plain))
    if case.most_cpu is not None:
        bars.append(at_most("CPU of a session, µs", 1e6 * median(pinhole.cpu), 1e6 * case.most_cpu, "{:.0f}"))
    return [*bars, at_most("CPU of a session, crowded / not", ratio(crowded.cpu, pinhole.cpu), MOST_GROWTH)]


def rows(report: Report) -> Iterator[tuple[str, ...]]:
    """A row for each helper: what a session is, its time by each way, what it costs the process, and what one that is
    open takes."""
    for name, found in report.found.items():
        figures: Mapping[str, Figures] = found.figures
        plain = figures[PLAIN].seconds
        times = [
            f"{median(one.seconds) * 1e3:.2f} ({ratio(one.seconds, plain):.2f})" if one is not None else ""
            for one in map(figures.get, (PLAIN, KERNEL, PINHOLE))
        ]
        costs = [f"{median(figures[way].cpu) * 1e3:.2f}" for way in (PINHOLE, CROWDED)]
        yield (f"{name}: {found.what}", *times, *costs, f"{found.bytes_each / 1024:.1f}")
