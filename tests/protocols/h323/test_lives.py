"""What a call and its connections hold, and for how long: that a caller can have no more than calls need."""

from __future__ import annotations

from ipaddress import ip_network

from protocols.contract.pinholes import Grant
from protocols.h323 import wire
from protocols.h323.helper import HELPER
from protocols.h323.options import H323Options
from tests.protocols.h323 import messages as m
from tests.protocols.h323.calls import CLIENT, SERVER, Calls

INSIDE, OUTSIDE, OURS = "10.1.0.2", "203.0.113.7", "198.51.100.1"
SETUP = m.setup(source=f"{INSIDE}:40000", dest=f"{OUTSIDE}:1720")


def test_nobody_takes_a_call_of_its_own() -> None:
    """Found by review: a Connect that its caller said began a call, which was logged as one that somebody had taken,
    and held its place for `call_idle`."""
    calls = Calls(options=H323Options(setup_seconds=300.0))
    calls.say(CLIENT, SETUP)
    before = calls.sent(SERVER)
    connect = m.answer("connect", from_callee=False)
    calls.say(CLIENT, connect)
    assert calls.sent(SERVER) == before + connect
    assert not calls.notes("call.started")
    calls.signalling.wait(300)
    assert not calls.notes("call.ended")
    assert [note["reason"] for note in calls.notes("call.failed")] == ["not_answered"]


def test_what_a_call_has_left_behind_goes_soon_after_its_h245() -> None:
    """HF10. Found by review: the signalling connection is lost first, and the H.245 ends a call without media. What was
    left of the first stayed for `call_idle`, since its clock was that of the call when it was last set."""
    calls = Calls()
    calls.say(CLIENT, SETUP)
    calls.say(SERVER, m.answer("connect", h245=f"{OUTSIDE}:4001"))
    control = calls.control()
    calls.signalling.close()
    calls.signalling.wait(400)
    assert calls.signalling.engine.is_needed() and not calls.signalling.is_dissolved
    control.close()
    assert [note["reason"] for note in calls.notes("call.ended")] == ["connection_lost"]
    deadline = calls.signalling.engine.deadline()
    assert deadline is not None and deadline <= 430
    calls.signalling.wait(30)
    assert calls.signalling.is_dissolved


def test_h245_whose_dialling_has_failed_is_dialled_anew_where_it_is_named_again() -> None:
    """HF46. Found by review: the address went on being announced, and nothing stood there any more."""
    calls = Calls()
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:40000", h245=f"{INSIDE}:4100"))
    calls.signalling.use(1)
    calls.signalling.end(1, 0, 0, "used_up")
    again = m.facility("startH245", h245=f"{INSIDE}:4100", from_callee=False)
    assert calls.say(CLIENT, again) == []  # it may still be on its way
    calls.signalling.wait(3)
    opened = f"open tcp for {INSIDE}:4100 from {OUTSIDE} as {OUTSIDE} uses 1 read = {OURS}:61001"
    assert calls.say(CLIENT, again) == [opened]
    assert calls.sent(SERVER).endswith(again.replace(m.octets(f"{INSIDE}:4100"), m.octets(f"{OURS}:61001")))
    control = calls.control(2)
    calls.signalling.wait(60)
    assert calls.say(CLIENT, again) == []  # it is what its connection came by
    control.close()
    assert len(calls.say(CLIENT, again)) == 1


def test_who_is_sent_on_twice_finds_a_way_both_times() -> None:
    calls = Calls(options=H323Options(forward_to=(ip_network("203.0.113.9"),)))
    calls.say(CLIENT, SETUP)
    forwarded = m.facility("callForwarded", alternative="203.0.113.9:2000")
    assert len(calls.say(SERVER, forwarded)) == 1
    assert len(calls.say(SERVER, forwarded)) == 0
    calls.signalling.use(1)
    calls.signalling.end(1, 0, 0, "used_up")
    calls.signalling.wait(10)
    assert len(calls.say(SERVER, forwarded)) == 1


def test_a_connection_is_full_of_calls_that_are_under_way_alone() -> None:
    """Found by review: a gateway's calls that were sent on and over took the places of further ones. What refused them
    was told as `0 calls`, and the option named that would not have helped."""
    calls = Calls(options=H323Options(rate=1000, forward_to=(ip_network("203.0.113.9"),)))
    for number in range(1, 101):
        calls.say(CLIENT, m.setup(reference=number, call_id=bytes(15) + bytes((number,))))
        calls.say(SERVER, m.facility("callForwarded", alternative=f"203.0.113.9:{2000 + number}", reference=number))
        calls.say(CLIENT, m.release_complete(reference=number))
    assert calls.rules() == []
    assert [grant.listen.port for grant in calls.signalling.pinholes.expected()][-64:] == [
        grant.listen.port for grant in calls.signalling.pinholes.standing.values() if isinstance(grant, Grant)
    ]
    for number in range(1, 66):
        calls.say(CLIENT, m.setup(reference=number, call_id=b"a" * 15 + bytes((number,))))
    (refused,) = calls.notes("violation")
    assert refused == {
        "rule": "h323.connection_full", "detail": "64 calls on this connection", "action": "refused",
    }  # fmt: skip
    assert "h323.connection_full" not in HELPER.permits


def test_calls_of_all_connections_are_no_more_than_an_option_allows() -> None:
    """One that is refused hears so, and one that is over makes room."""
    options = H323Options(max_calls=1)
    first = Calls(options=options)
    first.say(CLIENT, SETUP)
    further = Calls(options=options, engines=first.engines)
    later = m.setup(source=f"{INSIDE}:40000", call_id=bytes(16))
    further.say(CLIENT, later)
    assert (further.sent(SERVER), further.sent(CLIENT)) == (b"", wire.release(later, bytes(16)))
    assert further.notes("violation") == [{"rule": "h323.too_many_calls", "detail": "1 calls", "action": "refused"}]
    first.say(CLIENT, m.release_complete())
    again = Calls(options=options, engines=first.engines)
    again.say(CLIENT, SETUP)
    assert (again.sent(CLIENT), again.rules()) == (b"", [])
