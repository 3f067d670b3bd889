"""The media of a connection: what its gateway and its agent say of the two ends, and the place that each has for it.

    the gateway's end ("local")      what the gateway says in its response: where it waits
    the far end ("remote")           what the agent says in a command: another gateway, a phone, a media server

Either is told first (MG12). Whoever is told first is the offerer of a medium, and the other one its answerer: from the
answer on packets pass between the two, and between nobody else (MG13). What a command changes of a medium that runs
holds when its response agrees (S67); a response that refuses the command takes everything back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from protocols.contract import pinholes
from protocols.contract.addresses import Host
from protocols.contract.pinholes import Closed, Heard, MediaGrant, Pinholes, Refusal
from protocols.sdp import description as sdp
from protocols.sdp import relocate

Wanted = Sequence[tuple[sdp.Media, pinholes.Media | None]]
"""The media of a description, each with the place that it needs. None: it is left alone."""
Moves = dict[int, relocate.Move]
"""Number of a medium -> where it is to be announced."""
INACTIVE = b"inactive"
"""The mode in which a connection carries nothing (RFC 3435 s.2.3.5)."""


@dataclass(slots=True, eq=False)
class Stream:
    """One m= line of a connection."""

    local: MediaGrant | None = None
    """Where the gateway is found."""
    remote: MediaGrant | None = None
    """Where the far end is found."""
    is_local_held: bool = False
    is_remote_held: bool = False

    def grants(self) -> list[MediaGrant]:
        """Both places, as far as they stand."""
        return [grant for grant in (self.local, self.remote) if grant is not None]


@dataclass(slots=True, eq=False)
class Change:
    """What a command changes of a connection, once its response agrees."""

    mode: bytes | None = None
    """None: it stays what it was."""
    wanted: dict[int, pinholes.Media] = field(default_factory=dict)
    """Number of a medium -> what the far end becomes."""
    fresh: list[MediaGrant] = field(default_factory=list)
    """Places that the command has brought about."""
    removed: set[int] = field(default_factory=set)
    """Media that the far end has given up."""
    held: dict[int, bool] = field(default_factory=dict)
    """Number of a medium -> whether the far end is on hold."""


@dataclass(frozen=True, slots=True)
class Idle:
    """For how many seconds a medium may be silent."""

    active: float
    held: float
    """While it is inactive or on hold, or has no far end yet."""


class ConnectionMedia:
    """The media of one connection."""

    __slots__ = ("_enter", "_heard", "_idle", "_passed", "_withdraw", "mode", "part", "streams")

    def __init__(
        self,
        part: Pinholes,
        idle: Idle,
        mode: bytes,
        enter: Callable[[MediaGrant], None],
        withdraw: Callable[[MediaGrant], None],
    ) -> None:
        """part: the connection's own part of its session's pinholes. `enter` and `withdraw` keep the book of the
        daemon's places."""
        self.part = part
        self._idle = idle
        self.mode = mode
        self._enter = enter
        self._withdraw = withdraw
        self.streams: dict[int, Stream] = {}
        self._passed: Counter[str] = Counter()
        self._heard: dict[str, Heard] = {}

    # -- the far end ---------------------------------------------------------------------------------------------------

    def command(self, media: Wanted, change: Change) -> Moves | Refusal:
        """What a command says of the far end. The moves are for the gateway to read. With a Refusal everything stays as
        it was."""
        moves: Moves = {}
        for medium, wanted in media:
            if not medium.port and not medium.is_bundle_only:
                change.removed.add(medium.slot)
                continue
            change.held[medium.slot] = medium.is_hold
            if wanted is None:
                continue
            stream = self.streams.get(medium.slot) or Stream()
            if stream.remote is not None:
                change.wanted[medium.slot] = wanted
            else:
                grant = self._place(stream.local, wanted, medium.is_hold)
                if isinstance(grant, Refusal):
                    self.take_back(change)
                    return grant
                stream.remote = grant
                change.fresh.append(grant)
                self.streams[medium.slot] = stream
            _announce(moves, medium, stream.remote)
        return moves

    def agree(self, change: Change) -> None:
        """The response accepts the command. A second time this has no effect."""
        for number in change.removed:
            self.close(number)
        if change.mode is not None:
            self.mode = change.mode
        for number, wanted in change.wanted.items():
            stream = self.streams.get(number)
            if stream is not None and stream.remote is not None:
                stream.remote = self._settled(stream.remote, wanted)
        for number, is_held in change.held.items():
            if (stream := self.streams.get(number)) is not None:
                stream.is_remote_held = is_held
        self._retime()
        _forget(change)

    def take_back(self, change: Change) -> None:
        """The command was refused, or nobody has answered it."""
        for grant in tuple(change.fresh):
            self.part.close(grant)
        _forget(change)

    # -- the gateway's end ---------------------------------------------------------------------------------------------

    def response(self, media: Wanted, mapped: Host | None) -> Moves:
        """What a response says of the gateway's end. The moves are for the agent to read. A medium that can have no
        place is withdrawn by its port if its address is mapped (D49)."""
        moves: Moves = {}
        for medium, wanted in media:
            if not medium.port and not medium.is_bundle_only:
                self.close(medium.slot)
                continue
            if wanted is None:
                continue
            stream = self.streams.get(medium.slot) or Stream()
            if stream.local is not None:
                stream.local = self._settled(stream.local, wanted)
            else:
                grant = self._place(stream.remote, wanted, medium.is_hold)
                if isinstance(grant, Refusal):
                    if mapped is not None:
                        moves[medium.slot] = relocate.Move(mapped, 0, None)
                    continue
                stream.local = grant
                self.streams[medium.slot] = stream
            stream.is_local_held = medium.is_hold
            _announce(moves, medium, stream.local)
        self._retime()
        return moves

    # -- places --------------------------------------------------------------------------------------------------------

    def _place(self, partner: MediaGrant | None, wanted: pinholes.Media, is_held: bool) -> MediaGrant | Refusal:
        """A new place, joined to the partner's if there is one."""
        wanted = replace(wanted, open_seconds=self._idle.held, idle_seconds=self._silence(is_held))
        grant = self.part.offer(wanted) if partner is None else self.part.answer(partner, wanted)
        if isinstance(grant, MediaGrant):
            self._enter(grant)
        return grant

    def _settled(self, grant: MediaGrant, wanted: pinholes.Media) -> MediaGrant:
        """The place as it is wanted now. The same end may be told again by another message."""
        held = grant.media
        wanted = replace(wanted, trigger=held.trigger, open_seconds=held.open_seconds, idle_seconds=held.idle_seconds)
        return grant if wanted == held else self._changed(grant, wanted)

    def _changed(self, grant: MediaGrant, media: pinholes.Media) -> MediaGrant:
        """The place on other terms. If they cannot be had, it stays what it is."""
        changed = self.part.change(grant, media)
        if isinstance(changed, Refusal):
            return grant
        self._withdraw(grant)
        self._enter(changed)
        return changed

    def _silence(self, is_held: bool) -> float:
        return self._idle.held if is_held or self.mode == INACTIVE else self._idle.active

    def _retime(self) -> None:
        """Each medium may be silent for longer while either end is on hold (D25)."""
        for stream in self.streams.values():
            idle = self._silence(stream.is_local_held or stream.is_remote_held)
            if stream.local is not None and stream.local.media.idle_seconds != idle:
                stream.local = self._changed(stream.local, replace(stream.local.media, idle_seconds=idle))
            if stream.remote is not None and stream.remote.media.idle_seconds != idle:
                stream.remote = self._changed(stream.remote, replace(stream.remote.media, idle_seconds=idle))

    # -- ends ----------------------------------------------------------------------------------------------------------

    def close(self, number: int) -> None:
        """A medium is over."""
        stream = self.streams.get(number)
        for grant in stream.grants() if stream is not None else ():
            self.part.close(grant)

    def close_all(self) -> None:
        """The connection is over."""
        for number in tuple(self.streams):
            self.close(number)

    def forget(self) -> None:
        """Nobody tells of places that are closed now."""
        for stream in self.streams.values():
            for grant in stream.grants():
                self._withdraw(grant)
        self.streams.clear()

    def closed(self, grant: MediaGrant, event: Closed) -> None:
        """A place is gone. What passed is counted at the place of the gateway: to it, and from it."""
        self._withdraw(grant)
        for number, stream in tuple(self.streams.items()):
            if stream.local is not None and stream.local.id == grant.id:
                stream.local = None
                self._passed["packets_to_gateway"] += event.packets_in
                self._passed["packets_from_gateway"] += event.packets_out
                self._passed["bytes_to_gateway"] += event.bytes_in
                self._passed["bytes_from_gateway"] += event.bytes_out
                self._hear("to_gateway", event.heard)
            elif stream.remote is not None and stream.remote.id == grant.id:
                stream.remote = None
                self._hear("from_gateway", event.heard)
            if not stream.grants():
                del self.streams[number]

    def _hear(self, way: str, heard: Heard | None) -> None:
        if heard is not None:
            before = self._heard.get(way)
            self._heard[way] = heard if before is None else before.plus(heard)

    # -- the log -------------------------------------------------------------------------------------------------------

    def standing(self) -> list[dict[str, Any]]:
        """Each medium: where both ends wait, and where each is found by the other one."""
        return [
            {
                "medium": number,
                "local": _known(stream.local),
                "local_known_as": stream.local.known if stream.local is not None else None,
                "remote": _known(stream.remote),
                "remote_known_as": stream.remote.known if stream.remote is not None else None,
            }
            for number, stream in sorted(self.streams.items())
        ]

    def totals(self) -> dict[str, Any]:
        """What has passed, and how it came."""
        ways = ("packets_to_gateway", "packets_from_gateway", "bytes_to_gateway", "bytes_from_gateway")
        facts: dict[str, Any] = {way: self._passed[way] for way in ways}
        for way, heard in sorted(self._heard.items()):
            facts |= {f"lost_{way}": heard.lost, f"jitter_seconds_{way}": heard.jitter_seconds}
        return facts


def _forget(change: Change) -> None:
    """What a command was to change is done, or undone."""
    change.wanted, change.fresh, change.removed, change.held = {}, [], set(), {}


def _announce(moves: Moves, medium: sdp.Media, grant: MediaGrant) -> None:
    if grant.media.party.mapped is not None and grant.data is not None:
        control = grant.control.port if grant.control else None
        moves[medium.slot] = relocate.Move(grant.data.host, grant.data.port, control)


def _known(grant: MediaGrant | None) -> Any:
    return None if grant is None else grant.media.party.known
