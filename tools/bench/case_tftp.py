"""TFTP: a file of 100 kB in blocks of 512 bytes, each acknowledged before the next one: nothing of it is at once."""

from __future__ import annotations

import asyncio
import socket

from tools.bench.case import Case, check, udp

PORT = 69
BLOCK_BYTES = 512
FILE_BYTES = 100_000
BLOCKS = FILE_BYTES // BLOCK_BYTES + 1
RRQ = b"\0\1file\0octet\0"
PATIENT_RRQ = RRQ + b"timeout\x00255\0"
"""It asks for a time to repeat of 255 s, so that a transfer may be silent for some minutes."""


class _Sending:
    """A transfer at the server: each ACK brings the next block, and nothing is repeated."""

    def __init__(self, host: str, client: tuple[str, int], first: bytes) -> None:
        self._sock = udp(host)
        self._sock.connect(client)
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._heard)
        self._sock.send(first)

    def _heard(self) -> None:
        try:
            number = int.from_bytes(self._sock.recv(2048)[2:4])
        except OSError:  # the client is gone
            number = BLOCKS
        if number == BLOCKS:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
        else:
            self._sock.send(block(number + 1))


def block(number: int) -> bytes:
    """The DATA of that number, which are counted from 1."""
    size = min(BLOCK_BYTES, FILE_BYTES - (number - 1) * BLOCK_BYTES)
    return b"\0\3" + number.to_bytes(2) + bytes(size)


async def serve(host: str) -> None:
    sock = udp(host, PORT)
    sock.setblocking(False)

    def asked() -> None:
        request, client = sock.recvfrom(2048)
        _Sending(host, client, b"\0\6timeout\x00255\0" if b"timeout" in request else block(1))

    asyncio.get_running_loop().add_reader(sock, asked)


def session(server: str) -> None:
    with udp("0.0.0.0") as sock:
        sock.sendto(RRQ, (server, PORT))
        got = 0
        while True:
            data, at = sock.recvfrom(2048)
            sock.sendto(b"\0\4" + data[2:4], at)
            got += len(data) - 4
            if len(data) < 4 + BLOCK_BYTES:
                break
        check(got, FILE_BYTES)


def hold(server: str) -> socket.socket:
    """A transfer whose first block has come and whose second one is not asked for."""
    sock = udp("0.0.0.0", buffer_bytes=4096)
    sock.sendto(PATIENT_RRQ, (server, PORT))
    _, at = sock.recvfrom(2048)
    sock.sendto(b"\0\4\0\0", at)
    check(len(sock.recv(2048)), 4 + BLOCK_BYTES)
    return sock


CASE = Case(
    "tftp", "100 kB read", "udp", PORT, serve, session, hold, kernel="tftp", most_of_plain=1.5,
)  # fmt: skip
