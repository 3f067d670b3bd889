"""A call that others recorded, through the engine: two programs that both have id 0, as pptpd's first call has."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Peers, Side
from protocols.pptp.engine import HELPER
from tests.harness.pcap import Connection, connections
from tests.harness.playbook import Session, endpoint
from tests.harness.recordings import found

OURS, KNOWN = "192.0.2.1", 40000


def recorded() -> Connection:
    (connection,) = connections(found("pptp", "tcpdump-call-and-gre.pcap"), 1723)
    return connection


def through(connection: Connection, cut: int, client_as: str | None = None) -> Session:
    """With another address, the server answers with the id that it has been told."""
    client, server = connection.client, connection.server
    seen = endpoint(client_as) if client_as else client
    session = Session.of(HELPER, Peers(client, seen, server, server))
    for side, data in connection.said:
        if client_as and data[8:10] == b"\0\x08":
            data = data[:14] + KNOWN.to_bytes(2, "big") + data[16:]
        if not data:
            session.eof(side)
        for at in range(0, len(data), cut):
            session.receive(side, data[at : at + cut])
    return session


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_a_recorded_call_passes_as_it_was(cut: int) -> None:
    connection = recorded()
    session = through(connection, cut)
    for side in Side:
        assert session.sent(side.other) == b"".join(data for who, data in connection.said if who is side)
    assert session.notes("pptp.control") == [
        {
            "client_host": b"",
            "client_vendor": b"Microsoft Windows NT",
            "server_host": b"local",
            "server_vendor": b"MoretonBay",
            "result": 1,
        }
    ]
    ids = {"client_call": 0, "client_known_as": 0, "server_call": 0, "server_known_as": 0}
    assert session.notes("pptp.call") == [{"direction": "outgoing", **ids}]
    (ended,) = session.notes("pptp.ended")
    assert ended["cause"] == "control_lost"
    assert session.pinholes.log == [
        "offer gre-pptp for 10.1.1.11:0 from 10.1.1.11 = 10.1.1.11:0",
        "answer 1 gre-pptp for 10.1.1.10:0 from 10.1.1.10 = 10.1.1.10:0",
        "close 1",
    ]
    assert session.violations() == []


def test_with_source_nat_its_two_ids_are_told_apart() -> None:
    """The client's SetLinkInfo names the server's 0, and that stays."""
    connection = recorded()
    session = through(connection, 1000, f"{OURS}:45000")
    (call,) = session.notes("pptp.call")
    assert (call["client_call"], call["client_known_as"], call["server_known_as"]) == (0, KNOWN, 0)
    said = {who: b"".join(data for side, data in connection.said if side is who) for who in Side}
    asked = said[Side.CLIENT].index(b"\x1a\x2b\x3c\x4d\x00\x07") + 8
    expected = said[Side.CLIENT][:asked] + KNOWN.to_bytes(2, "big") + said[Side.CLIENT][asked + 2 :]
    assert session.sent(Side.SERVER) == expected
    assert session.sent(Side.CLIENT) == said[Side.SERVER]
