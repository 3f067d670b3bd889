"""Raw sockets on impersonated addresses, for tunnels of GRE: their packets have a call id where others have ports.

    server --> [our address] ----> passage --> [server's address] --> client
    server <-- [our address] <---- passage <-- [server's address] <-- client

One socket stands on each address, and all tunnels that lead there share it. It hears the GRE of every host that comes
to the address, and what is sent from it comes from there. To the kernel such a socket has no port, so the rule `socket
transparent` does not find it: a rule for tunnels brings their packets (`proxy/host/scopes.py`), and hosts that no
policy names are none of those. These sockets never bear the mark of our rules. With it, the routing rule would lead to
this host what they send to another one, and it would go round for ever (PP5).
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from ipaddress import IPv4Address
from struct import Struct
from typing import Protocol

from protocols.contract.addresses import Host
from proxy.sockets import packet_info, transparent
from proxy.sockets.packet_info import ANCILLARY_BYTES, MAX_DATAGRAM, Ancillary
from proxy.sockets.readers import Readers

GRE = 47
"""The number of the IP protocol."""
_FLAGS, _VERSION_1 = 0xEF7F, 0x2001
"""The bits of GRE's first two bytes that a packet of a tunnel has no choice about, and what they are: a key, version 1,
and neither checksum, routing nor recursion. The others say which numbers follow (RFC 2637 s.4.1)."""
_PPP = 0x880B
HEADER_BYTES = 8
"""The part of GRE's header that every packet has. The call id is at its end."""
ID = Struct("!H")
ID_AT = 6
_PLAIN = Struct("!BB10xI4xHHHH")
"""An IP header without options, and the beginning of GRE behind it: version and length of the header, traffic class,
source; flags, protocol, length, id."""
_NO_OPTIONS = 0x45
_HEADER = Struct("!HHHH")
"""The beginning of GRE alone, for a packet whose IP header has options."""

MOST_AT_ONCE = 64
"""How many packets of one socket are read before others have their turn."""
MOST_IDS = 32768
"""How many ids of one address may be taken: at least every second one that is tried is free."""
BUFFER_BYTES = 1 << 20
"""Bursts wait in the buffer of the socket. The kernel gives as much as net.core.rmem_max allows."""


class Route(Protocol):
    """Takes the packets of one host with one id."""

    def take(self, packet: memoryview, traffic_class: int, ancillary: Ancillary) -> None:
        """Pass a packet on, which begins with the header of GRE. It may be changed, and is gone when this returns."""


class Holder(Protocol):
    """A tunnel's place, which has an id at a socket."""

    def meet(self, source: Host, packet: memoryview, traffic_class: int, ancillary: Ancillary) -> bool:
        """A packet with the place's id has come from a host that no route takes it from. Returns whether the place
        keeps it."""

    def refuse(self, source: Host, number: int) -> None:
        """A packet with this id was not passed on."""


