"""What all SIP engines of a daemon know together: calls, registrations, and the two names of each address.

A call's requests may come by another flow than its INVITE did, and a phone is called by whoever its registrar sends. So
these are kept beside the engines, which find them here; each belongs to the engine that began it, which also keeps its
time.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Generic, TypeVar

from protocols.engine import AnyGrant, Closed, Endpoint, Host, Party, Send, Transport

if TYPE_CHECKING:
    from protocols.sip_calls import Call
    from protocols.sip_contacts import Contact
    from protocols.sip_register import Name, Registrations

MAX_CALLS = 50_000
MAX_TEXTS = 200_000
"""Spellings remembered; the oldest ones go. A lost one is written in the usual form."""
MAX_CALL_IDS = 50_000
REPEATED_SECONDS = 32.0
"""64 * T1: nobody repeats a message later (RFC 3261 s.17)."""
MAX_REPEATED_BYTES = 32 * 1024 * 1024
_ENTRY_BYTES = 300
"""Of one, besides what was sent."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The newest entries of a table."""

    __slots__ = ("_entries", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def put(self, key: Key, value: Value) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def get(self, key: Key) -> Value | None:
        return self._entries.get(key)

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)


class Repeats:
    """Datagrams of late and what was sent for them, so that the same again is sent for the same again (S62)."""

    __slots__ = ("_bytes", "_entries")

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, tuple[float, Sequence[Send], int]] = OrderedDict()
        self._bytes = 0

    def put(self, key: Hashable, sends: Sequence[Send], now: float) -> None:
        entries = self._entries
        while entries and (self._bytes > MAX_REPEATED_BYTES or next(iter(entries.values()))[0] < now):
            _, (_, _, size) = entries.popitem(last=False)
            self._bytes -= size
        size = _ENTRY_BYTES
        for send in sends:
            size += len(send.data)
        entries[key] = (now + REPEATED_SECONDS, sends, size)
        self._bytes += size

    def drop(self, key: Hashable) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._bytes -= entry[2]

    def get(self, key: Hashable, now: float) -> Sequence[Send] | None:
        found = self._entries.get(key)
        return found[1] if found is not None and found[0] >= now else None


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


class Rates:
    """Requests of each source and method in the current second, for each limit of its own: policies may differ."""

    __slots__ = ("_counts", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._counts: Counter[tuple[Host, str, int]] = Counter()

    def count(self, source: Host, method: str, limit: int, now: float) -> int:
        """With this one."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        self._counts[source, method, limit] += 1
        return self._counts[source, method, limit]


@dataclass(slots=True)
class SipTable:
    calls: dict[tuple[bytes, bytes], list[Call]] = field(default_factory=dict)
    """By Call-ID and the caller's tag. More than one when it passes us several times, on its way to a server and on its
    way back."""
    calls_of: Counter[Host] = field(default_factory=Counter)
    """How many there are by the client whose sessions they are of."""
    media: dict[int, Call] = field(default_factory=dict)
    """The call of each open place for media, by the id of its grant."""
    announced: dict[Endpoint, Party] = field(default_factory=dict)
    """Where we announced media -> whose it is."""
    contacts: dict[tuple[Transport, Endpoint, Host], Contact] = field(default_factory=dict)
    """By the address of a phone, and that of ours under which others know it."""
    bindings: dict[tuple[Host, Host, bytes], dict[tuple[Registrations, Name], None]] = field(default_factory=dict)
    """What a phone has registered, by its host, its registrar's and the address of record."""
    inside: dict[tuple[Transport, Endpoint], Endpoint] = field(default_factory=dict)
    """Where others know a contact -> its own address."""
    uris: Recent[tuple[Endpoint, Endpoint, bool], bytes] = field(default_factory=lambda: Recent(MAX_TEXTS))
    """How the phone itself spelled host and port in its Contact: by its own, where others know it, and whether they are
    told the port; for one that has said both, with and without it, means two URIs (RFC 3261 s.19.1.4)."""
    vias: Recent[tuple[bytes, Endpoint, bool], bytes] = field(default_factory=lambda: Recent(MAX_TEXTS))
    """And in the Via of a transaction: by branch and the address that took its place."""
    call_ids: Recent[tuple[bytes, Host], bytes] = field(default_factory=lambda: Recent(MAX_CALL_IDS))
    """Hidden ones, each with the host that is to have its own back, and what they were."""
    repeats: Repeats = field(default_factory=Repeats)
    rates: Rates = field(default_factory=Rates)
    unheard: list[tuple[AnyGrant, Closed]] = field(default_factory=list)
    """What observers have closed of what only they have."""
    numbers: Iterator[int] = field(default_factory=count)
    """Of engines, and of grants that only observers have."""
