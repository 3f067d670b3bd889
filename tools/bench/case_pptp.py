"""PPTP: a client connects, asks for a call, has ten packets of 1,200 bytes returned by the tunnel, and clears it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
from collections.abc import Iterator

from tools.bench.case import PATIENCE_SECONDS, Case, check, own_address, tcp

PORT, GRE = 1723, 47
PACKETS, PAYLOAD = 10, bytes(1200)
CALL = struct.Struct("!H")
_MAGIC = 0x1A2B3C4D
_calls = itertools.count(os.getpid() * 1000)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("!HHIHH", 12 + len(body), 1, _MAGIC, kind, 0) + body


def start(kind: int) -> bytes:
    return message(kind, struct.pack("!HBBIIHH", 0x100, kind - 1, 0, 1, 1, 1, 1) + bytes(128))


def raw(host: str) -> socket.socket:
    """A socket that has all GRE of this host."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, GRE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE_SECONDS)
    return sock


def packet(call: int, payload: bytes = PAYLOAD) -> bytes:
    return struct.pack("!HHHHI", 0x3001, 0x880B, len(payload), call, 0) + payload


# -- the server --------------------------------------------------------------------------------------------------------

_ids: Iterator[int] = itertools.cycle(range(65536))
_peers: dict[int, int] = {}
"""Id of ours -> the client's, as it is known here."""


async def serve(host: str) -> None:
    sock = raw(host)
    sock.setblocking(False)
    asyncio.get_running_loop().add_reader(sock, _return, sock)
    await asyncio.start_server(_talk, host, PORT, backlog=1024)


def _return(sock: socket.socket) -> None:
    data, source = sock.recvfrom(65536)
    (number,) = CALL.unpack_from(data, 26)
    if number in _peers:
        sock.sendto(packet(_peers[number], data[32:]), source)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    number = next(_ids)
    try:
        while True:
            head = await reader.readexactly(12)
            body = await reader.readexactly(int.from_bytes(head[:2], "big") - 12)
            match int.from_bytes(head[8:10], "big"):
                case 1:
                    writer.write(start(2))
                case 7:
                    _peers[number] = CALL.unpack_from(body)[0]
                    writer.write(message(8, struct.pack("!HHBBHIHHI", number, _peers[number], 1, 0, 0, 1, 64, 0, 0)))
                case 12:
                    writer.write(message(13, CALL.pack(number) + bytes(134)))
    except asyncio.IncompleteReadError:
        _peers.pop(number, None)
        writer.close()


# -- the client --------------------------------------------------------------------------------------------------------


def _received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (part := sock.recv(size - len(data))):
            raise ConnectionError("the server has ended")
        data += part
    return data


def _called(server: str) -> tuple[socket.socket, int, int]:
    """A connection with a call: the client's id, and the server's."""
    sock, number = tcp(server, PORT), next(_calls) & 0xFFFF
    sock.sendall(start(1))
    check(_received(sock, 156)[8:10], b"\0\2")
    sock.sendall(message(7, CALL.pack(number) + bytes(154)))
    reply = _received(sock, 32)
    check(reply[14:17], CALL.pack(number) + b"\1")
    return sock, number, CALL.unpack_from(reply, 12)[0]


def hold(server: str) -> socket.socket:
    """A call that nobody says anything in."""
    return _called(server)[0]


def session(server: str) -> None:
    with raw(own_address(server)) as tunnel:
        sock, number, servers = _called(server)
        for _ in range(PACKETS):
            tunnel.sendto(packet(servers), (server, 0))
            while CALL.unpack_from(data := tunnel.recv(65536), 26)[0] != number:
                pass
            check(data[32:], PAYLOAD)
        sock.sendall(message(12, CALL.pack(number) + bytes(2)))
        check(_received(sock, 148)[8:10], b"\0\x0d")
        sock.close()


CASE = Case(
    "pptp",
    "a call with ten packets each way",
    "tcp",
    PORT,
    serve,
    session,
    hold,
    kernel="pptp",
    options="{calls: 10000}",
)
