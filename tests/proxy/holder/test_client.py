"""The daemon's side of a holder, where no holder is needed to show it."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from proxy.holder import client, wire
from proxy.holder.client import Client
from proxy.holder.wire import Kind, Off


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
    await looking.first_word(5)
    assert (looking.is_let_in, told) == (True, [Off.IPSEC])
    looking.stop()
    holder.close()
