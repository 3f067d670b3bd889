"""SIP dialogs: what each request and response means to the call that it belongs to.

RFC 3261 s.12 to 15, RFC 3264, RFC 4028 (session timers). Offers and answers are read here, and handed to the call
(offers.py), which opens what they need; here is decided when a call begins, lives on and ends.

Who may say what (a pinhole needs an exchange that both sides have confirmed):
- a response counts when it comes from whom the request went to;
- a refusal ends a call only when the request was one of its own parties';
- a BYE from elsewhere ends it when the other party has agreed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Malformed, Peers, Side
from protocols.contract.pinholes import AnyGrant, Closed, Pinholes, Refusal
from protocols.sdp import description as sdp
from protocols.sdp import relocate
from protocols.sdp.parties import Role, Speaker, Terms
from protocols.sip import body as sip_body
from protocols.sip.answers import Refused
from protocols.sip.calls import MAX_CALLS, Call, Hosts, Transaction
from protocols.sip.contacts import LAST_WORDS_SECONDS, Contacts
from protocols.sip.echoes import Echoes
from protocols.sip.message import Message
from protocols.sip.names import Names
from protocols.sip.offers import CallMedia
from protocols.sip.options import SipOptions
from protocols.sip.places import Offer
from protocols.sip.table import SipTable
from protocols.sip.ways import DIALOG_SECONDS, Ways
from protocols.toolbox.clock import Clock
from protocols.toolbox.memory import MAX_KEY_BYTES, NAMES_BYTES, as_client, short

MAX_TOLD = 16
"""Places of one call that the log tells of as rewritten; all of them are in `pinhole.opened`."""
UNHEARD_SECONDS = 32.0
"""From an INVITE to any response: who asks has given up then (RFC 3261 s.17.1.1.2, timer B)."""

_OFFERING = frozenset((b"INVITE", b"UPDATE", b"PRACK"))
_REFRESHING = frozenset((b"INVITE", b"UPDATE"))
_ASKED_AGAIN = frozenset((401, 407, 422, 491, 494))
"""Refused for now: the same is asked once more in another way."""
_GONE = frozenset((408, 481))


class Dialogs:
    """As one flow or connection sees them."""

    __slots__ = (
        "_behind_us",
        "_client",
        "_clock",
        "_echoes",
        "_follows_media",
        "_hosts",
        "_inside",
        "_known_as",
        "_names",
        "_note",
        "_now",
        "_options",
        "_ours",
        "_peers",
        "_pinholes",
        "_table",
        "_terms",
        "_ways",
        "invited",
        "moved",
    )

    def __init__(
        self,
        peers: Peers,
        options: SipOptions,
        pinholes: Pinholes,
        names: Names,
        echoes: Echoes,
        contacts: Contacts,
        table: SipTable,
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._echoes = echoes
        self._ways = Ways(peers, names, contacts)
        self._table = table
        self._note = note
        self._terms = Terms(options.ring_seconds + 60, options.media_idle, options.media_hosts, options.media_from)
        self._clock: Clock[Call] = Clock()
        self._now = 0.0
        self.moved: list[tuple[str, Endpoint | None, Endpoint]] = []
        """Media that the last message announces elsewhere, for the log: what it is, and where it was before."""
        self.invited: Call | None = None
        """The call of the last INVITE, until somebody has taken note."""
        self._hosts: dict[Side, Hosts] = {side: (peers.own(side).host, peers.own(side.other).host) for side in Side}
        """By the side that asks."""
        self._known_as = {side: peers.as_seen(side).host if peers.is_mapped(side) else None for side in Side}
        """Hosts that the other side knows by an address of ours."""
        self._names = {side: _names(peers, side) for side in Side}
        """By the side that speaks: hosts, and the addresses by which the other side knows them."""
        self._behind_us = Side.SERVER if peers.role is not None else Side.CLIENT
        self._client = as_client(peers.own(self._behind_us).host)
        self._inside = frozenset(filter(self._is_inside, Side))
        is_mapped = any(map(peers.is_mapped, Side))
        self._follows_media = options.fixup == "auto" or not is_mapped
        self._ours = frozenset(peers.as_seen(side).host for side in Side if peers.is_mapped(side))

    def __len__(self) -> int:
        return len(self._clock)

    # -- messages ----------------------------------------------------------------------------------------------------

    def follow(self, side: Side, message: Message, now: float) -> bytes | None:
        """What a message from `side` means to its call; its body, if that is another now. Raises Refused."""
        self._now = now
        self.moved.clear()
        asking = side if message.is_request else side.other
        hosts = self._hosts[asking]
        from_tag, to_tag = message.from_tag or b"", message.to_tag or b""
        if len(from_tag) > MAX_KEY_BYTES or len(to_tag) > MAX_KEY_BYTES:
            from_tag, to_tag = short(from_tag), short(to_tag)
        found = self._find(message, from_tag, to_tag, hosts, asking)
        if found is None:
            return self._of_no_call(message, side)
        call, asker = found
        role = asker if message.is_request else asker.other
        speaker = Speaker(
            role,
            to_tag if asker is Role.CALLER else from_tag,
            self._hosts[side][0],
            self._known_as[side],
            role in call.behind_us,
            call.side_of(role),
        )
        if message.is_request:
            return self._requested(call, speaker, message, hosts, side)
        return self._responded(call, speaker, message, hosts, side)

    def _of_no_call(self, message: Message, side: Side) -> bytes | None:
        """It opens nothing, and tells no address of the inside either."""
        data = message.data[message.body.start : message.body.end]
        if not data or not self._follows_media or self._known_as[side] is None:
            return None
        return self._renamed(data, self._find_sdp(message, data).sdp, side)

    def _renamed(self, data: bytes, parts: Sequence[sip_body.Sdp], side: Side) -> bytes | None:
        """The body with descriptions of which no media is followed, as the other side knows the hosts in them."""
        own, seen = self._peers.own(side).host, self._peers.as_seen(side).host
        news: list[tuple[sip_body.Sdp, bytes]] = []
        for part in parts:
            text = relocate.with_other_host(data[part.span.start : part.span.end], own, seen)
            news.append((part, relocate.with_names(text, self._names[side])))
        return sip_body.rebuild(data, news) if news else None

    @staticmethod
    def _find_sdp(message: Message, data: bytes) -> sip_body.Found:
        return sip_body.find_sdp(
            message.first(b"content-type"),
            message.first(b"content-encoding"),
            message.first(b"content-disposition"),
            data,
        )

    def _is_inside(self, side: Side) -> bool:
        """Who has an address of ours is. Without NAT, whom a policy lets out, unless that is a public host let in."""
        peers = self._peers
        if any(map(peers.is_mapped, Side)):
            return peers.is_mapped(side)
        if peers.own(side).host.is_global and peers.own(side.other).host.is_private:
            return False
        return side is self._behind_us

    def _find(
        self, message: Message, from_tag: bytes, to_tag: bytes, hosts: Hosts, asking: Side
    ) -> tuple[Call, Role] | None:
        """The call, and which of its parties asks (S66). A call may pass us several times, between other hosts each."""
        asker, asked = hosts
        close: tuple[Call, Role] | None = None
        for tag, role in ((from_tag, Role.CALLER), (to_tag, Role.CALLEE)):
            if role is Role.CALLEE and not tag:
                break
            for call in self._table.calls.standing.get((message.call_id, tag), ()):
                is_asker, is_asked = asker in call.hosts[role], asked in call.hosts[role.other]
                if is_asker and is_asked:
                    return call, role
                if is_asker or is_asked:
                    close = close or (call, role)
        if not to_tag and message.method == b"INVITE":
            return self._begin(message, from_tag, hosts, asking, False), Role.CALLER
        if close is None and to_tag and message.is_request and message.method in _REFRESHING:
            # Of before a restart, or taken for over. Whoever refreshes it is its caller from now on: which one was is
            # not known, and who is told of an address of the inside would look for media there (S70).
            return self._begin(message, from_tag, hosts, asking, True), Role.CALLER
        return close

    def _begin(self, message: Message, tag: bytes, hosts: Hosts, asking: Side, is_resumed: bool) -> Call:
        table = self._table
        key = message.call_id, tag
        client = self._client
        is_full = len(table.calls.standing) >= MAX_CALLS or table.calls.of_client[client] >= self._options.max_calls
        if is_full or not table.memory.keep(_bytes_kept(key)):
            status = 500 if is_resumed else 503
            detail = f"{table.calls.of_client[client]} of {client}, {len(table.calls.standing)} in all"
            self._note("violation", {"rule": "sip.too_many_calls", "detail": detail, "action": f"answered {status}"})
            raise Refused(status, b"Too Many Calls")
        side = asking.other if self._peers.role is not None else asking
        media: CallMedia[Call] = CallMedia(client, self._pinholes.apart(), self._terms, table.calls)
        call = Call(message.call_id, tag, hosts, side, media, self._clock)
        call.is_resumed = is_resumed
        sides = (Role.CALLER, asking), (Role.CALLEE, asking.other)
        call.behind_us = tuple(role for role, at in sides if at in self._inside)
        call.began_at = self._now
        call.lasts = self._options.call_idle
        table.calls.standing.setdefault(key, []).append(call)
        table.calls.of_client[client] += 1
        self._put_off(call, min(UNHEARD_SECONDS, self._options.ring_seconds))
        return call

    def _requested(self, call: Call, speaker: Speaker, message: Message, hosts: Hosts, side: Side) -> bytes | None:
        method, number = message.method, message.cseq.number
        if method == b"CANCEL":
            return None
        if method == b"ACK":
            offer = self._offer_to(call, speaker, number, again=True)  # it is sent for each 2xx that comes again
            if offer is None:
                return None
            body = self._described(call, speaker, message, side, answers=offer)
            call.media.agree(offer)
            return body
        branch = message.branch
        known = call.transaction(number, method, speaker.role, hosts, branch)
        transaction = known or call.begin(number, method, speaker.role, hosts, branch)
        if method == b"INVITE":
            self.invited = call
        try:
            return self._asked(call, transaction, speaker, message, side)
        except Refused as refused:
            if known is None:  # the one before it was passed on, and has its answer still to come
                self._failed(call, transaction, refused.status, speaker.tag)
            raise

    def _asked(
        self, call: Call, transaction: Transaction, speaker: Speaker, message: Message, side: Side
    ) -> bytes | None:
        """What a request means, other than CANCEL and ACK. Raises Refused: nobody but the asker hears of it then, so
        nobody can answer it."""
        method = message.method
        if method == b"BYE":
            if call.is_of(speaker.role, speaker.host) and not call.others(speaker.tag):
                self._put_off(call, LAST_WORDS_SECONDS)
            return None
        if method not in _OFFERING:
            return self._trickled(message) if method == b"INFO" else None
        if speaker.role is Role.CALLEE and not call.knows(speaker.tag):
            return self._of_no_call(message, side)  # who has not answered is no party of it yet, as the other will say
        if (
            call.started_at is None
            and (method == b"INVITE" or call.is_resumed)
            and call.is_of(speaker.role, speaker.host)
        ):
            self._put_off(call, max(min(UNHEARD_SECONDS, self._options.ring_seconds), call.ends_at - self._now))
            # A request of a dialog that is under way has no Record-Route, though a proxy may stand between.
            hop = None if call.is_resumed and b"route" in message.names else self._ways.hop(message, side, 0)
            if hop is not None:
                transaction.hop = hop.behind(transaction.hop)
        if method == b"PRACK" and (offer := self._offer_to(call, speaker, _of_rack(message))) is not None:
            return self._described(call, speaker, message, side, answers=offer)
        return self._described(call, speaker, message, side, offers=transaction)

    @staticmethod
    def _offer_to(call: Call, speaker: Speaker, number: int, again: bool = False) -> Offer | None:
        return call.offer_to(speaker, number, again) if call.is_of(speaker.role, speaker.host) else None

    def _responded(self, call: Call, speaker: Speaker, message: Message, hosts: Hosts, side: Side) -> bytes | None:
        method, status = message.cseq.method, message.status
        transaction = call.transaction(message.cseq.number, method, speaker.role.other, hosts, message.branch)
        if transaction is None:
            return self._of_no_call(message, side)
        if status < 200 and method == b"INVITE" and call.started_at is None:
            self._put_off(call, self._options.ring_seconds)
            call.media.keep(self._options.ring_seconds)
        if status == 100:
            return None
        if status < 300:
            call.media.answered()
        if status >= 300:
            self._failed(call, transaction, status, speaker.tag)
            return None
        if status >= 200:
            if method == b"BYE":
                self._left(call, transaction, speaker)
                return None
            if method != b"INVITE":  # which may be answered by several
                call.end(transaction)
        if method not in _OFFERING:
            self._is_alive(call, message)
            return None
        if transaction.offer is None or transaction.offer.by is speaker.role:
            body = self._described(call, speaker, message, side, offers=transaction)
        else:
            body = self._described(call, speaker, message, side, answers=transaction.offer)
        if status >= 200:
            if transaction.offer is not None:
                call.media.agree(transaction.offer)
            if (method == b"INVITE" or call.is_resumed) and call.start(speaker.tag, self._now):
                self._note("call.started", {"call_id": call.key, **_who(message)})
                self._ways.establish(call, transaction, message, side, self._now)
            self._is_alive(call, message)
        return body

    def _left(self, call: Call, bye: Transaction, agreed: Speaker) -> None:
        """A BYE was answered, by a party of the call as it passed us here or elsewhere: it is over everywhere."""
        passes = self._table.calls.standing.get((call.key, call.caller_tag), ())
        same = [one for one in passes if one is call or agreed.tag in one.tags]
        over = [one for one in same if one.is_of(agreed.role, agreed.host)]
        for one in over:  # grows: each pass leads to those before and behind it
            over += [other for other in same if other not in over and (one.leads_to(other) or other.leads_to(one))]
        for one in over:
            self._leave(one, bye, agreed.tag)

    def _is_alive(self, call: Call, message: Message) -> None:
        """A 2xx in an established call. With a session timer only what refreshes it counts (RFC 4028 s.10)."""
        if call.started_at is None:
            return
        if message.cseq.method in _REFRESHING:
            seconds = _session_seconds(message)
            call.lasts = seconds + LAST_WORDS_SECONDS if seconds is not None else self._options.call_idle
        elif call.lasts != self._options.call_idle:
            return
        self._put_off(call, call.lasts)
        call.media.keep(self._options.media_idle if call.lasts == self._options.call_idle else call.lasts)

    def _put_off(self, call: Call, seconds: float) -> None:
        call.put_off(self._now + seconds, self._clock)

    def _failed(self, call: Call, transaction: Transaction, status: int, tag: bytes) -> None:
        """A final response that is none of success: what it would have changed stays as it was (S67)."""
        call.refuse(transaction)
        if not call.is_of(transaction.by, transaction.hosts[0]) or not call.is_of(
            transaction.by.other, transaction.hosts[1]
        ):
            return  # it was not asked by a party of this call, or not a party was asked
        if transaction.method == b"BYE":
            if status not in _ASKED_AGAIN:
                self._leave(call, transaction, tag)
            elif call.started_at is not None:
                self._put_off(call, call.lasts)
        elif call.started_at is None and transaction.method in (_REFRESHING if call.is_resumed else (b"INVITE",)):
            if call.is_asked(transaction.by):
                pass  # of others, who may be behind the same address (S65)
            elif status in _ASKED_AGAIN:
                self._put_off(call, LAST_WORDS_SECONDS)
            else:
                self._end(call, f"refused_{status}")
        elif status in _GONE and call.started_at is not None and transaction.method in _REFRESHING:
            if call.others(tag):  # that branch has lost
                call.leave(tag)
            else:
                self._end(call, f"gone_{status}")  # the other party knows nothing of it any more

    def _trickled(self, message: Message) -> bytes | None:
        """Candidates on their own: they go with those of the offers and answers (D35)."""
        kind = (message.first(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != b"application/trickle-ice-sdpfrag" or self._options.ice == "pass" or not self._ours:
            return None
        return (
            relocate.without_ice(message.data[message.body.start : message.body.end]) if self._follows_media else None
        )

    # -- offers and answers ------------------------------------------------------------------------------------------

    def _described(
        self,
        call: Call,
        speaker: Speaker,
        message: Message,
        side: Side,
        *,
        offers: Transaction | None = None,
        answers: Offer | None = None,
    ) -> bytes | None:
        """What a message's session description opens, and the body with the places in it."""
        data = message.data[message.body.start : message.body.end]
        if not data or not self._follows_media:
            return None
        found = self._find_sdp(message, data)
        if found.unfollowed is not None:
            self._tell_kept(message, [_change("body", None, found.unfollowed)])
        ordinary = [part for part in found.sdp if not part.is_early][:1]
        others = [part for part in found.sdp if part not in ordinary]
        # Another part may be the same again, for readers of another kind; media of a description of its own, as that of
        # an early session is (RFC 3959), is not followed.
        if others:
            parts = [found.sdp.index(part) + 1 for part in others]
            self._tell_kept(message, [_change(f"sdp in part {number}", None, "second") for number in parts])
        if not ordinary:
            return self._renamed(data, others, side) if speaker.mapped is not None else None
        part = ordinary[0]
        description = self._read(call, message, data[part.span.start : part.span.end])
        if description is None:
            return None
        if self._comes_back(message, side, description):
            self._tell_kept(message, [_change("sdp", None, "said_by_other")])
            return None
        if self._options.ice == "pass" and _has_ice(description):
            self._tell_kept(message, [_change("sdp", None, "ice_passed")])
            return None
        sdp.prefer(description, speaker.host)
        direct = self._direct(description, side.other)
        kept = self._kept(call, speaker, description)
        left_alone = _left_alone(description)
        media = [medium for medium in description.media if medium.slot not in kept]
        self._tell_learned(call, speaker, media)
        moves = self._opened(call, speaker, message, media, offers, answers)
        if moves is None:
            return None
        if speaker.mapped is None and not direct:
            # A low port has been told of.
            told = [change for change in kept.values() if change["reason"] != "low_port"]
            self._tell_kept(message, [*left_alone, *told])
            new = relocate.with_names(description.body, self._names[side])
            if self._ours and _has_ice(description):
                # Both ends are to believe that the other one knows nothing of ICE (D32, D33).
                new = relocate.without_ice(new)
            return sip_body.rebuild(data, [(part, new)]) if new != description.body else None
        moves |= direct
        self._tell_moved(call, description, moves)
        mapped = speaker.mapped if self._is_author(call, speaker, description) else None
        new = relocate.relocate(description, moves, mapped, "strip", self._names[side])
        self._tell_kept(message, [*left_alone, *kept.values(), *_still_told(new, speaker)])
        news = [(part, new)]
        if speaker.mapped is not None:
            for other in others:
                text = relocate.alike(data[other.span.start : other.span.end], description, moves, self._names[side])
                news.append((other, relocate.with_other_host(text, speaker.host, speaker.mapped)))
        return sip_body.rebuild(data, news)

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
        speaker: Speaker,
        message: Message,
        media: list[sdp.Media],
        offers: Transaction | None,
        answers: Offer | None,
    ) -> dict[int, relocate.Move] | None:
        """Places for these media, by their slots; None if there are none and nothing is to be changed. Raises Refused
        when a request has to go without."""
        if answers is not None:
            return call.make_answer(answers, speaker, media, trigger_of(message))
        assert offers is not None
        made = call.make_offer(speaker, media, trigger_of(message))
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

    def _tell_moved(self, call: Call, description: sdp.Description, moves: Mapping[int, relocate.Move]) -> None:
        for medium in description.media:
            if (move := moves.get(medium.slot)) is not None:
                change = (medium.endpoint, Endpoint(move.host, move.port))
                if change not in call.told and len(call.told) < MAX_TOLD:
                    call.told += (change,)
                    self.moved.append((f"sdp m={medium.kind.decode('latin-1')}", *change))

    def _comes_back(self, message: Message, side: Side, description: sdp.Description) -> bool:
        """Whether a proxy on this side forwards media that somebody on the other side has put at a port of the proxy's
        host: that one has guessed where, and somebody else would be let in there."""
        may_guess = self._known_as[side.other] is not None
        if not may_guess and not len(self._table.echoes.guessed):
            return False  # whom one knows by its own address one need not guess, and nobody else has
        (own, other), echoes = self._hosts[side], self._echoes
        found = [at for medium in description.media for at in (medium.endpoint, medium.rtcp_endpoint) if at is not None]
        if may_guess and (guesses := {at.port for at in found if at.host == other}):
            echoes.hear_media(message.call_id, side, list(guesses))
        if not len(self._table.echoes.guessed):
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
            self._note("address.kept", {"message": trigger_of(message), "changes": changes})

    def _direct(self, description: sdp.Description, to: Side) -> dict[int, relocate.Move]:
        """Media of a party on the very side that is told of it, which has come back from a server: it can do without
        us (D29)."""
        if not self._options.direct_media or not self._peers.is_mapped(to):
            return {}
        ours, announced = self._peers.as_seen(to).host, self._table.calls.announced
        found: dict[int, relocate.Move] = {}
        for medium in description.media:
            at = medium.endpoint
            if not medium.is_movable or at is None or at.host != ours:
                continue
            if (party := announced.get(at)) is not None:
                found[medium.slot] = relocate.Move(
                    party.data.host, party.data.port, party.control.port if party.control else None
                )
        return found

    def _leave(self, call: Call, bye: Transaction, tag: bytes) -> None:
        """A BYE ends one dialog; of a forked call others may go on (S65)."""
        if call.others(tag):
            call.end(bye)
            call.leave(tag)
        else:
            self._end(call, f"bye_of_{bye.by.value}")

    # -- ends --------------------------------------------------------------------------------------------------------

    def closed(self, call: Call, grant: AnyGrant, event: Closed, now: float) -> None:
        """A place of a call is gone."""
        self._now = now
        call.media.closed(grant, event)
        if call.ending is None and not call.media and event.reason == "idle":
            self._end(call, "media_idle")
        else:
            self._tell_end(call)

    def next(self) -> float | None:
        return self._clock.next()

    def tick(self, now: float) -> None:
        self._now = now
        for call in self._clock.due(now):
            if call.ending is not None:
                continue
            if call.ends_at > now:
                self._clock.set(call, call.ends_at)
            elif call.started_at is None and call.is_heard(now, DIALOG_SECONDS):
                call.put_off(now + self._options.media_idle, self._clock)  # whoever waits is told something meanwhile
            elif call.lasts == self._options.call_idle and call.is_heard(now, DIALOG_SECONDS):
                call.put_off(now + call.lasts, self._clock)  # a session does not idle out while its data moves (X14)
            else:
                self._end(call, "timeout" if call.started_at is not None else "not_answered")

    def stop(self, now: float) -> None:
        """The engine ends; its calls with it."""
        self._now = now
        for call in self._clock.all():
            if call.clocks[0] is self._clock:
                self._end(call, "stopped")

    def _end(self, call: Call, reason: str) -> None:
        if call.ending is None:
            call.ending = reason
            self._drop(call)
            # An INVITE that comes again would announce places that are gone. Of one that was refused nobody reads that
            # any more (RFC 3261 s.17.2.1), and the refusal, which comes again too, would end no call begun by it.
            for key in call.invites if call.started_at is not None else ():
                self._table.repeats.drop(key)
            call.close(self._now)
            self._tell_end(call)

    def _drop(self, call: Call) -> None:
        for clock in call.clocks[1:]:
            clock.forget(call)
        table, key = self._table, (call.key, call.caller_tag)
        if call in (calls := table.calls.standing.get(key, [])):
            calls.remove(call)
            table.memory.release(_bytes_kept(key))
            if not calls:
                del table.calls.standing[key]
            table.calls.of_client[call.media.charged_to] -= 1
            if not table.calls.of_client[call.media.charged_to]:
                del table.calls.of_client[call.media.charged_to]

    def _tell_end(self, call: Call) -> None:
        """When the last of its media is closed, and counted."""
        if call.ending is None or call.media or call.is_told:
            return
        call.is_told = True
        call.clocks[0].forget(call)  # whose engine was needed until now, to hear of what is closed
        if call.started_at is not None:
            facts = {"duration_seconds": round(self._now - call.started_at, 3), "streams": call.media.streams()}
            self._note("call.ended", {"call_id": call.key, "reason": call.ending, **facts})


