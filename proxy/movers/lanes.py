"""Lanes: how packets of media get from one party's socket to the other party.

    sender --> [a stand: a socket on the receiver's place] --> lane --> [a socket on the sender's place] --> receiver

Whose packets a lane takes (rules D39 to D41, RFC 7362, RFC 3264 s.8.3.1):

- The address that a party has announced is never a stranger: it was agreed on. It takes the lane back at any time.
- A party may send from another port, or from another host that the agreement allows. Its first packets tell from where;
  after `LOCK_PACKETS` of them the lane keeps to that address, and refuses others.
- A party may move in the middle of its stream: a NAT before it has given it another port. A packet of the same stream
  (same SSRC, next sequence numbers) from elsewhere waits for `GOES_ON_SECONDS`. If the address of before stays silent
  meanwhile, the party has moved, and what has waited is passed on; if not, a stranger has tried. Who does not know the
  stream cannot continue it.
- What comes soon after a new agreement without being announced (music on hold from another port of a server), or is no
  RTP, cannot be told by its stream. It must be alone for `ALONE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, Protocol

from protocols.contract.addresses import Endpoint, Host
from protocols.contract.pinholes import Party
from proxy.sockets import packet_info, transparent
from proxy.sockets.endpoints import EVERYBODY, Heard, Route, UdpEndpoint, UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary

# Who has sent so many from elsewhere is the one: RFC 7362 s.4 asks for a lock. From the announced address, one will do.
LOCK_PACKETS = 8
# Longer than any packet of speech lasts (RFC 3551 s.4.2: 20 ms; 60 and 100 are seen).
GOES_ON_SECONDS = 0.2
ALONE_SECONDS = 2.0
REOPENED_SECONDS = 5.0
"""For so long after an agreement a party may begin another stream from elsewhere."""
MAX_DROPOUT = 3000
"""How far the numbers of a stream that goes on may have gone meanwhile: RFC 3550 appendix A.1."""
MOST_KEPT, MOST_KEPT_BYTES = 32, 2048
"""Packets of a candidate that wait for the decision, and how many bytes one may have; others are lost."""
MOST_OVER = 64
"""Addresses remembered at one socket whose streams are over."""
MOST_HANDED = 8
"""From lane to lane of ours: a call between two phones behind us takes one step, a place passed on one more."""

# RFC 5389 s.6: tells STUN from UDPTL, whose packets begin with a number that counts from 0.
_STUN_COOKIE = bytes.fromhex("2112a442")


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


def tells_source(packet: bytes) -> bool:
    """Whether the packet is of the stream itself. STUN comes from every port of a party that tries them all, and a
    keep-alive (D45) from whatever holds a mapping open."""
    return len(packet) > 1 and protocol_of(packet) != "stun"


def source_of_stream(packet: bytes) -> bytes | None:
    """The SSRC of RTP or RTCP (RFC 3550 s.5.1, s.6.4.1); None of anything else."""
    match protocol_of(packet):
        case "rtp" if len(packet) >= 12:
            return packet[8:12]
        case "rtcp" if len(packet) >= 8:
            return packet[4:8]
    return None


def goes_on(before: bytes, after: bytes) -> bool:
    """Whether `after` is a later packet of the same stream as `before`."""
    ssrc = source_of_stream(before)
    if ssrc is None or ssrc != source_of_stream(after):
        return False
    if protocol_of(before) != "rtp" or protocol_of(after) != "rtp":
        return after != before  # RTCP has no number of its own
    ahead = (int.from_bytes(after[2:4], "big") - int.from_bytes(before[2:4], "big")) & 0xFFFF
    return 0 < ahead < MAX_DROPOUT


class Keeper(Protocol):
    """The place of a party, as far as its lanes need it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def leased(self) -> Mapping[Address, UdpEndpoint]:
        """Endpoints on addresses of ours: what one of them sends to another would have to pass our own firewall."""

    def mark_of(self, party: Party) -> int:
        """The mark of what is sent from a party's place to its partners."""

    def used(self, source: Address, data: bytes) -> None:
        """The first packet has come, from a partner."""

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""

    def may_come_by(self, party: Party, host: Host, ancillary: Ancillary) -> bool:
        """Whether packets of that party, which bear this address of its, may come by the interface they came by."""

    def refuse_forged(self, host: Host, ancillary: Ancillary) -> None:
        """A packet bore a party's address and came by the wrong interface."""

    def count_in(self, packets: int, size: int, lost: int) -> None:
        """What a lane has brought to the party, when the lane ends."""

    def count_out(self, packets: int, size: int) -> None:
        """What a lane has brought from the party, when the lane ends."""

    def give_up(self) -> None:
        """A bug of ours: the place ends with all its lanes."""


