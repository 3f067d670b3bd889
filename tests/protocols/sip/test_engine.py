"""The SIP engine: what it passes, rewrites, opens and closes."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.contract.addresses import Endpoint, Peers, Side, Transport, only
from protocols.contract.effects import Abort, Send
from protocols.contract.pinholes import Grant, MediaGrant
from protocols.sip.contacts import Called
from protocols.sip.spellings import MAX_MAPPED_BYTES
from tests.harness.sip_flow import (
    CLIENT,
    DIALOG,
    PHONE,
    PROXY,
    SDP,
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

# -- addresses ---------------------------------------------------------------------------------------------------------


def test_without_nat_every_byte_passes_as_it_came() -> None:
    flow = Flow(nat=False)
    for side, data in (
        (CLIENT, invite()),
        (SERVER, response(100, host="10.1.0.2")),
        (SERVER, response(200, body=sdp("198.51.100.9", 8000), host="10.1.0.2")),
    ):
        assert flow.passes(side, data) == data
    assert "address.rewritten" not in flow.events()


def test_a_request_tells_the_address_under_which_the_phone_is_known() -> None:
    sent = Flow().passes(CLIENT, invite())
    assert b"Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bK1;rport\r\n" in sent
    assert b"Contact: <sip:alice@203.0.113.1>\r\n" in sent
    assert b"c=IN IP4 203.0.113.1\r\n" in sent
    assert b"o=- 1 1 IN IP4 203.0.113.1\r\n" in sent
    assert b"m=audio 40000 RTP/AVP 0\r\n" in sent
    assert b"Call-ID: one@10.1.0.2\r\n" in sent
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head


def test_a_response_brings_the_phones_own_via_back() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    answered = flow.passes(SERVER, response(180))
    assert b"Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK1;rport=5060;received=10.1.0.2\r\n" in answered


@pytest.mark.parametrize(
    ("lower", "seen"),
    [
        ("10.1.0.2:5060;received=10.1.0.2;branch=z9hG4bK0", "203.0.113.1:5060;received=203.0.113.1;branch=z9hG4bK0"),
        ("10.1.0.2;branch=z9hG4bK0;maddr=10.1.0.2", "203.0.113.1;branch=z9hG4bK0;maddr=203.0.113.1"),
    ],
)
def test_a_via_below_the_first_hides_what_it_was_received_from_and_gets_it_back(lower: str, seen: str) -> None:
    flow = Flow()
    via = f"Via: SIP/2.0/UDP {lower}\r\n".encode()
    sent = flow.passes(CLIENT, invite().replace(b"From:", via + b"From:"))
    assert f"Via: SIP/2.0/UDP {seen}\r\n".encode() in sent
    answered = flow.passes(SERVER, response(180).replace(b"From:", f"Via: SIP/2.0/UDP {seen}\r\nFrom:".encode()))
    assert via in answered


def test_long_branches_and_spellings_are_not_what_fills_the_memory() -> None:
    flow, branch = Flow(), "z9hG4bK" + "x" * 20000
    for sent_by, back in (("10.1.0.2 : 5060", "10.1.0.2 : 5060"), (f"10.1.0.2{' ' * 9000}:5060", "10.1.0.2:5060")):
        via = f"Via: SIP/2.0/UDP {sent_by};branch={branch}{len(sent_by)}"
        flow.hear(CLIENT, message("OPTIONS sip:a SIP/2.0", via, *DIALOG, "To: <sip:a>", "CSeq: 1 OPTIONS"))
        via = f"Via: SIP/2.0/UDP 203.0.113.1:5060;branch={branch}{len(sent_by)}"
        answer = message("SIP/2.0 200 OK", via, *DIALOG, "To: <sip:a>;tag=t", "CSeq: 1 OPTIONS")
        assert f"Via: SIP/2.0/UDP {back};branch=".encode() in flow.passes(SERVER, answer)
    kept = flow.table.texts.vias._entries.items()
    assert sum(len(key[0]) + len(text) for key, text in kept) < 100


def test_what_stands_in_the_log_as_rewritten_is_what_became_another() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(180))  # rport=5060 is the phone's own port, too
    (change,) = flow.notes[-1].facts["changes"]
    assert (change["before"], change["after"]) == (b"203.0.113.1", b"10.1.0.2")


def test_the_same_contact_again_becomes_the_same_though_another_party_says_it() -> None:
    flow = Flow()
    for number in (1, 2):
        assert b"Contact: <sip:alice@203.0.113.1>\r\n" in flow.passes(CLIENT, invite(number))
    # Of the server it is somebody else's address, and stays.
    foreign = response(180, 2).replace(b"<sip:bob@198.51.100.2:5060>", b"<sip:alice@10.1.0.2>")
    assert b"Contact: <sip:alice@10.1.0.2>\r\n" in flow.passes(SERVER, foreign)


def test_a_contact_on_another_port_gets_its_own_address_as_soon_as_there_is_one() -> None:
    flow = Flow()
    flow.places.refuses = True
    asking = [invite(number, body="").replace(b"alice@10.1.0.2>", b"alice@10.1.0.2:7777>") for number in (1, 2, 3)]
    assert b"Contact: <sip:alice@203.0.113.1:5060>\r\n" in flow.passes(CLIENT, asking[0])
    flow.places.refuses = False
    for data in asking[1:]:
        assert b"Contact: <sip:alice@203.0.113.1:50000>\r\n" in flow.passes(CLIENT, data)
    flow.now = 3000.0
    flow.hear(CLIENT, invite(4, body="").replace(b"alice@10.1.0.2>", b"alice@10.1.0.2:7777>"))
    assert flow.places.log[-1].startswith("renew 203.0.113.1:50000")


@pytest.mark.parametrize("behind", ["", ";rport", ";x=1;rport=;y"])
def test_each_transaction_gets_its_own_via_back_though_all_are_spelled_alike(behind: str) -> None:
    flow = Flow()
    for number in (1, 22, 333):
        via = f"Via: SIP/2.0/UDP 10.1.0.2:5060;a=b;branch=z9hG4bK{number}{behind}\r\n"
        sent = flow.passes(CLIENT, re.sub(b"Via: .*\r\n", via.encode(), invite(number, body="")))
        seen = via.replace("10.1.0.2", "203.0.113.1").encode()
        assert seen in sent
        answer = re.sub(b"Via: .*\r\n", seen, response(180, number))
        assert via.encode() in flow.passes(SERVER, answer)


def test_an_unusual_via_is_put_back_as_it_was_among_usual_ones() -> None:
    flow = Flow()
    for number, sent_by in enumerate(("10.1.0.2:5060", "10.1.0.2 : 5060", "10.1.0.2:5060", "10.1.0.2:05060")):
        via = f"Via: SIP/2.0/UDP {sent_by};branch=z9hG4bK{number}\r\n".encode()
        flow.hear(CLIENT, re.sub(b"Via: .*\r\n", via, invite(number, body="")))
    for number, sent_by in enumerate(("10.1.0.2:5060", "10.1.0.2 : 5060", "10.1.0.2:5060", "10.1.0.2:05060")):
        seen = f"Via: SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bK{number}\r\n".encode()
        answer = flow.passes(SERVER, re.sub(b"Via: .*\r\n", seen, response(180, number)))
        assert f"Via: SIP/2.0/UDP {sent_by};branch=z9hG4bK{number}\r\n".encode() in answer


def test_a_branch_within_another_parameter_is_not_taken_for_the_branch() -> None:
    flow = Flow()
    for number in (1, 22, 333):
        quoted = f'Via: SIP/2.0/UDP 10.1.0.2;x=";branch=q{number};y";branch=z9hG4bK{number};received=10.1.0.2\r\n'
        sent = flow.passes(CLIENT, re.sub(b"Via: .*\r\n", quoted.encode(), invite(number, body="")))
        assert quoted.replace("10.1.0.2", "203.0.113.1").encode() in sent


def test_what_is_remembered_of_addresses_is_mapped_alike_and_never_long() -> None:
    flow = Flow()
    for number in range(100):
        assert f"Contact: <sip:{number}@203.0.113.1>".encode() in flow.passes(
            CLIENT, invite(number, body="").replace(b"sip:alice@10", f"sip:{number}@10".encode())
        )
    flow.passes(CLIENT, invite(0, body="").replace(b"sip:alice@10", b"sip:" + b"a" * MAX_MAPPED_BYTES + b"@10"))
    for number in range(300):
        via = f"Via: SIP/2.0/UDP 10.1.0.2;x={number}{'0' * number}"
        flow.passes(CLIENT, invite(1000 + number, body="").replace(b"Via: SIP/2.0/UDP 10.1.0.2", via.encode()))
    for remembered in (flow.table.texts.mapped, flow.table.texts.mapped_vias):
        assert len(remembered) > 90
        assert all(len(key[-1]) <= MAX_MAPPED_BYTES for key in remembered._entries)


@pytest.mark.parametrize("spelling", ["10.1.0.2", "10.1.0.2:5060"])
def test_a_request_to_the_phone_names_it_as_it_spelled_itself(spelling: str) -> None:
    flow = Flow()
    flow.hear(CLIENT, invite().replace(b"alice@10.1.0.2>", f"alice@{spelling}>".encode()))
    bye = message(
        "BYE sip:alice@203.0.113.1 SIP/2.0".replace("203.0.113.1", spelling.replace("10.1.0.2", "203.0.113.1")),
        "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKx",
        "From: <sip:bob@example.org>;tag=b",
        "To: <sip:alice@example.org>;tag=a",
        "Call-ID: one@10.1.0.2",
        "CSeq: 1 BYE",
    )
    assert flow.passes(SERVER, bye).startswith(f"BYE sip:alice@{spelling} SIP/2.0\r\n".encode())


def test_where_requests_are_to_go_instead_is_mapped_with_the_host_if_it_is_the_same() -> None:
    flow, contact = Flow(), "<sip:alice@10.1.0.2;maddr=10.1.0.2;ob>"
    sent = flow.passes(CLIENT, invite().replace(b"<sip:alice@10.1.0.2>", contact.encode()))
    assert b"Contact: <sip:alice@203.0.113.1;maddr=203.0.113.1;ob>\r\n" in sent
    start = "OPTIONS sip:alice@203.0.113.1;maddr=203.0.113.1;ob SIP/2.0"
    via = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKo"
    back = flow.passes(SERVER, message(start, via, *DIALOG, "To: <sip:a>", "CSeq: 1 OPTIONS"))
    assert back.startswith(b"OPTIONS sip:alice@10.1.0.2;maddr=10.1.0.2;ob SIP/2.0\r\n")
    other = invite(2).replace(b"<sip:alice@10.1.0.2>", b"<sip:alice@10.1.0.2;maddr=192.0.2.9>")
    assert b"<sip:alice@203.0.113.1;maddr=192.0.2.9>" in flow.passes(CLIENT, other)


def test_addresses_of_others_and_names_stay() -> None:
    fields = b"Contact: <sip:alice@10.1.0.77>, <sip:a@example.org>, <tel:+49123>\r\nRoute: <sip:198.51.100.2;lr>\r\n"
    data = invite().replace(b"Contact: <sip:alice@10.1.0.2>\r\n", fields)
    assert fields in Flow().passes(CLIENT, data)


def test_a_port_that_the_phone_waits_on_but_does_not_send_from_gets_an_address_of_its_own() -> None:
    flow = Flow()
    data = invite().replace(b"10.1.0.2;branch=z9hG4bK1;rport", b"10.1.0.2:5070;branch=z9hG4bK1")
    sent = flow.passes(CLIENT, data)
    assert b"Via: SIP/2.0/UDP 203.0.113.1:50000;branch=z9hG4bK1\r\n" in sent
    assert flow.places.log[0] == "open 203.0.113.1:50000 for 10.1.0.2:5070 from 198.51.100.2"
    # And keeps it.
    assert b"203.0.113.1:50000;branch" in flow.passes(CLIENT, data.replace(b"z9hG4bK1", b"z9hG4bK2"))


def test_names_of_people_are_mapped_only_to_hide_the_network() -> None:
    data = invite().replace(b"alice@example.org", b"alice@10.1.0.2")
    assert b"From: <sip:alice@10.1.0.2>;tag=a" in Flow().passes(CLIENT, data)
    assert b"From: <sip:alice@203.0.113.1>;tag=a" in Flow(topology_hiding=True).passes(CLIENT, data)


# -- calls -------------------------------------------------------------------------------------------------------------


def test_an_offer_holds_a_place_and_its_answer_joins_one() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    assert flow.places.log == ["offer 10.1.0.2:7000"]
    flow.hear(SERVER, response(183, body=sdp("198.51.100.9", 8000)))
    assert flow.places.log[1:] == ["answer 198.51.100.9:8000"]
    # The same answer again, in the 200, is no other one (D21).
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    assert len(flow.places.log) == 2
    assert flow.events().count("call.started") == 1


def test_a_late_offer_is_answered_by_ack() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(body=""))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    assert flow.places.log == ["offer 198.51.100.9:8000"]
    ack = invite(body=sdp("10.1.0.2", 7000), to="<sip:bob@example.org>;tag=b").replace(b"INVITE", b"ACK")
    sent = flow.passes(CLIENT, ack)
    assert flow.places.log[1:] == ["answer 10.1.0.2:7000"]
    assert b"m=audio 40002 " in sent


def test_a_repeated_request_is_passed_again_and_opens_nothing_more() -> None:
    """The same bytes go on, and no second place is asked for (S62)."""
    flow = Flow()
    first = flow.passes(CLIENT, invite())
    opened = list(flow.places.log)
    assert flow.passes(CLIENT, invite()) == first
    assert flow.places.log == opened


def test_a_request_that_is_repeated_when_its_call_is_over_opens_nothing_for_32_seconds() -> None:
    """So long, 64 times T1, a client may repeat it, though it has been refused (S62)."""
    flow = Flow()
    first = flow.passes(CLIENT, invite())
    flow.hear(SERVER, response(486))
    opened = list(flow.places.log)
    flow.tick(31.9)
    flow.passes(CLIENT, register())
    assert flow.passes(CLIENT, invite()) == first
    assert flow.places.log == opened


def test_two_branches_of_a_forked_call_have_a_place_each_until_one_is_chosen() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(183, body=sdp("198.51.100.9", 8000), tag="b1"))
    flow.hear(SERVER, response(183, body=sdp("198.51.100.10", 9000), tag="b2"))
    assert flow.places.log[1:] == ["answer 198.51.100.9:8000", "answer 198.51.100.10:9000"]
    flow.hear(SERVER, response(200, body=sdp("198.51.100.10", 9000), tag="b2"))
    assert flow.places.log[3:] == ["close 198.51.100.9:8000"]


def test_branches_of_a_call_to_two_phones_behind_us_are_told_apart() -> None:
    first = Flow(nat=False)
    other = at("10.1.0.3:5060")
    second = Flow(peers=Peers(other, other, PROXY, PROXY, Transport.UDP), beside=first)
    for flow in (first, second):
        flow.hear(SERVER, invite(body=sdp("198.51.100.9", 8000)))
    second.hear(CLIENT, response(200, body=sdp("10.1.0.3", 7000)))
    assert first.places.log == ["offer 198.51.100.9:8000", "offer 198.51.100.9:8000", "answer 10.1.0.3:7000"]
    assert ["call.started" in flow.events() for flow in (first, second)] == [False, True]


def test_a_new_offer_changes_media_when_it_is_answered() -> None:
    flow = established(Flow())
    sent = flow.passes(CLIENT, invite(2, sdp("10.1.0.2", 7100), "<sip:bob@example.org>;tag=b"))
    assert flow.places.log == []
    assert b"m=audio 40000 " in sent  # its place stays (D22)
    flow.hear(SERVER, response(200, 2, body=sdp("198.51.100.9", 8000)))
    assert flow.places.log == ["change 10.1.0.2:7000 to 10.1.0.2:7100"]


def test_a_refused_new_offer_leaves_media_as_it_was() -> None:
    flow = established(Flow())
    body = sdp("10.1.0.2", 7100, "m=video 7200 RTP/AVP 99\r\n")
    flow.hear(CLIENT, invite(2, body, "<sip:bob@example.org>;tag=b"))
    assert flow.places.log == ["offer 10.1.0.2:7200"]
    flow.hear(SERVER, response(488, 2))
    assert flow.places.log == ["offer 10.1.0.2:7200", "close 10.1.0.2:7200"]
    assert len(flow.places.standing) == 2


def test_a_call_that_is_refused_closes_what_was_held() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(486))
    assert flow.places.log == ["offer 10.1.0.2:7000", "close 10.1.0.2:7000"]
    assert not flow.table.calls.standing
    assert "call.ended" not in flow.events()


def test_a_challenge_does_not_end_the_attempt() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(407))
    flow.hear(CLIENT, invite(2))
    flow.hear(SERVER, response(200, 2, body=sdp("198.51.100.9", 8000)))
    assert flow.events().count("call.started") == 1
    assert len(flow.places.standing) == 2


def test_bye_closes_media_when_it_is_answered() -> None:
    flow = established(Flow())
    bye = message(
        "BYE sip:bob@198.51.100.2 SIP/2.0",
        "Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK2;rport",
        *DIALOG,
        "To: <sip:bob@example.org>;tag=b",
        "CSeq: 2 BYE",
    )
    flow.hear(CLIENT, bye)
    assert flow.places.log == []
    flow.hear(SERVER, response(200, 2, "BYE"))
    assert flow.places.standing == {}
    ended = flow.notes[-1]
    assert (ended.event, ended.facts["reason"]) == ("call.ended", "bye_of_caller")
    assert ended.facts["streams"][0]["packets_to_caller"] == 10
    assert flow.engine.deadline() is None


def test_a_call_nobody_answers_is_given_up() -> None:
    flow = Flow(ring_seconds=180)
    flow.hear(CLIENT, invite())
    flow.now = 20
    flow.hear(SERVER, response(100))
    assert flow.engine.deadline() == 200
    flow.now = 170
    flow.hear(SERVER, response(180))
    flow.tick(200)
    assert flow.places.standing
    flow.tick(351)
    assert not flow.places.standing
    assert not flow.table.calls.standing


@pytest.mark.parametrize(("ring_seconds", "until"), [(180.0, 32.0), (10.0, 10.0)])
def test_a_call_of_which_nobody_says_a_word_is_given_up_as_soon_as_its_caller_does(
    ring_seconds: float, until: float
) -> None:
    """RFC 3261 s.17.1.1.2, timer B: what is offered costs one datagram, and holds ports."""
    flow = Flow(ring_seconds=ring_seconds)
    flow.hear(CLIENT, invite())
    assert flow.engine.deadline() == until
    flow.tick(until)
    assert not flow.places.standing
    assert not flow.table.calls.standing


def test_another_invite_of_a_call_that_rings_leaves_it_its_time() -> None:
    """A proxy asks several at one address."""
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(180))
    flow.hear(CLIENT, invite().replace(b"z9hG4bK1", b"z9hG4bKf"))
    assert flow.engine.deadline() == 300


def test_an_offer_that_cannot_have_its_place_is_refused_as_a_whole() -> None:
    flow = Flow()
    flow.places.refuses = True
    (send,) = flow.hear(CLIENT, invite())
    assert isinstance(send, Send)
    assert (send.to, send.data[:24]) == (CLIENT, b"SIP/2.0 503 No Media Ava")


def test_a_third_host_behind_us_is_not_opened_for_unless_it_is_named() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(body=sdp("192.0.2.30", 7000)))
    assert flow.places.log == []
    flow = Flow(media_hosts=(ip_network("10.1.0.30/32"),))
    sent = flow.passes(CLIENT, invite(body=sdp("10.1.0.30", 7000)))
    assert flow.places.log == ["offer 10.1.0.30:7000"]
    assert b"10.1.0.30" not in sent


def test_without_nat_who_is_let_out_names_no_other_host_of_its_network_and_who_is_let_in_does() -> None:
    """Media servers of the other side are hosts of their own; a phone's neighbours have not asked for anything."""
    inside, proxy = at("10.1.0.2:5060"), at("10.9.0.2:5060")
    neighbour = sdp("10.1.0.30", 7000)
    out = Flow(peers=Peers(inside, inside, proxy, proxy))
    out.hear(CLIENT, invite(body=neighbour))
    assert out.places.log == []
    named = Flow(peers=Peers(inside, inside, proxy, proxy), media_hosts=(ip_network("10.1.0.30/32"),))
    named.hear(CLIENT, invite(body=neighbour))
    assert named.places.log == ["offer 10.1.0.30:7000"]
    into = Flow(peers=Peers(proxy, proxy, inside, inside, role=Called()))
    into.hear(CLIENT, invite(body=sdp("10.9.0.30", 7000)))
    assert into.places.log == ["offer 10.9.0.30:7000"]


