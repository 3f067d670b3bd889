"""What the daemon makes of a guard that comes and goes, and what it says of firewall rules that are not those of its
configuration. Who follows its advice sets up the rules of the file that is served."""

from __future__ import annotations

import asyncio
import errno
import json
import socket

import pytest

from proxy.config import files, reading, whereabouts
from proxy.config.schema import Config
from proxy.daemon import rules as module
from proxy.daemon.rules import IN_DOUBT, NOBODY_MAY, OLD_POLICIES, Outcome, Rules
from proxy.errors import NetError
from proxy.host import link
from proxy.host import rules as host_rules
from proxy.host.link import Line, Link
from proxy.host.rules import Backend
from proxy.record.metrics import Metrics
from tests.harness.shell import Memory
from tests.harness.waiting import until


def config(source: str, policies: str) -> Config:
    return reading.judge([files.Source(source, f"policies: [{policies}]".encode())]).settings or reading.default()


def outcome(before: Config, fresh: Config) -> Outcome:
    async def reload() -> Outcome:
        rules = Rules(asyncio.get_running_loop(), None, fresh.source, Memory(), Metrics(), lambda text: None)
        return await rules.bring_in_force(fresh, before)

    return asyncio.run(reload())


ALL, LAN, RENAMED = (
    "{name: all, action: accept}",
    "{name: lan, from: lan0, action: accept}",
    "{name: a, action: accept}",
)


def test_advice_of_a_reload_names_the_file_that_is_served() -> None:
    source = "/srv/a site/pinhole.yaml"
    problem = outcome(config(source, ALL), config(source, LAN)).problem
    assert "`pinhole net up -c '/srv/a site/pinhole.yaml'` does" in problem
    assert "`pinhole net guard -c '/srv/a site/pinhole.yaml'` (systemd" in problem
    remark = outcome(config(source, ALL), config(source, RENAMED)).remark
    assert remark == OLD_POLICIES.replace("net up", "net up -c '/srv/a site/pinhole.yaml'")


async def test_advice_in_doubt_names_it_for_who_looks_and_for_who_sets_up() -> None:
    source = "/srv/pinhole.yaml"
    rules = Rules(asyncio.get_running_loop(), None, source, Memory(), Metrics(), lambda text: None)
    fresh = config(source, ALL)
    await rules.bring_in_force(fresh, config(source, LAN))
    remark = (await rules.bring_in_force(fresh, fresh)).remark
    assert f"`pinhole net status -c {source}` tells, `pinhole net up -c {source}` sets" in remark


@pytest.mark.parametrize("source", [str(whereabouts.SYSTEM_PATH), "built-in default"])
def test_what_commands_read_anyway_is_not_named(source: str) -> None:
    assert outcome(config(source, ALL), config(source, LAN)) == Outcome(problem=NOBODY_MAY)
    assert outcome(config(source, ALL), config(source, RENAMED)) == Outcome(remark=OLD_POLICIES)


async def test_what_a_reload_has_left_to_do_is_said_by_those_after_it_too() -> None:
    """Nobody here sees whether it was done, so they do not fail."""
    rules = Rules(asyncio.get_running_loop(), None, "built-in default", Memory(), Metrics(), lambda text: None)
    before, fresh, renamed = (config("built-in default", policies) for policies in (LAN, ALL, RENAMED))
    assert not rules.are_in_doubt
    assert await rules.bring_in_force(fresh, before) == Outcome(problem=NOBODY_MAY)
    assert rules.are_in_doubt
    assert await rules.bring_in_force(fresh, fresh) == Outcome(remark=IN_DOUBT)
    assert await rules.bring_in_force(renamed, fresh) == Outcome(remark=IN_DOUBT)
    # Whether the rules are those of the first one yet is not known either.
    assert await rules.bring_in_force(before, renamed) == Outcome(problem=NOBODY_MAY)


# -- guards ------------------------------------------------------------------------------------------------------------

KEEPS: Line = {"missing": [], "sees_rules": True, "keeps": True}


class Guard:
    """The guard's end of the line, and the daemon's."""

    def __init__(self) -> None:
        self.sock, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.link = Link(ours)

    def says(self, line: Line) -> None:
        self.sock.send(json.dumps(line).encode())

    def close(self) -> None:
        self.sock.close()
        self.link.sock.close()


async def until_watched(rules: Rules, what: str) -> None:
    await asyncio.to_thread(until, lambda: rules.watched == what)


