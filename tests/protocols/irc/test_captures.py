"""Sessions that others recorded, through the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side
from protocols.contract.effects import Abort
from protocols.contract.pinholes import Grant
from protocols.irc.engine import HELPER
from protocols.irc.options import IrcOptions
from tests.harness.pcap import Connection, connections
from tests.harness.playbook import Session
from tests.harness.recordings import found

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def recorded(name: str) -> Connection:
    (connection,) = connections(found("irc", name), 6667)
    return connection


def begun(connection: Connection) -> Session:
    peers = Peers(connection.client, connection.client, connection.server, connection.server)
    return Session.of(HELPER, peers, IrcOptions(dcc="allow"))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("zeek-basic.pcap", {"nick": b"brotest", "user": b"brotest", "server_name": b"leguin.freenode.net"}),
        (
            "suricata-session.pcap",
            {"nick": b"damn-0262937047", "user": b"ghmfeirsfnw", "server_name": b"hunt3d.devilz.net"},
        ),
    ],
)
def test_a_session_without_offers_passes_as_it_is(name: str, facts: dict[str, bytes]) -> None:
    connection = recorded(name)
    session = begun(connection)
    for side, data in connection.said:
        if data:
            session.receive(side, data)
        else:
            session.eof(side)
    for side in Side:
        assert session.sent(side.other) == connection.stream(side)
    assert session.notes("irc.registered") == [facts]
    assert session.violations() == []
    assert session.pinholes.opened == []


def test_an_offer_before_any_registration_opens_nothing() -> None:
    """IR3, IR4: the recorded session begins with it."""
    connection = recorded("zeek-dcc-send-first-command.pcap")
    session = begun(connection)
    for side, data in connection.said:
        session.receive(side, data)
    assert session.pinholes.opened == []
    assert session.violations() == ["irc.not_irc"]
    assert session.effects[-1] == Abort("not_irc")


def test_the_same_offer_of_a_client_that_has_registered_opens_the_way_that_was_taken() -> None:
    connection = recorded("zeek-dcc-send-first-command.pcap")
    (taken,) = connections(found("irc", "zeek-dcc-send-first-command.pcap"), 5555)
    session = begun(connection)
    session.client(b"NICK alice", b"USER alice 0 * :Alice")
    session.server(b":irc.example 001 alice :Welcome")
    session.receive(*connection.said[0])
    (grant,) = session.pinholes.opened
    assert isinstance(grant, Grant)
    assert (grant.listen, grant.expect.target) == (taken.server, Endpoint(connection.client.host, 5555))
    assert any(taken.client.host in network for network in grant.expect.allow)
    (said,) = session.notes("irc.dcc")
    assert (said["file"], said["size"]) == (b"hello.txt", len(taken.stream(SERVER) or taken.stream(CLIENT)))


def test_behind_source_nat_it_names_the_address_that_others_know() -> None:
    connection = recorded("zeek-dcc-send-first-command.pcap")
    session = begun(connection)
    peers = Peers(connection.client, connection.client, connection.server, connection.server)
    mapped = replace(peers, client_as_seen=Endpoint(connection.server.host, 40000))
    session = Session.of(HELPER, mapped, IrcOptions(dcc="allow"))
    session.client(b"NICK alice", b"USER alice 0 * :Alice")
    session.server(b":irc.example 001 alice :Welcome")
    session.receive(*connection.said[0])
    assert session.sent(SERVER).endswith(b"PRIVMSG bob :\x01DCC SEND hello.txt 167772162 61000 12\x01\r\n")
