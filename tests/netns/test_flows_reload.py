"""What a reload does to UDP sessions that stand: nobody is cut off in the middle, nobody goes on by an old policy."""

from __future__ import annotations

import gc
import socket
from ipaddress import ip_network
from typing import Any

import pytest

from protocols.sip.helper import SipEngines
from protocols.sip.options import SipOptions
from protocols.tftp.engine import HELPER as TFTP
from protocols.tftp.options import TftpOptions
from proxy.config.schema import Limits, Timeouts
from proxy.config.values import Dnat
from proxy.sessions.flow import Flow
from tests.harness.sip_flow import message
from tests.netns.datagrams import Gateway, InCalls, hear, silence
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]

DIALOG = ("From: <sip:alice@x>;tag=r", "To: <sip:alice@x>", "Call-ID: reg")
DENIED = {"accept": False}


def with_options(**options: Any) -> dict[str, Any]:
    """Of a policy: those of SIP, and of the helper of the tests."""
    return {"options": dict.fromkeys(("sip", "test"), SipOptions(**options))}


OTHER = with_options(block_methods=("MESSAGE",))
"""A policy that is another one."""
YET_ANOTHER = with_options(block_methods=("PUBLISH",))


def reload(gateway: Gateway, changes: dict[str, Any]) -> None:
    shell = gateway.shell
    (policy,) = shell.config.policies
    shell.sessions.use(shell.config.model_copy(update={"policies": (policy.model_copy(update=changes),)}))


# -- the flow itself ---------------------------------------------------------------------------------------------------