def test_who_has_not_answered_changes_nothing_of_a_call_that_stands() -> None:
    """S67: a stranger that has learnt the Call-ID and the caller's tag."""
    flow = Flow()
    established(flow)
    before = list(flow.places.log)
    fields = ("From: <sip:bob@example.org>;tag=zzz", "To: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2")
    body = sdp("198.51.100.66", 9000)
    via = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKx"
    flow.hear(SERVER, message("UPDATE sip:alice@203.0.113.1 SIP/2.0", via, *fields, "CSeq: 7 UPDATE", SDP, body=body))
    assert flow.places.log == before


def test_an_offer_in_a_response_that_cannot_have_its_place_is_withdrawn() -> None:
    """D49: there is nobody to refuse it to, and the address behind us stays there."""
    flow = Flow()
    via = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKx"
    fields = ("From: <sip:bob@example.org>;tag=q", "Call-ID: late", "CSeq: 7 INVITE")
    flow.hear(SERVER, message("INVITE sip:alice@203.0.113.1 SIP/2.0", via, "To: <sip:alice@example.org>", *fields))
    flow.places.refuses = True
    to, body = "To: <sip:alice@example.org>;tag=al", sdp("10.1.0.2", 7000)
    sent = flow.passes(CLIENT, message("SIP/2.0 200 OK", via, to, *fields, SDP, body=body))
    assert b"m=audio 0 RTP/AVP 0\r\n" in sent
    assert b"10.1.0.2" not in sent


