"""Messages on a stream: each behind its length in two bytes (RFC 1035 s.4.2.2). They come many in a segment, or in
pieces, and answers in any order (RFC 7766 s.6.2.1.1)."""

from __future__ import annotations

LENGTH_BYTES = 2


class Messages:
    """Cuts one direction of a stream into messages, in linear time whatever the segments are. It never holds more than
    one message that is not whole."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        """Where the next message begins."""

    def push(self, data: bytes) -> None:
        """Bytes have come."""
        if self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def peek(self, count: int) -> bytes:
        """So many bytes of those that come next, or as many as there are."""
        return bytes(self._data[self._at : self._at + count])

    def pop(self) -> bytes | None:
        """The next message. None: it is not whole."""
        data, start = self._data, self._at + LENGTH_BYTES
        if len(data) < start:
            return None
        end = start + (data[self._at] << 8 | data[self._at + 1])
        if len(data) < end:
            return None
        self._at = end
        return bytes(data[start:end])

    def rest(self) -> bytes:
        """The bytes that are left. They are no longer read as messages."""
        rest = bytes(self._data[self._at :])
        self._data.clear()
        self._at = 0
        return rest


def framed(message: bytes) -> bytes:
    """The message with its length."""
    return len(message).to_bytes(LENGTH_BYTES, "big") + message
