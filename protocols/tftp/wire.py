"""Packets of TFTP (RFC 1350 s.5) and their options (RFC 2347, 2348, 2349, 7440)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from protocols.contract.addresses import Malformed

MAX_REQUEST_BYTES = 1472
"""A request is one datagram (RFC 2347 says 512 bytes); this is what an Ethernet carries of it unbroken (TF3)."""
MAX_OPTIONS = 16
"""How many options of one packet are looked at. Eight are known at all."""
HEAD_BYTES = 4
"""The length of opcode and block number in DATA and ACK."""
MAX_SIZE = 1 << 62
"""The largest size of a file that is believed, as `tsize` tells it."""


class Opcode(IntEnum):
    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class Code(IntEnum):
    """Codes of an ERROR. There are more of them, and any number may come."""

    UNDEFINED = 0
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    UNKNOWN_TRANSFER = 5


Options = tuple[tuple[str, bytes], ...]
"""name of an option in lower case -> its value as it came."""


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or WRQ: what a client wants to read from its server, or to write there."""

    is_read: bool
    name: bytes
    """The name of the file, as the client spells it. It is not meant for any file system of ours."""
    mode: bytes
    options: Options = ()

    @property
    def opcode(self) -> Opcode:
        return Opcode.RRQ if self.is_read else Opcode.WRQ


def opcode(data: bytes) -> int:
    """The first field of every packet. 0, which is no opcode: the field is missing."""
    return int.from_bytes(data[:2], "big") if len(data) >= 2 else 0


def is_request(data: bytes) -> bool:
    return opcode(data) in (Opcode.RRQ, Opcode.WRQ)


def is_of_transfer(request: Request, is_from_server: bool, data: bytes) -> bool:
    """Whether this is a packet that this end may send in the transfer that was asked for: DATA come from the one end,
    and ACK from the other one alone (TF23)."""
    match opcode(data):
        case Opcode.DATA:
            return is_from_server == request.is_read and len(data) >= HEAD_BYTES
        case Opcode.ACK:
            return is_from_server != request.is_read and len(data) >= HEAD_BYTES
        case Opcode.OACK:
            return is_from_server
        case kind:
            return kind == Opcode.ERROR


def is_first_answer(request: Request, data: bytes) -> bool:
    """Whether a server can begin with this what was asked for: with DATA 1, or ACK 0, an OACK or an ERROR."""
    is_numbered = opcode(data) in (Opcode.DATA, Opcode.ACK)
    return is_of_transfer(request, True, data) and not (is_numbered and block(data) != request.is_read)


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
    """The options of an OACK: what the server accepts of what was asked for."""
    return _options(data[2:])


def _options(text: bytes) -> Options:
    texts = text.split(b"\0")[: 2 * MAX_OPTIONS]
    pairs: Iterable[tuple[bytes, bytes]] = zip(texts[:-1:2], texts[1::2], strict=False)
    return tuple((name.lower().decode("latin-1"), value) for name, value in pairs if name)


def number(options: Options, name: str, least: int, most: int) -> int | None:
    """The value of an option that is a decimal number (TF2). None: the option is missing, or its value is not
    allowed."""
    value = dict(options).get(name, b"")
    if not value.isdigit() or len(value) > 20:
        return None
    return found if least <= (found := int(value)) <= most else None


def error(code: Code, text: str) -> bytes:
    """An ERROR of ours. It ends the transfer, and no peer acknowledges it (RFC 1350 s.7)."""
    return Opcode.ERROR.to_bytes(2, "big") + code.to_bytes(2, "big") + text.encode("ascii") + b"\0"


def read_error(data: bytes) -> tuple[int, bytes]:
    """The code and the text of an ERROR."""
    return int.from_bytes(data[2:4], "big"), data[HEAD_BYTES:].partition(b"\0")[0]


def block(data: bytes) -> int:
    """The number of a DATA or an ACK."""
    return int.from_bytes(data[2:HEAD_BYTES], "big")
