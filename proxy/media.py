"""Media: datagrams between two parties who learned of each other from a session description. RTP, RTCP, UDPTL.

Each party has a *place*, where its partner finds it: its own address, or one of ours. What comes to one party's place
goes out from the other's, so each sees the other where it was told:

    offerer --> [answerer's place] ------------------------> [offerer's place] --> answerer
            <-- [answerer's place] <------------------------ [offerer's place] <--

A place is a socket, or two with RTCP apart; an offerer's may have several answerers (forking, rule D27). Packets are
taken from where the party said that it waits, or from the one other address of it that is learned from its first ones
(rules D39 to D41); everybody else is refused and counted. STUN, DTLS and ZRTP pass like RTP (rule D42), but where media
comes from is not learned from STUN once there is something better: it is also sent to find out which ways there are.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from protocols.engine import Endpoint, Media, MediaGrant, Party, Transport
from proxy import sockets
from proxy.endpoints import Route, UdpEndpoint
from proxy.opening import Opening, Owner
from proxy.sockets import Address, Ancillary

if TYPE_CHECKING:
    from proxy.pinholes import PinholeTable

# Who has sent so many from elsewhere is the one: RFC 7362 s.4 asks for a lock. From the announced address, one will do.
LOCK_PACKETS = 8
# RFC 5389 s.6: tells STUN from UDPTL, whose packets begin with a number that counts from 0.
_STUN_COOKIE = bytes.fromhex("2112a442")
# How often a stream is looked at within its idle time: that spares a look at the clock for each packet.
LOOKS = 4


def protocol_of(packet: bytes) -> str:
    """What a packet on a port of media is: rtp, rtcp, stun, dtls, zrtp or other (UDPTL, a keep-alive of one byte).

    RFC 7983 s.7, RFC 5761 s.4.
    """
    first = packet[0] if len(packet) > 1 else 0xFF
    if 128 <= first <= 191:
        return "rtcp" if 192 <= packet[1] <= 223 else "rtp"
    if first <= 3 and packet[4:8] == _STUN_COOKIE:
        return "stun"
    if 16 <= first <= 19:
        return "zrtp"
    return "dtls" if 20 <= first <= 63 else "other"


def _tells_source(packet: bytes) -> bool:
    """Whether it is of the stream itself. STUN comes from every port of a party that tries them all, and a keep-alive
    (D45) from whatever holds a mapping open."""
    return len(packet) > 1 and protocol_of(packet) != "stun"


class _Component:
    """A party's RTP, or its RTCP: its place, where it is sent to, and where its own packets come from."""

    __slots__ = ("announced", "endpoint", "is_locked", "lanes", "place", "received", "source", "to")

    def __init__(self, place: MediaPlace, endpoint: UdpEndpoint, party: Endpoint) -> None:
        self.place = place
        self.endpoint = endpoint
        self.announced = self.to = self.source = sockets.address(party)
        self.is_locked = False
        self.received = 0
        """Packets of this party that tell where its stream comes from, until it is locked."""
        self.lanes: list[_Lane] = []
        """By which its packets go to its partners."""

    def learn(self, source: Address) -> None:
        """Its packets come from there. Raises OSError when they are another stream's."""
        if source == self.source:
            return
        if any(lane.receiver.endpoint.routes.get(source, _too_late) is not _too_late for lane in self.lanes):
            raise OSError(errno.EADDRINUSE, "another stream's")
        for lane in self.lanes:
            lane.move(source)
        self.source = source

    def aim(self, at: Endpoint) -> None:
        """The party waits elsewhere from now on, and what was learned is forgotten."""
        self.learn(sockets.address(at))
        self.announced = self.to = self.source
        self.is_locked = False
        self.received = 0


