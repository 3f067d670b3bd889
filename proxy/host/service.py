"""What a service tells the service manager that has started it (sd_notify(3)): that it serves, that it is alive.
Without one (`NOTIFY_SOCKET`) nobody is told."""

from __future__ import annotations

import contextlib
import os
import socket

MICROSECONDS = 1_000_000


def tell(*facts: str) -> None:
    """Tell the service manager, each fact as NAME=VALUE: READY=1, STATUS=some words, and so on."""
    if not (path := os.environ.get("NOTIFY_SOCKET")):
        return
    # One that does not answer is no reason to stop serving, nor is it one that no descriptor is left for the socket.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        sock.send("\n".join(facts).encode(), socket.MSG_DONTWAIT)


def alive_seconds() -> float | None:
    """How often the service manager wants to hear WATCHDOG=1: twice in its time. None: it does not."""
    time, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not time.isdecimal() or int(time) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(time) / MICROSECONDS / 2
