"""What was refused and what was broken within the last hour, for an operator who asks.

The log hands each such line over, whether the line is written or left out. Equal ones are counted together: a peer that
is refused a thousand times is one entry. Each kind has a bound of its own, so that a flood of one kind pushes out none
of another.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.record.render import plain

WATCHED = frozenset(
    ("session.denied", "session.failed", "pinhole.refused", "violation", "call.failed", "registration.refused")
)
"""The events that are remembered."""

KEPT_SECONDS = 3600.0

MOST_OF_A_KIND = 256
"""How many entries of one event and reason there are at most. The oldest one goes first."""

MOST_KINDS = 256


@dataclass(slots=True)
class Happened:
    """Something that has happened once or several times, the same way each time."""

    event: str
    first: float
    """When it happened first, as seconds since 1970; `last`: when it happened last."""
    last: float
    count: int
    facts: Mapping[str, Any]
    """The fields of the last line. They may be any values, as the log takes them."""
    bound: str
    """The fields of its session, as the log has rendered them: each with the comma before it."""

    @property
    def told(self) -> dict[str, Any]:
        """All fields as the log shows them."""
        of_session = json.loads(f"{{{self.bound[1:]}}}")
        return {**of_session, **{name: plain(value) for name, value in self.facts.items()}}


class Recent:
    """The refusals and violations of the last hour."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], OrderedDict[tuple[str, ...], Happened]] = {}

    def note(self, event: str, facts: Mapping[str, Any], bound: str, client: str) -> None:
        """Remember a line of the log: its own fields, those of its session as rendered text, and the peer that it is
        charged to."""
        # Of an answer the code counts: its words are a peer's, who could make up one kind after the other.
        reason = facts.get("rule") or facts.get("code") or facts.get("reason") or ""
        kind = (event, str(reason))
        entries = self._kinds.get(kind)
        if entries is None:
            if len(self._kinds) >= MOST_KINDS:
                return
            entries = self._kinds[kind] = OrderedDict()
        names = ("server", "interface", "pinhole", "target")
        key = client.rpartition(":")[0], *(str(facts.get(name, "")) for name in names)
        now = self._clock()
        happened = entries.pop(key, None)
        if happened is None:
            if len(entries) >= MOST_OF_A_KIND:
                entries.popitem(last=False)
            happened = Happened(event, now, now, 0, {}, "")
        happened.last, happened.facts, happened.bound = now, facts, bound
        happened.count += 1
        entries[key] = happened

    def all(self, *events: str) -> Iterator[Happened]:
        """What has happened within the last hour of these events, the newest first."""
        since = self._clock() - KEPT_SECONDS
        found: list[Happened] = []
        for kind, entries in tuple(self._kinds.items()):
            while entries and next(iter(entries.values())).last < since:
                entries.popitem(last=False)
            if not entries:
                del self._kinds[kind]
            if kind[0] in events:
                found += entries.values()
        return iter(sorted(found, key=lambda happened: happened.last, reverse=True))
