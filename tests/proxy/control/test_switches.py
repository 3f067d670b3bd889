"""Switches: a helper is off or only observes, for one client or all, for a time; shown, written down, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import pytest_asyncio

from protocols.contract.addresses import Side, Transport
from protocols.contract.effects import Send, Splice
from protocols.contract.engine import Options
from protocols.observe import Unread
from proxy.sessions.policy import Accepted
from proxy.sessions.switches import Switches
from tests.harness.shell import SECONDS
from tests.proxy.control.world import World, world


@pytest_asyncio.fixture
async def here(network: None, tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


async def test_the_newest_switch_that_fits_decides() -> None:
    switches = Switches(asyncio.get_running_loop())
    one, other = ip_address("192.0.2.1"), ip_address("192.0.2.2")
    assert (switches.mode_of("ftp", one), bool(switches)) == ("active", False)
    switches.throw("ftp", "observe", None, None)
    switches.throw("ftp", "off", ip_network("192.0.2.1"), None)
    assert [switches.mode_of("ftp", host) for host in (one, other)] == ["off", "observe"]
    assert switches.mode_of("sip", one) == "active"
    assert switches.take_back("ftp", None)
    assert [switches.mode_of("ftp", host) for host in (one, other)] == ["off", "active"]
    assert not switches.take_back("ftp", None)


async def test_a_switch_with_a_time_is_taken_back_by_itself() -> None:
    switches, ended = Switches(asyncio.get_running_loop()), asyncio.Event()
    switches.ran_out = lambda _: ended.set()
    switches.throw("ftp", "off", None, 0.01)
    async with asyncio.timeout(SECONDS):
        await ended.wait()
    assert not switches


def test_what_is_off_passes_unread() -> None:
    engine = Unread(60)
    assert engine.receive(Side.SERVER, b"220 ready", 0.0) == (Send(Side.CLIENT, b"220 ready"), Splice(60))


@pytest.mark.parametrize("mode", ["off", "observe"])
async def test_it_is_shown_written_down_and_taken_back(here: World, mode: str) -> None:
    thrown = (await here.ask(f"/v1/switches?helper=test&mode={mode}&client=192.0.2.9&for=10m", "POST")).body
    assert (thrown["helper"], thrown["mode"], thrown["client"]) == ("test", mode, "192.0.2.9")
    assert 590 < thrown["expires_seconds"] <= 600
    assert [row["mode"] for row in (await here.get("/v1/switches"))["switches"]] == [mode]
    told = here.shell.log.last("control.changed")
    assert (told["what"], told["uid"]) == ("switch", 0)
    assert told["about"] == f"test {mode}, clients: 192.0.2.9, for 600 s"
    assert (await here.ask("/v1/switches?helper=test", "DELETE")).status == 404
    assert (await here.ask("/v1/switches?helper=test&client=192.0.2.9", "DELETE")).status == 200
    assert here.shell.log.last("control.changed")["what"] == "unswitch"
    assert await here.get("/v1/switches") == {"switches": []}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("helper=test", 400), ("helper=test&mode=on", 400), ("helper=none&mode=off", 404),
        ("helper=test&mode=off&client=x", 400), ("helper=test&mode=off&for=soon", 400),
        ("helper=test&mode=off&for=0", 400), ("helper=test&mode=off&for=0.0m", 400),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(here: World, query: str, status: int) -> None:
    assert (await here.ask(f"/v1/switches?{query}", "POST")).status == status
    assert not here.shell.sessions.switches


async def test_policies_say_the_mode_that_a_switch_gives(here: World) -> None:
    arrival = next(iter(here.shell.sessions)).arrival
    before = here.shell.sessions.policies.decide(arrival)
    here.shell.sessions.switches.throw("test", "off", None, None)
    after = here.shell.sessions.policies.decide(arrival)
    assert isinstance(before, Accepted) and isinstance(after, Accepted)
    options: list[Options] = [one.policy.options["test"] for one in (before, after)]
    assert [one.mode for one in options] == ["active", "off"]
    assert here.shell.sessions.policies.decide(arrival) == after
    assert arrival.transport is Transport.TCP
