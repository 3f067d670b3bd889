"""The control socket of a gateway at work: what is listed, closed, switched off and followed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.command import client
from proxy.errors import PinholeError
from tests.netns import media_site
from tests.netns.ftp_talk import Talk, server
from tests.netns.namespaces import needs_root
from tests.netns.operated_site import Here, operated

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with operated() as found:
        yield found


def a_low_port(here: Here) -> None:
    with server(here.lab.server), Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        assert talk.ask("PORT 10,1,0,2,0,80").startswith("504")


def test_calls_and_pinholes_are_listed_with_what_belongs_together(here: Here) -> None:
    talk = here.talk()
    media_site.both_are_heard(talk)
    (call,) = [row for row in here.rows("calls") if row["call_id"] == talk.call]
    assert (call["call_id"], call["state"], call["direction"]) == (talk.call, "established", "out")
    assert (call["from"], call["to"]) == ("sip:a@example.org", "sip:b@example.org")
    places = [row for row in here.rows("pinholes") if row["call_id"] == talk.call]
    assert sorted(row["id"] for row in places) == sorted(call["pinholes"])
    assert all(row["session"] == call["session"] and row["peer"] and row["packets_in"] for row in places)
    one = here.ask(f"v1/calls/{call['id']}")
    assert {row["id"] for row in one["open"]} == set(call["pinholes"])
    talk.hang_up()
    assert not [row for row in here.rows("calls") if row["call_id"] == talk.call]


# -- closing -------------------------------------------------------------------------------------------------------


def test_a_call_that_an_operator_closes_is_over(here: Here) -> None:
    talk = here.talk()
    media_site.both_are_heard(talk)
    (call,) = [row for row in here.rows("calls") if row["call_id"] == talk.call]
    assert here.ask("v1/close", "POST", id=call["id"]) == {"closed": [call["id"]], "of": "calls"}
    assert here.daemon.wait_for("call.ended", call_id=talk.call)["reason"] == "closed_by_operator"
    assert here.daemon.wait_for("control.changed", what="close")["uid"] == 0
    assert talk.media[here.far][0].is_deaf_to(talk.voices[here.near])


def test_sessions_are_closed_by_filters_with_all_that_they_opened(here: Here) -> None:
    with server(here.lab.server), Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        talk.ask("PASV")
        opened = here.opened("ftp-data")
        assert here.ask("v1/close", "POST", of="sessions", helper="ftp", client="!198.51.100.0/24")["closed"] == [
            opened["session"]
        ]
        assert here.daemon.wait_for("session.closed", session=opened["session"])["reason"] == "closed_by_operator"
        closed = here.daemon.wait_for("pinhole.closed", pinhole=opened["pinhole"], session=opened["session"])
        assert closed["reason"] == "closed_by_operator"
        assert talk.end() == "closed"


def test_everything_is_not_closed_by_mistake(here: Here) -> None:
    with pytest.raises(PinholeError, match="that would end everything"):
        here.ask("v1/close", "POST")
    with pytest.raises(PinholeError, match="there is no session nobody"):
        here.ask("v1/close", "POST", id="nobody")


# -- switches and events -------------------------------------------------------------------------------------------


def test_a_helper_that_is_off_for_a_client_reads_nothing_of_it(here: Here) -> None:
    assert here.ask("v1/switches", "POST", helper="ftp", mode="off", client="10.1.0.2")["mode"] == "off"
    try:
        before = len(here.daemon.audit("violation", rule="ftp.low_port"))
        with server(here.lab.server) as heard, Talk(here.lab.client, str(here.lab.server.v4)) as talk:
            assert talk.ask("PORT 10,1,0,2,0,80").startswith("200")
            assert heard[-1] == b"PORT 10,1,0,2,0,80\r\n"
        assert here.ask("v1/status")["switches"] == ["ftp off, clients: 10.1.0.2, until a restart"]
    finally:
        here.ask("v1/switches", "DELETE", helper="ftp", client="10.1.0.2")
    a_low_port(here)
    here.daemon.wait_for("violation", rule="ftp.low_port", count=before + 1)
    assert len(here.daemon.audit("violation", rule="ftp.low_port")) == before + 1


def test_a_phone_that_is_served_already_gets_to_know_a_switch_with_its_next_message(here: Here) -> None:
    here.talk().hang_up()
    here.ask("v1/switches", "POST", helper="sip", mode="off")
    try:
        request = here.near.ask(media_site.Talk(*here.parties), "OPTIONS", 1)
        assert b"Via: SIP/2.0/UDP 10.1.0.2;" in request
    finally:
        here.ask("v1/switches", "DELETE", helper="sip")
    request = here.near.ask(media_site.Talk(*here.parties), "OPTIONS", 1)
    assert b"10.1.0.2" not in request.partition(b"Contact")[0]


def test_who_follows_sees_each_event_as_it_happens(here: Here) -> None:
    stream = client.follow(str(here.daemon.config), "v1/events", {"event": "call.*"})
    assert next(stream)[0] == "begun"
    here.talk().hang_up()
    names = [next(stream)[0] for _ in range(2)]
    assert names == ["call.started", "call.ended"]
