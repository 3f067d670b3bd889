"""Sessions of MGCP (protocols/mgcp/engine.py, control.py): what transcripts cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Copy, Note
from protocols.contract.engine import Shares
from protocols.contract.pinholes import Closed, Heard, MediaGrant, Refusal
from protocols.mgcp.connections import MOST_OF_AN_ENDPOINT, is_covered
from protocols.mgcp.engine import Commanding
from protocols.mgcp.helper import HELPER, MgcpEngines
from protocols.mgcp.options import MgcpOptions
from protocols.mgcp.transactions import HISTORY_SECONDS, MOST_ANSWERS, MOST_OF_A_SIDE
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, Session, endpoint, on

CLIENT, SERVER = Side.CLIENT, Side.SERVER
"""The gateway, and its agent, in all sessions here."""
MEDIA = "v=0\r\nc=IN IP4 {}\r\nm=audio {} RTP/AVP 0\r\n"
FAR = MEDIA.format("192.0.2.9", 6000)
OWN = MEDIA.format("10.1.0.2", 5000)


def peers(network: str = "snat") -> Peers:
    return on(NETWORKS[network], HELPER, Transport.UDP)


def session(network: str = "snat", **options: Any) -> Session:
    return Session.of(HELPER, peers(network), HELPER.options(**options))


def beside(first: Session, network: Peers, **options: Any) -> Session:
    """Another session of the same daemon."""
    pinholes = FakePinholes(first.pinholes)
    engine = first.engines(network, HELPER.options(**options), pinholes, first.now)
    return Session(engine, pinholes, first.engines, daemon=first.daemon)


def says(one: Session, side: Side, first: str, *lines: str, media: str = "") -> None:
    head = "".join(f"{line}\r\n" for line in (first, *lines))
    one.receive(side, (head + (f"\r\n{media}" if media else "")).encode())


def connected(one: Session, number: int = 1, endpoint: str = "aaln/1@gw", far: str = FAR) -> None:
    """A connection with both of its ends."""
    says(one, SERVER, f"CRCX {number} {endpoint} MGCP 1.0", "C: 1", "M: sendrecv", media=far)
    says(one, CLIENT, f"200 {number} OK", f"I: {number}", media=OWN)


def standing(one: Session) -> list[MediaGrant]:
    return [grant for grant in one.pinholes.standing.values() if isinstance(grant, MediaGrant)]


def shared(one: Session) -> Mapping[str, int]:
    """What stands in the table of the daemon."""
    assert isinstance(one.engines, Shares)
    return one.engines.standing()


# -- connections and sessions ------------------------------------------------------------------------------------------


def test_another_agent_may_delete_what_one_agent_has_made() -> None:
    """MG17: the connection is the gateway's, and the gateway agrees."""
    first = session()
    connected(first)
    other = beside(
        first, replace(peers(), server=endpoint("203.0.113.8:2427"), server_as_seen=endpoint("203.0.113.8:2427"))
    )
    says(other, SERVER, "DLCX 1 *@gw MGCP 1.0")
    assert len(standing(first)) == 2
    says(other, CLIENT, "250 1 OK")
    assert standing(first) == []
    told = first.notes("mgcp.connection_ended") + other.notes("mgcp.connection_ended")
    assert [note["reason"] for note in told] == ["agent"]


def test_a_gateway_ends_no_connection_of_another_one() -> None:
    """MG17: it may say so of any name."""
    first = session()
    connected(first)
    other = beside(first, replace(peers(), client=endpoint("10.1.0.3:2427")))
    says(other, CLIENT, "RSIP 1 *@gw MGCP 1.0", "RM: restart")
    says(other, CLIENT, "DLCX 2 aaln/1@gw MGCP 1.0", "C: 1", "I: 1")
    assert len(standing(first)) == 2


