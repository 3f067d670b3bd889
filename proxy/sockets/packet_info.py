"""What the kernel says besides the bytes of a datagram or a connection: destination, interface, traffic class."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from protocols.contract.addresses import Endpoint, Host

IP_PKTINFO = 8

IP_PKTOPTIONS = 9

IP_RECVORIGDSTADDR = 20

IPV6_2292PKTOPTIONS = 6

IPV6_RECVORIGDSTADDR = 74

MAX_DATAGRAM = 65535

ANCILLARY_BYTES = 128

INTERFACE_NAME_SECONDS = 2.0

MAX_INTERFACES = 4096


def endpoint(address: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """The kernel's socket address as ours; an IPv6 scope id is dropped."""
    return Endpoint(_host(address[0]), address[1])


@lru_cache(maxsize=4096)
def _host(text: str) -> Host:
    """Read an address once. The same hosts come again and again, and to read an address takes as long as to accept a
    connection from it."""
    return ip_address(text.partition("%")[0])


def know_interface(sock: socket.socket) -> None:
    """Have the kernel tell the interface of each datagram, or of each connection that this listener accepts."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.SOL_IP, IP_PKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)


Ancillary = Sequence[tuple[int, int, bytes]]
"""The control messages of a datagram: level, kind and data of each."""

Address = tuple[Any, ...]
"""A socket address as the kernel writes it. To make an Endpoint for each datagram would cost as much as all the
rest."""


def receive(sock: socket.socket) -> tuple[bytes, Ancillary, Address] | None:
    """The next datagram, its ancillary data and its source. None: there is none."""
    try:
        data, ancillary, _, source = sock.recvmsg(MAX_DATAGRAM, ANCILLARY_BYTES)
    except BlockingIOError:
        return None
    return data, ancillary, source


def original_destination(ancillary: Ancillary) -> Endpoint | None:
    """Where a datagram was sent to before TPROXY (rule X21)."""
    for level, kind, data in ancillary:
        if level == socket.SOL_IP and kind == IP_RECVORIGDSTADDR:
            return _destination(data[2:8])
        if level == socket.IPPROTO_IPV6 and kind == IPV6_RECVORIGDSTADDR:
            return _destination(data[2:4] + data[8:24])
    return None


@lru_cache(maxsize=4096)
def _destination(port_and_host: bytes) -> Endpoint:
    """An endpoint as the kernel tells it. The same few servers come again and again, so they are remembered."""
    host = port_and_host[2:]
    port = int.from_bytes(port_and_host[:2], "big")
    return Endpoint(IPv4Address(host) if len(host) == 4 else IPv6Address(host), port)


def arrival_interface(ancillary: Ancillary) -> int:
    """The index of the interface by which a datagram came; 0 if the kernel has not told."""
    for level, kind, data in ancillary:
        if level == socket.SOL_IP and kind == IP_PKTINFO:
            return int(struct.unpack_from("i", data)[0])
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return int(struct.unpack_from("i", data, 16)[0])
    return 0


def traffic_class(ancillary: Ancillary) -> int:
    """DSCP and ECN of a datagram of media."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_IP, socket.IP_TOS):
            return data[0]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS):
            return int.from_bytes(data, sys.byteorder)
    return 0


def set_traffic_class(sock: socket.socket, value: int) -> None:
    """Put this DSCP and ECN on all datagrams that are sent from now on."""
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.SOL_IP, socket.IP_TOS, value)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value)


def incoming_interface(sock: socket.socket) -> int:
    """The index of the interface by which a connection came; 0 if the kernel has not told, since not every listener
    asks for it."""
    if sock.family == socket.AF_INET:
        level, option, kind = socket.SOL_IP, IP_PKTOPTIONS, IP_PKTINFO
        index_at = 0  # struct in_pktinfo begins with the index,
    else:
        level, option, kind = socket.IPPROTO_IPV6, IPV6_2292PKTOPTIONS, socket.IPV6_PKTINFO
        index_at = 16  # struct in6_pktinfo with the address
    for message_kind, data in _control_messages(sock.getsockopt(level, option, 512)):
        if message_kind == kind and len(data) >= index_at + 4:
            return int(struct.unpack_from("i", data, index_at)[0])
    return 0


class InterfaceNames:
    """The names of interfaces by their index. The kernel is asked again now and then: interfaces come, go and are
    renamed.

    A look-up takes a descriptor, so when there is none left the name of a moment ago must do.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, str]] = {}

    def of(self, index: int, now: float) -> str:
        """The name of the interface. It is "" if there is no such interface. Raises OSError when no descriptor is left
        to ask with."""
        asked_at, name = self._known.get(index, (-INTERFACE_NAME_SECONDS, ""))
        if now - asked_at >= INTERFACE_NAME_SECONDS:
            try:
                name = socket.if_indextoname(index)
            except OSError as error:
                # With no descriptor left, the C library says that there is nothing of that name (ENOENT).
                if error.errno in (errno.ENXIO, errno.ENODEV):
                    self._known.pop(index, None)
                    return ""
                if not name:
                    raise
            if len(self._known) >= MAX_INTERFACES:  # each dial-in that came and went had an index of its own
                self._known.clear()
            self._known[index] = (now, name)
        return name


def _control_messages(buffer: bytes) -> list[tuple[int, bytes]]:
    """Take apart what the kernel writes as a chain of struct cmsghdr: (type, data) of each."""
    header = struct.Struct("Lii")
    messages, at = [], 0
    while at + header.size <= len(buffer):
        length, _, kind = header.unpack_from(buffer, at)
        if length < header.size:
            break
        messages.append((kind, buffer[at + header.size : at + length]))
        at += (length + 7) & ~7
    return messages
