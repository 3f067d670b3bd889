"""The media of a call: the place that each party has for each stream of packets (HF40 to HF44).

What a party says of itself comes in pieces. Who opens a channel names its RTCP alone; its RTP is next to that as a
rule, and its own answer to the other party's channel says it for sure. So a place is held for the pair from the
beginning, and changed if it turns out otherwise. A place serves both directions of a session, and all proposals of a
fast start that name the same pair.

    a party says where it waits                  its place is offered: nobody gets in yet
    the other party says it of the same session  its place is joined to that: media passes
    the last channel of the session is closed    both places go
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

from protocols.contract.addresses import Endpoint, Side
from protocols.contract.pinholes import Closed, Heard, Media, MediaGrant, Party, Pinholes, Refusal

Of = TypeVar("Of")
"""What the media is of: a call."""
RTP, UDPTL = "rtp", "udptl"
Channel = tuple[Side, int]
"""Who has opened a logical channel, and its number (HF38)."""


class Whereabouts(NamedTuple):
    """Where a party waits, as far as it has said so."""

    data: Endpoint | None
    control: Endpoint | None


@dataclass(slots=True, eq=False)
class Stream:
    """What one session of H.245 carries, between the two parties."""

    kind: str
    session: int
    places: dict[Side, MediaGrant] = field(default_factory=dict)
    said: dict[Side, Whereabouts] = field(default_factory=dict)
    channels: set[Channel] = field(default_factory=set)
    """Those that are open, or about to be."""
    is_proposed: bool = False
    """It stands in a fast start, which the other party has not taken up yet (HF27)."""


class CallMedia(Generic[Of]):
    """The streams of one call."""

    __slots__ = (
        "_book",
        "_call",
        "_heard",
        "_of",
        "_party",
        "_passed",
        "_terms",
        "channels",
        "part",
        "sessions",
        "streams",
    )

    def __init__(
        self,
        part: Pinholes,
        terms: tuple[float, float],
        party: Callable[[Side, Whereabouts], Party],
        book: dict[int, Of],
        call: Of,
    ) -> None:
        """part: the call's own part of its session's pinholes. terms: how long media may wait, and be silent. party:
        makes the party that waits somewhere. book: where the daemon finds the call by its places."""
        self._book = book
        self._call = call
        self.part = part
        self._terms = terms
        self._party = party
        self.streams: list[Stream] = []
        self.channels: dict[Channel, Stream] = {}
        self.sessions: dict[int, Stream] = {}
        """Number of a session of H.245 -> its stream."""
        self._of: dict[int, tuple[Stream, Side]] = {}
        """id of a grant -> whose it is, for all places that are open."""
        self._passed: dict[tuple[int, Side], tuple[int, int]] = {}
        self._heard: dict[tuple[int, Side], Heard] = {}

    # -- what is agreed ------------------------------------------------------------------------------------------------

    def opened(self, channel: Channel, session: int, kind: str) -> Stream:
        """A party opens a channel. One with a number that it has used already stands in the place of that (HF39)."""
        self.closed(channel)
        stream = self.sessions.get(session) if session else None
        if stream is None or stream.kind != kind:
            stream = self._begun(session, kind)
        stream.channels.add(channel)
        self.channels[channel] = stream
        return stream

    def proposed(self, session: int, kind: str, side: Side, said: Whereabouts, most: int) -> Stream | None:
        """A fast start proposes a channel. Proposals of one session that name the same pair are one stream (HF25).
        None: the call would have more than `most` streams."""
        for stream in self.streams:
            if (stream.session, stream.kind) == (session, kind) and _is_one(stream.said.get(side), said):
                return stream
        if len(self.streams) >= most:
            return None
        stream = self._begun(session, kind)
        stream.is_proposed = True
        return stream

    def _begun(self, session: int, kind: str) -> Stream:
        stream = Stream(kind, session)
        self.streams.append(stream)
        if session:
            self.sessions.setdefault(session, stream)
            if self.sessions[session].kind != kind:
                self.sessions[session] = stream
        return stream

    def numbered(self, stream: Stream, session: int) -> None:
        """The master has given the session its number (HF34, HF38)."""
        if session and not stream.session:
            stream.session = session
            self.sessions.setdefault(session, stream)

    def says(self, stream: Stream, side: Side, said: Whereabouts, trigger: str) -> MediaGrant | None:
        """A party says where it waits. Returns its place; None: it can have none."""
        said = _completed(stream, side, said)
        grant = stream.places.get(side)
        if grant is not None and stream.said.get(side) == said:
            return grant  # it says the same again, as most messages do
        media = Media(stream.kind, trigger, self._party(side, said), self._terms[1], self._terms[0])
        if grant is not None:
            stream.said[side] = said
            return self._changed(stream, side, grant, media)
        partner = stream.places.get(side.other)
        made = self.part.offer(media) if partner is None else self.part.answer(partner, media)
        if isinstance(made, Refusal):
            return None
        stream.said[side] = said
        stream.places[side] = made
        self._of[made.id] = stream, side
        self._book[made.id] = self._call
        return made

    def _changed(self, stream: Stream, side: Side, grant: MediaGrant, media: Media) -> MediaGrant:
        held = grant.media
        media = replace(media, trigger=held.trigger)
        if media == held:
            return grant
        changed = self.part.change(grant, media)
        if not isinstance(changed, Refusal):
            stream.places[side] = grant = changed
        return grant

    def meant(self, side: Side, at: Endpoint) -> Endpoint | None:
        """The other party's own address, if this side says again where it was told that the other party waits."""
        for stream in self.streams:
            if (grant := stream.places.get(side.other)) is not None and at in (grant.data, grant.control):
                party = grant.media.party
                return party.data if at == grant.data else party.control
        return None

    def known_as(self, side: Side, at: Endpoint) -> Endpoint | None:
        """Where the other party finds this side, if it has a place for that address of its own."""
        for stream in self.streams:
            if (grant := stream.places.get(side)) is not None:
                party = grant.media.party
                if at in (party.data, party.control):
                    return grant.data if at == party.data else grant.control
        return None

    # -- ends ----------------------------------------------------------------------------------------------------------

    def closed(self, channel: Channel) -> None:
        """A channel is closed. With the last one of a stream its places go."""
        stream = self.channels.pop(channel, None)
        if stream is not None:
            stream.channels.discard(channel)
            if not stream.channels and not stream.is_proposed:
                self._drop(stream)

    def settle(self) -> None:
        """The callee has taken the call: what it has not taken up of a fast start is over (HF27)."""
        for stream in tuple(self.streams):
            stream.is_proposed = False
            if not stream.channels:
                self._drop(stream)

    def close_all(self) -> None:
        """The call is over."""
        for stream in tuple(self.streams):
            self._drop(stream)
        self.channels.clear()

    def _drop(self, stream: Stream) -> None:
        if stream in self.streams:
            self.streams.remove(stream)
        if self.sessions.get(stream.session) is stream:
            del self.sessions[stream.session]
        for channel in stream.channels:
            self.channels.pop(channel, None)
        for grant in tuple(stream.places.values()):
            self.part.close(grant)

    def gone(self, grant: MediaGrant, event: Closed) -> None:
        """A place is closed. What passed is counted at the place of the party that it went to."""
        found = self._of.pop(grant.id, None)
        if found is None:
            return
        del self._book[grant.id]
        stream, side = found
        if (held := stream.places.get(side)) is not None and held.id == grant.id:
            del stream.places[side]
        key = stream.session, side
        packets, octets = self._passed.get(key, (0, 0))
        self._passed[key] = packets + event.packets_in, octets + event.bytes_in
        if event.heard is not None:
            before = self._heard.get(key)
            self._heard[key] = event.heard if before is None else before.plus(event.heard)

    def forget(self) -> None:
        """Nobody tells of places that are closed now."""
        for number in self._of:
            del self._book[number]
        self._of.clear()

    def __len__(self) -> int:
        """How many places are open."""
        return len(self._of)

    @property
    def grants(self) -> tuple[int, ...]:
        """The ids of the grants of all places that are open."""
        return tuple(self._of)

    def totals(self, caller: Side) -> list[dict[str, Any]]:
        """What has passed in each session, for the log."""
        told = []
        for session in sorted({session for session, _ in self._passed}):
            facts: dict[str, Any] = {"medium": session}
            for side, name in ((caller, "to_caller"), (caller.other, "to_callee")):
                packets, octets = self._passed.get((session, side), (0, 0))
                facts |= {f"packets_{name}": packets, f"bytes_{name}": octets}
                if (heard := self._heard.get((session, side))) is not None:
                    facts |= {f"lost_{name}": heard.lost, f"jitter_seconds_{name}": heard.jitter_seconds}
            told.append(facts)
        return told


def _is_one(held: Whereabouts | None, said: Whereabouts) -> bool:
    """Whether two statements of a party name the same pair of ports: one of them may name its RTCP alone."""
    if held is None:
        return False
    first, second = held.data or held.control, said.data or said.control
    return first is None or second is None or (first.host == second.host and first.port >> 1 == second.port >> 1)


def _completed(stream: Stream, side: Side, said: Whereabouts) -> Whereabouts:
    """What a party says now, beside what it has said before; RTP that it has not named is next to its RTCP (HF40)."""
    held = stream.said.get(side) or Whereabouts(None, None)
    if stream.kind == UDPTL:
        return Whereabouts(said.data or held.data, None)
    control = said.control or held.control
    data = said.data or (held.data if control == held.control else None)
    if data is None and control is not None:
        data = Endpoint(control.host, control.port ^ 1)
    if control is None and data is not None:
        control = Endpoint(data.host, data.port ^ 1)
    return Whereabouts(data, control)
