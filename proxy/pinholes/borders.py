"""Decides by which interfaces the datagrams of a host may come. A sender that bears the address of a host on the other
side of a policy comes by the wrong interface, and is a forger. Where `rp_filter` is 1 the kernel has already dropped
such packets, but Debian has 2, many routers have 0, and IPv6 has no such check.

A policy knows two sides: the interfaces by which it lets clients in, and all others. Within one side the way there need
not be the way back (two providers, routing by source address), so all its interfaces are as good as each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from protocols.contract.addresses import Host, Side
from proxy.config.schema import Policy
from proxy.sockets import packet_info
from proxy.sockets.arrival import Arrival
from proxy.sockets.routes import Way, Ways, way_to


class Decided(Protocol):
    """A session that a policy has decided about."""

    @property
    def policy(self) -> Policy:
        """The policy that let the session in."""

    @property
    def decided_by(self) -> Arrival:
        """The arrival that the policy decided about."""


class Borders:
    """Knows the interfaces of this host and the routes to other hosts. The table of pinholes owns it."""

    def __init__(self, clock: Callable[[], float], ask: Callable[[Host], Way] = way_to) -> None:
        """`ask` asks the kernel for a route (`proxy/sockets/routes.py`)."""
        self._clock = clock
        self._interfaces = packet_info.InterfaceNames()
        self._ways = Ways(clock, ask)

    def name_of(self, index: int) -> str:
        """The name of an interface. It is "" if there is no such interface, or no descriptor left to ask with."""
        try:
            return self._interfaces.of(index, self._clock())
        except OSError:
            return ""

    def interface_to(self, host: Host) -> str:
        """The name of the interface by which this host is reached. It is "" if nobody knows one."""
        return self.name_of(self._ways.to(host).interface)

    def are_behind_one(self, some: Host, other: Host) -> bool:
        """Whether two hosts are reached by the same interface."""
        way = self._ways.to(some)
        return bool(way.interface) and not way.is_to_us and way.interface == self._ways.to(other).interface

    def leads_to(self, host: Host, index: int, session: Decided, side: Side = Side.SERVER) -> bool:
        """Whether datagrams of this host, which is on this side of the session's policy, may come by the interface with
        this index (0: nobody knows by which one they came). A policy that names no interfaces may have its clients
        anywhere."""
        if not index or (side is Side.CLIENT and not session.policy.interfaces):
            return True
        name = self.name_of(index)
        is_clients = name == session.decided_by.interface or name in session.policy.interfaces
        # The route is looked up last: that costs more than the rest, and mostly is not needed.
        return is_clients == (side is Side.CLIENT) or index == self._ways.to(host).interface
