"""SIP messages as bytes and spans: what a message says, where it stands, and why one is refused.

RFC 3261 s.7 (messages), s.8.2.6 (responses), s.18.3 (framing), s.20 (header fields), s.25.1 (grammar); RFC 4475 (what
may be met). What dialogs and registrations make of a message is not decided here; values of fields are read in
values.py, when somebody asks.

House rules:
- The start line and then each field are matched once, by two linear patterns, from the first byte on (X1). Nothing is
  parsed that nobody asks for but what every message is checked by: Call-ID, CSeq, Content-Length.
- A hop in the middle reads strictly only what decides about an address of ours, a call or a pinhole: the start line,
  where the header and the body end, Call-ID, CSeq, the tags. What cannot be read of these is refused. All else passes
  byte for byte, and is noted (`Message.oddities`): values, lines that are no field, a field twice that says the same.
- What others could read in another way than we do is mended, and what is mended is read (mends.py): of a field that
  should stand once and says two things one counts, and the other lines do not go on. Where a message of a stream ends
  is never found in two ways (S3, S9): there such messages are refused.
- A refused message is passed, answered or dropped as a policy says, but never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from protocols.contract.addresses import Malformed
from protocols.sip import mends as sip_mends
from protocols.sip import odd
from protocols.sip.remembered import BRANCH, read_address, read_uri, read_via
from protocols.sip.values import BLANKS, MAX_VALUES, Address, Via, split, stripped, unfolded
from protocols.toolbox.memory import MAX_KEY_BYTES, short
from protocols.toolbox.spans import Span, replace

Value = TypeVar("Value")

MAX_HEAD_BYTES = 32 * 1024
"""Start line and header fields. The longest of RFC 4475 has 3.5 KiB, one with certificates in Identity ten."""

MAX_FIELDS = 256
"""70 hops, each with its Via and Record-Route, and the rest."""

MAX_BODY_BYTES = 256 * 1024
"""On a stream; a datagram has 64 KiB. Lists of presence are the longest bodies there are."""

MAX_METHOD_BYTES = 64
"""REGISTER has eight."""

MAX_ID_BYTES = 1024
"""Call-ID and tags, by which a call is remembered for as long as it stands. Those seen have up to 100, the longest of
RFC 4475 have 300."""

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
_NAMES = {name: name.lower() for name in _USUAL.encode().split()}
_NAMES |= {spelling: name for letter, name in _COMPACT.items() for spelling in (letter, letter.upper())}

# -- messages --------------------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """One header field, with the lines that continue it."""

    name: bytes
    """In its long form and in lower case."""
    span: Span
    """Of the value, without the blanks around it."""


class Oddity(NamedTuple):
    """Something that is not as the grammar has it, in a message that goes on all the same."""

    name: bytes
    """Of the field, as in Field; empty for a line that is none."""
    span: Span
    reason: str
    """One snake_case word for the log."""
    mended_at: tuple[int, int] | None = None
    """Of something that does not go on as it came: its line and column there. `span` is empty then."""


class CSeq(NamedTuple):
    number: int
    method: bytes


_NO_CSEQ = CSeq(0, b"")

Fields = dict[bytes, list[tuple[int, int]]]
"""By name, in their order: where each value stands, with the blanks around it."""


@dataclass(slots=True)
class Head:
    """What stands before the body: of a message, or as much of it as could be read."""

    data: bytes
    """The whole message; spans are offsets into it."""
    method: bytes
    """Empty for a response. Case counts (S24)."""
    _fields: Fields
    is_request: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_request = bool(self.method)

    @property
    def names(self) -> Set[bytes]:
        """Of the fields that there are, as in Field."""
        return self._fields.keys()

    @property
    def fields(self) -> list[Field]:
        """All header fields, in their order."""
        found = [(at, name) for name, places in self._fields.items() for at in places]
        return [Field(name, stripped(self.data, *at)) for at, name in sorted(found)]

    def spans(self, name: bytes) -> list[Span]:
        """Of the values of the fields with this name (as in Field), in their order. A value may be a list."""
        return [stripped(self.data, *at) for at in self._fields.get(name, ())]

    def first(self, name: bytes) -> bytes | None:
        """The first field's value, on one line; None if there is no such field."""
        places = self._fields.get(name)
        return unfolded(self.data[places[0][0] : places[0][1]].strip()) if places else None


