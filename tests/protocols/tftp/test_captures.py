"""Transfers that others recorded, through the engines: what each says of its file at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Note, Send
from protocols.contract.pinholes import Grant
from protocols.tftp.engine import HELPER
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.pcap import Datagram, datagrams
from tests.harness.recordings import found


def conversation(path: Path) -> tuple[Datagram, list[Datagram]]:
    """The request, and what came and went by the client's port after it."""
    request = datagrams(path, 69)[0]
    packets = datagrams(path, request.source.port)
    return request, [one for one in packets if 69 not in (one.source.port, one.target.port)]


def told(path: Path) -> Iterator[Note]:
    request, packets = conversation(path)
    engines, pinholes, options = HELPER.start(), FakePinholes(), HELPER.options()
    peers = Peers(request.source, request.source, request.target, request.target, Transport.UDP)
    asked = engines(peers, options, pinholes, 0.0).receive(Side.CLIENT, request.data, 0.0)
    assert asked[-1] == Send(Side.SERVER, request.data)
    yield from (effect for effect in asked if isinstance(effect, Note))
    (grant,) = pinholes.standing.values()
    assert isinstance(grant, Grant) and grant.expect.reader is not None
    server = next(one.source for one in packets if one.target == request.source)
    assert any(server.host in network for network in grant.expect.allow)
    peers = Peers(server, server, request.source, request.source, Transport.UDP, role=grant.expect.reader.role)
    transfer = engines(peers, options, pinholes, 0.0)
    for packet in packets:
        side = Side.CLIENT if packet.source == server else Side.SERVER
        effects = transfer.receive(side, packet.data, 1.0)
        assert effects[0] == Send(side.other, packet.data)
        yield from (effect for effect in effects if isinstance(effect, Note))
    yield from (effect for effect in transfer.stop(2.0) if isinstance(effect, Note))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "suricata-wrq.pcap",
            {"direction": "write", "file": b"rfc1350.txt", "bytes": 24599, "blocks": 49},
        ),
        ("tcpdump-rrq.pcap", {"direction": "read", "bytes": 1129, "blocks": 3}),
    ],
)
def test_a_recorded_transfer_is_followed_to_its_end(name: str, facts: dict[str, object]) -> None:
    request, transfer = told(found("tftp", name))
    assert request.event == "tftp.request"
    assert transfer.event == "tftp.transfer"
    assert {key: transfer.facts[key] for key in facts} == facts
    assert transfer.facts["result"] == "complete"
