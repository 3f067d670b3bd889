"""Via fields, which list the hops that a response goes back by. In a request the address of a hop becomes the one that
the other side knows (`_request_via`); in a response it becomes again what it was (`_response_via`).

RFC 3261 s.18.2.1 and s.18.2.2 (received, and where responses go), s.20.42; RFC 3581 (rport). A Via must come back as it
was sent (s.8.1.3.3), or its sender takes the response for somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Peers, Side, Transport
from protocols.sip import remembered, values
from protocols.sip.contacts import Contacts
from protocols.sip.head import BadMessage
from protocols.sip.message import Message
from protocols.sip.names import DEFAULT_PORT, Names, hostport
from protocols.sip.spellings import MAX_MAPPED_BYTES, Change, MappedVia, Spellings
from protocols.toolbox.memory import MAX_KEY_BYTES, short
from protocols.toolbox.spans import Span

_STAYS = MappedVia((), None, True)


class Vias:
    """The Vias in messages of one flow or connection."""

    __slots__ = ("_contacts", "_mapped", "_names", "_number", "_peers", "_texts", "_usual")

    def __init__(self, peers: Peers, texts: Spellings, names: Names, contacts: Contacts, number: int) -> None:
        """`number` is the number of this flow among those that share the spellings."""
        self._peers = peers
        self._texts = texts
        self._names = names
        self._contacts = contacts
        self._number = number
        self._mapped = texts.mapped_vias
        self._usual: dict[Side, tuple[int, bytes]] = {}
        """The last Via of each side that is answered where its requests come from, without NAT: where its branch stands
        in it, and the rest."""

    def expect_answers(self, message: Message, side: Side, now: float) -> None:
        """Open a way in for responses to a request without rport. They come to the port in its Via, from which the
        request need not have come (RFC 3261 s.18.2.2)."""
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
        if self._usual.get(side) == usual:
            return
        via = message.read(span, remembered.read_via)
        port = via.port or DEFAULT_PORT
        if via.host == own.host and port != own.port and b"rport" not in via.parameters:
            self._contacts.await_responses(side, Endpoint(own.host, port), now)
        elif len(value) <= MAX_MAPPED_BYTES and not message.oddities:
            self._usual[side] = usual

    def changes(self, message: Message, span: Span, side: Side, is_top: bool, now: float) -> Sequence[Change]:
        """What changes in the Via that stands there.

        What becomes of it is remembered without its branch, which is another in each transaction. Only how sent-by was
        spelled depends on the branch: a response whose sent-by was spelled oddly is read anew.
        """
        value = message.data[span.start : span.end]
        taken = remembered.BRANCH.search(value)
        at, end = taken.span(1) if taken is not None else (len(value), len(value))
        key = (self._number, side, message.is_request, is_top, at, value[:at] + value[end:])
        mapped = self._mapped.get(key)
        if mapped is None or (mapped.answers is not None and self._spelled(value[at:end], mapped.answers) is not None):
            via = message.read(span, remembered.read_via)
            if message.is_request:
                if is_top and isinstance(via.host, Host):
                    self._names.learn_alias(message, via.host, side)
                mapped = self._request_via(value, via, side, is_top, now)
            else:
                mapped = self._response_via(via, side, is_top)
            branch = via.parameters.get(b"branch")
            is_the_one = branch is None or (branch.span == (at, end) and value.lower().count(b"branch") == 1)
            if mapped.is_lasting and len(value) <= MAX_MAPPED_BYTES and is_the_one and not message.oddities:
                self._mapped.put(key, mapped._replace(changes=_moved(mapped.changes, end, at - end)))
            return _moved(mapped.changes, 0, span.start)
        return _moved(mapped.changes, at, end - at, span.start)

    def _request_via(self, value: bytes, via: values.Via, side: Side, is_top: bool, now: float) -> MappedVia:
        """A Via of a request, whichever side sends it: sent-by becomes the address by which the other side knows this
        one, for responses go there (RFC 3261 s.18.2.2). What it was is remembered unless it can be made again."""
        if not self._names.maps_outward(side):
            return _STAYS
        own, transport = self._peers.own(side), self._peers.transport
        if isinstance(via.host, Host) and via.host == self._peers.as_seen(side).host:
            # A phone that learned by STUN how it is known outside names that address itself, and gets just that back.
            at, known_as = via.hostport, (Endpoint(via.host, via.port or DEFAULT_PORT), via.port is not None)
            if at.end - at.start <= MAX_KEY_BYTES:
                self._texts.vias.put((short(via.branch or b""), *known_as), value[at.start : at.end])
            return MappedVia((), None, False)
        if not isinstance(via.host, Host):
            return _STAYS
        alias = self._names.alias_of(side, Endpoint(via.host, via.port or DEFAULT_PORT)) if is_top else None
        if via.host != own.host and alias is None:
            # The host of the top Via may turn out to be another name of the sender's own: that is not settled yet.
            return _STAYS._replace(is_lasting=not is_top)
        # With rport the answer comes to where the request came from, whatever port is said here (RFC 3581 s.4).
        is_usual_port = b"rport" in via.parameters or alias is not None
        port = own.port if is_usual_port else via.port or DEFAULT_PORT
        seen: Endpoint | None
        if is_top and transport is Transport.UDP and port != own.port and port >= LEAST_PORT:
            seen = self._contacts.await_responses(side, Endpoint(own.host, port), now)
            seen = seen or self._peers.as_seen(side)
        else:
            seen = self._names.outward(side, own.host, port, transport)
        if seen is None:
            return MappedVia((), None, False)
        at, has_port = via.hostport, via.port is not None
        shows_port = has_port or seen.port != DEFAULT_PORT
        put_back = self._names.inward(side, seen.host, seen.port, transport)
        is_usual = put_back is not None and value[at.start : at.end] == hostport(put_back, shows_port)
        if not is_usual and at.end - at.start <= MAX_KEY_BYTES:
            self._texts.vias.put((short(via.branch or b""), seen, shows_port), value[at.start : at.end])
        # A proxy behind us has written into the Via of a hop before it what it saw: that host is behind us, too.
        added = _added(via, own.host, self._peers.as_seen(side).host)
        return MappedVia(((at, hostport(seen, has_port)), *added), None, is_usual and port == own.port)

    def _response_via(self, via: values.Via, side: Side, is_top: bool) -> MappedVia:
        """What becomes of a Via on its way back: sent-by is again what it was in the request, and what the server says
        that it saw is what it would have seen without NAT."""
        party, transport = side.other, self._peers.transport
        if not self._names.is_mapped[party]:
            return _STAYS
        own, seen = self._peers.own(party), self._peers.as_seen(party)
        if not isinstance(via.host, Host) or via.host != seen.host:
            return _STAYS
        port, has_port, branch = via.port or DEFAULT_PORT, via.port is not None, via.branch or b""
        new = self._names.spelled_inward(
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


def is_forwarded(message: Message, own: Host) -> bool:
    """Whether a request that comes from `own` is another host's: a Via below the top one names that host, or says that
    the request was received from there (RFC 3261 s.18.2.1)."""
    try:
        lower = message.parts(b"via")[1:]
    except BadMessage:  # more than are read
        return True
    for span in lower:
        via = message.read(span, remembered.read_via)
        if via.host != own or via.received not in (None, own):
            return True
    return False


def is_own_word(message: Message, own: Endpoint, at: Endpoint) -> bool:
    """Whether the party that signals from `own` has said of itself, in the Contact of its request, that it waits there.
    In a request that it forwards for another host that host speaks, whatever address it names (a stranger names any
    that it likes). A proxy's own word in such a request is where it signals from, and where its Via has responses sent
    to."""
    if at == own or not is_forwarded(message, own.host):
        return True
    try:
        top = message.read(message.parts(b"via")[0], remembered.read_via)
    except BadMessage:  # more than are read
        return False
    return top.host == at.host and (top.port or DEFAULT_PORT) == at.port


def _moved(changes: Sequence[Change], behind: int, by: int, all_by: int = 0) -> tuple[Change, ...]:
    """The changes with those that stand at `behind` or later moved by `by` bytes, and all of them by `all_by`."""
    moved = []
    for (start, end), new in changes:
        further = all_by + by if start >= behind else all_by
        moved.append((Span(start + further, end + further), new))
    return tuple(moved)


def _added(via: values.Via, before: Host, after: Host) -> Iterator[Change]:
    """Changes to parameters of a Via that name a host, where they name this one. The host stands in brackets if it did
    before (S22)."""
    for name, host in ((b"received", via.received), (b"maddr", via.maddr)):
        if host == before:
            parameter = via.parameters[name]
            text = b"[%b]" if (parameter.value or b"").startswith(b"[") else b"%b"
            yield parameter.span, text % str(after).encode()
