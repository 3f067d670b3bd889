"""Who follows the log gets its lines as they are written, filtered; who is slow loses lines and is told how many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from proxy.control.errors import Wrong
from proxy.control.events import MOST_WAITING, PARAMETERS, Events
from proxy.control.parameters import read_all
from proxy.control.routes import Asked, Peer


def line(event: str, **facts: Any) -> str:
    return json.dumps({"time": "2026-11-29T20:00:00.000000Z", "event": event, **facts})


def follow(events: Events, *query: tuple[str, str]) -> AsyncGenerator[tuple[str, str], None]:
    return events.follow(Asked(read_all(PARAMETERS, query), Peer(0, 0, 1)))


async def begun(events: Events, *query: tuple[str, str]) -> AsyncGenerator[tuple[str, str], None]:
    stream = follow(events, *query)
    assert await anext(stream) == ("begun", "{}")
    return stream


async def test_a_line_comes_as_it_was_written() -> None:
    events = Events()
    stream = await begun(events)
    events(line("call.started", call_id="a"))
    assert await anext(stream) == ("call.started", line("call.started", call_id="a"))


@pytest.mark.parametrize(
    "query",
    [
        ("event", "call.*"), ("event", "!session.*"), ("call_id", "a"), ("client", "192.0.2.0/24"), ("text", "ALICE"),
        ("helper", "sip"), ("address", "192.0.2.1:5060"),
    ],
)  # fmt: skip
async def test_filters_let_through_what_they_name(query: tuple[str, str]) -> None:
    events = Events()
    stream = await begun(events, query)
    events(line("session.opened", helper="ftp", client="198.51.100.1:21"))
    events(line("call.started", call_id="a", helper="sip", client="192.0.2.1:5060", **{"from": "sip:alice@x"}))
    assert (await anext(stream))[0] == "call.started"


async def test_a_slow_reader_loses_lines_and_is_told_how_many_and_others_lose_none() -> None:
    events = Events()
    slow, quick = await begun(events), await begun(events)
    got = 0
    for number in range(MOST_WAITING + 5):
        events(line("pinhole.used", number=number))
        assert json.loads((await anext(quick))[1])["number"] == number
    async for name, data in slow:
        if name == "missed":
            assert json.loads(data) == {"missed": 5}
            break
        got += 1
    assert got == MOST_WAITING


async def test_nobody_is_remembered_who_has_gone() -> None:
    events = Events()
    stream = await begun(events)
    await stream.aclose()
    events(line("pinhole.used"))
    assert not events._readers


def test_a_filter_that_cannot_be_read_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(Wrong):
        follow(Events(), ("client", "nobody"))


async def test_a_long_backlog_leaves_others_their_turn() -> None:
    events = Events()
    stream = await begun(events, ("event", "never"))
    for _ in range(MOST_WAITING):
        events(line("pinhole.used"))
    turns = 0
    reading: asyncio.Task[Any] = asyncio.get_running_loop().create_task(anext(stream))
    while events._readers[0].waiting:
        await asyncio.sleep(0)
        turns += 1
    reading.cancel()
    assert turns > 10
