"""SIP calls beyond one flow: who may say what about them, how long they live, and how their parties find each other."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Abort, Send, Splice
from protocols.sip.options import SipOptions
from tests.harness.sip_flow import (
    CLIENT,
    DIALOG,
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

TO = "To: <sip:bob@example.org>;tag=b"


def bye(number: int = 2, host: str = "10.1.0.2") -> bytes:
    via = f"Via: SIP/2.0/UDP {host};branch=z9hG4bK{number};rport"
    return message("BYE sip:bob@198.51.100.2 SIP/2.0", via, *DIALOG, TO, f"CSeq: {number} BYE")


# -- life --------------------------------------------------------------------------------------------------------------


def test_a_call_goes_on_when_the_connection_it_came_by_has_ended() -> None:
    flow = established(Flow(transport=Transport.TCP))
    for side in Side:
        flow.engine.eof(side, 1.0)
    assert flow.engine.is_needed()
    assert flow.places.log == []


def test_its_bye_may_come_by_another_connection() -> None:
    first = established(Flow(transport=Transport.TCP))
    again = Peers(at("10.1.0.2:40001"), at("203.0.113.1:40002"), PROXY, PROXY, Transport.TCP)
    second = Flow(peers=again, beside=first)
    second.hear(CLIENT, bye())
    second.hear(SERVER, response(200, 2, "BYE"))
    assert "call.ended" in second.events()
    assert not first.engine.is_needed()


def test_a_call_that_is_over_needs_nobody() -> None:
    flow = established(Flow())
    assert flow.engine.is_needed()
    flow.hear(CLIENT, bye())
    flow.hear(SERVER, response(200, 2, "BYE"))
    assert not flow.engine.is_needed()
    assert flow.engine.deadline() is None


def test_a_bye_that_nobody_answers_ends_the_call_after_a_while() -> None:
    flow = established(Flow())
    flow.now = 100.0
    flow.hear(CLIENT, bye())
    assert flow.engine.deadline() == 132.0
    flow.tick(132.0)
    assert flow.events()[-1] == "call.ended"


def test_a_bye_that_must_be_repeated_with_a_password_does_not_end_the_call() -> None:
    flow = established(Flow())
    flow.hear(CLIENT, bye())
    flow.hear(SERVER, response(401, 2, "BYE"))
    flow.tick(1000.0)
    assert "call.ended" not in flow.events()


def test_ringing_begins_anew_when_the_call_is_asked_for_again_with_a_password() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(407))
    flow.now = 10.0
    flow.hear(CLIENT, invite(2))
    flow.hear(SERVER, response(100, 2))
    assert flow.engine.deadline() == 310.0


def test_media_that_was_never_used_does_not_make_a_call_go_on() -> None:
    """It waits as long as its call, and not the other way round."""
    flow = established(Flow(call_idle=100))
    flow.tick(100.0)
    assert not flow.table.calls.standing


def test_early_media_is_not_cut_while_it_flows() -> None:
    """A queue plays its music for longer than anything rings."""
    flow = Flow(ring_seconds=60, media_idle=20)
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(183, body=sdp("198.51.100.9", 8000)))
    flow.use_media()
    for now in range(60, 900, 20):
        flow.tick(float(now))
    assert len(flow.places.standing) == 2
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    assert "call.started" in flow.events()
    assert len(flow.places.standing) == 2


def test_early_media_that_nobody_hears_ends_with_the_ringing() -> None:
    flow = Flow(ring_seconds=60)
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(183, body=sdp("198.51.100.9", 8000)))
    flow.tick(60.0)
    assert not flow.places.standing


def test_signalling_says_how_long_media_may_be_silent() -> None:
    """While it rings, until the session timer runs out, and after each sign of life for the time of silence."""
    flow = Flow(ring_seconds=60, media_idle=20)
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(180))
    assert flow.places.kept == [60]
    flow.hear(SERVER, timed())
    assert flow.places.kept == [60, 90 + 32]
    plain = established(Flow(media_idle=20))
    assert plain.places.kept == [20]
    plain.hear(CLIENT, bye().replace(b"BYE", b"OPTIONS"))
    plain.hear(SERVER, response(200, 2, "OPTIONS"))
    assert plain.places.kept == [20, 20]


def timed(number: int = 1, field: str = "Session-Expires: 90;refresher=uac") -> bytes:
    answer = response(200, number, body=sdp("198.51.100.9", 8000))
    return answer.replace(b"Call-ID", field.encode() + b"\r\nCall-ID")


@pytest.mark.parametrize("field", ["Session-Expires: 90;refresher=uac", "x: 90"])
def test_a_call_with_a_session_timer_lives_as_long_as_that_says(field: str) -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, timed(field=field))
    assert flow.table.calls.standing
    flow.tick(121.0)
    assert flow.table.calls.standing
    flow.tick(122.0)
    assert flow.notes[-1].facts["reason"] == "timeout"


def test_a_refresh_of_the_session_timer_puts_its_end_off() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, timed())
    flow.now = 60.0
    flow.hear(CLIENT, invite(2, to="<sip:bob@example.org>;tag=b"))
    flow.hear(SERVER, timed(number=2))
    flow.tick(181.0)
    assert flow.table.calls.standing


def test_without_session_timer_any_sign_of_life_puts_the_end_off() -> None:
    flow = Flow(call_idle=100)
    flow.hear(CLIENT, invite(body=""))
    flow.hear(SERVER, response(200))
    flow.now = 90.0
    flow.hear(CLIENT, bye().replace(b"BYE", b"INFO"))
    flow.hear(SERVER, response(200, 2, "INFO"))
    flow.tick(150.0)
    assert flow.table.calls.standing
    flow.tick(190.0)
    assert not flow.table.calls.standing


def test_while_its_media_is_heard_a_call_goes_on_without_a_word() -> None:
    """X14: what is silent is closed by itself, and the call with it."""
    flow = established(Flow(call_idle=100))
    flow.use_media()
    for now in range(100, 2000, 100):
        flow.tick(float(now))
    assert flow.table.calls.standing
    flow.tick(8 * 86400.0)
    assert not flow.table.calls.standing


@pytest.mark.parametrize("answered", ["a=recvonly\r\n", "a=inactive\r\n", ""])
def test_a_call_on_hold_does_not_go_on_for_ever_without_a_word(answered: str) -> None:
    flow = Flow(call_idle=100)
    flow.hear(CLIENT, invite(body=sdp("10.1.0.2", 7000, "a=inactive\r\n")))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000, answered)))
    flow.tick(101.0)
    assert not flow.table.calls.standing


def test_when_the_engine_stops_its_calls_are_told_of() -> None:
    flow = established(Flow())
    notes = flow.engine.stop(5.0)
    while flow.places.late:
        grant, event = flow.places.late.pop(0)
        notes = [*notes, *flow.engine.pinhole(grant, event, 5.0)]
    assert [note.facts["reason"] for note in notes if hasattr(note, "facts")] == ["stopped"]
    assert not flow.places.standing


# -- who may say what --------------------------------------------------------------------------------------------------


PBX = at("10.1.0.9:5060")
PUBLISHED = at("203.0.113.1:5060")
CALLER, STRANGER = at("198.51.100.2:5060"), at("192.0.2.66:5060")


def published(caller: Endpoint = CALLER, beside: Flow | None = None) -> Flow:
    """A PBX behind us that anybody may call."""
    return Flow(peers=Peers(caller, caller, PBX, PUBLISHED, Transport.UDP), beside=beside)


def to_pbx(data: bytes) -> bytes:
    """All but the Call-ID."""
    return data.replace(b"10.1.0.2", b"198.51.100.2").replace(b"one@198.51.100.2", b"one@10.1.0.2")


def of_pbx(data: bytes) -> bytes:
    return data.replace(b"203.0.113.1", b"198.51.100.2").replace(b"bob@198.51.100.2", b"bob@10.1.0.9")


def called() -> Flow:
    flow = published()
    flow.hear(CLIENT, to_pbx(invite(body=sdp("198.51.100.2", 7000))))
    flow.hear(SERVER, of_pbx(response(200, body=sdp("10.1.0.9", 8000))))
    assert "call.started" in flow.events()
    return flow


@pytest.mark.parametrize("status", [481, 403, 408])
def test_a_strangers_bye_that_is_refused_ends_nothing(status: int) -> None:
    real = called()
    stranger = published(STRANGER, beside=real)
    stranger.hear(CLIENT, bye(7, "192.0.2.66"))
    stranger.hear(SERVER, of_pbx(response(status, 7, "BYE")))
    stranger.tick(100.0)
    assert real.table.calls.standing
    assert len(real.places.standing) == 2


def test_a_stranger_cannot_answer_for_a_party() -> None:
    real = called()
    real.hear(SERVER, bye(1).replace(b"tag=a", b"tag=x").replace(b"tag=b", b"tag=a").replace(b"tag=x", b"tag=b"))
    stranger = published(STRANGER, beside=real)
    answer = response(200, 1, "BYE").replace(b"tag=a", b"tag=x").replace(b"tag=b", b"tag=a").replace(b"tag=x", b"tag=b")
    stranger.hear(CLIENT, answer)
    assert real.table.calls.standing


def test_a_strangers_offer_is_an_offer_of_its_own_until_it_is_answered() -> None:
    real = called()
    before = list(real.places.log)
    stranger = published(STRANGER, beside=real)
    stranger.hear(CLIENT, to_pbx(invite(3, sdp("192.0.2.66", 9000), "<sip:bob@example.org>;tag=b")))
    stranger.hear(SERVER, of_pbx(response(481, 3)))
    assert [line for line in real.places.log[len(before) :] if not line.startswith(("offer", "close"))] == []
    assert real.table.calls.standing


def test_another_hosts_invite_with_the_same_names_is_another_call() -> None:
    real = called()
    stranger = published(STRANGER, beside=real)
    stranger.hear(CLIENT, to_pbx(invite(1, sdp("192.0.2.66", 9000))))
    stranger.hear(SERVER, of_pbx(response(486)))
    (calls,) = real.table.calls.standing.values()
    assert len(calls) == 1
    assert len(real.places.standing) == 2


def test_calls_of_one_client_are_limited() -> None:
    flow = Flow(max_calls=2)
    for name in (b"one", b"two"):
        assert isinstance(flow.hear(CLIENT, invite().replace(b"one@", name + b"@"))[0], Send)
    (refused,) = flow.hear(CLIENT, invite().replace(b"one@", b"three@"))
    assert isinstance(refused, Send) and refused.to is CLIENT
    assert refused.data.startswith(b"SIP/2.0 503 ")
    assert flow.notes[-1].facts["rule"] == "sip.too_many_calls"


# -- twice through us --------------------------------------------------------------------------------------------------

OTHER, OTHER_SEEN = at("10.1.0.3:5060"), at("203.0.113.1:5061")


def round_trip(first: Flow, **options: Any) -> tuple[Flow, bytes, bytes]:
    """A phone calls another one behind us by way of a proxy. What the other phone and then the caller is told."""
    second = Flow(peers=Peers(OTHER, OTHER_SEEN, PROXY, PROXY, Transport.UDP), beside=first, **options)
    outside = first.passes(CLIENT, invite())
    there = second.passes(SERVER, outside)
    answer = response(200, body=sdp("10.1.0.3", 8000)).replace(b"bob@198.51.100.2:5060", b"bob@10.1.0.3")
    outside = second.passes(CLIENT, answer)
    assert b"10.1.0." not in outside.partition(b"\r\n\r\n")[2]
    back = first.passes(SERVER, outside)
    return second, there, back


def test_a_call_between_two_phones_behind_us_is_two_calls() -> None:
    first = Flow()
    second, there, back = round_trip(first)
    (calls,) = first.table.calls.standing.values()
    assert len(calls) == 2
    assert [first.events().count("call.started"), second.events().count("call.started")] == [1, 1]
    assert b"m=audio 40000 " in there and b"c=IN IP4 203.0.113.1\r\n" in there
    assert b"c=IN IP4 203.0.113.1\r\n" in back


def test_with_direct_media_they_are_told_of_each_other() -> None:
    first = Flow(direct_media=True)
    _, there, back = round_trip(first, direct_media=True)
    assert b"m=audio 7000 " in there and b"c=IN IP4 10.1.0.2\r\n" in there
    assert b"m=audio 8000 " in back and b"c=IN IP4 10.1.0.3\r\n" in back


# -- the next hop ------------------------------------------------------------------------------------------------------


def test_a_callee_that_no_server_stands_before_may_reach_the_caller() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    answer = response(200, body=sdp("198.51.100.9", 8000)).replace(b"bob@198.51.100.2:5060", b"bob@198.51.100.9")
    flow.hear(SERVER, answer)
    assert flow.places.log[-1] == "open 203.0.113.1:5060 for 10.1.0.2:5060 from 198.51.100.9"
    flow.hear(CLIENT, bye())
    flow.hear(SERVER, response(200, 2, "BYE"))
    assert "close 203.0.113.1:5060" in flow.places.log


def test_its_bye_is_one_of_this_call() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    answer = response(200, body=sdp("198.51.100.9", 8000)).replace(b"bob@198.51.100.2:5060", b"bob@198.51.100.9")
    flow.hear(SERVER, answer)
    callee = at("198.51.100.9:5060")
    direct = Flow(peers=Peers(callee, callee, PHONE, OURS, Transport.UDP), beside=flow)
    fields = ("From: <sip:bob@example.org>;tag=b", "To: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2")
    ends = message(
        "BYE sip:alice@203.0.113.1 SIP/2.0", "Via: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKy", *fields, "CSeq: 1 BYE"
    )
    assert direct.passes(CLIENT, ends).startswith(b"BYE sip:alice@10.1.0.2 SIP/2.0\r\n")
    direct.hear(SERVER, ends.replace(b"BYE sip:alice@203.0.113.1 SIP/2.0", b"SIP/2.0 200 OK"))
    assert direct.events()[-1] == "call.ended"


def test_behind_a_server_that_records_its_route_nobody_else_comes() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    answer = response(200, body=sdp("198.51.100.9", 8000)).replace(b"bob@198.51.100.2:5060", b"bob@198.51.100.9")
    flow.hear(SERVER, answer.replace(b"Contact:", b"Record-Route: <sip:198.51.100.2;lr>\r\nContact:"))
    assert not [line for line in flow.places.log if line.startswith("open")]


def test_another_server_in_the_route_may_come() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    routes = b"Record-Route: <sip:192.0.2.8;lr>, <sip:198.51.100.77;lr>\r\nContact:"
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)).replace(b"Contact:", routes))
    assert flow.places.log[-1] == "open 203.0.113.1:5060 for 10.1.0.2:5060 from 198.51.100.77"


def late_offer() -> Flow:
    flow = Flow()
    flow.hear(CLIENT, invite(body="").replace(b"Content-Type: application/sdp\r\n", b""))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    return flow


def late_answer(flow: Flow) -> None:
    via = "Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKk;rport"
    to, body = "To: <sip:bob@example.org>;tag=b", sdp("10.1.0.2", 7000)
    flow.hear(CLIENT, message("ACK sip:bob@198.51.100.2 SIP/2.0", via, *DIALOG, to, "CSeq: 1 ACK", SDP, body=body))


def offer_of_another_phone(beside: Flow, tag: str) -> None:
    """With the Call-ID and the caller's tag of a call that is not its own."""
    flow = Flow(beside=beside, peers=Peers(OTHER, OTHER_SEEN, PROXY, PROXY, Transport.UDP))
    data = invite(6, to=f"<sip:bob@example.org>;tag={tag}", body=sdp("10.1.0.3", 7000))
    flow.hear(CLIENT, data.replace(b"10.1.0.2", b"10.1.0.3").replace(b"one@10.1.0.3", b"one@10.1.0.2"))


