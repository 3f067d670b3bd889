"""A client of one IP version and a server of the other: PASV is answered from EPSV and PORT becomes EPRT, or the
reverse (RFC 6384 s.6; rules F27 and F51)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole
from tools.peers import ftp as peers
from tools.peers.ftp import PAIRS, SERVERS, AbortGet, Client, Get, List, Mode, Put, Server

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed (tools/setup --test): {peers.missing()}"),
]

# PASV cannot say an IPv6 address, so an IPv6 client has EPSV and EPRT alone; those of IPv4 have all four.
TRANSLATED = [(client, mode) for client, mode in PAIRS if mode.version == 4 or mode.extended]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("nat") as lab:
        yield lab


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    """The server's address of either version leads to its other one."""
    policies = "".join(
        f"""
  - name: to-ipv{other}
    from: [lan0]
    destination: ["{lab.server.address(version)}"]
    action: accept
    dnat: "{lab.server.address(other)}"
    snat: interface
"""
        for version, other in ((4, 6), (6, 4))
    )
    with pinhole(lab, f"policies:{policies}", unprivileged=True) as daemon:
        daemon.lock_down()
        yield daemon


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Server]:
    with SERVERS[request.param](lab.server) as server:
        (server.home / "big.bin").write_bytes(os.urandom(4_000_000))
        yield server


@pytest.mark.parametrize(("client", "mode"), TRANSLATED, ids=[f"{client.name}-{mode}" for client, mode in TRANSLATED])
def test_transfers_between_the_families(
    lab: Lab, daemon: Daemon, server: Server, client: Client, mode: Mode, tmp_path: Path
) -> None:
    before = len(daemon.audit("violation"))
    noise = os.urandom(10_000)
    (tmp_path / "up").write_bytes(noise)
    steps: list[peers.Step] = [
        List(tmp_path / "names"),
        Put(tmp_path / "up", "incoming/up.bin"),
        AbortGet("big.bin"),
        Get("big.bin", tmp_path / "down"),
    ]
    client.do(lab.client, lab.server.address(mode.version), server.login, mode, steps)
    assert set((tmp_path / "names").read_text().split()) == {"big.bin", "incoming"}
    assert (tmp_path / "down").read_bytes() == (server.home / "big.bin").read_bytes()
    assert (server.home / "incoming/up.bin").read_bytes() == noise
    assert len(daemon.audit("violation")) == before
