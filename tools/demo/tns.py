"""Oracle TNS: a driver connects to a listener, which leads it to an instance on another port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from protocols.contract.addresses import Endpoint
from tools.demo.job import Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import oracle, tns_packets
from tools.peers.ftp import TransferFailed

DRIVERS: tuple[tuple[Literal["synchronous", "asyncio"], int], ...] = (("synchronous", 4), ("asyncio", 6))
"""How the program of the client is written, over which IP version it connects."""
INSTANCE_PORT = 21522


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    for mode, version in DRIVERS:
        yield Job("listener", "oracledb", f"{mode}-ipv{version}", partial(_connect, gateway, mode, version))


def _connect(gateway: Gateway, mode: Literal["synchronous", "asyncio"], version: int) -> Mapping[str, str]:
    server, dialled = gateway.server, gateway.dialled(version)
    where = tns_packets.address(server.address(version), INSTANCE_PORT)
    with (
        oracle.listening(server, version, 1521, lambda _, data: oracle.redirect(where, data)),
        oracle.listening(server, version, INSTANCE_PORT, lambda *_: oracle.accept()) as instance,
    ):
        said = oracle.connect(gateway.client, dialled, 1521, mode, until=instance.heard)
        if not instance.heard.is_set():
            raise TransferFailed(f"the instance was not reached: {said.strip()}")
    host, port = instance.at
    return {"dialled": f"{Endpoint(dialled, 1521)}", "reached": f"{Endpoint(ip_address(host), port)}"}


def _missing() -> str:
    return "" if oracle.has_driver() else "python-oracledb"


DEMONSTRATION = Demonstration("tns", "Redirected", len(DRIVERS), jobs, _missing)
