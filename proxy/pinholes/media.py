"""Media: datagrams between two parties who learned of each other from a session description. RTP, RTCP, UDPTL.

Each party has a *place*, where its partner finds it: its own address, or one of ours. What comes to one party's place
goes out from the other's, so each sees the other where it was told:

    offerer --> [answerer's place] ------------------------> [offerer's place] --> answerer
            <-- [answerer's place] <------------------------ [offerer's place] <--

A place on an address of ours is a socket, or two when RTCP has a port of its own, from the offer on. A place on a
party's own address has no socket before there is an answer. From then on it has one for each host of its partners,
which hears that host alone: everybody else's packets to that address pass as if no place stood there. An offerer's
place may have several answerers (forking, rule D27). Lanes (`proxy/movers/lanes.py`) carry the packets of the parties;
all other packets are refused and counted. STUN, DTLS and ZRTP pass like RTP (rule D42).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from dataclasses import replace

from protocols.contract.addresses import Endpoint, Network, Transport
from protocols.contract.engine import MediaOptions
from protocols.contract.pinholes import Codec, Heard, Media, MediaGrant, Party
from proxy.movers.lanes import Counts, Movers
from proxy.movers.stands import Stand, Stands
from proxy.pinholes.components import Component, join
from proxy.pinholes.opening import Described, Owner, Table
from proxy.pinholes.packets import protocol_of
from proxy.pinholes.paths import MediaPath
from proxy.pinholes.places import PartyPlace
from proxy.pinholes.silence import Together
from proxy.sockets import packet_info
from proxy.sockets.packet_info import Address


class MediaPlace(PartyPlace):
    """The place where one party is found by its partners. In the table it is one pinhole. An offerer's place outlives
    its answerers' places; when it ends, they end with it."""

    def __init__(
        self,
        table: Table,
        owner: Owner,
        number: int,
        media: Media,
        together: Together,
        offerer: MediaPlace | None = None,
    ) -> None:
        """`offerer` is the place that this one answers, if there is one. Raises OSError when the place cannot be
        had."""
        super().__init__(table, owner, together)
        # A place asks for these a dozen times until it stands.
        self.loop: asyncio.AbstractEventLoop = table.loop
        self.movers: Movers = table.movers
        self.stands: Stands = table.stands
        self.may_leave = _may_leave(owner)
        """Whether the kernel may carry what comes here and goes out from here."""
        self._offerer: MediaPlace | None = offerer
        self._answerers: list[MediaPlace] = []
        self._in_before = self._out_before = Counts()
        """What passed to the party by paths that have ended; `_out_before` is what came from it."""
        self._leased: list[Stand] = []
        self.components: list[Component] = []
        try:
            self._begin(number, media)
        except Exception:  # no room, or a bug of ours: the owner will never know of this place
            self._undo()
            raise

    def _begin(self, number: int, media: Media) -> None:
        """Take the sockets, join the offerer if there is one, and start the clock. Raises OSError."""
        offerer = self._offerer
        self._leased = self._lease(media.party)
        self.components = self._wait_at(media.party, is_new=True)
        self.grant = self._granted(number, media)
        if offerer is not None:
            self._join(self.components, offerer)
            offerer._answerers.append(self)
            self._table.answered(offerer)  # which no longer counts among the unanswered ones
        cseq = {} if media.number is None else {"cseq": media.number}
        self._tell_stands(rtcp=self.grant.control, **cseq)

    def _undo(self) -> None:
        """Take back what has been begun."""
        self._is_over = True
        self._stop_clock()
        if self._offerer is not None and self in self._offerer._answerers:
            self._offerer._answerers.remove(self)
        self._clear()

    @property
    def ports(self) -> int:
        """How many ports of our addresses this place holds."""
        return len(self._leased)

    # -- where it stands -------------------------------------------------------------------------------------------

    def _lease(self, party: Party) -> list[Stand]:
        """Take the sockets of a place on an address of ours, which the place keeps until its end. Raises OSError."""
        if party.mapped is None:
            return []
        return self.stands.lease(self, party.mapped, 2 if party.has_two else 1, self.mark_of(party))

    def mark_of(self, party: Party) -> int:
        """The mark of what is sent from a party's place to its partners: `route_mark` if the party is the session's
        client."""
        mark = self.owner.policy.route_mark
        host = party.known.host if party.known is not None else party.host
        return mark if mark and host == self.owner.decided_by.client.host else 0

    def _wait_at(self, party: Party, is_new: bool) -> list[Component]:
        """The components of the party, at the addresses where it waits. Raises OSError."""
        waits = [party.data, party.control] if party.has_two else [party.data]
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
        # Components and stands refer back to the place. Without these references the place is freed as soon as nobody
        # holds it, and need not wait for the collector of cycles.
        self._leased = []
        self.components = []

    def _granted(self, number: int, media: Media) -> MediaGrant:
        """The answer for the engine: the addresses that are open now."""
        first, *rest = (component.at for component in self.components)
        return MediaGrant(number, media, first, rest[0] if rest else None)

    def _join(self, components: list[Component], partner: MediaPlace) -> None:
        """Let packets pass between these components and the partner's. Raises OSError; some of the paths may stand
        then."""
        # If only one side has a port of its own for RTCP, that port has no partner; the other side has RTCP with the
        # rest (D13).
        for one, other in zip(components, partner.components, strict=False):
            join(one, other)

    def _read_left(self) -> None:
        """Pass on, by the terms so far, what has arrived but has not been read yet."""
        waiting = self._table.endpoints.readers.waiting()  # mostly at none of the four sockets of a call
        for component in self.components if waiting else ():
            for path in (*component.outward, *component.inward):
                path.read_left(waiting)

    def _end_paths(self, components: list[Component], is_over: bool) -> None:
        """End all paths of these components. `is_over`: their streams end too, and do not go on by other paths."""
        for component in components:
            for path in (*component.outward, *component.inward):
                path.sender.forget()
                counts = path.end(is_over)
                path.receiver.place.count_in(counts, path.heard)
                path.sender.place.count_out(counts)

    def codec_of(self, payload_type: int) -> Codec | None:
        """What a payload type means to the party."""
        codecs = self.grant.media.codecs
        return None if codecs is None else codecs.of(payload_type)

    def count_in(self, counts: Counts, heard: Heard | None) -> None:
        """A path that brought these packets to the party has ended. `heard`: how RTP came by it."""
        self._in_before = self._in_before.plus(counts)
        if heard is not None:
            self.heard = heard if self.heard is None else self.heard.plus(heard)

    def count_out(self, counts: Counts) -> None:
        """A path that brought these packets from the party has ended."""
        self._out_before = self._out_before.plus(counts)

    def change(self, media: Media) -> None:
        """The party has another address, or other terms apply. Raises OSError when the new place cannot be had; the old
        one is gone then."""
        if media.party != self.grant.media.party:
            try:
                self._move(media.party)
            except OSError:
                self.shut("no_place")
                raise
        before, self.grant = self.grant.media.party.allow, self._granted(self.grant.id, media)
        for partner in self._partners:
            for component in partner.components:
                component.reopen()
            if media.party.allow != before:
                partner.tell_renewed(media.party.allow, partner._wait())
        (self._offerer or self)._look_later()

    def _move(self, party: Party) -> None:
        """Move the party to another address. The new sockets stand before the old ones go, so that no packet is lost
        between. Raises OSError."""
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

    def find(self, component: Component, source: Address) -> bool:
        """The party, of which nobody knew where it waits with this component, sends from there: that is its place.
        Whether it could be had."""
        at = packet_info.endpoint(source)
        waits = [at if each is component else each.waits for each in self.components]
        party = replace(self.grant.media.party, data=waits[0], control=waits[1] if len(waits) > 1 else None)
        try:
            self._move(party)
        except OSError:
            return False
        self.grant = self._granted(self.grant.id, self.grant.media)
        return True

    @property
    def _partners(self) -> list[MediaPlace]:
        """The places that exchange packets with this one."""
        return self._answerers if self._offerer is None else [self._offerer]

    # -- packets that come -----------------------------------------------------------------------------------------

    def used(self, source: Address, data: bytes) -> None:
        """The first packet of a partner has come."""
        if not self._is_used:
            self._first_came(packet_info.endpoint(source), protocol=protocol_of(data))

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""
        self._count_refused(count)
        # before there is an answer the sender may be the answerer, early
        if self.is_answered and self._is_first("pinhole.stranger"):
            self._tell_stranger(f"{packet_info.endpoint(source)} sent to {self.grant.known}", "dropped")

    # -- ends ------------------------------------------------------------------------------------------------------

    def places(self) -> Iterable[Endpoint]:
        return [component.at for component in self.components if component.at is not None]

    def shut(self, reason: str) -> None:
        """End this place, and the places that answer it. Packets that have already come are passed on.

        Whatever ends a place ends it here, or ends the place that it answers. All causes stand at `Closed.reason` in
        `protocols/contract/pinholes.py`.
        """
        if not self._is_over:
            self._read_left()
        if not self._is_over:  # what was just read has ended the place
            self._end(reason)

    def _end(self, reason: str) -> None:
        self._is_over = True
        self._stop_clock()
        for answerer in tuple(self._answerers):
            answerer._end(reason)
        self._clear()
        if self._offerer is not None:
            self._offerer._answerers.remove(self)
            if not self._offerer._is_over:
                self._offerer._look_later()
        if self.heard is not None:
            self._table.metrics.rtp_lost.inc(self.heard.lost)
        self._tell_gone(reason)

    abort = shut

    # -- reports ---------------------------------------------------------------------------------------------------

    def counts_in(self) -> Counts:
        """What has passed to the party."""
        return _total(self._in_before, (path for component in self.components for path in component.inward))

    def counts_out(self) -> Counts:
        """What has passed from the party."""
        return _total(self._out_before, (path for component in self.components for path in component.outward))

    def _passed(self) -> int:
        """How many packets have passed to the party and from it."""
        passed = self._in_before.packets + self._out_before.packets
        for component in self.components:
            for path in (*component.inward, *component.outward):
                passed += path.lane.packets
        return passed

    @property
    def state(self) -> str:
        """One word for the operator."""
        return "relaying" if self._is_used else "waiting" if self._admitted() else "unconfirmed"

    def _admitted(self) -> set[Network]:
        """The networks that partners' packets may come from."""
        paths = (path for component in self.components for path in component.inward)
        return {network for path in paths for network in path.sender.party.allow}

    @property
    def described(self) -> Described:
        """What the place is for."""
        media = self.grant.media
        allow = sorted(self._admitted(), key=str)
        return Described(
            media.purpose, media.trigger, Transport.UDP, self.grant.known, allow, media.party.known, media.number
        )

    @property
    def is_in_kernel(self) -> bool:
        """Whether the kernel carries some of it now."""
        return any(path.lane.is_away for each in self.components for path in (*each.inward, *each.outward))

    def carried_in_kernel(self) -> int:
        """How many of the packets to the party the kernel has carried."""
        return self.counts_in().away


def _may_leave(owner: Owner) -> bool:
    """Whether the kernel may carry media of this session."""
    options = owner.policy.options.get(owner.helper.name)
    return not isinstance(options, MediaOptions) or options.media_path == "auto"


def _total(before: Counts, paths: Iterable[MediaPath]) -> Counts:
    """These counts together with those of the paths that still stand."""
    for path in paths:
        before = before.plus(path.lane.counts())
    return before
