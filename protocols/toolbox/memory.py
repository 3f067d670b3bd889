"""How many bytes the engines of a daemon may have in memory because of their peers: of what is not whole yet, and of
what SIP remembers.

`Held` counts the bytes of unfinished messages, for all sessions of a helper and for each client.

The SIP engines remember spellings, hidden Call-IDs and answers, so that each party gets its own words back. All of
these come from peers, so they have one budget, a `Memory`. When it is used up, the oldest entry of the largest store
goes: a peer that fills one store with odd values loses what is in that store, and other stores keep theirs.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_network
from typing import Generic, Protocol, TypeVar

from protocols.contract.addresses import Endpoint, Host
from protocols.contract.effects import Send

MAX_TABLE_BYTES = 64 * 1024 * 1024
"""The budget for all that is remembered, with what Python needs for each entry. A hundred thousand phones with odd Vias
need less."""
MAX_KEPT_BYTES = MAX_TABLE_BYTES // 2
"""The part of it for entries that cannot be forgotten while something lasts: the names of calls and of registrations.
50,000 calls with Call-IDs and tags of a hundred bytes need 25 MiB."""
MAX_HELD_BYTES = 32 * 1024 * 1024
"""The budget for messages on streams that are not whole yet: a hundred of the largest ones at a time."""
MAX_HELD_OF_CLIENT = 2 * 1024 * 1024
"""The same budget for one client address: seven of the largest messages at a time."""
FREE_BYTES = 4096
"""So many bytes held for one side of a stream count for nothing: an ordinary message of which a part has come. Their
sum is bounded by the number of sessions."""

REPEATED_SECONDS = 32.0
"""64 * T1: no peer repeats a message later than this (RFC 3261 s.17)."""

MAX_KEY_BYTES = 128
"""A longer key is remembered by its hash (RFC 3261 bounds neither branches nor Call-IDs)."""

NAMES_BYTES = 200
"""Bytes of the objects that hold the names of one call or registration."""

_ENTRY_BYTES = 300
"""Bytes of one entry, besides the words of peers."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def short(key: bytes) -> bytes:
    """The key itself, or the hash of a long one."""
    return key if len(key) <= MAX_KEY_BYTES else blake2b(key, digest_size=32).digest()


class Store(Protocol):
    """One store of remembered things, as the budget sees it."""

    bytes_held: int

    def drop_oldest(self) -> None:
        """Forget the oldest entry."""


class Memory:
    """The budget of one table. When it is used up, the largest store forgets its oldest entries."""

    __slots__ = ("_kept", "_stores", "used")

    def __init__(self) -> None:
        self.used = 0
        self._kept = 0
        self._stores: list[Store] = []

    def add(self, store: Store) -> None:
        """Let this store count against the budget."""
        self._stores.append(store)

    def charge(self, size: int) -> None:
        """Something was remembered, or forgotten if `size` is negative. What is too much goes, the oldest first."""
        self.used += size
        while self.used > MAX_TABLE_BYTES:
            largest = max(self._stores, key=lambda store: store.bytes_held)
            if not largest.bytes_held:
                return
            largest.drop_oldest()

    def keep(self, size: int) -> bool:
        """Remember so many bytes until `release`. Returns False if there is no room for them."""
        if self._kept + size > MAX_KEPT_BYTES:
            return False
        self._kept += size
        self.charge(size)
        return True

    def release(self, size: int) -> None:
        """So many kept bytes are no longer needed."""
        self._kept -= size
        self.used -= size


class Recent(Generic[Key, Value]):
    """A table that keeps its newest entries."""

    __slots__ = ("_entries", "_memory", "_most", "bytes_held", "get")

    def __init__(self, most: int, memory: Memory | None = None) -> None:
        """`memory` is the budget that the entries count against, if there is one."""
        self._most = most
        self._memory = memory
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self.get: Callable[[Key], Value | None] = self._entries.get
        """Look an entry up. It is called some twenty times for each call, so no method of ours stands between."""
        self.bytes_held = 0
        if memory is not None:
            memory.add(self)

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: Key, value: Value) -> None:
        """Remember an entry, as the newest one."""
        entries = self._entries
        before = entries.get(key)
        if before is None:
            entries[key] = value
            self._count(_size(key) + _size(value))
            if len(entries) > self._most:
                self.drop_oldest()
            return
        if before is not value and before != value:
            entries[key] = value
            self._count(_size(value) - _size(before))
        entries.move_to_end(key)

    def drop(self, key: Key) -> None:
        """Forget an entry."""
        if (value := self._entries.pop(key, None)) is not None:
            self._count(-_size(key) - _size(value))

    def drop_oldest(self) -> None:
        """Forget the oldest entry."""
        key, value = self._entries.popitem(last=False)
        self._count(-_size(key) - _size(value))

    def _count(self, size: int) -> None:
        if self._memory is not None:
            self.bytes_held += size
            self._memory.charge(size)


