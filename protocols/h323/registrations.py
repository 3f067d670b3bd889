"""Endpoints that have registered: where each can be called, by whom, and for how long (RA12 to RA14, RA20).

    RRQ    the endpoint's signalling address has a place outside; it admits nobody
    RCF    its gatekeeper, or who else may call, is admitted, for timeToLive and a little more
    UCF    the place is gone

A registration is made by an endpoint's session with its gatekeeper; what comes to its place is a session of H.323. The
two find each other by the book of calls, which knows the endpoint by both addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from protocols.contract import live
from protocols.contract.addresses import Endpoint, Host, Network, Peers, Side, Transport, only
from protocols.contract.pinholes import Expect, Grant, Pinholes, Reader, Refusal
from protocols.h323.calls import CallBook
from protocols.h323.options import RasOptions
from protocols.h323.session import Called
from protocols.toolbox.clock import Clock

PORT = 1720
DEFAULT_SECONDS = 3600
"""How long a registration lives where neither side says a time (RA13)."""
MAX_SECONDS = 7 * 86400
GRACE_SECONDS = 30.0
"""How long it outlives its time, so that a refresh on its way still counts."""
ASKED_SECONDS = 30.0
"""How long a place stands that no gatekeeper has agreed to."""
ADMITTED_SECONDS = 60.0
"""How long somebody may call who was told to (RA14)."""
MAX_ALTERNATES = 16
"""So many hosts may call because a gatekeeper has named them as its alternates."""
MAX_ADMITTED = 64
"""So many hosts may call one endpoint because they were told to within the last minute."""
CALL_IDLE = 14400.0
_ANYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(slots=True, eq=False)
class Registration:
    """An address at which an endpoint can be called."""

    by: Registrations
    own: Endpoint
    grant: Grant
    gatekeeper: Host
    since: float
    until: float
    alias: str = ""
    identifier: str = ""
    is_agreed: bool = False
    """A gatekeeper has confirmed it."""
    admitted: dict[Host, float] = field(default_factory=dict)
    """Who may call because it was told to, besides those who always may -> until when. Whose session was told looks
    after the time (`Targets`): the clock of this one is not set by what happens in another."""

    @property
    def seen(self) -> Endpoint:
        """Where it is known outside."""
        return self.grant.listen

    def admit(self, caller: Host, now: float) -> float | None:
        """A gatekeeper has told this host to call it. Returns until when it may; None: options do not say so."""
        return self.by.admit(self, caller, now)

    def dismiss(self, caller: Host, until: float, now: float) -> None:
        """This host may call it no more, unless it was told again that it may."""
        self.by.dismiss(self, caller, until, now)

    def give_way(self) -> None:
        """The endpoint registers anew, in another session."""
        self.by.remove(self, "registration.removed")

    def live(self) -> live.Registration:
        """The registration as operators see it."""
        return self.by.live(self)


class Registrations:
    """The registrations that one session has made."""

    __slots__ = (
        "_alternates",
        "_book",
        "_by_grant",
        "_clock",
        "_emptied",
        "_note",
        "_options",
        "_peers",
        "_pinholes",
        "standing",
    )

    def __init__(
        self,
        peers: Peers,
        options: RasOptions,
        pinholes: Pinholes,
        book: CallBook,
        note: Callable[[str, dict[str, Any]], None],
        emptied: Callable[[], None],
    ) -> None:
        """emptied: is called when none stands any more."""
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._book = book
        self._note = note
        self._emptied = emptied
        self._clock = Clock[Endpoint]()
        self._alternates: dict[Host, None] = {}
        """Hosts that the gatekeeper has named as its alternates."""
        self.standing: dict[Endpoint, Registration] = {}
        """By the endpoint's own address."""
        self._by_grant: dict[int, Registration] = {}
        """By the id of the grant."""

    # -- an endpoint registers -----------------------------------------------------------------------------------------

    def claim(self, side: Side, own: Endpoint, now: float) -> Registration | None:
        """An endpoint on this side asks to be called at this address of its own. None: it can have no place outside."""
        known = self.standing.get(own)
        if known is not None:
            if not known.is_agreed:
                self._clock.set(own, now + ASKED_SECONDS)
            return known
        peers, gatekeeper = self._peers, side.other
        is_mapped = peers.is_mapped(side)
        is_there_mapped = peers.is_mapped(gatekeeper)
        before = self._before(side, own)
        opened = self._pinholes.open(
            Expect(
                Transport.TCP,
                "h323",
                "RRQ",
                listen=Endpoint(peers.as_seen(side).host, 0) if is_mapped else own,
                allow=self._callers(side),
                target=own,
                source=Endpoint(peers.as_seen(gatekeeper).host, 0) if is_there_mapped else None,
                idle_seconds=CALL_IDLE,
                lasts_seconds=ASKED_SECONDS,
                uses=None,
                reader=Reader("h323", Called()),
                confirmed=False,
                prefer=(before or own).port if is_mapped else 0,
            )
        )
        if isinstance(opened, Refusal):
            return None
        found = Registration(self, own, opened, peers.own(gatekeeper).host, now, now + ASKED_SECONDS)
        self.standing[own] = self._by_grant[opened.id] = found
        self._clock.set(own, found.until)
        self._book.register(found.own, found.seen)
        self._book.registrations[found.seen] = found
        return found

    def _before(self, side: Side, own: Endpoint) -> Endpoint | None:
        """Where an endpoint is known that asks in a session of its own for what another session has given it: it has
        begun anew, or goes to an alternate. That place makes room. None: it has none, or another gatekeeper's."""
        peers = self._peers
        seen = self._book.registered.get((own, peers.as_seen(side).host))
        found = self._book.registrations.get(seen) if seen is not None else None
        if found is None or (peers.is_mapped(side) and found.gatekeeper != peers.own(side.other).host):
            return None
        found.give_way()
        return seen

    def agree(self, side: Side, found: Registration, alias: str, identifier: str, seconds: int, now: float) -> None:
        """The gatekeeper has confirmed it. None of its time is lost if it comes again."""
        if self.standing.get(found.own) is not found:
            return
        seconds = min(seconds, MAX_SECONDS)
        found.until = now + seconds + GRACE_SECONDS
        found.alias, found.identifier = alias or found.alias, identifier or found.identifier
        self._clock.set(found.own, found.until)
        self._renew(side, found, now)
        event = "registration.refreshed" if found.is_agreed else "registration.added"
        if not found.is_agreed:
            found.is_agreed = True
            self._pinholes.confirm(found.grant)
        self._tell(event, found, expires_seconds=seconds)

    def _renew(self, side: Side, found: Registration, now: float) -> None:
        """Who may call an endpoint on this side, and until when."""
        self._pinholes.renew(found.grant, self._callers(side, found.admitted), found.until - now)

    def _callers(self, side: Side, admitted: Iterable[Host] = ()) -> tuple[Network, ...]:
        """Who may call an endpoint on this side."""
        callers = self._options.callers
        if callers == "any":
            return _ANYBODY
        named = callers if isinstance(callers, tuple) else ()
        hosts = dict.fromkeys((self._peers.own(side.other).host, *self._alternates, *admitted))
        return (*named, *(network for host in hosts for network in only(host)))

    def named(self, host: Host) -> None:
        """The gatekeeper has named an alternate of itself."""
        if len(self._alternates) < MAX_ALTERNATES and not host.is_loopback and not host.is_multicast:
            self._alternates[host] = None

    def admit(self, found: Registration, caller: Host, now: float) -> float | None:
        """A gatekeeper has told somebody to call this endpoint."""
        if self._options.callers != "admitted" or not found.is_agreed:
            return None
        if caller not in found.admitted and len(found.admitted) >= MAX_ADMITTED:
            return None
        found.admitted[caller] = until = now + ADMITTED_SECONDS
        self._renew(self._side(found), found, now)
        return until

    def dismiss(self, found: Registration, caller: Host, until: float, now: float) -> None:
        """Somebody who was told to call this endpoint by then may do so no more, unless it was told again."""
        if found.admitted.get(caller) == until:
            del found.admitted[caller]
            if self.standing.get(found.own) is found:
                self._renew(self._side(found), found, now)

    def _side(self, found: Registration) -> Side:
        return Side.CLIENT if found.own.host == self._peers.client.host else Side.SERVER

    # -- ends ----------------------------------------------------------------------------------------------------------

    def of(self, host: Host) -> list[Registration]:
        """All that an endpoint has registered."""
        return [found for found in self.standing.values() if found.own.host == host]

    def at(self, address: Endpoint) -> Registration | None:
        """What was registered by this address: the endpoint's own, or the one where it is known outside."""
        outside = self._book.registrations.get(address)
        inside = None if outside is None else self.standing.get(outside.own)
        return inside if inside is not None and inside is outside else self.standing.get(address)

    def remove(self, found: Registration, event: str | None) -> None:
        """It can be called no more. A second time this has no effect."""
        if self.standing.get(found.own) is found:
            self._forget(found, event)
            self._pinholes.close(found.grant)
            self._look()

    def _forget(self, found: Registration, event: str | None) -> None:
        del self.standing[found.own], self._by_grant[found.grant.id]
        self._clock.forget(found.own)
        self._book.unregister(found.own, found.seen)
        # Where nothing really stands (`mode: observe`), two may be known at one address. The newer one has the entry.
        if self._book.registrations.get(found.seen) is found:
            del self._book.registrations[found.seen]
        if event is not None and found.is_agreed:
            self._tell(event, found)

    def gone(self, grant: Grant) -> None:
        """A pinhole has closed by itself."""
        if (found := self._by_grant.get(grant.id)) is not None:
            self._forget(found, "registration.expired")
            self._look()

    def _look(self) -> None:
        if not self.standing:
            self._emptied()

    def stop(self) -> None:
        """The session ends, and with it all that it has registered."""
        for found in tuple(self.standing.values()):
            self.remove(found, "registration.removed")

    def deadline(self) -> float | None:
        """When the next time is over."""
        return self._clock.next()

    def tick(self, now: float) -> None:
        """The time of registrations may be over."""
        for own in tuple(self._clock.due(now)):
            self.remove(self.standing[own], "registration.expired")

    # -- the log -------------------------------------------------------------------------------------------------------

    def _tell(self, event: str, found: Registration, **facts: Any) -> None:
        name = found.alias or found.identifier
        self._note(event, {"aor": name, "contact": found.own, "known_as": found.seen, **facts})

    def live(self, found: Registration) -> live.Registration:
        """The registration as operators see it."""
        name = (found.alias or found.identifier).encode()
        return live.Registration(
            live.name_of(name, found.own, found.gatekeeper), name, found.own, found.seen, Transport.TCP,
            found.gatekeeper, found.since, found.until - GRACE_SECONDS, found.grant.id, self._pinholes,
        )  # fmt: skip