def test_media_that_stands_goes_on_until_what_is_offered_in_its_place_is_answered() -> None:
    """S67: whoever offers it."""
    flow = late_offer()
    late_answer(flow)
    flow.places.log.clear()
    offer_of_another_phone(flow, "unknown")
    assert flow.places.log == ["offer 10.1.0.3:7000"]


def test_the_answer_in_an_ack_is_to_the_offer_of_its_own_invite() -> None:
    flow = late_offer()
    offer_of_another_phone(flow, "b")
    late_answer(flow)
    assert flow.places.log[-1] == "answer 10.1.0.2:7000"


# -- options -----------------------------------------------------------------------------------------------------------


def test_requests_of_one_source_and_method_are_limited_by_the_second() -> None:
    flow = Flow(rates={"OPTIONS": 2})
    options = [bye(number).replace(b"BYE", b"OPTIONS") for number in range(1, 8)]
    answers = [flow.sends(CLIENT, data) for data in options]
    assert [len(effects) for effects in answers] == [1, 1, 1, 1, 0, 0, 0]
    assert [effects[0].to for effects in answers[:4]] == [SERVER, SERVER, CLIENT, CLIENT]
    assert answers[2][0].data.startswith(b"SIP/2.0 503 ")
    violations = [note.facts["action"] for note in flow.notes if note.event == "violation"]
    assert violations == ["answered 503", "dropped"]
    flow.now = 1.0
    assert len(flow.hear(CLIENT, bye(9).replace(b"BYE", b"OPTIONS"))) == 1


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n" * 200])
def test_line_ends_before_a_request_do_not_hide_it_from_its_limit(before: bytes) -> None:
    """S4"""
    flow = Flow(rates={"OPTIONS": 1})
    for number in range(1, 4):
        effects = flow.hear(CLIENT, before + bye(number).replace(b"BYE", b"OPTIONS"))
    assert effects == []


