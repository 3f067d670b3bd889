"""The audit log: one line for each event, rendered at once as JSON, and handed to the sinks.

The loop never waits for a disk or a collector: a sink takes lines into a bounded queue, and writes them from a thread
of its own, in the form that it is to have (`proxy/record/sinks.py`, `proxy/record/forms.py`).

Each line says which gateway wrote it (`node`), in which of its lives (`instance`), and which number it has in that life
(`seq`). Who finds a gap between two numbers knows that a line is missing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.record.catalogue import BUDGETS, EVENTS
from proxy.record.events.budgets import DIALOGUE
from proxy.record.recent import WATCHED
from proxy.record.render import members, now
from proxy.record.sampling import Sampler

_GRAVE = {event.name: f',"severity":"{event.severity}"' for event in EVENTS.values() if event.severity != "info"}
"""Event -> how grave it is, as it stands in a line. What is mere information does not say so."""

_UNBOUNDED = EVENTS.keys() - BUDGETS.keys()
"""The events that need no budget. Those of a helper from elsewhere are no rows of the catalogue, so they have one."""

Take = Callable[[str], object]
"""Takes a rendered line."""


class Log(Protocol):
    """A log, as the rest of the program needs it: write an event, or bind fields to every later one."""

    def write(self, event: str, **facts: Any) -> None:
        """Write one line."""

    def bind(self, **facts: Any) -> Log:
        """A log that adds these fields to every line."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who writes the log."""

    node: str
    """The name of the gateway."""
    instance: str
    """The name of this life of the daemon. It is another one after each restart, and part of all ids."""

    @property
    def facts(self) -> dict[str, Any]:
        """The same as fields of a line."""
        return {"node": self.node, "instance": self.instance}


class AuditLog:
    """Writes lines. What does not change from one line to the next is rendered once: for the whole log, and for each
    session when its first line is written. Many sessions are short, and have none."""

    __slots__ = ("_bound", "_client", "_head", "_numbers", "_sampler", "_take", "_to_bind")

    def __init__(
        self, take: Take, sampler: Sampler, head: str, numbers: Iterator[int], bound: str = "", client: object = ""
    ) -> None:
        """`head` and `bound` are rendered fields, before and behind the number of the line. `client` is the peer that a
        line is charged to when it names none: its text, or what becomes that when a line is written."""
        self._take = take
        self._sampler = sampler
        self._head = head
        self._numbers = numbers
        self._bound = bound
        self._client = client
        self._to_bind: tuple[AuditLog, dict[str, Any]] | None = None
        """The log that this one was bound from, and the fields that it adds, until they are rendered."""

    def write(self, event: str, **facts: Any) -> None:
        """Write one line, unless the sampler leaves it out."""
        if event not in _UNBOUNDED:
            client = str(self._client or facts.get("client", ""))
            if event in WATCHED:
                self._sampler.watch(event, facts, self._rendered(), client)
            left_out = self._sampler.left_out(event, BUDGETS.get(event, DIALOGUE), facts, client)
            if left_out is None:
                return
            if left_out:
                facts["suppressed"] = left_out
        begins = f'"time":"{now()}","event":"{event}"{_GRAVE.get(event, "")}'
        self._take(f"{{{begins}{self._head}{next(self._numbers)}{self._rendered()}{members(facts)}}}")

    def bind(self, **facts: Any) -> AuditLog:
        """A log that adds these fields to every line."""
        log = AuditLog(self._take, self._sampler, self._head, self._numbers, "", facts.get("client", self._client))
        log._to_bind = self, facts
        return log

    def _rendered(self) -> str:
        """The fields that are bound, as they stand in each line."""
        if self._to_bind is not None:
            (above, facts), self._to_bind = self._to_bind, None
            self._bound = above._rendered() + members(facts)
        return self._bound


def open_log(origin: Origin, take: Take, sampler: Sampler | None = None) -> AuditLog:
    """The log that all others are bound from."""
    head = f'{members(origin.facts)},"seq":'
    return AuditLog(take, sampler or Sampler(time.monotonic), head, itertools.count(1))
