"""When things are over, and what that costs where there are many of them."""

from __future__ import annotations

from protocols.toolbox.clock import Clock


def test_each_thing_is_over_at_its_time() -> None:
    clock: Clock[str] = Clock()
    clock.set("a", 5.0)
    clock.set("b", 3.5)
    assert clock.next() == 3.5
    assert list(clock.due(4.0)) == ["b"]
    assert clock.next() == 5.0
    assert list(clock.due(5.0)) == ["a"]
    assert clock.next() is None


def test_what_is_put_off_or_forgotten_is_not_over_at_its_first_time() -> None:
    clock: Clock[str] = Clock()
    clock.set("a", 1.0)
    clock.set("b", 1.0)
    clock.set("a", 2.0)
    clock.forget("b")
    assert clock.next() == 2.0
    assert list(clock.due(1.0)) == []


def test_things_of_one_step_are_over_together_and_none_before_its_time() -> None:
    clock: Clock[int] = Clock(step=1.0)
    times = [32.0, 32.01, 32.5, 33.0, 33.01]
    for number, at in enumerate(times):
        clock.set(number, at)
    assert clock.next() == 32.0
    assert list(clock.due(32.0)) == [0]
    assert clock.next() == 33.0
    assert list(clock.due(32.9)) == []
    assert list(clock.due(33.0)) == [1, 2, 3]
    assert list(clock.due(34.0)) == [4]
