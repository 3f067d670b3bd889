"""Every TFTP server with every client, through a gateway in each role that drops all that pinhole does not carry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways
from tools.lab.gateways import ROLES, Gateway
from tools.peers import tftp
from tools.peers.ftp import TransferFailed
from tools.peers.tftp import CLIENTS, CURL, READING, WRITING, Client, Server

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

SIZES = (0, 511, 512, 513, 70_000)
"""Less than a block, a block, and more (TF5)."""
MANY = 120
"""Files of one client in a row: more than a session of each that stays would allow (`limits: sessions_per_client`)."""


IMPATIENT = Client("curl", lambda at, remote, local: [*CURL.get(at, remote, local), "--max-time", "2"], CURL.put)


def cases(servers: dict[str, tftp.Serve]) -> list[Any]:
    """Each server with each client, over each version of IP at which the server listens."""
    return [
        pytest.param(name, client, version, id=f"{name}-{client.name}-ipv{version}")
        for name in servers
        for client in CLIENTS
        for version in (4, 6)
        if not (name == "atftpd" and version == 6)
    ]


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(request.param, "nft") as serving:
        yield serving


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Server]:
    with READING[request.param](gateway.server) as serving:
        for size in SIZES:
            (serving.home / str(size)).write_bytes(os.urandom(size))
        for client in CLIENTS:  # tftpd-hpa writes only what is there
            (serving.home / client.name).touch()
            (serving.home / client.name).chmod(0o666)
        yield serving


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "file"


def moved(gateway: Gateway, before: int, direction: str, name: str) -> None:
    """The audit log has one line of the transfer, and one pinhole for it."""
    gateway.daemon.wait_for("tftp.transfer", count=before + 1)
    line = gateway.daemon.audit("tftp.transfer")[-1]
    assert (line["direction"], line["result"]) == (direction, "complete")
    assert line["file"].lstrip("/") == name


@pytest.mark.parametrize(("server", "client", "version"), cases(READING), indirect=["server"])
def test_files_are_read(gateway: Gateway, server: Server, client: Client, version: int, here: Path) -> None:
    # No server's empty file is one for curl 7.88, which ends with an error of its own.
    for size in SIZES if client is not CURL else SIZES[1:]:
        before = len(gateway.daemon.audit("tftp.transfer"))
        client.read(gateway.client, gateway.dialled(version), str(size), here)
        assert here.read_bytes() == (server.home / str(size)).read_bytes()
        moved(gateway, before, "read", str(size))
        here.unlink()


@pytest.mark.parametrize(("server", "client", "version"), cases(WRITING), indirect=["server"])
def test_files_are_written(gateway: Gateway, server: Server, client: Client, version: int, here: Path) -> None:
    here.write_bytes(os.urandom(70_000))
    before = len(gateway.daemon.audit("tftp.transfer"))
    client.write(gateway.client, gateway.dialled(version), here, client.name)
    moved(gateway, before, "write", client.name)
    assert (server.home / client.name).read_bytes() == here.read_bytes()


@pytest.mark.parametrize("server", READING, indirect=True)
def test_a_file_that_is_not_there_is_said_to_be_so_by_its_server(gateway: Gateway, server: Server, here: Path) -> None:
    before = len(gateway.daemon.audit("tftp.transfer"))
    with pytest.raises(TransferFailed, match=r"\(68\)"):
        CURL.read(gateway.client, gateway.dialled(4), "nothing", here)
    gateway.daemon.wait_for("tftp.transfer", count=before + 1)
    assert gateway.daemon.audit("tftp.transfer")[-1]["result"].startswith("error 1")


def test_without_its_helper_no_file_comes(gateway: Gateway, here: Path) -> None:
    """The answer comes from another port, which the firewall drops."""
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 udp dport 69 accept
                meta l4proto icmpv6 accept
            }
            }
            """
        )
        with tftp.tftpd_hpa(lab.server) as server:
            (server.home / "file").write_bytes(b"something")
            with pytest.raises(TransferFailed):
                IMPATIENT.read(lab.client, lab.server.v4, "file", here)


def test_a_client_that_boots_reads_as_many_files_in_a_row_as_it_likes(gateway: Gateway, here: Path) -> None:
    with tftp.tftpd_hpa(gateway.server) as server:
        (server.home / "file").write_bytes(os.urandom(1000))
        before = len(gateway.daemon.audit("session.denied"))
        for _ in range(MANY):
            CURL.read(gateway.client, gateway.dialled(4), "file", here)
        assert gateway.daemon.audit("session.denied")[before:] == []
