"""The clients: plain blocking sockets, several processes of them, doing what they are told.

Run as a program on the client's host: `python -m tools.bench.client SERVER`. It takes orders (orders.py), whose names
are the functions below that take a server and numbers.
"""

from __future__ import annotations

import multiprocessing
import resource
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.pool import Pool
from typing import Any

from tools.bench.orders import take_orders
from tools.bench.server import (
    BULK,
    BULK_PORT,
    ELSEWHERE,
    INSTANCE_PORT,
    make_piece,
    receive_bytes,
    send_bytes,
)
from tools.peers.tns_packets import connect

PARALLEL = 32
SMALL_BYTES = 10 * 1024

_piece = make_piece()
_held: list[Control] = []
_pool: Pool


def _connect(host: str, port: int) -> socket.socket:
    # No time limit of its own: that would make each read two system calls. Whoever gives the order has one.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Control:
    """A control connection."""

    def __init__(self, server: str) -> None:
        """Connect and log in."""
        self.sock = _connect(server, 21)
        self._read = b""
        self.expect(b"220")
        self.ask(b"USER bench\r\n", b"331")
        self.ask(b"PASS bench\r\n", b"230")

    def expect(self, code: bytes) -> bytes:
        """The next reply; RuntimeError when it is another one."""
        while b"\n" not in self._read:
            data = self.sock.recv(4096)
            if not data:
                raise RuntimeError(f"the connection ended where {code.decode()} should have come")
            self._read += data
        reply, _, self._read = self._read.partition(b"\n")
        if not reply.startswith(code):
            raise RuntimeError(f"{reply.decode().strip()} where {code.decode()} should have come")
        return reply

    def ask(self, command: bytes, code: bytes) -> bytes:
        self.sock.sendall(command)
        return self.expect(code)

    def passive(self) -> socket.socket:
        """PASV, and the connection to the address that it was answered with."""
        numbers = self.ask(b"PASV\r\n", b"227").partition(b"(")[2].partition(b")")[0].decode().split(",")
        return _connect(".".join(numbers[:4]), int(numbers[4]) << 8 | int(numbers[5]))

    def quit(self) -> None:
        self.ask(b"QUIT\r\n", b"221")
        self.sock.close()


def _check(got: int, wanted: int) -> None:
    if got != wanted:
        raise RuntimeError(f"{got} bytes came, not {wanted}")


def _some_sessions(server: str, count: int) -> None:
    for _ in range(count):
        control = Control(server)
        control.ask(b"TYPE I\r\n", b"200")
        with control.passive() as data:
            control.ask(b"RETR %d\r\n" % SMALL_BYTES, b"150")
            _check(receive_bytes(data), SMALL_BYTES)
        control.expect(b"226")
        control.quit()


