"""DCE-RPC: a client asks Samba's endpoint mapper where an interface is, and calls it there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tools.demo.job import Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import samba
from tools.peers.ftp import TransferFailed

VERSIONS = (4, 6)
"""Over which IP versions a client calls."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    try:
        with samba.member(gateway.server):
            for version in VERSIONS:
                yield Job("Samba", "rpcclient", f"ipv{version}", partial(_call, gateway, version))
    finally:  # endpoints stand for an hour after their use; there are none when the server has not begun
        of_all = ("--of", "pinholes", "--helper", "dcerpc")
        gateway.daemon.command("close", *of_all, "-c", str(gateway.daemon.config), check=False)


def _call(gateway: Gateway, version: int) -> Mapping[str, str]:
    try:
        said = samba.rpcclient(gateway.client, gateway.dialled(version), "srvinfo")
    except samba.CallFailed as error:
        raise TransferFailed(str(error)) from error
    return {"called": "NetrServerGetInfo", "answered": said.split()[0]}


DEMONSTRATION = Demonstration("dcerpc", "Asked", len(VERSIONS), jobs, samba.missing)
