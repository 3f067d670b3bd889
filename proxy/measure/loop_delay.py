"""How late the event loop is. Everything that passes waits for it, so its delay is heard in every call."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

from proxy.beats import next_beat

LOOK_SECONDS = 0.25
REMEMBERED_LOOKS = 40
"""Ten seconds."""


class Observes(Protocol):
    """A histogram."""

    def observe(self, amount: float) -> None:
        """Count one value."""


class LoopDelay:
    """A timer that looks how late it runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, histogram: Observes) -> None:
        self._loop = loop
        self._histogram = histogram
        self._delays: deque[float] = deque(maxlen=REMEMBERED_LOOKS)
        self._look_later()

    def _look(self) -> None:
        delay = max(0.0, time.monotonic() - self._due)
        self._delays.append(delay)
        self._histogram.observe(delay)
        self._look_later()

    def _look_later(self) -> None:
        now = self._loop.time()
        at = next_beat(now, LOOK_SECONDS)
        # uvloop's own clock stands still while callbacks run.
        self._due = time.monotonic() + at - now
        self._timer = self._loop.call_at(at, self._look)

    @property
    def worst(self) -> float:
        """The longest delay of the last ten seconds."""
        return max(self._delays, default=0.0)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()
