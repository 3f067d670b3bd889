"""UDP sessions: two hosts that exchange datagrams, one engine, and a socket towards each.

    first datagram -> policy -> engine, [far: the client's address as the server knows it] --> server
    the client's   -> main listener, to which the rules bring whatever a policy's clients send to helper ports
    the server's   -> far -> engine, [near: the server's address as the client knows it] --> client
    silence        -> closed, unless the engine still waits for something

No task and no lock: every step is a callback of the loop that runs to its end.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport
from protocols.contract.pinholes import Reader
from proxy.pinholes.datagrams import DatagramPinhole
from proxy.pinholes.shares import Group
from proxy.sessions.policy import Accepted, Denied, Nat
from proxy.sessions.registry import Sessions
from proxy.sessions.session import Admission, LetIn, Session
from proxy.sockets import packet_info, transparent
from proxy.sockets.arrival import Arrival
from proxy.sockets.endpoints import EVERYBODY, NOBODY, Heard, UdpEndpoint, UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary

# Below are the ports of services that this machine may want for itself later.
LEAST_KEPT_PORT = 1024
# RFC 3261, timers B and F: so long an answer to what a client has sent may come, from whichever port of its server.
ANSWER_SECONDS = 32.0
MOST_LOOKS = 64
"""How many flows are looked at to find one that gives way to a new one."""


class Flows:
    """Begins flows, for the main listener and for whoever comes to an endpoint and is not known there."""

    def __init__(self, sessions: Sessions, endpoints: UdpEndpoints) -> None:
        self.sessions = sessions
        self.endpoints = endpoints
        self._interfaces = packet_info.InterfaceNames()
        self.borders = sessions.pinholes.borders
        self._by_age: dict[Group, OrderedDict[Flow, float]] = {}
        """Flows, those first that were looked at longest ago, with when each had been active then."""
        endpoints.stranger = self._stranger
        self.from_place: dict[tuple[UdpEndpoint, str], list[Flow]] = {}
        """The flows of the client that is known by an endpoint, by the host of their server."""
        sessions.give_way = self._give_way

    def redirected(self, data: bytes, ancillary: Ancillary, source: Address) -> None:
        """A datagram that TPROXY brought to the main listener."""
        server = packet_info.original_destination(ancillary)
        if server is None:
            return
        near = self.endpoints.get(server, NOBODY)
        if near is not None and (take := near.routes.get(source)) is not None:
            take(data, ancillary)
            return
        hearing = self.endpoints.hearing(server, packet_info.endpoint(source).host)
        if hearing is None:
            self._arrive(data, ancillary, source, server)
        elif (take := hearing.routes.get(source)) is not None:
            take(data, ancillary)  # sent before its flow's socket stood
        else:
            self._stranger(hearing, data, ancillary, source)

    def _stranger(self, at: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        waiting = self.sessions.pinholes.waiting.get(at, ())
        host = packet_info.endpoint(source).host if waiting else None
        for pinhole in waiting:
            assert host is not None
            if pinhole.admits(host) and self.borders.leads_to(
                host, packet_info.arrival_interface(ancillary), pinhole.owner
            ):
                self._arrive(data, ancillary, source, at.at, at, pinhole)
                return
            pinhole.refuse()
        # Not every server sends from the port that it waits on; its host is known while a call stands, or it is asked.
        beside = self.from_place.get((at, source[0]), ())
        if (asked := next((flow for flow in beside if flow.is_answer(data)), None)) is not None:
            asked.answered_from(source[1], data)
            return
        called = next((flow for flow in beside if flow.is_needed), None)
        self._arrive(data, ancillary, source, at.at, at, beside=called)

    def _arrive(
        self,
        data: bytes,
        ancillary: Ancillary,
        source: Address,
        server: Endpoint,
        at: UdpEndpoint | None = None,
        pinhole: DatagramPinhole | None = None,
        beside: Flow | None = None,
    ) -> None:
        """The first datagram of a flow. at: the socket that heard it; None: the main listener did. pinhole: one that
        admits its sender. beside: the flow of a client whose server sends from another port."""
        try:
            interface = self._interfaces.of(packet_info.arrival_interface(ancillary), self.sessions.loop.time())
        except OSError:  # no room to ask, so none for a flow
            arrival = Arrival(Transport.UDP, "", packet_info.endpoint(source), server)
            self.sessions.deny(arrival, Denied("no_descriptors", None))
            return
        arrival = Arrival(Transport.UDP, interface, packet_info.endpoint(source), server)
        if pinhole is not None:
            expect = pinhole.grant.expect
            known_as = arrival.client.host if expect.source is None else expect.source.host
            if self.endpoints.is_mapped(arrival.client, server.host):
                known_as = server.host  # one client calls another, and is known to it as to everybody (RFC 4787 s.6)
            how = Nat(known_as, expect.target)
            assert expect.reader is not None
            let_in = LetIn(pinhole.owner.key, pinhole.grant.id, expect.reader)
            admission = self.sessions.admit_expected(pinhole.owner, let_in, arrival, how, first=data)
        elif (ours := self.endpoints.get(arrival.client, EVERYBODY)) is not None and ours.mapped is not None:
            # From ourselves to ourselves, and so on for ever (rule X28).
            self.sessions.deny(arrival, Denied("loop", None))
            return
        elif beside is not None:
            let_in = LetIn(beside.key, None, Reader(beside.helper.name, beside.helper.beside))
            how = beside.way_back(arrival.client.host)
            admission = self.sessions.admit_expected(beside, let_in, arrival, how, first=data)
        else:
            admission = self.sessions.admit(arrival, data)
        flow = None if admission is None else self.begin(admission, source, NOBODY if at is None else at.hears)
        if flow is None:
            return
        if pinhole is not None:
            pinhole.use(source)
        flow.receive(Side.CLIENT, data)

    def begin(
        self, admission: Admission, client: Address, near_hears: Heard, before: Flow | None = None
    ) -> Flow | None:
        """near_hears: whom the socket towards the client hears; NOBODY when the main listener hears the client. before:
        the flow whose place this one takes, if it can. None, and a line in the audit log, when it cannot."""
        try:
            near, far = self._stand(admission, near_hears, before)
        except OSError as error:
            if before is not None and error.errno == errno.EADDRINUSE:  # by another one, which may wait for just that
                before.cut("reconfigured")
            why = Denied(_refusal(error), admission.policy.name)
            self.sessions.deny(admission.arrival, why, let_in=admission.let_in)
            return None
        if before is not None:
            before.cut("reconfigured")
        return Flow(self, admission, near, far, client, before)

    def _stand(self, admission: Admission, near_hears: Heard, before: Flow | None) -> tuple[UdpEndpoint, UdpEndpoint]:
        """The two endpoints, taken. Raises OSError."""
        near = self.endpoints.take(admission.arrival.server, hears=near_hears)
        try:
            far = self._far(admission.arrival.client, admission.nat, mark_of(admission))
        except OSError:
            self.endpoints.give(near)
            raise
        # The client talks to this server already, by another address of it: whose the replies are nobody could say. Nor
        # could one say who is who where somebody talks to himself.
        server = transparent.address(admission.nat.dial)
        is_taken = server in far.routes and not (before is not None and before.hears(far, server))
        if is_taken or near.at == far.at:
            self.endpoints.give(near)
            self.endpoints.give(far)
            raise OSError(errno.EADDRINUSE, "two flows of one client to one server")
        return near, far

    def began(self, flow: Flow) -> None:
        self._by_age.setdefault(flow.group, OrderedDict())[flow] = flow.active_at

    def ended(self, flow: Flow) -> None:
        flows = self._by_age[flow.group]
        flows.pop(flow, None)
        if not flows:
            del self._by_age[flow.group]

    def _give_way(self, group: Group) -> bool:
        """End the flow of this group that has been silent longest, of those that nothing depends on: a phone that has
        registered or is in a call stays, forged sources go. When there is none, a call that its server has not
        answered at all depends on nothing either, for whoever forges sources begins calls. Whether there was one."""
        flows = self._by_age.get(group, OrderedDict())
        unanswered: Flow | None = None
        for _ in range(min(len(flows), MOST_LOOKS)):
            flow, active_at = next(iter(flows.items()))
            if flow.active_at == active_at:
                if not flow.is_needed:
                    flow.cut("gave_way")
                    return True
                if unanswered is None and not flow.is_answered:
                    unanswered = flow
            flows[flow] = flow.active_at
            flows.move_to_end(flow)
        if unanswered is None:
            return False
        unanswered.cut("gave_way")
        return True

    def _far(self, client: Endpoint, nat: Nat, mark: int) -> UdpEndpoint:
        """The client as the server knows it. mark: of what is sent to the server."""
        host: Host = nat.source if nat.source is not None else transparent.route_source(nat.dial, mark)
        if host == client.host:
            far = self.endpoints.take(client, hears=nat.dial.host)
        else:
            published = self.sessions.policies.is_published(Transport.UDP, Endpoint(host, client.port))
            far = self.endpoints.take_mapped(client, host, client.port >= LEAST_KEPT_PORT and not published)
        try:
            transparent.set_mark(far.sock, mark)
        except OSError:
            self.endpoints.give(far)
            raise
        return far


def mark_of(admission: Admission) -> int:
    """The mark of what a flow sends to its server; 0 where that is the policy's client, to whom a pinhole leads."""
    return 0 if admission.nat.dial.host == admission.decided_by.client.host else admission.policy.route_mark or 0


