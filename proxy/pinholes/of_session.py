"""The pinholes of one session, as its engine sees them."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from protocols.contract.addresses import Host, Network, Transport
from protocols.contract.pinholes import AnyGrant, Expect, Grant, Media, MediaGrant, Party, Refusal
from proxy.errors import refusal_reason
from proxy.pinholes.connections import Pinhole
from proxy.pinholes.datagrams import DatagramPinhole
from proxy.pinholes.media import MediaPlace
from proxy.pinholes.opening import Opening, Owner
from proxy.pinholes.places import PartyPlace
from proxy.pinholes.table import PinholeTable
from proxy.pinholes.tunnels import TunnelPlace

_Kind = TypeVar("_Kind", bound=Opening)


class SessionPinholes:
    """The pinholes of one session, and its way to open more. An engine holds it as `Pinholes`.

    It owns nothing that must end with it: a pinhole leaves it (`_forget`) when the pinhole is gone, which may be after
    the session.
    """

    __slots__ = ("_apart", "_held", "_parent", "_session", "_table", "kept_until", "log")

    def __init__(
        self,
        table: PinholeTable,
        owner: Owner,
        parent: SessionPinholes | None = None,
        of: Mapping[str, Any] | None = None,
    ) -> None:
        """`of` is what every line of the log about these pinholes says, beside what its session says."""
        self._table = table
        self.log = owner.log.bind(**of) if of else owner.log
        # The session holds this. If this held the session, it would stay until a collector of garbage looks for it.
        self._session = weakref.ref(owner)
        self._parent = parent
        self._held: dict[int, Opening] = {}
        self.kept_until = 0.0
        """Until then the call is known to live, by the loop's clock."""
        self._apart: dict[SessionPinholes, None] = {}
        """Those parts made by `apart` that hold a pinhole."""

    def __iter__(self) -> Iterator[Opening]:
        yield from tuple(self._held.values())
        for others in tuple(self._apart):
            yield from others

    @property
    def owner(self) -> Owner:
        """The session that they belong to. Whoever opens a pinhole, and each pinhole, keeps it alive."""
        owner = self._session()
        assert owner is not None
        return owner

    def name(self, number: int) -> str:
        """What the audit log and operators call a pinhole of this number."""
        return self._table.name(number)

    def __len__(self) -> int:
        """How many pinholes the session holds, in all its parts."""
        return len(self._held) + sum(map(len, self._apart))

    @property
    def fullest(self) -> int:
        """How many pinholes the fullest of its parts holds, each of which is limited as a session is."""
        return max(len(self._held), *(len(part._held) for part in self._apart), 0)

    def apart(self, of: Mapping[str, Any] | None = None) -> SessionPinholes:
        """A part with limits of its own, such as a call. This one still counts what the part holds. Each line of the
        log about its pinholes says `of` as well."""
        return SessionPinholes(self._table, self.owner, self, of)

    def open(self, expect: Expect) -> Grant | Refusal:
        """Open a pinhole, or say why not."""
        answer = self._table.open(self.owner, expect, len(self._held))
        return answer if isinstance(answer, Refusal) else self._hold(answer).grant

    def confirm(self, grant: Grant) -> None:
        """Let the expected peer in from now on."""
        if isinstance(pinhole := self._held.get(grant.id), Pinhole | DatagramPinhole):
            pinhole.confirm()

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        """Give the pinhole other peers and a new time."""
        if isinstance(pinhole := self._held.get(grant.id), Pinhole | DatagramPinhole):
            pinhole.renew(allow, seconds)

    def offer(self, media: Media) -> MediaGrant | Refusal:
        """Open the place of an offerer."""
        return self._place(media, None)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """Open the place of an answerer, joined to the offerer's."""
        offerer = self._held.get(offered.id)
        kind = TunnelPlace if media.transport is Transport.GRE else MediaPlace
        return self._place(media, offerer) if isinstance(offerer, kind) else Refusal("offer_gone")

    def may_wait(self, party: Party) -> bool:
        """Whether the party may have its media where it says."""
        return self._table.may_wait(self.owner, party)

    def reached_as(self, host: Host) -> Collection[Host]:
        """The addresses by which the session's client reaches a host."""
        return self._table.reached_as(self.owner.decided_by, host)

    def reached_at(self, host: Host) -> Collection[Host]:
        """The hosts that the session's client reaches by an address."""
        return self._table.reached_at(self.owner.decided_by, host)

    def keep(self, seconds: float) -> None:
        """Signalling says that the call lives for so long."""
        self.kept_until = self._table.loop.time() + seconds

    @property
    def places(self) -> list[PartyPlace]:
        """The places of media and tunnels that this part holds."""
        return [pinhole for pinhole in self._held.values() if isinstance(pinhole, PartyPlace)]

    def _place(self, media: Media, offerer: PartyPlace | None) -> MediaGrant | Refusal:
        """Open a place of media or of a tunnel, and hold it."""
        answer = self._table.place(self.owner, media, len(self._held), self, offerer)
        return answer if isinstance(answer, Refusal) else self._hold(answer).grant

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """Give a place another party or other terms."""
        place = self._held.get(grant.id)
        if not isinstance(place, MediaPlace):
            return Refusal("closed")
        if not self._table.may_wait(self.owner, media.party):
            return Refusal("third_host")
        try:
            place.change(media)
        except OSError as error:
            return Refusal(refusal_reason(error))
        return place.grant

    def _hold(self, pinhole: _Kind) -> _Kind:
        """Keep the pinhole until it is gone."""
        self._held[pinhole.grant.id] = pinhole
        pinhole.closed = self._forget
        if self._parent is not None:
            self._parent._apart[self] = None
        return pinhole

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        """Close one pinhole. Relays that it admitted run to their end."""
        if pinhole := self._held.get(grant.id):
            pinhole.shut(reason)

    def end(self, reason: str) -> None:
        """The session is over. Waiting pinholes go with it; relays that were admitted run to their end (rule X15)."""
        if self._held or self._apart:  # most sessions have none
            for pinhole in self:
                pinhole.shut(reason)

    def _forget(self, pinhole: Opening) -> None:
        """The pinhole is gone."""
        del self._held[pinhole.grant.id]
        if self._parent is not None and not self._held:
            del self._parent._apart[self]