def test_a_session_goes_on_while_its_connections_do() -> None:
    one = session()
    assert not one.engine.is_needed()
    connected(one)
    assert one.engine.is_needed()
    one.close()
    assert len(standing(one)) == 2
    one.wait(86_400)
    assert standing(one) == [] and one.is_dissolved
    assert shared(one) == {"gateways": 0, "connections": 0, "media": 0, "announced": 0}


def test_a_session_in_which_nothing_was_agreed_on_is_not_needed() -> None:
    """MG20: a stranger's RSIP that nobody accepts costs no session of a day."""
    one = session()
    says(one, CLIENT, "RSIP 1 *@gw MGCP 1.0", "RM: restart")
    says(one, SERVER, "500 1 Unknown Endpoint")
    assert not one.engine.is_needed()
    says(one, CLIENT, "RSIP 2 *@gw MGCP 1.0", "RM: restart")
    says(one, SERVER, "200 2 OK")
    assert one.engine.is_needed()


def test_the_end_of_a_session_ends_its_connections() -> None:
    one = session()
    connected(one)
    says(one, SERVER, "CRCX 2 aaln/2@gw MGCP 1.0", media=FAR)
    one.dissolve()
    assert one.pinholes.standing == {}
    assert [note["reason"] for note in one.notes("mgcp.connection_ended")] == ["stopped"]
    assert set(shared(one).values()) == {0}


def test_two_connections_of_one_id_are_one() -> None:
    """A gateway that has restarted without a word gives its ids anew."""
    one = session()
    connected(one)
    says(one, SERVER, "CRCX 9 aaln/1@gw MGCP 1.0", media=FAR)
    says(one, CLIENT, "200 9 OK", "I: 1", media=OWN)
    assert [note["reason"] for note in one.notes("mgcp.connection_ended")] == ["replaced"]
    assert len(standing(one)) == 2


def test_after_a_reload_a_connection_is_changed_by_the_new_engine() -> None:
    first = session()
    connected(first)
    anew = beside(first, peers())
    says(anew, SERVER, "MDCX 1 aaln/1@gw MGCP 1.0", "C: 1", "I: 1", media=MEDIA.format("192.0.2.10", 6000))
    says(anew, CLIENT, "200 1 OK")
    assert [note["connection"] for note in anew.notes("mgcp.connection_changed")] == [b"1"]
    assert {str(grant.media.party.data) for grant in standing(first)} == {"192.0.2.10:6000", "10.1.0.2:5000"}


def test_media_of_two_gateways_behind_us_meets_at_places_of_ours() -> None:
    """MG15: the far end of either is the place of the other one, which stays when the first of them ends."""
    one = session()
    connected(one)
    other = beside(one, replace(peers(), client=endpoint("10.1.0.3:2427")))
    own = MEDIA.format("10.1.0.3", 7000)
    says(other, SERVER, "CRCX 1 aaln/1@gw2 MGCP 1.0", media=MEDIA.format("198.51.100.1", 40000))
    says(other, CLIENT, "200 1 OK", "I: 1", media=own)
    assert "203.0.113.7" not in str(standing(other)[0].media.party.allow)
    says(other, SERVER, "DLCX 2 aaln/1@gw2 MGCP 1.0")
    says(other, CLIENT, "250 2 OK")
    assert shared(one)["announced"] == 1


# -- limits ------------------------------------------------------------------------------------------------------------


def test_an_endpoint_and_a_gateway_have_so_many_connections_and_no_more() -> None:
    """MG10, X9."""
    one = session("none", max_connections=40)
    for number in range(1, MOST_OF_AN_ENDPOINT + 2):
        says(one, SERVER, f"CRCX {number} aaln/1@gw MGCP 1.0")
        says(one, CLIENT, f"200 {number} OK", f"I: {number}")
    assert one.violations() == ["mgcp.endpoint_full", "mgcp.unasked"]
    assert one.sent(SERVER).endswith(b"403 17 Too Many Connections\r\n")
    for number in range(100, 140):
        says(one, SERVER, f"CRCX {number} aaln/{number}@gw MGCP 1.0")
        says(one, CLIENT, f"200 {number} OK", f"I: {number}")
    assert shared(one)["connections"] == 40
    assert one.violations().count("mgcp.too_many") == 16


