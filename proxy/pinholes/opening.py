"""What every pinhole is, whatever comes through it: one of a table, known to its owner, with its lines of audit log."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, Protocol

from protocols.contract.addresses import Endpoint, Host, Network, Transport
from protocols.contract.engine import Helper
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Used
from proxy.config.schema import Policy, Timeouts
from proxy.movers.lanes import Movers
from proxy.movers.splice import SpliceRelay
from proxy.movers.stands import Stands
from proxy.pinholes.borders import Borders
from proxy.pinholes.shares import Group
from proxy.record.audit import Log
from proxy.record.metrics import Metrics
from proxy.sockets.arrival import Arrival
from proxy.sockets.endpoints import UdpEndpoint, UdpEndpoints
from proxy.sockets.poll import Poll
from proxy.sockets.reserved import ReservedPorts


class Owner(Protocol):
    """The session that a pinhole belongs to."""

    @property
    def log(self) -> Log: ...

    @property
    def key(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def helper(self) -> Helper: ...

    @property
    def charged_to(self) -> str: ...

    @property
    def group(self) -> Group: ...

    @property
    def decided_by(self) -> Arrival: ...

    @property
    def hosts(self) -> tuple[Host, Host]:
        """The two that talk to each other, each by its own address."""

    def pinhole_event(self, grant: AnyGrant, event: PinholeEvent) -> None: ...


class Table(Protocol):
    """The table that a pinhole stands in, as far as pinholes need it."""

    loop: asyncio.AbstractEventLoop
    timeouts: Timeouts
    metrics: Metrics
    max_segment: int | None
    poll: Poll
    reserved: ReservedPorts
    endpoints: UdpEndpoints
    stands: Stands
    movers: Movers
    borders: Borders
    waiting: dict[UdpEndpoint, list[Any]]
    """The pinholes that let flows begin at an endpoint."""
    begin: Callable[[Owner, Grant, socket.socket, Endpoint], None]
    """Begins the session of a connection that an engine is to read."""
    has_helper: Callable[[Transport, int], bool]
    """Whether sessions to this port are taken over."""
    is_published: Callable[[Transport, Endpoint], bool]
    """Whether sessions to this address of ours are led to a server inside."""

    def __contains__(self, number: int) -> bool: ...

    def relay(
        self, peer: socket.socket, target: socket.socket, idle_seconds: float, ended: Callable[[str], None]
    ) -> SpliceRelay:
        """Two connections that are each the other's sink from `start` on."""

    def forget(self, pinhole: Opening) -> None:
        """Nothing is left of it."""

    def release(self, pinhole: Any) -> None:
        """A pinhole for connections has left its door."""

    def answered(self, place: Any) -> None:
        """An offer of media has an answer."""


def mark_to(owner: Owner, host: Host) -> int:
    """The mark of a session's packets to a host: its policy's `route_mark`, but none towards its own client."""
    return 0 if host == owner.decided_by.client.host else owner.policy.route_mark or 0


