"""What hostile and unlucky peers send, and what it must not do: to others, to the memory, to the time of the daemon."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Send, Splice
from protocols.contract.pinholes import MediaGrant
from protocols.sip.calls import Call
from protocols.toolbox.clock import Clock
from protocols.toolbox.memory import Recent, as_client
from tests.harness.media import said
from tests.harness.sip_flow import (
    CLIENT,
    DIALOG,
    PHONE,
    PROXY,
    SERVER,
    Flow,
    at,
    established,
    invite,
    message,
    register,
    registered,
    response,
    sdp,
)

EVE, EVE_SEEN = at("10.1.0.66:5060"), at("203.0.113.1:40066")


def eve(beside: Flow, server: str = "198.51.100.2:5060", **options: Any) -> Flow:
    """Another phone behind the same gateway."""
    return Flow(peers=Peers(EVE, EVE_SEEN, at(server), at(server), Transport.UDP), beside=beside, **options)


def request(method: str, number: int, *fields: str, host: str = "10.1.0.66") -> bytes:
    start, via = f"{method} sip:bob@198.51.100.2 SIP/2.0", f"Via: SIP/2.0/UDP {host};branch=z9hG4bK{number}"
    return message(start, via, *DIALOG, *fields, f"CSeq: {number} {method}")


TO_BOB = "To: <sip:bob@example.org>;tag=b"


# -- calls of others ---------------------------------------------------------------------------------------------------


def test_who_plays_both_ends_of_a_copied_dialog_ends_no_other_call() -> None:
    victim = established(Flow())
    flow = eve(victim, "192.0.2.66:5060")
    flow.hear(CLIENT, request("INVITE", 1, "To: <sip:bob@example.org>"))
    answer = "Via: SIP/2.0/UDP 203.0.113.1:40066;branch=z9hG4bK{}"
    flow.hear(SERVER, message("SIP/2.0 200 OK", answer.format(1), *DIALOG, TO_BOB, "CSeq: 1 INVITE"))
    flow.hear(CLIENT, request("BYE", 2, TO_BOB))
    flow.hear(SERVER, message("SIP/2.0 200 OK", answer.format(2), *DIALOG, TO_BOB, "CSeq: 2 BYE"))
    assert victim.places.log == []
    assert len(victim.places.standing) == 2


def test_strangers_push_no_transaction_out_of_a_call() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    other = eve(flow)
    for number in range(100, 140):
        other.hear(CLIENT, request("INFO", number, "To: <sip:bob@example.org>"))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    assert flow.places.log == ["offer 10.1.0.2:7000", "answer 198.51.100.9:8000"]
    assert "call.started" in flow.events()


def test_who_is_outside_opens_no_place_at_a_neighbour_of_the_phone() -> None:
    flow = Flow()
    flow.places.unroutable.add(at("10.1.0.77:0").host)
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(200, body=sdp("10.1.0.77", 8000)))
    assert flow.places.log == ["offer 10.1.0.2:7000"]
    (kept,) = (note for note in flow.notes if note.event == "address.kept")
    assert kept.facts["changes"][0]["reason"] == "third_host"


def test_calls_count_for_the_phone_that_they_come_to() -> None:
    """Else a registrar's calls to all phones would be those of one client."""
    first = Flow(max_calls=1)
    second = eve(first, max_calls=1)
    via = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKx"
    call = message("INVITE sip:alice@203.0.113.1 SIP/2.0", via, *DIALOG, "To: <sip:a@b>", "CSeq: 1 INVITE")
    assert first.passes(SERVER, call)
    assert second.passes(SERVER, call.replace(b"one@", b"two@").replace(b"203.0.113.1 ", b"203.0.113.1:40066 "))
    (answer,) = second.hear(SERVER, call.replace(b"one@", b"three@"))
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"SIP/2.0 503 ")


# -- floods ------------------------------------------------------------------------------------------------------------


def test_a_flood_of_one_datagram_is_capped_like_any_other() -> None:
    flow = Flow(rates={"INVITE": 2})
    passed = sum(len(flow.hear(CLIENT, invite())) for _ in range(1000))
    assert passed == 1 + 4
    assert flow.events().count("violation") == 1


def test_what_was_dropped_for_its_rate_is_heard_when_it_comes_again() -> None:
    flow = Flow(rates={"INVITE": 1})
    for number in range(1, 5):
        flow.hear(CLIENT, invite(number, body=""))
    flow.now = 1.0
    assert flow.passes(CLIENT, invite(4, body="")).startswith(b"INVITE ")


