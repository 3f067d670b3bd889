"""The media of a SIP call: what is offered and answered in it, and the places that each party has for it.

RFC 3264 (offer and answer), RFC 6337 (who may offer when), RFC 3261 s.13.2.2.4 (several callees).

    offer              a place for each medium of the offerer is held       nobody gets in yet
    answer             a place for each of the answerer is joined to it     media passes
    offer 2            what changes is remembered                           the old media goes on (S67, D23)
    answer 2           it is changed                                        or, if it is refused, forgotten

House rules:
- An SDP repeated in 183 and 200 is one answer (D21), and a refused offer takes back itself alone.
- A party keeps its place for the life of the call: what it announced once stays true (D22).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic

from protocols.contract import pinholes
from protocols.contract.addresses import Endpoint
from protocols.contract.pinholes import AnyGrant, Closed, MediaGrant, Pinholes, Refusal
from protocols.sdp import description as sdp
from protocols.sdp import parties, relocate
from protocols.sdp.parties import Role, Speaker, Terms
from protocols.sip.places import MediaBook, Of, Offer, Place, Slot, Totals

MAX_BRANCHES = 12
"""So many callees of one forked call are told apart; the answers of others are passed on without media."""
MAX_UNANSWERED_PLACES = 128
"""The most media places of one client none of whose calls has been answered of late. A flood of INVITEs that nobody
answers takes no more ports than these for each address that it forges."""


class CallMedia(Generic[Of]):
    """The media places of the parties of one call."""

    __slots__ = (
        "_book",
        "_pinholes",
        "_places",
        "_terms",
        "_totals",
        "_waiting",
        "charged_to",
        "is_answered",
        "slots",
    )

    def __init__(self, charged_to: str, pinholes: Pinholes, terms: Terms, book: MediaBook[Of]) -> None:
        """`charged_to` is the client among whose places those of this call count."""
        self.charged_to = charged_to
        self._pinholes = pinholes
        self._terms = terms
        self._book = book
        self.slots: dict[int, Slot] = {}
        self._waiting: list[Slot] = []
        """Slots that are offered in the place of others. The others stand until there is an answer."""
        self._places: dict[int, Place] = {}
        """id of a grant -> the place, for all places that are open."""
        self.is_answered = False
        """A callee has answered by 101 or more, so the call rings somewhere."""
        self._totals: dict[int, Totals] = {}

    def __len__(self) -> int:
        """The number of places that are open."""
        return len(self._places)

    @property
    def part(self) -> Pinholes:
        """The call's own part of its session's pinholes."""
        return self._pinholes

    @property
    def grants(self) -> tuple[int, ...]:
        """The ids of the grants of all places that are open."""
        return tuple(self._places)

    # -- offers and answers ------------------------------------------------------------------------------------------

    def offer(
        self, of: Of, speaker: Speaker, media: Sequence[sdp.Media], trigger: str, may_join: bool
    ) -> tuple[Offer, dict[int, relocate.Move]] | Refusal:
        """Hold the places that an offer needs. The moves say where its media is to be announced, for slots whose party
        is mapped. With a Refusal everything stays as it was. `of` is the call, for the book. `may_join`: the speaker is
        a party of an established call. A party that has answered a hold has agreed to media at its place (RFC 3264
        s.8.4), so its partner gets a place beside that."""
        offer = Offer(speaker.role, speaker.tag)
        moves: dict[int, relocate.Move] = {}
        for medium in media:
            slot = self.slots.get(medium.slot)
            if not medium.port and not medium.is_bundle_only:
                # Port 0 takes a medium out of the session (RFC 3264 s.8.2), but not before the offer is agreed. With
                # a=bundle-only it says that the medium shares the port of another one (RFC 8843 s.6).
                if slot is not None:
                    offer.removed |= {medium.slot}
                continue
            wanted = self._wanted(speaker, medium, slot, trigger)
            if wanted is None:
                continue
            place = slot.place(speaker.role, speaker.tag) if slot is not None else None
            if place is None:
                joins = may_join and slot is not None and slot.is_on_hold
                alone = slot.place(speaker.role.other, speaker.tag) if slot is not None and joins else None
                grant = self._pinholes.answer(alone.grant, wanted) if alone else self._offered(wanted)
                if isinstance(grant, Refusal):
                    self.take_back(offer)
                    return grant
                place = self._held(of, grant, medium, speaker)
                if slot is not None and alone is not None:
                    slot.places[speaker.role, speaker.tag] = place
                    offer.joined.append(place)
                else:
                    slot = offer.fresh[medium.slot] = Slot(speaker.role)
                    slot.places[speaker.role, b""] = place
            else:
                # Until there is an answer the party must take media at the old place, too (RFC 3264 s.8.3.1).
                offer.wanted[medium.slot] = wanted
            _announce(moves, medium, place.grant)
        # A slot that stands already, without a place of this party, is replaced only when the offer is answered.
        for number, slot in offer.fresh.items():
            if self.slots.setdefault(number, slot) is not slot:
                self._waiting.append(slot)
        return offer, moves

    def take_up(self, offer: Offer) -> None:
        """An offer gets its first answer: what stood in the place of its slots until now is gone."""
        if offer.is_open:
            offer.is_open = False
            for number, fresh in offer.fresh.items():
                if fresh in self._waiting:
                    self._waiting.remove(fresh)
                    self._close(number)
                    self.slots[number] = fresh

    def answer(
        self,
        of: Of,
        offer: Offer,
        speaker: Speaker,
        media: Sequence[sdp.Media],
        trigger: str,
        beside: Sequence[Offer],
        may_decline: bool,
    ) -> dict[int, relocate.Move]:
        """Join the answerer's places to what was offered. The first answer of each callee counts; the same one again
        changes nothing. A medium that cannot have its place is declined in the answer, if its address is mapped. `of`
        is the call, for the book. `beside` are other offers that are under way. `may_decline`: no other callee may
        still take a medium that this one refuses."""
        moves: dict[int, relocate.Move] = {}
        for medium in media:
            slot = self.slots.get(medium.slot)
            if slot is None:
                if medium.port:
                    self._answer_alone(of, medium, speaker, trigger, moves)
                continue
            if not medium.port:
                if may_decline:
                    offer.declined |= {medium.slot}
                continue
            offered = slot.place(offer.by, speaker.tag)
            wanted = self._wanted(speaker, medium, slot, trigger)
            if wanted is None:
                continue
            if offered is None:
                # The same answer again (D21): what its party was given alone.
                if (alone := slot.place(speaker.role, speaker.tag)) is not None:
                    self._settle(alone, _without_end(wanted))
                    _announce(moves, medium, alone.grant)
                continue
            _keep(medium.slot, offered, offer, beside)
            offer.before.setdefault(offered, offered.grant.media)
            self._settle(offered, offer.wanted.pop(medium.slot, None))
            place = slot.place(speaker.role, speaker.tag)
            if place is None:
                grant = self._pinholes.answer(offered.grant, wanted) if len(slot.places) <= MAX_BRANCHES else None
                if not isinstance(grant, MediaGrant):
                    if speaker.mapped is not None:
                        moves[medium.slot] = relocate.Move(speaker.mapped, 0, None)
                    continue
                place = slot.places[speaker.role, speaker.tag] = self._held(of, grant, medium, speaker)
            else:
                offer.before.setdefault(place, place.grant.media)
                self._settle(place, wanted)
            _announce(moves, medium, place.grant)
        return moves

    def _answer_alone(
        self, of: Of, medium: sdp.Media, speaker: Speaker, trigger: str, moves: dict[int, relocate.Move]
    ) -> None:
        """The offer named no address that could have a place (hold by 0.0.0.0, a name, a third host). The answerer gets
        a place of its own, so that the other side is told an address of ours, and gets a partner with the next
        offer."""
        wanted = self._wanted(speaker, medium, None, trigger)
        if speaker.mapped is None or wanted is None:
            return
        grant = self._pinholes.offer(_without_end(wanted))
        if isinstance(grant, Refusal):
            moves[medium.slot] = relocate.Move(speaker.mapped, 0, None)
            return
        slot = self.slots[medium.slot] = Slot(speaker.role, is_on_hold=True)
        place = slot.places[speaker.role, b""] = self._held(of, grant, medium, speaker)
        _announce(moves, medium, place.grant)

    def agree(self, offer: Offer) -> None:
        """The answer to the offer is final. After a provisional answer a refusal may still come."""
        if not offer.is_open:
            for number in offer.removed | offer.declined:
                self._close(number)
            offer.removed = offer.declined = frozenset()

    def take_back(self, offer: Offer) -> None:
        """The offer was refused: what was agreed before holds (S67)."""
        for place, media in offer.before.items():
            if place.grant.id in self._places:
                self._settle(place, media)
        for number, slot in offer.fresh.items():
            if self.slots.get(number) is slot:
                self._close(number)
            else:
                self._drop(slot)
        for place in offer.joined:
            self._pinholes.close(place.grant)

    # -- places ------------------------------------------------------------------------------------------------------

    def objection(self, speaker: Speaker, medium: sdp.Media) -> tuple[str, Endpoint] | None:
        """Why no place is opened for this medium, as one snake_case word, with a detail; None if nothing is against a
        place."""
        return parties.objection(speaker, medium, self._terms, self._book.announced, self._pinholes.may_wait)

    def is_elsewhere(self, speaker: Speaker, at: Endpoint) -> bool:
        """Whether this is an address of the speaker's VPN or container, in whose place the speaker's own host is
        meant."""
        return parties.is_elsewhere(speaker, at, self._terms, self._pinholes.may_wait)

    def _wanted(self, speaker: Speaker, medium: sdp.Media, slot: Slot | None, trigger: str) -> pinholes.Media | None:
        place = slot.place(speaker.role, speaker.tag) if slot is not None else None
        held = place.grant.media if place is not None else None
        return parties.wanted(
            speaker, medium, held, trigger, self._terms, self._book.announced, self._pinholes.may_wait
        )

    def _offered(self, wanted: pinholes.Media) -> MediaGrant | Refusal:
        """Open a place for the party that offers, which lets nobody in yet. A client whose calls nobody has answered
        has few places: it may be one host that forges the addresses of many."""
        book = self._book
        is_proved = self.is_answered or book.answered.get(self.charged_to) is not None
        if not is_proved and book.unanswered[self.charged_to] >= MAX_UNANSWERED_PLACES:
            return Refusal("unanswered")
        return self._pinholes.offer(wanted)

    def _held(self, of: Of, grant: MediaGrant, medium: sdp.Media, speaker: Speaker) -> Place:
        """Enter a place that was opened in the books of the call and of the daemon."""
        place = Place(grant, medium.slot, speaker.role, is_counted=not self.is_answered)
        self._places[grant.id] = place
        self._book.media[grant.id] = of
        if place.is_counted:
            self._book.unanswered[self.charged_to] += 1
        self._announced(grant)
        return place

    def _announced(self, grant: MediaGrant) -> None:
        if grant.media.party.mapped is not None and grant.data is not None:
            self._book.announced[grant.data] = grant.media.party

    def _withdrawn(self, grant: MediaGrant) -> None:
        if grant.data is not None:
            self._book.announced.pop(grant.data, None)

    def _settle(self, place: Place, wanted: pinholes.Media | None) -> None:
        """Make a place what was agreed. If that cannot be had, the place stays what it is."""
        # The same SDP may come by another message: 183 and 200 (D21).
        if wanted is not None and replace(wanted, trigger=place.grant.media.trigger) != place.grant.media:
            changed = self._pinholes.change(place.grant, wanted)
            if not isinstance(changed, Refusal):
                self._withdrawn(place.grant)
                place.grant = changed
                self._announced(changed)

    def answered(self) -> None:
        """Somebody who takes the INVITE for a call has answered it, if only by ringing."""
        if not self.is_answered:
            self.is_answered = True
            self._book.answered.put(self.charged_to, True)
            self._uncount(*self._places.values())

    def _uncount(self, *places: Place) -> None:
        for place in places:
            if place.is_counted:
                place.is_counted = False
                self._book.unanswered[self.charged_to] -= 1
                if not self._book.unanswered[self.charged_to]:
                    self._book.unanswered.pop(self.charged_to)

    # -- callees -----------------------------------------------------------------------------------------------------

    def choose(self, tag: bytes) -> None:
        """The callee with this tag has taken the call: the places of others are given up."""
        for slot in self.slots.values():
            for (role, branch), place in tuple(slot.places.items()):
                if branch not in (b"", tag):
                    del slot.places[role, branch]
                    self._pinholes.close(place.grant)

    def leave(self, tag: bytes) -> None:
        """The callee with this tag has left the call: its own places are given up."""
        for slot in tuple(self.slots.values()):
            for (_, branch), place in tuple(slot.places.items()):
                if branch == tag:
                    self._pinholes.close(place.grant)

    def has_others(self, tag: bytes) -> bool:
        """Whether a callee with another tag has a place."""
        return any(branch not in (b"", tag) for slot in self.slots.values() for _, branch in slot.places)

    def knows(self, tag: bytes) -> bool:
        """Whether the callee with this tag has a place, or some medium was offered by a callee."""
        return any(slot.offerer is Role.CALLEE or (Role.CALLEE, tag) in slot.places for slot in self.slots.values())

    # -- ends --------------------------------------------------------------------------------------------------------

    def _close(self, number: int) -> None:
        """A medium is over: the places of its slot are given up."""
        slot = self.slots.pop(number, None)
        if slot is not None:
            self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        if slot in self._waiting:
            self._waiting.remove(slot)
        for place in tuple(slot.places.values()):
            self._pinholes.close(place.grant)

    def close(self) -> None:
        """The call is over: all places are given up."""
        for number in tuple(self.slots):
            self._close(number)
        for slot in tuple(self._waiting):
            self._drop(slot)

    def keep(self, seconds: float) -> None:
        """The signalling says that the call lives for so many seconds, whether its media is silent or not."""
        self._pinholes.keep(seconds)

    def closed(self, grant: AnyGrant, event: Closed) -> None:
        """A place of this call is gone, and what passed through it is added to the totals."""
        del self._book.media[grant.id]
        place = self._places.pop(grant.id)
        self._uncount(place)
        if isinstance(grant, MediaGrant):
            self._withdrawn(grant)
        number = place.number
        if number not in self._totals:
            self._totals[number] = Totals()
        self._totals[number].add(place.role, event)
        slot = self.slots.get(number)
        if slot is not None:
            slot.places = {key: place for key, place in slot.places.items() if place.grant.id != grant.id}
            if not slot.places:
                del self.slots[number]

    def is_heard(self) -> bool:
        """Whether some medium was used and would be closed if it were silent."""
        # Whoever has put it on hold may be silent for ever, and its partners with it (D25).
        for slot in self.slots.values():
            places = slot.places.values()
            if any(place.is_used for place in places) and all(
                place.grant.media.idle_seconds != float("inf") for place in places
            ):
                return True
        return False

    def used(self, grant: AnyGrant) -> None:
        """A packet has come to a place of this call."""
        self._places[grant.id].is_used = True

    def streams(self) -> list[dict[str, Any]]:
        """What passed in each medium, as the log has it. The figures are complete once all places are closed."""
        return [{"medium": number, **totals.facts()} for number, totals in sorted(self._totals.items())]


def _without_end(media: pinholes.Media) -> pinholes.Media:
    """The same media with a place that lasts as long as the call: whoever is on hold waits."""
    return replace(media, open_seconds=float("inf"), idle_seconds=float("inf"))


def _announce(moves: dict[int, relocate.Move], medium: sdp.Media, grant: MediaGrant) -> None:
    if grant.media.party.mapped is not None and grant.data is not None:
        moves[medium.slot] = relocate.Move(
            grant.data.host, grant.data.port, grant.control.port if grant.control else None
        )


def _keep(number: int, place: Place, answered: Offer, beside: Sequence[Offer]) -> None:
    """Note that a medium is agreed now. It is not taken back with whatever else of the offer is refused."""
    if number in answered.declined:
        answered.declined -= {number}
    for offer in beside:
        if number in offer.declined:
            offer.declined -= {number}
        if number in offer.removed:
            offer.removed -= {number}
        if place in offer.joined:
            offer.joined.remove(place)