@dataclass(slots=True)
class Message(Head):
    """A whole message that is what it should be."""

    uri: Span
    """Of a request; empty for a response."""
    status: int
    """100-699; 0 for a request."""
    call_id: bytes
    """Opaque; compared byte by byte. Empty for one that names none, whose From has a tag then."""
    cseq: CSeq
    content_length: Span | None
    """The digits. Should there be more such fields, they say the same, and `spans` has them all."""
    body: Span
    oddities: list[Oddity] = field(default_factory=list)
    """What was found to be not as the grammar has it, so far: values are read when somebody asks."""

    @property
    def from_tag(self) -> bytes | None:
        """None for one that has none, as RFC 2543 had it. Raises BadMessage if it is too long."""
        return self._tag(b"from")

    @property
    def to_tag(self) -> bytes | None:
        """None outside of dialogs. Raises BadMessage if it is too long."""
        return self._tag(b"to")

    def _tag(self, name: bytes) -> bytes | None:
        start, end = self._fields[name][0]
        tag, _, oddity = odd.read_identity(self.data[start:end].strip(BLANKS))
        if oddity is not None:
            self.oddities.append(Oddity(name, stripped(self.data, start, end), oddity))
        if tag is not None and len(tag) > MAX_ID_BYTES:
            raise self._bad("tag_too_long", stripped(self.data, start, end).start)
        return tag

    def identity(self, name: bytes) -> bytes:
        """The URI of From or To, as it stands there."""
        start, end = self._fields[name][0]
        return odd.read_identity(self.data[start:end].strip(BLANKS)).uri

    @property
    def branch(self) -> bytes:
        """Of the top Via, by which its sender knows the transaction; empty for one that has none, or names it oddly."""
        places = self._fields.get(b"via")
        taken = BRANCH.search(self.data, *places[0]) if places else None
        if taken is None:
            return b""
        branch: bytes = taken[1]
        return branch if len(branch) <= MAX_KEY_BYTES else short(branch)

    def address(self, name: bytes) -> tuple[Span, Address]:
        """The value of From or To, of which there is one in each message, and it is no list."""
        span = stripped(self.data, *self._fields[name][0])
        return span, self.read(span, read_address)

    def request_uri(self) -> Address:
        """Of a request; spans are offsets into `uri`."""
        return self.read(self.uri, read_uri)

    def addresses(self, name: bytes) -> list[tuple[Span, Address]]:
        """Every value of these fields, in their order: where it stands, and what it says. Raises BadMessage."""
        return [(part, self.read(part, read_address)) for part in self.parts(name)]

    def vias(self) -> list[tuple[Span, Via]]:
        """Every Via, the top one first. Raises BadMessage."""
        return [(part, self.read(part, read_via)) for part in self.parts(b"via")]

    def read(self, span: Span, read: Callable[[bytes], Value]) -> Value:
        """What the value says that stands there, or what can be found in it if it is odd: then it is noted."""
        value = self.data[span.start : span.end]
        try:
            return read(value)
        except Malformed as error:
            self.oddities.append(Oddity(self._name_at(span.start), span, str(error)))
            return odd.found(value, read)

    def _name_at(self, at: int) -> bytes:
        """Of the field that stands there."""
        for name, places in self._fields.items():
            if any(start <= at <= end for start, end in places):
                return name
        return b"request-uri"

    def parts(self, name: bytes) -> list[Span]:
        """Where every value of these fields stands, in their order. Raises BadMessage for more than MAX_VALUES: what is
        not read cannot be mapped."""
        places = self._fields.get(name)
        if places is None:
            return []
        if len(places) == 1 and self.data.find(b",", *places[0]) < 0:  # as nearly always
            only = stripped(self.data, *places[0])
            return [only] if only.start < only.end else []
        found: list[Span] = []
        for at in places:
            try:
                found += split(self.data, Span(*at))
            except Malformed as error:
                self.oddities.append(Oddity(name, stripped(self.data, *at), str(error)))
                found += odd.split(self.data, Span(*at))
            if len(found) > MAX_VALUES:
                raise self._bad("too_many_values", at[0])
        return found

    def _bad(self, reason: str, at: int) -> BadMessage:
        return BadMessage(reason, *line_and_column(self.data, at), head=self)

    def where(self, oddity: Oddity) -> str:
        """For the log."""
        line, column = oddity.mended_at or line_and_column(self.data, oddity.span.start)
        return f"{oddity.reason} in line {line}, column {column}"


