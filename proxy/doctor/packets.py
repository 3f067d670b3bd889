"""A packet of which only some things are known, and how often something is so of it (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from protocols.contract.addresses import Network, Transport
from proxy.config.values import PortRange
from proxy.doctor.rulesets import ALL_BITS


class Chance(IntEnum):
    """How often something is so."""

    NO = 0
    RARELY = 1
    USUALLY = 2
    YES = 3

    def opposite(self) -> Chance:
        """How often it is not so."""
        return Chance(3 - self)


@dataclass(frozen=True, slots=True)
class Bits:
    """A mark of which only some bits are known."""

    value: int = 0
    known: int = ALL_BITS


@dataclass(frozen=True, slots=True)
class Packet:
    """What is known about a packet. An empty interface stands for any. Empty networks stand for any address that is on
    no list."""

    name: str
    version: int
    transport: Transport
    state: str
    interface: str = ""
    out: str = ""
    sources: tuple[Network, ...] = ()
    destinations: tuple[Network, ...] = ()
    source_ports: tuple[PortRange, ...] = ()
    destination_ports: tuple[PortRange, ...] = ()
    source_is_ours: bool = False
    destination_is_ours: bool = False
    is_transparent: bool = True
    """Whether the packet goes to a socket of pinhole's, or comes from one."""
    owner: str = ""
    """The user whose process sends the packet."""
    mark: Bits = field(default_factory=Bits)
    our_bits: int = 0
    """The mask of our mark."""
    our_value: int = 0

    def is_marked(self) -> bool:
        """Whether the packet surely carries our mark."""
        return not self.our_bits & ~self.mark.known and self.mark.value & self.our_bits == self.our_value
