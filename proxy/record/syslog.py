"""Syslog as an outlet of the log: RFC 5424, over a UNIX socket, UDP (RFC 5426) or TCP (RFC 6587 s.3.4.1).

A collector that is not there is asked again each second; until then lines wait. Over UDP nobody says whether a line has
come. Over TCP those that were in flight when a connection broke may be missing, or come twice: `seq` tells.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from proxy.record.catalogue import severity
from proxy.record.events.row import Severity
from proxy.record.forms import Form
from proxy.record.outlets import as_bytes, take_written

SEVERITIES: Mapping[Severity, int] = {"error": 3, "warning": 4, "notice": 5, "info": 6}
"""RFC 5424 s.6.2.1; the same numbers are the journal's priorities."""

FACILITIES: Mapping[str, int] = {
    "daemon": 3,
    "auth": 4,
    "authpriv": 10,
    **{f"local{number}": 16 + number for number in range(8)},
}

WAIT_SECONDS = 5.0
"""How long a collector may take to answer, or to make room for a datagram."""

LONGEST_CUT = 8192
"""So many bytes are sent of a message that is too long for a datagram."""

DEAD_SECONDS = 20.0
"""A TCP connection whose other end has not acknowledged anything for so long is one that does not work."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Where a collector listens: the path of a UNIX socket, or a host and port."""

    way: Literal["unix", "udp", "tcp"]
    at: str
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.at}]" if ":" in self.at else self.at
        return f"unix://{self.at}" if self.way == "unix" else f"{self.way}://{host}:{self.port}"


DEV_LOG = Collector("unix", "/dev/log")
"""The collector of this host."""


class _Way(Protocol):
    """How lines get to a collector."""

    def frame(self, message: bytes) -> bytes:
        """The bytes of one message on the way."""

    def connect(self) -> socket.socket:
        """Raises OSError."""

    def send(self, sock: socket.socket, waiting: deque[bytes], half: bytes) -> bytes:
        """Send something of what waits. `half` and the result are those of `take_written`. Raises OSError."""


class SyslogOutlet:
    """Sends each line as a message of its own."""

    def __init__(self, collector: Collector, form: Form, node: str, facility: str = "daemon") -> None:
        """`node` is the name of the gateway, as the collector files it."""
        self.name = f"syslog {collector}"
        self._way = _WAYS[collector.way](collector)
        self._form = form
        self._node = _printable(node, 255)
        self._facility = FACILITIES[facility] * 8
        self._process = os.getpid()
        self._sock: socket.socket | None = None
        self._half = b""

    def dress(self, lines: Iterable[str]) -> Iterator[bytes]:
        """RFC 5424 s.6: priority, version, time, host, program, process, kind of message, no structured data."""
        for line in lines:
            record = json.loads(line)
            event = record["event"]
            head = (
                f"<{self._facility + SEVERITIES[severity(event)]}>1 {record['time']} {self._node} pinhole "
                f"{self._process} {_printable(event, 32)} - "
            )
            yield self._way.frame(as_bytes(head + self._form(line)))

    def write(self, waiting: deque[bytes]) -> None:
        """Send what waits."""
        if self._sock is None:
            self._sock = self._way.connect()
        try:
            self._half = self._way.send(self._sock, waiting, self._half)
        except OSError:
            self.reopen(waiting)
            raise

    def is_stale(self) -> bool:
        """A connection that has broken says so by itself."""
        return False

    def reopen(self, waiting: deque[bytes]) -> None:
        """Connect anew, with the next line."""
        self.close()
        if self._half:
            waiting[0] = self._half + waiting[0]
            self._half = b""

    def close(self) -> None:
        """Give up the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class _Datagrams:
    """Each message is a datagram."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def frame(self, message: bytes) -> bytes:
        """The message alone."""
        return message

    def send(self, sock: socket.socket, waiting: deque[bytes], half: bytes) -> bytes:
        """Send all that waits, one by one."""
        while waiting:
            try:
                sock.send(waiting[0])
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                sock.send(waiting[0][:LONGEST_CUT])
            waiting.popleft()
        return b""


class _Unix(_Datagrams):
    """`/dev/log` and its like."""

    def connect(self) -> socket.socket:
        """Reach the socket."""
        return connected(socket.AF_UNIX, socket.SOCK_DGRAM, self._collector.at)


class _Udp(_Datagrams):
    """RFC 5426."""

    def connect(self) -> socket.socket:
        """Choose the address of the collector, and our own."""
        return _resolved(self._collector, socket.SOCK_DGRAM)


class _Tcp:
    """RFC 6587 s.3.4.1: each message comes behind its length, so a line end in it means nothing."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def frame(self, message: bytes) -> bytes:
        """The message behind its length."""
        return b"%d %b" % (len(message), message)

    def connect(self) -> socket.socket:
        """Connect to the collector."""
        sock = _resolved(self._collector, socket.SOCK_STREAM)
        sock.settimeout(None)  # a stalled connection ends by the time below
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_SECONDS * 1000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock

    def send(self, sock: socket.socket, waiting: deque[bytes], half: bytes) -> bytes:
        """Send what there is room for. A collector that has closed is noticed before the line after that is lost."""
        _raise_if_closed(sock)
        return take_written(waiting, sock.send(b"".join(waiting)), half)


_WAYS: Mapping[str, Callable[[Collector], _Way]] = {"unix": _Unix, "udp": _Udp, "tcp": _Tcp}


def reach(collector: Collector) -> None:
    """Connect to a collector, and leave at once. Raises OSError."""
    _WAYS[collector.way](collector).connect().close()


def _raise_if_closed(sock: socket.socket) -> None:
    """Raise ConnectionResetError if the other end has closed: the kernel would take one more write as if it had not."""
    try:
        if not sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK):
            raise ConnectionResetError("the collector has closed the connection")
    except BlockingIOError:
        return


def _resolved(collector: Collector, kind: socket.SocketKind) -> socket.socket:
    """A socket that is connected to the first address of the collector. Raises OSError."""
    family, _, _, _, at = socket.getaddrinfo(collector.at, collector.port, type=kind)[0]
    return connected(family, kind, at)


def connected(family: socket.AddressFamily, kind: socket.SocketKind, at: Any) -> socket.socket:
    """A socket that is connected there, and waits for no longer than so long. Raises OSError."""
    sock = socket.socket(family, kind)
    try:
        sock.settimeout(WAIT_SECONDS)
        sock.connect(at)
    except OSError:
        sock.close()
        raise
    return sock


def _printable(text: str, most: int) -> str:
    """A word of the head: printable ASCII without spaces (RFC 5424 s.6), `-` for none."""
    return "".join(letter for letter in text if "!" <= letter <= "~")[:most] or "-"