class BadMessage(Malformed):
    """A message that is not what it should be. `line` and `column` count from 1."""

    def __init__(self, reason: str, line: int, column: int, status: int = 400, head: Head | None = None) -> None:
        super().__init__(f"{reason} at {line}:{column}")
        self.reason = reason
        """One snake_case word for the log."""
        self.line = line
        self.column = column
        self.status = status
        """With which a request should be answered."""
        self.head = head
        """What could be read of it."""

    @property
    def is_request(self) -> bool:
        return self.head is not None and self.head.is_request


class NotSip(BadMessage):
    """What should be a start line does not even say SIP (S6)."""


class Refused(Exception):
    """The message cannot go on: with what its sender is answered."""

    def __init__(self, status: int, reason: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason


def line_and_column(data: bytes, at: int) -> tuple[int, int]:
    return data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)


# -- reading ---------------------------------------------------------------------------------------------------------

TOKEN = rb"[A-Za-z0-9.!%*_+`'~-]"
_END = rb"\r?\n"

# Empty lines before it mean nothing (S4). The reason phrase may be anything and nothing (S25), without its space too.
_START = re.compile(
    rb"(?:\r?\n)*(?:"
    rb"(?P<method>%b{1,%d}+)\x20(?P<uri>[^ \t\r\n\0<>\"]++)\x20(?i:SIP)/2\.0|"
    rb"(?i:SIP)/2\.0\x20(?P<status>[1-6][0-9][0-9])(?:\x20[^\r\n]*+)?"
    rb")%b" % (TOKEN, MAX_METHOD_BYTES, _END)
)

# The same with blanks where none should be, and a URI that holds anything but a NUL: whose it is, is for those to say
# who serve it. The status and the version are what they are (S24, S25).
_ODD_START = re.compile(
    rb"(?:\r?\n)*(?:"
    rb"(?P<method>%b{1,%d}+)[ \t]++(?P<uri>[^ \t\r\n\0](?:[^\r\n\0]*?[^ \t\r\n\0])??)[ \t]++(?i:SIP)/2\.0[ \t]*+|"
    rb"(?i:SIP)/2\.0[ \t]++(?P<status>[1-6][0-9][0-9])(?![0-9])[^\r\n]*+"
    rb")%b" % (TOKEN, MAX_METHOD_BYTES, _END)
)

# Name, value with the blanks around it and all the lines that continue it (S12, S14); or nothing: no field stands here.
# A NUL may stand in a value (RFC 4475 s.3.1.1.2 has one behind a backslash): those that decide have their own grammars.
VALUE = rb"[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*"
END_OF_FIELD = rb"\r?\n(?![ \t])"
_FIELD = re.compile(rb"(%b++)[ \t]*+:(%b)%b|" % (TOKEN, VALUE, END_OF_FIELD))
_LAST_FIELD = re.compile(rb"(%b++)[ \t]*+:(%b)\r?\Z" % (TOKEN, VALUE))
_NO_FIELD = re.compile(rb"(?![ \t])([^\r\n:]*+)[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*%b" % END_OF_FIELD)

_CSEQ = re.compile(rb"[ \t\r\n]*+([0-9]{1,10}+)[ \t\r\n]++(%b++)[ \t\r\n]*+\Z" % TOKEN)
_LENGTH = re.compile(rb"[ \t\r\n]*+([0-9]{1,7}+)[ \t\r\n]*+\Z")