# -- registrations -----------------------------------------------------------------------------------------------------


def test_nobody_answers_its_own_register() -> None:
    """S56: the way in would be open to whomever the phone names as its registrar's."""
    flow = Flow()
    flow.hear(CLIENT, register())
    flow.hear(CLIENT, registered(1, "<sip:alice@10.1.0.2>;expires=604800", "Service-Route: <sip:192.0.2.66;lr>"))
    assert flow.places.log == []
    flow.hear(SERVER, registered(contacts="<sip:alice@203.0.113.1>;expires=300"))
    assert flow.places.log == ["open 203.0.113.1:5060 for 10.1.0.2:5060 from 198.51.100.2"]


def test_no_more_contacts_of_one_register_are_followed_than_a_phone_has() -> None:
    flow = Flow(nat=False)
    flow.hear(CLIENT, register(1, ",".join(f"<sip:10.1.0.2:{2000 + number}>" for number in range(200))))
    flow.hear(SERVER, registered(1, "<sip:bob@10.9.9.9>;expires=600"))
    assert flow.events().count("registration.added") == 32


def test_a_phone_that_waits_at_more_ports_than_one_has_is_told_that_there_are_none_left() -> None:
    flow = Flow()
    (answer,) = flow.hear(CLIENT, register(1, ",".join(f"<sip:10.1.0.2:{2000 + number}>" for number in range(5))))
    assert isinstance(answer, Send)
    assert answer.data.startswith(b"SIP/2.0 503 ")
    assert len(flow.places.log) == 4


