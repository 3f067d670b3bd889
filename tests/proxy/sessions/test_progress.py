"""What lasts is told of from time to time, each thing once in so long, and nothing else is."""

from __future__ import annotations

from typing import cast

import pytest

from proxy.pinholes.table import PinholeTable
from proxy.sessions.progress import AT_ONCE, LOOKS, Progress
from proxy.sessions.registry import Sessions
from tests.harness.clock import Clock


class Lasting:
    """A pinhole or a session."""

    def __init__(self, clock: Clock) -> None:
        self.opened_at = clock.time()
        self.told: list[float] = []

    def tell_progress(self, now: float) -> None:
        self.told.append(now - self.opened_at)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def progress(clock: Clock, pinholes: list[Lasting], sessions: list[Lasting] | None = None) -> Progress:
    return Progress(clock.loop, cast(Sessions, sessions or []), cast(PinholeTable, pinholes))


def test_each_is_told_of_once_in_so_long_by_its_own_age(clock: Clock) -> None:
    lasting = [Lasting(clock)]
    progress(clock, lasting).use(600)
    clock.skip(250)
    lasting.append(Lasting(clock))
    clock.skip(2000)
    for one in lasting:
        assert [round(age) // 600 for age in one.told] == [1, 2, 3]
        assert all(age % 600 <= 600 / LOOKS for age in one.told)


def test_what_is_short_is_not_told_of(clock: Clock) -> None:
    lasting = [Lasting(clock)]
    progress(clock, lasting).use(600)
    clock.skip(599)
    assert lasting[0].told == []


def test_sessions_are_told_of_as_pinholes_are(clock: Clock) -> None:
    session = Lasting(clock)
    progress(clock, [], [session]).use(600)
    clock.skip(700)
    assert len(session.told) == 1


def test_many_are_told_of_in_parts_and_all_of_them(clock: Clock) -> None:
    lasting = [Lasting(clock) for _ in range(10 * AT_ONCE + 1)]
    progress(clock, lasting).use(600)
    clock.skip(700)
    assert {len(one.told) for one in lasting} == {1}


def test_by_default_nothing_is_told(clock: Clock) -> None:
    progress(clock, [Lasting(clock)]).use(None)
    assert clock.timers == []
