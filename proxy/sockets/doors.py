"""Doors: the listening sockets that pinholes for connections stand on.

Mostly one pinhole has a socket of its own. But a listener of Oracle without NAT leads all its clients to the same
address, and some servers of FTP have one passive port for every client. Such pinholes share one door, and a peer goes
to the first pinhole that allows it.

Where no NAT maps a host, the door stands on that host's own address. The host may have a service there for others too.
Such a door is *in place*: it exists only for the peers that a pinhole allows.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Protocol

from protocols.contract.addresses import Endpoint, Network
from proxy.sockets import packet_info, streams, transparent
from proxy.sockets.poll import READ, Poll

# This is enough for the expected peers and some strangers at the same moment; each of them is accepted at once.
BACKLOG = 128
ACCEPTS_PER_WAKEUP = 16


class Waiting(Protocol):
    """A pinhole that waits at a door."""

    @property
    def allow(self) -> tuple[Network, ...]:
        """The networks that a peer may come from. When they have changed, the pinhole tells the door
        (`Door.allows_others`)."""

    def allows(self, peer: Endpoint) -> bool:
        """Whether this peer may come."""

    def use(self, sock: socket.socket, peer: Endpoint) -> None:
        """A peer is here that the pinhole allows. The pinhole may leave the door."""

    def refuse(self, sock: socket.socket, peer: Endpoint) -> None:
        """A peer is here that no pinhole at the door allows."""

    def fail(self, error: OSError) -> None:
        """A connection could not even be accepted. The pinhole has to leave the door."""


class Door:
    """One listening socket. It is closed when the last pinhole leaves; connections that have not been accepted are
    reset then."""

    __slots__ = ("_allowed", "_aside", "_doors", "_sock", "_told", "_waiting", "at", "is_open")

    def __init__(self, doors: Doors, at: Endpoint, in_place: bool, allow: tuple[Network, ...] = ()) -> None:
        """`allow` names the networks that the first pinhole will allow. Raises OSError when the socket cannot be
        had."""
        self._doors = doors
        self._sock: socket.socket
        self._aside: socket.socket | None = None
        if in_place:
            self._sock, self._aside = transparent.listen_in_place(at, BACKLOG, allow)
        else:
            self._sock = transparent.listen(at, BACKLOG)
            packet_info.know_interface(self._sock)  # which the log tells of sessions that come here
        transparent.limit_segments(self._sock, doors.max_segment)
        self._waiting: dict[Waiting, None] = {}
        self._told = allow
        """The networks from which the kernel lets connections in, while a single pinhole waits."""
        self._allowed: Counter[Network] | None = None
        """network -> how many of the waiting pinholes allow it. None until a second pinhole enters: to hash a network
        takes longer than all else that a single pinhole needs."""
        self.at = at
        self.is_open = False
        """Whether connections are accepted; until then they wait in the backlog."""

    def mark(self, mark: int) -> None:
        """Put this mark on all that is sent to the peers of this door. Where marks are not permitted, the daemon has
        said so at its start."""
        with contextlib.suppress(OSError):
            transparent.set_mark(self._sock, mark)

    def enter(self, who: Waiting) -> None:
        """A pinhole waits here from now on. Raises OSError when the kernel has no room for the list of allowed
        networks; the pinhole has not entered then."""
        if self._aside is not None and self._waiting and self._allowed is None:
            self._allowed = Counter(chain.from_iterable(one.allow for one in self._waiting))
        self._waiting[who] = None
        try:
            self._admit(joined=who.allow)
        except Exception:
            self.leave(who)
            raise

    def open(self) -> None:
        """Accept connections from now on."""
        if not self.is_open:
            self.is_open = True
            self._doors.poll.add(self._sock, READ, self._look)

    def allows_others(self, who: Waiting, before: tuple[Network, ...]) -> None:
        """A pinhole that waits here now allows other networks than `before`."""
        # If there is no room for a new list, the old one stands until the next change. A peer that it lets in is still
        # judged by `_let_in`.
        with contextlib.suppress(OSError):
            self._admit(joined=who.allow, left=before)

    def leave(self, who: Waiting) -> None:
        """The pinhole no longer waits here."""
        del self._waiting[who]
        if self._waiting:
            with contextlib.suppress(OSError):  # as in `allows_others`
                self._admit(left=who.allow)
            return
        self.close_if_empty()

    def close_if_empty(self) -> None:
        """Close the socket if no pinhole waits here, or none ever has. A second call has no effect."""
        if self._waiting or self._sock.fileno() < 0:
            return
        if self.is_open:
            self._doors.poll.closes(self._sock)
        self._sock.close()
        if self._aside is not None:
            self._aside.close()
        self._doors.forget(self)

    def _admit(self, joined: tuple[Network, ...] = (), left: tuple[Network, ...] = ()) -> None:
        """Tell the kernel which networks may come now, if they have changed."""
        if self._aside is None:
            return
        if self._allowed is None:
            if joined != self._told:
                transparent.admit(self._aside, joined)
                self._told = joined
            return
        before = len(self._allowed)
        self._allowed.update(joined)
        is_new = len(self._allowed) > before
        for network in left:
            self._allowed[network] -= 1
            if not self._allowed[network]:
                del self._allowed[network]
                is_new = True
        if is_new:
            transparent.admit(self._aside, self._allowed)

    def _look(self, _: int) -> None:
        """Accept the connections that wait, up to a limit for each wake-up."""
        for _ in range(ACCEPTS_PER_WAKEUP):
            if not self._waiting:
                return
            try:
                arrival = transparent.accept(self._sock)
            except OSError as error:
                # There are no descriptors left, so the connection cannot even be refused. Closing the socket resets all
                # that wait.
                for who in tuple(self._waiting):
                    who.fail(error)
                return
            if arrival is None:
                return
            try:
                self._let_in(*arrival)
            except Exception:
                streams.reset(arrival[0])  # a bug of ours: no pinhole owns the socket
                raise

    def _let_in(self, sock: socket.socket, peer: Endpoint) -> None:
        """Give a connection to the first pinhole that allows the peer."""
        for who in self._waiting:
            if who.allows(peer):
                who.use(sock, peer)
                return
        if self._aside is None or not self._doors.stranger(self.at, sock, peer):
            next(iter(self._waiting)).refuse(sock, peer)


class Doors:
    """All doors of the daemon, by their address. The table of pinholes owns it."""

    def __init__(self, poll: Poll, max_segment: int | None = None) -> None:
        self.poll = poll
        self.max_segment = max_segment
        self.stranger: Callable[[Endpoint, socket.socket, Endpoint], bool] = lambda *_: False
        """May take a peer that no pinhole at a door in place allows; returns whether it has. The registry of sessions
        sets it."""
        self._standing: dict[Endpoint, Door] = {}

    def take(self, at: Endpoint, may_share: bool, in_place: bool = False, allow: tuple[Network, ...] = ()) -> Door:
        """The door at this address, or a new one. `in_place`: the address belongs to a host that may have a service
        there for others. `allow`: the networks that the first pinhole to enter will allow.

        Raises OSError: EADDRINUSE when a door stands there that cannot be shared.
        """
        door = self._standing.get(at)
        if door is None:
            door = self._standing[at] = Door(self, at, in_place, allow)
        elif not (may_share and door.is_open):
            raise OSError(errno.EADDRINUSE, "another pinhole stands there")
        return door

    def forget(self, door: Door) -> None:
        """The door is closed."""
        del self._standing[door.at]
