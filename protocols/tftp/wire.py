"""Packets of TFTP (RFC 1350 s.5) and their options (RFC 2347, 2348, 2349, 7440)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from protocols.contract.addresses import Malformed

MAX_REQUEST_BYTES = 1472
"""A request is one datagram (RFC 2347 says 512 bytes); this is what an Ethernet carries of it unbroken (TF3)."""
MAX_OPTIONS = 16
"""Options of one packet that are looked at. Eight are known to anybody."""
HEAD_BYTES = 4
"""Of DATA and ACK: opcode and block number."""


class Opcode(IntEnum):
    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class Code(IntEnum):
    """Of an ERROR; there are more, and any number may come."""

    UNDEFINED = 0
    ACCESS_VIOLATION = 2
    DISK_FULL = 3


Options = tuple[tuple[str, bytes], ...]
"""Names in lower case, and values as they came."""


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or WRQ: what a client wants to read from its server, or to write there."""

    is_read: bool
    name: bytes
    """Of the file, as the client spells it: not for any file system of ours."""
    mode: bytes
    options: Options = ()

    @property
    def opcode(self) -> Opcode:
        return Opcode.RRQ if self.is_read else Opcode.WRQ


def opcode(data: bytes) -> int:
    """The first field of every packet; 0, which is none, if that is not there."""
    return int.from_bytes(data[:2], "big") if len(data) >= 2 else 0


def is_request(data: bytes) -> bool:
    return opcode(data) in (Opcode.RRQ, Opcode.WRQ)


def is_of_transfer(data: bytes) -> bool:
    """Whether this can be a server's answer to a request. Its host may send other things to the client's port."""
    return opcode(data) in (Opcode.DATA, Opcode.ACK, Opcode.ERROR, Opcode.OACK)


def read_request(data: bytes) -> Request:
    """RFC 1350 s.5, figure 5-1: opcode, name, mode, each text with a NUL behind it; then options in pairs (RFC 2347).

    Raises Malformed without the two texts, or when the whole is longer than a request can be. What stands behind the
    last pair means nothing to anybody: some clients fill the packet up (TF1).
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise Malformed("request_too_long")
    name, mode, *rest = (*data[2:].split(b"\0", 2), b"", b"")[:3]
    if data[2:].count(b"\0") < 2 or not name:
        raise Malformed("request_without_name_or_mode")
    return Request(opcode(data) == Opcode.RRQ, name, mode.lower(), _options(rest[0]))


def read_options(data: bytes) -> Options:
    """Of an OACK: what the server accepts of what was asked for."""
    return _options(data[2:])


def _options(text: bytes) -> Options:
    texts = text.split(b"\0")[: 2 * MAX_OPTIONS]
    pairs: Iterable[tuple[bytes, bytes]] = zip(texts[:-1:2], texts[1::2], strict=False)
    return tuple((name.lower().decode("latin-1"), value) for name, value in pairs if name)


def number(options: Options, name: str, least: int, most: int) -> int | None:
    """The value of an option that is a decimal number (TF2); None when there is none, or none that may be."""
    value = dict(options).get(name, b"")
    if not value.isdigit() or len(value) > 20:
        return None
    return found if least <= (found := int(value)) <= most else None


def error(code: Code, text: str) -> bytes:
    """An ERROR of ours. It ends the transfer, and nobody acknowledges it (RFC 1350 s.7)."""
    return Opcode.ERROR.to_bytes(2, "big") + code.to_bytes(2, "big") + text.encode("ascii") + b"\0"


def read_error(data: bytes) -> tuple[int, bytes]:
    """Code and text of an ERROR."""
    return int.from_bytes(data[2:4], "big"), data[HEAD_BYTES:].partition(b"\0")[0]


def block(data: bytes) -> int:
    """The number of a DATA or an ACK."""
    return int.from_bytes(data[2:HEAD_BYTES], "big")
