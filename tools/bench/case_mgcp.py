"""MGCP: an agent has a connection created with media on both sides, and deleted again; without the media."""

from __future__ import annotations

import asyncio
import itertools
import socket
from functools import cache

from tools.bench.case import Case, check, own_address, udp

PORT = 2427
FIRST_PORT, PORTS = 20_000, 20_000
"""Of media, which nobody sends: each connection has the next two."""
_numbers = itertools.count(1)


def _description(host: str, number: int) -> bytes:
    port = FIRST_PORT + 2 * number % PORTS
    lines = ("v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", f"m=audio {port} RTP/AVP 0", "")
    return "\r\n".join(lines).encode()


async def serve(host: str) -> None:
    """A gateway that does what it is told."""
    sock = udp(host, PORT)
    sock.setblocking(False)

    def told() -> None:
        command, agent = sock.recvfrom(4096)
        verb, number = command.split(b" ", 2)[:2]
        if verb == b"DLCX":
            sock.sendto(b"250 %b OK\r\n" % number, agent)
        else:
            sock.sendto(b"200 %b OK\r\nI: %b\r\n\r\n" % (number, number) + _description(host, int(number)), agent)

    asyncio.get_running_loop().add_reader(sock, told)


@cache
def _agent(server: str) -> socket.socket:
    """One socket for all: an agent has one address."""
    sock = udp("0.0.0.0")
    sock.connect((server, PORT))
    return sock


def _create(server: str, mode: str, body: bytes) -> int:
    number = next(_numbers)
    head = f"CRCX {number} aaln/{number}@{server} MGCP 1.0\r\nC: {number}\r\nL: p:20, a:PCMU\r\nM: {mode}\r\n\r\n"
    _agent(server).send(head.encode() + body)
    check(_agent(server).recv(4096)[:4], b"200 ")
    return number


def session(server: str) -> None:
    created = _create(server, "sendrecv", _description(own_address(server), 0))
    number = next(_numbers)
    _agent(server).send(
        f"DLCX {number} aaln/{created}@{server} MGCP 1.0\r\nC: {created}\r\nI: {created}\r\n\r\n".encode()
    )
    check(_agent(server).recv(4096)[:4], b"250 ")


def hold(server: str) -> object:
    """A connection whose far end is not known yet."""
    return _create(server, "recvonly", b"")


CASE = Case(
    "mgcp", "a connection", "udp", PORT, serve, session, hold, options="{max_connections: 100000}", in_one_flow=True,
)  # fmt: skip
