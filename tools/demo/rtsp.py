"""RTSP: a player has a camera's picture sent to ports of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tools.demo.job import Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import rtsp as peers

VERSIONS = (4, 6)
"""Over which version of IP a picture is played."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    with peers.gst_server(gateway.server):
        for version in VERSIONS:
            yield Job("gst-rtsp-server", "rtspsrc", f"udp-ipv{version}", partial(_play, gateway, version))


def _play(gateway: Gateway, version: int) -> Mapping[str, str]:
    peers.RTSPSRC.play(gateway.client, gateway.dialled(version))
    return {"played": f"{peers.PACKETS} packets", "at": str(gateway.dialled(version))}


DEMONSTRATION = Demonstration("rtsp", "Played", len(VERSIONS), jobs, peers.missing)