def sessions(server: str, count: int) -> dict[str, Any]:
    """Connect, login, passive download of 10 KiB, quit; `count` times (a multiple of PARALLEL)."""
    began = time.perf_counter()
    _pool.starmap(_some_sessions, [(server, count // PARALLEL)] * PARALLEL, chunksize=1)
    return {"seconds": time.perf_counter() - began}


def transfer(server: str, upload: bool, count: int) -> dict[str, Any]:
    """A file of `count` bytes, from PASV to the final reply."""
    control = Control(server)
    began = time.perf_counter()
    with control.passive() as data:
        if upload:
            control.ask(b"STOR file\r\n", b"150")
            send_bytes(data, count, _piece)
        else:
            control.ask(b"RETR %d\r\n" % count, b"150")
            _check(receive_bytes(data), count)
    control.expect(b"226")
    seconds = time.perf_counter() - began
    control.quit()
    return {"seconds": seconds}


def bare_transfer(server: str, upload: bool, count: int) -> dict[str, Any]:
    """The same bytes over a connection without FTP."""
    began = time.perf_counter()
    with _connect(server, BULK_PORT) as data:
        _transfer_bare(data, upload, count)
    return {"seconds": time.perf_counter() - began}


def _transfer_bare(data: socket.socket, upload: bool, count: int) -> None:
    if upload:
        data.sendall(b"STOR file\n")
        send_bytes(data, count, _piece)
        data.shutdown(socket.SHUT_WR)
        _check(receive_bytes(data), 1)
    else:
        data.sendall(b"RETR %d\n" % count)
        _check(receive_bytes(data), count)


TNS_REDIRECT, TNS_ACCEPT = 5, 2


def _packet(sock: socket.socket) -> bytes:
    """The next TNS packet; RuntimeError at the end of the stream."""
    read = b""
    while len(read) < 8 or len(read) < int.from_bytes(read[:2], "big"):
        more = sock.recv(4096)
        if not more:
            raise RuntimeError("the listener has ended")
        read += more
    return read


def tns(server: str, port: int, service: bytes) -> socket.socket:
    """A connection that is accepted, here or where it is led."""
    text = b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=%b)(CID=(PROGRAM=bench)(HOST=client)(USER=bench))))" % service
    while True:
        sock = _connect(server, port)
        sock.sendall(connect(text))
        answer = _packet(sock)
        if answer[4] == TNS_ACCEPT:
            return sock
        sock.close()
        if answer[4] != TNS_REDIRECT or port == INSTANCE_PORT:
            raise RuntimeError(f"the listener said {answer[:200]!r}")
        # What is named is the host that was dialled: no gateway of this benchmark publishes it.
        port = INSTANCE_PORT


def tns_transfer(server: str, upload: bool, count: int, port: int) -> dict[str, Any]:
    """`count` bytes after ACCEPT."""
    with tns(server, port, BULK) as sock:
        began = time.perf_counter()
        _transfer_bare(sock, upload, count)
        return {"seconds": time.perf_counter() - began}


def _some_tns_sessions(server: str, count: int, port: int, service: bytes) -> None:
    for _ in range(count):
        tns(server, port, service).close()


def tns_sessions(server: str, count: int, port: int, redirected: bool) -> dict[str, Any]:
    """Connect, CONNECT, ACCEPT, close; after a REDIRECT to another port if so. `count`: a multiple of PARALLEL."""
    service = ELSEWHERE if redirected else b"near"
    began = time.perf_counter()
    _pool.starmap(_some_tns_sessions, [(server, count // PARALLEL, port, service)] * PARALLEL, chunksize=1)
    return {"seconds": time.perf_counter() - began}


def first_byte(server: str, count: int) -> dict[str, Any]:
    """Seconds from sending PASV to the first byte of data, `count` times, one after the other."""
    control = Control(server)
    waits = []
    for _ in range(count):
        began = time.perf_counter()
        with control.passive() as data:
            control.ask(b"RETR %d\r\n" % SMALL_BYTES, b"150")
            first = data.recv(SMALL_BYTES)
            waits.append(time.perf_counter() - began)
            _check(len(first) + receive_bytes(data), SMALL_BYTES)
        control.expect(b"226")
    control.quit()
    return {"seconds": waits}


def hold(server: str, count: int) -> dict[str, Any]:
    """Keep `count` more sessions open, logged in and quiet, until `release`."""
    _held.extend(Control(server) for _ in range(count))
    return {}


def release(server: str) -> dict[str, Any]:
    while _held:
        _held.pop().quit()
    return {}


DO: dict[str, Callable[..., dict[str, Any]]] = {
    "sessions": sessions,
    "transfer": transfer,
    "bare_transfer": bare_transfer,
    "first_byte": first_byte,
    "tns_transfer": tns_transfer,
    "tns_sessions": tns_sessions,
    "hold": hold,
    "release": release,
}


def main(server: str) -> None:
    global _pool
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Forked before anything is held, so that none of them keeps a connection of another open.
    with multiprocessing.get_context("fork").Pool(PARALLEL) as _pool:
        take_orders(lambda name: partial(DO[name], server))


if __name__ == "__main__":
    main(sys.argv[1])
