"""RTSP: SETUP of a stream over UDP, PLAY, TEARDOWN; without the media."""

from __future__ import annotations

import asyncio
import itertools
import socket

from tools.bench.case import Case, check, tcp

PORT = 554
FIRST_PORT, PORTS = 20_000, 20_000
"""Of media, which nobody sends: each stream has the next two, at either end."""
_numbers = itertools.count()
UDP = "RTP/AVP;unicast;client_port={0}-{1}"
INTERLEAVED = "RTP/AVP/TCP;unicast;interleaved=0-1"


async def serve(host: str) -> None:
    await asyncio.start_server(_talk, host, PORT, backlog=1024)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request is granted."""
    port = FIRST_PORT + 2 * next(_numbers) % PORTS
    while request := await _request(reader):
        lines = request.decode().split("\r\n")
        fields = [line for line in lines if line.startswith(("CSeq:", "Transport:"))]
        answer = "\r\n".join(fields)
        if "client_port" in answer:
            answer += f";server_port={port}-{port + 1}"
        writer.write(f"RTSP/1.0 200 OK\r\n{answer}\r\nSession: {port}\r\n\r\n".encode())
    writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


class Player:
    """A connection with requests and answers in turn."""

    def __init__(self, server: str) -> None:
        self.sock = tcp(server, PORT)
        self._url = f"rtsp://{server}/live"
        self._number = 0

    def ask(self, method: str, *fields: str) -> str:
        """The Session of the answer. Raises RuntimeError when it is another one than 200."""
        self._number += 1
        lines = [f"{method} {self._url} RTSP/1.0", f"CSeq: {self._number}", *fields, "", ""]
        self.sock.sendall("\r\n".join(lines).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            data = self.sock.recv(4096)
            if not data:
                raise RuntimeError(f"the connection ended where {method} should have been answered")
            answer += data
        check(answer[:12], b"RTSP/1.0 200")
        return answer.partition(b"\r\nSession: ")[2].partition(b"\r")[0].decode()


def session(server: str) -> None:
    player, port = Player(server), FIRST_PORT + 2 * next(_numbers) % PORTS
    session = player.ask("SETUP", f"Transport: {UDP.format(port, port + 1)}")
    for method in ("PLAY", "TEARDOWN"):
        player.ask(method, f"Session: {session}")
    player.sock.close()


def hold(server: str) -> socket.socket:
    """Its media is to come on the connection itself: with media over UDP each would take four more descriptors."""
    player = Player(server)
    player.ask("SETUP", f"Transport: {INTERLEAVED}")
    return player.sock


CASE = Case("rtsp", "SETUP, PLAY, TEARDOWN", "tcp", PORT, serve, session, hold)
