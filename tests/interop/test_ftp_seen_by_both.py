"""What the two hosts of a session see of each other, by capture on both segments at once.

Without NAT: the other's own address, and each byte as it was sent. With NAT: nothing of the network behind it, neither
in a packet's header nor in what FTP says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from protocols.contract.addresses import Host as Address
from protocols.contract.addresses import Network
from tests.interop.wire import headers, written
from tests.netns.namespaces import needs_root
from tools.lab import Conversation, conversations, gateways
from tools.lab.gateways import HIDING, PUBLISHING, PUBLISHING_AND_HIDING, ROUTING, Gateway, Role
from tools.lab.lab import LAN4, LAN6, WAN4, WAN6
from tools.peers import ftp as peers
from tools.peers.ftp import CLIENTS, MODES, SERVERS, AbortGet, Client, Get, List, Mode, Put, Server, Step

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed (tools/setup --test): {peers.missing()}"),
    pytest.mark.skipif(not shutil.which("tcpdump"), reason="not installed (tools/setup --test): tcpdump"),
]

BY_NAME = {client.name: client for client in CLIENTS}
FTPLIB = BY_NAME["ftplib"]


@pytest.fixture(scope="module", params=[ROUTING, HIDING, PUBLISHING, PUBLISHING_AND_HIDING], ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(request.param, "nft") as serving:
        yield serving


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Server]:
    with SERVERS[request.param](gateway.server) as serving:
        (serving.home / "small.bin").write_bytes(os.urandom(10_000))
        (serving.home / "big.bin").write_bytes(os.urandom(20_000_000))
        yield serving


def only(*roles: Role) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("gateway", roles, ids=lambda role: role.name, indirect=True, scope="module")


def seen(
    gateway: Gateway, server: Server, client: Client, mode: Mode, steps: Sequence[Step], filter: str = ""
) -> list[list[bytes]]:
    """The frames on the client's segment, and those on the server's, while a client does these steps.

    filter: as tcpdump has it; megabytes of data come faster than they can be captured.
    """
    ends = ("wan0", "lan0") if gateway.role.hides_server else ("lan0", "wan0")
    before = len(gateway.daemon.audit())
    with ExitStack() as stack:
        captures = [stack.enter_context(gateway.lab.gateway.capture(interface, filter)) for interface in ends]
        client.do(gateway.client, gateway.dialled(mode.version), server.login, mode, steps)
        gateway.log_after(before)
        return [capture.collect() for capture in captures]


def transfers(directory: Path) -> list[Step]:
    (directory / "up").write_bytes(os.urandom(10_000))
    return [List(directory / "names"), Get("small.bin", directory / "down"), Put(directory / "up", "incoming/up.bin")]


def streams(frames: Sequence[bytes], port: int | None = None) -> list[tuple[object, ...]]:
    """Connections by who dialled whom, and all bytes. The port that the dialler happened to use is left out."""
    found = [
        (str(one.client[0]), str(one.server[0]), one.server[1], one.from_client, one.from_server)
        for one in conversations(frames, port)
    ]
    return sorted(found)


# -- without NAT -------------------------------------------------------------------------------------------------------


@only(ROUTING)
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_without_nat_both_segments_carry_the_same_connections_byte_for_byte(
    gateway: Gateway, server: Server, mode: Mode, tmp_path: Path
) -> None:
    near, far = seen(gateway, server, FTPLIB, mode, transfers(tmp_path))
    assert len(streams(far)) == 4  # control, list, download, upload
    assert streams(near) == streams(far)
    (control,) = conversations(far, port=21)
    assert control.client[0] == gateway.lab.client.address(mode.version)
    assert control.server == (gateway.lab.server.address(mode.version), 21)
    assert f"{mode.command}".encode() in control.from_client


@only(ROUTING)
@pytest.mark.parametrize("client", [BY_NAME["tnftp"], FTPLIB], ids=lambda client: client.name)
def test_without_nat_an_abort_with_telnet_synch_is_the_same_byte_for_byte(
    gateway: Gateway, server: Server, client: Client, tmp_path: Path
) -> None:
    steps = [AbortGet("big.bin"), *transfers(tmp_path)]
    near, far = seen(gateway, server, client, MODES[0], steps, "tcp port 21")
    assert streams(near) == streams(far)
    (control,) = conversations(far, port=21)
    assert b"\xff\xf4\xff\xf2ABOR\r\n" in control.from_client


# -- with NAT ----------------------------------------------------------------------------------------------------------


@only(HIDING, PUBLISHING, PUBLISHING_AND_HIDING)
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_with_nat_the_other_segment_shows_nothing_of_the_network_behind_it(
    gateway: Gateway, server: Server, mode: Mode, tmp_path: Path
) -> None:
    near, far = seen(gateway, server, FTPLIB, mode, transfers(tmp_path))
    lan, wan = (LAN4, LAN6), (WAN4, WAN6)
    of_client, of_server = (wan, lan) if gateway.role.hides_server else (lan, wan)
    if gateway.role.hides_client:
        assert traces(far, of_client) == []
        assert traces(near, of_client) != []
    if gateway.role.hides_server:
        assert traces(near, of_server) == []
        assert traces(far, of_server) != []


def traces(frames: Sequence[bytes], networks: Sequence[Network]) -> list[str]:
    """Where addresses of these networks occur: in headers, or as text in a stream or a single packet."""
    found = [f"packet of {host}" for host in headers(frames) if any(host in network for network in networks)]
    texts = [text for network in networks for text in written(network)]
    haystacks = [*frames, *(stream for one in conversations(frames) for stream in (one.from_client, one.from_server))]
    return found + [f"{text!r} in {hay!r}" for text in texts for hay in haystacks if text in hay.lower()]


@only(HIDING, PUBLISHING, PUBLISHING_AND_HIDING)
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.command != "EPSV"], ids=str)
def test_with_nat_what_is_announced_is_an_address_of_the_gateway(
    gateway: Gateway, server: Server, mode: Mode, tmp_path: Path
) -> None:
    near, far = (control(frames) for frames in seen(gateway, server, FTPLIB, mode, transfers(tmp_path)))
    outside = gateway.lab.gateway.address(mode.version, "lan0" if gateway.role.hides_server else "wan0")
    client, own = near.client[0], far.server[0]
    assert client == gateway.client.address(mode.version)
    if mode.active:
        shown = outside if gateway.role.hides_client else client
        assert announced(mode, client) in near.from_client
        assert announced(mode, shown) in far.from_client
    else:
        shown = near.server[0] if gateway.role.hides_server else own
        assert announced(mode, own) in far.from_server
        assert announced(mode, shown) in near.from_server


def control(frames: Sequence[bytes]) -> Conversation:
    (one,) = conversations(frames, port=21)
    return one


def announced(mode: Mode, host: Address) -> bytes:
    """How an announcement begins: RFC 959 s.4.1.2 and RFC 2428 s.2."""
    if mode.extended:
        return f"EPRT |{1 if host.version == 4 else 2}|{host}|".encode()
    numbers = str(host).replace(".", ",")
    return (f"PORT {numbers}," if mode.active else f"({numbers},").encode()
