"""Where a party has its media by what it says of itself; what becomes of it when an offer is refused or declined."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from protocols.contract.addresses import Endpoint, Peers, Transport, only
from protocols.contract.pinholes import MediaGrant
from protocols.sip.contacts import Called
from tests.harness.media import said
from tests.harness.sip_flow import (
    CLIENT,
    OURS,
    PHONE,
    PROXY,
    SDP,
    SERVER,
    Flow,
    at,
    established,
    invite,
    message,
    response,
    sdp,
)

TO_BOB = "<sip:bob@example.org>;tag=b"
VIDEO = "m=video {} RTP/AVP 96\r\n"


def grants(flow: Flow) -> list[MediaGrant]:
    return [grant for grant in flow.places.standing.values() if isinstance(grant, MediaGrant)]


def waiting(flow: Flow) -> list[str]:
    """Where parties whose places stand wait."""
    return [str(grant.media.party.data) for grant in grants(flow)]


def ports(data: bytes) -> list[int]:
    return [int(line.split()[1]) for line in data.split(b"\r\n") if line.startswith(b"m=")]


# -- by what it names itself -------------------------------------------------------------------------------------------


def test_who_knows_how_it_is_known_outside_has_its_media_at_itself() -> None:
    """An exchange that is told its outside address (Asterisk's `externip`), a phone that asks STUN."""
    flow = Flow()
    sent = flow.passes(CLIENT, invite(body=sdp("203.0.113.1", 7000)))
    (grant,) = grants(flow)
    assert grant.media.party.data == at("10.1.0.2:7000")
    assert ports(sent) == [said(grant.data).port]


def test_a_place_of_ours_that_a_server_behind_us_tells_of_stays_what_it_is() -> None:
    flow = established(Flow())
    place = said(next(grant.data for grant in grants(flow) if grant.media.party.mapped is not None))
    proxy = Flow(peers=Peers(at("10.1.0.9:5060"), at("203.0.113.1:40009"), PROXY, PROXY, Transport.UDP), beside=flow)
    told = (
        invite(5, body=sdp(str(place.host), place.port))
        .replace(b"one@10.1.0.2", b"two")
        .replace(b"10.1.0.2", b"10.1.0.9")
    )
    assert ports(proxy.passes(CLIENT, told)) == [place.port]


def test_who_names_a_place_of_his_own_other_call_by_chance_has_a_place_for_each() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(body=sdp("203.0.113.1", 7000)))
    taken = next(said(grant.data).port for grant in grants(flow))
    other = invite(body=sdp("203.0.113.1", taken)).replace(b"one@10.1.0.2", b"two").replace(b"bK1", b"bK2")
    (told,) = ports(flow.passes(CLIENT, other))
    assert told != taken
    assert waiting(flow) == ["10.1.0.2:7000", f"10.1.0.2:{taken}"]


@pytest.mark.parametrize("home", ["192.168.1.20", "192.168.178.20"], ids=["numbered_as_here", "numbered_otherwise"])
@pytest.mark.parametrize("seen", [OURS, at("192.168.1.5:5060")], ids=["published", "let_in"])
def test_a_phone_behind_a_nat_of_its_own_is_learned_whatever_its_network_is_called(home: str, seen: Endpoint) -> None:
    """D41. Where its network is numbered as the one of the exchange, nothing is sent to that address."""
    remote = at("8.8.4.4:5060")
    flow = Flow(peers=Peers(remote, remote, at("192.168.1.5:5060"), seen, Transport.UDP))
    flow.places.unroutable.add(at("192.168.1.20:0").host)  # it is reached by another interface than the phone
    flow.hear(CLIENT, invite(body=sdp(home, 7000)).replace(b"UDP 10.1.0.2", b"UDP 8.8.4.4"))
    (grant,) = grants(flow)
    party = grant.media.party
    assert party.learn
    assert remote.host in party.allow[-1]
    assert str(said(party.data).host) == ("8.8.4.4" if home == "192.168.1.20" else home)


@pytest.mark.parametrize("elsewhere", ["10.8.0.2", "172.17.0.1", "192.168.99.4", "100.64.3.3", "169.254.7.7"])
def test_a_phone_that_names_its_vpn_or_container_is_learned_from_its_own_host_alone(elsewhere: str) -> None:
    """Nobody outside can mean such an address, and nobody else inside is opened for."""
    flow = Flow()
    flow.places.unroutable.add(at(f"{elsewhere}:0").host)
    sent = flow.passes(CLIENT, invite(body=sdp(elsewhere, 7000)))
    assert elsewhere.encode() not in sent
    (learned,) = (note for note in flow.notes if note.event == "media.learned")
    assert learned.facts == {"medium": b"audio", "named": at(f"{elsewhere}:7000"), "expected": PHONE.host}
    (grant,) = grants(flow)
    party = grant.media.party
    assert (str(party.data), party.learn, party.allow) == ("10.1.0.2:7000", True, only(PHONE.host))
    assert party.mapped == OURS.host


