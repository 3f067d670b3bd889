"""Whether the daemon lives, and whether it can do its work: for load balancers, containers and whoever fails over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

LATE_SECONDS = 0.5
"""From such a delay of the loop on, calls are no longer good. Traffic is better served elsewhere, if there is an
elsewhere."""

Check = Callable[[], str | None]
"""Returns what is wrong, in words. None: nothing is."""


class Health:
    """The checks of one daemon, by name."""

    def __init__(self, checks: Mapping[str, Check], remarks: Mapping[str, Check] = MappingProxyType({})) -> None:
        """`remarks` tell what is wrong and keeps no session out: a log collector that fails two gateways at once is no
        reason to serve on neither."""
        self._checks = checks
        self._remarks = remarks

    def troubles(self) -> dict[str, str]:
        """What is wrong now, by the name of the check. Nothing: new sessions are served."""
        return {name: wrong for name, check in self._checks.items() if (wrong := check()) is not None}

    def report(self) -> dict[str, object]:
        """All checks, for people and programs."""
        troubles = self.troubles()
        remarks = {name: wrong for name, check in self._remarks.items() if (wrong := check()) is not None}
        names = dict.fromkeys((*self._remarks, *self._checks), "ok")
        return {"ready": not troubles, "checks": names | remarks | troubles}