def trigger_of(message: Message) -> str:
    """What the log calls it: INVITE, 200 INVITE."""
    method = message.cseq.method.decode("latin-1")
    return method if message.is_request else f"{message.status} {method}"


def _bytes_kept(key: tuple[bytes, bytes]) -> int:
    """Bytes of a call's Call-ID and caller's tag, which stand in the table and in the call."""
    return 2 * (len(key[0]) + len(key[1])) + NAMES_BYTES


def _change(field: str, value: Endpoint | None, reason: str) -> dict[str, Any]:
    """For the log: a change that is not made, and why."""
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


def _of_rack(message: Message) -> int:
    """The number of the INVITE whose response a PRACK is for (RFC 3262 s.7.2); -1 for none."""
    numbers = (message.first(b"rack") or b"").split()
    return int(numbers[1]) if len(numbers) == 3 and numbers[1].isdigit() and len(numbers[1]) <= 10 else -1


def _who(message: Message) -> dict[str, Any]:
    return {"from": message.identity(b"from"), "to": message.identity(b"to")}


def _session_seconds(message: Message) -> int | None:
    """RFC 4028 s.4: `Session-Expires: 1800;refresher=uac`. None if there is no timer."""
    value = (message.first(b"session-expires") or b"").partition(b";")[0].strip()
    return min(int(value), 86400) if value.isdigit() and len(value) < 10 else None


def _has_ice(description: sdp.Description) -> bool:
    return description.has_ice or any(medium.has_ice for medium in description.media)
