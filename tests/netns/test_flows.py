"""UDP sessions through a gateway in a namespace of its own: who sees whom, what passes, and what is left at the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport, only
from protocols.contract.effects import Abort, Close, Send, Splice
from protocols.contract.pinholes import Expect, Grant, Reader
from proxy.config.schema import Limits, Timeouts
from proxy.config.values import Dnat
from proxy.sockets.watch import RETURN_SECONDS, AddressWatch
from tests.harness.shell import PassOn
from tests.netns.datagrams import PORT, Gateway, InCalls, hear, silence
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]


# -- who sees whom -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
async def test_without_nat_each_sees_the_other_by_its_own_address(hosts: Hosts, version: int) -> None:
    async with Gateway(hosts) as gateway:
        client, server = gateway.client(version), gateway.server(version)
        own, other = client.getsockname()[:2], server.getsockname()[:2]
        for number in range(3):
            client.sendto(b"to %d" % number, other)
            assert await hear(server) == (b"to %d" % number, own)
            server.sendto(b"fro %d" % number, own)
            assert await hear(client) == (b"fro %d" % number, other)
        assert gateway.shell.log.events().count("session.opened") == 1


@pytest.mark.parametrize("version", [4, 6])
async def test_with_source_nat_the_client_keeps_its_port_on_our_address(hosts: Hosts, version: int) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, server = gateway.client(version), gateway.server(version)
        client.sendto(b"to", server.getsockname())
        ours = (str(hosts.gateway_address(version)), PORT)
        assert await hear(server) == (b"to", ours)
        server.sendto(b"fro", ours)
        assert await hear(client) == (b"fro", server.getsockname()[:2])
        opened = gateway.shell.log.last("session.opened")
        assert (opened["transport"], opened["interface"]) == ("udp", "lan0")
        assert opened["snat"] == str(Endpoint(hosts.gateway_address(version), PORT))


async def test_two_clients_with_the_same_port_get_two_ports(hosts: Hosts) -> None:
    hosts.client.run("ip", "address", "add", "10.1.0.3/24", "dev", "eth0")
    async with Gateway(hosts, snat="interface") as gateway:
        first, second = gateway.client(), gateway.socket(hosts.client, "10.1.0.3")
        server = gateway.server()
        first.sendto(b"first", server.getsockname())
        _, as_first = await hear(server)
        second.sendto(b"second", server.getsockname())
        _, as_second = await hear(server)
        assert as_first[1] == PORT
        assert 40000 <= as_second[1] < 41000
        server.sendto(b"to second", as_second)
        assert (await hear(second))[0] == b"to second"


async def test_a_client_is_known_to_all_servers_by_the_same_address(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, one, other = gateway.client(), gateway.server(), gateway.server(port=5061)
        client.sendto(b"one", one.getsockname())
        client.sendto(b"other", other.getsockname())
        assert (await hear(one))[1] == (await hear(other))[1]


async def test_a_port_of_the_gateways_own_services_is_not_taken(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        gateway.socket(hosts.gateway, hosts.gateway_address(4))
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        assert 40000 <= (await hear(server))[1][1] < 41000


async def test_a_service_of_the_gateway_on_every_address_keeps_its_port_for_itself(hosts: Hosts) -> None:
    """The kernel lets nobody stand beside it, on a foreign address neither."""
    async with Gateway(hosts) as gateway:
        gateway.socket(hosts.gateway, "0.0.0.0")
        gateway.client().sendto(b"x", (str(hosts.server_address(4)), PORT))
        assert (await gateway.shell.until("session.denied"))["reason"] == "address_in_use"


async def test_a_published_server_answers_from_the_address_that_was_called(hosts: Hosts) -> None:
    inside = Dnat(hosts.client_address(4), None)
    async with Gateway(hosts, dnat=inside) as gateway:
        caller, server = gateway.server(port=7000), gateway.client()
        ours = (str(hosts.gateway_address(4)), PORT)
        caller.sendto(b"call", ours)
        assert await hear(server) == (b"call", caller.getsockname())
        server.sendto(b"answer", caller.getsockname())
        assert await hear(caller) == (b"answer", ours)


async def test_what_the_server_begins_later_reaches_the_client_in_the_same_session(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"register", server.getsockname())
        _, outside = await hear(server)
        server.sendto(b"invite", outside)
        assert await hear(client) == (b"invite", server.getsockname())
        assert len(gateway.shell.sessions) == 1


# -- what passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
async def test_long_datagrams_arrive_whole_over_many_fragments(hosts: Hosts, version: int) -> None:
    async with Gateway(hosts) as gateway:
        client, server = gateway.client(version), gateway.server(version)
        for size in (1472, 1473, 4000, 60000):
            client.sendto(b"x" * size, server.getsockname()[:2])
            assert len((await hear(server))[0]) == size
            server.sendto(b"y" * size, client.getsockname()[:2])
            assert len((await hear(client))[0]) == size


async def test_an_empty_datagram_is_one(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"", server.getsockname())
        assert (await hear(server))[0] == b""


async def test_a_burst_that_comes_before_its_session_stands_stays_in_order(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        client, server = gateway.client(), gateway.server()
        for number in range(50):
            client.sendto(b"%d" % number, server.getsockname())
        assert [int((await hear(server))[0]) for _ in range(50)] == list(range(50))
        assert gateway.shell.log.events() == ["session.opened"]


async def test_a_server_that_is_away_for_a_while_is_served_again(hosts: Hosts) -> None:
    """The ICMP errors meanwhile end nothing (rule D50)."""
    async with Gateway(hosts, snat="interface") as gateway:
        client = gateway.client()
        target = (str(hosts.server_address(4)), PORT)
        for _ in range(5):
            client.sendto(b"anybody?", target)
            await asyncio.sleep(0)
        await gateway.shell.until("session.opened")
        server = gateway.server()
        client.sendto(b"hello", target)
        while (await hear(server))[0] != b"hello":
            pass
        assert len(gateway.shell.sessions) == 1


class Asked(PassOn):
    """A session is over with the server's answer."""

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        return [*super().receive(side, data, now), *((Close("answered"),) if side is Side.SERVER else ())]


