"""Ordinary traffic of products that gateways are known to mangle: forking servers, trunks, switchboards, gateways."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.pinholes import MediaGrant
from tests.harness.sip_flow import (
    CLIENT,
    DIALOG,
    OURS,
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

TO_BOB = "To: <sip:bob@example.org>;tag=b"
PHONE_URI = "sip:bob@203.0.113.1"


def flow_of(phone: str, seen: str, beside: Flow | None = None) -> Flow:
    """Between another phone, known as `seen`, and the proxy."""
    return Flow(peers=Peers(at(phone), at(seen), PROXY, PROXY, Transport.UDP), beside=beside)


def asks(method: str, uri: str, number: int = 1, to: str = TO_BOB, *more: str, body: str = "") -> bytes:
    """A request of the proxy."""
    via = f"Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKp{number}"
    return message(f"{method} {uri} SIP/2.0", via, *DIALOG, to, f"CSeq: {number} {method}", *more, body=body)


def replies(status: int, method: str = "INVITE", number: int = 1, body: str = "") -> bytes:
    """Of the phone, to a request of the proxy."""
    via = f"Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKp{number}"
    fields = (via, *DIALOG, TO_BOB, f"CSeq: {number} {method}", "Contact: <sip:bob@10.1.0.2>")
    return message(f"SIP/2.0 {status} X", *fields, *([SDP] if body else []), body=body)


def body_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


def media(flow: Flow) -> list[str]:
    """Where parties whose places stand wait."""
    grants = flow.places.standing.values()
    return [str(grant.media.party.data) for grant in grants if isinstance(grant, MediaGrant)]


# -- forks that end at one address -------------------------------------------------------------------------------------


def forked(branch: str) -> bytes:
    """An INVITE of a proxy to one of two lines of a phone."""
    via = f"Via: SIP/2.0/UDP 198.51.100.2;branch={branch}"
    fields = ("From: <sip:carol@example.org>;tag=c", "To: <sip:alice@example.org>", "Call-ID: fork", "CSeq: 7 INVITE")
    contact = "Contact: <sip:carol@198.51.100.2>"
    return message("INVITE sip:alice@203.0.113.1 SIP/2.0", via, *fields, contact, SDP, body=sdp("198.51.100.9", 8000))


def answers(status: int, branch: str, tag: str, body: str = "") -> bytes:
    via = f"Via: SIP/2.0/UDP 198.51.100.2;branch={branch}"
    to = f"To: <sip:alice@example.org>;tag={tag}"
    fields = ("From: <sip:carol@example.org>;tag=c", to, "Call-ID: fork", "CSeq: 7 INVITE")
    return message(
        f"SIP/2.0 {status} X", via, *fields, "Contact: <sip:alice@10.1.0.2>", *([SDP] * bool(body)), body=body
    )


@pytest.mark.parametrize("status", [480, 482, 486, 487, 603])
@pytest.mark.parametrize("nat", [True, False])
def test_of_two_lines_of_one_phone_one_may_refuse_and_the_other_answer(status: int, nat: bool) -> None:
    flow = Flow(nat)
    flow.hear(SERVER, forked("z9hG4bKf1"))
    flow.hear(SERVER, forked("z9hG4bKf2"))
    flow.hear(CLIENT, answers(status, "z9hG4bKf1", "t1"))
    answer = flow.passes(CLIENT, answers(200, "z9hG4bKf2", "t2", sdp("10.1.0.2", 7000)))
    assert (b"10.1.0.2" not in answer) is nat
    assert sorted(media(flow)) == ["10.1.0.2:7000", "198.51.100.9:8000"]
    assert "call.started" in flow.events()


def test_the_line_that_loses_takes_nothing_from_the_one_that_won() -> None:
    flow = Flow()
    flow.hear(SERVER, forked("z9hG4bKf1"))
    flow.hear(SERVER, forked("z9hG4bKf2"))
    flow.hear(CLIENT, answers(200, "z9hG4bKf2", "t2", sdp("10.1.0.2", 7000)))
    flow.hear(CLIENT, answers(487, "z9hG4bKf1", "t1"))
    assert sorted(media(flow)) == ["10.1.0.2:7000", "198.51.100.9:8000"]


def test_of_two_lines_that_offer_each_is_answered_for_itself() -> None:
    """A late offer: the INVITE has none, and the ACK of each 2xx its answer."""
    flow = Flow()
    for line, port in ((b"z9hG4bKf1", 7000), (b"z9hG4bKf2", 7100)):
        asked = forked(line.decode()).partition(b"Content-Type")[0] + b"Content-Length: 0\r\n\r\n"
        flow.hear(SERVER, asked)
        flow.hear(CLIENT, answers(200, line.decode(), line[-2:].decode(), sdp("10.1.0.2", port)))
    flow.places.log.clear()
    via, to = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKk", "To: <sip:alice@example.org>;tag=f2"
    fields = (via, "From: <sip:carol@example.org>;tag=c", to, "Call-ID: fork", "CSeq: 7 ACK")
    flow.hear(SERVER, message("ACK sip:alice@203.0.113.1 SIP/2.0", *fields, SDP, body=sdp("198.51.100.9", 8000)))
    (call,) = next(iter(flow.table.calls.standing.values()))
    assert [one.offer.is_open for one in call.transactions if one.offer is not None] == [True, False]


def test_when_both_lines_refuse_nothing_is_left() -> None:
    flow = Flow()
    for branch in ("z9hG4bKf1", "z9hG4bKf2"):
        flow.hear(SERVER, forked(branch))
    for branch in ("z9hG4bKf1", "z9hG4bKf2"):
        flow.hear(CLIENT, answers(486, branch, branch[-2:]))
    assert not flow.places.standing
    assert not flow.table.calls.standing


@pytest.mark.parametrize("method", ["PRACK", "UPDATE"])
def test_a_branch_that_has_lost_does_not_end_the_one_that_won(method: str) -> None:
    """RFC 3262 s.3: 481 is what a PRACK gets that comes too late."""
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(183, tag="b1", body=sdp("198.51.100.10", 9000)))
    flow.hear(SERVER, response(200, tag="b2", body=sdp("198.51.100.9", 8000)))
    via, to = "Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK2", "To: <sip:bob@example.org>;tag=b1"
    flow.hear(
        CLIENT,
        message(f"{method} sip:bob@198.51.100.2 SIP/2.0", via, *DIALOG, to, "RAck: 1 1 INVITE", f"CSeq: 2 {method}"),
    )
    flow.hear(SERVER, response(481, 2, method, tag="b1"))
    assert sorted(media(flow)) == ["10.1.0.2:7000", "198.51.100.9:8000"]


# -- trunks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["203.0.113.1:5060", "10.1.0.9:5060"])
def test_a_provider_whose_media_comes_from_beside_its_signalling_is_heard(server: str) -> None:
    """An exchange inside, published by destination NAT, or let in by policy alone."""
    trunk, exchange = at("217.10.79.9:5060"), at("10.1.0.9:5060")
    flow = Flow(peers=Peers(trunk, trunk, exchange, at(server), Transport.UDP))
    via = "Via: SIP/2.0/UDP 217.10.79.9;branch=z9hG4bK1"
    contact = "Contact: <sip:trunk@217.10.79.9>"
    start = f"INVITE sip:bob@{server} SIP/2.0"
    flow.hear(
        CLIENT,
        message(start, via, *DIALOG, "To: <sip:b@x>", "CSeq: 1 INVITE", contact, SDP, body=sdp("217.10.79.23", 20000)),
    )
    answer = message(
        "SIP/2.0 200 OK",
        via,
        *DIALOG,
        "To: <sip:b@x>;tag=b",
        "CSeq: 1 INVITE",
        "Contact: <sip:b@10.1.0.9>",
        SDP,
        body=sdp("10.1.0.9", 12000),
    )
    flow.passes(SERVER, answer)
    assert media(flow) == ["217.10.79.23:20000", "10.1.0.9:12000"]


def test_a_remote_phone_behind_its_providers_nat_is_learned_from_its_packets() -> None:
    """RFC 6598."""
    remote, exchange = at("8.8.4.4:5060"), at("10.1.0.9:5060")
    flow = Flow(peers=Peers(remote, remote, exchange, OURS, Transport.UDP))
    flow.hear(CLIENT, invite(body=sdp("100.64.1.2", 7000)).replace(b"UDP 10.1.0.2", b"UDP 8.8.4.4"))
    (grant,) = flow.places.standing.values()
    assert isinstance(grant, MediaGrant)
    assert grant.media.party.learn
    assert "8.8.4.4/32" in map(str, grant.media.party.allow)


# -- offers and answers ------------------------------------------------------------------------------------------------


def test_an_ack_for_a_2xx_that_came_again_has_the_same_answer() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(body=""))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    ack = invite(to="<sip:bob@example.org>;tag=b").replace(b"INVITE", b"ACK")
    first, second = (flow.passes(CLIENT, ack.replace(b"z9hG4bK1", branch)) for branch in (b"z9hG4bKx", b"z9hG4bKy"))
    assert second == first.replace(b"z9hG4bKx", b"z9hG4bKy")
    assert b"10.1.0.2" not in body_of(second)


def test_a_callee_that_offered_first_may_offer_once_more_before_it_answers() -> None:
    """RFC 3311 s.5.1."""
    flow = Flow()
    flow.hear(SERVER, asks("INVITE", PHONE_URI, 1, "To: <sip:bob@example.org>"))
    flow.hear(CLIENT, replies(183, body=sdp("10.1.0.2", 7000)))
    flow.hear(SERVER, asks("PRACK", PHONE_URI, 2, TO_BOB, "RAck: 1 1 INVITE", SDP, body=sdp("198.51.100.9", 8000)))
    via = "Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKu"
    tags = ("From: <sip:bob@example.org>;tag=b", "To: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2")
    update = message("UPDATE sip:c@198.51.100.2 SIP/2.0", via, *tags, "CSeq: 1 UPDATE", SDP, body=sdp("10.1.0.2", 7010))
    assert b"10.1.0.2" not in body_of(flow.passes(CLIENT, update))


def test_a_refused_change_is_undone_though_it_had_a_provisional_answer() -> None:
    """RFC 6141 s.3."""
    flow = established(Flow())
    flow.hear(CLIENT, invite(2, body=sdp("10.1.0.2", 7100), to="<sip:bob@example.org>;tag=b"))
    flow.hear(SERVER, response(183, 2, body=sdp("198.51.100.10", 9000)))
    assert sorted(media(flow)) == ["10.1.0.2:7100", "198.51.100.10:9000"]
    flow.hear(SERVER, response(486, 2))
    assert sorted(media(flow)) == ["10.1.0.2:7000", "198.51.100.9:8000"]


@pytest.mark.parametrize("offered", ["0.0.0.0", "media.example.net"])
def test_an_answer_to_an_offer_without_an_address_tells_ours(offered: str) -> None:
    """RFC 3725: a third party that connects two others offers nothing at first."""
    flow = Flow()
    flow.hear(SERVER, asks("INVITE", PHONE_URI, 1, "To: <sip:bob@example.org>", SDP, body=sdp(offered, 8000)))
    for status in (183, 200):
        assert b"10.1.0.2" not in body_of(flow.passes(CLIENT, replies(status, body=sdp("10.1.0.2", 7000))))
    flow.hear(SERVER, asks("INVITE", PHONE_URI, 2, TO_BOB, SDP, body=sdp("198.51.100.9", 8000)))
    assert b"10.1.0.2" not in body_of(flow.passes(CLIENT, replies(200, number=2, body=sdp("10.1.0.2", 7000))))
    assert sorted(media(flow)) == ["10.1.0.2:7000", "198.51.100.9:8000"]


def test_an_answer_that_comes_again_in_other_words_tells_no_address_of_the_inside() -> None:
    flow = established(Flow())
    contact = "Contact: <sip:bob@198.51.100.2>"
    dialog = ("From: <sip:bob@example.org>;tag=b", "To: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2")
    fields = ("Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKu", *dialog, "CSeq: 1 UPDATE", contact)
    update = message("UPDATE sip:alice@203.0.113.1 SIP/2.0", *fields, SDP, body=sdp("198.51.100.9", 8000))
    flow.hear(SERVER, update)
    for more in ((), ("Date: Fri, 27 Nov 2026 20:00:00 GMT",)):
        agreed = message("SIP/2.0 200 OK", *fields, *more, SDP, body=sdp("10.1.0.2", 7000))
        assert b"10.1.0.2" not in body_of(flow.passes(CLIENT, agreed))


def test_an_early_update_of_who_has_not_answered_tells_no_address_of_the_inside() -> None:
    flow = Flow()
    flow.hear(SERVER, asks("INVITE", PHONE_URI, 1, "To: <sip:bob@example.org>", SDP, body=sdp("198.51.100.9", 8000)))
    fields = ("Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKu", "From: <sip:bob@x>;tag=b", "To: <sip:alice@x>;tag=a")
    more = ("Call-ID: one@10.1.0.2", "CSeq: 1 UPDATE", "Contact: <sip:bob@10.1.0.2>", SDP)
    update = message("UPDATE sip:alice@198.51.100.2 SIP/2.0", *fields, *more, body=sdp("10.1.0.2", 7000))
    assert b"10.1.0.2" not in body_of(flow.passes(CLIENT, update))


# -- names of people ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["P-Asserted-Identity", "Remote-Party-ID", "Diversion", "Referred-By"])
def test_who_somebody_is_gets_no_port_and_opens_nothing(field: str) -> None:
    flow = flow_of("10.1.0.2:5080", "203.0.113.1:5080")
    asked = (
        invite(body="").replace(b"10.1.0.2;", b"10.1.0.2:5080;").replace(b"alice@10.1.0.2>", b"alice@10.1.0.2:5080>")
    )
    asked = asked.replace(b"Contact:", f'{field}: "x" <sip:1001@10.1.0.2>\r\nContact:'.encode())
    passed = flow.passes(CLIENT, asked)
    assert f'{field}: "x" <sip:1001@203.0.113.1>\r\n'.encode() in passed
    assert flow.places.log == []


def test_who_somebody_is_changes_nothing_of_where_requests_go() -> None:
    flow = flow_of("10.1.0.3:5060", "203.0.113.1:5061")
    asked = invite(body="").replace(b"10.1.0.2;", b"10.1.0.3;").replace(b"alice@10.1.0.2>", b"alice@10.1.0.3:5060>")
    flow.hear(CLIENT, asked.replace(b"Content-Type", b"P-Asserted-Identity: <sip:1001@10.1.0.3>\r\nContent-Type"))
    told = flow.passes(SERVER, asks("BYE", "sip:alice@203.0.113.1:5061"))
    assert told.startswith(b"BYE sip:alice@10.1.0.3:5060 SIP/2.0\r\n")


@pytest.mark.parametrize("name", ["<sip:1002@10.1.0.3:5060>", "<sip:1002@10.1.0.3>"])
def test_who_calls_from_behind_the_same_address_is_not_shown_as_the_callee_itself(name: str) -> None:
    """Calling back from the list would ring at oneself."""
    one = Flow()
    other = flow_of("10.1.0.3:5060", "203.0.113.1:5062", one)
    call = invite(body="").replace(b"10.1.0.2", b"10.1.0.3")
    sent = other.passes(CLIENT, call.replace(b"Contact", f"P-Asserted-Identity: {name}\r\nContact".encode()))
    shown = next(line for line in sent.split(b"\r\n") if line.startswith(b"P-Asserted"))
    assert b"203.0.113.1" in shown
    told = sent.replace(b"INVITE sip:bob@198.51.100.2", b"INVITE sip:alice@203.0.113.1")
    told = told.replace(b"Via:", b"Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKp\r\nVia:")
    assert shown in one.passes(SERVER, told)


def test_who_is_named_by_his_own_port_is_shown_as_himself() -> None:
    told = Flow().passes(SERVER, asks("OPTIONS", PHONE_URI, 1, TO_BOB, "P-Asserted-Identity: <sip:b@203.0.113.1:5060>"))
    assert b"P-Asserted-Identity: <sip:b@10.1.0.2:5060>\r\n" in told


def test_an_address_of_ours_that_another_phone_has_now_is_spelled_as_that_one_does() -> None:
    first = Flow()
    first.passes(CLIENT, invite(body=""))
    second = flow_of("10.1.0.3:5060", "203.0.113.1:5060", first)
    told = second.passes(SERVER, asks("OPTIONS", "sip:bob@203.0.113.1"))
    assert told.startswith(b"OPTIONS sip:bob@10.1.0.3 SIP/2.0\r\n")


@pytest.mark.parametrize(
    "field", ["Diversion: <sip:+49123>", "P-Asserted-Identity: <sip:1001>", 'Remote-Party-ID: "Bob" <sip:1001@>']
)
@pytest.mark.parametrize("side", list(Side))
def test_a_name_that_cannot_be_read_costs_no_call(field: str, side: Side) -> None:
    flow = Flow()
    flow.hear(CLIENT, invite(body=""))
    heard = (invite(2, body="") if side is CLIENT else response(200)).replace(
        b"Contact", field.encode() + b"\r\nContact", 1
    )
    assert field.encode() in flow.passes(side, heard)


def test_a_phone_that_does_not_wait_where_it_sends_from_is_answered_without_nat_too() -> None:
    """Cisco's 7900 series."""
    flow = flow_of("10.1.0.2:49152", "10.1.0.2:49152")
    asked = invite(body="").replace(b";rport", b"")
    assert flow.passes(CLIENT, asked) == asked
    assert flow.places.log == ["open 10.1.0.2:5060 for 10.1.0.2:5060 from 198.51.100.2"]
    flow = flow_of("10.1.0.2:49152", "10.1.0.2:49152")
    flow.passes(CLIENT, invite(body=""))
    assert flow.places.log == []


