"""Media in the kernel, as the daemon sees it: the holder's tables and interfaces go to the mover of the pinholes, and
what comes and goes is told to the audit log and to operators."""

from __future__ import annotations

import asyncio
import errno
from typing import Any, Literal

from proxy.config.schema import NetworkSettings
from proxy.config.whereabouts import told_by
from proxy.ebpf.tables import Rows, Tables
from proxy.errors import PinholeError
from proxy.holder.client import Client
from proxy.holder.wire import WORDS, Off
from proxy.movers.kernel import Kernel
from proxy.record.audit import Log
from proxy.sockets.packet_info import InterfaceNames

FIRST_WORD_SECONDS = 2.0
"""How long a start waits for a holder that is there. It loads a program for each kind of interface, which takes the
kernel some milliseconds."""
ALONE_SECONDS = 30.0
"""How long what the kernel carries goes on without a holder. The service manager starts a new one within seconds; where
none comes, nobody would see an IPsec policy that forbids the kernel path."""

_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

NO_HOLDER, CONFIGURED_OFF = "no_holder", "configured_off"


class FastPath:
    """Whether media passes in the kernel, and why not. The daemon owns it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, settings: NetworkSettings, kernel: Kernel, log: Log, source: str = ""
    ) -> None:
        """`source` is the `Config.source` of what is served, which advice names."""
        self._loop = loop
        self._source = source
        self._settings = settings
        self._kernel = kernel
        self._log = log
        self._names = InterfaceNames()
        self._alone: asyncio.TimerHandle | None = None
        self._tables: Tables | None = None
        self._is_started = False
        self.reason: str | None = CONFIGURED_OFF if settings.fastpath == "off" else NO_HOLDER
        """Why no media passes in the kernel, in one word. None: it does."""
        client = self._client = Client(loop)
        client.on_tables, client.on_off, client.on_lost = self._begin, self._end, self._lost
        client.on_link, client.on_gone = kernel.attach, kernel.detach
        kernel.tell_full = lambda rows: log.write("fastpath.full", streams_limit=rows)

    async def start(self) -> None:
        """Look for a holder. Raises PinholeError when media has to pass in the kernel and cannot."""
        if self._settings.fastpath == "off":
            return
        self._client.start()
        if self._client.is_let_in or self._settings.fastpath == "require":
            await self._client.first_word(FIRST_WORD_SECONDS)
        self._is_started = True
        if self.reason is not None and self._settings.fastpath == "require":
            remedy = "`pinhole fastpath` has to run, and `pinhole doctor` tells what else it needs"
            raise PinholeError(
                f"media cannot pass in the kernel ({self.reason}), and `network: fastpath` says `require`: "
                f"{told_by(self._source, remedy)}"
            )

    def stop(self) -> None:
        """Take everything back."""
        self._leave()
        self._client.stop()

    @property
    def state(self) -> Literal["on", "off"]:
        """One word for operators."""
        return "off" if self.reason is not None else "on"

    def facts(self) -> dict[str, Any]:
        """What a line of the log says of it."""
        return {"fastpath": self.state} | ({} if self.reason is None else {"fastpath_reason": self.reason})

    def status(self) -> dict[str, Any]:
        """What operators are told."""
        now, kernel = self._loop.time(), self._kernel
        return {
            "state": self.state,
            "reason": self.reason,
            "streams": len(kernel),
            "streams_limit": kernel.capacity,
            "interfaces": sorted(filter(None, (self._names.of(index, now) for index in kernel.interfaces))),
        }

    # -- what the holder says ------------------------------------------------------------------------------------------

    def _begin(self, tables: Tables) -> None:
        """There are tables, and none of the interfaces has the program yet. Raises OSError when they cannot be had for
        want of descriptors or memory: the client asks the holder for them again a while later."""
        self._leave()
        try:
            self._tables = tables.copy()
            rows = Rows(self._tables)
        except OSError as error:
            if error.errno in _SCARCE:
                self._leave()
                raise
            self._end(None)
            return
        self._kernel.use(rows)
        if self.reason is not None:
            self.reason = None
            if self._is_started:
                self._log.write("fastpath.back", streams_limit=rows.capacity)

    def _end(self, why: Off | None) -> None:
        """Nothing may pass in the kernel. `why` is None if the tables are such as this version does not know."""
        self._tell_lost("not_understood" if why is None else WORDS[why])
        self._leave()

    def _lost(self) -> None:
        """The holder has ended. What it has attached stays, for a while."""
        self._kernel.hold_on()
        self._tell_lost(NO_HOLDER)
        if self._kernel.rows is not None and self._alone is None:
            self._alone = self._loop.call_later(ALONE_SECONDS, self._leave)

    def _tell_lost(self, reason: str) -> None:
        if self.reason is None and self._is_started:
            self._log.write("fastpath.lost", reason=reason, streams=len(self._kernel))
        self.reason = reason

    def _leave(self) -> None:
        """Take all streams back, and let go of the tables."""
        if self._alone is not None:
            self._alone.cancel()
            self._alone = None
        self._kernel.leave()
        if self._tables is not None:
            self._tables.close()
            self._tables = None
