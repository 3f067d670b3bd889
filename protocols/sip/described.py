"""Session descriptions in SIP messages: what an offer or answer opens, and what the other side reads in its place.

RFC 3264 (offer and answer), RFC 8866 (SDP). The head of a message says where descriptions stand in its body (body.py);
dialogs.py says whether one is an offer or an answer, and of which call. Here it is read, its media gets places
(offers.py), and the body is written anew with these places in it. Media that cannot have one stays as it is, and the
log is told why (`address.kept`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from protocols.contract.addresses import Endpoint, Host, Malformed, Peers, Side
from protocols.contract.pinholes import Refusal
from protocols.sdp import description as sdp
from protocols.sdp import relocate
from protocols.sdp.parties import Speaker
from protocols.sip import body as sip_body
from protocols.sip.answers import Refused
from protocols.sip.calls import Call, CallBook, Transaction
from protocols.sip.echoes import Echoes
from protocols.sip.message import Message
from protocols.sip.options import SipOptions
from protocols.sip.places import Offer

MAX_TOLD = 16
"""Places of one call that the log tells of as rewritten; all of them are in `pinhole.opened`."""

Moved = tuple[str, Endpoint | None, Endpoint]
"""A medium that is announced elsewhere, for the log: what it is, where it was before, and where it is now."""


class Followed(NamedTuple):
    """What a message says on the other side, besides its head."""

    body: bytes | None
    """Another body; None if it is what it was."""
    moved: Sequence[Moved] = ()
    """Media that is announced elsewhere, of which the log was not told before."""


UNCHANGED = Followed(None)


class Said(NamedTuple):
    """A message of a call, and who says it."""

    message: Message
    side: Side
    """The side that the message came from."""
    speaker: Speaker


class Descriptions:
    """The session descriptions in messages of one flow or connection."""

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
        """side that speaks -> its own host, and the other side's."""
        self._known_as = {side: peers.as_seen(side).host if peers.is_mapped(side) else None for side in Side}
        """Addresses of ours by which the other side knows each side's host; None: it knows that itself."""
        self._ours = frozenset(filter(None, self._known_as.values()))
        self._names = {side: _names(peers, side) for side in Side}
        """side that speaks -> hosts, and the addresses by which the other side knows them."""

    # -- without a call ----------------------------------------------------------------------------------------------

    def of_no_call(self, message: Message, side: Side) -> Followed:
        """A description that belongs to no call opens nothing, and tells no address of the inside either."""
        data = message.data[message.body.start : message.body.end]
        if not data or not self._follows_media or self._known_as[side] is None:
            return UNCHANGED
        return self._renamed(data, self._find_sdp(message, data).sdp, side)

    def _renamed(self, data: bytes, parts: Sequence[sip_body.Sdp], side: Side) -> Followed:
        """The body with descriptions of which no media is followed, as the other side knows the hosts in them."""
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
        """Candidates on their own: they go with those of the offers and answers (D35)."""
        kind = (message.first(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != b"application/trickle-ice-sdpfrag" or self._options.ice == "pass" or not self._ours:
            return UNCHANGED
        if not self._follows_media:
            return UNCHANGED
        return Followed(relocate.without_ice(message.data[message.body.start : message.body.end]))

    # -- offers and answers ------------------------------------------------------------------------------------------

    def offered(self, call: Call, said: Said, transaction: Transaction) -> Followed:
        """A message that may have an offer. The transaction keeps it until it is answered. Raises Refused."""
        return self._followed(call, said, transaction, None)

    def answered(self, call: Call, said: Said, offer: Offer) -> Followed:
        """A message that may have an answer to that offer."""
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
        """Another part may be the same again, for readers of another kind; media of a description of its own, as that
        of an early session is (RFC 3959), is not followed."""
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
        """A description of a party that the other side knows by its own address: its media stays where it is."""
        new = relocate.with_names(description.body, self._names[side])
        if self._ours and _has_ice(description):
            # Both ends are to believe that the other one knows nothing of ICE (D32, D33).
            new = relocate.without_ice(new)
        return new

    def _read(self, call: Call, message: Message, body: bytes) -> sdp.Description | None:
        """A description that can be followed; None if it cannot be read. Raises Refused for too many media."""
        try:
            return sdp.read_sdp(body)
        except Malformed as error:
            # An ACK cannot be refused.
            refused = message.is_request and message.method != b"ACK" and isinstance(error, sdp.TooManyMedia)
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
        """Places for these media, by their slots; None if there are none and nothing is to be changed. Raises Refused
        when a request has to go without."""
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
        """Whether o= names the speaker, or a host that stands for it."""
        origin = description.origin.host if description.origin is not None else None
        return origin is not None and (
            origin == speaker.host
            or any(origin in network for network in self._options.media_hosts)
            or call.media.is_elsewhere(speaker, Endpoint(origin, 0))
        )

    def _comes_back(self, message: Message, side: Side, description: sdp.Description) -> bool:
        """Whether a proxy on this side forwards media that somebody on the other side has put at a port of the proxy's
        host: that one has guessed where, and somebody else would be let in there."""
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
        """Media that is left as it is, and for the log why."""
        kept: dict[int, dict[str, Any]] = {}
        for medium in description.media:
            if (objection := call.media.objection(speaker, medium)) is not None:
                reason, at = objection
                kept[medium.slot] = _change(f"sdp m={medium.kind.decode('latin-1')}", at, reason)
        low = [str(change["value"]) for change in kept.values() if change["reason"] == "low_port"]
        if low:
            facts = {"rule": "sip.low_port", "detail": ", ".join(low), "action": "media is not followed"}
            self._note("violation", facts)
        return kept

    def _tell_learned(self, call: Call, speaker: Speaker, media: list[sdp.Media]) -> None:
        """If the address is not of the speaker's VPN or container after all, but another host's, its media is lost."""
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
        """Media of a party on the very side that is told of it, which has come back from a server: it can do without
        us (D29)."""
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
    """Media that the log is to be told of. From now on it was."""
    fresh: list[Moved] = []
    for medium in description.media:
        if (move := moves.get(medium.slot)) is not None:
            change = (medium.endpoint, Endpoint(move.host, move.port))
            if change not in call.told and len(call.told) < MAX_TOLD:
                call.told += (change,)
                fresh.append((f"sdp m={medium.kind.decode('latin-1')}", *change))
    return fresh


def _change(field: str, value: Endpoint | None, reason: str) -> dict[str, Any]:
    """A change that is not made, and why, as the log has it."""
    return {"field": field, "value": value, "reason": reason}


def _names(peers: Peers, side: Side) -> dict[Host, Host]:
    names = {}
    if peers.is_mapped(side.other):
        names[peers.as_seen(side.other).host] = peers.own(side.other).host
    if peers.is_mapped(side):
        names[peers.own(side).host] = peers.as_seen(side).host
    return names


def _still_told(body: bytes, speaker: Speaker) -> list[dict[str, Any]]:
    """Lines of a description that still tell the host of a speaker who has an address of ours, for the log."""
    left = relocate.residual(body, [speaker.host]) if speaker.mapped is not None else []
    changes = [_change(f"sdp line {one.line} {one.field.decode('latin-1')}", None, "not_followed") for one in left]
    return changes[:MAX_TOLD]


def _left_alone(description: sdp.Description) -> list[dict[str, Any]]:
    """Lines that are none of their kind, and live media that is left to the ends, for the log."""
    if not description.oddities and all(medium.is_movable for medium in description.media):
        return []
    odd = [_change("sdp", None, oddity) for oddity in description.oddities]
    found = [(medium.kind.decode("latin-1"), medium.obstacle) for medium in description.media]
    return odd + [_change(f"sdp m={kind}", None, obstacle) for kind, obstacle in found if obstacle is not None]


def _has_ice(description: sdp.Description) -> bool:
    return description.has_ice or any(medium.has_ice for medium in description.media)
