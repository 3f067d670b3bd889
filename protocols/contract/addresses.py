"""Hosts, ports and the two sides of a session, in the words of engines and their drivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Final

from annotated_types import Ge, Gt, Le, Unit

Host = IPv4Address | IPv6Address

Network = IPv4Network | IPv6Network

Seconds = Annotated[float, Gt(0), Le(366 * 86400), Unit("s")]
"""The type of an option that is a length of time. A file may write it with a unit, as 3m."""

Count = Annotated[int, Ge(1), Le(10_000_000)]
"""The type of an option that is a number of things."""


@lru_cache(maxsize=4096)
def _ipv4_text(number: int) -> str:
    return str(IPv4Address(number))


def text_of(host: Host) -> str:
    """The host as text. `str` writes an address anew each time, and a call would ask for that a dozen times."""
    return _ipv4_text(int(host)) if type(host) is IPv4Address else str(host)


LEAST_PORT = 1024
"""The lowest port that a pinhole may lead to unless an option says so. Below it are services that a bounce attack wants
to reach."""


RESERVED_PORTS = range(512, 1024)
"""Ports that only a privileged process can bind, and for which rsh and its kin trust a peer (rcmd(3),
rresvport(3))."""


class Malformed(Exception):
    """A peer sent what its protocol does not allow. Parsers raise this, and it is caught at the engine's edge."""


class Transport(Enum):
    """The protocol that carries a session or a pinhole."""

    TCP = "tcp"
    UDP = "udp"
    GRE = "gre"
    """The tunnels of PPTP: GRE of version 1 that carries PPP (RFC 2637 s.4.1), over IPv4. The port of an Endpoint is a
    call id here, and 0 is one like any other. Tunnels are agreed on as media is (`Media`); no `Expect` can ask for
    one."""

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__


class Side(Enum):
    """The host at the other end of a leg: the client that dialled, or the server that was dialled."""

    CLIENT = "client"
    SERVER = "server"

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__

    other: Side


# The other side is asked for dozens of times in each call, so it is stored and not computed.
Side.CLIENT.other, Side.SERVER.other = Side.SERVER, Side.CLIENT


# Endpoints, peers and what engines want sent are made for each datagram. An object of a frozen dataclass takes three
# times as long to make, so here it is the type checker alone that keeps them from being changed.


@dataclass(slots=True)
class Endpoint:
    """An address and a port. Port 0 stands for "any", where the field that holds it says so."""

    host: Final[Host]
    port: Final[int]
    # These are made when they are first asked for. An endpoint is the key of many tables, and the hash and text of
    # `ipaddress` cost a microsecond each time.
    _hash: int | None = field(default=None, init=False, repr=False, compare=False)
    _text: str | None = field(default=None, init=False, repr=False, compare=False)
    _host_text: str | None = field(default=None, init=False, repr=False, compare=False)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Endpoint:
            return NotImplemented
        # Most endpoints that differ do so by their ports, and to compare hosts calls a function of Python.
        return self.port == other.port and self.host == other.host

    def __hash__(self) -> int:
        value = self._hash
        if value is None:
            value = hash((self.host, self.port))
            self._hash = value
        return value

    def __str__(self) -> str:
        text = self._text
        if text is None:
            host = self.host_text
            text = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
            self._text = text
        return text

    @property
    def host_text(self) -> str:
        """The host as text."""
        text = self._host_text
        if text is None:
            text = text_of(self.host)
            self._host_text = text
        return text


@dataclass(slots=True, unsafe_hash=True)
class Peers:
    """The two hosts of a session, each by its own address and by the one that the other host knows.

    Without NAT the two are equal. Source NAT gives the client another address on the server's leg; destination NAT
    gives the server another one on the client's leg.
    """

    client: Final[Endpoint]
    client_as_seen: Final[Endpoint]
    server: Final[Endpoint]
    server_as_seen: Final[Endpoint]
    transport: Final[Transport] = Transport.TCP
    role: Final[object] = None
    """The role that the `Reader` of the pinhole gives to the session which came through it. None: a policy let the
    session in, or the reader says nothing."""

    def own(self, side: Side) -> Endpoint:
        """The address that the host on this side has itself."""
        return self.client if side is Side.CLIENT else self.server

    def as_seen(self, side: Side) -> Endpoint:
        """The address by which the host on the other side knows this host."""
        return self.client_as_seen if side is Side.CLIENT else self.server_as_seen

    def is_mapped(self, side: Side) -> bool:
        """Whether NAT gives the host on this side another address (a changed port alone is no NAT of the address)."""
        if side is Side.CLIENT:
            return self.client.host != self.client_as_seen.host
        return self.server.host != self.server_as_seen.host

    def renamed(self, side: Side) -> dict[Host, Host]:
        """The hosts that the other side knows by another address: the address that this side has for each -> the other
        side's."""
        names = {}
        if self.is_mapped(side.other):
            names[self.as_seen(side.other).host] = self.own(side.other).host
        if self.is_mapped(side):
            names[self.own(side).host] = self.as_seen(side).host
        return names


@lru_cache(maxsize=4096)
def only(host: Host) -> tuple[Network, ...]:
    """The `allow` of an expect that admits this one host."""
    return (ip_network(host),)
