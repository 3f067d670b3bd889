"""Where a gatekeeper sends an endpoint: to register at another port, and to call (RA10, RA14, RA15).

At the standard ports the endpoint begins a session of its own, about which policies decide. To another port there is a
way for this endpoint alone, if options let the gatekeeper send it there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Peers, Side, Transport, only
from protocols.contract.pinholes import Expect, Grant, Party, Pinholes, Reader, Refusal
from protocols.h323.calls import CallBook, Registered
from protocols.h323.names import Draft, Names
from protocols.h323.options import RasOptions
from protocols.toolbox.clock import Clock

RAS_PORT, PORT = 1719, 1720
WAY_SECONDS = 60.0
"""How long an endpoint may call where a gatekeeper has sent it (RA15), or register there for the first time."""
REGISTER_SECONDS = 3600.0
"""How long the way to another port of a gatekeeper stands without use (RA10)."""
MAX_WAYS = 32
"""How many ways may stand that gatekeepers have named to one session."""


class Admission(NamedTuple):
    """A host of this session has been told to call an endpoint."""

    found: Registered
    caller: Host
    until: float


class Targets:
    """The targets that one session has been told."""

    __slots__ = ("_admitted", "_book", "_names", "_options", "_peers", "_pinholes", "_violate", "_ways")

    def __init__(
        self,
        peers: Peers,
        options: RasOptions,
        pinholes: Pinholes,
        names: Names,
        book: CallBook,
        violate: Callable[[str, str, str], None],
    ) -> None:
        """violate: tells the log that a peer did what it may not: the rule, what was said, and what was done."""
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._names = names
        self._book = book
        self._violate = violate
        self._ways: dict[tuple[Endpoint, bool], Grant] = {}
        """Where the other side was sent, and whether to register there -> the way there."""
        self._admitted = Clock[Admission]()

    def calls(self, side: Side, at: Endpoint | None, draft: Draft, now: float) -> dict[Endpoint, Endpoint]:
        """Where a call is to go. Whoever is told to call an endpoint that has registered here may do so (RA14); to
        another port than 1720 there is a way for the one who was told (RA15). Returns what the address becomes."""
        if at is None:
            return {}
        if (found := self._book.registrations.get(at)) is not None:
            caller = self._peers.own(side.other).host
            until = found.admit(caller, now)
            if until is not None:
                self._admitted.set(Admission(found, caller, until), until)
            return {}
        return self._elsewhere(side, at, PORT, draft)

    def registers_at(self, side: Side, at: Endpoint | None, draft: Draft) -> dict[Endpoint, Endpoint]:
        """Where the other side is to register (RA10). Returns what the address becomes."""
        return self._elsewhere(side, at, RAS_PORT, draft)

    def _elsewhere(self, side: Side, at: Endpoint | None, standard: int, draft: Draft) -> dict[Endpoint, Endpoint]:
        """This side sends the other one to an address: at the standard port that one begins a session of its own."""
        peers = self._peers
        if at is None or at.port == standard or at == peers.own(side) or self._names.known_as(side, at).port != at.port:
            return {}
        if not self._may_lead(side, at, standard):
            self._violate("ras.elsewhere", f"{draft.trigger}: {at}", "not opened")
            return {}
        grant = self._way(side, at, standard == RAS_PORT, draft.trigger)
        if grant is None:
            draft.keep("address", at, "not_opened")
            return {}
        return {at: grant.listen}

    def _way(self, side: Side, at: Endpoint, is_ras: bool, trigger: str) -> Grant | None:
        """A way for the other side to this address. One for calls that stands already has its time from now on, for
        whoever is told twice may call twice; one to register by has it from its uses."""
        peers = self._peers
        allow, seconds = only(peers.own(side.other).host), REGISTER_SECONDS if is_ras else WAY_SECONDS
        grant = self._ways.get((at, is_ras))
        if grant is not None:
            if not is_ras:
                self._pinholes.renew(grant, allow, seconds)
            return grant
        if len(self._ways) >= MAX_WAYS:
            return None
        is_mapped = peers.is_mapped(side) and at.host == peers.own(side).host
        opened = self._pinholes.open(
            Expect(
                Transport.UDP if is_ras else Transport.TCP,
                "ras" if is_ras else "h323",
                trigger,
                listen=Endpoint(peers.as_seen(side).host, 0) if is_mapped else at,
                allow=allow,
                target=at,
                source=Endpoint(peers.as_seen(side.other).host, 0),
                idle_seconds=REGISTER_SECONDS,
                open_seconds=WAY_SECONDS,
                lasts_seconds=seconds,
                renewed_by_use=True,
                uses=None,
                reader=Reader("ras" if is_ras else "h323"),
            )
        )
        if isinstance(opened, Refusal):
            return None
        self._ways[at, is_ras] = opened
        return opened

    def _may_lead(self, side: Side, at: Endpoint, standard: int) -> bool:
        """Whether the other side may be sent there: never to a host of its own side, nor to a low port."""
        peers, options = self._peers, self._options
        if at.port < LEAST_PORT or at.host in (peers.own(side.other).host, peers.as_seen(side.other).host):
            return False
        if at.host == peers.own(side).host:
            return True
        if peers.is_mapped(side):
            return False
        if standard == RAS_PORT:
            return any(at.host in network for network in options.gatekeepers)
        if options.call_targets:
            return any(at.host in network for network in options.call_targets)
        return self._pinholes.may_wait(Party(at, None, None, only(at.host), host=peers.own(side).host, side=side))

    def gone(self, grant: Grant) -> None:
        """A way is closed. The next message that names it opens it again."""
        for key, way in tuple(self._ways.items()):
            if way.id == grant.id:
                del self._ways[key]

    def deadline(self) -> float | None:
        """When the next host may no longer call whom it was told to call."""
        return self._admitted.next()

    def tick(self, now: float) -> None:
        """The time of hosts may be over."""
        for found, caller, until in tuple(self._admitted.due(now)):
            found.dismiss(caller, until, now)

    def close_all(self, now: float) -> None:
        """The session ends."""
        for found, caller, until in self._admitted.all():
            found.dismiss(caller, until, now)
        self._admitted = Clock()
        for grant in tuple(self._ways.values()):
            self._pinholes.close(grant)
        self._ways.clear()

    def __len__(self) -> int:
        """How many things stand that have to be closed in time."""
        return len(self._ways) + len(self._admitted)
