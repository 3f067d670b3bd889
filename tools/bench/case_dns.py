"""DNS: a question over UDP from a port of its own, and its answer, an address that the policy translates."""

from __future__ import annotations

import asyncio
import itertools
import socket
from ipaddress import ip_address

from tools.bench.case import Case, check, tcp, udp

PORT = 53
ADDRESS = ip_address("203.0.113.5")
_numbers = itertools.count()


def question() -> bytes:
    """For the address of a name, which is another one each time (RFC 1035 s.4.1)."""
    number = next(_numbers)
    name = f"host{number}".encode()
    labels = bytes([len(name)]) + name + b"\7example\0"
    return (number % 65536).to_bytes(2) + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\1\0\1"


def answer(asked: bytes) -> bytes:
    """The question, and one record for its name."""
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + ADDRESS.packed
    return asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:] + record


async def serve(host: str) -> None:
    sock = udp(host, PORT)
    sock.setblocking(False)

    def asked() -> None:
        data, client = sock.recvfrom(4096)
        sock.sendto(answer(data), client)

    asyncio.get_running_loop().add_reader(sock, asked)
    await asyncio.start_server(_talk, host, PORT, backlog=1024)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while size := await reader.read(2):
        found = answer(await reader.readexactly(int.from_bytes(size)))
        writer.write(len(found).to_bytes(2) + found)
    writer.close()


def session(server: str) -> None:
    asked = question()
    with udp("0.0.0.0") as sock:
        sock.sendto(asked, (server, PORT))
        check(sock.recv(4096)[:4], asked[:2] + b"\x81\x80")


def hold(server: str) -> socket.socket:
    """A connection on which one question has been answered: sessions over UDP end with their answer."""
    sock, asked = tcp(server, PORT), question()
    sock.sendall(len(asked).to_bytes(2) + asked)
    check(sock.recv(4096)[2:4], asked[:2])
    return sock


CASE = Case(
    "dns",
    "a question",
    "udp",
    PORT,
    serve,
    session,
    hold,
    entries="[{id: 1, name: dns, protocol: udp, port: 53}, {id: 2, name: dns, protocol: tcp, port: 53}]",
    options="{translate: {203.0.113.0/28: 10.9.0.0/28}, stream_idle: 3600}",
    most_cpu=250e-6,
)
