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

from protocols.contract.addresses import Endpoint, Host
from protocols.contract.pinholes import Media, MediaGrant, Party
from proxy.movers.lanes import NOTHING, Counts
from proxy.movers.passages import Passage
from proxy.pinholes.opening import Described, Owner, Table, mark_to
from proxy.pinholes.places import PartyPlace
from proxy.pinholes.silence import Together
from proxy.sockets.packet_info import Ancillary

MOST_EARLY, MOST_EARLY_BYTES = 8, 2048
"""How many packets are kept that come before the answer, and how long each may be: ends begin with short ones, and a
few of them."""


class TunnelPlace(PartyPlace):
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
        self._tell_stands()
        if offerer is not None:
            offerer._pass_early(self)

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

    def _pass_early(self, answerer: TunnelPlace) -> None:
        """Pass on what the answerer has sent already."""
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

    def _wait(self) -> float:
        """How long the tunnel may be silent. Its parties send as soon as they agree, so one that has not begun is no
        better than one that has fallen silent."""
        return self.grant.media.idle_seconds if self.is_answered else super()._wait()

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
        if partner is None or self.may_come_by(partner.grant.media.party, host, ancillary):
            return True
        self.refuse_forged(host, ancillary)
        return False

    def begun(self) -> None:
        """The first packet has come to the party."""
        if (partner := self._partner) is not None:
            self._first_came(partner.party_at)

    def refuse(self, source: Host, number: int) -> None:
        """A packet was not passed on: of another host, or with an id that is no tunnel's of this one."""
        self._count_refused()
        if self._is_first("pinhole.stranger"):
            self._tell_stranger(f"{source} sent to {self.endpoint.host}, id {number}", "dropped")

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
        self._refused += len(self._early)
        self._clear()
        self._tell_gone(reason)
        partner = self._partner
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
    def state(self) -> str:
        """One word for the operator."""
        return "relaying" if self._is_used else "waiting" if self.is_answered else "unconfirmed"

    @property
    def described(self) -> Described:
        """What the place is for."""
        media, partner = self.grant.media, self._partner
        allow = partner.grant.media.party.allow if partner is not None else ()
        return Described(media.purpose, media.trigger, media.transport, self.grant.data, allow, self.party_at)
