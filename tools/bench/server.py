"""An FTP server that is no bottleneck: nothing is looked up, and a file's name is its length.

    RETR 10240       10 KiB
    STOR anything    takes what comes and throws it away

Passive mode only. Beside FTP it offers the same bytes as bare TCP connections, for gateways that do not speak FTP: on
BULK_PORT the client writes its command as one line, `RETR 1073741824` or `STOR x`, and the data follows on the same
connection. And it is an Oracle listener: on LISTENER_PORT it leads who asks for the service `elsewhere` to
INSTANCE_PORT, and it accepts everybody else; of those who want `bulk` the rest is as on BULK_PORT. Run as a program on
the server's host: `python -m tools.bench.server ADDRESS`; it says `ready` when it is.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import cast

import uvloop

from tools.bench.orders import READY
from tools.peers.tns_packets import accept, address, in_packet

BULK_PORT = 2000
LISTENER_PORT, INSTANCE_PORT, BARE_LISTENER_PORT = 1521, 1522, 2521
"""The last one is for gateways that know nothing of TNS."""
ELSEWHERE, BULK = b"elsewhere", b"bulk"
BACKLOG = 4096
SMALL_BYTES = 64 * 1024
"""What surely goes into a new connection's send buffer at once."""
PIECE_BYTES = 64 << 20
BUFFER_BYTES = 256 * 1024
# Listeners for data connections stand from the beginning and are used in turn. Many more than there are sessions that
# transfer at one time.
FIRST_DATA_PORT = 21000
DATA_PORTS = 512


def send_bytes(sock: socket.socket, count: int, piece: int) -> None:
    """`count` bytes from the file `piece` of PIECE_BYTES, without a copy through this process."""
    while count:
        offset = -count % PIECE_BYTES
        count -= os.sendfile(sock.fileno(), piece, offset, min(count, PIECE_BYTES - offset))


def receive_bytes(sock: socket.socket) -> int:
    """How many came, until the end of the stream."""
    buffer = bytearray(BUFFER_BYTES)
    total = 0
    while got := sock.recv_into(buffer):
        total += got
    return total


def make_piece() -> int:
    """A file in memory of PIECE_BYTES."""
    piece = os.memfd_create("piece")
    for _ in range(PIECE_BYTES >> 20):
        os.write(piece, os.urandom(1 << 20))
    return piece


class DataPort:
    """A listener that stands, and the session that waits for a connection to it."""

    def __init__(self, host: str, port: int) -> None:
        self.port = port
        self.session: Session | None = None
        self._sock = socket.create_server((host, port), backlog=8)
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._arrived)

    def _arrived(self) -> None:
        sock, _ = self._sock.accept()
        session, self.session = self.session, None
        if session is None:
            sock.close()
        else:
            session.connected(sock)


class Server:
    def __init__(self, host: str) -> None:
        self.threads = ThreadPoolExecutor(4)
        self.piece = make_piece()
        self.small = os.urandom(SMALL_BYTES)
        self._ports = itertools.cycle(DataPort(host, FIRST_DATA_PORT + number) for number in range(DATA_PORTS))

    def data_port(self, session: Session) -> DataPort:
        for port in self._ports:
            if port.session is None:
                port.session = session
                return port
        raise AssertionError("cycle() has no end")


class Session(asyncio.Protocol):
    """One control connection. Commands come one at a time, as whole lines: the client of this benchmark is known."""

    def __init__(self, server: Server, host: str) -> None:
        self._server = server
        self._six = host.replace(".", ",")
        self._command: bytes | None = None
        self._data: socket.socket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(b"220 ready\r\n")

    def data_received(self, data: bytes) -> None:
        verb = data[:4]
        match verb:
            case b"USER":
                answer = b"331 password please\r\n"
            case b"PASS":
                answer = b"230 logged in\r\n"
            case b"PASV":
                port = self._server.data_port(self).port
                answer = f"227 Entering Passive Mode ({self._six},{port >> 8},{port & 255}).\r\n".encode()
            case b"RETR" | b"STOR":
                self._command = data
                self._begin()
                return
            case b"QUIT":
                self._transport.write(b"221 bye\r\n")
                self._transport.close()
                return
            case _:
                answer = b"200 fine\r\n"
        self._transport.write(answer)

    def connected(self, sock: socket.socket) -> None:
        self._data = sock
        self._begin()

    def _begin(self) -> None:
        """The transfer, when both its command and its connection have come."""
        if self._command is None or self._data is None:
            return
        sock, command = self._data, self._command
        self._data = self._command = None
        if command.startswith(b"RETR") and (count := int(command[5:])) <= SMALL_BYTES:
            self._transport.write(b"150 here it comes\r\n")
            sock.setblocking(False)
            sock.send(self._server.small[:count])
            sock.close()
            self._transport.write(b"226 done\r\n")
            return
        self._transport.write(b"150 go on\r\n")
        future = self._server.threads.submit(transfer, sock, command, self._server.piece)
        future.add_done_callback(partial(self._transferred, asyncio.get_running_loop()))

    def _transferred(self, loop: asyncio.AbstractEventLoop, future: Future[None]) -> None:
        """Called in the thread."""
        answer = b"426 broken off\r\n" if future.exception() else b"226 done\r\n"
        loop.call_soon_threadsafe(self._transport.write, answer)


class Listener(asyncio.Protocol):
    """One connection to an Oracle listener, until it has its answer."""

    def __init__(self, server: Server, host: str) -> None:
        self._server = server
        self._redirect = in_packet(address(host, INSTANCE_PORT))
        self._accept = accept()
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if len(self._read) < int.from_bytes(self._read[:2], "big"):
            return
        if ELSEWHERE in self._read and self._transport.get_extra_info("sockname")[1] == LISTENER_PORT:
            self._transport.write(self._redirect)
            return
        if BULK not in self._read:
            self._transport.write(self._accept)
            return
        sock = self._transport.get_extra_info("socket")
        own = socket.socket(fileno=os.dup(sock.fileno()))
        self._transport.abort()  # closes but its own descriptor
        own.setblocking(True)
        own.send(self._accept)
        self._server.threads.submit(bare, own, self._server.piece)


def transfer(sock: socket.socket, command: bytes, piece: int) -> None:
    """In a thread: all data of one connection, then its end."""
    with sock:
        sock.setblocking(True)
        if command.startswith(b"RETR"):
            send_bytes(sock, int(command[5:]), piece)
        else:
            receive_bytes(sock)


def bare(sock: socket.socket, piece: int) -> None:
    """In a thread: command and data on one connection. An upload is confirmed by one byte when all of it has come."""
    with sock:
        command = b""
        while not command.endswith(b"\n"):
            command += sock.recv(1)
        if command.startswith(b"RETR"):
            send_bytes(sock, int(command[5:]), piece)
        else:
            receive_bytes(sock)
            sock.send(b".")


async def begin(host: str) -> None:
    """Serve from now on."""
    loop = asyncio.get_running_loop()
    server = Server(host)
    await loop.create_server(lambda: Session(server, host), host, 21, backlog=BACKLOG)
    for port in (LISTENER_PORT, INSTANCE_PORT, BARE_LISTENER_PORT):
        await loop.create_server(lambda: Listener(server, host), host, port, backlog=BACKLOG)
    bulk = socket.create_server((host, BULK_PORT))
    bulk.setblocking(False)

    def arrived() -> None:
        sock, _ = bulk.accept()
        sock.setblocking(True)
        server.threads.submit(bare, sock, server.piece)

    loop.add_reader(bulk, arrived)


async def serve(host: str) -> None:
    await begin(host)
    print(READY, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve(sys.argv[1]))
