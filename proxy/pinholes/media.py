"""Media: datagrams between two parties who learned of each other from a session description. RTP, RTCP, UDPTL.

Each party has a *place*, where its partner finds it: its own address, or one of ours. What comes to one party's place
goes out from the other's, so each sees the other where it was told:

    offerer --> [answerer's place] ------------------------> [offerer's place] --> answerer
            <-- [answerer's place] <------------------------ [offerer's place] <--

A place on an address of ours is a socket, or two with RTCP apart, from the offer on. A place on a party's own address
has no socket before there is an answer, and then one for each host of its partners, which hears nobody else: everybody
else's packets to that address pass as if nobody stood there. An offerer's place may have several answerers (forking,
rule D27). Which packets are taken is a matter of lanes (`proxy/movers/lanes.py`); everybody else is refused and
counted. STUN, DTLS and ZRTP pass like RTP (rule D42).

Media is over when it is silent, but not alone: while another medium of the same call is heard, or signalling says that
the call lives, silence means nothing (D44, RFC 4103). A place that has an answer and was never used waits as long.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

from protocols.contract.addresses import Endpoint, Host, Network, Side, Transport
from protocols.contract.pinholes import Media, MediaGrant, Party
from proxy.movers.lanes import Component, Lane, Stand, join, protocol_of
from proxy.pinholes.opening import Opening, Owner, Table
from proxy.sockets import packet_info
from proxy.sockets.endpoints import UdpEndpoint
from proxy.sockets.packet_info import Address, Ancillary

# How often a stream is looked at within its idle time: that spares a look at the clock for each packet.
LOOKS = 4

FOR_EVER = float("inf")


class Together(Protocol):
    """All media of one call, which lives and ends together."""

    @property
    def places(self) -> Collection[MediaPlace]: ...

    @property
    def kept_until(self) -> float:
        """Signalling says that the call lives until then, by the loop's clock."""


