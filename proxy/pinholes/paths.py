"""Paths of media: the sockets that hear a sender, the addresses that belong to the sender, and the lane of its packets.

    sender --> [a stand on the receiver's place] --> lane --> [a stand on the sender's place] --> receiver

A path looks at packets as long as it is not settled where the sender's packets come from
(`proxy/pinholes/components.py`). From then on they pass by the lane alone, whatever carries it
(`proxy/movers/lanes.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Protocol

from protocols.contract.addresses import Endpoint, Host
from protocols.contract.pinholes import Codec, Heard, Party
from proxy.movers.lanes import Counts, Lane, Movers
from proxy.movers.stands import Stand, Stands
from proxy.pinholes.hearing import Hearing, is_rtp
from proxy.pinholes.packets import goes_on, source_of_stream, tells_source
from proxy.sockets import packet_info
from proxy.sockets.endpoint import Route, UdpEndpoint
from proxy.sockets.packet_info import Address, Ancillary


class Place(Protocol):
    """The place of a party, as far as its components need it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the daemon."""

    @property
    def movers(self) -> Movers:
        """What carries the lanes of the daemon."""

    @property
    def stands(self) -> Stands:
        """The stands of the daemon."""

    @property
    def may_leave(self) -> bool:
        """Whether the kernel may carry what comes here and goes out from here."""

    def mark_of(self, party: Party) -> int:
        """The mark of what is sent from a party's place to its partners."""

    def find(self, component: Any, source: Address) -> bool:
        """The party, of which nobody knew where it waits with this component, sends from there. Whether its place could
        be had."""

    def used(self, source: Address, data: bytes) -> None:
        """The first packet of a partner has come."""

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""

    def may_come_by(self, party: Party, host: Host, ancillary: Ancillary) -> bool:
        """Whether a packet that bears this address of the party came by an interface that leads there."""

    def refuse_forged(self, host: Host, ancillary: Ancillary) -> None:
        """A packet bore a party's address and came by the wrong interface."""

    def codec_of(self, payload_type: int) -> Codec | None:
        """What a payload type means to the party."""

    def count_in(self, counts: Counts, heard: Heard | None) -> None:
        """A path that brought these packets to the party has ended. `heard`: how RTP came by it."""

    def count_out(self, counts: Counts) -> None:
        """A path that brought these packets from the party has ended."""

    def give_up(self) -> None:
        """A bug of ours: the place ends with all its paths."""


class End(Protocol):
    """The component that a path begins or ends at: a party's data, or its control (`proxy/pinholes/components.py`)."""

    place: Place
    party: Party
    at: Endpoint | None
    """Where its place is; None: nowhere before it is known where the party waits."""
    source: Address
    """The address that the party's packets come from."""
    to: Address
    """The address that the party is sent to."""
    is_locked: bool
    """Whether it is settled where the party's packets come from."""
    received: int
    """How many packets have told where the party's stream comes from."""
    outward: list[MediaPath]
    inward: list[MediaPath]

    @property
    def announced(self) -> Address:
        """The address where the party has said that it waits."""

    def stands_for(self, partner: Any) -> list[Stand]:
        """Take the stands at this party's place that hear the partner. Raises OSError when there can be none."""

    def meet(self, path: MediaPath, source: Address, data: bytes, ancillary: Ancillary, is_late: bool) -> bool:
        """A packet has come from elsewhere, from a host that may be this party. Returns whether the packet is taken, or
        kept for a moment."""

    def passed(self, data: bytes) -> None:
        """A packet of the party was passed on before it is settled where its packets come from."""

    def come_back(self) -> None:
        """The party has sent from the address that it announced."""

    def forget(self) -> None:
        """The sender elsewhere, if there is one, was a stranger."""


