"""DCE-RPC version 5 as bytes: PDUs of a connection, their heads and trailers (C706 chapter 12, MS-RPCE s.2.2.2).

Each PDU is in the byte order of its sender, which it names itself (DC2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from struct import error as Short
from struct import pack, unpack_from
from typing import Literal, NamedTuple

from protocols.contract.addresses import Malformed
from protocols.toolbox.spans import Span

Order = Literal["<", ">"]
"""Little-endian or big-endian, as `struct` has it."""

HEAD_BYTES = 16
BODY_AT = 24
"""Where the stub of a request without an object begins, and that of a response (DC5)."""
OBJECT_BYTES = 16
MAX_CONTEXTS = 256
"""How many presentation contexts a connection may have. Clients of Windows have a dozen (DC9)."""

FIRST, LAST, DID_NOT_EXECUTE, MAYBE, HAS_OBJECT = 0x01, 0x02, 0x20, 0x40, 0x80
"""Flags of a PDU (DC4)."""
SEALED = 6
"""The level of a trailer whose PDU has its stub encrypted (DC11)."""

ACCESS_DENIED, UNKNOWN_INTERFACE, BAD_STUB, TOO_BUSY = 5, 0x1C010003, 1783, 0x1C010014
"""What faults say: ERROR_ACCESS_DENIED, nca_s_unk_if, RPC_X_BAD_STUB_DATA, nca_s_server_too_busy."""
NOT_SPECIFIED = 0
"""The reason of a bind_nak of ours."""


class Kind(IntEnum):
    """The third octet of a PDU (DC3)."""

    REQUEST = 0
    RESPONSE = 2
    FAULT = 3
    BIND = 11
    BIND_ACK = 12
    BIND_NAK = 13
    ALTER_CONTEXT = 14
    ALTER_CONTEXT_RESPONSE = 15
    AUTH3 = 16
    SHUTDOWN = 17
    CANCEL = 18
    ORPHANED = 19


KINDS = frozenset(Kind)

Uuid = bytes
"""The sixteen octets of a UUID, in little-endian order whatever their PDU has."""


_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def swapped(octets: bytes) -> bytes:
    """A UUID in the other byte order: a number of four octets, two of two, and eight octets that stay."""
    return octets[3::-1] + octets[5:3:-1] + octets[7:5:-1] + octets[8:]


@lru_cache(maxsize=1024)
def uuid_text(uuid: Uuid) -> str:
    digits = swapped(uuid).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def uuid_of(text: str) -> Uuid:
    """Raises ValueError."""
    if _TEXT.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no UUID")
    return swapped(bytes.fromhex(text.replace("-", "")))


class Syntax(NamedTuple):
    """An interface, or a transfer syntax."""

    uuid: Uuid
    version: int
    """The major one."""
    minor: int = 0


NDR32 = uuid_of("8a885d04-1ceb-11c9-9fe8-08002b104860")
NDR64 = uuid_of("71710533-beba-4937-8319-b5dbef9ccc36")
IS_WIDE: Mapping[Uuid, bool] = {NDR32: False, NDR64: True}
"""Transfer syntaxes that can be read, and whether their pointers have eight octets (DC10)."""


# -- PDUs of a stream --------------------------------------------------------------------------------------------------


class Pdu(NamedTuple):
    """A whole PDU."""

    raw: bytes
    kind: int
    flags: int
    order: Order
    call: int
    auth: int
    """How many octets its trailer has behind the first eight. 0: it has no trailer."""


def length_of(data: bytearray) -> int | None:
    """How many octets the PDU has that these begin with. None: too few have come. Raises Malformed."""
    if data and data[0] != 5:
        raise Malformed(f"version {data[0]}")
    if len(data) > 1 and data[1] > 1:
        raise Malformed(f"version 5.{data[1]}")
    if len(data) > 2 and data[2] not in KINDS:
        raise Malformed(f"a PDU of type {data[2]}")
    if len(data) < HEAD_BYTES:
        return None
    length, auth = unpack_from(f"{order_of(data[4])}HH", data, 8)
    if length < HEAD_BYTES or (auth and length < HEAD_BYTES + 8 + auth):
        raise Malformed(f"a PDU of {length} bytes, {auth} of them for authentication")
    return int(length)


def order_of(representation: int) -> Order:
    """The byte order of a PDU, by the octet that names it. Others may judge other values in either way. Raises
    Malformed."""
    if representation >> 4 > 1:
        raise Malformed(f"data representation {representation:02x}")
    return "<" if representation >> 4 else ">"


def read_pdu(raw: bytes) -> Pdu:
    """The head of a whole PDU."""
    order = order_of(raw[4])
    auth, call = unpack_from(f"{order}HI", raw, 10)
    return Pdu(raw, raw[2], raw[3], order, call, auth)


def stub_of(pdu: Pdu, start: int) -> tuple[Span, int]:
    """Where the stub stands that begins at `start`, and the level of the trailer behind it: 0 without one (DC11).
    Raises Malformed."""
    if not pdu.auth:
        return _span(start, len(pdu.raw)), 0
    trailer = len(pdu.raw) - pdu.auth - 8
    level, padding = pdu.raw[trailer + 1], pdu.raw[trailer + 2]
    return _span(start, trailer - padding), level


def _span(start: int, end: int) -> Span:
    if end < start:
        raise Malformed("a PDU that ends within its head")
    return Span(start, end)


class Request(NamedTuple):
    """The head of a request (DC5)."""

    context: int
    operation: int
    object: Uuid | None
    stub: Span
    level: int


class Response(NamedTuple):
    """The head of a response (DC5)."""

    context: int
    stub: Span
    level: int


def read_request(pdu: Pdu) -> Request:
    """Raises Malformed."""
    _, context, operation = _unpack(pdu, "IHH", HEAD_BYTES)
    start, target = BODY_AT, None
    if pdu.flags & HAS_OBJECT:
        start += OBJECT_BYTES
        target = _uuid(pdu, BODY_AT)
    return Request(context, operation, target, *stub_of(pdu, start))


def read_response(pdu: Pdu) -> Response:
    """Raises Malformed."""
    _, context, _ = _unpack(pdu, "IHH", HEAD_BYTES)
    return Response(context, *stub_of(pdu, BODY_AT))


def _unpack(pdu: Pdu, form: str, at: int) -> tuple[int, ...]:
    try:
        return unpack_from(pdu.order + form, pdu.raw, at)
    except Short:
        raise Malformed("a PDU that is cut short") from None


def _uuid(pdu: Pdu, at: int) -> Uuid:
    """A UUID that is in the byte order of its PDU."""
    octets = pdu.raw[at : at + 16]
    if len(octets) < 16:
        raise Malformed("a PDU that is cut short")
    return octets if pdu.order == "<" else swapped(octets)


# -- contexts ----------------------------------------------------------------------------------------------------------


class Offer(NamedTuple):
    """A context that a bind or an alter_context asks for (DC7)."""

    context: int
    interface: Syntax


def read_offers(pdu: Pdu) -> list[Offer]:
    """The contexts of a bind or an alter_context, in their order. Raises Malformed."""
    (count,) = _unpack(pdu, "B", 24)
    offers, at = [], 28
    for _ in range(count):
        context, transfers = _unpack(pdu, "HB", at)
        interface = _syntax(pdu, at + 4)
        at += 24 + 20 * transfers
        if at > len(pdu.raw):
            raise Malformed("a context without its transfer syntaxes")
        offers.append(Offer(context, interface))
    return offers


def read_results(pdu: Pdu) -> list[Syntax | None]:
    """What became of each context, in the order in which they were asked for: its transfer syntax. None: it was not
    accepted (DC8). Raises Malformed."""
    (length,) = _unpack(pdu, "H", 24)
    at = (26 + length + 3) // 4 * 4
    (count,) = _unpack(pdu, "B", at)
    results: list[Syntax | None] = []
    at += 4
    for _ in range(count):
        (result,) = _unpack(pdu, "H", at)
        transfer = _syntax(pdu, at + 4)
        results.append(None if result else transfer)
        at += 24
    return results


def _syntax(pdu: Pdu, at: int) -> Syntax:
    uuid = _uuid(pdu, at)
    version, minor = _unpack(pdu, "HH", at + 16)
    # The version is one number of four octets, whose lower half is the major one.
    return Syntax(uuid, version, minor) if pdu.order == "<" else Syntax(uuid, minor, version)


# -- what we say ourselves ---------------------------------------------------------------------------------------------


def _pdu(kind: Kind, flags: int, call: int, body: bytes) -> bytes:
    return pack("<4B4sHHI", 5, 0, kind, flags, b"\x10\0\0\0", HEAD_BYTES + len(body), 0, call) + body


def response(call: int, context: int, stub: bytes) -> bytes:
    return _pdu(Kind.RESPONSE, FIRST | LAST, call, pack("<IHH", len(stub), context, 0) + stub)


def fault(call: int, context: int, status: int) -> bytes:
    return _pdu(Kind.FAULT, FIRST | LAST | DID_NOT_EXECUTE, call, pack("<IHHII", 32, context, 0, status, 0))


def bind_nak(call: int) -> bytes:
    """The versions that are understood follow the reason."""
    return _pdu(Kind.BIND_NAK, FIRST | LAST, call, pack("<HBBB3x", NOT_SPECIFIED, 1, 5, 0))


def with_stub(pdu: Pdu, stub: bytes) -> bytes:
    """A response that is whole and has no trailer, with another stub."""
    length = BODY_AT + len(stub)
    head = bytearray(pdu.raw[:BODY_AT])
    head[8:10] = pack(f"{pdu.order}H", length)
    head[16:20] = pack(f"{pdu.order}I", len(stub))
    return bytes(head) + stub
