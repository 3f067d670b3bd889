"""H.323: a call with fast start, taken and released, without its media. RAS: an endpoint registers, and goes."""

from __future__ import annotations

import asyncio
import itertools
import socket
from functools import cache

from tools.bench.case import Case, check, own_address, tcp, udp

PORT, RAS_PORT = 1720, 1719
FIRST_PORT, PORTS = 20_000, 20_000
"""Of media, which nobody sends, and of endpoints that register, which nobody calls: each call has the next two."""
_CLIENT, _SERVER = socket.inet_aton("10.1.0.2"), socket.inet_aton("10.2.0.2")
SETUP = bytes.fromhex(
    "0300008e08020001057e00820500a8060008914a00040140040061006c00690063006502000a02000206b8000000000000000000000000000000"
    "000000351007000a010002040111000102030405060708090a0b0c0d0e0f103402120003e80c6013800a040001000a01000213891f4003e90600"
    "030000014c60138011140001000a0100021388000a0100021389"
)
"""Two proposals: the caller has RTP at 10.1.0.2:5000, and RTCP at the next port."""
CONNECT = bytes.fromhex(
    "0300007108028001077e0065050280060008914a0004020000000000000000000000000000000000091011000102030405060708090a0b0c0d0e"
    "0f103402190003e80c60138011140001000a0200021770000a0200021771184003e90600030000014c6013800a040001000a0200021771"
)
"""Both are taken: the callee has RTP at 10.2.0.2:6000."""
HELD_SETUP = bytes.fromhex(
    "0300005c08020001057e00500500a8060008914a00040140040061006c00690063006502000a02000206b8000000000000000000000000000000"
    "000000dd0000000007000a010002040111000102030405060708090a0b0c0d0e0f10"
)
"""The same without proposals. Calls that are held have no media: with four sockets each for that, 5,000 of them would
not find the descriptors."""
HELD_CONNECT = bytes.fromhex(
    "0300003d08028001077e0031050280060008914a00040200000000000000000000000000000000001f000011000102030405060708090a0b0c0d"
    "0e0f10"
)
RELEASE = bytes.fromhex("03000016080200015a7e000a050500060008914a0004")
RRQ = bytes.fromhex(
    "0e800001060008914a00040001000a010002138801000a01000206b702000140040061006c00690063006500b500001202800340012b"
)
"""With number 2, for an endpoint that is called at 10.1.0.2:5000."""
RCF = bytes.fromhex("12000001060008914a000401000a02000206b8040065007000311280800340012b0100")
URQ, UCF = bytes.fromhex("1800000101000a0100021388"), bytes.fromhex("1c0001")
_numbers = itertools.count(1)


def _at(message: bytes, before: bytes, host: str, first: int) -> bytes:
    """The message with the next pair of ports of this host in the place of its own."""
    port = FIRST_PORT + 2 * next(_numbers) % PORTS
    new = socket.inet_aton(host)
    for offset in (0, 1):
        old = before + (first + offset).to_bytes(2, "big")
        message = message.replace(old, new + (port + offset).to_bytes(2, "big"))
    return message.replace(before, new)


async def serve(host: str) -> None:
    """A callee that takes every call."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(4):
            await reader.readexactly(int.from_bytes(head[2:], "big") - 4)
            if head[3] == SETUP[3]:
                writer.write(_at(CONNECT, _SERVER, host, 6000))
            elif head[3] == HELD_SETUP[3]:
                writer.write(HELD_CONNECT)
        writer.close()

    await asyncio.start_server(talk, host, PORT, backlog=1024)


def _called(server: str, setup: bytes, connect: bytes) -> socket.socket:
    """A call that goes on."""
    sock = tcp(server, PORT)
    sock.sendall(setup.replace(_SERVER, socket.inet_aton(server)))
    check(len(sock.recv(4096)), len(connect))
    return sock


def hold(server: str) -> socket.socket:
    return _called(server, HELD_SETUP.replace(_CLIENT, socket.inet_aton(own_address(server))), HELD_CONNECT)


def session(server: str) -> None:
    with _called(server, _at(SETUP, _CLIENT, own_address(server), 5000), CONNECT) as sock:
        sock.sendall(RELEASE)


async def serve_ras(host: str) -> None:
    """A gatekeeper that has room for everybody."""
    sock = udp(host, RAS_PORT)
    sock.setblocking(False)

    def told() -> None:
        message, endpoint = sock.recvfrom(4096)
        answer = RCF if message[0] == RRQ[0] else UCF
        number = answer.index(b"\0\1")
        sock.sendto(answer[:number] + message[2:4] + answer[number + 2 :], endpoint)

    asyncio.get_running_loop().add_reader(sock, told)


@cache
def _endpoint(server: str) -> socket.socket:
    """One socket for all: a gateway registers many."""
    sock = udp("0.0.0.0", RAS_PORT)
    sock.connect((server, RAS_PORT))
    return sock


def _asked(server: str, message: bytes, answer: bytes) -> bytes:
    """Ask, with a number of its own."""
    number = (next(_numbers) % 65535).to_bytes(2, "big")
    _endpoint(server).send(message[:2] + number + message[4:])
    check(_endpoint(server).recv(4096)[0], answer[0])
    return message


def hold_ras(server: str) -> object:
    """An endpoint that stays registered."""
    return _asked(server, _at(RRQ, _CLIENT, own_address(server), 5000), RCF)


def session_ras(server: str) -> None:
    asked = _asked(server, _at(RRQ, _CLIENT, own_address(server), 5000), RCF)
    _asked(server, URQ[:-6] + asked[14:20], UCF)


CASE = Case("h323", "a call with fast start", "tcp", PORT, serve, session, hold, options="{rate: 100000}")
RAS = Case(
    "ras", "a registration", "udp", RAS_PORT, serve_ras, session_ras, hold_ras,
    options="{max_registrations: 100000, rate: 100000}", in_one_flow=True,
)  # fmt: skip
