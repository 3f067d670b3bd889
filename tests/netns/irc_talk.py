"""A scripted server of IRC and its clients on hosts of a lab: for what ordinary ones never do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tools.lab import Host

SECONDS = 20.0
"""For what is sure to come, whatever else the machine has to do."""
PORT = 6667


class Talk:
    """A connection of a client to the scripted server."""

    def __init__(self, host: Host, server: str, first: bytes = b"NICK alice\r\nUSER al 0 * :Alice\r\n") -> None:
        self.host = host
        with host.inside():
            self.sock = socket.create_connection((server, PORT), SECONDS)
        self.own = self.sock.getsockname()[0]
        self._file = self.sock.makefile("rb")
        self.say(first)

    def register(self) -> Talk:
        """Wait until the server has let the client in."""
        assert b" 001 " in self.hear()
        return self

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self) -> bytes:
        """A line; empty at the end."""
        return self._file.readline()

    def offer(self, port: int, words: str = "CHAT chat", to: str = "bob") -> bytes:
        """Offer this port. Returns what the server has heard."""
        self.say(f"PRIVMSG {to} :\x01DCC {words} {number(self.own)} {port}\x01\r\n".encode())
        return self.heard()

    def heard(self) -> bytes:
        """What the server has heard last: it repeats each line in a notice."""
        line = self.hear()
        return line.partition(b"NOTICE * :")[2].rstrip(b"\r\n")

    def is_closed(self) -> bool:
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def number(host: str) -> str:
    """As it stands in an offer."""
    return host if ":" in host else str(int.from_bytes(socket.inet_aton(host)))


def announced(heard: bytes) -> tuple[str, int]:
    """Where an offer says to come."""
    address, port = heard.strip(b"\x01").split()[-2:]
    host = address.decode() if b":" in address else socket.inet_ntoa(int(address).to_bytes(4))
    return host, int(port)


@contextlib.contextmanager
def serving(host: Host) -> Iterator[list[bytes]]:
    """A server that lets everybody in who says USER, and repeats each line in a notice, or sends on what stands behind
    `SAY `. Yields the lines that it has heard."""
    heard: list[bytes] = []
    with host.inside():
        listener = socket.create_server(("", PORT))

    def serve(sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as file, contextlib.suppress(OSError):
            for line in file:
                heard.append(line)
                if line.startswith(b"USER"):
                    sock.sendall(b":irc.example 001 alice :Welcome\r\n")
                elif line.startswith(b"SAY "):
                    sock.sendall(line.removeprefix(b"SAY "))
                elif not line.startswith(b"NICK"):
                    sock.sendall(b":irc.example NOTICE * :" + line)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with listener:
        threading.Thread(target=accept, daemon=True).start()
        yield heard
        listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def waiting(host: Host, port: int) -> Iterator[socket.socket]:
    """A user waits at a port of its host."""
    with host.inside():
        listener = socket.create_server(("", port))
    listener.settimeout(SECONDS)
    with listener:
        yield listener


def comes(host: Host, at: tuple[str, int], listener: socket.socket) -> str:
    """Somebody comes and is heard. Returns the address that the one who waits sees. OSError when nobody can come."""
    with host.inside():
        sock = socket.create_connection(at, SECONDS)
    with sock:
        sock.sendall(b"hello")
        came, (seen, *_) = listener.accept()
        with came:
            came.settimeout(SECONDS)
            assert came.recv(5) == b"hello"
            came.sendall(b"you")
            assert sock.recv(3) == b"you"
        return str(seen)


def is_refused(host: Host, at: tuple[str, int], seconds: float = 0.3) -> bool:
    """Whether nobody gets there: by a reset, or because what is sent is dropped."""
    with host.inside(), socket.socket() as sock:
        sock.settimeout(seconds)
        try:
            sock.connect(at)
            return sock.recv(1) == b""
        except OSError:
            return True
