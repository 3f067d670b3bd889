"""What stands is read when somebody asks, a few rows at a time, and nothing is counted twice."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.measure import live
from proxy.measure.live import Live
from proxy.record import labels
from tests.harness.measured import NoQueue, Parts

ROOT = Path(__file__).parents[3]


@dataclass
class Standing:
    """A pinhole that so many bytes have passed."""

    grant: Any
    bytes: int
    purpose: str = "ftp-data"
    packets: int = 0
    in_kernel: int | None = None
    owner: Any = field(default_factory=lambda: SimpleNamespace(helper=SimpleNamespace(name="ftp")))

    def carried(self) -> tuple[int, int]:
        return self.bytes, self.packets

    def carried_in_kernel(self) -> int | None:
        return self.in_kernel


class Table:
    """The rows of a table of pinholes; everything else is that of an empty one."""

    def __init__(self, parts: Parts, sizes: list[int]) -> None:
        self._empty = parts.pinholes
        self._metrics = parts.metrics
        self.rows = {number: Standing(SimpleNamespace(id=number), size) for number, size in enumerate(sizes)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._empty, name)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Standing]:
        return iter(tuple(self.rows.values()))

    def __contains__(self, number: int) -> bool:
        return number in self.rows

    def gone(self, numbers: Set[int]) -> Set[int]:
        return numbers - self.rows.keys()

    def close(self, number: int) -> None:
        row = self.rows.pop(number)
        self._metrics.relayed(row.purpose, *row.carried(), row.carried_in_kernel())


async def told(parts: Parts, table: Table) -> dict[str, float]:
    stands: Any = table
    families = await Live(parts.metrics, parts.sessions, stands, NoQueue()).families(0, 0)
    return {
        sample.name + str(sorted(sample.labels.values())): sample.value for one in families for sample in one.samples
    }


async def test_bytes_count_while_they_pass_and_go_on_counting_when_the_pinhole_has_closed() -> None:
    parts = Parts()
    table = Table(parts, [1000, 20])
    assert (await told(parts, table))["pinhole_relayed_bytes_total['ftp-data']"] == 1020
    table.rows[0].bytes = 1500
    table.close(0)
    assert (await told(parts, table))["pinhole_relayed_bytes_total['ftp-data']"] == 1520
    assert (await told(parts, table))["pinhole_helper_pinholes['ftp', 'ftp-data']"] == 1


async def test_a_pinhole_that_closes_while_others_are_counted_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ROWS_AT_ONCE", 1)
    parts = Parts()
    table = Table(parts, [1000, 20, 3])
    for number in (0, 2):  # one that was counted already, and one that was not
        asyncio.get_running_loop().call_soon(table.close, number)
    assert (await told(parts, table))["pinhole_relayed_bytes_total['ftp-data']"] == 1023


async def test_packets_of_media_count_by_what_has_carried_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ROWS_AT_ONCE", 1)
    parts = Parts()
    table = Table(parts, [1000, 20, 3])
    table.rows[0].packets, table.rows[0].in_kernel = 10, 7
    table.rows[1].packets, table.rows[1].in_kernel = 5, 0
    table.rows[2].packets = 40  # of no media
    asyncio.get_running_loop().call_soon(table.close, 0)
    for _ in range(2):
        counts = await told(parts, table)
        paths = ("kernel", "user")
        assert [counts[f"pinhole_media_packets_total['{path}']"] for path in paths] == [7, 8]


async def test_others_have_their_turn_while_many_rows_are_counted() -> None:
    parts = Parts()
    table = Table(parts, [1] * (4 * live.ROWS_AT_ONCE))
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(count)

    count()
    await told(parts, table)
    assert turns >= 4


# -- labels that are there from the start ------------------------------------------------------------------------------


def literals(function: str) -> set[str]:
    """The first arguments of all calls of this function, as far as they are words."""
    calls = (
        node
        for source in ROOT.glob("proxy/**/*.py")
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function and node.args
    )
    first = (call.args[0] for call in calls)
    return {str(word.value) for word in first if isinstance(word, ast.Constant)}


def returned(path: str, function: str) -> set[str]:
    """The words that a function may return."""
    tree = ast.parse((ROOT / path).read_text())
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    every = (node.value for one in found for node in ast.walk(one) if isinstance(node, ast.Return))
    return {str(word.value) for word in every if isinstance(word, ast.Constant) and word.value is not None}


def test_every_reason_to_deny_a_session_is_there_from_the_start() -> None:
    sockets = returned("proxy/sessions/flows.py", "_refusal")
    limits = returned("proxy/sessions/registry.py", "_limit_reached")
    assert sockets and limits
    assert literals("Denied") | sockets | limits == set(labels.DENIED)


def test_every_result_of_an_offer_to_the_kernel_is_there_from_the_start() -> None:
    words = returned("proxy/movers/kernel.py", "_refuses") | returned("proxy/movers/kernel.py", "_take")
    assert words | {"kernel", "marked"} == set(labels.PROMOTED)


def test_every_reason_why_a_server_is_not_reached_is_there_from_the_start() -> None:
    assert {f"server_{word}" for word in returned("proxy/errors.py", "dial_failure")} == set(labels.FAILED)


def test_every_reason_to_refuse_a_pinhole_is_there_from_the_start() -> None:
    own = {"offer_gone", "closed"}  # of an engine that asks for what it has given up, and writes no line
    assert (literals("Refusal") | returned("proxy/errors.py", "refusal_reason")) - own == set(labels.REFUSED)


def test_who_writes_a_violation_counts_it() -> None:
    """A line `violation` is written by the log alone, so whoever calls that for one has to count it there."""
    writers = []
    for source in ROOT.glob("proxy/**/*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.FunctionDef) and 'log.write("violation"' in ast.unparse(node).replace("'", '"'):
                writers.append(ast.unparse(node))
    assert len(writers) == 1
    assert all("violations.labels(rule).inc()" in text for text in writers)
