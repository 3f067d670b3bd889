"""PPTP: two clients at once have a tunnel to one server, behind one address where the gateway hides them. Frames stand
for PPP, which takes a kernel that knows it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.demo.job import MEBIBYTE, Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import pptp as peers
from tools.peers.ftp import TransferFailed

FRAMES, FRAME_BYTES = 100, 1400
AT_ONCE = 4
"""How many frames of a call are on their way together."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    with peers.pptpd(gateway.server, gateway.server.v4) as server:
        yield Job("pptpd", "pptp", "two-at-once-ipv4", lambda: _run(gateway, server))


def _run(gateway: Gateway, server: peers.Server) -> Mapping[str, str]:
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(peers.pptp(host, gateway.dialled(4), host.v4)) for host in gateway.clients]
        if not all(call.is_greeted() for call in calls):
            raise TransferFailed("a tunnel brought another frame than the server's greeting")
        for _ in range(FRAMES // AT_ONCE):
            for call in calls:
                if not call.echo(*(b"\xff\x03" + os.urandom(FRAME_BYTES) for _ in range(AT_ONCE))):
                    raise TransferFailed("a frame came back as another one")
        moved = len(calls) * FRAMES * FRAME_BYTES * 2 / MEBIBYTE
        return {"moved": f"{moved:.1f} MiB", "frames": f"{len(calls)} calls of {FRAMES}, there and back"}


DEMONSTRATION = Demonstration("pptp", "Tunnelled", 1, jobs, peers.missing)
