"""What the control socket looks at: the parts of the running daemon, as the daemon names them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from protocols.contract import live
from protocols.contract.engine import Counts, Helper
from protocols.contract.live import Tells
from proxy.config.schema import Config
from proxy.control.events import Events
from proxy.control.history import History
from proxy.control.shapes import Row
from proxy.pinholes.opening import Opening
from proxy.pinholes.table import PinholeTable
from proxy.record.audit import Log
from proxy.record.recent import Recent
from proxy.sessions.registry import Sessions
from proxy.sessions.session import Session


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of the daemon that are shown, and the few things that it lets others do."""

    helpers: Mapping[str, Helper]
    sessions: Sessions
    pinholes: PinholeTable
    config: Callable[[], Config]
    """The configuration in force."""
    status: Callable[[], Row]
    descriptors: Callable[[], int]
    """How many descriptors are in use."""
    reload: Callable[[bool], Awaitable[Row]]
    """Reads the configuration again. True: only to tell what that would change and end."""
    log: Log
    """The audit log."""
    recent: Recent
    """The refusals and violations of the last hour."""
    history: History
    """What the audit file tells of what is over."""
    events: Events
    """Those who follow the log."""
    wall_clock: Callable[[], float] = time.time

    @property
    def now(self) -> float:
        """The time, by the clock of the loop."""
        return self.sessions.loop.time()

    def all_sessions(self) -> Iterator[Session]:
        """The sessions, and those that are over while their engines still look after something."""
        for session in self.sessions:
            if not session.is_over:  # it may have ended before its turn came
                yield session
        yield from self.sessions.lingering

    def session(self, key: str) -> Session | None:
        """The session of that name."""
        return next((session for session in self.all_sessions() if session.key == key), None)

    def all_pinholes(self) -> Iterator[Opening]:
        """The pinholes that are open."""
        for pinhole in self.pinholes:
            if pinhole.grant.id in self.pinholes:
                yield pinhole

    def told(self, helper: str) -> Tells | None:
        """Who tells of what is under way in the engines of that helper."""
        engines = self.sessions.engines[helper]
        return engines if isinstance(engines, Tells) else None

    def calls(self) -> Iterator[live.Call]:
        """The calls that are under way, of all helpers."""
        for name in self.helpers:
            if (tells := self.told(name)) is not None:
                yield from tells.calls()

    def registrations(self) -> Iterator[live.Registration]:
        """The registrations that stand, of all helpers."""
        for name in self.helpers:
            if (tells := self.told(name)) is not None:
                yield from tells.registrations()

    def call_of(self, pinhole: Opening) -> live.Call | None:
        """The call whose media the pinhole carries."""
        tells = self.told(pinhole.owner.helper.name)
        return None if tells is None else tells.call_of(pinhole.grant.id)

    def counts(self, helper: str) -> dict[str, int]:
        """What the engines of a helper count, if they count something."""
        engines = self.sessions.engines[helper]
        return dict(engines.counts()) if isinstance(engines, Counts) else {}
