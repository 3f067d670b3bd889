"""The daemon's side of a holder, where no holder is needed to show it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from proxy.ebpf.tables import Tables
from proxy.holder import client, wire
from proxy.holder.client import Client
from proxy.holder.wire import Kind, Off
from tests.harness.shell import SECONDS


async def test_a_daemon_without_a_descriptor_to_look_with_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_SECONDS", 0.01)
    holder, found = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    looks: list[socket.socket | OSError] = [OSError(errno.EMFILE, "too many open files"), found]

    def find() -> socket.socket:
        look = looks.pop(0)
        if isinstance(look, OSError):
            raise look
        return look

    told: list[Off] = []
    looking = Client(asyncio.get_running_loop(), find)
    looking.on_off = told.append
    looking.start()
    wire.send(holder, Kind.OFF, Off.IPSEC)
    await looking.first_word(SECONDS)
    assert (looking.is_let_in, told) == (True, [Off.IPSEC])
    looking.stop()
    holder.close()


async def test_a_daemon_that_cannot_have_the_tables_asks_for_them_more_and_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that finds no holder does. Once it has them, the next look after a loss comes soon again."""
    monkeypatch.setattr(client, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(client, "LONGEST_SECONDS", 0.05)
    loop, tables = asyncio.get_running_loop(), [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    holders: list[socket.socket] = []
    waits: list[float] = []
    failures, has_them = iter(range(4)), asyncio.Event()

    def find() -> socket.socket:
        holder, found = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        holders.append(holder)
        wire.send(holder, Kind.TABLES, 1, tables)
        return found

    def take(given: Tables) -> None:
        waits.append(looking._wait_seconds)
        if next(failures, None) is not None:
            raise OSError(errno.EMFILE, "too many open files")
        has_them.set()

    looking = Client(loop, find)
    looking.on_tables = take
    looking.start()
    async with asyncio.timeout(SECONDS):
        await has_them.wait()
    assert waits == [0.01, 0.02, 0.04, 0.05, 0.05]
    assert looking._wait_seconds == 0.01
    looking.stop()
    for holder in holders:
        holder.close()
    for descriptor in tables:
        os.close(descriptor)
