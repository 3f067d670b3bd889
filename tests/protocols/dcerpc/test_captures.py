"""Questions and activations that others recorded, through the engine: what each opens is where the client went next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.dcerpc.helper import HELPER
from protocols.dcerpc.options import DcerpcOptions
from tests.harness.pcap import Connection, connections
from tests.harness.playbook import Session, bytewise, endpoint, randomly, whole
from tests.harness.recordings import found

CUTS = {"whole": whole, "bytewise": bytewise, **{f"randomly-{seed}": randomly(seed) for seed in range(4)}}


def played(connection: Connection, cut: str = "whole", **options: Any) -> Session:
    peers = Peers(
        connection.client, connection.client, connection.server, connection.server, Transport.TCP
    )  # fmt: skip
    return run(connection, peers, cut, **options)


def run(connection: Connection, peers: Peers, cut: str = "whole", **options: Any) -> Session:
    session = Session.of(HELPER, peers, DcerpcOptions(**options))
    for side, data in connection.said:
        for part in CUTS[cut](data):
            session.receive(side, part)
    return session


def passed_unchanged(session: Session, connection: Connection) -> bool:
    return all(session.sent(side.other) == connection.stream(side) for side in Side)


def opened(session: Session) -> list[str]:
    return [str(grant.listen) for grant in session.pinholes.expected()]


@pytest.mark.parametrize("cut", CUTS)
def test_windows_asks_in_ndr64_and_goes_where_the_answer_says(cut: str) -> None:
    """DC10, DC16: svcctl, in the one of three contexts that was accepted."""
    path = found("dcerpc", "suricata-epm-svcctl.pcap")
    (connection,) = connections(path, 135)
    session = played(connection, cut)
    assert passed_unchanged(session, connection) and session.violations() == []
    assert opened(session) == ["172.16.66.36:49683"]
    (note,) = session.notes("dcerpc.map")
    assert (note["name"], note["version"], str(note["known_as"])) == ("svcctl", "2.0", "172.16.66.36:49683")
    (next_one,) = connections(path, 49683)
    assert next_one.server == session.pinholes.expected()[0].listen
    assert next_one.client.host in session.pinholes.expected()[0].expect.allow[0]


@pytest.mark.parametrize("cut", CUTS)
def test_two_towers_in_ndr32_are_two_endpoints(cut: str) -> None:
    """DC16: netlogon of a Windows server, asked for by scapy, which then goes to the first one."""
    path = found("dce-rpc", "scapy-epm-netlogon.pcapng.gz")
    (connection,) = connections(path, 135)
    session = played(connection, cut)
    assert passed_unchanged(session, connection) and session.violations() == []
    assert opened(session) == ["192.168.122.17:49676", "192.168.122.17:49667"]
    assert {one.server for one in connections(path, 49676)} == {session.pinholes.expected()[0].listen}


def test_the_same_for_a_published_server() -> None:
    """DC39: the tower is the only thing that changes, in NDR64 as well."""
    (connection,) = connections(found("dcerpc", "suricata-epm-svcctl.pcap"), 135)
    outside = endpoint("203.0.113.7:135")
    session = run(connection, Peers(connection.client, connection.client, connection.server, outside, Transport.TCP))
    before, after = connection.stream(Side.SERVER), session.sent(Side.CLIENT)
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert len(after) == len(before) and len(changed) <= 6 and changed[-1] - changed[0] < 15
    assert before.count(connection.server.host.packed) == 1 and connection.server.host.packed not in after
    (grant,) = session.pinholes.expected()
    place = after.index(outside.host.packed)
    assert int.from_bytes(after[place - 7 : place - 5]) == grant.listen.port


def test_an_interface_that_may_not_be_found_is_not_asked_for() -> None:
    """DC36: the answer of ours has as many octets as the standard gives it, in NDR64."""
    (connection,) = connections(found("dcerpc", "suricata-epm-svcctl.pcap"), 135)
    session = played(connection, deny_interfaces=("svcctl",))
    assert session.violations()[0] == "dcerpc.interface_denied" and session.pinholes.opened == []
    answer = session.sent(Side.CLIENT)[108:][: 24 + 52]
    assert (answer[2], int.from_bytes(answer[8:10], "little")) == (2, 24 + 52)
    assert answer[-4:] == bytes.fromhex("d6a0c916")


@pytest.mark.parametrize("cut", CUTS)
def test_an_activation_of_windows_is_signed_and_read_all_the_same(cut: str) -> None:
    """DC26, DC27, DC28, DC31: MMC20.Application on a domain controller."""
    path = found("dcerpc", "suricata-dcom-activation.pcap")
    alive, activation = connections(path, 135)
    session = played(alive, cut)
    assert passed_unchanged(session, alive) and (session.violations(), opened(session)) == ([], [])
    session = played(activation, cut)
    assert passed_unchanged(session, activation) and session.violations() == []
    (note,) = session.notes("dcerpc.activation")
    assert note == {
        "class_id": "49b2791a-b1ae-4c90-9b8e-e860ba07f889",
        "bindings": ["DC1[49724]", "192.168.56.101[49724]"],
        "signed": True,
    }
    assert opened(session) == ["192.168.56.101:49724"]
    objects = connections(path, 49724)
    assert {one.server for one in objects} == {session.pinholes.expected()[0].listen}
    assert {one.client.host for one in objects} == {activation.client.host}


def test_behind_destination_nat_a_signed_activation_is_opened_at_its_own_port_and_told() -> None:
    """DC31, DC39."""
    _, activation = connections(found("dcerpc", "suricata-dcom-activation.pcap"), 135)
    outside = Endpoint(endpoint("203.0.113.7:0").host, 135)
    session = run(activation, Peers(activation.client, activation.client, activation.server, outside, Transport.TCP))
    assert passed_unchanged(session, activation) and opened(session) == ["203.0.113.7:49724"]
    (note,) = session.notes("dcerpc.signed_address")
    assert note == {"message": "activation", "addresses": ["192.168.56.101[49724]"], "signed": True}


def test_behind_destination_nat_an_answer_without_ports_tells_none_of_the_inside() -> None:
    """DC25: ServerAlive2 of Windows is not signed."""
    alive, _ = connections(found("dcerpc", "suricata-dcom-activation.pcap"), 135)
    outside = Endpoint(endpoint("203.0.113.7:0").host, 135)
    session = run(alive, Peers(alive.client, alive.client, alive.server, outside, Transport.TCP))
    said = session.sent(Side.CLIENT)
    assert "203.0.113.7\0".encode("utf-16-le") in said and "192.168".encode("utf-16-le") not in said
    assert session.pinholes.opened == [] and session.violations() == []


@pytest.mark.parametrize("number", [0, 1])
def test_the_connection_to_an_object_passes_where_its_binds_are_checked(number: int) -> None:
    """DC36: more than two hundred calls, signed and in fragments, with alter_contexts among them."""
    path = found("dcerpc", "suricata-dcom-activation.pcap")
    connection = connections(path, 49724)[number]
    peers = Peers(
        connection.client, connection.client, connection.server, connection.server, Transport.TCP
    )  # fmt: skip
    role = HELPER.roles[0]()
    session = run(connection, replace(peers, role=role), "randomly-1")
    assert passed_unchanged(session, connection) and session.violations() == []
    session = run(connection, replace(peers, role=role), "whole", interfaces=("netlogon",))
    assert "dcerpc.interface_denied" in session.violations() and session.sent(Side.SERVER) == b""


def test_a_bind_without_flags_is_whole() -> None:
    """DC4: of a scanner; its call has a number that the endpoint mapper has not."""
    for connection in connections(found("dcerpc", "suricata-bind-no-frag-flag.pcap"), 135):
        session = played(connection)
        assert passed_unchanged(session, connection) and (session.violations(), opened(session)) == ([], [])
