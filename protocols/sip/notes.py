"""What an engine of SIP and its parts have to tell, until it is taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from protocols.contract.effects import Effect, Note, violation


class Notes:
    """The notes of one engine. Its parts hold these and not the engine: an engine that is held by its own parts would
    stay until a collector of garbage looks for it."""

    __slots__ = ("of", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Effect] = []
        self.of: Mapping[str, Any] | None = None
        """What lines of the log say of the call that the message at hand belongs to."""

    def note(self, event: str, facts: dict[str, Any]) -> None:
        """What the message at hand gives to tell. If it belongs to a call, the line says to which one."""
        self.waiting.append(Note(event, facts, self.of))

    def note_of(self, event: str, facts: dict[str, Any], of: Mapping[str, Any] | None) -> None:
        """What is to be told of another call, or of none."""
        self.waiting.append(Note(event, facts, of))

    def violation(self, rule: str, detail: str, action: str) -> None:
        """A rule that the message at hand has broken."""
        self.waiting.append(replace(violation(rule, detail, action), of=self.of))

    def add(self, effects: Iterable[Effect]) -> None:
        """Others that go out with the notes."""
        self.waiting += effects

    def take(self) -> list[Effect]:
        """All of them, which are gone then."""
        taken, self.waiting = self.waiting, []
        return taken
