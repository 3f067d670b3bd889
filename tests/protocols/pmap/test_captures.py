"""Lookups that others recorded, through the engine: what each answer opens is where the client went next."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Send
from protocols.pmap.engine import HELPER
from tests.harness.pcap import Datagram, datagrams
from tests.harness.playbook import Session
from tests.harness.recordings import found


def sessions(path: Path) -> list[Session]:
    """A session for each port of each client, with all that it said and heard. Every datagram passes as it came."""
    talks: dict[tuple[Endpoint, Endpoint], list[tuple[Side, Datagram]]] = defaultdict(list)
    for one in datagrams(path, 111):
        is_call = one.target.port == 111
        ends = (one.source, one.target) if is_call else (one.target, one.source)
        talks[ends].append((Side.CLIENT if is_call else Side.SERVER, one))
    played = []
    for (client, server), talk in talks.items():
        session = Session.of(HELPER, Peers(client, client, server, server, Transport.UDP))
        for side, one in talk:
            session.receive(side, one.data)
        sends = [effect for effect in session.effects if isinstance(effect, Send)]
        assert sends == [Send(side.other, one.data) for side, one in talk]
        played.append(session)
    return played


def opened(session: Session) -> list[str]:
    return [f"{grant.expect.transport.value} {grant.listen}" for grant in session.pinholes.expected()]


def test_getport_of_version_2() -> None:
    """A search for sadmind on many hosts: some have it, one says that it has not, others say nothing."""
    played = sessions(found("onc-rpc", "zeek-portmap-getport.pcap"))
    notes = [note for session in played for note in session.notes("pmap.lookup")]
    assert {(note["procedure"], note["name"], note["version"], note["protocol"]) for note in notes} == {
        ("GETPORT", "sadmind", 10, b"udp")
    }
    assert [str(note["at"]) for note in notes] == [
        "172.16.115.20:32773",
        "None",
        "172.16.112.10:32774",
        "172.16.112.50:32773",
        "172.16.115.20:32773",
        "172.16.115.20:32773",
        "172.16.115.20:32773",
    ]
    places = [place for session in played for place in opened(session)]
    assert places == [f"udp {note['at']}" for note in notes if note["at"] is not None]
    assert len(played) == 13 and all(not session.violations() for session in played)


@pytest.mark.parametrize("name", ["suricata-rpcbind-getaddr-nfs3.pcap"])
def test_getaddr_of_version_3_and_where_the_client_goes_then(name: str) -> None:
    path = found("onc-rpc", name)
    played = sessions(path)
    assert [opened(session) for session in played] == [
        ["udp 139.25.22.102:1048"],
        ["udp 139.25.22.102:2049"],
        ["udp 139.25.22.102:1048"],
    ]
    assert [session.notes("pmap.lookup")[0]["name"] for session in played] == ["mountd", "nfs", "mountd"]
    for session in played:
        (grant,) = session.pinholes.expected()
        visitors = [one for one in datagrams(path, grant.listen.port) if one.target == grant.listen]
        assert visitors and all(one.source.host in grant.expect.allow[0] for one in visitors)
