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
MAX_CLOCKS = 3
"""Engines that look after a call: the one that it began in, and the last ones that its messages came by. After a reload
a flow begins anew with another engine, and the one before is not to stay for as long as the call."""


@dataclass(frozen=True, slots=True)
class Hop:
    """The address from which a party sends requests of a dialog, and to which they are sent."""

    side: Side
    at: Endpoint
    transport: Transport
    routes: int
    """The number of Record-Routes in the message that named this address."""
    is_own_word: bool = False
    """The party has said of itself that it waits at this address: in the Contact of a request of its own, for the
    transport that it signals by."""

    def behind(self, earlier: Hop | None) -> Hop:
        """This hop for a request that is sent once more with other routes. Nobody knows which of the two requests is
        answered, so the routes of neither are taken for the callee's."""
        return self if earlier is None or earlier.routes <= self.routes else replace(self, routes=earlier.routes)


Hosts = tuple[Host, Host]
"""The two hosts between which a request goes: the one that asks, and the one that is asked."""


@dataclass(slots=True, eq=False)
class Transaction:
    """An INVITE, UPDATE, PRACK or BYE that has no final response yet."""

    number: int
    method: bytes
    by: Role
    hosts: Hosts
    """The two hosts between which the request went. Nobody else can answer it."""
    branch: bytes
    """The branch in the asker's Via. It tells transactions apart, since a proxy may ask several phones at one address
    for the same call."""
    offer: Offer | None = None
    """The offer that the request, or a response to it, brought."""
    hop: Hop | None = None
    """The caller's hop, as the request that is to begin a dialog names it. A 2xx agrees to what its own request
    said."""


@dataclass(slots=True)
class CallBook(MediaBook["Call"]):
    """All calls of a daemon. The messages of one call may come by several flows."""

    standing: dict[tuple[bytes, bytes], list[Call]] = field(default_factory=dict)
    """(Call-ID, caller's tag) -> the calls of that name. A call that goes to a server and comes back from it passes
    this gateway several times, each time between other hosts, and each passage is a call of its own here."""
    of_client: Counter[str] = field(default_factory=Counter)
    """client (`as_client`) -> the number of its calls."""