def test_invented_methods_have_one_limit_together() -> None:
    flow = Flow(rates={"INVITE": 100, "OTHER": 2})
    answers = [flow.sends(CLIENT, bye(1).replace(b"BYE", b"M" * number)) for number in range(1, 70)]
    passed = [effects for effects in answers if effects and effects[0].to is SERVER]
    assert len(passed) == 2


@pytest.mark.parametrize("method", [b"ACK", b"BYE", b"CANCEL"])
def test_what_brings_a_call_to_its_end_is_limited_by_its_own_name_alone(method: bytes) -> None:
    flow = Flow(rates={"OTHER": 1})
    for number in range(1, 6):
        (send,) = flow.hear(CLIENT, bye(number).replace(b"BYE", method))
        assert isinstance(send, Send) and send.to is SERVER


def test_others_are_not_limited_by_what_one_source_sends() -> None:
    flow = Flow(rates={"OTHER": 1})
    other = Flow(peers=Peers(OTHER, OTHER_SEEN, PROXY, PROXY, Transport.UDP), beside=flow, rates={"OTHER": 1})
    for _ in range(3):
        flow.hear(CLIENT, bye(1).replace(b"BYE", b"OPTIONS"))
    (send,) = other.hear(CLIENT, bye(1, "10.1.0.3").replace(b"BYE", b"OPTIONS"))
    assert isinstance(send, Send) and send.to is SERVER


