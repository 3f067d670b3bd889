"""Tells by which interface this host reaches another one. The kernel is asked by rtnetlink (rtnetlink(7),
RTM_GETROUTE).

No privilege is needed. Answers are kept for a moment, so that a flood of packets asks the kernel once.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from protocols.contract.addresses import Host
from proxy.sockets import netlink
from proxy.sockets.transparent import NO_ROOM

KEPT_SECONDS = 2.0
MAX_KEPT = 4096
MAX_ANSWER_BYTES = 4096

_RTM_GETROUTE, _NLMSG_ERROR = 26, 2
_RTA_DST, _RTA_OIF = 1, 4
_RTM_F_FIB_MATCH = 0x2000
"""This flag asks for the route as it stands in the table, not as it is for this one host."""
_ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, bits of destination and source, TOS, table, protocol, scope, type, flags."""

_UNICAST, _LOCAL = 1, 2
"""Types of routes (RTN_UNICAST, RTN_LOCAL). The others are broadcast, multicast, and routes that lead nowhere."""


@dataclass(frozen=True, slots=True)
class Way:
    """How packets to a host leave this one."""

    interface: int
    """The index of the interface; 0: none."""
    is_to_us: bool = False
    """Whether the host is this one."""
    is_to_one_host: bool = True
    """False for a broadcast or multicast address, and where no route leads."""


NO_WAY = Way(0, is_to_one_host=False)


def way_to(host: Host) -> Way:
    """The way to a host. Raises OSError, also when there is no route."""
    answer = _ask(host)
    route_type = _ROUTE.unpack_from(answer)[7]
    for kind, value in netlink.attributes(answer[_ROUTE.size :]):
        if kind == _RTA_OIF:
            (index,) = struct.unpack("=i", value)
            return Way(index, route_type == _LOCAL, route_type in (_UNICAST, _LOCAL))
    raise OSError(errno.ENETUNREACH, "the route names no interface")


def default_way_to(host: Host) -> Way:
    """NO_WAY if a route to a particular network leads to this host; otherwise a Way that names no interface, because
    the route to all the rest of the internet leads there (some write that one in two halves, or as 2000::/3). Raises
    OSError when there is no route."""
    bits = _ROUTE.unpack_from(_ask(host, _RTM_F_FIB_MATCH))[1]
    return Way(0) if bits <= (1 if host.version == 4 else 3) else NO_WAY


def _ask(host: Host, flags: int = 0) -> bytes:
    """The kernel's answer, without the header of its message. Raises OSError."""
    packed = host.packed
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, flags)
    body += netlink.attribute(_RTA_DST, packed)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.sendto(netlink.message(_RTM_GETROUTE, netlink.REQUEST, body), (0, 0))
        kind, answer = next(netlink.messages(sock.recv(MAX_ANSWER_BYTES)))
    if kind == _NLMSG_ERROR:
        (code,) = struct.unpack_from("=i", answer)
        raise OSError(-code, os.strerror(-code))
    return answer


class Ways:
    """The ways to hosts as they were a moment ago."""

    def __init__(self, clock: Callable[[], float], ask: Callable[[Host], Way] = way_to) -> None:
        self._clock = clock
        self._ask = ask
        self._known: dict[Host, tuple[float, Way]] = {}

    def to(self, host: Host) -> Way:
        """The way to this host; NO_WAY when no route leads there. If there is no descriptor left to ask with, the last
        answer still holds."""
        now = self._clock()
        asked_at, way = self._known.get(host, (-KEPT_SECONDS, NO_WAY))
        if now - asked_at >= KEPT_SECONDS:
            try:
                way = self._ask(host)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    way = NO_WAY
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            self._known[host] = (now, way)
        return way
