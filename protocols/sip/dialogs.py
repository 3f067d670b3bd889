"""SIP dialogs: what each request and response means to the call that it belongs to.

RFC 3261 s.12 to 15, RFC 3264, RFC 4028 (session timers). Here is decided which call a message belongs to, who says it,
and what it means: an offer or an answer (described.py), a call that begins, lives on or ends (lifetimes.py), a way in
for later requests (ways.py).

Who may say what (a pinhole needs an exchange that both sides have confirmed):
- a response counts when it comes from whom the request went to;
- a refusal ends a call only when the request was one of its own parties';
- a BYE from elsewhere ends it when the other party has agreed to it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from protocols.contract.addresses import Peers, Side
from protocols.sdp.parties import Role, Speaker
from protocols.sip.answers import Refused
from protocols.sip.calls import Call, CallBook, Hosts, Transaction
from protocols.sip.contacts import LAST_WORDS_SECONDS
from protocols.sip.described import UNCHANGED, Descriptions, Followed, Said
from protocols.sip.lifetimes import Lifetimes
from protocols.sip.message import Message
from protocols.sip.notes import Notes
from protocols.sip.options import SipOptions
from protocols.sip.places import Offer
from protocols.sip.ways import Ways
from protocols.toolbox.memory import MAX_KEY_BYTES, short

MAX_INVITES = 8
"""For each call so many INVITEs are remembered whose answers are not repeated any more once the call is over."""

_OFFERING = frozenset((b"INVITE", b"UPDATE", b"PRACK"))
_REFRESHING = frozenset((b"INVITE", b"UPDATE"))
_ASKED_AGAIN = frozenset((401, 407, 422, 491, 494))
"""Statuses that refuse a request for now: the same is asked once more in another way."""
_GONE = frozenset((408, 481))
"""Statuses that say that whoever answers knows nothing of the dialog any more (RFC 3261 s.12.2.1.2)."""


class Dialogs:
    """Follows the dialogs whose messages come by one flow or connection."""

    __slots__ = ("_book", "_descriptions", "_hosts", "_known_as", "_lifetimes", "_notes", "_options", "_ways")

    def __init__(
        self,
        peers: Peers,
        options: SipOptions,
        lifetimes: Lifetimes,
        descriptions: Descriptions,
        ways: Ways,
        book: CallBook,
        notes: Notes,
    ) -> None:
        self._options = options
        self._lifetimes = lifetimes
        self._descriptions = descriptions
        self._ways = ways
        self._book = book
        self._notes = notes
        self._hosts: dict[Side, Hosts] = {side: (peers.own(side).host, peers.own(side.other).host) for side in Side}
        """side that asks -> its own host, and the host that it asks."""
        self._known_as = {side: peers.as_seen(side).host if peers.is_mapped(side) else None for side in Side}
        """side -> the address of ours by which the other side knows the side's host; None if the other side knows the
        host itself."""

    def follow(self, side: Side, message: Message, now: float, key: Hashable | None = None) -> Followed:
        """Do what a message from `side` means to its call, and return what its body is on the other side. `key` is that
        of a datagram, by which its answer is repeated when the datagram comes again. Raises Refused."""
        asking = side if message.is_request else side.other
        hosts = self._hosts[asking]
        from_tag, to_tag = message.from_tag or b"", message.to_tag or b""
        if len(from_tag) > MAX_KEY_BYTES or len(to_tag) > MAX_KEY_BYTES:
            from_tag, to_tag = short(from_tag), short(to_tag)
        found = self._find(message, from_tag, to_tag, hosts, asking, now)
        if found is None:
            return self._descriptions.of_no_call(message, side)
        call, asker = found
        self._notes.of = call.named
        role = asker if message.is_request else asker.other
        speaker = Speaker(
            role,
            to_tag if asker is Role.CALLER else from_tag,
            self._hosts[side][0],
            self._known_as[side],
            role in call.behind_us,
            call.side_of(role),
            message.cseq.number,
        )
        said = Said(message, side, speaker)
        if not message.is_request:
            return self._responded(call, said, hosts, now)
        if message.method == b"INVITE" and key is not None and len(call.invites) < MAX_INVITES:
            call.invites.append(key)
        return self._requested(call, said, hosts, now)

    def _find(
        self, message: Message, from_tag: bytes, to_tag: bytes, hosts: Hosts, asking: Side, now: float
    ) -> tuple[Call, Role] | None:
        """The call that a message belongs to, and the party of it that asks (S66). A call may pass this gateway several
        times, between other hosts each time."""
        asker, asked = hosts
        close: tuple[Call, Role] | None = None
        # Who asks has its tag in From: the caller's in a request of the caller's, the callee's in one of the callee's.
        for tag, role in ((from_tag, Role.CALLER), (to_tag, Role.CALLEE)):
            if role is Role.CALLEE and not tag:
                break
            for call in self._book.standing.get((message.call_id, tag), ()):
                is_asker, is_asked = asker in call.hosts[role], asked in call.hosts[role.other]
                if is_asker and is_asked:
                    return call, role
                if is_asker or is_asked:
                    close = close or (call, role)
        if not to_tag and message.method == b"INVITE":
            return self._lifetimes.begin(message, from_tag, hosts, asking, False, now), Role.CALLER
        if close is None and to_tag and message.is_request and message.method in _REFRESHING:
            # Of before a restart, or taken for over. Whoever refreshes it is its caller from now on: which one was is
            # not known, and who is told of an address of the inside would look for media there (S70).
            return self._lifetimes.begin(message, from_tag, hosts, asking, True, now), Role.CALLER
        return close

    # -- requests ----------------------------------------------------------------------------------------------------

    def _requested(self, call: Call, said: Said, hosts: Hosts, now: float) -> Followed:
        message, speaker = said.message, said.speaker
        method, number = message.method, message.cseq.number
        if method == b"CANCEL":
            return UNCHANGED
        if method == b"ACK":
            offer = _offer_to(call, speaker, number, again=True)  # it is sent for each 2xx that comes again
            if offer is None:
                return UNCHANGED
            followed = self._descriptions.answered(call, said, offer)
            call.media.agree(offer)
            return followed
        branch = message.branch
        known = call.transaction(number, method, speaker.role, hosts, branch)
        transaction = known or call.begin(number, method, speaker.role, hosts, branch)
        try:
            return self._asked(call, transaction, said, now)
        except Refused as refused:
            if known is None:  # the one before it was passed on, and has its answer still to come
                self._failed(call, transaction, (refused.status, refused.reason), speaker.tag, now)
            raise

    def _asked(self, call: Call, transaction: Transaction, said: Said, now: float) -> Followed:
        """Do what a request other than CANCEL and ACK means. Raises Refused: then the request goes to nobody, so nobody
        but this gateway can answer it."""
        message, side, speaker = said
        method = message.method
        if method == b"BYE":
            if call.is_of(speaker.role, speaker.host) and not call.others(speaker.tag):
                self._lifetimes.put_off(call, LAST_WORDS_SECONDS, now)
            return UNCHANGED
        if method not in _OFFERING:
            return self._descriptions.trickled(message) if method == b"INFO" else UNCHANGED
        if speaker.role is Role.CALLEE and not call.knows(speaker.tag):
            # Who has not answered is no party of it yet, as the other one will say.
            return self._descriptions.of_no_call(message, side)
        is_beginning = call.started_at is None and (method == b"INVITE" or call.is_resumed)
        if is_beginning and call.is_of(speaker.role, speaker.host):
            self._lifetimes.put_off(call, max(self._lifetimes.unheard_seconds, call.ends_at - now), now)
            # A request of a dialog that is under way has no Record-Route, though a proxy may stand between.
            hop = None if call.is_resumed and b"route" in message.names else self._ways.hop(message, side, 0)
            if hop is not None:
                transaction.hop = hop.behind(transaction.hop)
        # A reliable provisional response may bring an offer, which PRACK answers (RFC 3262 s.5).
        if method == b"PRACK" and (offer := _offer_to(call, speaker, _of_rack(message))) is not None:
            return self._descriptions.answered(call, said, offer)
        return self._descriptions.offered(call, said, transaction)

    # -- responses ---------------------------------------------------------------------------------------------------

    def _responded(self, call: Call, said: Said, hosts: Hosts, now: float) -> Followed:
        message, side, speaker = said
        method, status = message.cseq.method, message.status
        transaction = call.transaction(message.cseq.number, method, speaker.role.other, hosts, message.branch)
        if transaction is None:
            return self._descriptions.of_no_call(message, side)
        if status < 200 and method == b"INVITE" and call.started_at is None:
            self._lifetimes.put_off(call, self._options.ring_seconds, now)
            call.media.keep(self._options.ring_seconds)
        if status == 100:  # of the next hop alone: no callee has said anything (RFC 3261 s.8.2.6.1)
            return UNCHANGED
        if status >= 300:
            self._failed(call, transaction, (status, message.phrase), speaker.tag, now)
            return UNCHANGED
        call.media.answered()
        if status >= 200:
            if method == b"BYE":
                self._left(call, transaction, speaker, now)
                return UNCHANGED
            if method != b"INVITE":  # which may be answered by several
                call.end(transaction)
        if method not in _OFFERING:
            self._is_alive(call, message, now)
            return UNCHANGED
        # Without an offer in the request its response has one (RFC 3261 s.13.2.1), and ACK or PRACK the answer.
        if transaction.offer is None or transaction.offer.by is speaker.role:
            followed = self._descriptions.offered(call, said, transaction)
        else:
            followed = self._descriptions.answered(call, said, transaction.offer)
        if status >= 200:
            if transaction.offer is not None:
                call.media.agree(transaction.offer)
            if (method == b"INVITE" or call.is_resumed) and call.start(speaker.tag, now):
                self._notes.note("call.started", {"call_id": call.key, **_who(message)})
                self._ways.establish(call, transaction, message, side, now)
            self._is_alive(call, message, now)
        return followed

    def _is_alive(self, call: Call, message: Message, now: float) -> None:
        """A 2xx has come in an established call. With a session timer only what refreshes the timer counts as a sign of
        life (RFC 4028 s.10)."""
        if call.started_at is None:
            return
        if message.cseq.method in _REFRESHING:
            seconds = _session_seconds(message)
            call.lasts = seconds + LAST_WORDS_SECONDS if seconds is not None else self._options.call_idle
        elif call.lasts != self._options.call_idle:
            return
        self._lifetimes.put_off(call, call.lasts, now)
        call.media.keep(self._options.media_idle if call.lasts == self._options.call_idle else call.lasts)

    def _failed(self, call: Call, transaction: Transaction, refusal: tuple[int, bytes], tag: bytes, now: float) -> None:
        """A final response that is no success has come: what its request would have changed stays as it was (S67)."""
        call.refuse(transaction)
        status, _ = refusal
        if not call.is_of(transaction.by, transaction.hosts[0]) or not call.is_of(
            transaction.by.other, transaction.hosts[1]
        ):
            return  # it was not asked by a party of this call, or not a party was asked
        if transaction.method == b"BYE":
            if status not in _ASKED_AGAIN:
                self._leave(call, transaction, tag, now)
            elif call.started_at is not None:
                self._lifetimes.put_off(call, call.lasts, now)
        elif call.started_at is None and transaction.method in (_REFRESHING if call.is_resumed else (b"INVITE",)):
            call.refusal = refusal
            if call.is_asked(transaction.by):
                pass  # of others, who may be behind the same address (S65)
            elif status in _ASKED_AGAIN:
                self._lifetimes.put_off(call, LAST_WORDS_SECONDS, now)
            else:
                self._lifetimes.end(call, f"refused_{status}", now)
        elif status in _GONE and call.started_at is not None and transaction.method in _REFRESHING:
            if call.others(tag):  # that branch has lost
                call.leave(tag)
            else:
                self._lifetimes.end(call, f"gone_{status}", now)  # the other party knows nothing of it any more

    # -- BYE ---------------------------------------------------------------------------------------------------------

    def _left(self, call: Call, bye: Transaction, agreed: Speaker, now: float) -> None:
        """A BYE was answered by a party of the call, as the call passed this gateway here or elsewhere. It is over
        everywhere."""
        passes = self._book.standing.get((call.key, call.caller_tag), ())
        same = [one for one in passes if one is call or agreed.tag in one.tags]
        over = [one for one in same if one.is_of(agreed.role, agreed.host)]
        for one in over:  # grows: each pass leads to those before and behind it
            over += [other for other in same if other not in over and (one.leads_to(other) or other.leads_to(one))]
        for one in over:
            self._leave(one, bye, agreed.tag, now)

    def _leave(self, call: Call, bye: Transaction, tag: bytes, now: float) -> None:
        """End the one dialog that a BYE ends. Those of a forked call with other callees may go on (S65)."""
        if call.others(tag):
            call.end(bye)
            call.leave(tag)
        else:
            self._lifetimes.end(call, f"bye_of_{bye.by.value}", now)


def _offer_to(call: Call, speaker: Speaker, number: int, again: bool = False) -> Offer | None:
    """The offer that a response to the INVITE with that number has made to this party."""
    return call.offer_to(speaker, number, again) if call.is_of(speaker.role, speaker.host) else None


def _of_rack(message: Message) -> int:
    """The number of the INVITE whose response a PRACK acknowledges (RFC 3262 s.7.2); -1 if it names none."""
    numbers = (message.first(b"rack") or b"").split()
    return int(numbers[1]) if len(numbers) == 3 and numbers[1].isdigit() and len(numbers[1]) <= 10 else -1


def _who(message: Message) -> dict[str, Any]:
    return {"from": message.identity(b"from"), "to": message.identity(b"to")}


def _session_seconds(message: Message) -> int | None:
    """The length of the session timer in seconds, as in `Session-Expires: 1800;refresher=uac` (RFC 4028 s.4). None if
    there is no timer."""
    value = (message.first(b"session-expires") or b"").partition(b";")[0].strip()
    return min(int(value), 86400) if value.isdigit() and len(value) < 10 else None
