"""The daemon's side of a holder: finds it, takes its tables and links, and tells their owner what comes and goes.

looking --found--> let in --T--> on_tables --L--> on_link ...        on_gone when an interface goes
   ^                  |---O--> on_off: nothing passes in the kernel until tables come again
   '----on_lost-------'  hung up: what is attached stays, since the links are the daemon's
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from proxy.ebpf.tables import Tables
from proxy.errors import PinholeError
from proxy.holder import wire
from proxy.holder.process import find
from proxy.holder.wire import Kind, Message, Off

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
"""How long to wait before a holder is looked for again: at first, and at most. The service manager starts one again
that was killed; where there is none, a look costs 0.1 ms."""

Find = Callable[[], socket.socket | None]


class Client:
    """Listens to the holder. The daemon owns it, and sets what it calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, find: Find = lambda: find(patience=0)) -> None:
        """`find` looks for a holder, and returns a socket that does not block."""
        self._loop = loop
        self._find = find
        self._sock: socket.socket | None = None
        self._links: dict[int, int | None] = {}
        """Index of an interface -> the descriptor of the link there, unless the holder looks after it."""
        self._looking: asyncio.TimerHandle | None = None
        self._wait_seconds = FIRST_SECONDS
        self._is_told = asyncio.Event()
        self.on_tables: Callable[[Tables], None] = lambda _: None
        """Called with new tables, whose descriptors are closed after the call (`Rows` has its own). Those of before are
        of no use any more. It may raise OSError: then the holder is left, and looked for again."""
        self.on_link: Callable[[int], None] = lambda _: None
        """Called when packets that come by the interface with this index are looked at."""
        self.on_gone: Callable[[int], None] = lambda _: None
        """Called when they are no more."""
        self.on_off: Callable[[Off], None] = lambda _: None
        """Called when nothing may pass in the kernel: rows are to be taken back. Nothing looks at packets any more."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called when the holder has ended. What it has given holds on, but for interfaces that come later."""

    def start(self) -> None:
        """Look for a holder, now and until `stop`."""
        self._looking = None
        with contextlib.suppress(OSError):  # there is no descriptor left
            self._sock = self._find()
        if self._sock is None:
            self._look_later()
            return
        self._loop.add_reader(self._sock, self._told)
        self._told()

    @property
    def is_let_in(self) -> bool:
        """Whether there is a holder."""
        return self._sock is not None

    def stop(self) -> None:
        """Hang up. Nothing is attached any more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._hang_up()
        self._detach()

    async def first_word(self, seconds: float) -> None:
        """Wait until the holder has said for the first time whether media may pass in the kernel, or has ended, but no
        longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_told.wait()

    def _look_later(self) -> None:
        self._looking = self._loop.call_later(self._wait_seconds, self.start)
        self._wait_seconds = min(2 * self._wait_seconds, LONGEST_SECONDS)

    def _hang_up(self) -> None:
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _told(self) -> None:
        """The holder has something to tell, or has ended."""
        try:
            while self._sock is not None and (message := wire.receive(self._sock)) is not None:
                self._take(message)
        except (EOFError, OSError, PinholeError):
            self._hang_up()
            self._look_later()
            self._is_told.set()
            self.on_lost()

    def _take(self, message: Message) -> None:
        match message.kind:
            case Kind.TABLES:
                self._detach()
                with contextlib.closing(Tables(*message.descriptors)) as tables:
                    self.on_tables(tables)
                self._wait_seconds = FIRST_SECONDS  # not before: they may be more than this process can have now
            case Kind.LINK:
                self._links[message.number] = message.descriptors[0] if message.descriptors else None
                self.on_link(message.number)
            case Kind.GONE:
                self._close(message.number)
                self.on_gone(message.number)
            case Kind.OFF:
                self._detach()
                self.on_off(Off(message.number))
        if message.kind is not Kind.GONE:
            self._is_told.set()

    def _close(self, index: int) -> None:
        """Let go of the link at this interface."""
        if (descriptor := self._links.pop(index, None)) is not None:
            os.close(descriptor)

    def _detach(self) -> None:
        """Let go of all links."""
        for index in tuple(self._links):
            self._close(index)
