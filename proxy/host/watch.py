"""Watches whether the rules and routes that bring sessions here still stand. An operator may reload a ruleset with a
flush, restart a network or take `lo` down, and from then on sessions stop, or pass unread.

A process of its own watches, because it needs more rights than serving does: nftables tells its news, and its contents,
only to processes with CAP_NET_ADMIN. Routing tells every process. The kernel sends news of each change (nfnetlink,
rtnetlink), so nothing is looked at while nothing changes; only iptables of the legacy kind has no news, and is looked
at now and then. News about our rules are few, and what they mean is found by looking at the whole, as `pinhole net
status` does.

    kernel --news--> this process --looks--> what is missing --one line of JSON--> the serving process
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import time
import traceback
from collections.abc import Iterator

from proxy.config.schema import Config
from proxy.errors import NetError
from proxy.host import net, privileges, rules
from proxy.host.rules import Backend
from proxy.sockets import netlink

SETTLE_SECONDS = 0.5
"""How long to wait for the rest of a change. A change comes in several pieces of news; `net up` makes several changes,
one command after the other."""
LONGEST_SETTLE_SECONDS = 5.0
LOOK_SECONDS = 30.0
"""The time between looks at rules that have no news."""

_NEEDED = frozenset({privileges.NET_ADMIN, privileges.NET_RAW})
"""The rights of this process; iptables asks by a raw socket."""

_ROUTING_NEWS = 1 << 0 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 18
"""RTNLGRP_LINK, _IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, _IPV6_RULE."""
_NETLINK_NETFILTER, _NFTABLES_NEWS = 12, 1 << 6
_NFNL_SUBSYS_NFTABLES = 10
_RTM_LINKS, _RTM_ROUTES, _RTM_RULES = (16, 17), (24, 25), (32, 33)
_LOOPBACK = 1
"""The index of `lo` in every network namespace. When `lo` goes down, IPv6 routes over it go too."""
_NFTA_TABLE = 1
"""The name of the table, in news of tables, chains, rules and sets alike."""
_RECEIVE_BYTES = 1 << 16
_LINK, _ROUTE = struct.Struct("=BxHi"), struct.Struct("=BBBBBBBBI")


# -- what is missing ---------------------------------------------------------------------------------------------------


class Guard:
    """Looks at the rules and routes that there are. It remembers the text of rules by their comment: the same comment
    must mean the same rules."""

    def __init__(self, config: Config, backend: Backend | None, sees_rules: bool) -> None:
        """`backend` is the one whose rules must stand. None: either will do. `sees_rules`: without it only routing is
        looked at."""
        self._config = config
        self._wanted = backend
        self._backend = backend
        """The backend whose rules stood at the last look."""
        self._sees_rules = sees_rules
        self._known: dict[str, str] = {}

    def missing(self) -> list[str]:
        """What is not as it should be, in words. Raises NetError when it cannot be told."""
        found = []
        if self._sees_rules:
            if self._wanted is None:
                self._backend = self._now_there()
            found += [f"{what}: {how}" for what, how in self._firewall()]
        for part in (*net.routing_status(self._config), *net.overtaking(self._config)):
            if not part.present:
                found.append(f"{part.what}: {part.detail}")
        return found

    def _now_there(self) -> Backend:
        """The backend whose rules stand now. Rules may be set up after the daemon has begun, and by the other backend
        later on."""
        stand = net.all_standing()
        if self._backend in stand:
            return self._backend
        return stand[0] if stand else self._backend or net.standing()

    @property
    def needs_looking(self) -> bool:
        """Whether no news of changes come, so that one has to look now and then."""
        return self._sees_rules and self._backend is Backend.IPTABLES and net.is_legacy()

    def _firewall(self) -> Iterator[tuple[str, str]]:
        """Each of our rules that is missing or changed, and which of the two."""
        for what, comment, text in net.standing_rules(self._backend or Backend.NFT):
            if text is None:
                yield what, "missing"
            elif not comment or self._known.setdefault(f"{what} {comment}", text) != text:
                yield what, "changed"


# -- news --------------------------------------------------------------------------------------------------------------


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
    names = (rules.TABLE.encode(), b"mangle")
    return any(number == _NFTA_TABLE and data.rstrip(b"\0") in names for number, data in netlink.attributes(body[4:]))


def _is_of_our_routing(kind: int, body: bytes, table: int) -> bool:
    if kind in _RTM_RULES:
        return True
    if kind in _RTM_LINKS and len(body) >= _LINK.size:
        _, _, index = _LINK.unpack_from(body)
        return bool(index == _LOOPBACK)
    if kind in _RTM_ROUTES and len(body) >= _ROUTE.size:
        fields = _ROUTE.unpack_from(body)
        return bool(fields[5] == rules.ROUTE_PROTOCOL or fields[4] == table)
    return False


def _news_of(family: int, groups: int) -> socket.socket | None:
    """A socket for news of these groups. None: this process may not hear them."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, family)
    try:
        sock.bind((0, groups))
    except PermissionError:
        sock.close()
        return None
    return sock


