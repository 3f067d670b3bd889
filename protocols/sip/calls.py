"""SIP calls: their dialogs, what is offered and answered in them, and the places that media needs for it.

RFC 3261 s.12 to 15, RFC 3264 (offer and answer), RFC 3262 and RFC 3311 (PRACK and UPDATE), RFC 6337 (who may offer
when).

    INVITE, offer      a place for each medium of the offerer is held       nobody gets in yet
    183 or 200, answer a place for each of the answerer is joined to it     media passes
    INVITE, offer 2    what changes is remembered                           the old media goes on (S67, D23)
    200, answer 2      it is changed                                        or, refused with 488, forgotten
    BYE, 200           all places are closed

House rules:
- The two parties are told apart by their tags, whatever connection or flow a message came by, and whoever sends it:
  caller is not From (S66).
- Offers and answers belong to the transaction that brought them, so that an SDP repeated in 183 and 200 is one answer
  (D21), and a refused offer takes back itself alone.
- A party keeps its place for the life of the call: what it announced once stays true (D22).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from protocols.contract import pinholes
from protocols.contract.addresses import Endpoint, Host, Side, Transport
from protocols.contract.pinholes import AnyGrant, Closed, MediaGrant, Party, Pinholes, Refusal
from protocols.sdp import description as sdp
from protocols.sdp import parties, relocate
from protocols.sdp.parties import Role, Speaker, Terms
from protocols.sip.contacts import Contact, Contacts
from protocols.toolbox.clock import Clock
from protocols.toolbox.memory import Memory, Recent

MAX_CALLS = 50_000
MAX_ANSWERED = 10_000
"""Clients of whom it is remembered that somebody has answered them."""
MAX_BRANCHES = 12
"""Callees of one forked call that are told apart; the rest is passed on without media."""
MAX_UNANSWERED_PLACES = 128
"""Places for media of one client none of whose calls has been answered of late. A flood of INVITEs that nobody answers
takes no more ports than these for each address that it forges."""
MAX_TRANSACTIONS = 32
"""Transactions of one call that are remembered at a time."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where requests of the dialog come from on one side, and go to."""

    side: Side
    at: Endpoint
    transport: Transport
    routes: int
    """How many Record-Routes the message had."""
    is_own_word: bool = False
    """The party has said of itself that it waits there, in the Contact of a request of its own, for the transport that
    it signals by."""

    def behind(self, earlier: Hop | None) -> Hop:
        """This one, of a request sent once more with other routes. Which of them is answered is not known, so none of
        the routes of either is taken for the callee's."""
        return self if earlier is None or earlier.routes <= self.routes else replace(self, routes=earlier.routes)


@dataclass(slots=True, eq=False)
class Place:
    """A party's place for one medium."""

    grant: MediaGrant
    number: int
    """Of its slot."""
    role: Role
    is_counted: bool
    """It counts against MAX_UNANSWERED_PLACES of the client."""
    is_used: bool = False
    """Packets have come to it."""


@dataclass(slots=True, eq=False)
class Slot:
    """One m= line of a call."""

    offerer: Role
    places: dict[tuple[Role, bytes], Place] = field(default_factory=dict)
    """The tag is empty for the party that offered first: it has one place for all who answer."""
    is_on_hold: bool = False
    """What was offered has no place: the one who answered has its own alone, and a partner with the next offer."""

    def place(self, role: Role, tag: bytes) -> Place | None:
        return self.places.get((role, b"" if role is self.offerer else tag))


@dataclass(slots=True, eq=False)
class Offer:
    """An offer, and what it changes when it is answered."""

    by: Role
    tag: bytes
    """Of the callee, by whom or to whom it is."""
    is_open: bool = True
    """It has no answer yet."""
    wanted: dict[int, pinholes.Media] = field(default_factory=dict)
    """What the offerer's places become if it is answered."""
    fresh: dict[int, Slot] = field(default_factory=dict)
    """Slots that are new, and gone if it is refused. One that stands in the place of another waits for the answer."""
    joined: list[Place] = field(default_factory=list)
    """Places in slots where the other party had one alone; gone likewise."""
    removed: frozenset[int] = frozenset()
    """Slots that are gone once it is agreed: the offerer has given them up."""
    declined: frozenset[int] = frozenset()
    """Likewise: whoever answers does not take them."""
    before: dict[Place, pinholes.Media] = field(default_factory=dict)
    """What a provisional answer has changed, as it was."""


