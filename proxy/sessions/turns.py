"""Which flow gives way when there is no room for another one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from proxy.pinholes.shares import Group

MOST_LOOKS = 64
"""How many flows are looked at, at most, to find one that gives way to a new flow."""


class Waiting(Protocol):
    """A flow, as far as must be known to decide whether it can be spared."""

    group: Group
    active_at: float
    is_answered: bool

    @property
    def is_needed(self) -> bool:
        """Whether an engine still looks after something, such as a call."""

    @property
    def is_silent(self) -> bool:
        """Whether no datagram has come since the flow was last active, and none waits to be read."""

    def cut(self, reason: str) -> None:
        """End the flow now, in order."""


class Turns:
    """The flows of each group, in the order in which they were last looked at."""

    def __init__(self) -> None:
        self._by_age: dict[Group, OrderedDict[Waiting, float]] = {}
        """For each group its flows, those looked at longest ago first, each with the time when it was then last
        active."""

    def began(self, flow: Waiting) -> None:
        """A flow has begun, and joins its group."""
        flows = self._by_age.get(flow.group)
        if flows is None:
            flows = self._by_age[flow.group] = OrderedDict()
        flows[flow] = flow.active_at

    def looked_at(self, flow: Waiting) -> None:
        """A flow has taken its first datagram, which is no sign that it lives: whoever forges a source sends one. If
        the datagram has already ended the flow, nothing is left to note."""
        flows = self._by_age.get(flow.group)
        if flows is not None and flow in flows:
            flows[flow] = flow.active_at

    def ended(self, flow: Waiting) -> None:
        """A flow has ended, and leaves its group."""
        flows = self._by_age[flow.group]
        flows.pop(flow, None)
        if not flows:
            del self._by_age[flow.group]

    def give_way(self, group: Group) -> bool:
        """End the flow of this group that has been silent longest and that nothing depends on. A phone that has
        registered or is in a call stays, and flows from forged sources go. If there is no such flow, one in a call goes
        whose server has never answered: nothing depends on that call either, since whoever forges sources also begins
        calls. Returns whether a flow has ended."""
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
