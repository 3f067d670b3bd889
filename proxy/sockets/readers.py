"""Sockets of datagrams that wait to be read, thousands of them: to the loop all together are one descriptor.

A call opens and closes four sockets. To tell the kernel's epoll of one costs a third of what it costs to have a loop
watch it, and to call whoever reads it a third as well. One datagram is read of each that is ready, then all are looked
at again: to look for a second one where mostly there is none costs more than that.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

SOCKETS_PER_LOOK = 256
LOOKS_PER_WAKEUP = 8


class Readers:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll: select.epoll | None = None
        self._readers: dict[int, Callable[[], object]] = {}

    def add(self, sock: socket.socket, reader: Callable[[], object]) -> None:
        """`reader` is called as long as there is something to read. It must cope with there being nothing. Raises
        OSError when there is no descriptor left for the first one."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self.loop.add_reader(self._epoll, self._readable, self._epoll)
        descriptor = sock.fileno()
        self._epoll.register(descriptor, select.EPOLLIN)
        self._readers[descriptor] = reader

    def remove(self, sock: socket.socket) -> None:
        """Before it is closed, which tells the kernel."""
        assert self._epoll is not None
        del self._readers[sock.fileno()]
        if not self._readers:
            self.loop.remove_reader(self._epoll)
            self._epoll.close()
            self._epoll = None

    def _readable(self, epoll: select.epoll) -> None:
        readers = self._readers
        for _ in range(LOOKS_PER_WAKEUP):
            ready = epoll.poll(0, SOCKETS_PER_LOOK)
            for descriptor, _ in ready:
                # Whoever was read before may have closed it, and another may have been opened in its place.
                if (reader := readers.get(descriptor)) is not None:
                    reader()
            if not ready or epoll.closed:
                return
