"""The audit log of a daemon: the places that the configuration names, and what a reload makes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.config.recording import Audit
from proxy.daemon.recorder import KeptFiles, Recorder
from proxy.errors import PinholeError
from proxy.record.metrics import Metrics


def settings(**keys: Any) -> Audit:
    return Audit.model_validate(keys)


def events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


class World:
    """A recorder, and files that it may write to."""

    def __init__(self, directory: Path) -> None:
        self.first, self.second = directory / "first.log", directory / "second.log"
        self.recorder = self.begin(to=str(self.first))

    def begin(self, **keys: Any) -> Recorder:
        return Recorder(asyncio.get_running_loop(), settings(**keys), "1cce2aa5", Metrics())

    def reload(self, **keys: Any) -> None:
        self.recorder.prepare(settings(**keys))
        self.recorder.use()


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.recorder.close()


async def test_every_place_gets_every_line(world: World) -> None:
    recorder = world.begin(sinks=[{"to": str(world.first)}, {"to": "file", "path": str(world.second), "format": "ecs"}])
    recorder.log.write("daemon.stopped")
    recorder.close()
    assert events(world.first) == ["daemon.stopped"]
    assert json.loads(world.second.read_text())["event"]["action"] == "daemon.stopped"


async def test_a_collector_that_is_away_is_named_and_keeps_no_session_out(world: World) -> None:
    recorder = world.begin(to=str(world.first), required=True, sinks=[{"to": "syslog", "server": "tcp://127.0.0.1:1"}])
    recorder.log.write("daemon.stopped")
    for _ in range(1000):
        if recorder.failing:
            break
        await asyncio.sleep(0.01)
    assert recorder.failing == ["syslog tcp://127.0.0.1:1"]
    assert not recorder.is_unavailable()
    recorder.close()


async def test_after_a_reload_lines_go_to_the_new_place_and_none_is_lost(world: World) -> None:
    session = world.recorder.log.bind(session="s-1")
    session.write("one")
    world.reload(to=str(world.second))
    session.write("two")
    world.recorder.close()
    assert (events(world.first), events(world.second)) == (["one"], ["two"])


async def test_a_place_that_stays_goes_on_as_it_is(world: World) -> None:
    (before,) = world.recorder.sinks
    world.reload(to=str(world.first), sinks=[{"to": str(world.second)}])
    assert world.recorder.sinks[0] is before
    world.recorder.log.write("one")
    world.reload(to=str(world.second))
    world.recorder.log.write("two")
    world.recorder.close()
    assert (events(world.first), events(world.second)) == (["one"], ["one", "two"])


async def test_a_place_that_cannot_be_had_leaves_all_as_it_was(world: World, tmp_path: Path) -> None:
    with pytest.raises(PinholeError, match="audit log /nowhere/log: No such file or directory"):
        world.recorder.prepare(settings(sinks=[{"to": str(world.second)}, {"to": "/nowhere/log"}]))
    world.recorder.use()
    world.recorder.log.write("one")
    world.recorder.close()
    assert (events(world.first), world.second.read_text()) == (["one"], "")


async def test_what_is_prepared_and_not_wanted_after_all_changes_nothing(world: World) -> None:
    world.recorder.prepare(settings(to=str(world.second)))
    world.recorder.forget()
    world.recorder.use()
    world.recorder.log.write("one")
    world.recorder.close()
    assert events(world.first) == ["one"]


async def test_another_name_of_the_gateway_needs_a_restart(world: World) -> None:
    with pytest.raises(PinholeError, match="needs a restart"):
        world.recorder.prepare(settings(to=str(world.first), node="another"))


async def test_the_keeper_opens_the_files_of_the_configuration_that_it_has_read_last(tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    kept = KeptFiles(settings(to=first))
    assert f"audit {second}" not in kept.wishes
    kept.use(settings(to=second))
    assert {f"audit {first}", f"audit {second}", "read-audit"} <= kept.wishes.keys()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"to": "file"}, "name the file"),
        ({"sinks": [{"to": "file"}]}, "`path` is for `to: file`, which needs it"),
        ({"sinks": [{"to": "journal", "server": "udp://192.0.2.1"}]}, "`server` is for `to: syslog`"),
        ({"sinks": [{"to": "syslog", "server": "http://192.0.2.1"}]}, "expected a path as /dev/log"),
        ({"sinks": [{"to": "syslog", "server": "udp://192.0.2.1:0"}]}, "expected a path as /dev/log"),
        ({"sinks": [{"to": "/x", "format": "cef", "chain": True}]}, "a chain needs"),
        ({"to": "/x", "sinks": [{"to": "file", "path": "/x"}]}, "two sinks write to /x"),
    ],
)
def test_what_makes_no_sense_is_a_mistake(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        settings(**keys)


def test_with_sinks_and_no_place_of_its_own_the_log_goes_to_those_alone() -> None:
    assert [place.to for place in settings(sinks=[{"to": "journal"}]).places] == ["journal"]
    assert [place.to for place in settings(to="stdout", sinks=[{"to": "journal"}]).places] == ["stdout", "journal"]
    assert [place.to for place in settings().places] == ["stdout"]
