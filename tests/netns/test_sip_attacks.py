"""Attacks on the SIP helper, each really tried through a locked-down gateway (rules X10, X11, X12, S1, S2, S3, S4, S5,
S6, S56, S57, D39). Nothing more opens than was agreed, and the audit log tells of each."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.sip_flow import SDP, message, sdp
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS = 10.0
SILENCE_SECONDS = 0.3
RTP = bytes.fromhex("8000000100000000deadbeef") + b"audio" * 32
FLOOD, A_SECOND = 5000, 20
LONGEST_SECONDS = 60.0
"""For all of the flood, and what is sent beside it, to be heard or dropped."""


class Speaker:
    """A UDP socket on a host of the lab."""

    def __init__(self, host: Host, port: int) -> None:
        with host.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.socket.bind((str(host.v4), port))
        self.socket.settimeout(SECONDS)

    def say(self, data: bytes, to: tuple[str, int]) -> None:
        self.socket.sendto(data, to)

    def hear(self) -> bytes:
        return self.socket.recv(65535)

    def is_deaf(self) -> bool:
        """Whether nothing comes."""
        self.socket.settimeout(SILENCE_SECONDS)
        try:
            self.socket.recv(65535)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(SECONDS)
        return False


class Site:
    """A lab with pinhole on its gateway, which drops all else: a phone inside, its server outside, and strangers."""

    def __init__(self, lab: Lab, daemon: Daemon, snat: str) -> None:
        self.lab, self.daemon = lab, daemon
        self.phone_at, self.server_at = str(lab.client.v4), str(lab.server.v4)
        self.seen_at = self.phone_at if snat == "none" else str(lab.gateway.address(4, "wan0"))
        """The phone's address as its server knows it."""
        self._open = contextlib.ExitStack()
        self.phone, self.server = self.speaker(lab.client, 5060), self.speaker(lab.server, 5060)

    def denies(self, stranger: Host) -> None:
        """What the stranger sent to where the phone is known was no session. Without NAT that is the phone's own
        address: the firewall's forward chain decides, and has dropped it."""
        if self.seen_at == self.phone_at:
            assert self.daemon.audit("session.denied") == []
        else:
            assert self.daemon.wait_for("session.denied")["client"] == f"{stranger.v4}:5060"

    def speaker(self, host: Host, port: int) -> Speaker:
        speaker = Speaker(host, port)
        self._open.callback(speaker.socket.close)
        return speaker

    def close(self) -> None:
        self._open.close()

    # -- what the phone and its server say ------------------------------------------------------------------------

    def fields(self, number: int, method: str, *, via: str, tag: str = "", call: str = "call") -> list[str]:
        return [
            f"Via: SIP/2.0/UDP {via};branch=z9hG4bK{call}{number}{method};rport",
            "Max-Forwards: 70",
            "From: <sip:alice@example.org>;tag=a",
            f"To: <sip:bob@example.org>{tag}",
            f"Call-ID: {call}",
            f"CSeq: {number} {method}",
        ]

    def request(self, method: str, number: int = 1, body: str = "", *more: str, **terms: str) -> bytes:
        terms.setdefault("via", self.phone_at)
        kind = [SDP] if body else []
        fields = [*self.fields(number, method, **terms), *more, *kind]
        return message(f"{method} sip:bob@{self.server_at} SIP/2.0", *fields, body=body)

    def response(self, status: int, method: str, number: int = 1, body: str = "", *more: str, **terms: str) -> bytes:
        terms.setdefault("via", self.seen_at)
        terms.setdefault("tag", ";tag=b")
        kind = [SDP] if body else []
        return message(f"SIP/2.0 {status} So", *self.fields(number, method, **terms), *more, *kind, body=body)

    def from_phone(self, data: bytes) -> bytes:
        """What the server hears of it."""
        self.phone.say(data, (self.server_at, 5060))
        return self.server.hear()

    def from_server(self, data: bytes) -> bytes:
        """What the phone hears of it."""
        self.server.say(data, (self.seen_at, 5060))
        return self.phone.hear()

    def invite(self, number: int = 1, host: str = "", port: int = 7000, **terms: str) -> bytes:
        contact = f"Contact: <sip:alice@{self.phone_at}>"
        return self.request("INVITE", number, sdp(host or self.phone_at, port), contact, **terms)

    def call(self) -> None:
        """An answered call, with media between the phone's port 7000 and the server's 8000."""
        self.from_phone(self.invite())
        contact = f"Contact: <sip:bob@{self.server_at}>"
        self.from_server(self.response(200, "INVITE", 1, sdp(self.server_at, 8000), contact))
        self.daemon.wait_for("call.started")

    def hang_up(self) -> None:
        self.from_phone(self.request("BYE", 9, tag=";tag=b"))
        self.from_server(self.response(200, "BYE", 9))
        self.daemon.wait_for("call.ended")

    def register(self, contact: str, number: int = 1, expires: int = 600, via: str = "") -> bytes:
        fields = self.fields(number, "REGISTER", via=via or self.phone_at, call="registration")
        fields[3] = "To: <sip:alice@example.org>"
        return message("REGISTER sip:example.org SIP/2.0", *fields, f"Contact: {contact}", f"Expires: {expires}")

    def registered(self, contact: str, number: int = 1, via: str = "") -> bytes:
        fields = self.fields(number, "REGISTER", via=via or self.seen_at, tag=";tag=s", call="registration")
        fields[3] = "To: <sip:alice@example.org>;tag=s"
        return message("SIP/2.0 200 OK", *fields, f"Contact: {contact}")

    # -- what the daemon says ---------------------------------------------------------------------------------------

    def pinholes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.daemon.ask("pinholes")["pinholes"]
        return found

    def violation(self) -> dict[str, Any]:
        """The only one so far."""
        line = self.daemon.wait_for("violation")
        assert len(self.daemon.audit("violation")) == 1
        return line

    def nothing_was_opened(self) -> None:
        assert self.pinholes() == []
        assert self.daemon.audit("pinhole.opened") == []


