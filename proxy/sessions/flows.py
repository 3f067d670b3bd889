"""How UDP sessions begin: two hosts that exchange datagrams, one engine, and a socket towards each.

    first datagram -> policy -> engine, [far: the client's address as the server knows it] --> server
    the client's   -> main listener, to which the rules bring whatever a policy's clients send to helper ports
    the server's   -> far -> engine, [near: the server's address as the client knows it] --> client
    silence        -> closed, unless the engine still waits for something

No task and no lock: every step is a callback of the loop that runs to its end.
"""

from __future__ import annotations

import errno

from protocols.contract.addresses import Endpoint, Host, Side, Transport
from protocols.contract.pinholes import Reader
from proxy.pinholes.datagrams import DatagramPinhole
from proxy.sessions.flow import Flow
from proxy.sessions.policy import Denied, Nat
from proxy.sessions.registry import Sessions
from proxy.sessions.session import Admission, LetIn
from proxy.sessions.turns import Turns
from proxy.sockets import packet_info, transparent
from proxy.sockets.arrival import Arrival
from proxy.sockets.endpoints import EVERYBODY, NOBODY, Heard, UdpEndpoint, UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary

# Below are the ports of services that this machine may want for itself later.
LEAST_KEPT_PORT = 1024


class Flows:
    """Begins flows, for the main listener and for whoever comes to an endpoint and is not known there."""

    def __init__(self, sessions: Sessions, endpoints: UdpEndpoints) -> None:
        self.sessions = sessions
        self.endpoints = endpoints
        self._interfaces = packet_info.InterfaceNames()
        self.borders = sessions.pinholes.borders
        self.turns = Turns()
        endpoints.stranger = self._stranger
        self.from_place: dict[tuple[UdpEndpoint, str], list[Flow]] = {}
        """The flows of the client that is known by an endpoint, by the host of their server."""
        sessions.give_way = self.turns.give_way

    def redirected(self, data: bytes, ancillary: Ancillary, source: Address) -> None:
        """A datagram that TPROXY brought to the main listener."""
        server = packet_info.original_destination(ancillary)
        if server is None:
            return
        near = self.endpoints.get(server, NOBODY)
        if near is not None and (take := near.routes.get(source)) is not None:
            take(data, ancillary)
            return
        hearing = self.endpoints.hearing(server, packet_info.endpoint(source))
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
            is_admitted = pinhole.admits(host)
            if is_admitted and pinhole.grant.expect.reader is None:
                pinhole.relay(at, data, ancillary, source)
                return
            if is_admitted and pinhole.is_led_to(host, packet_info.arrival_interface(ancillary)):
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