class Opening:
    __slots__ = ("_opened_at", "_table", "closed", "grant", "owner")

    relays: Collection[Any] = ()
    """What it admitted and still runs."""
    dialling: Collection[Any] = ()
    """What it admitted, and whose target is being called."""
    grant: Any

    def __init__(self, table: Table, owner: Owner) -> None:
        self._table = table
        self.owner = owner
        self.closed: Callable[[Any], None] = lambda _: None
        """For whoever keeps it: told when it is gone."""
        self._opened_at = table.loop.time()

    def stands_on(self, host: Host) -> bool:
        """Whether it, or what it admitted, is known to somebody by this address of ours."""
        return any(at.host == host for at in self._places())

    @abstractmethod
    def _places(self) -> Iterable[Endpoint]:
        """Where it stands, and our ends of what it admitted."""

    @abstractmethod
    def shut(self, reason: str) -> None:
        """Admit nobody more; what was admitted goes on, unless it cannot without it."""

    @abstractmethod
    def abort(self, reason: str) -> None:
        """End it, with all that it admitted."""

    def give_up(self) -> None:
        """A bug of ours (`proxy/record/failures.py`)."""
        try:
            self.abort("failed")
        finally:
            if self.grant.id in self._table:
                self._table.forget(self)
                self.closed(self)

    @abstractmethod
    def summary(self, now: float) -> dict[str, Any]:
        """For people and programs who ask."""

    # -- its lines of log, and what its owner hears -----------------------------------------------------------------

    def _tell_opened(
        self,
        purpose: str,
        transport: Transport,
        listen: Endpoint | None,
        allow: Collection[Network],
        target: Endpoint | None,
        seconds: float,
        trigger: str,
        **facts: Any,
    ) -> None:
        self.owner.log.write(
            "pinhole.opened",
            pinhole=self.grant.id,
            purpose=purpose,
            transport=transport,
            listen=listen,
            allow=allow,
            target=target,
            expires_seconds=seconds,
            trigger=trigger,
            **facts,
        )

    def _tell_used(self, peer: Endpoint, **facts: Any) -> None:
        self.owner.log.write("pinhole.used", pinhole=self.grant.id, peer=peer, **facts)
        self.owner.pinhole_event(self.grant, Used(peer))

    def _tell_stranger(self, detail: str, action: str, rule: str = "pinhole.stranger") -> None:
        self._table.metrics.violations.labels(rule).inc()
        self.owner.log.write("violation", rule=rule, pinhole=self.grant.id, detail=detail, action=action)

    def _gone(self, reason: str, counts: dict[str, int], **facts: Any) -> None:
        """Nothing is left of it. counts: what passed, as the fields of `Closed`; facts: what else the log says."""
        self._table.forget(self)
        self.closed(self)
        seconds = self._table.loop.time() - self._opened_at
        duration = round(seconds, 6)
        self.owner.log.write(
            "pinhole.closed", pinhole=self.grant.id, reason=reason, duration_seconds=duration, **counts, **facts
        )
        packets = counts.get("packets_in", 0), counts.get("packets_out", 0)
        event = Closed(reason, counts.get("bytes_in", 0), counts.get("bytes_out", 0), seconds, *packets)
        if event.bytes_in or event.bytes_out:
            self._table.metrics.relayed_bytes.inc(event.bytes_in + event.bytes_out)
        self.owner.pinhole_event(self.grant, event)

    def _describe(
        self,
        now: float,
        state: str,
        purpose: str,
        transport: Transport,
        listen: Endpoint | None,
        allow: Collection[Network],
        target: Endpoint | None,
        bytes_in: int = 0,
        bytes_out: int = 0,
    ) -> dict[str, Any]:
        return {
            "pinhole": self.grant.id,
            "session": self.owner.key,
            "purpose": purpose,
            "transport": transport.value,
            "listen": str(listen or "not known yet"),
            "allow": [str(network) for network in allow],
            "target": str(target or "not known yet"),
            "state": state,
            "age_seconds": round(now - self._opened_at, 3),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
        }


class Timed(Opening):
    """A pinhole with an expect. It has a time to its first use, and one for all its life."""

    __slots__ = ("_ends_at", "_timer", "_used")

    grant: Grant

    def _start_clock(self, expect: Expect) -> float:
        """Seconds until it closes, if nobody comes."""
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
        """Somebody has come. There is no first use to wait for any more."""
        self._used += 1
        if self._used == 1 and self._timer is not None:
            self._stop_clock()
            if self._ends_at is not None:
                self._timer = self._table.loop.call_at(self._ends_at, self._expire)

    def _renew(self, allow: tuple[Network, ...], seconds: float) -> None:
        """From now on it admits these, and stands for so long."""
        self._stop_clock()
        ends_at = self._table.loop.time() + seconds
        if self._ends_at is not None:
            self._ends_at = ends_at
        self._timer = self._table.loop.call_at(ends_at, self._expire)
        if allow != self.grant.expect.allow:
            self.grant = replace(self.grant, expect=replace(self.grant.expect, allow=allow))
            self.owner.log.write("pinhole.renewed", pinhole=self.grant.id, allow=allow, expires_seconds=seconds)

    def _expire(self) -> None:
        self.shut("expired" if self._used or self._ends_at is not None else "never_used")
