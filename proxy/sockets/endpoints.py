"""UDP sockets on impersonated addresses. All users that need the same address and the same hearing share one socket.

A transparent socket sends with its address as source, on whichever host that address is. The firewall rules bring it
every packet that the kernel would give it, so each socket is limited to what it should hear:

    everybody   an address of ours: whatever is sent there is for us
    one host    another host's address: packets of all other hosts pass this gateway as if no socket stood there
    one peer    the same, for one port of that host
    nobody      a server's address, to which the rules bring sessions by the main listener: this socket only sends

    phone --> main listener --> flow --> [phone's address, hears the registrar] --> registrar
    phone <-- [registrar's address, hears nobody] <-- flow <-- [phone's address, hears the registrar] <-- registrar

So a registrar that a thousand phones talk to takes one socket here, and each phone one. A datagram goes to the route of
its source address; one from an unknown source goes to the `stranger` of the table.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import chain

from protocols.contract.addresses import Endpoint, Host, Transport, text_of
from proxy.sockets import packet_info, transparent
from proxy.sockets.packet_info import ANCILLARY_BYTES, MAX_DATAGRAM, Address, Ancillary
from proxy.sockets.ports import PortPool
from proxy.sockets.readers import Readers
from proxy.sockets.reserved import is_reserved

SHARES = {False: 1 / 2, True: 3 / 4}
"""How much of the port pool signalling (False) and media (True) may take on one address, so that neither takes what the
other needs."""
MOST_UNREAD = 64
"""How many datagrams of media that were never read are counted, or passed on: more make no call longer."""
MOST_LEFT = 4096
"""How many datagrams are read when a socket is about to be closed: as many as its buffer holds if they are small."""


class Hearing(Enum):
    """What a socket hears, if that is not a single host."""

    EVERYBODY = "everybody"
    NOBODY = "nobody"

    # Each member is one object. Enum would compute the hash of its name each time.
    __hash__ = object.__hash__


EVERYBODY, NOBODY = Hearing.EVERYBODY, Hearing.NOBODY

Heard = Host | Endpoint | Hearing
"""What a socket hears: one host from every port, one host from one port, or what `Hearing` says."""

Stranger = Callable[["UdpEndpoint", bytes, Ancillary, Address], None]
Route = Callable[[bytes, Ancillary], None]


class UdpEndpoint:
    """A UDP socket on the address `at`. What the peers in `hears` send to `at` arrives here, and what is sent from here
    comes from `at`.

    `UdpEndpoints` makes it and closes it when its last user gives it back. Users put their `routes` in by source
    address.
    """

    __slots__ = (
        "_is_read",
        "_is_reading_left",
        "_may_share",
        "_readers",
        "_traffic_class",
        "address",
        "at",
        "heard",
        "hears",
        "is_leased",
        "is_media",
        "mapped",
        "published",
        "routes",
        "sock",
        "stranger",
        "uses",
    )

    def __init__(
        self, readers: Readers, at: Endpoint, hears: Heard, stranger: Stranger, is_media: bool, may_share: bool
    ) -> None:
        """`may_share`: endpoints that hear other peers may stand on the same address. Raises OSError."""
        self._readers = readers
        self.stranger = stranger
        self.at = at
        self.hears = hears
        self.address = transparent.address(at)
        self.is_media = is_media
        self.mapped: tuple[Endpoint, Host] | None = None
        """(client, host) if this is the endpoint by which that client is known as that host. None: no client is."""
        self.published: tuple[Endpoint, Host] | None = None
        """(client, host) if one server knows that client, which is published at the host, by this endpoint."""
        self.is_leased = False
        """Whether the port comes from the port pool."""
        self.uses = 0
        """How many users hold this endpoint."""
        self.routes: dict[Address, Route] = {}
        """source address -> the user that takes its datagrams."""
        self.sock = transparent.datagrams(at, is_media, may_share)
        self.heard: str | None = None
        """The single host that is heard, as the kernel writes it."""
        self._is_read = self._is_reading_left = False
        self._may_share = may_share
        self._traffic_class = 0
        try:
            if hears is NOBODY:
                transparent.hear_nobody(self.sock)
            elif isinstance(hears, Endpoint):
                transparent.hear_only(self.sock, hears.host_text, hears.port)
            elif not isinstance(hears, Hearing):
                self.heard = text_of(hears)
                transparent.hear_only(self.sock, self.heard)
            if not is_media and hears is not NOBODY:
                self.read()
        except OSError:
            self.sock.close()
            raise

    def read(self) -> None:
        """A sender is expected here from now on. Media that came before has waited: it belongs to a party that was
        faster than its answer (D26), or to a stranger. Raises OSError."""
        if not self._is_read:
            self._readers.add(self.sock, self._packet if self.is_media else self._readable)
            self._is_read = True
            if self.is_media and not self._may_share:
                transparent.widen(self.sock)

    def unread(self) -> int:
        """How many datagrams have arrived at a socket that nobody reads. They are thrown away."""
        count = 0
        for _ in range(0 if self._is_read else MOST_UNREAD):
            try:
                if packet_info.receive(self.sock) is None:
                    break
            except OSError:  # the error concerns an earlier datagram (ICMP)
                continue
            count += 1
        return count

    def has_left(self) -> bool:
        """Whether a datagram has arrived that has not been read yet."""
        try:
            return self._is_read and self.sock.recv(1, socket.MSG_PEEK) is not None
        except OSError:
            return False

    def read_left(self) -> None:
        """Read now what has arrived. Before something ends for silence, or because its time is over, its owner calls
        this: only what comes afterwards is late. It must not be called in the midst of an engine's step, since the
        datagrams may be for other engines."""
        if self._is_reading_left or not self._is_read:
            return
        self._is_reading_left = True
        try:
            for _ in range(MOST_UNREAD if self.is_media else MOST_LEFT):
                # A datagram may have led to the closing of this socket.
                if self.sock.fileno() < 0 or not self._readable():
                    break
        finally:  # a bug in one who heard is his alone
            self._is_reading_left = False

    def _readable(self) -> bool:
        """Read one datagram. Returns whether there may be more."""
        try:
            arrived = packet_info.receive(self.sock)
        except OSError:  # the error concerns an earlier datagram (ICMP); the next one may be fine
            return True
        if arrived is None:
            return False
        data, ancillary, source = arrived
        if (take := self.routes.get(source)) is not None:
            take(data, ancillary)
        else:
            self.stranger(self, data, ancillary, source)
        return True

    def _packet(self) -> None:
        """The work of `_readable` with nothing between, for media: a packet may come a hundred thousand times a
        second."""
        try:
            data, ancillary, _, source = self.sock.recvmsg(MAX_DATAGRAM, ANCILLARY_BYTES)
        except OSError:
            return
        if (take := self.routes.get(source)) is not None:
            take(data, ancillary)
        else:
            self.stranger(self, data, ancillary, source)

    def send(self, data: bytes, to: Address) -> bool:
        """Send a datagram. Returns whether it went out. It may be lost at any time: no buffer, no route, too long."""
        try:
            self.sock.sendto(data, to)
        except ConnectionRefusedError:
            # A socket that hears one host is told by ICMP of the fate of an earlier datagram. It has sent nothing then.
            try:
                self.sock.sendto(data, to)
            except OSError:
                return False
        except OSError:
            return False
        return True

    def send_as(self, traffic_class: int) -> None:
        """What is sent from now on bears this DSCP and ECN."""
        if traffic_class != self._traffic_class:
            packet_info.set_traffic_class(self.sock, traffic_class)
            self._traffic_class = traffic_class

    def close(self) -> list[tuple[bytes, Ancillary, Address]]:
        """Close the socket. Returns the datagrams that had already arrived and had not been read. For media it returns
        none, since late media is of no use."""
        left: list[tuple[bytes, Ancillary, Address]] = []
        if self._is_read:
            self._readers.remove(self.sock)
            while not self.is_media and len(left) < MOST_LEFT:
                try:
                    arrived = packet_info.receive(self.sock)
                except OSError:  # the error concerns an earlier datagram (ICMP)
                    continue
                if arrived is None:
                    break
                left.append(arrived)
        self.sock.close()
        return left


class UdpEndpoints:
    """All endpoints of the daemon, by their address and by what they hear.

    The table of pinholes owns it. Flows and pinholes take endpoints and give them back; the last user's `give` closes
    the socket.
    """

    def __init__(self, readers: Readers, ports: PortPool, reserved: PortPool) -> None:
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
        return self.get(at, peer) or self.get(at, peer.host) or self.get(at, EVERYBODY)

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

    def take_free(self, host: Host, reserved: bool = False) -> UdpEndpoint:
        """An endpoint on a free port of an address of ours, from the pool or from the reserved ports. Raises
        OSError."""
        pool = self._reserved if reserved else self._ports
        (endpoint,) = self._lease(host, ((port,) for port in pool.candidates(Transport.UDP, host)), False)
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
