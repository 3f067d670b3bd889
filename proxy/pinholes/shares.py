"""How much of a limit each group of sessions may use, and which clients count as one. This module is pure.

A group is a helper together with a direction: sessions that policies let out, or sessions to a server that a policy
publishes. Half of each limit is kept for the groups, the same part for each; the other half is for whoever comes first.
So whatever strangers do to a published SIP server, there is room left for the phones inside and for FTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from protocols.contract.addresses import Host, text_of


class Group(NamedTuple):
    """Sessions that share a part of each limit."""

    helper: str
    is_published: bool
    """Whether the sessions lead to a server that a policy publishes (`dnat`)."""


class Shares:
    """One limit, and how much of it each group holds."""

    def __init__(self, limit: int) -> None:
        self._used: Counter[Group] = Counter()
        self._beyond = 0
        """How much all groups hold beyond what is kept for them."""
        self.use(limit, ())

    def use(self, limit: int, groups: Collection[Group]) -> None:
        """Use another limit from now on, shared by these groups. What is held stays held."""
        self._kept = dict.fromkeys(groups, limit // 2 // len(groups) if groups else 0)
        self._common = limit - sum(self._kept.values())
        self._beyond = sum(max(0, used - self._kept.get(group, 0)) for group, used in self._used.items())

    def __len__(self) -> int:
        """How much of the limit is in use."""
        return self._used.total()

    def has_room(self, group: Group) -> bool:
        """Whether this group may take one more."""
        return self._used.get(group, 0) < self._kept.get(group, 0) or self._beyond < self._common

    def take(self, group: Group) -> None:
        """The group takes one."""
        used = self._used[group] = self._used.get(group, 0) + 1
        if used > self._kept.get(group, 0):
            self._beyond += 1

    def give(self, group: Group) -> None:
        """The group gives one back."""
        used = self._used[group]
        if used > self._kept.get(group, 0):
            self._beyond -= 1
        if used > 1:
            self._used[group] = used - 1
        else:
            del self._used[group]


def account_of(host: Host, prefix: int) -> str:
    """The name under which a client is counted. It is a text because a call looks it up some fifteen times, and a
    string remembers its hash. Whoever has one IPv6 address mostly has the whole network around it, so all addresses
    with the same `prefix` bits count as one client."""
    if isinstance(host, IPv4Address):
        return text_of(host)
    bits = 128 - prefix
    return str(IPv6Address(int(host) >> bits << bits))