class MediaPath:
    """One direction between two parties' components: the sockets that hear the sender, and the lane of its packets.
    Both components hold it until `end`."""

    __slots__ = ("_claims", "_first", "_hearing", "_is_used", "_out", "_stands", "lane", "receiver", "sender")

    def __init__(self, sender: End, receiver: End) -> None:
        """Take the sockets. Raises OSError."""
        self.sender = sender
        self.receiver = receiver
        self._is_used = False
        self._first = b""
        """A packet of RTP or RTCP from before the sender's address was settled. It tells the stream, while the last
        packet may be a keep-alive that does not."""
        self._claims: tuple[tuple[Stand, Address, Route], ...] = ()
        """Addresses of the sender that the lane does not take packets from."""
        self._stands = receiver.stands_for(sender)
        self._out: UdpEndpoint
        """The socket by which the sender's packets go on."""
        self._hearing: Hearing | None = None
        """Listens to the RTP of the lane. None: there was none."""
        may_leave = sender.place.may_leave and receiver.place.may_leave
        self.lane = Lane(sender.place.movers, self, receiver.to, may_leave)
        self.lane.ear = self
        for stand in self._stands:
            stand.listeners.append(self)
        sender.outward.append(self)
        receiver.inward.append(self)

    def begin(self, back: MediaPath) -> None:
        """Take the sender's packets from now on, also where an older stream between the same two addresses had them.
        They go out by the socket that hears the partner at the sender's place. Raises OSError."""
        self._out = back._stands[0].endpoint
        self._claim()

    def listen(self) -> None:
        """Whoever sends to its sockets is heard from now on. Raises OSError."""
        for stand in self._stands:
            stand.endpoint.read()

    def read_left(self, waiting: Collection[int]) -> None:
        """Read the packets that have arrived at the path's sockets. `waiting` has the descriptors at which there are
        some (`Readers.waiting`)."""
        for stand in self._stands:
            stand.endpoint.read_left(waiting)

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a packet of the sender that was not known as the sender's when it came."""
        self.lane.take(data, ancillary)

    def watch(self, data: bytes) -> None:
        """Look at a packet that was passed on, until the sender's address is settled."""
        if source_of_stream(data) is not None:
            self._first = data
        sender = self.sender
        sender.passed(data)
        if sender.is_locked:
            self.lane.settle()
        if not self._is_used:
            self._is_used = True
            self.receiver.place.used(sender.source, data)

    def hear(self, data: bytes, due: int) -> int:
        """Work as the lane's ear until the first packet of RTP comes."""
        if not is_rtp(data):
            return due
        self.lane.ear = self._hearing = Hearing(self.receiver.place.codec_of, self.lane.packets - 1)
        return self._hearing.hear(data, due)

    def rest(self, due: int) -> None:
        """No RTP has come."""

    @property
    def heard(self) -> Heard | None:
        """How RTP came by this path. None: there was none, or another mover has carried some of it."""
        if self._hearing is None or self.lane.unseen:
            return None
        return self._hearing.told(self.lane.packets)

    def come_back(self, data: bytes, ancillary: Ancillary) -> None:
        """A packet has come from the address that the sender announced, though its earlier packets came from
        elsewhere."""
        is_seen = self.sender.place.movers.local.is_handing_on
        if not is_seen and not self.admits(self.sender.announced, ancillary):
            return
        if tells_source(data) or not self.sender.received:
            self.sender.come_back()
        self.take(data, ancillary)

    @property
    def is_stream(self) -> bool:
        """Whether RTP or RTCP has passed, so that the stream is known by a number."""
        return source_of_stream(self.lane.last) is not None or bool(self._first)

    def is_continued_by(self, data: bytes) -> bool:
        """Whether a packet from elsewhere is the next one of this path's stream."""
        if source_of_stream(self.lane.last) is not None:
            return goes_on(self.lane.last, data, self.lane.unseen)
        ssrc = source_of_stream(self._first)
        return ssrc is not None and ssrc == source_of_stream(data)

    # -- which packets the path takes ----------------------------------------------------------------------------------

    def may_learn(self, host: Host) -> bool:
        """Whether the sender may send from that host."""
        return any(host in network for network in self.sender.party.allow)

    def may_come_by(self, host: Host, ancillary: Ancillary) -> bool:
        """Whether the interface that a packet came by leads to the host whose address it bears."""
        return self.receiver.place.may_come_by(self.sender.party, host, ancillary)

    def admits(self, source: Address, ancillary: Ancillary) -> bool:
        """Whether a packet with this source address came by an interface that leads there; if not, the packet is
        counted as forged."""
        host = packet_info.endpoint(source).host
        if self.may_come_by(host, ancillary):
            return True
        self.refuse_forged(host, ancillary)
        return False

    def meet(self, source: Address, data: bytes, ancillary: Ancillary, is_late: bool) -> bool:
        """Let the sender's component judge a packet from elsewhere (`End.meet`)."""
        if self.sender.at is not None:
            return self.sender.meet(self, source, data, ancillary, is_late)
        if (
            is_late
            or not tells_source(data)
            or self.cannot_take(source)
            or not self.sender.place.find(self.sender, source)
        ):
            return False
        # Now there is a path on which it can be sent on; this one has ended.
        if (stand := self._stand_of(source)) is not None and (take := stand.endpoint.routes.get(source)) is not None:
            take(data, ancillary)
        return True

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""
        self.receiver.place.refuse(source, count)

    def refuse_forged(self, host: Host, ancillary: Ancillary) -> None:
        """A packet bore the sender's address and came by the wrong interface."""
        self.receiver.place.refuse_forged(host, ancillary)

    def _stand_of(self, source: Address) -> Stand | None:
        """The stand where packets from this address come to. None: no stand hears that host."""
        for stand in self._stands:
            if stand.heard is None or stand.heard == source[0]:
                return stand
        return None

    def is_late(self, source: Address) -> bool:
        """Whether another stream came from this address and is over."""
        stand = self._stand_of(source)
        return stand is not None and stand.is_late(source)

    def cannot_take(self, source: Address) -> bool:
        """Whether no stand hears this address, or its packets belong to another stream."""
        stand = self._stand_of(source)
        return stand is None or stand.is_anothers(source, self)

    def _claim(self) -> None:
        """Claim the sender's packets, and those from the address that it announced, which stays its own."""
        source, announced = self.sender.source, self.sender.announced
        if source != announced and (stand := self._stand_of(announced)) is not None:
            stand.claim(announced, self.come_back)
            self._claims += ((stand, announced, self.come_back),)
        self.lane.start(source, self._stand_of(source), self._out)

    def claims(self, at: Stand, source: Address) -> bool:
        """Whether packets of that address are the sender's."""
        if self.lane.at is at and self.lane.source == source:
            return True
        return any(stand is at and address == source for stand, address, _ in self._claims)

    def _release(self) -> list[tuple[Stand, Address]]:
        """Take no packets any more. Returns the stands and addresses where packets were taken."""
        released = [(stand, address) for stand, address, _ in self._claims]
        for stand, address, take in self._claims:
            stand.unclaim(address, take)
        self._claims = ()
        if self.lane.at is not None:
            released.append((self.lane.at, self.lane.source))
        self.lane.stop()
        return released

    def move(self) -> None:
        """The sender's packets come from another address than before."""
        self._release()
        self._claim()

    def give_up(self) -> None:
        """A bug of ours ends both places (`proxy/record/failures.py`)."""
        self.receiver.place.give_up()
        self.sender.place.give_up()

    def end(self, is_over: bool = False) -> Counts:
        """Give the sockets back, and return the counts of what has passed. `is_over`: the stream ends too, and does not
        go on by another path."""
        released = self._release()
        if is_over:
            for stand, address in released:
                stand.remember_over(address)
        for stand in self._stands:
            stand.listeners.remove(self)
            self.receiver.place.stands.give(stand)
        self.sender.outward.remove(self)
        self.receiver.inward.remove(self)
        return self.lane.end()
