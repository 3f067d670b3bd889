"""Addresses in SIP header fields: each party reads the address under which it knows the other, and gets its own back.

RFC 3261 s.8.1.3.3 (a Via must come back as it was sent), s.19.1.4 (a port left out is not port 5060), s.20; RFC 3581
(rport). What each must believe, where NAT is in force:

1) whoever reads a message finds the other's address as it is known there: in Via, Contact, Route and their kin;
2) whoever is named by the address that the other knows finds its own, spelled as it spelled it itself;
3) everybody else's address stays, and so does each byte around the addresses.

Only values are mapped (X8): the host's own address, and the one that stands for it. Names are nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from protocols import sip_values as values
from protocols.engine import Endpoint, Host, Malformed, Peers, Side, Transport
from protocols.sip_contacts import LEAST_PORT, Contacts
from protocols.sip_hiding import CallIds
from protocols.sip_message import BadMessage, Message
from protocols.sip_options import SipOptions
from protocols.sip_table import SipTable
from protocols.spans import Span

DEFAULT_PORT = 5060

MAX_KEY_BYTES = 128
"""What is remembered of each of many transactions: the branch, and how sent-by was spelled."""

ADDRESSES = frozenset(
    (
        b"contact",
        b"route",
        b"record-route",
        b"path",
        b"service-route",
        b"refer-to",
        b"referred-by",
        b"p-asserted-identity",
        b"p-preferred-identity",
        b"remote-party-id",
        b"diversion",
    )
)
"""Fields whose values are addresses, of those in which a party names itself or the other."""
IDENTITIES = frozenset((b"from", b"to"))
"""Names of people, and signed (S80, S81): mapped only to hide the network behind us."""
NAMES = IDENTITIES | frozenset(
    (
        b"referred-by",
        b"p-asserted-identity",
        b"p-preferred-identity",
        b"remote-party-id",
        b"diversion",
    )
)
"""Fields that say who somebody is, and where nobody sends a request to: the host is mapped and nothing opened, and one
that cannot be read costs no call."""

_AGENT = re.compile(rb"(?:\A|,)[ \t\r\n]*+[0-9]{3} ([^ ,\"]++) \"")
"""RFC 3261 s.20.43: who warns, by name or by address."""
_TRICKLE = re.compile(rb",[ \t\r\n]*+trickle-ice(?![^ \t\r\n,])|\Atrickle-ice(?:[ \t\r\n]*+,[ \t\r\n]*+|\Z)", re.I)
"""Begins at a comma: from each of many blanks it would look for one anew."""

_EXTENSIONS = frozenset((b"supported", b"require"))

MAX_MAPPED = 64
MAX_MAPPED_BYTES = 256
"""Values of a flow that are remembered with what they become: a phone has one Contact or two, and calls by few
routes."""

Change = tuple[Span, bytes]
Key = TypeVar("Key")
Value = TypeVar("Value")


class _Mapped(NamedTuple):
    """What becomes of an address; spans are offsets into the value."""

    changes: tuple[Change, ...]
    known_as: tuple[tuple[Endpoint, Endpoint, bool], bytes] | None
    """For the table: how the party spelled what it is now known as."""
    is_lasting: bool
    """It depends on the two hosts of the flow alone, so it is always the same."""


class _MappedVia(NamedTuple):
    changes: tuple[Change, ...]
    answers: tuple[Endpoint, bool] | None
    """Of a response: the sent-by that it came to, and whether it has a port."""
    is_lasting: bool
    """As of _Mapped, as long as sent-by was spelled as usual."""


_STAYS = _Mapped((), None, True)
_VIA_STAYS = _MappedVia((), None, True)


class Rewriter:
    """For one flow or connection."""

    __slots__ = (
        "_call_ids",
        "_contacts",
        "_fields",
        "_is_mapped",
        "_is_needed",
        "_mapped",
        "_mapped_vias",
        "_now",
        "_peers",
        "_strips_ice",
        "_table",
        "stands_in",
    )

    def __init__(self, peers: Peers, table: SipTable, contacts: Contacts, options: SipOptions) -> None:
        self._peers = peers
        self._table = table
        self._contacts = contacts
        self._fields = ADDRESSES | IDENTITIES if options.topology_hiding else ADDRESSES
        self._call_ids = CallIds(peers, table.call_ids) if options.topology_hiding else None
        self._strips_ice = options.ice == "strip"
        self._now = 0.0
        self._mapped: dict[tuple[Side, object, bytes], _Mapped] = {}
        self._mapped_vias: dict[tuple[Side, bool, int, bytes], _MappedVia] = {}
        self._is_mapped = {side: peers.is_mapped(side) for side in Side}
        self._is_needed = options.fixup == "auto" and any(self._is_mapped.values())
        self.stands_in = False
        """In the last message an address could not be had, and the one that its sender is known by stands for it."""

    def rewrite(self, message: Message, side: Side, now: float) -> list[tuple[str, Change]]:
        """What changes in the head of a message from `side`, in order, with the name of the field.

        Raises Malformed when an address in it cannot be read.
        """
        self._now = now
        self.stands_in = False
        if not self._is_needed:
            if message.is_request and self._peers.transport is Transport.UDP and not self._is_mapped[side]:
                self._expect_answers(message, side)
            return []
        data = message.data
        changes: list[tuple[str, Change]] = []
        names = message.names
        if message.is_request:
            changes += [("request-uri", change) for change in self._value(message, message.uri, side, values.read_uri)]
        for span in message.parts(b"via"):
            for change in self._via(message, span, side):
                changes.append(("via", change))
        for name in names:
            if name in self._fields:
                of_field = self._of_name if name in NAMES else self._of_target
                changes += [(name.decode(), change) for change in of_field(message, name, side)]
        if b"warning" in names:
            for span in message.spans(b"warning"):
                changes += [("warning", change) for change in self._agents(span, data, side)]
        if self._call_ids is not None:
            changes += self._call_ids.changes(message, side)
        if self._strips_ice:
            for name in names & _EXTENSIONS:
                for span in message.spans(name):
                    found = _TRICKLE.finditer(data[span.start : span.end])
                    changes += ((name.decode(), (values.within(span, Span(*match.span())), b"")) for match in found)
        changes.sort(key=lambda named: named[1][0])
        return changes

    def _expect_answers(self, message: Message, side: Side) -> None:
        """Without rport they come to the port in Via, from which the request need not have come (RFC 3261 s.18.2.2)."""
        own = self._peers.own(side)
        try:
            via = message.read(message.parts(b"via")[0], values.read_via)
        except BadMessage:
            return
        port = via.port or DEFAULT_PORT
        if via.host == own.host and port != own.port and b"rport" not in via.parameters:
            self._contacts.mentioned(side, Endpoint(own.host, port), Transport.UDP, self._now)

    def _of_target(self, message: Message, name: bytes, side: Side) -> Iterator[Change]:
        for span in message.parts(name):
            yield from self._value(message, span, side, values.read_address)

    def _of_name(self, message: Message, name: bytes, side: Side) -> Iterator[Change]:
        """An address of ours stands for all who are behind it: the other side is meant where its own words come back,
        or by its port."""
        party, ours = self._peers.own(side), self._peers.as_seen(side.other)
        comes_back = name == b"to" or (name == b"from" and not message.is_request)
        try:
            found = message.addresses(name)
        except BadMessage:
            return
        for span, address in found:
            is_meant = comes_back or address.port == ours.port
            if self._is_mapped[side] and address.host == party.host:
                yield from _renamed(span, address, party, self._peers.as_seen(side))
            elif self._is_mapped[side.other] and address.host == ours.host and is_meant:
                yield from _renamed(span, address, ours, self._peers.own(side.other))

    def call_id(self, message: Message, side: Side) -> bytes:
        """What the call is known by, whichever side names it."""
        if self._call_ids is None or not self._is_needed:
            return message.call_id
        return self._call_ids.hidden(message.call_id, side)

    def _agents(self, span: Span, data: bytes, side: Side) -> Iterator[Change]:
        for match in _AGENT.finditer(data[span.start : span.end]):
            try:
                uri = values.read_uri(b"sip:" + match[1])
            except Malformed:
                continue  # a name may be anything
            at = Span(span.start + match.start(1), span.start + match.end(1))
            for change in self._address(b"sip:" + match[1], uri, side).changes:
                yield Span(at.start + change[0].start - 4, at.start + change[0].end - 4), change[1]

    def _value(
        self, message: Message, span: Span, side: Side, read: Callable[[bytes], values.Address]
    ) -> Sequence[Change]:
        """What changes in the address that stands there."""
        value = message.data[span.start : span.end]
        key = (side, read, value)
        mapped = self._mapped.get(key)
        if mapped is None:
            mapped = self._address(value, message.read(span, read), side)
            if mapped.is_lasting and len(value) <= MAX_MAPPED_BYTES:
                _remember(self._mapped, key, mapped)
        if mapped.known_as is not None:
            self._table.uris.put(*mapped.known_as)
        return [(values.within(span, at), new) for at, new in mapped.changes] if mapped.changes else ()

    def _address(self, value: bytes, address: values.Address, side: Side) -> _Mapped:
        at = address.hostport
        if at is None or not isinstance(address.host, Host):
            return _STAYS
        party, other = self._peers.own(side), self._peers.as_seen(side.other)
        if self._is_mapped[side] and Endpoint(address.host, address.port or DEFAULT_PORT) == self._peers.as_seen(side):
            # Who knows from STUN how it is known gets just that back.
            itself = self._peers.as_seen(side), address.port is not None
            return _Mapped((), ((party, *itself), value[at.start : at.end]), True)
        if not (
            (self._is_mapped[side] and address.host == party.host)
            or (self._is_mapped[side.other] and address.host == other.host)
        ):
            return _STAYS
        transport = self.transport(address)
        seen = self.outward(side, address.host, address.port, transport)
        has_port = address.port is not None
        if seen is not None:
            changes = (at, _hostport(seen, has_port)), *_maddr(address, party.host, seen.host)
            # Any other port has a contact of its own, which each message that names it keeps alive.
            is_lasting = (address.port or DEFAULT_PORT) == party.port and transport is self._peers.transport
            shows_port = has_port or seen.port != DEFAULT_PORT
            own = Endpoint(address.host, address.port or DEFAULT_PORT)
            known_as = (own, seen, shows_port), value[at.start : at.end]
            return _Mapped(changes, None if self.stands_in and not is_lasting else known_as, is_lasting)
        uris = self._table.uris
        new = self._inward(
            side.other, address.host, address.port, transport, lambda own, seen: uris.get((own, seen, has_port))
        )
        if new is None:
            return _Mapped((), None, False)
        return _Mapped(((at, new), *_maddr(address, address.host, self._peers.own(side.other).host)), None, False)

    def _via(self, message: Message, span: Span, side: Side) -> Sequence[Change]:
        """What changes in the Via that stands there. It is remembered without its branch, which is another in each
        transaction, and on which nothing depends but how sent-by was spelled."""
        value = message.data[span.start : span.end]
        taken = values.BRANCH.search(value)
        at, end = taken.span(1) if taken is not None else (len(value), len(value))
        key = (side, message.is_request, at, value[:at] + value[end:])
        mapped = self._mapped_vias.get(key)
        if mapped is None or (mapped.answers is not None and self._spelled(value[at:end], mapped.answers) is not None):
            via = message.read(span, values.read_via)
            mapped = self._request_via(value, via, side) if message.is_request else self._response_via(via, side)
            branch = via.parameters.get(b"branch")
            is_the_one = branch is None or (branch.span == (at, end) and value.lower().count(b"branch") == 1)
            if mapped.is_lasting and len(value) <= MAX_MAPPED_BYTES and is_the_one:
                _remember(self._mapped_vias, key, mapped._replace(changes=_moved(mapped.changes, end, at - end)))
        else:
            mapped = mapped._replace(changes=_moved(mapped.changes, at, end - at))
        return [(values.within(span, at), new) for at, new in mapped.changes]

    def _request_via(self, value: bytes, via: values.Via, side: Side) -> _MappedVia:
        own, transport = self._peers.own(side), self._peers.transport
        if isinstance(via.host, Host) and self._is_mapped[side] and via.host == self._peers.as_seen(side).host:
            # Who knows from STUN how it is known gets just that back.
            at, known_as = via.hostport, (Endpoint(via.host, via.port or DEFAULT_PORT), via.port is not None)
            if at.end - at.start <= MAX_KEY_BYTES:
                self._table.vias.put((_key(via.branch or b""), *known_as), value[at.start : at.end])
            return _MappedVia((), None, False)
        if not isinstance(via.host, Host) or via.host != own.host:
            return _VIA_STAYS
        # With rport the answer comes to where the request came from, whatever port is said here (RFC 3581 s.4).
        port = own.port if b"rport" in via.parameters else via.port or DEFAULT_PORT
        seen = self.outward(side, via.host, port, transport)
        if seen is None:
            return _MappedVia((), None, False)
        at, has_port = via.hostport, via.port is not None
        shows_port = has_port or seen.port != DEFAULT_PORT
        put_back = self.inward(side, seen.host, seen.port, transport)
        is_usual = put_back is not None and value[at.start : at.end] == _hostport(put_back, shows_port)
        if not is_usual and at.end - at.start <= MAX_KEY_BYTES:
            self._table.vias.put((_key(via.branch or b""), seen, shows_port), value[at.start : at.end])
        # Of a hop before its last one: what that hop saw, which is behind us, too.
        added = _added(via, own.host, self._peers.as_seen(side).host)
        return _MappedVia(((at, _hostport(seen, has_port)), *added), None, is_usual and port == own.port)

    def _response_via(self, via: values.Via, side: Side) -> _MappedVia:
        party, transport = side.other, self._peers.transport
        own, seen = self._peers.own(party), self._peers.as_seen(party)
        if not isinstance(via.host, Host) or via.host != seen.host:
            return _VIA_STAYS
        port, has_port, branch = via.port or DEFAULT_PORT, via.port is not None, via.branch or b""
        new = self._inward(
            party, via.host, via.port, transport, lambda _, seen: self._spelled(branch, (seen, has_port))
        )
        if new is None:
            return _MappedVia((), None, False)
        changes = [(via.hostport, new), *_added(via, seen.host, own.host)]
        if via.rport == seen.port:
            changes.append((via.parameters[b"rport"].span, b"%d" % own.port))
        answers = Endpoint(via.host, port), has_port
        is_usual = self._spelled(branch, answers) is None
        return _MappedVia(tuple(changes), answers, is_usual and port == seen.port)

    def _spelled(self, branch: bytes, answers: tuple[Endpoint, bool]) -> bytes | None:
        """How sent-by stood in the request that a response is for, unless in the usual form."""
        return self._table.vias.get((_key(branch), *answers))

    # -- the two names of an address ---------------------------------------------------------------------------------

    def transport(self, address: values.Address) -> Transport:
        """By which it is to be reached (RFC 3261 s.19.1.1)."""
        named = (address.uri_parameter(b"transport") or b"").lower()
        if named in (b"tcp", b"tls"):
            return Transport.TCP
        return Transport.UDP if named == b"udp" else self._peers.transport

    def outward(self, side: Side, host: Host, port: int | None, transport: Transport) -> Endpoint | None:
        """What the other side is told in place of this side's own address; None if it is not its own, or stays."""
        if not self._is_needed or not self._is_mapped[side]:
            return None
        peers, signals = self._peers, self._peers.own(side)
        if host != signals.host:
            return None
        port = port or DEFAULT_PORT
        if port == signals.port and transport is peers.transport:
            return peers.as_seen(side)
        if port < LEAST_PORT:  # no phone is there (S57)
            return None
        # Where one cannot be had, a thousand others cannot.
        at = Endpoint(host, port)
        seen = None if self.stands_in else self._contacts.mentioned(side, at, transport, self._now)
        self.stands_in = seen is None
        return seen or peers.as_seen(side)

    def inward(self, side: Side, host: Host, port: int | None, transport: Transport) -> Endpoint | None:
        """Which address of this side's own the other side means."""
        if not self._is_mapped[side]:
            return None
        peers, signals = self._peers, self._peers.as_seen(side)
        if host != signals.host:
            return None
        port = port or DEFAULT_PORT
        if port == signals.port and transport is peers.transport:
            return peers.own(side)
        own = self._table.inside.get((transport, Endpoint(host, port)))
        # That of another one behind us stays what it is to everybody: requests to it come by way of us, too.
        return own if own is not None and own.host == peers.own(side).host else None

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


def _renamed(span: Span, address: values.Address, before: Endpoint, after: Endpoint) -> Iterator[Change]:
    """The host, with its port only where that is the one that is mapped with it."""
    if address.hostport is not None:
        port = after.port if address.port == before.port else address.port
        yield (
            values.within(span, address.hostport),
            _hostport(Endpoint(after.host, port or DEFAULT_PORT), port is not None),
        )


def _remember(known: dict[Key, Value], key: Key, mapped: Value) -> None:
    if len(known) >= MAX_MAPPED:
        known.clear()
    known[key] = mapped


def _moved(changes: Sequence[Change], behind: int, by: int) -> tuple[Change, ...]:
    """Those that stand behind there, by so much."""
    return tuple((Span(at.start + by, at.end + by), new) if at.start >= behind else (at, new) for at, new in changes)


def _key(branch: bytes) -> bytes:
    """For a table of many: a long one by its hash (RFC 3261 sets no bound)."""
    return branch if len(branch) <= MAX_KEY_BYTES else blake2b(branch, digest_size=32).digest()


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