_ALL_ONCE = frozenset(sip_mends.ONCE)


def read_message(data: bytes, is_cut: bool = False) -> Message:
    """A datagram, or (`is_cut`) what StreamFramer cut from a stream. Raises BadMessage.

    Of a datagram all know the end, so a line that is no field may look like a Content-Length there, and of two lengths
    one counts. The message is what goes on: it has nothing any more that others could read in another way.

    Reasons: not_sip, bad_version, bad_request_line, bad_status_line; unfinished_line, bad_header_line, bare_cr,
    header_too_large, too_many_fields; missing_via (and from, to, call_id, cseq), bad_call_id, bad_cseq;
    bad_content_length, content_length_conflict, body_too_short; tag_too_long and too_many_values when somebody asks.
    Of what is mended: repeated_from (and to, call_id, cseq, content_type, content_length), cseq_mismatch, bare_cr.
    """
    oddities: list[Oddity] = []
    start = _START.match(data)
    if start is None:
        start = _ODD_START.match(data)
        if start is None:
            raise _bad_start(data)
        oddities.append(Oddity(b"", Span(*start.span()), "odd_start_line"))
    fields: Fields = {}
    end = _read_fields(data, start.end(), fields)
    if data.startswith(b"\r\n", end):
        begin = end + 2
    else:
        while (behind := _skip(data, end, fields, oddities, is_cut)) >= 0:
            end = _read_fields(data, behind, fields)
        if (mended := sip_mends.without_bare_crs(data, end, is_cut)) is not None:
            return _read_again(data, mended[0], [(mended[1], "bare_cr")], is_cut)
        begin = _begin_of_body(data, end)
    method, status = start.group("method", "status")
    uri = Span(*start.span("uri")) if method else Span(start.start("status"), start.start("status"))
    # What can be read of it is known from here on, whatever is wrong with the rest.
    message = Message(
        data, method or b"", fields, uri, int(status or 0), b"", _NO_CSEQ, None, Span(begin, begin), oddities
    )
    if begin > MAX_HEAD_BYTES:
        raise BadMessage("header_too_large", *line_and_column(data, MAX_HEAD_BYTES), 513, message)
    lines = sum(map(len, fields.values()))
    if lines + len(oddities) > MAX_FIELDS:
        raise BadMessage("too_many_fields", *line_and_column(data, end), 513, message)
    _require(message)
    mends = _repeated(message, len(data) - begin, oddities, is_cut) if lines != len(fields) else []
    message.cseq = cseq = _cseq(message)
    if method and method != cseq.method:
        # Its answer names the method of CSeq alone, and would be taken for that of another request.
        at = data.rindex(cseq.method, *fields[b"cseq"][0])
        mends.append(_Mend(Span(at, at + len(cseq.method)), method, at, "cseq_mismatch"))
    call_id_at, end_of_call_id = fields[b"call-id"][0]
    call_id = data[call_id_at:end_of_call_id].strip()
    if b"\n" in call_id or b"\0" in call_id or len(call_id) > MAX_ID_BYTES:
        raise BadMessage("bad_call_id", *line_and_column(data, call_id_at), head=message)
    if not call_id:
        _name_apart(message, oddities)
    message.call_id = call_id
    message.content_length, message.body = _body(message, begin)
    if mends:
        changed = replace(data, sorted((mend.span, mend.new) for mend in mends))
        return _read_again(data, changed, sorted((mend.at, mend.reason) for mend in mends), is_cut)
    return message


def _read_fields(data: bytes, end: int, fields: Fields) -> int:
    """Those from there on; where no field stands any more."""
    for match in _FIELD.finditer(data, end):  # pragma: no branch (where no field stands, there is a match of nothing)
        spelling: bytes | None = match[1]
        if spelling is None:
            return match.start()
        name = _NAMES.get(spelling) or _canonical(spelling)
        if name in fields:
            fields[name].append(match.span(2))
        else:
            fields[name] = [match.span(2)]
    return end


