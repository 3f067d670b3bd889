"""Messages of netlink(7) as bytes (pure): each has a header, a body of its kind, and behind it numbered attributes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, sequence number, port."""
ATTRIBUTE = struct.Struct("=HH")
"""struct rtattr, and nlattr: length, number."""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind of each message, and what stands behind its header."""
    return _pieces(data, HEADER)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The number of each attribute, and its value. data: what stands behind the body."""
    return _pieces(data, ATTRIBUTE)


def _pieces(data: bytes, header: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """Up to one that is shorter than its header, which is nothing that the kernel sends."""
    at = 0
    while at + header.size <= len(data):
        length, kind, *_ = header.unpack_from(data, at)
        if length < header.size:
            return
        yield kind, data[at + header.size : at + length]
        at += (length + 3) & ~3