def test_many_contacts_of_others_are_one_violation() -> None:
    flow = Flow()
    flow.hear(CLIENT, register(1, ",".join(f"<sip:10.9.9.9:{2000 + number}>" for number in range(200))))
    (violation,) = (note for note in flow.notes if note.event == "violation")
    assert violation.facts["detail"].endswith("10.9.9.9:2007 and 192 more")


def test_a_phone_that_comes_by_another_connection_goes_on_with_its_binding_and_ends_it() -> None:
    ours = "<sip:alice@203.0.113.1:50000;transport=tcp>;expires=600"
    flow = Flow(transport=Transport.TCP)

    def asks(number: int, seconds: int) -> bytes:
        return register(number, "<sip:alice@10.1.0.2:5070;transport=tcp>", seconds)

    flow.hear(CLIENT, asks(1, 600))
    flow.hear(SERVER, registered(1, ours))
    peers = Peers(at("10.1.0.2:41000"), at("203.0.113.1:41000"), PROXY, PROXY, Transport.TCP)
    again = Flow(peers=peers, beside=flow)
    again.hear(CLIENT, asks(2, 600))
    again.hear(SERVER, registered(2, ours))
    assert "registration.refreshed" in again.events()
    last = Flow(peers=Peers(at("10.1.0.2:42000"), at("203.0.113.1:42000"), PROXY, PROXY, Transport.TCP), beside=flow)
    last.hear(CLIENT, asks(3, 0))
    last.hear(SERVER, registered(3, "<sip:bob@10.9.9.9>;expires=600"))
    assert "registration.removed" in last.events()
    flow.tick(700.0)
    assert "registration.expired" not in flow.events()


