"""What pinholes of every kind have in common: a place in the table, an owner, and lines in the audit log."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol

from protocols.contract.addresses import Endpoint, Host, Network, Transport
from protocols.contract.engine import Helper
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, Heard, PinholeEvent, Used
from proxy.config.schema import Policy, Timeouts
from proxy.movers.lanes import Movers
from proxy.movers.splice import SpliceRelay
from proxy.movers.stands import Stands
from proxy.pinholes.borders import Borders
from proxy.pinholes.shares import Group
from proxy.record.audit import Log
from proxy.record.metrics import Metrics
from proxy.sockets.arrival import Arrival
from proxy.sockets.endpoint import UdpEndpoint
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.poll import Poll
from proxy.sockets.raw import RawEndpoints
from proxy.sockets.reserved import ReservedPorts


class Owner(Protocol):
    """The session that a pinhole belongs to."""

    @property
    def log(self) -> Log:
        """The audit log, with the session's own fields."""

    @property
    def key(self) -> str:
        """The name of the session in the audit log."""

    @property
    def arrival(self) -> Arrival:
        """How the session came: its client, and the server as the client dialled it."""

    @property
    def policy(self) -> Policy:
        """The policy that let the session in."""

    @property
    def helper(self) -> Helper:
        """The helper whose engine opens the pinholes."""

    @property
    def charged_to(self) -> str:
        """The client whose limits the pinholes count against."""

    @property
    def group(self) -> Group:
        """The sessions that this one shares parts of the limits with."""

    @property
    def decided_by(self) -> Arrival:
        """The arrival that policies judge (`Admission.decided_by`)."""

    @property
    def hosts(self) -> tuple[Host, Host]:
        """The two hosts that talk to each other in this session, each by its own address."""

    def pinhole_event(self, grant: AnyGrant, event: PinholeEvent) -> None:
        """Tell the engine what has happened at one of its pinholes."""


class Table(Protocol):
    """The table that a pinhole stands in, as far as a pinhole needs it. `PinholeTable` is the only one."""

    loop: asyncio.AbstractEventLoop
    timeouts: Timeouts
    metrics: Metrics
    max_segment: int | None
    poll: Poll
    reserved: ReservedPorts
    endpoints: UdpEndpoints
    raw: RawEndpoints
    stands: Stands
    movers: Movers
    borders: Borders
    waiting: dict[UdpEndpoint, list[Any]]
    """For each endpoint the pinholes that admit datagrams there."""
    begin: Callable[[Owner, Grant, socket.socket, Endpoint], None]
    """Begins the session for a connection that an engine is to read."""
    has_helper: Callable[[Transport, int], bool]
    """Whether sessions to this port are taken over."""
    is_published: Callable[[Transport, Endpoint], bool]
    """Whether sessions to this address of ours are led to a server inside."""

    def __contains__(self, number: int) -> bool: ...

    def name(self, number: int) -> str:
        """The name of a pinhole, by its number."""

    def preferred(self, expect: Expect) -> int:
        """The port that a pinhole should have, where it has its choice of ours. 0: any."""

    def relay(
        self, peer: socket.socket, target: socket.socket, idle_seconds: float, ended: Callable[[str], None]
    ) -> SpliceRelay:
        """A relay between two connections, each of which is the other's sink once `start` is called."""

    def forget(self, pinhole: Opening) -> None:
        """Nothing is left of the pinhole."""

    def release(self, pinhole: Any) -> None:
        """A pinhole for connections has left its door for good."""

    def answered(self, place: Any) -> None:
        """An offer of media has an answer."""


def mark_to(owner: Owner, host: Host) -> int:
    """The mark of a session's packets to a host: its policy's `route_mark`, but none towards its own client."""
    return 0 if host == owner.decided_by.client.host else owner.policy.route_mark or 0


class Described(NamedTuple):
    """What a pinhole of any kind is for."""

    purpose: str
    trigger: str
    transport: Transport
    listen: Endpoint | None
    """None: not known yet, as `target`."""
    allow: Collection[Network]
    target: Endpoint | None
    cseq: int | None = None
    """The number of the message that asked, if it has one."""


class Passed(NamedTuple):
    """What has passed a pinhole. `in` came from the peer, or, of media, went to the party. Packets are counted of
    datagrams alone."""

    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int | None = None
    packets_out: int | None = None


