"""Session descriptions in MGCP: what they open, and what the other side reads in their place (MG11, MG15).

    CRCX, MDCX          the far end of the connection, as its agent names it: nearly always a third host (MG14)
    their responses     the gateway's own end
    answers to AUCX     both as they stand, which are mapped by their value

The far end is not the host that names it. So it is admitted because the agent said so, and only where the policy would
let the agent's side be: `Pinholes.may_wait` decides, and the option `media`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from protocols.contract import pinholes
from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Malformed, Peers, Side
from protocols.contract.pinholes import Refusal
from protocols.mgcp.connections import Connection, ConnectionBook
from protocols.mgcp.media import Change, Moves, Wanted
from protocols.mgcp.options import MgcpOptions
from protocols.sdp import description as sdp
from protocols.sdp import parties, relocate
from protocols.sdp.parties import Role, Speaker, Terms
from protocols.sdp.reading import read_sdp

Told = list[dict[str, Any]]
"""Addresses for the log, that were changed or kept."""


class Followed(NamedTuple):
    """A description as its reader is to have it."""

    body: bytes
    told: Told
    """The media that is announced elsewhere in it."""


class Refused(Exception):
    """A command cannot be passed on. The agent is answered by this code."""

    def __init__(self, code: int, text: str, rule: str | None = None, detail: str = "") -> None:
        """`rule` is what the command violates, if anything."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.rule = rule
        self.detail = detail