class _Lane:
    """One way between two parties' components."""

    __slots__ = (
        "_ancillary",
        "_leased",
        "_newer",
        "_older",
        "_own",
        "_send",
        "bytes",
        "lost",
        "packets",
        "receiver",
        "sender",
    )

    def __init__(self, sender: _Component, receiver: _Component) -> None:
        """Takes packets from now on, also of an older stream between the same two addresses: whose port it is, is known
        by the newest call, for whoever did not hang up the one before."""
        self.sender = sender
        self.receiver = receiver
        self.packets = self.bytes = self.lost = 0
        self._ancillary: Ancillary = ()
        self._send = sender.endpoint.sock.sendto
        self._own = sender.endpoint.address
        self._leased = sender.place.leased
        self._older = _lane(receiver.endpoint.routes.get(sender.source))
        """Who took them before, and gets them back."""
        self._newer: _Lane | None = None
        if self._older is not None:
            self._older._newer = self
        receiver.endpoint.routes[sender.source] = self.take
        receiver.endpoint.read()
        sender.lanes.append(self)

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """A packet of the sender that came to the receiver's place."""
        self.packets += 1
        self.bytes += len(data)
        if ancillary != self._ancillary:
            self._ancillary = ancillary
            sockets.set_traffic_class(self.sender.endpoint.sock, sockets.traffic_class(ancillary))  # D46
        to = self.receiver.to
        if (near := self._leased.get(to)) is not None:  # another call's place: of one of two phones behind us
            take = near.routes.get(self._own)
            if take is not None and take != self.take:  # whose parties both name places of ours would hand it to itself
                take(data, ancillary)
        else:
            try:
                self._send(data, to)
            except OSError:
                # No route, a full buffer: media may always be lost, and the stream goes on (D50).
                self.lost += 1
        if not self.sender.is_locked:
            self._count(data)

    def _count(self, data: bytes) -> None:
        sender = self.sender
        if _tells_source(data):
            sender.received += 1
            sender.is_locked = sender.source == sender.announced or sender.received >= LOCK_PACKETS
        if self.packets == 1:
            self.receiver.place.used(sender.source, data)

    def move(self, source: Address) -> None:
        self._leave()
        self._older = self._newer = None
        self.receiver.endpoint.routes[source] = self.take

    def end(self) -> None:
        self._leave()
        self.sender.lanes.remove(self)

    def _leave(self) -> None:
        """Packets are for whoever took them before."""
        if self._older is not None:
            self._older._newer = self._newer
        if self._newer is not None:
            self._newer._older = self._older
        elif self._older is not None:
            self.receiver.endpoint.routes[self.sender.source] = self._older.take
        elif self.receiver.endpoint.uses > 1:
            self.receiver.endpoint.routes[self.sender.source] = _too_late
        else:
            del self.receiver.endpoint.routes[self.sender.source]


def _too_late(data: bytes, ancillary: Ancillary) -> None:
    """The last packets of a stream that is over, at a place that others still use, are no stranger's."""


def _lane(take: Route | None) -> _Lane | None:
    """Whose method it is."""
    lane = getattr(take, "__self__", None)
    return lane if isinstance(lane, _Lane) else None


def _for_ever(waits: Iterable[float | None]) -> float:
    return float("inf") if float("inf") in waits else 0.0