class Stand:
    """A socket that media comes to: whose lanes begin there, and who takes packets of which address."""

    __slots__ = ("_displaced", "endpoint", "heard", "keeper", "lanes", "over")

    def __init__(self, endpoint: UdpEndpoint, keeper: Keeper | None) -> None:
        """keeper: whose place it is, if that has it without any lane."""
        self.endpoint = endpoint
        self.keeper = keeper
        self.heard = endpoint.heard
        """The host that it hears, as the kernel writes it; None for everybody."""
        self.lanes: list[Lane] = []
        self.over: tuple[Address, ...] = ()
        """Where streams came from that are over, while others still come here: their last packets are no stranger's."""
        self._displaced: dict[Address, list[Route]] = {}
        """Who took packets of an address before, the newest one last: whose port it is, is known by the newest call,
        for whoever did not hang up the one before."""

    def claim(self, source: Address, take: Route) -> None:
        before = self.endpoint.routes.get(source)
        if before is not None:
            self._displaced.setdefault(source, []).append(before)
        elif source in self.over:
            self.over = tuple(other for other in self.over if other != source)
        self.endpoint.routes[source] = take

    def unclaim(self, source: Address, take: Route, is_over: bool = False) -> None:
        """Packets are for whoever took them before. is_over: with the stream, so that what still comes is no
        stranger's."""
        routes, displaced = self.endpoint.routes, self._displaced.get(source)
        if displaced is None:
            del routes[source]
            if is_over and len(self.lanes) > 1 and len(self.over) < MOST_OVER:
                self.over += (source,)
            return
        if routes[source] == take:
            routes[source] = displaced.pop()
        else:
            displaced.remove(take)
        if not displaced:
            del self._displaced[source]

    def is_anothers(self, source: Address, lane: Lane) -> bool:
        """Whether packets of this address belong to another lane's stream."""
        return any(other is not lane and other.claims(self, source) for other in self.lanes)

    def stranger(self, data: bytes, ancillary: Ancillary, source: Address) -> None:
        """Somebody unknown: a partner whose address is to be learned?"""
        host, is_late = packet_info.endpoint(source).host, source in self.over
        partners = [lane for lane in self.lanes if lane.may_learn(host)]
        for lane in partners:
            if lane.may_come_by(host, ancillary) and lane.sender.meet(lane, source, data, ancillary, is_late):
                return
        if partners and not any(lane.may_come_by(host, ancillary) for lane in partners):
            partners[0].receiver.place.refuse_forged(host, ancillary)
            return
        if is_late:
            return
        place = self.keeper or (self.lanes[0].receiver.place if self.lanes else None)
        if place is not None:
            place.refuse(source)