class Call:
    """One call as it passes this gateway between two hosts: a Call-ID and the tag of its caller. A call knows its
    parties, the requests that wait for an answer, and for how long it lives. What the parties offer and answer each
    other is in `media`. The messages of the call are read by dialogs.py, which tells the call what they mean."""

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
        """`hosts` are those whose signalling began the call, `side` is the caller's, and `clock` that of the engine by
        which the call began. `named` is what every line of the log about the call says."""
        self.key = key
        self.named = named
        self.caller_tag = caller_tag
        # Tuples where there is mostly nothing, or one thing: a set of its own takes 216 bytes.
        self.hosts: dict[Role, tuple[Host, ...]] = {Role.CALLER: hosts[:1], Role.CALLEE: hosts[1:]}
        """role -> the hosts that the signalling of this party comes from, as this gateway sees it: the party itself, or
        its server."""
        self.caller_side = side
        """On which side the caller is of the policy that let the call begin; the callee is on the other one. All media
        is judged by that policy, also what is said by a session of another policy, on whose other side a party may
        be."""
        self.behind_us: tuple[Role, ...] = ()
        """The parties whose own network this gateway stands before, by the policy that let the call begin."""
        self.media = media
        self.parties = b"", b""
        """From and To of the call's first message, so who calls whom."""
        self.tags: tuple[bytes, ...] = ()
        """The tags of the callees whose 2xx has come. Mostly there is one (RFC 3261 s.13.2.2.4)."""
        self.transactions: list[Transaction] = []
        self.claims: list[tuple[Contact, Contacts]] = []
        """Claims to addresses at which other hosts than `hosts` reach the call's parties."""
        self.invites: list[Hashable] = []
        """The keys of the call's INVITEs among the datagrams whose answers are repeated."""
        self.refusal: tuple[int, bytes] | None = None
        """The status and the reason phrase of the response that last refused the call's INVITE."""
        self.told: tuple[tuple[Endpoint | None, Endpoint], ...] = ()
        """The media addresses that the log has already been told of."""
        self.is_resumed = False
        """The call was under way before its first message came here."""
        self.clocks = [clock]
        """The clock of the engine that the call belongs to, then those of engines that have put its end off."""
        self.began_at = 0.0
        self.started_at: float | None = None
        """The time at which the first 2xx to the call's INVITE came."""
        self.ends_at = 0.0
        """The time at which the call is over unless its end is put off: by ringing, the session timer, or the last word
        after BYE."""
        self.lasts = 0.0
        """For so many seconds an established call lives on after each sign of life."""
        self.ending: str | None = None
        """The reason for the call's end, as soon as there is one."""
        self.is_told = False
        """The log has been told of the call's end."""

    def live(self) -> live.Call:
        """What operators are told of the call."""
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
        """The side on which that party is, by the policy that let the call begin."""
        return self.caller_side if role is Role.CALLER else self.caller_side.other

    # -- transactions ------------------------------------------------------------------------------------------------

    @property
    def is_under_way(self) -> bool:
        return self.started_at is not None or self.is_resumed

    def is_of(self, role: Role, host: Host) -> bool:
        """Whether that party's signalling comes from this host."""
        return host in self.hosts[role]

    def comes_from(self, role: Role, host: Host) -> None:
        """Note that that party's signalling comes from this host, too."""
        if host not in self.hosts[role]:
            self.hosts[role] += (host,)

    def leads_to(self, other: Call) -> bool:
        """Whether the callee's host of this call is the caller's host of the other one. Then it is a server, on whose
        other side the same call goes on."""
        return any(host in other.hosts[Role.CALLER] for host in self.hosts[Role.CALLEE])

    def put_off(self, at: float, clock: Clock[Call]) -> None:
        """The call is over at that time, unless its end is put off once more. `clock` is that of the engine that says
        so: an engine looks at its own clock only."""
        self.ends_at = at
        clocks = self.clocks
        if clock is not clocks[-1] and clock is not clocks[0]:
            if clock in clocks:
                clocks.remove(clock)
            clocks.append(clock)
            if len(clocks) > MAX_CLOCKS:
                clocks.pop(1).forget(self)
        clocks[0].set(self, at)
        if clock is not clocks[0]:
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
        """The request under way with these marks. A call has one or two at a time, so to look at each is faster than to
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
        """Whether an INVITE of that party has no final response yet. A call that is taken up again after a restart may
        wait for any response."""
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
        """Take the places that an offer needs, and say where its media is to be announced. With a Refusal everything
        stays as it was."""
        is_party = self.started_at is not None and self.is_of(speaker.role, speaker.host)
        return self.media.offer(self, speaker, media, trigger, is_party)

    def make_answer(
        self, offer: Offer, speaker: Speaker, media: Sequence[sdp.Media], trigger: str
    ) -> dict[int, relocate.Move]:
        """Take the answerer's places, joined to those of the offer, and say where its media is to be announced."""
        self.media.take_up(offer)
        may_fork = self.started_at is None and offer.by is Role.CALLER
        may_decline = not may_fork and not self.others(speaker.tag)
        beside = [one.offer for one in self.transactions if one.offer is not None and one.offer is not offer]
        return self.media.answer(self, offer, speaker, media, trigger, beside, may_decline)

    def offer_to(self, speaker: Speaker, number: int, again: bool) -> Offer | None:
        """The offer that a response has made to this party, which sent INVITE with that number. The party has not
        answered the offer, or it answers `again`."""
        found: Offer | None = None
        for one in self.transactions:
            offer = one.offer
            if offer is None or (one.number, one.method, one.by) != (number, b"INVITE", speaker.role):
                continue
            if offer.by is not speaker.role and (found is None or offer.tag == speaker.tag):
                found = offer  # of two lines at one address each has its own
        return found if found is not None and (found.is_open or again) else None

    def refuse(self, transaction: Transaction) -> None:
        """A final refusal has come, so what was agreed before holds (S67). Places of an offer that other callees share
        belong to those from now on."""
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
        """A 2xx to an INVITE has come. With the first one the places of other branches are given up. Returns whether it
        was the first one."""
        if tag not in self.tags and len(self.tags) < MAX_BRANCHES:
            self.tags += (tag,)
        if self.started_at is not None:
            return False
        self.started_at = now
        self.media.choose(tag)
        return True

    def others(self, tag: bytes) -> bool:
        """Whether there are dialogs with other callees than this one. They do not end with its dialog."""
        if self.started_at is not None:
            return any(other != tag for other in self.tags)
        return self.media.has_others(tag)

    def knows(self, tag: bytes) -> bool:
        """Whether a callee with this tag has answered, be it provisionally."""
        return tag in self.tags or self.media.knows(tag)

    def leave(self, tag: bytes) -> None:
        """The dialog with this callee is over; those with others are not."""
        self.tags = tuple(other for other in self.tags if other != tag)
        self.media.leave(tag)

    def close(self, now: float) -> None:
        """Close all media of the call, and all ways to its parties."""
        self.media.close()
        for contact, contacts in self.claims:
            contacts.give_up(contact, self, now)
        self.claims.clear()

    def is_heard(self, now: float, at_most: float) -> bool:
        """Whether the call has media that was used and would be closed if it were silent, and the call does not go on
        for ever. Before there is an answer that is early media: announcements, music in a queue."""
        is_leaving = any(one.method == b"BYE" for one in self.transactions)
        if is_leaving or now > (self.began_at if self.started_at is None else self.started_at) + at_most:
            return False
        return self.media.is_heard()