def test_a_phone_can_be_called_for_as_long_as_its_registrar_says() -> None:
    flow = Flow()
    flow.hear(CLIENT, register())
    assert flow.places.log == []
    answered = flow.passes(SERVER, registered(contacts="<sip:alice@203.0.113.1>;expires=300, <sip:alice@192.0.2.9>"))
    assert b"Contact: <sip:alice@10.1.0.2>;expires=300, <sip:alice@192.0.2.9>\r\n" in answered
    assert flow.places.log == ["open 203.0.113.1:5060 for 10.1.0.2:5060 from 198.51.100.2"]
    (grant,) = flow.places.standing.values()
    assert isinstance(grant, Grant)
    assert (grant.expect.lasts_seconds, grant.expect.allow) == (332, only(PROXY.host))
    assert "registration.added" in flow.events()


def test_a_phone_outside_is_called_by_the_address_at_which_its_registrar_inside_is_published() -> None:
    published = at("203.0.113.1:5060")
    flow = Flow(peers=Peers(PHONE, PHONE, PROXY, published, Transport.TCP))
    flow.hear(CLIENT, register())
    flow.hear(SERVER, registered(contacts="<sip:alice@10.1.0.2>;expires=300"))
    (grant,) = flow.places.standing.values()
    assert isinstance(grant, Grant)
    assert (grant.expect.target, grant.expect.source) == (PHONE, Endpoint(published.host, 0))


