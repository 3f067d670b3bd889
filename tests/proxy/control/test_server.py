"""The control socket: for owner and group, one daemon at a time, gone when the daemon is; it answers by its routes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.control.routes import Asked, Listing, Route, Single, Stream, Text
from proxy.control.server import ROWS_AT_ONCE, Control
from proxy.control.shapes import Field, Kind, Row, Shape
from proxy.errors import SocketError
from tests.harness.control_client import ask
from tests.harness.shell import SECONDS

ROW = Shape("row", "A row.", {"id": Field(Kind.INTEGER, "Its number"), "who": Field(Kind.ENDPOINT, "Whose it is")})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


def thousand(_: Asked) -> Iterator[Row]:
    return ({"id": number, "who": f"192.0.2.{number % 250}:5060"} for number in range(1000))


async def words() -> tuple[int, bytes]:
    return 200, b"words\n"


def control(path: Path) -> Control:
    return Control(
        str(path),
        [
            Route("GET", "/v1/status", "How it is", Single(None, lambda _: {"sessions": 3})),
            Route("GET", "/v1/none", "Nothing", Listing("none", ROW, lambda _: iter(()))),
            Route("GET", "/v1/rows", "Rows", Listing("rows", ROW, thousand)),
            Route("GET", "/v1/peers", "Who asks", Single(None, lambda asked: {"uid": asked.peer.uid})),
            Route("POST", "/v1/reload", "Again", Single(None, lambda _: {"ok": False})),
            Route("GET", "/text", "Text", Text("text/plain", words)),
        ],
    )


async def test_what_a_route_makes_is_answered(path: Path) -> None:
    server = control(path)
    await server.start()
    assert (await ask(path, "/v1/status")).body == {"sessions": 3}
    assert (await ask(path, "/v1/reload", "POST")).body == {"ok": False}
    assert (await ask(path, "/text")).text == "words\n"
    await server.stop()


async def test_lists_are_answered_whole(path: Path) -> None:
    server = control(path)
    await server.start()
    assert (await ask(path, "/v1/none")).body == {"none": []}
    assert [row["id"] for row in (await ask(path, "/v1/rows")).body["rows"]] == list(range(1000))
    await server.stop()


async def test_a_list_has_the_rows_that_its_filters_let_through(path: Path) -> None:
    server = control(path)
    await server.start()
    assert [row["id"] for row in (await ask(path, "/v1/rows?who=192.0.2.7")).body["rows"]] == [7, 257, 507, 757]
    assert [row["id"] for row in (await ask(path, "/v1/rows?who=192.0.2.7&limit=3")).body["rows"]] == [7, 257, 507]
    assert (await ask(path, "/v1/rows?who=198.51.100.0/24")).body == {"rows": []}
    await server.stop()


@pytest.mark.parametrize(
    ("method", "name", "status", "code"),
    [
        ("GET", "/v1/secrets", 404, "no_such_path"),
        ("POST", "/v1/rows", 405, "wrong_method"),
        ("GET", "/v1/rows?whom=1", 400, "unknown_parameter"),
        ("GET", "/v1/rows?who=nobody", 400, "bad_parameter"),
        ("GET", "/v1/rows?limit=1&limit=2", 400, "bad_parameter"),
        ("GET", "/v1/status?limit=1", 400, "unknown_parameter"),
    ],
)
async def test_a_request_that_is_wrong_hears_what_to_do(
    path: Path, method: str, name: str, status: int, code: str
) -> None:
    server = control(path)
    await server.start()
    answer = await ask(path, name, method)
    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert answer.body["error"]["message"] and answer.body["error"]["remedy"]
    await server.stop()


ASKS = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "written",
    [
        b"\x16\x03\x01\x00\xa5\x01\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\n\r\n", ASKS + b"Content-Length: x\r\n\r\n",
        ASKS + b"\r\n\0\0\0\r\n\r\n", ASKS + b"A: " + b"a" * 100_000 + b"\r\n\r\n", b"GET /" + b"a" * 200_000,
        ASKS + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)  # fmt: skip
async def test_what_is_no_request_leaves_nothing_in_the_journal(
    path: Path, caplog: pytest.LogCaptureFixture, written: bytes
) -> None:
    server = control(path)
    await server.start()
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(written)
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()
    assert (await ask(path, "/v1/status")).status == 200
    assert caplog.text == ""
    await server.stop()


async def test_a_fault_of_ours_is_in_the_journal(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Asked) -> Row:
        raise RuntimeError("ours")

    server = Control(str(path), [Route("GET", "/v1/fault", "A fault", Single(None, fail))])
    await server.start()
    assert (await ask(path, "/v1/fault")).status == 500
    assert "RuntimeError: ours" in caplog.text
    await server.stop()


async def test_nobody_waits_for_a_long_list(path: Path) -> None:
    """Not even when the filters let no row through."""
    turns, is_told = 0, False
    seen: list[int] = []

    def tell_turn() -> None:
        nonlocal turns
        turns += 1
        if not is_told:
            loop.call_soon(tell_turn)

    def rows(_: Asked) -> Iterator[Row]:
        for number in range(1000):
            seen.append(turns)
            yield {"id": number, "who": "192.0.2.1:1"}

    loop = asyncio.get_running_loop()
    server = Control(str(path), [Route("GET", "/rows", "Rows", Listing("rows", ROW, rows))])
    await server.start()
    loop.call_soon(tell_turn)
    for name in ("/rows", "/rows?who=192.0.2.2"):
        seen.clear()
        await ask(path, name)
        assert seen[-1] - seen[0] >= 1000 // ROWS_AT_ONCE
    is_told = True
    await server.stop()


async def test_only_owner_and_group_may_talk_to_the_daemon(path: Path) -> None:
    server = control(path)
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    await server.stop()
    assert not path.exists()


async def test_the_kernel_says_who_asks(path: Path) -> None:
    server = control(path)
    await server.start()
    assert (await ask(path, "/v1/peers")).body == {"uid": path.stat().st_uid}
    await server.stop()


async def test_the_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = control(path)
    await server.start()
    assert (await ask(path, "/v1/status")).status == 200
    await server.stop()


async def test_a_second_daemon_is_refused_and_the_first_goes_on(path: Path) -> None:
    first = control(path)
    await first.start()
    with pytest.raises(SocketError, match="another daemon serves there"):
        await control(path).start()
    assert (await ask(path, "/v1/status")).status == 200
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


async def test_a_stream_goes_on_until_either_side_leaves(path: Path) -> None:
    left = asyncio.Event()

    async def items(_: Asked) -> AsyncIterator[tuple[str, str]]:
        try:
            for number in itertools.count():
                yield "tick", str(number)
                await asyncio.sleep(0.001)
        finally:
            left.set()

    server = Control(str(path), [Route("GET", "/v1/ticks", "Ticks", Stream(None, items))])
    await server.start()
    async with asyncio.timeout(SECONDS):
        reader, writer = await ask_raw(path, "/v1/ticks")
        await reader.readuntil(b"event: tick\ndata: 3\n\n")
        writer.close()
        await left.wait()
        left.clear()
        reader, writer = await ask_raw(path, "/v1/ticks")
        await reader.readuntil(b"event: tick\ndata: 3\n\n")
        await server.stop()
        await left.wait()
        writer.close()


async def ask_raw(path: Path, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"GET {name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return reader, writer
