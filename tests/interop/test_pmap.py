"""A portmapper and a file server with real clients, through a gateway in each role that drops all that pinhole does not
carry."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways
from tools.lab.gateways import HIDING, ROLES, ROUTING, Gateway, Role
from tools.peers import nfs, programs
from tools.peers.nfs import PROGRAMS, CallFailed, Server

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

NETIDS = {"tcp": 4, "udp": 4, "tcp6": 6, "udp6": 6}
FILE = os.urandom(300_000)
MANY = 150
"""Calls of one client in a row, each from a port of its own: more than one service may have relays at a time."""
IMPATIENT_SECONDS = 1.5


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with serving(request.param) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def server(gateway: Gateway) -> Iterator[Server]:
    with nfs.file_server(gateway.server) as server:
        (server.home / "file").write_bytes(FILE)
        yield server


def serving(role: Role) -> contextlib.AbstractContextManager[Gateway]:
    return gateways.serving(role, "nft", drain_seconds=0.1)


def nothing_went_wrong(gateway: Gateway) -> None:
    wrong = ("violation", "pinhole.refused", "session.denied", "session.failed", "engine.failed")
    assert [line for line in gateway.daemon.audit() if line["event"] in wrong] == []


@pytest.mark.parametrize("netid", NETIDS)
def test_each_service_is_found_and_called(gateway: Gateway, server: Server, netid: str) -> None:
    """Versions 4 and 3 of the portmapper's protocol, over the same transport as the service."""
    for program in PROGRAMS:
        said = nfs.asks(gateway.client, gateway.dialled(NETIDS[netid]), netid, program)
        assert "ready and waiting" in said
        line = gateway.daemon.wait_for("pmap.lookup", name=program, protocol=netid)
        assert (line["procedure"], line["known_as"] is None) == ("GETADDR", False)
    nothing_went_wrong(gateway)


def test_the_list_of_services_names_none_of_the_servers_inside(gateway: Gateway, server: Server) -> None:
    for version in (2, 3):
        said = nfs.lists(gateway.client, gateway.dialled(4), version)
        assert all(f"{number}" in said for number, _ in PROGRAMS.values())
        assert not gateway.role.hides_server or str(gateway.server.v4) not in said
    assert gateway.daemon.wait_for("pmap.dump", version=2)["entries"] > 15


@pytest.mark.parametrize("version", [4, 6])
def test_mountd_tells_what_may_be_mounted(gateway: Gateway, server: Server, version: int) -> None:
    assert str(server.home) in nfs.exports(gateway.client, gateway.dialled(version))


@pytest.mark.parametrize("version", [4, 6])
def test_files_are_read_and_written(gateway: Gateway, server: Server, version: int, tmp_path: Path) -> None:
    """The server lets in clients from reserved ports alone (PM31)."""
    at, here, there = gateway.dialled(version), tmp_path / "file", server.home / f"written-{version}"
    nfs.reads(gateway.client, at, server.home / "file", here)
    assert here.read_bytes() == FILE
    for program in ("mountd", "nfs"):  # libnfs asks by GETPORT over IPv4, and over IPv6 by GETADDR without a netid
        protocol, procedure = ("tcp", "GETPORT") if version == 4 else ("tcp6", "GETADDR")
        line = gateway.daemon.wait_for("pmap.lookup", name=program, procedure=procedure, claimed_machine="libnfs")
        assert (line["protocol"], line["known_as"] is None) == (protocol, False)
    nfs.writes(gateway.client, at, here, there)
    assert there.read_bytes() == FILE
    assert f"{there.name}\n" in nfs.names(gateway.client, at, server.home)
    nothing_went_wrong(gateway)