def _skip(data: bytes, at: int, fields: Fields, oddities: list[Oddity], is_cut: bool) -> int:
    """Behind a line that is no field, or a last one that the end of a datagram ends; -1 where neither stands.

    What could be taken for Content-Length by others is not skipped in a stream: it would end the message elsewhere.
    """
    if data.startswith((b"\r\n", b"\n"), at) or at == len(data) or len(oddities) > MAX_FIELDS:
        return -1
    if (last := _LAST_FIELD.match(data, at)) is not None:
        fields.setdefault(_canonical(last[1]), []).append(last.span(2))
        oddities.append(Oddity(_canonical(last[1]), Span(*last.span()), "unfinished_line"))
        return len(data)
    line = _NO_FIELD.match(data, at) if fields else None
    if line is None or (is_cut and sip_mends.is_like_length(line[1])):
        return -1
    oddities.append(Oddity(b"", Span(*line.span()), "bad_header_line"))
    return line.end()


def _begin_of_body(data: bytes, at: int) -> int:
    """Behind the empty line that stands where there is no field any more. Raises BadMessage if none does.

    Datagrams that end without it are seen in the field, ACKs above all; the end of the datagram says as much.
    """
    if data.startswith(b"\r\n", at):
        return at + 2
    if data.startswith(b"\n", at):
        return at + 1
    if at == len(data):
        return at
    raise _bad_line(data, at)


def _canonical(spelling: bytes) -> bytes:
    name = spelling.lower()
    return _COMPACT.get(name, name)


def _require(head: Head) -> None:
    """Raises BadMessage if not all is there that must be. RFC 3261 s.8.1.1; Max-Forwards is not missed (S23)."""
    fields, data = head._fields, head.data
    via = fields.get(b"via")
    if via is None or not data[via[0][0] : via[0][1]].strip(b", \t\r\n"):
        raise BadMessage("missing_via", 1, 1, head=head)
    if not fields.keys() >= _ALL_ONCE:
        name = next(name for name in sip_mends.ONCE if name not in fields)
        raise BadMessage(f"missing_{_word(name)}", 1, 1, head=head)


def _cseq(head: Head) -> CSeq:
    at = head._fields[b"cseq"][0]
    match = _CSEQ.match(head.data, *at)
    if match is None or (number := int(match[1])) >= 2**31:
        raise BadMessage("bad_cseq", *line_and_column(head.data, at[0]), head=head)
    return CSeq(number, match[2])


def _word(name: bytes) -> str:
    return name.decode().replace("-", "_")


class _Mend(NamedTuple):
    """A change without which others could read the message in another way."""

    span: Span
    new: bytes
    at: int
    """Where the fault stands, for the log."""
    reason: str


def _repeated(head: Head, room: int, oddities: list[Oddity], is_cut: bool) -> list[_Mend]:
    """Fields of which there may be one stand there again: those lines go that do not say what counts. From now on the
    head has those alone that do."""
    mends: list[_Mend] = []
    for name in sip_mends.TOLD_ONCE:
        places = head._fields.get(name, ())
        if len(places) < 2 or (is_cut and name == b"content-length"):
            continue
        spans, reason = head.spans(name), f"repeated_{_word(name)}"
        agrees = sip_mends.agreeing(name, [head.data[span.start : span.end] for span in spans], room)
        for span, place, does_agree in zip(spans, places, agrees, strict=True):
            if not does_agree:
                mends.append(_Mend(Span(*sip_mends.line_of(head.data, *place)), b"", span.start, reason))
        head._fields[name] = [place for place, does_agree in zip(places, agrees, strict=True) if does_agree]
        if all(agrees) and name != b"content-length":
            oddities.append(Oddity(name, spans[1], reason))
    return mends


def _name_apart(head: Head, oddities: list[Oddity]) -> None:
    """No Call-ID: then the tag of From alone tells the call apart from others between the same two hosts. Raises
    BadMessage if there is none."""
    span = head.spans(b"from")[0]
    if odd.read_identity(head.data[span.start : span.end]).tag is None:
        raise BadMessage("bad_call_id", *line_and_column(head.data, head._fields[b"call-id"][0][0]), head=head)
    oddities.append(Oddity(b"call-id", head.spans(b"call-id")[0], "no_call_id"))


