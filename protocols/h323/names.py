"""Addresses in messages: octets, and the two names that each host of a session has (HF50, X8).

    the sender's own host            becomes the address by which the other side knows it
    the receiver, as the sender      becomes the receiver's own address
    knows it
    anything else                    stays as it is

The signalling port of an endpoint that has registered by RAS is known outside by the port that was registered for it
(RA20).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Peers, Side

MAX_TOLD = 16
"""How many addresses one line of the log names."""


@lru_cache(maxsize=4096)
def endpoint(octets: bytes) -> Endpoint:
    """The address and port that 6 or 18 octets are."""
    host: Host = IPv4Address(octets[:-2]) if len(octets) == 6 else IPv6Address(octets[:-2])
    return Endpoint(host, octets[-2] << 8 | octets[-1])


@lru_cache(maxsize=4096)
def octets(at: Endpoint) -> bytes:
    """The other way round."""
    return at.host.packed + at.port.to_bytes(2, "big")


class Names:
    """The names of the two hosts of a session."""

    __slots__ = (
        "_mapped",
        "_outside",
        "_own",
        "_peers",
        "_registered",
        "_seen",
        "is_between_families",
        "is_mapped",
    )

    def __init__(
        self, peers: Peers, registered: Mapping[tuple[Endpoint, Host], Endpoint], outside: Container[Endpoint]
    ) -> None:
        """registered: an endpoint's own address, and an address of ours -> where it is known there; and the other way
        round, with the endpoint's own host. outside: where endpoints are known that have registered."""
        self._peers = peers
        self._own = {side: peers.own(side) for side in Side}
        self._seen = {side: peers.as_seen(side) for side in Side}
        self._mapped = {side: peers.is_mapped(side) for side in Side}
        self._registered = registered
        self._outside = outside
        self.is_mapped = any(self._mapped.values())
        """Whether an address has to be mapped at all."""
        self.is_between_families = any(self._own[side].host.version != self._seen[side].host.version for side in Side)
        """Whether a host is known by an address of the other version: none could be put in its place (HF17)."""

    def known_as(self, side: Side, at: Endpoint) -> Endpoint:
        """What the other side is to read for an address that this side has written."""
        own, seen = self._own[side], self._seen[side]
        if self._mapped[side] and at.host == own.host:
            outside = self._registered.get((at, seen.host))
            return outside or Endpoint(seen.host, seen.port if at.port == own.port else at.port)
        own, seen = self._own[side.other], self._seen[side.other]
        if self._mapped[side.other] and at.host == seen.host:
            inside = self._registered.get((at, own.host))
            if inside is None and at in self._outside:
                return at  # another endpoint behind the same address of ours
            return inside or Endpoint(own.host, own.port if at.port == seen.port else at.port)
        return at

    def signals_at(self, side: Side, at: Endpoint) -> Endpoint:
        """The same of an address where somebody can be called: it is mapped if it is one that is known (X8)."""
        after = self.known_as(side, at)
        is_known = at in (self._own[side], self._seen[side.other]) or after.port != at.port
        return after if is_known or self._registered.get((at, after.host)) == after else at

    def signals_from(self, side: Side, at: Endpoint) -> Endpoint:
        """The same of the address that this side says it signals from: it is that of its connection, unless the
        endpoint is registered."""
        seen = self._seen[side]
        if self._mapped[side] and at.host == self._own[side].host:
            return self._registered.get((at, seen.host)) or seen
        return self.known_as(side, at)


class Draft:
    """A message while it is read: what is to stand in it on the other side, and what the log is told of that."""

    __slots__ = ("_kept", "_out", "_told", "base", "data", "trigger")

    def __init__(self, data: bytes, trigger: str = "", base: int = 0) -> None:
        self.data = data
        """As it came."""
        self.base = base
        """Where the part of it begins that is walked."""
        self._out: bytearray | None = None
        self._told: list[dict[str, Any]] = []
        self._kept: list[dict[str, Any]] = []
        self.trigger = trigger
        """The message by its name, for the log."""

    def put(self, start: int, before: Endpoint, after: Endpoint, field: str) -> None:
        """In the place of an address stands another one. One of another version stays (HF17)."""
        if before == after or before.host.version != after.host.version:
            return
        new = octets(after)
        if self._out is None:
            self._out = bytearray(self.data)
        self._out[start : start + len(new)] = new
        if len(self._told) < MAX_TOLD:
            self._told.append({"field": field, "before": before, "after": after})

    def keep(self, field: str, value: Endpoint | None, reason: str) -> None:
        """An address stays as it is though it is not the other side's to use."""
        if len(self._kept) < MAX_TOLD:
            self._kept.append({"field": field, "value": value, "reason": reason})

    @property
    def written(self) -> bytes:
        """The message as the other side is to read it."""
        return self.data if self._out is None else bytes(self._out)

    def notes(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """What the log is told: events and their facts."""
        if self._told:
            yield "address.rewritten", {"message": self.trigger, "changes": self._told}
        if self._kept:
            yield "address.kept", {"message": self.trigger, "changes": self._kept}
