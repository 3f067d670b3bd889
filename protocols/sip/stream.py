"""Cuts a stream into messages, and into the filling that stands between them (RFC 3261 s.18.3)."""

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

# What a line may begin with while its end has not come: a method, whole or not; the beginning of a response; or the
# beginning of an empty line.
_MAY_START = re.compile(rb"%b{1,%d}+(?:[ \t]|\Z)|(?i:SIP)/|\r?\Z" % (TOKEN, MAX_METHOD_BYTES))

_FILLING = re.compile(rb"(?:\r?\n|[\0 \t])*")

_LENGTH_FIELD = re.compile(rb"\n(?i:Content-Length|l)[ \t]*+:(%b)(?=%b)" % (VALUE, END_OF_FIELD))


class StreamFramer:
    """Cuts messages from a stream, each as long as its Content-Length says, and the filling between them.

    Before the first message the filling is line ends alone (S4, S6). Behind a message NULs and blanks are filling too,
    because some proxies count the NUL at the end of a string in. The framer does not search for the next message. So
    skipped filling never makes a message begin in another place.

    `push()` what arrives, then `pop()` until it answers None. The work is linear in what arrives, however it is cut.
    The framer holds back at most one message, and what one read brought.
    """

    __slots__ = ("_begun", "_between", "_data", "_searched", "_whole")

    def __init__(self) -> None:
        self._data = bytearray()
        self._between = LINE_ENDS
        self._begun = False
        """Whether a start line of SIP has come."""
        self._searched = 0
        """How many bytes have been searched already. This keeps the work linear."""
        self._whole: int | None = None
        """The length of the message, once it is known."""

    def __len__(self) -> int:
        """How many bytes wait here."""
        return len(self._data)

    def push(self, data: bytes) -> None:
        self._data += data

    def pop(self) -> bytes | None:
        """The next whole message, or as much filling before a message as has come (`is_filling`). None: neither has
        come yet.

        Raises NotSip as soon as the bytes cannot be SIP. Raises BadMessage if the end of a message cannot be known
        (content_length_missing, bad_content_length, content_length_conflict) or is too far (header_too_large,
        body_too_large). The stream is of no use after that. Any other fault of a message is left to `read_message`.
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
                # Without a length nobody knows where the next message begins (S2).
                raise BadMessage("content_length_missing", *line_and_column(head, empty.start()))
            if length[0] > MAX_BODY_BYTES:
                raise BadMessage("body_too_large", *line_and_column(head, length[1].start), 513)
        except BadMessage as error:
            error.head = salvaged(head)
            raise
        return empty.end() + length[0]


def is_filling(piece: bytes) -> bool:
    """Whether a piece that was cut from a stream is filling between messages, and no message."""
    return not piece.strip(b"\r\n\0 \t")


def is_keep_alive(datagram: bytes) -> bool:
    """Whether a datagram only keeps the mappings of NAT alive: line ends, a few bytes of anything, or STUN (S5).

    RFC 5626 s.4.4.2 defines line ends. In the field one or four NULs, blanks and `hello` are seen. RFC 5389 s.6 defines
    STUN; the STUN of RFC 3489 has no cookie, so the cookie is not asked for. No SIP message begins with such a byte.
    """
    if len(datagram) <= _MAX_KEEP_ALIVE_BYTES or (datagram[0] in b"\r\n" and not datagram.strip(b"\r\n")):
        return True
    if datagram[0] > 1:
        return False
    length = len(datagram) - _STUN_HEADER_BYTES
    return length >= 0 and length % 4 == 0 and int.from_bytes(datagram[2:4]) == length


_MAX_KEEP_ALIVE_BYTES = 8
"""A datagram that is no longer is no message, because the version of SIP alone takes seven bytes."""

_STUN_HEADER_BYTES = 20
