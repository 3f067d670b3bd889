"""What the daemon makes of a holder that comes and goes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.config.schema import NetworkSettings
from proxy.daemon import fastpath
from proxy.daemon.fastpath import FastPath
from proxy.ebpf.tables import Tables
from proxy.errors import PinholeError
from proxy.holder import client, wire
from proxy.holder.wire import Kind
from proxy.movers.kernel import Kernel
from proxy.record.metrics import Metrics
from tests.harness.scarce import no_descriptors
from tests.harness.shell import descriptors
from tests.harness.waiting import until


class Told:
    """A log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, event: str, **facts: Any) -> None:
        self.lines.append(event)

    def bind(self, **facts: Any) -> Told:
        return self


class Rows:
    """Tables that were given."""

    capacity = 4

    def __init__(self, tables: Tables) -> None:
        """Whatever they are."""

    def put(self, *way: object) -> None:
        """There is no row."""

    def keep(self) -> None:
        """Nothing to be kept."""

    def close(self) -> None:
        """Nothing to be closed."""


@pytest.fixture
def tables() -> Iterator[Tables]:
    made = Tables(*(os.open(os.devnull, os.O_RDONLY) for _ in range(3)))
    yield made
    made.close()


async def test_a_holder_that_was_lost_twice_before_it_came_back_is_not_given_up_later(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is started again may end once more before it has said anything."""
    monkeypatch.setattr(fastpath, "Rows", Rows)
    monkeypatch.setattr(fastpath, "ALONE_SECONDS", 0.02)
    loop = asyncio.get_running_loop()
    kernel, told = Kernel(loop, (), Metrics()), Told()
    path = FastPath(loop, NetworkSettings(), kernel, told)
    holder = path._client
    holder.on_tables(tables)
    holder.on_lost()
    holder.on_lost()
    holder.on_tables(tables)
    await asyncio.sleep(0.05)
    assert (path.state, kernel.rows is None) == ("on", False)
    holder.on_lost()
    await asyncio.sleep(0.05)
    assert (path.state, kernel.rows) == ("off", None)
    path.stop()


async def test_where_media_has_to_pass_in_the_kernel_the_commands_that_help_name_the_file_that_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fastpath, "FIRST_WORD_SECONDS", 0)
    loop, settings = asyncio.get_running_loop(), NetworkSettings(fastpath="require")
    path = FastPath(loop, settings, Kernel(loop, (), Metrics()), Told(), "/srv/x.yaml")
    monkeypatch.setattr(path._client, "_find", lambda: None)
    words = "`pinhole fastpath -c /srv/x.yaml` has to run, and `pinhole doctor -c /srv/x.yaml` tells"
    with pytest.raises(PinholeError, match=words):
        await path.start()
    path.stop()


@pytest.mark.parametrize("left", [0, 1, 2])
async def test_tables_that_no_descriptor_is_left_for_leave_none_open_and_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    monkeypatch.setattr(fastpath, "Rows", Rows)
    monkeypatch.setattr(client, "FIRST_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    kernel = Kernel(loop, (), Metrics())
    path = FastPath(loop, NetworkSettings(), kernel, Told())
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    tables = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    found = [daemon for daemon, _ in pairs]
    monkeypatch.setattr(path._client, "_find", lambda: found.pop(0))
    for _, holder in pairs:
        wire.send(holder, Kind.TABLES, 1, tables)
    before = descriptors()
    with no_descriptors(left=3 + left):  # three for those that come by the socket
        path._client.start()
    # Nothing is left of what had come, and the line to that holder is closed.
    assert (descriptors(), path.state, kernel.rows) == (before - 1, "off", None)
    await asyncio.to_thread(until, lambda: path.state == "on")
    assert (descriptors(), found) == (before - 1 + 3, [])
    path.stop()
    for descriptor in tables:
        os.close(descriptor)
    for _, holder in pairs:
        holder.close()
