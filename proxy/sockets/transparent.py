"""Sockets made and dialled. Open this file, packet_info.py and streams.py when the kernel surprises you.

Every socket here is transparent (`IP_TRANSPARENT`), also those on addresses of our own: the one static firewall rule
`socket transparent 1` then recognises each of them, and one line in the administrator's input chain covers them all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address

from protocols.contract.addresses import Endpoint, Host, Network
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

# Not in Python's socket module; from linux/in.h and linux/in6.h.
IP_MTU_DISCOVER = 10
IP_PMTUDISC_DONT = 0
IP_FREEBIND = 15
IP_BIND_ADDRESS_NO_PORT = 24
IPV6_FREEBIND = 78
IPV6_MTU_DISCOVER = 23
IPV6_MTU = 24
IPV6_LEAST_MTU = 1280
"""RFC 8200 s.5."""
IPV6_TRANSPARENT = 75

SO_ATTACH_REUSEPORT_CBPF = 51

MAIN_BACKLOG = 4096
# Bursts wait here for their turn; the kernel gives what it is configured to allow (net.core.rmem_max).
DATAGRAM_BUFFER_BYTES = 1 << 20
# Media that is faster than the answer that names it: some tenths of a second of speech, with what the kernel adds to
# each packet.
EARLY_MEDIA_BYTES = 8192

NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _transparent(host: IPv4Address | IPv6Address, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    try:
        if host.version == 4:
            sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
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
        # Also lets a listener share the port of a connection of ours (FTP's default data port, F33).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((at.host_text, at.port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def listen_main(at: Endpoint) -> socket.socket:
    """The listener that TPROXY redirects to; its connections know the interface that they came in by."""
    sock = listen(at, MAIN_BACKLOG)
    know_interface(sock)
    return sock


def listen_in_place(at: Endpoint, backlog: int, allow: Collection[Network] = ()) -> tuple[socket.socket, socket.socket]:
    """A listener on an address and port of somebody else, for new connections from these networks, until `admit` names
    others; all other packets pass through this host as if it were not there. Second, the socket that sees to that, to
    be closed after the first. Connections know their interface.

    The firewall rules ask for the socket that a packet finds, and where there is no connection that is a listener. Of
    two listeners the kernel lets a program of ours choose. The one aside is not transparent, so what finds it is
    nothing to the rules; it is there first and goes last, so that nothing finds the other one by chance.

    Raises as `listen`.
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
    """From now on the listener in place is for new connections from these networks. Where there are too many for one
    program, neighbours of theirs may come too. Raises OSError (ENOMEM, ENOBUFS)."""
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
            failure = error  # longer than net.core.optmem_max allows: a shorter one may do
    raise failure


def accept(listener: socket.socket) -> tuple[socket.socket, Endpoint] | None:
    """The next connection, or None when there is none. Raises OSError only when this machine has no room for it."""
    try:
        sock, address = listener.accept()
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        return None  # none there, or it went away while it waited; accept(2) reports network errors of its own, too
    sock.setblocking(False)
    return sock, endpoint(address)


def dial(target: Endpoint, source: Endpoint | None, mark: int = 0, max_segment: int | None = None) -> socket.socket:
    """Begin a TCP connection to `target`, seen there as from `source` (port 0: the kernel's choice; None: from
    the address of the route). It stands when the socket becomes writable; `dial_result` then tells. mark: of its
    packets, by which they may be routed. max_segment: bytes of a segment, at most, both ways.

    Raises OSError when it fails at once (EMFILE, ENETUNREACH, EADDRINUSE ...).
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
    """`dial` as from the first of these ports of `host` that can be had. Raises OSError as `dial` does; EADDRNOTAVAIL
    when all of them are taken."""
    for port in ports:
        try:
            return dial(target, Endpoint(host, port), mark, max_segment)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
    raise OSError(errno.EADDRNOTAVAIL, "no free port")


def set_mark(sock: socket.socket, mark: int) -> None:
    """Mark all packets that are sent from now on; 0: as they are. Raises OSError (EPERM before Linux 5.17, where it
    takes CAP_NET_ADMIN)."""
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))


def check_marks() -> None:
    """Raises SocketError when this process may not set the mark of its packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            set_mark(sock, 1)
        except PermissionError as error:
            raise SocketError(
                "`route_mark`: packets cannot be marked; before Linux 5.17 that takes CAP_NET_ADMIN "
                "(systemd: AmbientCapabilities), which the daemon gives up: use routing by source address there"
            ) from error


