"""Addresses in the records of an answer: where they stand, which others take their place, and which are of no use to
anybody but hosts inside.

A, AAAA, and the hints of SVCB and HTTPS (DN15). Each address is replaced by one of the same length, in its own place,
so no pointer and no length of the message changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from protocols.contract.addresses import Malformed, Network
from protocols.dns.wire import IN, MAX_LABEL_BYTES, Record, Type

_SIZES: Mapping[int, int] = {Type.A: 4, Type.AAAA: 16}
_HINTS = {4: 4, 6: 16}
"""Keys of parameters that hold addresses (RFC 9460 s.7.3), and the length of each address."""
_BINDINGS = (Type.SVCB, Type.HTTPS)
_ANSWER, _ADDITIONAL = 1, 3


def places(message: bytes, records: Sequence[Record]) -> Iterator[tuple[Record, int, int]]:
    """Each address of the answer and of what comes along with it: its record, where it stands, and how long it is.
    Raises Malformed for a record of addresses that cannot be read."""
    for record in records:
        section, _, kind, klass, _, at, end = record
        if klass != IN or section not in (_ANSWER, _ADDITIONAL):
            continue
        size = _SIZES.get(kind)
        if size is not None:
            if end - at != size:
                raise Malformed("an address of another length")
            yield record, at, size
        elif kind in _BINDINGS:
            for place, length in _hints(message, at, end):
                yield record, place, length


def _hints(message: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """The addresses of a service binding (RFC 9460 s.2.2): priority, a name without compression, and parameters, each
    with its key, its length and its value."""
    at += 2
    while at < end and (length := message[at]):
        if length > MAX_LABEL_BYTES:
            raise Malformed("a service binding whose target is no name")
        at += length + 1
    at += 1
    if at > end:
        raise Malformed("a service binding without an end")
    while at < end:
        key, length = int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big")
        value, at = at + 4, at + 4 + length
        if at > end:
            raise Malformed("a service binding without an end")
        if (size := _HINTS.get(key)) is not None:
            if length % size:
                raise Malformed("an address hint of another length")
            yield from ((place, size) for place in range(value, at, size))


class Pairs:
    """Networks, and those whose addresses take the place of theirs, both ways."""

    __slots__ = ("_back", "_there")

    def __init__(self, translate: Mapping[Network, Network]) -> None:
        self._there = _compiled(translate.items())
        self._back = _compiled((after, before) for before, after in translate.items())

    def __bool__(self) -> bool:
        return any(self._there.values())

    def after(self, address: bytes) -> bytes | None:
        """What takes the place of an address. None: it stays."""
        return _replaced(self._there, address)

    def before(self, address: bytes) -> bytes | None:
        """The address in whose place this one stands."""
        return _replaced(self._back, address)


_Rows = dict[int, list[tuple[int, int, int]]]
"""Length of an address -> mask, network and the other network, the longest prefix first."""


def _compiled(pairs: Iterable[tuple[Network, Network]]) -> _Rows:
    rows: _Rows = {4: [], 16: []}
    for one, other in sorted(pairs, key=lambda pair: -pair[0].prefixlen):
        rows[len(one.network_address.packed)].append(
            (int(one.netmask), int(one.network_address), int(other.network_address))
        )
    return rows


def _replaced(rows: _Rows, address: bytes) -> bytes | None:
    size = len(address)
    if not (of_version := rows[size]):
        return None
    number = int.from_bytes(address, "big")
    for mask, network, other in of_version:
        if number & mask == network:
            return (number & ~mask | other).to_bytes(size, "big")
    return None


_INSIDE = {
    4: ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    16: ("::/96", "fc00::/7", "fe80::/10"),
}
"""Networks that are not of the internet: this host, private, shared with a provider, one link (RFC 6890). ::/96 has
loopback, and what once stood for addresses of IPv4."""
_MASKS = {
    size: [(int(network.netmask), int(network.network_address)) for network in map(ip_network, networks)]
    for size, networks in _INSIDE.items()
}
_WITH_IPV4 = tuple(ip_network(network).network_address.packed[:12] for network in ("::ffff:0:0/96", "64:ff9b::/96"))
"""Beginnings of addresses of IPv6 whose last four bytes are one of IPv4 (RFC 4291 s.2.5.5.2, RFC 6052)."""


def is_inside(address: bytes) -> bool:
    """Whether this is an address that no host of the internet has."""
    if len(address) == 16 and address[:12] in _WITH_IPV4:
        address = address[12:]
    number = int.from_bytes(address, "big")
    return any(number & mask == network for mask, network in _MASKS[len(address)])
