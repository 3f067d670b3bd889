"""The sockets that pinholes for connections stand on.

Mostly one pinhole has a socket of its own. But a listener of Oracle without NAT leads all its clients to the same
address, and some servers of FTP have one passive port for everybody: such pinholes share one, and whoever comes is the
first's that allows it.

Where no NAT maps a host, the door stands on that host's own address, and there may be a service behind it to which
others come. It is then a door `in place`: it is there only for those whom a pinhole allows.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Protocol

from protocols.contract.addresses import Endpoint, Host, Network
from proxy.sockets import streams, transparent
from proxy.sockets.poll import READ, Poll

# Enough for those who are expected and some strangers at the same moment; each is looked at, at once.
BACKLOG = 128
ACCEPTS_PER_WAKEUP = 16


class Waiting(Protocol):
    """What stands at a door."""

    @property
    def allow(self) -> tuple[Network, ...]:
        """Who may come. When it has changed, the door is told (`Door.allows_others`)."""

    def allows(self, host: Host) -> bool: ...

    def use(self, sock: socket.socket, peer: Endpoint) -> None:
        """Whom it expects is here. It may leave the door."""

    def refuse(self, sock: socket.socket, peer: Endpoint) -> None:
        """Somebody is here whom nobody expects."""

    def fail(self, error: OSError) -> None:
        """A connection could not even be accepted. It has to leave the door."""


class Door:
    """One listening socket, closed when the last leaves: connections that have not been accepted are reset then."""

    __slots__ = ("_allowed", "_aside", "_doors", "_sock", "_told", "_waiting", "at", "is_open")

    def __init__(self, doors: Doors, at: Endpoint, in_place: bool, allow: tuple[Network, ...] = ()) -> None:
        """allow: whom the first one that enters will allow. Raises OSError when it cannot be had."""
        self._doors = doors
        self._sock: socket.socket
        self._aside: socket.socket | None = None
        if in_place:
            self._sock, self._aside = transparent.listen_in_place(at, BACKLOG, allow)
        else:
            self._sock = transparent.listen(at, BACKLOG)
        transparent.limit_segments(self._sock, doors.max_segment)
        self._waiting: dict[Waiting, None] = {}
        self._told = allow
        """From where the kernel lets connections in, while one alone waits."""
        self._allowed: Counter[Network] | None = None
        """By how many of the pinholes that wait here each network may come, once there is more than one: to hash a
        network takes longer than all else that one alone needs."""
        self.at = at
        self.is_open = False
        """Whether anybody is let in; until then connections wait."""

    def mark(self, mark: int) -> None:
        """Give all that is sent to those who come this mark. Where that is not permitted, the daemon said so at its
        start."""
        with contextlib.suppress(OSError):
            transparent.set_mark(self._sock, mark)

    def enter(self, who: Waiting) -> None:
        """Raises OSError when this machine has no room to tell who may come; it has not entered then."""
        if self._aside is not None and self._waiting and self._allowed is None:
            self._allowed = Counter(chain.from_iterable(one.allow for one in self._waiting))
        self._waiting[who] = None
        try:
            self._admit(joined=who.allow)
        except Exception:
            self.leave(who)
            raise

    def open(self) -> None:
        if not self.is_open:
            self.is_open = True
            self._doors.poll.add(self._sock, READ, self._look)

    def allows_others(self, who: Waiting, before: tuple[Network, ...]) -> None:
        """One of those that wait here allows others than `before` now."""
        # Without room for a new list the old one stands until there is a change again; `_look` knows better.
        with contextlib.suppress(OSError):
            self._admit(joined=who.allow, left=before)

    def leave(self, who: Waiting) -> None:
        del self._waiting[who]
        if self._waiting:
            with contextlib.suppress(OSError):  # as above
                self._admit(left=who.allow)
            return
        self.close_if_empty()

    def close_if_empty(self) -> None:
        """Also if nobody has ever stood here. Again: no effect."""
        if self._waiting or self._sock.fileno() < 0:
            return
        if self.is_open:
            self._doors.poll.closes(self._sock)
        self._sock.close()
        if self._aside is not None:
            self._aside.close()
        self._doors.forget(self)

    def _admit(self, joined: tuple[Network, ...] = (), left: tuple[Network, ...] = ()) -> None:
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
        for _ in range(ACCEPTS_PER_WAKEUP):
            if not self._waiting:
                return
            try:
                arrival = transparent.accept(self._sock)
            except OSError as error:
                # No descriptors: the connection cannot even be refused. Closing the socket resets all that wait.
                for who in tuple(self._waiting):
                    who.fail(error)
                return
            if arrival is None:
                return
            try:
                self._let_in(*arrival)
            except Exception:
                streams.reset(arrival[0])  # a bug of ours: nobody is left whose it is
                raise

    def _let_in(self, sock: socket.socket, peer: Endpoint) -> None:
        for who in self._waiting:
            if who.allows(peer.host):
                who.use(sock, peer)
                return
        if self._aside is None or not self._doors.stranger(self.at, sock, peer):
            next(iter(self._waiting)).refuse(sock, peer)


class Doors:
    def __init__(self, poll: Poll, max_segment: int | None = None) -> None:
        self.poll = poll
        self.max_segment = max_segment
        self.stranger: Callable[[Endpoint, socket.socket, Endpoint], bool] = lambda *_: False
        """May take whom no pinhole expects, where others come as well."""
        self._standing: dict[Endpoint, Door] = {}

    def take(self, at: Endpoint, may_share: bool, in_place: bool = False, allow: tuple[Network, ...] = ()) -> Door:
        """`in_place`: the host whose address and port it is may have a service there, to which others come; allow: who
        may come to whoever enters first.

        Raises OSError: EADDRINUSE when one stands there that cannot be shared.
        """
        door = self._standing.get(at)
        if door is None:
            door = self._standing[at] = Door(self, at, in_place, allow)
        elif not (may_share and door.is_open):
            raise OSError(errno.EADDRINUSE, "another pinhole stands there")
        return door

    def forget(self, door: Door) -> None:
        del self._standing[door.at]
