"""The head of a SIP message: its start line and header fields, where each value stands, and why one is refused.

RFC 3261 s.7.1 to 7.3, s.25.1 (grammar). What can be read of a broken message is read here too, for its answer.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field
from typing import NamedTuple

from protocols.contract.addresses import Malformed
from protocols.sip.values import stripped, unfolded
from protocols.toolbox.spans import Span

MAX_HEAD_BYTES = 32 * 1024
"""The longest start line with header fields. The longest of RFC 4475 has 3.5 KiB, one with certificates in Identity
ten."""

MAX_FIELDS = 256
"""The most header fields of one message: 70 hops, each with its Via and Record-Route, and the rest."""

MAX_BODY_BYTES = 256 * 1024
"""The longest body on a stream; a datagram ends at 64 KiB. Lists of presence are the longest bodies there are."""

MAX_METHOD_BYTES = 64
"""The longest method. REGISTER has eight bytes."""

MAX_PHRASE_BYTES = 128
"""How much of the words of a response is remembered."""

MAX_ID_BYTES = 1024
"""The longest Call-ID or tag. A call is remembered by these for as long as it stands. Those seen have up to 100 bytes,
the longest of RFC 4475 have 300."""

# -- names of header fields ------------------------------------------------------------------------------------------

# RFC 3261 s.7.3.3 and, behind it, RFC 6665, 3515, 3892, 4028, 3841, 8224 (S13).
_COMPACT = {
    b"i": b"call-id",
    b"m": b"contact",
    b"e": b"content-encoding",
    b"l": b"content-length",
    b"c": b"content-type",
    b"f": b"from",
    b"s": b"subject",
    b"k": b"supported",
    b"t": b"to",
    b"v": b"via",
    b"u": b"allow-events",
    b"o": b"event",
    b"r": b"refer-to",
    b"b": b"referred-by",
    b"x": b"session-expires",
    b"a": b"accept-contact",
    b"j": b"reject-contact",
    b"d": b"request-disposition",
    b"y": b"identity",
}

_USUAL = """
    Via Max-Forwards From To Call-ID CSeq Contact Content-Type Content-Length User-Agent Server Allow Supported Require
    Route Record-Route Path Service-Route Expires Authorization Proxy-Authorization WWW-Authenticate Proxy-Authenticate
    Accept Subject Date Event Session-Expires Min-SE P-Asserted-Identity Privacy RAck RSeq Refer-To Referred-By
"""

# As they are nearly always spelled, so that these need not be put in lower case each time.
NAMES = {name: name.lower() for name in _USUAL.encode().split()}
NAMES |= {spelling: name for letter, name in _COMPACT.items() for spelling in (letter, letter.upper())}

# -- the head ----------------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """One header field, with the lines that continue it."""

    name: bytes
    """The name of the field, in its long form and in lower case."""
    span: Span
    """Where the value stands, without the blanks around it."""


class CSeq(NamedTuple):
    """What the field CSeq says (RFC 3261 s.20.16)."""

    number: int
    method: bytes


Fields = dict[bytes, list[tuple[int, int]]]
"""name of a field -> where each value of the field stands, in the order of the message and with the blanks around
it."""


@dataclass(slots=True)
class Head:
    """What stands before the body: of a message, or of as much of it as could be read."""

    data: bytes
    """The whole message; spans are offsets into it."""
    method: bytes
    """The method of a request, whose case counts (S24); empty for a response."""
    places: Fields
    """Where the values of each field stand."""
    is_request: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_request = bool(self.method)

    @property
    def names(self) -> Set[bytes]:
        """The names of the fields that there are, as in Field."""
        return self.places.keys()

    @property
    def fields(self) -> list[Field]:
        """All header fields, in their order."""
        found = [(at, name) for name, places in self.places.items() for at in places]
        return [Field(name, stripped(self.data, *at)) for at, name in sorted(found)]

    def spans(self, name: bytes) -> list[Span]:
        """Where the values of the fields with this name (as in Field) stand, in their order. A value may be a list."""
        return [stripped(self.data, *at) for at in self.places.get(name, ())]

    def first(self, name: bytes) -> bytes | None:
        """The first field's value, on one line; None if there is no such field."""
        places = self.places.get(name)
        return unfolded(self.data[places[0][0] : places[0][1]].strip()) if places else None


class BadMessage(Malformed):
    """A message that is not what it should be. `line` and `column` count from 1."""

    def __init__(self, reason: str, line: int, column: int, status: int = 400, head: Head | None = None) -> None:
        super().__init__(f"{reason} at {line}:{column}")
        self.reason = reason
        """One snake_case word for the log."""
        self.line = line
        self.column = column
        self.status = status
        """The status with which a request should be answered."""
        self.head = head
        """What could be read of the message."""

    @property
    def is_request(self) -> bool:
        return self.head is not None and self.head.is_request


class NotSip(BadMessage):
    """What should be a start line does not even say SIP (S6)."""


