"""Floods of SIP that is well formed, from forged sources, through a real daemon whose limits are small: whoever was
there before is still reached, and whoever comes begins (C4)."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from tests.harness.sip_flow import SDP, message
from tests.netns import ftp_talk
from tests.netns.namespaces import needs_root
from tests.netns.test_sip_attacks import Speaker
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

TEXT = """
policies:
  - {name: out, from: [lan0], action: accept, snat: interface}
  - {name: published, from: [wan0], destination: ["%(ours4)s"], helpers: [sip], action: accept, dnat: "%(pbx4)s"}
  - {name: published6, from: [wan0], destination: ["%(ours6)s"], helpers: [sip], action: accept, dnat: "%(pbx6)s"}
limits: {sessions: 200, sessions_per_client: 60}
ports: 40000-40399
"""
FORGED = 600
IPV6_TRANSPARENT = 75
SDP_LINES = [f"m=audio {20000 + 2 * number} RTP/AVP 0" for number in range(16)]


def asks(method: str, host: str, to: str, name: str, *fields: str, body: str = "", port: int = 5060) -> bytes:
    return message(
        f"{method} sip:x@{to} SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{name};rport",
        "Max-Forwards: 70",
        f"From: <sip:{name}@example.org>;tag={name}",
        "To: <sip:x@example.org>",
        f"Call-ID: {name}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:{name}@{host}:{port}>",
        *fields,
        body=body,
    )


def media_at(host: str, version: int = 4) -> str:
    kind = f"IN IP{version} {host}"
    return "".join(f"{line}\r\n" for line in ("v=0", f"o=- 1 1 {kind}", "s=-", f"c={kind}", "t=0 0", *SDP_LINES))


class Site:
    def __init__(self, lab: Lab, daemon: Daemon) -> None:
        self.lab, self.daemon = lab, daemon
        self.ours = str(lab.gateway.address(4, "wan0"))
        self.to = str(lab.server.v4)
        self._open = contextlib.ExitStack()
        self.registrar = self.speaker(lab.server, 5060)
        self.pbx = self.speaker(lab.client, 5060)
        self._names = itertools.count()

    def speaker(self, host: Host, port: int) -> Speaker:
        speaker = Speaker(host, port)
        self._open.callback(speaker.socket.close)
        return speaker

    def heard_by(self, speaker: Speaker, name: str) -> tuple[bytes, tuple[str, int]]:
        """The next message of that name; the flood's are passed over."""
        while True:
            data, source = speaker.socket.recvfrom(65535)
            if f"Call-ID: {name}\r\n".encode() in data:
                return data, source

    def registers(self, port: int) -> tuple[Speaker, tuple[str, int]]:
        """A phone, and where its registrar is to call it."""
        phone, name = self.speaker(self.lab.client_stranger, port), f"phone{next(self._names)}"
        own = str(self.lab.client_stranger.v4)
        phone.say(asks("REGISTER", own, self.to, name, "Expires: 600", port=port), (self.to, 5060))
        heard, source = self.heard_by(self.registrar, name)
        kept = [
            line for line in heard.decode().split("\r\n") if line.startswith(("Via:", "From:", "Call-ID:", "CSeq:"))
        ]
        contact = next(line for line in heard.decode().split("\r\n") if line.startswith("Contact:"))
        to = "To: <sip:x@example.org>;tag=s"
        self.registrar.say(message("SIP/2.0 200 OK", *kept, to, f"{contact};expires=600"), source)
        assert phone.hear().startswith(b"SIP/2.0 200 ")
        host, _, place = contact.partition("@")[2].partition(">")[0].partition(":")
        return phone, (host, int(place or 5060))

    def is_called(self, phone: Speaker, at: tuple[str, int]) -> None:
        name = f"call{next(self._names)}"
        self.registrar.say(asks("INVITE", self.to, at[0], name), at)
        heard, _ = self.heard_by(phone, name)
        assert heard.startswith(b"INVITE ")

    def others_go_on(self, phone: Speaker, at: tuple[str, int], port: int) -> None:
        """The phone that was there is called; another one registers, and calls with media; FTP begins."""
        self.is_called(phone, at)
        other, place = self.registers(port)
        self.is_called(other, place)
        own, name = str(self.lab.client_stranger.v4), f"new{next(self._names)}"
        body = media_at(own).partition(SDP_LINES[1])[0]
        other.say(asks("INVITE", own, self.to, name, SDP, body=body, port=port), (self.to, 5060))
        heard, _ = self.heard_by(self.registrar, name)
        assert f"IN IP4 {self.ours}".encode() in heard
        with ftp_talk.server(self.lab.server), ftp_talk.Talk(self.lab.client, self.to) as talk:
            data = ftp_talk.passive_address(talk.ask("PASV"))
            assert ftp_talk.fate(self.lab.client, *data) == "open payload"

    def close(self) -> None:
        self._open.close()


