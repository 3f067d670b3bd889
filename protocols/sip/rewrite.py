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
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Malformed, Peers, Side, Transport
from protocols.sip import odd, remembered, values
from protocols.sip.contacts import Contacts
from protocols.sip.echoes import Echoes
from protocols.sip.head import BadMessage
from protocols.sip.hiding import CallIds
from protocols.sip.message import Message
from protocols.sip.options import SipOptions
from protocols.toolbox.memory import MAX_KEY_BYTES, Memory, Recent, short
from protocols.toolbox.spans import Span

DEFAULT_PORT = 5060
MAX_TEXTS = 200_000
"""Spellings remembered; the oldest ones go. A lost one is written in the usual form."""
MAX_MAPPED = 100_000
"""Values whose addresses are found and mapped already. A lost one is read again."""
MAX_CALL_IDS = 50_000
MAX_ALIASES = 10_000
"""Hosts that call themselves by another address than they signal from."""

_PEOPLE = frozenset(
    (
        b"referred-by",
        b"p-asserted-identity",
        b"p-preferred-identity",
        b"remote-party-id",
        b"diversion",
        b"reply-to",
        b"history-info",
        b"p-associated-uri",
        b"p-called-party-id",
        b"p-served-user",
    )
)
_PLACES = frozenset((b"contact", b"route", b"record-route", b"path", b"service-route", b"refer-to"))
ADDRESSES = _PLACES | _PEOPLE
"""Fields whose values are addresses, of those in which a party names itself or the other."""
IDENTITIES = frozenset((b"from", b"to"))
"""Names of people, and signed (S80, S81): mapped only to hide the network behind us."""
NAMES = IDENTITIES | _PEOPLE
"""Fields that say who somebody is, and where nobody sends a request to: the host is mapped and nothing opened, and one
that cannot be read costs no call."""

_AGENT = re.compile(rb"(?:\A|,)[ \t\r\n]*+[0-9]{3} ([^ ,\"]++) \"")
"""RFC 3261 s.20.43: who warns, by name or by address."""
_TRICKLE = re.compile(rb",[ \t\r\n]*+trickle-ice(?![^ \t\r\n,])|\Atrickle-ice(?:[ \t\r\n]*+,[ \t\r\n]*+|\Z)", re.I)
"""Begins at a comma: from each of many blanks it would look for one anew."""

_EXTENSIONS = frozenset((b"supported", b"require"))

AGREED_BY_2XX = frozenset((b"REGISTER", b"INVITE", b"SUBSCRIBE"))
"""Requests whose Contact the other side is to use from their 2xx on (RFC 3261 s.10, s.12; RFC 6665)."""

MAX_MAPPED_BYTES = 256
"""Of values that are remembered with what they become: a phone has one Contact or two, and calls by few routes."""

Change = tuple[Span, bytes]


class Mapped(NamedTuple):
    """What becomes of an address; spans are offsets into the value."""

    changes: tuple[Change, ...]
    known_as: tuple[tuple[Endpoint, Endpoint, bool], bytes] | None
    """For the table: how the party spelled what it is now known as."""
    is_lasting: bool
    """It depends on the two hosts of the flow alone, so it is always the same."""
    is_own: bool = False
    """It names the host that the message is from."""
    is_guess: bool = False
    """It names the other side's host by an address of the inside, which this side cannot know."""


class MappedVia(NamedTuple):
    changes: tuple[Change, ...]
    answers: tuple[Endpoint, bool] | None
    """Of a response: the sent-by that it came to, and whether it has a port."""
    is_lasting: bool
    """As of Mapped, as long as sent-by was spelled as usual."""


_STAYS = Mapped((), None, True)
_VIA_STAYS = MappedVia((), None, True)


