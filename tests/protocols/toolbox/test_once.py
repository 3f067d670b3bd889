"""The log has one line of each event and of each rule."""

from __future__ import annotations

from protocols.contract.effects import Effect, Note, violation
from protocols.toolbox.once import Once


def test_the_first_line_of_an_event_is_told_and_none_after_it() -> None:
    told: list[Effect] = []
    once = Once(told.append)
    for number in range(3):
        once(Note("dcerpc.sealed", {"operation": number}))
        once(Note("dcerpc.unread", {}))
    assert told == [Note("dcerpc.sealed", {"operation": 0}), Note("dcerpc.unread", {})]


def test_violations_are_told_by_their_rules() -> None:
    told: list[Effect] = []
    once = Once(told.append)
    for rule in ("pmap.rate", "pmap.conflict", "pmap.rate"):
        once(violation(rule, "", "dropped"))
    assert told == [violation("pmap.rate", "", "dropped"), violation("pmap.conflict", "", "dropped")]
