"""Which flow gives way when there is no room for another one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from proxy.pinholes.shares import Group
from proxy.sessions.turns import Turns

GROUP = Group("test", is_published=False)


@dataclass(eq=False)
class AFlow:
    """A flow that notes how it was ended."""

    turns: Turns
    active_at: float = 0.0
    group: Group = GROUP
    is_answered: bool = True
    is_needed: bool = False
    is_silent: bool = True
    ended_by: list[str] = field(default_factory=list)

    def cut(self, reason: str) -> None:
        self.ended_by.append(reason)
        self.turns.ended(self)


@pytest.fixture
def turns() -> Turns:
    return Turns()


def flows(turns: Turns, count: int) -> list[AFlow]:
    """So many flows, each with a first datagram a moment after its beginning."""
    begun = [AFlow(turns, active_at=float(number)) for number in range(count)]
    for flow in begun:
        turns.began(flow)
        flow.active_at += 0.001
        turns.looked_at(flow)
    return begun


def test_the_first_datagram_of_a_flow_is_no_sign_that_it_lives(turns: Turns) -> None:
    first, second = flows(turns, 2)
    assert turns.give_way(GROUP)
    assert (first.ended_by, second.ended_by) == (["gave_way"], [])


def test_a_flow_with_a_second_datagram_stays(turns: Turns) -> None:
    first, second = flows(turns, 2)
    first.active_at = 9
    assert turns.give_way(GROUP)
    assert (first.ended_by, second.ended_by) == ([], ["gave_way"])


def test_a_flow_whose_datagram_waits_to_be_read_stays(turns: Turns) -> None:
    first, second = flows(turns, 2)
    first.is_silent = False
    assert turns.give_way(GROUP)
    assert second.ended_by


def test_nobody_gives_way_where_every_flow_is_needed(turns: Turns) -> None:
    every = flows(turns, 3)
    for flow in every:
        flow.is_needed = True
    assert not turns.give_way(GROUP)
    assert not any(flow.ended_by for flow in every)


def test_a_call_whose_server_has_never_answered_gives_way_after_all_others(turns: Turns) -> None:
    forged, free = flows(turns, 2)
    forged.is_needed, forged.is_answered = True, False
    assert turns.give_way(GROUP) and free.ended_by
    assert turns.give_way(GROUP) and forged.ended_by
    assert not turns.give_way(GROUP)


def test_a_flow_that_its_first_datagram_has_ended_is_forgotten(turns: Turns) -> None:
    flow = AFlow(turns)
    turns.began(flow)
    flow.cut("refused")
    turns.looked_at(flow)
    assert not turns.give_way(GROUP)
