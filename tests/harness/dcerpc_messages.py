"""Calls to an endpoint mapper and its answers as bytes, as clients and servers write them, in either transfer syntax
and either byte order. Nothing here is taken from the helper: what it reads is written a second time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from struct import pack
from typing import Literal
from uuid import UUID

Order = Literal["<", ">"]

EPM, NETLOGON, SAMR, SVCCTL = (
    UUID(text)
    for text in (
        "e1af8308-5d1f-11c9-91a4-08002b14a0fa",
        "12345678-1234-abcd-ef00-01234567cffb",
        "12345778-1234-abcd-ef00-0123456789ac",
        "367abb81-9844-35f1-ad32-98f038001003",
    )
)
RESOLVER, ACTIVATOR, OLD_ACTIVATOR = (
    UUID(text)
    for text in (
        "99fcfec4-5260-101b-bbcb-00aa0021347a",
        "000001a0-0000-0000-c000-000000000046",
        "4d9f4ab8-7d1c-11cf-861e-0020af6e7c57",
    )
)
NDR32, NDR64, FEATURES = (
    (UUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2),
    (UUID("71710533-beba-4937-8319-b5dbef9ccc36"), 1),
    (UUID("6cb71c2c-9812-4540-0300-000000000000"), 1),
)
REQUEST, RESPONSE, FAULT, BIND, BIND_ACK, BIND_NAK, ALTER, ALTERED = 0, 2, 3, 11, 12, 13, 14, 15
CANCEL, ORPHANED = 18, 19
FIRST, LAST, OBJECT = 1, 2, 0x80
BOTH = FIRST | LAST
NOT_REGISTERED = 0x16C9A0D6
ADDRESS = "203.0.113.7"
Port = tuple[str, int]
"""An address and a port."""


def octets(uuid: UUID, order: Order) -> bytes:
    return uuid.bytes_le if order == "<" else uuid.bytes


# -- PDUs --------------------------------------------------------------------------------------------------------------


def pdu(kind: int, body: bytes, *, call: int = 1, flags: int = BOTH, order: Order = "<", trailer: bytes = b"") -> bytes:
    """trailer: the eight octets and what follows them."""
    representation = b"\x10\0\0\0" if order == "<" else bytes(4)
    length = 16 + len(body) + len(trailer)
    head = pack(f"{order}4B4sHHI", 5, 0, kind, flags, representation, length, max(len(trailer) - 8, 0), call)
    return head + body + trailer


def trailer(level: int, padding: int = 0, size: int = 16) -> bytes:
    """Of NTLM."""
    return pack("<4BI", 10, level, padding, 0, 0) + b"\xaa" * size


def bind(
    *interfaces: tuple[UUID, int],
    syntaxes: Sequence[tuple[UUID, int]] = (NDR32,),
    kind: int = BIND,
    call: int = 1,
    first: int = 0,
    order: Order = "<",
) -> bytes:
    """A context for each interface in each syntax, as Windows has it."""
    offers = [(interface, syntax) for interface in interfaces or ((EPM, 3),) for syntax in syntaxes]
    body = pack(f"{order}HHIB3x", 5840, 5840, 0, len(offers))
    for number, ((uuid, version), (syntax, of)) in enumerate(offers, first):
        body += pack(f"{order}HBx", number, 1) + octets(uuid, order) + pack(f"{order}I", version)
        body += octets(syntax, order) + pack(f"{order}I", of)
    return pdu(kind, body, call=call, order=order)


def bound(
    *results: tuple[UUID, int] | int, kind: int = BIND_ACK, call: int = 1, order: Order = "<", port: bytes = b"135\0"
) -> bytes:
    """The answer: for each context the syntax that was accepted, or the number of a result that is none."""
    body = pack(f"{order}HHIH", 5840, 5840, 7, len(port)) + port
    results = results or (NDR32,)
    body += bytes(-(16 + len(body)) % 4) + pack("B3x", len(results))
    for result in results:
        if isinstance(result, int):
            body += pack(f"{order}HH", result, 2) + bytes(20)
        else:
            body += pack(f"{order}HH", 0, 0) + octets(result[0], order) + pack(f"{order}I", result[1])
    return pdu(kind, body, call=call, order=order)


def request(
    operation: int,
    stub: bytes,
    *,
    call: int = 2,
    context: int = 0,
    flags: int = BOTH,
    order: Order = "<",
    trailer: bytes = b"",
    about: UUID | None = None,
) -> bytes:
    """about: the object of the call."""
    body = pack(f"{order}IHH", len(stub), context, operation) + (octets(about, order) if about else b"") + stub
    return pdu(
        REQUEST, body, call=call, flags=flags | (OBJECT if about else 0), order=order, trailer=trailer
    )  # fmt: skip


def response(
    stub: bytes, *, call: int = 2, context: int = 0, flags: int = BOTH, order: Order = "<", trailer: bytes = b""
) -> bytes:
    body = pack(f"{order}IHH", len(stub), context, 0) + stub
    return pdu(RESPONSE, body, call=call, flags=flags, order=order, trailer=trailer)


def fault(status: int, *, call: int = 2, context: int = 0, order: Order = "<") -> bytes:
    """That the call was not executed."""
    return pdu(FAULT, pack(f"{order}IHHII", 32, context, 0, status, 0), call=call, flags=BOTH | 0x20, order=order)


def in_fragments(whole: bytes, size: int, *, order: Order = "<") -> bytes:
    """A request or a response without an object and a trailer, in PDUs of so many octets of stub."""
    stub = whole[24:]
    parts = [stub[at : at + size] for at in range(0, len(stub), size)]
    made = b""
    for number, part in enumerate(parts):
        flags = (FIRST if not number else 0) | (LAST if number == len(parts) - 1 else 0)
        head = bytearray(whole[:24])
        head[3] = flags
        head[8:10] = pack(f"{order}H", 24 + len(part))
        made += bytes(head) + part
    return made


# -- towers ------------------------------------------------------------------------------------------------------------


def floor(protocol: int, left: bytes, right: bytes) -> bytes:
    return pack("<H", 1 + len(left)) + bytes([protocol]) + left + pack("<H", len(right)) + right


def tower(
    interface: UUID = NETLOGON,
    at: Port = (ADDRESS, 49153),
    *,
    version: int = 1,
    syntax: tuple[UUID, int] = NDR32,
    over_udp: bool = False,
) -> bytes:
    """By TCP, or by datagrams."""
    host, port = at
    floors = [
        floor(0x0D, interface.bytes_le + pack("<H", version), bytes(2)),
        floor(0x0D, syntax[0].bytes_le + pack("<H", syntax[1]), bytes(2)),
        floor(0x0A if over_udp else 0x0B, b"", bytes(2)),
        floor(0x08 if over_udp else 0x07, b"", pack(">H", port)),
        floor(0x09, b"", IPv4Address(host).packed),
    ]
    return pack("<H", len(floors)) + b"".join(floors)


def pipe_tower(interface: UUID = NETLOGON) -> bytes:
    floors = [
        floor(0x0D, interface.bytes_le + pack("<H", 1), bytes(2)),
        floor(0x0D, NDR32[0].bytes_le + pack("<H", 2), bytes(2)),
        floor(0x0B, b"", bytes(2)),
        floor(0x0F, b"", b"\\pipe\\netlogon\0"),
        floor(0x11, b"", b"DC1\0"),
    ]
    return pack("<H", len(floors)) + b"".join(floors)


class Stub:
    """A stub that is being written, aligned as its transfer syntax has it."""

    def __init__(self, order: Order = "<", is_wide: bool = False) -> None:
        self.order = order
        self.is_wide = is_wide
        self.made = b""

    def align(self, to: int) -> Stub:
        self.made += bytes(-len(self.made) % to)
        return self

    def put(self, more: bytes) -> Stub:
        self.made += more
        return self

    def number(self, *values: int) -> Stub:
        for value in values:
            self.align(4).put(pack(f"{self.order}I", value))
        return self

    def size(self, *values: int) -> Stub:
        for value in values:
            if self.is_wide:
                self.align(8).put(pack(f"{self.order}Q", value))
            else:
                self.number(value)
        return self

    def tower(self, tower: bytes, size: int | None = None) -> Stub:
        self.size(len(tower) if size is None else size)
        return self.number(len(tower)).put(tower)


def asks(
    tower_of: bytes | None = None,
    *,
    order: Order = "<",
    is_wide: bool = False,
    about: UUID | None = None,
    most: int = 4,
) -> bytes:
    """The stub of an ept_map, with a tower as impacket and Samba fill it in."""
    stub = Stub(order, is_wide)
    stub.size(1).put(octets(about or UUID(int=0), order))
    stub.size(2).tower(tower(at=("0.0.0.0", 135)) if tower_of is None else tower_of)
    return stub.align(4).put(bytes(20)).number(most).made


def maps(
    *towers: bytes,
    order: Order = "<",
    is_wide: bool = False,
    status: int | None = None,
    most: int = 4,
    count: int | None = None,
    size: int | None = None,
) -> bytes:
    """The stub of its answer. `count` and `size` are those that it says of its towers, where they are wrong."""
    stub = Stub(order, is_wide).put(bytes(20))
    said = len(towers) if count is None else count
    stub.number(said).size(most, 0, said)
    stub.size(*range(3, 3 + len(towers)))
    for each in towers:
        stub.tower(each, size)
    return stub.number((0 if towers else NOT_REGISTERED) if status is None else status).made


def lists(*towers: bytes, order: Order = "<", is_wide: bool = False, status: int = 0) -> bytes:
    """The stub of the answer to an ept_lookup: each entry has an annotation of its own length."""
    stub = Stub(order, is_wide).put(bytes(20)).number(len(towers)).size(500, 0, len(towers))
    for number in range(len(towers)):
        note = b"service %d\0" % 10**number
        stub.align(8 if is_wide else 4).put(bytes(16)).size(3 + number).size(0, len(note)).put(note)
    for each in towers:
        stub.tower(each)
    return stub.number(status).made


# -- DCOM --------------------------------------------------------------------------------------------------------------


def bindings(
    texts: Iterable[str], *, order: Order = "<", protocol: int = 7, security: bytes = b"\x0a\0\xff\xff\0\0\0\0"
) -> bytes:
    """A DUALSTRINGARRAY without the count before it. security: the second array, in little-endian order."""
    units: list[int] = []
    for text in texts:
        units += [protocol, *map(ord, text), 0]
    units.append(0)
    behind = [int.from_bytes(security[at : at + 2], "little") for at in range(0, len(security), 2)]
    everything = [*units, *behind]
    return pack(f"{order}HH{len(everything)}H", len(everything), len(units), *everything)


def counted(array: bytes, stub: Stub) -> Stub:
    """The array behind the count of its entries."""
    (entries,) = (int.from_bytes(array[:2], "little" if stub.order == "<" else "big"),)
    return stub.size(entries).put(array)


def resolved(texts: Iterable[str], *, order: Order = "<", is_wide: bool = False) -> bytes:
    """The stub of the answer to a ResolveOxid2."""
    stub = Stub(order, is_wide).size(0x20000)
    counted(bindings(texts, order=order), stub)
    return stub.align(4).put(b"\x11" * 16).number(5).put(pack(f"{order}HH", 5, 7)).number(0).made


def alive(texts: Iterable[str], *, order: Order = "<", is_wide: bool = False) -> bytes:
    """The stub of the answer to a ServerAlive2."""
    stub = Stub(order, is_wide).put(pack(f"{order}HH", 5, 7)).size(0x20000)
    return counted(bindings(texts, order=order), stub).number(0, 0).made


def activated(texts: Iterable[str], *, order: Order = "<", is_wide: bool = False) -> bytes:
    """The stub of the answer to a RemoteCreateInstance: the one property that says where the object is, behind another
    one that nobody reads."""
    inner = Stub().size(0, 0x20000).align(8).put(b"\x22" * 8).size(0x20004).put(b"\x33" * 16).number(5)
    inner.put(pack("<HH", 5, 7))
    counted(bindings(texts), inner).align(8)
    reply, other = (_serialized(part) for part in (inner.made, b"\x44" * 24))
    classes = (UUID(f"00000{digit}-0000-0000-c000-000000000046") for digit in ("339", "1b6"))
    header = Stub().number(0, 0, 0, 2, 2).put(bytes(16)).size(0x20000, 0x20004, 0).size(2)
    header.put(b"".join(each.bytes_le for each in classes)).size(2).number(len(other), len(reply)).align(8)
    made = _serialized(header.made)
    made = made[:16] + pack("<II", len(made) + len(other) + len(reply), len(made)) + made[24:]
    blob = pack("<II", len(made) + len(other) + len(reply), 0) + made + other + reply
    reference = b"MEOW" + pack("<I", 4) + bytes(16) + UUID("00000339-0000-0000-c000-000000000046").bytes_le
    reference += pack("<II", 0, len(blob)) + blob
    stub = Stub(order, is_wide).number(1).size(0, 0x20000).size(len(reference)).number(len(reference)).put(reference)
    return stub.number(0).made


def _serialized(inner: bytes) -> bytes:
    """A type by itself: version, order, length."""
    return bytes.fromhex("01100800cccccccc") + pack("<II", len(inner), 0) + inner


# -- version 4 ---------------------------------------------------------------------------------------------------------


def datagram(
    kind: int,
    body: bytes,
    *,
    operation: int = 3,
    sequence: int = 7,
    order: Order = "<",
    interface: UUID = EPM,
    version: int = 3,
    flags: int = 0,
    auth: int = 0,
) -> bytes:
    """C706 s.12.5.2: flags, representation and serial number, object, interface, activity, and so on."""
    head = pack("4B3sB", 4, kind, flags, 0, b"\x10\0\0" if order == "<" else bytes(3), 0)
    head += bytes(16) + octets(interface, order) + octets(UUID(int=0xAC71), order)
    head += pack(f"{order}IIIHHHHHBB", 0, version, sequence, operation, 0xFFFF, 0xFFFF, len(body), 0, auth, 0)
    return head + body