@dataclass(slots=True)
class Spellings:
    """How each party spelled what others know in another way, for all flows."""

    memory: Memory
    uris: Recent[tuple[Endpoint, Endpoint, bool], bytes] = field(init=False)
    """How the phone itself spelled host and port in its Contact: by its own, where others know it, and whether they are
    told the port; for one that has said both, with and without it, means two URIs (RFC 3261 s.19.1.4)."""
    stand_ins: Recent[tuple[Endpoint, bytes], bytes] = field(init=False)
    """Host and port in a URI that was given the address of its sender's signalling, by that address and the rest of the
    URI."""
    vias: Recent[tuple[bytes, Endpoint, bool], bytes] = field(init=False)
    """And in the Via of a transaction: by branch and the address that took its place."""
    mapped: Recent[tuple[int, Side, bool, object, bytes], Mapped] = field(init=False)
    """Values of fields, by the flow, and what becomes of them in it. Peers choose both, so they have no room of their
    own in each flow."""
    mapped_vias: Recent[tuple[int, Side, bool, bool, int, bytes], MappedVia] = field(init=False)
    """The same of Vias."""
    call_ids: Recent[tuple[bytes, Host], bytes] = field(init=False)
    """Hidden ones, each with the host that is to have its own back, and what they were."""
    aliases: Recent[tuple[Host, Host], bool] = field(init=False)
    """Hosts by the address that they signal from, with another one by which they call themselves."""

    def __post_init__(self) -> None:
        memory = self.memory
        self.uris, self.vias = Recent(MAX_TEXTS, memory), Recent(MAX_TEXTS, memory)
        self.stand_ins, self.call_ids = Recent(MAX_TEXTS, memory), Recent(MAX_CALL_IDS, memory)
        self.mapped, self.mapped_vias = Recent(MAX_MAPPED, memory), Recent(MAX_MAPPED, memory)
        self.aliases = Recent(MAX_ALIASES, memory)


