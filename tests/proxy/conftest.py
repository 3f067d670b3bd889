"""A network of one's own: addresses on the loopback interface of a fresh namespace, so that transparent sockets,
sources and strangers are real and nothing of the machine is touched."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from proxy.host.privileges import NET_BIND_SERVICE
from tests.harness.shell import close_all, descriptors

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

CLIENT, SERVER, STRANGER, OURS = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.254"
CLIENT6, SERVER6 = "2001:db8::1", "2001:db8::2"


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def may_not_bind_reserved_ports() -> Iterator[None]:
    """Without CAP_NET_BIND_SERVICE for a moment."""
    every = ctypes.create_string_buffer(24)
    header = struct.pack("=Ii", 0x20080522, 0)
    assert _libc.capget(header, every) == 0
    low, *rest = struct.unpack("=6I", every.raw)
    assert _libc.capset(header, struct.pack("=6I", low & ~(1 << NET_BIND_SERVICE), *rest)) == 0
    try:
        yield
    finally:
        assert _libc.capset(header, every) == 0


@pytest.fixture
def network() -> Iterator[None]:
    """Enter a namespace in which CLIENT, SERVER, STRANGER and OURS are addresses of this host."""
    if os.geteuid():
        pytest.skip("transparent sockets and namespaces need root")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _call("unshare", CLONE_NEWNET)
        lines = ["link set lo up"]
        lines += [f"addr add {host}/32 dev lo" for host in (CLIENT, SERVER, STRANGER, OURS)]
        lines += [f"addr add {host}/128 dev lo nodad" for host in (CLIENT6, SERVER6)]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
        yield
    finally:
        _call("setns", home, CLONE_NEWNET)
        os.close(home)


@pytest_asyncio.fixture
async def nothing_leaks(network: None) -> AsyncIterator[None]:
    """At the end of the test every session, pinhole, port and descriptor is given back."""
    before = descriptors()
    yield
    await close_all()
    for _ in range(300):  # last words may take two seconds
        if descriptors() <= before:
            break
        await asyncio.sleep(0.01)
    assert descriptors() <= before
