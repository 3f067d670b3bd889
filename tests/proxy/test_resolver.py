"""Names into addresses: answered once, in time, and with nothing when there is nothing."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from protocols.engine import Host
from proxy import resolver
from proxy.resolver import Resolver

Answer = tuple[Host, ...]


def hosts(*texts: str) -> Answer:
    return tuple(map(ip_address, texts))


class Names:
    """The loop, whose resolver knows what the test says: `table` of names; those in `held` wait for `release`."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.create_task, self.call_soon = loop.create_task, loop.call_soon
        self.table: dict[str, tuple[str, ...]] = {}
        self.held: set[str] = set()
        self.release = asyncio.Event()
        self.asked: list[str] = []

    async def getaddrinfo(self, name: str, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        self.asked.append(name)
        if name in self.held:
            await self.release.wait()
        if name not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, type, 6, "", (host, 0, 0, 2)) if ":" in host else (socket.AF_INET, type, 6, "", (host, 0))
            for host in self.table[name]
        ]


@pytest.fixture
async def names() -> Names:
    return Names()


class Asked:
    """A question; every answer to it is kept."""

    def __init__(self, of: Resolver, name: str) -> None:
        self.answers: list[Answer] = []
        self._told = asyncio.Event()
        of.ask(name, self._answered)

    def _answered(self, hosts: Answer) -> None:
        self.answers.append(hosts)
        self._told.set()

    async def answer(self) -> Answer:
        async with asyncio.timeout(5):
            await self._told.wait()
        (answer,) = self.answers
        return answer


@pytest.fixture
async def asking(names: Names) -> Resolver:
    return Resolver(names)  # type: ignore[arg-type]


async def test_a_name_is_answered_with_its_addresses_in_their_order(names: Names, asking: Resolver) -> None:
    names.table["rac1-vip"] = ("10.1.0.31", "2001:db8::31", "10.1.0.32")
    asked = Asked(asking, "rac1-vip")
    assert asked.answers == []  # never before `ask` returns
    assert await asked.answer() == hosts("10.1.0.31", "2001:db8::31", "10.1.0.32")


async def test_an_address_that_is_given_twice_is_answered_once_and_without_its_scope(
    names: Names, asking: Resolver
) -> None:
    names.table["db"] = ("fe80::1%eth0", "10.1.0.31", "10.1.0.31")
    assert await Asked(asking, "db").answer() == hosts("fe80::1", "10.1.0.31")


async def test_a_name_that_nobody_knows_is_answered_with_nothing(names: Names, asking: Resolver) -> None:
    assert await Asked(asking, "nowhere").answer() == ()


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..b", "x" * 300])
async def test_what_can_be_no_name_is_answered_with_nothing(name: str) -> None:
    """By the resolver that is really there."""
    assert await Asked(Resolver(asyncio.get_running_loop()), name).answer() == ()


async def test_a_name_of_this_host_is_answered_by_the_real_resolver() -> None:
    answer = await Asked(Resolver(asyncio.get_running_loop()), "localhost").answer()
    assert answer
    assert all(host.is_loopback for host in answer)


async def test_an_answer_that_does_not_come_in_time_is_none_and_others_do_not_wait_for_it(
    names: Names, asking: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "SECONDS", 0.1)
    names.held.add("slow")
    names.table = {"slow": ("10.1.0.1",), "quick": ("10.1.0.2",)}
    slow, quick = Asked(asking, "slow"), Asked(asking, "quick")
    assert await quick.answer() == hosts("10.1.0.2")
    assert slow.answers == []
    assert await slow.answer() == ()
    names.release.set()  # what comes too late is nobody's any more
    assert await Asked(asking, "quick").answer() == hosts("10.1.0.2")
    assert slow.answers == [()]
    assert len(asking) == 0


async def test_who_asks_for_the_same_name_at_once_gets_the_same_answer(names: Names, asking: Resolver) -> None:
    names.table["scan"] = ("10.1.0.7",)
    names.held.add("scan")
    all_of_them = [Asked(asking, "scan") for _ in range(5000)]
    assert len(asking) == 1
    names.release.set()
    assert {await asked.answer() for asked in all_of_them} == {hosts("10.1.0.7")}
    assert names.asked == ["scan"]
    # An answer is not kept: what it says may change.
    names.table["scan"] = ("10.1.0.8",)
    assert await Asked(asking, "scan").answer() == hosts("10.1.0.8")


async def test_many_names_at_once_are_all_answered(names: Names, asking: Resolver) -> None:
    names.table = {f"host{number}": (f"10.1.{number // 250}.{number % 250}",) for number in range(500)}
    asked = {name: Asked(asking, name) for name in names.table}
    for name, one in asked.items():
        assert await one.answer() == hosts(*names.table[name])
    assert len(asking) == 0


async def test_more_names_than_can_be_asked_for_are_answered_with_nothing(
    names: Names, asking: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_NAMES", 3)
    names.table = {f"host{number}": ("10.1.0.1",) for number in range(5)}
    names.held |= set(names.table)
    first = [Asked(asking, f"host{number}") for number in range(3)]
    again = Asked(asking, "host0")
    beyond = [Asked(asking, f"host{number}") for number in (3, 4)]
    assert len(asking) == 3
    assert [one.answers for one in beyond] == [[], []]  # later, as all answers
    assert [await one.answer() for one in beyond] == [(), ()]
    names.release.set()
    assert [await one.answer() for one in (*first, again)] == [hosts("10.1.0.1")] * 4
    assert await Asked(asking, "host4").answer() == hosts("10.1.0.1")


async def test_after_its_end_nobody_is_told(names: Names, asking: Resolver) -> None:
    names.table["db"] = ("10.1.0.1",)
    names.held.add("db")
    asked = Asked(asking, "db")
    other = Resolver(names)  # type: ignore[arg-type]
    asking.close()
    names.release.set()
    assert await Asked(other, "db").answer() == hosts("10.1.0.1")
    assert asked.answers == []
    assert len(asking) == 0
