"""DNS: a resolver asks for both addresses of a name at once, and from one port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tools.demo.job import Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import dns as peers
from tools.peers.ftp import TransferFailed

ASKED: tuple[tuple[str, int], ...] = (("udp", 4), ("tcp", 6))
"""How a client asks, over which IP version."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    with peers.unbound(gateway.server):
        for transport, version in ASKED:
            yield Job("unbound", "glibc", f"{transport}-ipv{version}", partial(_resolve, gateway, transport, version))


def _resolve(gateway: Gateway, transport: str, version: int) -> Mapping[str, str]:
    found, seconds = peers.resolve(gateway.client, gateway.dialled(version), "www.example", transport)
    if len(found) != 2:
        raise TransferFailed(f"www.example has the addresses {found}")
    return {"found": ", ".join(found), "answered after": f"{seconds * 1000:.0f} ms"}


DEMONSTRATION = Demonstration("dns", "Resolved", len(ASKED), jobs, peers.missing)