class RawEndpoint:
    """A raw socket on one address."""

    __slots__ = ("_buffer", "_ids", "_marked", "_of", "_readers", "_routes", "_traffic_classes", "host", "sock", "uses")

    def __init__(self, readers: Readers, host: IPv4Address, buffer: bytearray) -> None:
        """`buffer` is what packets are read into. All endpoints can have the same one. Raises OSError."""
        self._readers = readers
        self.host = host
        self.uses = 0
        """How many places hold this endpoint."""
        self._routes: dict[int, Route] = {}
        """source and id, as one number -> who takes those packets."""
        self._of: dict[int, dict[Holder, None]] = {}
        """source -> the places that have it for their partner. A server has thousands, so each must be quick to
        leave."""
        self._ids: dict[int, list[Holder]] = {}
        """id -> the places that have it. On a host's own address it may stand for different tunnels, with different
        partners."""
        self._buffer = memoryview(buffer)
        self.sock = transparent.raw(host, GRE)
        self._marked: dict[int, socket.socket] = {}
        """mark -> a socket that only sends, and puts this mark on its packets."""
        self._traffic_classes: dict[int, int] = {}
        """mark -> DSCP and ECN of what is sent with it."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            readers.add(self.sock, self.read)
        except OSError:
            self.sock.close()
            raise

    # -- ids -----------------------------------------------------------------------------------------------------------

    def hold(self, holder: Holder, number: int) -> None:
        """The place has this id from now on."""
        self._ids.setdefault(number, []).append(holder)

    def is_held(self, number: int) -> bool:
        """Whether a place has this id."""
        return number in self._ids

    def free(self) -> int:
        """An id that no place has, at random: who injects packets has to guess it (PP12). Raises OSError."""
        if len(self._ids) >= MOST_IDS:
            raise OSError(errno.EADDRNOTAVAIL, "no free id")
        while (number := 1 + secrets.randbelow(0xFFFF)) in self._ids:
            pass
        return number

    def leave(self, holder: Holder, number: int) -> None:
        """The place is gone."""
        holders = self._ids[number]
        holders.remove(holder)
        if not holders:
            del self._ids[number]

    def claim(self, holder: Holder, source: IPv4Address, number: int, route: Route) -> None:
        """Packets of this host with the id of the place go to `route`. Raises OSError when they go to another one."""
        key = int(source) << 16 | number
        if key in self._routes:
            raise OSError(errno.EADDRINUSE, "another tunnel's")
        self._routes[key] = route
        self._of.setdefault(int(source), {})[holder] = None

    def unclaim(self, holder: Holder, source: IPv4Address, number: int) -> None:
        """The tunnel is over."""
        del self._routes[int(source) << 16 | number]
        holders = self._of[int(source)]
        del holders[holder]
        if not holders:
            del self._of[int(source)]

    # -- packets -------------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read what has come, as far as it is this socket's turn. All that a packet costs is spent in these lines."""
        receive, routes, buffer, unpack = self.sock.recvmsg_into, self._routes, self._buffer, _PLAIN.unpack_from
        buffers = (buffer,)
        for _ in range(MOST_AT_ONCE):
            try:
                size, ancillary, _, _ = receive(buffers, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:  # the error concerns an earlier packet (ICMP), or the socket was closed in between
                if self.sock.fileno() < 0:
                    return
                continue
            first, traffic_class, source, flags, protocol, _, number = unpack(buffer)
            begins = 20
            if first != _NO_OPTIONS:
                begins = (first & 15) * 4
                flags, protocol, _, number = _HEADER.unpack_from(buffer, begins)
            if size < begins + HEADER_BYTES or protocol != _PPP or flags & _FLAGS != _VERSION_1:
                continue  # it is of another kind of tunnel, which is somebody else's on this host
            route = routes.get(source << 16 | number)
            if route is not None:
                route.take(buffer[begins:size], traffic_class, ancillary)
            else:
                self._stranger(source, number, buffer[begins:size], traffic_class, ancillary)

    def _stranger(self, source: int, number: int, packet: memoryview, traffic_class: int, ancillary: Ancillary) -> None:
        """No tunnel takes the packet. It came before its tunnel was agreed on, or is of nobody's."""
        host = IPv4Address(source)
        for holder in self._ids.get(number, ()):
            if holder.meet(host, packet, traffic_class, ancillary):
                return
        for holders in (self._of.get(source), next(iter(self._ids.values()), None)):
            if holders:
                next(iter(holders)).refuse(host, number)
                return

    def sender(self, mark: int) -> socket.socket:
        """The socket that sends from this address with this mark. Raises OSError."""
        if not mark:
            return self.sock
        if (sock := self._marked.get(mark)) is None:
            sock = transparent.raw(self.host, GRE)
            try:
                transparent.set_mark(sock, mark)
                transparent.hear_nobody(sock)
            except OSError:
                sock.close()
                raise
            self._marked[mark] = sock
        return sock

    def send_as(self, mark: int, traffic_class: int) -> None:
        """What is sent with this mark bears this DSCP and ECN from now on."""
        if self._traffic_classes.get(mark, 0) != traffic_class:
            packet_info.set_traffic_class(self.sender(mark), traffic_class)
            self._traffic_classes[mark] = traffic_class

    def close(self) -> None:
        """Close the sockets."""
        self._readers.remove(self.sock)
        for sock in (self.sock, *self._marked.values()):
            with contextlib.suppress(OSError):
                sock.close()


class RawEndpoints:
    """The raw endpoints of the daemon, by their address. The table of pinholes owns it; the last user's `give` closes
    the socket."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._at: dict[IPv4Address, RawEndpoint] = {}
        # An IP header says of a packet that it is no longer than this. The rest is for reading past its end.
        self._buffer = bytearray(MAX_DATAGRAM + 128)

    def __len__(self) -> int:
        return len(self._at)

    def take(self, host: IPv4Address) -> RawEndpoint:
        """The endpoint on this address, or a new one. The caller gives it back (`give`). Raises OSError."""
        endpoint = self._at.get(host)
        if endpoint is None:
            endpoint = self._at[host] = RawEndpoint(self._readers, host, self._buffer)
        endpoint.uses += 1
        return endpoint

    def give(self, endpoint: RawEndpoint) -> None:
        """One place fewer holds the endpoint."""
        endpoint.uses -= 1
        if not endpoint.uses:
            del self._at[endpoint.host]
            endpoint.close()
