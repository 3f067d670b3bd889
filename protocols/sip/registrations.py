"""SIP registrations: which callers may reach a phone at the address that it registered, and for how long.

RFC 3261 s.10 (REGISTER), RFC 3327 (Path), RFC 3608 (Service-Route). The time that a phone asks for is only a wish: its
binding lives as long as the 2xx says for that contact (S53). Only the 2xx opens or closes anything (S56).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, NamedTuple

from protocols.contract import live
from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Network, Peers, Side, Transport, only
from protocols.sip.answers import Refused
from protocols.sip.contacts import Contact, Contacts
from protocols.sip.head import MAX_ID_BYTES
from protocols.sip.message import Message
from protocols.sip.names import DEFAULT_PORT, Names
from protocols.sip.options import SipOptions
from protocols.sip.values import Address
from protocols.sip.vias import is_own_word
from protocols.toolbox.memory import NAMES_BYTES, Memory, Recent, short

DEFAULT_SECONDS = 3600
"""How long a binding lives where neither side says a time (RFC 3261 s.10.2.1.1)."""
GRACE_SECONDS = 32.0
"""How long a binding outlives its time, so that a refresh that is on its way still counts. This is timer F."""
MAX_PENDING = 64
"""How many REGISTER requests of one flow may wait for their answers."""
MAX_CONTACTS = 32
"""How many contacts of one REGISTER are followed. A phone has one, or one for each transport."""
MAX_CALLERS = 32
"""How many hosts may call a phone because one 2xx names them."""
MAX_TOLD = 8
"""How many contacts one line of the log names."""
MAX_SECONDS = 7 * 86400
"""A binding lives no longer than this without a refresh."""
_STALE = re.compile(rb"""[ ,]stale[ ]*=[ ]*"?true""", re.IGNORECASE)
_CHALLENGES = (401, 407)
_SIGNATURES = frozenset((b"authorization", b"proxy-authorization"))
_ANYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Name(NamedTuple):
    """What identifies a binding: the address of record, the phone's address and transport, and the registrar that
    granted it."""

    aor: bytes
    transport: Transport
    contact: Endpoint
    """The phone's own address."""
    registrar: Host


@dataclass(frozen=True, slots=True)
class Wish:
    """What a REGISTER asked for."""

    side: Side
    aor: bytes
    contacts: dict[Name, int | None]
    """contact -> for how many seconds. None: the REGISTER did not say."""
    default: int | None
    """The seconds of the Expires field, for contacts that name no time of their own."""
    removes_all: bool
    """The Contact is `*`: the phone asks that all its bindings be removed."""
    is_signed: bool
    """The phone has shown what it knows of a password."""


@dataclass(slots=True)
class RegistrationBook:
    """What phones have registered, by all flows and connections."""

    memory: Memory
    bindings: dict[tuple[Host, Host, bytes], dict[tuple[Registrations, Name], None]] = field(default_factory=dict)
    """(host of a phone, host of its registrar, address of record) -> its bindings, each with the flow's registrations
    that look after it."""


