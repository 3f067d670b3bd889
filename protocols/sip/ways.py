"""How the parties of a SIP call reach each other, when requests of its dialog go another way than its INVITE did.

RFC 3261 s.12.1, s.12.2.1.1: they go by the Record-Routes of the INVITE, or to the Contact. A way in is opened with the
2xx: at the Contact that a party has named in a request of its own, or else where that party signals from.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport, only
from protocols.sdp.parties import Role
from protocols.sip.calls import Call, Hop, Transaction
from protocols.sip.contacts import Contacts
from protocols.sip.message import Message
from protocols.sip.names import DEFAULT_PORT, Names
from protocols.sip.vias import is_own_word

MAX_ROUTES = 64
"""A number that no Record-Route has: behind the last one, which is the Contact."""
DIALOG_SECONDS = 7 * 86400.0
"""A way to a party stands as long as its call; this is for one that nobody ends."""


class Ways:
    """The ways to the parties on both sides of one flow or connection."""

    __slots__ = ("_contacts", "_names", "_ours", "_peers")

    def __init__(self, peers: Peers, names: Names, contacts: Contacts) -> None:
        self._peers = peers
        self._names = names
        self._contacts = contacts
        self._ours = frozenset(peers.as_seen(side).host for side in Side if peers.is_mapped(side))

    def hop(self, message: Message, side: Side, number: int) -> Hop | None:
        """Where requests of a dialog come from on this side and go to (RFC 3261 s.12.2.1.1): what the Record-Route of
        that number names, or, if there is none of that number, the Contact. None if that is a name, or nothing."""
        routes = message.addresses(b"record-route")
        known = routes[number : number + 1] or message.addresses(b"contact")
        if not known or not isinstance(known[0][1].host, Host):
            return None
        address = known[0][1]
        at, transport = Endpoint(known[0][1].host, address.port or DEFAULT_PORT), self._names.transport(address)
        if not routes and message.is_request:
            at = self._names.alias_of(side, at) or at
        is_its_word = (
            not routes
            and message.is_request
            and transport is self._peers.transport
            and is_own_word(message, self._peers.own(side), at)
        )
        return Hop(side, at, transport, len(routes), is_its_word)

    def establish(self, call: Call, asked: Transaction, message: Message, side: Side, now: float) -> None:
        """A 2xx agrees to the dialog that its own request asked for: each party can be reached from now on.

        Its Record-Routes are those that the INVITE had when it passed this gateway, and before them those that proxies
        on the callee's side have added (RFC 3261 s.12.1.1), of which the last one names the proxy next to us.
        """
        caller = asked.hop
        if caller is None:
            return
        added = len(message.addresses(b"record-route")) - caller.routes
        callee = self.hop(message, side, added - 1 if added > 0 else MAX_ROUTES)
        self._reach(call, {Role.CALLER: caller, Role.CALLEE: callee}, now)

    def _reach(self, call: Call, hops: Mapping[Role, Hop | None], now: float) -> None:
        """A party gets a way in for whoever sends it requests in the dialog, unless it is reached already; or a BYE
        would stand before a wall (S43)."""
        peers = self._peers
        for role in Role:
            hop, other = hops[role], hops[role.other]
            if hop is None or hop.at.host != peers.own(hop.side).host:
                continue
            # What it did not say of itself, or not for the transport of this session, is known outside by the address
            # that it signals from, and by that alone.
            is_for_here = hop.is_own_word and hop.transport is peers.transport
            at = hop.at if is_for_here else peers.own(hop.side)
            signals_from = peers.own(hop.side.other).host
            comes_from = signals_from if other is None else self._really(other)
            if comes_from is None:
                continue
            is_reached = at == peers.own(hop.side) or (hop.side is Side.SERVER and not peers.is_mapped(hop.side))
            if is_reached and (comes_from == signals_from or self._is_port_of_connection(hop.side, at)):
                continue  # by the flow or connection that there is, or because a policy lets it
            hosts = dict.fromkeys((comes_from, signals_from) if at != peers.own(hop.side) else (comes_from,))
            allow = tuple(network for host in hosts for network in only(host))
            contact = self._contacts.claim(
                hop.side, at, peers.transport, call, allow, DIALOG_SECONDS, "200 INVITE", now
            )
            if contact is not None:
                call.claims.append((contact, self._contacts))
                call.comes_from(role.other, comes_from)

    def _really(self, hop: Hop) -> Host | None:
        """The host from which requests of that hop come. None if it is an address of ours that is nobody's, or the own
        address of the party on the other side: NAT hides that, so whoever names it has guessed."""
        other = hop.side.other
        if hop.at.host not in self._ours:
            is_guess = self._peers.is_mapped(other) and hop.at.host == self._peers.own(other).host
            return None if is_guess else hop.at.host
        own = self._contacts.inside.get((hop.transport, hop.at))  # another one behind us
        return own.host if own is not None else None

    def _is_port_of_connection(self, side: Side, at: Endpoint) -> bool:
        """Whether that is the port of the client's own TCP connection. Its kernel has chosen it, and nobody waits
        there."""
        return self._peers.transport is Transport.TCP and side is Side.CLIENT and at == self._peers.own(side)
