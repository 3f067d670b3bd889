"""SIP contacts: the addresses at which a party waits for requests, and the pinholes through which requests come.

One address may be needed for several reasons at once: a Via names it, a registrar has it (RFC 3261 s.10), or requests
of a dialog go to it (s.12.2). Each reason is a claim, with its own callers and its own time. The pinhole admits every
caller that a claim names, and stands while there is a claim. Its address stays the same for that time (S58).

A Contact has to be announced before the other side has agreed to it. Until then its port is only reserved: the claim
names no caller, so no host is admitted. The 2xx to REGISTER, or the 2xx that begins a dialog, brings callers.
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
"""How long a port stands because a message has named it. Each message that names the port again puts its end off. A
phone may ring for five minutes before the answer comes."""
MAX_NAMED = 4
"""How many ports of one flow may be open or reserved for no other reason than that a message has named them. A phone
waits at one port, or at one for each transport. A client that names more wants to use ports up."""
LAST_WORDS_SECONDS = 32.0
"""Timers B, F and H of RFC 3261: after that no answer comes any more."""


@dataclass(frozen=True, slots=True)
class Called:
    """The role of an engine whose session a pinhole let in. The host on the server's side had that pinhole opened, so
    that others can call it."""


_READER = Reader("sip", Called())


class Claim(NamedTuple):
    """One reason for which a contact is open."""

    allow: tuple[Network, ...]
    """The callers that this claim lets in. Empty: the port is only to be reserved."""
    until: float
    """When the claim is over."""


@dataclass(slots=True, eq=False)
class Contact:
    """An address at which others reach a phone, with the pinhole that is open for it."""

    transport: Transport
    own: Endpoint
    """The phone's own address."""
    grant: Grant
    opener: Contacts
    """The contacts of the session that opened the pinhole."""
    since: float
    """When it was opened."""
    claims: dict[Hashable, Claim] = field(default_factory=dict)
    until: float = 0.0
    """When the last claim is over, at the latest. The pinhole closes with that claim."""
    is_confirmed: bool = True
    """False: the port has only been reserved so far."""
    _callers: Counter[Network] = field(default_factory=Counter)
    """network -> how many claims let it in. A trunk has one claim for each of its calls, so claims are counted here and
    not searched."""

    @property
    def seen(self) -> Endpoint:
        """The address by which others know the contact."""
        return self.grant.listen

    @property
    def allow(self) -> tuple[Network, ...]:
        """The networks that may come: those of all claims together."""
        return tuple(self._callers)

    def put(self, key: Hashable, claim: Claim) -> bool:
        """Put a claim in place of the one with that key. True: other callers may come now, or until another time."""
        before = len(self._callers), self.until
        self._callers.update(claim.allow)
        is_wider = len(self._callers) > before[0]
        is_narrower = self.drop(key)
        self.until = max(self.until, claim.until) if self.claims else claim.until
        self.claims[key] = claim
        return is_wider or is_narrower or self.until != before[1]

    def drop(self, key: Hashable) -> bool:
        """Drop the claim with that key. True: a caller that could come before may come no more."""
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
    """The contacts that are open, of all flows and connections."""

    standing: dict[tuple[Transport, Endpoint, Host], Contact] = field(default_factory=dict)
    """(transport, address of a phone, our host by which others know it) -> the contact."""
    inside: dict[tuple[Transport, Endpoint], Endpoint] = field(default_factory=dict)
    """(transport, address by which others know a contact) -> the phone's own address."""
    flows: KnownAs = field(default_factory=KnownAs)
    """The addresses by which the clients of present flows are known. A new pinhole prefers that port."""


