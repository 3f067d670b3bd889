"""Messages of netlink(7) as bytes. This module is pure. Each message has a header, a body of its kind, and numbered
attributes behind the body."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, sequence number, port."""
ATTRIBUTE = struct.Struct("=HH")
"""struct rtattr, and struct nlattr: length, number."""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind of each message, and the bytes behind its header."""
    return _pieces(data, HEADER)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The number of each attribute, and its value. `data` is what stands behind the body of a message."""
    return _pieces(data, ATTRIBUTE)


def _pieces(data: bytes, header: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """Cut `data` into pieces that each begin with this header. Stops at a piece that is shorter than its header, which
    the kernel never sends."""
    at = 0
    while at + header.size <= len(data):
        length, kind, *_ = header.unpack_from(data, at)
        if length < header.size:
            return
        yield kind, data[at + header.size : at + length]
        at += (length + 3) & ~3
