"""What becomes of one address in a message where NAT is in force.

    the party's own        as the other side knows it: the port of its Contact, if that has one outside, else the port
                           that is known there already; the address that the party signals from stands in for all others
    ours                   where it stands for the other side's host: that host's own, spelled as it was spelled
    all others             stay

Ids in comments (S57) are those of `protocols/FACTS.md`.
"""

from __future__ import annotations

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Peers, Side
from protocols.sip import values
from protocols.sip.contacts import Contacts
from protocols.sip.names import DEFAULT_PORT, Names, hostport, maddr_instead
from protocols.sip.spellings import Change, Mapped, Spellings
from protocols.toolbox.memory import MAX_KEY_BYTES, short
from protocols.toolbox.spans import Span

STAYS = Mapped((), None, True)
"""The value is nobody's whom NAT maps."""
_STAYS_SO_FAR = Mapped((), None, False)
"""The same, and what is known later may change that."""


class Mapper:
    """Maps the addresses that one flow or connection says."""

    __slots__ = ("_contacts", "_is_mapped", "_names", "_peers", "_texts")

    def __init__(self, peers: Peers, texts: Spellings, names: Names, contacts: Contacts) -> None:
        self._peers = peers
        self._texts = texts
        self._names = names
        self._contacts = contacts
        self._is_mapped = names.is_mapped

    def mapped(
        self,
        value: bytes,
        address: values.Address,
        side: Side,
        is_contact: bool = False,
        reserve_at: float | None = None,
    ) -> Mapped:
        """What becomes of the address that was read in this value. `reserve_at` is the time, if a port may be reserved
        for it."""
        at = address.hostport
        if at is None or not isinstance(address.host, Host):
            return STAYS
        party, other = self._peers.own(side), self._peers.as_seen(side.other)
        own = Endpoint(address.host, address.port or DEFAULT_PORT)
        if self._is_mapped[side] and own == self._peers.as_seen(side):
            # A phone that learned by STUN how it is known outside names that address itself, and gets just that back.
            itself = self._peers.as_seen(side), address.port is not None
            return Mapped((), ((party, *itself), value[at.start : at.end]), True, is_own=True)
        if is_contact and (alias := self._names.alias_of(side, own)) is not None:
            if reserve_at is None or alias == party:
                return self._stand_in(value, address, side, self._peers.as_seen(side))
            seen = self._contacts.reserve(side, alias, reserve_at)
            return self._stand_in(value, address, side, seen or self._peers.as_seen(side), is_short=seen is None)
        if self._is_mapped[side] and address.host == party.host:
            return self._of_party(value, address, side, own, reserve_at)
        if self._is_mapped[side.other] and address.host == other.host:
            return Mapped(self._of_other(value, address, side), None, False)
        if self._is_mapped[side.other] and address.host == self._peers.own(side.other).host:
            return Mapped((), None, True, is_guess=True)
        # The host in a Contact may turn out to be another name of the sender's own: that is not settled yet.
        return STAYS if not is_contact or not self._names.maps_outward(side) else _STAYS_SO_FAR

    def _of_party(
        self, value: bytes, address: values.Address, side: Side, own: Endpoint, reserve_at: float | None
    ) -> Mapped:
        """What becomes of an address of the host that speaks. Its Contact reserves a port, if that may be: only for the
        transport that it signals by, and only where a phone can be (S57)."""
        peers, transport, at = self._peers, self._names.transport(address), address.hostport
        assert at is not None
        party, is_short = peers.own(side), False
        is_usual = transport is peers.transport
        if (
            reserve_at is not None
            and is_usual
            and own != party
            and self._names.maps_outward(side)
            and own.port >= LEAST_PORT
        ):
            seen = self._contacts.reserve(side, own, reserve_at)
            seen, is_short = seen or peers.as_seen(side), seen is None
        else:
            seen = self._names.outward(side, own.host, own.port, transport)
        if seen is None:
            return Mapped((), None, False, is_own=True)
        if self._names.inward(side, seen.host, seen.port, transport) != own:
            return self._stand_in(value, address, side, seen, is_short)
        has_port = address.port is not None
        shows_port = has_port or seen.port != DEFAULT_PORT
        changes = (at, hostport(seen, has_port)), *maddr_instead(address, party.host, seen.host)
        # Any other port has a contact of its own, which each message that names it keeps alive.
        is_lasting = own == party and is_usual
        known_as = (own, seen, shows_port), value[at.start : at.end]
        return Mapped(changes, known_as, is_lasting, is_own=True, stands_in=is_short)

    def _stand_in(
        self, value: bytes, address: values.Address, side: Side, seen: Endpoint, is_short: bool = False
    ) -> Mapped:
        """What becomes of an address of the party that has no port of its own outside. `is_short`: none could be
        had."""
        at = address.hostport
        assert at is not None and isinstance(address.host, Host)
        new = hostport(seen, address.port is not None)
        if at.end - at.start <= MAX_KEY_BYTES:
            has_port = address.port is not None or seen.port != DEFAULT_PORT
            self._texts.stand_ins.put((seen, _without(value, address.uri, at, has_port)), value[at.start : at.end])
        return Mapped(
            ((at, new), *maddr_instead(address, address.host, seen.host)), None, False, is_own=True, stands_in=is_short
        )

    def _of_other(self, value: bytes, address: values.Address, side: Side) -> tuple[Change, ...]:
        """What becomes of an address of ours that stands in a message and means the other side's host."""
        at, has_port = address.hostport, address.port is not None
        assert at is not None and isinstance(address.host, Host)
        known = Endpoint(address.host, address.port or DEFAULT_PORT)
        new: bytes | None = None
        if len(self._texts.stand_ins):
            has_port = address.port is not None
            new = self._texts.stand_ins.get((known, _without(value, address.uri, at, has_port)))
        if new is None:
            uris, transport = self._texts.uris, self._names.transport(address)
            new = self._names.spelled_inward(
                side.other, known.host, address.port, transport, lambda own, seen: uris.get((own, seen, has_port))
            )
        if new is None:
            return ()
        return (at, new), *maddr_instead(address, address.host, self._peers.own(side.other).host)


def _without(value: bytes, uri: Span, at: Span, has_port: bool) -> bytes:
    """What a URI says besides its host and port, and whether the other side is told a port. With and without a port it
    is another URI (RFC 3261 s.19.1.4), as the two Record-Routes of a proxy with two ports are."""
    return short(value[uri.start : at.start] + (b"\0:" if has_port else b"\0") + value[at.end : uri.end])
