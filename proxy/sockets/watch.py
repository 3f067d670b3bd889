"""Watches for addresses of this host that go away: sessions that peers know by such an address cannot go on, and begin
anew.

The kernel tells of it (rtnetlink(7), RTM_DELADDR), for which no capability is needed. A line whose address is renewed
may take the address away and give it back, so a moment later the address is looked for once more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from protocols.contract.addresses import Host
from proxy.sockets import netlink, transparent

RETURN_SECONDS = 2.0
"""How long an address has to come back."""

_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_RTM_DELADDR = 21
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # on a line between two hosts the first one is the other end's
_ADDRESS_BYTES = 8  # struct ifaddrmsg


class AddressWatch:
    """Listens to the kernel, and calls `gone` for each address that has gone for good. The daemon owns it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gone: Callable[[Host], None]) -> None:
        """`gone` is called with each address. Raises OSError where there is no netlink."""
        self._loop = loop
        self._gone = gone
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        try:
            self._sock.bind((0, _GROUPS))
        except OSError:
            self._sock.close()
            raise
        loop.add_reader(self._sock, self._readable)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        try:
            news = self._sock.recv(65536)
        except OSError:  # more messages came than could wait, so nobody knows what was in them
            return
        for host in removed(news):
            self._loop.call_later(RETURN_SECONDS, self._look, host)

    def _look(self, host: Host) -> None:
        """Report the address unless it has come back. Where that cannot be seen for want of a descriptor, look again a
        while later: an address that is there must not end the sessions that are known by it."""
        try:
            is_back = transparent.is_own(host)
        except OSError:
            self._loop.call_later(RETURN_SECONDS, self._look, host)
            return
        if not is_back:
            self._gone(host)


def removed(news: bytes) -> Iterator[Host]:
    """The addresses that these messages of rtnetlink say were taken away."""
    for kind, body in netlink.messages(news):
        if kind == _RTM_DELADDR:
            found = dict(netlink.attributes(body[_ADDRESS_BYTES:]))
            if (address := found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)) is not None and len(address) in (4, 16):
                yield ip_address(address)