def test_a_neighbour_that_a_phone_names_is_none_of_its_containers() -> None:
    """It is reached by the interface by which the phone is reached, and an option would have to name it."""
    flow = Flow()
    flow.hear(CLIENT, invite(body=sdp("10.1.0.77", 7000)))
    assert grants(flow) == []


def test_a_host_outside_that_a_phone_names_is_left_as_it_is() -> None:
    """An exchange that leads two parties outside together (direct media)."""
    flow = Flow()
    sent = flow.passes(CLIENT, invite(body=sdp("192.0.2.80", 7000)))
    assert grants(flow) == []
    assert b"c=IN IP4 192.0.2.80" in sent


def test_media_of_parties_outside_may_come_from_networks_that_an_option_names() -> None:
    farm = ip_network("192.0.2.64/26")
    flow = established(Flow(media_from=(farm,)))
    phone, server = (grant.media.party for grant in grants(flow))
    assert phone.allow == only(said(phone.data).host)
    assert server.allow == (*only(said(server.data).host), farm)


def test_the_shell_is_told_who_names_whom() -> None:
    """It knows the routes."""
    flow = established(Flow())
    phone, server = (grant.media.party for grant in grants(flow))
    assert (phone.host, phone.side, phone.is_inside, phone.is_named) == (PHONE.host, CLIENT, True, False)
    assert (server.host, server.side, server.is_inside, server.is_named) == (PROXY.host, SERVER, False, False)
    let_in = Flow(peers=Peers(PROXY, PROXY, PHONE, OURS, Transport.UDP, role=Called()))
    let_in.hear(CLIENT, invite(body=sdp("198.51.100.9", 8000)))
    (grant,) = grants(let_in)
    assert (grant.media.party.host, grant.media.party.side) == (PROXY.host, SERVER)


def test_whom_media_hosts_name_is_inside() -> None:
    """Who is outside has no say about them."""
    flow = Flow(media_hosts=(ip_network("10.1.0.30/32"),))
    flow.places.unroutable.add(at("10.1.0.30:0").host)
    flow.hear(CLIENT, invite(body=sdp("10.1.0.30", 7000)))
    flow.hear(SERVER, response(200, body=sdp("10.1.0.30", 8000)))
    assert waiting(flow) == ["10.1.0.30:7000"]


# -- offers that are refused, media that is declined -------------------------------------------------------------------


def test_a_party_that_has_answered_a_hold_keeps_its_place_when_the_call_is_taken_up() -> None:
    """D22: it answers with the very description as before, which its partner need not read again."""
    flow = Flow(peers=Peers(PROXY, PROXY, at("10.1.0.2:5060"), OURS, Transport.UDP))
    flow.hear(CLIENT, invite(body=sdp("0.0.0.0", 8000)))
    held = ports(flow.passes(SERVER, response(200, body=sdp("10.1.0.2", 7000))))
    flow.hear(CLIENT, invite(2, body=sdp("198.51.100.9", 8000), to=TO_BOB))
    assert ports(flow.passes(SERVER, response(200, 2, body=sdp("10.1.0.2", 7000)))) == held


def test_who_has_answered_a_hold_waits_as_long_as_the_call() -> None:
    flow = Flow(peers=Peers(PROXY, PROXY, at("10.1.0.2:5060"), OURS, Transport.UDP))
    flow.hear(CLIENT, invite(body=sdp("0.0.0.0", 8000)))
    for _ in range(2):  # 183 and 200 may say the same
        flow.hear(SERVER, response(200, body=sdp("10.1.0.2", 7000)))
        (grant,) = grants(flow)
        assert grant.media.open_seconds == grant.media.idle_seconds == float("inf")


def test_of_two_branches_of_one_offer_to_take_it_up_both_may_refuse() -> None:
    flow = Flow(peers=Peers(PROXY, PROXY, at("10.1.0.2:5060"), OURS, Transport.UDP))
    flow.hear(CLIENT, invite(body=sdp("0.0.0.0", 8000)))
    flow.hear(SERVER, response(200, body=sdp("10.1.0.2", 7000)))
    again = invite(2, body=sdp("198.51.100.9", 8000), to=TO_BOB)
    for branch in (b"z9hG4bK2", b"z9hG4bKf"):
        flow.hear(CLIENT, again.replace(b"z9hG4bK2", branch))
    for branch in (b"z9hG4bK2", b"z9hG4bKf"):
        flow.hear(SERVER, response(503, 2).replace(b"z9hG4bK2", branch))
    assert waiting(flow) == ["10.1.0.2:7000"]


def test_when_taking_it_up_is_refused_the_party_has_its_place_alone_again() -> None:
    flow = Flow(peers=Peers(PROXY, PROXY, at("10.1.0.2:5060"), OURS, Transport.UDP))
    flow.hear(CLIENT, invite(body=sdp("0.0.0.0", 8000)))
    flow.hear(SERVER, response(200, body=sdp("10.1.0.2", 7000)))
    flow.hear(CLIENT, invite(2, body=sdp("198.51.100.9", 8000), to=TO_BOB))
    flow.hear(SERVER, response(488, 2))
    assert waiting(flow) == ["10.1.0.2:7000"]


