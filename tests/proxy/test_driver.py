"""What an engine is told, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from protocols.engine import AnyGrant, Closed, Side
from proxy.driver import EngineDriver, Performer
from tests.proxy.shell import PassOn

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