def test_connections_that_their_gateway_has_not_agreed_to_yet_count_as_well() -> None:
    """X9: an agent that does not wait for responses has no more of them than one that does."""
    one = session("none", max_connections=3)
    for number in range(1, 5):
        says(one, SERVER, f"CRCX {number} aaln/{number}@gw MGCP 1.0", media=FAR)
    assert one.violations() == ["mgcp.too_many"] and shared(one)["connections"] == 3
    says(one, CLIENT, "500 1 Unknown Endpoint")
    says(one, CLIENT, "200 2 OK", "I: 2", media=OWN)
    one.wait(HISTORY_SECONDS)
    assert shared(one)["connections"] == 1
    says(one, SERVER, "CRCX 5 aaln/5@gw MGCP 1.0", media=FAR)
    says(one, SERVER, "DLCX 6 *@gw MGCP 1.0")
    says(one, CLIENT, "250 6 OK")
    says(one, CLIENT, "401 5 Off Hook")
    assert one.violations() == ["mgcp.too_many"] and shared(one)["connections"] == 0


def test_a_connection_that_was_forgotten_gives_way_to_another_one() -> None:
    """X9: a gateway that loses its deletions is not refused for good. One whose media is heard stays."""
    of_gateway, of_endpoint = (3, ["a@gw", "b@gw", "c@gw", "d@gw"]), (MOST_OF_AN_ENDPOINT, ["aaln/1@gw"] * 20)
    for rule, (most, names) in {"mgcp.too_many": of_gateway, "mgcp.endpoint_full": of_endpoint}.items():
        one = session(max_connections=most + (rule == "mgcp.endpoint_full"))
        for number, name in enumerate(names[:most], 1):
            connected(one, number, name, far="")
        one.use(1)
        says(one, SERVER, f"CRCX 90 {names[most]} MGCP 1.0")
        assert one.violations() == [rule]
        one.wait(4000)
        connected(one, 91, names[most], far="")
        told = [(note["connection"], note["reason"]) for note in one.notes("mgcp.connection_ended")]
        assert told == [(b"2", "gave_way")] and one.violations() == [rule]


def test_a_gateway_sends_so_many_commands_a_second_by_all_its_sessions() -> None:
    """MG1: agents are not limited so."""
    one = session(rate=5)
    other = beside(one, replace(peers(), client=endpoint("10.1.0.2:5000")), rate=5)
    for number in range(1, 6):
        says(one if number % 2 else other, CLIENT, f"NTFY {number} aaln/1@gw MGCP 1.0")
    says(other, CLIENT, "NTFY 6 aaln/1@gw MGCP 1.0")
    assert other.violations() == ["mgcp.rate"] and one.violations() == []
    for number in range(1, 20):
        says(one, SERVER, f"AUEP {number} aaln/1@gw MGCP 1.0")
    one.wait(1)
    says(one, CLIENT, "NTFY 7 aaln/1@gw MGCP 1.0")
    assert one.violations() == []


def test_the_oldest_transaction_is_forgotten_for_the_newest_when_there_are_too_many() -> None:
    """X9: what it was to make is taken back."""
    one = session()
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", media=FAR)
    assert len(standing(one)) == 1
    for number in range(2, MOST_OF_A_SIDE + 2):
        says(one, SERVER, f"AUEP {number} aaln/1@gw MGCP 1.0")
    assert standing(one) == []
    says(one, CLIENT, "200 1 OK", "I: 1", media=OWN)
    assert one.violations() == ["mgcp.unasked"] and standing(one) == []


def test_long_messages_are_remembered_as_far_as_there_is_room() -> None:
    one = session()
    for number in range(1, 400):
        says(one, CLIENT, f"NTFY {number} aaln/1@[10.1.0.2] MGCP 1.0", f"O: {'D/1,' * 900}")
        one.wait(0.06)
    assert len(one.sent(SERVER)) > 1_000_000
    says(one, SERVER, "200 1 OK")
    says(one, SERVER, "200 399 OK")
    assert one.violations() == ["mgcp.unasked"]