def line_and_column(data: bytes, at: int) -> tuple[int, int]:
    return data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)


# -- its grammar -------------------------------------------------------------------------------------------------------

TOKEN = rb"[A-Za-z0-9.!%*_+`'~-]"
"""A character of a token: RFC 3261 s.25.1."""

# A value with the blanks around it and all the lines that continue it (S12, S14). A NUL may stand in it (RFC 4475
# s.3.1.1.2 has one behind a backslash): values that decide something have grammars of their own.
VALUE = rb"[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*"
END_OF_FIELD = rb"\r?\n(?![ \t])"
_LENGTH = re.compile(rb"[ \t\r\n]*+([0-9]{1,7}+)[ \t\r\n]*+\Z")


def canonical(spelling: bytes) -> bytes:
    name = spelling.lower()
    return _COMPACT.get(name, name)


def read_length(head: Head) -> tuple[int, Span] | None:
    """What Content-Length says, and where it stands; None if there is none. The value must be digits alone, and say the
    same in each such field (S3), or else BadMessage is raised."""
    found: tuple[int, Span] | None = None
    for at in head.places.get(b"content-length", ()):
        match = _LENGTH.match(head.data, *at)
        if match is None:
            raise BadMessage("bad_content_length", *line_and_column(head.data, at[0]), head=head)
        length = int(match[1])
        if found is not None and found[0] != length:
            raise BadMessage("content_length_conflict", *line_and_column(head.data, at[0]), head=head)
        found = found or (length, Span(*match.span(1)))
    return found


# -- what is wrong with it ---------------------------------------------------------------------------------------------

LINE_ENDS = re.compile(rb"(?:\r?\n)*")
_LINE = re.compile(rb"[^\n]*+")
_METHOD = re.compile(rb"%b{1,%d}+(?=[ \t])" % (TOKEN, MAX_METHOD_BYTES))
_FIRST_VERSION = re.compile(rb"(?i:SIP)/([0-9]\.[0-9])(?![^ \t\r])")
_LAST_VERSION = re.compile(rb"[ \t](?i:SIP)/([0-9]\.[0-9])[ \t\r]*+\Z")
_FIELD_LINES = re.compile(rb"[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*")
_ANY_FIELD = re.compile(rb"(?<=\n)(%b++)[ \t]*+:(%b)%b" % (TOKEN, VALUE, END_OF_FIELD))
END_OF_HEAD = re.compile(rb"\n\r?\n")


def _end_of(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Where the longest match of the pattern that begins at `at` ends; `at` if nothing matches."""
    match = pattern.match(data, at)
    return at if match is None else match.end()


def method_and_version(line: bytes) -> tuple[bytes, bytes] | None:
    """The method and the version of a start line that says SIP where it must, whatever else is wrong with it; None for
    any other line (S6)."""
    if (version := _FIRST_VERSION.match(line)) is not None:
        return b"", version[1]
    if (method := _METHOD.match(line)) is not None and (version := _LAST_VERSION.search(line)) is not None:
        return method[0], version[1]
    return None


def is_sip(data: bytes) -> bool:
    """Whether the first line says SIP where it must, whatever else is wrong with the message."""
    at = _end_of(LINE_ENDS, data, 0)
    return method_and_version(data[at : _end_of(_LINE, data, at)]) is not None


def bad_start(data: bytes) -> BadMessage:
    at = _end_of(LINE_ENDS, data, 0)
    said = method_and_version(data[at : _end_of(_LINE, data, at)])
    position = line_and_column(data, at)
    if said is None:
        return NotSip("not_sip", *position)
    method, version = said
    head = salvaged(data)
    if version != b"2.0":
        return BadMessage("bad_version", *position, 505, head)
    return BadMessage("bad_request_line" if method else "bad_status_line", *position, head=head)


def bad_line(data: bytes, at: int) -> BadMessage:
    """The error for a line that is no header field and not the empty line behind the header fields."""
    stop = _end_of(_FIELD_LINES, data, at)
    rest = data[stop : stop + 2]
    if rest in (b"", b"\r"):
        reason = "unfinished_line"
    elif rest.startswith(b"\r") and rest != b"\r\n":
        reason = "bare_cr"
    else:
        reason, stop = "bad_header_line", at
    return BadMessage(reason, *line_and_column(data, stop), head=salvaged(data))


def salvaged(data: bytes) -> Head:
    """The method and those header fields that can be read of a broken message, for its answer."""
    at = _end_of(LINE_ENDS, data, 0)
    said = method_and_version(data[at : _end_of(_LINE, data, at)])
    empty = END_OF_HEAD.search(data, at)
    fields: Fields = {}
    for match in _ANY_FIELD.finditer(data, at, empty.end() if empty else min(len(data), MAX_HEAD_BYTES)):
        fields.setdefault(canonical(match[1]), []).append(match.span(2))
    return Head(data, said[0] if said else b"", fields)
