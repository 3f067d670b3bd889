"""What has arrived before the end of a session or pinhole is heard, however busy the daemon was: endpoints are read
empty before they are closed. And how long a silent session lives."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from protocols.contract.addresses import Side, Transport, only
from protocols.contract.effects import Send
from protocols.contract.pinholes import Expect, Grant, Reader
from proxy.config.schema import Limits, Timeouts
from tests.harness.shell import PassOn
from tests.harness.waiting import attempts, until
from tests.netns.datagrams import Gateway, hear, unread, while_busy
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]

IDLE = 0.5
IN_TIME = 0.9 * IDLE
"""What comes so soon after the beginning is not late, by the clock of the loop either, which has milliseconds."""


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_an_answer_that_came_in_time_is_heard_though_the_silence_seems_over(
    hosts: Hosts, version: int, snat: str
) -> None:
    for _ in attempts():
        async with Gateway(hosts, snat=snat, timeouts=Timeouts(udp_idle=IDLE)) as gateway:
            client, server = gateway.client(version), gateway.server(version)
            began = time.monotonic()
            client.sendto(b"question", server.getsockname()[:2])
            _, source = await hear(server)
            if await while_busy(partial(server.sendto, b"answer", source), 2 * IDLE) - began < IN_TIME:
                assert await hear(client) == (b"answer", server.getsockname()[:2])
                assert (await gateway.shell.until("session.closed"))["reason"] == "idle"
                assert "session.denied" not in gateway.shell.log.events()
                return


async def test_an_answer_that_came_before_the_daemon_stops_is_heard(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"question", server.getsockname())
        _, source = await hear(server)
        server.sendto(b"answer", source)
        until(unread)
        await gateway.shell.sessions.drain(0)
        assert (await hear(client))[0] == b"answer"
        assert gateway.shell.log.last("session.closed")["bytes_from_server"] == len(b"answer")


async def test_what_clients_have_sent_before_the_daemon_stops_is_heard(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"0", server.getsockname())
        until(unread)
        (one,) = unread()
        for number in range(1, 100):
            client.sendto(b"%d" % number, server.getsockname())
        until(lambda: unread() == [100 * one], lambda: f"{unread()}, and the first has {one}")
        while gateway.listeners:
            gateway.listeners.pop().close()
        assert [int((await hear(server))[0]) for _ in range(100)] == list(range(100))


async def test_a_session_whose_answer_waits_to_be_read_does_not_give_way(hosts: Hosts) -> None:
    async with Gateway(hosts, limits=Limits(sessions=2)) as gateway:
        server = gateway.server()
        first, second, third = (gateway.client(port=port) for port in (7001, 7002, 7003))
        for client in (first, second):
            client.sendto(b"question", server.getsockname())
            _, source = await hear(server)
            if client is first:
                at_first = source
        third.sendto(b"question", server.getsockname())  # is read first
        until(unread)
        server.sendto(b"answer", at_first)
        until(lambda: len(unread()) == 2)
        assert (await hear(first))[0] == b"answer"
        assert (await gateway.shell.until("session.closed"))["client"].endswith(":7002")


class Opening(PassOn):
    """Has a pinhole opened for the server, with the first datagram of the client."""

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        if data == b"open":
            seen, own = self.peers.client_as_seen, self.peers.client
            allow, reader = only(self.peers.server.host), Reader("test", "called")
            grant = self.pinholes.open(
                Expect(Transport.UDP, "test", "x", seen, allow, own, None, 30, open_seconds=IDLE, reader=reader)
            )
            assert isinstance(grant, Grant)
        return [Send(side.other, data)]


async def test_who_came_to_a_pinhole_in_time_is_let_in_though_its_time_seems_over(hosts: Hosts) -> None:
    for _ in attempts():
        async with Gateway(hosts, Opening, snat="interface", interfaces=("lan0",)) as gateway:
            client, server, other = gateway.client(), gateway.server(), gateway.server(port=7000)
            began = time.monotonic()
            client.sendto(b"open", server.getsockname())
            _, source = await hear(server)
            if await while_busy(partial(other.sendto, b"called", source), 2 * IDLE) - began < IN_TIME:
                assert await hear(client) == (b"called", other.getsockname())
                assert gateway.shell.log.last("pinhole.closed")["reason"] == "used_up"
                return


async def test_a_helper_ends_silent_sessions_sooner(hosts: Hosts) -> None:
    traits = {"idle": lambda options: IDLE}
    async with Gateway(hosts, traits=traits) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"question", server.getsockname())
        _, source = await hear(server)
        server.sendto(b"answer", source)
        closed = await gateway.shell.until("session.closed")
        assert closed["reason"] == "idle" and IDLE <= closed["duration_seconds"] < 60


async def test_no_helper_lets_them_live_longer_than_configured(hosts: Hosts) -> None:
    traits = {"idle": lambda options: 600.0}
    async with Gateway(hosts, traits=traits, timeouts=Timeouts(udp_idle=IDLE)) as gateway:
        gateway.client().sendto(b"question", (str(hosts.server_address(4)), 5060))
        assert (await gateway.shell.until("session.closed"))["duration_seconds"] < 60
