"""Which sessions a policy is for, in a form in which thousands of policies can be compared with one another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    return all(any(low <= first and last <= high for low, high in whole) for first, last in part)


def _meet(some: Ranges, others: Ranges) -> bool:
    """Whether an address is in both."""
    return any(low <= last and first <= high for low, high in some for first, last in others)


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


def taken_by_one(reach: Reach, above: Sequence[Reach]) -> Reach | None:
    """The first one above that takes all sessions."""
    return next((other for other in above if other.takes_all_of(reach)), None)


def taken_together(reach: Reach, above: Sequence[Reach]) -> list[Reach]:
    """Those above that take all sessions together. Empty: they do not."""
    some = [other for other in above if other.takes_some_of(reach)]
    if len(some) > 1 and contain(joined(_all_sources(some)), reach.sources):
        return some
    return []


def _all_sources(found: Iterable[Reach]) -> Iterator[Range]:
    for one in found:
        yield from one.sources
