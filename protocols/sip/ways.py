"""How the parties of a SIP call reach each other when requests of the dialog go another way than its INVITE did.

RFC 3261 s.12.1, s.12.2.1.1: requests of the dialog go by the Record-Routes of the INVITE, or to the Contact. The 2xx
opens a way in to a party. It leads to the Contact that the party has named in a request of its own, or else to where
the party signals from.
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
"""A number that no Record-Route has. It stands behind the last one, so it means the Contact."""
DIALOG_SECONDS = 7 * 86400.0
"""The longest time that a way to a party stands. Usually it closes with its call; this is for a call that is never
ended."""


class Ways:
    """The ways to the parties on both sides of one flow or connection."""

    __slots__ = ("_contacts", "_names", "_ours", "_peers")

    def __init__(self, peers: Peers, names: Names, contacts: Contacts) -> None:
        self._peers = peers
        self._names = names
        self._contacts = contacts
        self._ours = frozenset(peers.as_seen(side).host for side in Side if peers.is_mapped(side))

    def hop(self, message: Message, side: Side, number: int) -> Hop | None:
        """The address on this side that sends and receives the requests of a dialog (RFC 3261 s.12.2.1.1). The
        Record-Route of that number names it, or the Contact where there is no Record-Route of that number. None: the
        address is a name, or nothing is named."""
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
        """A 2xx agrees to the dialog that its own request asked for, so each party can be reached from now on.

        The Record-Routes of the 2xx are those that the INVITE had when it passed this gateway. Before them stand those
        that proxies on the callee's side have added (RFC 3261 s.12.1.1); the last of these names the proxy next to us.
        """
        caller = asked.hop
        if caller is None:
            return
        added = len(message.addresses(b"record-route")) - caller.routes
        callee = self.hop(message, side, added - 1 if added > 0 else MAX_ROUTES)
        self._reach(call, {Role.CALLER: caller, Role.CALLEE: callee}, now)

    def _reach(self, call: Call, hops: Mapping[Role, Hop | None], now: float) -> None:
        """Open a way in to each party, for the host that sends it requests in the dialog. A party that can be reached
        already needs none. Without such a way a BYE would be blocked here (S43)."""
        peers = self._peers
        for role in Role:
            hop, other = hops[role], hops[role.other]
            if hop is None or hop.at.host != peers.own(hop.side).host:
                continue
            # The party may not have named its address itself, or not for the transport of this session. Then it is
            # known outside by the address that it signals from, and by that alone.
            is_for_here = hop.is_own_word and hop.transport is peers.transport
            at = hop.at if is_for_here else peers.own(hop.side)
            signals_from = peers.own(hop.side.other).host
            comes_from = signals_from if other is None else self._really(other)
            if comes_from is None:
                continue
            is_reached = at == peers.own(hop.side) or (hop.side is Side.SERVER and not peers.is_mapped(hop.side))
            if is_reached and (comes_from == signals_from or self._is_port_of_connection(hop.side, at)):
                continue  # the present flow or connection reaches the party, or a policy lets requests reach it
            hosts = dict.fromkeys((comes_from, signals_from) if at != peers.own(hop.side) else (comes_from,))
            allow = tuple(network for host in hosts for network in only(host))
            contact = self._contacts.claim(
                hop.side, at, peers.transport, call, allow, DIALOG_SECONDS, "200 INVITE", now
            )
            if contact is not None:
                call.claims.append((contact, self._contacts))
                call.comes_from(role.other, comes_from)

    def _really(self, hop: Hop) -> Host | None:
        """The host from which requests of that hop really come. None: the hop names an address of ours that stands for
        no contact, or the own address of the party on the other side. NAT hides that address, so whoever names it has
        guessed."""
        other = hop.side.other
        if hop.at.host not in self._ours:
            is_guess = self._peers.is_mapped(other) and hop.at.host == self._peers.own(other).host
            return None if is_guess else hop.at.host
        own = self._contacts.inside.get((hop.transport, hop.at))  # the hop is another party behind us
        return own.host if own is not None else None

    def _is_port_of_connection(self, side: Side, at: Endpoint) -> bool:
        """Whether this is the port of the client's own TCP connection. The client's kernel has chosen that port, so no
        program waits for connections there."""
        return self._peers.transport is Transport.TCP and side is Side.CLIENT and at == self._peers.own(side)