def limit_segments(sock: socket.socket, most_bytes: int | None) -> None:
    """Limit the segments of a connection that is yet to be made, or of all that a listener accepts: both sides keep to
    the limit (tcp(7), TCP_MAXSEG). A connection that stands already has told its peer another one."""
    if most_bytes is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, most_bytes)


def dial_result(sock: socket.socket, events: int) -> int:
    """The errno that a dialled connection ended with; 0 when it stands. events: what the poll has told of it."""
    return 0 if events == WRITE else sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def datagrams(at: Endpoint, of_media: bool = False, may_share: bool = False) -> socket.socket:
    """A transparent UDP socket on any address, our own or foreign: it receives all that is sent there. With each
    datagram comes the interface that it came in by, and with media its DSCP. `may_share`: sockets that hear others
    (`hear_only`) may stand on the same address, if they allow it too.

    Raises OSError (EADDRINUSE, EACCES, EMFILE ...) and SocketError when the process may not make transparent sockets.
    """
    sock = _transparent(at.host, socket.SOCK_DGRAM)
    try:
        # Else not SO_REUSEADDR: a second socket on the address would take the first one's datagrams without a word.
        if may_share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What may be shared is not there before somebody is to be heard.
        buffer_bytes = EARLY_MEDIA_BYTES if of_media and not may_share else DATAGRAM_BUFFER_BYTES
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        # A message that rewriting made longer than the link allows goes out in fragments (rule S7).
        if at.host.version == 4:
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
                # No router cuts them further, and a socket that hears nobody is not told what fits: this always does.
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU, IPV6_LEAST_MTU)
        sock.bind(address(at))
    except OSError:
        sock.close()
        raise
    return sock


def hear_only(sock: socket.socket, host: str, port: int = 0) -> None:
    """From now on a socket for datagrams hears this host alone, from one port or (0) from any, and can still send to
    anybody. The kernel compares the parts of a peer's address that are set; nor does the rule `socket transparent` find
    the socket for packets of others. Raises OSError when there is no route to the host."""
    sock.connect((host, port))


def hear_nobody(sock: socket.socket) -> None:
    """From now on the socket only sends. Nothing that comes from elsewhere may bear a loopback address."""
    sock.connect(("127.0.0.1" if sock.family == socket.AF_INET else "::1", 0))


def widen(sock: socket.socket) -> None:
    """A socket for media that is read from now on."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER_BYTES)


def datagrams_main(at: Endpoint) -> socket.socket:
    """The socket that TPROXY redirects to; its datagrams know where they were sent to."""
    sock = datagrams(at)
    if at.host.version == 4:
        sock.setsockopt(socket.SOL_IP, IP_RECVORIGDSTADDR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
    return sock


def address(of: Endpoint) -> Address:
    """As `receive` gives it, whatever else the kernel adds."""
    host = of.host_text
    return (host, of.port, 0, 0) if ":" in host else (host, of.port)


def route_source(target: Endpoint, mark: int = 0) -> IPv4Address | IPv6Address:
    """Our address on the way to a host, for packets of that mark. Raises OSError when there is none."""
    with _transparent(target.host, socket.SOCK_DGRAM) as sock:
        set_mark(sock, mark)
        sock.connect((str(target.host), target.port))
        return endpoint(sock.getsockname()).host


def is_own(host: IPv4Address | IPv6Address) -> bool:
    """Whether it is an address of this host: the kernel goes there as itself. Unlike bind(), this is not misled by
    `ip_nonlocal_bind`, which gateways with a virtual address have set."""
    try:
        return route_source(Endpoint(host, 9)) == host
    except OSError:  # no route at all
        return False


def local(sock: socket.socket) -> Endpoint:
    """Our end. Of a connection redirected by TPROXY: the original destination (rule X20)."""
    return endpoint(sock.getsockname())
