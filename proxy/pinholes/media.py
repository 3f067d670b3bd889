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
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any, Protocol

from protocols.contract.addresses import Endpoint, Host, Network, Side, Transport
from protocols.contract.pinholes import Media, MediaGrant, Party
from proxy.movers.lanes import Counts, Movers
from proxy.movers.stands import Stand, Stands
from proxy.pinholes.components import Component, join
from proxy.pinholes.opening import Opening, Owner, Table
from proxy.pinholes.packets import protocol_of
from proxy.pinholes.paths import MediaPath
from proxy.sockets import packet_info
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
        self._in_before = self._out_before = Counts()
        """What went to the party and came from it by paths that have ended."""
        self._refused = 0
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
            self.grant.known,
            offerer.grant.media.party.allow if offerer else (),
            media.party.known,
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
    def movers(self) -> Movers:
        return self._table.movers

    @property
    def stands(self) -> Stands:
        return self._table.stands

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
        return self.stands.lease(self, party.mapped, 1 if party.control is None else 2, self.mark_of(party))

    def mark_of(self, party: Party) -> int:
        """The mark of what is sent from a party's place to its partners: `route_mark`, if the party is the session's
        client."""
        mark = self.owner.policy.route_mark
        host = party.known.host if party.known is not None else party.host
        return mark if mark and host == self.owner.decided_by.client.host else 0

    def _wait_at(self, party: Party, is_new: bool) -> list[Component]:
        """Where the party waits. Raises OSError."""
        waits: list[Endpoint | None] = [party.data] if party.control is None else [party.data, party.control]
        if party.mapped is None:
            for at in waits:
                if at is not None and self._table.has_helper(
                    Transport.UDP, at.port
                ):  # signalling to that host would end here
                    raise OSError(errno.EADDRINUSE, "a port of signalling")
            return [Component(self, party, at, None, is_new) for at in waits]
        return [Component(self, party, at, stand, is_new) for at, stand in zip(waits, self._leased, strict=False)]

    def _clear(self) -> None:
        """Give up the lanes with all partners, and the sockets."""
        self._end_paths(self.components, is_over=True)
        for stand in self._leased:
            self._refused += stand.endpoint.unread()
            self.stands.give(stand)
        # They refer back to it: without them it goes when nobody holds it, not when cycles are collected.
        self._leased = []
        self.components = []

    def _granted(self, number: int, media: Media) -> MediaGrant:
        first, *rest = (component.at for component in self.components)
        return MediaGrant(number, media, first, rest[0] if rest else None)

    def _join(self, components: list[Component], partner: MediaPlace) -> None:
        """Packets pass between these components and the partner's. Raises OSError; then some of the paths may stand."""
        # With RTCP apart on one side only it has no partner there; the other side has it with the rest (D13).
        for one, other in zip(components, partner.components, strict=False):
            join(one, other)

    def _read_left(self) -> None:
        """Pass on what has come by the terms so far, though nobody has come to read it."""
        for component in self.components:
            for path in (*component.outward, *component.inward):
                path.read_left()

    def _end_paths(self, components: list[Component], is_over: bool) -> None:
        for component in components:
            for path in (*component.outward, *component.inward):
                path.sender.forget()
                counts = path.end(is_over)
                path.receiver.place.count_in(counts)
                path.sender.place.count_out(counts)

    def count_in(self, counts: Counts) -> None:
        """What a path that has ended has brought to the party."""
        self._in_before = self._in_before.plus(counts)

    def count_out(self, counts: Counts) -> None:
        """What a path that has ended has brought from the party."""
        self._out_before = self._out_before.plus(counts)

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
        self._read_left()
        before = self.components
        after = self._wait_at(party, is_new=False)
        try:
            for partner in self._partners:
                self._join(after, partner)
        except OSError:
            self._end_paths(after, is_over=False)
            raise
        self.components = after
        self._end_paths(before, is_over=False)

    def find(self, source: Address) -> bool:
        """The party, of which nobody knew where it waits, sends from there: that is its place. Whether it could be
        had."""
        try:
            self._move(replace(self.grant.media.party, data=packet_info.endpoint(source)))
        except OSError:
            return False
        self.grant = self._granted(self.grant.id, self.grant.media)
        return True

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
            first._seen, first._silent = first._passed(), 0
            first._look_later()  # it may wait no longer than it may be silent

    def refuse(self, source: Address, count: int = 1) -> None:
        self._refused += count
        self._table.metrics.strangers.inc(count)
        if self.is_answered and self._refused == count:  # before there is an answer it may be the answerer, early
            self._tell_stranger(f"{packet_info.endpoint(source)} sent to {self.grant.known}", "dropped")

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
            self._tell_stranger(f"{host} seems to send by {by} to {self.grant.known}", "dropped", "pinhole.spoofed")

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
        seen = self._passed()
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
        return [component.at for component in self.components if component.at is not None]

    def shut(self, reason: str) -> None:
        """With those that answered it. Packets that have come before are passed on."""
        if not self._is_over:
            self._read_left()
        if not self._is_over:  # by what it heard
            self._end(reason)

    def _end(self, reason: str) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for answerer in tuple(self._answerers):
            answerer._end(reason)
        self._clear()
        if self._offerer is not None:
            self._offerer._answerers.remove(self)
            if not self._offerer._is_over:
                self._offerer._look_later()
        into, out = self.counts_in(), self.counts_out()
        counts = {"bytes_in": into.bytes, "bytes_out": out.bytes}
        counts |= {"packets_in": into.packets, "packets_out": out.packets}
        self._gone(reason, counts, packets_refused=self._refused, **({"packets_lost": into.lost} if into.lost else {}))

    abort = shut

    # -- reports ---------------------------------------------------------------------------------------------------

    def counts_in(self) -> Counts:
        """What has come to the party."""
        return _total(self._in_before, (path for component in self.components for path in component.inward))

    def counts_out(self) -> Counts:
        """What has come from the party."""
        return _total(self._out_before, (path for component in self.components for path in component.outward))

    def _passed(self) -> int:
        """Packets to the party and from it."""
        return self.counts_in().packets + self.counts_out().packets

    def summary(self, now: float) -> dict[str, Any]:
        media = self.grant.media
        paths = (path for component in self.components for path in component.inward)
        allow: set[Network] = {net for path in paths for net in path.sender.party.allow}
        state = "relaying" if self._is_used else "waiting" if allow else "unconfirmed"
        passed = self.counts_in().bytes, self.counts_out().bytes
        return self._describe(
            now,
            state,
            media.purpose,
            Transport.UDP,
            self.grant.known,
            sorted(allow, key=str),
            media.party.known,
            *passed,
        )


def _total(before: Counts, paths: Iterable[MediaPath]) -> Counts:
    for path in paths:
        before = before.plus(path.lane.counts())
    return before
