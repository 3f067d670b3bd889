"""What clients and servers of SANE say, for tests."""

from __future__ import annotations

from protocols.sane.wire import Code

VERSION = 0x0101_0003
"""1.1, and the third version of the protocol: what saned and libsane say."""
LITTLE = 0x1234


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def string(text: bytes | None) -> bytes:
    return words(0) if text is None else words(len(text) + 1) + text + b"\0"


def init(version: int = VERSION) -> bytes:
    return words(Code.INIT, version) + string(None)


def initialized(version: int = VERSION) -> bytes:
    return words(0, version)


def start(handle: int = 0) -> bytes:
    return words(Code.START, handle)


def started(port: int, byte_order: int = LITTLE) -> bytes:
    return words(0, port, byte_order) + string(None)


def descriptor(constraint: bytes, title: bytes = b"Resolution") -> bytes:
    """An option, with a pointer to it."""
    return words(0) + string(b"name") + string(title) + string(b"description") + words(1, 0, 4, 5) + constraint
