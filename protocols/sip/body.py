"""Finds SDP in the body of a SIP message, and puts other SDP in its place.

RFC 3261 s.7.4 (bodies), s.20.11 to 20.15 (their header fields); RFC 2046 s.5.1 (multipart); RFC 5621 (multipart in
SIP); RFC 3959 (early-session). The caller hands in the values of the message's header fields. It also sets the
Content-Length of the message itself.

House rules:
- A body is SDP because its type says so; nothing is guessed (S85). A body that is compressed, encrypted or signed is
  left alone, and the reason is told (S83).
- In a multipart body two things change: the SDP, and each Content-Length of a part that holds it (S86).
- A part that can be read in two ways, for example one with two Content-Types, is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from pyparsing import ParseException, Regex, StringEnd, ZeroOrMore

from protocols.toolbox.spans import Span, replace

MAX_DEPTH = 4
"""How many multiparts may be nested. SDP beside ISUP or a location needs one, and each gateway that wraps what it got
needs one more."""

MAX_PARTS = 32
"""How many parts a body may have, at all levels together. In the field three are already many."""

MULTIPART = frozenset([b"multipart/mixed", b"multipart/alternative", b"multipart/related"])

_OPAQUE = {
    b"multipart/signed": "signed",
    b"multipart/encrypted": "encrypted",
    b"application/pkcs7-mime": "encrypted",
    b"application/x-pkcs7-mime": "encrypted",
}
"""S/MIME types (S83). A signed body can be read, but changing it would break the signature."""

_CLEAR = frozenset([b"", b"7bit", b"8bit", b"binary", b"identity"])
"""Encodings that leave the bytes as they are."""


class Length(NamedTuple):
    """The digits of a part's Content-Length, and what they count."""

    digits: Span
    content: Span


class Sdp(NamedTuple):
    """One session description in a body."""

    span: Span
    is_early: bool
    """Content-Disposition is early-session: this description is an offer or answer of its own, beside the ordinary one
    (S87)."""
    lengths: tuple[Length, ...]
    """The Content-Lengths of the parts that hold this description, the outermost first."""


class Found(NamedTuple):
    """The descriptions in a body, and whether some of the body could not be read."""

    sdp: tuple[Sdp, ...]
    unfollowed: str | None
    """Why some of the body was left alone, as one snake_case word. Media in that part cannot be followed. None:
    everything was read, or nothing there could be SDP."""


class _Type(NamedTuple):
    """A Content-Type, as far as it is used here."""

    name: bytes
    """The type in lower case, such as `application/sdp`."""
    boundary: bytes | None


# RFC 3261 s.25.1: m-type SLASH m-subtype *( SEMI m-parameter ), with the blanks and folds that SLASH, SEMI and EQUAL
# allow. A bare value may hold more than a token, because boundaries with `=` and `/` are seen without quotes.
_BLANK = r"[ \t\r\n]*+"
_TYPE = Regex(rf"{_BLANK}(?P<type>[^\s/;,\"]++){_BLANK}/{_BLANK}(?P<subtype>[^\s/;,\"]++){_BLANK}", as_match=True)
_PARAMETER = Regex(
    rf";{_BLANK}(?P<name>[^\s;=\"]*+){_BLANK}(?:={_BLANK}(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<bare>[^\s;\"]++))?)?"
    rf"{_BLANK}",
    as_match=True,
)
_CONTENT_TYPE = _TYPE.leave_whitespace() + ZeroOrMore(_PARAMETER.leave_whitespace()) + StringEnd()
_CONTENT_TYPE.parse_with_tabs()


_MAX_TYPE_BYTES = 512
"""The longest Content-Type that is read. This leaves room for a boundary of 70 bytes and for wordy parameters."""


@lru_cache(maxsize=256)
def _read_type(value: bytes) -> _Type | None:
    """Read a Content-Type. None: the value is no type, or it names two boundaries."""
    try:
        first, *parameters = _CONTENT_TYPE.parse_string(value.decode("latin-1"))
    except ParseException:
        return None
    boundaries = [
        match["bare"] or re.sub(r"\\(.)", r"\1", match["quoted"] or "")
        for match in parameters
        if match["name"].lower() == "boundary"
    ]
    if len(boundaries) > 1:
        return None
    boundary = boundaries[0].encode("latin-1") if boundaries else None
    return _Type(f"{first['type']}/{first['subtype']}".lower().encode("latin-1"), boundary)


# A field of a part, with its folded lines. MIME has no compact names, but parts that SIP stacks wrote may use them.
_FIELD = re.compile(rb"(?<=\n)(?P<name>[!-9;-~]++)[ \t]*+:[ \t]*+(?P<value>[^\r\n]*+(?:\r?\n[ \t][^\r\n]*+)*)")
_FIELDS = re.compile(rb"\r?\n(?P<fields>(?:[^\r\n]++\r?\n)*)\r?\n")
_NAMES = {
    b"content-type": "type",
    b"c": "type",
    b"content-length": "length",
    b"l": "length",
    b"content-encoding": "encoding",
    b"e": "encoding",
    b"content-transfer-encoding": "transfer",
    b"content-disposition": "disposition",
}
_DIGITS = re.compile(rb"[0-9]{1,7}(?=[ \t\r\n]*\Z)")


def find_sdp(
    content_type: bytes | None, content_encoding: bytes | None, disposition: bytes | None, body: bytes
) -> Found:
    """Find the session descriptions in a body, in their order, and why some of the body could not be read.

    content_type, content_encoding, disposition: values of the message's header fields, folded or not; None if absent.
    Reasons: no_content_type, bad_content_type, encoded, encrypted, signed, bad_multipart, too_deep, too_many_parts.
    """
    if not body:
        return Found((), None)
    if content_type is None:
        return Found((), "no_content_type")
    # nearly every body is this one
    if content_type == b"application/sdp" and content_encoding is None and disposition is None:
        return Found((Sdp(Span(0, len(body)), False, ()),), None)
    search = _Search(body)
    search.entity(content_type, [content_encoding], disposition, Span(0, len(body)), (), MAX_DEPTH)
    return Found(tuple(search.sdp), search.unfollowed)


