"""The control socket: for owner and group, one daemon at a time, gone when the daemon is."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.daemon.control import ROWS_AT_ONCE, Control
from proxy.errors import SocketError
from proxy.record.metrics import Metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


def control(path: Path) -> Control:
    async def reload() -> dict[str, object]:
        return {"ok": False, "problems": ["x.yaml:1:1: version: 2"]}

    tables = {"sessions": lambda: iter(()), "pinholes": lambda: ({"pinhole": number} for number in range(1000))}
    return Control(str(path), {"status": lambda: {"sessions": 3}}, tables, Metrics(), reload)


async def ask(path: Path, method: str, name: str) -> aiohttp.ClientResponse:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.request(method, f"http://pinhole/{name}") as answer,
    ):
        await answer.read()
        return answer


async def test_reports_metrics_and_reload_are_answered(path: Path) -> None:
    server = control(path)
    await server.start()
    assert await (await ask(path, "GET", "status")).json() == {"sessions": 3}
    assert await (await ask(path, "POST", "reload")).json() == {"ok": False, "problems": ["x.yaml:1:1: version: 2"]}
    assert "pinhole_sessions 0.0" in await (await ask(path, "GET", "metrics")).text()
    assert (await ask(path, "GET", "secrets")).status == 404
    await server.stop()


async def test_tables_are_answered_whole(path: Path) -> None:
    server = control(path)
    await server.start()
    assert await (await ask(path, "GET", "sessions")).json() == {"sessions": []}
    assert await (await ask(path, "GET", "pinholes")).json() == {"pinholes": [{"pinhole": n} for n in range(1000)]}
    await server.stop()


async def test_nobody_waits_for_a_long_table(path: Path) -> None:
    turns, is_told = 0, False

    def tell_turn() -> None:
        nonlocal turns
        turns += 1
        if not is_told:
            loop.call_soon(tell_turn)

    def rows() -> Iterator[dict[str, object]]:
        for number in range(1000):
            yield {"pinhole": number, "turns": turns}

    async def reload() -> dict[str, object]:
        return {}

    loop = asyncio.get_running_loop()
    server = Control(str(path), {}, {"pinholes": rows}, Metrics(), reload)
    await server.start()
    loop.call_soon(tell_turn)
    told = (await (await ask(path, "GET", "pinholes")).json())["pinholes"]
    is_told = True
    assert told[-1]["turns"] - told[0]["turns"] >= 1000 // ROWS_AT_ONCE
    await server.stop()


async def test_only_owner_and_group_may_talk_to_the_daemon(path: Path) -> None:
    server = control(path)
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    await server.stop()
    assert not path.exists()


async def test_the_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = control(path)
    await server.start()
    assert (await ask(path, "GET", "status")).status == 200
    await server.stop()


async def test_a_second_daemon_is_refused_and_the_first_goes_on(path: Path) -> None:
    first = control(path)
    await first.start()
    with pytest.raises(SocketError, match="another daemon serves there"):
        await control(path).start()
    assert (await ask(path, "GET", "status")).status == 200
    await first.stop()


async def test_a_file_in_the_place_of_the_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(SocketError, match="remove it"):
        await control(path).start()
    assert path.read_text() == "precious"


async def test_a_path_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SocketError, match="choose another `control:` path"):
        await control(tmp_path / "file" / "control.sock").start()
