"""A UDP session from its first datagram to its end: two hosts, an engine between them, and a socket towards each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport
from proxy.pinholes.borders import Borders
from proxy.sessions.policy import Accepted, Denied, Nat
from proxy.sessions.registry import Sessions
from proxy.sessions.session import Admission, Session
from proxy.sessions.turns import Turns
from proxy.sockets import packet_info, transparent
from proxy.sockets.endpoints import NOBODY, Heard, UdpEndpoint, UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary

# RFC 3261, timers B and F: so long an answer to what a client has sent may come, from whichever port of its server.
ANSWER_SECONDS = 32.0


class Table(Protocol):
    """All flows, as far as one of them needs the others."""

    sessions: Sessions
    endpoints: UdpEndpoints
    borders: Borders
    turns: Turns
    from_place: dict[tuple[UdpEndpoint, str], list[Flow]]
    """The flows of the client that is known by an endpoint, by the host of their server."""

    def begin(
        self, admission: Admission, client: Address, near_hears: Heard, before: Flow | None = None
    ) -> Flow | None:
        """before: the flow whose place the new one takes, if it can. None, when it cannot."""


class Flow(Session):
    """Its engine hears what either side sends, and what it sends goes out from the socket towards the other side."""

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
        flows.turns.began(self)
        own_idle = self.helper.idle(self.policy.options[self.helper.name])
        most = self._sessions.timeouts.udp_idle
        self._idle_seconds = most if own_idle is None else min(own_idle, most)
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
        self._hear_left()
        if self.is_over:  # by what it heard
            return
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

    @property
    def is_silent(self) -> bool:
        return not any(endpoint.has_left() for endpoint, _ in self._ends.values())

    def _hear_left(self) -> None:
        """What either side had sent in time, though nobody has come to read it."""
        for endpoint, _ in self._ends.values() if not self.is_over else ():
            endpoint.read_left()

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
        self._hear_left()
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
        return [self._stop_looking, partial(self._flows.turns.ended, self), self._give_ends]

    def _stop_looking(self) -> None:
        self._timer.cancel()

    def _give_ends(self) -> None:
        for endpoint, address in self._ends.values():
            if endpoint.routes.pop(address, None) is not None:
                self._endpoints.give(endpoint)

    def _end(self, reason: str) -> None:
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
        counts = {"datagrams_lost": self._lost, "datagrams_refused": self._refused}
        self._closed(reason, self._received, **{name: count for name, count in counts.items() if count})