def test_a_refresh_prolongs_and_an_expiry_of_zero_removes() -> None:
    flow = Flow()
    flow.hear(CLIENT, register(1))
    flow.hear(SERVER, registered(1))
    flow.now = 100.0
    flow.hear(CLIENT, register(2))
    flow.hear(SERVER, registered(2))
    assert flow.places.log[1:] == ["renew 203.0.113.1:5060 332 for 198.51.100.2"]
    flow.hear(CLIENT, register(3, expires=0))
    flow.hear(SERVER, registered(3, "<sip:someone@192.0.2.9>;expires=100"))
    assert flow.places.standing == {}
    assert flow.events()[-1] == "registration.removed"


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"423 Interval Too Brief"])
def test_only_a_2xx_opens_anything(status: bytes) -> None:
    flow = Flow()
    flow.hear(CLIENT, register())
    flow.hear(SERVER, registered().replace(b"200 OK", status))
    assert flow.places.log == []


def test_an_answer_that_nobody_waits_for_opens_nothing() -> None:
    flow = Flow()
    flow.hear(CLIENT, register(1))
    flow.hear(SERVER, registered(2))
    assert flow.places.log == []


@pytest.mark.parametrize("contact", ["<sip:alice@10.1.0.77>", "<sip:alice@10.1.0.2:22>"])
def test_a_contact_elsewhere_is_left_alone_and_told_of(contact: str) -> None:
    flow = Flow()
    flow.hear(CLIENT, register(contact=contact))
    flow.hear(SERVER, registered(contacts=contact))
    assert not [line for line in flow.places.log if line.endswith((":22", ".77:5060"))]
    assert "violation" in flow.events()