class Rewriter:
    """For one flow or connection."""

    __slots__ = (
        "_call_ids",
        "_contacts",
        "_fields",
        "_is_mapped",
        "_mapped",
        "_mapped_vias",
        "_now",
        "_number",
        "_peers",
        "_strips_ice",
        "_texts",
        "_usual_vias",
        "echoes",
        "is_needed",
        "stands_in",
    )

    def __init__(
        self, peers: Peers, texts: Spellings, echoes: Echoes, contacts: Contacts, options: SipOptions, number: int
    ) -> None:
        """number: of this flow, among those that share the spellings."""
        self._peers = peers
        self._texts = texts
        self._contacts = contacts
        self.echoes = echoes
        self._fields = ADDRESSES | IDENTITIES if options.topology_hiding else ADDRESSES
        self._call_ids = CallIds(peers, texts.call_ids) if options.topology_hiding else None
        self._strips_ice = options.ice == "strip"
        self._now = 0.0
        self._number = number
        self._mapped, self._mapped_vias = texts.mapped, texts.mapped_vias
        self._usual_vias: dict[Side, tuple[int, bytes]] = {}
        """The last Via of each side that is answered where its requests come from, without NAT: where its branch stands
        in it, and the rest."""
        self._is_mapped = {side: peers.is_mapped(side) for side in Side}
        self.is_needed = options.fixup == "auto" and any(self._is_mapped.values())
        self.stands_in = False
        """In the last message an address could not be had, and the one that its sender is known by stands for it."""

    def rewrite(self, message: Message, side: Side, now: float) -> list[tuple[str, Change]]:
        """What changes in the head of a message from `side`, in order, with the name of the field.

        What the grammar does not know is read as far as it can be (odd.py), and an address of ours in it that has
        no place there is found as it stands. Raises Malformed when there is more of something than is read.
        """
        self._now = now
        self.stands_in = False
        if not self.is_needed:
            if message.is_request and self._peers.transport is Transport.UDP and not self._is_mapped[side]:
                self._expect_answers(message, side)
            return []
        data = message.data
        changes: list[tuple[str, Change]] = []
        names = message.names
        if message.is_request:
            of_target = self._value(message, message.uri, side, remembered.read_uri, b"request-uri")
            changes += [("request-uri", change) for change in of_target]
        for number, span in enumerate(message.parts(b"via")):
            changes += [("via", change) for change in self._via(message, span, side, number == 0)]
        for name in names:
            if name in self._fields:
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
        return _beside(changes, self._unreadable(message, side)) if message.oddities else changes

    def _unreadable(self, message: Message, side: Side) -> Iterator[tuple[str, Change]]:
        """Addresses of ours in values of which nothing can be read, where they stand as such."""
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
                    self.echoes.hear(call_id, side, name, None)
                for at, new in odd.renamed(value, other, inside):
                    yield name.decode(), (values.within(span, at), new)
            if self._is_mapped[side] and not self.echoes.is_one(call_id, side, name, message.cseq.method):
                for at, new in odd.renamed(value, party, self._peers.as_seen(side)):
                    yield name.decode(), (values.within(span, at), new)

    def _expect_answers(self, message: Message, side: Side) -> None:
        """Without rport they come to the port in Via, from which the request need not have come (RFC 3261 s.18.2.2)."""
        own = self._peers.own(side)
        try:
            span = message.parts(b"via")[0]
        except BadMessage:  # more than are read
            return
        # Without its branch, which is another in each transaction, it is the same in all requests of a phone.
        value = message.data[span.start : span.end]
        taken = remembered.BRANCH.search(value)
        at, end = taken.span(1) if taken is not None else (len(value), len(value))
        usual = at, value[:at] + value[end:]
        if self._usual_vias.get(side) == usual:
            return
        via = message.read(span, remembered.read_via)
        port = via.port or DEFAULT_PORT
        if via.host == own.host and port != own.port and b"rport" not in via.parameters:
            self._contacts.await_responses(side, Endpoint(own.host, port), self._now)
        elif len(value) <= MAX_MAPPED_BYTES and not message.oddities:
            self._usual_vias[side] = usual

    def _of_target(self, message: Message, name: bytes, side: Side) -> Iterator[Change]:
        parts = message.parts(name)
        for number, span in enumerate(parts):
            yield from self._value(message, span, side, remembered.read_address, name, len(parts) - 1 - number)

    def _of_name(self, message: Message, name: bytes, side: Side) -> Iterator[Change]:
        """An address of ours stands for all who are behind it: the other side is meant where its own words come back,
        or by its port."""
        party, ours = self._peers.own(side), self._peers.as_seen(side.other)
        comes_back = name == b"to" or (name == b"from" and not message.is_request)
        try:
            found = message.addresses(name)
        except BadMessage:  # more than are read
            return
        for span, address in found:
            is_meant = comes_back or address.port == ours.port
            if self._is_mapped[side.other] and address.host == self._peers.own(side.other).host:
                self.echoes.hear(self.call_id(message, side), side, name)
            if self._is_mapped[side] and address.host == party.host:
                if self.echoes.is_one(self.call_id(message, side), side, name, message.cseq.method):
                    continue
                yield from _renamed(span, address, party, self._peers.as_seen(side))
            elif self._is_mapped[side.other] and address.host == ours.host and is_meant:
                yield from _renamed(span, address, ours, self._peers.own(side.other))

    def call_id(self, message: Message, side: Side) -> bytes:
        """What the call is known by, whichever side names it."""
        if self._call_ids is None or not self.is_needed:
            return message.call_id
        return self._call_ids.hidden(message.call_id, side)

    def _agents(self, message: Message, span: Span, side: Side) -> Iterator[Change]:
        for match in _AGENT.finditer(message.data[span.start : span.end]):
            try:
                uri = remembered.read_uri(b"sip:" + match[1])
            except Malformed:
                continue  # a name may be anything
            at = Span(span.start + match.start(1), span.start + match.end(1))
            mapped = self._address(b"sip:" + match[1], uri, side)
            if mapped.is_guess:
                self.echoes.hear(self.call_id(message, side), side, b"warning")
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
        from_last: int = 0,
    ) -> Sequence[Change]:
        """What changes in the address that stands there. from_last: how many values of this field stand behind it."""
        value, is_contact = message.data[span.start : span.end], field == b"contact"
        key = (self._number, side, is_contact, read, value)
        mapped = self._mapped.get(key)
        if mapped is None:
            address = message.read(span, read)
            may_reserve = is_contact and message.is_request and message.method in AGREED_BY_2XX
            if may_reserve and isinstance(address.host, Host):
                may_reserve = self.is_own_word(message, side, Endpoint(address.host, address.port or DEFAULT_PORT))
            mapped = self._address(value, address, side, is_contact, may_reserve)
            if mapped.is_lasting and len(value) <= MAX_MAPPED_BYTES and not message.oddities:
                self._mapped.put(key, mapped)
        if mapped.is_guess:
            said_in = _contact_of(message) if is_contact else field
            self.echoes.hear(self.call_id(message, side), side, said_in, from_last)
        if not (mapped.changes or mapped.known_as) or self._comes_back(message, side, field, from_last, mapped):
            return ()
        if mapped.known_as is not None:
            self._texts.uris.put(*mapped.known_as)
        return [(values.within(span, at), new) for at, new in mapped.changes] if mapped.changes else ()

    def _comes_back(self, message: Message, side: Side, field: bytes, from_last: int, mapped: Mapped) -> bool:
        """Whether the value there is what the other side has said, and so stays as it is."""
        call_id, method = self.call_id(message, side), message.cseq.method
        if field != b"contact":
            return mapped.is_own and self.echoes.is_one(call_id, side, field, method, from_last)
        is_echo = mapped.is_own and self.echoes.is_one(call_id, side, _contact_of(message), method)
        if is_echo and (not message.is_request or self._is_forwarded(message, side)):
            return True  # a proxy forwards it; of itself a party says it in a request that has passed nobody
        if message.status >= 300 and mapped.is_own:
            # A redirect is made of the Request-URI, or of what phones have said.
            return self.echoes.is_one(call_id, side, b"request-uri", method)
        # A phone registers itself, and never its registrar; and what the registrar lists is what phones have said.
        return method == b"REGISTER" and message.is_request is not mapped.is_own

    def is_own_word(self, message: Message, side: Side, at: Endpoint) -> bool:
        """Whether the party on this side has said of itself that it waits there, in the Contact of its request. In one
        that it forwards for another host that host speaks, whatever address it names (a stranger names any that it
        likes). The proxy's own word in it is where it signals from, and where its Via has responses sent to."""
        if at == self._peers.own(side) or not self._is_forwarded(message, side):
            return True
        try:
            top = message.read(message.parts(b"via")[0], remembered.read_via)
        except BadMessage:  # more than are read
            return False
        return top.host == at.host and (top.port or DEFAULT_PORT) == at.port

    def _is_forwarded(self, message: Message, side: Side) -> bool:
        """Whether a request is another host's: a Via below the top one names that, or says that it was received from
        there (RFC 3261 s.18.2.1)."""
        own = self._peers.own(side).host
        try:
            lower = message.parts(b"via")[1:]
        except BadMessage:
            return True
        for span in lower:
            via = message.read(span, remembered.read_via)
            if via.host != own or via.received not in (None, own):
                return True
        return False

    def _address(
        self, value: bytes, address: values.Address, side: Side, is_contact: bool = False, may_reserve: bool = False
    ) -> Mapped:
        at = address.hostport
        if at is None or not isinstance(address.host, Host):
            return _STAYS
        party, other = self._peers.own(side), self._peers.as_seen(side.other)
        own = Endpoint(address.host, address.port or DEFAULT_PORT)
        if self._is_mapped[side] and own == self._peers.as_seen(side):
            # Who knows from STUN how it is known gets just that back.
            itself = self._peers.as_seen(side), address.port is not None
            return Mapped((), ((party, *itself), value[at.start : at.end]), True, is_own=True)
        if is_contact and (alias := self.alias_of(side, own)) is not None:
            return self._stand_in(value, address, side, self._outside(side, alias, may_reserve))
        if self._is_mapped[side] and address.host == party.host:
            transport = self.transport(address)
            may_reserve = may_reserve and transport is self._peers.transport
            seen = self.outward(side, own.host, own.port, transport, may_reserve)
            if seen is None:
                return Mapped((), None, False, is_own=True)
            if self.inward(side, seen.host, seen.port, transport) != own:
                return self._stand_in(value, address, side, seen)
            has_port = address.port is not None
            shows_port = has_port or seen.port != DEFAULT_PORT
            changes = (at, _hostport(seen, has_port)), *_maddr(address, party.host, seen.host)
            # Any other port has a contact of its own, which each message that names it keeps alive.
            is_lasting = own == party and transport is self._peers.transport
            return Mapped(changes, ((own, seen, shows_port), value[at.start : at.end]), is_lasting, is_own=True)
        if self._is_mapped[side.other] and address.host == other.host:
            return Mapped(self._of_other(value, address, side), None, False)
        if self._is_mapped[side.other] and address.host == self._peers.own(side.other).host:
            return Mapped((), None, True, is_guess=True)
        # A contact may turn out to be another name of its own host.
        return Mapped((), None, not (is_contact and self._maps_outward(side)))

    def _stand_in(self, value: bytes, address: values.Address, side: Side, seen: Endpoint) -> Mapped:
        """The party is named by an address that has no port of its own outside."""
        at = address.hostport
        assert at is not None and isinstance(address.host, Host)
        new = _hostport(seen, address.port is not None)
        if at.end - at.start <= MAX_KEY_BYTES:
            has_port = address.port is not None or seen.port != DEFAULT_PORT
            self._texts.stand_ins.put((seen, _without(value, address.uri, at, has_port)), value[at.start : at.end])
        return Mapped(((at, new), *_maddr(address, address.host, seen.host)), None, False, is_own=True)

    def _of_other(self, value: bytes, address: values.Address, side: Side) -> tuple[Change, ...]:
        """What becomes of an address of ours, by which the other side's host is meant."""
        at, has_port = address.hostport, address.port is not None
        assert at is not None and isinstance(address.host, Host)
        known = Endpoint(address.host, address.port or DEFAULT_PORT)
        new: bytes | None = None
        if len(self._texts.stand_ins):
            has_port = address.port is not None
            new = self._texts.stand_ins.get((known, _without(value, address.uri, at, has_port)))
        if new is None:
            uris, transport = self._texts.uris, self.transport(address)
            new = self._inward(
                side.other, known.host, address.port, transport, lambda own, seen: uris.get((own, seen, has_port))
            )
        if new is None:
            return ()
        return (at, new), *_maddr(address, address.host, self._peers.own(side.other).host)

    def _via(self, message: Message, span: Span, side: Side, is_top: bool) -> Sequence[Change]:
        """What changes in the Via that stands there. It is remembered without its branch, which is another in each
        transaction, and on which nothing depends but how sent-by was spelled."""
        value = message.data[span.start : span.end]
        taken = remembered.BRANCH.search(value)
        at, end = taken.span(1) if taken is not None else (len(value), len(value))
        key = (self._number, side, message.is_request, is_top, at, value[:at] + value[end:])
        mapped = self._mapped_vias.get(key)
        if mapped is None or (mapped.answers is not None and self._spelled(value[at:end], mapped.answers) is not None):
            via = message.read(span, remembered.read_via)
            if message.is_request:
                if is_top and isinstance(via.host, Host):
                    self._learn_alias(message, via.host, side)
                mapped = self._request_via(value, via, side, is_top)
            else:
                mapped = self._response_via(via, side, is_top)
            branch = via.parameters.get(b"branch")
            is_the_one = branch is None or (branch.span == (at, end) and value.lower().count(b"branch") == 1)
            if mapped.is_lasting and len(value) <= MAX_MAPPED_BYTES and is_the_one and not message.oddities:
                self._mapped_vias.put(key, mapped._replace(changes=_moved(mapped.changes, end, at - end)))
            return _moved(mapped.changes, 0, span.start)
        return _moved(mapped.changes, at, end - at, span.start)

    def _request_via(self, value: bytes, via: values.Via, side: Side, is_top: bool) -> MappedVia:
        if not self._maps_outward(side):
            return _VIA_STAYS
        own, transport = self._peers.own(side), self._peers.transport
        if isinstance(via.host, Host) and via.host == self._peers.as_seen(side).host:
            # Who knows from STUN how it is known gets just that back.
            at, known_as = via.hostport, (Endpoint(via.host, via.port or DEFAULT_PORT), via.port is not None)
            if at.end - at.start <= MAX_KEY_BYTES:
                self._texts.vias.put((short(via.branch or b""), *known_as), value[at.start : at.end])
            return MappedVia((), None, False)
        if not isinstance(via.host, Host):
            return _VIA_STAYS
        alias = self.alias_of(side, Endpoint(via.host, via.port or DEFAULT_PORT)) if is_top else None
        if via.host != own.host and alias is None:
            # It may turn out to be another name of its own host.
            return _VIA_STAYS._replace(is_lasting=not is_top)
        # With rport the answer comes to where the request came from, whatever port is said here (RFC 3581 s.4).
        is_usual_port = b"rport" in via.parameters or alias is not None
        port = own.port if is_usual_port else via.port or DEFAULT_PORT
        seen: Endpoint | None
        if is_top and transport is Transport.UDP and port != own.port and port >= LEAST_PORT:
            seen = self._contacts.await_responses(side, Endpoint(own.host, port), self._now)
            seen = seen or self._peers.as_seen(side)
        else:
            seen = self.outward(side, own.host, port, transport)
        if seen is None:
            return MappedVia((), None, False)
        at, has_port = via.hostport, via.port is not None
        shows_port = has_port or seen.port != DEFAULT_PORT
        put_back = self.inward(side, seen.host, seen.port, transport)
        is_usual = put_back is not None and value[at.start : at.end] == _hostport(put_back, shows_port)
        if not is_usual and at.end - at.start <= MAX_KEY_BYTES:
            self._texts.vias.put((short(via.branch or b""), seen, shows_port), value[at.start : at.end])
        # Of a hop before its last one: what that hop saw, which is behind us, too.
        added = _added(via, own.host, self._peers.as_seen(side).host)
        return MappedVia(((at, _hostport(seen, has_port)), *added), None, is_usual and port == own.port)

    def _response_via(self, via: values.Via, side: Side, is_top: bool) -> MappedVia:
        party, transport = side.other, self._peers.transport
        if not self._is_mapped[party]:
            return _VIA_STAYS
        own, seen = self._peers.own(party), self._peers.as_seen(party)
        if not isinstance(via.host, Host) or via.host != seen.host:
            return _VIA_STAYS
        port, has_port, branch = via.port or DEFAULT_PORT, via.port is not None, via.branch or b""
        new = self._inward(
            party, via.host, via.port, transport, lambda _, seen: self._spelled(branch, (seen, has_port))
        )
        if new is None:
            return MappedVia((), None, False)
        changes = [(via.hostport, new), *_added(via, seen.host, own.host)]
        # Who says that it has seen the party at its own host, but at another port, would have it name that port in its
        # Contact. Behind another NAT `received` says who it is.
        is_seen_here = is_top and via.rport is not None and via.received in (None, seen.host, own.host)
        if via.rport == seen.port or is_seen_here:
            changes.append((via.parameters[b"rport"].span, b"%d" % own.port))
        answers = Endpoint(via.host, port), has_port
        is_usual = self._spelled(branch, answers) is None
        return MappedVia(tuple(changes), answers, is_usual and port == seen.port)

    def _spelled(self, branch: bytes, answers: tuple[Endpoint, bool]) -> bytes | None:
        """How sent-by stood in the request that a response is for, unless in the usual form."""
        return self._texts.vias.get((short(branch), *answers))

    # -- the two names of an address ---------------------------------------------------------------------------------

    def transport(self, address: values.Address) -> Transport:
        """By which it is to be reached (RFC 3261 s.19.1.1)."""
        named = (address.uri_parameter(b"transport") or b"").lower()
        if named in (b"tcp", b"tls"):
            return Transport.TCP
        return Transport.UDP if named == b"udp" else self._peers.transport

    def _maps_outward(self, side: Side) -> bool:
        return self.is_needed and self._is_mapped[side]

    def outward(
        self, side: Side, host: Host, port: int | None, transport: Transport, may_reserve: bool = False
    ) -> Endpoint | None:
        """What the other side is told in place of this side's own address; None if it is not its own, or stays.

        may_reserve: the party names it as its Contact, for the transport that it signals by. Any other address that is
        not known outside is stood in for by the one that the party signals from."""
        if not self._maps_outward(side) or host != self._peers.own(side).host:
            return None
        port = port or DEFAULT_PORT
        if port < LEAST_PORT and port != self._peers.own(side).port:  # no phone is there (S57)
            return None
        own, peers = Endpoint(host, port), self._peers
        if may_reserve or (own == peers.own(side) and transport is peers.transport):
            return self._outside(side, own, may_reserve)
        # A phone has one address outside, whatever the transport (RFC 3263 s.4.1: who names none means any).
        kinds = (transport,) if own == peers.own(side) else (transport, *Transport)
        return self._contacts.known(side, own, *kinds) or peers.as_seen(side)

    def _outside(self, side: Side, own: Endpoint, may_reserve: bool) -> Endpoint:
        if own == self._peers.own(side) or not may_reserve:
            return self._peers.as_seen(side)
        # Where one cannot be had, a thousand others cannot.
        seen = None if self.stands_in else self._contacts.reserve(side, own, self._now)
        self.stands_in = seen is None
        return seen or self._peers.as_seen(side)

    def inward(self, side: Side, host: Host, port: int | None, transport: Transport) -> Endpoint | None:
        """Which address of this side's own the other side means."""
        if not self._is_mapped[side]:
            return None
        peers, signals = self._peers, self._peers.as_seen(side)
        if host != signals.host:
            return None
        at, inside = Endpoint(host, port or DEFAULT_PORT), self._contacts.inside
        if at == signals and (transport is peers.transport or (transport, at) not in inside):
            return peers.own(side)
        # A phone has one address outside, whatever the transport.
        own = next((inside[kind, at] for kind in (transport, *Transport) if (kind, at) in inside), None)
        # That of another one behind us stays what it is to everybody: requests to it come by way of us, too.
        return own if own is not None and own.host == peers.own(side).host else None

    # -- other names of a host ---------------------------------------------------------------------------------------

    def alias_of(self, side: Side, named: Endpoint) -> Endpoint | None:
        """Where a party of this side really is that calls itself by an address at which nobody finds it from here; None
        if it is not known to do so. By a connection it says at least at which port it waits."""
        own = self._peers.own(side)
        if not self._maps_outward(side) or not len(self._texts.aliases):
            return None
        if not self._texts.aliases.get((own.host, named.host)):
            return None
        return own if self._peers.transport is Transport.UDP else Endpoint(own.host, named.port)

    def _learn_alias(self, message: Message, host: Host, side: Side) -> None:
        """A phone that took the address of its VPN, or of a container, for its own: Via and Contact of a request that
        has passed nobody name it, and it comes from another. Nobody answers there, so it is to be known by the address
        that it signals from, as one behind a NAT of its own is outside."""
        own = self._peers.own(side)
        if not self._maps_outward(side) or host == own.host or host.is_global or host.version != own.host.version:
            return
        if len(message.parts(b"via")) > 1 or host in (self._peers.as_seen(side).host, self._peers.own(side.other).host):
            return
        try:
            contacts = message.addresses(b"contact")
        except BadMessage:
            return
        if contacts and all(address.host == host for _, address in contacts):
            self._texts.aliases.put((own.host, host), True)

    def _inward(
        self,
        side: Side,
        host: Host,
        port: int | None,
        transport: Transport,
        spelling: Callable[[Endpoint, Endpoint], bytes | None],
    ) -> bytes | None:
        own = self.inward(side, host, port, transport)
        if own is None:
            return None
        return spelling(own, Endpoint(host, port or DEFAULT_PORT)) or _hostport(own, port is not None)


