"""All that measures a daemon, put together."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Mapping
from types import MappingProxyType

from prometheus_client import Info

from protocols.contract.addresses import Endpoint
from proxy.config.schema import Hep
from proxy.measure.exposition import Exposition
from proxy.measure.health import LATE_SECONDS, Check, Health
from proxy.measure.hep import HepExport
from proxy.measure.live import Live, Queue
from proxy.measure.loop_delay import LoopDelay
from proxy.measure.pages import PagesListener, pages
from proxy.pinholes.table import PinholeTable
from proxy.record.metrics import Metrics
from proxy.sessions.registry import Sessions


class Measuring:
    """Measures a daemon from its start to its end. `pages` is what tells of it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        metrics: Metrics,
        sessions: Sessions,
        pinholes: PinholeTable,
        queue: Queue,
        version: str,
        checks: Mapping[str, Check],
        remarks: Mapping[str, Check] = MappingProxyType({}),
    ) -> None:
        self._metrics = metrics
        self._delay = LoopDelay(loop, metrics.loop_delay)
        info = Info("pinhole_build", "What serves", registry=metrics.registry)
        info.info({"version": version, "python": platform.python_version(), "kernel": platform.release()})
        self.health = Health({**checks, "loop": self._loop_is_late}, remarks)
        self.exposition = Exposition(metrics.registry, Live(metrics, sessions, pinholes, queue))
        self.pages = pages(self.exposition, self.health)
        self._loop = loop
        self._sessions = sessions
        self._listener: PagesListener | None = None
        self._hep: HepExport | None = None
        self._copied_to = Hep()
        self.reloaded(True)

    def _loop_is_late(self) -> str | None:
        worst = self._delay.worst
        return f"late by {worst:.3f} s within the last ten" if worst > LATE_SECONDS else None

    def reloaded(self, is_accepted: bool) -> None:
        """A configuration was read, and is in force if it was accepted."""
        self._metrics.reloaded.set(is_accepted)
        if is_accepted:
            self._metrics.reloaded_at.set(time.time())

    def copy_to(self, hep: Hep) -> None:
        """Copy messages to this collector from now on, or to none."""
        if hep == self._copied_to:
            return
        self._copied_to = hep
        before, self._hep = self._hep, None
        if hep.to is not None:
            sent, lost = self._metrics.hep_sent, self._metrics.hep_lost
            self._hep = HepExport(self._loop, hep.to, hep.id, hep.password or "", sent, lost)
        self._sessions.collect(self._hep)
        if before is not None:
            before.stop()

    async def start(self, listen: Endpoint | None) -> None:
        """Begin to serve the pages at this address of TCP, if there is one. Raises SocketError."""
        if listen is not None:
            self._listener = PagesListener(self.pages, listen)
            await self._listener.start()

    @property
    def listening(self) -> tuple[str, int]:
        """The address of TCP where the pages are."""
        assert self._listener is not None
        return self._listener.address

    async def stop(self) -> None:
        """Measure no more."""
        self._delay.stop()
        self.copy_to(Hep())
        if self._listener is not None:
            await self._listener.stop()
