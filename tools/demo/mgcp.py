"""MGCP: an agent has a media gateway connect two phones of its host, which hear each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tools.demo.job import Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import mgcp as peers
from tools.peers.baresip import CallFailed

VERSIONS = (4, 6)
"""Over which version of IP an agent makes connections."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    for version in VERSIONS:
        with peers.osmo_mgw(gateway.server, gateway.server.address(version)):
            yield Job("osmo-mgw", "agent", f"call-ipv{version}", partial(_connect, gateway, version))


def _connect(gateway: Gateway, version: int) -> Mapping[str, str]:
    host, at = gateway.client, gateway.client.address(version)
    found = str(gateway.dialled(version)), peers.GATEWAY_PORT
    with (
        peers.Speaker(host, at, peers.AGENT_PORT) as agent,
        peers.Phone(host, at, 6000) as one,
        peers.Phone(host, at, 6002) as other,
    ):
        try:
            packets = peers.converse(agent, found, one, other)
        except AssertionError as error:
            raise CallFailed(str(error)) from error
    return {"heard": f"{packets} packets", "at": str(gateway.dialled(version))}


DEMONSTRATION = Demonstration("mgcp", "Connected", len(VERSIONS), jobs, peers.missing)
