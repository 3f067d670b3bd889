"""Requests that wait for their responses, which have the same CSeq, in whatever order they come (RFC 2326 s.12.17)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from protocols.rtsp.setup import Asked

MAX_PENDING = 32
"""Requests of one side that may wait for their answers. The oldest one is forgotten, with what it has asked for."""
TEARDOWN_SECONDS = 5.0
"""How long a TEARDOWN waits for its answer (RT31)."""


@dataclass(slots=True, eq=False)
class Pending:
    """A request that waits for its answer."""

    method: bytes
    url: bytes
    session: bytes
    asked: Asked | None = None
    ends_at: float | None = None
    """Of TEARDOWN: when it is taken as answered."""


class Waiting:
    """The requests of one side that wait, the oldest first."""

    __slots__ = ("_requests",)

    def __init__(self) -> None:
        self._requests: deque[tuple[int | None, Pending]] = deque()

    def __iter__(self) -> Iterator[Pending]:
        return (pending for _, pending in self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def oldest(self) -> int | None:
        """The number of the oldest. None: it has none, or nothing waits."""
        return self._requests[0][0] if self._requests else None

    def add(self, number: int | None, pending: Pending) -> Pending | None:
        """One more waits. Returns the one that is forgotten for it."""
        self._requests.append((number, pending))
        return self._requests.popleft()[1] if len(self._requests) > MAX_PENDING else None

    def answered(self, number: int | None) -> Pending | None:
        """The request that a response with this number answers (RT3). Without a number it can be told only if there is
        one alone (RT41)."""
        for at, (its, pending) in enumerate(self._requests):
            if its == number or (number is None and len(self._requests) == 1):
                del self._requests[at]
                return pending
        return None

    def overdue(self, now: float) -> list[Pending]:
        """Those that are taken as answered by now. They wait no longer."""
        found = [entry for entry in self._requests if entry[1].ends_at is not None and entry[1].ends_at <= now]
        for entry in found:
            self._requests.remove(entry)
        return [pending for _, pending in found]

    def take(self) -> list[Pending]:
        """All of them. None waits any longer."""
        found = [pending for _, pending in self._requests]
        self._requests.clear()
        return found
