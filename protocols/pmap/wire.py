"""ONC RPC as bytes: records of a stream and the heads of calls and replies (RFC 5531), in XDR (RFC 4506)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import error as Short
from struct import unpack_from
from typing import NamedTuple

from protocols.contract.addresses import Malformed
from protocols.toolbox.spans import Span

MAX_CALL_BYTES = 65536
"""A call that a portmapper understands has some hundred bytes (PM1)."""
MAX_REPLY_BYTES = 1 << 20
"""A list of 413 services has 21 KB (PM1)."""
MAX_FRAGMENTS = 256
"""How many fragments a record may have. Those without a byte count as well (PM1)."""
MAX_STRING_BYTES = 1024
"""Nothing in an entry of rpcbind is longer: names of transports, addresses, owners (PM42)."""
MAX_AUTH_BYTES = 400
"""RFC 5531 s.8.2."""
LEAST_CALL_BYTES = 40
"""The head of a call without credentials: ten numbers (PM3)."""
PROGRAM = 100000
"""The number of the portmapper itself, which rpcbind has as well (RFC 1833)."""

AUTH_NONE, AUTH_SYS, RPCSEC_GSS, AUTH_TLS = 0, 1, 6, 7
"""Flavors of credentials (RFC 5531 s.8.2, RFC 2203, RFC 9289)."""
STARTTLS = b"STARTTLS"
"""What the verifier of a server says that agrees to TLS (RFC 9289 s.4.1)."""
LAST_FRAGMENT = 0x80000000
"""The bit of a record mark that says so (RFC 5531 s.11). The others are the length of the fragment."""


class Kind(IntEnum):
    """The second number of a message."""

    CALL = 0
    REPLY = 1


class Status(IntEnum):
    """What became of a call that was accepted (RFC 5531 s.9)."""

    SUCCESS = 0
    PROGRAM_UNAVAILABLE = 1
    VERSION_MISMATCH = 2
    PROCEDURE_UNAVAILABLE = 3
    GARBAGE_ARGUMENTS = 4
    SYSTEM_ERROR = 5


# -- records of a stream -----------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """A message of a stream."""

    raw: bytes
    """As it came, with its marks."""
    body: bytes
    """The message, without them."""


class RecordBuffer:
    """Cuts one direction of a stream into records, in linear time whatever segments and fragments are."""

    __slots__ = ("_bytes", "_data", "_fragments", "_limit", "_next")

    def __init__(self, limit: int) -> None:
        """limit: how many bytes a record may have."""
        self._limit = limit
        self._data = bytearray()
        self._fragments: list[Span] = []
        """Where the fragments of the first record stand that have been found so far."""
        self._bytes = 0
        """What they have together."""
        self._next = 0
        """Where the next mark stands."""

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        """What is left, as it came."""
        return bytes(self._data)

    def push(self, data: bytes) -> None:
        self._data += data

    def pop(self) -> Record | None:
        """The next record. None: it is not whole. Raises Malformed for a record that is too long, or in too many
        pieces."""
        data = self._data
        while len(data) >= self._next + 4:
            mark = int.from_bytes(data[self._next : self._next + 4], "big")
            length = mark & ~LAST_FRAGMENT
            end = self._next + 4 + length
            if self._bytes + length > self._limit or len(self._fragments) >= MAX_FRAGMENTS:
                raise Malformed(f"a record of more than {self._limit} bytes or {MAX_FRAGMENTS} fragments")
            if len(data) < end:
                return None
            self._fragments.append(Span(self._next + 4, end))
            self._bytes += length
            self._next = end
            if mark & LAST_FRAGMENT:
                return self._cut()
        return None

    def _cut(self) -> Record:
        raw = bytes(self._data[: self._next])
        body = b"".join(raw[start:end] for start, end in self._fragments)
        del self._data[: self._next]
        self._fragments = []
        self._bytes = self._next = 0
        return Record(raw, body)

    def clear(self) -> None:
        """What is left is no longer wanted."""
        self._data.clear()


def record(body: bytes) -> bytes:
    """A message as a record of one fragment."""
    return (LAST_FRAGMENT | len(body)).to_bytes(4, "big") + body


# -- XDR ---------------------------------------------------------------------------------------------------------------


class Reader:
    """Reads the values of a message one after the other. Raises Malformed where one is not whole, or too long."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self.at = at

    def number(self) -> int:
        """RFC 4506 s.4.2."""
        try:
            (value,) = unpack_from(">I", self._data, self.at)
        except Short:
            raise Malformed("a number is not whole") from None
        self.at += 4
        return int(value)

    def numbers(self, count: int) -> tuple[int, ...]:
        return tuple(self.number() for _ in range(count))

    def text(self, most: int = MAX_STRING_BYTES) -> bytes:
        """A string, or opaque bytes of any length: RFC 4506 s.4.10, 4.11. What the padding holds is not judged
        (PM2)."""
        length = self.number()
        if length > most:
            raise Malformed(f"a text of {length} bytes")
        start, self.at = self.at, self.at + (length + 3) // 4 * 4
        if self.at > len(self._data):
            raise Malformed("a text is not whole")
        return self._data[start : start + length]


