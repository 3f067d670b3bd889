"""Names into addresses: answered once, in time, and with nothing when there is nothing."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from protocols.contract.addresses import Host
from proxy.sessions import resolver
from proxy.sessions.resolver import Resolver
from tests.harness.shell import SECONDS
from tests.harness.waiting import until

Answer = tuple[Host, ...]


def hosts(*texts: str) -> Answer:
    return tuple(map(ip_address, texts))


SERVER = ip_address("203.0.113.1")


class Names:
    """This host's resolver, which knows what the test says: `table` of names; those in `held` wait for `release`."""

    def __init__(self) -> None:
        self.table: dict[str, tuple[str, ...]] = {}
        self.held: set[str] = set()
        self.release = threading.Event()
        self.asked: list[str] = []

    def getaddrinfo(self, name: str, port: None, *, type: socket.SocketKind) -> list[tuple[Any, ...]]:
        self.asked.append(name)
        if name in self.held:
            self.release.wait(2 * SECONDS)
        if name not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, type, 6, "", (host, 0, 0, 2)) if ":" in host else (socket.AF_INET, type, 6, "", (host, 0))
            for host in self.table[name]
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    monkeypatch.setattr(resolver, "SECONDS", SECONDS)  # a thread may have to wait for a processor
    yield names
    names.release.set()


class Asked:
    """A question; every answer to it is kept."""

    def __init__(self, of: Resolver, name: str, server: Host = SERVER) -> None:
        self.answers: list[Answer] = []
        self._told = asyncio.Event()
        of.ask(name, server, self._answered)

    def _answered(self, hosts: Answer) -> None:
        self.answers.append(hosts)
        self._told.set()

    async def answer(self) -> Answer:
        async with asyncio.timeout(SECONDS):
            await self._told.wait()
        (answer,) = self.answers
        return answer


@pytest.fixture
async def asking() -> Resolver:
    return Resolver(asyncio.get_running_loop())


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
    names.held |= {"slow", "in time"}
    names.table = {"slow": ("10.1.0.1",), "quick": ("10.1.0.2",), "in time": ("10.1.0.3",)}
    in_time, quick = Asked(asking, "in time"), Asked(asking, "quick")
    assert await quick.answer() == hosts("10.1.0.2")
    assert in_time.answers == []
    with monkeypatch.context() as short:
        short.setattr(resolver, "SECONDS", 0.1)
        slow = Asked(asking, "slow")
    assert await slow.answer() == ()
    names.release.set()  # what comes too late is nobody's any more
    assert await in_time.answer() == hosts("10.1.0.3")
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


async def test_a_server_that_names_what_nobody_answers_for_uses_up_its_own_share_alone(
    names: Names, asking: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.table["good"] = ("10.1.0.1",)
    names.held = {f"slow{number}" for number in range(resolver.MAX_THREADS_PER_SERVER)}
    with monkeypatch.context() as short:
        short.setattr(resolver, "SECONDS", 0.1)
        slow = [Asked(asking, name) for name in names.held]
    assert [await one.answer() for one in slow] == [()] * len(slow)
    # Nobody waits for them any more, but their threads still do, once each has had a processor.
    await asyncio.to_thread(until, lambda: len(names.asked) == len(slow))
    asked_before = len(names.asked)
    beyond = Asked(asking, "good")
    assert beyond.answers == []  # later, as all answers
    assert await beyond.answer() == ()
    assert len(names.asked) == asked_before
    assert await Asked(asking, "good", ip_address("203.0.113.2")).answer() == hosts("10.1.0.1")
    names.release.set()
    for _ in range(500):  # until its threads have ended
        if answer := await Asked(asking, "good").answer():
            break
        await asyncio.sleep(0.01)
    assert answer == hosts("10.1.0.1")


async def test_all_servers_together_have_a_bounded_number_of_threads(
    names: Names, asking: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_THREADS", 3)
    names.table = {f"host{number}": ("10.1.0.1",) for number in range(4)}
    names.held |= set(names.table)
    first = [Asked(asking, f"host{number}", ip_address(f"203.0.113.{number}")) for number in range(3)]
    again = Asked(asking, "host0", ip_address("203.0.113.9"))  # is being asked for already
    beyond = Asked(asking, "host3", ip_address("203.0.113.9"))
    assert len(asking) == 3
    assert await beyond.answer() == ()
    names.release.set()
    assert [await one.answer() for one in (*first, again)] == [hosts("10.1.0.1")] * 4
    assert await Asked(asking, "host3").answer() == hosts("10.1.0.1")


async def test_without_room_for_a_thread_there_is_no_answer(
    names: Names, asking: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", start)
        refused = Asked(asking, "db")
    assert await refused.answer() == ()
    names.table["db"] = ("10.1.0.1",)
    assert await Asked(asking, "db").answer() == hosts("10.1.0.1")


def test_a_program_does_not_wait_at_its_end_for_a_name_that_nobody_answers_for() -> None:
    program = """
import asyncio, ipaddress, socket, time
from proxy.sessions.resolver import Resolver
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
async def main():
    asking = Resolver(asyncio.get_running_loop())
    asking.ask("slow", ipaddress.ip_address("203.0.113.1"), print)
    await asyncio.sleep(0)
    asking.close()
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=20, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


async def test_after_its_end_nobody_is_told(names: Names, asking: Resolver) -> None:
    names.table["db"] = ("10.1.0.1",)
    names.held.add("db")
    asked = Asked(asking, "db")
    other = Resolver(asyncio.get_running_loop())
    asking.close()
    names.release.set()
    assert await Asked(other, "db").answer() == hosts("10.1.0.1")
    assert asked.answers == []
    assert len(asking) == 0
