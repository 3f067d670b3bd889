"""A session of a helper, as `python -m tools.bench helpers` has it done again and again.

What a helper brings is one `Case`, with a server and a client of its own that know nothing but that session; its line
stands in `cases.py`. The programs at both ends are no part of what is measured, so they do as little as they can.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Case:
    """A session of one helper: who serves it, who asks for it, and what it should cost."""

    helper: str
    what: str
    """What a session is: 100 kB read."""
    transport: Literal["tcp", "udp"]
    port: int
    serve: Callable[[str], Awaitable[None]]
    """Begins to serve at this address. What it has begun goes on after it returns."""
    session: Callable[[str], None]
    """Has a whole session with the server at this address. Raises OSError or RuntimeError when anything is missing."""
    hold: Callable[[str], object]
    """Begins one that stays open for as long as the object is kept, and for some minutes without a packet."""
    kernel: str = ""
    """The name of the kernel's own helper for it. Empty: there is none."""
    entries: str = ""
    """The table of session helpers, in YAML, if the helper's own entries are off."""
    options: str = ""
    """Its options in the policy, in YAML."""
    in_one_flow: bool = False
    """Whether all sessions of a client pass in one flow, as the calls of a phone do."""
    most_of_plain: float | None = None
    """How many times as long as by plain forwarding a session may take. None: nobody has said."""
    most_cpu: float | None = None
    """How many seconds of the processor a session may take."""


def udp(host: str, port: int = 0, buffer_bytes: int = 1 << 20) -> socket.socket:
    """A socket of datagrams, for clients and servers alike: one that waits in vain ends with an OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.bind((host, port))
    sock.settimeout(PATIENCE_SECONDS)
    return sock


def tcp(host: str, port: int) -> socket.socket:
    """A connection to that address."""
    sock = socket.create_connection((host, port), PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def own_address(server: str) -> str:
    """The address of this host by which it reaches the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((server, 9))
        return str(sock.getsockname()[0])


def check(got: object, wanted: object) -> None:
    """Raises RuntimeError when something else came than should have come."""
    if got != wanted:
        raise RuntimeError(f"{str(got)[:200]} came, not {str(wanted)[:200]}")
