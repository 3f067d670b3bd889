"""SIP subscriptions: a notifier may reach the subscriber for as long as the notifier has granted.

RFC 6665 s.4.1 and s.4.4: the 2xx to SUBSCRIBE says how long the subscription lasts, and NOTIFY comes to the Contact of
the SUBSCRIBE.
"""

from __future__ import annotations

from collections.abc import Hashable

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Malformed, Peers, Side, Transport, only
from protocols.sip.contacts import LAST_WORDS_SECONDS, Contacts
from protocols.sip.message import Message
from protocols.sip.names import DEFAULT_PORT, Names
from protocols.sip.vias import is_own_word
from protocols.toolbox.memory import Recent, short

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_SUBSCRIBED_SECONDS = 7 * 86400
"""A longer subscription is kept open for this long only."""
MAX_SUBSCRIBING = 64
"""How many SUBSCRIBE requests of one flow may wait for their answers."""
MAX_SUBSCRIBED = 16
"""How many places of one client are open to notifications. Notifications by the client's own TCP connection need no
place."""


class Subscriptions:
    """The subscriptions of the client of one flow or connection."""

    __slots__ = ("_asked", "_contacts", "_key", "_names", "_peers", "_until")

    def __init__(self, peers: Peers, names: Names, contacts: Contacts, key: Hashable) -> None:
        """key: the key under which the ports for notifications are claimed."""
        self._peers = peers
        self._names = names
        self._contacts = contacts
        self._key = key
        self._asked: Recent[tuple[bytes, int], Endpoint] = Recent(MAX_SUBSCRIBING)
        """(Call-ID, CSeq) of a request without a final response -> where the subscriber waits for notifications."""
        self._until: dict[Endpoint, float] = {}
        """where the subscriber waits for notifications -> until when they may come."""

    def hear(self, message: Message, side: Side, now: float) -> None:
        """Read a SUBSCRIBE or its response. A 2xx lets the notifier in at the place where the subscriber waits, for as
        long as the response says (RFC 6665 s.4.4.1; S72). A subscriber that named no place but its TCP connection is
        notified there, and needs no pinhole."""
        asked = short(message.call_id), message.cseq.number
        if message.is_request:
            if side is CLIENT:
                self._asked.put(asked, self._waits_at(message))
            return
        at = self._asked.get(asked)
        if side is CLIENT or message.status < 200 or at is None:
            return
        self._asked.drop(asked)
        seconds = (message.first(b"expires") or b"").strip()
        if message.status >= 300 or not seconds.isdigit() or len(seconds) > 9:
            return
        until = now + min(int(seconds), MAX_SUBSCRIBED_SECONDS) + LAST_WORDS_SECONDS
        if not int(seconds) or until <= self._until.get(at, 0.0):
            return
        own, transport = self._peers.own(CLIENT), self._peers.transport
        if at == own and transport is Transport.TCP:
            return
        if at not in self._until and len(self._until) >= MAX_SUBSCRIBED:
            self._until = {where: end for where, end in self._until.items() if end > now}
            if len(self._until) >= MAX_SUBSCRIBED:
                return
        self._until[at] = until
        allow, left = only(self._peers.own(SERVER).host), until - now
        self._contacts.claim(CLIENT, at, transport, self._key, allow, left, "200 SUBSCRIBE", now)

    def _waits_at(self, message: Message) -> Endpoint:
        """Where the client waits for notifications. That is the Contact of its request, if the Contact is its own and
        for the transport that it signals by. Otherwise it is the address that the client signals from."""
        own = self._peers.own(CLIENT)
        try:
            found = message.addresses(b"contact")
        except Malformed:
            return own
        for _, address in found[:1]:
            if isinstance(address.host, Host) and self._names.transport(address) is self._peers.transport:
                at = Endpoint(address.host, address.port or DEFAULT_PORT)
                at = self._names.alias_of(CLIENT, at) or at
                if at.host != own.host or at.port < LEAST_PORT:
                    return own
                return at if is_own_word(message, own, at) else own
        return own
