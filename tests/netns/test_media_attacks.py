"""Attacks by what a session description names: ports of third hosts that others use, hosts behind borders of the
inside, all the ports of the gateway. Each is tried with real datagrams; everybody else goes on as if nothing had
happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from proxy.sockets.routes import KEPT_SECONDS
from tests.harness.sip_flow import SDP, message
from tests.harness.waiting import until
from tests.netns.media_site import (
    SITES,
    VERSIONS,
    Mode,
    Phone,
    Site,
    Socket,
    Talk,
    Voice,
    audio,
    both_are_heard,
    described,
    places,
    site,
    site_id,
)
from tests.netns.namespaces import needs_root
from tools.lab import Host
from tools.lab.links import wait_until_up

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

VPN = 51820
MANY = 63


class Service:
    """A UDP service that answers everybody, such as a VPN's."""

    def __init__(self, place: Site, host: Host, port: int = VPN) -> None:
        self.at = (str(host.v4), port)
        self._socket = place.open(host, port).socket
        self._socket.settimeout(None)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65535)
                self._socket.sendto(data, source)
            except OSError:
                return

    def answers(self, client: Socket) -> bool:
        client.socket.sendto(b"are you there", self.at)
        try:
            return client.socket.recv(100) == b"are you there"
        except TimeoutError:
            return False


def names(talk: Talk, phone: Phone, *at: tuple[str, int]) -> str:
    """A description of that party which names these."""
    return described(at[0][0], *(audio(port) for _, port in at))


def asks(talk: Talk, body: str) -> bytes:
    return talk.caller.ask(talk, "INVITE", 1, body)


def own(talk: Talk, phone: Phone) -> str:
    talk.media[phone] = [phone.media()]
    return talk.describes(phone)