@contextlib.contextmanager
def site(snat: str, options: str = "", more: str = "") -> Iterator[Site]:
    policy = f"{{name: lan-out, from: [lan0], action: accept, snat: {snat}, options: {{sip: {{{options}}}}}}}"
    with (
        Lab("routed") as lab,  # whoever wants to attack the phone knows the way
        pinhole(lab, f"policies: [{policy}]\nports: 40000-40099\n{more}", unprivileged=True) as daemon,
    ):
        daemon.lock_down()
        gate = Site(lab, daemon, snat)
        try:
            yield gate
        finally:
            gate.close()


@pytest.fixture(params=["none", "interface"])
def gate(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as gate:
        yield gate


@contextlib.contextmanager
def connection(gate: Site) -> Iterator[tuple[socket.socket, list[bytes]]]:
    """From the phone to port 5060/tcp of the server; and what the server hears there."""
    heard: list[bytes] = []
    with gate.lab.server.inside():
        listener = socket.create_server((gate.server_at, 5060))

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as served:
            while data := served.recv(65535):
                heard.append(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with gate.lab.client.inside():
        dialled = socket.create_connection((gate.server_at, 5060), SECONDS)
    with listener, dialled:
        yield dialled, heard
        thread.join(SECONDS)
        assert not thread.is_alive()


def said_until_the_end(dialled: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := dialled.recv(65535):
            said += data
    return said


# -- what is not SIP, and what is it badly -----------------------------------------------------------------------------


def test_a_register_in_a_form_that_a_browser_sends_is_not_found(gate: Site) -> None:
    """NAT slipstreaming: the padding puts it where a packet begins."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n"
    with connection(gate) as (dialled, heard):
        with contextlib.suppress(OSError):
            dialled.sendall(head + b"a" * (1448 - len(head)))
            dialled.sendall(gate.register(f"<sip:alice@{gate.phone_at}:3306;transport=tcp>"))
        assert said_until_the_end(dialled) == b""
        assert gate.daemon.wait_for("session.closed")["reason"] == "not_sip"
    assert heard == []
    assert gate.violation()["rule"] == "sip.not_sip"
    gate.nothing_was_opened()


LENGTHS = {
    "negative": ["Content-Length: -1"],
    "huge": ["Content-Length: 18446744073709551617"],
    "double": ["Content-Length: 0", "Content-Length: 5"],
}


@pytest.mark.parametrize("name", ["negative", "huge", "beyond the datagram"])
def test_a_datagram_with_a_length_that_is_none_is_answered_and_goes_no_further(gate: Site, name: str) -> None:
    lines = LENGTHS.get(name, ["Content-Length: 2000"])
    data = gate.invite().replace(b"Content-Length: ", "\r\n".join(lines).encode() + b"\r\nX: ")
    gate.phone.say(data, (gate.server_at, 5060))
    assert gate.phone.hear().startswith(b"SIP/2.0 400 ")
    assert gate.server.is_deaf()
    violation = gate.violation()
    assert violation["rule"] == "sip.malformed"
    assert "in line 10, column 16" in violation["detail"].replace("column 17", "column 16")
    gate.nothing_was_opened()


def test_a_datagram_with_two_lengths_goes_on_with_the_first_one_alone(gate: Site) -> None:
    data = gate.invite().replace(b"Content-Length: ", "\r\n".join(LENGTHS["double"]).encode() + b"\r\nX: ")
    gate.phone.say(data, (gate.server_at, 5060))
    lines = gate.server.hear().partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert [line for line in lines if line.startswith(b"Content-Length")] == [b"Content-Length: 0"]
    violation = gate.violation()
    assert (violation["rule"], violation["action"]) == ("sip.malformed", "mended")
    gate.nothing_was_opened()


@pytest.mark.parametrize("name", LENGTHS)
def test_a_stream_with_a_length_that_is_none_is_answered_and_closed(gate: Site, name: str) -> None:
    data = gate.invite().replace(b"Content-Length: ", "\r\n".join(LENGTHS[name]).encode() + b"\r\nX: ")
    with connection(gate) as (dialled, heard):
        dialled.sendall(data)
        assert said_until_the_end(dialled).startswith(b"SIP/2.0 400 ")
    assert heard == []
    assert "in line" in gate.violation()["detail"]
    gate.nothing_was_opened()


def test_an_offer_of_a_hundred_media_is_refused(gate: Site) -> None:
    media = "".join(f"m=audio {7000 + 2 * number} RTP/AVP 0\r\n" for number in range(1, 100))
    body = sdp(gate.phone_at, 7000, media)
    gate.phone.say(gate.request("INVITE", 1, body), (gate.server_at, 5060))
    assert gate.phone.hear().startswith(b"SIP/2.0 503 ")
    assert gate.server.is_deaf()
    assert gate.violation()["detail"].endswith("more than 16 media")
    gate.nothing_was_opened()


# -- what a phone may ask for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["another host", "a low port"])
def test_a_contact_that_is_not_the_phones_own_opens_nothing(gate: Site, where: str) -> None:
    at = str(gate.lab.client_stranger.v4) if where == "another host" else f"{gate.phone_at}:22"
    contact = f"<sip:alice@{at}>"
    gate.from_phone(gate.register(contact))
    gate.from_server(gate.registered(contact))
    violation = gate.violation()
    assert violation["rule"] == "sip.contact_elsewhere"
    assert violation["detail"] == (f"{at}:5060" if where == "another host" else at)
    gate.nothing_was_opened()


def test_media_of_a_third_host_behind_us_is_not_opened(gate: Site) -> None:
    third = str(gate.lab.client_stranger.v4)
    heard = gate.from_phone(gate.invite(host=third))
    assert f"c=IN IP4 {third}\r\n".encode() in heard
    kept = gate.daemon.wait_for("address.kept")
    assert kept["changes"] == [{"field": "sdp m=audio", "value": f"{third}:7000", "reason": "third_host"}]
    gate.nothing_was_opened()


def test_media_at_a_low_port_is_not_opened(gate: Site) -> None:
    gate.from_phone(gate.invite(port=22))
    violation = gate.violation()
    assert (violation["rule"], violation["detail"]) == ("sip.low_port", f"{gate.phone_at}:22")
    gate.nothing_was_opened()


# -- what strangers say about others' calls and bindings ---------------------------------------------------------------


def test_a_200_of_a_stranger_answers_nothing(gate: Site) -> None:
    gate.from_phone(gate.invite())
    outside, inside = gate.speaker(gate.lab.server_stranger, 5060), gate.speaker(gate.lab.client_stranger, 5060)
    answer = gate.response(200, "INVITE", 1, sdp(str(gate.lab.server_stranger.v4), 8000))
    outside.say(answer, (gate.seen_at, 5060))
    assert gate.phone.is_deaf()
    gate.denies(gate.lab.server_stranger)
    # From our own side it goes where it is sent to, as what a third host has to say.
    inside.say(gate.response(200, "INVITE", 1, sdp(str(gate.lab.client_stranger.v4), 8000)), (gate.server_at, 5060))
    gate.server.hear()
    assert [(line["state"], line["target"]) for line in gate.pinholes()] == [("unconfirmed", f"{gate.phone_at}:7000")]
    assert gate.daemon.audit("call.started") == []


@pytest.mark.parametrize("method", ["BYE", "CANCEL"])
@pytest.mark.parametrize("status", [200, 481])
def test_a_stranger_ends_nobodys_call(gate: Site, method: str, status: int) -> None:
    """Unless the other party lets it: a server that says 200 to a stranger's BYE has ended the call itself."""
    gate.call()
    media, peer = gate.speaker(gate.lab.client, 7000), gate.speaker(gate.lab.server, 8000)
    inside, outside = gate.speaker(gate.lab.client_stranger, 5060), gate.speaker(gate.lab.server_stranger, 5060)
    forged = gate.request(method, 2, tag=";tag=b")
    outside.say(forged, (gate.seen_at, 5060))
    assert gate.phone.is_deaf()
    inside.say(forged, (gate.server_at, 5060))
    gate.server.hear()
    its_address = str(gate.lab.client_stranger.v4) if gate.seen_at == gate.phone_at else gate.seen_at
    leads_to = gate.daemon.wait_for("session.opened", 2)["snat"]
    port = int(leads_to.rpartition(":")[2]) if leads_to else 5060
    gate.server.say(gate.response(status, method, 2, via=str(gate.lab.client_stranger.v4)), (its_address, port))
    inside.hear()
    places = gate.pinholes()
    if (method, status) == ("BYE", 200):
        assert gate.daemon.wait_for("call.ended")["reason"].startswith("bye_of")
        return
    assert len(places) == 2
    peer.say(RTP, _place(places, f"{gate.phone_at}:7000"))
    assert media.hear() == RTP
    assert gate.daemon.audit("call.ended") == []
    gate.hang_up()


@pytest.mark.parametrize("contact", ["own", "*"])
def test_a_stranger_removes_nobodys_binding(gate: Site, contact: str) -> None:
    own = f"<sip:alice@{gate.phone_at}>"
    gate.from_phone(gate.register(own))
    gate.from_server(gate.registered(f"<sip:alice@{gate.seen_at}>;expires=600"))
    gate.daemon.wait_for("registration.added")
    inside, outside = gate.speaker(gate.lab.client_stranger, 5060), gate.speaker(gate.lab.server_stranger, 5060)
    at = str(gate.lab.client_stranger.v4)
    forged = gate.register(own if contact == "own" else "*", 2, 0, via=at)
    outside.say(forged, (gate.seen_at, 5060))
    assert gate.phone.is_deaf()
    inside.say(forged, (gate.server_at, 5060))
    gate.server.hear()
    leads_to = gate.daemon.wait_for("session.opened", 2)["snat"]
    host, port = leads_to.rsplit(":", 1) if leads_to else (at, "5060")
    gate.server.say(gate.registered("<sip:x@192.0.2.1>", 2, via=at), (host, int(port)))
    inside.hear()
    assert gate.daemon.audit("registration.removed") == []
    assert [line["purpose"] for line in gate.pinholes()] == ["sip"]
    # And it can still be called, by its registrar alone.
    ringing = gate.from_server(gate.request("OPTIONS", 5, via=gate.server_at, call="ping"))
    assert ringing.startswith(b"OPTIONS ")


def test_only_its_registrar_reaches_a_registered_phone(gate: Site) -> None:
    gate.from_phone(gate.register(f"<sip:alice@{gate.phone_at}>"))
    gate.from_server(gate.registered(f"<sip:alice@{gate.seen_at}>;expires=600"))
    gate.daemon.wait_for("registration.added")
    stranger = gate.speaker(gate.lab.server_stranger, 5060)
    stranger.say(gate.request("INVITE", 1, via=str(gate.lab.server_stranger.v4)), (gate.seen_at, 5060))
    assert gate.phone.is_deaf()
    gate.denies(gate.lab.server_stranger)
    other_port = gate.speaker(gate.lab.server, 5080)
    other_port.say(gate.request("INVITE", 1, via=f"{gate.server_at}:5080", call="incoming"), (gate.seen_at, 5060))
    assert gate.phone.hear().startswith(b"INVITE ")


# -- media -------------------------------------------------------------------------------------------------------------


def _place(places: list[dict[str, Any]], target: str) -> tuple[str, int]:
    (place,) = (place for place in places if place["target"] == target)
    host, port = place["listen"].rsplit(":", 1)
    return host, int(port)


def test_media_of_a_stranger_is_never_relayed_and_is_counted(gate: Site) -> None:
    gate.from_phone(gate.invite())
    media, peer = gate.speaker(gate.lab.client, 7000), gate.speaker(gate.lab.server, 8000)
    stranger, neighbour = gate.speaker(gate.lab.server_stranger, 8000), gate.speaker(gate.lab.server, 8022)
    place = _place(gate.pinholes(), f"{gate.phone_at}:7000")
    stranger.say(RTP, place)  # before there is an answer
    assert media.is_deaf()
    gate.from_server(gate.response(200, "INVITE", 1, sdp(gate.server_at, 8000)))
    gate.daemon.wait_for("call.started")
    stranger.say(RTP, place)  # before the lock
    assert media.is_deaf()
    peer.say(RTP, place)
    assert media.hear() == RTP
    media.say(RTP, (gate.server_at, 8000))
    assert peer.hear() == RTP
    for outsider in (stranger, neighbour):  # after it: from the right host too, but not from where its media comes
        outsider.say(RTP, place)
    assert media.is_deaf()
    violation = gate.violation()
    assert violation["rule"] == "pinhole.stranger"
    # At the phone's own address its partner alone is heard; what other hosts send there is the forward chain's.
    is_at_ours = gate.seen_at != gate.phone_at
    first = gate.lab.server_stranger if is_at_ours else gate.lab.server
    assert str(first.v4) in violation["detail"]
    gate.hang_up()
    gate.daemon.wait_for("pinhole.closed", 2)
    closed = {line["pinhole"]: line for line in gate.daemon.audit("pinhole.closed")}
    assert sorted(line["packets_refused"] for line in closed.values()) == [0, 4 if is_at_ours else 1]
    assert sum(line["packets_in"] for line in closed.values()) == 2
    gate.daemon.until(pinholes=0, ports_leased=0 if gate.seen_at == gate.phone_at else 1)


# -- floods ------------------------------------------------------------------------------------------------------------


def test_a_flood_of_calls_from_one_source_is_held_back_and_others_go_on() -> None:
    more = "limits: {pinholes_per_session: 8, pinholes_per_client: 16}"
    with site("interface", f"rates: {{INVITE: {A_SECOND}}}", more) as gate:
        attacker = gate.speaker(gate.lab.client_stranger, 5060)
        stop = threading.Event()

        def flood() -> None:
            for number in range(FLOOD):
                body = gate.request("INVITE", 1, sdp(str(gate.lab.client_stranger.v4), 7000), call=f"flood{number}")
                attacker.say(body, (gate.server_at, 5060))
                if not number % 50:
                    time.sleep(0.01)  # 5,000 a second
            stop.set()

        thread = threading.Thread(target=flood, daemon=True)
        began = time.monotonic()
        thread.start()
        got_through, mine = 0, 0
        gate.phone.say(gate.invite(call="mine"), (gate.server_at, 5060))
        gate.server.socket.settimeout(SILENCE_SECONDS)
        while time.monotonic() - began < LONGEST_SECONDS:
            was_over = stop.is_set()
            try:
                heard, (_, port) = gate.server.socket.recvfrom(65535)
            except TimeoutError:
                if was_over and mine:
                    break
                continue
            mine = mine or (port if b"Call-ID: mine" in heard else 0)
            got_through += b"Call-ID: flood" in heard
        thread.join()
        assert mine  # whichever of the two came first has kept its port
        told = [line for line in gate.daemon.audit("violation") if line["rule"] == "sip.rate"]
        seconds = time.monotonic() - began
        assert 0 < got_through <= A_SECOND * (int(seconds) + 2)
        assert 0 < len(told) <= 2 * (seconds + 2)
        assert all(str(gate.lab.client_stranger.v4) in line["detail"] for line in told)
        of_attacker = [line for line in gate.pinholes() if line["target"].startswith(f"{gate.lab.client_stranger.v4}:")]
        assert len(of_attacker) <= 16
        via = f"{gate.seen_at}:{mine}"
        answer = gate.response(200, "INVITE", 1, sdp(gate.server_at, 8000), call="mine", via=via)
        gate.server.say(answer, (gate.seen_at, mine))
        assert b"SIP/2.0 200 " in gate.phone.hear()
        gate.daemon.wait_for("call.started", call_id="mine")
