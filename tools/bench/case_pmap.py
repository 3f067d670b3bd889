"""The portmapper: the port of NFS is asked for over UDP (GETPORT), and a connection is made to it."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct

from tools.bench.case import Case, check, tcp, udp

PORT, SERVICE_PORT = 111, 2049
PORTMAPPER, NFS, GETPORT, OVER_TCP = 100_000, 100_003, 3, 6
_numbers = itertools.count(1)


async def serve(host: str) -> None:
    sock = udp(host, PORT)
    sock.setblocking(False)

    def asked() -> None:
        call, client = sock.recvfrom(4096)
        sock.sendto(_answer(call), client)

    asyncio.get_running_loop().add_reader(sock, asked)
    await asyncio.start_server(_talk, host, PORT, backlog=1024)
    await asyncio.start_server(_echo, host, SERVICE_PORT, backlog=1024)


def _answer(call: bytes) -> bytes:
    """RFC 1833 s.3.2: accepted, no verifier, success, and the port."""
    return call[:4] + struct.pack(">6I", 1, 0, 0, 0, 0, SERVICE_PORT)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while mark := await reader.read(4):
        answer = _answer(await reader.readexactly(int.from_bytes(mark) & 0x7FFFFFFF))
        writer.write(_record(answer))
    writer.close()


def _record(message: bytes) -> bytes:
    """RFC 5531 s.11: behind a mark that says that it is whole, and its length."""
    return (0x80000000 | len(message)).to_bytes(4) + message


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


def _call() -> bytes:
    return struct.pack(">14I", next(_numbers), 0, 2, PORTMAPPER, 2, GETPORT, 0, 0, 0, 0, NFS, 3, OVER_TCP, 0)


def session(server: str) -> None:
    """A port is found over UDP, and a connection made to it."""
    call = _call()
    with udp("0.0.0.0") as sock:
        sock.sendto(call, (server, PORT))
        answer = sock.recv(4096)
    check((answer[:4], answer[-4:]), (call[:4], SERVICE_PORT.to_bytes(4)))
    with tcp(server, SERVICE_PORT) as service:
        service.sendall(call)
        check(service.recv(4096), call)


def hold(server: str) -> socket.socket:
    """A connection to the portmapper on which one question has been answered: over UDP a session ends some seconds
    after its answer, and what it has opened is one service for all."""
    sock, call = tcp(server, PORT), _call()
    sock.sendall(_record(call))
    check(sock.recv(4096), _record(_answer(call)))
    return sock


CASE = Case(
    "pmap", "GETPORT and a connection", "udp", PORT, serve, session, hold, options="{udp_calls: 100000}",
)  # fmt: skip
