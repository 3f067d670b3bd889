"""Pinholes: the expected peer gets in, once, in time; nobody else does; nothing outlives its reason."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from itertools import chain
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Transport, only
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Refusal, Used
from proxy.config.schema import Limits, Timeouts
from proxy.pinholes.of_session import SessionPinholes
from proxy.pinholes.shares import Group
from proxy.record.audit import Log
from proxy.sockets import packet_info, transparent
from proxy.sockets.arrival import Arrival
from proxy.sockets.reserved import MOST_LEASED, MOST_OF_ONE_CLIENT, SERVICES, is_reserved
from tests.harness.clock import Clock
from tests.harness.shell import SECONDS, Shell, accept, dial, read_to_end, receive, say, serve
from tests.proxy.conftest import CLIENT, CLIENT6, OURS, SERVER, SERVER6, STRANGER, may_not_bind_reserved_ports

pytestmark = pytest.mark.usefixtures("network", "nothing_leaks")

ANY = 0


def at(host: str, port: int = ANY) -> Endpoint:
    return Endpoint(ip_address(host), port)


@asynccontextmanager
async def dialled(source: str, target: Endpoint) -> AsyncIterator[socket.socket]:
    with await dial(source, target) as sock:
        yield sock


class Session:
    """Owner of the pinholes under test."""

    key = "s-1"
    charged_to = CLIENT
    group = Group("test", False)

    def __init__(self, shell: Shell, client: str = CLIENT, server: str = SERVER) -> None:
        self.log: Log = shell.log
        self.helper = shell.helper
        self.policy = shell.config.policies[0]
        self.arrival = self.decided_by = Arrival(
            Transport.TCP, "lan0", Endpoint(ip_address(CLIENT), 1), Endpoint(ip_address(SERVER), 7)
        )
        self.hosts = ip_address(client), ip_address(server)
        self.pinholes = SessionPinholes(shell.pinholes, self)
        self.heard: list[PinholeEvent] = []

    def pinhole_event(self, grant: AnyGrant, event: PinholeEvent) -> None:
        self.heard.append(event)


class World:
    """A server that waits for data, and a session whose client may fetch it through a pinhole."""

    def __init__(
        self, shell: Shell | None = None, client: str = CLIENT, server: str = SERVER, ours: str = OURS
    ) -> None:
        self.shell = shell or Shell()
        self.session = Session(self.shell, client, server)
        self.client, self.ours = client, ours
        self.waiting, target = serve(server)
        self.expect = Expect(
            transport=Transport.TCP,
            purpose="test-data",
            trigger="TEST",
            listen=at(ours),
            allow=only(at(client).host),
            target=target,
            source=at(client),
            idle_seconds=30,
        )

    def open(self, **changes: Any) -> Grant:
        answer = self.session.pinholes.open(replace(self.expect, **changes))
        assert isinstance(answer, Grant), answer
        return answer

    def clock(self) -> Clock:
        """From now on the time of pinholes passes as this one says."""
        clock = Clock(self.shell.loop)
        self.shell.pinholes.loop = clock.loop
        return clock

    async def through(self, grant: Grant) -> tuple[socket.socket, socket.socket]:
        peer = await dial(self.client, grant.listen)
        target, _ = await accept(self.waiting)
        return peer, target

    async def relays(self, count: int) -> None:
        """Wait until so many relays run through the only pinhole, and no target is being dialled."""
        (pinhole,) = self.shell.pinholes
        async with asyncio.timeout(SECONDS):
            while pinhole.dialling or len(pinhole.relays) != count:  # noqa: ASYNC110 - nobody tells of these
                await asyncio.sleep(0.001)

    async def gone(self, grant: Grant) -> dict[str, Any]:
        closed = await self.shell.until("pinhole.closed")
        with pytest.raises(ConnectionRefusedError):
            await dial(self.client, grant.listen)
        return closed

    def close(self, *others: socket.socket) -> None:
        for sock in (self.waiting, *others):
            sock.close()


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
async def test_the_expected_peer_is_connected_to_the_target(client: str, server: str) -> None:
    world = World(client=client, server=server, ours=server)
    grant = world.open()
    assert 40000 <= grant.listen.port <= 40999
    peer, target = await world.through(grant)
    assert packet_info.endpoint(target.getpeername()).host == at(client).host
    await say(target, b"file")
    target.close()
    assert await read_to_end(peer) == b"file"
    peer.close()
    closed = await world.shell.until("pinhole.closed")
    assert (closed["reason"], closed["bytes_in"], closed["bytes_out"]) == ("finished", 0, 4)
    used, ended = world.session.heard
    assert isinstance(used, Used) and used.peer.host == at(client).host
    assert isinstance(ended, Closed) and (ended.reason, ended.bytes_in, ended.bytes_out) == ("finished", 0, 4)
    world.close()


async def test_an_exact_port_is_kept() -> None:
    world = World()
    grant = world.open(listen=at(SERVER, 45678))
    assert grant.listen == at(SERVER, 45678)
    peer, target = await world.through(grant)
    assert world.shell.ports.in_use() == 0
    world.close(peer, target)


# -- reserved ports ----------------------------------------------------------------------------------------------------


async def through_from(world: World, grant: Grant, port: int) -> Endpoint:
    """Whom the target sees, when the peer comes from that port."""
    peer = await dial(world.client, grant.listen, port)
    target, seen = await accept(world.waiting)
    peer.close()
    target.close()
    return seen


async def test_a_reserved_port_of_ours_is_below_1024_and_none_of_the_pool() -> None:
    world = World()
    grant = world.open(reserved=True)
    assert is_reserved(grant.listen.port) and grant.listen.port not in SERVICES
    assert world.shell.ports.in_use() == 0
    assert world.shell.pinholes.reserved.in_use() == 1
    world.session.pinholes.close(grant)
    assert world.shell.pinholes.reserved.in_use() == 0
    world.close()


@pytest.mark.parametrize("source", [at(CLIENT), at(OURS), None])
async def test_who_comes_from_a_reserved_port_is_seen_to_come_from_one(source: Endpoint | None) -> None:
    world = World()
    seen = await through_from(world, world.open(reserved=True, source=source), 1020)
    assert seen.host == (ip_address(CLIENT) if source is None else source.host)
    assert seen.port == 1020 if seen.host == ip_address(OURS) else is_reserved(seen.port) and seen.port != 1020
    world.close()


async def test_who_comes_from_another_port_gains_none() -> None:
    world = World()
    assert (await through_from(world, world.open(reserved=True), 0)).port >= 1024
    world.close()


async def test_a_reserved_port_towards_the_target_alone_leaves_the_pinhole_at_one_of_the_pool() -> None:
    world = World()
    grant = world.open(reserved_source=True)
    assert 40000 <= grant.listen.port <= 40999
    assert is_reserved((await through_from(world, grant, 1020)).port)
    assert (await through_from(world, world.open(reserved_source=True), 0)).port >= 1024
    world.close()


async def test_reserved_ports_are_left_for_others_of_this_host() -> None:
    world = World(Shell(limits=Limits(pinholes_per_session=MOST_LEASED + 1)))
    for number in range(MOST_LEASED):
        world.session.charged_to = str(number)
        world.open(reserved=True)
    world.session.charged_to = "another"
    answer = world.session.pinholes.open(replace(world.expect, reserved=True))
    assert answer == Refusal("no_free_port")
    world.close()


async def test_reserved_ports_are_left_for_other_clients() -> None:
    world = World(Shell(limits=Limits(pinholes_per_session=MOST_LEASED)))
    grants = [world.open(reserved=True) for _ in range(MOST_OF_ONE_CLIENT)]
    wanted = replace(world.expect, reserved=True)
    assert world.session.pinholes.open(wanted) == Refusal("no_free_port")
    world.session.pinholes.close(grants[0])
    assert isinstance(world.session.pinholes.open(wanted), Grant)
    world.close()


async def test_who_comes_from_a_port_that_is_not_reserved_is_a_stranger_where_one_is_demanded() -> None:
    world = World()
    grant = world.open(from_reserved=True)
    with pytest.raises(ConnectionResetError):
        async with dialled(CLIENT, grant.listen) as unprivileged:
            await receive(unprivileged)
    assert (await through_from(world, grant, 1020)).host == at(CLIENT).host
    assert (await world.shell.until("pinhole.closed"))["refused"] == 1
    world.close()


async def test_without_the_right_to_bind_them_a_pinhole_at_a_reserved_port_is_refused() -> None:
    world = World()
    with may_not_bind_reserved_ports():
        answer = world.session.pinholes.open(replace(world.expect, reserved=True))
    assert answer == Refusal("not_permitted")
    assert world.shell.log.last("pinhole.refused")["reason"] == "not_permitted"
    world.close()


async def test_a_stranger_is_reset_and_the_right_peer_still_gets_in() -> None:
    world = World()
    grant = world.open()
    for _ in range(3):
        with pytest.raises(ConnectionResetError):  # as early as in connect(), or later
            async with dialled(STRANGER, grant.listen) as stranger:
                await receive(stranger)
    peer, target = await world.through(grant)
    await say(peer, b"x")
    assert await receive(target) == b"x"
    world.close(peer, target)
    assert (await world.shell.until("pinhole.closed"))["refused"] == 3
    assert world.shell.log.events().count("violation") == 1
    assert world.shell.log.last("violation")["rule"] == "pinhole.stranger"
    counted = world.shell.metrics.registry.get_sample_value("pinhole_violations_total", {"rule": "pinhole.stranger"})
    assert counted == 1


async def test_a_pinhole_takes_one_connection() -> None:
    world = World()
    grant = world.open()
    peer, target = await world.through(grant)
    with pytest.raises(ConnectionRefusedError):
        await dial(CLIENT, grant.listen)
    world.close(peer, target)


async def test_two_connections_at_the_same_moment_are_one_too_many() -> None:
    world = World()
    grant = world.open(confirmed=False)
    first, second = await dial(CLIENT, grant.listen), await dial(CLIENT, grant.listen)
    world.session.pinholes.confirm(grant)
    target, _ = await accept(world.waiting)
    await say(target, b"x")
    assert await receive(first) == b"x"
    with pytest.raises(ConnectionResetError):
        await receive(second)
    world.close(first, second, target)


async def test_an_expect_may_allow_more_connections() -> None:
    world = World()
    grant = world.open(uses=2)
    pairs = [await world.through(grant) for _ in range(2)]
    with pytest.raises(ConnectionRefusedError):
        await dial(CLIENT, grant.listen)
    for pair in pairs:
        for sock in pair:
            sock.close()
    await world.shell.until("pinhole.closed")
    world.close()


async def test_an_expect_may_allow_so_many_connections_at_once() -> None:
    world = World()
    grant = world.open(uses=None, lasts_seconds=60, at_once=2)
    pairs = [await world.through(grant) for _ in range(2)]
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            async with dialled(CLIENT, grant.listen) as third:
                await receive(third)
    with pytest.raises(ConnectionResetError):
        async with dialled(STRANGER, grant.listen) as stranger:
            await receive(stranger)
    (pinhole,) = world.shell.pinholes
    next(iter(pinhole.relays)).abort("idle")
    pairs.append(await world.through(grant))
    world.close(*chain.from_iterable(pairs))
    rules = [line["rule"] for line in world.shell.log.lines if line["event"] == "violation"]
    assert rules == ["pinhole.crowded", "pinhole.stranger"]
    world.session.pinholes.close(grant)
    assert (await world.shell.until("pinhole.closed"))["refused"] == 3


async def test_a_pinhole_that_lasts_ends_with_its_time_however_often_it_was_used() -> None:
    world = World()
    clock = world.clock()
    grant = world.open(uses=None, lasts_seconds=60)
    for pair in [await world.through(grant) for _ in range(2)]:
        for sock in pair:
            sock.close()
    await world.relays(0)
    clock.skip(59)
    assert "pinhole.closed" not in world.shell.log.events()
    clock.skip(1)
    closed = await world.shell.until("pinhole.closed")
    assert (closed["reason"], closed["duration_seconds"]) == ("expired", 60)
    world.close()


async def test_the_time_to_the_first_use_of_one_that_lasts_is_over_with_that() -> None:
    world = World()
    clock = world.clock()
    grant = world.open(uses=None, open_seconds=30, lasts_seconds=60)
    world.close(*await world.through(grant))
    await world.relays(0)
    clock.skip(59)
    assert "pinhole.closed" not in world.shell.log.events()
    clock.skip(1)
    assert (await world.gone(grant))["duration_seconds"] == 60


async def test_one_that_lasts_is_over_when_nobody_comes_in_the_time_to_the_first_use() -> None:
    world = World()
    clock = world.clock()
    grant = world.open(uses=None, open_seconds=30, lasts_seconds=600)
    clock.skip(30)
    assert (await world.gone(grant))["duration_seconds"] == 30
    world.close()


async def test_one_for_several_uses_stands_after_the_first_until_it_is_used_up_or_its_session_ends() -> None:
    world = World()
    clock = world.clock()
    grant = world.open(uses=2, open_seconds=30, idle_seconds=600)
    pair = await world.through(grant)
    await world.relays(1)
    clock.skip(300)
    world.close(*pair, *await world.through(grant))
    await world.gone(grant)


async def test_one_that_is_renewed_by_use_stands_while_a_relay_runs_and_so_long_after_it() -> None:
    world = World()
    clock = world.clock()
    grant = world.open(uses=None, open_seconds=60, lasts_seconds=30, renewed_by_use=True, idle_seconds=600)
    peer, target = await world.through(grant)
    await world.relays(1)
    clock.skip(70)
    assert "pinhole.closed" not in world.shell.log.events()
    world.close(*await world.through(grant), peer, target)
    await world.relays(0)
    clock.skip(29)
    assert "pinhole.closed" not in world.shell.log.events()
    clock.skip(1)
    await world.gone(grant)
    assert world.shell.log.last("pinhole.closed")["reason"] == "expired"


async def test_one_that_is_renewed_by_use_and_never_used_is_over_in_the_time_to_the_first_use() -> None:
    world = World()
    clock = world.clock()
    grant = world.open(uses=None, open_seconds=30, lasts_seconds=600, renewed_by_use=True)
    clock.skip(30)
    assert (await world.gone(grant))["duration_seconds"] == 30
    world.close()


async def test_a_renewed_pinhole_lasts_from_then_on() -> None:
    world = World()
    clock = world.clock()
    grant = world.open(uses=None, lasts_seconds=30)
    clock.skip(20)
    world.session.pinholes.renew(grant, grant.expect.allow, 60)
    world.close(*await world.through(grant))
    await world.relays(0)
    clock.skip(59)
    assert "pinhole.closed" not in world.shell.log.events()
    clock.skip(1)
    assert (await world.gone(grant))["duration_seconds"] == 80


async def test_nobody_is_admitted_before_the_other_side_agreed() -> None:
    world = World()
    grant = world.open(confirmed=False)
    early = await dial(CLIENT, grant.listen)  # the kernel completes the handshake: some servers probe first (F30)
    await say(early, b"early")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await accept(world.waiting)
    assert "pinhole.used" not in world.shell.log.events()
    world.session.pinholes.confirm(grant)
    target, _ = await accept(world.waiting)
    assert await receive(target) == b"early"
    world.close(early, target)


async def test_a_pinhole_closed_before_it_was_confirmed_resets_who_waited() -> None:
    world = World()
    grant = world.open(confirmed=False)
    early = await dial(CLIENT, grant.listen)
    world.session.pinholes.close(grant)
    with pytest.raises(ConnectionResetError):
        await receive(early)
    world.session.pinholes.confirm(grant)
    await world.gone(grant)
    world.close(early)


async def test_an_unused_pinhole_goes_after_its_time() -> None:
    world = World(Shell(timeouts=Timeouts(pinhole_open=0.05)))
    assert (await world.gone(world.open()))["reason"] == "never_used"
    assert isinstance(world.session.heard[-1], Closed)
    world.close()


async def test_a_silent_relay_goes_after_its_time() -> None:
    world = World()
    grant = world.open(idle_seconds=0.05)
    peer, target = await world.through(grant)
    assert (await world.shell.until("pinhole.closed"))["reason"] == "idle"
    with pytest.raises(ConnectionResetError):
        await receive(peer)
    world.close(peer, target)


async def test_with_its_session_goes_a_waiting_pinhole() -> None:
    world = World()
    grant = world.open()
    world.session.pinholes.end("session_closed")
    assert (await world.gone(grant))["reason"] == "session_closed"
    world.close()


async def test_an_admitted_relay_runs_on_when_its_session_has_ended() -> None:
    world = World()
    peer, target = await world.through(world.open())
    world.session.pinholes.end("session_closed")
    await say(target, b"the rest")
    target.close()
    assert await read_to_end(peer) == b"the rest"
    world.close(peer)


async def test_a_target_that_refuses_becomes_a_reset_for_the_peer() -> None:
    world = World()
    world.waiting.close()
    grant = world.open()
    peer = await dial(CLIENT, grant.listen)
    with pytest.raises(ConnectionResetError):
        await receive(peer)
    assert (await world.shell.until("pinhole.closed"))["reason"] == "target_refused"
    peer.close()


def refusal(world: World, **changes: Any) -> str:
    answer = world.session.pinholes.open(replace(world.expect, **changes))
    assert isinstance(answer, Refusal)
    assert world.shell.log.last("pinhole.refused")["reason"] == answer.reason
    return answer.reason


async def test_more_pinholes_than_a_session_may_have_are_refused() -> None:
    world = World(Shell(limits=Limits(pinholes_per_session=2)))
    first = world.open()
    world.open()
    assert refusal(world) == "limit_per_session"
    world.session.pinholes.close(first)
    world.open()
    world.close()


async def test_more_pinholes_than_all_may_have_are_refused() -> None:
    world = World(Shell(limits=Limits(pinholes=1)))
    world.open()
    assert refusal(world) == "limit_total"
    world.close()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
async def test_an_address_is_shared_by_those_alone_who_may_come_at_once(first: bool, second: bool) -> None:
    """Who is to wait would be mistaken for somebody who need not."""
    world = World()
    world.open(listen=at(SERVER, 45678), confirmed=first)
    if first and second:
        world.open(listen=at(SERVER, 45678), confirmed=second)
    else:
        assert refusal(world, listen=at(SERVER, 45678), confirmed=second) == "address_in_use"
    world.close()


async def test_the_address_of_somebody_else_is_refused() -> None:
    world = World()
    with socket.create_server((SERVER, 45678)):
        assert refusal(world, listen=at(SERVER, 45678)) == "address_in_use"
    world.close()


async def test_at_a_shared_address_each_gets_its_own_and_a_stranger_nothing() -> None:
    """A listener without NAT leads all its clients to one address (T23)."""
    world = World()
    there = at(OURS, 45678)
    mine = world.open(listen=there)
    waiting, target = serve(SERVER)
    others = world.open(listen=there, allow=only(at(OURS).host), target=target, source=at(OURS))
    with pytest.raises(ConnectionResetError):
        async with dialled(STRANGER, there) as stranger:
            await receive(stranger)
    other = await dial(OURS, there)
    at_other, _ = await accept(waiting)
    assert world.shell.log.last("pinhole.used")["pinhole"] == world.shell.pinholes.name(others.id)
    peer, at_mine = await world.through(mine)
    assert world.shell.log.last("pinhole.used")["pinhole"] == world.shell.pinholes.name(mine.id)
    with pytest.raises(ConnectionRefusedError):
        await dial(CLIENT, there)
    world.close(waiting, other, at_other, peer, at_mine)


async def test_of_one_client_at_a_shared_address_whoever_waits_longest_is_served_first() -> None:
    world = World()
    there = at(SERVER, 45678)
    grants = [world.open(listen=there) for _ in range(3)]
    world.session.pinholes.close(grants[1])
    pairs = [await world.through(grants[0]) for _ in range(2)]
    used = [line["pinhole"] for line in world.shell.log.lines if line["event"] == "pinhole.used"]
    assert used == [world.shell.pinholes.name(grant.id) for grant in (grants[0], grants[2])]
    with pytest.raises(ConnectionRefusedError):
        await dial(CLIENT, there)
    world.close(*(sock for pair in pairs for sock in pair))


async def test_no_free_port_is_refused_and_a_taken_one_passed_over() -> None:
    world = World()
    world.shell.ports.use(40000, 40001)
    taken, _ = socket.create_server((OURS, 40000)), None
    assert world.open().listen.port == 40001
    assert refusal(world) == "no_free_port"
    world.close(taken)


@pytest.mark.parametrize("target", [at("127.0.0.1", 22), at("::1", 22), at(SERVER, 0)])
async def test_a_pinhole_never_points_to_the_gateway_itself(target: Endpoint) -> None:
    world = World()
    assert refusal(world, target=target) == "target_not_allowed"
    world.close()


async def test_a_target_on_this_host_is_refused_unless_it_is_a_host_of_the_session() -> None:
    world = World()
    world.session.hosts = at("203.0.113.1").host, at(SERVER).host
    assert refusal(world, target=at(OURS, 8443)) == "target_is_gateway"
    assert refusal(world, target=at(CLIENT6, 8443)) == "target_is_gateway"
    # Of hosts that are not this one nothing is refused, even if there is no way to them,
    world.open(target=at("203.0.113.9", 1521))
    world.open(target=at("2001:db8:9::1", 1521))
    # and a server that is on the gateway itself is where the client wants to be.
    world.open(target=at(SERVER, 21522))
    world.close()


async def test_without_descriptors_a_pinhole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any) -> socket.socket:
        raise OSError(24, "Too many open files")

    world = World()
    monkeypatch.setattr(transparent, "listen", none_left)
    assert refusal(world) == "no_descriptors"
    world.close()


async def test_one_helper_leaves_ports_for_connections_to_others() -> None:
    world = World()
    table, published, inside = world.shell.pinholes, Session(world.shell), Session(world.shell)
    published.group, inside.group = Group("sip", True), Group("ftp", False)
    world.shell.ports.use(40000, 40007)
    table.share((published.group, inside.group))
    expect = replace(world.expect, listen=at(world.ours, 0))
    answers = [published.pinholes.open(expect) for _ in range(8)]
    assert [isinstance(answer, Grant) for answer in answers] == [True] * 6 + [False] * 2
    assert answers[-1] == Refusal("no_free_port")
    assert isinstance(inside.pinholes.open(expect), Grant)
    published.pinholes.end("done")
    assert isinstance(published.pinholes.open(expect), Grant)
    for session in (published, inside):
        session.pinholes.end("done")
    world.waiting.close()


async def test_pinholes_of_one_client_are_limited_over_all_its_sessions() -> None:
    """A transfer may outlive its session, so a limit for each session is not enough."""
    world = World(Shell(limits=Limits(pinholes_per_client=2)))
    world.open()
    other = Session(world.shell)
    assert isinstance(other.pinholes.open(world.expect), Grant)
    assert other.pinholes.open(world.expect) == Refusal("limit_per_client")
    world.session.pinholes.end("done")
    assert isinstance(other.pinholes.open(world.expect), Grant)
    other.pinholes.end("done")
    world.waiting.close()


async def test_a_port_that_is_preferred_is_had_if_it_is_free_and_no_service_is_published_there() -> None:
    world = World()
    first, second = world.open(prefer=39001), world.open(prefer=39001)
    assert first.listen.port == 39001
    assert 40000 <= second.listen.port <= 40999
    world.session.pinholes.close(first)
    world.shell.pinholes.is_published = lambda transport, at: (transport, at.port) == (Transport.TCP, 39001)
    assert 40000 <= world.open(prefer=39001).listen.port <= 40999
    world.session.pinholes.end("over")
    assert world.shell.pinholes.ports.in_use() == 0
    world.close()
