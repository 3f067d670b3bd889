"""SANE: a picture comes from another host's scanner, and all sheets of a feeder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from tools.demo.job import Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import sane as peers
from tools.peers.ftp import TransferFailed

SCANS: tuple[tuple[Literal["picture", "feeder"], int], ...] = (("picture", 4), ("feeder", 6))
"""What is fetched, over which IP version."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    hides, host = gateway.role.hides_client, gateway.lab.gateway
    trusted = [host.address(v, "wan0") if hides else gateway.client.address(v) for v in (4, 6)]
    with peers.saned(gateway.server, trusted) as server:
        for what, version in SCANS:
            yield _job(gateway, server, what, version)


def _job(gateway: Gateway, server: peers.Server, what: Literal["picture", "feeder"], version: int) -> Job:
    def run() -> Mapping[str, str]:
        at = gateway.dialled(version)
        taken = server.scan(*peers.PICTURE)
        if what == "picture":
            pages = [peers.scan(gateway.client, at, *peers.PICTURE)]
        else:
            pages = peers.scan_all(gateway.client, at, *peers.FEEDER)
        if any(page != taken for page in pages) or len(pages) != (peers.SHEETS if what == "feeder" else 1):
            raise TransferFailed(f"{len(pages)} pages, and not each as it was taken")
        return {"pages": str(len(pages)), "pixels": "as the scanner took them"}

    return Job("saned", "scanimage", f"{what}-ipv{version}", run)


DEMONSTRATION = Demonstration("sane", "Scanned", len(SCANS), jobs, peers.missing)
