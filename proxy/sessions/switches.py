"""Switches that an operator throws while the daemon runs: a helper is off or only observes, for one client or for all.

They are for new sessions, and for flows, which begin anew with their next datagram. They are in no file, so they are
gone after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from protocols.contract.addresses import Host, Network

Mode = Literal["active", "observe", "off"]
"""What a helper does with a session, as the option `mode` has it."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch."""

    helper: str
    mode: Mode
    client: Network | None
    """The clients that it is for. None: all."""
    until: float | None
    """When it is taken back by itself, by the clock of the loop. None: at the end of the daemon."""


class Switches:
    """The switches that are thrown now. The newest one that fits a session decides."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thrown: dict[tuple[str, Network | None], tuple[Switch, asyncio.TimerHandle | None]] = {}
        self.changed: Callable[[], None] = lambda: None
        """Called when a switch was thrown or taken back. The registry of sessions sets this function."""
        self.ran_out: Callable[[Switch], None] = lambda _: None
        """Called when the time of a switch is over."""

    def __len__(self) -> int:
        return len(self._thrown)

    def __iter__(self) -> Iterator[Switch]:
        return iter([switch for switch, _ in self._thrown.values()])

    def throw(self, helper: str, mode: Mode, client: Network | None, seconds: float | None) -> Switch:
        """From now on the helper works so for these clients. An earlier switch for the same ones is replaced."""
        self._drop(helper, client)
        until = None if seconds is None else self._loop.time() + seconds
        switch = Switch(helper, mode, client, until)
        timer = None if until is None else self._loop.call_at(until, self._run_out, switch)
        self._thrown[helper, client] = switch, timer
        self.changed()
        return switch

    def take_back(self, helper: str, client: Network | None) -> bool:
        """The helper works as it is configured again. Returns whether there was such a switch."""
        was_thrown = self._drop(helper, client)
        if was_thrown:
            self.changed()
        return was_thrown

    def mode_of(self, helper: str, client: Host) -> Mode:
        """What the helper does with a session of this client."""
        for switch, _ in reversed(self._thrown.values()):
            if switch.helper == helper and (switch.client is None or client in switch.client):
                return switch.mode
        return "active"

    def _run_out(self, switch: Switch) -> None:
        self.take_back(switch.helper, switch.client)
        self.ran_out(switch)

    def _drop(self, helper: str, client: Network | None) -> bool:
        switch, timer = self._thrown.pop((helper, client), (None, None))
        if timer is not None:
            timer.cancel()
        return switch is not None
