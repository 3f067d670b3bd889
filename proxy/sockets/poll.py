"""The sockets of connections, thousands of them. To the loop all of them together are one descriptor.

A session of FTP opens and closes seven sockets. The loop watches a socket at the price of seven system calls and some
objects of its own; here it takes one call, and closing takes none. Besides, the owner of a socket hears the kernel's
own words. The loop says only that there is something to read, so a reader would have to look again behind each byte for
a reset that the loop would not report a second time.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
"""Events that the poll reports for as long as they hold. An error and the end of both directions are reported too,
without being asked for."""


class Poll:
    """One epoll. A socket stands in it from `add` until `forget` or its close. The table of pinholes owns it, and
    sessions use the same one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._told: dict[int, Callable[[int], None]] = {}
        """descriptor -> the callback that gets epoll's events."""
        loop.add_reader(self._epoll.fileno(), self._look)

    def add(self, sock: socket.socket, events: int, told: Callable[[int], None]) -> None:
        """Call `told` with the events that have happened, of these. Raises OSError when there is no room."""
        descriptor = sock.fileno()
        self._epoll.register(descriptor, events)
        self._told[descriptor] = told

    def change(self, sock: socket.socket, events: int, told: Callable[[int], None]) -> None:
        """Give a socket that stands here other events and another callback. An event that holds already is reported at
        once."""
        descriptor = sock.fileno()
        self._epoll.modify(descriptor, events)
        self._told[descriptor] = told

    def forget(self, sock: socket.socket) -> None:
        """Report nothing more about the socket. It need not stand here."""
        if self._told.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def closes(self, sock: socket.socket) -> None:
        """Like `forget`, for a socket that is closed next: the closing tells the kernel."""
        self._told.pop(sock.fileno(), None)

    def _look(self) -> None:
        """Report what has happened."""
        told = self._told
        happened = [(descriptor, events, told.get(descriptor)) for descriptor, events in self._epoll.poll(0)]
        for descriptor, events, tell in happened:
            # A callback that was called before it in this list may have closed the socket, and another socket may have
            # its number by now. A dial would take what happened to the closed one for its own success.
            if tell is not None and told.get(descriptor) is tell:
                try:
                    tell(events)
                # a bug: it is reported as the loop would report it, and the other callbacks are called all the same
                except Exception as error:
                    self._loop.call_exception_handler({"message": "a connection failed", "exception": error})

    def close(self) -> None:
        """Close the epoll, at the end of the daemon, when no socket stands here any more."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
