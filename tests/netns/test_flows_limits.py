"""What a flood of first datagrams costs others: nothing that is needed, and no more than its share (C4)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Effect
from proxy.config.schema import Limits, Timeouts
from tests.harness.shell import PassOn
from tests.harness.waiting import attempts
from tests.netns.datagrams import Gateway, InCalls, hear
from tests.netns.namespaces import Hosts, needs_root
from tests.netns.test_sip_attacks import Site, site

pytestmark = [pytest.mark.netns, needs_root]

MANY = 12


def many_addresses(hosts: Hosts, version: int) -> list[str]:
    """Of one host on the client's side."""
    four, six = (
        [f"10.1.0.{100 + number}" for number in range(MANY)],
        [f"fd01::{100 + number}" for number in range(MANY)],
    )
    for host in four if version == 4 else six:
        bits = "24" if version == 4 else "64"
        hosts.client.run("ip", "address", "add", f"{host}/{bits}", "dev", "eth0", *(["nodad"] if version == 6 else []))
    return four if version == 4 else six


async def test_forged_sources_push_out_each_other_and_nobody_who_is_in_a_call(hosts: Hosts) -> None:
    async with Gateway(hosts, InCalls, snat="interface", limits=Limits(sessions=4)) as gateway:
        phone, server = gateway.client(), gateway.server()
        phone.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        for host in many_addresses(hosts, 4):
            gateway.socket(hosts.client, host).sendto(b"forged", server.getsockname())
            await hear(server)
        assert len(gateway.shell.sessions) == 4
        closed = [line for line in gateway.shell.log.lines if line["event"] == "session.closed"]
        assert [line["reason"] for line in closed] == ["gave_way"] * (MANY - 3)
        server.sendto(b"ring", outside)
        assert (await hear(phone))[0] == b"ring"


async def test_when_all_are_needed_the_next_one_is_denied(hosts: Hosts) -> None:
    async with Gateway(hosts, InCalls, limits=Limits(sessions=2)) as gateway:
        server = gateway.server()
        for port in (6000, 6001):
            client = gateway.client(port=port)
            client.sendto(b"call", server.getsockname())
            server.sendto(b"ring", (await hear(server))[1])
            await hear(client)
        gateway.client(port=6002).sendto(b"call", server.getsockname())
        assert (await gateway.shell.until("session.denied"))["reason"] == "limit_total"


async def test_calls_that_their_server_has_not_answered_at_all_make_room_for_others(hosts: Hosts) -> None:
    """Whoever forges sources begins calls; those that go on stay."""
    async with Gateway(hosts, InCalls, limits=Limits(sessions=3)) as gateway:
        server = gateway.server()
        phone = gateway.client(port=6000)
        phone.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        server.sendto(b"ring", outside)
        await hear(phone)
        for host in many_addresses(hosts, 4):
            gateway.socket(hosts.client, host).sendto(b"call", server.getsockname())
            await hear(server)
        closed = await gateway.shell.until("session.closed", MANY - 2)
        assert closed["reason"] == "gave_way"
        server.sendto(b"ring", outside)
        assert (await hear(phone))[0] == b"ring"


class Asking(PassOn):
    """An engine that is done when the server has said the last word."""

    last: Side | None = None

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self.last = side
        return super().receive(side, data, now)

    def is_done(self) -> bool:
        return self.last is Side.SERVER


async def test_a_session_that_is_answered_makes_room_for_the_next_one_of_its_client(hosts: Hosts) -> None:
    async with Gateway(hosts, Asking, limits=Limits(sessions_per_client=2)) as gateway:
        server, clients = gateway.server(), [gateway.client(port=port) for port in range(7001, 7005)]
        for client in clients[:2]:
            client.sendto(b"question", server.getsockname())
            _, source = await hear(server)
        server.sendto(b"answer", source)
        await hear(clients[1])
        clients[2].sendto(b"question", server.getsockname())
        assert await hear(server) == (b"question", clients[2].getsockname())
        closed = gateway.shell.log.last("session.closed")
        assert (closed["client"], closed["reason"]) == (f"{hosts.client_address(4)}:7002", "gave_way")
        clients[3].sendto(b"question", server.getsockname())
        assert (await gateway.shell.until("session.denied"))["reason"] == "limit_per_client"


