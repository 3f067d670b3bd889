"""UDP sockets on impersonated addresses: one for each address and port, whoever uses it.

One unconnected transparent socket both receives all that is sent to its address and sends with that address as source.
So a registrar that a thousand phones talk to takes one socket here, and each phone one:

    phone --> [socket on the registrar's address]  flow  [socket on the phone's address, or one of ours] --> registrar

A datagram is handed on by whom it is from. Who is not known is a matter for whoever made the table.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from itertools import chain

from protocols.engine import Endpoint, Host, Transport
from proxy import sockets
from proxy.ports import PortPool
from proxy.sockets import Address, Ancillary

DATAGRAMS_PER_WAKEUP = 64

Stranger = Callable[["UdpEndpoint", bytes, Ancillary, Address], None]


class UdpEndpoint:
    """What is sent to `at` arrives here, and what is sent from here comes from `at`."""

    __slots__ = ("_loop", "_sock", "_stranger", "at", "is_leased", "mapped", "routes", "uses")

    def __init__(self, loop: asyncio.AbstractEventLoop, at: Endpoint, stranger: Stranger) -> None:
        self._loop = loop
        self._stranger = stranger
        self.at = at
        self.mapped: tuple[Endpoint, Host] | None = None
        """Of which client this is the address on the other side."""
        self.is_leased = False
        """From the port pool."""
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

    def __init__(self, loop: asyncio.AbstractEventLoop, ports: PortPool) -> None:
        self._loop = loop
        self._ports = ports
        self._endpoints: dict[Endpoint, UdpEndpoint] = {}
        self._mapped: dict[tuple[Endpoint, Host], UdpEndpoint] = {}
        self.stranger: Stranger = lambda *_: None
        """Who takes datagrams that no route takes."""

    def __len__(self) -> int:
        return len(self._endpoints)

    def get(self, at: Endpoint) -> UdpEndpoint | None:
        return self._endpoints.get(at)

    def take(self, at: Endpoint) -> UdpEndpoint:
        """The one that stands there, or a new one; `give` it back. Raises OSError when it cannot be had."""
        endpoint = self._endpoints.get(at) or self._stand(at)
        endpoint.uses += 1
        return endpoint

    def take_mapped(self, client: Endpoint, host: Host, keep_port: bool) -> UdpEndpoint:
        """Where `client` is known as `host`: the same place for as long as anybody uses it (rule S58), and with the
        client's own port if that is free and wanted (design: SIP devices expect it). Raises OSError.
        """
        endpoint = self._mapped.get((client, host))
        if endpoint is None:
            endpoint = self._mapped[client, host] = self._map(client, host, keep_port)
            endpoint.mapped = (client, host)
        endpoint.uses += 1
        return endpoint

    def _map(self, client: Endpoint, host: Host, keep_port: bool) -> UdpEndpoint:
        ports = self._ports.candidates(Transport.UDP, host)
        for port in chain((client.port,), ports) if keep_port else ports:
            at = Endpoint(host, port)
            if at in self._endpoints:  # somebody else's
                continue
            try:
                endpoint = self._stand(at)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            # Also the client's own, if it is one that the pool could give to another.
            endpoint.is_leased = True
            self._ports.lease(Transport.UDP, host, port)
            return endpoint
        raise OSError(errno.EADDRNOTAVAIL, "no free port")

    def _stand(self, at: Endpoint) -> UdpEndpoint:
        endpoint = self._endpoints[at] = UdpEndpoint(self._loop, at, self._meet)
        return endpoint

    def give(self, endpoint: UdpEndpoint) -> None:
        endpoint.uses -= 1
        if endpoint.uses:
            return
        del self._endpoints[endpoint.at]
        if endpoint.mapped is not None:
            del self._mapped[endpoint.mapped]
        if endpoint.is_leased:
            self._ports.release(Transport.UDP, endpoint.at.host, endpoint.at.port)
        endpoint.close()

    def _meet(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self.stranger(endpoint, data, ancillary, source)
