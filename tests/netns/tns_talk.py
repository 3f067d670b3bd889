"""A scripted Oracle listener and client on hosts of a lab: for what ordinary ones never do."""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from tests.netns.connections import read_all
from tests.netns.ftp_talk import SECONDS, dial
from tools.lab import Host
from tools.peers.tns_packets import address, connect, in_two

REFUSE, REDIRECT = 4, 5


def to(host: IPv4Address | IPv6Address | str, port: int) -> bytes:
    """A redirect, as current servers send it."""
    return in_two(address(str(host), port))


class Listener:
    """On a port of a host. Each connection's CONNECT is read, with the data behind it, and answered.

    answer: None: nothing is read, and nothing said.
    """

    def __init__(self, host: Host, answer: bytes | None, port: int, version: int) -> None:
        self.connects: list[bytes] = []
        self._answer = answer
        self._answered: queue.Queue[socket.socket] = queue.Queue()
        self._open: list[socket.socket] = []
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with host.inside():
            self._socket = socket.create_server((str(host.address(version)), port), family=family)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                connection.settimeout(SECONDS)
                with contextlib.suppress(OSError):
                    self._greet(connection)
                self._answered.put(connection)

    def _greet(self, connection: socket.socket) -> None:
        if self._answer is None:
            return
        self.connects.append(read_connect(connection))
        connection.sendall(self._answer)

    def take(self) -> socket.socket:
        """The next connection that has been answered."""
        return self._answered.get(timeout=SECONDS)

    @property
    def was_reached(self) -> bool:
        return bool(self._open)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:  # before the thread, which may be reading from one
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        for connection in self._open:
            connection.close()


@contextlib.contextmanager
def listening(host: Host, answer: bytes | None, port: int = 1521, version: int = 4) -> Iterator[Listener]:
    with contextlib.closing(Listener(host, answer, port, version)) as listener:
        yield listener


def read_connect(connection: socket.socket) -> bytes:
    """The packet; what follows it is read as well."""
    packet = read_packet(connection)
    size, offset = (int.from_bytes(packet[at : at + 2], "big") for at in (24, 26))
    missing = size - len(packet[offset:])
    while missing > 0:
        missing -= len(read_packet(connection)) - 10
    return packet


def read_packet(connection: socket.socket) -> bytes:
    head = read_all(connection, 8)
    return head + read_all(connection, int.from_bytes(head[:2], "big") - 8)


def ending(connection: socket.socket) -> str:
    """How a connection ends on which nothing more is to come."""
    try:
        data = connection.recv(100)
    except ConnectionResetError:
        return "reset"
    assert not data, data
    return "closed"


@contextlib.contextmanager
def calling(host: Host, where: tuple[str, int], packet: bytes | None = None) -> Iterator[socket.socket]:
    """A client that has sent its CONNECT."""
    with dial(host, *where) as client:
        client.sendall(connect() if packet is None else packet)
        yield client


def redirected(client: socket.socket) -> tuple[str, int]:
    """Where a client is sent, in two packets."""
    first = read_packet(client)
    assert first[4] == REDIRECT, first
    text = read_packet(client)[10:]
    assert int.from_bytes(first[8:10], "big") == len(text)
    found = re.match(rb"\(ADDRESS=\(PROTOCOL=tcp\)\(HOST=([0-9a-f.:]+)\)\(PORT=([0-9]+)\)\)\0", text)
    assert found, text
    return found[1].decode(), int(found[2])


def refused(client: socket.socket) -> str:
    """The text by which a client is told that its redirect is not followed; after it comes the end."""
    packet = read_packet(client)
    assert packet[4] == REFUSE, packet
    text = packet[12:].decode()
    assert int.from_bytes(packet[10:12], "big") == len(text)
    assert "(ERR=12564)" in text
    found = re.search(r"\(ARGS='([^'()]*)'\)", text)
    assert found, text
    assert ending(client) in ("closed", "reset")
    return found[1]


def passes(one: socket.socket, other: socket.socket) -> bool:
    """Whether bytes go through, both ways."""
    one.sendall(b"a call")
    other.sendall(b"an answer")
    return (read_all(other, 6), read_all(one, 9)) == (b"a call", b"an answer")
