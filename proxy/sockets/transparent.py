"""Makes sockets and dials. When the kernel surprises you, look here, in packet_info.py and in streams.py.

Every socket here is transparent (`IP_TRANSPARENT`), also those on addresses of our own: the one static firewall rule
`socket transparent 1` then recognises each of them, and one line in the administrator's input chain covers them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address

from protocols.contract.addresses import Endpoint, Host, Network, text_of
from proxy.errors import SocketError
from proxy.sockets import bpf
from proxy.sockets.packet_info import (
    IP_PKTINFO,
    IP_RECVORIGDSTADDR,
    IPV6_RECVORIGDSTADDR,
    Address,
    endpoint,
    know_interface,
)
from proxy.sockets.poll import WRITE

# Python's socket module lacks these; they are from linux/in.h and linux/in6.h.
IP_MTU_DISCOVER = 10
IP_PMTUDISC_DONT = 0
IP_FREEBIND = 15
IP_BIND_ADDRESS_NO_PORT = 24
IPV6_FREEBIND = 78
IPV6_MTU_DISCOVER = 23
IPV6_MTU = 24
IPV6_LEAST_MTU = 1280
"""Every IPv6 link carries packets of this size (RFC 8200 s.5)."""
IPV6_TRANSPARENT = 75

SO_ATTACH_REUSEPORT_CBPF = 51

MAIN_BACKLOG = 4096
# Bursts wait in the buffer. The kernel gives as much as it is configured to allow (net.core.rmem_max).
DATAGRAM_BUFFER_BYTES = 1 << 20
# This holds media that is faster than the answer that names it: some tenths of a second of speech, with what the kernel
# adds to each packet.
EARLY_MEDIA_BYTES = 8192

NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _transparent(
    host: IPv4Address | IPv6Address, kind: socket.SocketKind = socket.SOCK_STREAM, protocol: int = 0
) -> socket.socket:
    """A transparent, non-blocking socket that is bound to no address yet. Raises SocketError without the capability."""
    try:
        if isinstance(host, IPv4Address):
            sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK, protocol)
            sock.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
        else:
            sock = socket.socket(socket.AF_INET6, kind | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    except PermissionError as error:
        raise SocketError(
            "transparent sockets are not allowed: run as root, or give the process CAP_NET_RAW "
            "(systemd: AmbientCapabilities=CAP_NET_RAW CAP_NET_BIND_SERVICE)"
        ) from error
    return sock


def listen(at: Endpoint, backlog: int) -> socket.socket:
    """A transparent, non-blocking TCP listener on any address, our own or foreign.

    Raises OSError (EADDRINUSE, EACCES, EMFILE ...) and SocketError when the process may not make transparent sockets.
    """
    sock = _transparent(at.host)
    try:
        # The option also lets a listener share the port of a connection of ours (FTP's default data port, F33).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((at.host_text, at.port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def listen_main(at: Endpoint) -> socket.socket:
    """The listener that TPROXY redirects to. Its connections know the interface by which they came."""
    sock = listen(at, MAIN_BACKLOG)
    know_interface(sock)
    return sock


def listen_in_place(at: Endpoint, backlog: int, allow: Collection[Network] = ()) -> tuple[socket.socket, socket.socket]:
    """A listener on the address and port of another host, for new connections from these networks, until `admit` names
    other networks. All other packets pass through this host as if it were not there. The second socket returned sees to
    that, and is to be closed after the first. Connections know the interface by which they came.

    The firewall rules look for the socket that a packet finds, and where there is no connection that is a listener. Two
    listeners stand on the address, and a program of ours lets the kernel choose between them. The one *aside* is not
    transparent, so the rules ignore a packet that finds it. It is there first and goes last, so that no packet finds
    the other one by chance.

    Raises the same errors as `listen`.
    """
    aside, sock = _aside(at.host), None
    try:
        sock = _transparent(at.host)
        for one in (aside, sock):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((at.host_text, at.port))
        know_interface(sock)
        aside.listen(1)
        admit(aside, allow)
        sock.listen(backlog)
    except Exception:
        if sock is not None:
            sock.close()
        aside.close()
        raise
    return sock, aside


def _aside(host: IPv4Address | IPv6Address) -> socket.socket:
    """A socket that may stand on any address and is not transparent."""
    if host.version == 4:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    else:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    return sock


def admit(aside: socket.socket, allow: Collection[Network]) -> None:
    """From now on the listener in place is for new connections from these networks. If there are too many networks for
    one program, neighbours of them may come too. Raises OSError (ENOMEM, ENOBUFS)."""
    version = 4 if aside.family == socket.AF_INET else 6
    failure = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    for program in bpf.new_from(version, allow):
        code = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog; the kernel copies the program before setsockopt() returns.
        option = struct.pack("@HP", len(program) // bpf.BYTES_PER_INSTRUCTION, ctypes.addressof(code))
        try:
            aside.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option)
            return
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            failure = error  # this program is longer than net.core.optmem_max allows, but a shorter one may do
    raise failure


def accept(listener: socket.socket) -> tuple[socket.socket, Endpoint] | None:
    """The next connection, or None when there is none. Raises OSError only when this machine has no room for the
    connection."""
    try:
        sock, address = listener.accept()
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return None  # there is none, or it ended while it waited; accept(2) also reports network errors of its own
    sock.setblocking(False)
    return sock, endpoint(address)


def dial(target: Endpoint, source: Endpoint | None, mark: int = 0, max_segment: int | None = None) -> socket.socket:
    """Begin a TCP connection to `target`. The target sees it come from `source` (port 0: the kernel chooses the port;
    None: the route also decides the address). The connection stands, or has failed, when the socket becomes writable;
    `dial_result` tells which. `mark` is put on its packets, by which they may be routed. `max_segment` is how many
    bytes a segment has at most, both ways.

    Raises OSError when the connection fails at once (EMFILE, ENETUNREACH, EADDRINUSE ...).
    """
    sock = _transparent(target.host)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_mark(sock, mark)
        limit_segments(sock, max_segment)
        if source is not None:
            if source.port == 0:
                # The port is chosen at connect() by the whole 4-tuple, so 64,000 ports are not the limit.
                sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source.host_text, source.port))
        code = sock.connect_ex((target.host_text, target.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError:
        sock.close()
        raise
    return sock


def dial_from(
    ports: Iterable[int], host: Host, target: Endpoint, mark: int = 0, max_segment: int | None = None
) -> socket.socket:
    """`dial` from the first of these ports of `host` that is free. Raises OSError as `dial` does, and EADDRNOTAVAIL
    when all of the ports are taken."""
    for port in ports:
        try:
            return dial(target, Endpoint(host, port), mark, max_segment)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
    raise OSError(errno.EADDRNOTAVAIL, "no free port")


def set_mark(sock: socket.socket, mark: int) -> None:
    """Put this mark on all packets that the socket sends from now on; 0 leaves them as they are. Raises OSError (EPERM
    before Linux 5.17, where a mark takes CAP_NET_ADMIN)."""
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))


def check_marks() -> None:
    """Raises SocketError when this process may not set the mark of its packets."""
    # Where that cannot be tried now, since no descriptor is left, nobody knows that it may not.
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            set_mark(sock, 1)
        except PermissionError as error:
            raise SocketError(
                "`route_mark`: packets cannot be marked; before Linux 5.17 that takes CAP_NET_ADMIN "
                "(systemd: AmbientCapabilities), which the daemon gives up: use routing by source address there"
            ) from error


def limit_segments(sock: socket.socket, most_bytes: int | None) -> None:
    """Limit the segments of a connection that is yet to be made, or of all connections that a listener accepts. Both
    sides keep to the limit (tcp(7), TCP_MAXSEG). It is too late for a connection that stands: its peer has been told
    another limit."""
    if most_bytes is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, most_bytes)


def dial_result(sock: socket.socket, events: int) -> int:
    """The errno that a dialled connection ended with; 0 when it stands. `events` is what the poll has reported."""
    return 0 if events == WRITE else sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def datagrams(at: Endpoint, of_media: bool = False, may_share: bool = False) -> socket.socket:
    """A transparent UDP socket on any address, our own or foreign. It receives all that is sent there. With each
    datagram comes the interface by which it came, and with media its DSCP. `may_share`: sockets that hear other peers
    (`hear_only`) may stand on the same address, if they allow it too.

    Raises OSError (EADDRINUSE, EACCES, EMFILE ...) and SocketError when the process may not make transparent sockets.
    """
    sock = _transparent(at.host, socket.SOCK_DGRAM)
    try:
        # Otherwise SO_REUSEADDR stays off: a second socket on the address would take the first one's datagrams without
        # a word.
        if may_share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A socket that may be shared does not exist before a sender is expected, so early media never waits in it.
        buffer_bytes = EARLY_MEDIA_BYTES if of_media and not may_share else DATAGRAM_BUFFER_BYTES
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        # A message that rewriting made longer than the link allows goes out in fragments (rule S7).
        if isinstance(at.host, IPv4Address):
            sock.setsockopt(socket.SOL_IP, IP_PKTINFO, 1)
            if of_media:
                sock.setsockopt(socket.SOL_IP, socket.IP_RECVTOS, 1)
            sock.setsockopt(socket.SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DONT)
            if of_media:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            else:
                # No router cuts IPv6 packets further, and a socket that hears nobody is not told which size fits. This
                # size always does.
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, IPV6_LEAST_MTU)
        sock.bind(address(at))
    except OSError:
        sock.close()
        raise
    return sock


def raw(host: Host, protocol: int) -> socket.socket:
    """A transparent raw socket for an IP protocol on any address of IPv4, our own or foreign. It receives all packets
    of the protocol that are sent there, each with its IP header and the interface by which it came. The kernel makes
    the header of what is sent, and cuts what is too long for the link: the ends of a tunnel would not be told (PP18).

    Raises OSError and, when the process may not make such sockets, SocketError.
    """
    sock = _transparent(host, socket.SOCK_RAW, protocol)
    try:
        know_interface(sock)
        sock.setsockopt(socket.SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        sock.bind((text_of(host), 0))
    except OSError:
        sock.close()
        raise
    return sock


def hear_only(sock: socket.socket, host: str, port: int = 0) -> None:
    """From now on a UDP socket hears this host alone, from one port or (0) from any, and can still send to any host.
    The kernel compares the parts of a peer's address that are set, and the rule `socket transparent` does not find the
    socket for packets of other hosts. Raises OSError when there is no route to the host."""
    sock.connect((host, port))


def hear_nobody(sock: socket.socket) -> None:
    """From now on the socket only sends. It is connected to a loopback address, which no packet from elsewhere may
    bear."""
    sock.connect(("127.0.0.1" if sock.family == socket.AF_INET else "::1", 0))


def widen(sock: socket.socket) -> None:
    """Give a socket for media its full buffer, since it is read from now on."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER_BYTES)


