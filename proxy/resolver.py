"""Names into addresses, for engines that have to know where a name leads.

Asked of this host's resolver, in a thread of the loop's, so nothing waits for it. An answer that does not come in time
is no answer; the thread goes on, but nobody hears of it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

from protocols.engine import Host

SECONDS = 5.0
"""As long as a resolver waits for its first server (resolv.conf(5))."""


class Resolver:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, name: str, answered: Callable[[tuple[Host, ...]], None]) -> None:
        """`answered` is called later, once, with nothing when there is nothing."""
        task = self._loop.create_task(self._ask(name, answered), name=f"resolve {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, name: str, answered: Callable[[tuple[Host, ...]], None]) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                found = await self._loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            answered(())
        else:
            answered(tuple(dict.fromkeys(ip_address(str(address[0]).partition("%")[0]) for *_, address in found)))

    def close(self) -> None:
        """Nobody is told of anything any more."""
        for task in self._tasks:
            task.cancel()
