"""What comes on a connection."""

from __future__ import annotations

import socket

from tests.netns.ftp_talk import SECONDS


def read(sock: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer when the end comes before."""
    sock.settimeout(SECONDS)
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def read_all(sock: socket.socket, size: int) -> bytes:
    """So many bytes. Raises ConnectionError when the end comes before."""
    data = read(sock, size)
    if len(data) < size:
        raise ConnectionError(f"the end after {len(data)} of {size} bytes: {data!r}")
    return data


def is_reset(sock: socket.socket) -> bool:
    """Whether the connection is, before anything comes."""
    try:
        read(sock, 1)
    except ConnectionResetError:
        return True
    return False
