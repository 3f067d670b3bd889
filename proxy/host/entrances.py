"""Where processes of pinhole find each other: an abstract UNIX socket in the network namespace that both serve, which
every process of that namespace reaches, whatever files it sees.

Any user may take any abstract name. So each entrance has a name of its own that nobody knows beforehand, and is looked
for among all sockets; the kernel says whose it is, and only those are believed whom the caller names.
"""

from __future__ import annotations

import re
import secrets
import socket
import struct
import time
from collections.abc import Container
from pathlib import Path

BUSY_SECONDS = 1.0
"""How long to wait at an entrance where as many wait already as may: its owner lets in who comes between two looks."""


def user_at(sock: socket.socket) -> int:
    """The user at the other end of a UNIX socket."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("=iII", credentials)[1])


def make(kind: str) -> socket.socket:
    """An entrance of this kind at a fresh name, which nobody knocks at before it listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(f"\0pinhole-{kind}-{secrets.token_hex(8)}")
    sock.listen()
    return sock


def enter(kind: str, of: Container[int], patience: float = BUSY_SECONDS) -> socket.socket | None:
    """A connection to the process that has an entrance of this kind here, if it is one of these users'."""
    end = time.monotonic() + patience
    while True:
        is_busy = False
        for name in standing(kind):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                sock.connect(f"\0{name}")
                if user_at(sock) in of:
                    return sock
            except BlockingIOError:
                is_busy = True
            except OSError:
                pass  # it has ended meanwhile
            sock.close()
        if not is_busy or time.monotonic() >= end:
            return None
        time.sleep(0.02)


def standing(kind: str) -> set[str]:
    """The names of all entrances of this kind, anybody's among them."""
    # `@` stands for the byte 0 there.
    entrance = re.compile(rf"@(pinhole-{kind}-[0-9a-f]{{16}})$")
    lines = Path("/proc/thread-self/net/unix").read_text(errors="replace").split("\n")
    return {found[1] for found in map(entrance.search, lines) if found}
