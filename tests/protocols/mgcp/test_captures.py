"""Conversations that others recorded, through the engine: all passes as it came, and the log says what it was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Effect, Note, Send
from protocols.mgcp import wire
from protocols.mgcp.helper import HELPER
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.pcap import Datagram, datagrams
from tests.harness.recordings import found

PORT = 2427


def sessions() -> Iterator[tuple[list[Datagram], list[Effect]]]:
    """The datagrams of each pair of hosts, and what an engine makes of them."""

    def ends(one: Datagram) -> tuple[str, str]:
        first, second = sorted((str(one.source), str(one.target)))
        return first, second

    packets = datagrams(found("mgcp", "ndpi-mgcp.pcap"), PORT)
    for _, group in groupby(sorted(packets, key=ends), ends):
        said = list(group)
        client: Endpoint = said[0].source
        peers = Peers(client, client, said[0].target, said[0].target, Transport.UDP)
        engine = HELPER.start()(peers, HELPER.options(), FakePinholes(), 0.0)
        effects: list[Effect] = []
        for at, one in enumerate(said):
            effects += engine.receive(Side.CLIENT if one.source == client else Side.SERVER, one.data, float(at))
        yield said, effects


def test_what_gateways_and_agents_said_passes_as_it_came() -> None:
    known = [(said, effects) for said, effects in sessions() if wire.is_command(said[0].data)]
    assert len(known) == 2
    for said, effects in known:
        assert [effect.data for effect in effects if isinstance(effect, Send)] == [one.data for one in said]


def test_the_log_says_what_it_was() -> None:
    notes = [effect for _, effects in sessions() for effect in effects if isinstance(effect, Note)]
    restarts = [(note.facts["endpoint"], note.facts["method"]) for note in notes if note.event == "mgcp.restart"]
    assert restarts == [
        (b"*@vg224", b"graceful"),
        (b"*@vg224", b"restart"),
        (b"*@vg224", b"restart"),
        (b"*@gateway44.myplace.com", b"restart"),
    ]
    refused = [(note.facts["command"], note.facts["code"]) for note in notes if note.event == "mgcp.refused"]
    assert refused == [(b"RQNT", 510)] * 2  # and a third time, as an answer that came again


def test_what_ends_its_lines_by_cr_alone_is_not_mgcp() -> None:
    """MG5: it comes from nobody who was ever answered, and begins no session."""
    strange = [said for said, _ in sessions() if b"\n" not in said[0].data]
    assert len(strange) == 3
    for said in strange:
        assert not HELPER.begins(said[0].data, HELPER.options(), None)


@pytest.mark.parametrize(
    "version", [b"MGCP 0.1", b"MGCP 1.0", b"MGCP 1.0 NCS 1.0", b"MGCP 1.0 TGCP 1.0", b"mgcp 0.1 NCS 1.0"]
)
def test_versions_of_the_field_begin_a_session(version: bytes) -> None:
    assert HELPER.begins(b"RSIP 1 *@gw " + version + b"\nRM: restart\n", HELPER.options(), None)