class MediaPlace(Opening):
    """Where one party is found by its partners; in the table of pinholes it is one of them."""

    grant: MediaGrant

    def __init__(
        self,
        table: Table,
        owner: Owner,
        number: int,
        media: Media,
        together: Together,
        offerer: MediaPlace | None = None,
    ) -> None:
        """`offerer`: whom this one answers. Raises OSError when the place cannot be had."""
        super().__init__(table, owner)
        self._together = together
        self._offerer = offerer
        self._answerers: list[MediaPlace] = []
        self._bytes_in = self._bytes_out = self._packets_in = self._packets_out = self._refused = self._lost = 0
        self._is_used = self._is_over = self._is_forged = False
        self._seen = self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._leased: list[Stand] = []
        self.components: list[Component] = []
        try:
            self._begin(number, media)
        except Exception:  # no room, or a bug of ours: whose place it is will never know of it
            self._undo()
            raise

    def _begin(self, number: int, media: Media) -> None:
        """Raises OSError."""
        offerer = self._offerer
        self._leased = self._lease(media.party)
        self.components = self._wait_at(media.party, is_new=True)
        self.grant = self._granted(number, media)
        if offerer is not None:
            self._join(self.components, offerer)
            offerer._answerers.append(self)
            offerer._told_of_answer()
        self._tell_opened(
            media.purpose,
            Transport.UDP,
            self.grant.data,
            offerer.grant.media.party.allow if offerer else (),
            media.party.data,
            self._wait(),
            media.trigger,
            rtcp=self.grant.control,
            answers=offerer.grant.id if offerer else None,
        )
        (offerer or self)._look_later()

    def _undo(self) -> None:
        """What has been begun."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._offerer is not None and self in self._offerer._answerers:
            self._offerer._answerers.remove(self)
        self._clear()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._table.loop

    @property
    def leased(self) -> Mapping[Address, UdpEndpoint]:
        return self._table.endpoints.leased

    @property
    def ports(self) -> int:
        """How many ports of our addresses it holds."""
        return len(self._leased)

    @property
    def is_answered(self) -> bool:
        return self._offerer is not None or bool(self._answerers)

    # -- where it stands -------------------------------------------------------------------------------------------

    def _lease(self, party: Party) -> list[Stand]:
        """The sockets of a place on an address of ours, which it keeps. Raises OSError."""
        if party.mapped is None:
            return []
        return self._table.stands.lease(self, party.mapped, 1 if party.control is None else 2, self.mark_of(party))

    def mark_of(self, party: Party) -> int:
        """The mark of what is sent from a party's place to its partners: `route_mark`, if the party is the session's
        client."""
        mark = self.owner.policy.route_mark
        return mark if mark and party.data.host == self.owner.decided_by.client.host else 0

    def _wait_at(self, party: Party, is_new: bool) -> list[Component]:
        """Where the party waits. Raises OSError."""
        waits = [party.data] if party.control is None else [party.data, party.control]
        if party.mapped is None:
            for at in waits:
                if self._table.has_helper(Transport.UDP, at.port):  # signalling to that host would end here
                    raise OSError(errno.EADDRINUSE, "a port of signalling")
            return [Component(self, party, at, None, is_new) for at in waits]
        return [Component(self, party, at, stand, is_new) for at, stand in zip(waits, self._leased, strict=False)]

    def _clear(self) -> None:
        """Give up the lanes with all partners, and the sockets."""
        self._end_lanes(self.components, is_over=True)
        for stand in self._leased:
            self._refused += stand.endpoint.unread()
            self._table.stands.give(stand)
        # They refer back to it: without them it goes when nobody holds it, not when cycles are collected.
        self._leased = []
        self.components = []

    def _granted(self, number: int, media: Media) -> MediaGrant:
        first, *rest = (component.at for component in self.components)
        return MediaGrant(number, media, first, rest[0] if rest else None)

    def _join(self, components: list[Component], partner: MediaPlace) -> list[Lane]:
        """Raises OSError; then some of the lanes may stand."""
        # With RTCP apart on one side only it has no partner there; the other side has it with the rest (D13).
        pairs = zip(components, partner.components, strict=False)
        return [lane for one, other in pairs for lane in join(one, other, self._table.stands)]

    def _end_lanes(self, components: list[Component], is_over: bool) -> None:
        for component in components:
            for lane in (*component.lanes, *component.inward):
                lane.sender.forget()
                self._account(lane)
                lane.end(self._table.stands, is_over)

    def _account(self, lane: Lane) -> None:
        """A lane that ends: both its parties remember what went over it."""
        lane.receiver.place.count_in(lane.packets, lane.bytes, lane.lost)
        lane.sender.place.count_out(lane.packets, lane.bytes)

    def count_in(self, packets: int, size: int, lost: int) -> None:
        self._packets_in += packets
        self._bytes_in += size
        self._lost += lost

    def count_out(self, packets: int, size: int) -> None:
        self._packets_out += packets
        self._bytes_out += size

    def change(self, media: Media) -> None:
        """Another address, or other terms. Raises OSError when the place cannot be had; it is gone then."""
        if media.party != self.grant.media.party:
            try:
                self._move(media.party)
            except OSError:
                self.shut("no_place")
                raise
        self.grant = self._granted(self.grant.id, media)
        for partner in self._partners:
            for component in partner.components:
                component.reopen()
        (self._offerer or self)._look_later()

    def _move(self, party: Party) -> None:
        """The new sockets stand before the old ones go, so that nothing falls between. Raises OSError."""
        before = self.components
        after = self._wait_at(party, is_new=False)
        try:
            for partner in self._partners:
                self._join(after, partner)
        except OSError:
            self._end_lanes(after, is_over=False)
            raise
        self.components = after
        self._end_lanes(before, is_over=False)

    @property
    def _partners(self) -> list[MediaPlace]:
        return self._answerers if self._offerer is None else [self._offerer]

    # -- who comes -------------------------------------------------------------------------------------------------

    def used(self, source: Address, data: bytes) -> None:
        """The first packet has come, from a partner."""
        if not self._is_used:
            self._is_used = True
            self._tell_used(packet_info.endpoint(source), protocol=protocol_of(data))
            first = self._offerer or self
            first._seen, first._silent = first.packets_in + first.packets_out, 0
            first._look_later()  # it may wait no longer than it may be silent

    def refuse(self, source: Address, count: int = 1) -> None:
        self._refused += count
        self._table.metrics.strangers.inc(count)
        if self.is_answered and self._refused == count:  # before there is an answer it may be the answerer, early
            self._tell_stranger(f"{packet_info.endpoint(source)} sent to {self.grant.data}", "dropped")

    def may_come_by(self, party: Party, host: Host, ancillary: Ancillary) -> bool:
        """Whether packets of that party, which bear this address of its, may come by the interface that they came
        by."""
        side = party.side or Side.SERVER
        return self._table.borders.leads_to(host, packet_info.arrival_interface(ancillary), self.owner, side)

    def refuse_forged(self, host: Host, ancillary: Ancillary) -> None:
        self._refused += 1
        self._table.metrics.strangers.inc()
        if not self._is_forged:
            self._is_forged = True
            by = self._table.borders.name_of(packet_info.arrival_interface(ancillary))
            self._tell_stranger(f"{host} seems to send by {by} to {self.grant.data}", "dropped", "pinhole.spoofed")

    # -- time ------------------------------------------------------------------------------------------------------

    def _told_of_answer(self) -> None:
        """The offer has an answer, so the table does not count it among the unanswered ones any longer."""
        self._table.answered(self)

    def _wait(self) -> float:
        """How long it may be silent: as the offerer says, and for ever when an answerer has put it on hold (D25), or
        when nothing has come since there is an answer: then its call ends it."""
        media = self.grant.media
        partners = [answerer.grant.media for answerer in self._answerers]
        if self._seen:
            return max([media.idle_seconds, *(FOR_EVER for each in partners if each.idle_seconds == FOR_EVER)])
        if self.is_answered:
            return FOR_EVER
        return media.open_seconds if media.open_seconds is not None else self._table.timeouts.pinhole_open

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self._wait()
        if wait != FOR_EVER:
            self._timer = self._table.loop.call_later(wait / LOOKS, self._look)

    def _look(self) -> None:
        """Silence of one party is normal, of all of them it is not (D44)."""
        seen = self.packets_in + self.packets_out
        self._silent = 0 if seen != self._seen else self._silent + 1
        self._seen = seen
        if self._silent < LOOKS or self._is_call_alive():
            self._look_later()
        elif not seen:
            self.shut("never_used")
        else:
            for place in self._silent_ones():
                place.shut("idle" if place._seen else "never_used")
            self.shut("idle")

    def _is_call_alive(self) -> bool:
        """Whether another medium of the call is heard, or on hold, or signalling says that the call lives."""
        if self._together.kept_until > self._table.loop.time():
            return True
        return any(place.is_heard or place.is_on_hold for place in self._together.places if place is not self)

    @property
    def is_heard(self) -> bool:
        """Of an offerer: whether something has passed within the time that it may be silent."""
        return self._offerer is None and self._seen > 0 and self._silent < LOOKS

    @property
    def is_on_hold(self) -> bool:
        return self.grant.media.idle_seconds == FOR_EVER

    def _silent_ones(self) -> list[MediaPlace]:
        """The other media of a call whose media is over."""
        return [place for place in self._together.places if place._offerer is None and place is not self]

    # -- ends ------------------------------------------------------------------------------------------------------

    def _places(self) -> Iterable[Endpoint]:
        return [component.at for component in self.components]

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
    def _in(self) -> Iterator[Lane]:
        return (lane for component in self.components for lane in component.inward)

    @property
    def _out(self) -> Iterator[Lane]:
        return (lane for component in self.components for lane in component.lanes)

    @property
    def packets_in(self) -> int:
        return self._packets_in + sum(lane.packets for lane in self._in)

    @property
    def packets_out(self) -> int:
        return self._packets_out + sum(lane.packets for lane in self._out)

    def summary(self, now: float) -> dict[str, Any]:
        media = self.grant.media
        allow: set[Network] = {net for lane in self._in for net in lane.sender.party.allow}
        state = "relaying" if self._is_used else "waiting" if allow else "unconfirmed"
        passed = (
            self._bytes_in + sum(lane.bytes for lane in self._in),
            self._bytes_out + sum(lane.bytes for lane in self._out),
        )
        return self._describe(
            now, state, media.purpose, Transport.UDP, self.grant.data, sorted(allow, key=str), media.party.data, *passed
        )