class Opening:
    """The base class of all pinholes: connections (`Pinhole`), datagrams (`DatagramPinhole`), media (`MediaPlace`) and
    tunnels (`TunnelPlace`).

    The table holds a pinhole, and so does the owner's `SessionPinholes`, until `_gone`. That may come long after the
    owner's end, since a relay that was admitted runs to its own end.
    """

    __slots__ = ("_name", "_table", "closed", "grant", "log", "opened_at", "owner", "peer")

    relays: Collection[Any] = ()
    """The relays that this pinhole admitted and that still run."""
    dialling: Collection[Any] = ()
    """Peers that this pinhole admitted and whose target is being dialled."""
    heard: Heard | None = None
    """Of media: how RTP has come to the party, by what has ended so far."""
    grant: Any

    def __init__(self, table: Table, owner: Owner, log: Log | None = None) -> None:
        """`log` is that of what the pinhole is for; by default its owner's."""
        self._table = table
        self.owner = owner
        self.log = log or owner.log
        self.closed: Callable[[Any], None] = lambda _: None
        """Called once the pinhole is gone; set by whoever keeps it."""
        self.opened_at = table.loop.time()
        """When it was opened, by the clock of the loop."""
        self._name: str | None = None
        """The name, once somebody has asked for it."""
        self.peer: Endpoint | None = None
        """The peer that came last."""

    @property
    def name(self) -> str:
        """What the audit log and operators call it."""
        if self._name is None:
            self._name = self._table.name(self.grant.id)
        return self._name

    def stands_on(self, host: Host) -> bool:
        """Whether a peer knows the pinhole, or a relay that it admitted, by this address of ours."""
        return any(at.host == host for at in self.places())

    @abstractmethod
    def places(self) -> Iterable[Endpoint]:
        """The addresses of ours where the pinhole and the relays that it admitted stand."""

    @abstractmethod
    def shut(self, reason: str) -> None:
        """Admit no more peers. What was admitted goes on, unless it cannot go on without the pinhole."""

    @abstractmethod
    def abort(self, reason: str) -> None:
        """End the pinhole, with all relays that it admitted."""

    def give_up(self) -> None:
        """A bug of ours ends the pinhole (`proxy/record/failures.py`)."""
        try:
            self.abort("failed")
        finally:
            if self.grant.id in self._table:
                self._table.forget(self)
                self.closed(self)

    @property
    @abstractmethod
    def purpose(self) -> str:
        """What the pinhole is for, as the log has it."""

    def carried(self) -> tuple[int, int]:
        """How many bytes and how many datagrams have passed so far, as they count for the whole daemon: each once."""
        passed = self.passed()
        return passed.bytes_in + passed.bytes_out, (passed.packets_in or 0) + (passed.packets_out or 0)

    @property
    def is_in_kernel(self) -> bool:
        """Whether the kernel carries some of what passes now."""
        return False

    def carried_in_kernel(self) -> int | None:
        """How many of these datagrams the kernel has carried. None: what passes here is no media."""
        return None

    @property
    @abstractmethod
    def state(self) -> str:
        """One word for the operator."""

    @property
    @abstractmethod
    def described(self) -> Described:
        """What operators are told of this pinhole, beside its state and what has passed."""

    @abstractmethod
    def passed(self) -> Passed:
        """What has passed so far."""

    @property
    @abstractmethod
    def expires_at(self) -> float | None:
        """When the pinhole closes by itself, by the clock of the loop. None: something else ends it."""

    # -- lines of the audit log, and events for the owner --------------------------------------------------------------

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
        self.log.write(
            "pinhole.opened",
            pinhole=self.name,
            purpose=purpose,
            transport=transport,
            listen=listen,
            allow=allow,
            target=target,
            expires_seconds=seconds,
            trigger=trigger,
            **facts,
        )

    def tell_renewed(self, allow: Collection[Network], seconds: float) -> None:
        """From now on these may come, for so long."""
        self.log.write("pinhole.renewed", pinhole=self.name, allow=allow, expires_seconds=seconds)

    def _tell_used(self, peer: Endpoint, is_told: bool = True, **facts: Any) -> None:
        """A peer has been admitted. The owner's engine hears of it, and so does the log if it `is_told`. `facts` may
        name the address and port that the target is dialled from (`dialled_from`)."""
        self.peer = peer
        if is_told:
            self.log.write("pinhole.used", pinhole=self.name, peer=peer, **facts)
        self.owner.pinhole_event(self.grant, Used(peer))

    def tell_progress(self, now: float) -> None:
        """Tell the log what has passed so far, if something is relayed. What a helper reads is told by the sessions
        that came."""
        if self.state != "relaying" or self.grant.id not in self._table:
            return
        counts = {name: count for name, count in self.passed()._asdict().items() if count is not None}
        seconds = round(now - self.opened_at, 6)
        self.log.write("pinhole.progress", pinhole=self.name, purpose=self.purpose, duration_seconds=seconds, **counts)

    def _tell_stranger(self, detail: str, action: str, rule: str = "pinhole.stranger") -> None:
        """A peer came that the pinhole does not admit, or not now."""
        self._table.metrics.violations.labels(rule).inc()
        self.log.write("violation", rule=rule, pinhole=self.name, detail=detail, action=action)

    def _gone(self, reason: str, counts: dict[str, int], **facts: Any) -> None:
        """Nothing is left of the pinhole. `counts` says what has passed, by the field names of `Closed`; `facts` is
        what else the log says. The words that `reason` may be stand at `Closed.reason` in
        `protocols/contract/pinholes.py`."""
        self._table.forget(self)
        self.closed(self)
        seconds = self._table.loop.time() - self.opened_at
        duration = round(seconds, 6)
        self.log.write("pinhole.closed", pinhole=self.name, reason=reason, duration_seconds=duration, **counts, **facts)
        packets = counts.get("packets_in", 0), counts.get("packets_out", 0)
        event = Closed(reason, counts.get("bytes_in", 0), counts.get("bytes_out", 0), seconds, *packets, self.heard)
        self._table.metrics.relayed(self.purpose, *self.carried(), self.carried_in_kernel())
        self.owner.pinhole_event(self.grant, event)
