"""Lines of the audit log that a peer can provoke at will: the first ones of each kind and source are written, the rest
is counted.

Nine bytes from anywhere make a line of 260, so without a bound a peer fills the disk, and with one for everybody it
hides what others do. So each source has a budget of its own for each kind of line; all sources together have one as
well where a source costs nothing (datagrams with forged addresses). What was left out is told by
`suppressed` on the next line of that kind, or by `audit.left_out` when none comes. Metrics count everything.

What opens or closes something is not among them (`pinhole.opened`, `.used`, `.closed`, sessions, calls): each such line
costs the peer more than the line is long, and there are limits for what may be open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog


@dataclass(frozen=True, slots=True)
class Budget:
    """lines: so many within a window of `seconds`. of: the fact that tells one kind of line from another. for_all: it
    is for all sources together. in_all: a second one, by the second, for those of all sources."""

    lines: int
    seconds: float = 1.0
    of: str = ""
    for_all: bool = False
    in_all: int | None = None


_REFUSED = Budget(50, for_all=True)
# Of a trunk with twenty new calls a second each message still has its line.
_DIALOGUE = Budget(200)
_BUG = Budget(10, 60.0, for_all=True)

BUDGETS: Mapping[str, Budget] = {
    "session.denied": _REFUSED,
    "session.failed": _REFUSED,
    "listener.overloaded": _REFUSED,
    "violation": Budget(10, 60.0, "rule", in_all=50),
    "pinhole.refused": Budget(10, 60.0, "reason", in_all=50),
    "pinhole.renewed": _DIALOGUE,
    "pinhole.observed": _DIALOGUE,
    "address.rewritten": _DIALOGUE,
    "address.kept": _DIALOGUE,
    "address.observed": _DIALOGUE,
    "registration.refreshed": _DIALOGUE,
    "ftp.login": _DIALOGUE,
    "ftp.transfer": _DIALOGUE,
    "engine.failed": _BUG,
    "daemon.failed": _BUG,
}

MOST_SOURCES = 4096
"""Budgets that are kept at once; who comes when there are so many shares one."""

_Key = tuple[str, str, str]
"""Event, kind, source."""


@dataclass(slots=True)
class _Window:
    ends: float
    written: int = 0
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not written of one kind of line and one source (none: all of them together)."""

    event: str
    kind: str
    source: str
    lines: int


class Sampler:
    """Lets through a bounded number of each kind of line, and counts what it holds back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[_Key, _Window] = {}
        self.began: Callable[[], None] = lambda: None
        """Told when the first line is left out since nothing was left out; until `ended` has told of all."""
        self.suppressed: Callable[[str], None] = lambda _: None
        """Told the event of each line that is left out."""
        self._has_some = False
        self._looks_again_at = 0.0

    def __call__(self, _: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """As one of structlog's processors."""
        event = record["event"]
        if event in BUDGETS:
            left_out = self.left_out(event, record, str(record.get("client", "")))
            if left_out is None:
                raise structlog.DropEvent
            if left_out:
                record["suppressed"] = left_out
        return record

    def left_out(self, event: str, facts: Mapping[str, Any], client: str) -> int | None:
        """How many lines were left out before this one; None: this one is left out, too. client: its address and
        port."""
        budget = BUDGETS[event]
        now = self._clock()
        kind = str(facts.get(budget.of, "")) if budget.of else ""
        source = "" if budget.for_all else client.rpartition(":")[0]
        window = self._window((event, kind, source), now, budget.seconds)
        if window.written >= budget.lines:
            self._leave_out(event, window)
            return None
        if budget.in_all is not None and source:
            of_all = self._window((event, kind, ""), now, 1.0)
            if of_all.written >= budget.in_all:
                self._leave_out(event, window)
                return None
            of_all.written += 1
        window.written += 1
        before, window.suppressed = window.suppressed, 0
        return before

    def _window(self, key: _Key, now: float, seconds: float) -> _Window:
        if key not in self._windows and len(self._windows) >= MOST_SOURCES:
            if now >= self._looks_again_at:
                self._looks_again_at = now + 1.0
                self._forget(now)
            if len(self._windows) >= MOST_SOURCES:
                key = (key[0], "", "(others)")
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now + seconds)
        elif now >= window.ends:
            window.ends, window.written = now + seconds, 0
        return window

    def _leave_out(self, event: str, window: _Window) -> None:
        window.suppressed += 1
        self.suppressed(event)
        if not self._has_some:
            self._has_some = True
            self.began()

    def _forget(self, now: float) -> None:
        """Drop windows that have passed and of which nothing is to be told."""
        self._windows = {key: window for key, window in self._windows.items() if window.suppressed or now < window.ends}

    def ended(self, is_last: bool = False) -> Iterator[LeftOut]:
        """What was left out in windows that have passed, once each. is_last: also in those that have not."""
        now, self._has_some = self._clock(), False
        for (event, kind, source), window in tuple(self._windows.items()):
            if window.suppressed and (is_last or now >= window.ends):
                yield LeftOut(event, kind, source, window.suppressed)
                window.suppressed = 0
        self._forget(now)
        self._has_some = any(window.suppressed for window in self._windows.values())

    @property
    def has_some(self) -> bool:
        """Whether there is something left out that nobody was told of."""
        return self._has_some
