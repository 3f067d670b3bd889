"""Names into addresses, for engines that have to know where a name leads.

Asked of this host's resolver, in a thread of the loop's, so nothing waits for it. An answer that does not come in time
is no answer; the thread goes on, but nobody hears of it. Who asks for a name that is being asked for waits for the same
answer: when a cluster fails over, all its clients come at once, with one name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

from protocols.engine import Host

SECONDS = 5.0
"""As long as a resolver waits for its first server (resolv.conf(5))."""
MAX_NAMES = 1000
"""Asked for at the same time; the few threads of a loop do not get further in that time."""

Answered = Callable[[tuple[Host, ...]], None]


class Resolver:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[str, list[Answered]] = {}
        """Who is to be told, for each name that is being asked for."""
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Names that are being asked for."""
        return len(self._waiting)

    def ask(self, name: str, answered: Answered) -> None:
        """`answered` is called later, once, with nothing when there is nothing."""
        if name in self._waiting:
            self._waiting[name].append(answered)
        elif len(self._waiting) >= MAX_NAMES:
            self._loop.call_soon(answered, ())
        else:
            self._waiting[name] = [answered]
            task = self._loop.create_task(self._ask(name), name=f"resolve {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, name: str) -> None:
        hosts: tuple[Host, ...] = ()
        try:
            async with asyncio.timeout(SECONDS):
                found = await self._loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            hosts = tuple(dict.fromkeys(ip_address(str(address[0]).partition("%")[0]) for *_, address in found))
        except (OSError, TimeoutError, UnicodeError):
            pass  # no such name, no answer in time, or nothing that can be a name
        for answered in self._waiting.pop(name):
            self._loop.call_soon(answered, hosts)

    def close(self) -> None:
        """Nobody is told of anything any more."""
        for task in self._tasks:
            task.cancel()
        self._waiting.clear()
