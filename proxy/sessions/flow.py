"""A UDP session from its first datagram to its end: two hosts, an engine between them, and a socket towards each
host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport
from protocols.contract.effects import Splice
from proxy.pinholes.borders import Borders
from proxy.sessions.policy import Accepted, Denied, Nat, PolicyTable
from proxy.sessions.registry import Sessions
from proxy.sessions.session import Admission, Session
from proxy.sessions.turns import Turns
from proxy.sockets import packet_info, transparent
from proxy.sockets.endpoint import NOBODY, Heard, UdpEndpoint
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary

# RFC 3261, timers B and F: for so long after a request of the client, its answer may come from any port of the server's
# host.
ANSWER_SECONDS = 32.0


class Table(Protocol):
    """The table of flows, as far as a single flow needs it. `Flows` is the only one."""

    sessions: Sessions
    endpoints: UdpEndpoints
    borders: Borders
    turns: Turns
    from_place: dict[tuple[UdpEndpoint, str], list[Flow]]
    """(far endpoint of a client, host of a server) -> flows of this client with this server."""

    def begin(
        self, admission: Admission, client: Address, near_hears: Heard, before: Flow | None = None
    ) -> Flow | None:
        """Begin a flow. `before` is the flow that the new one replaces, if it can. Returns None when the new flow
        cannot begin."""


class Flow(Session):
    """A session over UDP. The engine hears what each side sends, and what it sends goes out by the socket towards the
    other side.

    `Flows` begins it. It shares its two endpoints with other flows, and routes datagrams there by their source address.
    After a reload the new flow keeps the old one (`_before`) alive until the calls of the old one are over.
    """

    __slots__ = (
        "_asked_at",
        "_before",
        "_borders",
        "_came_by",
        "_endpoints",
        "_ends",
        "_flows",
        "_idle_seconds",
        "_lost",
        "_received",
        "_refused",
        "_timer",
        "_voice",
        "active_at",
        "is_answered",
    )

    _sessions: Sessions

    def __init__(
        self,
        flows: Table,
        admission: Admission,
        near: UdpEndpoint,
        far: UdpEndpoint,
        client: Address,
        before: Flow | None,
    ) -> None:
        super().__init__(flows.sessions, admission)
        self._flows = flows
        self._borders = flows.borders
        self._endpoints = flows.endpoints
        self._before = before
        """The flow between the same two addresses under an older policy, whose calls still go on."""
        arrival, dial = self.arrival, self._nat.dial
        peers = Peers(arrival.client, far.at, dial, arrival.server, Transport.UDP, self._role)
        self._ends = {Side.CLIENT: (near, client), Side.SERVER: (far, transparent.address(peers.server))}
        """For each side, the socket towards it and the address of the side."""
        self._voice: UdpEndpoint | None = None
        """A socket on another port of the server, held while an answer from that port is passed to the client."""
        self._received = {Side.CLIENT: 0, Side.SERVER: 0}
        self._lost = 0
        """Datagrams that could not be sent on."""
        self.active_at = self._asked_at = self.opened_at
        self.is_answered = before is not None
        """Whether the server has ever sent something to this flow, or to the flow that it replaced."""
        self._came_by: dict[Side, Ancillary] = {Side.CLIENT: (), Side.SERVER: ()}
        """For each side, the interface by which its last datagram came, as the kernel told it."""
        self._refused = 0
        """Datagrams that came by the wrong interface."""
        for side, (endpoint, address) in self._ends.items():
            endpoint.routes[address] = partial(self.receive, side)
        if self.let_in is None:
            flows.from_place.setdefault((far, self._server_host), []).append(self)
        self._sessions.register(self)
        flows.turns.began(self)
        own_idle = self.helper.idle(self.policy.options[self.helper.name])
        most = self._sessions.timeouts.udp_idle
        self._idle_seconds = most if own_idle is None else min(own_idle, most)
        self._timer = self._loop.call_later(self._wait(), self._look)
        self._open(peers)

    @property
    def _server_host(self) -> str:
        """The server's host as text, as the kernel writes it."""
        host: str = self._ends[Side.SERVER][1][0]
        return host

    @property
    def is_needed(self) -> bool:
        """Whether the engine of this flow, or of a flow that it replaced, still looks after a call. The messages that
        end such a call come through this flow."""
        flow: Flow | None = self
        while flow is not None:
            if flow._driver is not None and flow._driver.is_needed:
                return True
            flow = flow._before
        return False

    @property
    def is_spare(self) -> bool:
        return self._driver is not None and self._driver.is_done and not self.is_needed and self.is_silent

    def is_answer(self, data: bytes) -> bool:
        """Whether this datagram is an answer, and comes within the time that an answer to the client's last request may
        take."""
        return self._loop.time() - self._asked_at < ANSWER_SECONDS and self.helper.answers(data)

    def hears(self, far: UdpEndpoint, server: Address) -> bool:
        """Whether datagrams of this server that arrive at this endpoint belong to this flow."""
        return not self.is_over and self._ends[Side.SERVER] == (far, server)

    def way_back(self, server: Host) -> Nat:
        """The NAT for a session in the other direction, from the server's host to this flow's client."""
        dial = self._nat.dial
        return Nat(server if dial == self.arrival.server else self.arrival.server.host, self.arrival.client)

    # -- datagrams in ---------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, ancillary: Ancillary = ()) -> None:
        """A datagram of this side has come."""
        # Mostly the interface is the same as last time. To compare what the kernel said is quicker than to read it.
        if ancillary != self._came_by[side] and not self._may_come_by(side, ancillary):
            return
        self.active_at = now = self._loop.time()
        if side is Side.CLIENT:
            self._asked_at = now
        else:
            self.is_answered = True
        self._received[side] += len(data)
        if self._driver is not None:
            self._driver.receive(side, data)
        else:
            self.send(side.other, data)

    def _may_come_by(self, side: Side, ancillary: Ancillary) -> bool:
        """Whether datagrams of this side may come by this interface. If not, the sender forges the side's address, and
        the datagram is counted."""
        index = packet_info.arrival_interface(ancillary)
        if side is Side.CLIENT and self.let_in is None:
            is_theirs = self._borders.name_of(index) == self.arrival.interface or self._is_let_in_by(index)
        else:
            is_theirs = self._borders.leads_to(self._host(side), index, self)
        if is_theirs:
            self._came_by[side] = ancillary
            return True
        self.refuse(side, ancillary)
        return False

    def _host(self, side: Side) -> Host:
        """The host whose address the datagrams of this side bear."""
        return (self.arrival.client if side is Side.CLIENT else self._nat.dial).host

    def hears_server_by(self, ancillary: Ancillary) -> bool:
        """Whether datagrams of the server's host may come by this interface."""
        if ancillary == self._came_by[Side.SERVER]:
            return True
        return self._borders.leads_to(self._host(Side.SERVER), packet_info.arrival_interface(ancillary), self)

    def refuse(self, side: Side, ancillary: Ancillary) -> None:
        """Count a datagram that bears the address of this side and came by an interface that does not lead there."""
        self._refused += 1
        if self._refused == 1:  # later ones are a number in session.closed
            by = self._borders.name_of(packet_info.arrival_interface(ancillary))
            detail = f"{self._host(side)} seems to send by {by}"
            self.note("violation", {"rule": "session.spoofed", "detail": detail, "action": "dropped"})

    def _is_let_in_by(self, index: int) -> bool:
        """Whether the same policy also lets the client in by another interface."""
        decision = self._sessions.policies.decide(self.arrival._replace(interface=self._borders.name_of(index)))
        return isinstance(decision, Accepted) and decision.policy == self.policy

    def answered_from(self, port: int, data: bytes, ancillary: Ancillary) -> None:
        """The server has answered from another port. The client sees the answer come from that port, provided that it
        knows the server by the server's own address."""
        at = Endpoint(self._nat.dial.host, port)
        if at.host != self.arrival.server.host:
            self.receive(Side.SERVER, data, ancillary)
            return
        try:
            voice = self._endpoints.take(at, hears=NOBODY)
        except OSError:
            self._lost += 1
            return
        self._voice = voice
        self.receive(Side.SERVER, data, ancillary)
        self._voice = None
        self._endpoints.give(voice)

    def _look(self) -> None:
        """Runs from time to time. It ends the flow when that has been silent for too long and the engine waits for
        nothing."""
        self._forget_before()
        self._hear_left()
        if self.is_over:  # what was just read has ended the flow
            return
        left = self.active_at + self._wait() - self._loop.time()
        if left <= 0 and not self.is_needed:
            self.cut("idle" if self.is_answered else "unanswered")
        else:
            self._timer = self._loop.call_later(left if left > 0 else self._wait(), self._look)

    def _wait(self) -> float:
        """Seconds for which the flow may be silent. They are fewer while the server has not answered, since the
        client's address may be forged then."""
        return (
            self._idle_seconds if self.is_answered else min(self._idle_seconds, self._sessions.timeouts.udp_unanswered)
        )

    @property
    def is_silent(self) -> bool:
        """Whether no datagram waits to be read at either socket."""
        return not any(endpoint.has_left() for endpoint, _ in self._ends.values())

    def _hear_left(self) -> None:
        """Read what either side had sent in time but nobody has read yet."""
        for endpoint, _ in self._ends.values() if not self.is_over else ():
            endpoint.read_left()

    # -- effects --------------------------------------------------------------------------------------------------

    def send(self, to: Side, data: bytes) -> None:
        """Send a datagram to this side, or count it as lost."""
        endpoint, address = self._ends[to]
        if self._voice is not None and to is Side.CLIENT:
            endpoint = self._voice
        if self.is_over or not endpoint.send(data, address):
            self._lost += 1

    def finish(self, to: Side) -> None:
        """Datagrams have no end of stream, so there is nothing to do."""

    def abort(self, reason: str, told: frozenset[Side]) -> None:
        """End the flow; a datagram that was just sent needs no time to be read."""
        self._end(reason)

    def conclude(self, reason: str) -> None:
        """End the flow."""
        self._end(reason)

    def splice(self, splice: Splice) -> None:
        """From now on datagrams are passed on unread."""
        self._idle_seconds = splice.idle_seconds
        self._stop_engine()

    # -- ends -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One word for the operator."""
        return "serving" if self._driver is not None else "relaying"

    @property
    def received(self) -> Mapping[Side, int]:
        """How many bytes have come from each side."""
        return self._received

    def idle_seconds(self, now: float) -> float:
        """For how long both sides have been silent."""
        return now - self.active_at

    def stop(self) -> None:
        """The daemon is about to end. Datagrams that have arrived are read first."""
        self._hear_left()
        self.cut("stopped")

    def cut(self, reason: str) -> None:
        """End the flow now, after the engine has heard that it is cut short."""
        if self.is_over:
            return
        if self._driver is not None:
            self._driver.hear_out()
            if self.is_over:  # the engine failed meanwhile, which has ended the flow
                return
        self._end(reason)

    break_off = cut

    def reconfigured(self) -> None:
        """Judge the flow by the new policies. Without this a phone, which refreshes its flow for ever, would never get
        to know them."""
        super().reconfigured()
        if self.is_over:
            return
        decision = self._judged(self._sessions.policies)
        if isinstance(decision, Denied):
            self.cut(decision.reason)
            self.dissolve()
            return
        is_another = decision.policy != self.policy or decision.helper != self.helper.name
        # The flow waits for the client's next datagram: what the server says until then answers an older request, or
        # will be answered soon.
        for side in (Side.CLIENT,) if self.let_in is None else Side:
            endpoint, address = self._ends[side]
            endpoint.routes[address] = partial(self._begin_anew if is_another else self.receive, side)

    def _judged(self, policies: PolicyTable) -> Accepted | Denied:
        """What policies say to this flow."""
        return policies.judge(self.decided_by, None if self.let_in is None else self.let_in.reader.helper)

    def ends_by(self, policies: PolicyTable) -> str | None:
        """Why these policies would not let the flow go on."""
        if self.is_over:
            return super().ends_by(policies)
        decision = self._judged(policies)
        return decision.reason if isinstance(decision, Denied) else None

    def _begin_anew(self, side: Side, data: bytes, ancillary: Ancillary = ()) -> None:
        """Replace this flow, at the client's first datagram after a reload. The server notices nothing unless its NAT
        changes. Calls of the old flow go on. If there is no room for the new flow, the old one stays until there is."""
        if self.let_in is not None:
            admission = self._sessions.admit_expected(self, self.let_in, self.arrival, self._nat, is_renewed=True)
        else:
            admission = self._sessions.admit(self.arrival, is_renewed=True)
        near, client = self._ends[Side.CLIENT]
        flow = None if admission is None else self._flows.begin(admission, client, near.hears, self)
        if flow is not None:
            flow._forget_before()
            flow.receive(side, data, ancillary)
            self._flows.turns.looked_at(flow)

    def _forget_before(self) -> None:
        """Release the replaced flows whose engines look after nothing any more."""
        flow: Flow = self
        while (before := flow._before) is not None:
            before.settle()
            if before._driver is None:
                flow._before = before._before
            else:
                flow = before

    def _last_steps(self) -> list[Callable[[], None]]:
        return [self._stop_looking, partial(self._flows.turns.ended, self), self._give_ends]

    def _stop_looking(self) -> None:
        self._timer.cancel()

    def _give_ends(self) -> None:
        """Give both endpoints back, as far as the flow still holds them."""
        for endpoint, address in self._ends.values():
            if endpoint.routes.pop(address, None) is not None:
                self._endpoints.give(endpoint)

    def _end(self, reason: str) -> None:
        """Leave the tables, give both endpoints back, and write the last line of log."""
        self._timer.cancel()
        self._flows.turns.ended(self)
        far = self._ends[Side.SERVER][0]
        place, places = (far, self._server_host), self._flows.from_place
        beside = places.get(place, [])
        if self in beside:
            beside.remove(self)
            if not beside:
                del places[place]
        for endpoint, address in self._ends.values():
            del endpoint.routes[address]
            self._endpoints.give(endpoint)
        counts: dict[str, int] = {}
        if self._lost:
            counts["datagrams_lost"] = self._lost
        if self._refused:
            counts["datagrams_refused"] = self._refused
        self._closed(reason, self._received, **counts)
