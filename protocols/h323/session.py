"""What all calls of one signalling connection have in common: its hosts, its options, and whose addresses may be named.

A party may name its own host (HF43). Another host of its side may have its media if that side is the one that policies
let sessions out to, and known by its own addresses, as behind a gatekeeper, or if an option names it; whether such a
host is reached as the party itself is, routes and policies decide (`Pinholes.may_wait`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from protocols.contract.addresses import LEAST_PORT, Endpoint, Peers, Side, only
from protocols.contract.effects import Effect, Note, violation
from protocols.contract.pinholes import Party, Pinholes
from protocols.h323.media import Whereabouts
from protocols.h323.names import Draft, Names
from protocols.h323.options import H323Options
from protocols.h323.wanted import Walkers


@dataclass(frozen=True, slots=True)
class Called:
    """The role of a session in which somebody calls an endpoint that has registered: its client is outside."""


@dataclass(slots=True, eq=False)
class Session:
    """One signalling connection, and what is noted about it."""

    peers: Peers
    options: H323Options
    pinholes: Pinholes
    names: Names
    walkers: Walkers
    notes: list[Effect]
    """What the log is to hear. Whoever is at work hands it on."""

    def note(self, event: str, facts: dict[str, Any], of: dict[str, Any] | None = None) -> None:
        """Tell the log."""
        self.notes.append(Note(event, facts, of))

    def violates(self, rule: str, detail: str, action: str) -> None:
        """Tell the log that a peer did what it may not."""
        self.notes.append(violation(rule, detail, action))

    def is_own(self, side: Side, at: Endpoint) -> bool:
        """Whether this side means its own host."""
        peers = self.peers
        return at.host == peers.own(side).host or (self.options.static_nat and at.host == peers.as_seen(side).host)

    def own_at(self, side: Side, at: Endpoint) -> Endpoint:
        """The same address, with this side's own host if it means that."""
        return Endpoint(self.peers.own(side).host, at.port) if self.is_own(side, at) else at

    def waits_at(self, side: Side, at: Endpoint, field: str, draft: Draft, is_media: bool = True) -> Endpoint | None:
        """Where this side really waits when it says that it waits there. None: it may not, and nothing is opened."""
        own = self.peers.own(side).host
        if at.host == own and at.port >= LEAST_PORT:
            return at
        where = f"{draft.trigger}: {field} {at}"
        if at.host.is_multicast:
            draft.keep(field, at, "multicast")
        elif at.port < LEAST_PORT:
            self.violates("h323.low_port", where, "not opened")
        elif self.is_own(side, at):
            return self.own_at(side, at)
        elif is_media and self._may_be_elsewhere(side, at):
            return at
        else:
            self.violates("h323.elsewhere", where, "not opened")
        return None

    def _may_be_elsewhere(self, side: Side, at: Endpoint) -> bool:
        if not self._is_named(at) and (self._of_policy(side) is Side.CLIENT or self.peers.is_mapped(side)):
            return False
        return self.pinholes.may_wait(self.party(side, Whereabouts(at, None)))

    def _is_named(self, at: Endpoint) -> bool:
        return any(at.host in network for network in self.options.media_hosts)

    def party(self, side: Side, said: Whereabouts) -> Party:
        """The party of this side, as it is to be sent to and heard (HF42)."""
        own = self.peers.own(side).host
        mapped = self.peers.as_seen(side).host if self.peers.is_mapped(side) else None
        allow = only(own)
        third = [at for at in (said.data, said.control) if at is not None and at.host != own]
        for at in third:
            if only(at.host)[0] not in allow:
                allow += only(at.host)
        is_named = bool(third) and all(map(self._is_named, third))
        is_inside = self._is_inside(side)
        return Party(
            said.data,
            said.control,
            mapped,
            allow,
            host=own,
            side=self._of_policy(side),
            is_inside=is_inside,
            is_named=is_named,
        )

    def _of_policy(self, side: Side) -> Side:
        """The side of the policy that this one is. Who calls an endpoint that has registered is on the side that the
        policy lets the endpoint's sessions out to."""
        return side.other if isinstance(self.peers.role, Called) else side

    def _is_inside(self, side: Side) -> bool:
        """Whether this side is behind us: the one that has an address of ours, or without NAT the one whose sessions
        policies let out."""
        if self.names.is_mapped:
            return self.peers.is_mapped(side)
        return side is (Side.SERVER if isinstance(self.peers.role, Called) else Side.CLIENT)

    def direction(self, caller: Side) -> Literal["out", "in"]:
        """Which way a call of this side goes."""
        return "out" if self._is_inside(caller) else "in"
