"""Asks the kernel by netlink(7), and gathers what it answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from proxy.sockets import netlink

XFRM = 6
"""The family of IPsec, NETLINK_XFRM."""

_ERROR, _DONE = 2, 3
_RECEIVE_BYTES = 1 << 17
_ANSWER_SECONDS = 5.0
"""The kernel answers within the call; this is for what nobody has thought of."""


def ask(family: int, kind: int, body: bytes, flags: int = 0) -> list[tuple[int, bytes]]:
    """Send one request of this kind, and return the kind and the body of all that answers it. `flags` says more than
    that it is a request. Raises OSError, with what the kernel says."""
    is_dump = flags & netlink.DUMP == netlink.DUMP
    flags |= netlink.REQUEST | (0 if is_dump else netlink.ACKNOWLEDGE)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family) as sock:
        sock.settimeout(_ANSWER_SECONDS)
        sock.sendto(netlink.message(kind, flags, body), (0, 0))
        return list(_answers(sock))


def _answers(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    """What comes before the end."""
    while data := sock.recv(_RECEIVE_BYTES):
        for kind, body in netlink.messages(data):
            if kind == _DONE:
                return
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", body)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return
            yield kind, body
    raise OSError(errno.ECONNRESET, "the kernel ended the answer")