@pytest.mark.parametrize("version", [4, 6])
async def test_a_session_that_its_engine_closes_gives_its_sockets_back_when_all_is_sent(
    hosts: Hosts, version: int
) -> None:
    async with Gateway(hosts, Asked, limits=Limits(sessions_per_client=1)) as gateway:
        client, server = gateway.client(version), gateway.server(version)
        for number in range(1, 4):  # each is a session of its own, which has to have room
            client.sendto(b"question", server.getsockname()[:2])
            server.sendto(b"answer", (await hear(server))[1])
            assert (await hear(client))[0] == b"answer"
            assert (await gateway.shell.until("session.closed", number))["reason"] == "answered"
            assert (len(gateway.shell.sessions), len(gateway.shell.flows.endpoints)) == (0, 0)


# -- who may not -------------------------------------------------------------------------------------------------------


async def test_a_stranger_at_a_clients_outside_address_is_denied(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface", interfaces=("lan0",)) as gateway:
        client, server, stranger = gateway.client(), gateway.server(), gateway.server(port=6666)
        client.sendto(b"x", server.getsockname())
        _, outside = await hear(server)
        stranger.sendto(b"attack", outside)
        denied = await gateway.shell.until("session.denied")
        assert (denied["reason"], denied["client"]) == ("no_policy", "192.0.2.2:6666")
        await silence(client)


async def test_sessions_of_one_client_are_limited(hosts: Hosts) -> None:
    async with Gateway(hosts, limits=Limits(sessions_per_client=2)) as gateway:
        server = gateway.server()
        for port in (7001, 7002, 7003):
            gateway.client(port=port).sendto(b"%d" % port, server.getsockname())
        assert (await gateway.shell.until("session.denied"))["reason"] == "limit_per_client"
        assert {(await hear(server))[0] for _ in range(2)} == {b"7001", b"7002"}


async def test_a_session_that_leads_back_to_us_goes_round_no_second_time(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        first, second, server = gateway.client(), gateway.client(port=7001), gateway.server()
        first.sendto(b"x", server.getsockname())
        _, outside = await hear(server)
        second.sendto(b"x", outside)
        assert (await gateway.shell.until("session.denied"))["reason"] == "loop"


async def test_one_client_cannot_reach_one_server_under_two_names(hosts: Hosts) -> None:
    """Whose the server's datagrams are could not be told."""
    async with Gateway(hosts, dnat=Dnat(hosts.server_address(4), 5060)) as gateway:
        client, server = gateway.client(port=7001), gateway.server()
        client.sendto(b"x", ("198.51.100.1", PORT))
        await hear(server)
        client.sendto(b"x", ("198.51.100.2", PORT))
        assert (await gateway.shell.until("session.denied"))["reason"] == "address_in_use"


# -- whom an engine expects --------------------------------------------------------------------------------------------


class Registering(PassOn):
    """Lets the server's host begin sessions with the client: at its address there, or at one for another port of it."""

    contact_port = PORT

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        if data == b"register":
            seen = self.peers.client_as_seen
            grant = self.pinholes.open(
                Expect(
                    Transport.UDP,
                    "sip",
                    "REGISTER",
                    listen=seen if self.contact_port == PORT else Endpoint(seen.host, 0),
                    allow=only(self.peers.server.host),
                    target=Endpoint(self.peers.client.host, self.contact_port),
                    source=None,
                    idle_seconds=0,
                    lasts_seconds=30,
                    uses=None,
                    reader=Reader("test", "called"),
                )
            )
            assert isinstance(grant, Grant)
            self.grant = grant
            return [Send(side.other, str(grant.listen).encode())]
        if data == b"remove":
            self.pinholes.close(self.grant)
        return super().receive(side, data, now)


async def test_a_registered_client_is_called_at_the_address_that_it_registered_from(hosts: Hosts) -> None:
    async with Gateway(hosts, Registering, snat="interface", interfaces=("lan0",)) as gateway:
        client, registrar, proxy = gateway.client(), gateway.server(), gateway.server(port=5080)
        client.sendto(b"register", registrar.getsockname())
        _, outside = await hear(registrar)
        proxy.sendto(b"invite", outside)
        assert await hear(client) == (b"invite", proxy.getsockname())
        client.sendto(b"ringing", proxy.getsockname())
        assert await hear(proxy) == (b"ringing", outside)
        assert gateway.shell.engines[1].peers == Peers(
            Endpoint(hosts.server_address(4), 5080),
            Endpoint(hosts.server_address(4), 5080),
            Endpoint(hosts.client_address(4), PORT),
            Endpoint(hosts.gateway_address(4), PORT),
            Transport.UDP,
            role="called",
        )
        assert gateway.shell.log.last("pinhole.used")["peer"] == "192.0.2.2:5080"
        opener, called = (line for line in gateway.shell.log.lines if line["event"] == "session.opened")
        pinhole = gateway.shell.log.last("pinhole.used")["pinhole"]
        assert called["by"] == {"session": opener["session"], "pinhole": pinhole}


async def test_a_client_that_waits_on_another_port_than_it_sends_from_has_an_address_for_that_too(hosts: Hosts) -> None:
    class Apart(Registering):
        contact_port = 5070

    async with Gateway(hosts, Apart, snat="interface", interfaces=("lan0",)) as gateway:
        client, contact, registrar = gateway.client(), gateway.client(port=5070), gateway.server()
        client.sendto(b"register", registrar.getsockname())
        host, _, port = (await hear(registrar))[0].decode().partition(":")
        registrar.sendto(b"invite", (host, int(port)))
        assert await hear(contact) == (b"invite", registrar.getsockname())
        contact.sendto(b"ringing", registrar.getsockname())
        assert await hear(registrar) == (b"ringing", (host, int(port)))


async def test_only_who_is_expected_may_call_and_only_while_the_pinhole_stands(hosts: Hosts) -> None:
    hosts.server.run("ip", "address", "add", "192.0.2.66/24", "dev", "eth0")
    async with Gateway(hosts, Registering, snat="interface", interfaces=("lan0",)) as gateway:
        client, registrar, proxy = gateway.client(), gateway.server(), gateway.server(port=5080)
        stranger = gateway.socket(hosts.server, "192.0.2.66")
        client.sendto(b"register", registrar.getsockname())
        _, outside = await hear(registrar)
        stranger.sendto(b"invite", outside)
        assert (await gateway.shell.until("session.denied"))["reason"] == "no_policy"
        client.sendto(b"remove", registrar.getsockname())
        assert (await gateway.shell.until("pinhole.closed"))["refused"] == 1
        proxy.sendto(b"invite", outside)
        await gateway.shell.until("session.denied", 2)
        await silence(client)


async def test_a_pinhole_keeps_its_address_when_the_session_that_opened_it_has_more_to_say(hosts: Hosts) -> None:
    async with Gateway(hosts, Registering, snat="interface", interfaces=("lan0",)) as gateway:
        client, registrar, other = gateway.client(), gateway.server(), gateway.server(port=5061)
        client.sendto(b"register", registrar.getsockname())
        _, outside = await hear(registrar)
        client.sendto(b"x", other.getsockname())
        assert (await hear(other))[1] == outside


# -- ends --------------------------------------------------------------------------------------------------------------


async def test_a_silent_session_ends_and_leaves_nothing(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface", timeouts=Timeouts(udp_idle=0.5)) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"1234", server.getsockname())
        _, outside = await hear(server)
        server.sendto(b"12", outside)
        closed = await gateway.shell.until("session.closed")
        assert (closed["reason"], closed["bytes_from_client"], closed["bytes_from_server"]) == ("idle", 4, 2)
        assert len(gateway.shell.pinholes.endpoints) == gateway.shell.ports.in_use() == 0


async def test_a_session_whose_engine_looks_after_something_stays(hosts: Hosts) -> None:
    async with Gateway(hosts, InCalls, timeouts=Timeouts(udp_idle=0.05)) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"call", server.getsockname())
        await hear(server)
        await silence(server)
        assert len(gateway.shell.sessions) == 1


async def test_a_client_goes_on_by_another_address_when_ours_has_changed(hosts: Hosts) -> None:
    gone = asyncio.Event()
    async with Gateway(hosts, snat="interface") as gateway:

        def tell(host: Host) -> None:
            gateway.shell.sessions.address_gone(host)
            gone.set()

        watch = AddressWatch(gateway.shell.loop, tell)
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        before = (await hear(server))[1][0]
        hosts.gateway.run("ip", "address", "add", "192.0.2.77/24", "dev", "wan0")
        hosts.gateway.run("ip", "address", "del", f"{before}/24", "dev", "wan0")
        hosts.gateway.run("ip", "address", "replace", "192.0.2.77/24", "dev", "wan0")
        async with asyncio.timeout(RETURN_SECONDS + 30):
            await gone.wait()
        assert gateway.shell.log.last("session.closed")["reason"] == "address_gone"
        client.sendto(b"x", server.getsockname())
        assert (await hear(server))[1][0] == "192.0.2.77"
        watch.close()


async def test_an_address_that_comes_back_at_once_ends_nothing(hosts: Hosts) -> None:
    looked = asyncio.Event()

    class Watch(AddressWatch):
        def _look(self, host: Host) -> None:
            super()._look(host)
            looked.set()

    async with Gateway(hosts, snat="interface") as gateway:
        watch = Watch(gateway.shell.loop, gateway.shell.sessions.address_gone)
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        ours = (await hear(server))[1][0]
        hosts.gateway.run("ip", "address", "del", f"{ours}/24", "dev", "wan0")
        hosts.gateway.run("ip", "address", "add", f"{ours}/24", "dev", "wan0")
        async with asyncio.timeout(RETURN_SECONDS + 30):
            await looked.wait()
        assert len(gateway.shell.sessions) == 1
        watch.close()


@pytest.mark.parametrize("snat", ["interface", "none"])
async def test_another_port_of_a_server_reaches_a_client_that_is_in_a_call_with_it(hosts: Hosts, snat: str) -> None:
    hosts.server.run("ip", "address", "add", "192.0.2.66/24", "dev", "eth0")
    async with Gateway(hosts, InCalls, snat=snat, interfaces=("lan0",), traits={"beside": "called"}) as gateway:
        client, server, other = gateway.client(), gateway.server(), gateway.server(port=54321)
        stranger = gateway.socket(hosts.server, "192.0.2.66")
        client.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        other.sendto(b"request", outside)
        assert await hear(client) == (b"request", other.getsockname())
        client.sendto(b"response", other.getsockname())
        assert await hear(other) == (b"response", outside)
        of_client, of_server = (line for line in gateway.shell.log.lines if line["event"] == "session.opened")
        assert of_server["by"] == {"session": of_client["session"], "pinhole": None}
        assert gateway.shell.engines[1].peers.role == "called"
        stranger.sendto(b"attack", outside)
        if snat == "interface":
            assert (await gateway.shell.until("session.denied"))["reason"] == "no_policy"
            await silence(client)
        else:  # the forward chain decides, as if nobody stood at the client's address; here it lets everything pass
            assert await hear(client) == (b"attack", stranger.getsockname())
        assert gateway.shell.log.events().count("session.opened") == 2


async def test_it_does_so_too_when_the_client_talks_to_another_service_of_that_server(hosts: Hosts) -> None:
    async with Gateway(hosts, InCalls, snat="interface", interfaces=("lan0",)) as gateway:
        client, server, other = gateway.client(), gateway.server(), gateway.server(port=54321)
        beside = gateway.server(port=5061)
        client.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        client.sendto(b"x", beside.getsockname())
        await hear(beside)
        other.sendto(b"request", outside)
        assert await hear(client) == (b"request", other.getsockname())


async def test_an_engine_ends_its_session(hosts: Hosts) -> None:
    class Refusing(PassOn):
        def receive(self, side: Side, data: bytes, now: float) -> Any:
            return [Send(side, b"no"), Abort("not_wanted")]

    async with Gateway(hosts, Refusing) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        assert (await hear(client))[0] == b"no"
        assert (await gateway.shell.until("session.closed"))["reason"] == "not_wanted"
        await silence(server)


async def test_a_bug_in_an_engine_ends_its_session_alone(hosts: Hosts) -> None:
    class Broken(PassOn):
        def receive(self, side: Side, data: bytes, now: float) -> Any:
            if data == b"bad":
                raise ValueError("a bug")
            return super().receive(side, data, now)

    async with Gateway(hosts, Broken) as gateway:
        good, bad, server = gateway.client(port=7001), gateway.client(port=7002), gateway.server()
        good.sendto(b"x", server.getsockname())
        await hear(server)
        bad.sendto(b"bad", server.getsockname())
        assert (await gateway.shell.until("session.closed"))["reason"] == "engine_failed"
        good.sendto(b"y", server.getsockname())
        assert (await hear(server))[0] == b"y"


async def test_an_engine_that_steps_aside_lets_datagrams_pass_unread(hosts: Hosts) -> None:
    class Once(PassOn):
        def receive(self, side: Side, data: bytes, now: float) -> Any:
            return [Send(side.other, data.upper()), Splice(5)]

    async with Gateway(hosts, Once) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"first", server.getsockname())
        assert (await hear(server))[0] == b"FIRST"
        client.sendto(b"second", server.getsockname())
        assert (await hear(server))[0] == b"second"
