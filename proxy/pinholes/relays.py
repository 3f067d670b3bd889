"""Relays of datagrams between two hosts, which no engine reads: what one host sends to us goes on to the other.

    peer <--> [near: where the pinhole stands] <-- relay --> [far: the peer as the target knows it] <--> target

Others may share both sockets. The source address of a datagram tells which relay it belongs to.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Protocol

from protocols.contract.addresses import Host
from proxy.sockets.endpoint import UdpEndpoint
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary


class Keeper(Protocol):
    """The pinhole that admitted the peer."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the daemon."""

    @property
    def endpoints(self) -> UdpEndpoints:
        """The UDP endpoints of the daemon."""

    def may_come_by(self, host: Host, ancillary: Ancillary) -> bool:
        """Whether a datagram that bears the address of the peer or the target came by an interface that leads to that
        host."""

    def give_up(self) -> None:
        """A bug of ours ends the pinhole."""


class DatagramRelay:
    """Carries the datagrams of one peer and its target, from the peer's first datagram until both have been silent for
    too long. The pinhole owns it."""

    __slots__ = (
        "_at",
        "_ended",
        "_far",
        "_idle_seconds",
        "_is_over",
        "_keeper",
        "_near",
        "_peer",
        "_peer_came_by",
        "_peer_host",
        "_target",
        "_target_came_by",
        "_target_host",
        "_timer",
        "active_at",
        "bytes_in",
        "bytes_out",
        "packets_in",
        "packets_lost",
        "packets_out",
    )

    def __init__(
        self,
        keeper: Keeper,
        at: UdpEndpoint,
        near: UdpEndpoint,
        far: UdpEndpoint,
        peer: tuple[Address, Host],
        target: tuple[Address, Host],
        idle_seconds: float,
        ended: Callable[[DatagramRelay, str], None],
    ) -> None:
        """`at` is the endpoint where the peer's first datagrams came. `near` and `far` are taken already, and the relay
        gives them back at its end. Raises OSError when the same two hosts talk to each other there already: then nobody
        could tell which of the two a datagram belongs to."""
        self._peer, self._peer_host = peer
        self._target, self._target_host = target
        if near is far or self._peer in near.routes or self._target in far.routes:
            raise OSError(errno.EADDRINUSE, "two relays between the same two")
        self._keeper = keeper
        self._at, self._near, self._far = at, near, far
        self._idle_seconds = idle_seconds
        self._ended = ended
        self._peer_came_by: Ancillary = ()
        self._target_came_by: Ancillary = ()
        self.bytes_in = self.bytes_out = self.packets_in = self.packets_out = self.packets_lost = 0
        at.routes[self._peer] = near.routes[self._peer] = self.receive
        far.routes[self._target] = self._answer
        self._is_over = False
        self.active_at = keeper.loop.time()
        """When either host was heard last."""
        self._timer = keeper.loop.call_later(idle_seconds, self._look)

    @property
    def places(self) -> tuple[UdpEndpoint, UdpEndpoint]:
        """The two endpoints that the relay holds."""
        return self._near, self._far

    def receive(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a datagram of the peer."""
        # Mostly the interface is the same as last time. To compare what the kernel said is quicker than to read it.
        if ancillary != self._peer_came_by:
            if not self._keeper.may_come_by(self._peer_host, ancillary):
                return
            self._peer_came_by = ancillary
        self.active_at = self._keeper.loop.time()
        self.packets_in += 1
        self.bytes_in += len(data)
        if not self._far.send(data, self._target):
            self.packets_lost += 1

    def _answer(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a datagram of the target."""
        if ancillary != self._target_came_by:
            if not self._keeper.may_come_by(self._target_host, ancillary):
                return
            self._target_came_by = ancillary
        self.active_at = self._keeper.loop.time()
        self.packets_out += 1
        self.bytes_out += len(data)
        if not self._near.send(data, self._peer):
            self.packets_lost += 1

    def _look(self) -> None:
        """Runs from time to time. It ends the relay when both hosts have been silent for too long."""
        for endpoint in self.places:
            endpoint.read_left()
        if self._is_over:
            return
        left = self.active_at + self._idle_seconds - self._keeper.loop.time()
        if left <= 0:
            self.end("idle")
        else:
            self._timer = self._keeper.loop.call_later(left, self._look)

    def end(self, reason: str) -> None:
        """End the relay. A second call has no effect."""
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        for endpoint in {self._at, self._near}:
            del endpoint.routes[self._peer]
        del self._far.routes[self._target]
        for endpoint in self.places:
            self._keeper.endpoints.give(endpoint)
        self._ended(self, reason)

    def give_up(self) -> None:
        """A bug of ours ends the pinhole (`proxy/record/failures.py`)."""
        self._keeper.give_up()