def test_ids_that_are_remembered_have_a_bound() -> None:
    """X9: of commands and of the responses that give them."""
    one = session()
    for name in ("C", "I"):
        says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", f"{name}: {'A' * 200}")
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", "C: A", f"M: {'inactive' * 20}", media=FAR)
    for line in (f"I: {'A' * 200}", f"Z: {'a' * 300}@gw"):
        says(one, CLIENT, "200 1 OK", line, media=OWN)
    assert one.violations() == ["mgcp.malformed"] * 4
    says(one, CLIENT, "200 1 OK", "I: 1", media=OWN)
    (note,) = one.notes("mgcp.connection_added")
    assert len(note["mode"]) < 50 and len(standing(one)) == 2


def test_a_transaction_has_few_different_responses() -> None:
    one = session()
    for number in range(MOST_ANSWERS + 2):
        says(one, SERVER, "AUEP 1 aaln/1@gw MGCP 1.0")
        says(one, CLIENT, "200 1 OK", f"P: PS={number}")
    assert one.sent(SERVER).count(b"200 1 OK") == MOST_ANSWERS + 2 and one.violations() == []


def test_another_command_of_the_same_id_takes_the_place_of_the_one_before() -> None:
    """MG8: an agent that has restarted may begin to count anew."""
    one = session()
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", media=FAR)
    says(one, SERVER, "AUEP 1 aaln/1@gw MGCP 1.0")
    assert standing(one) == []


def test_a_command_that_was_refused_may_be_tried_again_with_the_same_bytes() -> None:
    one = session()
    connected(one, far="")
    for code in ("401", "200"):
        says(one, SERVER, "CRCX 2 aaln/2@gw MGCP 1.0", media=FAR)
        says(one, CLIENT, f"{code} 2 Word", "I: 2", media=OWN if code == "200" else "")
    assert len(standing(one)) == 3


def test_after_half_a_minute_the_same_command_is_a_new_one() -> None:
    one = session()
    connected(one)
    one.wait(HISTORY_SECONDS)
    says(one, CLIENT, "200 1 OK", "I: 1", media=OWN)
    assert one.violations() == ["mgcp.unasked"]


# -- who may have media, and where -------------------------------------------------------------------------------------


def test_a_far_end_that_is_not_reached_as_its_agent_is_left_alone() -> None:
    """MG14: perhaps the two are neighbours, and meet without us."""
    one = session("none")
    one.pinholes.unroutable = (ip_network("192.0.2.0/24"),)
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", media=FAR)
    assert standing(one) == []
    (kept,) = one.notes("address.kept")
    assert [change["reason"] for change in kept["changes"]] == ["third_host"]


def test_behind_us_an_agent_names_other_hosts_by_option_alone() -> None:
    """MG14: with source NAT the agent is inside, and what is opened opens the network inside."""
    gateway = on(NETWORKS["snat"], HELPER, Transport.UDP)
    neighbour = MEDIA.format("10.1.0.9", 6000)
    for media, places in (((), 0), ((ip_network("10.1.0.0/24"),), 1)):
        one = Session.of(HELPER, gateway, MgcpOptions(media=media))
        says(one, CLIENT, "CRCX 1 aaln/1@gw MGCP 1.0", media=neighbour)
        assert len(standing(one)) == places


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (MEDIA.format("gw.example.net", 6000), "host_name"),
        (MEDIA.format("224.2.2.2", 6000), "multicast"),
        (MEDIA.format("192.0.2.9", "6000/2"), "several_pairs"),
    ],
)
def test_media_that_cannot_be_followed_is_left_alone_and_told(media: str, reason: str) -> None:
    one = session("none")
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", media=media)
    assert standing(one) == []
    assert [change["reason"] for note in one.notes("address.kept") for change in note["changes"]] == [reason]