def test_each_policy_counts_by_its_own_rate() -> None:
    first = Flow(rates={"INVITE": 100})
    for number in range(1, 12):
        first.hear(CLIENT, invite(number, body=""))
    second = Flow(beside=first, rates={"INVITE": 5})
    assert second.passes(CLIENT, invite(12, body="")).startswith(b"INVITE ")


def test_when_things_are_over_is_one_entry_for_each() -> None:
    clock: Clock[str] = Clock()
    for step in range(10_000):
        clock.set("a", step + 300.0)
        clock.set("a", step + 32.0)
        assert clock.next() == step + 32.0
    assert len(clock._heap) <= 66
    assert list(clock.due(20_000.0)) == ["a"]
    assert clock.next() is None


@pytest.mark.parametrize("field", ["Record-Route", "Contact", "Via", "Path"])
def test_no_field_has_more_values_than_a_message_can_have_passed_hops(field: str) -> None:
    flow = Flow()
    value = "SIP/2.0/UDP a;branch=z9hG4bKx" if field == "Via" else "<sip:a>"
    (most, more) = (request("OPTIONS", 1, TO_BOB, f"{field}: {','.join([value] * count)}") for count in (255, 257))
    assert flow.passes(CLIENT, most) == most
    (answer,) = flow.hear(CLIENT, more)
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"SIP/2.0 400 ")
    assert flow.notes[-1].facts["detail"].startswith("too_many_values ")


def test_where_no_address_is_left_for_one_contact_none_is_asked_for_a_thousand() -> None:
    flow = Flow()
    flow.places.refuses = True
    contacts = ",".join(f"<sip:a@10.1.0.2:{port}>" for port in range(2000, 2200))
    flow.hear(CLIENT, request("INVITE", 1, TO_BOB, f"Contact: {contacts}", host="10.1.0.2"))
    assert len(flow.places.log) == 1


def test_an_observer_invents_no_more_contacts_than_a_session_may_have() -> None:
    flow = Flow(mode="observe")
    for first in range(2000, 4000, 200):
        contacts = ",".join(f"<sip:a@10.1.0.2:{port}>" for port in range(first, first + 200))
        flow.hear(CLIENT, request("INVITE", first, TO_BOB, f"Contact: {contacts}", host="10.1.0.2"))
    assert len(flow.table.contacts.standing) == 4


# -- what must not raise -----------------------------------------------------------------------------------------------


def test_contacts_of_an_observer_are_told_apart() -> None:
    flow = Flow(mode="observe")
    for number, port in ((1, 5070), (2, 5080)):
        flow.hear(CLIENT, invite(number, body="").replace(b"alice@10.1.0.2>", b"alice@10.1.0.2:%d>" % port))
    flow.tick(100_000.0)
    assert not flow.table.contacts.standing
    assert not flow.table.contacts.inside


def test_one_published_address_may_be_two_servers() -> None:
    flow: Flow | None = None
    flows = []
    for client, server in (("192.0.2.1:5060", "10.1.0.21:5060"), ("192.0.2.2:5060", "10.1.0.22:5060")):
        peers = Peers(at(client), at(client), at(server), at("203.0.113.7:5060"), Transport.UDP)
        flow = Flow(peers=peers, beside=flow)
        flows.append((flow, server))
    for expires in (600, 0):
        for flow, server in flows:
            host = server.partition(":")[0]
            asked = register(1 + (not expires), f"<sip:pbx@{host}>", expires).replace(
                b"10.1.0.2;", host.encode() + b";"
            )
            flow.hear(SERVER, asked)
            flow.hear(CLIENT, registered(1 + (not expires), f"<sip:pbx@203.0.113.7>;expires={expires}"))
    assert not flows[0][0].table.contacts.inside


def test_media_that_cannot_move_is_not_moved_for_those_who_could_do_without_us() -> None:
    flow = Flow(direct_media=True)
    flow.hear(CLIENT, invite())
    flow.passes(SERVER, response(200, body=sdp("203.0.113.1", 40000).replace("RTP/AVP", "TCP/RTP/AVP")))


def test_what_looks_like_an_escaped_call_id_in_a_name_is_part_of_the_name() -> None:
    flow = Flow(topology_hiding=True)
    refer = request("REFER", 1, TO_BOB, "Refer-To: <sip:a?replaces=b@10.1.0.2>", host="10.1.0.2")
    assert b"<sip:a?replaces=b@203.0.113.1>" in flow.passes(CLIENT, refer)


# -- what is remembered ------------------------------------------------------------------------------------------------