HELLO = b"\x16\x03\x01\x02\x00\x01"


def test_tls_passes_unread() -> None:
    flow = Flow(transport=Transport.TCP)
    assert flow.hear(CLIENT, HELLO) == [Send(SERVER, HELLO)]
    assert flow.hear(SERVER, HELLO) == [Send(CLIENT, HELLO), Splice(14400.0)]
    assert flow.events() == ["sip.tls"]


def test_or_it_is_denied() -> None:
    flow = Flow(transport=Transport.TCP, tls="deny")
    assert flow.hear(CLIENT, HELLO) == [Abort("tls_denied")]
    assert flow.notes[-1].facts["rule"] == "sip.tls_denied"


def test_an_observer_changes_nothing_and_tells_what_it_would_have_done() -> None:
    flow = Flow(mode="observe")
    for side, data in (
        (CLIENT, invite()),
        (SERVER, response(200, body=sdp("198.51.100.9", 8000))),
        (CLIENT, bye()),
        (SERVER, response(200, 2, "BYE")),
    ):
        assert flow.passes(side, data) == data
    assert flow.places.log == []
    assert flow.events()[:3] == ["pinhole.observed", "address.observed", "pinhole.observed"]
    assert flow.events()[-1] == "call.ended"
    assert not flow.engine.is_needed()