class Contacts:
    """The contacts that one flow or connection has opened, and its claims to contacts of other sessions."""

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
        """The keys of claims that this session has because a message named an address: in Contact, and in Via."""
        self._named: set[Claimed] = set()
        """The claims with these two keys."""

    @property
    def pinholes(self) -> Pinholes:
        """Those of the session, by which the session is known."""
        return self._pinholes

    @property
    def are_claimed(self) -> bool:
        """Whether a registration or a call depends on a pinhole of this session, or on one that this session claims.
        Claims that a mere message has brought do not count, because they are of no use once the session is over."""
        claims = [key for contact in self._standing.values() for key in contact.claims]
        return any(not self._is_mere_name(key) for key in (*claims, *(key for _, key in self._clock.all())))

    def _is_mere_name(self, key: Hashable) -> bool:
        """Whether a claim with this key stands only because a message named an address."""
        return key is self._reservation or key is self._responses

    # -- where a party is known --------------------------------------------------------------------------------------

    def known(self, side: Side, own: Endpoint, *transports: Transport) -> Endpoint | None:
        """The address by which the other side knows a port of the party on this side, if that port is open or reserved
        already. The transports are tried in the order given."""
        contacts, host = self._book.standing, self._peers.as_seen(side).host
        for transport in transports:
            if (contact := contacts.get((transport, own, host))) is not None:
                return contact.seen
        return None

    def reserve(self, side: Side, own: Endpoint, now: float) -> Endpoint | None:
        """Reserve a port for the Contact of the party on this side, and return the address by which the other side will
        know it. The Contact is for the transport that the party signals by. No host is admitted there before a 2xx has
        agreed to the Contact (S56)."""
        return self._name(side, own, self._reservation, (), "Contact", now)

    def await_responses(self, side: Side, own: Endpoint, now: float) -> Endpoint | None:
        """Open a port for responses, and return the address by which the other side will know it. This is for a party
        that wants responses at a port that it does not send from (RFC 3261 s.18.2.2; S32). Only datagrams need it,
        because on a stream responses come by the connection."""
        return self._name(side, own, self._responses, only(self._peers.own(side.other).host), "Via", now)

    def _name(
        self, side: Side, own: Endpoint, key: Hashable, allow: tuple[Network, ...], trigger: str, now: float
    ) -> Endpoint | None:
        """Claim a port because a message has named it. A claim that still has half its time is left as it is."""
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
        """Let requests from `allow` reach the party on this side for so many seconds. If `allow` is empty, no host is
        let in and the port is only reserved. A claim with the same key replaces the earlier one. None: the port cannot
        be had."""
        if own.port < LEAST_PORT:
            return None
        claim = Claim(allow, now + seconds)
        contact = self._book.standing.get((transport, own, self._peers.as_seen(side).host))
        if contact is None:
            grant = self._open(side, own, transport, allow, seconds, trigger)
            if isinstance(grant, Refusal):
                return None
            contact = Contact(transport, own, grant, self, now, is_confirmed=bool(allow))
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
        """The keys of all claims to this contact, by whatever session."""
        contact = self._book.standing.get((transport, own, self._peers.as_seen(side).host))
        return tuple(contact.claims) if contact is not None else ()

    def _open(
        self, side: Side, own: Endpoint, transport: Transport, allow: tuple[Network, ...], seconds: float, trigger: str
    ) -> Grant | Refusal:
        """Open the pinhole of a contact that is not open yet."""
        peers, prefer = self._peers, 0
        if not peers.is_mapped(side):
            listen = own
        elif transport is peers.transport and own == peers.own(side):
            listen = peers.as_seen(side)
        else:
            listen = Endpoint(peers.as_seen(side).host, 0)
            seen = self._book.flows.seen(own, listen.host) or self.known(side, own, *Transport)
            prefer = own.port if seen is None else seen.port
        # A caller from the other side appears to this side by the address by which this side knows the other one.
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
        """The pinhole admits other callers now, or stands until another time."""
        self._pinholes.renew(contact.grant, contact.allow, contact.until - now)

    def close(self, contact: Contact, reason: str) -> None:
        """No claim to the contact is left, so its pinhole closes."""
        self._forget(contact)
        self._pinholes.close(contact.grant, reason)

    # -- ends --------------------------------------------------------------------------------------------------------

    def give_up(self, contact: Contact, key: Hashable, now: float, reason: str = "closed_by_session") -> bool:
        """Give up a claim. The pinhole closes if it was the last one. Returns whether there was such a claim."""
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
        """Take the contact out of the books. Its pinhole is closed or about to be."""
        del self._standing[contact.grant.id]
        del self._book.standing[contact.transport, contact.own, contact.seen.host]
        # Two servers may share one address of ours, because policies differ by who comes. The newer contact has the
        # entry.
        if self._book.inside.get((contact.transport, contact.seen)) == contact.own:
            del self._book.inside[contact.transport, contact.seen]

    def forget(self, contact: Contact, key: Hashable) -> None:
        """Forget a claim of this session that went with the pinhole of another session."""
        self._clock.forget((contact, key))
        self._named.discard((contact, key))

    def over(self, now: float) -> None:
        """This session says nothing more. Claims that only a message has brought are given up."""
        for contact, key in self._clock.all():
            if self._is_mere_name(key):
                self.give_up(contact, key, now)

    def stop(self, now: float) -> list[Claimed]:
        """The session ends, and with it all that it has opened or claims. Returns the claims of other sessions that end
        with it."""
        left: list[Claimed] = []
        for contact in tuple(self._standing.values()):
            left += self._gone(contact)
            self._pinholes.close(contact.grant, "session_closed")
        for claim in self._clock.all():
            self.give_up(*claim, now)
        return left

    def next(self) -> float | None:
        """When the next claim is over."""
        return self._clock.next()

    def due(self, now: float, in_call: bool) -> list[Claimed]:
        """Give up the claims whose time is over, and return them. While there are calls, a port that a message has
        named is still needed for them, so its claim is put off."""
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
        """A pinhole has closed. Returns the claims to it that were still standing."""
        contact = self._standing.get(grant.id)
        return [] if contact is None else self._gone(contact)

    def _gone(self, contact: Contact) -> list[Claimed]:
        """A contact is gone. Returns the claims that it still had."""
        self._forget(contact)
        left = [(contact, key) for key in contact.claims]
        contact.claims.clear()
        for claim in left:
            self.forget(*claim)
        return left
