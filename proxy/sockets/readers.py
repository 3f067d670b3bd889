"""UDP sockets that wait to be read, thousands of them. To the loop all of them together are one descriptor.

A call opens and closes four sockets. To add one to this epoll costs a third of what it costs to have the loop watch it,
and to call its reader also costs a third. One datagram is read from each socket that is ready, and then all sockets are
looked at again: to look for a second datagram, where mostly there is none, would cost more than that. If only one
socket was ready, the next datagram mostly takes longer to come than a look takes, and the loop waits for it.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Collection

SOCKETS_PER_LOOK = 256
LOOKS_PER_WAKEUP = 8


class Readers:
    """One epoll for the readers of UDP sockets. `UdpEndpoints` and the main listeners share it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll: select.epoll | None = None
        """None while there is no reader, so that the loop watches nothing."""
        self._readers: dict[int, Callable[[], object]] = {}

    def add(self, sock: socket.socket, reader: Callable[[], object]) -> None:
        """Call `reader` for as long as there is something to read. The reader must cope with there being nothing.
        Raises OSError when there is no descriptor left for the epoll."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self.loop.add_reader(self._epoll, self._readable, self._epoll)
        descriptor = sock.fileno()
        self._epoll.register(descriptor, select.EPOLLIN)
        self._readers[descriptor] = reader

    def remove(self, sock: socket.socket) -> None:
        """Remove a socket just before it is closed. The closing tells the kernel."""
        assert self._epoll is not None
        del self._readers[sock.fileno()]
        if not self._readers:
            self.loop.remove_reader(self._epoll)
            self._epoll.close()
            self._epoll = None

    def waiting(self) -> Collection[int]:
        """The descriptors of sockets at which something waits to be read, by one question to the kernel. Where it is
        more of them than are looked at at once, all that there are."""
        if self._epoll is None:
            return ()
        ready = self._epoll.poll(0, SOCKETS_PER_LOOK)
        return self._readers if len(ready) == SOCKETS_PER_LOOK else {descriptor for descriptor, _ in ready}

    def _readable(self, epoll: select.epoll) -> None:
        """Call the readers of the sockets that are ready."""
        readers = self._readers
        for _ in range(LOOKS_PER_WAKEUP):
            ready = epoll.poll(0, SOCKETS_PER_LOOK)
            for descriptor, _ in ready:
                # The reader before may have closed this socket, and may have opened another one with the same number.
                if (reader := readers.get(descriptor)) is not None:
                    reader()
            if len(ready) < 2 or epoll.closed:
                return
