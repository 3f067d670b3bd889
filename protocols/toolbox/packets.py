"""Packets that tell their own length, cut from a stream."""

from __future__ import annotations

from collections.abc import Callable


class Packets:
    """Cuts one direction of a stream into packets, in linear time whatever the segments are."""

    __slots__ = ("_data", "_length_of")

    def __init__(self, length_of: Callable[[bytearray], int | None]) -> None:
        """length_of: how many bytes the packet has that these bytes begin with. None: they do not tell that yet. It
        raises Malformed as soon as they can begin no packet: who speaks another protocol may wait for an answer."""
        self._length_of = length_of
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def push(self, data: bytes) -> None:
        """More of the stream has come."""
        self._data += data

    def pop(self) -> bytes | None:
        """The next packet, with its header. None: it is not whole. Raises Malformed for bytes that can be no packet."""
        data = self._data
        length = self._length_of(data)
        if length is None or len(data) < length:
            return None
        packet = bytes(data[:length])
        del data[:length]
        return packet

    def rest(self) -> bytes:
        """The bytes that are left. They are no longer read as packets."""
        left = bytes(self._data)
        self._data.clear()
        return left
