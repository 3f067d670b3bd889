"""All sessions of the daemon: admission by policy and limits, counting, and their orderly end."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Transport
from protocols.contract.engine import EngineFactory, Helper
from protocols.contract.pinholes import Grant, Reader
from protocols.observe import engines_of
from proxy.config.schema import Config
from proxy.pinholes.opening import Owner
from proxy.pinholes.shares import Group, Shares, account_of
from proxy.pinholes.table import PinholeTable
from proxy.record.audit import Log
from proxy.record.metrics import Metrics
from proxy.sessions.clients import Clients
from proxy.sessions.counted import Counted
from proxy.sessions.leg import Held
from proxy.sessions.policy import Accepted, Denied, Nat, PolicyTable, nat
from proxy.sessions.published import Published
from proxy.sessions.resolver import Resolver
from proxy.sessions.session import Admission, Collector, LetIn, Session, Tracer
from proxy.sessions.stream import StreamSession
from proxy.sessions.switches import Switches
from proxy.sockets import packet_info, streams
from proxy.sockets.arrival import Arrival


class Sessions:
    """The policies in force and the sessions that they let in. A reload changes the policies and leaves connections
    alone; a flow that another policy would treat differently begins anew.

    The daemon owns it. Listeners, flows and pinholes ask it to admit sessions, and each session tells it of its own
    end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        helpers: Mapping[str, Helper],
        pinholes: PinholeTable,
        log: Log,
        metrics: Metrics,
        own_listeners: frozenset[Endpoint],
    ) -> None:
        self.loop = loop
        self.pinholes = pinholes
        self.log = log
        self.metrics = metrics
        self._helpers = helpers
        self.engines: dict[str, EngineFactory] = {**engines_of(helpers)}
        self.purposes = {name: helper.purposes for name, helper in helpers.items()}
        """helper -> what the pinholes of its engines are for."""
        for name, purposes in self.purposes.items():
            metrics.knows(name, purposes)
        self._own_listeners = own_listeners
        self.resolver = Resolver(loop)
        self._interfaces = packet_info.InterfaceNames()
        self.held = Held()
        self.switches = Switches(loop)
        self.counted = Counted(loop, log)
        self.collector: Collector | None = None
        self.tracer: Tracer | None = None
        self._sessions: set[Session] = set()
        metrics.sessions.set_function(self._sessions.__len__)
        # There are only a few helpers, so each label is made once.
        self._count_opened = cache(metrics.sessions_opened.labels)
        self._lingering: set[Session] = set()
        """Sessions that are over while their engines still look after something."""
        self._clients = Clients()
        self.busiest = self._clients.busiest
        self._shares = Shares(config.limits.sessions)
        self.is_unrecorded: Callable[[], bool] = lambda: False
        """Whether no session may begin, since the audit log cannot be written. The daemon sets it."""
        self.give_way: Callable[[Group], bool] = lambda _: False
        """Ends one session of the group that nothing depends on, and returns whether there was one. `Flows` sets it."""
        self._numbers = itertools.count(1)
        self._all_gone = asyncio.Event()
        self.opened = 0
        """Sessions that have reached their server since the daemon started."""
        pinholes.begin = self._begin_expected
        pinholes.refuses_reader = self._refuses_reader
        pinholes.doors.stranger = self._passes_by
        self.switches.changed = self._reconfigured
        self.use(config)

    def use(self, config: Config, policies: PolicyTable | None = None) -> None:
        """Decide about new sessions by this configuration from now on. `policies` is its table, if that was made
        before."""
        self.timeouts = config.timeouts
        self._limits = config.limits
        self.policies = policies or PolicyTable(config)
        self.policies.switches = self.switches
        groups = self.policies.groups()
        self._shares.use(config.limits.sessions, groups)
        self.pinholes.share(groups)
        self.pinholes.has_helper = self.policies.has_helper
        self.pinholes.is_published = self.policies.is_published
        published = Published(config, self.pinholes.borders.interface_to)
        self.pinholes.reached_as, self.pinholes.reached_at = published.reached_as, published.reached_at
        self._reconfigured()

    def _reconfigured(self) -> None:
        """Other policies are in force, or other switches."""
        for session in (*self._sessions, *self._lingering):
            self._guarded(session.reconfigured)

    def collect(self, collector: Collector | None) -> None:
        """Give copies of messages to this collector from now on. None: to nobody."""
        self.collector = collector
        self._copied()

    def trace(self, tracer: Tracer | None) -> None:
        """Give messages to this tracer from now on, which may also want those of other sessions than before. None: to
        nobody."""
        self.tracer = tracer
        self._copied()

    def _copied(self) -> None:
        for session in (*self._sessions, *self._lingering):
            self._guarded(session.copied)

    def address_gone(self, host: Host) -> None:
        """This host has lost the address. Sessions known by it end, and the next datagram or connection begins a
        session by another address."""
        for session in (*self._sessions, *self._lingering):
            if session.is_known_by(host):
                self._guarded(session.break_off, "address_gone")
                self._guarded(session.dissolve)
        # This includes pinholes whose session has ended, and data connections, which would end by themselves only after
        # many minutes.
        for pinhole in self.pinholes:
            if pinhole.stands_on(host):
                self._guarded(pinhole.abort, "address_gone")

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Call one step of one session, so that a bug there does not keep the other sessions from theirs."""
        try:
            step(*arguments)
        except Exception as error:
            self.loop.call_exception_handler({"message": "a session failed", "exception": error})

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def lingering(self) -> tuple[Session, ...]:
        """The sessions that are over while their engines still look after something."""
        return tuple(self._lingering)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions))

    def begin(self, client: socket.socket, arrival: Arrival) -> None:
        """Let an accepted connection in, or reset it; either way the audit log says so. `client` is already tuned as a
        control connection (`streams.tune_control`)."""
        self._serve(client, self.admit(arrival))

    def _serve(self, client: socket.socket, admission: Admission | None) -> None:
        if admission is None:
            streams.reset(client)
            return
        session = StreamSession(self, admission, client)
        self.register(session)
        session.dial()

    def _passes_by(self, at: Endpoint, client: socket.socket, peer: Endpoint) -> bool:
        """Take a connection that reached a pinhole meant for another peer. If the pinhole stands on an address and port
        where sessions are taken over anyway, a session begins as if there were no pinhole: one server's redirect may
        lead many clients to an address that others dial by themselves. Returns whether the connection was taken."""
        if not self.policies.has_helper(Transport.TCP, at.port):
            return False
        try:
            interface = self._interfaces.of(packet_info.incoming_interface(client), self.loop.time())
        except OSError:  # no descriptor is left to ask with, or the client has reset it
            streams.reset(client)
            return True
        streams.tune_control(client)
        self.begin(client, Arrival(Transport.TCP, interface, peer, at))
        return True

    def _begin_expected(self, owner: Owner, grant: Grant, client: socket.socket, peer: Endpoint) -> None:
        """Begin the session for a connection that came through a pinhole of `owner` and is to be read by a helper."""
        expect = grant.expect
        assert expect.reader is not None
        try:
            interface = self._interfaces.of(packet_info.incoming_interface(client), self.loop.time())
        except OSError:  # no descriptor is left to ask with, or the peer has reset it
            interface = ""
        arrival = Arrival(Transport.TCP, interface, peer, grant.listen)
        how = Nat(peer.host if expect.source is None else expect.source.host, expect.target)
        let_in = LetIn(owner.key, self.pinholes.name(grant.id), expect.reader)
        streams.tune_control(client)
        self._serve(client, self.admit_expected(owner, let_in, arrival, how))

    def _refuses_reader(self, owner: Owner, reader: Reader) -> str | None:
        """Why an engine of another helper may not read what comes through a pinhole of this owner. None: it may."""
        if reader.helper == owner.helper.name:
            return None
        decision = self.policies.decide(owner.decided_by, reader.helper)
        if isinstance(decision, Denied):
            return decision.reason
        if self._clients.count(owner.charged_to) >= self._limits.sessions_per_client:
            return "limit_per_client"
        return None if self._shares.has_room(decision.group) else "limit_total"

    def admit(self, arrival: Arrival, first: bytes | None = None, is_renewed: bool = False) -> Admission | None:
        """Let a session in. Returns None, with a line in the audit log, when it may not begin. `first` is the datagram
        that a flow begins with. `is_renewed`: the session replaces one that counts already."""
        decision = self._decide(arrival, first, is_renewed)
        if isinstance(decision, Denied):
            self.deny(arrival, decision)
            return None
        account = account_of(arrival.client.host, self._limits.client_prefix_ipv6)
        group = decision.group
        limit = self._limit_reached(account, group, is_renewed)
        how = Denied(limit, decision.policy.name) if limit else nat(decision.policy, arrival)
        if isinstance(how, Denied):
            self.deny(arrival, how, decision)
            return None
        if arrival.server in self._own_listeners or how.dial in self._own_listeners:
            # A session to our own listener would come back to us, and again, until the descriptors are used up (rule
            # X28).
            self.deny(arrival, Denied("loop", decision.policy.name), decision)
            return None
        return self._admission(arrival, decision, group, how, account, arrival)

    def admit_expected(
        self,
        owner: Owner,
        let_in: LetIn,
        arrival: Arrival,
        how: Nat,
        first: bytes | None = None,
        is_renewed: bool = False,
    ) -> Admission | None:
        """Let in a session that an engine of `owner` expects. Policies decide as they stand now about a session between
        the owner's hosts, and the session counts against the owner's client. The other arguments and the result are
        those of `admit`."""
        decision = self._decide(owner.decided_by, first, is_renewed, let_in.reader)
        if isinstance(decision, Denied):
            self.deny(arrival, decision, let_in=let_in)
            return None
        group = decision.group
        limit = self._limit_reached(owner.charged_to, group, is_renewed)
        if limit is not None:
            self.deny(arrival, Denied(limit, decision.policy.name), decision, let_in)
            return None
        return self._admission(arrival, decision, group, how, owner.charged_to, owner.decided_by, let_in)

    def _decide(
        self, arrival: Arrival, first: bytes | None, is_renewed: bool, reader: Reader | None = None
    ) -> Accepted | Denied:
        """What policies decide about this arrival. A flow must also begin with a datagram of its helper's protocol,
        unless the helper only observes, and nothing new begins without an audit log. `reader` is of the pinhole that
        lets the session in, if there is one."""
        decision = self.policies.decide(arrival, None if reader is None else reader.helper)
        if isinstance(decision, Denied):
            return decision
        name, policy = decision.helper, decision.policy
        if first is not None and policy.options[name].mode == "active":
            role = None if reader is None else reader.role
            if not self._helpers[name].begins(first, policy.options[name], role):
                return Denied(f"not_{name}", policy.name)
        if not is_renewed and self.is_unrecorded():
            return Denied("audit_unavailable", None)
        return decision

    def _admission(
        self,
        arrival: Arrival,
        decision: Accepted,
        group: Group,
        how: Nat,
        charged_to: str,
        decided_by: Arrival,
        let_in: LetIn | None = None,
    ) -> Admission:
        """Give the session its key and its log."""
        policy, helper = decision.policy, self._helpers[decision.helper]
        key = f"{self.pinholes.instance}-{next(self._numbers)}"
        log = self.log.bind(
            session=key,
            helper=helper.name,
            policy=policy.name,
            client=arrival.client,
            server=arrival.server,
        )
        return Admission(key, arrival, policy, helper, how, log, charged_to, group, decided_by, let_in)

    def _limit_reached(self, client: str, group: Group, is_renewed: bool) -> str | None:
        """Which limit forbids one more session. None: there is room, perhaps because another flow has given way."""
        # Whoever gives way may not be enough: a reload may have lowered a limit to less than there is.
        most = self._limits.sessions_per_client + is_renewed
        if self._clients.count(client) >= most and not is_renewed:
            self._clients.spare(client)
        if self._clients.count(client) >= most:
            return "limit_per_client"
        if not (is_renewed or self._shares.has_room(group)):
            self.give_way(group)
            if not self._shares.has_room(group):
                return "limit_total"
        return None

    def deny(
        self, arrival: Arrival, why: Denied, accepted: Accepted | None = None, let_in: LetIn | None = None
    ) -> None:
        """Count a session that may not begin, and write the reason to the audit log."""
        self.metrics.sessions_denied.labels(why.reason).inc()
        self.log.write(
            "session.denied",
            transport=arrival.transport,
            helper=accepted.helper if accepted else self.policies.helper_of(arrival),
            policy=why.policy,
            client=arrival.client,
            server=arrival.server,
            interface=arrival.interface,
            reason=why.reason,
            **({} if let_in is None else let_in.facts),
        )

    def register(self, session: Session) -> None:
        """A session has begun and counts from now on."""
        self._sessions.add(session)
        self._clients.take(session)
        self._shares.take(session.group)

    def count_opened(self, helper: Helper) -> None:
        """A session has reached its server."""
        self.opened += 1
        self._count_opened(helper.name).inc()
        if helper.audit == "counted":
            self.counted.opened(helper.name)

    def forget(self, session: Session) -> None:
        """The session is over and no longer counts."""
        self._sessions.discard(session)
        self._shares.give(session.group)
        self._clients.give(session)
        if not self._sessions:
            self._all_gone.set()

    def lost(self, session: Session) -> None:
        """Forget a session that may have failed on its way out."""
        if session in self._sessions:
            self.forget(session)
        self._lingering.discard(session)

    def linger(self, session: Session) -> None:
        """Keep a finished session for as long as its engine looks after something."""
        self._lingering.add(session)

    def dissolved(self, session: Session) -> None:
        """Nothing is left of a session that lingered."""
        self._lingering.discard(session)

    async def drain(self, limit_seconds: float) -> None:
        """End every session: those without a transfer now, the others when their transfer is done, and all of them
        after the limit.

        Transfers whose session ended before them get the same time.
        """
        self._all_gone.clear()
        for session in self:
            self._guarded(session.stop)
        for session in tuple(self._lingering):
            self._guarded(session.dissolve)
        try:
            async with asyncio.timeout(limit_seconds):
                if self._sessions:
                    await self._all_gone.wait()
                await self.pinholes.drained()
        except TimeoutError:
            self.cut()
        finally:
            self.counted.tell()
            self.resolver.close()

    def cut(self) -> None:
        """End everything now."""
        for session in self:
            self._guarded(session.cut, "stopped")
        for session in tuple(self._lingering):
            self._guarded(session.dissolve)
        self.pinholes.close("stopped")
