"""Tables of the kernel, which take root's rights to make."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

import pytest

from proxy.ebpf import tables
from proxy.ebpf.tables import Rows, Tables

CAPACITY = 64
NET_ADMIN, BPF = 12, 39
NOBODY = 65534
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def made() -> Iterator[Tables]:
    """Tables as the holder makes them."""
    if os.geteuid():
        pytest.skip("tables of the kernel need root")
    made = tables.make_tables(CAPACITY)
    yield made
    made.close()


@pytest.fixture
def rows(made: Tables) -> Iterator[Rows]:
    rows = Rows(made)
    yield rows
    rows.close()


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """As a user without any capability, as far as the kernel asks for them."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def with_capabilities(*numbers: int) -> Iterator[None]:
    """With no other capability than these."""
    every = ctypes.create_string_buffer(24)
    header = struct.pack("=Ii", 0x20080522, 0)
    assert _libc.capget(header, every) == 0
    _, low_permitted, low_inheritable, _, high_permitted, high_inheritable = struct.unpack("=6I", every.raw[:24])
    mask = sum(1 << number for number in numbers)
    few = struct.pack(
        "=6I", mask & 0xFFFFFFFF, low_permitted, low_inheritable, mask >> 32, high_permitted, high_inheritable
    )
    assert _libc.capset(header, few) == 0
    try:
        yield
    finally:
        assert _libc.capset(header, every) == 0
