"""Every FTP server with every client in every mode, through the gateway in each role and with both kinds of rules.

The gateway drops all that pinhole does not carry, so a transfer that ends well had its pinhole, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import gateways
from tools.lab.gateways import BACKENDS, ROLES, Gateway
from tools.peers import ftp as peers
from tools.peers.ftp import CLIENTS, MODES, PAIRS, SERVERS, AbortGet, Get, List, Put, Server

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed (tools/setup --test): {peers.missing()}"),
]

MEBIBYTE = 1024 * 1024
GATEWAYS = [(role, backend) for role in ROLES for backend in BACKENDS]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file and a large one, of noise: nothing that is cut, repeated or swapped goes unseen."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "small.bin").write_bytes(os.urandom(10_000))
    with (directory / "big.bin").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(MEBIBYTE))
    return directory


@pytest.fixture(scope="module", params=GATEWAYS, ids=lambda param: f"{param[0].name}-{param[1]}")
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    role, backend = request.param
    with gateways.serving(role, backend) as serving:
        yield serving


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, gateway: Gateway, files: Path) -> Iterator[Server]:
    with SERVERS[request.param](gateway.server) as serving:
        for file in files.iterdir():
            shutil.copyfile(file, serving.home / file.name)
        yield serving


def test_every_client_is_used_with_every_server_and_both_ip_versions() -> None:
    """What a client does not know is known: nothing else is left out of the matrix."""
    absent = [f"{client.name} {mode}" for client in CLIENTS for mode in MODES if not client.supports(mode)]
    assert absent == ["lftp EPRT-ipv4"]
    assert (len(SERVERS), len(PAIRS), len(GATEWAYS)) == (3, 23, 6)


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_the_gateway_passes_nothing_that_pinhole_does_not_carry(gateway: Gateway, version: int) -> None:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    to = str(gateway.lab.server.address(version))
    with gateway.lab.server.inside(), socket.create_server((to, 2121), family=family) as listener:
        with gateway.lab.server_stranger.inside(), socket.create_connection((to, 2121), 5):
            listener.accept()[0].close()
        with gateway.lab.client.inside(), pytest.raises(TimeoutError):
            socket.create_connection((to, 2121), 0.2)


@pytest.mark.parametrize(("client", "mode"), PAIRS, ids=[f"{client.name}-{mode}" for client, mode in PAIRS])
def test_download_upload_list_abort_and_go_on(
    gateway: Gateway, server: Server, files: Path, client: peers.Client, mode: peers.Mode, tmp_path: Path
) -> None:
    before = len(gateway.daemon.audit())
    noise = os.urandom(10_000)
    (tmp_path / "up").write_bytes(noise)
    steps: list[peers.Step] = [
        List(tmp_path / "names"),
        Get("small.bin", tmp_path / "first"),
        Put(tmp_path / "up", "incoming/up.bin"),
        AbortGet("big.bin"),
        Get("small.bin", tmp_path / "second"),
    ]
    client.do(gateway.client, gateway.dialled(mode.version), server.login, mode, steps)

    small = (files / "small.bin").read_bytes()
    assert set((tmp_path / "names").read_text().split()) == {"small.bin", "big.bin", "incoming"}
    assert (tmp_path / "first").read_bytes() == small
    assert (tmp_path / "second").read_bytes() == small
    assert (server.home / "incoming/up.bin").read_bytes() == noise

    log = gateway.log_after(before)
    assert {line["trigger"] for line in log if line["event"] == "pinhole.opened"} == {mode.command}
    assert sum(line["event"] == "pinhole.used" for line in log) >= len(steps)
    announcer_is_hidden = gateway.role.hides_client if mode.active else gateway.role.hides_server
    assert any(line["event"] == "address.rewritten" for line in log) == announcer_is_hidden
    assert not [line for line in log if line["event"] in ("violation", "engine.failed", "pinhole.refused")]


def test_64_mebibytes_arrive_whole_both_ways(
    request: pytest.FixtureRequest, gateway: Gateway, server: Server, files: Path, tmp_path: Path
) -> None:
    """Each pair of client and mode does so once, spread over gateways and servers; each of those has one at least."""
    ours = GATEWAYS.index((gateway.role, gateway.backend)) * len(SERVERS) + list(SERVERS).index(server.name)
    expected = checksum(files / "big.bin")
    for client, mode in PAIRS[ours :: len(GATEWAYS) * len(SERVERS)]:
        steps: list[peers.Step] = [Get("big.bin", tmp_path / "down"), Put(tmp_path / "down", "incoming/big.bin")]
        client.do(gateway.client, gateway.dialled(mode.version), server.login, mode, steps)
        assert checksum(tmp_path / "down") == expected, (client.name, str(mode))
        assert checksum(server.home / "incoming/big.bin") == expected, (client.name, str(mode))


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
