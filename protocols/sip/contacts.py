"""SIP contacts: the addresses at which a party waits for requests, and the pinhole through which they come.

One address may be needed for several reasons at once: a Via names it, a registrar has it (RFC 3261 s.10), a dialog goes
to it (s.12.2). Each reason is a claim, with its own callers and its own time; the pinhole admits those whom any claim
names, and stands while there is one. Where it stands, it stays the same (S58).

A Contact has to be announced before anybody has agreed to it. Until then its port is only reserved: that is a claim
which names no caller, so nobody is admitted. The 2xx to REGISTER, or the one that begins a dialog, brings callers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Network, Peers, Side, Transport, only
from protocols.contract.pinholes import Expect, Grant, Pinholes, Reader, Refusal
from protocols.toolbox.clock import Clock
from protocols.toolbox.memory import KnownAs

NAMED_SECONDS = 600.0
"""How long a port stands that a message has named; each message that names it again puts that off. A phone may ring for
five minutes before the answer comes."""
MAX_NAMED = 4
"""Ports of one flow that are open or reserved because a message has named them, and for no other reason. A phone waits
at one, or at one for each transport; whoever makes it name more wants to use ports up."""
LAST_WORDS_SECONDS = 32.0
"""Timers B, F and H of RFC 3261: after that no answer comes any more."""


@dataclass(frozen=True, slots=True)
class Called:
    """The role of an engine whose session a pinhole let in: the host on the server's side had the way opened, so that
    others can call it."""


_READER = Reader("sip", Called())


class Claim(NamedTuple):
    """One reason for which a contact is open."""

    allow: tuple[Network, ...]
    """Callers that it lets in; empty if the port is only to be reserved."""
    until: float


@dataclass(slots=True, eq=False)
class Contact:
    """An address of a phone at which others reach it, with the pinhole that is there for it."""

    transport: Transport
    own: Endpoint
    grant: Grant
    opener: Contacts
    """The contacts of the session whose pinhole it is."""
    claims: dict[Hashable, Claim] = field(default_factory=dict)
    until: float = 0.0
    """When the last claim is over, at the latest; the pinhole goes with it."""
    is_confirmed: bool = True
    """False as long as the port was never more than reserved."""
    _callers: Counter[Network] = field(default_factory=Counter)
    """network -> by how many claims it may come. A trunk has one for each of its calls, so they are counted and not
    gone through."""

    @property
    def seen(self) -> Endpoint:
        """The address by which others know the contact."""
        return self.grant.listen

    @property
    def allow(self) -> tuple[Network, ...]:
        return tuple(self._callers)

    def put(self, key: Hashable, claim: Claim) -> bool:
        """Put a claim in place of the one with that key. True if others may come now, or for another time."""
        before = len(self._callers), self.until
        self._callers.update(claim.allow)
        is_wider = len(self._callers) > before[0]
        is_narrower = self.drop(key)
        self.until = max(self.until, claim.until) if self.claims else claim.until
        self.claims[key] = claim
        return is_wider or is_narrower or self.until != before[1]

    def drop(self, key: Hashable) -> bool:
        """Drop the claim with that key. True if somebody may come no more."""
        claim = self.claims.pop(key, None)
        before = len(self._callers)
        for network in claim.allow if claim is not None else ():
            self._callers[network] -= 1
            if not self._callers[network]:
                del self._callers[network]
        return len(self._callers) < before


Claimed = tuple[Contact, Hashable]
"""A contact, and the key of a claim to it."""


@dataclass(slots=True)
class ContactBook:
    """The addresses of phones that are open, and those that stand for them."""

    standing: dict[tuple[Transport, Endpoint, Host], Contact] = field(default_factory=dict)
    """(transport, address of a phone, our host by which others know it) -> the contact."""
    inside: dict[tuple[Transport, Endpoint], Endpoint] = field(default_factory=dict)
    """(transport, address by which others know a contact) -> its own address."""
    flows: KnownAs = field(default_factory=KnownAs)


class Contacts:
    """The contacts that one flow or connection has opened, and its claims to those of others."""

    __slots__ = (
        "_book",
        "_clock",
        "_named",
        "_peers",
        "_pinholes",
        "_reservation",
        "_responses",
        "_standing",
        "inside",
    )

    def __init__(self, peers: Peers, pinholes: Pinholes, book: ContactBook) -> None:
        self._peers = peers
        self._pinholes = pinholes
        self._book = book
        self.inside = book.inside
        self._clock: Clock[Claimed] = Clock()
        self._standing: dict[int, Contact] = {}
        self._reservation, self._responses = object(), object()
        """The keys of claims that this session has because a message named an address, in Contact and in Via."""
        self._named: set[Claimed] = set()
        """The claims with these keys."""

    @property
    def are_claimed(self) -> bool:
        """Whether a registration or a call depends on a pinhole of this session, or on one that this session claims.
        What its messages alone have named means nothing to anybody once the session is over."""
        claims = [key for contact in self._standing.values() for key in contact.claims]
        return any(not self._is_mere_name(key) for key in (*claims, *(key for _, key in self._clock.all())))

    def _is_mere_name(self, key: Hashable) -> bool:
        return key is self._reservation or key is self._responses

    # -- where a party is known --------------------------------------------------------------------------------------

    def known(self, side: Side, own: Endpoint, *transports: Transport) -> Endpoint | None:
        """Where the other side finds a port of the party on this side that is open or reserved already, by the first of
        these transports by which there is one."""
        contacts, host = self._book.standing, self._peers.as_seen(side).host
        for transport in transports:
            if (contact := contacts.get((transport, own, host))) is not None:
                return contact.seen
        return None

    def reserve(self, side: Side, own: Endpoint, now: float) -> Endpoint | None:
        """Where the other side is to find the port that the party on this side names as its Contact, by the transport
        that it signals by. Nobody is admitted there before a 2xx has agreed to it (S56)."""
        return self._name(side, own, self._reservation, (), "Contact", now)

    def await_responses(self, side: Side, own: Endpoint, now: float) -> Endpoint | None:
        """Where the other side sends responses to, when the party on this side wants them at a port that it does not
        send from (RFC 3261 s.18.2.2; S32). Only of datagrams: on a stream they come by the connection."""
        return self._name(side, own, self._responses, only(self._peers.own(side.other).host), "Via", now)

    def _name(
        self, side: Side, own: Endpoint, key: Hashable, allow: tuple[Network, ...], trigger: str, now: float
    ) -> Endpoint | None:
        transport = self._peers.transport
        contact = self._book.standing.get((transport, own, self._peers.as_seen(side).host))
        claim = contact.claims.get(key) if contact is not None else None
        if contact is not None and claim is not None and claim.until > now + NAMED_SECONDS / 2:
            return contact.seen
        if claim is None and len(self._named) >= MAX_NAMED:
            return None if contact is None else contact.seen
        contact = self.claim(side, own, transport, key, allow, NAMED_SECONDS, trigger, now)
        return None if contact is None else contact.seen

    def claim(
        self,
        side: Side,
        own: Endpoint,
        transport: Transport,
        key: Hashable,
        allow: tuple[Network, ...],
        seconds: float,
        trigger: str,
        now: float,
    ) -> Contact | None:
        """Requests may come to the party on this side from `allow` for so long; from nobody, if that is empty. The same
        key again: instead of what it claimed before. None: it cannot be had."""
        if own.port < LEAST_PORT:
            return None
        claim = Claim(allow, now + seconds)
        contact = self._book.standing.get((transport, own, self._peers.as_seen(side).host))
        if contact is None:
            grant = self._open(side, own, transport, allow, seconds, trigger)
            if isinstance(grant, Refusal):
                return None
            contact = Contact(transport, own, grant, self, is_confirmed=bool(allow))
            contact.put(key, claim)
            self._standing[grant.id] = contact
            self._book.standing[transport, own, grant.listen.host] = contact
            self._book.inside[transport, grant.listen] = own
        elif contact.put(key, claim):
            contact.opener.renew(contact, now)
        if allow and not contact.is_confirmed:
            contact.is_confirmed = True
            contact.opener.confirm(contact)
        self._clock.set((contact, key), claim.until)
        if self._is_mere_name(key):
            self._named.add((contact, key))
        return contact

    def claims_to(self, side: Side, own: Endpoint, transport: Transport) -> tuple[Hashable, ...]:
        """The keys of those who claim this contact, here or elsewhere."""
        contact = self._book.standing.get((transport, own, self._peers.as_seen(side).host))
        return tuple(contact.claims) if contact is not None else ()

    def _open(
        self, side: Side, own: Endpoint, transport: Transport, allow: tuple[Network, ...], seconds: float, trigger: str
    ) -> Grant | Refusal:
        peers, prefer = self._peers, 0
        if not peers.is_mapped(side):
            listen = own
        elif transport is peers.transport and own == peers.own(side):
            listen = peers.as_seen(side)
        else:
            listen = Endpoint(peers.as_seen(side).host, 0)
            seen = self._book.flows.seen(own, listen.host) or self.known(side, own, *Transport)
            prefer = own.port if seen is None else seen.port
        # Whoever comes from the other side is known to this one as that side is.
        source = Endpoint(peers.as_seen(side.other).host, 0) if peers.is_mapped(side.other) else None
        return self._pinholes.open(
            Expect(
                transport, "sip", trigger, listen=listen, allow=allow, target=own, source=source, idle_seconds=seconds,
                lasts_seconds=seconds, uses=None, reader=_READER, confirmed=bool(allow), prefer=prefer,
            )
        )  # fmt: skip

    # -- pinholes that this session has opened, on behalf of all who claim them --------------------------------------

    def confirm(self, contact: Contact) -> None:
        """The port was reserved, and is open to callers from now on."""
        self._pinholes.confirm(contact.grant)

    def renew(self, contact: Contact, now: float) -> None:
        """Others may come now, or for another time."""
        self._pinholes.renew(contact.grant, contact.allow, contact.until - now)

    def close(self, contact: Contact, reason: str) -> None:
        """Nobody claims the contact any more."""
        self._forget(contact)
        self._pinholes.close(contact.grant, reason)

    # -- ends --------------------------------------------------------------------------------------------------------

    def give_up(self, contact: Contact, key: Hashable, now: float, reason: str = "closed_by_session") -> bool:
        """The claim is over; the pinhole too, if it was the last one. Whether there was such a claim."""
        self.forget(contact, key)
        if key not in contact.claims:
            return False
        is_narrower = contact.drop(key)
        if contact.claims:
            if is_narrower:
                contact.opener.renew(contact, now)
        else:
            contact.opener.close(contact, reason)
        return True

    def _forget(self, contact: Contact) -> None:
        del self._standing[contact.grant.id]
        del self._book.standing[contact.transport, contact.own, contact.seen.host]
        # One address of ours may be two servers' (policies differ by who comes): the newer one has it.
        if self._book.inside.get((contact.transport, contact.seen)) == contact.own:
            del self._book.inside[contact.transport, contact.seen]

    def forget(self, contact: Contact, key: Hashable) -> None:
        """A claim of this session, which went with the pinhole of another one."""
        self._clock.forget((contact, key))
        self._named.discard((contact, key))

    def over(self, now: float) -> None:
        """Nothing more is said by this session."""
        for contact, key in self._clock.all():
            if self._is_mere_name(key):
                self.give_up(contact, key, now)

    def stop(self, now: float) -> list[Claimed]:
        """The session ends, and with it all that it has opened or claims. Returns claims of others that are over."""
        left: list[Claimed] = []
        for contact in tuple(self._standing.values()):
            left += self._gone(contact)
            self._pinholes.close(contact.grant, "session_closed")
        for claim in self._clock.all():
            self.give_up(*claim, now)
        return left

    def next(self) -> float | None:
        """When a claim is over."""
        return self._clock.next()

    def due(self, now: float, in_call: bool) -> list[Claimed]:
        """Claims whose time is over. While there are calls, what a message named is still needed for them."""
        over = []
        for contact, key in self._clock.due(now):
            if self._is_mere_name(key) and in_call and key in contact.claims:
                until = now + LAST_WORDS_SECONDS
                self._clock.set((contact, key), until)
                if contact.put(key, contact.claims[key]._replace(until=until)):
                    contact.opener.renew(contact, now)
            elif self.give_up(contact, key, now, "expired"):
                over.append((contact, key))
        return over

    def closed(self, grant: Grant) -> list[Claimed]:
        """A pinhole is gone, and the claims with it that there still were."""
        contact = self._standing.get(grant.id)
        return [] if contact is None else self._gone(contact)

    def _gone(self, contact: Contact) -> list[Claimed]:
        self._forget(contact)
        left = [(contact, key) for key in contact.claims]
        contact.claims.clear()
        for claim in left:
            self.forget(*claim)
        return left
