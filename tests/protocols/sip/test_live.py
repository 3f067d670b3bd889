"""What operators are told of calls and registrations that are under way."""

from __future__ import annotations

import pytest

from protocols.contract import live
from protocols.contract.addresses import Transport
from tests.harness.sip_flow import (
    CLIENT,
    DIALOG,
    OURS,
    PHONE,
    PROXY,
    SERVER,
    Flow,
    established,
    invite,
    message,
    register,
    registered,
    response,
)

TO = "To: <sip:bob@example.org>;tag=b"


def one_call(flow: Flow) -> live.Call:
    (call,) = flow.engines.calls()
    return call


def test_a_call_rings_is_established_and_ends() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    ringing = one_call(flow)
    assert (ringing.state, ringing.started_at, ringing.direction) == ("ringing", None, "out")
    established(flow)
    assert (one_call(flow).state, one_call(flow).started_at) == ("established", 0.0)
    via = "Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK9;rport"
    flow.hear(CLIENT, message("BYE sip:bob@198.51.100.2 SIP/2.0", via, *DIALOG, TO, "CSeq: 9 BYE"))
    assert one_call(flow).state == "ending"
    flow.hear(SERVER, response(200, 9, "BYE"))
    assert not list(flow.engines.calls())


def test_it_is_named_by_its_parties_and_its_call_id_and_keeps_its_name() -> None:
    flow = Flow()
    flow.hear(CLIENT, invite())
    before = one_call(flow)
    after = one_call(established(flow))
    assert after.id == before.id
    assert (after.call_id, after.caller, after.callee) == (
        b"one@10.1.0.2",
        b"sip:alice@example.org",
        b"sip:bob@example.org",
    )


def test_its_media_is_known_by_the_grants_and_leads_back_to_it() -> None:
    flow = established(Flow())
    call = one_call(flow)
    assert len(call.media) == 2
    assert [flow.engines.call_of(grant) for grant in call.media] == [call, call]
    assert flow.engines.call_of(4711) is None


def with_phone(flow: Flow) -> Flow:
    flow.hear(CLIENT, register())
    flow.hear(SERVER, registered())
    return flow


def test_a_registration_says_who_can_be_called_where_and_for_how_long() -> None:
    flow = with_phone(Flow())
    (one,) = flow.engines.registrations()
    assert (one.aor, one.contact, one.registrar, one.transport) == (
        b"sip:alice@example.org",
        PHONE,
        PROXY.host,
        Transport.UDP,
    )
    assert (one.known_as, one.began_at, one.expires_at) == (OURS, 0.0, 300.0)
    assert one.grant in flow.places.standing
    flow.tick(300.0 + 33)
    assert not list(flow.engines.registrations())


@pytest.mark.parametrize("tell", ["calls", "registrations"])
def test_what_is_only_observed_is_told_too_and_leads_to_the_session(tell: str) -> None:
    flow = with_phone(established(Flow(mode="observe")))
    (one,) = getattr(flow.engines, tell)()
    assert one.pinholes is flow.places
    assert (one.media == ()) if tell == "calls" else (one.grant is None)
