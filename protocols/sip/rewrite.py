"""Addresses in SIP header fields: each party reads the address under which it knows the other, and gets its own back.

RFC 3261 s.8.1.3.3 (a Via must come back as it was sent), s.19.1.4 (a port left out is not port 5060), s.20; RFC 3581
(rport). What each must believe, where NAT is in force:

1) whoever reads a message finds the other's address as it is known there: in Via, Contact, Route and their kin;
2) whoever is named by the address that the other knows finds its own, spelled as it spelled it itself;
3) everybody else's address stays, and so does each byte around the addresses.

Only values are mapped (X8): the host's own address, and the one that stands for it. Names are nobody's.

What a field may open (ARCHITECTURE.md has the reasons):

- Contact of a request that a 2xx can agree to reserves a port, for the transport that the party signals by;
- the top Via of a request opens the port that its responses are sent to, if they are datagrams;
- an address in any other field opens nothing. If its port is known outside already, it is mapped to that one, else to
  the address that its party signals from, which stands in for it;
- what the other side has named itself comes back to it as it was (echoes.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host, Malformed, Peers, Side, Transport
from protocols.sip import odd, remembered, values
from protocols.sip.contacts import Contacts
from protocols.sip.echoes import Echoes
from protocols.sip.fields import ADDRESSES, AGREED_BY_2XX, IDENTITIES, NAMES
from protocols.sip.head import BadMessage
from protocols.sip.hiding import CallIds
from protocols.sip.mapping import STAYS, Mapper
from protocols.sip.message import Message
from protocols.sip.names import DEFAULT_PORT, Names, hostport
from protocols.sip.options import SipOptions
from protocols.sip.spellings import MAX_MAPPED_BYTES, Change, Mapped, Spellings
from protocols.sip.vias import Vias, is_forwarded, is_own_word
from protocols.toolbox.spans import Span

_AGENT = re.compile(rb"(?:\A|,)[ \t\r\n]*+[0-9]{3} ([^ ,\"]++) \"")
"""The warn-agent of Warning (RFC 3261 s.20.43): who warns, by name or by address."""
_TRICKLE = re.compile(rb",[ \t\r\n]*+trickle-ice(?![^ \t\r\n,])|\Atrickle-ice(?:[ \t\r\n]*+,[ \t\r\n]*+|\Z)", re.I)
"""Begins at a comma: from each of many blanks it would look for one anew."""

_EXTENSIONS = frozenset((b"supported", b"require"))


class Rewritten(NamedTuple):
    """What becomes of the head of a message."""

    changes: Sequence[tuple[str, Change]]
    """The names of fields and what changes in them, in the order of the message."""
    stands_in: bool = False
    """A Contact could not have an address of its own, so the address that its sender signals from stands in for it."""


_UNCHANGED = Rewritten(())


class Rewriter:
    """Maps the addresses in the heads of messages of one flow or connection."""

    __slots__ = (
        "_call_ids",
        "_echoes",
        "_fields",
        "_is_mapped",
        "_mapped",
        "_mapper",
        "_names",
        "_number",
        "_peers",
        "_strips_ice",
        "_texts",
        "_vias",
    )

    def __init__(
        self,
        peers: Peers,
        texts: Spellings,
        echoes: Echoes,
        names: Names,
        contacts: Contacts,
        options: SipOptions,
        number: int,
    ) -> None:
        """`number` is the number of this flow among those that share the spellings."""
        self._peers = peers
        self._texts = texts
        self._echoes = echoes
        self._names = names
        self._number = number
        self._fields = ADDRESSES | IDENTITIES if options.topology_hiding else ADDRESSES
        self._call_ids = CallIds(peers, texts.call_ids) if options.topology_hiding else None
        self._strips_ice = options.ice == "strip"
        self._mapped = texts.mapped
        self._mapper = Mapper(peers, texts, names, contacts)
        self._vias = Vias(peers, texts, names, contacts, number)
        self._is_mapped = names.is_mapped

    def rewrite(self, message: Message, side: Side, now: float) -> Rewritten:
        """What changes in the head of a message from `side`, in the order of the message, with the names of the fields.
        What the grammar does not know is read as far as it can be (odd.py), and an address of ours in it that has no
        place there is found as it stands. Raises Malformed when there is more of something than is read."""
        if not self._names.is_needed:
            if message.is_request and self._peers.transport is Transport.UDP and not self._is_mapped[side]:
                self._vias.expect_answers(message, side, now)
            return _UNCHANGED
        data = message.data
        changes: list[tuple[str, Change]] = []
        names = message.names
        if message.is_request:
            mapped = self._value(message, message.uri, side, remembered.read_uri, b"request-uri")
            if mapped is not STAYS:
                of_target = self._changes(message, message.uri, side, b"request-uri", 0, mapped)
                changes += [("request-uri", change) for change in of_target]
        for number, span in enumerate(message.parts(b"via")):
            changes += [("via", change) for change in self._vias.changes(message, span, side, number == 0, now)]
        fields, stands_in = self._fields, False
        for name in names:
            if name not in fields:
                continue
            if name == b"contact":
                of_contact, stands_in = self._of_contact(message, side, now)
                changes += [("contact", change) for change in of_contact]
            else:
                of_field = self._of_name if name in NAMES else self._of_target
                changes += [(name.decode(), change) for change in of_field(message, name, side)]
        if b"warning" in names:
            for span in message.spans(b"warning"):
                changes += [("warning", change) for change in self._agents(message, span, side)]
        if self._call_ids is not None:
            changes += self._call_ids.changes(message, side)
        if self._strips_ice:
            for name in names & _EXTENSIONS:
                for span in message.spans(name):
                    found = _TRICKLE.finditer(data[span.start : span.end])
                    changes += ((name.decode(), (values.within(span, Span(*match.span())), b"")) for match in found)
        if len(changes) > 1:
            changes.sort(key=lambda named: named[1][0])
        if message.oddities:
            changes = _beside(changes, self._unreadable(message, side))
        return Rewritten(changes, stands_in)

    def _unreadable(self, message: Message, side: Side) -> Iterator[tuple[str, Change]]:
        """Addresses of ours that stand as such in values of which nothing can be read."""
        party, other = self._peers.own(side), self._peers.as_seen(side.other)
        for name, span in {(oddity.name, oddity.span) for oddity in message.oddities}:
            value = message.data[span.start : span.end]
            if name not in self._fields and name not in (b"via", b"request-uri"):
                continue
            if odd.find_via(value).host if name == b"via" else odd.find_address(value).host:
                continue  # it has been mapped by that, or needs not to be
            call_id, inside = self.call_id(message, side), self._peers.own(side.other)
            if self._is_mapped[side.other]:
                if any(odd.renamed(value, inside, inside)):
                    self._echoes.hear(call_id, side, name, None)
                for at, new in odd.renamed(value, other, inside):
                    yield name.decode(), (values.within(span, at), new)
            if self._is_mapped[side] and not self._echoes.is_one(call_id, side, name, message.cseq.method):
                for at, new in odd.renamed(value, party, self._peers.as_seen(side)):
                    yield name.decode(), (values.within(span, at), new)

    def _of_target(self, message: Message, name: bytes, side: Side) -> Iterator[Change]:
        from_last = len(parts := message.parts(name))
        for span in parts:
            from_last -= 1
            mapped = self._value(message, span, side, remembered.read_address, name)
            if mapped is not STAYS:
                yield from self._changes(message, span, side, name, from_last, mapped)

    def _of_contact(self, message: Message, side: Side, now: float) -> tuple[list[Change], bool]:
        """What changes in Contact, and whether an address could not be had. Then no further one of the message is asked
        for: where one cannot be had, a thousand others cannot."""
        changes: list[Change] = []
        reserve_at, stands_in = now if message.is_request and message.method in AGREED_BY_2XX else None, False
        for span in message.parts(b"contact"):
            mapped = self._value(message, span, side, remembered.read_address, b"contact", reserve_at)
            if mapped.stands_in:
                reserve_at, stands_in = None, True
            if mapped is not STAYS:
                changes += self._changes(message, span, side, b"contact", 0, mapped)
        return changes, stands_in

    def _of_name(self, message: Message, name: bytes, side: Side) -> Iterator[Change]:
        """What changes in a name. An address of ours stands for all hosts behind it: the other side is meant where its
        own words come back, or by its port."""
        party, ours = self._peers.own(side), self._peers.as_seen(side.other)
        comes_back = name == b"to" or (name == b"from" and not message.is_request)
        try:
            found = message.addresses(name)
        except BadMessage:  # more than are read
            return
        for span, address in found:
            is_meant = comes_back or address.port == ours.port
            if self._is_mapped[side.other] and address.host == self._peers.own(side.other).host:
                self._echoes.hear(self.call_id(message, side), side, name)
            if self._is_mapped[side] and address.host == party.host:
                if self._echoes.is_one(self.call_id(message, side), side, name, message.cseq.method):
                    continue
                yield from _renamed(span, address, party, self._peers.as_seen(side))
            elif self._is_mapped[side.other] and address.host == ours.host and is_meant:
                yield from _renamed(span, address, ours, self._peers.own(side.other))

    def call_id(self, message: Message, side: Side) -> bytes:
        """The Call-ID by which this gateway knows the call, whichever side names it."""
        if self._call_ids is None or not self._names.is_needed:
            return message.call_id
        return self._call_ids.hidden(message.call_id, side)

    def _agents(self, message: Message, span: Span, side: Side) -> Iterator[Change]:
        for match in _AGENT.finditer(message.data[span.start : span.end]):
            try:
                uri = remembered.read_uri(b"sip:" + match[1])
            except Malformed:
                continue  # a name may be anything
            at = Span(span.start + match.start(1), span.start + match.end(1))
            mapped = self._mapper.mapped(b"sip:" + match[1], uri, side)
            if mapped.is_guess:
                self._echoes.hear(self.call_id(message, side), side, b"warning")
            if self._comes_back(message, side, b"warning", 0, mapped):
                continue
            for change in mapped.changes:
                yield Span(at.start + change[0].start - 4, at.start + change[0].end - 4), change[1]

    def _value(
        self,
        message: Message,
        span: Span,
        side: Side,
        read: Callable[[bytes], values.Address],
        field: bytes,
        reserve_at: float | None = None,
    ) -> Mapped:
        """What becomes of the address that stands there. `reserve_at` is the time, if a port may be reserved for the
        address."""
        value, is_contact = message.data[span.start : span.end], field == b"contact"
        key = (self._number, side, is_contact, read, value)
        mapped = self._mapped.get(key)
        if mapped is None:
            address = message.read(span, read)
            if reserve_at is not None and isinstance(address.host, Host):
                at = Endpoint(address.host, address.port or DEFAULT_PORT)
                reserve_at = reserve_at if is_own_word(message, self._peers.own(side), at) else None
            mapped = self._mapper.mapped(value, address, side, is_contact, reserve_at)
            if mapped.is_lasting and len(value) <= MAX_MAPPED_BYTES and not message.oddities:
                self._mapped.put(key, mapped)
        return mapped

    def _changes(
        self, message: Message, span: Span, side: Side, field: bytes, from_last: int, mapped: Mapped
    ) -> Sequence[Change]:
        """What changes at that place of the message, unless the other side has said it first. `from_last` is the number
        of values of this field that stand behind it."""
        if mapped.is_guess:
            said_in = _contact_of(message) if field == b"contact" else field
            self._echoes.hear(self.call_id(message, side), side, said_in, from_last)
        if not (mapped.changes or mapped.known_as) or self._comes_back(message, side, field, from_last, mapped):
            return ()
        if mapped.known_as is not None:
            self._texts.uris.put(*mapped.known_as)
        return [(values.within(span, at), new) for at, new in mapped.changes] if mapped.changes else ()

    def _comes_back(self, message: Message, side: Side, field: bytes, from_last: int, mapped: Mapped) -> bool:
        """Whether the value there is what the other side has said, and so stays as it is."""
        call_id, method = self.call_id(message, side), message.cseq.method
        if field != b"contact":
            return mapped.is_own and self._echoes.is_one(call_id, side, field, method, from_last)
        is_echo = mapped.is_own and self._echoes.is_one(call_id, side, _contact_of(message), method)
        if is_echo and (not message.is_request or is_forwarded(message, self._peers.own(side).host)):
            return True  # a proxy forwards it; of itself a party says it in a request that has passed nobody
        if message.status >= 300 and mapped.is_own:
            # A redirect is made of the Request-URI, or of what phones have said.
            return self._echoes.is_one(call_id, side, b"request-uri", method)
        # A phone registers itself, and never its registrar; and what the registrar lists is what phones have said.
        return method == b"REGISTER" and message.is_request is not mapped.is_own


def _contact_of(message: Message) -> bytes:
    """Whose Contact a message names. A proxy that forwards requests of one side forwards responses of the other; a host
    that answers does not."""
    return b"contact" if message.is_request else b"contact of a response"


def _renamed(span: Span, address: values.Address, before: Endpoint, after: Endpoint) -> Iterator[Change]:
    """The change of the host, with its port only where that very port is mapped with it."""
    if address.hostport is not None:
        port = after.port if address.port == before.port else address.port
        yield (
            values.within(span, address.hostport),
            hostport(Endpoint(after.host, port or DEFAULT_PORT), port is not None),
        )


def _beside(changes: list[tuple[str, Change]], found: Iterable[tuple[str, Change]]) -> list[tuple[str, Change]]:
    """Both kinds of changes in the order of the message. What was found by its text alone gives way to what was read: a
    list that has no end is read in parts, and the same address may be found in a value as a whole and in its parts."""
    merged: list[tuple[str, Change]] = []
    ranked = [(change[0], 0, name, change) for name, change in changes]
    ranked += ((change[0], 1, name, change) for name, change in found)
    ranks: list[int] = []
    for at, rank, name, change in sorted(ranked):
        while merged and ranks[-1] > rank and merged[-1][1][0].end > at.start:
            merged.pop()
            ranks.pop()
        if not merged or not rank or merged[-1][1][0].end <= at.start:
            merged.append((name, change))
            ranks.append(rank)
    return merged
