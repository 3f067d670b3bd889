"""RSH: a command runs elsewhere, with its output and its errors, and a file is copied, as backups are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from tools.demo.job import MEBIBYTE, Demonstration, Job, compared
from tools.lab.gateways import Gateway
from tools.peers import rsh as peers
from tools.peers.ftp import TransferFailed

COMMANDS: tuple[tuple[Literal["rsh", "rcp"], int], ...] = (("rsh", 4), ("rcp", 6))
"""With a connection back for errors or without, over which IP version."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    hides, lab = gateway.role.hides_client, gateway.lab
    trusted = [lab.gateway.address(v, "wan0") if hides else gateway.client.address(v) for v in (4, 6)]
    source = directory / "backup"
    source.write_bytes(os.urandom(MEBIBYTE))
    with peers.netkit(gateway.server, trusted) as server:
        for how, version in COMMANDS:
            yield _job(gateway, server, how, version, source)


def _job(gateway: Gateway, server: peers.Server, how: Literal["rsh", "rcp"], version: int, source: Path) -> Job:
    def run() -> Mapping[str, str]:
        at, there = gateway.dialled(version), server.home / source.name
        if how == "rcp":
            peers.upload(gateway.client, at, source, there)
            return {"copied": "1 MiB", **compared("file", there, source)}
        said = peers.CLIENTS[0].run(gateway.client, at, "whoami; echo to errors >&2")
        if (said.output.strip(), said.errors.strip()) != (peers.USER.encode(), b"to errors"):
            raise TransferFailed(f"it said {said}")
        return {"ran as": said.output.decode().strip(), "errors": "apart from output"}

    return Job("rshd", "netkit", f"{how}-ipv{version}", run)


DEMONSTRATION = Demonstration("rsh", "Commanded", len(COMMANDS), jobs, peers.missing)
