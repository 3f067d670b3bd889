"""The holder as a process: the command `pinhole fastpath`, or a child of a daemon that root starts."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from proxy.config.schema import Config
from proxy.ebpf import program
from proxy.ebpf.tables import make_tables
from proxy.errors import PinholeError
from proxy.holder import links, watching
from proxy.holder.holding import Holder, Once, Say, Settings, refused
from proxy.holder.links import Order
from proxy.host import beside, entrances, privileges, service
from proxy.host.commands import turn
from proxy.text import say

ENTRANCE = "fastpath"
"""The kind of a holder's entrance."""
USER = "pinhole-fastpath"
"""The user of a holder that is a service of its own."""
NEEDED = {privileges.NET_ADMIN: "CAP_NET_ADMIN", privileges.BPF: "CAP_BPF"}
"""The rights that a holder has, by their numbers. It has no others."""
WAY = "PINHOLE_FASTPATH_WAY"
"""A variable of the environment: `clsact` attaches programs as on a kernel before 6.6."""
LOOPBACK = 1
"""The index of `lo` in every network namespace."""

ROWS_PER_PINHOLE = 2
"""Each place of media has a row for the packets of its party, and one for those that come with it (RTCP)."""


def of_config(config: Config, user: int) -> Settings:
    """What a configuration says to the holder of a daemon that this user runs."""
    network = config.network
    named = frozenset(network.fastpath_interfaces) or None
    rows = config.limits.pinholes * ROWS_PER_PINHOLE
    return Settings(user, rows, named, heeds_marks=network.fastpath != "require")


def trusted() -> frozenset[int]:
    """The users whose holders are believed."""
    with contextlib.suppress(KeyError):
        return frozenset({0, pwd.getpwnam(USER).pw_uid})
    return frozenset({0})


def find(patience: float = entrances.BUSY_SECONDS) -> socket.socket | None:
    """A connection to the holder of this network namespace, if there is one."""
    return entrances.enter(ENTRANCE, trusted(), patience)


def run(settings: Settings, order: Order) -> int:
    """`pinhole fastpath`: hold the kernel path until SIGTERM or SIGINT. Returns the exit status; raises PinholeError
    when it cannot begin."""
    _check_rights()
    entrance = _entrance()
    privileges.keep(frozenset(NEEDED))
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with told, tells:
        return _hold(settings, order, entrance, (told.fileno(),), lambda: service.tell("READY=1"))


class Child(NamedTuple):
    """A holder that is a child of this process, and ends with it."""

    pid: int
    lifeline: int
    """A descriptor to which one byte is written at the end."""

    def end(self) -> None:
        """Have it take everything back and end."""
        with contextlib.suppress(OSError):  # it may have ended by itself
            os.write(self.lifeline, b"\0")
        os.close(self.lifeline)
        os.waitpid(self.pid, 0)


def fork(settings: Settings, order: Order = Order.LAST) -> Child | None:
    """Start a holder beside this process. This must be called before there is a second thread, and before this process
    gives its rights up. None: there is one already. Raises PinholeError when it may not have the rights."""
    _check_rights()
    if (other := find()) is not None:
        other.close()
        return None
    entrance = _entrance()
    ours = os.pidfd_open(os.getpid())
    lifeline, end = os.pipe()

    def work() -> int:
        _close_all_but(entrance.fileno(), ours, lifeline, sys.stderr.fileno())
        return _hold(settings, order, entrance, (ours, lifeline), lambda: None)

    pid = beside.start(frozenset(NEEDED), work)
    entrance.close()
    os.close(ours)
    os.close(lifeline)
    return Child(pid, end)


def _close_all_but(*kept: int) -> None:
    """Close what this process was born with. Somebody may wait for the end of what is written there."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _check_rights() -> None:
    """Raises PinholeError when this process may not hold the kernel path."""
    if missing := NEEDED.keys() - privileges.effective():
        names = " ".join(NEEDED[number] for number in sorted(missing))
        raise PinholeError(f"the kernel path needs {names}, which this process lacks (systemd: AmbientCapabilities)")


def _entrance() -> socket.socket:
    """The socket where clients find a holder. Raises PinholeError when another one stands in this network namespace."""
    with turn():  # of two that come at once, the second one finds the first
        if (other := find()) is not None:
            other.close()
            raise PinholeError("another process holds the kernel path of this network namespace (`ss -xlp` names it)")
        return entrances.make(ENTRANCE)


def _hold(
    settings: Settings, order: Order, entrance: socket.socket, ends: Iterable[int], ready: Callable[[], None]
) -> int:
    """Serve until one of these descriptors has something to be read. `ready` is called when clients may come."""
    tell = Once(say)
    way = chosen(order, os.environ.get(WAY, ""), tell)
    with contextlib.closing(Holder(settings, way, entrance, tell)) as holder:
        for descriptor in ends:
            holder.end_with(descriptor)
        if way.has_lease:
            for index in watching.interfaces():
                links.remove_left(index)
        ready()
        holder.serve()
    return 0


def chosen(order: Order, wanted: str, tell: Say) -> links.Way:
    """The way to attach programs that this kernel has, found by trying; or the one that is wanted. A kernel that takes
    no program is told of."""
    if wanted == "clsact":
        return links.Clsact(order)
    tcx = links.Tcx(order)
    with contextlib.ExitStack() as stack:
        try:
            tables = make_tables(1)
            for descriptor in tables:
                stack.callback(os.close, descriptor)
            loaded = program.load(tables, has_mac=True)
        except OSError as error:
            tell(refused(error))
            return tcx
        stack.callback(os.close, loaded)
        try:
            tcx.attach(loaded, LOOPBACK).remove()
        except OSError as error:
            return links.Clsact(order) if error.errno == errno.EINVAL else tcx
    return tcx
