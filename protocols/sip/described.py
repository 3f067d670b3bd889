"""Session descriptions in SIP messages: what an offer or answer opens, and what the other side reads in its place.

RFC 3264 (offer and answer), RFC 8866 (SDP). The head of a message says where descriptions stand in its body (body.py);
dialogs.py says whether one is an offer or an answer, and of which call. Here it is read, its media gets places
(offers.py), and the body is written anew with these places in it. Media that cannot have one stays as it is, and the
log is told why (`address.kept`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from protocols.contract.addresses import Endpoint, Malformed, Peers, Side
from protocols.contract.pinholes import Refusal
from protocols.sdp import description as sdp
from protocols.sdp import relocate
from protocols.sdp.parties import Speaker
from protocols.sdp.reading import TooManyMedia, read_sdp
from protocols.sip import body as sip_body
from protocols.sip.answers import Refused
from protocols.sip.calls import Call, CallBook, Transaction
from protocols.sip.echoes import Echoes
from protocols.sip.message import Message
from protocols.sip.options import SipOptions
from protocols.sip.places import Offer

MAX_TOLD = 16
"""For each call so many places are told to the log as rewritten. All of them are in `pinhole.opened`."""

Moved = tuple[str, Endpoint | None, Endpoint]
"""A medium that is announced elsewhere, for the log: the kind of medium, where it was announced before, and where it is
now."""


class Followed(NamedTuple):
    """What a message says on the other side, apart from its head."""

    body: bytes | None
    """The new body; None if the body stays as it was."""
    moved: Sequence[Moved] = ()
    """Media that is announced elsewhere and that the log has not been told of before."""


UNCHANGED = Followed(None)


class Said(NamedTuple):
    """A message of a call, with the party that says it."""

    message: Message
    side: Side
    """The side that the message came from."""
    speaker: Speaker


class Descriptions:
    """Reads and rewrites the session descriptions in messages of one flow or connection."""

    __slots__ = (
        "_announced",
        "_echoes",
        "_follows_media",
        "_hosts",
        "_known_as",
        "_names",
        "_note",
        "_options",
        "_ours",
        "_peers",
    )

    def __init__(
        self,
        peers: Peers,
        options: SipOptions,
        echoes: Echoes,
        calls: CallBook,
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._peers = peers
        self._options = options
        self._echoes = echoes
        self._announced = calls.announced
        self._note = note
        is_mapped = any(map(peers.is_mapped, Side))
        self._follows_media = options.fixup == "auto" or not is_mapped
        self._hosts = {side: (peers.own(side).host, peers.own(side.other).host) for side in Side}
        """side that speaks -> the host of that side, and the host of the other side."""
        self._known_as = {side: peers.as_seen(side).host if peers.is_mapped(side) else None for side in Side}
        """side -> the address of ours by which the other side knows the side's host; None if the other side knows the
        host itself."""
        self._ours = frozenset(filter(None, self._known_as.values()))
        self._names = {side: peers.renamed(side) for side in Side}
        """side that speaks -> its hosts, and the addresses by which the other side knows them."""

    # -- without a call ----------------------------------------------------------------------------------------------

    def of_no_call(self, message: Message, side: Side) -> Followed:
        """Follow a description that belongs to no call. It opens nothing, and tells no inside address either."""
        data = message.data[message.body.start : message.body.end]
        if not data or not self._follows_media or self._known_as[side] is None:
            return UNCHANGED
        return self._renamed(data, self._find_sdp(message, data).sdp, side)

    def _renamed(self, data: bytes, parts: Sequence[sip_body.Sdp], side: Side) -> Followed:
        """The body with its hosts named as the other side knows them. Its media is not followed."""
        own, seen = self._peers.own(side).host, self._peers.as_seen(side).host
        news: list[tuple[sip_body.Sdp, bytes]] = []
        for part in parts:
            text = relocate.with_other_host(data[part.span.start : part.span.end], own, seen)
            news.append((part, relocate.with_names(text, self._names[side])))
        return Followed(sip_body.rebuild(data, news)) if news else UNCHANGED

    @staticmethod
    def _find_sdp(message: Message, data: bytes) -> sip_body.Found:
        return sip_body.find_sdp(
            message.first(b"content-type"),
            message.first(b"content-encoding"),
            message.first(b"content-disposition"),
            data,
        )

    def trickled(self, message: Message) -> Followed:
        """Follow candidates that come on their own (D35). They go with those of the offers and answers."""
        kind = (message.first(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != b"application/trickle-ice-sdpfrag" or self._options.ice == "pass" or not self._ours:
            return UNCHANGED
        if not self._follows_media:
            return UNCHANGED
        return Followed(relocate.without_ice(message.data[message.body.start : message.body.end]))

    # -- offers and answers ------------------------------------------------------------------------------------------

    def offered(self, call: Call, said: Said, transaction: Transaction) -> Followed:
        """Follow a message that may have an offer. The transaction keeps the offer until it is answered. Raises
        Refused."""
        return self._followed(call, said, transaction, None)

    def answered(self, call: Call, said: Said, offer: Offer) -> Followed:
        """Follow a message that may have an answer to that offer."""
        return self._followed(call, said, None, offer)

    def _followed(self, call: Call, said: Said, offers: Transaction | None, answers: Offer | None) -> Followed:
        message, side, speaker = said
        data = message.data[message.body.start : message.body.end]
        if not data or not self._follows_media:
            return UNCHANGED
        found = self._find_sdp(message, data)
        ordinary = [part for part in found.sdp if not part.is_early][:1]
        others = [part for part in found.sdp if part not in ordinary]
        if others or found.unfollowed is not None:
            self._tell_unfollowed(message, found, others)
        if not ordinary:
            return self._renamed(data, others, side) if speaker.mapped is not None else UNCHANGED
        part = ordinary[0]
        description = self._read(call, message, data[part.span.start : part.span.end])
        if description is None or self._is_left(message, side, description):
            return UNCHANGED
        sdp.prefer(description, speaker.host)
        # Asked before anything is opened, for that changes what is announced.
        direct = self._direct(description, side.other)
        kept = self._kept(call, speaker, description)
        media = [medium for medium in description.media if medium.slot not in kept]
        self._tell_learned(call, speaker, media)
        moves = self._opened(call, said, media, offers, answers)
        if moves is None:
            return UNCHANGED
        told = [*_left_alone(description), *kept.values()]
        if speaker.mapped is None and not direct:
            # The other side reads the speaker's addresses as they are. Low ports have been told of as a violation.
            self._tell_kept(message, [change for change in told if change["reason"] != "low_port"])
            new = self._as_known(description, side)
            return Followed(sip_body.rebuild(data, [(part, new)])) if new != description.body else UNCHANGED
        moves |= direct
        mapped = speaker.mapped if self._is_author(call, speaker, description) else None
        new = relocate.relocate(description, moves, mapped, "strip", self._names[side])
        self._tell_kept(message, [*told, *_still_told(new, speaker)])
        news = [(part, new)]
        if speaker.mapped is not None:
            for other in others:
                text = relocate.alike(data[other.span.start : other.span.end], description, moves, self._names[side])
                news.append((other, relocate.with_other_host(text, speaker.host, speaker.mapped)))
        return Followed(sip_body.rebuild(data, news), _moved(call, description, moves))

    def _tell_unfollowed(self, message: Message, found: sip_body.Found, others: list[sip_body.Sdp]) -> None:
        """Tell the log of a further description that is not followed. Another part may say the same again for readers
        of another kind, but the media of a description of its own, such as that of an early session (RFC 3959), is not
        followed."""
        if found.unfollowed is not None:
            self._tell_kept(message, [_change("body", None, found.unfollowed)])
        if others:
            parts = [found.sdp.index(part) + 1 for part in others]
            self._tell_kept(message, [_change(f"sdp in part {number}", None, "second") for number in parts])

    def _is_left(self, message: Message, side: Side, description: sdp.Description) -> bool:
        """Whether a description is not the speaker's own, or is left to the two ends."""
        reason = None
        if self._comes_back(message, side, description):
            reason = "said_by_other"
        elif self._options.ice == "pass" and _has_ice(description):
            reason = "ice_passed"
        if reason is not None:
            self._tell_kept(message, [_change("sdp", None, reason)])
        return reason is not None

    def _as_known(self, description: sdp.Description, side: Side) -> bytes:
        """The description of a party that the other side knows by its own address. Its media stays where it is."""
        new = relocate.with_names(description.body, self._names[side])
        if self._ours and _has_ice(description):
            # Both ends are to believe that the other one knows nothing of ICE (D32, D33).
            new = relocate.without_ice(new)
        return new

    def _read(self, call: Call, message: Message, body: bytes) -> sdp.Description | None:
        """A description that can be followed; None if it cannot be read. Raises Refused for too many media."""
        try:
            return read_sdp(body)
        except Malformed as error:
            # An ACK cannot be refused.
            refused = message.is_request and message.method != b"ACK" and isinstance(error, TooManyMedia)
            status = 500 if call.is_under_way else 503
            action = f"answered {status}" if refused else "media is not followed"
            self._note("violation", {"rule": "sip.bad_sdp", "detail": str(error), "action": action})
            if refused:  # D49
                raise Refused(status, b"Too Many Media") from None
            return None

    @staticmethod
    def _opened(
        call: Call,
        said: Said,
        media: list[sdp.Media],
        offers: Transaction | None,
        answers: Offer | None,
    ) -> dict[int, relocate.Move] | None:
        """The places for these media, by their slots; None if there are none and nothing is to be changed. Raises
        Refused when a request would have to go without its places."""
        message, _, speaker = said
        if answers is not None:
            return call.make_answer(answers, speaker, media, message.trigger)
        assert offers is not None
        made = call.make_offer(speaker, media, message.trigger)
        if not isinstance(made, Refusal):
            offers.offer, moves = made
            return moves
        if message.is_request:
            raise Refused(500 if call.is_under_way else 503, b"No Media Available")
        if speaker.mapped is None:
            return None
        # What comes in a response can only be withdrawn, each medium by its port (D49).
        return {medium.slot: relocate.Move(speaker.mapped, 0, None) for medium in media if medium.is_movable}

    def _is_author(self, call: Call, speaker: Speaker, description: sdp.Description) -> bool:
        """Whether o= names the speaker, or a host that stands for the speaker."""
        origin = description.origin.host if description.origin is not None else None
        return origin is not None and (
            origin == speaker.host
            or any(origin in network for network in self._options.media_hosts)
            or call.media.is_elsewhere(speaker, Endpoint(origin, 0))
        )

    def _comes_back(self, message: Message, side: Side, description: sdp.Description) -> bool:
        """Whether a proxy on this side forwards media that somebody on the other side has put at a port of the proxy's
        host. That somebody has guessed the port, and a place there would let a third party in."""
        may_guess = self._known_as[side.other] is not None
        if not may_guess and not self._echoes.are_any:
            return False  # whom one knows by its own address one need not guess, and nobody else has
        (own, other), echoes = self._hosts[side], self._echoes
        found = [at for medium in description.media for at in (medium.endpoint, medium.rtcp_endpoint) if at is not None]
        if may_guess and (guesses := {at.port for at in found if at.host == other}):
            echoes.hear_media(message.call_id, side, list(guesses))
        if not self._echoes.are_any:
            return False
        return any(at.host == own and echoes.is_media(message.call_id, side, at.port) for at in found)

    def _kept(self, call: Call, speaker: Speaker, description: sdp.Description) -> dict[int, dict[str, Any]]:
        """Media that is left as it is, with the reasons for the log."""
        kept: dict[int, dict[str, Any]] = {}
        for medium in description.media:
            if (objection := call.media.objection(speaker, medium)) is not None:
                reason, at = objection
                kept[medium.slot] = _change(medium.log_name, at, reason)
        low = [str(change["value"]) for change in kept.values() if change["reason"] == "low_port"]
        if low:
            facts = {"rule": "sip.low_port", "detail": ", ".join(low), "action": "media is not followed"}
            self._note("violation", facts)
        return kept

    def _tell_learned(self, call: Call, speaker: Speaker, media: list[sdp.Media]) -> None:
        """Tell the log of an address that was taken for one of the speaker's VPN or container. If it is another host's
        after all, its media is lost."""
        for medium in media if speaker.mapped is not None else ():
            at = medium.endpoint
            if at is None or not medium.is_movable or not call.media.is_elsewhere(speaker, at):
                continue
            if (at, at) not in call.told and len(call.told) < MAX_TOLD:
                call.told += ((at, at),)
                self._note("media.learned", {"medium": medium.kind, "named": at, "expected": speaker.host})

    def _tell_kept(self, message: Message, changes: list[dict[str, Any]]) -> None:
        if changes:
            self._note("address.kept", {"message": message.trigger, "changes": changes})

    def _direct(self, description: sdp.Description, to: Side) -> dict[int, relocate.Move]:
        """Media of a party on the very side that is now told of it, since it has come back from a server. Both parties
        can do without this gateway (D29)."""
        if not self._options.direct_media or not self._peers.is_mapped(to):
            return {}
        ours = self._peers.as_seen(to).host
        found: dict[int, relocate.Move] = {}
        for medium in description.media:
            at = medium.endpoint
            if not medium.is_movable or at is None or at.host != ours:
                continue
            if (party := self._announced.get(at)) is not None and party.data is not None:
                found[medium.slot] = relocate.Move(
                    party.data.host, party.data.port, party.control.port if party.control else None
                )
        return found


