"""What sessions over TCP and UDP have in common: who talks to whom, an engine, pinholes, and lines in the audit log."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport
from protocols.contract.effects import Copy
from protocols.contract.engine import EngineFactory, Helper
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Reader
from proxy.config.schema import Policy, Timeouts
from proxy.pinholes.of_session import SessionPinholes
from proxy.pinholes.shares import Group
from proxy.pinholes.table import PinholeTable
from proxy.record.audit import Log
from proxy.record.metrics import Metrics
from proxy.sessions.counted import Counted
from proxy.sessions.driver import EngineDriver, Performer
from proxy.sessions.leg import Held
from proxy.sessions.policy import Denied, Nat, PolicyTable
from proxy.sessions.resolver import Resolver
from proxy.sockets.arrival import Arrival


@dataclass(frozen=True, slots=True)
class LetIn:
    """The session and the pinhole through which another session came, where the peer was expected and no policy let it
    in on its own account."""

    session: str
    """The key of the session whose engine opened the way."""
    pinhole: str | None
    """The name of the pinhole. None: the session needed none, because the server of a flow sent to the flow's client
    from another port."""
    reader: Reader
    """The helper that reads the session, and the session's role."""

    @property
    def facts(self) -> dict[str, Any]:
        """The same as fields of the audit log."""
        by = {"session": self.session, "pinhole": self.pinhole}
        return {"parent": self.session, "via_pinhole": self.pinhole, "by": by}


class Admission(NamedTuple):
    """All that a session which has been let in needs in order to begin."""

    key: str
    """The name of the session in the audit log and for the operator."""
    arrival: Arrival
    policy: Policy
    helper: Helper
    nat: Nat
    log: Log
    charged_to: str
    """The client whose limits this session counts against (`shares.account_of`)."""
    group: Group
    decided_by: Arrival
    """The arrival that policies judge. For an expected session this is the arrival of the session that expected it, or
    of the first one in such a chain."""
    let_in: LetIn | None = None
    """None: a policy let the session in on its own account."""


class Collector(Protocol):
    """Whoever collects copies of messages."""

    def collect(
        self, protocol: int, transport: Transport, source: Endpoint, target: Endpoint, data: bytes, of: bytes
    ) -> None:
        """Take a message that has travelled between these two, and never block. `protocol` is its number in HEP, `of`
        what it belongs to."""


class Tracer(Protocol):
    """Whoever shows messages to those who trace sessions."""

    def wants(self, session: Session) -> bool:
        """Whether somebody traces this session."""

    def take(self, session: Session, has_come: bool, source: Endpoint, target: Endpoint, data: bytes) -> None:
        """Take a message of a session that has come, or that goes on, and never block."""


class Registry(Protocol):
    """All sessions of the daemon, as far as a single session needs them. `Sessions` is the only one."""

    loop: asyncio.AbstractEventLoop
    engines: dict[str, EngineFactory]
    metrics: Metrics
    timeouts: Timeouts
    policies: PolicyTable
    pinholes: PinholeTable
    resolver: Resolver
    held: Held
    """The budget of bytes that wait for peers to read them."""
    collector: Collector | None
    """Takes copies of messages. None: nobody does, and no engine makes any for it."""
    tracer: Tracer | None
    """Takes the messages of sessions that somebody traces. None: nobody does."""
    counted: Counted
    """Counts the sessions of helpers whose sessions have no lines of their own in the audit log."""

    def count_opened(self, helper: Helper) -> None:
        """A session has reached its server."""

    def lost(self, session: Any) -> None:
        """A bug of ours has ended the session, perhaps in the middle of its end."""

    def forget(self, session: Any) -> None:
        """The session is over and no longer counts."""

    def linger(self, session: Any) -> None:
        """The session is over, but its engine still looks after something, such as a call."""

    def dissolved(self, session: Any) -> None:
        """Nothing is left of a session that lingered."""


