"""What of this host decides where media may pass in the kernel: its interfaces, its IPsec policies, and routing rules
that ask for a mark.

The kernel tells of each change (rtnetlink(7), and XFRMNLGRP_POLICY of IPsec). What a piece of news means is found by
looking at the whole, so nothing is lost when more comes than can wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.holder import asking
from proxy.host import news
from proxy.host.rules_routing import ROUTE_PROTOCOL
from proxy.sockets import netlink

_LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type of hardware, index, flags, which of them have changed."""
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWRULE, _RTM_GETRULE = 16, 18, 32, 34
_IFLA_NAME, _IFLA_LINKINFO = 3, 18
_IFLA_INFO_SLAVE_KIND = 4
_NESTED = 0x8000  # the flag that some attributes have, which hold others
_LOOPBACK = 1 << 3

_ETHERNET = 1
_WITHOUT_HEADER = frozenset({512, 519, 0xFFFE})
"""Types of hardware whose packets begin with the IP header: PPP, raw IP (modems), and none at all (tun, WireGuard). A
type that stands nowhere here stays in user space."""
_OF_VRF = "vrf"

_RULE_BYTES = 12  # struct fib_rule_hdr
_FRA_MARK, _FRA_PROTOCOL, _FRA_MASK = 10, 21, 16

_XFRM_GETSPDINFO, _XFRM_GETDEFAULT = 37, 40
_XFRMA_SPD_INFO = 1
_COUNTS = struct.Struct("=3I")
"""The beginning of struct xfrmu_spdinfo: policies for what comes in, goes out and is forwarded."""
_DIRECTIONS = 3
_BLOCK = 1  # XFRM_USERPOLICY_BLOCK

_ROUTING_NEWS = 1 << 0 | 1 << 7 | 1 << 18
"""RTNLGRP_LINK, _IPV4_RULE, _IPV6_RULE."""
_POLICY_NEWS = 1 << 3
"""XFRMNLGRP_POLICY."""


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface that a program can be attached to."""

    index: int
    name: str
    has_mac: bool
    """Whether packets have an Ethernet header there."""


class Watch:
    """The sockets on which the news come."""

    def __init__(self) -> None:
        """Raises OSError when this process may not hear of interfaces."""
        self._sockets = [news.socket_for(socket.NETLINK_ROUTE, _ROUTING_NEWS)]
        # A kernel without IPsec has no policies.
        with contextlib.suppress(OSError):
            self._sockets.append(news.socket_for(asking.XFRM, _POLICY_NEWS))

    def __iter__(self) -> Iterator[int]:
        """The descriptors."""
        return (sock.fileno() for sock in self._sockets)

    def close(self) -> None:
        """Hear no more."""
        for sock in self._sockets:
            sock.close()

    def drain(self) -> None:
        """Read all news that wait."""
        for sock in self._sockets:
            while _has_read(sock):
                pass


def _has_read(sock: socket.socket) -> bool:
    """Read some news. Returns whether there were any."""
    try:
        sock.recv(news.RECEIVE_BYTES)
    except BlockingIOError:
        return False
    except OSError:  # ENOBUFS: more came than could wait; what is left of it is read next
        pass
    return True


def interfaces() -> dict[int, Interface]:
    """The interfaces that programs can be attached to, by index. Raises OSError."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    answers = asking.ask(socket.NETLINK_ROUTE, _RTM_GETLINK, body, netlink.DUMP)
    found = (read_interface(body) for kind, body in answers if kind == _RTM_NEWLINK)
    return {one.index: one for one in found if one is not None}


def read_interface(body: bytes) -> Interface | None:
    """The interface that a message of rtnetlink is about. None: programs are not attached to such a one.

    Packets of a bridge come by the bridge, and those of a bond by the bond, so their ports are left out. An interface
    of a VRF has its addresses itself.
    """
    _, hardware, index, flags, _ = _LINK.unpack_from(body)
    found = {number & ~_NESTED: value for number, value in netlink.attributes(body[_LINK.size :])}
    about = {number & ~_NESTED: value for number, value in netlink.attributes(found.get(_IFLA_LINKINFO, b""))}
    if flags & _LOOPBACK or _text(about.get(_IFLA_INFO_SLAVE_KIND, b"")) not in ("", _OF_VRF):
        return None
    if hardware != _ETHERNET and hardware not in _WITHOUT_HEADER:
        return None
    return Interface(index, _text(found.get(_IFLA_NAME, b"")), hardware == _ETHERNET)


def _text(value: bytes) -> str:
    return os.fsdecode(value.rstrip(b"\0"))


def has_rules_by_mark() -> bool:
    """Whether a routing rule of others asks for a mark. Where the program stands no firewall rule has marked the packet
    yet, so it would find another route than the packet's. Raises OSError."""
    body = bytes(_RULE_BYTES)  # of both IP versions
    answers = asking.ask(socket.NETLINK_ROUTE, _RTM_GETRULE, body, netlink.DUMP)
    return any(_asks_for_mark(body) for kind, body in answers if kind == _RTM_NEWRULE)


def _asks_for_mark(body: bytes) -> bool:
    found = dict(netlink.attributes(body[_RULE_BYTES:]))
    is_ours = found.get(_FRA_PROTOCOL) == bytes([ROUTE_PROTOCOL])
    return not is_ours and any(any(found.get(number, b"")) for number in (_FRA_MARK, _FRA_MASK))


def has_policies() -> bool:
    """Whether there are IPsec policies, or packets that none matches are blocked. Raises OSError.

    Policies of single sockets do not count: those who exchange keys have them, for their own packets.
    """
    try:
        answers = asking.ask(asking.XFRM, _XFRM_GETSPDINFO, bytes(4))
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:  # this kernel has no IPsec
            return False
        raise
    (counts,) = (value for number, value in netlink.attributes(answers[0][1][4:]) if number == _XFRMA_SPD_INFO)
    return any(_COUNTS.unpack_from(counts)) or _blocks_by_default()


def _blocks_by_default() -> bool:
    try:
        answers = asking.ask(asking.XFRM, _XFRM_GETDEFAULT, bytes(_DIRECTIONS))
    except OSError as error:
        if error.errno == errno.EINVAL:  # before 5.15 nothing was blocked so
            return False
        raise
    return any(what == _BLOCK for what in answers[0][1][:_DIRECTIONS])
