"""rexec: a command with a connection back for its error output. It is rsh without reserved ports, of which there are
too few for many sessions in a row."""

from __future__ import annotations

import asyncio
import socket

from tools.bench.case import Case, check, tcp

PORT = 512
ASKED = b"user\0secret\0command\0"


async def serve(host: str) -> None:
    await asyncio.start_server(_run, host, PORT, backlog=1024)


async def _run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A command is answered at once, and runs on if it has no place for its errors."""
    client: str = writer.get_extra_info("peername")[0]
    stderr = int((await reader.readuntil(b"\0"))[:-1] or b"0")
    errors = (await asyncio.open_connection(client, stderr))[1] if stderr else None
    await reader.readexactly(len(ASKED))
    writer.write(b"\0")
    if errors is None:
        await reader.read()
    else:
        writer.write(b"output")
        errors.write(b"error")
        errors.close()
    writer.close()


def session(server: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as waiting, tcp(server, PORT) as sock:
        sock.sendall(b"%d\0" % waiting.getsockname()[1])
        waiting.settimeout(sock.gettimeout())
        errors, _ = waiting.accept()
        sock.sendall(ASKED)
        with errors:
            check((_all(sock), _all(errors)), (b"\0output", b"error"))


def _all(sock: socket.socket) -> bytes:
    got = b""
    while data := sock.recv(4096):
        got += data
    return got


def hold(server: str) -> socket.socket:
    """A command that runs on, without error output."""
    sock = tcp(server, PORT)
    sock.sendall(b"0\0" + ASKED)
    check(sock.recv(1), b"\0")
    return sock


CASE = Case("rsh", "rexec with error output", "tcp", PORT, serve, session, hold)