def test_a_via_with_two_branches_is_mapped_whatever_was_remembered() -> None:
    """Neither of them is taken for part of a value that is remembered without its branch."""
    flow = Flow()
    for number, branches in ((1, b";branch=Z;branch=Z"), (2, b";branch=Y;branch=Z"), (3, b";branch=longer;branch=Z")):
        asked = invite(number, body="").replace(b";branch=z9hG4bK%d;rport" % number, branches)
        assert b"UDP 203.0.113.1" + branches + b"\r\n" in flow.passes(CLIENT, asked)


def test_an_invite_that_was_refused_is_repeated_as_it_was_and_begins_no_other_call() -> None:
    """S62: its final response was lost behind us. Who has refused it says so again, and reads no more of it."""
    flow = Flow()
    first = flow.passes(CLIENT, invite())
    refusal = flow.passes(SERVER, response(486))
    flow.now = 0.5
    assert flow.passes(CLIENT, invite()) == first
    assert flow.passes(SERVER, response(486)) == refusal
    assert not flow.places.standing and not flow.table.calls.standing


def test_a_repeat_of_a_call_that_is_over_announces_no_place_that_is_gone() -> None:
    flow = established(Flow())
    flow.hear(CLIENT, request("BYE", 3, TO_BOB, host="10.1.0.2"))
    flow.hear(SERVER, response(200, 3, "BYE"))
    flow.now = 20.0
    again = flow.passes(CLIENT, invite())
    (standing,) = flow.places.standing.values()
    assert isinstance(standing, MediaGrant)
    assert f"m=audio {said(standing.data).port} ".encode() in again


@pytest.mark.parametrize("via", [b"Via: ", b"Via: ,", b"Via: , ,"])
@pytest.mark.parametrize("options", [{}, {"mode": "observe"}, {"fixup": "never"}], ids=["active", "observe", "never"])
@pytest.mark.parametrize("nat", [True, False], ids=["nat", "no_nat"])
@pytest.mark.parametrize("side", list(Side))
def test_a_request_by_nobody_is_malformed(side: Side, nat: bool, options: dict[str, Any], via: bytes) -> None:
    flow = Flow(nat, **options)
    lines = [via if line.startswith(b"Via") else line for line in invite().split(b"\r\n")]
    assert len(flow.hear(side, b"\r\n".join(lines))) == (options == {"mode": "observe"})
    assert flow.notes[-1].facts["detail"] == "missing_via in line 1, column 1"


def test_a_call_taken_up_again_lets_in_nobody_who_may_stand_behind_a_proxy() -> None:
    """Requests of a dialog need no Record-Route; this one goes by a proxy, as its Route says."""
    flow = Flow()
    again = invite(5, to="<sip:bob@example.org>;tag=b")
    flow.hear(CLIENT, again.replace(b"Max-Forwards", b"Route: <sip:198.51.100.2;lr>\r\nMax-Forwards"))
    answer = response(200, 5, body=sdp("198.51.100.9", 8000))
    flow.hear(SERVER, answer.replace(b"sip:bob@198.51.100.2:5060", b"sip:bob@192.0.2.77:5060"))
    assert flow.places.log == ["offer 10.1.0.2:7000", "answer 198.51.100.9:8000"]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_call_taken_up_again_that_the_other_party_does_not_know_is_over(method: str) -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(5, to="<sip:bob@example.org>;tag=b").replace(b"INVITE", method.encode()))
    flow.hear(SERVER, response(481, 5, method))
    assert not flow.table.calls.standing and not flow.places.standing


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("side", list(Side))
def test_a_call_taken_up_again_waits_for_its_answer_whatever_else_is_refused(side: Side, method: str) -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(5, to="<sip:bob@example.org>;tag=b").replace(b"INVITE", method.encode()))
    if side is CLIENT:
        flow.hear(CLIENT, request("INFO", 6, TO_BOB, host="10.1.0.2"))
        flow.hear(SERVER, response(415, 6, "INFO"))
    else:
        fields = ("From: <sip:bob@x>;tag=b", "To: <sip:alice@x>;tag=a", "Call-ID: one@10.1.0.2", "CSeq: 7 UPDATE")
        via = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKq"
        flow.hear(SERVER, message("UPDATE sip:alice@203.0.113.1 SIP/2.0", via, *fields))
        flow.hear(CLIENT, message("SIP/2.0 500 X", via, *fields))
    flow.hear(SERVER, response(200, 5, method, body=sdp("198.51.100.9", 8000)))
    assert len(flow.places.standing) == 2


