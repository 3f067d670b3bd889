"""Hosts, ports and the two sides of a session, as engines and what drives them name them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated

from annotated_types import Ge, Gt, Le

Host = IPv4Address | IPv6Address

Network = IPv4Network | IPv6Network

Seconds = Annotated[float, Gt(0), Le(366 * 86400)]
"""Of an option."""

Count = Annotated[int, Ge(1), Le(10_000_000)]
"""Of an option."""


LEAST_PORT = 1024
"""Below are services that a bounce wants to reach: no pinhole leads there unless an option says so."""


class Malformed(Exception):
    """A peer sent what its protocol does not allow. Raised by parsers, caught at the engine's edge."""


class Transport(Enum):
    TCP = "tcp"
    UDP = "udp"
    GRE = "gre"
    """An Endpoint's port is a call id (RFC 2637 s.4.1). Nothing carries it yet: what asks for it is refused."""

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__


class Side(Enum):
    """Who is at the other end of a leg: the one who dialled, or the one who was dialled."""

    CLIENT = "client"
    SERVER = "server"

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__

    other: Side


# Asked for dozens of times in each call: kept, not computed.
Side.CLIENT.other, Side.SERVER.other = Side.SERVER, Side.CLIENT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port. Port 0 stands for "any", where the field that holds it says so."""

    host: Host
    port: int
    # Made when they are first asked for: the key of many tables, and those of `ipaddress` cost a microsecond each time.
    _hash: int = field(init=False, repr=False, compare=False)
    _text: str = field(init=False, repr=False, compare=False)
    _host_text: str = field(init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            value = hash((self.host, self.port))
            object.__setattr__(self, "_hash", value)
            return value

    def __str__(self) -> str:
        try:
            return self._text
        except AttributeError:
            host = self.host_text
            text = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
            object.__setattr__(self, "_text", text)
            return text

    @property
    def host_text(self) -> str:
        try:
            return self._host_text
        except AttributeError:
            text = str(self.host)
            object.__setattr__(self, "_host_text", text)
            return text


@dataclass(frozen=True, slots=True)
class Peers:
    """The two hosts of a session, each by its own address and by the one that the other host knows.

    Without NAT the two are equal. Source NAT gives the client another address on the server's leg; destination NAT
    gives the server another one on the client's leg.
    """

    client: Endpoint
    client_as_seen: Endpoint
    server: Endpoint
    server_as_seen: Endpoint
    transport: Transport = Transport.TCP
    role: object = None
    """What the `Reader` of the pinhole that has let the session in says that it is to be. None: a policy has let it in,
    or the reader says nothing."""

    def own(self, side: Side) -> Endpoint:
        """The address that the host on this side has itself."""
        return self.client if side is Side.CLIENT else self.server

    def as_seen(self, side: Side) -> Endpoint:
        """The address under which the host on the other side knows this one."""
        return self.client_as_seen if side is Side.CLIENT else self.server_as_seen

    def is_mapped(self, side: Side) -> bool:
        """Whether NAT gives the host on this side another address (a changed port alone is no NAT of the address)."""
        if side is Side.CLIENT:
            return self.client.host != self.client_as_seen.host
        return self.server.host != self.server_as_seen.host


@lru_cache(maxsize=4096)
def only(host: Host) -> tuple[Network, ...]:
    """The `allow` of an expect that admits this one host."""
    return (ip_network(host),)
