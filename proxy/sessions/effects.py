"""Performs the effects that an engine returns: the one match statement over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, assert_never

from protocols.contract.addresses import Side
from protocols.contract.effects import Abort, Close, Copy, Effect, Finish, Note, Resolve, Send, Splice


class Performer(Protocol):
    """What a session can do for its engine, one method for each effect."""

    is_over: bool
    """Whether the sides are gone, so that nothing is left that an effect could end."""

    def send(self, to: Side, data: bytes) -> None:
        """Send bytes or a datagram to a side."""

    def finish(self, to: Side) -> None:
        """Tell a side that no byte follows (half-close)."""

    def abort(self, reason: str, told: frozenset[Side]) -> None:
        """Drop the session. `told` names the sides that were sent something just before, so that they have a moment to
        read it."""

    def conclude(self, reason: str) -> None:
        """End the session in order, after everything that was sent has been delivered."""

    def splice(self, splice: Splice) -> None:
        """Relay the rest of the session without the engine."""

    def resolve(self, name: str) -> None:
        """Look a name up; the engine hears the answer later."""

    def copy(self, copy: Copy) -> None:
        """Give the copy of a message to whoever collects them."""

    def note(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write a line of audit log."""


def apply(effects: Sequence[Effect], performer: Performer) -> None:
    """Perform the effects in order. Nothing follows an Abort, a Close or a Splice. After its session is over an engine
    may still ask for an end, when what it looked after has ended: `settle` sees to that."""
    for number, effect in enumerate(effects):
        match effect:
            case Send(to, data):
                performer.send(to, data)
            case Note(event):
                performer.note(event, effect.told)
            case Finish(to):
                performer.finish(to)
            case Abort() | Close() | Splice() if performer.is_over:
                return
            case Abort(reason):
                told = frozenset(before.to for before in effects[:number] if isinstance(before, Send))
                performer.abort(reason, told)
                return
            case Close(reason):
                performer.conclude(reason)
                return
            case Copy():
                performer.copy(effect)
            case Resolve(name):
                performer.resolve(name)
            case Splice():
                performer.splice(effect)
                return
            case _:
                assert_never(effect)