def datagrams_main(at: Endpoint) -> socket.socket:
    """The socket that TPROXY redirects to. Its datagrams know where they were sent to."""
    sock = datagrams(at)
    if at.host.version == 4:
        sock.setsockopt(socket.SOL_IP, IP_RECVORIGDSTADDR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
    return sock


def address(of: Endpoint) -> Address:
    """An endpoint as the kernel writes addresses. It equals the source address that `receive` returns for the same
    endpoint, whatever else the kernel adds."""
    host = of.host_text
    return (host, of.port, 0, 0) if ":" in host else (host, of.port)


def route_source(target: Endpoint, mark: int = 0) -> IPv4Address | IPv6Address:
    """Our address on the way to a host, for packets with that mark. Raises OSError when there is none."""
    with _transparent(target.host, socket.SOCK_DGRAM) as sock:
        set_mark(sock, mark)
        sock.connect((str(target.host), target.port))
        return endpoint(sock.getsockname()).host


def is_own(host: IPv4Address | IPv6Address) -> bool:
    """Whether this is an address of this host: the route to it begins at the address itself. Unlike bind(), this test
    is not misled by `ip_nonlocal_bind`, which gateways with a virtual address have set. Raises OSError when there is no
    room to ask: nobody knows then."""
    try:
        return route_source(Endpoint(host, 9)) == host
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return False  # there is no route at all


def local(sock: socket.socket) -> Endpoint:
    """Our end of a connection. If TPROXY redirected the connection, this is its original destination (rule X20)."""
    return endpoint(sock.getsockname())
