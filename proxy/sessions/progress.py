"""Tells the log from time to time what has passed so far, where something lasts: a transfer of hours, a call, a session
that is relayed unread. Without that, a line about how much it was comes only at the end, and never if the daemon is
killed.

Nothing is remembered of what was told: something is told of when its age has passed another multiple of the time
between two lines since the look before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain, islice

from proxy.pinholes.opening import Opening
from proxy.pinholes.table import PinholeTable
from proxy.sessions.registry import Sessions
from proxy.sessions.session import Session

LOOKS = 8
"""How often is looked between two lines about the same thing."""

AT_ONCE = 64
"""So many are looked at before packets that have arrived meanwhile get their turn."""


class Progress:
    """Looks at pinholes and sessions. The daemon owns it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sessions: Sessions, pinholes: PinholeTable) -> None:
        self._loop = loop
        self._sessions = sessions
        self._pinholes = pinholes
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = 0.0
        self._looked_at = 0.0

    def use(self, seconds: float | None) -> None:
        """From now on tell of each thing so often. None: never."""
        self.stop()
        if seconds is not None:
            self._seconds, self._looked_at = seconds, self._loop.time()
            self._timer = self._loop.call_later(seconds / LOOKS, self._look)

    def stop(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._seconds / LOOKS, self._look)
        since, self._looked_at = self._looked_at, self._loop.time()
        self._tell(chain(self._pinholes, self._sessions), since, self._looked_at)

    def _tell(self, lasting: Iterator[Opening | Session], since: float, now: float) -> None:
        """Tell of some, and of the others later."""
        some = list(islice(lasting, AT_ONCE))
        for one in some:
            if (now - one.opened_at) // self._seconds > max(0.0, since - one.opened_at) // self._seconds:
                one.tell_progress(now)
        if some and self._timer is not None:
            self._loop.call_soon(self._tell, lasting, since, now)
