"""UDP sockets on impersonated addresses. All users that need the same address and the same hearing share one socket.

    phone --> main listener --> flow --> [phone's address, hears the registrar] --> registrar
    phone <-- [registrar's address, hears nobody] <-- flow <-- [phone's address, hears the registrar] <-- registrar

So a registrar that a thousand phones talk to takes one socket here, and each phone one (`endpoint.py`).
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from protocols.contract.addresses import Endpoint, Host, Transport, text_of
from proxy.sockets.endpoint import EVERYBODY, NOBODY, Heard, Stranger, UdpEndpoint
from proxy.sockets.packet_info import Address, Ancillary
from proxy.sockets.ports import PortPool
from proxy.sockets.readers import Readers
from proxy.sockets.reserved import ReservedPorts, is_reserved

SHARES = {False: 1 / 2, True: 3 / 4}
"""How much of the port pool signalling (False) and media (True) may take on one address, so that neither takes what the
other needs."""


class UdpEndpoints:
    """All endpoints of the daemon, by their address and by what they hear.

    The table of pinholes owns it. Flows and pinholes take endpoints and give them back; the last user's `give` closes
    the socket.
    """

    def __init__(self, readers: Readers, ports: PortPool, reserved: ReservedPorts) -> None:
        self.readers = readers
        self._ports = ports
        self._reserved = reserved
        self._standing: dict[Endpoint, UdpEndpoint | dict[Heard, UdpEndpoint]] = {}
        """address -> its endpoint, or its endpoints by hearing. Mostly one stands alone on its address, and a dict for
        each would take 232 bytes."""
        self._count = 0
        self._held: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        """For signalling (False) and media (True): the number of leased endpoints on each address of ours, as the
        kernel writes it."""
        self._mapped: dict[tuple[Endpoint, Host], UdpEndpoint] = {}
        """(client, host) -> the endpoint by which the client is known as that host."""
        self._published: dict[tuple[Endpoint, Host], set[UdpEndpoint]] = {}
        """(client, host) -> the endpoints by which a published client is known as that host, one for each server."""
        self.leased: dict[Address, UdpEndpoint] = {}
        """Endpoints on addresses of ours. What one of them sends to another would have to pass our own firewall."""
        self.stranger: Stranger = lambda *_: None
        """Takes the datagrams that no route takes. `Flows` sets it. Datagrams of media go to `media_stranger`."""
        self.media_stranger: Stranger = lambda *_: None
        """Takes the packets of media that no route takes. `Stands` sets it."""

    def __len__(self) -> int:
        return self._count

    def get(self, at: Endpoint, hears: Heard) -> UdpEndpoint | None:
        """The endpoint at this address with this hearing, if there is one."""
        standing = self._standing.get(at)
        if isinstance(standing, UdpEndpoint):
            return standing if standing.hears == hears else None
        return standing.get(hears) if standing is not None else None

    def hearing(self, at: Endpoint, peer: Endpoint) -> UdpEndpoint | None:
        """The endpoint to which the kernel gives what this peer sends to `at`. None: there is none."""
        standing = self._standing.get(at)
        if standing is None:
            return None
        if isinstance(standing, UdpEndpoint):
            # Mostly it is a server's, before the first answer. To compare that with a host takes an exception.
            if standing.hears is NOBODY:
                return None
            return standing if standing.hears in (peer, peer.host, EVERYBODY) else None
        return standing.get(peer) or standing.get(peer.host) or standing.get(EVERYBODY)

    def take(self, at: Endpoint, is_media: bool = False, hears: Heard = EVERYBODY) -> UdpEndpoint:
        """The endpoint that stands there, or a new one. The caller gives it back (`give`). Raises OSError when it
        cannot be had."""
        endpoint = self.get(at, hears) or self._stand(at, hears, is_media, may_share=True)
        if endpoint.is_media != is_media:
            raise OSError(errno.EADDRINUSE, "signalling and media on one address")
        endpoint.uses += 1
        return endpoint

    def take_mapped(self, client: Endpoint, host: Host, keep_port: bool) -> UdpEndpoint:
        """The endpoint by which `client` is known as `host`. It stays the same for as long as it has a user (rule S58),
        and has the client's own port if that is free and wanted (SIP devices expect it). Raises OSError."""
        endpoint = self._mapped.get((client, host))
        if endpoint is None:
            own = (client.port,) if keep_port else ()
            ports = chain(own, self._ports.candidates(Transport.UDP, host))
            (endpoint,) = self._lease(host, ((port,) for port in ports), is_media=False)
            endpoint.mapped = (client, host)
            self._mapped[client, host] = endpoint
        endpoint.uses += 1
        return endpoint

    def take_published(self, client: Endpoint, host: Host, server: Host) -> UdpEndpoint:
        """The endpoint by which one server knows a client that is published at `host` with its own port. It hears that
        server alone, so that whoever else asks the published client is heard by the main listener. Raises OSError."""
        if (client, host) in self._mapped:  # it is known by another port, and stays so for as long as that is used
            return self.take_mapped(client, host, keep_port=False)
        endpoint = self.take(Endpoint(host, client.port), hears=server)
        endpoint.published = (client, host)
        self._published.setdefault(endpoint.published, set()).add(endpoint)
        return endpoint

    def is_mapped(self, client: Endpoint, host: Host) -> bool:
        """Whether this client is known to a peer as `host`."""
        return (client, host) in self._mapped or (client, host) in self._published

    def take_free(self, host: Host, reserved_for: str = "", prefer: int = 0) -> UdpEndpoint:
        """An endpoint on a free port of an address of ours. It is one of the reserved ports that the client
        `reserved_for` may have; empty: one of the pool. It is the port `prefer` if that is free; 0: any. Raises
        OSError."""
        if reserved_for and not self._reserved.has_room(reserved_for):
            raise OSError(errno.EADDRNOTAVAIL, "no free port")
        pool = self._reserved if reserved_for else self._ports
        ports = chain((prefer,) if prefer else (), pool.candidates(Transport.UDP, host))
        (endpoint,) = self._lease(host, ((port,) for port in ports), False)
        if reserved_for:
            endpoint.charged_to = reserved_for
            self._reserved.take(reserved_for)
        endpoint.uses += 1
        return endpoint

    def take_media(self, host: Host, count: int) -> list[UdpEndpoint]:
        """Endpoints on that many adjacent ports of an address of ours, the first one even (rule D38). Raises
        OSError."""
        rows = (range(port & ~1, (port & ~1) + count) for port in self._ports.candidates(Transport.UDP, host))
        inside = (row for row in rows if row[0] in self._ports and row[-1] in self._ports)
        endpoints = self._lease(host, inside, is_media=True)
        for endpoint in endpoints:
            endpoint.uses += 1
        return endpoints

    def _lease(self, host: Host, choices: Iterable[Sequence[int]], is_media: bool) -> list[UdpEndpoint]:
        """Endpoints on the first of these choices whose ports are all free. Raises OSError when there is none, or when
        signalling, or media, already has its share."""
        held = self._held[is_media]
        if held[text_of(host)] >= len(self._ports) * SHARES[is_media]:
            raise OSError(errno.EADDRNOTAVAIL, "no free port")
        for ports in choices:
            wanted = [Endpoint(host, port) for port in ports]
            if any(at in self._standing for at in wanted):
                continue
            standing: list[UdpEndpoint] = []
            try:
                for at in wanted:
                    standing.append(self._stand(at, EVERYBODY, is_media, may_share=False))
            except OSError as error:
                for endpoint in standing:
                    self._remove(endpoint)
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            for endpoint in standing:
                endpoint.is_leased = True
                held[endpoint.address[0]] += 1
                self.leased[endpoint.address] = endpoint
                self._pool_of(endpoint).lease(Transport.UDP, host, endpoint.at.port)
            return standing
        raise OSError(errno.EADDRNOTAVAIL, "no free port")

    def _stand(self, at: Endpoint, hears: Heard, is_media: bool, may_share: bool) -> UdpEndpoint:
        """Make an endpoint. Raises OSError."""
        meet = self._meet_media if is_media else self._meet
        endpoint = UdpEndpoint(self.readers, at, hears, meet, is_media, may_share)
        standing = self._standing.setdefault(at, endpoint)
        if isinstance(standing, dict):
            standing[hears] = endpoint
        elif standing is not endpoint:
            self._standing[at] = {standing.hears: standing, hears: endpoint}
        self._count += 1
        return endpoint

    def give(self, endpoint: UdpEndpoint) -> None:
        """One user fewer holds the endpoint. The last one closes it."""
        endpoint.uses -= 1
        if not endpoint.uses:
            self._remove(endpoint)

    def _remove(self, endpoint: UdpEndpoint) -> None:
        standing = self._standing[endpoint.at]
        if isinstance(standing, dict) and len(standing) > 1:
            del standing[endpoint.hears]
        else:
            del self._standing[endpoint.at]
        self._count -= 1
        if endpoint.mapped is not None:
            del self._mapped[endpoint.mapped]
        if endpoint.published is not None:
            known = self._published[endpoint.published]
            known.discard(endpoint)
            if not known:
                del self._published[endpoint.published]
        if endpoint.is_leased:
            del self.leased[endpoint.address]
            self._held[endpoint.is_media][endpoint.address[0]] -= 1
            self._pool_of(endpoint).release(Transport.UDP, endpoint.at.host, endpoint.at.port)
        if endpoint.charged_to:
            self._reserved.give(endpoint.charged_to)
        if left := endpoint.close():
            # This waits for the loop: whoever gives an endpoint back is in the middle of a step.
            self.readers.loop.call_soon(self._hand_on, endpoint, left)

    def _pool_of(self, endpoint: UdpEndpoint) -> PortPool:
        """The pool that the endpoint's port comes from."""
        return self._reserved if is_reserved(endpoint.at.port) else self._ports

    def _hand_on(self, endpoint: UdpEndpoint, left: Iterable[tuple[bytes, Ancillary, Address]]) -> None:
        """Datagrams had arrived before the socket was closed. They go to the endpoint that stands there now, or are the
        first of a new session."""
        for data, ancillary, source in left:
            now = self.get(endpoint.at, endpoint.hears) or endpoint
            if (take := now.routes.get(source)) is not None:
                take(data, ancillary)
            else:
                self.stranger(now, data, ancillary, source)

    def _meet(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self.stranger(endpoint, data, ancillary, source)

    def _meet_media(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self.media_stranger(endpoint, data, ancillary, source)
