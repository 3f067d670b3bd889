"""Tunnels: packets without ports between two parties that agreed on them in a session. GRE of PPTP.

Each party has a *place*, where its partner finds it: an address, and an id that packets to it bear. What comes to one
party's place goes out from the other's, so each sees the other where it was told:

    offerer --> [answerer's place] ------------------------> [offerer's place] --> answerer
            <-- [answerer's place] <------------------------ [offerer's place] <--

The offerer's place stands from the offer on, for its partner may send as soon as it has answered, and then its packets
may be read before the answer is. Those few are kept until the tunnel stands, or until it is known that there will be
none. A tunnel has a single answerer. It ends with either place.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from ipaddress import IPv4Address

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.pinholes import Media, MediaGrant, Party
from proxy.movers.lanes import NOTHING, Counts
from proxy.movers.passages import Passage
from proxy.pinholes.opening import Described, Owner, Passed, Table, mark_to
from proxy.pinholes.silence import TimedMedia, Together
from proxy.sockets import packet_info
from proxy.sockets.packet_info import Ancillary

MOST_EARLY, MOST_EARLY_BYTES = 8, 2048
"""How many packets are kept that come before the answer, and how long each may be: ends begin with short ones, and a
few of them."""


class TunnelPlace(TimedMedia):
    """The place where one party of a tunnel is found by its partner. In the table it is one pinhole."""

    _answerers: list[TunnelPlace]

    def __init__(
        self,
        table: Table,
        owner: Owner,
        number: int,
        media: Media,
        together: Together,
        offerer: TunnelPlace | None = None,
    ) -> None:
        """`offerer` is the place that this one answers, if there is one. Raises OSError when the place cannot be
        had."""
        super().__init__(table, owner, together)
        assert media.party.data is not None
        self.party_at = media.party.data
        """The party's own address and id."""
        self._offerer: TunnelPlace | None = offerer
        self._answerers = []
        self._refused = 0
        self._is_used = self._is_over = self._is_forged = False
        self._early: list[tuple[Host, bytes, int, Ancillary]] = []
        self.passage: Passage | None = None
        """What brings packets to the party. None: there is no partner."""
        at = media.party.mapped or self.party_at.host
        assert isinstance(at, IPv4Address)
        self.endpoint = table.raw.take(at)
        self.number = -1
        try:
            self._begin(number, media)
        except Exception:  # no room, or a bug of ours: the owner will never know of this place
            self._is_over = True
            self._stop_clock()
            self._clear()
            raise

    def _begin(self, number: int, media: Media) -> None:
        """Take an id, join the offerer if there is one, and start the clock. Raises OSError."""
        chosen = self._choose(media.party)
        self.endpoint.hold(self, chosen)
        self.number = chosen
        self.grant = MediaGrant(number, media, Endpoint(self.endpoint.host, chosen), None)
        if (offerer := self._offerer) is not None:
            self._join(offerer)
        self._tell_opened(
            media.purpose,
            media.transport,
            self.grant.data,
            offerer.grant.media.party.allow if offerer else (),
            self.party_at,
            self._wait(),
            media.trigger,
            **({} if offerer is None else {"answers": offerer.name}),
        )
        if offerer is not None:
            offerer._answered_by(self)
        (offerer or self)._look_later()

    def _choose(self, party: Party) -> int:
        """The id of the place. Raises OSError when there is none."""
        own = self.party_at.port
        if party.mapped is None or (party.keeps_port and not self.endpoint.is_held(own)):
            return own
        return self.endpoint.free()

    def _join(self, offerer: TunnelPlace) -> None:
        """Let packets pass both ways. Raises OSError, and then none pass."""
        if offerer._answerers:
            raise OSError(errno.EADDRINUSE, "it has an answer")
        offerer.passage = offerer._from(self)
        try:
            self.passage = self._from(offerer)
        except Exception:
            offerer.passage.stop()
            offerer.passage = None
            raise
        offerer._answerers.append(self)

    def _from(self, partner: TunnelPlace) -> Passage:
        """A passage for the partner's packets to this party. Raises OSError."""
        source, to = partner.party_at.host, self.party_at
        assert isinstance(source, IPv4Address) and isinstance(to.host, IPv4Address)
        mark = mark_to(self.owner, to.host)
        return Passage(self, self, self.endpoint, source, self.number, partner.endpoint, to.host, to.port, mark)

    def _answered_by(self, answerer: TunnelPlace) -> None:
        """From now on the answerer may send to this place. What it has sent already is passed on."""
        self.log.write(
            "pinhole.joined", pinhole=self.name, allow=answerer.grant.media.party.allow, answered_at=answerer.name
        )
        early, self._early = self._early, []
        for source, packet, traffic_class, ancillary in early:
            if source != answerer.party_at.host or self.passage is None:
                self.refuse(source, self.number)
            else:
                self.passage.take(memoryview(bytearray(packet)), traffic_class, ancillary)

    @property
    def _partner(self) -> TunnelPlace | None:
        """The place that exchanges packets with this one."""
        return self._offerer or next(iter(self._answerers), None)

    # -- packets that come ---------------------------------------------------------------------------------------------

    def meet(self, source: Host, packet: memoryview, traffic_class: int, ancillary: Ancillary) -> bool:
        """A packet has come before there is an answer. Whoever answers is known only then."""
        if self.is_answered or len(packet) > MOST_EARLY_BYTES or len(self._early) >= MOST_EARLY:
            return False
        self._early.append((source, bytes(packet), traffic_class, ancillary))
        return True

    def admits(self, host: IPv4Address, ancillary: Ancillary) -> bool:
        """Whether a packet that bears the partner's address came by an interface that leads there."""
        partner = self._partner
        side = (partner.grant.media.party.side if partner is not None else None) or Side.SERVER
        index = packet_info.arrival_interface(ancillary)
        if self._table.borders.leads_to(host, index, self.owner, side):
            return True
        self._count_refused()
        if not self._is_forged:
            self._is_forged = True
            by = self._table.borders.name_of(index)
            self._tell_stranger(f"{host} seems to send by {by} to {self.grant.data}", "dropped", "pinhole.spoofed")
        return False

    def begun(self) -> None:
        """The first packet has come to the party."""
        partner = self._partner
        if not self._is_used and partner is not None:
            self._is_used = True
            self._tell_used(partner.party_at)
            (self._offerer or self)._begun()

    def refuse(self, source: Host, number: int) -> None:
        """A packet was not passed on: of another host, or with an id that is no tunnel's of this one."""
        self._count_refused()
        if self._refused == 1:  # later ones are a number in pinhole.closed
            self._tell_stranger(f"{source} sent to {self.endpoint.host}, id {number}", "dropped")

    def _count_refused(self) -> None:
        self._refused += 1
        self._table.metrics.strangers.inc()

    # -- ends ----------------------------------------------------------------------------------------------------------

    def places(self) -> Iterable[Endpoint]:
        return () if self.grant.data is None else (self.grant.data,)

    def shut(self, reason: str) -> None:
        """End this place, and the tunnel with it: neither party has a tunnel without the other one."""
        if not self._is_over:
            self._end(reason)

    abort = shut

    def _end(self, reason: str) -> None:
        self._is_over = True
        self._stop_clock()
        partner, into, out = self._partner, self.counts_in(), self.counts_out()
        self._refused += len(self._early)
        self._clear()
        counts = {"bytes_in": into.bytes, "bytes_out": out.bytes}
        counts |= {"packets_in": into.packets, "packets_out": out.packets}
        lost = {"packets_lost": into.lost} if into.lost else {}
        self._gone(reason, counts, packets_refused=self._refused, **lost)
        if partner is not None and not partner._is_over:
            partner._end(reason)

    def _clear(self) -> None:
        """Give up the passage, the id and the socket."""
        self._early = []
        if self.passage is not None:
            self.passage.stop()
        if self.number >= 0:
            self.endpoint.leave(self, self.number)
        self._table.raw.give(self.endpoint)

    # -- reports -------------------------------------------------------------------------------------------------------

    def counts_in(self) -> Counts:
        """What has passed to the party."""
        return NOTHING if self.passage is None else self.passage.counts()

    def counts_out(self) -> Counts:
        """What has passed from the party."""
        return NOTHING if self._partner is None else self._partner.counts_in()

    @property
    def purpose(self) -> str:
        """What the tunnel is for, as the log has it."""
        return self.grant.media.purpose

    def carried(self) -> tuple[int, int]:
        """What has passed to the party: what came from it is counted at the place of its partner."""
        into = self.counts_in()
        return into.bytes, into.packets

    def _passed(self) -> int:
        """How many packets have passed to the party and from it."""
        return self.counts_in().packets + self.counts_out().packets

    @property
    def state(self) -> str:
        """One word for the operator."""
        return "relaying" if self._is_used else "waiting" if self.is_answered else "unconfirmed"

    @property
    def described(self) -> Described:
        """What the place is for."""
        media, partner = self.grant.media, self._partner
        allow = partner.grant.media.party.allow if partner is not None else ()
        return Described(media.purpose, media.trigger, media.transport, self.grant.data, allow, self.party_at)

    def passed(self) -> Passed:
        """What has passed so far."""
        into, out = self.counts_in(), self.counts_out()
        return Passed(into.bytes, out.bytes, into.packets, out.packets)
