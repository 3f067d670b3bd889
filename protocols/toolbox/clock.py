"""Tells when things are over, unless they are put off."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Clock(Generic[Key]):
    """Tells when each of a set of things is over. Mostly a thing is put off before its time, so a later time costs
    nothing."""

    __slots__ = ("_at", "_entries", "_heap", "_numbers", "_step")

    def __init__(self, step: float = 0.0) -> None:
        """`step`: times are put off to the next multiple of so many seconds. To be woken costs more than to forget a
        thing, and so things of which there are many end together."""
        self._step = step
        self._at: dict[Key, float] = {}
        """thing -> when it is over."""
        self._heap: list[tuple[float, int, Key]] = []
        """(time, number, thing), the soonest first. The time may be earlier than the thing's own."""
        self._entries: dict[Key, int] = {}
        """thing -> number of its entry in the heap that counts. Entries with other numbers are stale."""
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._at)

    def set(self, thing: Key, at: float) -> None:
        """The thing is over at this time, whatever was said before."""
        if self._step:
            at = -(-at // self._step) * self._step
        before = self._at.get(thing)
        self._at[thing] = at
        if before is None or at < before:
            self._push(thing, at)
            self._tidy()

    def forget(self, thing: Key) -> None:
        """The thing has no time any more."""
        if self._at.pop(thing, None) is not None:
            self._entries.pop(thing, None)
            self._tidy()

    def _push(self, thing: Key, at: float) -> None:
        number = self._entries[thing] = next(self._numbers)
        heapq.heappush(self._heap, (at, number, thing))

    def _tidy(self) -> None:
        """Make the heap anew when stale entries outnumber the others."""
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = []
            for left, at in self._at.items():
                self._push(left, at)

    def next(self) -> float | None:
        """When the next thing is over. None: no thing has a time."""
        heap = self._heap
        while heap:
            at, number, thing = heap[0]
            counts = self._entries.get(thing) == number
            if counts and self._at[thing] == at:
                return at
            heapq.heappop(heap)
            if counts:  # the thing was put off meanwhile
                self._push(thing, self._at[thing])
        return None

    def due(self, now: float) -> Iterator[Key]:
        """The things that are over by now. Each is forgotten."""
        while (at := self.next()) is not None and at <= now:
            thing = heapq.heappop(self._heap)[2]
            del self._at[thing], self._entries[thing]
            yield thing

    def all(self) -> list[Key]:
        """All things that have a time."""
        return list(self._at)
