"""How often a source may ask: over UDP, where its address may be forged and answers are longer than what is asked, and
over TCP what whoever searches asks again and again; and how often something has happened within the current second."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from protocols.contract.addresses import Host
from protocols.toolbox.memory import as_client

MAX_SOURCES = 10_000
"""How many sources are remembered that have called of late."""
IN_A_ROW_SECONDS = 5
"""How many seconds' worth of calls may come at once."""


Key = TypeVar("Key", bound=Hashable)


class Rates:
    """How many calls each source may make."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """(source, kind of call) -> how many calls it had left, and when that was."""

    def may_call(self, host: Host, kind: str, per_second: int, now: float) -> bool:
        """Whether one more call of this kind may go on. Whoever forges addresses of a network fills its line, whichever
        of them it takes."""
        most = float(per_second * IN_A_ROW_SECONDS)
        key = as_client(host), kind
        left, since = self._left.pop(key, (most, now))
        left = min(most, left + (now - since) * per_second)
        is_allowed = left >= 1.0
        self._left[key] = (left - 1.0 if is_allowed else left), now
        if len(self._left) > MAX_SOURCES:
            self._left.popitem(last=False)
        return is_allowed


class PerSecond(Generic[Key]):
    """Counts things of each key, and begins anew with each second of the clock."""

    __slots__ = ("_counts", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._counts: Counter[Key] = Counter()

    def count(self, key: Key, now: float) -> int:
        """One more thing of this key has happened. Returns how many there are in this second, with this one."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        self._counts[key] += 1
        return self._counts[key]