# -- ports of third hosts that others use ------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["S", "N", "D"])
def open_place(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A gateway that lets everything pass."""
    mode: Mode = request.param
    with site(mode, wide=True, is_locked=False, addresses="global-wan") as found:
        found.talk().hang_up()  # who has been answered once may ask for more
        yield found


def test_who_is_named_in_an_offer_that_nobody_answers_is_there_for_everybody(open_place: Site) -> None:
    place = open_place
    outside, inside = Service(place, place.lab.elsewhere), Service(place, place.lab.neighbour)
    users = [place.open(place.lab.client_stranger, 4000), place.open(place.lab.client, 4000)]
    visitor = place.open(place.lab.server_stranger, 4000)
    for number in range(MANY):
        for service in (outside, inside) if place.mode == "D" else (outside,):
            others = ((service.at[0], 30000 + number * 16 + line) for line in range(15))
            talk = Talk(*place.parties)
            talk.caller.say(talk, "INVITE", 1, names(talk, talk.caller, service.at, *others))
            place.hear_any()
    assert all(outside.answers(user) for user in users)
    assert inside.answers(visitor)


@pytest.mark.parametrize("status", [183, 200])
def test_who_is_named_in_an_answer_is_there_for_everybody_but_the_partner(open_place: Site, status: int) -> None:
    """What the two parties have agreed on is their own."""
    place = open_place
    outside = Service(place, place.lab.elsewhere, VPN + status)
    user = place.open(place.lab.client_stranger, 5000 + status)
    talk = Talk(*place.parties)
    if talk.caller is place.far:
        heard = asks(talk, names(talk, talk.caller, outside.at))
        talk.callee.answer(talk, heard, status, own(talk, talk.callee))
    else:
        heard = asks(talk, own(talk, talk.caller))
        talk.callee.answer(talk, heard, status, names(talk, talk.callee, outside.at))
    assert outside.answers(user)
    target = f"{outside.at[0]}:{outside.at[1]}"
    (opened,) = (line for line in place.daemon.ask("pinholes")["pinholes"] if line["target"] == target)
    assert opened["listen"] == target


def test_an_update_of_a_call_that_nobody_knows_binds_nothing(open_place: Site) -> None:
    place = open_place
    outside = Service(place, place.lab.elsewhere, VPN + 1)
    user = place.open(place.lab.client_stranger, 4100)
    talk = Talk(*place.parties)
    talk.is_begun = True
    talk.caller.ask(talk, "UPDATE", 1, names(talk, talk.caller, outside.at))
    assert outside.answers(user)


# -- borders of the inside ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["S", "N"])
def bordered(request: pytest.FixtureRequest) -> Iterator[Site]:
    mode: Mode = request.param
    with site(mode, wide=True, addresses="global") as found:
        yield found


OF_NOBODY = ["0.0.0.1", "240.0.0.9", "255.255.255.255", "127.0.0.9", "169.254.9.9", "224.0.0.9", "fe80::9", "ff05::9"]
OF_NOBODY += ["::1", "::ffff:10.1.0.3"]


def hosts_that_nobody_outside_may_name(place: Site) -> list[str]:
    lab = place.lab
    networks = [str(lab.networks[port][0].broadcast_address) for port in ("lan0", "lan1", "wan0")]
    ours = [str(lab.gateway.address(version, port)) for version in (4, 6) for port in ("lan0", "lan1", "wan0")]
    inside = [host for one in (lab.client_stranger, lab.neighbour) for host in (str(one.v4), str(one.v6))]
    return [*networks, *ours, *inside, str(lab.client.v6), *OF_NOBODY]


def is_opened(place: Site, host: str) -> bool:
    """Whether any place for media leads to that host, or stands at its address."""
    places = [line[key] for line in place.daemon.audit("pinhole.opened") for key in ("target", "listen")]
    return any(at.rpartition(":")[0].strip("[]") == host for at in places)


def is_told(place: Site) -> bool:
    kept = place.daemon.audit("address.kept")
    return any(change["reason"] == "third_host" for line in kept for change in line["changes"])


def test_who_is_outside_names_nobody_inside_nor_the_gateway_nor_nobody(bordered: Site) -> None:
    place = bordered
    for host in hosts_that_nobody_outside_may_name(place):
        talk = Talk(place.near, place.far)
        heard = asks(talk, own(talk, place.near))
        place.far.answer(talk, heard, 200, names(talk, place.far, (host, 5004)))
        place.daemon.wait_for("call.started", call_id=talk.call)
        if place.mode == "N" or host != str(place.lab.gateway.address(4, "wan0")):  # there the caller's place is
            assert not is_opened(place, host), host
        talk.is_begun = True
        talk.hang_up()
    assert is_told(place)


def test_who_is_inside_opens_no_other_host_of_the_inside(bordered: Site) -> None:
    """Neither its neighbours nor another network of ours: the outside does not reach them."""
    place, lab = bordered, bordered.lab
    for at, host in enumerate((lab.client_stranger, lab.neighbour)):
        for address in (str(host.v4), str(host.v6)):
            talk = Talk(place.near, place.far)
            heard = asks(talk, names(talk, place.near, (address, 6000 + at)))
            place.far.answer(talk, heard, 200, own(talk, place.far))
            place.daemon.wait_for("call.started", call_id=talk.call)
            assert not is_opened(place, address)
            talk.is_begun = True
            talk.hang_up()


def test_media_servers_outside_are_hosts_of_their_own(bordered: Site) -> None:
    place = bordered
    for third in (place.lab.elsewhere, place.lab.server_stranger):
        server = place.open(third, 7200)
        talk = Talk(place.near, place.far)
        heard = asks(talk, own(talk, place.near))
        talk.media[place.far], talk.to[place.far] = [server], places(heard)
        answer = place.far.answer(talk, heard, 200, names(talk, place.far, (str(third.v4), 7200)))
        talk.to[place.near] = places(answer)
        for phone in (place.near, place.far):
            assert talk.is_heard(phone, 10) == 10
        talk.is_begun = True
        talk.hang_up()


@pytest.mark.parametrize("mode", ["S", "N"])
def test_what_the_policy_does_not_name_has_no_media_and_media_from_is_an_option(mode: Mode) -> None:
    with site(
        mode, wide=True, policy="destination: [198.51.100.2/32]", options="media_from: [198.51.100.3/32]"
    ) as place:
        talk = Talk(place.near, place.far)
        heard = asks(talk, own(talk, place.near))
        place.far.answer(talk, heard, 200, names(talk, place.far, (str(place.lab.elsewhere.v4), 5004)))
        place.daemon.wait_for("call.started", call_id=talk.call)
        assert is_told(place)
        assert not is_opened(place, str(place.lab.elsewhere.v4))
        farm = place.open(place.lab.server_stranger, 7300)
        talk = place.talk()
        assert talk.is_heard(place.far, 10, farm) == 10
        assert talk.is_heard(place.near, 10) == 10
        talk.hang_up()


# -- all the ports -----------------------------------------------------------------------------------------------------


def test_offers_of_few_hosts_leave_ports_for_others() -> None:
    """Offers of 16 media from a handful of addresses, none answered."""
    lines = [audio(20000 + 2 * number) for number in range(16)]
    with site("S", more="limits: {pinholes_per_client: 5000}") as place:
        place.talk().hang_up()  # the phone is known by its own port from now on
        sources = [f"10.1.0.{number}" for number in range(100, 117)]
        for address in sources:
            place.lab.client_stranger.run(["ip", "address", "add", f"{address}/24", "dev", "eth0"])
        for address in sources:
            crowd = place.open(place.lab.client_stranger, 5060, spoofs=address)
            for number in range(30):
                fields = (
                    f"Via: SIP/2.0/UDP {address};branch=z9hG4bK{address}{number}",
                    "From: <sip:a@example.org>;tag=a",
                    "To: <sip:b@example.org>",
                    f"Call-ID: {address}-{number}",
                    "CSeq: 1 INVITE",
                    SDP,
                )
                body = described(address, *lines)
                crowd.socket.sendto(
                    message(f"INVITE sip:b@{place.far.at} SIP/2.0", *fields, body=body), (place.far.at, 5060)
                )
        # There is no room for a further request in the daemon's socket before it has read these.
        until(lambda: place.lab.gateway.is_all_read(5060), seconds=60)
        talk = place.talk()
        for phone in (place.near, place.far):
            assert talk.is_heard(phone, 10) == 10
        refused = {line["reason"] for line in place.daemon.audit("pinhole.refused")}
        assert refused == {"limit_of_offers"}
        leased = place.daemon.ask("status")["ports_leased"]
        assert leased <= 3000 // 2 + 64


# -- addresses that are somebody else's --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SITES, ids=site_id)
def lax(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A gateway whose kernel does not look whether a source is on the right side."""
    mode, version = request.param
    with site(mode, version=version) as found:
        for name in ("all", "default", "lan0", "wan0"):
            found.lab.gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 0)
        yield found


