"""A pinhole for datagrams on a host's own address and port is there for those alone whom it allows. Everybody else's
datagrams to that port pass the gateway as if it were not there: before it, while it stands and is used, and after it.
Without NAT; the gateway forwards everything."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import ClassVar

import pytest

from protocols.contract.addresses import Endpoint, Side, Transport, only
from protocols.contract.effects import Effect, Send
from protocols.contract.pinholes import Expect, Grant, Reader
from tests.harness.shell import PassOn
from tests.netns.datagrams import Gateway, hear
from tests.netns.namespaces import Hosts, needs_root
from tests.netns.test_flows_bystanders import BYSTANDERS, ELSEWHERE, also

pytestmark = [pytest.mark.netns, needs_root]

SERVICE = 30021
THIRDS = {4: "10.1.0.10", 6: "fd01::10"}
READERS = [None, Reader("test", "called")]


class Mapping(PassOn):
    """As a portmapper: the client asks, and may come to another port of the server then, as often as it likes."""

    reader: ClassVar[Reader | None] = None

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        service, allow = Endpoint(self.peers.server.host, SERVICE), only(self.peers.client.host)
        if data == b"map":
            expect = Expect(
                Transport.UDP, "x", "x", service, allow, service, None, 30, None, 30, uses=None, reader=self.reader
            )
            grant = self.pinholes.open(expect)
            assert isinstance(grant, Grant)
            self.grant = grant
        if data == b"unmap":
            self.pinholes.close(self.grant)
        return [Send(side.other, data)]


def mapping(reader: Reader | None) -> type[Mapping]:
    return type("Mapping", (Mapping,), {"reader": reader})


async def passes(near: socket.socket, far: socket.socket) -> None:
    """What each sends reaches the other one, and bears its own address."""
    here, there = near.getsockname()[:2], far.getsockname()[:2]
    near.sendto(b"to", there)
    assert await hear(far) == (b"to", here)
    far.sendto(b"fro", here)
    assert await hear(near) == (b"fro", there)


async def says(gateway: Site, client: socket.socket, word: bytes) -> None:
    """A client to its server, which an engine hears."""
    server = gateway.servers[client.family]
    client.sendto(word, server.getsockname()[:2])
    assert (await hear(server))[0] == word


class Site(Gateway):
    """A server with a service at another port than that of its sessions."""

    servers: dict[int, socket.socket]

    def begin(self, version: int) -> socket.socket:
        also(self.hosts, version)
        bits = "24" if version == 4 else "64"
        nodad = ("nodad",) if version == 6 else ()
        self.hosts.client.run("ip", "address", "add", f"{THIRDS[version]}/{bits}", "dev", "eth0", *nodad)
        server = self.server(version)
        self.servers = {server.family: server}
        return self.server(version, SERVICE)

    def uses(self) -> int:
        return self.shell.log.events().count("pinhole.used")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("reader", READERS, ids=["relayed", "read"])
async def test_at_a_servers_own_port_a_bystander_passes_before_during_and_after(
    hosts: Hosts, version: int, reader: Reader | None
) -> None:
    async with Site(hosts, mapping(reader)) as gateway:
        service = gateway.begin(version)
        client, own = gateway.client(version), gateway.client(version, 6000)
        bystander = gateway.socket(hosts.client, BYSTANDERS[version])
        await passes(bystander, service)
        await says(gateway, client, b"map")
        await passes(bystander, service)
        await passes(service, bystander)
        assert gateway.uses() == 0
        await passes(own, service)
        assert gateway.uses() == 1
        await passes(bystander, service)
        await passes(own, service)
        await says(gateway, client, b"unmap")
        await passes(bystander, service)
        await passes(own, service)
        assert gateway.uses() == 1
        assert {"session.denied", "violation"}.isdisjoint(gateway.shell.log.events())


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("reader", READERS, ids=["relayed", "read"])
async def test_several_pinholes_at_one_place_let_pass_whom_none_of_them_allows(
    hosts: Hosts, version: int, reader: Reader | None
) -> None:
    """One joins, one is used, one leaves: the list is that of the moment."""
    async with Site(hosts, mapping(reader)) as gateway:
        service = gateway.begin(version)
        first, second = gateway.client(version), gateway.socket(hosts.client, BYSTANDERS[version])
        of_first = gateway.client(version, 6000)
        of_second = gateway.socket(hosts.client, BYSTANDERS[version], 6000)
        third = gateway.socket(hosts.client, THIRDS[version])
        await says(gateway, first, b"map")
        await passes(of_second, service)
        assert gateway.uses() == 0
        await says(gateway, second, b"map")
        await passes(third, service)
        assert gateway.uses() == 0
        await passes(of_first, service)
        await passes(of_second, service)
        assert gateway.uses() == 2
        await says(gateway, first, b"unmap")
        await passes(third, service)
        also_of_second = gateway.socket(hosts.client, BYSTANDERS[version], 6001)
        assert gateway.uses() == 2
        await passes(also_of_second, service)
        assert gateway.uses() == 3
        for one in (of_first, of_second, third):
            await passes(one, service)
        assert {"session.denied", "violation"}.isdisjoint(gateway.shell.log.events())


@pytest.mark.parametrize("version", [4, 6])
async def test_while_a_relay_runs_on_after_its_pinhole_other_ports_of_its_peers_host_pass(
    hosts: Hosts, version: int
) -> None:
    async with Site(hosts, mapping(None)) as gateway:
        service = gateway.begin(version)
        client, own, also_own = (gateway.client(version, port) for port in (5060, 6000, 6001))
        await says(gateway, client, b"map")
        await passes(own, service)
        await says(gateway, client, b"unmap")
        await passes(also_own, service)
        await passes(own, service)
        (pinhole,) = gateway.shell.pinholes
        assert (len(pinhole.relays), gateway.uses()) == (1, 1)


class Fetching(PassOn):
    """The server may come to the client's own address and port, from any port of its host."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if data == b"get":
            own, allow = self.peers.client, only(self.peers.server.host)
            assert isinstance(self.pinholes.open(Expect(Transport.UDP, "x", "x", own, allow, own, None, 30)), Grant)
        return [Send(side.other, data)]


@pytest.mark.parametrize("version", [4, 6])
async def test_at_a_clients_own_port_a_bystander_passes_before_during_and_after(hosts: Hosts, version: int) -> None:
    async with Site(hosts, Fetching) as gateway:
        gateway.begin(version)
        client, transfer = gateway.client(version), gateway.server(version, 7000)
        bystander = gateway.socket(hosts.server, ELSEWHERE[version])
        await passes(bystander, client)
        await says(gateway, client, b"get")
        await passes(bystander, client)
        assert gateway.uses() == 0
        await passes(transfer, client)
        assert gateway.uses() == 1
        await passes(bystander, client)
        await passes(client, bystander)
        await passes(transfer, client)
        assert {"session.denied", "violation"}.isdisjoint(gateway.shell.log.events())