def test_a_description_that_cannot_be_read_passes_and_opens_nothing() -> None:
    one = session("none")
    bad = "v=0\r\n" + "c=IN IP4 192.0.2.9\r\n" + "m=audio 6000 RTP/AVP 0\r\n" * 17
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", media=bad)
    says(one, CLIENT, "200 1 OK", "I: 1", media=bad)
    assert one.violations() == ["mgcp.bad_sdp"] * 2 and standing(one) == []
    says(one, SERVER, "AUCX 2 aaln/1@gw MGCP 1.0", "I: 1")
    says(one, CLIENT, "200 2 OK", media=bad)
    assert one.sent(SERVER).endswith(bad.encode())


def test_a_far_end_with_its_rtcp_elsewhere_is_asked_about_both() -> None:
    one = session("none")
    media = FAR + "a=rtcp:6009 IN IP4 192.0.2.10\r\n"
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0", media=media)
    (grant,) = standing(one)
    assert str(grant.media.party.control) == "192.0.2.10:6009"


def test_an_audit_tells_the_agent_its_own_far_end_again() -> None:
    """MG11: where the agent is behind NAT, the gateway knows the far end by a place of ours."""
    one = session()
    says(one, CLIENT, "CRCX 1 aaln/1@gw MGCP 1.0", media=OWN)
    says(one, SERVER, "200 1 OK", "I: 1", media=FAR)
    says(one, CLIENT, "AUCX 2 aaln/1@gw MGCP 1.0", "I: 1")
    says(one, SERVER, "200 2 OK", media=FAR + "\r\n" + MEDIA.format("198.51.100.1", 40000))
    told = one.sent(CLIENT).rpartition(b"200 2 OK")[2]
    assert b"c=IN IP4 192.0.2.9\r\nm=audio 6000" in told and b"c=IN IP4 10.1.0.2\r\nm=audio 5000" in told


def test_a_medium_that_the_far_end_gives_up_is_over_when_the_gateway_agrees() -> None:
    """D8."""
    one = session()
    connected(one)
    says(one, SERVER, "MDCX 2 aaln/1@gw MGCP 1.0", "I: 1", media=MEDIA.format("192.0.2.9", 0))
    assert len(standing(one)) == 2
    says(one, CLIENT, "200 2 OK")
    assert standing(one) == []


def test_a_place_that_cannot_be_moved_stays_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    one = session()
    connected(one)
    monkeypatch.setattr(one.pinholes, "change", lambda grant, media: Refusal("no_free_port"))
    says(one, SERVER, "MDCX 2 aaln/1@gw MGCP 1.0", "I: 1", media=MEDIA.format("192.0.2.9", 6100))
    says(one, CLIENT, "200 2 OK")
    assert {str(grant.media.party.data) for grant in standing(one)} == {"192.0.2.9:6000", "10.1.0.2:5000"}


def test_media_may_be_silent_for_longer_while_either_end_is_inactive_or_on_hold() -> None:
    """D25, MG13."""
    one = session(media_idle=60, hold_idle=600)
    silences = []

    def silence() -> None:
        (seconds,) = {grant.media.idle_seconds for grant in standing(one)}
        silences.append(seconds)

    connected(one)
    silence()
    held = MEDIA.format("0.0.0.0", 6000)
    changes = (("M: inactive", "", ""), ("M: sendrecv", "", ""), ("M: sendrecv", held, ""), ("M: sendrecv", FAR, OWN))
    for number, (mode, far, own) in enumerate(changes, 2):
        says(one, SERVER, f"MDCX {number} aaln/1@gw MGCP 1.0", "C: 1", "I: 1", mode, media=far)
        says(one, CLIENT, f"200 {number} OK", media=own)
        silence()
    says(one, SERVER, "MDCX 9 aaln/1@gw MGCP 1.0", "C: 1", "I: 1")
    says(one, CLIENT, "200 9 OK", media=MEDIA.format("0.0.0.0", 5000))
    silence()
    assert silences == [60, 600, 60, 600, 60, 600]


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_a_command_before_anybody_has_shown_what_it_is_passes() -> None:
    """MG3: an extension of RFC 3435 that is not known here tells nothing of its sender."""
    one = session()
    says(one, CLIENT, "MESG 1 ca@[10.1.0.2] MGCP 1.0")
    says(one, SERVER, "200 1 OK")
    assert b"ca@[198.51.100.1]" in one.sent(SERVER) and one.sent(CLIENT) == b"200 1 OK\r\n"
    assert not one.engine.is_needed() and shared(one)["gateways"] == 0
    one.wait(HISTORY_SECONDS)
    one.dissolve()