def test_observers_tell_their_calls_apart() -> None:
    one = Flow(mode="observe")
    other = Flow(beside=one, mode="observe", peers=Peers(at("10.1.0.3:5060"), at("203.0.113.1:5061"), PROXY, PROXY))
    one.hear(CLIENT, invite())
    other.hear(CLIENT, invite().replace(b"10.1.0.2", b"10.1.0.3"))
    assert len(one.table.calls.media) == 2
    one.hear(SERVER, response(486))
    assert len(one.table.calls.media) == 1


def test_what_one_observer_has_opened_another_may_close() -> None:
    one = Flow(mode="observe")
    other = Flow(beside=one, mode="observe")
    one.hear(CLIENT, invite())
    other.hear(SERVER, response(486))
    assert not one.table.calls.media
    assert not one.table.calls.announced


def test_an_observer_passes_what_is_to_be_refused() -> None:
    flow = Flow(mode="observe", block_methods=("INVITE",))
    assert flow.passes(CLIENT, invite()) == invite()
    assert flow.passes(CLIENT, b"INVITE nothing SIP/2.0\r\n\r\n") == b"INVITE nothing SIP/2.0\r\n\r\n"
    assert flow.events() == ["violation", "violation"]


def test_with_fixup_never_messages_and_media_are_left_to_their_ends() -> None:
    flow = Flow(fixup="never")
    assert flow.passes(CLIENT, invite()) == invite()
    assert flow.places.log == []
    assert Flow(fixup="never", nat=False).passes(CLIENT, invite()) == invite()


