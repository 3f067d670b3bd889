"""UDP sockets on impersonated addresses: one for each address and port, whoever uses it.

One unconnected transparent socket both receives all that is sent to its address and sends with that address as source.
So a registrar that a thousand phones talk to takes one socket here, and each phone one:

    phone --> [socket on the registrar's address]  flow  [socket on the phone's address, or one of ours] --> registrar

A datagram is handed on by whom it is from. Who is not known is a matter for whoever made the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from protocols.engine import Endpoint
from proxy import sockets
from proxy.sockets import Address, Ancillary

DATAGRAMS_PER_WAKEUP = 64

Stranger = Callable[["UdpEndpoint", bytes, Ancillary, Address], None]


class UdpEndpoint:
    """What is sent to `at` arrives here, and what is sent from here comes from `at`."""

    __slots__ = ("_loop", "_sock", "_stranger", "at", "routes", "uses")

    def __init__(self, loop: asyncio.AbstractEventLoop, at: Endpoint, stranger: Stranger) -> None:
        self._loop = loop
        self._stranger = stranger
        self.at = at
        self.uses = 0
        self.routes: dict[Address, Callable[[bytes], None]] = {}
        """Who takes datagrams from this address."""
        self._sock = sockets.datagrams(at)
        loop.add_reader(self._sock, self._readable)

    def _readable(self) -> None:
        for _ in range(DATAGRAMS_PER_WAKEUP):
            if not self.uses:  # closed by what the last one brought about
                return
            try:
                arrived = sockets.receive(self._sock)
            except OSError:  # of an earlier datagram's way (ICMP); the next one may be fine
                continue
            if arrived is None:
                return
            data, ancillary, source = arrived
            if (take := self.routes.get(source)) is not None:
                take(data)
            else:
                self._stranger(self, data, ancillary, source)

    def send(self, data: bytes, to: Address) -> bool:
        """Whether it went out. No buffer, no route, too long: a datagram may always be lost."""
        try:
            self._sock.sendto(data, to)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._sock.close()


class UdpEndpoints:
    """All of them, by address."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._endpoints: dict[Endpoint, UdpEndpoint] = {}
        self.stranger: Stranger = lambda *_: None

    def __len__(self) -> int:
        return len(self._endpoints)

    def get(self, at: Endpoint) -> UdpEndpoint | None:
        return self._endpoints.get(at)

    def take(self, at: Endpoint) -> UdpEndpoint:
        """The one that stands there, or a new one; `give` it back. Raises OSError when it cannot be had."""
        endpoint = self._endpoints.get(at)
        if endpoint is None:
            endpoint = self._endpoints[at] = UdpEndpoint(self._loop, at, self._meet)
        endpoint.uses += 1
        return endpoint

    def give(self, endpoint: UdpEndpoint) -> None:
        endpoint.uses -= 1
        if not endpoint.uses:
            del self._endpoints[endpoint.at]
            endpoint.close()

    def _meet(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self.stranger(endpoint, data, ancillary, source)
