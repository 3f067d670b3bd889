"""TFTP: a client reads a file, as one that boots does, and writes one, as a switch that saves what it was told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from tools.demo.job import MEBIBYTE, Demonstration, Job, compared
from tools.lab.gateways import Gateway
from tools.peers import tftp as peers

BOOTS: tuple[tuple[Literal["read", "write"], int], ...] = (("read", 4), ("write", 6))
"""What a client does, over which IP version."""
BOOT_BYTES = MEBIBYTE


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    source = directory / "boot"
    source.write_bytes(os.urandom(BOOT_BYTES))
    with peers.tftpd_hpa(gateway.server) as server:
        for how, version in BOOTS:
            yield _job(gateway, server, how, version, source)


def _job(gateway: Gateway, server: peers.Server, how: Literal["read", "write"], version: int, source: Path) -> Job:
    at, there, here = gateway.dialled(version), server.home / "file", source.with_name("boot-here")

    def run() -> Mapping[str, str]:
        if how == "read":
            shutil.copyfile(source, there)
            peers.CURL.read(gateway.client, at, "file", here)
        else:
            peers.CURL.write(gateway.client, at, source, "written")
        moved = here if how == "read" else server.home / "written"
        return {"moved": f"{BOOT_BYTES // MEBIBYTE} MiB", **compared("file", moved, source)}

    return Job(server.name, "curl", f"{how}-ipv{version}", run)


DEMONSTRATION = Demonstration("tftp", "Booted", len(BOOTS), jobs, peers.missing)
