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
        """RFC 1833 s.3.2: accepted, no verifier, success, and the port."""
        call, client = sock.recvfrom(4096)
        sock.sendto(call[:4] + struct.pack(">6I", 1, 0, 0, 0, 0, SERVICE_PORT), client)

    asyncio.get_running_loop().add_reader(sock, asked)
    await asyncio.start_server(_echo, host, SERVICE_PORT, backlog=1024)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


def hold(server: str) -> socket.socket:
    """A connection to the service."""
    number = next(_numbers)
    call = struct.pack(">14I", number, 0, 2, PORTMAPPER, 2, GETPORT, 0, 0, 0, 0, NFS, 3, OVER_TCP, 0)
    with udp("0.0.0.0") as sock:
        sock.sendto(call, (server, PORT))
        answer = sock.recv(4096)
    check((answer[:4], answer[-4:]), (call[:4], SERVICE_PORT.to_bytes(4)))
    service = tcp(server, SERVICE_PORT)
    service.sendall(call)
    check(service.recv(4096), call)
    return service


def session(server: str) -> None:
    hold(server).close()


CASE = Case(
    "pmap", "GETPORT and a connection", "udp", PORT, serve, session, hold, options="{udp_calls: 100000}",
)  # fmt: skip