def test_a_call_whose_engine_fails_as_it_begins_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    flow = Flow()
    monkeypatch.setattr(Call, "begin", fails)
    with pytest.raises(ValueError, match="a bug"):
        flow.hear(CLIENT, invite())
    flow.engine.stop(1.0)
    assert not flow.table.calls.standing and not flow.table.calls.of_client


def test_what_was_said_again_is_remembered_longest() -> None:
    known: Recent[int, str] = Recent(2)
    for key in (1, 2, 1, 3):
        known.put(key, "x")
    assert [known.get(key) for key in (1, 2, 3)] == ["x", None, "x"]


def test_nobody_is_let_in_for_a_subscription_that_was_not_asked_for() -> None:
    flow = Flow()
    granted = message(
        "SIP/2.0 200 OK", "Via: SIP/2.0/UDP 203.0.113.1", *DIALOG, TO_BOB, "CSeq: 7 SUBSCRIBE", "Expires: 60"
    )
    flow.hear(SERVER, granted)
    assert flow.places.log == []


def test_what_only_an_observer_has_seen_is_told_to_nobody_as_open() -> None:
    """A reload may make an active engine of an observer, in the middle of a call."""
    watching = established(Flow(mode="observe"))
    flow = Flow(beside=watching)
    flow.hear(CLIENT, invite(2, to="<sip:bob@example.org>;tag=b"))
    (place,) = flow.places.standing.values()
    assert isinstance(place, MediaGrant)


def test_what_is_open_is_changed_by_no_observer() -> None:
    flow = established(Flow())
    watching = Flow(beside=flow, mode="observe")
    watching.hear(CLIENT, invite(2, body=sdp("10.1.0.2", 7777), to="<sip:bob@example.org>;tag=b"))
    watching.hear(SERVER, response(200, 2, body=sdp("198.51.100.9", 8000)))
    assert flow.places.log == []


def test_without_fixup_a_pinhole_that_could_not_be_had_refuses_no_later_registration() -> None:
    flow = Flow(fixup="never")
    elsewhere = "<sip:alice@10.1.0.2:5070>"
    flow.hear(CLIENT, register(1, elsewhere))
    flow.places.refuses = True
    flow.hear(SERVER, registered(1, elsewhere + ";expires=300"))
    flow.places.refuses = False
    assert flow.passes(CLIENT, register(2)) == register(2)


def test_a_call_that_is_over_is_not_waited_for_by_any_flow_that_it_passed() -> None:
    first = established(Flow())
    second = Flow(peers=Peers(at("10.1.0.2:5099"), at("203.0.113.1:5099"), PROXY, PROXY, Transport.UDP), beside=first)
    again = invite(2, to="<sip:bob@example.org>;tag=b")
    second.hear(CLIENT, again)
    second.hear(SERVER, response(200, 2, body=sdp("198.51.100.9", 8000)))
    first.hear(CLIENT, request("BYE", 3, TO_BOB, host="10.1.0.2"))
    first.hear(SERVER, response(200, 3, "BYE"))
    second.tick(100.0)
    assert not second.inner._lifetimes


def test_of_two_phones_each_gets_its_own_call_id_back_and_no_others() -> None:
    first = Flow(topology_hiding=True)
    second = eve(first, topology_hiding=True)
    assert b"Call-ID: one@203.0.113.1\r\n" in first.passes(CLIENT, invite(body=""))
    via, dialog = (
        "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKp",
        ("From: <sip:alice@x>;tag=a", "Call-ID: one@203.0.113.1"),
    )
    call = message("INVITE sip:b@203.0.113.1:40066 SIP/2.0", via, *dialog, "To: <sip:b@x>", "CSeq: 1 INVITE")
    assert b"Call-ID: one@203.0.113.1\r\n" in second.passes(SERVER, call)
    ringing = message("SIP/2.0 180 Ringing", via, *dialog, "To: <sip:b@x>;tag=b", "CSeq: 1 INVITE")
    assert b"Call-ID: one@203.0.113.1\r\n" in second.passes(CLIENT, ringing)
    assert b"Call-ID: one@10.1.0.2\r\n" in first.passes(
        SERVER, response(180).replace(b"one@10.1.0.2", b"one@203.0.113.1")
    )


# -- ordinary phones that are easily forgotten -------------------------------------------------------------------------


def test_a_phone_that_knows_from_stun_how_it_is_known_gets_that_back() -> None:
    flow = Flow()
    asked = register(1, "<sip:alice@203.0.113.1:5060>").replace(b"UDP 10.1.0.2;", b"UDP 203.0.113.1:5060;")
    assert flow.passes(CLIENT, asked) == asked
    answer = registered(1, "<sip:alice@203.0.113.1:5060>;expires=300").replace(
        b"UDP 203.0.113.1;", b"UDP 203.0.113.1:5060;"
    )
    assert flow.passes(SERVER, answer) == answer
    assert flow.events() == ["registration.added"]


