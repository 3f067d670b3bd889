"""Odd but real values of SIP messages, and what becomes of a call that has one: tests/sip_values/table.tsv.

Each row is put into an INVITE of a phone and into the answer to one (or, a Request-URI, into an INVITE for the phone),
with NAT and without. tests/sip_values/README.md says what the columns mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

TABLE = Path(__file__).parents[1] / "sip_values" / "table.tsv"
PHONE, OURS, SERVER = "10.1.0.2", "203.0.113.1", "198.51.100.2"
PHONE_PORT, SERVER_PORT = 7000, 8000
IDENTITIES = ("from", "to")
"""Names of people, which are not mapped by default (S80)."""


class Way(Enum):
    """Who is known how, and who says it."""

    SNAT_OUT = "S out"
    SNAT_IN = "S in"
    NONE_OUT = "N out"
    NONE_IN = "N in"

    @property
    def is_nat(self) -> bool:
        return self.value.startswith("S")

    @property
    def is_out(self) -> bool:
        return self.value.endswith("out")


@dataclass(frozen=True)
class Row:
    field: str
    value: str
    """Escaped as in a Python string."""
    source: str
    ours: dict[Way, str]
    kernel: dict[Way, str]
    why: str
    """Why it must be refused, if it is."""

    @property
    def name(self) -> str:
        return f"{self.field}: {self.value}"


def rows() -> list[Row]:
    head, *lines = TABLE.read_text(encoding="utf-8").splitlines()
    assert head.split("\t")[:3] == ["field", "value", "source"]
    found = []
    for line in lines:
        field, value, source, *cells, why = line.split("\t")
        ours, kernel = dict(zip(Way, cells[:4], strict=True)), dict(zip(Way, cells[4:], strict=True))
        found.append(Row(field, value, source, ours, kernel, why))
    return found


def said(row: Row, at: str, **more: str) -> bytes:
    text = row.value.encode().decode("unicode_escape")
    for name, value in {"at": at, "tag": "a", "n": "1", **more}.items():
        text = text.replace("{" + name + "}", value)
    return text.encode("latin-1")


Lines = list[tuple[str, bytes]]


def _sdp(host: str, port: int) -> Lines:
    return [
        ("v", b"v=0"),
        ("o", b"o=- 1 1 IN IP4 " + host.encode()),
        ("s", b"s=-"),
        ("c", b"c=IN IP4 " + host.encode()),
        ("t", b"t=0 0"),
        ("m", b"m=audio %d RTP/AVP 0" % port),
    ]


def _message(start: bytes, fields: Lines, body: Lines) -> bytes:
    content = b"".join(line + b"\r\n" for _, line in body)
    head = [start, *(name.encode() + b": " + value if name else value for name, value in fields)]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(content), b"", content])


def _put(lines: Lines, name: str, value: bytes) -> Lines:
    return [(old, value if old == name else was) for old, was in lines]


_SPELLED = {
    "from": "From",
    "to": "To",
    "contact": "Contact",
    "via": "Via",
    "content-type": "Content-Type",
    "call-id": "Call-ID",
    "cseq": "CSeq",
}


def _with(row: Row, fields: Lines, body: Lines, value: bytes) -> tuple[Lines, Lines]:
    if row.field.startswith("sdp "):
        return fields, _put(body, row.field[4:], value)
    if row.field in _SPELLED:
        return _put(fields, _SPELLED[row.field], value), body
    return [*fields, ("" if row.field == "any" else row.field.title(), value)], body


def _fields(method: str, via: str, contact: str, to: bytes) -> Lines:
    return [
        ("Via", b"SIP/2.0/UDP %b;branch=z9hG4bK1;rport" % via.encode()),
        ("From", b"<sip:alice@example.org>;tag=a"),
        ("To", to),
        ("Call-ID", b"one"),
        ("CSeq", b"1 " + method.encode()),
        ("Contact", contact.encode()),
        ("Content-Type", b"application/sdp"),
    ]


@dataclass(frozen=True)
class Case:
    """A row, said in one way."""

    before: bytes
    """What the phone has said; empty for nothing."""
    message: bytes
    value: bytes
    """As it stands in the message."""
    at: bytes
    """The address in it that is to be another one on the other side, if it names one."""


def case(row: Row, way: Way) -> Case:
    to = b"<sip:bob@example.org>"
    known = OURS if way.is_nat else PHONE
    invite = _fields("INVITE", PHONE, f"<sip:alice@{PHONE}>", to)
    sdp = _sdp(PHONE, PHONE_PORT)
    if row.field == "request-uri":
        target, by = (SERVER, PHONE) if way.is_out else (known, SERVER)
        value = said(row, target)
        fields = _fields("INVITE", by, f"<sip:x@{by}>", to)
        message = _message(b"INVITE %b SIP/2.0" % value, fields, sdp if way.is_out else _sdp(SERVER, SERVER_PORT))
        options = _fields("OPTIONS", PHONE, f"<sip:alice@{PHONE}>", to)[:-1]
        before = b"" if way.is_out else _message(b"OPTIONS sip:bob@198.51.100.2 SIP/2.0", options, [])
        return Case(before, message, value, target.encode())
    is_sdp = row.field.startswith("sdp ")
    own = said(row, PHONE, port=str(PHONE_PORT), rtcp=str(PHONE_PORT + 1))
    outgoing = _message(b"INVITE sip:bob@198.51.100.2 SIP/2.0", *_with(row, invite, sdp, own))
    if way.is_out:
        return Case(b"", outgoing, own, PHONE.encode())
    at = SERVER if is_sdp else known
    value = said(row, at, port=str(SERVER_PORT), rtcp=str(SERVER_PORT + 1))
    if row.field == "to":
        value += b";tag=b"
    fields = _fields("INVITE", known, f"<sip:bob@{SERVER}>", to + b";tag=b")
    answer = _message(b"SIP/2.0 200 OK", *_with(row, fields, _sdp(SERVER, SERVER_PORT), value))
    # Whoever answers has been told the same Via and Call-ID.
    before = (
        outgoing if row.field in ("via", "call-id") else _message(b"INVITE sip:bob@198.51.100.2 SIP/2.0", invite, sdp)
    )
    return Case(before, answer, value, at.encode())


def outcome(done: Case, sent: bytes | None, has_media: bool) -> str:
    """In one word or two: passes, maps, mends or refused, and whether media has its way."""
    if sent is None:
        return "refused"
    word = "passes" if done.value in sent else "mends" if _is_mended(done.message, sent) else "maps"
    return f"{word} media" if has_media else word


def _is_mended(came: bytes, sent: bytes) -> bool:
    """Whether a line of the head is gone, or a bare CR, or CSeq is another one."""
    before, after = ((_BARE_CR.findall(head), head.split(b"\r\n")) for head in map(_head, (came, sent)))
    cseqs = ([line for line in lines if line.startswith(b"CSeq:")] for _, lines in (before, after))
    return before[0] != after[0] or len(before[1]) > len(after[1]) or len({*map(tuple, cseqs)}) > 1


_BARE_CR = re.compile(rb"\r(?!\n)")


def _head(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[0]


def is_not_worse(field: str, kernel: str, ours: str) -> bool:
    """Whether a call that works by way of the kernel's helper works by way of us."""
    if kernel == "refused":
        return True
    if ours == "refused" or ("media" in kernel and "media" not in ours):
        return False
    return field in IDENTITIES or not kernel.startswith("maps") or ours.startswith(("maps", "mends"))


def is_named(done: Case) -> bool:
    return re.search(rb"(?<![0-9.])" + re.escape(done.at) + rb"(?![0-9])", done.value) is not None
