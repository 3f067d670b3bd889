"""SIP messages: what answers a request that is refused. Rule S23."""

from __future__ import annotations

import pytest

from protocols.sip.answers import refuse
from protocols.sip.head import BadMessage
from protocols.sip.reading import read_message
from tests.harness.sip_messages import (
    FAULTS,
    INVITE,
    RINGING,
    put,
    refused,
    without,
)

# -- answers (S23) -----------------------------------------------------------------------------------------------------


def test_refused_request_gets_its_own_fields_back_and_a_tag() -> None:
    answer = refuse(read_message(INVITE), 488, b"Not Acceptable Here")
    assert answer is not None
    message = read_message(answer)
    assert message.status == 488
    assert answer.startswith(b"SIP/2.0 488 Not Acceptable Here\r\n")
    assert answer.endswith(b"Content-Length: 0\r\n\r\n")
    for name in (b"via", b"from", b"call-id", b"cseq"):
        assert message.first(name) == read_message(INVITE).first(name)
    assert (message.first(b"to") or b"").startswith(b"Bob <sip:bob@example.com>;tag=")
    assert len(message.to_tag or b"") == 16


def test_answer_to_a_request_sent_again_is_the_same_again() -> None:
    first, again = (refuse(read_message(INVITE), 503, b"x") for _ in range(2))
    assert first == again
    other = refuse(read_message(INVITE.replace(b"a84b", b"a85b")), 503, b"x")
    assert other is not None
    assert first is not None
    assert read_message(other).to_tag != read_message(first).to_tag


def test_answer_has_every_via_in_its_order_and_unfolded() -> None:
    vias = [b"Via: SIP/2.0/UDP a, SIP/2.0/UDP b;\r\n  branch=1", b"v: SIP/2.0/UDP c"]
    answer = refuse(read_message(put(INVITE, b"Via", *vias)), 400, b"x") or b""
    assert b"Via: SIP/2.0/UDP a, SIP/2.0/UDP b; branch=1\r\nVia: SIP/2.0/UDP c\r\nFrom" in answer


@pytest.mark.parametrize("to", [b"<sip:bob@h>;tag=1", b"sip:bob@h;tag", b'"Mr. J. User <sip:j.user@example.com>'])
def test_to_with_a_tag_or_that_cannot_be_read_is_given_back_as_it_came(to: bytes) -> None:
    answer = refuse(read_message(put(INVITE, b"To", b"To: " + to)), 400, b"x") or b""
    assert b"\r\nTo: " + to + b"\r\n" in answer


@pytest.mark.parametrize("message", [RINGING, INVITE.replace(b"INVITE", b"ACK")])
def test_response_and_ack_get_no_answer(message: bytes) -> None:
    assert refuse(read_message(message), 400, b"x") is None


@pytest.mark.parametrize(
    "via", [[], [b"Via:"], [b"Via: ,"], [b"Via: SIP/2.0 h", b"Via: SIP/2.0/UDP h"], [b'Via: SIP/2.0/UDP h;a="b, c']]
)
def test_request_with_no_via_to_answer_by_gets_no_answer(via: list[bytes]) -> None:
    for message in (put(INVITE, b"Via", *via), put(put(INVITE, b"Via", *via), b"CSeq", b"CSeq: x")):
        try:
            assert refuse(read_message(message), 400, b"x") is None
        except BadMessage as bad:
            assert refuse(bad, bad.status, b"x") is None


@pytest.mark.parametrize("reason", FAULTS)
def test_whatever_is_wrong_with_a_request_it_is_answered(reason: str) -> None:
    bad = refused(FAULTS[reason])
    assert (bad.reason, bad.is_request) == (reason, True)
    answer = refuse(bad, bad.status, b"Bad Request")
    assert answer is not None
    message = read_message(answer)
    assert message.status == bad.status
    assert message.first(b"via") == b"SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport"
    assert message.call_id == b"a84b4c76e66710@10.1.0.2"


def test_answer_to_a_request_with_something_missing_has_what_there_is() -> None:
    answer = refuse(refused(without(without(INVITE, b"To"), b"From")), 400, b"Bad Request")
    assert answer is not None
    assert answer.split(b"\r\n") == [
        b"SIP/2.0 400 Bad Request",
        b"Via: SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport",
        b"Call-ID: a84b4c76e66710@10.1.0.2",
        b"CSeq: 314159 INVITE",
        b"Content-Length: 0",
        b"",
        b"",
    ]


def test_body_gives_no_fields_to_an_answer() -> None:
    body = b"Via: SIP/2.0/UDP evil\r\n"
    bad = refused(put(INVITE, b"Contact", b"\rX: ab") + body)
    assert b"evil" not in (refuse(bad, 400, b"x") or b"")
