"""Which sessions a policy is for, in a form in which thousands of policies can be compared with one another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from operator import itemgetter

from protocols.contract.addresses import Network
from proxy.config.schema import Policy

_V4 = 1 << 128
"""IPv4 addresses stand behind all of IPv6, so that an address of either version is one number."""

Range = tuple[int, int]
"""A first and a last address."""

Ranges = tuple[Range, ...]
"""In order, with neighbours joined."""

EVERYTHING: Ranges = ((0, _V4 - 1), (_V4, _V4 + (1 << 32) - 1))


def ranges(networks: Collection[Network]) -> Ranges:
    """Networks as ranges of addresses. An empty list stands for any."""
    return joined(map(_range, networks)) if networks else EVERYTHING


def _range(network: Network) -> Range:
    offset = _V4 if network.version == 4 else 0
    return int(network.network_address) + offset, int(network.broadcast_address) + offset


def joined(found: Iterable[Range]) -> Ranges:
    """Ranges in order, with those joined that overlap or are neighbours."""
    merged: list[Range] = []
    for first, last in sorted(found):
        if merged and first <= merged[-1][1] + 1 and first != _V4:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def contain(whole: Ranges, part: Ranges) -> bool:
    """Whether ranges contain all those of another list."""
    return all(last <= _up_to(whole, first)[1] for first, last in part)


def _meet(some: Ranges, others: Ranges) -> bool:
    """Whether an address is in both."""
    return any(first <= _up_to(some, last)[1] for first, last in others)


def _up_to(found: Ranges, address: int) -> Range:
    """The last range that begins at this address or before. (-1, -1): none does."""
    at = bisect_right(found, address, key=itemgetter(0))
    return found[at - 1] if at else (-1, -1)


@dataclass(frozen=True, slots=True)
class Reach:
    """The sessions that a policy is for."""

    name: str
    interfaces: frozenset[str] | None
    """None: any."""
    helpers: frozenset[str] | None
    """None: any of the table."""
    table: frozenset[str]
    """The helpers that there are."""
    sources: Ranges
    destinations: Ranges
    low: int
    high: int
    """The first and the last address of a source."""

    @classmethod
    def of(cls, policy: Policy, table: frozenset[str]) -> Reach:
        """That of a policy, where these helpers are in the table."""
        sources = ranges(policy.sources)
        return cls(
            policy.name,
            frozenset(policy.interfaces) or None,
            frozenset(policy.helpers) or None,
            table,
            sources,
            ranges(policy.destinations),
            sources[0][0],
            sources[-1][1],
        )

    def takes_all_of(self, other: Reach) -> bool:
        """Whether each session of the other one is one of this, too."""
        # Most policies are for other clients. That is seen at once.
        if other.low < self.low or self.high < other.high:
            return False
        return self._takes_kinds_of(other) and contain(self.sources, other.sources)

    def takes_some_of(self, other: Reach) -> bool:
        """Whether some clients of the other one are clients of this, and all of their sessions are."""
        if self.high < other.low or other.high < self.low:
            return False
        return self._takes_kinds_of(other) and _meet(self.sources, other.sources)

    def _takes_kinds_of(self, other: Reach) -> bool:
        """Whether sessions of the other one are sessions of this, as far as it does not depend on the client."""
        by_any = self.interfaces is None or (other.interfaces is not None and other.interfaces <= self.interfaces)
        read_by_any = self.helpers is None or (bool(self.table) and (other.helpers or self.table) <= self.helpers)
        return by_any and read_by_any and contain(self.destinations, other.destinations)


class Above:
    """The policies above another one, of which there may be thousands. Only those are compared with it that are for its
    first client, or for its first destination: who takes a session of it is for both."""

    def __init__(self) -> None:
        self._all: list[Reach] = []
        self._by_client, self._by_destination = _Index(), _Index()

    def add(self, reach: Reach) -> None:
        """One more, below the others."""
        self._by_client.add(reach.sources, len(self._all))
        self._by_destination.add(reach.destinations, len(self._all))
        self._all.append(reach)

    def taking_all_of(self, reach: Reach) -> Reach | None:
        """The first one that takes all sessions of a policy."""
        return next((other for other in self._near(reach) if other.takes_all_of(reach)), None)

    def taking_together(self, reach: Reach) -> list[Reach]:
        """Those that take all sessions of a policy together. Empty: they do not."""
        if not any(other.takes_some_of(reach) for other in self._near(reach)):
            return []
        some = [other for other in self._all if other.takes_some_of(reach)]
        together = joined(chain.from_iterable(other.sources for other in some))
        return some if len(some) > 1 and contain(together, reach.sources) else []

    def _near(self, reach: Reach) -> Iterator[Reach]:
        """Those for the first client, or for the first destination, whichever are fewer."""
        found = (
            self._by_client.having(reach.sources[0][0]),
            self._by_destination.having(reach.destinations[0][0]),
        )
        return (self._all[number] for number in merge(*min(found, key=lambda lists: sum(map(len, lists)))))


class _Index:
    """Finds by an address the numbers of those ranges that have it."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], list[int]] = {}
        """By the blocks of the ranges."""
        self._sizes: set[int] = set()
        """The sizes of blocks that there are."""

    def add(self, found: Ranges, number: int) -> None:
        """Put ranges in, under a number above all before."""
        for size, block in _blocks(found):
            self._sizes.add(size)
            self._numbers.setdefault((size, block), []).append(number)

    def having(self, address: int) -> list[list[int]]:
        """The numbers of the ranges that have this address, in several lists that are in order."""
        keys = ((size, address >> size) for size in self._sizes)
        return [self._numbers[key] for key in keys if key in self._numbers]


def _blocks(found: Ranges) -> Iterator[tuple[int, int]]:
    """Ranges in blocks, as prefixes are: the number of bits by which addresses of a block differ, and those above."""
    for first, last in found:
        while first <= last:
            size = (last - first + 1).bit_length() - 1
            if first:
                size = min(size, (first & -first).bit_length() - 1)
            yield size, first >> size
            first += 1 << size