def other_side_of(place: Site, forged: Phone, talk: Talk) -> Socket:
    """A socket on the other side of the gateway than that phone, at the very address and port of its media."""
    host, port = (place.lab.server_stranger, "wan0") if forged is place.near else (place.lab.client_stranger, "lan0")
    gateway = str(place.lab.gateway.address(place.version, port))
    for at, _ in talk.to[forged]:  # also where that is a neighbour
        host.run(["ip", "route", "replace", at, "via", gateway])
    return place.open(host, talk.media[forged][0].port, spoofs=forged.at)


@pytest.mark.parametrize("forged", ["near", "far"])
def test_who_bears_a_partys_address_on_the_other_side_is_not_heard(lax: Site, forged: str) -> None:
    """Before its first packet, beside it, and in the midst of its very stream; and nobody's media goes there."""
    place, before = lax, len(lax.daemon.audit("violation", rule="pinhole.spoofed"))
    phone = place.near if forged == "near" else place.far
    talk, bleed = place.talk(), Voice()
    eve, hearer = other_side_of(place, phone, talk), talk.media[talk.other(phone)][0]
    for _ in range(2):
        talk.say(phone, 20, eve, bleed)
        assert hearer.is_deaf_to(bleed)
        both_are_heard(talk, 10, first=phone)
    talk.say(phone, 20, eve)
    assert hearer.is_deaf_to(talk.voices[phone])
    both_are_heard(talk, 10, first=phone)
    (said,) = place.daemon.audit("violation", rule="pinhole.spoofed")[before:]
    assert said["detail"].startswith(f"{phone.at} seems to send by {'wan0' if forged == 'near' else 'lan0'} ")
    talk.hang_up()
    place.daemon.wait_for("pinhole.closed", pinhole=said["pinhole"], packets_refused=60)


