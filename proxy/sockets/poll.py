"""The sockets of connections, thousands of them, watched for what happens to them: to the loop they are one descriptor.

A session of FTP opens and closes seven sockets. The loop watches a socket at the price of seven system calls and
some objects of its own; here it takes one call, and closing takes none. And the kernel's own words are heard: the loop
says only that there is something to read, so whoever reads has to look again behind each byte for a reset that the
loop would not tell of a second time.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
"""Told as long as it is so; and so are an error and the end of both directions, which nobody has to ask for."""


class Poll:
    """One epoll, in which a socket stands from `add` until `forget` or its close."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._told: dict[int, Callable[[int], None]] = {}
        """By descriptor: who is told epoll's events of it."""
        loop.add_reader(self._epoll.fileno(), self._look)

    def add(self, sock: socket.socket, events: int, told: Callable[[int], None]) -> None:
        """Call `told` with what has happened, of these events. Raises OSError when there is no room."""
        descriptor = sock.fileno()
        self._epoll.register(descriptor, events)
        self._told[descriptor] = told

    def change(self, sock: socket.socket, events: int, told: Callable[[int], None]) -> None:
        """For a socket that stands here: other events, and another who is told. What is so already is told at once."""
        descriptor = sock.fileno()
        self._epoll.modify(descriptor, events)
        self._told[descriptor] = told

    def forget(self, sock: socket.socket) -> None:
        """Nobody is told of it any more. It may stand here or not."""
        if self._told.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def closes(self, sock: socket.socket) -> None:
        """As `forget`, for a socket that is closed next: that tells the kernel."""
        self._told.pop(sock.fileno(), None)

    def _look(self) -> None:
        told = self._told
        for descriptor, events in self._epoll.poll(0):
            # One before it in this list may have closed it.
            if (tell := told.get(descriptor)) is not None:
                try:
                    tell(events)
                except Exception as error:  # a bug: reported as the loop would, and the others are told all the same
                    self._loop.call_exception_handler({"message": "a connection failed", "exception": error})

    def close(self) -> None:
        """At the end, when no socket stands here any more."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
