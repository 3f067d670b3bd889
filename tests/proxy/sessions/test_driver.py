"""What an engine is told, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Abort, Note
from protocols.contract.pinholes import AnyGrant, Closed
from proxy.sessions.driver import EngineDriver, Performer
from tests.harness.clock import Clock
from tests.harness.shell import PassOn

MANY = 5000


class ClosesMany(PassOn):
    """What it closes is reported to it while it is still at it."""

    driver: EngineDriver

    def __init__(self) -> None:
        self.told: list[Any] = []

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        for number in range(MANY):
            self.driver.event(cast(AnyGrant, number), Closed("closed_by_session", 0, 0, 0.0))
        return ()

    def pinhole(self, grant: Any, event: Any, now: float) -> Any:
        self.told.append(grant)
        return ()


class Settles:
    def __init__(self) -> None:
        self.settled = 0

    def settle(self) -> None:
        self.settled += 1


async def test_an_engine_may_close_as_much_as_it_likes_at_once() -> None:
    engine, session = ClosesMany(), Settles()
    driver = engine.driver = EngineDriver(asyncio.get_running_loop(), engine, cast(Performer, session))
    driver.receive(Side.CLIENT, b"x")
    assert engine.told == list(range(MANY))
    assert session.settled == 1
    driver.stop()


class Shares(PassOn):
    """Fails, with something in a table that others see."""

    driver: EngineDriver

    def __init__(self, stops: bool) -> None:
        self.stops = stops
        self.shared = {"grant"}

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        raise ValueError("a bug")

    def stop(self, now: float) -> Any:
        if not self.stops:
            raise ValueError("another one")
        self.driver.event(cast(AnyGrant, "grant"), Closed("closed_by_session", 0, 0, 0.0))
        return ()

    def pinhole(self, grant: Any, event: Any, now: float) -> Any:
        self.shared.remove(grant)
        return [Note("call.ended", {})]


class Ends:
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, event: str, facts: Any) -> None:
        self.told.append(event)

    def engine_failed(self, lines: Sequence[str]) -> None:
        self.told.append(lines[-1])


async def test_what_a_failed_engine_shares_with_others_ends_with_it() -> None:
    engine, session = Shares(stops=True), Ends()
    engine.driver = EngineDriver(asyncio.get_running_loop(), engine, cast(Performer, session))
    engine.driver.receive(Side.CLIENT, b"x")
    assert engine.shared == set()
    assert session.told == ["call.ended", "ValueError: a bug"]


async def test_an_engine_that_cannot_even_stop_is_told_of_once() -> None:
    engine, session = Shares(stops=False), Ends()
    engine.driver = EngineDriver(asyncio.get_running_loop(), engine, cast(Performer, session))
    engine.driver.receive(Side.CLIENT, b"x")
    assert session.told == ["ValueError: a bug"]


class ClosesAtTheEnd(PassOn):
    """It says what has passed when it hears of that, and that may be after both sides have ended."""

    driver: EngineDriver

    def __init__(self) -> None:
        pass

    def receive(self, side: Side, data: bytes, now: float) -> Any:
        self.eof(Side.CLIENT, now)
        return [Abort("not_pptp")]

    def eof(self, side: Side, now: float) -> Any:
        if side is Side.CLIENT:
            self.driver.event(cast(AnyGrant, "grant"), Closed("control_lost", 7, 0, 0.0))
        return ()

    def pinhole(self, grant: Any, event: Any, now: float) -> Any:
        return [Note("pptp.ended", {"bytes": event.bytes_in})]


class Aborts(Ends):
    is_over = False

    def __init__(self, driver: Callable[[], EngineDriver]) -> None:
        super().__init__()
        self.driver = driver

    def abort(self, reason: str, told: object) -> None:
        self.driver().end()


async def test_an_engine_that_ends_its_session_hears_of_what_it_has_closed_for_that() -> None:
    engine = ClosesAtTheEnd()
    session = Aborts(lambda: engine.driver)
    engine.driver = EngineDriver(asyncio.get_running_loop(), engine, cast(Performer, session))
    engine.driver.receive(Side.CLIENT, b"x")
    assert session.told == ["pptp.ended"]


async def test_an_engine_whose_session_is_cut_short_hears_of_what_it_closes_for_that() -> None:
    engine, session = ClosesAtTheEnd(), Ends()
    driver = engine.driver = EngineDriver(asyncio.get_running_loop(), engine, cast(Performer, session))
    driver.hear_out()
    assert session.told == ["pptp.ended"]
    driver.stop()


class LooksSooner(PassOn):
    """It can wait for four hours while its session stands, and looks every half minute once that is over."""

    def __init__(self) -> None:
        self.looks_at = 1000.0 + 14400
        self.looked: list[float] = []

    def eof(self, side: Side, now: float) -> Any:
        self.looks_at = now + 30
        return ()

    def deadline(self) -> float:
        return self.looks_at

    def tick(self, now: float) -> Any:
        self.looked.append(now)
        self.looks_at = now + 30
        return ()


def is_reset(driver: EngineDriver) -> None:
    driver.hear_out()


def ends_in_order(driver: EngineDriver) -> None:
    for side in Side:
        driver.eof(side)


@pytest.mark.parametrize("end", [is_reset, ends_in_order])
def test_an_engine_that_outlives_its_session_is_called_as_soon_as_it_wants_then(
    end: Callable[[EngineDriver], None],
) -> None:
    """However the session ends. A call whose signalling was reset stayed for four hours after its H.245 had ended it:
    the timer was still the one from before the reset."""
    clock, engine = Clock(), LooksSooner()
    driver = EngineDriver(clock.loop, engine, cast(Performer, Settles()))
    clock.skip(400)
    end(driver)
    for _ in range(3):
        clock.skip(30)
    assert engine.looked == [1430.0, 1460.0, 1490.0]
    driver.stop()
    assert not clock.timers
