"""IRC: a user registers, offers a file of 10 KiB to another one by DCC, who fetches it, and quits. The server is that
other user, too."""

from __future__ import annotations

import asyncio
import re
import socket
from ipaddress import ip_address

from tools.bench.case import Case, check, own_address, tcp

PORT = 6667
FILE_BYTES = 10 * 1024
OFFER = re.compile(rb"\x01DCC SEND \S+ (\d+) (\d+) \d+\x01")


async def serve(host: str) -> None:
    await asyncio.start_server(_talk, host, PORT, backlog=1024)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        if line.startswith(b"USER "):
            writer.write(b":irc.example 001 alice :Welcome\r\n")
        elif (offer := OFFER.search(line)) is not None:
            data, answers = await asyncio.open_connection(str(ip_address(int(offer[1]))), int(offer[2]))
            check(len(await data.read(-1)), FILE_BYTES)
            answers.close()
        elif line.startswith(b"QUIT"):
            break
    writer.close()


def hold(server: str) -> socket.socket:
    """A user who is there and says nothing."""
    sock = tcp(server, PORT)
    sock.sendall(b"NICK alice\r\nUSER al 0 * :Alice\r\n")
    check(sock.recv(4096)[:18], b":irc.example 001 a")
    return sock


def session(server: str) -> None:
    with hold(server) as sock, socket.create_server(("0.0.0.0", 0)) as waiting:
        waiting.settimeout(sock.gettimeout())
        number, port = int(ip_address(own_address(server))), waiting.getsockname()[1]
        sock.sendall(b"PRIVMSG bob :\x01DCC SEND file.txt %d %d %d\x01\r\n" % (number, port, FILE_BYTES))
        data, _ = waiting.accept()
        with data:
            data.sendall(bytes(FILE_BYTES))
        sock.sendall(b"QUIT\r\n")
        check(sock.recv(4096), b"")


CASE = Case(
    "irc",
    "10 KiB by DCC SEND",
    "tcp",
    PORT,
    serve,
    session,
    hold,
    kernel="irc",
    entries="[{id: 1, name: irc, protocol: tcp, port: 6667}]",
    options="{dcc: allow}",
)