def _moved(call: Call, description: sdp.Description, moves: Mapping[int, relocate.Move]) -> list[Moved]:
    """The media that the log is to be told of. From now on the log counts as told."""
    fresh: list[Moved] = []
    for medium in description.media:
        if (move := moves.get(medium.slot)) is not None:
            change = (medium.endpoint, Endpoint(move.host, move.port))
            if change not in call.told and len(call.told) < MAX_TOLD:
                call.told += (change,)
                fresh.append((medium.log_name, *change))
    return fresh


def _change(field: str, value: Endpoint | None, reason: str) -> dict[str, Any]:
    """A change that is not made, and the reason, as the log has it."""
    return {"field": field, "value": value, "reason": reason}


def _still_told(body: bytes, speaker: Speaker) -> list[dict[str, Any]]:
    """Lines of a description that still tell the speaker's own host although the speaker has an address of ours, for
    the log."""
    left = relocate.residual(body, [speaker.host]) if speaker.mapped is not None else []
    return [_change(one.log_name, None, "not_followed") for one in left[:MAX_TOLD]]


def _left_alone(description: sdp.Description) -> list[dict[str, Any]]:
    """Lines that do not follow the grammar, and live media that is left to the two ends, for the log."""
    if not description.oddities and all(medium.is_movable for medium in description.media):
        return []
    odd = [_change("sdp", None, oddity) for oddity in description.oddities]
    found = [(medium.log_name, medium.obstacle) for medium in description.media]
    return odd + [_change(name, None, obstacle) for name, obstacle in found if obstacle is not None]


def _has_ice(description: sdp.Description) -> bool:
    return description.has_ice or any(medium.has_ice for medium in description.media)
