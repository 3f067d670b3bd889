"""Calls of sipp through the gateway in each role, with both kinds of rules, over UDP and TCP, IPv4 and IPv6.

The gateway drops all that pinhole does not carry, so audio that arrives had its pinholes, and nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.interop.sip_legs import agree, captured
from tests.netns.namespaces import needs_root
from tools.lab import gateways
from tools.lab.gateways import BACKENDS, ROLES, Gateway
from tools.peers import audio, sipp

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(not shutil.which("sipp"), reason="not installed (tools/setup --test): sip-tester"),
    pytest.mark.skipif(not shutil.which("tcpdump"), reason="not installed (tools/setup --test): tcpdump"),
]

GATEWAYS = [(role, backend) for role in ROLES for backend in BACKENDS]


@pytest.fixture(scope="module", params=GATEWAYS, ids=lambda param: f"{param[0].name}-{param[1]}")
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    role, backend = request.param
    with gateways.serving(role, backend) as serving:
        yield serving


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_audio_arrives_as_it_was_sent_and_comes_back_so(
    gateway: Gateway, transport: sipp.Transport, version: int
) -> None:
    before = len(gateway.daemon.audit())
    said = audio.noise(200)
    caller, callee = gateway.client.address(version), gateway.server.address(version)
    with (
        captured(gateway) as legs,
        gateway.client.capture("eth0", "udp") as near,
        gateway.server.capture("eth0", "udp") as far,
    ):
        sipp.call(gateway.client, gateway.server, gateway.dialled(version), transport, said)
        log = gateway.calls_after(before, 1)
        at_callee = audio.rtp_payloads(far.collect(), callee, [sipp.MEDIA_PORT])
        at_caller = audio.rtp_payloads(near.collect(), caller, [sipp.MEDIA_PORT])
    assert at_callee == audio.frames(said)
    assert at_caller == audio.frames(said)

    agree(gateway, legs)
    packets = len(audio.frames(said))
    for line in log:
        if line["event"] == "call.ended":
            (stream,) = line["streams"]
            assert (stream["packets_to_caller"], stream["packets_to_callee"]) == (packets, packets)
            assert line["reason"] == "bye_of_caller"
    # A place for each party; each was used, and is gone with the call.
    places = [line["pinhole"] for line in log if line["event"] == "pinhole.opened" and line["purpose"] == "rtp"]
    assert len(places) == 2
    for event in ("pinhole.used", "pinhole.closed"):
        assert {line["pinhole"] for line in log if line["event"] == event} >= set(places)
    events = {line["event"] for line in log}
    assert ("address.rewritten" in events) == (gateway.role.hides_client or gateway.role.hides_server)
    # sipp writes o= of IPv6 in brackets, as its own scenarios do: no address of the inside is left in a description.
    assert not {"violation", "engine.failed", "pinhole.refused", "address.kept"} & events