@pytest.fixture
def place() -> Iterator[Site]:
    with Lab("routed", addresses="global") as lab:
        wan0 = lab.gateway.interfaces["wan0"]
        words = {"ours4": wan0[0], "ours6": wan0[1], "pbx4": lab.client.v4, "pbx6": lab.client.v6}
        with pinhole(lab, TEXT % words, unprivileged=True) as daemon:
            daemon.lock_down()
            made = Site(lab, daemon)
            try:
                yield made
            finally:
                made.close()


def forges(host: Host, source: str, port: int, data: bytes, to: str) -> int:
    """Bytes sent by a datagram whose source is not the host's own."""
    version = 6 if ":" in source else 4
    with host.inside(), socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
        sock.bind((source, port))
        return sock.sendto(data, (to, 5060))


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE"])
@pytest.mark.parametrize("by", ["stranger", "neighbour"])
def test_forged_sources_take_nothing_from_anybody(place: Site, by: str, method: str) -> None:
    """Of strangers who ask a published server, and of a host inside that asks one outside."""
    phone, at = place.registers(6000)
    attacker = place.lab.server_stranger if by == "stranger" else place.lab.client_stranger
    to = place.ours if by == "stranger" else place.to
    network = str(attacker.v4).rpartition(".")[0]
    before, sent = place.daemon.log.stat().st_size, 0
    for number in range(FORGED):
        source, port = f"{network}.{20 + number % 200}", 7000 + number // 200
        body = media_at(source) if method == "INVITE" else ""
        data = asks(method, source, to, f"flood{number}", *([SDP] if body else []), body=body, port=port)
        sent += forges(attacker, source, port, data, to)
        if number % 200 == 150:
            place.others_go_on(phone, at, 6001 + number)
    place.others_go_on(phone, at, 6900)
    status = place.daemon.ask("status")
    assert status["ports_leased"] <= 400
    # Most is told of an INVITE: a line for each of its 16 places that opens, and one when it closes. A quarter of each
    # line says who wrote it, its number, and of which call it is.
    assert place.daemon.log.stat().st_size - before < 25 * sent


def test_one_host_with_all_addresses_of_its_network_has_its_own_share(place: Site) -> None:
    phone, at = place.registers(6000)
    attacker, to = place.lab.server_stranger, str(place.lab.gateway.address(6, "wan0"))
    network = int(attacker.v6) >> 64 << 64
    for number in range(FORGED):
        source = str(IPv6Address(network + 0x1000 + number))
        forges(attacker, source, 5060, asks("OPTIONS", f"[{source}]", f"[{to}]", f"flood{number}"), to)
    assert place.daemon.wait_for("session.denied")["reason"] == "limit_per_client"
    assert len([one for one in place.daemon.ask("sessions")["sessions"] if one["policy"] == "published6"]) <= 60
    place.others_go_on(phone, at, 6001)
