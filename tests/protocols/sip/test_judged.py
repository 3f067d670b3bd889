"""SIP calls whose requests we refuse ourselves, and calls whose messages come by sessions of several policies."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Peers, Transport
from protocols.contract.effects import Send
from protocols.contract.pinholes import MediaGrant
from tests.harness.sip_flow import (
    CLIENT,
    PHONE,
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

# -- what we refuse ourselves ------------------------------------------------------------------------------------------


def test_an_invite_that_we_refuse_begins_no_call_that_another_answer_could_start() -> None:
    flow = Flow()
    flow.places.refuses = True
    (send,) = flow.hear(CLIENT, invite())
    assert isinstance(send, Send) and send.data.startswith(b"SIP/2.0 503 ")
    flow.places.refuses = False
    assert flow.table.calls.standing == {} and flow.table.calls.of_client == {}
    flow.hear(SERVER, response(183, body=sdp("198.51.100.2", 8000)))
    flow.hear(SERVER, response(200, body=sdp("198.51.100.2", 8000)))
    assert ("call.started" in flow.events(), flow.places.standing) == (False, {})


def test_after_an_invite_that_we_refuse_the_next_one_is_a_call() -> None:
    flow = Flow()
    many = "".join(f"m=audio {7000 + 2 * number} RTP/AVP 0\r\n" for number in range(40))
    (send,) = flow.hear(CLIENT, invite(body=sdp("10.1.0.2", 7000, many)))
    assert isinstance(send, Send) and send.data.startswith(b"SIP/2.0 503 ")
    flow.hear(SERVER, response(200, body=sdp("198.51.100.2", 8000)))
    assert "call.started" not in flow.events()
    flow.hear(CLIENT, invite(2))
    flow.hear(SERVER, response(200, 2, body=sdp("198.51.100.2", 8000)))
    assert flow.events().count("call.started") == 1


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_change_that_we_refuse_is_answered_by_nobody_else_and_the_call_goes_on(method: str) -> None:
    flow = established(Flow())
    flow.places.refuses = True
    more = "m=video 7100 RTP/AVP 96\r\n"
    offer = invite(2, body=sdp("10.1.0.2", 7000, more), to="<sip:bob@example.org>;tag=b")
    (send,) = flow.hear(CLIENT, offer.replace(b"INVITE", method.encode()))
    assert isinstance(send, Send) and send.data.startswith(b"SIP/2.0 500 ")
    flow.places.refuses = False
    before = dict(flow.places.standing)
    flow.hear(SERVER, response(200, 2, method, body=sdp("198.51.100.2", 9000, "m=video 9100 RTP/AVP 96\r\n")))
    assert flow.places.standing == before
    assert "call.ended" not in flow.events()


def test_an_invite_that_comes_again_and_is_refused_leaves_the_one_that_was_passed_on() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    flow.places.refuses = True
    flow.now = 60.0  # longer than anything is kept for that comes again
    more = "m=video 7100 RTP/AVP 96\r\n"
    flow.hear(CLIENT, invite(body=sdp("10.1.0.2", 7000, more)))
    flow.places.refuses = False
    flow.hear(SERVER, response(200, body=sdp("198.51.100.2", 8000)))
    assert "call.started" in flow.events()


# -- answers by a session of another policy ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["answer", "offer"])
def test_what_is_said_by_a_session_of_another_policy_is_judged_by_that_of_the_call(method: str) -> None:
    """Whom a policy lets out has called; his provider answers, or changes the call, by a flow that another policy lets
    in, on whose client's side it stands."""
    out = Flow(nat=False)
    provider = at("198.51.100.2:5099")
    back = Flow(peers=Peers(provider, provider, PHONE, PHONE, Transport.UDP), beside=out)
    out.hear(CLIENT, invite())
    told = sdp("198.51.100.77", 8000)
    if method == "answer":
        back.hear(CLIENT, response(200, body=told, host="10.1.0.2"))
    else:
        out.hear(SERVER, response(200, body=sdp("198.51.100.2", 8000), host="10.1.0.2"))
        offer = message(
            "INVITE sip:alice@10.1.0.2 SIP/2.0", "Via: SIP/2.0/UDP 198.51.100.2:5099;branch=z9hG4bKx",
            "From: <sip:bob@example.org>;tag=b", "To: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2",
            "CSeq: 9 INVITE", "Contact: <sip:bob@198.51.100.2:5099>", SDP, body=told,
        )  # fmt: skip
        back.hear(CLIENT, offer)
        changed = message(
            "SIP/2.0 200 OK", "Via: SIP/2.0/UDP 198.51.100.2:5099;branch=z9hG4bKx",
            "From: <sip:bob@example.org>;tag=b", "To: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2",
            "CSeq: 9 INVITE", "Contact: <sip:alice@10.1.0.2>", SDP, body=sdp("10.1.0.2", 7000),
        )  # fmt: skip
        back.hear(SERVER, changed)
    parties = {
        (str(grant.media.party.data), grant.media.party.side, grant.media.party.is_inside)
        for grant in out.places.standing.values()
        if isinstance(grant, MediaGrant)
    }
    assert parties == {("10.1.0.2:7000", CLIENT, True), ("198.51.100.77:8000", SERVER, False)}
