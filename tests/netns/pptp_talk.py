"""A scripted client and a scripted server of PPTP on hosts of a lab: for what ordinary ones never do."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from tests.harness import pptp_messages as pptp
from tools.lab import Host

SECONDS = 20.0
"""For what is to come."""
SHORT = 0.3
"""For what is not to come: a lab carries a packet in a fraction of a millisecond."""
PORT, GRE = 1723, 47


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of GRE as a host has got it."""

    source: IPv4Address
    traffic_class: int
    call: int
    payload: bytes


class Tunnel:
    """All GRE of one address of a host."""

    def __init__(self, host: Host, address: IPv4Address | None = None) -> None:
        with host.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, GRE)
        self.sock.bind((str(address or host.v4), 0))
        self.sock.settimeout(SECONDS)

    def send(self, to: IPv4Address | IPv6Address, data: bytes, traffic_class: int = 0) -> None:
        self.sock.setsockopt(socket.SOL_IP, socket.IP_TOS, traffic_class)
        self.sock.sendto(data, (str(to), 0))

    def receive(self) -> Packet:
        data = self.sock.recv(65536)
        return Packet(IPv4Address(data[12:16]), data[1], int.from_bytes(data[26:28], "big"), data[28:])

    def hears_nothing(self, seconds: float = SHORT) -> bool:
        return not select.select([self.sock], [], [], seconds)[0]

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def forge(host: Host, source: IPv4Address, to: IPv4Address, data: bytes) -> None:
    """Send GRE from another host's address."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, GRE, 0, source.packed, to.packed)
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(header + data, (str(to), 0))


@dataclass(slots=True)
class Side:
    """One end of a control connection."""

    sock: socket.socket
    _data: bytes = field(default=b"")

    def send(self, message: bytes) -> None:
        self.sock.sendall(message)

    def receive(self) -> bytes:
        """The next message. ConnectionError at the end."""
        while len(self._data) < 2 or len(self._data) < int.from_bytes(self._data[:2], "big"):
            if not (part := self.sock.recv(65536)):
                raise ConnectionError("there is an end")
            self._data += part
        size = int.from_bytes(self._data[:2], "big")
        message, self._data = self._data[:size], self._data[size:]
        return message

    def is_over(self) -> bool:
        try:
            return self.sock.recv(1) == b""
        except OSError as error:
            return error.errno == errno.ECONNRESET

    def close(self) -> None:
        self.sock.close()


@contextlib.contextmanager
def listening(host: Host, address: IPv4Address | IPv6Address | None = None) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    with host.inside():
        listener = socket.create_server((str(address or host.v4), PORT), family=family)
    listener.settimeout(SECONDS)
    with listener:
        yield listener


@contextlib.contextmanager
def connection(
    client: Host, server: IPv4Address | IPv6Address, listener: socket.socket, source: IPv4Address | None = None
) -> Iterator[tuple[Side, Side]]:
    """A control connection whose ends have greeted each other."""
    with client.inside():
        near = socket.create_connection((str(server), PORT), SECONDS, (str(source), 0) if source else None)
    far, _ = listener.accept()
    far.settimeout(SECONDS)
    with near, far:
        one, other = Side(near), Side(far)
        one.send(pptp.start_request())
        assert other.receive() == pptp.start_request()
        other.send(pptp.start_reply())
        assert one.receive() == pptp.start_reply()
        yield one, other


def called(client: Side, server: Side, number: int, servers: int) -> int:
    """A call of the client, with its id and the server's. Returns the id that the server knows the client by."""
    client.send(pptp.outgoing_request(number))
    asked = server.receive()
    known = int.from_bytes(asked[12:14], "big")
    assert asked == pptp.outgoing_request(known)
    server.send(pptp.outgoing_reply(servers, known))
    assert client.receive() == pptp.outgoing_reply(servers, number)
    return known
