"""UDP sockets on impersonated addresses: one for each address and port, whoever uses it.

One unconnected transparent socket both receives all that is sent to its address and sends with that address as source.
So a registrar that a thousand phones talk to takes one socket here, and each phone one:

    phone --> [socket on the registrar's address]  flow  [socket on the phone's address, or one of ours] --> registrar

A datagram is handed on by whom it is from. Who is not known is a matter for whoever made the table.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from protocols.engine import Endpoint, Host, Transport
from proxy import sockets
from proxy.ports import PortPool
from proxy.readers import Readers
from proxy.sockets import Address, Ancillary

if TYPE_CHECKING:
    from proxy.admission import DatagramPinhole
    from proxy.flows import Flow

MOST_UNREAD = 64
"""Datagrams that are counted, of those that nobody has read."""

Stranger = Callable[["UdpEndpoint", bytes, Ancillary, Address], None]
Route = Callable[[bytes, Ancillary], None]


class UdpEndpoint:
    """What is sent to `at` arrives here, and what is sent from here comes from `at`."""

    __slots__ = (
        "_is_read",
        "_readers",
        "address",
        "admits",
        "at",
        "flows",
        "is_leased",
        "is_media",
        "mapped",
        "routes",
        "sock",
        "stranger",
        "uses",
    )

    def __init__(self, readers: Readers, at: Endpoint, stranger: Stranger, is_media: bool) -> None:
        self._readers = readers
        self.stranger = stranger
        self.at = at
        self.address = sockets.address(at)
        self.is_media = is_media
        self.mapped: tuple[Endpoint, Host] | None = None
        """Of which client this is the address on the other side."""
        self.is_leased = False
        """From the port pool."""
        self.uses = 0
        self.routes: dict[Address, Route] = {}
        """Who takes datagrams from this address."""
        self.flows: dict[str, list[Flow]] = {}
        """Of the client that is known by this address, by the host of the server."""
        self.admits: list[DatagramPinhole] = []
        """Whom a pinhole lets begin a flow here."""
        self.sock = sockets.datagrams(at, is_media)
        self._is_read = False
        if not is_media:
            try:
                self.read()
            except OSError:
                self.sock.close()
                raise

    def read(self) -> None:
        """From now on somebody is expected here. Of media, what came before has waited: it is a party's that was faster
        than its answer (D26), or a stranger's. Raises OSError."""
        if not self._is_read:
            self._readers.add(self.sock, self._packet if self.is_media else self._readable)
            self._is_read = True
            if self.is_media:
                sockets.widen(self.sock)

    def unread(self) -> int:
        """How many wait for nobody; they are lost."""
        count = 0
        for _ in range(0 if self._is_read else MOST_UNREAD):
            try:
                if sockets.receive(self.sock) is None:
                    break
            except OSError:  # of an earlier datagram's way (ICMP)
                continue
            count += 1
        return count

    def _readable(self) -> None:
        try:
            arrived = sockets.receive(self.sock)
        except OSError:  # of an earlier datagram's way (ICMP); the next one may be fine
            return
        if arrived is None:
            return
        data, ancillary, source = arrived
        if (take := self.routes.get(source)) is not None:
            take(data, ancillary)
        else:
            self.stranger(self, data, ancillary, source)

    def _packet(self) -> None:
        """The same with nothing between: it may come a hundred thousand times a second."""
        try:
            data, ancillary, _, source = self.sock.recvmsg(sockets.MAX_DATAGRAM, sockets.ANCILLARY_BYTES)
        except OSError:
            return
        if (take := self.routes.get(source)) is not None:
            take(data, ancillary)
        else:
            self.stranger(self, data, ancillary, source)

    def send(self, data: bytes, to: Address) -> bool:
        """Whether it went out. No buffer, no route, too long: a datagram may always be lost."""
        try:
            self.sock.sendto(data, to)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._is_read:
            self._readers.remove(self.sock)
        self.sock.close()


