"""Copies of messages for collectors, as Homer and sngrep: HEP, version 3, one datagram for each message.

Both sides of a message are sent: as it came, and as it went on. They bear one correlation id, so that a collector shows
one call where a capture on the router has two. What cannot be sent at once is dropped and counted: traffic never waits
for a collector.

The layout is that of "HEP/EEP Network Protocol Specification", revision 36 (sipcapture.org).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from prometheus_client import Counter

from protocols.contract.addresses import Endpoint, Transport
from proxy.config.values import Target

LOOK_UP_SECONDS = 300.0
"""How often a collector's name is looked up: it may have moved."""

MOST_BYTES = 65_000
"""The longest message that fits into a datagram with all that is said of it."""

_FAMILIES = {4: (socket.AF_INET, 3, 4), 6: (socket.AF_INET6, 5, 6)}
"""IP version -> address family, and the types of the chunks with source and target."""
_PROTOCOLS = {Transport.UDP: socket.IPPROTO_UDP, Transport.TCP: socket.IPPROTO_TCP}


def packet(
    protocol: int,
    transport: Transport,
    source: Endpoint,
    target: Endpoint,
    data: bytes,
    of: bytes,
    agent: int,
    password: bytes,
    at: int,
) -> bytes:
    """One message in HEP. `at` is in microseconds since 1970."""
    seconds, microseconds = divmod(at, 1_000_000)
    chunks = [
        _ends(transport, source, target),
        _chunk(9, struct.pack("!I", seconds & 0xFFFFFFFF)),
        _chunk(10, struct.pack("!I", microseconds)),
        _chunk(11, bytes([protocol])),
        _chunk(12, struct.pack("!I", agent)),
        _chunk(14, password) if password else b"",
        _chunk(17, of) if of else b"",
        _chunk(15, data),
    ]
    body = b"".join(chunks)
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


@lru_cache(maxsize=4096)
def _ends(transport: Transport, source: Endpoint, target: Endpoint) -> bytes:
    """The chunks that say between whom: the same for all messages of a session, four times."""
    family, of_source, of_target = _FAMILIES[source.host.version]
    return b"".join(
        (
            _chunk(1, bytes([family])),
            _chunk(2, bytes([_PROTOCOLS[transport]])),
            _chunk(of_source, source.host.packed),
            _chunk(of_target, target.host.packed),
            _chunk(7, struct.pack("!H", source.port)),
            _chunk(8, struct.pack("!H", target.port)),
        )
    )


def _chunk(kind: int, value: bytes) -> bytes:
    """A chunk of the generic kind (vendor 0). Its length counts its own head."""
    return struct.pack("!HHH", 0, kind, 6 + len(value)) + value


class HepExport:
    """Sends copies of messages to one collector."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        to: Target,
        agent: int,
        password: str,
        sent: Counter,
        lost: Counter,
    ) -> None:
        """`agent` is the number by which the collector knows this gateway."""
        self._loop = loop
        self._to = to
        self._agent = agent
        self._password = password.encode()
        self._sent, self._lost = sent, lost
        self._socket: socket.socket | None = None
        """Connected to the collector. None: its name has no address yet."""
        self._address: Any = None
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        try:
            ip_address(to.host)
        except ValueError:
            self._look_up()
        else:
            self._connect(socket.getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)[0])

    def collect(
        self, protocol: int, transport: Transport, source: Endpoint, target: Endpoint, data: bytes, of: bytes
    ) -> None:
        """Send a message, or count it as lost."""
        # Of two copies in one microsecond the first one comes first.
        self._last = at = max(time.time_ns() // 1000, self._last + 1)
        if self._socket is None or len(data) > MOST_BYTES:
            self._lost.inc()
            return
        try:
            self._socket.send(
                packet(protocol, transport, source, target, data, of[:1024], self._agent, self._password, at)
            )
        except OSError:  # the buffer is full, there is no way, or nobody listens there
            self._lost.inc()
        else:
            self._sent.inc()

    def stop(self) -> None:
        """Send no more."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._disconnect()

    def _look_up(self) -> None:
        """Ask for the addresses of the collector's name. That may take long, so a thread does it."""
        asked = self._loop.run_in_executor(
            None, lambda: socket.getaddrinfo(self._to.host, self._to.port, type=socket.SOCK_DGRAM)
        )
        asked.add_done_callback(self._found)

    def _found(self, asked: asyncio.Future[list[Any]]) -> None:
        if self._is_over or asked.cancelled():
            return
        if asked.exception() is None:
            self._connect(asked.result()[0])
        self._timer = self._loop.call_later(LOOK_UP_SECONDS if self._socket else 10.0, self._look_up)

    def _connect(self, found: Any) -> None:
        """Send to this address from now on; `found` is what getaddrinfo says of it."""
        family, kind, _, _, address = found
        if address == self._address and self._socket is not None:
            return
        self._disconnect()
        try:
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        except OSError:  # no descriptor is left, or the host has no such family
            return
        try:
            made.connect(address)
        except OSError:  # no route leads there yet
            made.close()
            return
        self._socket, self._address = made, address

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