def test_whoever_forges_the_first_datagram_does_not_turn_a_session_round() -> None:
    """MG3: the agent's own command shows which side it is on, until the two have agreed on something."""
    one = session()
    says(one, SERVER, "NTFY 1 aaln/1@gw MGCP 1.0")
    says(one, CLIENT, "CRCX 1 aaln/1@gw MGCP 1.0", media=OWN)
    connected(one, 2)
    assert one.violations() == [] and len(standing(one)) == 2
    says(one, SERVER, "NTFY 3 aaln/1@gw MGCP 1.0")
    assert one.violations() == ["mgcp.agent"] and len(standing(one)) == 2
    assert shared(one)["gateways"] == 1


def test_the_deletion_of_a_connection_tells_nothing_of_its_sender_but_where_connections_are_known() -> None:
    """MG1: both send DLCX; a gateway's may be the first that a daemon hears of it."""
    one = session()
    says(one, CLIENT, "DLCX 1 aaln/1@gw MGCP 1.0")
    says(one, CLIENT, "RSIP 2 aaln/1@gw MGCP 1.0")
    says(one, SERVER, "200 2 OK")
    connected(one, 3)
    anew = beside(one, peers())
    says(anew, CLIENT, "DLCX 4 aaln/1@gw MGCP 1.0", "I: 3")
    assert standing(one) == [] and one.violations() == anew.violations() == []


def test_with_agents_by_name_nothing_passes_between_two_others() -> None:
    named = (ip_network("203.0.113.7/32"),)
    one = session(call_agents=named)
    says(one, SERVER, "DLCX 1 aaln/1@gw MGCP 1.0")
    assert shared(one)["gateways"] == 1 and one.violations() == []
    other = session(call_agents=(ip_network("192.0.2.0/24"),))
    says(other, CLIENT, "MESG 1 aaln/1@gw MGCP 1.0")
    assert other.violations() == ["mgcp.agent"] and other.sent(SERVER) == b""


def test_an_agent_that_commands_from_another_port_may_begin_with_what_either_may_say() -> None:
    one = Session.of(HELPER, replace(peers("dnat"), role=Commanding()), HELPER.options())
    says(one, CLIENT, "DLCX 1 aaln/1@gw MGCP 1.0")
    assert one.notes("mgcp.connection_ended") == [] and one.violations() == []


def test_whoever_traces_a_session_gets_every_datagram_as_it_came_and_went() -> None:
    one = session()
    one.engine.copy(True)
    says(one, CLIENT, "RSIP 1 *@[10.1.0.2] MGCP 1.0")
    copies = [effect for effect in one.effects if isinstance(effect, Copy)]
    assert [(copy.side, copy.has_come) for copy in copies] == [(CLIENT, True), (SERVER, False)]
    assert b"[10.1.0.2]" in copies[0].data and b"[198.51.100.1]" in copies[1].data
    one.receive(CLIENT, b".\r\n" * 9)
    (dropped,) = [effect for effect in one.effects if isinstance(effect, Copy)][2:]
    assert (dropped.side, dropped.has_come, dropped.data) == (CLIENT, True, b".\r\n" * 9)


