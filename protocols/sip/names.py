"""The two names of an address: what a party calls itself, and how the party on the other side knows it.

With NAT each side that is mapped has an address of ours, by which the other side knows it: *outward* is from its own
address to that one, *inward* is the way back. Some hosts call themselves by a third address, an *alias*, of a VPN or a
container, where nobody finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Peers, Side, Transport
from protocols.sip import values
from protocols.sip.contacts import Contacts
from protocols.sip.head import BadMessage
from protocols.sip.message import Message
from protocols.sip.options import SipOptions
from protocols.sip.spellings import Change, Spellings

DEFAULT_PORT = 5060


class Names:
    """The names of the two parties of one flow or connection."""

    __slots__ = ("_contacts", "_peers", "_texts", "is_mapped", "is_needed")

    def __init__(self, peers: Peers, texts: Spellings, contacts: Contacts, options: SipOptions) -> None:
        self._peers = peers
        self._texts = texts
        self._contacts = contacts
        self.is_mapped = {side: peers.is_mapped(side) for side in Side}
        self.is_needed = options.fixup == "auto" and any(self.is_mapped.values())
        """Whether messages are rewritten at all."""

    def transport(self, address: values.Address) -> Transport:
        """The transport by which an address is to be reached (RFC 3261 s.19.1.1)."""
        named = (address.uri_parameter(b"transport") or b"").lower()
        if named in (b"tcp", b"tls"):
            return Transport.TCP
        return Transport.UDP if named == b"udp" else self._peers.transport

    def maps_outward(self, side: Side) -> bool:
        """Whether the other side is told another address than this side's own."""
        return self.is_needed and self.is_mapped[side]

    def outward(self, side: Side, host: Host, port: int | None, transport: Transport) -> Endpoint | None:
        """What the other side is told in place of this side's own address; None if it is not its own, or stays. An
        address that is not known outside is stood in for by the one that the party signals from."""
        if not self.maps_outward(side) or host != self._peers.own(side).host:
            return None
        port = port or DEFAULT_PORT
        if port < LEAST_PORT and port != self._peers.own(side).port:  # no phone is there (S57)
            return None
        own, peers = Endpoint(host, port), self._peers
        if own == peers.own(side) and transport is peers.transport:
            return peers.as_seen(side)
        # A phone has one address outside, whatever the transport (RFC 3263 s.4.1: who names none means any).
        kinds = (transport,) if own == peers.own(side) else (transport, *Transport)
        return self._contacts.known(side, own, *kinds) or peers.as_seen(side)

    def inward(self, side: Side, host: Host, port: int | None, transport: Transport) -> Endpoint | None:
        """The address of this side's own that the other side means by an address of ours; None if it means none of
        them."""
        if not self.is_mapped[side]:
            return None
        peers, signals = self._peers, self._peers.as_seen(side)
        if host != signals.host:
            return None
        at, inside = Endpoint(host, port or DEFAULT_PORT), self._contacts.inside
        if at == signals and (transport is peers.transport or (transport, at) not in inside):
            return peers.own(side)
        # A phone has one address outside, whatever the transport.
        own = next((inside[kind, at] for kind in (transport, *Transport) if (kind, at) in inside), None)
        # The address of ours that stands for another phone behind us stays: a request to it comes to this gateway as
        # well, and is mapped to that phone on a flow of its own.
        return own if own is not None and own.host == peers.own(side).host else None

    def spelled_inward(
        self,
        side: Side,
        host: Host,
        port: int | None,
        transport: Transport,
        spelling: Callable[[Endpoint, Endpoint], bytes | None],
    ) -> bytes | None:
        """The inward address as it stands in a message: as the party spelled it (spelling: own address, known address
        -> text), or in the usual form."""
        own = self.inward(side, host, port, transport)
        if own is None:
            return None
        return spelling(own, Endpoint(host, port or DEFAULT_PORT)) or hostport(own, port is not None)

    # -- other names of a host ---------------------------------------------------------------------------------------

    def alias_of(self, side: Side, named: Endpoint) -> Endpoint | None:
        """Where a party on this side really waits, if it is known to call itself by an address at which nobody finds it
        from here; else None. It waits where it signals from. On a connection, whose source port the kernel has chosen,
        the port that it names still says where it waits."""
        own = self._peers.own(side)
        if not self.maps_outward(side) or not len(self._texts.aliases):
            return None
        if not self._texts.aliases.get((own.host, named.host)):
            return None
        return own if self._peers.transport is Transport.UDP else Endpoint(own.host, named.port)

    def learn_alias(self, message: Message, host: Host, side: Side) -> None:
        """Learn the other name of a phone that took the address of its VPN, or of a container, for its own.

        Via and Contact of a request that has passed no proxy both name it, and yet the request comes from another host.
        Nobody answers at the named address. So the phone is known by the one that it signals from, as a server outside
        knows a phone behind a NAT of its own (RFC 3581 s.4).
        """
        own = self._peers.own(side)
        if not self.maps_outward(side) or host == own.host or host.is_global or host.version != own.host.version:
            return
        if len(message.parts(b"via")) > 1 or host in (self._peers.as_seen(side).host, self._peers.own(side.other).host):
            return
        try:
            contacts = message.addresses(b"contact")
        except BadMessage:
            return
        if contacts and all(address.host == host for _, address in contacts):
            self._texts.aliases.put((own.host, host), True)


def maddr_instead(address: values.Address, before: Host, after: Host) -> Iterator[Change]:
    """The change to the parameter maddr, which names where requests go in place of the host (RFC 3261 s.19.1.1), if it
    names the same host."""
    maddr = address.uri_parameters.get(b"maddr")
    if maddr is not None and maddr.value is not None:
        plain = maddr.value.strip(b"[]")
        if plain == str(before).encode():
            yield maddr.span, maddr.value.replace(plain, str(after).encode())


@lru_cache(maxsize=1024)
def hostport(endpoint: Endpoint, with_port: bool) -> bytes:
    if endpoint.port == DEFAULT_PORT and not with_port:
        return b"[%b]" % str(endpoint.host).encode() if endpoint.host.version == 6 else str(endpoint.host).encode()
    return str(endpoint).encode()
