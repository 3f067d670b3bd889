"""By which interfaces the datagrams of a host may come: whoever bears its address on the other side of a policy, and
comes by the wrong one, forges it. Where `rp_filter` is 1 the kernel has dropped what is forged, but Debian has 2, many
routers have 0, and for IPv6 there is no such thing.

A policy knows two sides: the interfaces that it lets clients in by, and all others. Between those of one side a way
there need not be the way back (two providers, routing by source address), so they are as good as each other.
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
    """What a policy has decided about."""

    @property
    def policy(self) -> Policy: ...

    @property
    def decided_by(self) -> Arrival: ...


class Borders:
    def __init__(self, clock: Callable[[], float], ask: Callable[[Host], Way] = way_to) -> None:
        """ask: from `routes`."""
        self._clock = clock
        self._interfaces = packet_info.InterfaceNames()
        self._ways = Ways(clock, ask)

    def name_of(self, index: int) -> str:
        """The name of an interface; "" if there is no such interface, or no room to ask."""
        try:
            return self._interfaces.of(index, self._clock())
        except OSError:
            return ""

    def leads_to(self, host: Host, index: int, session: Decided, side: Side = Side.SERVER) -> bool:
        """Whether datagrams of that host, which is on this side of the session's policy, may come by the interface of
        that index (0: nobody knows by which they came). A policy that names no interfaces has its clients anywhere."""
        if not index or (side is Side.CLIENT and not session.policy.interfaces):
            return True
        name = self.name_of(index)
        is_clients = name == session.decided_by.interface or name in session.policy.interfaces
        # The route is asked for last: that costs more than the rest, and mostly is not needed.
        return is_clients == (side is Side.CLIENT) or index == self._ways.to(host).interface
