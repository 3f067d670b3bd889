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
from proxy.sockets.endpoint import EVERYBODY, NOBODY, Heard, UdpEndpoint
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary

# A client's port below this one may belong to a service that this machine will want to offer later.
LEAST_KEPT_PORT = 1024


class Flows:
    """Begins flows, and passes each datagram that no flow's route took to the flow or the pinhole that it belongs to.

    The daemon makes one `Flows`. The main listener and the endpoints call it.
    """

    def __init__(self, sessions: Sessions, endpoints: UdpEndpoints) -> None:
        self.sessions = sessions
        self.endpoints = endpoints
        self._interfaces = packet_info.InterfaceNames()
        self.borders = sessions.pinholes.borders
        self.turns = Turns()
        endpoints.stranger = self._stranger
        self.from_place: dict[tuple[UdpEndpoint, str], list[Flow]] = {}
        """(far endpoint of a client, host of a server) -> flows of this client with this server."""
        sessions.give_way = self.turns.give_way

    def redirected(self, data: bytes, ancillary: Ancillary, source: Address) -> None:
        """Take a datagram that TPROXY brought to the main listener."""
        server = packet_info.original_destination(ancillary)
        if server is None:
            return
        near = self.endpoints.get(server, NOBODY)
        if near is not None and (take := near.routes.get(source)) is not None:
            take(data, ancillary)
            return
        client = packet_info.endpoint(source)
        hearing = self.endpoints.hearing(server, client)
        if hearing is None:
            self._arrive(data, ancillary, source, client, server)
        elif (take := hearing.routes.get(source)) is not None:
            take(data, ancillary)  # this datagram was sent before the socket of its flow stood
        else:
            self._stranger(hearing, data, ancillary, source)

    def _stranger(self, at: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        """Take a datagram from an address that the endpoint has no route for. A pinhole may admit it, a flow may know
        the server's host, or else policies decide."""
        near = self.endpoints.get(at.at, NOBODY)
        if near is not None and (take := near.routes.get(source)) is not None:
            # A flow that the main listener hears. Since one to another port of its client was let in by a pinhole, a
            # socket hears all of that host.
            take(data, ancillary)
            return
        peer = packet_info.endpoint(source)
        for pinhole in self.sessions.pinholes.waiting.get(at, ()):
            is_admitted = pinhole.admits(peer)
            if is_admitted and pinhole.grant.expect.reader is None:
                pinhole.relay(at, data, ancillary, source)
                return
            if is_admitted and pinhole.is_led_to(peer.host, packet_info.arrival_interface(ancillary)):
                self._arrive(data, ancillary, source, peer, at.at, at, pinhole)
                return
            pinhole.refuse()
        # Not every server sends from the port that it listens on. Its host is known to a flow that has asked it
        # something, or is in a call with it.
        known = self.from_place.get((at, source[0]), ())
        beside = [flow for flow in known if flow.hears_server_by(ancillary)]
        if (asked := next((flow for flow in beside if flow.is_answer(data)), None)) is not None:
            asked.answered_from(source[1], data, ancillary)
            return
        called = next((flow for flow in beside if flow.is_needed), None)
        if called is None and len(beside) < len(known):
            # From another port the server's address is as easily forged as from its own.
            forged = next((flow for flow in known if flow.is_answer(data) or flow.is_needed), None)
            if forged is not None:
                forged.refuse(Side.SERVER, ancillary)
                return
        self._arrive(data, ancillary, source, peer, at.at, at, beside=called)

    def _arrive(
        self,
        data: bytes,
        ancillary: Ancillary,
        source: Address,
        client: Endpoint,
        server: Endpoint,
        at: UdpEndpoint | None = None,
        pinhole: DatagramPinhole | None = None,
        beside: Flow | None = None,
    ) -> None:
        """Begin a flow with its first datagram, if it may begin. `client` is its source again, `at` the endpoint that
        heard it (None: the main listener did), `pinhole` one that admits the sender, and `beside` a flow whose server
        now sends from another port."""
        try:
            interface = self._interfaces.of(packet_info.arrival_interface(ancillary), self.sessions.loop.time())
        except OSError:  # there is no descriptor left to ask with, so there is none for a flow either
            arrival = Arrival(Transport.UDP, "", client, server)
            self.sessions.deny(arrival, Denied("no_descriptors", None))
            return
        arrival = Arrival(Transport.UDP, interface, client, server)
        if pinhole is not None:
            expect = pinhole.grant.expect
            known_as = arrival.client.host if expect.source is None else expect.source.host
            if self.endpoints.is_mapped(arrival.client, server.host):
                # One client calls another one through us, so the callee knows the caller by the address that everybody
                # knows (RFC 4787 s.6).
                known_as = server.host
            how = Nat(known_as, expect.target)
            assert expect.reader is not None
            let_in = LetIn(pinhole.owner.key, pinhole.name, expect.reader)
            admission = self.sessions.admit_expected(pinhole.owner, let_in, arrival, how, first=data)
        elif (ours := self.endpoints.get(arrival.client, EVERYBODY)) is not None and ours.mapped is not None:
            # This datagram came from ourselves, and the flow would send it to ourselves for ever (rule X28).
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
        self.turns.looked_at(flow)

    def begin(
        self, admission: Admission, client: Address, near_hears: Heard, before: Flow | None = None
    ) -> Flow | None:
        """Begin a flow for a client that has been admitted. `near_hears` is what the socket towards the client hears
        (NOBODY when the main listener hears the client). `before` is the flow to replace, if that is possible. Returns
        None, with a line in the audit log, when the flow cannot begin."""
        try:
            near, far = self._stand(admission, near_hears, before)
        except OSError as error:
            # another flow holds the address, and may wait for just this one to end
            if before is not None and error.errno == errno.EADDRINUSE:
                before.cut("reconfigured")
            why = Denied(_refusal(error), admission.policy.name)
            self.sessions.deny(admission.arrival, why, let_in=admission.let_in)
            return None
        if before is not None:
            before.cut("reconfigured")
        return Flow(self, admission, near, far, client, before)

    def _stand(self, admission: Admission, near_hears: Heard, before: Flow | None) -> tuple[UdpEndpoint, UdpEndpoint]:
        """Take the two endpoints of a flow. Raises OSError."""
        near = self.endpoints.take(admission.arrival.server, hears=near_hears)
        try:
            far = self._far(admission.arrival.client, admission.nat, mark_of(admission))
        except OSError:
            self.endpoints.give(near)
            raise
        # The client may already talk to this server by another address of the server: then nobody could say which flow
        # a reply belongs to. The same holds when a host talks to itself.
        server = transparent.address(admission.nat.dial)
        is_taken = server in far.routes and not (before is not None and before.hears(far, server))
        if is_taken or near.at == far.at:
            self.endpoints.give(near)
            self.endpoints.give(far)
            raise OSError(errno.EADDRINUSE, "two flows of one client to one server")
        return near, far

    def _far(self, client: Endpoint, nat: Nat, mark: int) -> UdpEndpoint:
        """Take the endpoint on the address by which the server knows the client. `mark` is put on what is sent to the
        server. Raises OSError."""
        host: Host = nat.source if nat.source is not None else transparent.route_source(nat.dial, mark)
        if host == client.host:
            far = self.endpoints.take(client, hears=nat.dial.host)
        elif published := set(self.sessions.policies.published_at(Transport.UDP, Endpoint(host, client.port))):
            # A PBX that is published on this very port keeps it towards its provider. Anybody else would take it away.
            if published == {client}:
                far = self.endpoints.take_published(client, host, nat.dial.host)
            else:
                far = self.endpoints.take_mapped(client, host, keep_port=False)
        else:
            far = self.endpoints.take_mapped(client, host, client.port >= LEAST_KEPT_PORT)
        try:
            transparent.set_mark(far.sock, mark)
        except OSError:
            self.endpoints.give(far)
            raise
        return far


def mark_of(admission: Admission) -> int:
    """The mark for what a flow sends to its server. It is 0 where the target is the policy's own client, reached
    through a pinhole."""
    mark = admission.policy.route_mark
    return mark if mark and admission.nat.dial.host != admission.decided_by.client.host else 0


def _refusal(error: OSError) -> str:
    """One word for the audit log on why the sockets of a flow could not be had."""
    match error.errno:
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case errno.ENOBUFS | errno.ENOMEM:
            return "no_memory"
        case errno.EADDRINUSE:
            return "address_in_use"
        case errno.EADDRNOTAVAIL:
            return "no_free_port"
        case _:
            return "server_unreachable"
