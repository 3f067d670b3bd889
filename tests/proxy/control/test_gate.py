"""Who is not let in to the control socket costs the others nothing, and hears why."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import pytest
import pytest_asyncio

from proxy.command import client
from proxy.control import gate
from proxy.control.rights import Rights
from proxy.control.routes import Route, Single
from proxy.control.server import Control

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

LOOK, CHANGE = 4711, 4712
AS_NOBODY = """
import os, socket, sys
path, group = sys.argv[1], int(sys.argv[2])
os.setgroups([group]); os.setgid(65534); os.setuid(65534)

def connect():
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock
"""
FLOOD = """
while True:
    kept = [connect() for _ in range(100)]
    print("more", flush=True)
"""
TWO = """
first, second = connect(), connect()
print(second.recv(65536).decode())
"""


@pytest_asyncio.fixture
async def path() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory() as directory:  # pytest keeps its own for root alone
        Path(directory).chmod(0o755)
        at = Path(directory) / "control.sock"
        routes = [Route("GET", "/v1/look", "Look", Single(None, lambda _: {"ok": True}))]
        server = Control(str(at), routes, rights=Rights(LOOK, CHANGE))
        await server.start()
        yield at
        await server.stop()


def somebody(program: str, path: Path, group: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", AS_NOBODY + program, str(path), str(group)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


async def test_a_flood_of_strangers_holds_few_descriptors_and_others_are_answered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "REST_SECONDS", 0.0005)
    before = len(os.listdir("/proc/self/fd"))
    with somebody(FLOOD, path, 65534) as flood:
        for _ in range(3):
            assert await asyncio.to_thread(told(flood).readline) == "more\n"
        assert len(os.listdir("/proc/self/fd")) <= before + gate.MOST_REFUSED + 3  # two pipes, and one at the gate
        assert await asyncio.to_thread(client.ask, str(path), "GET", "v1/look") == {"ok": True}
        flood.kill()


async def test_after_each_stranger_the_gate_rests(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of them would otherwise keep the loop from all else."""
    rests: list[float] = []
    sleep = asyncio.sleep

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    with somebody("[connect().recv(65536) for _ in range(5)]", path, 65534) as stranger:
        await asyncio.to_thread(stranger.wait, 20)
    assert rests == [gate.REST_SECONDS] * 5


async def test_where_as_many_are_let_in_as_may_be_the_next_one_hears_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MOST_CONNECTIONS", 1)
    with somebody(TWO, path, LOOK) as asker:
        text, _ = await asyncio.to_thread(asker.communicate, timeout=20)
    assert text.startswith("HTTP/1.1 503 ")
    assert '"too_many_connections"' in text