def test_without_nat_fixup_never_changes_nothing() -> None:
    flow = Flow(fixup="never", nat=False)
    flow.hear(CLIENT, invite())
    assert flow.places.log == ["offer 10.1.0.2:7000"]


def test_call_ids_are_hidden_with_the_topology_and_given_back() -> None:
    flow = Flow(topology_hiding=True)
    sent = flow.passes(CLIENT, invite())
    assert b"Call-ID: one@203.0.113.1\r\n" in sent
    answer = response(200, body=sdp("198.51.100.9", 8000)).replace(b"one@10.1.0.2", b"one@203.0.113.1")
    assert b"Call-ID: one@10.1.0.2\r\n" in flow.passes(SERVER, answer)
    refer = (
        bye(3)
        .replace(b"BYE", b"REFER")
        .replace(
            b"Content-Length",
            b"Refer-To: <sip:carol@example.org?Replaces=one%4010.1.0.2%3Bto-tag%3Db>\r\nContent-Length",
        )
    )
    assert b"?Replaces=one%40203.0.113.1%3Bto-tag%3Db>" in flow.passes(CLIENT, refer)
    asked = invite(5).replace(b"Contact:", b"Replaces: one@10.1.0.2;to-tag=b;from-tag=a\r\nContact:")
    assert b"Replaces: one@203.0.113.1;to-tag=b" in flow.passes(CLIENT, asked)
    assert "call.started" in flow.events()


def test_a_warning_names_us_in_place_of_the_phone() -> None:
    flow = Flow()
    flow.hear(SERVER, bye(1))
    answer = response(200, 1, "BYE").replace(b"Contact:", b'Warning: 399 10.1.0.2:5060 "gone"\r\nContact:')
    assert b'Warning: 399 203.0.113.1:5060 "gone"\r\n' in flow.passes(CLIENT, answer)


def test_candidates_do_not_trickle_past_the_relays() -> None:
    flow = Flow()
    sent = flow.passes(CLIENT, invite().replace(b"Contact:", b"Supported: 100rel, trickle-ice, timer\r\nContact:"))
    assert b"Supported: 100rel, timer\r\n" in sent
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    body = "a=ice-pwd:x\r\nm=audio 9 RTP/AVP 0\r\na=candidate:1 1 UDP 1 10.1.0.2 5 typ host\r\n"
    info = message(
        "INFO sip:bob@198.51.100.2 SIP/2.0", "Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK5;rport", *DIALOG, TO,
        "CSeq: 5 INFO", "Content-Type: application/trickle-ice-sdpfrag", body=body,
    )  # fmt: skip
    assert flow.passes(CLIENT, info).endswith(b"Content-Length: 21\r\n\r\nm=audio 9 RTP/AVP 0\r\n")


def test_an_answer_that_cannot_have_its_place_declines_the_medium() -> None:
    flow = published()
    flow.hear(CLIENT, to_pbx(invite(body=sdp("198.51.100.2", 7000))))
    flow.places.refuses = True
    sent = flow.passes(SERVER, of_pbx(response(200, body=sdp("10.1.0.9", 8000))))
    assert b"m=audio 0 RTP/AVP 0\r\n" in sent
    assert b"10.1.0.9" not in sent.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rates": {"invite": 5}}, "capitals"),
        ({"block_methods": ("a b",)}, "block_methods"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        SipOptions(**options)


def test_a_route_of_the_callers_own_is_not_taken_for_the_callees() -> None:
    """Its echo in the 200 to the first INVITE is one more than the second one had."""
    flow = Flow(peers=Peers(PROXY, PROXY, PHONE, PHONE, Transport.UDP))
    route = "Record-Route: <sip:10.1.0.2:2049;lr>"
    dialog = ("From: <sip:mallory@example.org>;tag=m", "Call-ID: routes")
    contact = "Contact: <sip:mallory@192.0.2.66>"
    for number, more in ((1, (route,)), (2, ())):
        via = f"Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bK{number}"
        cseq = f"CSeq: {number} INVITE"
        flow.hear(CLIENT, message("INVITE sip:a@10.1.0.2 SIP/2.0", via, *more, *dialog, "To: <sip:a>", cseq, contact))
    via, to = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bK1", "To: <sip:a>;tag=a"
    own = "Contact: <sip:a@10.1.0.2>"
    flow.hear(SERVER, message("SIP/2.0 200 OK", via, route, *dialog, to, "CSeq: 1 INVITE", own))
    assert flow.events() == ["call.started"]
    assert not [line for line in flow.places.log if "2049" in line]