class Descriptions:
    """Reads and rewrites the descriptions of one session, whose roles are known."""

    __slots__ = ("_agent", "_book", "_gateway", "_names", "_note", "_options", "_terms", "follows")

    def __init__(
        self,
        peers: Peers,
        agent: Side,
        options: MgcpOptions,
        book: ConnectionBook,
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._options = options
        self._book = book
        self._note = note
        self._terms = Terms(options.hold_idle, options.media_idle, options.media)
        self._agent, self._gateway = _speaker(peers, agent), _speaker(peers, agent.other)
        self._names = {side: peers.renamed(side) for side in Side}
        self.follows = options.fixup == "auto" or not any(map(peers.is_mapped, Side))

    # -- commands and responses ----------------------------------------------------------------------------------------

    def command(self, connection: Connection, body: bytes, trigger: str, change: Change) -> Followed:
        """The description of a far end, as the gateway is to read it. Raises Refused."""
        description = self._read(body, trigger)
        if description is None:
            return Followed(body, [])
        sdp.prefer(description, self._agent.host)
        kept: Told = []
        media: list[tuple[sdp.Media, pinholes.Media | None]] = []
        for medium in description.media:
            wanted, reason = self._far(connection, medium, trigger)
            if reason is not None:
                kept.append(_kept(medium, reason))
            media.append((medium, wanted))
        self._tell_moved(connection, media)
        moves = connection.media.command(media, change)
        if isinstance(moves, Refusal):
            raise Refused(403, "No Media Available")
        return self._written(description, moves, self._agent, trigger, kept)

    def response(self, connection: Connection, body: bytes, trigger: str) -> Followed:
        """The description of a gateway's end, as the agent is to read it."""
        description = self._read(body, trigger)
        if description is None:
            return Followed(body, [])
        speaker, may_wait, announced = self._gateway, connection.media.part.may_wait, self._book.announced
        sdp.prefer(description, speaker.host)
        kept: Told = []
        media: list[tuple[sdp.Media, pinholes.Media | None]] = []
        for medium in description.media:
            objection = parties.objection(speaker, medium, self._terms, announced, may_wait)
            if objection is not None:
                kept.append(_kept(medium, objection[0], objection[1]))
                continue
            stream = connection.media.streams.get(medium.slot)
            held = stream.local.media if stream is not None and stream.local is not None else None
            wanted = parties.wanted(speaker, medium, held, trigger, self._terms, announced, may_wait)
            media.append((medium, wanted))
        moves = connection.media.response(media, speaker.mapped)
        return self._written(description, moves, speaker, trigger, kept)

    def audited(self, connection: Connection | None, body: bytes) -> Followed:
        """A description in the answer to AUCX. It says what was said before, so each address is the one by which the
        agent knows it."""
        try:
            description = read_sdp(body)
        except Malformed:
            return Followed(body, [])
        known: dict[Endpoint | None, Endpoint | None] = {}
        for stream in connection.media.streams.values() if connection is not None else ():
            if stream.local is not None and stream.local.media.party.mapped is not None:
                known[stream.local.media.party.data] = stream.local.data
            if stream.remote is not None and stream.remote.media.party.mapped is not None:
                known[stream.remote.data] = stream.remote.media.party.data
        moves: Moves = {}
        for medium in description.media:
            at = known.get(medium.endpoint)
            if medium.is_movable and medium.endpoint is not None and at is not None:
                rtcp = at.port + 1 if medium.rtcp_endpoint is not None else None
                moves[medium.slot] = relocate.Move(at.host, at.port, rtcp)
        speaker = self._gateway
        is_own = description.origin is not None and description.origin.host == speaker.host
        new = relocate.relocate(description, moves, speaker.mapped if is_own else None, "pass")
        return Followed(new, _moved(description, moves))

    # -- the far end ---------------------------------------------------------------------------------------------------

    def _far(self, connection: Connection, medium: sdp.Media, trigger: str) -> tuple[pinholes.Media | None, str | None]:
        """The place that the far end needs for this medium, or why it is left alone. Raises Refused."""
        if not medium.is_movable:
            return None, medium.obstacle
        if medium.count > 1:
            return None, "several_pairs"
        rtp, agent = medium.endpoint, self._agent
        for at in (rtp, None if medium.is_udptl else medium.rtcp_endpoint):
            if at is not None and not self._may_be_named(at):
                raise Refused(505, "Unsupported Remote Connection Descriptor", "mgcp.media", f"{trigger} names {at}")
        stream = connection.media.streams.get(medium.slot)
        held = stream.remote.media if stream is not None and stream.remote is not None else None
        may_wait, announced = connection.media.part.may_wait, self._book.announced
        # It is looked at as if it had signalled itself: nothing that an agent's host is, or is known as, is said of it.
        author = agent if rtp is None else agent._replace(host=rtp.host)
        wanted = parties.wanted(author, medium, held, trigger, self._terms, announced, may_wait)
        if wanted is None or rtp is None:
            return wanted, None
        party = replace(wanted.party, host=agent.host, is_named=self._is_named(rtp.host))
        return (replace(wanted, party=party), None) if may_wait(party) else (None, "third_host")

    def _may_be_named(self, at: Endpoint) -> bool:
        """Whether an agent may name this endpoint at all (MG14)."""
        if at.port < LEAST_PORT or at.host.is_loopback:
            return False
        is_known = at.host == self._agent.host or at in self._book.announced
        return is_known or not self._options.media or self._is_named(at.host)

    def _is_named(self, host: Host) -> bool:
        return any(host in network for network in self._options.media)

    def _tell_moved(self, connection: Connection, media: Wanted) -> None:
        """Tell the log when a far end moves to another host: a forger would move it to itself."""
        for medium, wanted in media:
            stream = connection.media.streams.get(medium.slot)
            before = stream.remote.media.party.data if stream is not None and stream.remote is not None else None
            after = wanted.party.data if wanted is not None else None
            if before is not None and after is not None and before.host != after.host:
                facts = {"medium": medium.slot, "before": before, "after": after}
                self._note("mgcp.media_moved", {**connection.named, **facts})

    # -- reading and writing -------------------------------------------------------------------------------------------

    def _read(self, body: bytes, trigger: str) -> sdp.Description | None:
        """A description that can be followed; None if it cannot be read."""
        try:
            return read_sdp(body)
        except Malformed as error:
            detail = f"{trigger}: {error}"
            self._note("violation", {"rule": "mgcp.bad_sdp", "detail": detail, "action": "media is not followed"})
            return None

    def _written(
        self, description: sdp.Description, moves: Moves, speaker: Speaker, trigger: str, kept: Told
    ) -> Followed:
        """The description with its media at the places that stand for it."""
        kept += [_change("sdp", None, oddity) for oddity in description.oddities]
        body = description.body
        if speaker.mapped is not None:
            origin = description.origin.host if description.origin is not None else None
            mapped = speaker.mapped if origin == speaker.host else None
            body = relocate.relocate(description, moves, mapped, "strip", self._names[speaker.side])
            left = relocate.residual(body, [speaker.host])
            kept += [_change(one.log_name, None, "not_followed") for one in left]
        if kept:
            self._note("address.kept", {"message": trigger, "changes": kept[: sdp.MAX_ODDITIES]})
        return Followed(body, _moved(description, moves))


def _speaker(peers: Peers, side: Side) -> Speaker:
    """The host on this side, as the author of descriptions. Roles tell parties of a call apart, and there is none."""
    mapped = peers.as_seen(side).host if peers.is_mapped(side) else None
    return Speaker(Role.CALLER, b"", peers.own(side).host, mapped, _is_behind_us(peers, side), side)


def _is_behind_us(peers: Peers, side: Side) -> bool:
    """Whether this side is inside: the one that has an address of ours, or without NAT the one whose sessions policies
    let out. A session that a gateway's flow let in beside it (`Commanding`) was begun from the other side."""
    if any(map(peers.is_mapped, Side)):
        return peers.is_mapped(side)
    return side is (Side.CLIENT if peers.role is None else Side.SERVER)


def _change(field: str, value: Endpoint | None, reason: str) -> dict[str, Any]:
    return {"field": field, "value": value, "reason": reason}


def _kept(medium: sdp.Media, reason: str, at: Endpoint | None = None) -> dict[str, Any]:
    """A medium that is left alone, for the log."""
    return _change(medium.log_name, at or medium.endpoint, reason)


def _moved(description: sdp.Description, moves: Moves) -> Told:
    """The media that is announced elsewhere, or withdrawn by its port, for the log."""
    news = {slot: Endpoint(move.host, move.port) if move.port else None for slot, move in moves.items()}
    return [
        {"field": medium.log_name, "before": medium.endpoint, "after": news[medium.slot]}
        for medium in description.media
        if medium.endpoint is not None and medium.slot in news and news[medium.slot] != medium.endpoint
    ]
