"""ONC RPC: a client asks a portmapper for mountd and NFS, and reads a file there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tools.demo.job import MEBIBYTE, Demonstration, Job, compared
from tools.lab.gateways import Gateway
from tools.peers import nfs as peers
from tools.peers.ftp import TransferFailed

VERSIONS = (4, 6)
"""Over which IP versions a client reads a file."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    try:
        with peers.file_server(gateway.server) as server:
            (server.home / "file").write_bytes(os.urandom(MEBIBYTE))
            for version in VERSIONS:
                here = directory / f"mounted-{version}"
                yield Job("nfs-ganesha", "libnfs", f"ipv{version}", partial(_read, gateway, server, version, here))
    finally:  # services stand for a day after their use
        gateway.daemon.command("close", "--of", "pinholes", "--helper", "pmap", "-c", str(gateway.daemon.config))


def _read(gateway: Gateway, server: peers.Server, version: int, here: Path) -> Mapping[str, str]:
    here.unlink(missing_ok=True)
    try:
        peers.reads(gateway.client, gateway.dialled(version), server.home / "file", here)
    except peers.CallFailed as error:
        raise TransferFailed(str(error)) from error
    return {"read": "1 MiB", **compared("file", here, server.home / "file")}


DEMONSTRATION = Demonstration("pmap", "Mounted", len(VERSIONS), jobs, peers.missing)
