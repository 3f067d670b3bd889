"""Messages of DNS: header, names, questions and records (RFC 1035 s.4), read without a copy.

A name is the only thing here that can lead a reader astray. Each pointer must lead to before the place where the part
of the name began that it ends (RFC 1035 s.4.1.4: a *prior* occurrence), so that no name is without an end, and a name
has 255 bytes at most (DN1). Nothing here calls itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from protocols.contract.addresses import Malformed

HEADER_BYTES = 12
MAX_NAME_BYTES = 255
MAX_LABEL_BYTES = 63
MAX_MESSAGE_BYTES = 0xFFFF
MAX_POINTERS = 127
"""In one name. It has no more labels than that, and a pointer to a pointer serves nobody."""
POINTER = 0xC0
"""The two high bits of a byte that begins a pointer. Of one that begins a label both are 0; the other two
combinations mean nothing to anybody (RFC 1035 s.4.1.4, RFC 6891 s.5)."""

IS_ANSWER, TRUNCATED, AUTHENTIC, CHECKING_DISABLED = 0x8000, 0x0200, 0x0020, 0x0010
"""Flags: QR, TC, AD and CD."""
COPIED_FLAGS = 0x7910
"""What an answer repeats of the flags of its question: opcode, RD and CD."""
IN = 1
"""The class of the internet."""
FORMAT_ERROR, REFUSED = 1, 5
"""Codes of answers (RFC 1035 s.4.1.1)."""


class Opcode(IntEnum):
    QUERY = 0
    NOTIFY = 4
    UPDATE = 5
    STATEFUL = 6
    """DSO (RFC 8490), in which either side may ask."""


class Type(IntEnum):
    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    SIG = 24
    AAAA = 28
    SRV = 33
    OPT = 41
    DS = 43
    RRSIG = 46
    SVCB = 64
    HTTPS = 65
    TSIG = 250
    IXFR = 251
    AXFR = 252
    ANY = 255


_HEADER = Struct("!HHHHHH")
_FIXED = Struct("!HHIH")
"""What stands behind the name of a record: type, class, TTL, length of the data."""


class Header(NamedTuple):
    """The first twelve bytes."""

    id: int
    flags: int
    questions: int
    answers: int
    authorities: int
    additionals: int


class Record(NamedTuple):
    """Where the parts of a record stand."""

    section: int
    """1: answer, 2: authority, 3: additional."""
    name_at: int
    type: int
    klass: int
    """In OPT this is no class but the size of datagrams that its sender takes."""
    fixed_at: int
    """Type, class, TTL and length stand from here on."""
    data_at: int
    end: int

    @property
    def ttl_at(self) -> int:
        return self.fixed_at + 4


def read_header(message: bytes) -> Header:
    """Raises Malformed for what is shorter than a header."""
    if len(message) < HEADER_BYTES:
        raise Malformed(f"{len(message)} bytes are no message")
    return Header._make(_HEADER.unpack_from(message))


def is_stateful(message: bytes) -> bool:
    """Whether a message that begins with a header speaks of its connection (DSO): all its counts are 0, and what it
    says stands behind the header (RFC 8490 s.5.4)."""
    return message[2] >> 3 & 15 == Opcode.STATEFUL and message[4:HEADER_BYTES] == bytes(8)


def question_end(message: bytes) -> int:
    """The end of the first question. Nothing but the header stands before it, so its name has no pointer. Raises
    Malformed."""
    at, size = HEADER_BYTES, len(message)
    while True:
        if at >= size:
            raise Malformed("a question without an end")
        length = message[at]
        if not length:
            break
        if length > MAX_LABEL_BYTES:
            raise Malformed("a question whose name is none")
        at += length + 1
    if at - HEADER_BYTES >= MAX_NAME_BYTES:
        raise Malformed("a question whose name is too long")
    if at + 5 > size:
        raise Malformed("a question without an end")
    return at + 5


class Names:
    """The names of one message. A place that many names point to is walked once."""

    __slots__ = ("_known", "_message")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._known: dict[int, int] = {}
        """Place that a name points to -> how long the name is from there on, without compression."""

    def end(self, start: int) -> int:
        """Where the name that begins there ends. Raises Malformed for one that is none."""
        message, size = self._message, len(self._message)
        at = lowest = start
        end = total = pointers = first_target = before_target = 0
        while True:
            if at >= size:
                raise Malformed("a name without an end")
            length = message[at]
            if length < POINTER:
                if length > MAX_LABEL_BYTES:
                    raise Malformed("a label of an unknown kind")
                at += length + 1
                total += length + 1
            else:
                if at + 1 >= size:
                    raise Malformed("a name without an end")
                target = (length & 0x3F) << 8 | message[at + 1]
                if not HEADER_BYTES <= target < lowest:
                    raise Malformed("a pointer that does not lead back")
                end = end or at + 2
                if (rest := self._known.get(target)) is not None:
                    total, length = total + rest, 0
                else:
                    pointers += 1
                    if pointers > MAX_POINTERS:
                        raise Malformed("a name of pointers")
                    if pointers == 1:
                        first_target, before_target = target, total
                    at = lowest = target
            if total > MAX_NAME_BYTES:
                raise Malformed("a name that is too long")
            if not length:
                break
        if first_target:
            self._known[first_target] = total - before_target
        return end or at

    def labels(self, start: int) -> bytes:
        """The name that begins there, without compression. It must be one that `end` has found right."""
        message, at = self._message, start
        parts: list[bytes] = []
        while length := message[at]:
            if length >= POINTER:
                at = (length & 0x3F) << 8 | message[at + 1]
            else:
                parts.append(message[at : at + length + 1])
                at += length + 1
        return b"".join((*parts, b"\0"))


def read_records(message: bytes, header: Header, at: int) -> tuple[list[Record], Names]:
    """The records behind the question, which ends at `at`, and the names of the message. The names within the data of
    records are not looked at. What stands behind the last record means nothing to us (DN4). Raises Malformed."""
    names, size = Names(message), len(message)
    records: list[Record] = []
    name_end, unpack = names.end, _FIXED.unpack_from
    for section, count in enumerate(header[3:], 1):
        for _ in range(count):
            fixed_at = name_end(at)
            data_at = fixed_at + _FIXED.size
            if data_at > size:
                raise Malformed("a record without an end")
            kind, klass, _, length = unpack(message, fixed_at)
            end = data_at + length
            if end > size:
                raise Malformed("data of a record without an end")
            records.append(Record(section, at, kind, klass, fixed_at, data_at, end))
            at = end
    return records, names


def text_of_name(name: bytes) -> bytes:
    """A name without compression as people write it, with a dot at its end. What its labels hold is left as it is: the
    log escapes it."""
    labels: list[bytes] = []
    at = 0
    while length := name[at]:
        labels.append(name[at + 1 : at + 1 + length])
        at += length + 1
    return b".".join((*labels, b"")) or b"."


def wire_of_name(text: str) -> bytes:
    """The other way round, in lower case. Raises ValueError for what is no name."""
    labels = [label.encode("ascii") for label in text.lower().rstrip(".").split(".") if text.rstrip(".")]
    if not all(0 < len(label) <= MAX_LABEL_BYTES for label in labels):
        raise ValueError(f"{text!r} is no name")
    name = b"".join((*(bytes((len(label),)) + label for label in labels), b"\0"))
    if len(name) > MAX_NAME_BYTES:
        raise ValueError(f"{text!r} is too long for a name")
    return name


def answer_without_records(question: bytes, end: int, code: int, flags: int = 0) -> bytes:
    """An answer of ours to a question, which ends at `end` (the header alone if that cannot be read). It is never
    longer than what was asked."""
    header = read_header(question)
    flags |= IS_ANSWER | header.flags & COPIED_FLAGS | code
    return _HEADER.pack(header.id, flags, int(end > HEADER_BYTES), 0, 0, 0) + question[HEADER_BYTES:end]


_TYPE_NAMES: Mapping[int, str] = {kind: kind.name for kind in Type}


def type_name(kind: int) -> str:
    """The name of a type. Those without one are called as RFC 3597 s.5 has it."""
    return _TYPE_NAMES.get(kind) or f"TYPE{kind}"