class UdpEndpoints:
    """All of them, by address."""

    def __init__(self, readers: Readers, ports: PortPool) -> None:
        self._readers = readers
        self._ports = ports
        self._endpoints: dict[Endpoint, UdpEndpoint] = {}
        self._mapped: dict[tuple[Endpoint, Host], UdpEndpoint] = {}
        self.leased: dict[Address, UdpEndpoint] = {}
        """On addresses of ours. What one of them sends to another would have to pass our own firewall."""
        self.stranger: Stranger = lambda *_: None
        """Who takes datagrams that no route takes, but for media's."""
        self.media_stranger: Stranger = lambda *_: None

    def __len__(self) -> int:
        return len(self._endpoints)

    def get(self, at: Endpoint) -> UdpEndpoint | None:
        return self._endpoints.get(at)

    def take(self, at: Endpoint, is_media: bool = False) -> UdpEndpoint:
        """The one that stands there, or a new one; `give` it back. Raises OSError when it cannot be had."""
        endpoint = self._endpoints.get(at) or self._stand(at, is_media)
        if endpoint.is_media != is_media:
            raise OSError(errno.EADDRINUSE, "signalling and media on one address")
        endpoint.uses += 1
        return endpoint

    def take_mapped(self, client: Endpoint, host: Host, keep_port: bool) -> UdpEndpoint:
        """Where `client` is known as `host`: the same place for as long as anybody uses it (rule S58), and with the
        client's own port if that is free and wanted (design: SIP devices expect it). Raises OSError.
        """
        endpoint = self._mapped.get((client, host))
        if endpoint is None:
            own = (client.port,) if keep_port else ()
            ports = chain(own, self._ports.candidates(Transport.UDP, host))
            (endpoint,) = self._lease(host, ((port,) for port in ports), is_media=False)
            endpoint.mapped = (client, host)
            self._mapped[client, host] = endpoint
        endpoint.uses += 1
        return endpoint

    def is_mapped(self, client: Endpoint, host: Host) -> bool:
        """Whether it is known to somebody as `host`."""
        return (client, host) in self._mapped

    def take_free(self, host: Host) -> UdpEndpoint:
        """A port of an address of ours that nobody has. Raises OSError."""
        (endpoint,) = self._lease(host, ((port,) for port in self._ports.candidates(Transport.UDP, host)), False)
        endpoint.uses += 1
        return endpoint

    def take_media(self, host: Host, count: int) -> list[UdpEndpoint]:
        """That many adjacent ports of an address of ours, the first one even (rule D38). Raises OSError."""
        rows = (range(port & ~1, (port & ~1) + count) for port in self._ports.candidates(Transport.UDP, host))
        inside = (row for row in rows if row[0] in self._ports and row[-1] in self._ports)
        endpoints = self._lease(host, inside, is_media=True)
        for endpoint in endpoints:
            endpoint.uses += 1
        return endpoints

    def _lease(self, host: Host, choices: Iterable[Sequence[int]], is_media: bool) -> list[UdpEndpoint]:
        """Endpoints on the first ports that are all free."""
        for ports in choices:
            wanted = [Endpoint(host, port) for port in ports]
            if any(at in self._endpoints for at in wanted):
                continue
            standing: list[UdpEndpoint] = []
            try:
                for at in wanted:
                    standing.append(self._stand(at, is_media))
            except OSError as error:
                for endpoint in standing:
                    self._remove(endpoint)
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            for endpoint in standing:
                endpoint.is_leased = True
                self.leased[endpoint.address] = endpoint
                self._ports.lease(Transport.UDP, host, endpoint.at.port)
            return standing
        raise OSError(errno.EADDRNOTAVAIL, "no free port")

    def _stand(self, at: Endpoint, is_media: bool) -> UdpEndpoint:
        meet = self._meet_media if is_media else self._meet
        endpoint = self._endpoints[at] = UdpEndpoint(self._readers, at, meet, is_media)
        return endpoint

    def give(self, endpoint: UdpEndpoint) -> None:
        endpoint.uses -= 1
        if not endpoint.uses:
            self._remove(endpoint)

    def _remove(self, endpoint: UdpEndpoint) -> None:
        del self._endpoints[endpoint.at]
        if endpoint.mapped is not None:
            del self._mapped[endpoint.mapped]
        if endpoint.is_leased:
            del self.leased[endpoint.address]
            self._ports.release(Transport.UDP, endpoint.at.host, endpoint.at.port)
        endpoint.close()

    def _meet(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self.stranger(endpoint, data, ancillary, source)

    def _meet_media(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self.media_stranger(endpoint, data, ancillary, source)
