"""Copies of messages for those who trace a session: of lines, of whole messages, and of whatever is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from protocols.contract.addresses import Side
from protocols.contract.effects import Copy, Effect, Send

MAX_LINE_BYTES = 16384
"""No helper takes a line so long: its engine ends such a session, so no rest of the line comes. A rest would be shown
without the word that tells it for a password."""


class LineCopies:
    """Makes copies of whole lines alone: half of a line may be half of a password, which nobody would know for one."""

    __slots__ = ("_begun",)

    def __init__(self, begun: Mapping[Side, bytes]) -> None:
        """`begun` is what has come of each side's next line already."""
        self._begun = dict(begun)

    def came(self, side: Side, data: bytes) -> Iterator[Copy]:
        """Copies of the lines that are whole with these bytes."""
        whole, line_end, rest = (self._begun.get(side, b"") + data).rpartition(b"\n")
        self._begun[side] = rest if len(rest) <= MAX_LINE_BYTES else b""
        if line_end:
            yield Copy(side, True, whole + line_end, b"")


def with_copies(effects: Sequence[Effect]) -> list[Effect]:
    """The effects, with a copy behind each that sends."""
    told: list[Effect] = []
    for effect in effects:
        told.append(effect)
        if isinstance(effect, Send):
            told.append(Copy(effect.to, False, effect.data, b""))
    return told


def message_copied(side: Side, data: bytes, effects: Sequence[Effect]) -> list[Effect]:
    """The effects of a message, with copies of what has come and of what goes on."""
    return [Copy(side, True, data, b""), *with_copies(effects)]
