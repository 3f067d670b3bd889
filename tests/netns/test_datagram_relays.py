"""Datagrams that nobody reads, through a pinhole and back: whose they may be, whom each sees, and when it ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import pytest

from protocols.contract.addresses import Endpoint, Side, Transport, only
from protocols.contract.effects import Effect, Send
from protocols.contract.pinholes import Closed, Expect, Grant, Used
from proxy.config.schema import Limits
from proxy.config.values import Dnat
from proxy.pinholes.datagrams import MOST_RELAYS
from proxy.sockets.reserved import MOST_OF_ONE_CLIENT
from tests.harness.shell import PassOn
from tests.harness.waiting import attempts
from tests.netns.datagrams import PORT, Gateway, hear, silence, while_busy
from tests.netns.namespaces import Hosts, needs_root
from tests.netns.test_flows_spoofed import forge

pytestmark = [pytest.mark.netns, needs_root]

IDLE = 0.4
IN_TIME = 0.9 * IDLE
"""What comes so soon after the beginning is not late, by the clock of the loop either, which has milliseconds."""
IDLE_IN_TALKS = 1.5
"""Where the two hosts of a relay go on to talk before its end is awaited: they may be kept from it for a while."""
LONG = 30.0
"""Where nobody waits for silence to end a relay."""
TRANSFER_PORT = 7000


class Fetching(PassOn):
    """As TFTP: what the client asks for the server sends from another port."""

    terms: ClassVar[dict[str, Any]] = {}

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if data == b"get":
            peers = self.peers
            source = None if not peers.is_mapped(Side.SERVER) else Endpoint(peers.server_as_seen.host, 0)
            expect = Expect(
                Transport.UDP,
                "file",
                "get",
                listen=peers.client_as_seen,
                allow=only(peers.server.host),
                target=peers.client,
                source=source,
                **{"idle_seconds": IDLE, **self.terms},
            )
            grant = self.pinholes.open(expect)
            assert isinstance(grant, Grant)
            self.grant = grant
        if data == b"enough":
            self.pinholes.close(self.grant)
        return [Send(side.other, data)]


def fetching(**terms: Any) -> type[Fetching]:
    return type("Fetching", (Fetching,), {"terms": terms})


async def ask(gateway: Gateway, version: int = 4) -> tuple[socket.socket, socket.socket, tuple[str, int]]:
    """The client has asked: it, the server, and where the server knows the client."""
    client, server = gateway.client(version), gateway.server(version)
    client.sendto(b"get", server.getsockname()[:2])
    data, seen = await hear(server)
    assert data == b"get"
    return client, server, seen


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_what_the_server_sends_from_another_port_reaches_the_client_and_is_answered(
    hosts: Hosts, version: int, snat: str
) -> None:
    engine = fetching(idle_seconds=IDLE_IN_TALKS)
    async with Gateway(hosts, engine, snat=snat, interfaces=("lan0",)) as gateway:
        client, _, seen = await ask(gateway, version)
        transfer = gateway.server(version, TRANSFER_PORT)
        for number in range(3):
            transfer.sendto(b"block %d" % number, seen)
            assert await hear(client) == (b"block %d" % number, transfer.getsockname()[:2])
            client.sendto(b"ack", transfer.getsockname()[:2])
            assert await hear(transfer) == (b"ack", seen)
        closed = await gateway.shell.until("pinhole.closed")
        passed = {name: closed[name] for name in ("bytes_in", "bytes_out", "packets_in", "packets_out")}
        assert passed == {"bytes_in": 21, "bytes_out": 9, "packets_in": 3, "packets_out": 3}
        assert closed["reason"] == "idle"
        assert gateway.shell.log.last("pinhole.used")["peer"] == str(Endpoint(hosts.server_address(version), 7000))


@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_a_burst_that_comes_before_the_relay_stands_stays_in_order(hosts: Hosts, snat: str) -> None:
    async with Gateway(hosts, Fetching, snat=snat) as gateway:
        client, _, seen = await ask(gateway)
        transfer = gateway.server(port=TRANSFER_PORT)
        for number in range(100):
            transfer.sendto(b"%d" % number, seen)
        assert [int((await hear(client))[0]) for _ in range(100)] == list(range(100))


async def test_it_is_no_session_and_has_no_engine(hosts: Hosts) -> None:
    engine, limits = fetching(idle_seconds=LONG), Limits(sessions_per_client=1)
    async with Gateway(hosts, engine, snat="interface", limits=limits) as gateway:
        client, _, seen = await ask(gateway)
        transfer = gateway.server(port=TRANSFER_PORT)
        transfer.sendto(b"block", seen)
        assert (await hear(client))[0] == b"block"
        assert len(gateway.shell.sessions) == len(gateway.shell.engines) == 1
        assert [pinhole.state for pinhole in gateway.shell.pinholes] == ["relaying"]


async def test_its_engine_hears_who_came_and_what_passed(hosts: Hosts) -> None:
    async with Gateway(hosts, Fetching, snat="interface") as gateway:
        _, _, seen = await ask(gateway)
        gateway.server(port=TRANSFER_PORT).sendto(b"block", seen)
        await gateway.shell.until("pinhole.closed")
        used, closed = gateway.shell.engines[0].heard
        assert used == Used(Endpoint(hosts.server_address(4), TRANSFER_PORT))
        assert isinstance(closed, Closed) and (closed.reason, closed.bytes_in, closed.packets_in) == ("idle", 5, 1)


async def test_the_first_who_comes_is_the_peer_and_another_port_of_its_host_is_nobody(hosts: Hosts) -> None:
    async with Gateway(hosts, fetching(idle_seconds=LONG), snat="interface", interfaces=("lan0",)) as gateway:
        client, _, seen = await ask(gateway)
        first, second = gateway.server(port=7001), gateway.server(port=7002)
        first.sendto(b"first", seen)
        assert await hear(client) == (b"first", first.getsockname())
        second.sendto(b"second", seen)
        assert (await gateway.shell.until("session.denied"))["reason"] == "no_policy"
        await silence(client)


async def test_one_for_many_uses_has_a_relay_for_each_peer(hosts: Hosts) -> None:
    async with Gateway(hosts, fetching(uses=None, lasts_seconds=30, idle_seconds=LONG), snat="interface") as gateway:
        client, _, seen = await ask(gateway)
        for port in (7001, 7002):
            peer = gateway.server(port=port)
            peer.sendto(b"%d" % port, seen)
            assert await hear(client) == (b"%d" % port, peer.getsockname())
            client.sendto(b"ack", peer.getsockname())
            assert await hear(peer) == (b"ack", seen)
        assert gateway.shell.log.events().count("pinhole.used") == 2


async def test_of_those_there_are_few_at_once_and_the_most_silent_one_gives_way(hosts: Hosts) -> None:
    async with Gateway(hosts, fetching(uses=None, lasts_seconds=30, idle_seconds=30), snat="interface") as gateway:
        client, _, seen = await ask(gateway)
        again, *others, another = [gateway.server(port=7001 + number) for number in range(MOST_RELAYS + 1)]
        for peer in (again, *others):
            peer.sendto(b"x", seen)
            await hear(client)
        (pinhole,) = gateway.shell.pinholes
        assert len(pinhole.relays) == MOST_RELAYS
        again.sendto(b"y", seen)
        assert await hear(client) == (b"y", again.getsockname())
        another.sendto(b"z", seen)
        assert await hear(client) == (b"z", another.getsockname())
        assert len(pinhole.relays) == MOST_RELAYS
        client.sendto(b"ack", again.getsockname())  # it was heard of later than others
        assert await hear(again) == (b"ack", seen)
        client.sendto(b"enough", (str(hosts.server_address(4)), PORT))
        gateway.shell.pinholes.close("stopped")
        closed = gateway.shell.log.last("pinhole.closed")
        assert (closed["packets_in"], closed.get("refused")) == (MOST_RELAYS + 2, None)
        # A peer can cause such a line by one datagram, so there are no more of them than peers at once.
        assert (closed["gave_way"], gateway.shell.log.events().count("pinhole.used")) == (1, MOST_RELAYS)


async def test_when_no_reserved_port_is_left_for_a_client_the_most_silent_one_gives_way(hosts: Hosts) -> None:
    """As of a program that asks again and again, each time from another reserved port."""
    inside = Dnat(hosts.client_address(4), None)
    terms = {"uses": None, "lasts_seconds": 30, "idle_seconds": 30, "reserved": True}
    async with Gateway(hosts, fetching(**terms), dnat=inside, interfaces=("wan0",)) as gateway:
        caller, server = gateway.server(port=6000), gateway.client()
        caller.sendto(b"get", (str(hosts.gateway_address(4)), PORT))
        _, seen = await hear(server)
        (pinhole,) = gateway.shell.pinholes
        gateway.shell.pinholes.reserved.take(pinhole.owner.charged_to)  # as for another pinhole of this client
        for number in range(MOST_OF_ONE_CLIENT + 1):
            data = b"%d" % number
            gateway.client(port=600 + number).sendto(data, seen)
            assert (await hear(caller))[0] == data
        assert len(pinhole.relays) == MOST_OF_ONE_CLIENT - 1


async def test_it_runs_on_when_its_session_or_its_pinhole_has_ended(hosts: Hosts) -> None:
    async with Gateway(hosts, fetching(idle_seconds=IDLE_IN_TALKS), snat="interface") as gateway:
        client, server, seen = await ask(gateway)
        transfer = gateway.server(port=TRANSFER_PORT)
        transfer.sendto(b"one", seen)
        await hear(client)
        client.sendto(b"enough", server.getsockname())
        await hear(server)
        (session,) = gateway.shell.sessions
        session.cut("over")
        transfer.sendto(b"two", seen)
        assert await hear(client) == (b"two", transfer.getsockname())
        closed = await gateway.shell.until("pinhole.closed")
        assert (closed["reason"], closed["packets_in"]) == ("idle", 2)


async def test_a_server_behind_us_sends_from_the_address_that_was_called(hosts: Hosts) -> None:
    inside = Dnat(hosts.client_address(4), None)
    async with Gateway(hosts, fetching(idle_seconds=LONG), dnat=inside, interfaces=("wan0",)) as gateway:
        caller, server = gateway.server(port=6000), gateway.client()
        caller.sendto(b"get", (str(hosts.gateway_address(4)), PORT))
        _, seen = await hear(server)
        transfer = gateway.client(port=TRANSFER_PORT)
        transfer.sendto(b"block", seen)
        data, source = await hear(caller)
        assert (data, source[0]) == (b"block", str(hosts.gateway_address(4)))
        assert source[1] != PORT
        caller.sendto(b"ack", source)
        assert await hear(transfer) == (b"ack", caller.getsockname())


@pytest.mark.parametrize(("port", "is_reserved"), [(1020, True), (TRANSFER_PORT, False)])
async def test_of_a_reserved_one_the_target_sees_a_reserved_port_if_the_peer_has_one(
    hosts: Hosts, port: int, is_reserved: bool
) -> None:
    inside = Dnat(hosts.client_address(4), None)
    async with Gateway(hosts, fetching(reserved=True), dnat=inside, interfaces=("wan0",)) as gateway:
        caller, server = gateway.server(port=6000), gateway.client()
        caller.sendto(b"get", (str(hosts.gateway_address(4)), PORT))
        _, seen = await hear(server)
        gateway.client(port=port).sendto(b"block", seen)
        _, (_, seen_port) = await hear(caller)
        assert (512 <= seen_port < 1024) is is_reserved


@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_who_must_come_from_a_reserved_port_and_does_not_is_no_peer(hosts: Hosts, snat: str) -> None:
    async with Gateway(hosts, fetching(from_reserved=True), snat=snat, interfaces=("lan0",)) as gateway:
        client, _, seen = await ask(gateway)
        gateway.server(port=TRANSFER_PORT).sendto(b"anybody", seen)
        await silence(client)
        server = gateway.server(port=1020)
        server.sendto(b"root", seen)
        assert await hear(client) == (b"root", server.getsockname())


async def test_a_port_that_is_preferred_is_had_if_it_is_free_also_when_the_targets_one_is_to_be_reserved(
    hosts: Hosts,
) -> None:
    """As of a service that is published: the client comes to a port of the gateway, from a reserved one."""
    inside = Dnat(hosts.client_address(4), None)

    class Publishing(PassOn):
        def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
            service = Endpoint(self.peers.server.host, TRANSFER_PORT)
            self.grant = self.pinholes.open(
                Expect(
                    transport=Transport.UDP,
                    purpose="x",
                    trigger="x",
                    listen=Endpoint(self.peers.server_as_seen.host, 0),
                    allow=only(self.peers.client.host),
                    target=service,
                    source=Endpoint(self.peers.client_as_seen.host, 0),
                    idle_seconds=30,
                    lasts_seconds=30,
                    uses=None,
                    prefer=TRANSFER_PORT,
                    reserved_source=True,
                )
            )
            return super().receive(side, data, now)

    async with Gateway(hosts, Publishing, dnat=inside, snat="interface", interfaces=("wan0",)) as gateway:
        service, server = gateway.client(port=TRANSFER_PORT), gateway.client()
        place = str(hosts.gateway_address(4))
        asking, own = gateway.server(port=6000), gateway.server(port=1020)
        asking.sendto(b"where", (place, PORT))
        await hear(server)
        own.sendto(b"call", (place, TRANSFER_PORT))
        data, (_, seen_port) = await hear(service)
        assert data == b"call" and 512 <= seen_port < 1024
        service.sendto(b"reply", ("10.1.0.1", seen_port))
        assert await hear(own) == (b"reply", (place, TRANSFER_PORT))
        other = gateway.server(port=6001)
        other.sendto(b"where", (place, PORT))
        await hear(server)
        second = max(gateway.shell.pinholes, key=lambda pinhole: pinhole.grant.id)
        assert 40000 <= second.grant.listen.port < 41000


async def test_without_a_place_for_the_peer_at_its_port_the_pinhole_closes_and_says_so(hosts: Hosts) -> None:
    async with Gateway(hosts, Fetching) as gateway:
        client, _, seen = await ask(gateway)
        gateway.socket(hosts.gateway, "0.0.0.0", TRANSFER_PORT)
        gateway.server(port=TRANSFER_PORT).sendto(b"block", seen)
        assert (await gateway.shell.until("pinhole.closed"))["reason"] == "target_address_in_use"
        await silence(client)


async def test_one_for_many_uses_stands_and_the_peer_comes_when_there_is_a_place(hosts: Hosts) -> None:
    async with Gateway(hosts, fetching(uses=None, lasts_seconds=30)) as gateway:
        client, _, seen = await ask(gateway)
        taken = gateway.socket(hosts.gateway, "0.0.0.0", TRANSFER_PORT)
        peer, other = gateway.server(port=TRANSFER_PORT), gateway.server(port=7001)
        peer.sendto(b"block", seen)
        other.sendto(b"other", seen)
        assert await hear(client) == (b"other", other.getsockname())
        taken.close()
        peer.sendto(b"again", seen)
        assert await hear(client) == (b"again", peer.getsockname())
        gateway.shell.pinholes.close("stopped")
        assert gateway.shell.log.last("pinhole.closed")["refused"] == 1


@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_a_neighbour_of_the_client_does_not_speak_as_the_peer(hosts: Hosts, snat: str) -> None:
    for name in ("all", "default", "lan0", "wan0"):
        hosts.gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 0)
    async with Gateway(hosts, fetching(idle_seconds=LONG), snat=snat, interfaces=("lan0",)) as gateway:
        client, _, seen = await ask(gateway)
        at, peer = Endpoint(hosts.gateway_address(4), PORT), Endpoint(hosts.server_address(4), TRANSFER_PORT)
        at = at if snat == "interface" else Endpoint(hosts.client_address(4), PORT)
        forge(hosts.client, "lan0", hosts.gateway, peer, at, b"forged")
        violation = await gateway.shell.until("violation")
        assert (violation["rule"], violation["action"]) == ("pinhole.spoofed", "dropped")
        await silence(client)
        assert "pinhole.used" not in gateway.shell.log.events()
        transfer = gateway.server(port=TRANSFER_PORT)
        transfer.sendto(b"true", seen)
        assert (await hear(client))[0] == b"true"
        forge(hosts.client, "lan0", hosts.gateway, peer, at, b"forged")
        await silence(client)
        gateway.shell.pinholes.close("stopped")
        closed = gateway.shell.log.last("pinhole.closed")
        assert (closed["packets_in"], closed["packets_refused"]) == (1, 2)


async def test_what_came_in_time_is_relayed_though_the_silence_seems_over(hosts: Hosts) -> None:
    for _ in attempts():
        async with Gateway(hosts, Fetching, snat="interface") as gateway:
            client, _, seen = await ask(gateway)
            transfer = gateway.server(port=TRANSFER_PORT)
            began = time.monotonic()
            transfer.sendto(b"one", seen)
            await hear(client)
            if await while_busy(partial(transfer.sendto, b"two", seen), 2 * IDLE) - began < IN_TIME:
                assert (await hear(client))[0] == b"two"
                assert (await gateway.shell.until("pinhole.closed"))["packets_in"] == 2
                return


async def test_nothing_is_left_of_it(hosts: Hosts) -> None:
    async with Gateway(hosts, Fetching, snat="interface") as gateway:
        client, _, seen = await ask(gateway)
        gateway.server(port=TRANSFER_PORT).sendto(b"block", seen)
        await hear(client)
        await gateway.shell.until("pinhole.closed")
        (session,) = gateway.shell.sessions
        session.cut("over")
        shell = gateway.shell
        assert (len(shell.pinholes.endpoints), shell.ports.in_use(), len(shell.pinholes)) == (0, 0, 0)


async def test_a_pinhole_that_nobody_may_have_is_refused_as_others_are(hosts: Hosts) -> None:
    class Greedy(Fetching):
        def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
            where = Endpoint(hosts.gateway_address(4), 514)
            allow = only(self.peers.server.host)
            expect = Expect(Transport.UDP, "x", "x", self.peers.client_as_seen, allow, where, None, 30)
            self.answer = self.pinholes.open(expect)
            return []

    async with Gateway(hosts, Greedy, snat="interface") as gateway:
        gateway.client().sendto(b"get", (str(hosts.server_address(4)), PORT))
        assert (await gateway.shell.until("pinhole.refused"))["reason"] == "target_is_gateway"
