"""A scripted FTP server and client on hosts of a lab: for what ordinary ones never do."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
from collections.abc import Callable, Iterator

from tools.lab import Host

SECONDS = 10.0

Script = Callable[["Served", bytes], bytes | None]
"""What the server says to a command line; None: nothing."""


class Served:
    """One control connection at the server."""

    def __init__(self, host: Host, control: socket.socket, heard: list[bytes]) -> None:
        self.host = host
        self.control = control
        self.heard = heard
        self.data: socket.socket | None = None
        self.port: tuple[str, int] | None = None
        """What the client has announced, for scripts that remember it."""

    def passive(self, payload: bytes | None = b"") -> bytes:
        """Listen for a data connection and say so with 227; who comes is sent `payload`. None: nobody listens."""
        address = self.control.getsockname()[0]
        with self.host.inside():
            self.data = socket.create_server((address, 0))
        port = self.data.getsockname()[1]
        if payload is None:
            self.data.close()
        else:
            threading.Thread(target=self._serve_data, args=(self.data, payload), daemon=True).start()
        numbers = (*address.split("."), str(port >> 8), str(port & 255))
        return f"227 Entering Passive Mode ({','.join(numbers)}).\r\n".encode()

    def _serve_data(self, listener: socket.socket, payload: bytes) -> None:
        with listener, contextlib.suppress(OSError):
            listener.settimeout(SECONDS)
            sock, _ = listener.accept()
            with sock:
                sock.sendall(payload)


def plain_server(served: Served, line: bytes) -> bytes | None:
    """Agrees to everything, and means it."""
    match line.split()[0].upper():
        case b"USER":
            return b"331 password\r\n"
        case b"PASS":
            return b"230 in\r\n"
        case b"PASV":
            return served.passive(b"payload")
        case b"QUIT":
            return b"221 bye\r\n"
        case _:
            return b"200 ok\r\n"


@contextlib.contextmanager
def server(
    host: Host, script: Script = plain_server, greeting: bytes = b"220 ready\r\n", version: int = 4
) -> Iterator[list[bytes]]:
    """Serve on port 21 of a host. Yields the command lines that arrived, of all connections."""
    heard: list[bytes] = []
    listener = serving(host, 21, version)
    connections: list[socket.socket] = []

    def serve(control: socket.socket) -> None:
        served = Served(host, control, heard)
        with contextlib.suppress(OSError), control, control.makefile("rb") as lines:
            control.sendall(greeting)
            for line in lines:
                heard.append(line)
                if (answer := script(served, line)) is not None:
                    control.sendall(answer)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                control, _ = listener.accept()
                connections.append(control)
                threading.Thread(target=serve, args=(control,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for control in connections:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)


def serving(host: Host, port: int, version: int = 4) -> socket.socket:
    """A listener on the host's own address."""
    with host.inside():
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        return socket.create_server((str(host.address(version)), port), family=family)


def dial(host: Host, address: str, port: int, source: str = "") -> socket.socket:
    with host.inside():
        return socket.create_connection((address, port), SECONDS, (source, 0) if source else None)


class Talk:
    """A client's control connection."""

    def __init__(self, host: Host, address: str, login: bool = True) -> None:
        self.control = dial(host, address, 21)
        self._lines = self.control.makefile("rb")
        if login:
            try:
                self.reply()
                self.ask("USER u")
                self.ask("PASS p")
            except OSError:
                self.close()
                raise

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self.control.close()

    def send(self, data: bytes) -> None:
        self.control.sendall(data)

    def reply(self) -> str:
        """A whole reply: its last line, as text."""
        first = self._lines.readline()
        line = first
        while first[3:4] == b"-" and line[:4] != first[:3] + b" ":
            line = self._lines.readline()
            assert line, "the end inside a reply"
        return line.decode("latin-1").rstrip()

    def ask(self, command: str) -> str:
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def end(self) -> str:
        """How the connection ends, after what is still to be read: `reset` or `closed`."""
        try:
            while self._lines.readline():
                pass
        except ConnectionResetError:
            return "reset"
        return "closed"


def passive_address(reply: str) -> tuple[str, int]:
    numbers = reply[reply.index("(") + 1 : reply.index(")")].split(",")
    return ".".join(numbers[:4]), int(numbers[4]) << 8 | int(numbers[5])


def fate(host: Host, address: str, port: int) -> str:
    """What becomes of a connection: `refused`, `silent`, `reset`, `closed`, or `open` and what it says at first."""
    try:
        sock = dial_soon(host, address, port)
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"
    except OSError:
        return "silent"
    with sock:
        if not select.select([sock], [], [], SECONDS)[0]:
            return "open"
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            return "reset"
        return f"open {data.decode()}" if data else "closed"


def dial_soon(host: Host, address: str, port: int) -> socket.socket:
    with host.inside():
        return socket.create_connection((address, port), timeout=0.5)


def open_ports(host: Host, address: str, ports: range | list[int]) -> set[int]:
    """A connect scan: which of these TCP ports accept."""
    found: set[int] = set()
    waiting: dict[socket.socket, int] = {}
    with host.inside():
        for port in ports:
            sock = socket.socket()
            sock.setblocking(False)
            waiting[sock] = port
            code = sock.connect_ex((address, port))
            assert code == errno.EINPROGRESS, f"{address} cannot be scanned from {host.name}: {errno.errorcode[code]}"
    poll = select.epoll()
    by_fd = {sock.fileno(): sock for sock in waiting}
    for fd in by_fd:
        poll.register(fd, select.EPOLLOUT)
    # What is dropped never answers; what is open answers at once.
    while events := poll.poll(0.5):
        for fd, _ in events:
            sock = by_fd[fd]
            # A pinhole takes the handshake and resets a stranger at once: that is an open port for a scanner.
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNRESET):
                found.add(waiting[sock])
            poll.unregister(fd)
    poll.close()
    for sock in waiting:
        sock.close()
    return found