def _refusal(error: OSError) -> str:
    match error.errno:
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case errno.EADDRINUSE:
            return "address_in_use"
        case errno.EADDRNOTAVAIL:
            return "no_free_port"
        case _:
            return "server_unreachable"


class Flow(Session):
    _sessions: Sessions

    def __init__(
        self,
        flows: Flows,
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
        """The same by another policy, whose calls go on."""
        arrival, dial = self.arrival, self._nat.dial
        peers = Peers(arrival.client, far.at, dial, arrival.server, Transport.UDP, self._role)
        self._ends = {Side.CLIENT: (near, client), Side.SERVER: (far, transparent.address(peers.server))}
        """The socket towards each side, and the side's address."""
        self._voice: UdpEndpoint | None = None
        """Another port of the server, while it answers from there."""
        self._received = dict.fromkeys(Side, 0)
        self._lost = 0
        self.active_at = self._asked_at = self.opened_at
        self.is_answered = before is not None
        """The server has said something, or had to a flow that this one stands for."""
        self._came_by: dict[Side, Ancillary] = dict.fromkeys(Side, ())
        """The interface by which the last datagram of each side came, as the kernel told it."""
        self._refused = 0
        for side, (endpoint, address) in self._ends.items():
            endpoint.routes[address] = partial(self.receive, side)
        if self._let_in is None:
            flows.from_place.setdefault((far, self._server_host), []).append(self)
        self._sessions.register(self)
        flows.began(self)
        self._idle_seconds = self._sessions.timeouts.udp_idle
        self._timer = self._loop.call_later(self._wait(), self._look)
        self._open(peers)

    @property
    def _server_host(self) -> str:
        host: str = self._ends[Side.SERVER][1][0]
        return host

    @property
    def is_needed(self) -> bool:
        """By its engine, or by those before it: by this way their calls are ended."""
        flow: Flow | None = self
        while flow is not None:
            if flow._driver is not None and flow._driver.is_needed:
                return True
            flow = flow._before
        return False

    def is_answer(self, data: bytes) -> bool:
        """Whether this is an answer, and comes while an answer to what the client has sent may come."""
        return self._loop.time() - self._asked_at < ANSWER_SECONDS and self.helper.answers(data)

    def hears(self, far: UdpEndpoint, server: Address) -> bool:
        """Whether it is what that server's datagrams there come to."""
        return not self.is_over and self._ends[Side.SERVER] == (far, server)

    def way_back(self, server: Host) -> Nat:
        """How one comes to the client who is at the server's host."""
        dial = self._nat.dial
        return Nat(server if dial == self.arrival.server else self.arrival.server.host, self.arrival.client)

    # -- datagrams in ---------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, ancillary: Ancillary = ()) -> None:
        # The interface mostly is that of the datagram before: to compare what the kernel said is quicker than to read.
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
        """Whether datagrams of that side come by this interface; if not, somebody bears the side's address."""
        host = (self.arrival.client if side is Side.CLIENT else self._nat.dial).host
        index = packet_info.arrival_interface(ancillary)
        if side is Side.CLIENT and self._let_in is None:
            is_theirs = self._borders.name_of(index) == self.arrival.interface or self._is_let_in_by(index)
        else:
            is_theirs = self._borders.leads_to(host, index, self)
        if is_theirs:
            self._came_by[side] = ancillary
            return True
        self._refused += 1
        if self._refused == 1:  # the rest is a number in session.closed
            detail = f"{host} seems to send by {self._borders.name_of(index)}"
            self.note("violation", {"rule": "session.spoofed", "detail": detail, "action": "dropped"})
        return False

    def _is_let_in_by(self, index: int) -> bool:
        """Whether the same policy lets the client in by another interface, too."""
        decision = self._sessions.policies.decide(replace(self.arrival, interface=self._borders.name_of(index)))
        return isinstance(decision, Accepted) and decision.policy == self.policy

    def answered_from(self, port: int, data: bytes) -> None:
        """An answer from another port of the server. The client sees it come from there, if it knows the server by its
        own address."""
        at = Endpoint(self._nat.dial.host, port)
        if at.host != self.arrival.server.host:
            self.receive(Side.SERVER, data)
            return
        try:
            voice = self._endpoints.take(at, hears=NOBODY)
        except OSError:
            self._lost += 1
            return
        self._voice = voice
        self.receive(Side.SERVER, data)
        self._voice = None
        self._endpoints.give(voice)

    def _look(self) -> None:
        """From time to time: silent for too long, and nothing left that the engine waits for?"""
        self._forget_before()
        left = self.active_at + self._wait() - self._loop.time()
        if left <= 0 and not self.is_needed:
            self.cut("idle" if self.is_answered else "unanswered")
        else:
            self._timer = self._loop.call_later(left if left > 0 else self._wait(), self._look)

    def _wait(self) -> float:
        """Seconds for which the flow may be silent. One that no server has answered may be of a forged source."""
        return (
            self._idle_seconds if self.is_answered else min(self._idle_seconds, self._sessions.timeouts.udp_unanswered)
        )

    # -- effects --------------------------------------------------------------------------------------------------

    def send(self, to: Side, data: bytes) -> None:
        endpoint, address = self._ends[to]
        if self._voice is not None and to is Side.CLIENT:
            endpoint = self._voice
        if self.is_over or not endpoint.send(data, address):
            self._lost += 1

    def finish(self, to: Side) -> None:
        """Datagrams have no end."""

    def abort(self, reason: str, told: frozenset[Side]) -> None:
        self._end(reason)

    def conclude(self, reason: str) -> None:
        self._end(reason)

    def splice(self, idle_seconds: float, carries_urgent: bool) -> None:
        """From now on datagrams pass unread."""
        self._idle_seconds = idle_seconds
        self._stop_engine()

    # -- ends -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return "serving" if self._driver is not None else "relaying"

    def stop(self) -> None:
        self.cut("stopped")

    def cut(self, reason: str) -> None:
        if self.is_over:
            return
        if self._driver is not None:
            self._driver.hear_out()
            if self.is_over:  # it failed
                return
        self._end(reason)

    break_off = cut

    def reconfigured(self) -> None:
        """Phones refresh their flows for ever, so that they would never come to know of a new policy."""
        super().reconfigured()
        if self.is_over:
            return
        helper = None if self._let_in is None else self._let_in.reader.helper
        decision = self._sessions.policies.judge(self.decided_by, helper)
        if isinstance(decision, Denied):
            self.cut(decision.reason)
            self.dissolve()
            return
        is_another = decision.policy != self.policy or decision.helper != self.helper.name
        # What the server of a client says is an answer to something of before, or is answered soon.
        for side in (Side.CLIENT,) if self._let_in is None else Side:
            endpoint, address = self._ends[side]
            endpoint.routes[address] = partial(self._begin_anew if is_another else self.receive, side)

    def _begin_anew(self, side: Side, data: bytes, _: Ancillary = ()) -> None:
        """With the client's first datagram after a reload; the server notices nothing unless its NAT is another. What
        the engine looks after goes on. Without room for it this flow stays, until there is."""
        if self._let_in is not None:
            admission = self._sessions.admit_expected(self, self._let_in, self.arrival, self._nat, is_renewed=True)
        else:
            admission = self._sessions.admit(self.arrival, is_renewed=True)
        near, client = self._ends[Side.CLIENT]
        flow = None if admission is None else self._flows.begin(admission, client, near.hears, self)
        if flow is not None:
            flow._forget_before()
            flow.receive(side, data)

    def _forget_before(self) -> None:
        """Those whose engines look after nothing any more."""
        while self._before is not None:
            self._before.settle()
            if self._before._driver is not None:
                return
            self._before = self._before._before

    def _last_steps(self) -> list[Callable[[], None]]:
        return [self._stop_looking, partial(self._flows.ended, self), self._give_ends]

    def _stop_looking(self) -> None:
        self._timer.cancel()

    def _give_ends(self) -> None:
        for endpoint, address in self._ends.values():
            if endpoint.routes.pop(address, None) is not None:
                self._endpoints.give(endpoint)

    def _end(self, reason: str) -> None:
        self._timer.cancel()
        self._flows.ended(self)
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
        counts = {"datagrams_lost": self._lost, "datagrams_refused": self._refused}
        self._closed(reason, self._received, **{name: count for name, count in counts.items() if count})