def _contact_of(message: Message) -> bytes:
    """A proxy that forwards requests of one side forwards responses of the other; a host that answers does not."""
    return b"contact" if message.is_request else b"contact of a response"


def _renamed(span: Span, address: values.Address, before: Endpoint, after: Endpoint) -> Iterator[Change]:
    """The host, with its port only where that is the one that is mapped with it."""
    if address.hostport is not None:
        port = after.port if address.port == before.port else address.port
        yield (
            values.within(span, address.hostport),
            _hostport(Endpoint(after.host, port or DEFAULT_PORT), port is not None),
        )


def _beside(changes: list[tuple[str, Change]], found: Iterable[tuple[str, Change]]) -> list[tuple[str, Change]]:
    """In their order. What was found as it stands gives way to what was read: a list that has no end is read in parts,
    and of a value as a whole and of its parts the same may be found."""
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


def _moved(changes: Sequence[Change], behind: int, by: int, all_by: int = 0) -> tuple[Change, ...]:
    """Those that stand behind there, by so much; and all of them by so much."""
    moved = []
    for (start, end), new in changes:
        further = all_by + by if start >= behind else all_by
        moved.append((Span(start + further, end + further), new))
    return tuple(moved)


def _without(value: bytes, uri: Span, at: Span, has_port: bool) -> bytes:
    """What a URI says besides its host and port, and whether the other side is told a port: with and without one it is
    another URI (RFC 3261 s.19.1.4), as the two Record-Routes of a proxy with two ports are."""
    return short(value[uri.start : at.start] + (b"\0:" if has_port else b"\0") + value[at.end : uri.end])


def _maddr(address: values.Address, before: Host, after: Host) -> Iterator[Change]:
    """Where requests go instead of to the host (RFC 3261 s.19.1.1), where it is the same one."""
    maddr = address.uri_parameters.get(b"maddr")
    if maddr is not None and maddr.value is not None:
        plain = maddr.value.strip(b"[]")
        if plain == str(before).encode():
            yield maddr.span, maddr.value.replace(plain, str(after).encode())


def _added(via: values.Via, before: Host, after: Host) -> Iterator[Change]:
    """Parameters of a Via that name a host, where they name this one. In brackets if they are (S22)."""
    for name, host in ((b"received", via.received), (b"maddr", via.maddr)):
        if host == before:
            parameter = via.parameters[name]
            text = b"[%b]" if (parameter.value or b"").startswith(b"[") else b"%b"
            yield parameter.span, text % str(after).encode()


@lru_cache(maxsize=1024)
def _hostport(endpoint: Endpoint, with_port: bool) -> bytes:
    if endpoint.port == DEFAULT_PORT and not with_port:
        return b"[%b]" % str(endpoint.host).encode() if endpoint.host.version == 6 else str(endpoint.host).encode()
    return str(endpoint).encode()