def number(value: int) -> bytes:
    """RFC 4506 s.4.2."""
    return value.to_bytes(4, "big")


def text(value: bytes) -> bytes:
    """RFC 4506 s.4.11."""
    return number(len(value)) + value + bytes(-len(value) % 4)


# -- calls and replies -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """The head of a call (RFC 5531 s.9)."""

    xid: int
    """Chosen by the caller; its reply bears the same one."""
    program: int
    version: int
    procedure: int
    flavor: int
    """Of the credentials."""
    credentials: bytes
    arguments: int
    """Where they begin."""

    @property
    def asks_for_tls(self) -> bool:
        """Whether it asks its server to turn to TLS, which NULL alone does (RFC 9289 s.4.1)."""
        return self.flavor == AUTH_TLS and self.procedure == 0


class Caller(NamedTuple):
    """Who a caller says it is (AUTH_SYS, RFC 5531 appendix A). Nothing proves it."""

    machine: bytes
    uid: int


def is_call(data: bytes) -> bool:
    """Whether this can be the first datagram of a client (PM5)."""
    return len(data) >= LEAST_CALL_BYTES and data[4:12] == b"\0\0\0\0\0\0\0\2"


def read_call(body: bytes) -> Call:
    """Raises Malformed."""
    reader = Reader(body)
    xid, kind, rpc_version, program, version, procedure = reader.numbers(6)
    if kind != Kind.CALL or rpc_version != 2:
        raise Malformed(f"message type {kind}, RPC version {rpc_version}")
    flavor, credentials = reader.number(), reader.text(MAX_AUTH_BYTES)
    reader.number(), reader.text(MAX_AUTH_BYTES)
    return Call(xid, program, version, procedure, flavor, credentials, reader.at)


def caller(call: Call) -> Caller | None:
    """Who the credentials name. None: nobody, or they cannot be read."""
    if call.flavor != AUTH_SYS:
        return None
    reader = Reader(call.credentials, 4)
    try:
        return Caller(reader.text(255), reader.number())
    except Malformed:
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of a reply (RFC 5531 s.9)."""

    xid: int
    is_success: bool
    verifier: bytes
    results: int
    """Where they begin, if it is a success."""


def read_reply(body: bytes) -> Reply:
    """Raises Malformed."""
    reader = Reader(body)
    xid, kind, is_denied = reader.numbers(3)
    if kind != Kind.REPLY or is_denied > 1:
        raise Malformed(f"message type {kind}, reply status {is_denied}")
    if is_denied:
        return Reply(xid, False, b"", reader.at)
    reader.number()
    verifier, status = reader.text(MAX_AUTH_BYTES), reader.number()
    return Reply(xid, status == Status.SUCCESS, verifier, reader.at)


def reply(xid: int, status: Status, results: bytes = b"") -> bytes:
    """A reply of ours, without a verifier."""
    return b"".join(map(number, (xid, Kind.REPLY, 0, AUTH_NONE, 0, status))) + results