@pytest.mark.parametrize("lax", [("S", version) for version in VERSIONS], indirect=True, ids=site_id)
def test_a_stranger_is_told_of_though_a_forger_came_first(lax: Site) -> None:
    talk, before = lax.talk(), len(lax.daemon.audit("violation"))
    hearer, bleed = talk.media[talk.other(lax.far)][0], Voice()
    stranger = lax.open(lax.lab.server_stranger, 0)
    for sock in (other_side_of(lax, lax.far, talk), stranger):
        talk.say(lax.far, 20, sock, bleed)
        assert hearer.is_deaf_to(bleed)
    lines = lax.daemon.audit("violation")[before:]
    assert [line["rule"] for line in lines] == ["pinhole.spoofed", "pinhole.stranger"]
    assert str(lax.lab.server_stranger.address(lax.version)) in lines[1]["detail"]
    talk.hang_up()
    lax.daemon.wait_for("pinhole.closed", pinhole=lines[1]["pinhole"], packets_refused=40)


@pytest.mark.parametrize("forged", ["near", "far"])
def test_nor_does_a_party_move_to_another_port_of_who_bears_its_address_there(lax: Site, forged: str) -> None:
    place = lax
    phone = place.near if forged == "near" else place.far
    talk, bleed = place.talk(), Voice()
    eve = other_side_of(place, phone, talk)
    eve_elsewhere = place.open(place.lab.hosts[f"{'server' if forged == 'near' else 'client'}_stranger"], 9, phone.at)
    for sock in (eve_elsewhere, eve):
        talk.say(phone, 20, sock, bleed)
    assert talk.media[talk.other(phone)][0].is_deaf_to(bleed)
    both_are_heard(talk, 10, first=talk.other(phone))
    both_are_heard(talk, 10, first=phone)
    talk.hang_up()


# -- and are theirs though they come by another way --------------------------------------------------------------------


def second_line(place: Site, phone: Phone, talk: Talk) -> str:
    """Another link between that phone and the gateway, which it sends its media by from now on. Returns the phone's
    address on it."""
    lab, host, line = place.lab, phone.host, f"more{phone.host.name}"
    theirs, ours = ("198.18.0.2", "198.18.0.1") if place.version == 4 else ("2001:db8:18::2", "2001:db8:18::1")
    size = 24 if place.version == 4 else 64
    lab.gateway.run(["ip", "link", "add", line, "type", "veth", "peer", "name", "eth1", "netns", host.netns])
    for at, address, link in ((host, theirs, "eth1"), (lab.gateway, ours, line)):
        at.run(["ip", "address", "add", f"{address}/{size}", "dev", link, *(["nodad"] if size == 64 else [])])
        at.run(["ip", "link", "set", link, "up"])
    wait_until_up([lab.gateway.netns, host.netns])
    lab.gateway.sysctl(f"ipv4.conf.{line}.rp_filter", 0)
    for to, _ in talk.to[phone]:
        host.run(["ip", "route", "replace", to, "via", ours])
    return theirs


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["S", "N"])
def test_who_is_outside_may_come_by_another_line_than_the_way_there(mode: Mode, version: int) -> None:
    """Two providers, or a route that has changed for one direction."""
    with site(mode, version=version) as place:
        for name in ("all", "wan0"):
            place.lab.gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 0)
        talk = place.talk()
        both_are_heard(talk)
        second_line(place, place.far, talk)
        both_are_heard(talk, 20)
        talk.hang_up()
        assert not place.daemon.audit("violation")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["S", "N"])
def test_who_is_inside_may_come_by_any_line_that_the_route_to_it_leads_over(mode: Mode, version: int) -> None:
    """And by no other one that the policy does not let it in by."""
    with site(mode, version=version) as place:
        gateway, near = place.lab.gateway, place.near
        for name in ("all", "lan0"):
            gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 0)
        talk = place.talk()
        both_are_heard(talk)
        at = second_line(place, near, talk)
        for _ in range(100):  # a new link carries nothing at first
            talk.say(near, 5)
            if place.daemon.audit("violation", rule="pinhole.spoofed"):
                break
            time.sleep(0.05)
        assert place.daemon.audit("violation", rule="pinhole.spoofed")
        assert talk.media[place.far][0].is_deaf_to(talk.voices[near])
        gateway.run(["ip", "route", "replace", near.at, "via", at])
        time.sleep(KEPT_SECONDS)
        both_are_heard(talk, 20)  # its signalling is not: the policy lets no session begin there
