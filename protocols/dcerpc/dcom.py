"""DCOM on port 135: where objects are, by string bindings in answers of the activator and of the resolver (MS-DCOM).

An activation's answer has an object reference within the stub, that has a blob, that has properties one behind the
other: each is found by the sizes that stand before it, and nothing is searched for (X1, DC28).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from struct import pack, unpack
from typing import NamedTuple, TypeVar

from protocols.contract.addresses import Host, Malformed
from protocols.dcerpc.ndr import Reader
from protocols.dcerpc.wire import Order, Uuid, uuid_of
from protocols.toolbox.spans import Span

TCP = 7
"""The protocol of a string binding (DC27)."""
MAX_BINDINGS = 64
MAX_BINDING_CHARACTERS = 512
MAX_PROPERTIES = 16
MAX_EXTENSIONS = 16
"""Extensions of one call. Windows sends one or two of them with errors."""

_SIGNATURE = b"MEOW"
_CUSTOM = 4
_PROPERTIES_IN, _PROPERTIES_OUT = (uuid_of(f"0000033{digit}-0000-0000-c000-000000000046") for digit in "89")
_INSTANTIATION = uuid_of("000001ab-0000-0000-c000-000000000046")
_REPLY_OF_THE_SCM = uuid_of("000001b6-0000-0000-c000-000000000046")
_SERIALIZED_BYTES = 16
"""What stands before each type that is serialized by itself (MS-RPCE s.2.2.6)."""

Value = TypeVar("Value")

_WITH_PORT = re.compile(r"(.+)\[([0-9]{1,5})\]", re.DOTALL)


class Binding(NamedTuple):
    """A string binding: a host by name or address, and perhaps a port in brackets."""

    protocol: int
    text: str

    @property
    def host(self) -> Host | None:
        """The address that it names. None: it is a name."""
        named = _WITH_PORT.fullmatch(self.text)
        try:
            return ip_address(named[1] if named else self.text)
        except ValueError:
            return None

    @property
    def port(self) -> int | None:
        """The one of TCP. None: it has none, or one that is no port."""
        named = _WITH_PORT.fullmatch(self.text)
        port = int(named[2]) if named and self.protocol == TCP else None
        return port if port is None or port <= 65535 else None


class Bindings(NamedTuple):
    """An array of string bindings, and one of security bindings behind it (DC27)."""

    strings: tuple[Binding, ...]
    security: bytes
    """The second array, as it came."""
    span: Span
    """Where both stand, with the counts before them."""


def read_bindings(reader: Reader, stub: bytes, order: Order) -> Bindings:
    """A DUALSTRINGARRAY and the count before it. Raises Malformed."""
    start = reader.at
    allowed, entries, security = reader.size(), reader.short(), reader.short()
    if entries > allowed or security > entries:
        raise Malformed(f"{entries} units of bindings in {allowed}, those of security at {security}")
    at = reader.at
    octets = reader.octets(2 * entries)
    strings = tuple(_strings(list(unpack(f"{order}{security}H", octets[: 2 * security]))))
    return Bindings(strings, stub[at + 2 * security : reader.at], Span(start, reader.at))


def _strings(units: list[int]) -> Iterator[Binding]:
    """Each is a protocol and characters up to a zero; another zero ends them."""
    at = found = 0
    while at < len(units) and units[at]:
        protocol, start = units[at], at + 1
        try:
            end = units.index(0, start)
        except ValueError:
            raise Malformed("a string binding without an end") from None
        found += 1
        if end - start > MAX_BINDING_CHARACTERS or found > MAX_BINDINGS:
            raise Malformed(f"string binding {found} of {end - start} characters")
        text = pack(f"<{end - start}H", *units[start:end]).decode("utf-16-le", "replace")
        yield Binding(protocol, text)
        at = end + 1


def write_bindings(bindings: Bindings, strings: tuple[Binding, ...], order: Order, is_wide: bool) -> bytes:
    """The same array with other string bindings, and the count before it. Raises Malformed if it is too long then."""
    units: list[int] = []
    for protocol, text in strings:
        octets = text.encode("utf-16-le", "replace")
        units += [protocol, *unpack(f"<{len(octets) // 2}H", octets), 0]
    units.append(0)
    entries = len(units) + len(bindings.security) // 2
    if entries > 0xFFFF:
        raise Malformed(f"{entries} units of bindings")
    counts = pack(f"{order}{'Q' if is_wide else 'I'}HH", entries, entries, len(units))
    return counts + pack(f"{order}{len(units)}H", *units) + bindings.security


# -- the resolver ------------------------------------------------------------------------------------------------------


def read_resolved(stub: bytes, order: Order, is_wide: bool) -> Bindings | None:
    """The answer to a ResolveOxid or a ResolveOxid2. None: there is nothing of that kind. Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    return read_bindings(reader, stub, order) if reader.size() else None


def read_alive(stub: bytes, order: Order, is_wide: bool) -> Bindings | None:
    """The answer to a ServerAlive2, whose bindings have no ports (DC25). Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    reader.number()  # the version
    return read_bindings(reader, stub, order) if reader.size() else None


# -- activations -------------------------------------------------------------------------------------------------------


def read_remote_activation(stub: bytes, order: Order, is_wide: bool) -> Bindings | None:
    """The answer to a RemoteActivation, the oldest of them. Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    _skip_orpcthat(reader, is_wide)
    reader.integer(8)
    return read_bindings(reader, stub, order) if reader.size() else None