def test_hosts_of_service_route_and_trusted_peers_may_call_too() -> None:
    flow = Flow(trusted_peers=(ip_network("192.0.2.0/28"),))
    flow.hear(CLIENT, register())
    flow.hear(SERVER, registered(1, "<sip:alice@203.0.113.1>", "Service-Route: <sip:198.51.100.7;lr>"))
    (grant,) = flow.places.standing.values()
    assert isinstance(grant, Grant)
    allow = {str(network) for network in grant.expect.allow}
    assert allow == {"192.0.2.0/28", "198.51.100.2/32", "198.51.100.7/32"}


# -- what cannot be read, and what is not wanted -----------------------------------------------------------------------


def test_what_cannot_be_read_is_answered_dropped_or_passed_as_the_policy_says() -> None:
    bad = invite().replace(b"CSeq: 1 INVITE", b"CSeq: x INVITE")
    (send,) = Flow().hear(CLIENT, bad)
    assert isinstance(send, Send)
    assert (send.to, send.data[:12]) == (CLIENT, b"SIP/2.0 400 ")
    assert Flow(malformed="discard").hear(CLIENT, bad) == []
    assert Flow(malformed="pass").hear(CLIENT, bad) == [Send(SERVER, bad)]
    assert Flow().hear(SERVER, response(200).replace(b"CSeq: 1", b"CSeq: x")) == []


