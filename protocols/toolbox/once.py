"""Lines of the log of which one a session is enough."""

from __future__ import annotations

from collections.abc import Callable

from protocols.contract.effects import Effect, Note


class Once:
    """Tells the first line of each event, and of violations the first one of each rule."""

    __slots__ = ("_add", "_told")

    def __init__(self, add: Callable[[Effect], None]) -> None:
        """add: takes lines of the log."""
        self._add = add
        self._told: set[str] = set()

    def __call__(self, note: Note) -> None:
        kind = str(note.facts.get("rule", note.event))
        if kind not in self._told:
            self._told.add(kind)
            self._add(note)
