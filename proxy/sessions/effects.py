"""What an engine wants done, done: the one match statement over all effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, assert_never

from protocols.contract.addresses import Side
from protocols.contract.effects import Abort, Close, Effect, Finish, Note, Resolve, Send, Splice


class Performer(Protocol):
    """What a session or flow can do for its engine."""

    def send(self, to: Side, data: bytes) -> None: ...

    def finish(self, to: Side) -> None: ...

    def abort(self, reason: str, told: frozenset[Side]) -> None: ...

    def conclude(self, reason: str) -> None: ...

    def splice(self, idle_seconds: float, carries_urgent: bool) -> None: ...

    def resolve(self, name: str) -> None: ...

    def note(self, event: str, facts: Mapping[str, Any]) -> None: ...


def apply(effects: Sequence[Effect], performer: Performer) -> None:
    """In order. Nothing follows an Abort, a Close or a Splice."""
    for number, effect in enumerate(effects):
        match effect:
            case Send(to, data):
                performer.send(to, data)
            case Note(event, facts):
                performer.note(event, facts)
            case Finish(to):
                performer.finish(to)
            case Abort(reason):
                told = frozenset(before.to for before in effects[:number] if isinstance(before, Send))
                performer.abort(reason, told)
                return
            case Close(reason):
                performer.conclude(reason)
                return
            case Resolve(name):
                performer.resolve(name)
            case Splice(idle_seconds, carries_urgent):
                performer.splice(idle_seconds, carries_urgent)
                return
            case _:
                assert_never(effect)