class Stands:
    """The stands of all media."""

    def __init__(self, endpoints: UdpEndpoints) -> None:
        self._endpoints = endpoints
        self._at: dict[UdpEndpoint, Stand] = {}
        endpoints.media_stranger = self._stranger

    def lease(self, keeper: Keeper, host: Host, count: int, mark: int = 0) -> list[Stand]:
        """On so many ports of an address of ours. mark: of what is sent from there. Raises OSError."""
        stands = [Stand(endpoint, keeper) for endpoint in self._endpoints.take_media(host, count)]
        for stand in stands:
            self._at[stand.endpoint] = stand
        if mark:
            self._mark(stands, mark)
        return stands

    def take(self, at: Endpoint, hears: Heard, mark: int = 0) -> Stand:
        """As `lease`."""
        endpoint = self._endpoints.take(at, is_media=True, hears=hears)
        stand = self._at.get(endpoint)
        if stand is None:
            stand = self._at[endpoint] = Stand(endpoint, None)
        if mark:
            self._mark([stand], mark)
        return stand

    def _mark(self, stands: list[Stand], mark: int) -> None:
        """Of those that were just taken. Raises OSError, and then they are given back."""
        try:
            for stand in stands:
                transparent.set_mark(stand.endpoint.sock, mark)
        except Exception:
            for stand in stands:
                self.give(stand)
            raise

    def is_leased(self, at: Endpoint) -> bool:
        """Whether it is a place of ours for media."""
        endpoint = self._endpoints.get(at, EVERYBODY)
        return endpoint is not None and endpoint.is_leased and endpoint.is_media

    def give(self, stand: Stand) -> None:
        if stand.endpoint.uses == 1:
            del self._at[stand.endpoint]
        self._endpoints.give(stand.endpoint)

    def _stranger(self, endpoint: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        self._at[endpoint].stranger(data, ancillary, source)


class _Candidate:
    """Who may be the party, elsewhere than before: it waits until that address has been silent for long enough."""

    __slots__ = ("count", "goes_on", "heard", "kept", "lane", "source", "timer")

    def __init__(self, lane: Lane, source: Address, heard: int, is_stream: bool, timer: asyncio.TimerHandle) -> None:
        self.lane = lane
        self.source = source
        self.heard = heard
        """Packets of the party when this one first came."""
        self.goes_on = is_stream
        self.timer = timer
        self.count = 0
        self.kept: list[tuple[bytes, Ancillary]] = []

    def keep(self, data: bytes, ancillary: Ancillary) -> None:
        self.count += 1
        if len(self.kept) < MOST_KEPT and len(data) <= MOST_KEPT_BYTES:
            self.kept.append((data, ancillary))


class Component:
    """A party's RTP, or its RTCP: its place, where it is sent to, and where its own packets come from."""

    __slots__ = (
        "_candidate",
        "_reopened_at",
        "announced",
        "at",
        "inward",
        "is_locked",
        "lanes",
        "leased",
        "own",
        "party",
        "place",
        "received",
        "source",
        "to",
        "waits",
    )

    def __init__(self, place: Keeper, party: Party, waits: Endpoint, leased: Stand | None, is_new: bool) -> None:
        """waits: where the party is to be sent to. leased: the socket of its place, if that is on an address of ours.
        is_new: the party was not known before; else it has agreed anew."""
        self.place = place
        self.waits = waits
        self.party = party
        self.leased = leased
        self.at = leased.endpoint.at if leased is not None else waits
        """Where its place is."""
        self.announced: Final = transparent.address(waits)
        self.own: Final = self.announced if leased is None else leased.endpoint.address
        """The same as `at`, as the kernel has it."""
        self.to = self.source = self.announced
        self.is_locked = False
        self.received = 0
        """Packets of this party that tell where its stream comes from, until it is locked."""
        self.lanes: list[Lane] = []
        """By which its packets go to its partners."""
        self.inward: list[Lane] = []
        """By which those of its partners come."""
        self._candidate: _Candidate | None = None
        self._reopened_at: float | None = None
        """When the parties have agreed anew; None: not since it has sent from where it was to be."""
        if not is_new:
            self.reopen()

    def stands_for(self, partner: Component, stands: Stands) -> list[Stand]:
        """The sockets on its place that hear this partner, taken. Raises OSError when there can be none."""
        mark = self.place.mark_of(self.party)
        if self.leased is not None:
            self.leased.endpoint.uses += 1
            if mark:
                transparent.set_mark(self.leased.endpoint.sock, mark)
            return [self.leased]
        if stands.is_leased(self.at):  # it passes on what it was told: the place of another party
            return [stands.take(self.at, EVERYBODY)]
        wanted = self._to_hear(partner)
        taken: list[Stand] = []
        failed = OSError(errno.EADDRNOTAVAIL, "nobody to hear")
        for heard in wanted:
            try:
                taken.append(stands.take(self.at, heard, mark))
            except OSError as error:  # also when no route leads there; then nothing can come from there
                failed = error
        if not taken:
            raise failed
        return taken

    def _to_hear(self, partner: Component) -> Iterable[Heard]:
        """On another host's address only single hosts are heard, so that all else passes as if nobody stood there. But
        for a party at its own address whose partner may be anywhere in a network that the policy names."""
        allow = partner.party.allow
        hosts = [net.network_address for net in allow if net.prefixlen == net.max_prefixlen]
        if len(hosts) < len(allow) and self.party.is_at_itself:
            return (EVERYBODY,)
        if partner.party.control is not None and partner.waits.host not in hosts:
            hosts.append(partner.waits.host)  # RTCP on a host of its own (RFC 3605 s.2.1), from where it comes as well
        return hosts

    def learn(self, source: Address) -> None:
        """Its packets come from there. Raises OSError when they are another stream's."""
        if source == self.source:
            return
        if any(lane.cannot_take(source) for lane in self.lanes):
            raise OSError(errno.EADDRINUSE, "another stream's")
        self.source = source
        for lane in self.lanes:
            lane.move()

    def reopen(self) -> None:
        """The parties have agreed anew: it may send from elsewhere from now on without saying so."""
        self._reopened_at = self.place.loop.time()

    def come_back(self) -> None:
        """It has sent from where it said that it waits."""
        self.learn(self.announced)
        self.to = self.announced
        self.is_locked = True
        self.forget()

    def meet(self, lane: Lane, source: Address, data: bytes, ancillary: Ancillary, is_late: bool) -> bool:
        """A packet from elsewhere, of a host that may be this party. Whether it is taken, or kept for a moment.
        is_late: another stream came from there, which is over. Its last packets are not the party's, but a server may
        send for one branch of a forked call from where it sent for another."""
        if self.is_locked or is_late:
            return tells_source(data) and self._consider(lane, source, data, ancillary)
        if self.received and not tells_source(data):
            return False
        try:
            self.learn(source)
        except OSError:
            return False
        if self.party.learn:
            self.to = source
        lane.take(data, ancillary)
        return True

    # -- a party that moves --------------------------------------------------------------------------------------------

    def _is_open(self) -> bool:
        """Whether the parties have agreed anew a moment ago."""
        return self._reopened_at is not None and self.place.loop.time() - self._reopened_at < REOPENED_SECONDS

    def _heard(self) -> int:
        return sum(lane.packets for lane in self.lanes)

    def _consider(self, lane: Lane, source: Address, data: bytes, ancillary: Ancillary) -> bool:
        is_stream = lane.is_continued_by(data)
        if not is_stream and lane.is_stream and not self._is_open():
            candidate = self._candidate
            if candidate is None or candidate.source != source or not candidate.goes_on:
                return False
            is_stream = True  # of several streams in one, or its RTCP
        if self._candidate is not None and self._candidate.source != source:
            if self._candidate.goes_on or not is_stream:
                return False
            self.forget()
        if self._candidate is None:
            seconds = GOES_ON_SECONDS if is_stream else ALONE_SECONDS
            timer = self.place.loop.call_later(seconds, self._decide)
            self._candidate = _Candidate(lane, source, self._heard(), is_stream, timer)
        self._candidate.keep(data, ancillary)
        return True

    def _decide(self) -> None:
        candidate = self._candidate
        assert candidate is not None
        is_alone = candidate.heard == self._heard()
        if not is_alone or not (candidate.goes_on or candidate.count >= LOCK_PACKETS):
            self.forget()
            return
        is_symmetric = self.to == self.source
        try:
            self.learn(candidate.source)
        except OSError:
            self.forget()
            return
        self._candidate = None
        self._reopened_at = None
        if self.party.learn or (is_symmetric and candidate.goes_on):
            self.to = candidate.source  # its NAT has another port for it, for both directions
        for data, ancillary in candidate.kept:
            candidate.lane.take(data, ancillary)

    def forget(self) -> None:
        """The candidate, if there is one, was a stranger."""
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            candidate.timer.cancel()
            if not candidate.lane.is_late(candidate.source):
                candidate.lane.receiver.place.refuse(candidate.source, candidate.count)


class Lane:
    """One way between two parties' components."""

    handed: ClassVar[int] = 0
    """From how many lanes to the next one the packet has gone that is looked at now."""

    __slots__ = (
        "_ancillary",
        "_claims",
        "_first",
        "_is_new",
        "_leased",
        "_own",
        "_send",
        "_sock",
        "_stands",
        "bytes",
        "last",
        "lost",
        "packets",
        "receiver",
        "sender",
    )

    def __init__(self, sender: Component, receiver: Component, stands: Stands) -> None:
        """Takes packets from now on, also of an older stream between the same two addresses. Where they go out from is
        said by `send_from`. Raises OSError."""
        self.sender = sender
        self.receiver = receiver
        self.packets = self.bytes = self.lost = 0
        self.last = b""
        """The newest packet: who comes from elsewhere must go on where it ended."""
        self._is_new = True
        """Where its packets come from is not settled yet."""
        self._first = b""
        """A packet of RTP or RTCP from before it was settled: what came last may be a keep-alive."""
        self._ancillary: Ancillary = ()
        self._own = sender.own
        self._leased = sender.place.leased
        self._stands = receiver.stands_for(sender, stands)
        self._claims: list[tuple[Stand, Address, Route]] = []
        for stand in self._stands:
            stand.lanes.append(self)
        sender.lanes.append(self)
        receiver.inward.append(self)
        try:
            for stand in self._stands:
                stand.endpoint.read()
            self._claim()
        except Exception:
            self.end(stands)
            raise

    def send_from(self, back: Lane) -> None:
        """By the socket that hears the partner at the sender's place."""
        self._sock = back._stands[0].endpoint.sock
        self._send = self._sock.sendto

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """A packet of the sender that came to the receiver's place."""
        # Mostly the kernel says the same as of the packet before: to compare that is quicker than to read it.
        if ancillary != self._ancillary and not self._is_let_in(ancillary):
            return
        self.packets += 1
        self.bytes += len(data)
        self.last = data
        to = self.receiver.to
        if (near := self._leased.get(to)) is not None:  # another call's place: of one of two phones behind us
            take = near.routes.get(self._own)
            # Parties that name places of ours, of this call or of several, could make a ring of lanes.
            if take is not None and take != self.take and Lane.handed < MOST_HANDED:
                Lane.handed += 1
                try:
                    take(data, ancillary)
                finally:
                    Lane.handed -= 1
        else:
            try:
                self._send(data, to)
            except OSError as error:
                self._send_again(error, data, to)
        if self._is_new:
            self._count(data)

    def _is_let_in(self, ancillary: Ancillary) -> bool:
        """Whether a packet is taken that came by another interface than the one before it, or with another DSCP."""
        if self._is_forged(self.sender.source, ancillary):
            return False
        self._ancillary = ancillary
        packet_info.set_traffic_class(self._sock, packet_info.traffic_class(ancillary))  # D46
        return True

    def _is_forged(self, source: Address, ancillary: Ancillary) -> bool:
        if Lane.handed:  # by a lane of ours, which has looked at it
            return False
        host = packet_info.endpoint(source).host
        if self.may_come_by(host, ancillary):
            return False
        self.receiver.place.refuse_forged(host, ancillary)
        return True

    def _send_again(self, error: OSError, data: bytes, to: Address) -> None:
        """No route, a full buffer: media may always be lost, and the stream goes on (D50). But a socket that hears one
        host is told by ICMP of a packet before this one, and then has sent nothing."""
        if isinstance(error, ConnectionRefusedError):
            try:
                self._send(data, to)
                return
            except OSError:
                pass
        self.lost += 1

    def _count(self, data: bytes) -> None:
        sender = self.sender
        if source_of_stream(data) is not None:
            self._first = data
        if not sender.is_locked and tells_source(data):
            sender.received += 1
            sender.is_locked = sender.source == sender.announced or sender.received >= LOCK_PACKETS
        self._is_new = not sender.is_locked
        if self.packets == 1:
            self.receiver.place.used(sender.source, data)

    def come_back(self, data: bytes, ancillary: Ancillary) -> None:
        """A packet from the address that the sender has announced, though its packets have come from elsewhere."""
        if self._is_forged(self.sender.announced, ancillary):
            return
        if tells_source(data) or not self.sender.received:
            self.sender.come_back()
        self.take(data, ancillary)

    @property
    def is_stream(self) -> bool:
        """Whether RTP or RTCP has come by it, so that its stream is known by a number."""
        return source_of_stream(self.last) is not None or bool(self._first)

    def is_continued_by(self, data: bytes) -> bool:
        """Whether a packet from elsewhere is the next one of its stream."""
        if source_of_stream(self.last) is not None:
            return goes_on(self.last, data)
        ssrc = source_of_stream(self._first)
        return ssrc is not None and ssrc == source_of_stream(data)

    # -- whose packets it takes ----------------------------------------------------------------------------------------

    def may_learn(self, host: Host) -> bool:
        return any(host in network for network in self.sender.party.allow)

    def may_come_by(self, host: Host, ancillary: Ancillary) -> bool:
        """Whether the interface that a packet came by leads to the host whose address it bears."""
        return self.receiver.place.may_come_by(self.sender.party, host, ancillary)

    def _stand_of(self, source: Address) -> Stand | None:
        """Where packets from there come to; None when nothing hears that host."""
        for stand in self._stands:
            if stand.heard is None or stand.heard == source[0]:
                return stand
        return None

    def is_late(self, source: Address) -> bool:
        """Whether another stream came from there, which is over."""
        stand = self._stand_of(source)
        return stand is not None and source in stand.over

    def cannot_take(self, source: Address) -> bool:
        stand = self._stand_of(source)
        return stand is None or stand.is_anothers(source, self)

    def _claim(self) -> None:
        """Packets of the sender, and those from where it has said that it waits, which stays its own."""
        source, announced = self.sender.source, self.sender.announced
        if source != announced:
            self._claim_of(announced, self.come_back)
        self._claim_of(source, self.take)

    def _claim_of(self, address: Address, take: Route) -> None:
        if (stand := self._stand_of(address)) is not None:
            stand.claim(address, take)
            self._claims.append((stand, address, take))

    def claims(self, at: Stand, source: Address) -> bool:
        return any(stand is at and address == source for stand, address, _ in self._claims)

    def _give_up(self, is_over: bool) -> None:
        for stand, address, take in self._claims:
            stand.unclaim(address, take, is_over)
        self._claims.clear()

    def move(self) -> None:
        """The sender's packets come from elsewhere than before."""
        self._ancillary = ()  # an interface that leads to the one host need not lead to the other
        self._give_up(is_over=False)
        self._claim()

    def give_up(self) -> None:
        """A bug of ours (`proxy/record/failures.py`)."""
        self.receiver.place.give_up()
        self.sender.place.give_up()

    def end(self, stands: Stands, is_over: bool = False) -> None:
        """is_over: the stream is, and does not go on by another lane."""
        self._give_up(is_over)
        for stand in self._stands:
            stand.lanes.remove(self)
            stands.give(stand)
        self.sender.lanes.remove(self)
        self.receiver.inward.remove(self)


def join(one: Component, other: Component, stands: Stands) -> Sequence[Lane]:
    """Packets pass both ways from now on. Raises OSError, and then they do not."""
    there = Lane(one, other, stands)
    try:
        back = Lane(other, one, stands)
    except Exception:
        there.end(stands)
        raise
    there.send_from(back)
    back.send_from(there)
    return there, back
