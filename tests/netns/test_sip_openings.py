"""What a peer makes a phone or a PBX repeat opens nothing, with real ones of both, and global addresses outside."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from tests.harness.sip_flow import SDP, message, sdp
from tests.netns.namespaces import needs_root
from tests.netns.test_sip_attacks import SECONDS, Speaker, said_until_the_end
from tools.lab import Daemon, Host, Lab, pinhole
from tools.peers import baresip, kamailio

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

OUT = "{name: out, from: [lan0], action: accept, snat: interface, options: {sip: {%s}}}"
IN = "{name: in, from: [wan0], destination: [%s], helpers: [sip], action: accept, dnat: %s}"
HIDDEN = b"a service that nobody outside is to reach"


class Gateway:
    def __init__(self, lab: Lab, daemon: Daemon) -> None:
        self.lab, self.daemon = lab, daemon
        self.inside, self.outside = lab.client, lab.server
        self.ours = str(lab.gateway.address(4, "wan0"))
        self._open = contextlib.ExitStack()

    def speaker(self, host: Host, port: int = 5060) -> Speaker:
        speaker = Speaker(host, port)
        self._open.callback(speaker.socket.close)
        return speaker

    def listener(self, host: Host, port: int) -> socket.socket:
        with host.inside():
            return self._open.enter_context(socket.create_server((str(host.v4), port)))

    def connection(self, host: Host, to: tuple[str, int]) -> socket.socket:
        with host.inside():
            return self._open.enter_context(socket.create_connection(to, SECONDS))

    def keep(self, sock: socket.socket) -> socket.socket:
        return self._open.enter_context(sock)

    def opened(self) -> list[str]:
        return [line["transport"] for line in self.daemon.audit("pinhole.opened") if line["purpose"] == "sip"]

    def close(self) -> None:
        self._open.close()


@contextlib.contextmanager
def gateway(options: str = "", is_published: bool = False) -> Iterator[Gateway]:
    with Lab("routed", addresses="global") as lab:
        policies = [OUT % options]
        if is_published:
            policies.append(IN % (lab.gateway.address(4, "wan0"), lab.client.v4))
        text = f"policies: [{', '.join(policies)}]\nports: 40000-40099\n"
        with pinhole(lab, text, unprivileged=True) as daemon:
            daemon.lock_down()
            gate = Gateway(lab, daemon)
            try:
                yield gate
            finally:
                gate.close()


def asks(
    method: str, host: Host, to: str, *fields: str, number: int = 1, transport: str = "UDP", port: int = 5060
) -> bytes:
    return message(
        f"{method} sip:{to} SIP/2.0",
        f"Via: SIP/2.0/{transport} {host.v4}:{port};branch=z9hG4bK{method}{number};rport",
        "Max-Forwards: 70",
        "From: <sip:eve@example.net>;tag=e",
        f"To: <sip:{to}>",
        "Call-ID: openings",
        f"CSeq: {number} {method}",
        *fields,
    )


def answer_to(request: bytes, *fields: str, status: int = 200) -> bytes:
    lines = request.decode().split("\r\n")
    kept = [line for line in lines if line.startswith(("Via:", "From:", "Call-ID:", "CSeq:"))]
    to = next(line for line in lines if line.startswith("To:"))
    return message(f"SIP/2.0 {status} So", *kept, to if ";tag=" in to else f"{to};tag=s", *fields)


# -- what is repeated --------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.skipif(kamailio.find() is None, reason="not installed (tools/setup --test): kamailio")
def test_one_options_with_245_guesses_tells_a_stranger_nothing_and_opens_nothing() -> None:
    with gateway(is_published=True) as gate, kamailio.kamailio(gate.inside):
        stranger = gate.speaker(gate.lab.server_stranger)
        network = int(IPv4Address(int(gate.inside.v4) & 0xFFFFFF00))
        guesses = [f"<sip:{IPv4Address(network + last)}:8089;transport=tcp;lr>" for last in range(1, 246)]
        fields = [f"Record-Route: {guess}" for guess in guesses]
        stranger.say(asks("OPTIONS", gate.lab.server_stranger, gate.ours, *fields), (gate.ours, 5060))
        heard = stranger.hear().decode()
        assert heard.startswith("SIP/2.0 200 ")
        assert [line for line in heard.split("\r\n") if line.startswith("Record-Route:")] == fields
        assert gate.opened() == []


@pytest.mark.interop
@pytest.mark.skipif(kamailio.find() is None, reason="not installed (tools/setup --test): kamailio")
def test_what_a_real_proxy_forwards_for_a_stranger_opens_none_of_its_ports() -> None:
    """A request with a tag in To needs no password, and its Route has the proxy send it to anybody: here to one who is
    in league with its sender, and says 200."""
    with gateway(is_published=True) as gate, kamailio.kamailio(gate.inside):
        stranger, accomplice = gate.speaker(gate.lab.server_stranger), gate.speaker(gate.outside)
        contact = f"Contact: <sip:x@{gate.inside.v4}:8089>"
        call = asks("INVITE", gate.lab.server_stranger, gate.ours, f"Route: <sip:{gate.ours};lr>", contact)
        body = sdp(str(gate.inside.v4), 5004)
        fields = f"{SDP}\r\nContent-Length: {len(body)}".encode()
        call = call.replace(b"Content-Length: 0", fields) + body.encode()
        start, _, rest = call.partition(b"\r\n")
        assert start == f"INVITE sip:{gate.ours} SIP/2.0".encode()
        rest = rest.replace(f"To: <sip:{gate.ours}>".encode(), b"To: <sip:x@example.net>;tag=x")
        stranger.say(f"INVITE sip:x@{gate.outside.v4} SIP/2.0\r\n".encode() + rest, (gate.ours, 5060))
        forwarded, source = accomplice.socket.recvfrom(65535)
        assert f"\r\n{contact}\r\n".encode() in forwarded
        assert forwarded.endswith(body.encode())
        theirs = sdp(str(gate.outside.v4), 6000)
        answer = answer_to(forwarded, f"Contact: <sip:x@{gate.outside.v4}>", SDP)
        accomplice.say(
            answer.replace(b"Content-Length: 0", b"Content-Length: %d" % len(theirs)) + theirs.encode(), source
        )
        while not stranger.hear().startswith(b"SIP/2.0 200 "):
            pass
        lines = [str(line) for line in gate.daemon.audit("pinhole.opened")]
        assert not [line for line in lines if f"{gate.inside.v4}:8089" in line or f"{gate.inside.v4}:5004" in line]


@pytest.mark.interop
@pytest.mark.skipif(baresip.is_missing(), reason="not installed (tools/setup --test): baresip-core")
def test_a_record_route_that_a_real_phone_copies_leads_nobody_to_another_of_its_ports() -> None:
    with gateway() as gate:
        server = gate.speaker(gate.outside)
        server.socket.settimeout(0.3)
        contacts: list[str] = []
        ringing: list[bytes] = []
        rings, is_over = threading.Event(), threading.Event()

        def serve() -> None:
            while not is_over.is_set():
                try:
                    data, source = server.socket.recvfrom(65535)
                except TimeoutError:
                    continue
                if data.startswith(b"REGISTER "):
                    contacts.append(next(line for line in data.decode().split("\r\n") if line.startswith("Contact:")))
                    server.say(answer_to(data, contacts[-1], "Expires: 600"), source)
                elif data.startswith(b"SIP/2.0 180"):
                    ringing.append(data)
                    rings.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            with baresip.phone(gate.inside, "alice", gate.outside.v4):
                hidden = gate.listener(gate.inside, 8443)
                hidden.settimeout(0.3)
                uri = contacts[0].partition("<")[2].partition(">")[0].removeprefix("sip:")
                port = int(uri.partition("@")[2].partition(";")[0].partition(":")[2] or 5060)
                route = f"Record-Route: <sip:{gate.inside.v4}:8443;transport=tcp;lr>"
                call = asks("INVITE", gate.outside, uri, route, f"Contact: <sip:eve@{gate.outside.v4}>")
                server.say(call, (gate.ours, port))
                assert rings.wait(SECONDS)
                assert route.encode() in ringing[0]
                gate.daemon.wait_for("registration.added")
                assert gate.opened() == ["udp"]  # of its registration
                with pytest.raises(TimeoutError):
                    hidden.accept()
        finally:
            is_over.set()
            thread.join(SECONDS)


# -- what a phone says of itself ---------------------------------------------------------------------------------------


class Line:
    """A phone that registers by a connection, and its server."""

    def __init__(self, gate: Gateway) -> None:
        self.gate = gate
        self.waits = gate.listener(gate.inside, 5070)
        self.waits.settimeout(0.3)
        listener = gate.listener(gate.outside, 5060)
        self.phone = gate.connection(gate.inside, (str(gate.outside.v4), 5060))
        self.server = gate.keep(listener.accept()[0])
        self.server.settimeout(SECONDS)
        self.port = self.phone.getsockname()[1]

    def registers(self) -> tuple[bytes, tuple[str, int]]:
        """What the server hears, and the address that it is to call back at."""
        contact = f"Contact: <sip:alice@{self.gate.inside.v4}:5070;transport=tcp>"
        place = self.gate.inside, str(self.gate.outside.v4)
        self.phone.sendall(asks("REGISTER", *place, contact, transport="TCP", port=self.port))
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += self.server.recv(65535)
        line = next(line for line in heard.decode().split("\r\n") if line.startswith("Contact:"))
        host, _, port = line.partition("@")[2].partition(";")[0].partition(":")
        return heard, (host, int(port))

    def is_deaf(self) -> bool:
        try:
            self.waits.accept()
        except TimeoutError:
            return True
        return False


def test_a_contact_for_connections_admits_nobody_before_the_2xx_and_tls_never() -> None:
    with gateway() as gate:
        line = Line(gate)
        heard, at = line.registers()
        early = gate.connection(gate.outside, at)
        early.sendall(b"\x16\x03\x01" + HIDDEN)
        assert line.is_deaf()
        assert [one["state"] for one in gate.daemon.ask("pinholes")["pinholes"]] == ["unconfirmed"]
        contact = next(field for field in heard.decode().split("\r\n") if field.startswith("Contact:"))
        line.server.sendall(answer_to(heard, f"{contact};expires=600"))
        gate.daemon.wait_for("registration.added")
        # Whoever waited is let in now, and read: what it said was no SIP.
        assert said_until_the_end(early) == b""
        assert gate.daemon.wait_for("violation")["rule"] == "sip.tls_denied"
        caller = gate.connection(gate.outside, at)
        request = asks("OPTIONS", gate.outside, f"alice@{at[0]}:{at[1]};transport=tcp", transport="TCP")
        caller.sendall(request)
        line.waits.settimeout(SECONDS)
        for _ in range(2):  # the one that was let in first was closed before anything was passed on
            phone = gate.keep(line.waits.accept()[0])
            phone.settimeout(SECONDS)
            with contextlib.suppress(ConnectionResetError):
                if data := phone.recv(65535):
                    assert data.startswith(b"OPTIONS ")
                    return
        raise AssertionError("nothing was passed on")


def test_an_unregistered_contact_is_gone_with_the_refusal_of_its_call() -> None:
    """And a stranger was never let in."""
    with gateway() as gate:
        line = Line(gate)
        heard, at = line.registers()
        line.server.sendall(answer_to(heard, status=403))
        stranger = gate.connection(gate.lab.server_stranger, at)
        stranger.sendall(HIDDEN)
        caller = gate.connection(gate.outside, at)
        caller.sendall(asks("OPTIONS", gate.outside, f"alice@{at[0]}", transport="TCP"))
        assert line.is_deaf()
        assert gate.daemon.audit("pinhole.used") == []


@pytest.mark.parametrize("first", [b"PING", b"\r\n\r\n", b"\0\1\0\x08\x21\x12\xa4\x42twelve bytespayload!"])
def test_by_the_pinhole_of_a_registered_phone_comes_first_what_is_sip(first: bytes) -> None:
    with gateway("malformed: pass") as gate:
        phone, server = gate.speaker(gate.inside), gate.speaker(gate.outside)
        contact = f"Contact: <sip:alice@{gate.inside.v4}>"
        phone.say(asks("REGISTER", gate.inside, str(gate.outside.v4), contact), (str(gate.outside.v4), 5060))
        heard = server.hear()
        outside = next(line for line in heard.decode().split("\r\n") if line.startswith("Contact:"))
        server.say(answer_to(heard, f"{outside};expires=600"), (gate.ours, 5060))
        phone.hear()
        other = gate.speaker(gate.outside, 5099)  # by another port it is no answer on the phone's own flow
        other.say(first, (gate.ours, 5060))
        assert phone.is_deaf()
        other.say(asks("OPTIONS", gate.outside, f"alice@{gate.ours}", port=5099), (gate.ours, 5060))
        assert phone.hear().startswith(b"OPTIONS ")


# -- one address outside -----------------------------------------------------------------------------------------------


def test_a_bye_by_udp_finds_the_phone_that_has_called_by_tcp() -> None:
    """RFC 3261 s.18.1.1: an INVITE that is too long goes by TCP; its Contact names no transport, which means UDP."""
    with gateway() as gate:
        phone, server = gate.speaker(gate.inside), gate.speaker(gate.outside)
        to = str(gate.outside.v4)
        contact = f"Contact: <sip:alice@{gate.inside.v4}:5060>"
        phone.say(asks("OPTIONS", gate.inside, to, contact), (to, 5060))
        server.hear()
        line = Line(gate)
        line.phone.sendall(asks("INVITE", gate.inside, to, contact, transport="TCP", port=line.port))
        heard = line.server.recv(65535)
        uri = heard.decode().partition("Contact: <sip:")[2].partition(">")[0]
        assert uri == f"alice@{gate.ours}:5060"
        line.server.sendall(answer_to(heard, f"Contact: <sip:bob@{to}>"))
        gate.daemon.wait_for("call.started")
        server.say(asks("BYE", gate.outside, uri, number=2), (gate.ours, 5060))
        assert phone.hear().startswith(f"BYE sip:alice@{gate.inside.v4}:5060 ".encode())


def test_a_bye_finds_a_phone_that_names_the_address_of_its_vpn() -> None:
    with gateway() as gate:
        phone, server = gate.speaker(gate.inside), gate.speaker(gate.outside)
        to, vpn = str(gate.outside.v4), "172.17.0.2"
        call = asks("INVITE", gate.inside, to, f"Contact: <sip:alice@{vpn}>")
        phone.say(call.replace(f"UDP {gate.inside.v4}:5060".encode(), f"UDP {vpn}".encode()), (to, 5060))
        heard = server.hear()
        assert vpn.encode() not in heard
        uri = heard.decode().partition("Contact: <sip:")[2].partition(">")[0]
        server.say(answer_to(heard, f"Contact: <sip:bob@{to}>"), (gate.ours, 5060))
        assert f"Via: SIP/2.0/UDP {vpn};".encode() in phone.hear()
        server.say(asks("BYE", gate.outside, uri, number=2), (gate.ours, 5060))
        assert phone.hear().startswith(f"BYE sip:alice@{vpn} ".encode())


def test_messages_full_of_contacts_take_four_ports_at_most() -> None:
    with gateway() as gate:
        phone, server, to = gate.speaker(gate.inside), gate.speaker(gate.outside), str(gate.outside.v4)
        contacts = [f"Contact: <sip:a@{gate.inside.v4}:{port}>" for port in range(2000, 2064)]
        for number, method in enumerate(("OPTIONS", "MESSAGE", "INVITE", "SUBSCRIBE", "INVITE"), 1):
            phone.say(asks(method, gate.inside, to, *contacts, number=number), (to, 5060))
            assert f"{gate.inside.v4}:2".encode() not in server.hear()
        # Its own, and of those that it has named.
        gate.daemon.until(ports_leased=1 + 4)


# -- clocks ------------------------------------------------------------------------------------------------------------

HALF = b"OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/TCP 10.1.0.2;branch=z9hG4bK1\r\n"


@pytest.mark.parametrize(
    ("said", "options", "reason"),
    [
        (b"", "handshake_seconds: 0.5", "handshake_timeout"),
        (b"\r\n\r\n" * 100, "handshake_seconds: 0.5", "handshake_timeout"),
        (HALF, "message_seconds: 0.5", "message_timeout"),
        (b"", "handshake_seconds: 600, connection_idle: 0.5", "idle"),
    ],
    ids=["silent", "line ends", "half a message", "idle"],
)
def test_a_connection_that_says_nothing_or_half_of_it_is_closed(said: bytes, options: str, reason: str) -> None:
    with gateway(options) as gate:
        line = Line(gate)
        with contextlib.suppress(ConnectionError):  # its time may be over before this process has its turn
            line.phone.sendall(said)
        assert gate.daemon.wait_for("session.closed")["reason"] == reason
        assert said_until_the_end(line.phone) == b""
