"""Spans: where something stands in a message, and how other bytes are put there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """Offsets into a message: bytes start to end, end not included."""

    start: int
    end: int


def replace(message: bytes, changes: Iterable[tuple[Span, bytes]]) -> bytes:
    """The message with each span's bytes replaced and all other bytes as they were.

    `changes` has the spans in the order in which they stand in the message, without overlap. Raises ValueError if they
    are not so; that is a bug of the caller, whatever the peer sent.
    """
    parts: list[bytes] = []
    at = 0
    length = len(message)
    for (start, end), new in changes:
        if not at <= start <= end <= length:
            raise ValueError(f"{Span(start, end)} overlaps, is out of order or outside a message of {length} bytes")
        parts += (message[at:start], new)
        at = end
    parts.append(message[at:])
    return b"".join(parts)
