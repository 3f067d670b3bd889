"""Clients and servers against each other through plain forwarding: what they cannot do here is not pinhole's fault."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Lab
from tools.peers import ftp as peers
from tools.peers.ftp import CLIENTS, MODES, PAIRS, SERVERS, AbortGet, Client, Get, List, Mode, Put, Server

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed (tools/setup --test): {peers.missing()}"),
]

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("routed") as made:
        yield made


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Server]:
    with SERVERS[request.param](lab.server) as serving:
        (serving.home / "small.bin").write_bytes(os.urandom(10_000))
        with (serving.home / "big.bin").open("wb") as file:
            for _ in range(64):
                file.write(os.urandom(MEBIBYTE))
        yield serving


@pytest.mark.parametrize(("client", "mode"), PAIRS, ids=[f"{client.name}-{mode}" for client, mode in PAIRS])
def test_client_and_server_understand_each_other(
    lab: Lab, server: Server, client: Client, mode: Mode, tmp_path: Path
) -> None:
    (tmp_path / "up").write_bytes(os.urandom(10_000))
    steps: list[peers.Step] = [
        List(tmp_path / "names"),
        Get("small.bin", tmp_path / "first"),
        Put(tmp_path / "up", "incoming/up.bin"),
        AbortGet("big.bin"),
        Get("small.bin", tmp_path / "second"),
    ]
    client.do(lab.client, server.host.address(mode.version), server.login, mode, steps)
    small = (server.home / "small.bin").read_bytes()
    assert {"small.bin", "big.bin"} <= set((tmp_path / "names").read_text().split())
    assert (tmp_path / "first").read_bytes() == small
    assert (tmp_path / "second").read_bytes() == small
    assert (server.home / "incoming" / "up.bin").read_bytes() == (tmp_path / "up").read_bytes()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_large_files_arrive_whole_both_ways(lab: Lab, server: Server, client: Client, tmp_path: Path) -> None:
    steps: list[peers.Step] = [Get("big.bin", tmp_path / "down"), Put(tmp_path / "down", "incoming/big.bin")]
    client.do(lab.client, server.host.v4, server.login, MODES[0], steps)
    assert checksum(server.home / "incoming" / "big.bin") == checksum(server.home / "big.bin")


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
