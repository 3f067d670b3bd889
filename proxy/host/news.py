"""News of firewall rules and routes: the kernel tells of each change (nfnetlink, rtnetlink), so nothing is looked at
while nothing changes. Routing is told to every process, nftables only to those with CAP_NET_ADMIN."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

from proxy.host import routing, rules_nft, rules_routing
from proxy.sockets import netlink

_ROUTING_NEWS = 1 << 0 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18
"""RTNLGRP_LINK, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, _IPV6_RULE."""
NETLINK_NETFILTER = 12
_NFTABLES_NEWS = 1 << 6
_NFNL_SUBSYS_NFTABLES = 10
_RTM_LINKS, _RTM_ROUTES, _RTM_RULES = (16, 17), (24, 25), (32, 33)
_LOOPBACK = 1
"""The index of `lo` in every network namespace. When `lo` goes down, IPv6 routes over it go too."""
_NFTA_TABLE = 1
"""The name of the table, in news of tables, chains, rules and sets alike."""
RECEIVE_BYTES = 1 << 16
_LINK, _ROUTE = struct.Struct("=BxHi"), struct.Struct("=BBBBBBBBI")


class News:
    """The sockets on which the news come."""

    def __init__(self, of_rules: bool) -> None:
        """`of_rules`: whether to hear of nftables as well, as far as this process may."""
        of_routing = socket_for(socket.NETLINK_ROUTE, _ROUTING_NEWS)
        self._sockets = {of_routing.fileno(): of_routing}
        self._had_ipv6 = routing.has_ipv6()
        self._of_rules = -1
        if of_rules:
            # In a container whose network is the host's, CAP_NET_ADMIN may be one that says nothing there.
            with contextlib.suppress(PermissionError):
                firewall = socket_for(NETLINK_NETFILTER, _NFTABLES_NEWS)
                self._of_rules = firewall.fileno()
                self._sockets[self._of_rules] = firewall

    @property
    def has_rules(self) -> bool:
        """Whether news of nftables come."""
        return self._of_rules >= 0

    def __iter__(self) -> Iterator[int]:
        """The descriptors."""
        return iter(self._sockets)

    def close(self) -> None:
        """Hear no more."""
        for sock in self._sockets.values():
            sock.close()

    def drain(self, descriptor: int, table: int) -> bool:
        """Read all news that wait. Returns whether some of them may be about our rules, or more came than could wait.
        `table` is the number of our routing table."""
        found = False
        while True:
            try:
                news = os.read(descriptor, RECEIVE_BYTES)
            except BlockingIOError:
                return self._ipv6_changed() or found
            except OSError:  # ENOBUFS: more came than could wait
                return True
            found = found or concerns_us(news, descriptor == self._of_rules, table)

    def _ipv6_changed(self) -> bool:
        """Whether this host has its first IPv6 address since the last news, or has lost its last one. Single addresses
        come and go, and live on with each advertisement of a router; they are nothing to look for."""
        had, self._had_ipv6 = self._had_ipv6, routing.has_ipv6()
        return had != self._had_ipv6


def socket_for(family: int, groups: int) -> socket.socket:
    """A socket for news of these groups of a netlink family. Raises OSError when this process may not hear them."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, family)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def concerns_us(news: bytes, of_rules: bool, table: int) -> bool:
    """Whether one of these messages may be about rules or routes of ours. `table` is the number of our routing
    table."""
    return any(
        _is_of_our_tables(kind, body) if of_rules else _is_of_our_routing(kind, body, table)
        for kind, body in netlink.messages(news)
    )


def _is_of_our_tables(kind: int, body: bytes) -> bool:
    if kind >> 8 != _NFNL_SUBSYS_NFTABLES:
        return False
    names = (rules_nft.TABLE.encode(), b"mangle")
    return any(number == _NFTA_TABLE and data.rstrip(b"\0") in names for number, data in netlink.attributes(body[4:]))


def _is_of_our_routing(kind: int, body: bytes, table: int) -> bool:
    if kind in _RTM_RULES:
        return True
    if kind in _RTM_LINKS and len(body) >= _LINK.size:
        _, _, index = _LINK.unpack_from(body)
        return bool(index == _LOOPBACK)
    if kind in _RTM_ROUTES and len(body) >= _ROUTE.size:
        fields = _ROUTE.unpack_from(body)
        return bool(fields[5] == rules_routing.ROUTE_PROTOCOL or fields[4] == table)
    return False
