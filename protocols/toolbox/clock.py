"""When things are over, unless that is put off."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Clock(Generic[Key]):
    """When things are over, unless that is put off. Which it mostly is, so a later time costs nothing."""

    __slots__ = ("_at", "_entries", "_heap", "_numbers")

    def __init__(self) -> None:
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._entries: dict[Key, int] = {}
        """Of each thing the entry that counts, by its number: the one that is soonest. Others mean nothing."""
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._at)

    def set(self, thing: Key, at: float) -> None:
        before = self._at.get(thing)
        self._at[thing] = at
        if before is None or at < before:
            self._push(thing, at)
            self._tidy()

    def forget(self, thing: Key) -> None:
        if self._at.pop(thing, None) is not None:
            self._entries.pop(thing, None)
            self._tidy()

    def _push(self, thing: Key, at: float) -> None:
        number = self._entries[thing] = next(self._numbers)
        heapq.heappush(self._heap, (at, number, thing))

    def _tidy(self) -> None:
        """Entries that mean nothing are never more than those that do."""
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = []
            for left, at in self._at.items():
                self._push(left, at)

    def next(self) -> float | None:
        """When something is over."""
        heap = self._heap
        while heap:
            at, number, thing = heap[0]
            counts = self._entries.get(thing) == number
            if counts and self._at[thing] == at:
                return at
            heapq.heappop(heap)
            if counts:  # put off
                self._push(thing, self._at[thing])
        return None

    def due(self, now: float) -> Iterator[Key]:
        """What is over; it is forgotten."""
        while (at := self.next()) is not None and at <= now:
            thing = heapq.heappop(self._heap)[2]
            del self._at[thing], self._entries[thing]
            yield thing

    def all(self) -> list[Key]:
        return list(self._at)