def test_two_clients_have_services_of_their_own(gateway: Gateway, server: Server, tmp_path: Path) -> None:
    for number, client in enumerate(gateway.clients):
        nfs.reads(client, gateway.dialled(4), server.home / "file", tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == FILE
    nothing_went_wrong(gateway)


@pytest.mark.parametrize("gateway", [HIDING], indirect=True, ids=[HIDING.name])
def test_a_client_may_call_as_often_as_it_likes(gateway: Gateway, server: Server) -> None:
    calls = [f"{PROGRAMS['mountd'][0]} {PROGRAMS['mountd'][1]}"] * MANY
    rpcinfo = programs.program("rpcinfo")
    script = "".join(f"{rpcinfo} -T udp {gateway.dialled(4)} {call} >/dev/null || exit 1\n" for call in calls)
    gateway.client.run(["sh", "-e"], stdin=script, timeout=150)
    nothing_went_wrong(gateway)


def test_a_server_that_has_started_anew_is_found_where_it_is_now(tmp_path: Path) -> None:
    with serving(ROUTING) as gateway:
        places = set()
        for number in range(2):
            with nfs.file_server(gateway.server) as server:
                (server.home / "file").write_bytes(FILE)
                nfs.reads(gateway.client, gateway.dialled(4), server.home / "file", tmp_path / str(number))
                places.add(server.port("nfs", "tcp"))
        assert len(places) == 2


def test_a_bystander_at_the_same_port_goes_on_undisturbed(tmp_path: Path) -> None:
    """It reaches the service by rights of its own, before and while it is open for somebody else (PM30): also by NFS
    version 4, which asks no portmapper and knows no port but that one."""
    with serving(ROUTING) as gateway, nfs.file_server(gateway.server, port=2049) as server:
        (server.home / "file").write_bytes(FILE)
        client, bystander = gateway.clients
        standing = []
        for host in (bystander, client):  # the client itself may have come there before, by a rule of that time
            gateway.lab.firewall(f"insert rule inet lock_down forward ip saddr {host.v4} accept\n")
            gateway.lab.firewall(f"insert rule inet lock_down forward ip daddr {host.v4} accept\n")
            with host.inside():
                standing.append(nfs.connection(gateway.dialled(4), 2049))
        with standing[0], standing[1]:
            assert all(map(nfs.is_served, standing))
            nfs.reads(client, gateway.dialled(4), server.home / "file", tmp_path / "file")
            assert all(map(nfs.is_served, standing))
            nfs.reads_by_version_4(bystander, gateway.dialled(4), "file", tmp_path / "by version 4")
            assert (tmp_path / "by version 4").read_bytes() == FILE
            (way,) = (row for row in gateway.daemon.ask("pinholes")["pinholes"] if row["listen"].endswith(":2049"))
            assert (way["trigger"], way["allow"]) == ("GETPORT nfs v3 tcp", [f"{client.v4}/32"])
            with bystander.inside(), nfs.connection(gateway.dialled(4), 2049) as another:
                assert nfs.is_served(another)
        gateway.daemon.wait_for("pinhole.used", count=2)
        used = gateway.daemon.audit("pinhole.used")
        assert {line["peer"].split(":")[0] for line in used} == {str(client.v4)}


def test_without_its_helper_no_service_is_reached(tmp_path: Path) -> None:
    """The firewall lets the questions through, and nothing else."""
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 meta l4proto { tcp, udp } th dport 111 accept
                meta l4proto icmpv6 accept
            }
            }
            """
        )
        with nfs.file_server(lab.server) as server:
            (server.home / "file").write_bytes(FILE)
            assert "nfs" in nfs.lists(lab.client, lab.server.v4, 2)
            with pytest.raises(CallFailed, match="no end"):
                nfs.reads(lab.client, lab.server.v4, server.home / "file", tmp_path / "file", IMPATIENT_SECONDS)
            with pytest.raises(CallFailed, match="no end"):
                nfs.asks(lab.client, lab.server.v4, "udp", "mountd", IMPATIENT_SECONDS)


def _choosing(options: str) -> Role:
    """The gateway that hides its clients, with options."""
    policy = f"name: lan-out, from: [lan0], action: accept, snat: interface, options: {{pmap: {{{options}}}}}"
    return Role("snat_interface", lambda lab: f"\n  - {{{policy}}}", hides_client=True)


def test_a_server_refuses_a_client_whose_reserved_port_is_not_kept(tmp_path: Path) -> None:
    """What an option says for servers that demand none; with this one it shows that it is kept otherwise (PM31)."""
    role = _choosing("reserved_source: never")
    with serving(role) as gateway, nfs.file_server(gateway.server) as server:
        (server.home / "file").write_bytes(FILE)
        with pytest.raises(CallFailed, match="Failed to mount"):
            nfs.reads(gateway.client, gateway.dialled(4), server.home / "file", tmp_path / "file")


def test_a_program_that_may_not_be_found_is_not_registered(tmp_path: Path) -> None:
    """The client knows at once, and the server is not asked (PM26)."""
    role = _choosing("programs: [nfs, mountd]")
    with serving(role) as gateway, nfs.file_server(gateway.server) as server:
        (server.home / "file").write_bytes(FILE)
        for netid in NETIDS:
            at = gateway.dialled(NETIDS[netid])
            assert "ready and waiting" in nfs.asks(gateway.client, at, netid, "mountd")
            with pytest.raises(CallFailed, match="Program not registered"):
                nfs.asks(gateway.client, at, netid, "rquotad")
        nfs.reads(gateway.client, gateway.dialled(4), server.home / "file", tmp_path / "file")
        gateway.daemon.wait_for("violation", count=len(NETIDS), rule="pmap.program_denied")
