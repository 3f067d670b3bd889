"""A table of pinholes without sockets: what an engine asks of it is written down, in the words of transcripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Network, Transport
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, Media, MediaGrant, Party, PinholeEvent, Refusal

ASKED = ("open ", "confirm ", "renew ", "offer ", "answer ", "change ", "close ", "refused ")
"""How lines of the log begin."""

PACKET_BYTES = 160
"""Of media: 20 ms of G.711."""


class FakePinholes:
    """Free ports are counted up, from 61000 and for media from 40000, and reserved ones down from 1023. Ends are
    reported before close() returns."""

    def __init__(self, beside: FakePinholes | None = None) -> None:
        """beside: those of another session of the same daemon."""
        self.log: list[str] = []
        self.opened: list[AnyGrant] = []
        self.standing: dict[int, AnyGrant] = {}
        self.confirmed: set[int] = beside.confirmed if beside else set()
        self.allowed: dict[int, tuple[Network, ...]] = beside.allowed if beside else {}
        """Who may come to a pinhole, where that is no longer what was asked for first."""
        self.refuse_next: list[str] = []
        self.unroutable: tuple[Network, ...] = ()
        self.report: Callable[[AnyGrant, PinholeEvent], None] = lambda grant, event: None
        self.published: dict[Host, tuple[Host, ...]] = {}
        """Host -> the addresses by which the client reaches it."""
        self._offerers: dict[int, int] = {}
        """Of each answerer."""
        self._numbers: Iterator[int] = beside._numbers if beside else count(1)
        self._media_ports: Iterator[int] = beside._media_ports if beside else count(40000, 2)

    # -- pinholes ------------------------------------------------------------------------------------------------------

    def open(self, expect: Expect) -> Grant | Refusal:
        number = next(self._numbers)
        free = 1024 - number if expect.reserved else 60999 + number
        listen = expect.listen if expect.listen.port else Endpoint(expect.listen.host, free)
        if (refusal := self._refuses(listen, expect.transport)) is not None:
            return refusal
        grant = Grant(number, expect, listen)
        self._stand(grant)
        source = str(expect.source if expect.source is None or expect.source.port else expect.source.host)
        uses = f"uses {expect.uses}" if expect.uses is not None else f"uses any for {expect.lasts_seconds:g} s"
        uses += ("" if expect.confirmed else " unconfirmed") + (" read" if expect.reader is not None else "")
        uses += (" reserved" if expect.reserved else "") + (" privileged" if expect.from_reserved else "")
        who = f"{expect.target} from {_hosts(expect.allow)} as {source}"
        self.log.append(f"open {expect.transport.value} for {who} {uses} = {listen}")
        return grant

    def _refuses(self, listen: Endpoint, transport: Transport | None) -> Refusal | None:
        """transport: None for media."""
        reason = self.refuse_next.pop(0) if self.refuse_next else None
        for other in self.standing.values():
            if transport is Transport.UDP or transport is None:  # many may stand on one socket, of one kind
                in_use = isinstance(other, Grant if transport is None else MediaGrant)
            else:
                in_use = isinstance(other, Grant) and other.expect.transport is Transport.TCP
            if in_use and listen == (other.listen if isinstance(other, Grant) else other.data):
                reason = reason or "address_in_use"
        if reason is None:
            return None
        self.log.append(f"refused {reason}")
        return Refusal(reason)

    def _stand(self, grant: AnyGrant) -> None:
        self.opened.append(grant)
        self.standing[grant.id] = grant

    def confirm(self, grant: Grant) -> None:
        self.log.append(f"confirm {grant.id}")
        self.confirmed.add(grant.id)

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        self.allowed[grant.id] = allow
        self.log.append(f"renew {grant.id} from {_hosts(allow)} for {seconds:g} s")

    def apart(self, of: Mapping[str, Any] | None = None) -> FakePinholes:
        return self

    def callers(self, grant: Grant) -> tuple[Network, ...]:
        return self.allowed.get(grant.id, grant.expect.allow)

    def expected(self) -> list[Grant]:
        """The pinholes that were opened, media left out."""
        return [grant for grant in self.opened if isinstance(grant, Grant)]

    def admitting(self) -> list[AnyGrant]:
        """Those that let somebody in."""
        return [
            grant
            for grant in self.standing.values()
            if isinstance(grant, MediaGrant)
            or (self.callers(grant) and (grant.expect.confirmed or grant.id in self.confirmed))
        ]

    # -- what policies publish -----------------------------------------------------------------------------------------

    def reached_as(self, host: Host) -> tuple[Host, ...]:
        return self.published.get(host, ())

    def reached_at(self, host: Host) -> tuple[Host, ...]:
        return tuple(server for server, addresses in self.published.items() if host in addresses)

    # -- media ---------------------------------------------------------------------------------------------------------

    def may_wait(self, party: Party) -> bool:
        """Routes and policies are the shell's matter; here whoever is outside may name any host
        that is not `unroutable`, and whoever is inside those of the options."""
        hosts = {at.host for at in (party.data, party.control) if at is not None} - {party.host}
        return party.is_named or not (
            hosts and (party.is_inside or any(host in network for host in hosts for network in self.unroutable))
        )

    def keep(self, seconds: float) -> None:
        """Nothing is ever taken for idle."""

    def offer(self, media: Media) -> MediaGrant | Refusal:
        return self._place("offer", media)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        if offered.id not in self.standing:
            return Refusal("offer_gone")
        grant = self._place(f"answer {offered.id}", media)
        if isinstance(grant, MediaGrant):
            self._offerers[grant.id] = offered.id
        return grant

    def _place(self, what: str, media: Media) -> MediaGrant | Refusal:
        party = media.party
        rtp, rtcp = party.data, party.control
        if party.mapped is not None:
            keeps = party.keeps_port and party.data is not None
            port = party.data.port if keeps and party.data is not None else next(self._media_ports)
            rtp = Endpoint(party.mapped, port)
            rtcp = Endpoint(party.mapped, port + 1) if rtcp is not None else None
        if rtp is not None and (refusal := self._refuses(rtp, None)) is not None:
            return refusal
        grant = MediaGrant(next(self._numbers), media, rtp, rtcp)
        self._stand(grant)
        self.log.append(f"{what} {_terms(media)} = {rtp}")
        return grant

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        if grant.id not in self.standing:
            return Refusal("closed")
        party = media.party
        if party.mapped is None:
            changed = MediaGrant(grant.id, media, party.data, party.control)
        else:
            changed = replace(grant, media=media)
        self.standing[grant.id] = changed
        self.log.append(f"change {grant.id} {_terms(media)} = {changed.data}")
        return changed

    # -- ends ----------------------------------------------------------------------------------------------------------

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        self.log.append(f"close {grant.id}")
        self.drop(grant.id, reason, seconds=0.0)

    def drop(self, number: int, reason: str, bytes_in: int = 0, bytes_out: int = 0, seconds: float = 1.0) -> None:
        """It is gone; with an offerer's media all that answered it."""
        for answerer, offerer in tuple(self._offerers.items()):
            if offerer == number:
                self.drop(answerer, reason)
        self._offerers.pop(number, None)
        grant = self.standing.pop(number, None)
        if grant is not None:
            packets = (bytes_in // PACKET_BYTES, bytes_out // PACKET_BYTES) if isinstance(grant, MediaGrant) else ()
            self.report(grant, Closed(reason, bytes_in, bytes_out, seconds, *packets))


def _hosts(networks: tuple[Network, ...]) -> str:
    if not networks:
        return "nobody"
    return ", ".join(str(net.network_address) if net.num_addresses == 1 else str(net) for net in networks)


def _terms(media: Media) -> str:
    party = media.party
    words = [f"{media.purpose} for {party.data or 'whoever sends'}"]
    if party.control is not None:
        is_beside = party.data is not None and party.control.host == party.data.host
        words.append(f"rtcp {party.control.port if is_beside else party.control}")
    words.append(f"from {_hosts(party.allow)}")
    if party.learn:
        words.append("learning")
    if media.idle_seconds == float("inf"):
        words.append("on hold")
    return " ".join(words)