async def test_one_to_which_something_has_come_that_waits_to_be_read_makes_none(hosts: Hosts) -> None:
    async with Gateway(hosts, Asking, limits=Limits(sessions_per_client=2)) as gateway:
        server, clients = gateway.server(), [gateway.client(port=port) for port in range(7001, 7004)]
        sources = []
        for client in clients[:2]:
            client.sendto(b"question", server.getsockname())
            sources.append((await hear(server))[1])
            server.sendto(b"answer", sources[-1])
            await hear(client)
        clients[2].sendto(b"question", server.getsockname())  # is read first
        server.sendto(b"more", sources[0])
        assert (await hear(clients[0]))[0] == b"more"
        assert (await gateway.shell.until("session.closed"))["client"] == f"{hosts.client_address(4)}:7002"


@pytest.mark.parametrize(
    ("lowered", "reason"),
    [(Limits(sessions_per_client=2), "limit_per_client"), (Limits(sessions=2), "limit_total")],
)
async def test_after_a_reload_that_lowers_a_limit_nobody_comes_in_until_there_are_less(
    hosts: Hosts, lowered: Limits, reason: str
) -> None:
    """Each one that knocks ends one that can be spared, and of four two are too many."""
    async with Gateway(hosts, Asking) as gateway:
        shell, server = gateway.shell, gateway.server()
        for port in range(7001, 7005):
            client = gateway.client(port=port)
            client.sendto(b"question", server.getsockname())
            _, source = await hear(server)
            if reason == "limit_per_client":
                server.sendto(b"answer", source)
                await hear(client)
        shell.sessions.use(shell.config.model_copy(update={"limits": lowered}))
        client = gateway.client(port=7005)
        for count in (1, 2):
            client.sendto(b"question", server.getsockname())
            assert (await shell.until("session.denied", count))["reason"] == reason
            assert len(shell.sessions) == 4 - count
        client.sendto(b"question", server.getsockname())
        assert await hear(server) == (b"question", client.getsockname())
        assert len(shell.sessions) == 2


@pytest.mark.parametrize(("prefix", "most"), [(64, 3), (128, MANY)])
async def test_all_addresses_of_a_hosts_network_are_one_client(hosts: Hosts, prefix: int, most: int) -> None:
    limits = Limits(sessions_per_client=3, client_prefix_ipv6=prefix)
    async with Gateway(hosts, limits=limits) as gateway:
        server = gateway.server(6)
        for host in many_addresses(hosts, 6):
            gateway.socket(hosts.client, host).sendto(b"x", server.getsockname()[:2])
        for _ in range(most):
            await hear(server)
        if most < MANY:
            assert (await gateway.shell.until("session.denied", MANY - most))["reason"] == "limit_per_client"
        assert len(gateway.shell.sessions) == most


async def test_a_session_that_nobody_answers_is_over_sooner(hosts: Hosts) -> None:
    async with Gateway(hosts, timeouts=Timeouts(udp_unanswered=0.2)) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        await hear(server)
        assert (await gateway.shell.until("session.closed"))["reason"] == "unanswered"


async def test_one_that_was_answered_has_its_whole_time(hosts: Hosts) -> None:
    unanswered = 0.5
    async with Gateway(hosts, timeouts=Timeouts(udp_unanswered=unanswered, udp_idle=1.5)) as gateway:
        client, server = gateway.client(), gateway.server()
        for _ in attempts():  # this process may get no turn for longer than the server has for its answer
            asked_at = time.monotonic()
            client.sendto(b"x", server.getsockname())
            server.sendto(b"y", (await hear(server))[1])
            if time.monotonic() - asked_at < unanswered:
                break
        before = gateway.shell.log.events().count("session.closed")
        await hear(client)
        closed = await gateway.shell.until("session.closed", before + 1)
        assert (closed["reason"], closed["duration_seconds"] > 1) == ("idle", True)


@pytest.fixture(scope="module", params=["none", "interface"])
def gate(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as gate:
        yield gate


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", [b"x", b"\r\n\r\n", b"\0" * 4, b"GET / HTTP/1.0\r\n\r\n", bytes.fromhex("000100002112a442")]
)
def test_what_is_no_sip_begins_no_session(gate: Site, data: bytes) -> None:
    denied = len(gate.daemon.audit("session.denied"))
    gate.phone.say(data, (gate.server_at, 5060))
    assert gate.daemon.wait_for("session.denied", denied + 1)["reason"] == "not_sip"
    assert gate.daemon.ask("sessions")["sessions"] == []
    assert gate.daemon.audit("session.opened") == []
