"""FTP: every server with every client."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools.demo.job import MEBIBYTE, Demonstration, Job, compared
from tools.lab.gateways import ROLES, Gateway
from tools.peers import ftp as peers
from tools.peers.ftp import CLIENTS, MODES, SERVERS, AbortGet, Get, List, Put, Step, TransferFailed

FILE_BYTES = 16 * MEBIBYTE
FTP_SERVERS = tuple(name for name in SERVERS if name != "pyftpdlib" or peers.has_pyftpdlib())


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """Modes take turns, so that all are seen before one is seen again."""
    source = directory / "source"
    with source.open("wb") as file:
        for _ in range(FILE_BYTES // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
    turn = ROLES.index(gateway.role) * len(FTP_SERVERS)
    for number, name in enumerate(FTP_SERVERS, turn):
        with SERVERS[name](gateway.server) as server:
            shutil.copyfile(source, server.home / "file")
            for other, client in enumerate(CLIENTS):
                modes = [mode for mode in MODES if client.supports(mode)]
                mode = modes[(number + 2 * other) % len(modes)]
                yield _job(gateway, server, client, mode, source)


def _job(gateway: Gateway, server: peers.Server, client: peers.Client, mode: peers.Mode, source: Path) -> Job:
    names, down, up = source.with_name("names"), source.with_name("down"), server.home / "incoming/file"
    steps: Sequence[Step] = (List(names), Get("file", down), AbortGet("file"), Put(source, "incoming/file"))

    def run() -> Mapping[str, str]:
        for left in (names, down, up):
            left.unlink(missing_ok=True)
        client.do(gateway.client, gateway.dialled(mode.version), server.login, mode, steps)
        if "file" not in names.read_text().split():
            raise TransferFailed(f"the list of names is {names.read_text()!r}")
        size = f"{FILE_BYTES // MEBIBYTE} MiB"
        checksums = compared("download", down, source) | compared("upload", up, source)
        return {"downloaded": size, "uploaded": size, **checksums, "aborted": "1, went on"}

    return Job(server.name, client.name, str(mode), run)


DEMONSTRATION = Demonstration("ftp", "Transferred", len(FTP_SERVERS) * len(CLIENTS), jobs, peers.missing)