class _Search:
    """One search through a body. It collects the descriptions, and the first reason for leaving something alone."""

    __slots__ = ("body", "parts", "sdp", "unfollowed")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.sdp: list[Sdp] = []
        self.unfollowed: str | None = None
        self.parts = 0

    def leave(self, reason: str) -> None:
        """Some of the body is left alone. The first reason is the one that is told."""
        self.unfollowed = self.unfollowed or reason

    def entity(
        self,
        content_type: bytes,
        encodings: Iterable[bytes | None],
        disposition: bytes | None,
        span: Span,
        lengths: tuple[Length, ...],
        depth: int,
    ) -> None:
        """Search a message's body, or the content of one part. `depth` is how many multiparts may still be opened."""
        kind = _read_type(content_type) if len(content_type) <= _MAX_TYPE_BYTES else None
        if kind is None:
            self.leave("bad_content_type")
        elif kind.name in _OPAQUE:
            self.leave(_OPAQUE[kind.name])
        elif kind.name != b"application/sdp" and kind.name not in MULTIPART:
            pass  # other types may hold addresses too, and pass as they are (S88)
        elif any(_word(encoding) not in _CLEAR for encoding in encodings):
            self.leave("encoded")
        elif kind.name == b"application/sdp":
            # The other dispositions, such as render and icon, are for people to look at.
            if (use := _word(disposition) or b"session") in (b"session", b"early-session"):
                self.sdp.append(Sdp(span, use == b"early-session", lengths))
        elif not kind.boundary:
            self.leave("bad_multipart")
        elif not depth:
            self.leave("too_deep")
        else:
            self.multipart(kind.boundary, span, lengths, depth - 1)

    def multipart(self, boundary: bytes, span: Span, lengths: tuple[Length, ...], depth: int) -> None:
        """Search each part of a multipart body."""
        parts = _parts(self.body, boundary, span)
        if not parts:
            self.leave("bad_multipart")
        self.parts += len(parts)
        if self.parts > MAX_PARTS:
            self.leave("too_many_parts")
            return
        for part in parts:
            self.part(part, lengths, depth)

    def part(self, part: Span, lengths: tuple[Length, ...], depth: int) -> None:
        """Search one part: read its header fields, then its content."""
        head = _FIELDS.match(self.body, *part)
        if head is None:
            return  # the part is empty
        values: dict[str, re.Match[bytes]] = {}
        for match in _FIELD.finditer(self.body, *head.span("fields")):
            if (name := _NAMES.get(match["name"].lower())) is not None:
                if name in values:
                    self.leave("bad_multipart")
                    return
                values[name] = match
        content = Span(head.end(), part.end)
        if "length" in values:
            digits = _DIGITS.match(self.body, *values["length"].span("value"))
            if digits is None:
                self.leave("bad_multipart")
                return
            lengths = (*lengths, Length(Span(*digits.span()), content))
        kind, disposition, encoding, transfer = (
            values[name]["value"] if name in values else None
            for name in ("type", "disposition", "encoding", "transfer")
        )
        # A part without a type is text/plain (RFC 2046 s.5.1).
        self.entity(kind or b"text/plain", (encoding, transfer), disposition, content, lengths, depth)


def _word(value: bytes | None) -> bytes:
    """The first word of a field's value, before its parameters, in lower case."""
    return b"" if value is None else value.partition(b";")[0].strip().lower()


def _parts(body: bytes, boundary: bytes, span: Span) -> list[Span]:
    """Cut a multipart body into its parts. A part reaches from the end of the delimiter before it to the line end that
    belongs to the delimiter behind it.

    RFC 2046 s.5.1.1. What stands before the first delimiter and after the last one is no part. Where the last delimiter
    is missing, the body's end stands for it, as receivers have it.
    """
    delimiter = re.compile(rb"(?:\A|(?<=\n))--" + re.escape(boundary) + rb"(?P<last>--)?[ \t]*+(?=\r?\n|\Z)")
    parts: list[Span] = []
    begin: int | None = None
    for match in delimiter.finditer(body, *span):
        if begin is not None:
            line_end = 2 if body.endswith(b"\r\n", 0, match.start()) else 1
            parts.append(Span(begin, match.start() - line_end))
        if match["last"] is not None:
            return parts
        begin = match.end()
    if begin is not None:
        parts.append(Span(begin, span.end))
    return parts


def rebuild(body: bytes, changes: Sequence[tuple[Sdp, bytes]]) -> bytes:
    """Put other session descriptions into the body.

    changes: what `find_sdp` found in this body, each once, and the description to put in its place. The Content-Length
    of each part around a description grows by as much as the description. A length that was wrong before stays wrong by
    the same number.
    """
    edits = [(sdp.span, new) for sdp, new in changes]
    # Inner lengths come first and stand behind outer ones. Their digits may become more, and the lengths around count
    # these digits.
    for length in sorted({length for sdp, _ in changes for length in sdp.lengths}, reverse=True):
        grown = sum(len(new) - (span.end - span.start) for span, new in edits if _is_within(span, length.content))
        if grown:
            said = int(body[length.digits.start : length.digits.end])
            edits.append((length.digits, b"%d" % max(0, said + grown)))
    return replace(body, sorted(edits))


def _is_within(span: Span, content: Span) -> bool:
    return content.start <= span.start and span.end <= content.end