def test_a_blocked_method_is_answered_and_goes_no_further() -> None:
    data = invite().replace(b"INVITE", b"MESSAGE")
    (send,) = Flow(block_methods=("MESSAGE",)).hear(CLIENT, data)
    assert isinstance(send, Send)
    assert (send.to, send.data[:12]) == (CLIENT, b"SIP/2.0 403 ")


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\0\0\0\0"])
def test_keep_alives_pass(data: bytes) -> None:
    assert Flow().hear(CLIENT, data) == [Send(SERVER, data)]


def test_a_stream_holds_many_messages_in_any_pieces() -> None:
    whole = invite() + b"\r\n\r\n" + register()
    at_once, piece_by_piece = Flow(transport=Transport.TCP), Flow(transport=Transport.TCP)
    expected = b"".join(effect.data for effect in at_once.hear(CLIENT, whole) if isinstance(effect, Send))
    got = b""
    for number in range(len(whole)):
        got += b"".join(
            effect.data
            for effect in piece_by_piece.hear(CLIENT, whole[number : number + 1])
            if isinstance(effect, Send)
        )
    assert got == expected
    assert expected.count(b"203.0.113.1") >= 5


def test_a_stream_that_is_not_sip_is_closed_with_nothing_passed() -> None:
    flow = Flow(transport=Transport.TCP)
    post = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + register()
    assert flow.hear(CLIENT, post) == [Abort("not_sip")]
    assert flow.places.log == []


# -- whatever comes ----------------------------------------------------------------------------------------------------

CONVERSATION = (
    invite(),
    response(183, body=sdp("198.51.100.9", 8000, "m=image 9000 udptl t38\r\n")),
    response(200, body=sdp("198.51.100.9", 8000)),
    invite(2, sdp("10.1.0.2", 7100, "a=rtcp-mux\r\n"), "<sip:bob@example.org>;tag=b"),
    response(200, 2, body=sdp("198.51.100.9", 8002)),
    response(488, 2),
    response(200, 2, "BYE"),
    register(),
    registered(),
    register(2, "*", 0),
    registered(2),
)
PIECES = (
    b"\r\n",
    b"\r\n ",
    b";",
    b",",
    b"<",
    b'"',
    b"@",
    b":",
    b"tag=b",
    b"10.1.0.2",
    b"203.0.113.1",
    b"0",
    b"*",
    b"\0",
)
CHANGES = st.tuples(st.integers(0, 600), st.integers(0, 20), st.sampled_from((*PIECES, b"", CONVERSATION[0])))


@given(
    st.lists(
        st.tuples(st.sampled_from(Side), st.sampled_from(CONVERSATION), st.lists(CHANGES, max_size=3)), max_size=12
    ),
    st.booleans(),
    st.sampled_from(Transport),
    st.booleans(),
)
@settings(max_examples=300)
def test_whatever_comes_raises_nothing_and_leaves_no_media_behind(
    steps: list[tuple[Side, bytes, list[tuple[int, int, bytes]]]], nat: bool, transport: Transport, refuses: bool
) -> None:
    flow = Flow(nat, transport)
    for number, (side, data, changes) in enumerate(steps):
        flow.places.refuses = refuses and number % 3 == 2
        for place, cut, piece in changes:
            data = data[:place] + piece + data[place + cut :]
        flow.now += 7
        flow.hear(side, data)
    flow.tick(flow.now + 1e6)
    assert not flow.table.calls.standing
    assert not [grant for grant in flow.places.standing.values() if isinstance(grant, MediaGrant)]