async def test_a_guard_that_ends_while_no_descriptor_is_left_is_found_when_there_are_some_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To look for one takes descriptors, and somebody else may have taken the one that the line to it had."""
    first, second = Guard(), Guard()
    looks: list[Link | OSError] = [OSError(errno.EMFILE, "too many open files"), second.link]

    def find(patience: float) -> Link:
        look = looks.pop(0)
        if isinstance(look, OSError):
            raise look
        return look

    monkeypatch.setattr(link, "find", find)
    monkeypatch.setattr(module, "FIND_SECONDS", 0.01)
    said: list[str] = []
    rules = Rules(asyncio.get_running_loop(), first.link, "built-in default", Memory(), Metrics(), said.append)
    rules.start()
    first.says(KEEPS)
    await until_watched(rules, "all")
    first.sock.close()
    await until_watched(rules, "nothing")
    second.says(KEEPS)
    await until_watched(rules, "all")
    assert said[-1] == "the guard of rules and routes is back"
    rules.stop()
    second.close()


async def test_a_guard_that_comes_sets_up_at_the_next_reload_what_an_earlier_one_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard = Guard()
    found: list[Link | None] = [None, guard.link]
    monkeypatch.setattr(link, "find", lambda patience: found.pop(0))
    monkeypatch.setattr(module, "FIND_SECONDS", 0.01)
    gone = Guard()
    rules = Rules(asyncio.get_running_loop(), gone.link, "built-in default", Memory(), Metrics(), lambda text: None)
    rules.start()
    gone.sock.close()
    before, fresh = config("built-in default", LAN), config("built-in default", ALL)
    assert await rules.bring_in_force(fresh, before) == Outcome(problem=NOBODY_MAY)
    guard.says(KEEPS)
    await until_watched(rules, "all")
    reload = asyncio.get_running_loop().create_task(rules.bring_in_force(fresh, fresh))
    wish = json.loads(await asyncio.to_thread(guard.sock.recv, 4096))
    assert wish == {"wish": "apply", "rules": host_rules.label(fresh, Backend.NFT)}
    guard.says({"done": "apply", "problem": None})
    assert await reload == Outcome()
    assert not rules.are_in_doubt
    # From now on they are those of the configuration, and the guard is left alone.
    assert await rules.bring_in_force(fresh, fresh) == Outcome()
    rules.stop()
    guard.close()


OTHER_FILE = "the guard reads /srv/other.yaml, which asks for other rules: give both the same `-c FILE`"


async def in_doubt(guard: Guard, before: Config, fresh: Config) -> Rules:
    """Rules of which a reload without a guard has made others than stood, before this guard was there."""
    rules = Rules(asyncio.get_running_loop(), guard.link, "built-in default", Memory(), Metrics(), lambda text: None)
    assert await rules.bring_in_force(fresh, before) == Outcome(problem=NOBODY_MAY)
    rules.start()
    guard.says(KEEPS)
    await until_watched(rules, "all")
    return rules


async def test_a_reload_that_wants_no_other_rules_is_not_refused_for_a_guard_that_cannot_set_them_up() -> None:
    """It makes nothing worse: what is in doubt was so before."""
    guard, before, fresh = Guard(), config("built-in default", LAN), config("built-in default", ALL)
    rules = await in_doubt(guard, before, fresh)
    reload = asyncio.get_running_loop().create_task(rules.bring_in_force(fresh, fresh))
    await asyncio.to_thread(guard.sock.recv, 4096)
    guard.says({"done": "apply", "problem": OTHER_FILE})
    assert await reload == Outcome(remark=f"{IN_DOUBT}; the guard could not: {OTHER_FILE}")
    assert rules.are_in_doubt
    # One that wants others would leave them as they are, so it is.
    reload = asyncio.get_running_loop().create_task(rules.bring_in_force(before, fresh))
    await asyncio.to_thread(guard.sock.recv, 4096)
    guard.says({"done": "apply", "problem": OTHER_FILE})
    with pytest.raises(NetError, match="would be others, and could not be set up: the guard reads /srv/other"):
        await reload
    assert rules.are_in_doubt
    rules.stop()
    guard.close()


async def test_nor_for_one_that_has_just_ended() -> None:
    guard, before, fresh = Guard(), config("built-in default", LAN), config("built-in default", ALL)
    rules = await in_doubt(guard, before, fresh)
    asyncio.get_running_loop().remove_reader(guard.link.sock)  # its end is heard only after the wish
    guard.sock.close()
    remark = (await rules.bring_in_force(fresh, fresh)).remark
    assert remark.startswith(f"{IN_DOUBT}; the guard could not: ") and "has ended" in remark
    rules.stop()
    guard.close()
