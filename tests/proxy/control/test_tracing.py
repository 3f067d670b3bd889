"""Who traces a session is shown its messages, and costs nobody else anything."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protocols.contract.addresses import Endpoint
from proxy.control import tracing
from proxy.control.errors import Wrong
from proxy.control.gateway import Gateway
from proxy.control.routes import Asked, Peer
from proxy.control.tracing import Traces
from proxy.sessions.session import Session
from tests.proxy.control.world import World, world

pytestmark = pytest.mark.usefixtures("network")

HERE, THERE = Endpoint(ip_address("10.0.0.1"), 1), Endpoint(ip_address("10.0.0.2"), 2)

TOLD: list[tuple[Peer, str, str]] = []


def traces(here: World) -> tuple[Traces, Session]:
    gateway = SimpleNamespace(sessions=here.shell.sessions, now=here.shell.loop.time())
    (session,) = here.shell.sessions
    return Traces(cast(Gateway, gateway), lambda *said: TOLD.append(said)), session


def asked(**query: Any) -> Asked:
    return Asked(query, Peer(0, 0, 0))


async def test_only_while_somebody_traces_it_a_session_is_asked_for_messages(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        found, session = traces(here)
        assert not found.wants(session)
        followed = found.follow(asked(helper="test"))
        assert (await anext(followed))[0] == "begun"
        assert found.wants(session)
        assert here.shell.sessions.tracer is found
        assert TOLD[-1] == (Peer(0, 0, 0), "trace", "helper test")
        await followed.aclose()
        assert not found.wants(session)
        assert here.shell.sessions.tracer is None


async def test_a_session_that_the_filters_leave_out_is_not_shown(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        found, session = traces(here)
        followed = found.follow(asked(helper="!test"))
        await anext(followed)
        assert not found.wants(session)
        await followed.aclose()


async def test_secrets_are_removed_and_what_is_no_text_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as here:
        found, session = traces(here)
        monkeypatch.setattr(session, "helper", replace(session.helper, secret=re.compile(rb"(PASS)[^\r\n]+")))
        followed = found.follow(asked())
        await anext(followed)
        found.take(session, True, HERE, THERE, b"PASS secret\r\n\xff")
        name, data = await anext(followed)
        row = json.loads(data)
        assert (name, row["text"], row["step"]) == ("message", "PASS (removed)\r\n\\xff", "came")
        assert (row["source"], row["target"]) == ("10.0.0.1:1", "10.0.0.2:2")
        await followed.aclose()


async def test_who_reads_too_slowly_is_told_how_many_messages_he_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 2)
    async with world(tmp_path) as here:
        found, session = traces(here)
        followed = found.follow(asked())
        await anext(followed)
        for number in range(5):
            found.take(session, True, HERE, THERE, b"%d" % number)
        shown = [json.loads((await anext(followed))[1]) for _ in range(2)]
        found.take(session, True, HERE, THERE, b"last")
        shown.append(json.loads((await anext(followed))[1]))
        assert [(row["text"], row["missed"]) for row in shown] == [("0", 0), ("1", 0), ("last", 3)]
        await followed.aclose()


async def test_a_reader_that_is_silent_for_long_is_told_that_the_trace_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "ALIVE_SECONDS", 0.01)
    async with world(tmp_path) as here:
        followed = traces(here)[0].follow(asked())
        assert [(await anext(followed))[0] for _ in range(2)] == ["begun", "alive"]
        await followed.aclose()


async def test_a_filter_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(Wrong):
            traces(here)[0].follow(asked(client="nobody"))