class Registrations:
    """The bindings that phones have made by one flow or connection."""

    __slots__ = ("_bindings", "_book", "_contacts", "_names", "_note", "_options", "_peers", "_pending")

    def __init__(
        self,
        peers: Peers,
        options: SipOptions,
        names: Names,
        contacts: Contacts,
        book: RegistrationBook,
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._peers = peers
        self._options = options
        self._names = names
        self._contacts = contacts
        self._book = book
        self._note = note
        self._bindings: dict[Name, Contact] = {}
        self._pending: Recent[tuple[bytes, int], Wish] = Recent(MAX_PENDING)

    def __len__(self) -> int:
        return len(self._bindings)

    def live(self, name: Name) -> live.Registration | None:
        """What operators are told of a binding. None: it is over."""
        contact = self._bindings.get(name)
        claim = None if contact is None else contact.claims.get((self, name))
        if contact is None or claim is None:
            return None
        aor, transport, own, registrar = name
        return live.Registration(
            live.name_of(aor, transport, own, registrar), aor, own, contact.seen, transport, registrar,
            contact.since, claim.until - GRACE_SECONDS, contact.grant.id, self._contacts.pinholes,
        )  # fmt: skip

    def asked(self, message: Message, side: Side, stands_in: bool) -> None:
        """Read a REGISTER from `side`. A contact that is not the sender's own belongs to another host, and opens
        nothing (S57). stands_in: one of its contacts could not have an address of its own. Raises Refused."""
        span, to = message.address(b"to")
        aor = message.data[span.start : span.end][to.uri.start : to.uri.end]
        host = self._peers.own(side).host
        contacts: dict[Name, int | None] = {}
        removes_all = False
        elsewhere: list[Endpoint] = []
        by_another: list[Endpoint] = []
        for _, address in message.addresses(b"contact"):
            if address.is_star:
                removes_all = True
            elif isinstance(address.host, Host):
                contact = Endpoint(address.host, address.port or DEFAULT_PORT)
                if contact == self._peers.as_seen(side):  # the phone knows this address from STUN
                    contact = self._peers.own(side)
                contact = self._names.alias_of(side, contact) or contact
                is_its_own = contact.host == host and is_own_word(message, self._peers.own(side), contact)
                if not is_its_own or contact.port < LEAST_PORT:
                    elsewhere.append(contact)
                elif (transport := self._names.transport(address)) is not self._peers.transport:
                    by_another.append(contact)
                elif len(contacts) < MAX_CONTACTS:
                    name = Name(aor, transport, contact, self._peers.own(side.other).host)
                    contacts[name] = _seconds(address.parameter(b"expires"))
        if elsewhere:
            detail = ", ".join(map(str, elsewhere[:MAX_TOLD]))
            if len(elsewhere) > MAX_TOLD:
                detail += f" and {len(elsewhere) - MAX_TOLD} more"
            facts = {"rule": "sip.contact_elsewhere", "detail": detail, "action": "no pinhole opened"}
            self._note("violation", facts)
        if by_another:
            # The phone has not shown that it is there by that transport.
            changes = [{"field": "contact", "value": at, "reason": "other_transport"} for at in by_another[:MAX_TOLD]]
            self._note("address.kept", {"message": "REGISTER", "changes": changes})
        if len(aor) > MAX_ID_BYTES:
            return
        if stands_in:  # calls to this phone would ring at another phone (D49)
            raise Refused(503, b"No Contact Available")
        default = _seconds(message.first(b"expires"))
        is_signed = not _SIGNATURES.isdisjoint(message.names)
        wish = Wish(side, aor, contacts, default, removes_all, is_signed)
        self._pending.put((short(message.call_id), message.cseq.number), wish)

    def answered(self, message: Message, side: Side, now: float) -> None:
        """Read a final response to a REGISTER, from `side`. A response to an older request means nothing, and neither
        does one to a request that was never sent to this side (S56)."""
        transaction = short(message.call_id), message.cseq.number
        wish = self._pending.get(transaction)
        if wish is None or wish.side is side:
            return
        self._pending.drop(transaction)
        if message.status >= 300:
            self._refused(message, wish)
            return
        granted = {
            Endpoint(address.host, address.port or DEFAULT_PORT): address
            for _, address in message.addresses(b"contact")
            if isinstance(address.host, Host)
        }
        default = _seconds(message.first(b"expires"))
        if wish.removes_all:
            key = self._peers.own(wish.side).host, self._peers.own(side).host, wish.aor
            for registrations, name in tuple(self._book.bindings.get(key, ())):  # whichever connection made them
                if (contact := registrations.give_up(name, now)) is not None:
                    self._tell("registration.removed", name, contact)
        for name, asked in wish.contacts.items():
            own = name.contact
            seen = self._names.outward(wish.side, own.host, own.port, name.transport) or own
            seconds = self._granted(granted.get(seen), asked, default, wish)
            if seconds:
                self._bind(wish.side, name, seconds, self._callers(message, wish.side), now)
            else:
                self._remove(wish.side, name, now)

    def _refused(self, message: Message, wish: Wish) -> None:
        """A REGISTER was refused. The first one is answered with a challenge as a rule, and that is no refusal; nor is
        it one that a password was right for a moment that is over (S89), or that the time was too short."""
        if message.status == 423:
            return
        if message.status in _CHALLENGES and (not wish.is_signed or _is_stale(message)):
            return
        contact = next((name.contact for name in wish.contacts), None)
        facts = {"aor": wish.aor, "contact": contact, "code": message.status, "reason": message.phrase}
        self._note("registration.refused", facts)

    @staticmethod
    def _granted(found: Address | None, asked: int | None, default: int | None, wish: Wish) -> int:
        """How many seconds a contact is granted: its own parameter counts, else the response's Expires, else what was
        asked, else an hour (S53)."""
        own = _seconds(found.parameter(b"expires")) if found is not None else None
        for seconds in (own, default if found is not None else None, asked, wish.default):
            if seconds is not None:
                return seconds
        return DEFAULT_SECONDS

    def _callers(self, message: Message, side: Side) -> tuple[Network, ...]:
        """The networks whose hosts may call a phone that this 2xx registers."""
        if not self._options.strict_register:
            return _ANYBODY
        hosts = {self._peers.own(side.other).host}
        for name in (b"service-route", b"path"):
            hosts.update(address.host for _, address in message.addresses(name) if isinstance(address.host, Host))
        hosts -= {self._peers.own(side).host, self._peers.as_seen(side).host}
        networks = [network for host in sorted(hosts, key=str)[:MAX_CALLERS] for network in only(host)]
        return (*self._options.trusted_peers, *networks)

    def _bind(self, side: Side, name: Name, seconds: int, allow: tuple[Network, ...], now: float) -> None:
        """The registrar has granted a binding, so its callers are let in."""
        known = self._bindings.get(name)
        is_full = len(self._bindings) >= self._options.max_registrations
        if known is None and (is_full or not self._book.memory.keep(_bytes_kept(name))):
            detail = f"{len(self._bindings)} of this session"
            facts = {"rule": "sip.too_many_registrations", "detail": detail, "action": "no pinhole opened"}
            self._note("violation", facts)
            return
        lasts = seconds + GRACE_SECONDS
        contact = self._contacts.claim(
            side, name.contact, name.transport, (self, name), allow, lasts, "200 REGISTER", now
        )
        if contact is None:
            if known is None:
                self._book.memory.release(_bytes_kept(name))
            self._forget(name)
            return
        known = known or self._taken_over(side, name, now)
        self._bindings[name] = contact
        self._book.bindings.setdefault((name.contact.host, name.registrar, name.aor), {})[self, name] = None
        event = "registration.added" if known is None else "registration.refreshed"
        self._tell(event, name, contact, expires_seconds=seconds)

    def _remove(self, side: Side, name: Name, now: float) -> None:
        """The registrar has removed a binding."""
        contact = self.give_up(name, now) or self._taken_over(side, name, now)
        if contact is not None:
            self._tell("registration.removed", name, contact)

    def give_up(self, name: Name, now: float) -> Contact | None:
        """The binding is removed, or goes on by another connection. No host may call the phone by this one any more.
        Returns the contact; None if there is no such binding."""
        contact = self._forget(name)
        if contact is not None:
            self._contacts.give_up(contact, (self, name), now)
        return contact

    def _forget(self, name: Name) -> Contact | None:
        contact = self._bindings.pop(name, None)
        if contact is not None:
            self._book.memory.release(_bytes_kept(name))
            bindings, key = self._book.bindings, (name.contact.host, name.registrar, name.aor)
            del bindings[key][self, name]
            if not bindings[key]:
                del bindings[key]
        return contact

    def stop(self) -> None:
        """The session ends, and its bindings with it."""
        for name in tuple(self._bindings):
            self._forget(name)

    def _taken_over(self, side: Side, name: Name, now: float) -> Contact | None:
        """The same binding, if the phone has made it by another connection. That connection gives it up: the binding
        goes on here, or ends."""
        for key in self._contacts.claims_to(side, name.contact, name.transport):
            match key:
                case (Registrations() as other, Name() as its_name) if other is not self and its_name == name:
                    return other.give_up(name, now)
        return None

    def lapsed(self, name: Name) -> None:
        """The time of a binding is over, or its pinhole has closed by itself."""
        if (contact := self._forget(name)) is not None:
            self._contacts.forget(contact, (self, name))
            self._tell("registration.expired", name, contact)

    def _tell(self, event: str, name: Name, contact: Contact, **facts: Any) -> None:
        self._note(event, {"aor": name.aor, "contact": name.contact, "known_as": contact.seen, **facts})


def _is_stale(message: Message) -> bool:
    """Whether a challenge says that the password was right, and only the nonce is over."""
    challenges = (message.first(name) or b"" for name in (b"www-authenticate", b"proxy-authenticate"))
    return any(_STALE.search(challenge) is not None for challenge in challenges)


def _bytes_kept(name: Name) -> int:
    return len(name.aor) + NAMES_BYTES


def _seconds(text: bytes | None) -> int | None:
    """Read seconds as RFC 3261 s.20.19 writes them, in digits. None: any other text means nothing."""
    if text is None or not text.isdigit() or len(text) > 10:
        return None
    return min(int(text), MAX_SECONDS)