def _size(thing: object) -> int:
    """About how many bytes a key or a value takes."""
    match thing:
        case bytes():
            return _ENTRY_BYTES // 2 + len(thing)
        case tuple():
            return _ENTRY_BYTES // 2 + sum(len(part) for part in thing if isinstance(part, bytes))
        case frozenset():
            return _ENTRY_BYTES // 2 * (1 + len(thing))
        case _:
            return _ENTRY_BYTES // 2


class Repeats:
    """Recent datagrams and what was sent for each, so that a repeated datagram gets the same answer (S62)."""

    __slots__ = ("_entries", "_memory", "bytes_held")

    def __init__(self, memory: Memory) -> None:
        self._entries: OrderedDict[Hashable, tuple[float, Sequence[Send], int]] = OrderedDict()
        self._memory = memory
        self.bytes_held = 0
        memory.add(self)

    def put(self, key: Hashable, sends: Sequence[Send], now: float) -> None:
        """Remember what was sent for this datagram."""
        entries = self._entries
        while entries and next(iter(entries.values()))[0] < now:
            self.drop_oldest()
        size = _ENTRY_BYTES
        for send in sends:
            size += len(send.data)
        before = entries.pop(key, None)
        entries[key] = (now + REPEATED_SECONDS, sends, size)
        self._count(size if before is None else size - before[2])

    def drop(self, key: Hashable) -> None:
        """Forget a datagram."""
        if (entry := self._entries.pop(key, None)) is not None:
            self._count(-entry[2])

    def drop_oldest(self) -> None:
        """Forget the oldest datagram."""
        _, (_, _, size) = self._entries.popitem(last=False)
        self._count(-size)

    def _count(self, size: int) -> None:
        self.bytes_held += size
        self._memory.charge(size)

    def get(self, key: Hashable, now: float) -> Sequence[Send] | None:
        """What was sent for this datagram. None: it is not remembered."""
        found = self._entries.get(key)
        return found[1] if found is not None and found[0] >= now else None


@lru_cache(maxsize=4096)
def as_client(host: Host) -> str:
    """The name under which a client is counted: all addresses of a /64 belong to one host, or could. It is a text,
    whose hash is made once."""
    return str(host if host.version == 4 else ip_network((host, 64), strict=False).network_address)


class Held:
    """Bytes of unfinished messages on all streams, and on those of each client."""

    __slots__ = ("_of", "total")

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self.total = 0

    def change(self, of: Host, before: int, after: int) -> bool:
        """A side of a stream holds `after` bytes now, and held `before`. Returns False, and changes nothing, if that is
        too much."""
        client = as_client(of)
        by = max(after - FREE_BYTES, 0) - max(before - FREE_BYTES, 0)
        if by > 0 and (self.total + by > MAX_HELD_BYTES or self._of[client] + by > MAX_HELD_OF_CLIENT):
            if not self._of[client]:
                del self._of[client]
            return False
        if by:
            self.total += by
            self._of[client] += by
            if not self._of[client]:
                del self._of[client]
        return True


class Holding:
    """What one session holds of the budget of all."""

    __slots__ = ("_client", "_held", "_size")

    def __init__(self, held: Held, client: Host) -> None:
        self._held = held
        self._client = client
        self._size = 0

    def change(self, size: int) -> bool:
        """The session holds so many bytes now. Returns False, and changes nothing, if that is too much."""
        if not self._held.change(self._client, self._size, size):
            return False
        self._size = size
        return True


class KnownAs:
    """The addresses by which the other side knows phones that signal by datagrams: the same address for all flows of a
    phone."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[Endpoint, Host], tuple[Endpoint, int]] = {}

    def add(self, own: Endpoint, seen: Endpoint) -> None:
        """A flow of this phone has begun."""
        _, count = self._seen.get((own, seen.host), (seen, 0))
        self._seen[own, seen.host] = seen, count + 1

    def remove(self, own: Endpoint, seen: Endpoint) -> None:
        """A flow of this phone is over."""
        known, count = self._seen.pop((own, seen.host), (seen, 0))
        if count > 1:
            self._seen[own, seen.host] = known, count - 1

    def seen(self, own: Endpoint, host: Host) -> Endpoint | None:
        """The endpoint by which the phone at `own` is known on this address of ours. None: it has no flow there."""
        found = self._seen.get((own, host))
        return found[0] if found is not None else None
