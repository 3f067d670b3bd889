"""DCE-RPC: an interface is asked for at port 135 (bind, ept_map), and a connection is made to where it is."""

from __future__ import annotations

import asyncio
import socket
import struct
from uuid import UUID

from tools.bench.case import Case, check, tcp

PORT, SERVICE_PORT = 135, 49153
HEAD_BYTES = 16


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack("<4BIHHI", 5, 0, kind, 3, 0x10, HEAD_BYTES + len(body), 0, 1) + body


def _syntax(uuid: str, version: int) -> bytes:
    return UUID(uuid).bytes_le + struct.pack("<I", version)


_NDR = _syntax("8a885d04-1ceb-11c9-9fe8-08002b104860", 2)
_EPM = _syntax("e1af8308-5d1f-11c9-91a4-08002b14a0fa", 3)
_NETLOGON = _syntax("12345678-1234-abcd-ef00-01234567cffb", 1)
BIND = _pdu(11, struct.pack("<HHIB3xHBx", 5840, 5840, 0, 1, 0, 1) + _EPM + _NDR)
BOUND = _pdu(12, struct.pack("<HHIH4s2xB3xI", 5840, 5840, 7, 4, b"135\0", 1, 0) + _NDR)


def _tower(host: str, port: int) -> bytes:
    floors = [(b"\x0d" + each[:18], bytes(2)) for each in (_NETLOGON, _NDR)]
    floors += [(b"\x0b", bytes(2)), (b"\x07", struct.pack(">H", port)), (b"\x09", socket.inet_aton(host))]
    sides = (struct.pack("<H", len(side)) + side for floor in floors for side in floor)
    octets = struct.pack("<H", len(floors)) + b"".join(sides)
    return struct.pack("<II", len(octets), len(octets)) + octets + bytes(-len(octets) % 4)


def _asks() -> bytes:
    stub = struct.pack("<I16xI", 1, 2) + _tower("0.0.0.0", PORT) + bytes(20) + struct.pack("<I", 4)
    return _pdu(0, struct.pack("<IHH", len(stub), 0, 3) + stub)


def _answers(host: str) -> bytes:
    stub = bytes(20) + struct.pack("<5I", 1, 4, 0, 1, 3) + _tower(host, SERVICE_PORT) + bytes(4)
    return _pdu(2, struct.pack("<IHH", len(stub), 0, 0) + stub)


ASKS = _asks()


async def serve(host: str) -> None:
    answers = {BIND[2]: BOUND, ASKS[2]: _answers(host)}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(HEAD_BYTES):
            await reader.readexactly(int.from_bytes(head[8:10], "little") - HEAD_BYTES)
            writer.write(answers[head[2]])
        writer.close()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    await asyncio.start_server(talk, host, PORT, backlog=1024)
    await asyncio.start_server(echo, host, SERVICE_PORT, backlog=1024)


def hold(server: str) -> socket.socket:
    """A connection to port 135 on which one question has been answered: what it has opened is one endpoint for all."""
    sock = tcp(server, PORT)
    sock.sendall(BIND)
    check(sock.recv(4096), BOUND)
    sock.sendall(ASKS)
    check(len(sock.recv(4096)), len(_answers("0.0.0.0")))
    return sock


def session(server: str) -> None:
    """A port is found, and a connection made to it."""
    hold(server).close()
    with tcp(server, SERVICE_PORT) as service:
        service.sendall(ASKS)
        check(service.recv(4096), ASKS)


CASE = Case("dcerpc", "ept_map and a connection", "tcp", PORT, serve, session, hold)
