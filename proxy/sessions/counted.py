"""Sessions that are counted instead of logged one by one.

Some helpers have many short sessions, such as one for each question to a name server. For these the audit log has one
line a minute in place of two a session. Violations and pinholes have their own lines as ever.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.contract.addresses import Side
from proxy.record.audit import Log

COUNT_SECONDS = 60.0


@dataclass(slots=True)
class _Counts:
    """The counts of one helper since its last line."""

    opened: int = 0
    closed: Counter[str] = field(default_factory=Counter)
    """Sessions that have closed, by reason."""
    received: Counter[Side] = field(default_factory=Counter)
    """Bytes that came from each side of the sessions that have closed."""


class Counted:
    """Counts the sessions of such helpers, and writes one line for each helper at the end of each minute."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log) -> None:
        self._loop = loop
        self._log = log
        self._counts: dict[str, _Counts] = {}
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def opened(self, helper: str) -> None:
        """A session of this helper has reached its server."""
        self._of(helper).opened += 1

    def closed(self, helper: str, reason: str, received: Mapping[Side, int]) -> None:
        """A session of this helper has ended."""
        counts = self._of(helper)
        counts.closed[reason] += 1
        for side, count in received.items():
            counts.received[side] += count

    def _of(self, helper: str) -> _Counts:
        """The counts of this helper. The first use starts the clock."""
        if self._timer is None:
            self._since = self._loop.time()
            self._timer = self._loop.call_later(COUNT_SECONDS, self.tell)
        counts = self._counts.get(helper)
        if counts is None:
            counts = self._counts[helper] = _Counts()
        return counts

    def tell(self) -> None:
        """Write what has been counted since the last line, if anything has."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        told, self._counts = self._counts, {}
        for helper, counts in told.items():
            self._log.write(
                "sessions.counted",
                helper=helper,
                duration_seconds=round(self._loop.time() - self._since, 6),
                opened=counts.opened,
                closed=dict(counts.closed),
                bytes_from_client=counts.received[Side.CLIENT],
                bytes_from_server=counts.received[Side.SERVER],
            )
