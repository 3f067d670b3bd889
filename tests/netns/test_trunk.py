"""A PBX that is published on port 5060 keeps that port towards its provider, who knows it by address and port alone."""

from __future__ import annotations

import pytest

from tests.netns.namespaces import needs_root
from tests.netns.test_sip_openings import Gateway, answer_to, asks, gateway

pytestmark = [pytest.mark.netns, needs_root]


def of(gate: Gateway) -> list[tuple[str, str | None]]:
    """Policy and address of the client towards the server, of both sessions that there have been."""
    gate.daemon.wait_for("session.opened", 2)
    return [(line["policy"], line["snat"]) for line in gate.daemon.audit("session.opened")]


def test_a_published_pbx_keeps_its_port_towards_its_provider_and_is_still_reached() -> None:
    with gateway(is_published=True) as gate:
        pbx, provider = gate.speaker(gate.inside), gate.speaker(gate.outside)
        stranger = gate.speaker(gate.lab.server_stranger)
        ours, provider_at = (gate.ours, 5060), (str(gate.outside.v4), 5060)

        # 1) The PBX registers, and the provider sees it come from the published port, with that as its contact.
        contact = f"Contact: <sip:pbx@{gate.inside.v4}:5060>"
        pbx.say(asks("REGISTER", gate.inside, str(gate.outside.v4), contact, "Expires: 300"), provider_at)
        registered, source = provider.socket.recvfrom(65535)
        assert source == ours
        known_as = f"Contact: <sip:pbx@{gate.ours}:5060>"
        assert f"\r\n{known_as}\r\n".encode() in registered
        provider.say(answer_to(registered, f"{known_as};expires=300"), source)
        assert pbx.hear().startswith(b"SIP/2.0 200 ")

        # 2) Others still come to the PBX by the policy that publishes it.
        stranger.say(asks("OPTIONS", gate.lab.server_stranger, gate.ours), ours)
        asked, source = pbx.socket.recvfrom(65535)
        assert (asked.split(b" ")[0], source) == (b"OPTIONS", (str(gate.lab.server_stranger.v4), 5060))
        pbx.say(answer_to(asked), source)
        answer, source = stranger.socket.recvfrom(65535)
        assert (answer[:12], source) == (b"SIP/2.0 200 ", ours)

        # 3) The provider calls by the port that it knows, and the PBX answers from there.
        provider.say(asks("OPTIONS", gate.outside, f"pbx@{gate.ours}"), ours)
        called, source = pbx.socket.recvfrom(65535)
        assert (called.split(b" ")[0], source) == (b"OPTIONS", provider_at)
        pbx.say(answer_to(called), source)
        answer, source = provider.socket.recvfrom(65535)
        assert (answer[:12], source) == (b"SIP/2.0 200 ", ours)

        # 4) The stranger's session goes on beside it.
        stranger.say(asks("OPTIONS", gate.lab.server_stranger, gate.ours, number=2), ours)
        assert pbx.socket.recvfrom(65535)[1] == (str(gate.lab.server_stranger.v4), 5060)

        assert of(gate) == [("out", f"{gate.ours}:5060"), ("in", None)]
        assert gate.daemon.audit("session.denied") == []


def test_to_two_providers_it_is_known_by_the_same_port() -> None:
    with gateway(is_published=True) as gate:
        pbx = gate.speaker(gate.inside)
        providers = [gate.speaker(gate.outside), gate.speaker(gate.lab.server_stranger)]
        for number, (host, provider) in enumerate(
            zip((gate.outside, gate.lab.server_stranger), providers, strict=True)
        ):
            pbx.say(asks("OPTIONS", gate.inside, str(host.v4), number=number + 1), (str(host.v4), 5060))
            asked, source = provider.socket.recvfrom(65535)
            assert source == (gate.ours, 5060)
            provider.say(answer_to(asked), source)
            assert pbx.hear().startswith(b"SIP/2.0 200 ")


def test_a_phone_beside_a_published_pbx_does_not_take_its_port() -> None:
    with gateway(is_published=True) as gate:
        phone, provider = gate.speaker(gate.lab.client_stranger), gate.speaker(gate.outside)
        phone.say(asks("OPTIONS", gate.lab.client_stranger, str(gate.outside.v4)), (str(gate.outside.v4), 5060))
        _, (host, port) = provider.socket.recvfrom(65535)
        assert host == gate.ours
        assert 40000 <= port < 40100
