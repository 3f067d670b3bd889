"""Messages of netlink(7) as bytes. This module is pure. Each message has a header, a body of its kind, and numbered
attributes behind the body."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, sequence number, port."""
ATTRIBUTE = struct.Struct("=HH")
"""struct rtattr, and struct nlattr: length, number."""


REQUEST, ACKNOWLEDGE, DUMP = 0x001, 0x004, 0x300
"""Flags of a message: it is a request; it wants an answer also where there is nothing to say; it asks for all there
are."""
EXCLUSIVE, CREATE = 0x200, 0x400
"""Flags of a request that makes something: there must be none yet; there may be none yet."""


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A message of this kind. `body` holds its attributes, too."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body


def attribute(number: int, value: bytes) -> bytes:
    """An attribute, filled up to where the next one may begin."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), number) + value + bytes(-len(value) % 4)


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