Hosts = tuple[Host, Host]
"""Who asks, and who is asked."""


@dataclass(slots=True, eq=False)
class Transaction:
    """An INVITE, UPDATE, PRACK or BYE that has no final response yet."""

    number: int
    method: bytes
    by: Role
    hosts: Hosts
    """Between which it is: nobody else can answer it."""
    branch: bytes
    """Of the asker's Via: a proxy may ask several at one address for the same call."""
    offer: Offer | None = None
    """The one that the request brought, or a response to it."""
    hop: Hop | None = None
    """The caller's, as the request that is to begin a dialog names it: a 2xx agrees to what its own request said."""


@dataclass(slots=True)
class Totals:
    """Of one medium of a call that is over, or of one place that is closed."""

    packets_to: dict[Role, int] = field(default_factory=dict)
    bytes_to: dict[Role, int] = field(default_factory=dict)

    def add(self, role: Role, event: Closed) -> None:
        self.packets_to[role] = self.packets_to.get(role, 0) + event.packets_in
        self.bytes_to[role] = self.bytes_to.get(role, 0) + event.bytes_in


@dataclass(slots=True)
class CallBook:
    """The calls of a daemon, whichever flow each of their messages comes by."""

    memory: Memory
    standing: dict[tuple[bytes, bytes], list[Call]] = field(default_factory=dict)
    """By Call-ID and the caller's tag. More than one when it passes us several times, on its way to a server and on its
    way back."""
    of_client: Counter[str] = field(default_factory=Counter)
    """How many there are by the client (`as_client`) whose sessions they are of."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """How many places for media are held for calls of a client that nobody has answered."""
    media: dict[int, Call] = field(default_factory=dict)
    """The call of each open place for media, by the id of its grant."""
    announced: dict[Endpoint, Party] = field(default_factory=dict)
    """Where we announced media -> whose it is."""
    answered: Recent[str, bool] = field(init=False)
    """Clients that made a call which somebody has answered."""

    def __post_init__(self) -> None:
        self.answered = Recent(MAX_ANSWERED, self.memory)


class Call:
    """One Call-ID and the caller's tag."""

    __slots__ = (
        "_book",
        "_pinholes",
        "_places",
        "_terms",
        "_totals",
        "_waiting",
        "began_at",
        "behind_us",
        "caller_tag",
        "charged_to",
        "claims",
        "clocks",
        "ending",
        "ends_at",
        "hosts",
        "invites",
        "is_answered",
        "is_resumed",
        "is_told",
        "key",
        "lasts",
        "sides",
        "slots",
        "started_at",
        "tags",
        "told",
        "transactions",
    )

    def __init__(
        self,
        key: bytes,
        caller_tag: bytes,
        hosts: Hosts,
        charged_to: str,
        pinholes: Pinholes,
        terms: Terms,
        book: CallBook,
        clock: Clock[Call],
    ) -> None:
        """hosts: whose signalling began it. charged_to: among whose calls it counts. clock: of its engine."""
        self._book = book
        self.clocks = [clock]
        """Of the engine that it belongs to, and of those that have put it off."""
        self.hosts = {Role.CALLER: [hosts[0]], Role.CALLEE: [hosts[1]]}
        """Where the signalling of each party comes from, as this gateway sees it: itself, or its server."""
        self.charged_to = charged_to
        self.sides: dict[Role, Side] = {}
        """On which side each party is of the policy that let it begin. All its media is judged by that policy, also
        what is said by a session of another policy, on whose other side the party may be."""
        self.behind_us: tuple[Role, ...] = ()
        """Likewise: who is inside."""
        self.is_resumed = False
        """It was under way before it was first heard of."""
        self.claims: list[tuple[Contact, Contacts]] = []
        """Addresses at which its parties are reached by others than those hosts."""
        self.invites: list[Hashable] = []
        """Datagrams that the table remembers for it, by their keys."""
        # Tuples where there is mostly nothing, or one thing: a set of its own takes 216 bytes.
        self.told: tuple[tuple[Endpoint | None, Endpoint], ...] = ()
        """Places that the log has told of."""
        self.lasts = 0.0
        """Seconds from each sign of life, once it is established."""
        self.ending: str | None = None
        """Why it is over, as soon as it is."""
        self.is_told = False
        """Its end stands in the log."""
        self.key = key
        self.caller_tag = caller_tag
        self.ends_at = 0.0
        """Unless it is put off: ringing, session timer, the last word after BYE."""
        self.began_at = 0.0
        self.started_at: float | None = None
        self.tags: tuple[bytes, ...] = ()
        """Of those callees whose 2xx has come: mostly one (RFC 3261 s.13.2.2.4)."""
        self.slots: dict[int, Slot] = {}
        self._waiting: list[Slot] = []
        """Offered in the place of others that stand until there is an answer."""
        self.transactions: list[Transaction] = []
        self._pinholes = pinholes
        self._terms = terms
        self._places: dict[int, Place] = {}
        """All that are open, by the ids of their grants."""
        self.is_answered = False
        """A callee has answered by 101 or more: it rings somewhere."""
        self._totals: dict[int, Totals] = {}

    # -- transactions ------------------------------------------------------------------------------------------------

    @property
    def is_under_way(self) -> bool:
        return self.started_at is not None or self.is_resumed

    def is_of(self, role: Role, host: Host) -> bool:
        """Whether that party's signalling comes from there."""
        return host in self.hosts[role]

    def leads_to(self, other: Call) -> bool:
        """Whether the callee's host here is the caller's there: a server, on whose other side the same call goes on."""
        return any(host in other.hosts[Role.CALLER] for host in self.hosts[Role.CALLEE])

    def keep(self, seconds: float) -> None:
        """Signalling says that the call lives for so long, be its media silent or not."""
        self._pinholes.keep(seconds)

    def put_off(self, at: float, clock: Clock[Call]) -> None:
        """It is over then. clock: of whoever says so, since the owner's is not looked at before its own time."""
        self.ends_at = at
        if clock not in self.clocks:
            self.clocks.append(clock)
        self.clocks[0].set(self, at)
        if clock is not self.clocks[0]:
            clock.set(self, at)

    def begin(self, number: int, method: bytes, by: Role, hosts: Hosts, branch: bytes) -> Transaction:
        """A request; the same one again is the same transaction."""
        if (known := self.transaction(number, method, by, hosts, branch)) is not None:
            return known
        begun = Transaction(number, method, by, hosts, branch)
        if len(self.transactions) >= MAX_TRANSACTIONS:
            # Whoever is no party, and only knows what the call is called, pushes out none of a party's.
            others = [one for one in self.transactions if not self._is_of_parties(one)]
            if not others and not self._is_of_parties(begun):
                return begun
            oldest = (others or self.transactions)[0]
            self.transactions.remove(oldest)
            if oldest.offer is not None and oldest.offer.is_open:
                self.take_back(oldest.offer)
        self.transactions.append(begun)
        return begun

    def _is_of_parties(self, transaction: Transaction) -> bool:
        asker, asked = transaction.hosts
        return self.is_of(transaction.by, asker) and self.is_of(transaction.by.other, asked)

    def transaction(self, number: int, method: bytes, by: Role, hosts: Hosts, branch: bytes) -> Transaction | None:
        """The one that is under way. There are one or two at a time: to look is faster than to hash."""
        for one in self.transactions:
            if (
                one.number == number
                and one.by is by
                and one.method == method
                and one.branch == branch
                and one.hosts == hosts
            ):
                return one
        return None

    def is_asked(self, by: Role) -> bool:
        """Whether an INVITE of that party has no final response yet. A call that is taken up again waits for any."""
        if self.is_resumed:
            return any(one.method in (b"INVITE", b"UPDATE") for one in self.transactions)
        return any(one.method == b"INVITE" and one.by is by for one in self.transactions)

    def end(self, transaction: Transaction) -> None:
        if transaction in self.transactions:
            self.transactions.remove(transaction)

    # -- offers and answers ------------------------------------------------------------------------------------------

    def make_offer(
        self, speaker: Speaker, media: Sequence[sdp.Media], trigger: str
    ) -> tuple[Offer, dict[int, relocate.Move]] | Refusal:
        """Hold what an offer needs. The moves say where its media is to be announced; they are of slots whose party is
        mapped. A Refusal leaves all as it was."""
        offer = Offer(speaker.role, speaker.tag)
        moves: dict[int, relocate.Move] = {}
        # A partner joins who has answered a hold, and so agreed to media at his place (RFC 3264 s.8.4).
        is_party = self.started_at is not None and self.is_of(speaker.role, speaker.host)
        for medium in media:
            slot = self.slots.get(medium.slot)
            if not medium.port and not medium.is_bundle_only:
                if slot is not None:
                    offer.removed |= {medium.slot}
                continue
            wanted = self._wanted(speaker, medium, slot, trigger)
            if wanted is None:
                continue
            place = slot.place(speaker.role, speaker.tag) if slot is not None else None
            if place is None:
                may_join = slot is not None and slot.is_on_hold and is_party
                alone = slot.place(speaker.role.other, speaker.tag) if slot is not None and may_join else None
                grant = self._pinholes.answer(alone.grant, wanted) if alone else self._offered(wanted)
                if isinstance(grant, Refusal):
                    self.take_back(offer)
                    return grant
                place = self._held(grant, medium, speaker)
                if slot is not None and alone is not None:
                    slot.places[speaker.role, speaker.tag] = place
                    offer.joined.append(place)
                else:
                    slot = offer.fresh[medium.slot] = Slot(speaker.role)
                    slot.places[speaker.role, b""] = place
            else:
                offer.wanted[medium.slot] = wanted
            _announce(moves, medium, place.grant)
        for number, slot in offer.fresh.items():
            if self.slots.setdefault(number, slot) is not slot:
                self._waiting.append(slot)
        return offer, moves

    def offer_to(self, speaker: Speaker, number: int, again: bool) -> Offer | None:
        """What this party, which sent INVITE with that number, was offered in a response, and has not answered; or
        answers `again`."""
        found: Offer | None = None
        for one in self.transactions:
            offer = one.offer
            if offer is None or (one.number, one.method, one.by) != (number, b"INVITE", speaker.role):
                continue
            if offer.by is not speaker.role and (found is None or offer.tag == speaker.tag):
                found = offer  # of two lines at one address each has its own
        return found if found is not None and (found.is_open or again) else None

    def make_answer(
        self, offer: Offer, speaker: Speaker, media: Sequence[sdp.Media], trigger: str
    ) -> dict[int, relocate.Move]:
        """Join the answerer's places to what was offered. The first answer of each callee counts; the same one again
        changes nothing. A medium that cannot have its place is declined in the answer, if its address is mapped."""
        moves: dict[int, relocate.Move] = {}
        if offer.is_open:
            offer.is_open = False
            for number, fresh in offer.fresh.items():
                if fresh in self._waiting:
                    self._waiting.remove(fresh)
                    self._close(number)
                    self.slots[number] = fresh
        for medium in media:
            slot = self.slots.get(medium.slot)
            if slot is None:
                if medium.port:
                    self._answer_alone(medium, speaker, trigger, moves)
                continue
            if not medium.port:
                if not self._may_fork(offer) and not self.others(speaker.tag):
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
            self._keep(medium.slot, offered, offer)
            offer.before.setdefault(offered, offered.grant.media)
            self._settle(offered, offer.wanted.pop(medium.slot, None))
            place = slot.place(speaker.role, speaker.tag)
            if place is None:
                grant = self._pinholes.answer(offered.grant, wanted) if len(slot.places) <= MAX_BRANCHES else None
                if not isinstance(grant, MediaGrant):
                    if speaker.mapped is not None:
                        moves[medium.slot] = relocate.Move(speaker.mapped, 0, None)
                    continue
                place = slot.places[speaker.role, speaker.tag] = self._held(grant, medium, speaker)
            else:
                offer.before.setdefault(place, place.grant.media)
                self._settle(place, wanted)
            _announce(moves, medium, place.grant)
        return moves

    def agree(self, offer: Offer) -> None:
        """Its answer is final. A provisional one may still be followed by a refusal."""
        if not offer.is_open:
            for number in offer.removed | offer.declined:
                self._close(number)
            offer.removed = offer.declined = frozenset()

    def _keep(self, number: int, place: Place, answered: Offer) -> None:
        """It is agreed now, whatever was said of it before, and not taken back with what else is refused."""
        if number in answered.declined:
            answered.declined -= {number}
        for one in self.transactions:
            if one.offer is not None and one.offer is not answered:
                if number in one.offer.declined:
                    one.offer.declined -= {number}
                if number in one.offer.removed:
                    one.offer.removed -= {number}
                if place in one.offer.joined:
                    one.offer.joined.remove(place)

    def _answer_alone(self, medium: sdp.Media, speaker: Speaker, trigger: str, moves: dict[int, relocate.Move]) -> None:
        """The offer named no address that could have a place (hold by 0.0.0.0, a name, a third host): the answerer gets
        its own, so that the other side is told one of ours, and a partner with the next offer."""
        wanted = self._wanted(speaker, medium, None, trigger)
        if speaker.mapped is None or wanted is None:
            return
        grant = self._pinholes.offer(_without_end(wanted))
        if isinstance(grant, Refusal):
            moves[medium.slot] = relocate.Move(speaker.mapped, 0, None)
            return
        slot = self.slots[medium.slot] = Slot(speaker.role, is_on_hold=True)
        place = slot.places[speaker.role, b""] = self._held(grant, medium, speaker)
        _announce(moves, medium, place.grant)

    def _offered(self, wanted: pinholes.Media) -> MediaGrant | Refusal:
        """A place for the party that offers. A client whose calls nobody has answered has few: it may be forging
        addresses."""
        book = self._book
        is_proved = self.is_answered or book.answered.get(self.charged_to) is not None
        if not is_proved and book.unanswered[self.charged_to] >= MAX_UNANSWERED_PLACES:
            return Refusal("unanswered")
        return self._pinholes.offer(wanted)

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

    def _held(self, grant: MediaGrant, medium: sdp.Media, speaker: Speaker) -> Place:
        place = Place(grant, medium.slot, speaker.role, is_counted=not self.is_answered)
        self._places[grant.id] = place
        self._book.media[grant.id] = self
        if place.is_counted:
            self._book.unanswered[self.charged_to] += 1
        if grant.media.party.mapped is not None:
            self._book.announced[grant.rtp] = grant.media.party
        return place

    def _may_fork(self, offer: Offer) -> bool:
        """Another callee may still take what this one refused."""
        return self.started_at is None and offer.by is Role.CALLER

    def refuse(self, transaction: Transaction) -> None:
        """What was agreed before holds (S67); what others are offered alike is theirs from now on."""
        self.end(transaction)
        offer = transaction.offer
        if offer is None:
            return
        for one in self.transactions if transaction.method == b"INVITE" else ():
            if one.method != b"INVITE" or one.offer is None or one.offer.by is not offer.by:
                continue
            if one.number == transaction.number or not self.is_under_way:
                one.offer.fresh.update(offer.fresh)
                one.offer.joined += offer.joined
                return
        self.take_back(offer)

    def take_back(self, offer: Offer) -> None:
        """It was refused: what was agreed before holds (S67)."""
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

    def objection(self, speaker: Speaker, medium: sdp.Media) -> tuple[str, Endpoint] | None:
        """Why no place is opened for it, as one snake_case word, and what of it; None if nothing is against that."""
        return parties.objection(speaker, medium, self._terms, self._book.announced, self._pinholes.may_wait)

    def is_elsewhere(self, speaker: Speaker, at: Endpoint) -> bool:
        """Whether it is an address of the speaker's VPN or container, in whose place its own host is meant."""
        return parties.is_elsewhere(speaker, at, self._terms, self._pinholes.may_wait)

    def _wanted(self, speaker: Speaker, medium: sdp.Media, slot: Slot | None, trigger: str) -> pinholes.Media | None:
        place = slot.place(speaker.role, speaker.tag) if slot is not None else None
        held = place.grant.media if place is not None else None
        return parties.wanted(
            speaker, medium, held, trigger, self._terms, self._book.announced, self._pinholes.may_wait
        )

    def _settle(self, place: Place, wanted: pinholes.Media | None) -> None:
        # The same SDP may come by another message: 183 and 200 (D21).
        if wanted is not None and replace(wanted, trigger=place.grant.media.trigger) != place.grant.media:
            changed = self._pinholes.change(place.grant, wanted)
            if not isinstance(changed, Refusal):
                self._book.announced.pop(place.grant.rtp, None)
                place.grant = changed
                if wanted.party.mapped is not None:
                    self._book.announced[changed.rtp] = wanted.party

    # -- ends --------------------------------------------------------------------------------------------------------

    def start(self, tag: bytes, now: float) -> bool:
        """A 2xx to an INVITE. With the first one the places of other branches are given up. Whether it is that."""
        if tag not in self.tags and len(self.tags) < MAX_BRANCHES:
            self.tags += (tag,)
        if self.started_at is not None:
            return False
        self.started_at = now
        for slot in self.slots.values():
            for (role, branch), place in tuple(slot.places.items()):
                if branch not in (b"", tag):
                    del slot.places[role, branch]
                    self._pinholes.close(place.grant)
        return True

    def others(self, tag: bytes) -> bool:
        """Whether there are dialogs with other callees than this one, which do not end with its own."""
        if self.started_at is not None:
            return any(other != tag for other in self.tags)
        return any(branch not in (b"", tag) for slot in self.slots.values() for _, branch in slot.places)

    def knows(self, tag: bytes) -> bool:
        """Whether a callee with this tag has answered, be it provisionally."""
        return tag in self.tags or any(
            slot.offerer is Role.CALLEE or (Role.CALLEE, tag) in slot.places for slot in self.slots.values()
        )

    def leave(self, tag: bytes) -> None:
        """The dialog with this callee is over, those with others are not."""
        self.tags = tuple(other for other in self.tags if other != tag)
        for slot in tuple(self.slots.values()):
            for (_, branch), place in tuple(slot.places.items()):
                if branch == tag:
                    self._pinholes.close(place.grant)

    def _close(self, number: int) -> None:
        slot = self.slots.pop(number, None)
        if slot is not None:
            self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        if slot in self._waiting:
            self._waiting.remove(slot)
        for place in tuple(slot.places.values()):
            self._pinholes.close(place.grant)

    def close(self, now: float) -> None:
        """All media, and all ways to its parties."""
        for number in tuple(self.slots):
            self._close(number)
        for slot in tuple(self._waiting):
            self._drop(slot)
        for contact, contacts in self.claims:
            contacts.give_up(contact, self, now)
        self.claims.clear()

    def closed(self, grant: AnyGrant, event: Closed) -> None:
        """A place of this call is gone."""
        del self._book.media[grant.id]
        place = self._places.pop(grant.id)
        self._uncount(place)
        if isinstance(grant, MediaGrant):
            self._book.announced.pop(grant.rtp, None)
        number = place.number
        if number not in self._totals:
            self._totals[number] = Totals()
        self._totals[number].add(place.role, event)
        slot = self.slots.get(number)
        if slot is not None:
            slot.places = {key: place for key, place in slot.places.items() if place.grant.id != grant.id}
            if not slot.places:
                del self.slots[number]

    @property
    def has_media(self) -> bool:
        return bool(self._places)

    def is_heard(self, now: float, at_most: float) -> bool:
        """Whether there is media that was used and would be closed if it were silent, in a call that does not go on for
        ever. Before there is an answer that is early media: announcements, music in a queue."""
        is_leaving = any(one.method == b"BYE" for one in self.transactions)
        if is_leaving or now > (self.began_at if self.started_at is None else self.started_at) + at_most:
            return False
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
        """What passed, for the log; complete once all is closed."""
        return [
            {
                "medium": number,
                **{f"packets_to_{role.value}": totals.packets_to.get(role, 0) for role in Role},
                **{f"bytes_to_{role.value}": totals.bytes_to.get(role, 0) for role in Role},
            }
            for number, totals in sorted(self._totals.items())
        ]


def _without_end(media: pinholes.Media) -> pinholes.Media:
    """For as long as the call lasts: who is on hold waits."""
    return replace(media, open_seconds=float("inf"), idle_seconds=float("inf"))


def _announce(moves: dict[int, relocate.Move], medium: sdp.Media, grant: MediaGrant) -> None:
    if grant.media.party.mapped is not None:
        moves[medium.slot] = relocate.Move(grant.rtp.host, grant.rtp.port, grant.rtcp.port if grant.rtcp else None)
