"""Answers that a server gives from another of its ports, and what else comes from there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.namespaces import needs_root
from tests.netns.test_sip_attacks import Site, site

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@pytest.fixture(scope="module", params=["none", "interface"])
def gate(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as gate:
        yield gate


@pytest.mark.parametrize("method", ["REGISTER", "OPTIONS", "SUBSCRIBE", "MESSAGE", "PUBLISH", "INVITE"])
def test_an_answer_from_another_port_of_the_server_reaches_the_phone(gate: Site, method: str) -> None:
    gate.from_phone(gate.request(method, 1, call=method))
    other = gate.speaker(gate.lab.server, 5080)
    other.say(gate.response(200, method, 1, call=method), (gate.seen_at, 5060))
    heard, source = gate.phone.socket.recvfrom(65535)
    assert heard.startswith(b"SIP/2.0 200 ")
    assert source == (gate.server_at, 5080)
    other.socket.close()


def test_a_registration_answered_from_another_port_is_known(gate: Site) -> None:
    gate.from_phone(gate.register(f"<sip:alice@{gate.phone_at}>", 7))
    other = gate.speaker(gate.lab.server, 5080)
    other.say(gate.registered(f"<sip:alice@{gate.seen_at}>;expires=600", 7), (gate.seen_at, 5060))
    gate.phone.hear()
    assert gate.daemon.wait_for("registration.added")["contact"] == f"{gate.phone_at}:5060"
    other.socket.close()


def test_an_answer_from_another_host_reaches_nobody(gate: Site) -> None:
    gate.from_phone(gate.request("OPTIONS", 2, call="elsewhere"))
    stranger = gate.speaker(gate.lab.server_stranger, 5060)
    stranger.say(gate.response(200, "OPTIONS", 2, call="elsewhere"), (gate.seen_at, 5060))
    assert gate.phone.is_deaf()
    stranger.socket.close()
