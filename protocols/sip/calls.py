"""SIP calls: who their parties are, which requests wait for an answer, and how long they live.

RFC 3261 s.12 to 15 (dialogs), RFC 3262 and RFC 3311 (PRACK and UPDATE).

    INVITE, offer         begins a call              a place for each medium of the offerer (offers.py)
    183 or 200, answer    it rings, or is started    a place for each of the answerer; media passes
    INVITE, 200           offer and answer again
    BYE, 200              it is over                 all places are closed

House rules:
- The two parties are told apart by their tags, whatever connection or flow a message came by, and whoever sends it:
  the caller is whoever sent the INVITE that began the call, and not the party that From names (S66).
- Offers and answers belong to the transaction that brought them: a refusal takes back the offer of its own request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from protocols.contract import live
from protocols.contract.addresses import Endpoint, Host, Side, Transport
from protocols.contract.pinholes import Refusal
from protocols.sdp import description as sdp
from protocols.sdp import relocate
from protocols.sdp.parties import Role, Speaker
from protocols.sip.contacts import Contact, Contacts
from protocols.sip.offers import MAX_BRANCHES, CallMedia
from protocols.sip.places import MediaBook, Offer
from protocols.toolbox.clock import Clock

MAX_CALLS = 50_000
MAX_TRANSACTIONS = 32
"""Transactions of one call that are remembered at a time."""


@dataclass(frozen=True, slots=True)
class Hop:
    """The address from which a party sends requests of a dialog, and to which they are sent."""

    side: Side
    at: Endpoint
    transport: Transport
    routes: int
    """How many Record-Routes stood in the message that named it."""
    is_own_word: bool = False
    """The party has said of itself that it waits there, in the Contact of a request of its own, for the transport that
    it signals by."""

    def behind(self, earlier: Hop | None) -> Hop:
        """This one, of a request sent once more with other routes. Which of them is answered is not known, so none of
        the routes of either is taken for the callee's."""
        return self if earlier is None or earlier.routes <= self.routes else replace(self, routes=earlier.routes)


Hosts = tuple[Host, Host]
"""The hosts between which a request goes: whoever asks, and whoever is asked."""


@dataclass(slots=True, eq=False)
class Transaction:
    """An INVITE, UPDATE, PRACK or BYE that has no final response yet."""

    number: int
    method: bytes
    by: Role
    hosts: Hosts
    """The two hosts between which the request went: nobody else can answer it."""
    branch: bytes
    """The branch in the asker's Via: a proxy may ask several phones at one address for the same call."""
    offer: Offer | None = None
    """The offer that the request brought, or a response to it."""
    hop: Hop | None = None
    """The caller's, as the request that is to begin a dialog names it: a 2xx agrees to what its own request said."""


@dataclass(slots=True)
class CallBook(MediaBook["Call"]):
    """The calls of a daemon, whichever flow each of their messages comes by."""

    standing: dict[tuple[bytes, bytes], list[Call]] = field(default_factory=dict)
    """(Call-ID, caller's tag) -> the calls of that name. A call that goes to a server and comes back from it passes
    this gateway several times, between other hosts each time, and is one for each of them."""
    of_client: Counter[str] = field(default_factory=Counter)
    """client (`as_client`) -> how many calls came by its sessions."""


