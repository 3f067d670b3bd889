"""Cutting a byte stream into lines, and joining what goes out.

Both ends of a stream may cut it anywhere: one read may hold half a line or a hundred. Nothing here looks at what a
line means.

House rules:
- The work is linear in the bytes that arrive, however they are cut: no byte is searched twice.
- What is held back is at most one line of the greatest length, and what one read brought.
"""

from __future__ import annotations

import re

from protocols.contract.addresses import Malformed

_NUL_NOT_AFTER_CR = re.compile(rb"(?<!\r)\0")


class LineTooLong(Malformed):
    """More bytes without a line end than the buffer may hold."""


class NulInLine(Malformed):
    """A NUL that does not follow CR. RFC 854 knows it only as the second half of a bare carriage return."""


class LineBuffer:
    """Lines that end in LF, nearly always CR LF.

    `push()` what arrives, then `pop()` until it answers None. A line keeps the end it came with.
    """

    __slots__ = ("_data", "_max_bytes", "_searched", "_start")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: the longest line that is accepted, its end included."""
        self._data = bytearray()
        self._max_bytes = max_bytes
        self._start = 0
        self._searched = 0

    def __len__(self) -> int:
        """How many bytes wait here."""
        return len(self._data) - self._start

    def __bytes__(self) -> bytes:
        """The bytes that wait here, as they came."""
        return bytes(self._data[self._start :])

    def push(self, data: bytes) -> None:
        """Add bytes that have arrived."""
        self._data += data

    def pop(self) -> bytes | None:
        """The next whole line with its end. None: there is none yet.

        Raises LineTooLong, NulInLine; the stream is of no use after that.
        """
        end = self._data.find(b"\n", self._searched) + 1
        if not end:
            self._drop_read()
            self._searched = len(self._data)
            if self._searched > self._max_bytes:
                raise LineTooLong(f"more than {self._max_bytes} bytes")
            return None
        line = bytes(self._data[self._start : end])
        self._start = self._searched = end
        return self._checked(line)

    def pop_rest(self) -> bytes:
        """What came after the last line end, when the stream has ended. Raises NulInLine."""
        rest = bytes(self)
        self._data.clear()
        self._start = self._searched = 0
        return self._checked(rest)

    def _checked(self, line: bytes) -> bytes:
        if len(line) > self._max_bytes:
            raise LineTooLong(f"more than {self._max_bytes} bytes")
        if b"\0" in line and _NUL_NOT_AFTER_CR.search(line):
            raise NulInLine("NUL in a line")
        return line

    def _drop_read(self) -> None:
        """Drop the lines that were read. This is done once for each read and not for each line: moving the rest to the
        front costs its length."""
        if self._start:
            del self._data[: self._start]
            self._searched -= self._start
            self._start = 0
