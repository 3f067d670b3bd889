"""Media that a session description asks for at third hosts, between global addresses and two networks inside: it takes
nobody's datagrams away, and crosses no border that the forward policy guards (design: third hosts)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from proxy.config import reading
from proxy.host.rules import Backend, input_line
from tests.harness.sip_flow import message
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS = 10.0
SILENCE_SECONDS = 0.3
RTP = bytes.fromhex("8000000100000000deadbeef") + b"audio" * 32
WIREGUARD, OPENVPN = 51820, 1194
HANDSHAKE = {WIREGUARD: bytes.fromhex("01000000") + b"i" * 144, OPENVPN: bytes.fromhex("38") + b"session1" + b"\0" * 5}
"""What a client of each begins with: no STUN, no RTP, and longer than a keep-alive."""

ROUTED = """
policies:
  - {name: out, from: [lan0], action: accept, options: {sip: {%(options)s}}%(more)s}
  - {name: published, from: [wan0], destination: ["%(pbx4)s", "%(pbx6)s"], helpers: [sip], action: accept}
"""
HIDDEN = """
policies:
  - {name: out, from: [lan0], action: accept, snat: interface, options: {sip: {%(options)s}}%(more)s}
  - {name: published, from: [wan0], destination: ["%(ours4)s"], helpers: [sip], action: accept, dnat: "%(pbx4)s"}
  - {name: published6, from: [wan0], destination: ["%(ours6)s"], helpers: [sip], action: accept, dnat: "%(pbx6)s"}
"""
FIREWALL = """
table inet guard {
    chain input {
        type filter hook input priority filter; policy drop;
        %s
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established accept
        udp dport { 51820, 1194 } accept
    }
}
"""


class Talker:
    """A UDP socket on a host."""

    def __init__(self, host: Host, version: int, port: int, at: str = "") -> None:
        """at: another IPv4 address of the host than its own one."""
        self.at = at or str(host.address(version))
        with host.inside():
            self.socket = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.bind((self.at, port))
        self.socket.settimeout(SECONDS)

    def say(self, data: bytes, to: str, port: int) -> None:
        self.socket.sendto(data, (to, port))

    def hear(self) -> bytes:
        return self.socket.recvfrom(65535)[0]

    def is_deaf(self) -> bool:
        self.socket.settimeout(SILENCE_SECONDS)
        try:
            self.socket.recv(65535)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(SECONDS)
        return False


class Site:
    """Inside a phone (which is also a published PBX), in the other network inside a host that has nothing to do with
    it; outside the phone's provider, a stranger, and a host elsewhere."""

    def __init__(self, lab: Lab, daemon: Daemon, version: int, is_hidden: bool) -> None:
        self.lab, self.daemon, self.version = lab, daemon, version
        self._open = contextlib.ExitStack()
        self._heard, self._from = b"", ("", 0)
        """What the provider has heard last, and from where."""
        self.phone, self.provider = self.talker(lab.client, 5060), self.talker(lab.server, 5060)
        ours = str(lab.gateway.address(version, "wan0"))
        self.seen_at = ours if is_hidden else self.phone.at
        """The phone's address as outside has it."""

    def address(self, host: Host) -> str:
        return str(host.address(self.version))

    def talker(self, host: Host, port: int, at: str = "") -> Talker:
        talker = Talker(host, 4 if at else self.version, port, at)
        self._open.callback(talker.socket.close)
        return talker

    def fields(self, method: str, number: int, at: str, tag: str, call: str) -> list[str]:
        via = f"[{at}]" if ":" in at else at
        return [
            f"Via: SIP/2.0/UDP {via};branch=z9hG4bK{call}{number}{method};rport",
            "From: <sip:alice@example.org>;tag=a",
            f"To: <sip:bob@example.org>{tag}",
            f"Call-ID: {call}",
            f"CSeq: {number} {method}",
        ]

    def description(self, *media: tuple[str, int], more: str = "") -> str:
        kind = f"IN IP{self.version}"
        own = self.phone.at
        lines = ["v=0", f"o=- 1 1 {kind} {own}", "s=-", "t=0 0"]
        for host, port in media:
            lines += [f"m=audio {port} RTP/AVP 0", f"c={kind} {host}", *([more] if more else [])]
        return "".join(f"{line}\r\n" for line in lines)

    def asks(self, at: str, body: str, method: str = "INVITE", tag: str = "", call: str = "call") -> bytes:
        contact = f"Contact: <sip:alice@{f'[{at}]' if ':' in at else at}>"
        kind = "Content-Type: application/sdp"
        fields = [*self.fields(method, 1, at, tag, call), contact, kind]
        return message(f"{method} sip:bob@example.org SIP/2.0", *fields, body=body)

    def calls(self, *media: tuple[str, int], call: str = "call") -> None:
        """The phone calls its provider, and waits for media where it says, or at its port 7000."""
        body = self.description(*media or ((self.phone.at, 7000),))
        self.phone.say(self.asks(self.phone.at, body, call=call), self.provider.at, 5060)
        self._heard, self._from = self.provider.socket.recvfrom(65535)

    def is_answered(self, *media: tuple[str, int], status: int = 200, call: str = "call") -> None:
        """By the provider, with media there."""
        via = next(line for line in self._heard.decode().split("\r\n") if line.startswith("Via:"))
        fields = [via, *self.fields("INVITE", 1, "", ";tag=b", call)[1:], "Content-Type: application/sdp"]
        contact = f"Contact: <sip:bob@{f'[{self.provider.at}]' if ':' in self.provider.at else self.provider.at}>"
        body = self.description(*media)
        self.provider.socket.sendto(message(f"SIP/2.0 {status} So", *fields, contact, body=body), self._from)
        self.phone.hear()

    def places(self) -> set[str]:
        """Where something waits, or leads to."""
        found = self.daemon.ask("pinholes")["pinholes"]
        return {line[name] for line in found for name in ("listen", "target")}

    def close(self) -> None:
        self._open.close()