def test_a_phone_that_signals_from_a_low_port_is_known_by_ours() -> None:
    low, seen = at("10.1.0.2:500"), at("203.0.113.1:40500")
    flow = Flow(peers=Peers(low, seen, PROXY, PROXY, Transport.UDP))
    passed = flow.passes(
        CLIENT, invite(body="").replace(b"10.1.0.2;", b"10.1.0.2:500;").replace(b"10.1.0.2>", b"10.1.0.2:500>")
    )
    assert b"10.1.0.2:500" not in passed
    assert passed.count(b"203.0.113.1:40500") == 2


def test_an_ack_is_never_held_back() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(body=""))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    many = sdp("10.1.0.2", 7000) + "m=audio 0 RTP/AVP 0\r\n" * 40
    assert flow.passes(CLIENT, invite(body=many, to="<sip:bob@example.org>;tag=b").replace(b"INVITE", b"ACK"))
    assert flow.notes[-1].facts["action"] == "media is not followed"


def test_an_observer_lets_a_stream_go_on_that_would_be_closed() -> None:
    flow = Flow(transport=Transport.TCP, mode="observe")
    assert flow.hear(CLIENT, b"POST / HTTP/1.1\r\n") == [Send(SERVER, b"POST / HTTP/1.1\r\n"), Splice(14400.0)]
    assert flow.notes[-1].facts["action"] == "passed; else closed"
    flow = Flow(transport=Transport.TCP, mode="observe", tls="deny")
    assert flow.hear(CLIENT, b"\x16\x03\x01") == [Send(SERVER, b"\x16\x03\x01"), Splice(14400.0)]


# -- INVITEs that nobody answers ---------------------------------------------------------------------------------------


def calls_of(flow: Flow, first: int, count: int, media: int = 16) -> list[bytes]:
    """INVITEs with many media each. Returns the answers of ours."""
    body = sdp("10.1.0.2", 7000, "".join(f"m=audio {7000 + 2 * number} RTP/AVP 0\r\n" for number in range(1, media)))
    answers = []
    for number in range(first, first + count):
        sent = flow.hear(CLIENT, invite(1, body).replace(b"one@", b"%d@" % number))
        answers += [one.data for one in sent if isinstance(one, Send) and one.to is CLIENT]
    return answers


def test_a_client_whose_calls_nobody_answers_has_few_places_for_media() -> None:
    flow = Flow()
    answers = calls_of(flow, 1, 63)
    assert sum(isinstance(grant, MediaGrant) for grant in flow.places.standing.values()) == 128
    assert all(answer.startswith(b"SIP/2.0 503 ") for answer in answers) and len(answers) == 63 - 8
    other = eve(flow)
    assert len(other.hear(CLIENT, invite(1, sdp("10.1.0.66", 7000)).replace(b"10.1.0.2", b"10.1.0.66"))) == 1
    assert len(flow.places.standing) == 129
    flow.tick(1000.0)
    other.tick(1000.0)
    assert not flow.table.calls.unanswered


def test_a_client_that_was_answered_once_has_as_many_as_its_limits_allow() -> None:
    flow = established(Flow())
    assert calls_of(flow, 1, 63) == []
    assert sum(isinstance(grant, MediaGrant) for grant in flow.places.standing.values()) == 2 + 63 * 16
    # A refusal is no answer.
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(486))
    assert len(calls_of(flow, 1, 63)) == 63 - 8


def test_places_of_a_call_that_rings_count_no_more() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    assert flow.table.calls.unanswered[as_client(PHONE.host)] == 1
    flow.hear(SERVER, response(180))
    assert not flow.table.calls.unanswered
    flow.hear(SERVER, response(486))
    assert not flow.places.standing and not flow.table.calls.unanswered


def test_all_addresses_of_one_network_are_one_client_of_calls() -> None:
    first: Flow | None = None
    refused = 0
    for number in range(2, 12):
        own, seen, far = (
            Endpoint(ip_address(host), 5060) for host in (f"fd01::{number}", "2001:db8::1", "2001:db8:2::7")
        )
        first = flow = Flow(peers=Peers(own, seen, far, far, Transport.UDP), beside=first, max_calls=4)
        data = invite(1, body="").replace(b"one@", b"%d@" % number)
        refused += any(isinstance(sent, Send) and sent.to is CLIENT for sent in flow.hear(CLIENT, data))
    assert refused == 10 - 4
