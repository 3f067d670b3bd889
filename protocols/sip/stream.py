"""Messages cut from a stream, and what stands between them (RFC 3261 s.18.3)."""

from __future__ import annotations

import re

from protocols.sip.head import (
    END_OF_FIELD,
    END_OF_HEAD,
    LINE_ENDS,
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_METHOD_BYTES,
    TOKEN,
    VALUE,
    BadMessage,
    Fields,
    Head,
    NotSip,
    line_and_column,
    method_and_version,
    read_length,
    salvaged,
)

# Of a line whose end has not come: a method, whole or not; the beginning of a response; the beginning of an empty line.
_MAY_START = re.compile(rb"%b{1,%d}+(?:[ \t]|\Z)|(?i:SIP)/|\r?\Z" % (TOKEN, MAX_METHOD_BYTES))

_FILLING = re.compile(rb"(?:\r?\n|[\0 \t])*")

_LENGTH_FIELD = re.compile(rb"\n(?i:Content-Length|l)[ \t]*+:(%b)(?=%b)" % (VALUE, END_OF_FIELD))


class StreamFramer:
    """Messages from a stream, each as long as its Content-Length says, and what stands between them.

    Before the first message that is line ends alone (S4, S6). Behind one NULs and blanks are seen as well: proxies
    count the NUL at the end of a string in. Nothing is searched for there, so what is passed by does not make a message
    begin anywhere else.

    `push()` what arrives, then `pop()` until it answers None. The work is linear in what arrives, however it is cut;
    what is held back is at most one message, and what one read brought.
    """

    __slots__ = ("_begun", "_between", "_data", "_searched", "_whole")

    def __init__(self) -> None:
        self._data = bytearray()
        self._between = LINE_ENDS
        self._begun = False
        """Whether there is a start line, one of SIP."""
        self._searched = 0
        self._whole: int | None = None
        """The length of the message, once it is known."""

    def __len__(self) -> int:
        """How many bytes wait here."""
        return len(self._data)

    def push(self, data: bytes) -> None:
        self._data += data

    def pop(self) -> bytes | None:
        """The next whole message, or as much of what stands before one as has come (`is_filling`); None if there is
        neither yet.

        Raises NotSip as soon as it cannot be SIP; BadMessage if its end cannot be known (content_length_missing,
        bad_content_length, content_length_conflict) or is too far (header_too_large, body_too_large). The stream is of
        no use after that. All else that may be wrong with a message is left to `read_message`.
        """
        if not self._begun:
            between = self._between.match(self._data)
            if between is not None and between.end():
                return self._cut(between.end())
            self._begun = self._find_start()
        if self._begun and self._whole is None:
            self._whole = self._find_whole()
        if self._whole is None or self._whole > len(self._data):
            return None
        self._between = _FILLING
        return self._cut(self._whole)

    def _cut(self, end: int) -> bytes:
        piece = bytes(self._data[:end])
        del self._data[:end]
        self._begun, self._searched, self._whole = False, 0, None
        return piece

    def _find_start(self) -> bool:
        end = self._data.find(b"\n", self._searched)
        if end < 0:
            if _MAY_START.match(self._data) is None or len(self._data) > MAX_HEAD_BYTES:
                raise NotSip("not_sip", 1, 1)
            self._searched = len(self._data)
            return False
        if method_and_version(bytes(self._data[:end])) is None:
            raise NotSip("not_sip", 1, 1)
        self._searched = end
        return True

    def _find_whole(self) -> int | None:
        empty = END_OF_HEAD.search(self._data, self._searched)
        if (empty.end() if empty else len(self._data)) > MAX_HEAD_BYTES:
            head = bytes(self._data[:MAX_HEAD_BYTES])
            raise BadMessage("header_too_large", *line_and_column(head, MAX_HEAD_BYTES), 513, salvaged(head))
        if empty is None:
            self._searched = len(self._data) - 2
            return None
        head = bytes(self._data[: empty.end()])
        lengths: Fields = {b"content-length": [match.span(1) for match in _LENGTH_FIELD.finditer(head)]}
        try:
            length = read_length(Head(head, b"", lengths))
            if length is None:
                # Where the next one would begin is unknown (S2).
                raise BadMessage("content_length_missing", *line_and_column(head, empty.start()))
            if length[0] > MAX_BODY_BYTES:
                raise BadMessage("body_too_large", *line_and_column(head, length[1].start), 513)
        except BadMessage as error:
            error.head = salvaged(head)
            raise
        return empty.end() + length[0]


def is_filling(piece: bytes) -> bool:
    """Whether a piece that was cut from a stream stands between messages and is none."""
    return not piece.strip(b"\r\n\0 \t")


def is_keep_alive(datagram: bytes) -> bool:
    """What keeps the mappings of NAT alive and is no message: line ends, a few bytes of anything, STUN (S5).

    RFC 5626 s.4.4.2 (line ends); in the field one or four NULs, blanks, `hello`. RFC 5389 s.6 (STUN), and that of
    RFC 3489, which has no cookie: no message begins with such a byte.
    """
    if len(datagram) <= _MAX_KEEP_ALIVE_BYTES or (datagram[0] in b"\r\n" and not datagram.strip(b"\r\n")):
        return True
    if datagram[0] > 1:
        return False
    length = len(datagram) - _STUN_HEADER_BYTES
    return length >= 0 and length % 4 == 0 and int.from_bytes(datagram[2:4]) == length


_MAX_KEEP_ALIVE_BYTES = 8
"""The version alone takes seven."""

_STUN_HEADER_BYTES = 20
