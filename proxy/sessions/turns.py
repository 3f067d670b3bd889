"""Which flow gives way when there is no room for another one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from proxy.pinholes.shares import Group

MOST_LOOKS = 64
"""How many flows are looked at to find one that gives way to a new one."""


class Waiting(Protocol):
    """A flow, as far as it is asked whether it can be spared."""

    group: Group
    active_at: float
    is_answered: bool

    @property
    def is_needed(self) -> bool: ...

    @property
    def is_silent(self) -> bool:
        """Nothing has come since it was active last, nor waits to be read."""

    def cut(self, reason: str) -> None: ...


class Turns:
    """All flows, those of each group in turn."""

    def __init__(self) -> None:
        self._by_age: dict[Group, OrderedDict[Waiting, float]] = {}
        """Flows, those first that were looked at longest ago, with when each had been active then."""

    def began(self, flow: Waiting) -> None:
        self._by_age.setdefault(flow.group, OrderedDict())[flow] = flow.active_at

    def ended(self, flow: Waiting) -> None:
        flows = self._by_age[flow.group]
        flows.pop(flow, None)
        if not flows:
            del self._by_age[flow.group]

    def give_way(self, group: Group) -> bool:
        """End the flow of this group that has been silent longest, of those that nothing depends on: a phone that has
        registered or is in a call stays, forged sources go. When there is none, a call that its server has not
        answered at all depends on nothing either, for whoever forges sources begins calls. Whether there was one."""
        flows = self._by_age.get(group, OrderedDict())
        unanswered: Waiting | None = None
        for _ in range(min(len(flows), MOST_LOOKS)):
            flow, active_at = next(iter(flows.items()))
            if flow.active_at == active_at and flow.is_silent:
                if not flow.is_needed:
                    flow.cut("gave_way")
                    return True
                if unanswered is None and not flow.is_answered:
                    unanswered = flow
            flows[flow] = flow.active_at
            flows.move_to_end(flow)
        if unanswered is None:
            return False
        unanswered.cut("gave_way")
        return True
