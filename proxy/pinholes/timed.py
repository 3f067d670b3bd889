"""The time of a pinhole that an engine opened with an `Expect`: until its first use, and for its whole life."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from protocols.contract.addresses import Endpoint, Network
from protocols.contract.pinholes import Expect, Grant
from proxy.pinholes.opening import Described, Opening
from proxy.sockets.reserved import is_reserved


class Timed(Opening):
    """A pinhole that an engine opened with an `Expect`. It has a time to its first use, and may have one for its whole
    life."""

    __slots__ = ("_ends_at", "_timer", "_used")

    grant: Grant

    @property
    def purpose(self) -> str:
        """What the pinhole is for, as the log has it."""
        return self.grant.expect.purpose

    @property
    def described(self) -> Described:
        """What the pinhole is for."""
        expect = self.grant.expect
        return Described(
            expect.purpose, expect.trigger, expect.transport, self.grant.listen, expect.allow, expect.target
        )

    @property
    def expires_at(self) -> float | None:
        """When the pinhole closes by itself. None: something else ends it."""
        return None if self._timer is None else self._timer.when()

    @property
    def allow(self) -> tuple[Network, ...]:
        """The networks that a peer may come from."""
        return self.grant.expect.allow

    def allows(self, peer: Endpoint) -> bool:
        """Whether this peer may come."""
        if self.grant.expect.from_reserved and not is_reserved(peer.port):
            return False
        return any(peer.host in network for network in self.allow)

    def _start_clock(self, expect: Expect) -> float:
        """Start the clock. Returns the seconds until the pinhole closes if no peer comes."""
        lasts, wait = expect.lasts_seconds, expect.open_seconds
        if wait is None:
            wait = self._table.timeouts.pinhole_open if lasts is None else lasts
        elif lasts is not None:
            wait = min(wait, lasts)
        now = self._table.loop.time()
        self._used = 0
        self._ends_at = None if lasts is None else now + lasts
        self._timer: asyncio.TimerHandle | None = self._table.loop.call_at(now + wait, self._expire)
        return wait

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count_use(self) -> None:
        """A peer has come, so there is no first use to wait for any more."""
        self._used += 1
        if self.grant.expect.renewed_by_use:
            self._begin_anew()
        elif self._used == 1 and self._timer is not None:
            self._stop_clock()
            if self._ends_at is not None:
                self._timer = self._table.loop.call_at(self._ends_at, self._expire)

    def _renew(self, allow: tuple[Network, ...], seconds: float) -> None:
        """From now on the pinhole admits these networks, and stands for so long."""
        self._stop_clock()
        ends_at = self._table.loop.time() + seconds
        if self._ends_at is not None:
            self._ends_at = ends_at
        self._timer = self._table.loop.call_at(ends_at, self._expire)
        if allow != self.grant.expect.allow:
            self.grant = replace(self.grant, expect=replace(self.grant.expect, allow=allow))
            self.tell_renewed(allow, seconds)

    def _begin_anew(self) -> None:
        """A peer has come, or gone: the life of a pinhole that is renewed by use begins again."""
        expect = self.grant.expect
        if expect.renewed_by_use and expect.lasts_seconds is not None and self._timer is not None:
            self._stop_clock()
            self._ends_at = self._table.loop.time() + expect.lasts_seconds
            self._timer = self._table.loop.call_at(self._ends_at, self._expire)

    def _expire(self) -> None:
        """The time of the pinhole has run out."""
        if self.grant.expect.renewed_by_use and (self.relays or self.dialling):
            self._begin_anew()
            return
        self.shut("expired" if self._used or self._ends_at is not None else "never_used")
