"""Datagrams of hosts that no policy names, at addresses where sockets of sessions stand: they pass the gateway as if
nobody stood there, and the forward chain decides about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport, only
from protocols.contract.effects import Abort, Effect, Send
from protocols.contract.pinholes import Expect, Grant, Pinholes, Reader
from proxy.host.rules import Backend
from tests.harness.shell import PassOn
from tests.netns.datagrams import Gateway, InCalls, hear
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]

BYSTANDERS = {4: "10.1.0.9", 6: "fd01::9"}
QUESTIONS = 50
ELSEWHERE = {4: "192.0.2.66", 6: "2001:db8::66"}


def also(hosts: Hosts, version: int) -> None:
    """A second host on either side."""
    bits = {4: "24", 6: "64"}[version]
    for namespace, host in ((hosts.client, BYSTANDERS[version]), (hosts.server, ELSEWHERE[version])):
        namespace.run("ip", "address", "add", f"{host}/{bits}", "dev", "eth0", *(("nodad",) if version == 6 else ()))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("snat", ["none", "interface"])
@pytest.mark.parametrize("backend", list(Backend))
async def test_hosts_that_no_policy_names_reach_the_server_of_one_that_is_named(
    hosts: Hosts, version: int, snat: str, backend: Backend
) -> None:
    also(hosts, version)
    async with Gateway(
        hosts, InCalls, snat=snat, sources=only(hosts.client_address(version)), backend=backend
    ) as gateway:
        client, server = gateway.client(version), gateway.server(version)
        bystander = gateway.socket(hosts.client, BYSTANDERS[version])
        client.sendto(b"call", server.getsockname()[:2])
        await hear(server)
        bystander.sendto(b"mine", server.getsockname()[:2])
        assert await hear(server) == (b"mine", bystander.getsockname()[:2])
        server.sendto(b"yours", bystander.getsockname()[:2])
        assert await hear(bystander) == (b"yours", server.getsockname()[:2])
        client.sendto(b"call", server.getsockname()[:2])
        assert (await hear(server))[0] == b"call"
        assert gateway.shell.log.events().count("session.opened") == 1
        assert "session.denied" not in gateway.shell.log.events()


@pytest.mark.parametrize("version", [4, 6])
async def test_hosts_that_no_policy_names_reach_a_client_that_is_in_a_call(hosts: Hosts, version: int) -> None:
    also(hosts, version)
    async with Gateway(hosts, InCalls, interfaces=("lan0",)) as gateway:
        client, server = gateway.client(version), gateway.server(version)
        other = gateway.socket(hosts.server, ELSEWHERE[version])
        client.sendto(b"call", server.getsockname()[:2])
        await hear(server)
        other.sendto(b"from a branch", client.getsockname()[:2])
        assert await hear(client) == (b"from a branch", other.getsockname()[:2])
        assert "session.denied" not in gateway.shell.log.events()


async def test_one_socket_serves_all_clients_of_a_server(hosts: Hosts) -> None:
    async with Gateway(hosts) as gateway:
        server = gateway.server()
        for port in (6000, 6001, 6002):
            gateway.client(port=port).sendto(b"x", server.getsockname())
            await hear(server)
        assert len(gateway.shell.pinholes.endpoints) == 1 + 3


class Answered(PassOn):
    """A session that ends with its first answer."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        effects = super().receive(side, data, now)
        return [*effects, Abort("answered")] if side is Side.SERVER else effects


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_questions_of_a_client_whose_session_ends_with_each_answer_are_not_lost(
    hosts: Hosts, version: int, snat: str
) -> None:
    async with Gateway(hosts, Answered, snat=snat) as gateway:
        client, server = gateway.client(version), gateway.server(version)
        client.sendto(b"question 0", server.getsockname()[:2])
        question, source = await hear(server)
        server.sendto(b"answer", source)
        for number in range(1, QUESTIONS):  # which wait when the session ends
            client.sendto(b"question %d" % number, server.getsockname()[:2])
        heard = {question}
        while len(heard) < QUESTIONS:
            question, source = await hear(server)
            heard.add(question)
            server.sendto(b"answer", source)
        assert heard == {b"question %d" % number for number in range(QUESTIONS)}


@pytest.mark.parametrize("askers", [1, 2], ids=["of one who asks", "of two who ask by turns"])
async def test_datagrams_that_had_arrived_before_a_socket_was_closed_are_not_lost(hosts: Hosts, askers: int) -> None:
    """As with questions and answers: each session ends with its first answer, while further questions wait."""

    class Called(Answered):
        """Of the called party: it is asked by a pinhole, so that the socket towards those who ask hears them itself."""

        def __init__(self, peers: Peers, options: Any, pinholes: Pinholes, now: float) -> None:
            super().__init__(peers, options, pinholes, now)
            if peers.role is None:
                own, known = peers.client, Endpoint(peers.client_as_seen.host, 0)
                allow, reader = only(peers.server.host), Reader("test", "called")
                grant = pinholes.open(
                    Expect(
                        Transport.UDP, "test", "x", known, allow, own, None, 600, None, 600, uses=None, reader=reader
                    )
                )
                assert isinstance(grant, Grant)
                stands.append(grant.listen)

        def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
            return super().receive(side, data, now) if self.peers.role is not None else [Send(side.other, data)]

    stands: list[Endpoint] = []
    async with Gateway(hosts, Called, snat="interface") as gateway:
        called, asker = gateway.client(), gateway.server()
        called.sendto(b"here", asker.getsockname())
        await hear(asker)
        at = (str(stands[0].host), stands[0].port)
        asking = [asker, gateway.socket(hosts.server, hosts.server_address(4), 6060)][:askers]
        for number in range(QUESTIONS):
            asking[number % askers].sendto(b"question %d" % number, at)
        heard: set[bytes] = set()
        while len(heard) < QUESTIONS:
            question, source = await hear(called)
            heard.add(question)
            called.sendto(b"answer", source)
        assert heard == {b"question %d" % number for number in range(QUESTIONS)}
