"""The way that a policy's mark chooses, and the most that a segment may hold: for everything that a session sends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from protocols.contract.addresses import Side
from tests.netns.datagrams import Gateway, hear
from tests.netns.ftp_talk import Served, Talk, fate, passive_address, plain_server, server
from tests.netns.namespaces import Hosts, needs_root
from tools.lab import Host, Lab, pinhole
from tools.lab.links import wait_until_up

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

MARK = 0x2
OTHER_WAY = "198.18.0.1"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """With a second line to the server, by which only that goes which has the mark; packets are counted."""
    with Lab("nat") as lab:
        second_line(lab)
        yield lab


def second_line(lab: Lab) -> None:
    gateway, there = lab.gateway, lab.server
    gateway.run(["ip", "link", "add", "wan1", "type", "veth", "peer", "name", "eth1", "netns", there.netns])
    there.run(["ip", "address", "add", "198.18.0.2/24", "dev", "eth1"])
    there.run(["ip", "link", "set", "eth1", "up"])
    gateway.run(["ip", "address", "add", f"{OTHER_WAY}/24", "dev", "wan1"])
    gateway.run(["ip", "link", "set", "wan1", "up"])
    gateway.run(["ip", "route", "add", f"{there.v4}/32", "via", "198.18.0.2", "table", "102"])
    gateway.run(["ip", "rule", "add", "fwmark", str(MARK), "lookup", "102"])
    wait_until_up([gateway.netns, there.netns])
    for name in ("all", "wan1"):
        gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 2)
    lab.firewall(
        """
        table inet count {
            counter first { }
            counter second { }
            chain out {
                type filter hook output priority filter;
                oifname "wan0" ip daddr 198.51.100.2 counter name first
                oifname "wan1" ip daddr 198.51.100.2 counter name second
            }
        }
        """
    )


def counted(lab: Lab, name: str) -> int:
    said = lab.gateway.run(["nft", "list", "counter", "inet", "count", name]).stdout
    match = re.search(r"packets (\d+)", said)
    assert match is not None
    return int(match[1])


def policy(**keys: object) -> str:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"policies: [{{name: all, from: [lan0], action: accept, snat: interface{more}}}]"


@pytest.mark.parametrize("route_mark", [None, "0x2"])
def test_control_and_data_connections_go_the_way_that_the_mark_chooses(lab: Lab, route_mark: str | None) -> None:
    seen: list[str] = []

    def watch(served: Served, line: bytes) -> bytes | None:
        seen.append(served.control.getpeername()[0])
        return plain_server(served, line)

    with (
        pinhole(lab, policy(**({"route_mark": route_mark} if route_mark else {})), unprivileged=True),
        server(lab.server, watch),
        Talk(lab.client, str(lab.server.v4)) as talk,
    ):
        assert fate(lab.client, *passive_address(talk.ask("PASV"))) == "open payload"
        first, second = counted(lab, "first"), counted(lab, "second")
        assert (first == 0, second == 0) == ((True, False) if route_mark else (False, True))
        assert set(seen) == {OTHER_WAY if route_mark else "198.51.100.1"}


def test_a_data_connection_to_the_client_does_not(lab: Lab) -> None:
    """In active mode it is the client that is dialled, who is on no such line."""

    def active(served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"PORT"):
            numbers = line.split()[1].decode().split(",")
            served.port = (".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5]))
            return b"200 ok\r\n"
        if line.startswith(b"RETR"):
            assert served.port is not None
            with served.host.inside(), socket.create_connection(served.port, 10, own) as data:
                data.sendall(b"payload")
            return b"226 done\r\n"
        return plain_server(served, line)

    own = (str(lab.server.v4), 0)
    lab.gateway.run(["ip", "route", "add", "default", "via", "198.18.0.2", "table", "102"])
    with lab.client.inside():
        listener = socket.create_server((str(lab.client.v4), 0))
    listener.settimeout(10)
    port = listener.getsockname()[1]
    with (
        pinhole(lab, policy(route_mark=MARK), unprivileged=True),
        server(lab.server, active),
        Talk(lab.client, str(lab.server.v4)) as talk,
        listener,
    ):
        numbers = str(lab.client.v4).replace(".", ",")
        assert talk.ask(f"PORT {numbers},{port >> 8},{port & 255}").startswith("200")
        talk.send(b"RETR x\r\n")
        data, _ = listener.accept()
        with data:
            assert data.recv(100) == b"payload"
        assert counted(lab, "first") == 0  # the answers to who dialled us go the way that he came by


async def test_datagrams_go_the_way_that_the_mark_chooses(hosts: Hosts) -> None:
    gateway, there = hosts.gateway, hosts.server
    gateway.run("ip", "link", "add", "wan1", "type", "veth", "peer", "name", "eth1", "netns", there.name)
    there.run("ip", "address", "add", "198.18.0.2/24", "dev", "eth1")
    there.run("ip", "link", "set", "eth1", "up")
    gateway.run("ip", "address", "add", f"{OTHER_WAY}/24", "dev", "wan1")
    gateway.run("ip", "link", "set", "wan1", "up")
    gateway.run("ip", "route", "add", f"{hosts.server_address(4)}/32", "via", "198.18.0.2", "table", "102")
    gateway.run("ip", "rule", "add", "fwmark", str(MARK), "lookup", "102")
    wait_until_up([gateway.name, there.name])
    for name in ("all", "wan1"):
        gateway.sysctl(f"ipv4.conf.{name}.rp_filter", 2)
    async with Gateway(hosts, snat="interface", route_mark=MARK) as made:
        client, server = made.client(), made.server()
        client.sendto(b"to", server.getsockname())
        data, source = await hear(server)
        assert (data, source[0]) == (b"to", OTHER_WAY)
        server.sendto(b"fro", source)
        assert (await hear(client))[0] == b"fro"
        assert made.shell.engines[0].peers.is_mapped(Side.CLIENT)


@pytest.mark.parametrize("most", [None, 1300])
def test_both_legs_and_data_connections_keep_to_the_longest_segment(lab: Lab, most: int | None) -> None:
    count = """
        table ip count {
            counter longer { }
            counter within { }
            chain in {
                type filter hook input priority filter;
                tcp flags & (syn | rst) == syn tcp option maxseg size > 1300 counter name longer
                tcp flags & (syn | rst) == syn tcp option maxseg size <= 1300 counter name within
            }
        }
    """
    for host in (lab.client, lab.server):
        host.run(["nft", "-f", "-"], stdin=count)

    def counters(host: Host) -> tuple[int, int]:
        longer, within = re.findall(r"packets (\d+)", host.run(["nft", "list", "counters"]).stdout)
        return int(longer), int(within)

    network = f"\nnetwork: {{max_segment: {most}}}" if most else ""
    with (
        pinhole(lab, policy() + network),
        server(lab.server),
        Talk(lab.client, str(lab.server.v4)) as talk,
    ):
        assert fate(lab.client, *passive_address(talk.ask("PASV"))) == "open payload"
        for host in (lab.client, lab.server):
            longer, within = counters(host)
            assert (longer == 0, within == 0) == ((False, True) if most is None else (True, False))
