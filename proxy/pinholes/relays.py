"""Datagrams between two hosts that nobody reads: what one sends to us goes on to the other.

    peer <--> [near: where the pinhole stands] <-- relay --> [far: the peer as the target knows it] <--> target

Both sockets may be shared with others; whose a datagram is, its source address tells.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Protocol

from protocols.contract.addresses import Host
from proxy.sockets.endpoints import UdpEndpoint, UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary


class Keeper(Protocol):
    """The pinhole that has admitted the peer."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def endpoints(self) -> UdpEndpoints: ...

    def may_come_by(self, host: Host, ancillary: Ancillary) -> bool:
        """Whether datagrams that bear the address of the peer or the target may come by the interface they came by."""

    def give_up(self) -> None:
        """A bug of ours."""


class DatagramRelay:
    """One peer, from its first datagram until both sides have been silent for too long."""

    __slots__ = (
        "_active_at",
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
        """at: where the peer's first datagrams came. near, far: taken, and given back at the end. Raises OSError when
        the same two talk to each other there already: whose a datagram is, nobody could tell then."""
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
        self._active_at = keeper.loop.time()
        self._timer = keeper.loop.call_later(idle_seconds, self._look)

    @property
    def places(self) -> tuple[UdpEndpoint, UdpEndpoint]:
        return self._near, self._far

    def receive(self, data: bytes, ancillary: Ancillary) -> None:
        """From the peer."""
        # The interface mostly is that of the datagram before: to compare what the kernel said is quicker than to read.
        if ancillary != self._peer_came_by:
            if not self._keeper.may_come_by(self._peer_host, ancillary):
                return
            self._peer_came_by = ancillary
        self._active_at = self._keeper.loop.time()
        self.packets_in += 1
        self.bytes_in += len(data)
        if not self._far.send(data, self._target):
            self.packets_lost += 1

    def _answer(self, data: bytes, ancillary: Ancillary) -> None:
        """From the target."""
        if ancillary != self._target_came_by:
            if not self._keeper.may_come_by(self._target_host, ancillary):
                return
            self._target_came_by = ancillary
        self._active_at = self._keeper.loop.time()
        self.packets_out += 1
        self.bytes_out += len(data)
        if not self._near.send(data, self._peer):
            self.packets_lost += 1

    def _look(self) -> None:
        """From time to time: silent for too long?"""
        for endpoint in self.places:
            endpoint.read_left()
        if self._is_over:
            return
        left = self._active_at + self._idle_seconds - self._keeper.loop.time()
        if left <= 0:
            self.end("idle")
        else:
            self._timer = self._keeper.loop.call_later(left, self._look)

    def end(self, reason: str) -> None:
        """Again: no effect."""
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
        """A bug of ours (`proxy/record/failures.py`)."""
        self._keeper.give_up()
