"""A daemon's parts with a session, and the control socket over them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from protocols.contract.addresses import Endpoint, Transport, only
from protocols.contract.pinholes import Expect, Grant
from proxy.control import api, past
from proxy.control.events import Events
from proxy.control.gateway import Gateway
from proxy.control.history import History
from proxy.control.server import Control
from proxy.measure.measuring import Measuring
from proxy.record.recent import Recent
from proxy.sockets import packet_info
from tests.harness.control_client import Answer, ask
from tests.harness.measured import NoQueue
from tests.harness.shell import Shell, accept, close_all, dial, serve
from tests.proxy.conftest import CLIENT, OURS, SERVER


@dataclass
class World:
    """One session of the helper `test`, from CLIENT to SERVER."""

    shell: Shell
    recent: Recent
    events: Events
    path: Path
    client: socket.socket
    server: socket.socket
    data: socket.socket
    """A server that waits for data connections."""

    async def ask(self, name: str, method: str = "GET") -> Answer:
        return await ask(self.path, name, method)

    async def get(self, name: str) -> Any:
        answer = await self.ask(name)
        assert answer.status == 200, answer
        return answer.body

    def open(self, **changes: Any) -> Grant:
        """Have the session's engine open a pinhole."""
        target = packet_info.endpoint(self.data.getsockname())
        wanted: dict[str, Any] = {
            "transport": Transport.TCP, "purpose": "test-data", "trigger": "TEST",
            "listen": Endpoint(ip_address(OURS), 0), "allow": only(ip_address(CLIENT)), "target": target,
            "source": Endpoint(ip_address(CLIENT), 0), "idle_seconds": 30,
        }  # fmt: skip
        grant = self.shell.engines[0].pinholes.open(Expect(**{**wanted, **changes}))
        assert isinstance(grant, Grant)
        return grant

    async def through(self, grant: Grant) -> tuple[socket.socket, socket.socket]:
        peer = await dial(CLIENT, grant.listen)
        target, _ = await accept(self.data)
        return peer, target


@asynccontextmanager
async def world(tmp_path: Path, shell: Shell | None = None) -> AsyncIterator[World]:
    shell = shell or Shell()
    gate, gate_at = serve(SERVER)
    listener, server_at = serve(SERVER)
    data, _ = serve(SERVER)
    client = await dial(CLIENT, gate_at)
    leg, _ = await accept(gate)
    shell.begin(leg, server_at)
    server, _ = await accept(listener)
    await shell.has_begun.wait()

    recent, events = Recent(), Events()

    async def reload(is_dry: bool) -> dict[str, Any]:
        lists: dict[str, Any] = {name: [] for name in ("problems", "warnings", "remarks", "changes", "ends")}
        return {"ok": True, "dry_run": is_dry, "hash": None, **lists, "ends_total": 0}

    gateway = Gateway(
        {"test": shell.helper}, shell.sessions, shell.pinholes, lambda: shell.config, lambda: {"state": "serving"},
        lambda: 10, reload, shell.log, recent, History(lambda: [partial(past.open_file, str(tmp_path / "audit.log"))]),
        events,
    )  # fmt: skip
    path = tmp_path / "control.sock"
    measuring = Measuring(
        shell.loop, shell.metrics, shell.sessions, shell.pinholes, NoQueue(), "1.2.3", {"rules": lambda: None}
    )
    control = Control(str(path), api.routes(gateway, measuring.pages))
    await control.start()
    try:
        yield World(shell, recent, events, path, client, server, data)
    finally:
        await control.stop()
        await measuring.stop()
        for sock in (gate, listener, data, client, server):
            sock.close()
        await close_all()
