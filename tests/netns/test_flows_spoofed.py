"""Datagrams that bear a party's address and come by the wrong interface, on a gateway whose kernel does not look
(rp_filter 0)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from protocols.contract.addresses import Endpoint, Host
from tests.netns.datagrams import PORT, Gateway, InCalls, hear, silence
from tests.netns.namespaces import Hosts, Namespace, needs_root
from tests.netns.test_flows import Registering
from tests.netns.test_flows_reload import OTHER, reload

pytestmark = [pytest.mark.netns, needs_root]


@pytest.fixture
def lax(hosts: Hosts) -> Iterator[Hosts]:
    for name in ("all", "default", "lan0", "wan0"):
        hosts.gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 0)
    yield hosts


def forge(at: Namespace, by: str, gateway: Namespace, source: Endpoint, to: Endpoint, data: bytes) -> None:
    """Send a datagram that bears any source address to the gateway, from the host that its interface `by` leads to."""
    udp = struct.pack(">HHHH", source.port, to.port, 8 + len(data), 0) + data
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source.host.packed, to.host.packed)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    theirs = gateway.run("ip", "-brief", "link", "show", by).split()[2]
    with at.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        sock.sendto(head + udp, ("eth0", 0x0800, 0, 0, bytes.fromhex(theirs.replace(":", ""))))


def endpoint(host: Host, port: int = PORT) -> Endpoint:
    return Endpoint(host, port)


@pytest.mark.parametrize("snat", ["none", "interface"])
async def test_a_neighbour_of_the_client_does_not_speak_as_its_server(lax: Hosts, snat: str) -> None:
    async with Gateway(lax, snat=snat) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        _, outside = await hear(server)
        known_as = Endpoint(lax.client_address(4) if snat == "none" else lax.gateway_address(4), outside[1])
        forge(lax.client, "lan0", lax.gateway, endpoint(lax.server_address(4)), known_as, b"forged")
        violation = await gateway.shell.until("violation")
        assert (violation["rule"], violation["action"]) == ("session.spoofed", "dropped")
        await silence(client)
        server.sendto(b"true", outside)
        assert (await hear(client))[0] == b"true"


async def test_a_host_outside_does_not_speak_as_the_client(lax: Hosts) -> None:
    async with Gateway(lax, snat="interface", interfaces=("lan0",)) as gateway:
        client, server = gateway.client(), gateway.server()
        client.sendto(b"x", server.getsockname())
        await hear(server)
        source, to = endpoint(lax.client_address(4)), endpoint(lax.server_address(4))
        forge(lax.server, "wan0", lax.gateway, source, to, b"forged")
        assert await hear(server) == (b"forged", client.getsockname())  # forwarded, not as the client's session
        (session,) = gateway.shell.sessions
        session.cut("over")
        assert gateway.shell.log.last("session.closed")["bytes_from_client"] == 1


async def test_a_neighbour_of_a_registered_client_does_not_call_as_its_registrar(lax: Hosts) -> None:
    async with Gateway(lax, Registering, snat="interface", interfaces=("lan0",)) as gateway:
        client, registrar = gateway.client(), gateway.server()
        client.sendto(b"register", registrar.getsockname())
        _, outside = await hear(registrar)
        at = Endpoint(lax.gateway_address(4), outside[1])
        forge(lax.client, "lan0", lax.gateway, endpoint(lax.server_address(4), 5081), at, b"invite")
        await gateway.shell.until("session.denied")
        await silence(client)


# From another port the server's host may answer, and begin sessions during a call. Its neighbours may not.


def answers(data: bytes) -> bool:
    return data.startswith(b"answer")


@pytest.mark.parametrize("interfaces", [(), ("lan0",)])
@pytest.mark.parametrize("snat", ["none", "interface"])
@pytest.mark.parametrize(("asked", "forged"), [(b"ask", b"answer, forged"), (b"call", b"forged")])
async def test_a_neighbour_of_the_client_speaks_from_no_other_port_of_its_server(
    lax: Hosts, asked: bytes, forged: bytes, snat: str, interfaces: tuple[str, ...]
) -> None:
    traits = {"answers": answers, "beside": "called"}
    async with Gateway(lax, InCalls, snat=snat, interfaces=interfaces, traits=traits) as gateway:
        client, server, other = gateway.client(), gateway.server(), gateway.server(port=5081)
        client.sendto(asked, server.getsockname())
        _, outside = await hear(server)
        known_as = Endpoint(lax.client_address(4) if snat == "none" else lax.gateway_address(4), outside[1])
        for _ in range(2):
            forge(lax.client, "lan0", lax.gateway, endpoint(lax.server_address(4), 5082), known_as, forged)
        violation = await gateway.shell.until("violation")
        assert (violation["rule"], violation["action"]) == ("session.spoofed", "dropped")
        await silence(client)
        other.sendto(b"answer, true", outside)
        assert await hear(client) == (b"answer, true", other.getsockname())
        first = gateway.shell.log.last("violation")["session"]
        for session in gateway.shell.sessions:
            session.cut("over")
        (closed,) = (
            line for line in gateway.shell.log.lines if line["event"] == "session.closed" and line["session"] == first
        )
        assert closed["datagrams_refused"] == 2
        assert gateway.shell.log.events().count("violation") == 1


async def test_after_a_reload_a_neighbour_does_not_go_on_as_a_server_that_has_called(lax: Hosts) -> None:
    traits = {"beside": "called"}
    async with Gateway(lax, InCalls, snat="interface", interfaces=("lan0",), traits=traits) as gateway:
        client, server, other = gateway.client(), gateway.server(), gateway.server(port=5081)
        client.sendto(b"call", server.getsockname())
        _, outside = await hear(server)
        other.sendto(b"invite", outside)
        await hear(client)
        reload(gateway, OTHER)
        at = Endpoint(lax.gateway_address(4), outside[1])
        forge(lax.client, "lan0", lax.gateway, endpoint(lax.server_address(4), 5081), at, b"forged")
        assert (await gateway.shell.until("violation"))["rule"] == "session.spoofed"
        await silence(client)
        other.sendto(b"true", outside)
        assert await hear(client) == (b"true", other.getsockname())
