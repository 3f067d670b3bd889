"""A reload: read beside the loop, told key by key, and in force in one step or not at all."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config import files, reading
from proxy.config.schema import Config
from proxy.config.shown import hash_of
from proxy.daemon.reloading import Fresh, Reloading
from proxy.daemon.rules import Outcome
from proxy.errors import NetError
from tests.harness.shell import Memory

BEFORE = "policies: [{name: all, action: accept}]\n"
AFTER = "policies: [{name: all, action: deny}]\n"


@dataclass
class World:
    """Stands in for the daemon."""

    file: Path
    config: Config
    log: Memory = field(default_factory=Memory)
    sessions: list[Any] = field(default_factory=list)
    outcome: Outcome | NetError = field(default_factory=Outcome)
    used: list[Fresh] = field(default_factory=list)

    def all_sessions(self) -> Iterator[Any]:
        return iter(self.sessions)

    def calls(self) -> Iterator[Any]:
        return iter([SimpleNamespace(pinholes=self.sessions[0].pinholes)] * 2)

    async def prepare(self, fresh: Config) -> Outcome:
        if isinstance(self.outcome, NetError):
            raise self.outcome
        return self.outcome

    def use(self, fresh: Fresh) -> None:
        self.used.append(fresh)
        self.config = fresh.config

    async def reload(self, text: str, is_dry: bool = False) -> dict[str, Any]:
        self.file.write_text(text)
        return await Reloading(self, str(self.file), files.gather, self.log).reload(is_dry)


def session(key: str, reason: str | None) -> Any:
    arrival = SimpleNamespace(client="10.1.0.2:5060", server="192.0.2.9:5060")
    names = {"helper": SimpleNamespace(name="sip"), "policy": SimpleNamespace(name="all")}
    return SimpleNamespace(key=key, arrival=arrival, pinholes=object(), ends_by=lambda _: reason, **names)


@pytest.fixture
def world(tmp_path: Path) -> World:
    file = tmp_path / "pinhole.yaml"
    file.write_text(BEFORE)
    return World(file, reading.load(file))


async def test_what_is_otherwise_and_what_ends_is_told_and_written_down(world: World) -> None:
    world.sessions = [session("s-1", "denied_by_policy"), session("s-2", None)]
    answer = await world.reload(AFTER)
    assert answer["ok"] and not answer["dry_run"]
    assert answer["changes"] == [{"key": "policies[all].action", "before": "accept", "after": "deny"}]
    (end,) = answer["ends"]
    assert (end["id"], end["reason"], end["calls"], answer["ends_total"]) == ("s-1", "denied_by_policy", 2, 1)
    assert [fresh.config.policies[0].accept for fresh in world.used] == [False]
    line = world.log.last("config.reloaded")
    assert (line["changed"], line["ended"]) == (["policies[all].action"], ["s-1"])
    assert line["hash"] == answer["hash"] == hash_of(world.config)


async def test_a_dry_reload_tells_the_same_and_does_nothing(world: World) -> None:
    world.sessions = [session("s-1", "denied_by_policy")]
    before = world.config
    dry = await world.reload(AFTER, is_dry=True)
    assert (world.used, world.log.lines, world.config) == ([], [], before)
    assert dry == {**await world.reload(AFTER), "dry_run": True}


async def test_a_dry_reload_of_a_wrong_file_is_no_line_of_the_log(world: World) -> None:
    answer = await world.reload("policies: []\n", is_dry=True)
    assert (answer["ok"], len(answer["problems"]), world.log.lines) == (False, 1, [])


@pytest.mark.parametrize("section", ["network: {table: 77}", "user: nobody"])
async def test_what_needs_a_restart_changes_nothing_and_is_told(world: World, section: str) -> None:
    answer = await world.reload(f"{AFTER}{section}\n")
    (problem,) = answer["problems"]
    assert problem.endswith(f"{section.partition(':')[0]}: changed, which needs a restart; nothing was reloaded")
    assert len(answer["changes"]) == 2
    assert (world.used, world.log.events()) == ([], ["config.rejected"])


async def test_rules_that_cannot_be_set_up_change_nothing(world: World) -> None:
    world.outcome = NetError("the firewall rules could not be set up")
    answer = await world.reload(AFTER)
    assert answer["problems"] == [f"{world.file}: the firewall rules could not be set up; nothing was reloaded"]
    assert (answer["ok"], world.used, world.log.events()) == (False, [], ["config.rejected"])


async def test_what_nobody_here_may_set_up_is_a_problem_though_the_configuration_is_in_force(world: World) -> None:
    world.outcome = Outcome(problem="nobody may", remark="look")
    answer = await world.reload(AFTER)
    assert (answer["ok"], answer["problems"], answer["remarks"]) == (False, ["nobody may"], ["look"])
    assert len(world.used) == 1


async def test_warnings_are_told(world: World) -> None:
    answer = await world.reload(f"{BEFORE}timeouts: {{pinhole_open: 1}}\n")
    assert answer["ok"]
    assert ["timeouts.pinhole_open" in line for line in answer["warnings"]] == [True]


async def test_reloads_come_one_after_the_other(world: World) -> None:
    reloading = Reloading(world, str(world.file), files.gather, world.log)
    await asyncio.gather(*(reloading.reload() for _ in range(5)))
    assert world.log.events() == ["config.reloaded"] * 5


async def test_while_a_long_file_is_read_the_loop_goes_on(world: World) -> None:
    policies = "".join(
        f"  - {{name: p{number}, source: 10.{number // 256}.{number % 256}.0/24, action: accept}}\n"
        for number in range(500)
    )
    # By the processor time of this process: for as long as it gets no processor, neither reader nor loop go on.
    clock = time.process_time
    before = sys.getswitchinterval()
    longest = last = 0.0
    is_done = asyncio.Event()

    async def watch() -> None:
        nonlocal longest, last
        while not is_done.is_set():
            last = clock()
            await asyncio.sleep(0.002)
            longest = max(longest, clock() - last)

    watching = asyncio.get_running_loop().create_task(watch())
    began = clock()
    answer = await world.reload(f"policies:\n{policies}")
    took = clock() - began
    is_done.set()
    await watching
    assert answer["ok"]
    assert longest < took / 3, (longest, took)
    assert sys.getswitchinterval() == pytest.approx(before)
