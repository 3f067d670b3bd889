"""Two checkouts of pinhole side by side: what a change costs, or gains.

Each has a lab of its own for FTP and TNS and one for SIP, driven by the programs of this checkout. Labs are built anew
in each round, for two labs of one checkout differ by up to a tenth as long as they stand. A ratio is taken within a
round, so that a machine which is busy with something else for a while moves both of its sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tools.bench import audio, sip, sip_ways, sipp, ways
from tools.bench.ftp import GIB
from tools.bench.rounds import Bar, Progress, interval, machine, ratio
from tools.bench.server import LISTENER_PORT
from tools.lab.daemon import ROOT

BEFORE, AFTER = "before", "after"
MOST_CHANGE = 0.03
"""By which a figure may be worse."""
STREAMS = 100
HELD_CALLS = 4000


@dataclass(frozen=True, slots=True)
class Effort:
    rounds: int
    bulk_bytes: int
    sessions: int
    seconds: float
    """Of each load of calls, and of audio."""
    daemons: int
    """In how many the memory of a call is measured."""


FULL = Effort(rounds=15, bulk_bytes=GIB // 2, sessions=640, seconds=5, daemons=3)
WARM = Effort(rounds=0, bulk_bytes=GIB // 64, sessions=64, seconds=1, daemons=0)
"""Before anything counts, in each lab."""
QUICK = Effort(rounds=3, bulk_bytes=GIB // 4, sessions=320, seconds=3, daemons=1)


@dataclass(slots=True)
class Figure:
    """One thing that was measured, a value for each round and checkout."""

    name: str
    unit: str
    more_is_better: bool
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return ratio(self.after, self.before)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the median ratio lies with a probability of 95 %."""
        return interval([after / before for after, before in zip(self.after, self.before, strict=True)])

    @property
    def is_worse(self) -> bool:
        """By more than is allowed, and beyond what chance explains."""
        low, high = self.interval
        return high < 1 - MOST_CHANGE if self.more_is_better else low > 1 + MOST_CHANGE


@dataclass(frozen=True, slots=True)
class Report:
    machine: str
    effort: Effort
    figures: list[Figure]

    @property
    def bars(self) -> list[Bar]:
        """One for each figure."""
        limits = {True: f"at least {1 - MOST_CHANGE:.2f}", False: f"at most {1 + MOST_CHANGE:.2f}"}
        return [Bar(one.name, one.ratio, limits[one.more_is_better], not one.is_worse) for one in self.figures]


def run(effort: Effort, say: Progress, tree: Path) -> Report:
    """Build the labs, measure, take them down. `tree`: the checkout that this one is compared with. Raises RuntimeError
    when one of the two does not carry what it should."""
    figures: dict[str, Figure] = {}

    def note(when: str, name: str, unit: str, more_is_better: bool, value: float) -> None:
        figure = figures.setdefault(name, Figure(name, unit, more_is_better))
        (figure.before if when == BEFORE else figure.after).append(value)

    for number in range(effort.rounds):
        for when, at in list(trees(tree))[:: 1 if number % 2 else -1]:
            say(f"round {number + 1} of {effort.rounds}: {when}")
            with ways.pinhole(when, snat="interface", tree=at) as way:
                _measure_streams(way, WARM, _nothing)
                _measure_streams(way, effort, _bound(note, when))
            with sip_ways.pinhole(when, tree=at) as calls:
                _measure_calls(calls, WARM, _nothing)
                _measure_calls(calls, effort, _bound(note, when))
    for _ in range(effort.daemons):
        for when, at in trees(tree):
            say(f"holding {HELD_CALLS} calls: {when}")
            note(when, "memory of a held call", "KiB", False, _held_bytes(when, at) / 1024)
    return Report(machine(), effort, list(figures.values()))


def _held_bytes(when: str, tree: Path) -> float:
    """What the memory of a daemon grows by with each call that it holds. The daemon is a new one: one that has carried
    a load puts calls where that has left room, and its memory tells of its past."""
    with sip_ways.pinhole(when, tree=tree) as way, sip.phones(way) as pair:
        at = way.resident_bytes()
        pair.hold(HELD_CALLS, "audio")
        return (way.resident_bytes() - at) / HELD_CALLS


Tell = Callable[[str, str, bool, float], None]


def _bound(note: Callable[[str, str, str, bool, float], None], when: str) -> Tell:
    return lambda name, unit, more_is_better, value: note(when, name, unit, more_is_better, value)


def _nothing(name: str, unit: str, more_is_better: bool, value: float) -> None:
    """What fills caches and pools counts for nothing."""


def trees(tree: Path) -> Iterator[tuple[str, Path]]:
    """The older checkout, and this one."""
    yield BEFORE, tree.resolve()
    yield AFTER, ROOT


def _measure_streams(way: ways.Way, effort: Effort, tell: Tell) -> None:
    at = way.cpu_seconds()
    for upload, name in ((False, "ftp download"), (True, "ftp upload")):
        seconds = way.clients.order("transfer", upload=upload, count=effort.bulk_bytes)["seconds"]
        tell(name, "GiB/s", True, effort.bulk_bytes / seconds / GIB)
    tell("ftp CPU for a GiB", "s", False, (way.cpu_seconds() - at) / (2 * effort.bulk_bytes / GIB))
    at = way.cpu_seconds()
    seconds = way.clients.order("sessions", count=effort.sessions)["seconds"]
    tell("ftp sessions", "/s", True, effort.sessions / seconds)
    tell("ftp CPU for a session", "ms", False, (way.cpu_seconds() - at) / effort.sessions * 1e3)
    for redirected, name in ((False, "tns"), (True, "tns redirected")):
        at = way.cpu_seconds()
        done = way.clients.order("tns_sessions", count=effort.sessions, port=LISTENER_PORT, redirected=redirected)
        tell(f"{name} sessions", "/s", True, effort.sessions / done["seconds"])
        tell(f"{name} CPU for a session", "ms", False, (way.cpu_seconds() - at) / effort.sessions * 1e3)


def _measure_calls(way: sip_ways.Way, effort: Effort, tell: Tell) -> None:
    at = way.cpu_seconds()
    done = sipp.load(way.lab, sip.COMMON_RATE, effort.seconds)
    if not done.made:
        raise RuntimeError(f"{way.name} carries no calls")
    tell("sip CPU for a call", "ms", False, (way.cpu_seconds() - at) / done.made * 1e3)
    with sip.phones(way) as pair:
        sent = audio.send(way, pair, pair.hold(STREAMS, "audio"), STREAMS, effort.seconds)
        pair.caller("release")
    tell("sip packets a core", "/s", True, sent.arrived / sent.cpu)
    tell("sip delay of a packet", "µs", False, sent.median_delay * 1e6)


def rows(report: Report) -> Iterator[tuple[str, str, str, str, str]]:
    """For people: what, before, after, their ratio with its range, and a verdict."""
    for figure in report.figures:
        low, high = figure.interval
        verdict = "worse" if figure.is_worse else ""
        before, after = (f"{median(values):.4g} {figure.unit}" for values in (figure.before, figure.after))
        yield figure.name, before, after, f"{figure.ratio:.3f} ({low:.3f} to {high:.3f})", verdict