class MediaPlaces:
    """Those that stand, by the sockets that they stand on: who comes and is not known is a matter for them."""

    def __init__(self) -> None:
        self._at: dict[UdpEndpoint, list[MediaPlace]] = {}

    def add(self, place: MediaPlace, endpoint: UdpEndpoint) -> None:
        self._at.setdefault(endpoint, []).append(place)

    def remove(self, place: MediaPlace, endpoint: UdpEndpoint) -> None:
        places = self._at[endpoint]
        places.remove(place)
        if not places:
            del self._at[endpoint]

    def stranger(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        places = self._at[endpoint]
        for place in places:
            if (lane := place.admits(endpoint, source, data)) is not None:
                lane.take(data, ancillary)
                return
        places[0].refuse(source)


class MediaPlace(Opening):
    """Where one party is found by its partners; in the table of pinholes it is one of them."""

    grant: MediaGrant

    def __init__(
        self, table: PinholeTable, owner: Owner, number: int, media: Media, offerer: MediaPlace | None = None
    ) -> None:
        """`offerer`: whom this one answers. Raises OSError when the place cannot be had."""
        super().__init__(table, owner)
        self._offerer = offerer
        self._answerers: list[MediaPlace] = []
        self._in: list[_Lane] = []
        """From partners."""
        self._bytes_in = self._bytes_out = self._packets_in = self._packets_out = self._refused = self._lost = 0
        self._is_used = self._is_over = False
        self.components = self._stand(media.party)
        self.grant = self._granted(number, media)
        if offerer is not None:
            try:
                self._join(offerer)
            except OSError:
                self._clear()
                raise
            offerer._answerers.append(self)
        self._seen = self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tell_opened(
            media.purpose,
            Transport.UDP,
            self.grant.rtp,
            offerer.grant.media.party.allow if offerer else (),
            media.party.rtp,
            self._wait(),
            media.trigger,
            rtcp=self.grant.rtcp,
            answers=offerer.grant.id if offerer else None,
        )
        (offerer or self)._look_later()

    @property
    def leased(self) -> Mapping[Address, UdpEndpoint]:
        return self._table.endpoints.leased

    # -- where it stands -------------------------------------------------------------------------------------------

    def _stand(self, party: Party) -> list[_Component]:
        """The sockets of a place, and where the party waits behind each. Raises OSError."""
        waits = [party.rtp] if party.rtcp is None else [party.rtp, party.rtcp]
        table, taken = self._table, []
        try:
            if party.mapped is not None:
                taken = table.endpoints.take_media(party.mapped, len(waits))
            else:
                for at in waits:
                    if table.has_helper(Transport.UDP, at.port):  # or others' signalling to that host would end here
                        raise OSError(errno.EADDRINUSE, "a port of signalling")
                    taken.append(table.endpoints.take(at, is_media=True))
        except OSError:
            for endpoint in taken:
                table.endpoints.give(endpoint)
            raise
        for endpoint in taken:
            table.places.add(self, endpoint)
        return [_Component(self, endpoint, at) for endpoint, at in zip(taken, waits, strict=True)]

    def _clear(self) -> None:
        """Give up the lanes with all partners, and the sockets."""
        for lane in (*self._in, *self._out):
            self._account(lane)
            lane.receiver.place._in.remove(lane)
            lane.end()
        for component in self.components:
            self._refused += component.endpoint.unread()
            self._table.places.remove(self, component.endpoint)
            self._table.endpoints.give(component.endpoint)
        # They refer back to it: without them it goes when nobody holds it, not when cycles are collected.
        self.components = []

    def _granted(self, number: int, media: Media) -> MediaGrant:
        first, *rest = (component.endpoint.at for component in self.components)
        return MediaGrant(number, media, first, rest[0] if rest else None)

    def _join(self, partner: MediaPlace) -> None:
        # With RTCP apart on one side only it has no partner there; the other side has it with the rest (D13).
        for ours, theirs in zip(self.components, partner.components, strict=False):
            partner._in.append(_Lane(ours, theirs))
            self._in.append(_Lane(theirs, ours))

    def _account(self, lane: _Lane) -> None:
        """A lane that ends: both its parties remember what went over it."""
        to, by = lane.receiver.place, lane.sender.place
        to._packets_in += lane.packets
        to._bytes_in += lane.bytes
        to._lost += lane.lost
        by._packets_out += lane.packets
        by._bytes_out += lane.bytes

    def change(self, media: Media) -> None:
        """Another address, or other terms. Raises OSError when the place cannot be had; it is gone then."""
        party, before = media.party, self.grant.media.party
        try:
            if party.mapped is None and (party.rtp, party.rtcp) != (before.rtp, before.rtcp):
                self._clear()
                self.components = self._stand(party)
                for partner in self._answerers if self._offerer is None else [self._offerer]:
                    self._join(partner)
            elif party != before:
                for component, at in zip(self.components, (party.rtp, party.rtcp), strict=False):
                    if at is not None:
                        component.aim(at)
        except OSError:
            self.shut("no_place")
            raise
        self.grant = self._granted(self.grant.id, media)
        (self._offerer or self)._look_later()

    # -- who comes -------------------------------------------------------------------------------------------------

    def used(self, source: Address, data: bytes) -> None:
        """The first packet has come, from a partner."""
        if not self._is_used:
            self._is_used = True
            self._tell_used(sockets.endpoint(source), protocol=protocol_of(data))
            first = self._offerer or self
            first._seen, first._silent = first.packets_in + first.packets_out, 0
            first._look_later()  # it may wait no longer than it may be silent

    def admits(self, endpoint: UdpEndpoint, source: Address, data: bytes) -> _Lane | None:
        """Somebody unknown at one of the sockets: a partner whose address is to be learned?"""
        host = sockets.endpoint(source).host
        for lane in self._in:
            sender, party = lane.sender, lane.sender.place.grant.media.party
            if lane.receiver.endpoint is not endpoint or sender.is_locked:
                continue
            if sender.received and not _tells_source(data):
                continue
            if any(host in network for network in party.allow):
                try:
                    sender.learn(source)
                except OSError:
                    continue
                if party.learn:
                    sender.to = source
                return lane
        return None

    def refuse(self, source: Address) -> None:
        self._refused += 1
        self._table.metrics.strangers.inc()
        if self._in and self._refused == 1:  # before there is an answer it may be the answerer, early
            self._tell_stranger(f"{sockets.endpoint(source)} sent to {self.grant.rtp}", "dropped")

    # -- time ------------------------------------------------------------------------------------------------------

    def _wait(self) -> float:
        """How long it may be silent: as the offerer says, and for ever when an answerer has put it on hold (D25)."""
        media = self.grant.media
        partners = [answerer.grant.media for answerer in self._answerers]
        if self._seen:
            return max(media.idle_seconds, _for_ever(each.idle_seconds for each in partners))
        wait = media.open_seconds if media.open_seconds is not None else self._table.timeouts.pinhole_open
        return max(wait, _for_ever(each.open_seconds for each in partners))

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self._wait()
        if wait != float("inf"):
            self._timer = self._table.loop.call_later(wait / LOOKS, self._look)

    def _look(self) -> None:
        """Silence of one party is normal, of all of them it is not (D44)."""
        seen = self.packets_in + self.packets_out
        self._silent = 0 if seen != self._seen else self._silent + 1
        if self._silent >= LOOKS:
            self.shut("idle" if seen else "never_used")
            return
        self._seen = seen
        self._look_later()

    # -- ends ------------------------------------------------------------------------------------------------------

    def shut(self, reason: str) -> None:
        """With those that answered it."""
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for answerer in tuple(self._answerers):
            answerer.shut(reason)
        self._clear()
        if self._offerer is not None:
            self._offerer._answerers.remove(self)
            if not self._offerer._is_over:
                self._offerer._look_later()
        counts = {"bytes_in": self._bytes_in, "bytes_out": self._bytes_out}
        counts |= {"packets_in": self._packets_in, "packets_out": self._packets_out}
        self._gone(
            reason, counts, packets_refused=self._refused, **({"packets_lost": self._lost} if self._lost else {})
        )

    abort = shut

    # -- reports ---------------------------------------------------------------------------------------------------

    @property
    def _out(self) -> Iterator[_Lane]:
        return (lane for component in self.components for lane in component.lanes)

    @property
    def packets_in(self) -> int:
        return self._packets_in + sum(lane.packets for lane in self._in)

    @property
    def packets_out(self) -> int:
        return self._packets_out + sum(lane.packets for lane in self._out)

    def summary(self, now: float) -> dict[str, Any]:
        media = self.grant.media
        allow = sorted({net for lane in self._in for net in lane.sender.place.grant.media.party.allow}, key=str)
        state = "relaying" if self._is_used else "waiting" if self._in else "unconfirmed"
        passed = (
            self._bytes_in + sum(lane.bytes for lane in self._in),
            self._bytes_out + sum(lane.bytes for lane in self._out),
        )
        return self._describe(now, state, media.purpose, Transport.UDP, self.grant.rtp, allow, media.party.rtp, *passed)