# -- the process -------------------------------------------------------------------------------------------------------


class Watcher:
    """The serving process's side of the watch. Each line of JSON has `missing`, a list of words, and `sees_rules`."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self._pid = pid
        self.sock = sock

    def read(self) -> dict[str, object] | None:
        """The newest line. None: there is no new one. Raises EOFError when the watching process has ended."""
        newest = None
        while True:
            try:
                data = self.sock.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return newest
            if not data:
                raise EOFError
            newest = json.loads(data)

    def end(self) -> None:
        """End the watching process."""
        self.sock.close()
        os.waitpid(self._pid, 0)


def fork_watcher(config: Config, backend: Backend | None) -> Watcher:
    """Start the watching process. This must be called before there is a second thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        ours.setblocking(False)
        return Watcher(pid, ours)
    status = 1
    try:
        ours.close()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        privileges.keep(_NEEDED)
        _watch(theirs, config, backend)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _watch(told: socket.socket, config: Config, backend: Backend | None) -> None:
    """Look and tell, until the serving process is gone."""
    sees_rules = privileges.NET_ADMIN in privileges.effective()
    routing = _news_of(socket.NETLINK_ROUTE, _ROUTING_NEWS)
    firewall = _news_of(_NETLINK_NETFILTER, _NFTABLES_NEWS) if sees_rules else None
    of_rules = {sock.fileno(): sock is firewall for sock in (routing, firewall) if sock is not None}
    poll = select.poll()
    for descriptor in (told.fileno(), *of_rules):
        poll.register(descriptor, select.POLLIN)
    guard = Guard(config, backend, sees_rules)
    said: str | None = None
    while True:
        try:
            line = json.dumps({"missing": guard.missing(), "sees_rules": sees_rules})
        except NetError as error:
            line = json.dumps({"missing": [f"cannot be looked at: {error}"], "sees_rules": sees_rules})
        if line != said:
            try:
                told.send(line.encode())
            except BrokenPipeError:  # the serving process ended during this look
                return
            said = line
        seconds = LOOK_SECONDS if guard.needs_looking else None
        if not _wait(poll, told.fileno(), of_rules, config.network.table, seconds):
            return


def _wait(poll: select.poll, told: int, of_rules: dict[int, bool], table: int, seconds: float | None) -> bool:
    """Wait for news about our rules and for the rest of the same change, or for so many seconds. Returns False when the
    serving process is gone."""
    until = None if seconds is None else time.monotonic() + seconds
    latest: float | None = None
    while True:
        now = time.monotonic()
        if until is not None and now >= until:
            return True
        ready = poll.poll(None if until is None else max(1.0, (until - now) * 1000))
        for descriptor, _ in ready:
            if descriptor == told:
                return False
            if _drain(descriptor, of_rules[descriptor], table):
                latest = latest or now + LONGEST_SETTLE_SECONDS
                until = min(latest, time.monotonic() + SETTLE_SECONDS)


def _drain(descriptor: int, of_rules: bool, table: int) -> bool:
    """Read all news that wait. Returns whether some of them may be about our rules, or more came than could wait."""
    found = False
    while True:
        try:
            news = os.read(descriptor, _RECEIVE_BYTES)
        except BlockingIOError:
            return found
        except OSError:  # ENOBUFS: more came than could wait
            return True
        found = found or concerns_us(news, of_rules, table)
