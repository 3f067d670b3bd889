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
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from prometheus_client import Counter

from protocols.contract.addresses import Endpoint, Transport
from proxy.config.values import Target
from proxy.text import say

LOOK_UP_SECONDS = 300.0
"""How often a collector's name is looked up: it may have moved."""

RETRY_SECONDS = 10.0
"""The same while nothing can be sent."""

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
        """Connected to the collector. None: its name has no address yet, or no way leads there."""
        self._address: Any = None
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_told = False
        """The operator knows that nothing can be sent."""
        self._is_over = False
        try:
            ip_address(to.host)
        except ValueError:
            self._look_up()
        else:
            self._use(self._addresses)

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

    def _addresses(self) -> list[Any]:
        """What getaddrinfo says of the collector. Raises OSError, and UnicodeError for a name that nobody has."""
        return socket.getaddrinfo(self._to.host, self._to.port, type=socket.SOCK_DGRAM)

    def _look_up(self) -> None:
        """Ask for the addresses of the collector's name. That may take long, so a thread does it."""
        try:
            asked = self._loop.run_in_executor(None, self._addresses)
        except RuntimeError as error:  # this process may start no more threads
            self._cannot(error)
            self._look_up_later()
        else:
            asked.add_done_callback(self._found)

    def _found(self, asked: asyncio.Future[list[Any]]) -> None:
        if not self._is_over and not asked.cancelled():
            self._use(asked.result)

    def _use(self, addresses: Callable[[], list[Any]]) -> None:
        """Send to the first of these addresses from now on. If it cannot be had, what was before stays."""
        try:
            family, kind, _, _, address = addresses()[0]
            if address != self._address:
                made = _connected(family, kind, address)
                self._disconnect()
                self._socket, self._address = made, address
        except (OSError, UnicodeError) as error:  # the name has no address, no way leads there, no descriptor is left
            self._cannot(error)
        self._look_up_later()

    def _cannot(self, error: Exception) -> None:
        """The collector cannot be reached anew. That is told once, and only if nothing can be sent."""
        if self._socket is None and not self._is_told:
            self._is_told = True
            why = getattr(error, "strerror", None) or error
            say(f"hep: {self._to} cannot be reached: {why}; messages are not copied until it can")

    def _look_up_later(self) -> None:
        self._timer = self._loop.call_later(LOOK_UP_SECONDS if self._socket else RETRY_SECONDS, self._look_up)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(family: int, kind: int, address: Any) -> socket.socket:
    """A socket whose datagrams go there. Raises OSError."""
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made
