"""TCP sockets after they are connected: options, urgent data, what is unsent, and how they end."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys

# NAT boxes nearby forget an idle connection after some minutes (rule F76); these find a dead peer within ten.
KEEPALIVE_IDLE_SECONDS = 120

KEEPALIVE_INTERVAL_SECONDS = 60

KEEPALIVE_PROBES = 8

LAST_DATA_RECEIVED = 52
"""The offset in struct tcp_info (linux/tcp.h) of the milliseconds since the last data."""

LAST_ACK_RECEIVED = 56
"""The offset in struct tcp_info (linux/tcp.h) of the milliseconds since the last acknowledgement."""

SIOCATMARK = 0x8905

SIOCOUTQ = 0x5411

_NO_INT = bytes(4)

_LINGER_RESET = struct.pack("ii", 1, 0)

_LINGER_OFF = struct.pack("ii", 0, 0)


def tune_control(sock: socket.socket) -> None:
    """Set the options of a leg that an engine reads: no Nagle delay, and keep-alive (X27). A listener hands both on to
    the connections that it accepts."""
    no_delay(sock)
    keep_alive(sock)


def no_delay(sock: socket.socket) -> None:
    """Send even a few bytes at once, without Nagle's algorithm."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def urgent_inline(sock: socket.socket) -> None:
    """Read urgent data where it stands in the stream."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def at_urgent_mark(sock: socket.socket) -> bool:
    """Whether the next byte is urgent data (sockatmark(3))."""
    return fcntl.ioctl(sock, SIOCATMARK, _NO_INT) != _NO_INT


def unsent(sock: socket.socket) -> int:
    """How many bytes the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(sock, SIOCOUTQ, _NO_INT), sys.byteorder)


def keep_alive(sock: socket.socket, idle_seconds: float | None = None) -> None:
    """Have the kernel ask whether the peer is still there. With `idle_seconds` it asks early enough for an answer
    within that time."""
    idle, interval = KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS
    if idle_seconds is not None:
        idle, interval = (max(1, min(usual, int(idle_seconds / 2))) for usual in (idle, interval))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def silent_seconds(sock: socket.socket) -> float:
    """For how long the peer has sent no data. Infinity: nobody can tell."""
    with contextlib.suppress(OSError):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_DATA_RECEIVED + 4)
        if len(info) == LAST_DATA_RECEIVED + 4:
            return int.from_bytes(info[LAST_DATA_RECEIVED:], sys.byteorder) / 1000
    return float("inf")


def heard_within(sock: socket.socket, seconds: float) -> bool:
    """Whether the peer has acknowledged something within that time, even if only a keep-alive."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_ACK_RECEIVED + 4)
    milliseconds = int.from_bytes(info[LAST_ACK_RECEIVED:], sys.byteorder)
    return len(info) == LAST_ACK_RECEIVED + 4 and milliseconds < 1000 * seconds


def reset(sock: socket.socket) -> None:
    """Close with RST, so that the peer cannot take a cut stream for a whole one (rules X20, X24, F56)."""
    reset_when_closed(sock)
    sock.close()


def reset_when_closed(sock: socket.socket) -> None:
    """From now on any close is a reset, also the kernel's own when this process is killed. Only the function `close`
    still ends in order."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)


def close(sock: socket.socket) -> None:
    """Close in order: the peer gets what was sent, then the end of the stream."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    sock.close()


def finish(sock: socket.socket) -> None:
    """Half-close: no more bytes from us; the peer may go on. A connection that is already gone needs nothing more."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