def read_activated(stub: bytes, order: Order, is_wide: bool) -> Bindings | None:
    """The answer to a RemoteGetClassObject or a RemoteCreateInstance. None: it has no such object, or one whose
    bindings stand elsewhere. Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    _skip_orpcthat(reader, is_wide)
    if not reader.size():
        return None
    reply = _properties(reader, stub, order, _PROPERTIES_OUT).get(_REPLY_OF_THE_SCM)
    return None if reply is None else _of_reply(reply)


def _of_reply(reply: Property) -> Bindings | None:
    """Where the object is, of a ScmReplyInfoData."""
    reader = reply.reader()
    reader.size()  # reserved
    if not reader.size():
        return None
    reader.integer(8)  # the object exporter's id
    is_there = reader.size()
    reader.uuid()  # of its IRemUnknown
    reader.octets(8)  # how it authenticates, and its version
    return read_bindings(reader, reply.data, reply.order) if is_there else None


def read_class(stub: bytes, order: Order, is_wide: bool, creates: bool) -> Uuid | None:
    """The class that a RemoteGetClassObject or (`creates`) a RemoteCreateInstance asks for. Raises Malformed."""
    reader = Reader(stub, order, is_wide)
    reader.octets(12)  # version, flags, reserved
    reader.uuid()
    _skip_extensions(reader, is_wide)
    if creates and reader.size():
        return None  # it is to be part of another object, which nobody does
    if not reader.size():
        return None
    wanted = _properties(reader, stub, order, _PROPERTIES_IN).get(_INSTANTIATION)
    return None if wanted is None else wanted.reader().uuid()


def _skip_orpcthat(reader: Reader, is_wide: bool) -> None:
    reader.number()
    _skip_extensions(reader, is_wide)


def _skip_extensions(reader: Reader, is_wide: bool) -> None:
    """Extensions of a call, such as more about an error (MS-DCOM s.2.2.13, 2.2.21)."""
    if not reader.size():
        return
    count, _ = reader.number(), reader.number()
    if not reader.size():
        return
    slots = reader.size()
    if count > MAX_EXTENSIONS or slots > MAX_EXTENSIONS:
        raise Malformed(f"{count} extensions of a call")
    for pointer in [reader.size() for _ in range(slots)]:
        if pointer:
            size = reader.size()
            reader.uuid()
            reader.number()
            reader.octets(size)
    reader.align(8 if is_wide else 4)


@dataclass(frozen=True, slots=True)
class Property:
    """A property of an activation, serialized by itself: always as NDR32, in an order of its own."""

    data: bytes
    order: Order

    def reader(self) -> Reader:
        return Reader(self.data, self.order, False)


def _serialized(data: bytes) -> Property:
    """What stands behind a version, an order, and a length (MS-RPCE s.2.2.6.1, 2.2.6.2). Raises Malformed."""
    if len(data) < _SERIALIZED_BYTES or data[0] != 1 or data[1] not in (0x10, 0x00):
        raise Malformed("a type that is serialized in no known way")
    return Property(data[_SERIALIZED_BYTES:], "<" if data[1] else ">")


def _properties(reader: Reader, stub: bytes, order: Order, of: Uuid) -> Mapping[Uuid, Property]:
    """The properties in the object reference that follows, by their classes. None, if it is a reference of another
    kind (DC32). Raises Malformed."""
    size = reader.size()
    if reader.number() != size:
        raise Malformed("an object reference of two sizes")
    blob = _blob(reader.octets(size), of)
    if blob is None:
        return {}
    # MS-DCOM s.2.2.22: both sizes, then the header and the properties behind each other.
    within = Reader(blob, "<", False)
    within.octets(8)
    header = _serialized(blob[within.at :])
    at = header.reader()
    _, header_bytes = at.number(), at.number()
    at.octets(8)
    count = at.number()
    at.uuid()
    pointers = [at.size() for _ in range(3)]
    if count > MAX_PROPERTIES or not pointers[0] or not pointers[1]:
        raise Malformed(f"{count} properties of an activation")
    classes = _counted(at, count, at.uuid)
    sizes = _counted(at, count, at.number)
    return dict(_walk(blob, within.at + header_bytes, classes, sizes))


def _blob(reference: bytes, of: Uuid) -> bytes | None:
    """What an object reference holds that is marshalled by a class of its own. It is little-endian (MS-DCOM
    s.2.2.18)."""
    reader = Reader(reference, "<", False)
    if reader.octets(4) != _SIGNATURE or reader.number() != _CUSTOM:
        return None
    reader.uuid()
    if reader.uuid() != of:
        return None
    extension, size = reader.number(), reader.number()
    if extension:
        raise Malformed("an activation with an extension")
    return reader.octets(min(size, reader.left))


def _counted(reader: Reader, count: int, one: Callable[[], Value]) -> list[Value]:
    if reader.size() != count:
        raise Malformed("as many classes or sizes as there are properties should be there")
    return [one() for _ in range(count)]


def _walk(blob: bytes, at: int, classes: list[Uuid], sizes: list[int]) -> Iterator[tuple[Uuid, Property]]:
    for uuid, size in zip(classes, sizes, strict=True):
        if at + size > len(blob):
            raise Malformed("a property that is cut short")
        if uuid in (_INSTANTIATION, _REPLY_OF_THE_SCM):
            yield uuid, _serialized(blob[at : at + size])
        at += size