class Call:
    """One call as it passes this gateway between two hosts: a Call-ID and the tag of its caller.

    It knows its parties, the requests that wait for an answer, and for how long it lives. What the parties offer and
    answer each other is in `media`. Whoever reads its messages (dialogs.py) tells it what they mean.
    """

    __slots__ = (
        "began_at",
        "behind_us",
        "caller_side",
        "caller_tag",
        "claims",
        "clocks",
        "ending",
        "ends_at",
        "hosts",
        "invites",
        "is_resumed",
        "is_told",
        "key",
        "lasts",
        "media",
        "named",
        "parties",
        "refusal",
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
        side: Side,
        media: CallMedia[Call],
        clock: Clock[Call],
        named: Mapping[str, Any],
    ) -> None:
        """hosts: whose signalling began it. side: the caller's. clock: of its engine. named: what every line of the log
        about it says."""
        self.key = key
        self.named = named
        self.caller_tag = caller_tag
        # Tuples where there is mostly nothing, or one thing: a set of its own takes 216 bytes.
        self.hosts: dict[Role, tuple[Host, ...]] = {Role.CALLER: hosts[:1], Role.CALLEE: hosts[1:]}
        """Where the signalling of each party comes from, as this gateway sees it: itself, or its server."""
        self.caller_side = side
        """On which side the caller is of the policy that let the call begin; the callee is on the other one. All media
        is judged by that policy, also what is said by a session of another policy, on whose other side a party may
        be."""
        self.behind_us: tuple[Role, ...] = ()
        """The parties whose own network this gateway stands before, by the same policy."""
        self.media = media
        self.parties = b"", b""
        """Who calls whom, as From and To of its first message say."""
        self.tags: tuple[bytes, ...] = ()
        """Tags of the callees whose 2xx has come: mostly one (RFC 3261 s.13.2.2.4)."""
        self.transactions: list[Transaction] = []
        self.claims: list[tuple[Contact, Contacts]] = []
        """Addresses at which its parties are reached by others than `hosts`."""
        self.invites: list[Hashable] = []
        """Keys of its INVITEs among the datagrams whose answers are repeated."""
        self.refusal: tuple[int, bytes] | None = None
        """How its INVITE was refused last: the status of the response, and its words."""
        self.told: tuple[tuple[Endpoint | None, Endpoint], ...] = ()
        """Places that the log has told of."""
        self.is_resumed = False
        """The call was under way before its first message came here."""
        self.clocks = [clock]
        """The clock of the engine that it belongs to, then those of engines that have put it off."""
        self.began_at = 0.0
        self.started_at: float | None = None
        """When the first 2xx to its INVITE came."""
        self.ends_at = 0.0
        """When it is over unless it is put off: ringing, session timer, the last word after BYE."""
        self.lasts = 0.0
        """Seconds from each sign of life, once it is established."""
        self.ending: str | None = None
        """Why it is over, as soon as it is."""
        self.is_told = False
        """The log has been told of its end."""

    def live(self) -> live.Call:
        """What operators are told of it."""
        first_hosts = [hosts[0] for hosts in self.hosts.values()]
        state: Literal["ringing", "established", "ending"] = "established" if self.is_under_way else "ringing"
        if any(one.method == b"BYE" for one in self.transactions):
            state = "ending"
        return live.Call(
            live.name_of(self.key, self.caller_tag, first_hosts), self.key, *self.parties,
            self.named["direction"], state, self.began_at, self.started_at, self.ends_at,
            self.media.grants, self.media.part,
        )  # fmt: skip

    def side_of(self, role: Role) -> Side:
        """On which side that party is, by the policy that let the call begin."""
        return self.caller_side if role is Role.CALLER else self.caller_side.other

    # -- transactions ------------------------------------------------------------------------------------------------

    @property
    def is_under_way(self) -> bool:
        return self.started_at is not None or self.is_resumed

    def is_of(self, role: Role, host: Host) -> bool:
        """Whether that party's signalling comes from there."""
        return host in self.hosts[role]

    def comes_from(self, role: Role, host: Host) -> None:
        """That party's signalling comes from there, too."""
        if host not in self.hosts[role]:
            self.hosts[role] += (host,)

    def leads_to(self, other: Call) -> bool:
        """Whether the callee's host here is the caller's there: a server, on whose other side the same call goes on."""
        return any(host in other.hosts[Role.CALLER] for host in self.hosts[Role.CALLEE])

    def put_off(self, at: float, clock: Clock[Call]) -> None:
        """The call is over at that time, unless it is put off once more. clock: of the engine that says so, which looks
        at its own clock only."""
        self.ends_at = at
        if clock not in self.clocks:
            self.clocks.append(clock)
        self.clocks[0].set(self, at)
        if clock is not self.clocks[0]:
            clock.set(self, at)

    def begin(self, number: int, method: bytes, by: Role, hosts: Hosts, branch: bytes) -> Transaction:
        """Remember a request that was not known until now."""
        begun = Transaction(number, method, by, hosts, branch)
        if len(self.transactions) >= MAX_TRANSACTIONS:
            # Whoever is no party, and only knows what the call is called, pushes out none of a party's.
            others = [one for one in self.transactions if not self._is_of_parties(one)]
            if not others and not self._is_of_parties(begun):
                return begun
            oldest = (others or self.transactions)[0]
            self.transactions.remove(oldest)
            if oldest.offer is not None and oldest.offer.is_open:
                self.media.take_back(oldest.offer)
        self.transactions.append(begun)
        return begun

    def _is_of_parties(self, transaction: Transaction) -> bool:
        asker, asked = transaction.hosts
        return self.is_of(transaction.by, asker) and self.is_of(transaction.by.other, asked)

    def transaction(self, number: int, method: bytes, by: Role, hosts: Hosts, branch: bytes) -> Transaction | None:
        """The request that is under way with these marks. There are one or two at a time: to look is faster than to
        hash."""
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
        """The places that an offer needs, and where its media is to be announced. A Refusal leaves all as it was."""
        is_party = self.started_at is not None and self.is_of(speaker.role, speaker.host)
        return self.media.offer(self, speaker, media, trigger, is_party)

    def make_answer(
        self, offer: Offer, speaker: Speaker, media: Sequence[sdp.Media], trigger: str
    ) -> dict[int, relocate.Move]:
        """The answerer's places, joined to those of the offer: where its media is to be announced."""
        self.media.take_up(offer)
        may_fork = self.started_at is None and offer.by is Role.CALLER
        may_decline = not may_fork and not self.others(speaker.tag)
        beside = [one.offer for one in self.transactions if one.offer is not None and one.offer is not offer]
        return self.media.answer(self, offer, speaker, media, trigger, beside, may_decline)

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

    def refuse(self, transaction: Transaction) -> None:
        """A final refusal: what was agreed before holds (S67). Places of an offer that others were made, too, are
        theirs from now on."""
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
        self.media.take_back(offer)

    # -- its dialogs, and their end ----------------------------------------------------------------------------------

    def start(self, tag: bytes, now: float) -> bool:
        """A 2xx to an INVITE. With the first one the places of other branches are given up. Whether it is that."""
        if tag not in self.tags and len(self.tags) < MAX_BRANCHES:
            self.tags += (tag,)
        if self.started_at is not None:
            return False
        self.started_at = now
        self.media.choose(tag)
        return True

    def others(self, tag: bytes) -> bool:
        """Whether there are dialogs with other callees than this one, which do not end with its own."""
        if self.started_at is not None:
            return any(other != tag for other in self.tags)
        return self.media.has_others(tag)

    def knows(self, tag: bytes) -> bool:
        """Whether a callee with this tag has answered, be it provisionally."""
        return tag in self.tags or self.media.knows(tag)

    def leave(self, tag: bytes) -> None:
        """The dialog with this callee is over, those with others are not."""
        self.tags = tuple(other for other in self.tags if other != tag)
        self.media.leave(tag)

    def close(self, now: float) -> None:
        """All media, and all ways to its parties."""
        self.media.close()
        for contact, contacts in self.claims:
            contacts.give_up(contact, self, now)
        self.claims.clear()

    def is_heard(self, now: float, at_most: float) -> bool:
        """Whether there is media that was used and would be closed if it were silent, in a call that does not go on for
        ever. Before there is an answer that is early media: announcements, music in a queue."""
        is_leaving = any(one.method == b"BYE" for one in self.transactions)
        if is_leaving or now > (self.began_at if self.started_at is None else self.started_at) + at_most:
            return False
        return self.media.is_heard()
