"""The NAT port pool: which ports of the configured range are taken on each address. This module is pure; binding
happens elsewhere."""

from __future__ import annotations

import random
from collections.abc import Iterator, Set

from protocols.contract.addresses import Host, Transport


class PortPool:
    """A range of ports. Ports are drawn at random, so that a stranger cannot guess the next one (rule X13, RFC
    6056)."""

    def __init__(
        self, first: int, last: int, choose: random.Random | None = None, taken: Set[int] = frozenset()
    ) -> None:
        self.use(first, last, taken)
        self._choose = choose or random.SystemRandom()
        self._leased: dict[tuple[Transport, Host], set[int]] = {}

    def use(self, first: int, last: int, taken: Set[int] = frozenset()) -> None:
        """Draw from this range from now on, except for ports that are `taken` by others. What is leased stays
        leased."""
        self._taken = taken
        self._first = first
        self._size = last - first + 1

    def __len__(self) -> int:
        return self._size

    def __contains__(self, port: int) -> bool:
        return self._first <= port < self._first + self._size and port not in self._taken

    def candidates(self, transport: Transport, host: Host) -> Iterator[int]:
        """Each free port once: random ones first, then all from a random start onwards. The caller leases the one that
        it could bind."""
        leased: Set[int] = self._leased.get((transport, host), frozenset())
        # From a random start the next free port is soon found while the range is half empty. When it is fuller, the
        # port behind a run of taken ones is chosen more often than others. A fresh draw for each of the first tries
        # keeps the choice even.
        for _ in range(16):
            port = self._first + self._choose.randrange(self._size)
            if port not in leased and port not in self._taken:
                yield port
        start = self._choose.randrange(self._size)
        for step in range(self._size):
            port = self._first + (start + step) % self._size
            if port not in leased and port not in self._taken:
                yield port

    def lease(self, transport: Transport, host: Host, port: int) -> None:
        """The port is taken from now on."""
        self._leased.setdefault((transport, host), set()).add(port)

    def release(self, transport: Transport, host: Host, port: int) -> None:
        """Give a port back. It is no error if the port was never leased (an exact port, not from the pool)."""
        leased = self._leased.get((transport, host))
        if leased is not None:
            leased.discard(port)
            if not leased:
                del self._leased[transport, host]

    def leased(self, transport: Transport, host: Host) -> int:
        """How many ports are leased on an address."""
        return len(self._leased.get((transport, host), ()))

    def fullest(self) -> tuple[int, str | None]:
        """How many ports of the range are leased where most are, and which address and transport that is. Others are
        leased, too, as a client keeps its own port: they take none of the range."""
        is_within = range(self._first, self._first + self._size).__contains__
        found = (
            (sum(map(is_within, ports)), f"{transport.value}/{host}")
            for (transport, host), ports in self._leased.items()
        )
        return max(found, default=(0, None))

    def in_use(self) -> int:
        """How many ports are leased on all addresses."""
        return sum(map(len, self._leased.values()))