async def test_a_flow_that_would_be_the_same_goes_on(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        await hear(server)
        reload(gateway, {})
        client.sendto(b"x", server.getsockname())
        await hear(server)
        assert gateway.shell.log.events() == ["session.opened"]


async def test_one_that_would_be_another_begins_anew_with_its_next_datagram(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        assert (await hear(server))[1][0] == str(hosts.gateway_address(4))
        reload(gateway, {"snat": "none"})
        client.sendto(b"y", server.getsockname())
        assert await hear(server) == (b"y", client.getsockname())
        assert gateway.shell.log.last("session.closed")["reason"] == "reconfigured"


async def test_one_that_nothing_accepts_ends_at_once(hosts: Hosts) -> None:
    async with Gateway(hosts, InCalls, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"call", server.getsockname())
        await hear(server)
        reload(gateway, DENIED)
        assert (await gateway.shell.until("session.closed"))["reason"] == "denied_by_policy"
        assert not gateway.shell.sessions.lingering
        client.sendto(b"x", server.getsockname())
        assert (await gateway.shell.until("session.denied"))["reason"] == "denied_by_policy"
        await silence(server)


async def test_one_that_would_be_the_same_again_goes_on(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        await hear(server)
        reload(gateway, {"snat": "none"})
        reload(gateway, {})
        client.sendto(b"x", server.getsockname())
        assert (await hear(server))[1][0] == str(hosts.gateway_address(4))
        assert gateway.shell.log.events() == ["session.opened"]


async def test_without_room_for_another_it_stays_until_there_is(hosts: Hosts) -> None:
    async with Gateway(hosts, InCalls, snat="interface") as gateway:
        shell, client, server = gateway.shell, gateway.client(), gateway.server()
        client.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        gateway.client(port=7001).sendto(b"another of that client", server.getsockname())
        await hear(server)
        (policy,) = shell.config.policies
        changed = {"policies": (policy.model_copy(update=OTHER),), "limits": Limits(sessions_per_client=1)}
        shell.sessions.use(shell.config.model_copy(update=changed))
        client.sendto(b"y", server.getsockname())
        await silence(server)
        assert shell.log.last("session.denied")["reason"] == "limit_per_client"
        server.sendto(b"bye", outside)
        assert (await hear(client))[0] == b"bye"
        reload(gateway, OTHER)
        client.sendto(b"z", server.getsockname())
        assert await hear(server) == (b"z", outside)


async def test_one_for_which_there_is_no_nat_any_more_ends_at_once(hosts: Hosts) -> None:
    async with Gateway(hosts, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        _, outside = await hear(server)
        reload(gateway, {"snat": (hosts.gateway_address(6),)})
        assert (await gateway.shell.until("session.closed"))["reason"] == "no_snat_address"
        server.sendto(b"y", outside)
        await silence(client)


async def test_one_that_would_be_another_flow_of_its_client_waits_for_that_to_end(hosts: Hosts) -> None:
    """A server has moved to where the client has another one."""
    hosts.server.run("ip", "address", "add", "192.0.2.66/24", "dev", "eth0")
    async with Gateway(hosts, snat="interface") as gateway:
        client, server, moved = gateway.client(), gateway.server(), gateway.socket(hosts.server, "192.0.2.66")
        for one in (server, moved):
            client.sendto(b"x", one.getsockname())
            _, outside = await hear(one)
        (policy,) = gateway.shell.config.policies
        leads = {"destinations": (ip_network("192.0.2.66/32"),), "dnat": Dnat(hosts.server_address(4), None)}
        both = (policy.model_copy(update={"name": "moved", **leads}), policy)
        gateway.shell.sessions.use(gateway.shell.config.model_copy(update={"policies": both}))
        client.sendto(b"y", moved.getsockname())
        assert (await gateway.shell.until("session.denied"))["reason"] == "address_in_use"
        server.sendto(b"of its own flow", outside)
        assert await hear(client) == (b"of its own flow", server.getsockname())
        for flow in gateway.shell.sessions:
            flow.cut("idle")
        assert gateway.shell.log.events().count("session.closed") == 2
        client.sendto(b"z", moved.getsockname())
        assert await hear(server) == (b"z", outside)


async def test_a_session_that_fails_keeps_no_other_from_being_denied(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Gateway(hosts) as gateway:
        shell, server = gateway.shell, gateway.server()
        told: list[Any] = []
        shell.loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        for port in (7001, 7002, 7003):
            gateway.client(port=port).sendto(b"x", server.getsockname())
            await hear(server)
        broken = next(iter(shell.sessions))
        monkeypatch.setattr(broken, "cut", None)
        reload(gateway, DENIED)
        assert list(shell.sessions) == [broken]
        assert len(told) == 1
        monkeypatch.undo()


async def test_the_server_may_be_the_first_to_say_something(hosts: Hosts) -> None:
    """A 200 for a phone that rings, a BYE: whoever waits for it says nothing himself."""
    async with Gateway(hosts, InCalls, snat="interface") as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        reload(gateway, OTHER)
        for again in (b"180", b"200"):
            server.sendto(again, outside)
            assert await hear(client) == (again, server.getsockname())
        client.sendto(b"ack", server.getsockname())
        assert await hear(server) == (b"ack", outside)
        assert gateway.shell.log.events().count("session.opened") == 2


async def test_it_stays_while_a_call_of_before_goes_on(hosts: Hosts) -> None:
    timeouts = Timeouts(udp_idle=0.1)
    async with Gateway(hosts, InCalls, snat="interface", timeouts=timeouts) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        reload(gateway, OTHER)
        client.sendto(b"x", server.getsockname())
        await hear(server)
        await silence(server)
        server.sendto(b"bye", outside)
        assert (await hear(client))[0] == b"bye"
        old, _ = gateway.shell.engines
        old.is_called = False
        assert (await gateway.shell.until("session.closed", 2))["reason"] == "idle"


@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_who_comes_by_a_pinhole_of_before_is_let_in_though_its_session_ends_by_that(
    hosts: Hosts, snat: str
) -> None:
    """A server of TFTP answers a request that was made before a reload."""
    request = b"\0\1boot.img\0octet\0"
    traits, options = {"begins": TFTP.begins, "roles": TFTP.roles}, {"tftp": TftpOptions()}
    async with Gateway(hosts, TFTP.start(), snat=snat, helper="tftp", traits=traits, options=options) as gateway:
        client, server, transfer = gateway.client(), gateway.server(), gateway.server(port=7000)
        client.sendto(request, server.getsockname())
        await hear(server)
        reload(gateway, {"options": {"tftp": TftpOptions(max_bytes=1000)}})
        client.sendto(request, server.getsockname())
        _, seen = await hear(server)
        transfer.sendto(b"\0\3\0\1last", seen)
        assert await hear(client) == (b"\0\3\0\1last", transfer.getsockname())
        assert gateway.shell.log.events().count("session.closed") == 1
        assert not gateway.shell.sessions.lingering


# -- phones that are called by their registrar -------------------------------------------------------------------------


def registers(me: str, number: int) -> bytes:
    via = f"Via: SIP/2.0/UDP {me};branch=z9hG4bKr{number};rport"
    more = (f"CSeq: {number} REGISTER", f"Contact: <sip:alice@{me}>", "Expires: 3600")
    return message("REGISTER sip:x SIP/2.0", via, *DIALOG, *more)


def accepts(asked: bytes) -> bytes:
    names = ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Expires")
    return message(
        "SIP/2.0 200 OK", *(line for line in asked.decode().split("\r\n") if line.partition(":")[0] in names)
    )


def pings(server: str, outside: tuple[Any, ...]) -> bytes:
    via, dialog = f"Via: SIP/2.0/UDP {server};branch=z9hG4bKo;rport", ("From: <sip:s@x>;tag=o", "To: <sip:alice@x>")
    uri = f"sip:alice@{outside[0]}:{outside[1]}"
    return message(f"OPTIONS {uri} SIP/2.0", via, *dialog, "Call-ID: o", "CSeq: 1 OPTIONS")


def writes(me: str) -> bytes:
    via, dialog = f"Via: SIP/2.0/UDP {me};branch=z9hG4bKm;rport", ("From: <sip:alice@x>;tag=m", "To: <sip:bob@x>")
    return message("MESSAGE sip:bob@x SIP/2.0", via, *dialog, "Call-ID: m", "CSeq: 1 MESSAGE")


async def registered(gateway: Gateway) -> tuple[socket.socket, socket.socket, tuple[Any, ...]]:
    client, server = gateway.client(), gateway.server()
    client.sendto(registers(client.getsockname()[0], 1), server.getsockname())
    asked, outside = await hear(server)
    server.sendto(accepts(asked), outside)
    await hear(client)
    return client, server, outside


def sip(hosts: Hosts, **options: Any) -> Gateway:
    return Gateway(hosts, SipEngines(), helper="sip", snat="interface", **with_options(**options))


def another_caller(gateway: Gateway) -> socket.socket:
    """Not the registrar."""
    gateway.hosts.server.run("ip", "address", "add", "192.0.2.66/24", "dev", "eth0")
    return gateway.socket(gateway.hosts.server, "192.0.2.66")


async def test_what_was_asked_before_a_reload_is_answered_as_if_there_had_been_none(hosts: Hosts) -> None:
    async with sip(hosts) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(registers(client.getsockname()[0], 1), server.getsockname())
        asked, outside = await hear(server)
        reload(gateway, YET_ANOTHER)
        server.sendto(accepts(asked), outside)
        await hear(client)
        assert "registration.added" in gateway.shell.log.events()


async def test_of_many_reloads_no_more_is_left_than_of_two(hosts: Hosts) -> None:
    async with sip(hosts) as gateway:
        client, server, _ = await registered(gateway)
        for number in range(2, 12):
            reload(gateway, OTHER if number % 2 else YET_ANOTHER)
            client.sendto(registers(client.getsockname()[0], number), server.getsockname())
            asked, outside = await hear(server)
            server.sendto(accepts(asked), outside)
            await hear(client)
        assert len(gateway.shell.sessions) == 1
        assert len(gateway.shell.sessions.lingering) <= 2


def in_a_call(me: str, number: int) -> bytes:
    """The first request begins the call, the others are within it."""
    method, tag = ("INVITE", "") if number == 1 else ("INFO", ";tag=s")
    via = f"Via: SIP/2.0/UDP {me};branch=z9hG4bKi{number};rport"
    names = ("From: <sip:alice@x>;tag=r", f"To: <sip:bob@x>{tag}", "Call-ID: call", f"CSeq: {number} {method}")
    return message(f"{method} sip:bob@x SIP/2.0", via, *names, f"Contact: <sip:alice@{me}>")


async def test_of_a_call_that_outlives_many_reloads_no_flow_stays_but_its_first_and_last_ones(hosts: Hosts) -> None:
    """They go by their reference counts alone: with them go their timers, since a timer holds its flow."""
    async with sip(hosts) as gateway:
        client, server = gateway.client(), gateway.server()
        gc.collect()
        gc.disable()
        try:
            for number in range(1, 13):
                client.sendto(in_a_call(client.getsockname()[0], number), server.getsockname())
                asked, outside = await hear(server)
                server.sendto(accepts(asked).replace(b"To: <sip:bob@x>\r\n", b"To: <sip:bob@x>;tag=s\r\n"), outside)
                await hear(client)
                reload(gateway, OTHER if number % 2 else YET_ANOTHER)
            gateway.shell.engines.clear()  # the test has kept them
            flows = sum(isinstance(one, Flow) for one in gc.get_objects())
        finally:
            gc.enable()
        assert flows <= 4
        assert len(gateway.shell.sessions) == 1
        assert len(gateway.shell.sessions.lingering) == 2


async def test_who_calls_himself_gets_no_session(hosts: Hosts) -> None:
    async with sip(hosts, strict_register=False) as gateway:
        client, _, outside = await registered(gateway)
        client.sendto(writes(client.getsockname()[0]), outside)
        assert (await gateway.shell.until("session.denied"))["reason"] == "address_in_use"
        reload(gateway, DENIED)
        assert (len(gateway.shell.sessions), len(gateway.shell.pinholes)) == (0, 0)


@pytest.mark.parametrize("first", ["phone", "server"])
async def test_the_new_policy_holds_whoever_is_the_first_to_say_something(hosts: Hosts, first: str) -> None:
    async with sip(hosts) as gateway:
        client, server, outside = await registered(gateway)
        reload(gateway, OTHER)
        if first == "server":
            server.sendto(pings(server.getsockname()[0], outside), outside)
            asked, _ = await hear(client)
            client.sendto(accepts(asked), server.getsockname())
            await hear(server)
        client.sendto(writes(client.getsockname()[0]), server.getsockname())
        assert (await hear(client))[0].startswith(b"SIP/2.0 403 ")
        await silence(server)


@pytest.mark.parametrize("is_called_between", [False, True])
async def test_who_is_denied_by_a_later_reload_is_reached_no_more(hosts: Hosts, is_called_between: bool) -> None:
    async with sip(hosts) as gateway:
        client, server, outside = await registered(gateway)
        reload(gateway, YET_ANOTHER)
        if is_called_between:
            server.sendto(pings(server.getsockname()[0], outside), outside)
            asked, _ = await hear(client)
            client.sendto(accepts(asked), server.getsockname())
            await hear(server)
        reload(gateway, DENIED)
        shell = gateway.shell
        assert (len(shell.sessions), len(shell.sessions.lingering), len(shell.pinholes)) == (0, 0, 0)
        server.sendto(pings(server.getsockname()[0], outside), outside)
        client.sendto(writes(client.getsockname()[0]), server.getsockname())
        await silence(client)
        await silence(server)


async def test_a_phone_that_was_called_by_another_host_answers_by_the_policy_of_now(hosts: Hosts) -> None:
    async with sip(hosts, strict_register=False) as gateway:
        client, _, outside = await registered(gateway)
        caller = another_caller(gateway)
        caller.sendto(pings("192.0.2.66", outside), outside)
        await hear(client)
        reload(gateway, with_options(strict_register=False, block_methods=("MESSAGE",)))
        client.sendto(writes(client.getsockname()[0]), caller.getsockname())
        assert (await hear(client))[0].startswith(b"SIP/2.0 403 ")
        await silence(caller)


async def test_another_host_that_may_call_a_phone_comes_by_the_policy_of_now(hosts: Hosts) -> None:
    """By its pinhole, which stands as long as its registration."""
    async with sip(hosts, strict_register=False) as gateway:
        client, _, outside = await registered(gateway)
        caller = another_caller(gateway)
        reload(gateway, with_options(strict_register=False, block_methods=("OPTIONS",)))
        caller.sendto(pings("192.0.2.66", outside), outside)
        assert (await hear(caller))[0].startswith(b"SIP/2.0 403 ")
        reload(gateway, DENIED)
        caller.sendto(pings("192.0.2.66", outside), outside)
        await silence(caller)
        await silence(client)
