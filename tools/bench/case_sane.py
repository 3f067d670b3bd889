"""SANE: a scanner is opened and started, and its picture fetched."""

from __future__ import annotations

import asyncio
import socket

from tools.bench.case import Case, check, tcp

PORT = 6566
PICTURE = b"picture"
VERSION = 0x0101_0003


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


_INIT, _OPEN, _START, _EXIT = _words(0, VERSION, 0), _words(2, 8) + b"scanner\0", _words(7, 0), _words(10)
_INITIALIZED, _OPENED, _STARTED_BYTES = _words(0, VERSION), _words(0, 0, 0), 16


async def serve(host: str) -> None:
    await asyncio.start_server(_serve, host, PORT, backlog=1024)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A scanner that serves until its client is gone."""
    here: str = writer.get_extra_info("sockname")[0]
    for asked, answer in ((_INIT, _INITIALIZED), (_OPEN, _OPENED)):
        await reader.readexactly(len(asked))
        writer.write(answer)
    if await reader.read(len(_START)) == _START:
        waiting = await asyncio.start_server(_send, here, 0)
        writer.write(_words(0, waiting.sockets[0].getsockname()[1], 0x1234, 0))
        await reader.read()
        waiting.close()
    writer.close()


async def _send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(PICTURE)
    writer.close()


def session(server: str) -> None:
    with hold(server) as sock:
        sock.sendall(_START)
        started = sock.recv(_STARTED_BYTES, socket.MSG_WAITALL)
        with tcp(server, int.from_bytes(started[4:8], "big")) as data:
            check(data.recv(len(PICTURE), socket.MSG_WAITALL), PICTURE)
        sock.sendall(_EXIT)


def hold(server: str) -> socket.socket:
    """A scanner that is open."""
    sock = tcp(server, PORT)
    for asked, answer in ((_INIT, _INITIALIZED), (_OPEN, _OPENED)):
        sock.sendall(asked)
        check(sock.recv(len(answer), socket.MSG_WAITALL), answer)
    return sock


CASE = Case(
    "sane",
    "a scanner and its picture",
    "tcp",
    PORT,
    serve,
    session,
    hold,
    kernel="sane",
    entries="[{id: 1, name: sane, protocol: tcp, port: 6566}]",
    options="{idle: 86400}",
)