class Session(Performer):
    """A session performs the effects of its engine (`driver.Performer`) and owns the pinholes that the engine opens
    (`opening.Owner`).

    The registry holds a session until it is over. After that it holds the session only as *lingering*, for as long as
    the engine looks after something (`_closed`, `settle`). `StreamSession` and `Flow` add the sockets.
    """

    # A flow has more attributes than CPython keeps without a dict for each object (30 in 3.11), which costs two
    # kilobytes and some microseconds.
    __slots__ = (
        "_driver",
        "_loop",
        "_nat",
        "_sessions",
        "arrival",
        "charged_to",
        "decided_by",
        "group",
        "helper",
        "is_over",
        "key",
        "let_in",
        "log",
        "opened_at",
        "peers",
        "pinholes",
        "policy",
    )

    def __init__(self, sessions: Registry, admission: Admission) -> None:
        self._sessions = sessions
        self._loop = sessions.loop
        self._nat = admission.nat
        self._driver: EngineDriver | None = None
        self.peers: Peers | None = None
        """The two hosts, and how they know each other. None: the server has not been reached yet."""
        self.key = admission.key
        self.log = admission.log
        self.arrival = admission.arrival
        self.policy = admission.policy
        self.helper = admission.helper
        self.charged_to = admission.charged_to
        self.group = admission.group
        self.decided_by = admission.decided_by
        self.let_in = admission.let_in
        """By which session and pinhole this one came. None: a policy let it in."""
        self.pinholes = SessionPinholes(sessions.pinholes, self)
        self.opened_at = self._loop.time()
        self.is_over = False

    def _open(self, peers: Peers) -> EngineDriver:
        """Both sides can be reached. An engine is made and reads from now on."""
        self.peers = peers
        if self.helper.audit == "each":
            self.log.write(
                "session.opened",
                transport=peers.transport,
                interface=self.arrival.interface,
                snat=peers.client_as_seen if peers.is_mapped(Side.CLIENT) else None,
                dnat=peers.server if peers.server != peers.server_as_seen else None,
                dialled_from=peers.client_as_seen,
                **({} if self.let_in is None else self.let_in.facts),
            )
        self._sessions.count_opened(self.helper)
        options = self.policy.options[self.helper.name]
        engine = self._sessions.engines[self.helper.name](peers, options, self.pinholes, self._loop.time())
        self._driver = EngineDriver(self._loop, engine, self)
        if self._sessions.collector is not None or self._sessions.tracer is not None:
            self.copied()
        return self._driver

    @property
    def hosts(self) -> tuple[Host, Host]:
        """The hosts of the two sides, each by its own address."""
        return self.arrival.client.host, self._nat.dial.host

    @property
    def _role(self) -> object:
        """The role that the engine finds in its `Peers`. None: a policy let the session in."""
        return None if self.let_in is None else self.let_in.reader.role

    def is_known_by(self, host: Host) -> bool:
        """Whether one side knows the other side by this address of ours."""
        peers = self.peers
        return peers is not None and any(peers.is_mapped(side) and peers.as_seen(side).host == host for side in Side)

    def note(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write a line of audit log, and count a violation."""
        if event == "violation":
            self._sessions.metrics.violations.labels(facts["rule"]).inc()
        self.log.write(event, **facts)

    def copied(self) -> None:
        """Have the engine make copies of its messages if there is somebody who takes those of this session, else no
        more."""
        collector, tracer = self._sessions.collector, self._sessions.tracer
        is_collected = collector is not None and self.helper.hep is not None
        if self._driver is not None:
            self._driver.copy(is_collected or (tracer is not None and tracer.wants(self)))

    def copy(self, copy: Copy) -> None:
        """Give the copy of a message to those who take it, with the addresses between which it travels."""
        peers, collector, tracer = self.peers, self._sessions.collector, self._sessions.tracer
        if peers is None:
            return
        party, ours = peers.own(copy.side), peers.as_seen(copy.side.other)
        source, target = (party, ours) if copy.has_come else (ours, party)
        if collector is not None and self.helper.hep is not None:
            collector.collect(self.helper.hep, peers.transport, source, target, copy.data, copy.of)
        if tracer is not None:
            tracer.take(self, copy.has_come, source, target, copy.data)

    def engine_failed(self, lines: Sequence[str]) -> None:
        """Log the traceback of the engine and end the session."""
        self._sessions.metrics.engine_failures.inc()
        self.log.write("engine.failed", traceback=lines)
        self.break_off("engine_failed")

    def resolve(self, name: str) -> None:
        """Ask for the addresses of a name that the server has named."""
        self._sessions.resolver.ask(name, self._nat.dial.host, partial(self._resolved, name))

    def _resolved(self, name: str, hosts: tuple[Host, ...]) -> None:
        if self._driver is not None:
            self._driver.resolved(name, hosts)

    def pinhole_event(self, grant: AnyGrant, event: PinholeEvent) -> None:
        """Tell the engine what has happened at one of its pinholes."""
        if self._driver is not None:
            self._driver.event(grant, event)

    @property
    @abstractmethod
    def state(self) -> str:
        """One word for the operator. It describes a session that is not over."""

    @property
    @abstractmethod
    def received(self) -> Mapping[Side, int]:
        """How many bytes have come from each side."""

    @abstractmethod
    def idle_seconds(self, now: float) -> float | None:
        """For how long both sides have been silent. None: nobody knows."""

    def tell_progress(self, now: float) -> None:
        """Tell the log what has passed so far, if the session is relayed unread."""
        if not self.is_over and self.state == "relaying":
            seconds, received = round(now - self.opened_at, 6), self.received
            self.log.write(
                "session.progress",
                duration_seconds=seconds,
                bytes_from_client=received[Side.CLIENT],
                bytes_from_server=received[Side.SERVER],
            )

    @abstractmethod
    def stop(self) -> None:
        """End the session as soon as nothing is being transferred."""

    def reconfigured(self) -> None:
        """Other policies are in force for new sessions. A lingering session is told too, and ends if policies deny it
        now."""
        if not self.is_over:
            return
        self.settle()
        if self.ends_by(self._sessions.policies) is not None:
            self.dissolve()

    def ends_by(self, policies: PolicyTable) -> str | None:
        """Why these policies would not let the session go on: one word. None: they would."""
        if not self.is_over:
            return None
        decision = policies.judge(self.decided_by)
        return decision.reason if isinstance(decision, Denied) else None

    @abstractmethod
    def cut(self, reason: str) -> None:
        """End the session now, in order."""

    @abstractmethod
    def break_off(self, reason: str) -> None:
        """End the session now, in a way that neither peer mistakes for the proper end."""

    def give_up(self) -> None:
        """A bug of ours outside the engine ends the session (`proxy/record/failures.py`). Each step may fail and the
        next one is tried all the same."""
        steps: list[Callable[[], None]] = [partial(self.break_off, "failed"), self.dissolve]
        if not self.is_over:
            steps[1:1] = self._last_steps()
        steps += [self._stop_engine, partial(self.pinholes.end, "failed"), partial(self._sessions.lost, self)]
        for step in steps:
            with contextlib.suppress(Exception):
                step()
        self.is_over = True

    @abstractmethod
    def _last_steps(self) -> list[Callable[[], None]]:
        """The steps that release the sockets, whatever state the session is in. Each of them may fail."""

    def _stop_engine(self) -> None:
        if self._driver is not None:
            self._driver.stop()
        self._driver = None

    def _closed(self, reason: str, received: Mapping[Side, int], **facts: Any) -> None:
        """The session has ended and its sockets are gone. If its engine still looks after something, the session
        lingers, except when the daemon ends."""
        self.is_over = True
        self._sessions.forget(self)
        lingers = reason != "stopped" and self._driver is not None and self._driver.is_needed
        if not lingers:
            self.dissolve()
        if self.helper.audit == "each":
            self.log.write(
                "session.closed",
                reason=reason,
                duration_seconds=round(self._loop.time() - self.opened_at, 6),
                bytes_from_client=received[Side.CLIENT],
                bytes_from_server=received[Side.SERVER],
                **facts,
            )
        else:
            self._sessions.counted.closed(self.helper.name, reason, received)
        if lingers:
            self._sessions.linger(self)

    def dissolve(self) -> None:
        """The engine ends, and the pinholes that the session opened close with it."""
        if self._driver is not None and self._driver.is_needed:
            self.pinholes.end("session_closed")  # the engine may react to the closing, and thereby settle everything
        if self._driver is not None:
            self._driver.end()
            self._driver = None
        self.pinholes.end("session_closed")
        self._sessions.dissolved(self)

    @property
    def is_spare(self) -> bool:
        """Whether the session may end for another one of its client."""
        return False

    def settle(self) -> None:
        """Called after each step of the engine. A lingering session dissolves once its engine has nothing to look after
        any more."""
        if self.is_over and self._driver is not None and not self._driver.is_needed:
            self.dissolve()
