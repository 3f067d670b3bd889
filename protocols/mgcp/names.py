"""Addresses in the names of endpoints and of notified entities, as the other side of NAT knows them (MG19, MG21).

    aaln/1@[10.1.0.5]        an endpoint, in the first line, Z: and Z2:
    ca@[192.0.2.1]:2727      who is to be notified, in N:

What each must believe:
1) A host knows itself by its own address, in its own spelling: it compares names byte by byte.
2) The other host knows it by the address that its datagrams come from.

An address is mapped by its value (X8): only those of the two hosts of the session are known here. Host names stay,
since gateways check them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host, Peers, Side, text_of
from protocols.mgcp.wire import Message
from protocols.toolbox.spans import Span

_NAMING = frozenset((b"N", b"Z", b"Z2"))
"""Parameters that name endpoints or entities."""

# Behind the @ of a name; before a comma or blank, for AUEP answers with a list of endpoints. RFC 3435 s.3.2.1.3 has the
# brackets; a bare IPv4 address is seen in the field.
_ADDRESS = re.compile(
    rb"(?:(?<=@)|(?<![!-~])|(?<=,))(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
    rb"(?::(?P<port>[0-9]{1,5}))?(?=[ \t,]|\Z)"
)


class Renamed(NamedTuple):
    """An address that is another one on the other side."""

    span: Span
    field: str
    before: bytes
    after: bytes


def address_of(name: bytes) -> Host | None:
    """The address in the domain of a name. None: the domain is a host name."""
    found = next(_ADDRESS.finditer(name), None)
    return None if found is None else _read(found["host"])


def _read(token: bytes) -> Host | None:
    """The address of a match. A message can hold hundreds, so no grammar stands between."""
    kind = IPv6Address if b":" in token else IPv4Address
    try:
        return kind(token.strip(b"[]").decode("ascii"))
    except ValueError:
        return None


class Names:
    """Maps the names in the messages of one session."""

    __slots__ = ("_mapped", "_spelled")

    def __init__(self, peers: Peers) -> None:
        self._mapped: Mapping[Side, list[tuple[Endpoint, Endpoint]]] = {
            side: [
                *([(peers.own(side), peers.as_seen(side))] if peers.is_mapped(side) else []),
                *([(peers.as_seen(side.other), peers.own(side.other))] if peers.is_mapped(side.other) else []),
            ]
            for side in Side
        }
        """side that speaks -> the hosts of the session, each as that side knows it and as the other one does."""
        self._spelled: dict[Host, bytes] = {}
        """host -> how it spells its own address."""

    def renamed(self, side: Side, message: Message) -> Iterator[Renamed]:
        """The addresses in a message of this side that the other side knows as others, in their order."""
        if not self._mapped[side]:
            return
        if message.is_command:
            yield from self._in(side, message, "endpoint", message.endpoint)
        for one in message.parameters:
            if one.name in _NAMING:
                yield from self._in(side, message, one.name.decode("ascii"), one.span)

    def _in(self, side: Side, message: Message, field: str, span: Span) -> Iterator[Renamed]:
        text = message.data[span.start : span.end]
        for found in _ADDRESS.finditer(text):
            host = _read(found["host"])
            for before, after in self._mapped[side]:
                if host != before.host:
                    continue
                self._spelled.setdefault(before.host, found["host"])
                new = self._spelled.get(after.host) or b"[%b]" % text_of(after.host).encode()
                if (port := found["port"]) is not None:
                    new += b":%d" % (after.port if int(port) == before.port else int(port))
                yield Renamed(Span(span.start + found.start(), span.start + found.end()), field, found[0], new)
                break