def test_without_nat_each_via_is_looked_at_that_differs_by_more_than_its_branch() -> None:
    flow = flow_of("10.1.0.2:49152", "10.1.0.2:49152")
    for number in (1, 2):
        flow.passes(CLIENT, invite(number, body=""))
    assert flow.places.log == []
    flow.passes(CLIENT, invite(3, body="").replace(b";rport", b""))
    assert flow.places.log == ["open 10.1.0.2:5060 for 10.1.0.2:5060 from 198.51.100.2"]
    flow.passes(CLIENT, invite(4, body=""))
    flow.passes(CLIENT, invite(5, body="").replace(b"10.1.0.2;branch", b"10.1.0.2:6060;branch").replace(b";rport", b""))
    assert flow.places.log[1:] == ["open 10.1.0.2:6060 for 10.1.0.2:6060 from 198.51.100.2"]


def test_a_notifier_reaches_who_has_subscribed_for_as_long_as_it_has_said() -> None:
    """RFC 6665 s.4.4.1: lamps and waiting messages, of a server that the phone is not registered at."""
    flow = Flow()
    via = "Via: SIP/2.0/UDP {};branch=z9hG4bK1;rport"
    asked = (via.format("10.1.0.2"), *DIALOG, "To: <sip:bob@x>", "CSeq: 1 SUBSCRIBE")
    flow.hear(CLIENT, message("SUBSCRIBE sip:bob@x SIP/2.0", *asked))
    granted = (via.format("203.0.113.1"), *DIALOG, TO_BOB, "CSeq: 1 SUBSCRIBE", "Expires: 600")
    flow.hear(SERVER, message("SIP/2.0 200 OK", *granted, "Contact: <sip:198.51.100.50>"))
    assert flow.places.log == ["open 203.0.113.1:5060 for 10.1.0.2:5060 from 198.51.100.2"]
    assert flow.engine.is_needed()
    flow.tick(700.0)
    assert not flow.engine.is_needed()
    assert not flow.places.standing


@pytest.mark.parametrize("port", [0, 7000])
def test_what_a_phone_says_that_it_can_do_tells_no_address_of_the_inside(port: int) -> None:
    """RFC 3261 s.11.2: a 200 to OPTIONS may describe media."""
    flow = Flow()
    flow.hear(SERVER, asks("OPTIONS", PHONE_URI))
    told = flow.passes(CLIENT, replies(200, "OPTIONS", body=sdp("10.1.0.2", port)))
    assert told.endswith(sdp("203.0.113.1", port).encode())
    assert f"Content-Length: {len(sdp('203.0.113.1', port))}\r\n".encode() in told
    assert flow.places.log == []
