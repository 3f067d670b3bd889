"""Pipes that bytes are spliced through, kept for the next relay, and one epoll for all relays."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass

# One pipe slot holds one segment's pages, so a large pipe moves far more than its nominal size in two system calls.
PIPE_BYTES = 1 << 20

POOLED_PIPES = 64

_EVENTS = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


@dataclass(slots=True)
class Pipe:
    read: int
    write: int


class Splicer:
    """What all relays share: one watch over their sockets, and pipes that wait for use.

    The watch is edge-triggered, so a socket is registered once in its life. With the loop's own, which is not, a relay
    would change from waiting for its source to waiting for its sink and back at each turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._pipes: list[Pipe] = []
        loop.add_reader(self._epoll.fileno(), self._look)

    def watch(self, sock: socket.socket, changed: Callable[[int], None]) -> None:
        """Call `changed` with epoll's events whenever there is more to read or room to write. Raises OSError."""
        self._epoll.register(sock, _EVENTS)
        self._watched[sock.fileno()] = changed

    def forget(self, sock: socket.socket) -> None:
        """Before it is closed."""
        if self._watched.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def _look(self) -> None:
        for fd, events in self._epoll.poll(0):
            # One before it in this list may have ended its relay.
            if (changed := self._watched.get(fd)) is not None:
                try:
                    changed(events)
                except Exception as error:  # a bug: reported as the loop would, and the others are not told twice
                    self._loop.call_exception_handler({"message": "relay failed", "exception": error})

    def take_pipe(self) -> Pipe:
        """An empty one. Raises OSError when no descriptors are left."""
        if self._pipes:
            return self._pipes.pop()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Past the user's pipe budget the kernel refuses; the default size is slower, not wrong.
        with contextlib.suppress(OSError):
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return Pipe(read, write)

    def give_pipe(self, pipe: Pipe, is_empty: bool) -> None:
        """Kept for the next relay: making and sizing one costs more than moving a small file through it."""
        if is_empty and len(self._pipes) < POOLED_PIPES:
            self._pipes.append(pipe)
        else:
            _close(pipe)

    def drop_pipes(self) -> None:
        """Close those that wait."""
        while self._pipes:
            _close(self._pipes.pop())

    def close(self) -> None:
        """When the last relay has ended."""
        self.drop_pipes()
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()


def _close(pipe: Pipe) -> None:
    os.close(pipe.read)
    os.close(pipe.write)