@contextlib.contextmanager
def site(version: int, is_hidden: bool, options: str = "", more: str = "") -> Iterator[Site]:
    with Lab("routed", addresses="global", wide=True) as lab:
        wan0 = lab.gateway.interfaces["wan0"]
        words = {"options": options, "more": more, "ours4": wan0[0], "ours6": wan0[1]}
        words |= {"pbx4": lab.client.v4, "pbx6": lab.client.v6}
        with pinhole(lab, (HIDDEN if is_hidden else ROUTED) % words, unprivileged=True) as daemon:
            lab.firewall(FIREWALL % input_line(reading.load(daemon.config), Backend.NFT))
            made = Site(lab, daemon, version, is_hidden)
            try:
                yield made
            finally:
                made.close()


@pytest.fixture(params=[(6, False), (4, True)], ids=["ipv6", "ipv4_nat"])
def here(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(*request.param) as made:
        yield made


# -- other people's datagrams ------------------------------------------------------------------------------------------


class Services:
    """One of the kind of WireGuard outside, whose client is inside, and one of the kind of OpenVPN inside, whose client
    is outside: they have nothing to do with any call."""

    def __init__(self, here: Site) -> None:
        lab = here.lab
        self.outside, self.inside = here.talker(lab.elsewhere, WIREGUARD), here.talker(lab.neighbour, OPENVPN)
        self._pairs = (
            (here.talker(lab.neighbour, 40000), self.outside, WIREGUARD),
            (here.talker(lab.client_stranger, 40000), self.outside, WIREGUARD),
            (here.talker(lab.server, 40000), self.inside, OPENVPN),
            (here.talker(lab.elsewhere, 40000), self.inside, OPENVPN),
        )

    def go_on(self) -> None:
        """Everybody reaches everybody, both ways."""
        for client, server, port in self._pairs:
            client.say(HANDSHAKE[port], server.at, port)
            data, source = server.socket.recvfrom(65535)
            assert (data, source[0]) == (HANDSHAKE[port], client.at)
            server.socket.sendto(b"answer" * 20, source)
            assert client.hear() == b"answer" * 20

    def named(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return (self.outside.at, WIREGUARD), (self.inside.at, OPENVPN)


def test_an_invite_of_a_stranger_that_nobody_answers_takes_nobodys_ports(here: Site) -> None:
    services = Services(here)
    services.go_on()
    stranger = here.talker(here.lab.server_stranger, 5060)
    stranger.say(here.asks(stranger.at, here.description(*services.named())), here.seen_at, 5060)
    assert here.phone.hear().startswith(b"INVITE ")
    services.go_on()


@pytest.mark.parametrize("method", ["UPDATE", "INVITE", "PRACK"])
def test_a_request_of_a_dialog_that_nobody_knows_takes_nobodys_ports(here: Site, method: str) -> None:
    services = Services(here)
    stranger = here.talker(here.lab.server_stranger, 5060)
    body = here.description(*services.named())
    stranger.say(here.asks(stranger.at, body, method, ";tag=unknown"), here.seen_at, 5060)
    assert here.phone.hear().startswith(method.encode())
    services.go_on()


@pytest.mark.parametrize("status", [183, 200])
def test_an_answer_of_a_hostile_server_takes_nobodys_ports(here: Site, status: int) -> None:
    services = Services(here)
    here.calls()
    here.is_answered(*services.named(), status=status)
    services.go_on()
    media = here.talker(here.lab.client, 7000)
    # What the phone itself then says to it changes nothing for others.
    media.say(RTP, services.outside.at, WIREGUARD)
    assert services.outside.hear() == RTP
    services.go_on()


def test_offers_of_all_ports_of_a_host_leave_each_of_them_to_everybody(here: Site) -> None:
    services = Services(here)
    stranger = here.talker(here.lab.server_stranger, 5060)
    first = WIREGUARD - 16
    for number, (host, base) in enumerate(((services.outside.at, first), (services.inside.at, OPENVPN - 16))):
        body = here.description(*((host, base + 2 * step) for step in range(16)))
        stranger.say(here.asks(stranger.at, body, call=f"many{number}"), here.seen_at, 5060)
        assert here.phone.hear().startswith(b"INVITE ")
    services.go_on()


def test_a_place_for_rtcp_is_no_other_than_one_for_media(here: Site) -> None:
    services = Services(here)
    stranger = here.talker(here.lab.server_stranger, 5060)
    for number, (host, port) in enumerate(services.named()):
        body = here.description((stranger.at, 9000), more=f"a=rtcp:{port} IN IP{here.version} {host}")
        stranger.say(here.asks(stranger.at, body, call=f"rtcp{number}"), here.seen_at, 5060)
        assert here.phone.hear().startswith(b"INVITE ")
    services.go_on()


def test_an_invite_of_a_host_inside_takes_nobodys_ports(here: Site) -> None:
    services = Services(here)
    here.calls(*services.named())
    services.go_on()


# -- borders -----------------------------------------------------------------------------------------------------------


def nobody_crosses(here: Site, victim: Talker, port: int) -> None:
    """Neither from the phone's side nor from the provider's does a packet reach it, by way of a place of ours or
    directly, and nothing stands or leads there."""
    phone, provider = here.talker(here.lab.client, 7000), here.talker(here.lab.server, 8000)
    for speaker in (phone, provider):
        speaker.say(RTP, victim.at, port)
        for line in here.daemon.ask("pinholes")["pinholes"]:
            host, _, place = line["listen"].rpartition(":")
            if host.strip("[]") != speaker.at:
                speaker.say(RTP, host.strip("[]"), int(place))
    assert victim.is_deaf()
    victim.say(RTP, phone.at, 7000)
    victim.say(RTP, provider.at, 8000)
    assert phone.is_deaf() and provider.is_deaf()


def test_a_hostile_server_leads_nobody_into_the_other_network_inside(here: Site) -> None:
    victim = here.talker(here.lab.neighbour, 5004)
    here.calls()
    here.is_answered((victim.at, 5004))
    nobody_crosses(here, victim, 5004)


def test_a_host_inside_leads_nobody_into_the_other_network_inside(here: Site) -> None:
    victim = here.talker(here.lab.neighbour, 5004)
    here.calls((victim.at, 5004))
    here.is_answered((here.provider.at, 8000))
    nobody_crosses(here, victim, 5004)


def test_a_stranger_who_calls_a_published_server_names_nobody_inside(here: Site) -> None:
    victim, neighbour = here.talker(here.lab.neighbour, 5004), here.talker(here.lab.client_stranger, 5004)
    stranger = here.talker(here.lab.server_stranger, 5060)
    for number, named in enumerate((victim, neighbour)):
        call = f"in{number}"
        stranger.say(here.asks(stranger.at, here.description((named.at, 5004)), call=call), here.seen_at, 5060)
        heard = here.phone.hear()
        via = next(line for line in heard.decode().split("\r\n") if line.startswith("Via:"))
        fields = [*here.fields("INVITE", 1, stranger.at, ";tag=b", call)[1:], "Content-Type: application/sdp"]
        contact = f"Contact: <sip:pbx@{f'[{here.phone.at}]' if ':' in here.phone.at else here.phone.at}>"
        answer = message("SIP/2.0 200 So", via, *fields, contact, body=here.description((here.phone.at, 7000)))
        here.phone.say(answer, stranger.at, 5060)
        stranger.hear()
        assert not any(named.at in place for place in here.places())


def test_addresses_that_are_of_no_single_host_are_no_place_for_media(here: Site) -> None:
    lan, wan = (here.lab.networks[port][0 if here.version == 4 else 1] for port in ("lan0", "wan0"))
    ours = here.lab.gateway
    named = [str(ours.address(here.version, port)) for port in ("lan0", "lan1", "wan0")]
    if here.version == 4:
        named += ["255.255.255.255", str(lan.broadcast_address), str(wan.broadcast_address), "240.0.0.1", "0.0.0.1"]
        named += ["127.0.0.1", "224.0.0.1", "169.254.1.1"]
    else:
        named += ["::1", "ff02::1", "fe80::1", f"::ffff:{here.lab.neighbour.v4}", "::2", str(lan[0]), str(wan[0])]
    for number, host in enumerate(named):
        here.calls(call=f"call{number}")
        here.is_answered((host, 9000), call=f"call{number}")
    places = here.places()
    assert not [host for host in named if {f"{host}:9000", f"[{host}]:9000"} & places]


@pytest.mark.parametrize(("version", "is_hidden"), [(4, False), (6, True)], ids=["ipv4", "ipv6_nat"])
def test_a_policy_for_the_provider_alone_lets_its_answer_name_nobody_else(version: int, is_hidden: bool) -> None:
    with site(version, is_hidden, more=', destination: ["192.88.99.2", "2d00:2::2"]') as here:
        victim, phone = here.talker(here.lab.elsewhere, 5004), here.talker(here.lab.client, 7000)
        here.calls()
        here.is_answered((victim.at, 5004))
        assert not any(victim.at in place for place in here.places())
        phone.say(RTP, victim.at, 5004)
        assert victim.is_deaf()


def test_media_servers_of_a_provider_are_still_found(here: Site) -> None:
    """A third host that stands where its party does, and that the policy lets the phone talk to."""
    media_server, phone = here.talker(here.lab.elsewhere, 5004), here.talker(here.lab.client, 7000)
    here.calls()
    here.is_answered((media_server.at, 5004))
    here.daemon.wait_for("call.started")
    phone.say(RTP, media_server.at, 5004)
    data, source = media_server.socket.recvfrom(65535)
    assert data == RTP
    media_server.socket.sendto(RTP, source)
    assert phone.hear() == RTP