def test_a_refused_early_update_leaves_nothing_of_what_it_offered() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(183, body=sdp("198.51.100.9", 8000)))
    before = waiting(flow)
    more = invite(2, body=sdp("10.1.0.2", 7000, VIDEO.format(7002)), to=TO_BOB).replace(b"INVITE", b"UPDATE")
    flow.hear(CLIENT, more)
    flow.hear(SERVER, response(488, 2, "UPDATE"))
    assert waiting(flow) == before


def with_video(flow: Flow) -> Flow:
    flow.hear(CLIENT, invite(body=sdp("10.1.0.2", 7000, VIDEO.format(7002))))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000, VIDEO.format(8002))))
    return flow


def test_what_a_refused_offer_would_have_removed_goes_on() -> None:
    """S67, also when a provisional response had agreed to it."""
    flow = with_video(Flow())
    before = waiting(flow)
    flow.hear(CLIENT, invite(2, body=sdp("10.1.0.2", 7000, VIDEO.format(0)), to=TO_BOB))
    flow.hear(SERVER, response(183, 2, body=sdp("198.51.100.9", 8000, VIDEO.format(0))))
    flow.hear(SERVER, response(488, 2))
    assert waiting(flow) == before


def test_what_was_removed_provisionally_is_gone_with_the_2xx_that_says_nothing_of_it() -> None:
    flow = with_video(Flow())
    flow.hear(CLIENT, invite(2, body=sdp("10.1.0.2", 7000, VIDEO.format(0)), to=TO_BOB))
    flow.hear(SERVER, response(183, 2, body=sdp("198.51.100.9", 8000, VIDEO.format(0))))
    flow.hear(SERVER, response(200, 2))
    assert waiting(flow) == ["10.1.0.2:7000", "198.51.100.9:8000"]


def test_media_that_the_answer_declines_is_over() -> None:
    """D8."""
    flow = with_video(Flow())
    flow.hear(CLIENT, invite(2, body=sdp("10.1.0.2", 7000, VIDEO.format(7002)), to=TO_BOB))
    flow.hear(SERVER, response(200, 2, body=sdp("198.51.100.9", 8000, VIDEO.format(0))))
    assert waiting(flow) == ["10.1.0.2:7000", "198.51.100.9:8000"]


@pytest.mark.parametrize("ran", [True, False], ids=["of_before", "new"])
def test_media_that_is_declined_provisionally_and_then_accepted_runs(ran: bool) -> None:
    flow = with_video(Flow()) if ran else established(Flow())
    flow.hear(CLIENT, invite(2, body=sdp("10.1.0.2", 7000, VIDEO.format(7002)), to=TO_BOB))
    flow.hear(SERVER, response(183, 2, body=sdp("198.51.100.9", 8000, VIDEO.format(0))))
    flow.hear(SERVER, response(200, 2, body=sdp("198.51.100.9", 8000, VIDEO.format(8002))))
    assert sorted(waiting(flow)) == ["10.1.0.2:7000", "10.1.0.2:7002", "198.51.100.9:8000", "198.51.100.9:8002"]


def test_what_was_removed_provisionally_may_be_taken_up_again_before_the_2xx() -> None:
    """RFC 6337 s.2.2: by UPDATE, once a reliable response has answered."""
    flow = with_video(Flow())
    before = waiting(flow)
    flow.hear(CLIENT, invite(2, body=sdp("10.1.0.2", 7000, VIDEO.format(0)), to=TO_BOB))
    flow.hear(SERVER, response(183, 2, body=sdp("198.51.100.9", 8000, VIDEO.format(0))))
    again = invite(3, body=sdp("10.1.0.2", 7000, VIDEO.format(7002)), to=TO_BOB).replace(b"INVITE", b"UPDATE")
    flow.hear(CLIENT, again)
    flow.hear(SERVER, response(200, 3, "UPDATE", body=sdp("198.51.100.9", 8000, VIDEO.format(8002))))
    flow.hear(SERVER, response(200, 2))
    assert waiting(flow) == before


def test_what_a_party_has_declined_opens_for_nobody_when_it_is_only_offered_again() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(body=sdp("10.1.0.2", 7000, VIDEO.format(7002))))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000, VIDEO.format(0))))
    flow.places.log.clear()
    fields = ("Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKq", f"From: {TO_BOB}", "To: <sip:alice@x>;tag=a")
    body = sdp("198.51.100.9", 8000, VIDEO.format(8002))
    more = ("Call-ID: one@10.1.0.2", "CSeq: 77 INVITE", "Contact: <sip:bob@198.51.100.2>", SDP)
    flow.hear(SERVER, message("INVITE sip:alice@203.0.113.1 SIP/2.0", *fields, *more, body=body))
    assert flow.places.log == ["offer 198.51.100.9:8002"]
