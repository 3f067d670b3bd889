"""Helpers whose sessions are counted: a line a minute in place of two a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Send, violation
from proxy.sessions import counted
from proxy.sessions.counted import Counted
from tests.harness.shell import SECONDS, Memory, PassOn, Shell, receive, say
from tests.proxy.sessions.test_stream import Call

COUNTED = {"audit": "counted"}
RECEIVED = {Side.CLIENT: 10, Side.SERVER: 20}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setattr(counted, "COUNT_SECONDS", 0.05)
    return Memory()


async def told(log: Memory) -> dict[str, Any]:
    log.written.clear()
    async with asyncio.timeout(SECONDS):
        await log.written.wait()
    return log.last("sessions.counted")


async def test_sessions_of_a_helper_are_told_in_one_line(log: Memory) -> None:
    sessions = Counted(asyncio.get_running_loop(), log)
    for reason in ("finished", "idle", "finished"):
        sessions.opened("dns")
        sessions.closed("dns", reason, RECEIVED)
    sessions.opened("dns")
    line = await told(log)
    assert (line["helper"], line["opened"], line["closed"]) == ("dns", 4, {"finished": 2, "idle": 1})
    assert (line["bytes_from_client"], line["bytes_from_server"]) == (30, 60)
    assert line["duration_seconds"] >= 0.05


async def test_each_helper_has_a_line_of_its_own(log: Memory) -> None:
    sessions = Counted(asyncio.get_running_loop(), log)
    sessions.opened("dns")
    sessions.opened("ntp")
    await told(log)
    assert [line["helper"] for line in log.lines] == ["dns", "ntp"]


async def test_a_line_counts_from_the_last_one_and_nothing_is_told_of_nothing(log: Memory) -> None:
    sessions = Counted(asyncio.get_running_loop(), log)
    sessions.opened("dns")
    await told(log)
    await asyncio.sleep(0.1)
    assert len(log.lines) == 1
    sessions.closed("dns", "idle", RECEIVED)
    line = await told(log)
    assert (line["opened"], line["closed"]) == (0, {"idle": 1})


async def test_at_the_daemons_end_the_rest_is_told(log: Memory) -> None:
    sessions = Counted(asyncio.get_running_loop(), log)
    sessions.opened("dns")
    sessions.tell()
    sessions.tell()
    assert [line["opened"] for line in log.lines] == [1]


@pytest.mark.usefixtures("network", "nothing_leaks")
async def test_a_counted_session_has_no_lines_but_what_it_did_wrong_has() -> None:
    class Wrong(PassOn):
        def receive(self, side: Side, data: bytes, now: float) -> Any:
            return [violation("test.wrong", "x", "passed"), Send(side.other, data)]

    shell = Shell(Wrong, traits=COUNTED)
    call = await Call.connect(shell)
    await say(call.client, b"hello")
    assert await receive(call.server) == b"hello"
    await shell.sessions.drain(0)
    assert shell.log.events() == ["violation", "sessions.counted"]
    assert shell.metrics.registry.get_sample_value("pinhole_violations_total", {"rule": "test.wrong"}) == 1
    line = shell.log.last("sessions.counted")
    assert (line["opened"], line["closed"], line["bytes_from_client"]) == (1, {"stopped": 1}, 5)
    call.close()
