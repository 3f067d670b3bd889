"""Stands: the sockets that lanes begin at. A stand knows which packets, by their source address, are for which lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from protocols.contract.addresses import Endpoint, Host
from proxy.sockets import packet_info, transparent
from proxy.sockets.endpoint import EVERYBODY, Heard, Route, UdpEndpoint
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary

MOST_OVER = 64
"""How many addresses one stand remembers whose streams are over."""


class Keeper(Protocol):
    """The owner of a stand that stays while no lane begins there: a place of media on an address of ours."""

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""


class Listener(Protocol):
    """A path that waits at a stand for packets of one sender, from wherever they come."""

    def may_learn(self, host: Host) -> bool:
        """Whether the sender may send from that host."""

    def may_come_by(self, host: Host, ancillary: Ancillary) -> bool:
        """Whether the interface that a packet came by leads to the host whose address it bears."""

    def meet(self, source: Address, data: bytes, ancillary: Ancillary, is_late: bool) -> bool:
        """A packet has come from an address that no path has claimed. Returns whether the packet is taken, or kept for
        a moment. `is_late`: an earlier stream came from that address and is over."""

    def claims(self, at: Stand, source: Address) -> bool:
        """Whether packets of that address are the sender's."""

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""

    def refuse_forged(self, host: Host, ancillary: Ancillary) -> None:
        """A packet bore the sender's address and came by the wrong interface."""


GivesWay = Callable[[Address, Address], None]
"""Called with the address of a sender and the address that its packets come to."""


class Stand:
    """A socket that packets come to, with the paths that listen there and the routes for the addresses that they have
    claimed."""

    __slots__ = ("_displaced", "_over", "endpoint", "gives_way", "heard", "keeper", "listeners")

    def __init__(self, endpoint: UdpEndpoint, keeper: Keeper | None, gives_way: GivesWay | None = None) -> None:
        """`keeper` is the place that keeps this stand while no lane begins there, if there is one. `gives_way` is
        called when packets of an address go to another route from now on."""
        self.endpoint = endpoint
        self.keeper = keeper
        self.gives_way = gives_way
        self.heard = endpoint.heard
        """The single host that the socket hears, as the kernel writes it. None: it hears everybody."""
        self.listeners: list[Listener] = []
        self._over: tuple[Address, ...] = ()
        """Addresses of streams that are over, while other streams still come here. Their last packets are not a
        stranger's."""
        self._displaced: dict[Address, list[Route]] = {}
        """address -> the routes that took its packets before, the newest one last. If a party did not hang up an
        earlier call, the newest call has its port."""

    def claim(self, source: Address, take: Route) -> None:
        """Packets of this address go to `take` from now on, whichever route took them before."""
        before = self.endpoint.routes.get(source)
        if before is not None:
            self._displaced.setdefault(source, []).append(before)
            if self.gives_way is not None:
                self.gives_way(source, self.endpoint.address)
        elif source in self._over:
            self._over = tuple(other for other in self._over if other != source)
        self.endpoint.routes[source] = take

    def unclaim(self, source: Address, take: Route) -> None:
        """Packets of this address go to the route that took them before `take` did."""
        routes, displaced = self.endpoint.routes, self._displaced.get(source)
        if displaced is None:
            del routes[source]
            return
        if routes[source] == take:
            routes[source] = displaced.pop()
        else:
            displaced.remove(take)
        if not displaced:
            del self._displaced[source]

    def is_taken_by(self, source: Address, take: Route) -> bool:
        """Whether packets of this address go to `take` now."""
        return self.endpoint.routes.get(source) == take

    def remember_over(self, source: Address) -> None:
        """The stream from this address is over. What still comes from there is not a stranger's, unless another path
        has claimed the address."""
        if source not in self.endpoint.routes and len(self.listeners) > 1 and len(self._over) < MOST_OVER:
            self._over += (source,)

    def is_late(self, source: Address) -> bool:
        """Whether an earlier stream came from this address and is over."""
        return source in self._over

    def is_anothers(self, source: Address, listener: Listener) -> bool:
        """Whether packets of this address belong to the stream of another path than this one."""
        return any(other is not listener and other.claims(self, source) for other in self.listeners)

    def stranger(self, data: bytes, ancillary: Ancillary, source: Address) -> None:
        """A packet has come from an address that no path has claimed. It is of a sender whose address is still to be
        learned, or of a stranger."""
        host, is_late = packet_info.endpoint(source).host, self.is_late(source)
        listeners = [listener for listener in self.listeners if listener.may_learn(host)]
        for listener in listeners:
            if listener.may_come_by(host, ancillary) and listener.meet(source, data, ancillary, is_late):
                return
        if listeners and not any(listener.may_come_by(host, ancillary) for listener in listeners):
            listeners[0].refuse_forged(host, ancillary)
            return
        if is_late:
            return
        if self.keeper is not None:
            self.keeper.refuse(source)
        elif self.listeners:
            self.listeners[0].refuse(source)


class Stands:
    """The stands of a daemon. All lanes that begin at one socket share its stand. The table of pinholes owns it."""

    def __init__(self, endpoints: UdpEndpoints) -> None:
        self._endpoints = endpoints
        self._at: dict[UdpEndpoint, Stand] = {}
        self.gives_way: GivesWay | None = None
        """Called when packets of an address go to another lane from now on. The table of pinholes sets it."""
        endpoints.media_stranger = self._stranger

    def __len__(self) -> int:
        return len(self._at)

    def lease(self, keeper: Keeper, host: Host, count: int, mark: int = 0) -> list[Stand]:
        """Stands on adjacent ports of an address of ours, the first one even. `mark` is put on what is sent from there.
        Raises OSError."""
        stands = [Stand(endpoint, keeper, self.gives_way) for endpoint in self._endpoints.take_media(host, count)]
        for stand in stands:
            self._at[stand.endpoint] = stand
        if mark:
            self._mark(stands, mark)
        return stands

    def take(self, at: Endpoint, hears: Heard, mark: int = 0) -> Stand:
        """The stand that hears this host, on another host's address or on a place of ours. The caller gives it back
        (`give`). `mark` is as in `lease`. Raises OSError."""
        endpoint = self._endpoints.take(at, is_media=True, hears=hears)
        stand = self._at.get(endpoint)
        if stand is None:
            stand = self._at[endpoint] = Stand(endpoint, None, self.gives_way)
        if mark:
            self._mark([stand], mark)
        return stand

    def share(self, stand: Stand, mark: int = 0) -> Stand:
        """A leased stand, for one more lane. The caller gives it back as well. Raises OSError."""
        stand.endpoint.uses += 1
        if mark:
            self._mark([stand], mark)
        return stand

    def _mark(self, stands: list[Stand], mark: int) -> None:
        """Mark what is sent from the stands that were just taken. Raises OSError, and then the stands are given
        back."""
        try:
            for stand in stands:
                transparent.set_mark(stand.endpoint.sock, mark)
                stand.endpoint.is_marked = True
        except Exception:
            for stand in stands:
                self.give(stand)
            raise

    def is_leased(self, at: Endpoint) -> bool:
        """Whether this is a place of media on an address of ours."""
        endpoint = self._endpoints.get(at, EVERYBODY)
        return endpoint is not None and endpoint.is_leased and endpoint.is_media

    def give(self, stand: Stand) -> None:
        """One lane fewer begins there. The last one closes the socket."""
        if stand.endpoint.uses == 1:
            del self._at[stand.endpoint]
        self._endpoints.give(stand.endpoint)

    def _stranger(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self._at[endpoint].stranger(data, ancillary, source)
