"""The endpoint mapper: towers, and what is asked and answered about them (C706 appendices L and O, MS-RPCE s.2.2.1).

ept_map      object, tower, handle, how many towers  ->  handle, towers, status
ept_lookup   what, whose, handle, how many entries   ->  handle, entries with a tower each, status
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from struct import pack
from typing import NamedTuple

from protocols.contract.addresses import Malformed, Transport
from protocols.dcerpc.ndr import Reader
from protocols.dcerpc.wire import Order, Uuid
from protocols.toolbox.spans import Span

HANDLE_BYTES = 20
MAX_TOWERS = 128
"""Servers name four at a time, because that is what clients ask for (DC16)."""
MAX_ENTRIES = 1000
"""Clients ask for at most 500 at a time."""
MAX_TOWER_BYTES = 2048
MAX_FLOORS = 16
MAX_ANNOTATION_BYTES = 64
NOT_REGISTERED = 0x16C9A0D6
"""The status of an answer that has found nothing, and of the end of a list."""

UUID_FLOOR, OVER_CONNECTIONS, OVER_DATAGRAMS, TCP_FLOOR, UDP_FLOOR, IPV4_FLOOR = 0x0D, 0x0B, 0x0A, 0x07, 0x08, 0x09
_ENDPOINTS: Mapping[tuple[int, ...], Transport] = {
    (OVER_CONNECTIONS, TCP_FLOOR, IPV4_FLOOR): Transport.TCP,
    (OVER_DATAGRAMS, UDP_FLOOR, IPV4_FLOOR): Transport.UDP,
}
"""The protocols of floors 3 to 5 -> what an endpoint of them is reached by (DC17, DC18, DC41)."""


class Place(NamedTuple):
    """Where an endpoint is, and where that stands in the stub."""

    transport: Transport
    host: IPv4Address
    port: int
    host_at: Span
    port_at: Span


class Tower(NamedTuple):
    """How an interface is reached."""

    interface: Uuid | None
    """None: its first floor names none."""
    version: str
    place: Place | None
    """None: it is reached by something else than TCP or UDP, as a pipe or a local call."""


class _Floor(NamedTuple):
    protocol: int
    identifier: Span
    """Of the left side, behind the protocol."""
    value: Span
    """Of the right side."""


def read_tower(data: bytes, start: int, end: int) -> Tower:
    """Counts and UUIDs of a tower are little-endian, whatever its PDU is (DC17). Raises Malformed."""
    floors = _floors(data, start, end)
    interface, version = None, ""
    if floors and floors[0].protocol == UUID_FLOOR:
        interface, version = _interface(data, floors[0])
    kinds = tuple(floor.protocol for floor in floors)
    transport = _ENDPOINTS.get(kinds[2:]) if kinds[:2] == (UUID_FLOOR, UUID_FLOOR) else None
    if transport is None:
        return Tower(interface, version, None)
    port_at, host_at = floors[3].value, floors[4].value
    if port_at.end - port_at.start != 2 or host_at.end - host_at.start != 4:
        raise Malformed("a floor of another length than a port or an address has")
    host = IPv4Address(data[host_at.start : host_at.end])
    port = int.from_bytes(data[port_at.start : port_at.end], "big")
    return Tower(interface, version, Place(transport, host, port, host_at, port_at))


def _interface(data: bytes, floor: _Floor) -> tuple[Uuid, str]:
    start, end = floor.identifier
    if end - start != 18 or floor.value.end - floor.value.start != 2:
        raise Malformed("a floor of another length than an interface has")
    major = int.from_bytes(data[start + 16 : end], "little")
    minor = int.from_bytes(data[floor.value.start : floor.value.end], "little")
    return data[start : start + 16], f"{major}.{minor}"


def _floors(data: bytes, start: int, end: int) -> list[_Floor]:
    floors, at = [], start + 2
    count = int.from_bytes(data[start:at], "little")
    if at > end or count > MAX_FLOORS:
        raise Malformed(f"a tower of {count} floors in {end - start} bytes")
    for _ in range(count):
        left, at = _side(data, at, end)
        right, at = _side(data, at, end)
        if left.start == left.end:
            raise Malformed("a floor without a protocol")
        floors.append(_Floor(data[left.start], Span(left.start + 1, left.end), right))
    return floors


def _side(data: bytes, at: int, end: int) -> tuple[Span, int]:
    start = at + 2
    stop = start + int.from_bytes(data[at:start], "little")
    if start > end or stop > end:
        raise Malformed("a floor that is cut short")
    return Span(start, stop), stop


def _pointed(reader: Reader, data: bytes) -> Tower:
    """A tower that a pointer leads to: its size, its length, and its octets (DC16)."""
    size, length = reader.size(), reader.number()
    if size != length or length > MAX_TOWER_BYTES:
        raise Malformed(f"a tower of {length} bytes in {size}")
    start = reader.at
    reader.octets(length)
    return read_tower(data, start, start + length)


# -- ept_map -----------------------------------------------------------------------------------------------------------


class Question(NamedTuple):
    """What an ept_map asks for (DC15)."""

    object: Uuid | None
    tower: Tower | None
    most: int
    """How many towers the client takes."""


def read_question(stub: bytes, order: Order, is_wide: bool) -> Question:
    """Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    named = reader.uuid() if reader.size() else None
    tower = _pointed(reader, stub) if reader.size() else None
    reader.align(4)
    reader.octets(HANDLE_BYTES)
    return Question(named if named and any(named) else None, tower, reader.number())


class Answer(NamedTuple):
    """What an ept_map or an ept_lookup was answered."""

    towers: list[Tower]
    status: int


def read_answer(stub: bytes, order: Order, is_wide: bool) -> Answer:
    """The answer to an ept_map. Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    reader.octets(HANDLE_BYTES)
    count = reader.number()
    if reader.array(MAX_TOWERS) != count:
        raise Malformed(f"{count} towers, and another number in their array")
    return _towers(reader, stub, [reader.size() for _ in range(count)])


def _towers(reader: Reader, stub: bytes, pointers: list[int]) -> Answer:
    """What the pointers lead to stands behind all of them, each once."""
    leading = [pointer for pointer in pointers if pointer]
    if len(set(leading)) != len(leading):
        raise Malformed("two pointers to one tower")
    towers = [_pointed(reader, stub) for _ in leading]
    return Answer(towers, reader.number())


def nothing_found(question: Question, is_wide: bool, order: Order = "<") -> bytes:
    """The stub of an answer of ours: no towers (DC36)."""
    counts = pack(f"{order}{'3Q' if is_wide else '3I'}", question.most, 0, 0)
    return bytes(HANDLE_BYTES + 4) + counts + pack(f"{order}I", NOT_REGISTERED)


# -- ept_lookup --------------------------------------------------------------------------------------------------------


def read_list(stub: bytes, order: Order, is_wide: bool) -> Answer:
    """The answer to an ept_lookup (DC19). Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    reader.octets(HANDLE_BYTES)
    count = reader.number()
    if reader.array(MAX_ENTRIES) != count:
        raise Malformed(f"{count} entries, and another number in their array")
    pointers = []
    for _ in range(count):
        reader.align(8 if is_wide else 4)
        reader.octets(16)  # the object, whose order does not matter here
        pointers.append(reader.size())
        _skip_annotation(reader)
    return _towers(reader, stub, pointers)


def _skip_annotation(reader: Reader) -> None:
    offset, length = reader.size(), reader.size()
    if offset or length > MAX_ANNOTATION_BYTES:
        raise Malformed(f"an annotation of {length} bytes")
    reader.octets(length)
