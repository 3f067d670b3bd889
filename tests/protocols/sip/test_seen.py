"""Messages that passed, counted by method and code for the operator."""

from __future__ import annotations

import pytest

from protocols.sip.seen import METHODS
from tests.harness.sip_flow import CLIENT, SERVER, Flow, established, invite, message, register, registered, response


def counts(flow: Flow, name: str) -> dict[tuple[str, ...], int]:
    """What was counted under this name, without what did not come."""
    (tally,) = (one for one in flow.engines.tallies() if one.name == name)
    return {kind: count for kind, count in tally.counts.items() if count}


def test_requests_count_by_method_and_responses_by_the_method_that_they_answer() -> None:
    flow = established(Flow())
    flow.hear(CLIENT, register())
    flow.hear(SERVER, registered())
    flow.hear(SERVER, response(486, number=2))
    assert counts(flow, "sip_requests") == {("INVITE",): 1, ("REGISTER",): 1}
    assert counts(flow, "sip_responses") == {("INVITE", "200"): 1, ("REGISTER", "200"): 1, ("INVITE", "486"): 1}


def test_a_datagram_that_comes_again_counts_as_a_repeated_one() -> None:
    flow = Flow()
    for _ in range(3):
        flow.hear(CLIENT, invite())
    assert counts(flow, "sip_requests") == {("INVITE",): 1}
    assert counts(flow, "sip_repeated") == {(): 2}


@pytest.mark.parametrize("mode", ["active", "observe"])
def test_all_sessions_count_together_whether_they_are_served_or_watched(mode: str) -> None:
    flow = Flow(mode=mode)
    flow.hear(CLIENT, invite())
    Flow(beside=flow).hear(CLIENT, invite(number=2))
    assert counts(flow, "sip_requests") == {("INVITE",): 2}


def test_a_peer_cannot_make_series_without_end() -> None:
    flow = Flow()
    for number in range(20):
        flow.hear(CLIENT, invite(number).replace(b"INVITE", b"XYZZY%d" % number))
        flow.hear(SERVER, response(650 + number, number))
        flow.hear(SERVER, response(650 + number, number, method=f"XYZZY{number}"))
    assert counts(flow, "sip_requests") == {("other",): 20}
    assert counts(flow, "sip_responses") == {("INVITE", "6xx"): 20, ("other", "6xx"): 20}


def test_what_phones_say_every_day_is_there_before_it_is_said() -> None:
    flow = Flow()
    requests, responses, _ = flow.engines.tallies()
    assert {(method.decode(),) for method in METHODS} < requests.counts.keys()
    assert {("INVITE", "200"), ("INVITE", "486"), ("REGISTER", "401"), ("BYE", "481")} < responses.counts.keys()


def test_what_cannot_be_read_is_no_message() -> None:
    flow = Flow()
    flow.hear(CLIENT, message("INVITE sip:bob@198.51.100.2 SIP/2.0"))
    assert counts(flow, "sip_requests") == {}
