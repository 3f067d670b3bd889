"""What the daemon makes of a holder that comes and goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.config.schema import NetworkSettings
from proxy.daemon import fastpath
from proxy.daemon.fastpath import FastPath
from proxy.ebpf.tables import Tables
from proxy.movers.kernel import Kernel
from proxy.record.metrics import Metrics


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