def _read_again(data: bytes, mended: bytes, told: list[tuple[int, str]], is_cut: bool) -> Message:
    """The message as it goes on. told: where in `data` it was mended, and why. Raises BadMessage."""
    message = read_message(mended, is_cut)
    message.oddities += (Oddity(b"", Span(0, 0), reason, line_and_column(data, at)) for at, reason in told)
    return message


def read_length(head: Head) -> tuple[int, Span] | None:
    """Digits alone, and the same in each such field (S3)."""
    found: tuple[int, Span] | None = None
    for at in head._fields.get(b"content-length", ()):
        match = _LENGTH.match(head.data, *at)
        if match is None:
            raise BadMessage("bad_content_length", *line_and_column(head.data, at[0]), head=head)
        length = int(match[1])
        if found is not None and found[0] != length:
            raise BadMessage("content_length_conflict", *line_and_column(head.data, at[0]), head=head)
        found = found or (length, Span(*match.span(1)))
    return found


def _body(head: Head, begin: int) -> tuple[Span | None, Span]:
    """The Content-Length, and what it counts. What stands behind that is no part of the message (S1)."""
    length = read_length(head)
    if length is None:
        return None, Span(begin, len(head.data))
    if begin + length[0] > len(head.data):
        raise BadMessage("body_too_short", *line_and_column(head.data, length[1].start), head=head)
    return length[1], Span(begin, begin + length[0])


# -- what is wrong with it -------------------------------------------------------------------------------------------

LINE_ENDS = re.compile(rb"(?:\r?\n)*")
_LINE = re.compile(rb"[^\n]*+")
_METHOD = re.compile(rb"%b{1,%d}+(?=[ \t])" % (TOKEN, MAX_METHOD_BYTES))
_FIRST_VERSION = re.compile(rb"(?i:SIP)/([0-9]\.[0-9])(?![^ \t\r])")
_LAST_VERSION = re.compile(rb"[ \t](?i:SIP)/([0-9]\.[0-9])[ \t\r]*+\Z")
_FIELD_LINES = re.compile(rb"[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*")
_ANY_FIELD = re.compile(rb"(?<=\n)(%b++)[ \t]*+:(%b)%b" % (TOKEN, VALUE, END_OF_FIELD))
END_OF_HEAD = re.compile(rb"\n\r?\n")


def _end_of(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Where the longest match from there on ends."""
    match = pattern.match(data, at)
    return at if match is None else match.end()


def method_and_version(line: bytes) -> tuple[bytes, bytes] | None:
    """Of a start line that says SIP where it must, whatever else is wrong with it; None of any other (S6)."""
    if (version := _FIRST_VERSION.match(line)) is not None:
        return b"", version[1]
    if (method := _METHOD.match(line)) is not None and (version := _LAST_VERSION.search(line)) is not None:
        return method[0], version[1]
    return None


def is_sip(data: bytes) -> bool:
    """Whether the first line says SIP where it must, whatever else is wrong with the message."""
    at = _end_of(LINE_ENDS, data, 0)
    return method_and_version(data[at : _end_of(_LINE, data, at)]) is not None


def _bad_start(data: bytes) -> BadMessage:
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


def _bad_line(data: bytes, at: int) -> BadMessage:
    """What begins there is no header field, nor the empty line behind them."""
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
    """The method and those header fields that are some, for an answer to what is none."""
    at = _end_of(LINE_ENDS, data, 0)
    said = method_and_version(data[at : _end_of(_LINE, data, at)])
    empty = END_OF_HEAD.search(data, at)
    fields: Fields = {}
    for match in _ANY_FIELD.finditer(data, at, empty.end() if empty else min(len(data), MAX_HEAD_BYTES)):
        fields.setdefault(_canonical(match[1]), []).append(match.span(2))
    return Head(data, said[0] if said else b"", fields)
