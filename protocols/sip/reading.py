"""Reading SIP messages: from the bytes of one to what it says, to what is mended in it, or to why it is refused.

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

Reasons of a refusal: not_sip, bad_version, bad_request_line, bad_status_line; unfinished_line, bad_header_line,
bare_cr, header_too_large, too_many_fields; missing_via (and from, to, call_id, cseq), bad_call_id, bad_cseq;
bad_content_length, content_length_conflict, body_too_short; tag_too_long and too_many_values when somebody asks.
Reasons of what is mended: repeated_from (and to, call_id, cseq, content_type, content_length), cseq_mismatch, bare_cr.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from protocols.sip import mends as sip_mends
from protocols.sip import odd
from protocols.sip.head import (
    END_OF_FIELD,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_ID_BYTES,
    MAX_METHOD_BYTES,
    NAMES,
    TOKEN,
    VALUE,
    BadMessage,
    CSeq,
    Fields,
    Head,
    bad_line,
    bad_start,
    canonical,
    line_and_column,
    read_length,
)
from protocols.sip.message import Message, Oddity
from protocols.toolbox.spans import Span, replace

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

# A field, or nothing where none stands: then the search ends.
_FIELD = re.compile(rb"(%b++)[ \t]*+:(%b)%b|" % (TOKEN, VALUE, END_OF_FIELD))
_LAST_FIELD = re.compile(rb"(%b++)[ \t]*+:(%b)\r?\Z" % (TOKEN, VALUE))
_NO_FIELD = re.compile(rb"(?![ \t])([^\r\n:]*+)[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*%b" % END_OF_FIELD)

_CSEQ = re.compile(rb"[ \t\r\n]*+([0-9]{1,10}+)[ \t\r\n]++(%b++)[ \t\r\n]*+\Z" % TOKEN)

_ALL_ONCE = frozenset(sip_mends.ONCE)
_NO_CSEQ = CSeq(0, b"")


def read_message(data: bytes, is_cut: bool = False) -> Message:
    """Read a datagram, or (`is_cut`) what StreamFramer cut from a stream. Raises BadMessage.

    Everybody knows the end of a datagram, so a line that is no field may look like a Content-Length there, and of two
    lengths one counts. The message is what goes on: nothing is left in it that others could read in another way.
    """
    oddities: list[Oddity] = []
    start = _START.match(data)
    if start is None:
        start = _ODD_START.match(data)
        if start is None:
            raise bad_start(data)
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
    """Read the fields from `end` on. Returns the place at which no further field stands."""
    for match in _FIELD.finditer(data, end):  # pragma: no branch (where no field stands, there is a match of nothing)
        spelling: bytes | None = match[1]
        if spelling is None:
            return match.start()
        name = NAMES.get(spelling) or canonical(spelling)
        if name in fields:
            fields[name].append(match.span(2))
        else:
            fields[name] = [match.span(2)]
    return end


def _skip(data: bytes, at: int, fields: Fields, oddities: list[Oddity], is_cut: bool) -> int:
    """Pass a line that is no field, or a last field that the end of a datagram ends. Returns where the line ends; -1 if
    neither stands there. A line that others could take for Content-Length is not skipped in a stream: it would end the
    message elsewhere."""
    if data.startswith((b"\r\n", b"\n"), at) or at == len(data) or len(oddities) > MAX_FIELDS:
        return -1
    if (last := _LAST_FIELD.match(data, at)) is not None:
        fields.setdefault(canonical(last[1]), []).append(last.span(2))
        oddities.append(Oddity(canonical(last[1]), Span(*last.span()), "unfinished_line"))
        return len(data)
    line = _NO_FIELD.match(data, at) if fields else None
    if line is None or (is_cut and sip_mends.is_like_length(line[1])):
        return -1
    oddities.append(Oddity(b"", Span(*line.span()), "bad_header_line"))
    return line.end()


def _begin_of_body(data: bytes, at: int) -> int:
    """Where the body begins: behind the empty line that follows the last field. Raises BadMessage if there is no empty
    line. Datagrams that end without one are seen in the field, ACKs above all; the end of the datagram says as much."""
    if data.startswith(b"\r\n", at):
        return at + 2
    if data.startswith(b"\n", at):
        return at + 1
    if at == len(data):
        return at
    raise bad_line(data, at)


def _require(head: Head) -> None:
    """Check that all fields are there that must be (RFC 3261 s.8.1.1); Max-Forwards is not missed (S23). Raises
    BadMessage."""
    fields, data = head.places, head.data
    via = fields.get(b"via")
    if via is None or not data[via[0][0] : via[0][1]].strip(b", \t\r\n"):
        raise BadMessage("missing_via", 1, 1, head=head)
    if not fields.keys() >= _ALL_ONCE:
        name = next(name for name in sip_mends.ONCE if name not in fields)
        raise BadMessage(f"missing_{_word(name)}", 1, 1, head=head)


def _cseq(head: Head) -> CSeq:
    at = head.places[b"cseq"][0]
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
    """Fields of which there may be one stand there again. The lines that do not say what counts are taken out. From now
    on the head has only the others."""
    mends: list[_Mend] = []
    for name in sip_mends.TOLD_ONCE:
        places = head.places.get(name, ())
        if len(places) < 2 or (is_cut and name == b"content-length"):
            continue
        spans, reason = head.spans(name), f"repeated_{_word(name)}"
        agrees = sip_mends.agreeing(name, [head.data[span.start : span.end] for span in spans], room)
        for span, place, does_agree in zip(spans, places, agrees, strict=True):
            if not does_agree:
                mends.append(_Mend(Span(*sip_mends.line_of(head.data, *place)), b"", span.start, reason))
        head.places[name] = [place for place, does_agree in zip(places, agrees, strict=True) if does_agree]
        if all(agrees) and name != b"content-length":
            oddities.append(Oddity(name, spans[1], reason))
    return mends


def _name_apart(head: Head, oddities: list[Oddity]) -> None:
    """A message without a Call-ID is told apart from others between the same two hosts by the tag of From alone. Raises
    BadMessage if there is none."""
    span = head.spans(b"from")[0]
    if odd.read_identity(head.data[span.start : span.end]).tag is None:
        raise BadMessage("bad_call_id", *line_and_column(head.data, head.places[b"call-id"][0][0]), head=head)
    oddities.append(Oddity(b"call-id", head.spans(b"call-id")[0], "no_call_id"))


def _read_again(data: bytes, mended: bytes, told: list[tuple[int, str]], is_cut: bool) -> Message:
    """Read the message as it goes on. `told` says where in `data` the message was mended, and why. Raises
    BadMessage."""
    message = read_message(mended, is_cut)
    message.oddities += (Oddity(b"", Span(0, 0), reason, line_and_column(data, at)) for at, reason in told)
    return message


def _body(head: Head, begin: int) -> tuple[Span | None, Span]:
    """Where the digits of Content-Length stand, and the body that they count. What stands behind that body is no part
    of the message (S1)."""
    length = read_length(head)
    if length is None:
        return None, Span(begin, len(head.data))
    if begin + length[0] > len(head.data):
        raise BadMessage("body_too_short", *line_and_column(head.data, length[1].start), head=head)
    return length[1], Span(begin, begin + length[0])