@pytest.mark.parametrize(
    ("name", "pattern", "covered"),
    [
        (b"aaln/1@gw", b"aaln/1@gw", True),
        (b"aaln/1@gw", b"aaln/*@gw", True),
        (b"aaln/1@gw", b"*@gw", True),
        (b"aaln/1@gw", b"*/1@gw", True),
        (b"ds/s-1/2@gw", b"ds/*@gw", True),
        (b"ds/s-1/2@gw", b"ds/*/2@gw", True),
        (b"ds/s-1/2@gw", b"ds/*/3@gw", False),
        (b"aaln/1@gw", b"aaln/2@gw", False),
        (b"aaln/1@gw", b"aaln@gw", False),
        (b"aaln@gw", b"aaln/*@gw", False),
        (b"aaln/1@gw", b"*@gw2", False),
        (b"aaln/1@gw", b"*", False),
    ],
)
def test_a_name_with_wildcards_stands_for_what_it_covers(name: bytes, pattern: bytes, covered: bool) -> None:
    assert is_covered(name, pattern) is covered


def test_the_engines_of_a_daemon_say_what_is_under_way() -> None:
    engines = MgcpEngines()
    assert engines.counts() == {"gateways": 0, "connections": 0}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"NTFY 1 a@b MGCP 1.0\r\nO: D/1,D/2\r\nX: 1\r\n", b"NTFY 1 a@b MGCP 1.0\r\nO:\r\nX: 1\r\n"),
        (b"v=0\r\na=crypto:1 AES inline:abc|2^20\r\n", b"v=0\r\na=crypto:1 AES inline:\r\n"),
        (b"k=clear:secret\n", b"k=clear:\n"),
        (b"a=X-pc-secret: clear:abc\r\n", b"a=X-pc-secret:\r\n"),
        (b"C: 1\r\nTO: 2\r\n", b"C: 1\r\nTO: 2\r\n"),
    ],
)
def test_keys_and_digits_are_shown_to_nobody(text: bytes, shown: bytes) -> None:
    assert HELPER.secret is not None
    assert HELPER.secret.sub(rb"\1", text) == shown


def test_what_an_engine_closes_at_its_end_is_gone_though_nobody_tells_it_so() -> None:
    one = session()
    connected(one)
    one.is_dissolved = True  # from now on nothing is reported to it
    (note,) = [effect for effect in one.engine.stop(5.0) if isinstance(effect, Note)]
    assert (note.event, note.facts["reason"], note.facts["packets_to_gateway"]) == (
        "mgcp.connection_ended",
        "stopped",
        0,
    )
    assert set(shared(one).values()) == {0}


def test_the_end_of_a_connection_tells_how_its_media_came() -> None:
    """Loss and jitter as seen here stand beside what the gateway has counted."""
    one = session()
    connected(one)
    remote, local = standing(one)
    counted = Closed("idle", 30, 40, 1.0, packets_in=3, packets_out=4, heard=Heard(3, 1, 0.25, "PCMU"))
    assert one.engine.pinhole(local, counted, 1.0) == []
    (note,) = one.engine.pinhole(remote, replace(counted, heard=Heard(4, 0, 0.5, None)), 1.0)
    assert isinstance(note, Note)
    told = {name: note.facts[name] for name in ("packets_to_gateway", "packets_from_gateway", "lost_to_gateway")}
    assert told == {"packets_to_gateway": 3, "packets_from_gateway": 4, "lost_to_gateway": 1}
    assert (note.facts["jitter_seconds_from_gateway"], note.facts["reason"]) == (0.5, "media_idle")


def test_without_nat_a_gateway_whose_end_can_have_no_place_is_left_alone() -> None:
    one = session("none")
    says(one, SERVER, "CRCX 1 aaln/1@gw MGCP 1.0")
    one.pinholes.refuse_next.append("limit_per_session")
    says(one, CLIENT, "200 1 OK", "I: 1", media=OWN)
    assert one.sent(SERVER).endswith(OWN.encode()) and standing(one) == []
