"""A UDP socket on an impersonated address, and what it hears.

A transparent socket sends with its address as source, on whichever host that address is. The firewall rules bring it
every packet that the kernel would give it, so each socket is limited to what it should hear:

    everybody   an address of ours: whatever is sent there is for us
    one host    another host's address: packets of all other hosts pass this gateway as if no socket stood there
    one peer    the same, for one port of that host
    nobody      a server's address, to which the rules bring sessions by the main listener: this socket only sends

A datagram goes to the route of its source address; one from an unknown source goes to `stranger`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from enum import Enum

from protocols.contract.addresses import Endpoint, Host, text_of
from proxy.sockets import packet_info, transparent
from proxy.sockets.packet_info import ANCILLARY_BYTES, MAX_DATAGRAM, Address, Ancillary
from proxy.sockets.readers import Readers

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
        "charged_to",
        "heard",
        "hears",
        "is_leased",
        "is_marked",
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
        self.is_marked = False
        """Whether what is sent from here bears a mark."""
        self.charged_to = ""
        """The client that has one of the reserved ports by this endpoint. Empty: none has."""
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

    def read_left(self, waiting: Collection[int] | None = None) -> None:
        """Read now what has arrived. Before something ends for silence, or because its time is over, its owner calls
        this: only what comes afterwards is late. It must not be called in the midst of an engine's step, since the
        datagrams may be for other engines. `waiting`: what `Readers.waiting` has just said, for an owner of several
        sockets."""
        if self._is_reading_left or not self._is_read or (waiting is not None and self.sock.fileno() not in waiting):
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
