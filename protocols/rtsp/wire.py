"""RTSP on a stream: messages, and interleaved frames between them (RFC 2326 s.4 and s.10.12).

A message is a start line, fields, an empty line, and as many bytes of body as Content-Length says (RT1). Once a frame
may come, whatever begins with `$` where a message could begin is one (RT10). Nothing is ever searched for: each byte
belongs to what began before it, and a stream that cannot be read is of no use any more (X1).

House rules:
- What need not be looked at as a whole passes as it arrives: frames, and the bodies that nobody reads.
- Read strictly is what decides where a message ends and to which request it belongs: Content-Length, CSeq, Session. Two
  of them that differ are two readings, and the stream ends (RT30). All other fields may hold anything.
- So does whatever another reader would take for such a field, or for the end of a head, where we do not (RT44). Lines
  of a request end alike, for live555 knows CRLF alone. Cameras may mix both: their answers hide nothing from a client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from protocols.contract.addresses import Malformed
from protocols.toolbox.spans import Span

MAX_LINE_BYTES = 8192
"""The longest start line."""
MAX_HEAD_BYTES = 32768
MAX_FIELDS = 64
MAX_BODY_BYTES = 262144
"""Descriptions with parameter sets of video are the longest bodies (RT30)."""
FRAME_HEAD_BYTES = 4
_DOLLAR = 0x24

_TOKEN = rb"[A-Za-z0-9!#%&'*+.^_`|~-]"
_REQUEST = re.compile(
    rb"(?P<method>%b{1,32}+)[ \t]++(?P<url>[^ \t\r\n]++)[ \t]++(?P<version>(?:RTSP|HTTP)/[0-9]\.[0-9])[ \t]*\r?\n"
    % _TOKEN
)
_RESPONSE = re.compile(
    rb"(?P<version>(?:RTSP|HTTP)/[0-9]\.[0-9])[ \t]++(?P<code>[1-9][0-9]{2})(?:[ \t][^\r\n]*+)?\r?\n"
)
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rb"\n([!-9;-~]++)[ \t]*+:[ \t]*+([^\n]*+(?:\n[ \t][^\n]*+)*)")
_BETWEEN = re.compile(rb"[\r\n]+")
_FOLDING = re.compile(rb"\r?\n[ \t]+")
_BARE_CR_OR_NUL = re.compile(rb"\r(?!\n)|\0")
_DECISIVE = rb"(?i:transport|content-length|cseq|session)"
_DOUBTFUL_FIELD = re.compile(rb"\n(?!%b[ \t]*:)[^!-~\n]*+%b[^!-~]*+:" % (_DECISIVE, _DECISIVE))
"""Not every reader takes it for a field: within a fold, who does not know folding does; with a fold before the colon,
GStreamer does, and with a form feed there, too (RT44)."""
_BLANK_LINE = re.compile(rb"\n[^!-~\r\n]++\r?\n")
"""Part of a fold by the letter, and the end of the head for who trims lines."""
_ID = re.compile(rb"([^;]{1,256}+)(?:;(.*))?", re.DOTALL)
_TIMEOUT = re.compile(rb"(?i)timeout[ \t]*=[ \t]*([0-9]{1,6})(?![0-9])")


class NotRtsp(Malformed):
    """A stream that begins as something else."""


class EarlyFrame(Malformed):
    """A frame before anybody has agreed on interleaved media (RT11)."""


class HeldTooMuch(Malformed):
    """More bytes of messages that are not whole are held than may be."""


@dataclass(slots=True)
class Head:
    """A message: its start line and fields, and its body if that is held with it."""

    data: bytes
    """From the start line to the end of the empty line."""
    version: bytes
    """RTSP/1.0, or HTTP/1.1 of a tunnel."""
    method: bytes = b""
    """Of a request, in capitals (RT2). Empty: a response."""
    url: bytes = b""
    code: int = 0
    """Of a response."""
    fields: dict[bytes, list[Span]] = field(default_factory=dict)
    """name in lower case -> where its values stand, folded lines included."""
    length: int = 0
    """How many bytes of body follow."""
    body: bytes = b""
    """The body, if it is held."""

    @property
    def is_rtsp(self) -> bool:
        return self.version.startswith(b"RTSP/")

    @property
    def is_2(self) -> bool:
        """Whether this is RTSP 2.0 (RFC 7826), with another Transport."""
        return self.version.startswith(b"RTSP/2")

    @property
    def name(self) -> str:
        """What the log calls the message."""
        return self.method.decode("latin-1") if self.method else str(self.code)

    def value(self, span: Span) -> bytes:
        return self.data[span.start : span.end]

    def first(self, name: bytes) -> bytes:
        """The first value of a field on one line; empty if there is none."""
        spans = self.fields.get(name)
        return _FOLDING.sub(b" ", self.value(spans[0])).strip() if spans else b""

    def only(self, name: bytes) -> bytes:
        """The value of a field that has one meaning. Raises Malformed if it comes twice and differs."""
        values = {_FOLDING.sub(b" ", self.value(span)).strip() for span in self.fields.get(name, ())}
        if len(values) > 1:
            raise Malformed(f"several values of {name.decode('latin-1')}")
        return values.pop() if values else b""

    def cseq(self) -> int | None:
        """The number that pairs responses with requests (RT3). None: it is missing. Raises Malformed."""
        return _number(self.only(b"cseq"), "cseq")

    def session(self) -> tuple[bytes, int | None]:
        """The session's id, and its timeout if the server says one (RT5). Empty: no session is named. Raises
        Malformed."""
        text = self.only(b"session")
        if not text:
            return b"", None
        found = _ID.fullmatch(text)
        if found is None:
            raise Malformed("session")
        timeout = _TIMEOUT.search(found[2] or b"")
        return found[1].strip(), int(timeout[1]) if timeout else None


def _number(text: bytes, what: str) -> int | None:
    """A decimal number (X4), or None for nothing."""
    if not text:
        return None
    if not text.isdigit() or len(text) > 10:
        raise Malformed(what)
    return int(text)


def read_head(data: bytes) -> Head:
    """Read the head of a message. Raises Malformed."""
    if _BARE_CR_OR_NUL.search(data):
        raise Malformed("a bare CR or a NUL")
    if _DOUBTFUL_FIELD.search(data):
        raise Malformed("a field that not every reader takes for one")
    if _BLANK_LINE.search(data):
        raise Malformed("a line of blanks in a head")
    head = read_start(data)
    if head.method and data.count(b"\r\n") not in (0, data.count(b"\n")):
        raise Malformed("a request whose lines end in CRLF and in LF")
    for number, found in enumerate(_FIELD.finditer(data)):
        if number >= MAX_FIELDS:
            raise Malformed(f"more than {MAX_FIELDS} fields")
        start, end = found.span(2)
        end -= len(found[2]) - len(found[2].rstrip())
        head.fields.setdefault(found[1].lower(), []).append(Span(start, end))
    head.length = _number(head.only(b"content-length"), "content-length") or 0
    if head.length > MAX_BODY_BYTES and head.is_rtsp:
        raise Malformed(f"a body of more than {MAX_BODY_BYTES} bytes")
    return head


def read_start(data: bytes) -> Head:
    """Read a start line, of which all further lines may still be missing. Raises NotRtsp."""
    if (found := _RESPONSE.match(data)) is not None:
        return Head(data, found["version"], code=int(found["code"]))
    if (found := _REQUEST.match(data)) is not None:
        return Head(data, found["version"], found["method"].upper(), found["url"])
    raise NotRtsp("the first line is none of RTSP")


def answer(version: bytes, code: int, reason: bytes, number: bytes) -> bytes:
    """An answer of ours. `number` is the CSeq of its request, if that has one."""
    cseq = b"CSeq: %b\r\n" % number if number else b""
    return b"%b %d %b\r\n%b\r\n" % (version, code, reason, cseq)


Piece = Head | bytes
"""A message, or bytes that pass as they are."""


class Framer:
    """Cuts one side's stream. `push()` what arrives, then `pop()` until it answers None."""

    __slots__ = ("_data", "_left", "_searched", "_started", "_waiting", "counts", "frames", "holds")

    def __init__(self, holds: Callable[[Head], bool]) -> None:
        """`holds` tells whether a message waits for its body, and has that with it."""
        self.holds = holds
        self.frames = False
        """Whether interleaved frames may come (RT11)."""
        self.counts: dict[int, list[int]] = {}
        """channel -> frames and bytes of them that have begun."""
        self._data = bytearray()
        self._left = 0
        """Bytes of a frame or a body that are still to come, and pass as they come."""
        self._searched = 0
        """How many bytes have been searched for the end of a head."""
        self._started = False
        """The start line of the message at hand has been read."""
        self._waiting: Head | None = None
        """A message whose body is to come."""

    def __len__(self) -> int:
        """How many bytes wait here."""
        return len(self._data) + (len(self._waiting.data) if self._waiting else 0)

    @property
    def is_between(self) -> bool:
        """Whether all that began has passed, so that something else may be sent."""
        return not self._left

    def push(self, data: bytes) -> None:
        self._data += data

    def rest(self) -> bytes:
        """All that waits, as it came; it waits no longer."""
        head = self._waiting.data if self._waiting else b""
        data, self._data, self._waiting = head + bytes(self._data), bytearray(), None
        return data

    def pop(self) -> Piece | None:
        """The next message, or bytes that pass. None: more is to come. Raises Malformed, NotRtsp, EarlyFrame."""
        if self._left:
            return self._pass()
        if self._waiting is not None:
            return self._whole(self._waiting)
        if not self._data:
            return None
        if self._data[0] == _DOLLAR and not self._started:
            if not self.frames:
                raise EarlyFrame("a frame without an agreement on interleaved media")
            return self._frames()
        if not self._started and (between := _BETWEEN.match(self._data)) is not None:
            return self._cut(between.end())
        return self._message()

    def _cut(self, end: int) -> bytes:
        piece = bytes(self._data[:end])
        del self._data[:end]
        return piece

    def _pass(self) -> bytes | None:
        if not self._data:
            return None
        piece = self._cut(self._left)
        self._left -= len(piece)
        return piece

    def _frames(self) -> bytes | None:
        """As many frames as follow each other; of the last one what has come."""
        data, at, size = self._data, 0, len(self._data)
        while at + FRAME_HEAD_BYTES <= size and data[at] == _DOLLAR:
            length = FRAME_HEAD_BYTES + (data[at + 2] << 8 | data[at + 3])
            count = self.counts.setdefault(data[at + 1], [0, 0])
            count[0] += 1
            count[1] += length - FRAME_HEAD_BYTES
            at += length
        self._left = max(at - size, 0)
        return self._cut(at) if at else None

    def _message(self) -> Head | None:
        if not self._started:
            self._start()
        end = _END_OF_HEAD.search(self._data, self._searched)
        if (end.end() if end else len(self._data)) > MAX_HEAD_BYTES:
            raise Malformed(f"a head of more than {MAX_HEAD_BYTES} bytes")
        if end is None:
            self._searched = max(len(self._data) - 2, 0)
            return None
        self._searched, self._started = 0, False
        head = read_head(self._cut(end.end()))
        if not head.is_rtsp:
            return head  # whoever begins a tunnel knows what follows
        if head.length and self.holds(head):
            self._waiting = head
            return self._whole(head)
        self._left = head.length
        return head

    def _start(self) -> None:
        """Look at the start line, as soon as it is there. Raises NotRtsp."""
        if not 0x20 < self._data[0] < 0x7F:
            raise NotRtsp("the first byte is none of RTSP")
        line = self._data.find(b"\n", self._searched)
        if line >= MAX_LINE_BYTES or (line < 0 and len(self._data) > MAX_LINE_BYTES):
            raise NotRtsp(f"a start line of more than {MAX_LINE_BYTES} bytes")
        if line < 0:
            self._searched = len(self._data)
            return
        read_start(bytes(self._data[: line + 1]))
        self._started, self._searched = True, max(line - 1, 0)

    def _whole(self, head: Head) -> Head | None:
        if len(self._data) < head.length:
            return None
        self._waiting = None
        head.body = self._cut(head.length)
        return head
