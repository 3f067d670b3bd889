"""Keeps lines of the audit log within their budgets (`proxy/record/events/budgets.py`): the first ones of each kind and
source are written, the others are counted.

The next line of the same kind tells in `suppressed` how many were left out, or `audit.left_out` does when no such line
comes. Metrics count everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.record.events.budgets import Budget

MOST_SOURCES = 4096
"""How many budgets are kept at once. Sources that come when there are so many share one."""

_Key = tuple[str, str, str]
"""The event, the kind and the source of a line."""


@dataclass(slots=True)
class _Window:
    """The lines of one kind and source within one window of time."""

    ends: float
    written: int = 0
    suppressed: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many lines of one kind and one source were not written ("": of all sources together)."""

    event: str
    kind: str
    source: str
    lines: int


Watch = Callable[[str, Mapping[str, Any], str, str], None]
"""Hears of an event: its own fields, those that are bound to its log as rendered text, and its client."""


class Sampler:
    """Lets through a bounded number of each kind of line, and counts what it holds back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[_Key, _Window] = {}
        self.began: Callable[[], None] = lambda: None
        """Called when a line is left out while no other one is; then not again until `ended` has told of all."""
        self.watch: Watch = lambda *_: None
        """Called with each line of `recent.WATCHED`, whether it is written or left out (`Recent.note`)."""
        self.suppressed: Callable[[str], None] = lambda _: None
        """Called with the event of each line that is left out."""
        self._has_some = False
        self._looks_again_at = 0.0

    def left_out(self, event: str, budget: Budget, facts: Mapping[str, Any], client: str) -> int | None:
        """How many lines were left out before this one. None: this one is left out, too. `client` is the peer's address
        and port."""
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
        """The window that counts for this line."""
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
        """Count a line that is left out."""
        window.suppressed += 1
        self.suppressed(event)
        if not self._has_some:
            self._has_some = True
            self.began()

    def _forget(self, now: float) -> None:
        """Drop windows that have passed and left nothing to tell."""
        self._windows = {key: window for key, window in self._windows.items() if window.suppressed or now < window.ends}

    def ended(self, is_last: bool = False) -> Iterator[LeftOut]:
        """What was left out in windows that have passed, once each. `is_last`: also in windows that have not passed."""
        now, self._has_some = self._clock(), False
        for (event, kind, source), window in tuple(self._windows.items()):
            if window.suppressed and (is_last or now >= window.ends):
                yield LeftOut(event, kind, source, window.suppressed)
                window.suppressed = 0
        self._forget(now)
        self._has_some = any(window.suppressed for window in self._windows.values())

    @property
    def has_some(self) -> bool:
        """Whether lines were left out that the log has not told of yet."""
        return self._has_some
