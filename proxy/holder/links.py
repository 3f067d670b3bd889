"""How a program is attached to an interface, where packets come in.

tcx      from Linux 6.6 on. A link of BPF: it lasts as long as a descriptor of it, whoever has that
clsact   from Linux 5.19 on. A filter of traffic control, set by netlink: it lasts until somebody removes it.
         So its rows hold only while the client keeps them, and whoever begins here removes what was left
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, Protocol

from proxy.ebpf import syscall
from proxy.holder import asking
from proxy.sockets import netlink

_RTM_NEWQDISC, _RTM_DELQDISC = 36, 37
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_TRAFFIC = struct.Struct("=B3xiIII")
"""struct tcmsg: family, interface, handle, parent, and of a filter its priority and protocol."""
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS = 6, 7, 8
_ACTS_ITSELF = struct.pack("=I", 1)
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ALL_PROTOCOLS = socket.htons(3)
NAME = b"pinhole\0"
"""The name of our filters, by which they are found again."""


class Order(StrEnum):
    """Where our program stands among those of others."""

    FIRST = "first"
    LAST = "last"
    """Others see all packets first, and what they drop is dropped."""


_PRIORITIES = {Order.FIRST: range(1, 9), Order.LAST: range(0xFFFF, 0xFFF7, -1)}
"""One priority holds filters of one kind, and may be taken by another kind."""


MOST_PROGRAMS = 16
"""By tcx at one interface, which has room for 64. A daemon that keeps what it was given, and comes again and again, is
not to have all of it."""


class Attached(Protocol):
    """A program at an interface."""

    @property
    def descriptor(self) -> int | None:
        """The descriptor that holds it there. None: it stays until it is removed."""

    def remove(self) -> None:
        """Let it go. What holds it by another descriptor still does."""


class Way(Protocol):
    """One of the two ways to attach a program."""

    has_lease: bool
    """Whether rows must hold only while somebody keeps them."""

    def attach(self, program: int, interface: int) -> Attached:
        """Attach the program. Raises OSError."""


class Link(NamedTuple):
    """A link of BPF."""

    descriptor: int

    def remove(self) -> None:
        """Close our descriptor."""
        os.close(self.descriptor)


class Tcx:
    """By links of BPF."""

    has_lease = False

    def __init__(self, order: Order) -> None:
        self._order = order

    def attach(self, program: int, interface: int) -> Link:
        """Attach the program. Raises OSError."""
        if len(syscall.programs(interface)) >= MOST_PROGRAMS:
            raise OSError(errno.ENOSPC, f"{MOST_PROGRAMS} programs are attached there already")
        return Link(syscall.link(program, interface, is_first=self._order is Order.FIRST))


class Filter(NamedTuple):
    """A filter of traffic control."""

    interface: int
    handle: int
    info: int
    """Its priority and protocol."""
    descriptor: None = None

    def remove(self) -> None:
        """Remove it, and what it hangs on unless somebody else has a filter there."""
        body = _TRAFFIC.pack(0, self.interface, self.handle, _INGRESS, self.info)
        _ask_quietly(_RTM_DELTFILTER, body + netlink.attribute(_KIND, b"bpf\0"))
        if not any(_filters(self.interface, parent) for parent in (_INGRESS, _EGRESS)):
            _ask_quietly(_RTM_DELQDISC, _qdisc(self.interface))


class Clsact:
    """By filters of traffic control, which decide themselves what becomes of a packet."""

    has_lease = True

    def __init__(self, order: Order) -> None:
        self._order = order
        self._last = 0

    def attach(self, program: int, interface: int) -> Filter:
        """Attach the program. Raises OSError."""
        try:
            _ask(_RTM_NEWQDISC, _qdisc(interface), netlink.CREATE | netlink.EXCLUSIVE)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        self._last += 1
        options = (
            netlink.attribute(_BPF_FD, struct.pack("=I", program))
            + netlink.attribute(_BPF_NAME, NAME)
            + netlink.attribute(_BPF_FLAGS, _ACTS_ITSELF)
        )
        about = netlink.attribute(_KIND, b"bpf\0") + netlink.attribute(_OPTIONS, options)
        for priority in _PRIORITIES[self._order]:
            made = Filter(interface, self._last, priority << 16 | _ALL_PROTOCOLS)
            try:
                body = _TRAFFIC.pack(0, interface, made.handle, _INGRESS, made.info)
                _ask(_RTM_NEWTFILTER, body + about, netlink.CREATE | netlink.EXCLUSIVE)
            except OSError as error:
                refused = error
                continue
            return made
        raise refused


def remove_left(interface: int) -> None:
    """Remove the filters that a holder has left there which was killed. Raises OSError."""
    for left in _filters(interface, _INGRESS):
        if left is not None:
            left.remove()


def _filters(interface: int, parent: int) -> list[Filter | None]:
    """The filters there; None stands for one that is not ours. Raises OSError."""
    try:
        body = _TRAFFIC.pack(0, interface, 0, parent, 0)
        answers = asking.ask(socket.NETLINK_ROUTE, _RTM_GETTFILTER, body, netlink.DUMP)
    except OSError as error:
        # There is no place for filters, or no such interface any more.
        if error.errno in (errno.EINVAL, errno.ENODEV):
            return []
        raise
    return list(_read(answers))


def _read(answers: list[tuple[int, bytes]]) -> Iterator[Filter | None]:
    for kind, body in answers:
        _, interface, handle, _, info = _TRAFFIC.unpack_from(body)
        if kind != _RTM_NEWTFILTER or not handle:  # the priority itself is told besides
            continue
        found = dict(netlink.attributes(body[_TRAFFIC.size :]))
        options = dict(netlink.attributes(found.get(_OPTIONS, b"")))
        is_ours = found.get(_KIND) == b"bpf\0" and options.get(_BPF_NAME) == NAME
        yield Filter(interface, handle, info) if is_ours else None


def _qdisc(interface: int) -> bytes:
    """What filters hang on, in a request."""
    return _TRAFFIC.pack(0, interface, _CLSACT_HANDLE, _CLSACT, 0) + netlink.attribute(_KIND, b"clsact\0")


def _ask(kind: int, body: bytes, flags: int = 0) -> None:
    asking.ask(socket.NETLINK_ROUTE, kind, body, flags)


def _ask_quietly(kind: int, body: bytes) -> None:
    """Ask for something to be removed, which may be gone by itself, with its interface."""
    try:
        _ask(kind, body)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            raise
