"""SIP: signalling between phones, proxies and registrars, rewritten where NAT is in force, and what it opens.

RFC 3261 (SIP), RFC 3264 (offer and answer), RFC 3581 (rport); RFC 7362 (what a middlebox does to media). Ids in
comments (S31, D22) are those of the project's list of protocol facts.

    a datagram, or one message cut from a stream
      -> read (sip_message.py)            what cannot be read is answered 400, dropped or passed, as the policy says
      -> head rewritten (sip_rewrite.py)  each party finds the other where it knows it, and gets its own back
      -> call or registration             offers and answers open places for media (sip_calls.py);
                                          a 2xx to REGISTER lets the phone be called (sip_register.py)
      -> body rewritten (sdp.py), Content-Length made right, sent on

House rules:
- The same datagram again is answered with the same bytes and opens nothing (S62).
- Without NAT every byte goes through as it came; what is opened and closed is the same.
- What cannot have what it needs is refused as a whole (503, 500 in a call), never passed half rewritten (D49).

Not supported: relaying ICE candidates of our own; S/MIME bodies and those in other encodings pass unread.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from protocols import sdp, sip_body
from protocols.engine import (
    Abort,
    AnyGrant,
    Closed,
    Effect,
    Endpoint,
    Expect,
    Finish,
    Grant,
    Helper,
    Malformed,
    Network,
    Note,
    Peers,
    PinholeEvent,
    Pinholes,
    Refusal,
    Send,
    Side,
    Transport,
    only,
)
from protocols.sip_calls import Call, Offer, Role, Speaker, Terms, Transaction
from protocols.sip_message import BadMessage, Message, NotSip, StreamFramer, is_keep_alive, read_message, refuse
from protocols.sip_register import Registrations
from protocols.sip_rewrite import Rewriter
from protocols.sip_table import MAX_CALLS, Recent, SipTable
from protocols.spans import Span, replace

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_REPEATED = 64
"""Datagrams of a flow that are known again: more than are on their way between two hosts within 32 s of calls; a proxy
that sends more repeats none of them so late."""
LAST_WORDS_SECONDS = 32.0
"""Timers B, F and H: after that no answer comes any more."""
PORT_SECONDS = 3600.0
"""How long an address for another port of a phone stands; each message that names it puts that off."""

_CALL_METHODS = frozenset((b"INVITE", b"UPDATE", b"PRACK", b"ACK", b"BYE", b"CANCEL"))
_OFFERING = frozenset((b"INVITE", b"UPDATE", b"PRACK"))


@dataclass(frozen=True)
class SipOptions:
    """What a policy may set under `options: sip:`."""

    ice: Literal["strip", "pass"] = "strip"
    """`strip`: with NAT, candidates are taken out of offers and answers, so that media goes by the relays. `pass`: they
    stay, and such media is neither relayed nor rewritten."""

    malformed: Literal["respond", "discard", "pass"] = "respond"
    """A message that cannot be read: a request is answered 400 and a response dropped, both are dropped, or both go on
    untouched."""

    block_methods: tuple[str, ...] = ()
    """Requests that are answered 403 and never passed on, such as MESSAGE or SUBSCRIBE."""

    strict_register: bool = True
    """A registered phone can be called by its registrar, by the hosts of Service-Route and Path, and by
    `trusted_peers`; `false`: by anybody."""

    trusted_peers: tuple[Network, ...] = ()
    """Hosts that may call registered phones besides their registrar."""

    media_hosts: tuple[Network, ...] = ()
    """Hosts behind us, other than the one that signals, whose addresses a session description may name: media gateways
    of a PBX."""

    topology_hiding: bool = False
    """With NAT, addresses in From and To are mapped too. They are identities, and some ends compare them."""

    ring_seconds: float = 300.0
    """From INVITE or the last provisional response to the answer."""

    media_idle: float = 120.0
    """Seconds without a packet of either party after which media is closed; never while on hold."""

    call_idle: float = 14400.0
    """Seconds without any signalling after which an established call is taken for over."""

    def __post_init__(self) -> None:
        for name in ("ring_seconds", "media_idle", "call_idle"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: more than 0 seconds")
        for method in self.block_methods:
            if not method.isalpha():
                raise ValueError(f"block_methods: {method!r} is not the name of a method")


class _Refused(Exception):
    """The message cannot go on: with what its sender is answered."""

    def __init__(self, status: int, reason: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason


class SipEngine:
    __slots__ = (
        "_blocked",
        "_clock",
        "_framers",
        "_logged",
        "_notes",
        "_now",
        "_numbers",
        "_options",
        "_over",
        "_peers",
        "_pinholes",
        "_ports",
        "_recent",
        "_registrations",
        "_rewriter",
        "_table",
        "_terms",
    )

    def __init__(self, peers: Peers, options: SipOptions, pinholes: Pinholes, now: float, table: SipTable) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._table = table
        self._now = now
        self._over = False
        self._notes: list[Effect] = []
        self._blocked = frozenset(method.upper().encode() for method in options.block_methods)
        self._rewriter = Rewriter(peers, table, self._place, options.topology_hiding)
        self._registrations = Registrations(
            peers, pinholes, self._rewriter, options.trusted_peers, options.strict_register, self._note
        )
        self._terms = Terms(options.ring_seconds + 60, options.media_idle, options.media_hosts)
        self._recent: Recent[tuple[Side, bytes], tuple[Effect, ...]] = Recent(MAX_REPEATED)
        is_stream = peers.transport is Transport.TCP
        self._framers = {side: StreamFramer() for side in Side} if is_stream else {}
        self._ports: dict[int, tuple[Endpoint, Endpoint]] = {}
        """Addresses for other ports of a phone: own and outside, by the id of the grant."""
        self._logged: set[tuple[str, bytes, bytes]] = set()
        self._clock: list[tuple[float, int, Call]] = []
        self._numbers = count()

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if self._over:
            return ()
        self._now = now
        if self._framers:
            return self._stream(side, data)
        if is_keep_alive(data):
            return (Send(side.other, data),)
        if (again := self._recent.get((side, data))) is not None:
            return again
        effects = tuple(self._message(side, data))
        self._recent.put((side, data), tuple(effect for effect in effects if isinstance(effect, Send)))
        return effects

    def _stream(self, side: Side, data: bytes) -> Sequence[Effect]:
        framer = self._framers[side]
        framer.push(data)
        effects: list[Effect] = []
        try:
            while (piece := framer.pop()) is not None:
                effects += self._message(side, piece) if piece.strip() else (Send(side.other, piece),)
        except NotSip:
            self._violation("sip.not_sip", "the stream does not begin as SIP", "closed")
            effects += (*self._take_notes(), Abort("not_sip"))
        except BadMessage as bad:
            # Where the next one begins is not known.
            sends = self._malformed(side, None, bad)
            effects += (*self._take_notes(), *sends, Abort("bad_framing"))
        self._over = any(isinstance(effect, Abort) for effect in effects)
        return effects

    def _message(self, side: Side, data: bytes) -> Iterator[Effect]:
        """Its effects: lines of log first, then what is sent."""
        try:
            message = read_message(data)
            sends = self._pass(side, message)
        except BadMessage as bad:
            sends = self._malformed(side, data, bad)
        except Malformed as bad:
            sends = self._malformed(side, data, BadMessage(str(bad), 0, 0))
        yield from self._take_notes()
        yield from sends

    def _pass(self, side: Side, message: Message) -> Sequence[Effect]:
        if message.is_request and message.method in self._blocked:
            self._violation("sip.method_blocked", message.method.decode(), "answered 403")
            return _answer(side, message, 403, b"Forbidden")
        changes = self._rewriter.rewrite(message, side)
        try:
            body = self._follow(side, message)
        except _Refused as refused:
            return _answer(side, message, refused.status, refused.reason)
        edits = [change for _, change in changes]
        if body is not None:
            edits += self._length(message, len(body))
            edits.append((message.body, body))
            edits.sort(key=lambda change: change[0])
        self._log_changes(message, changes)
        tail = len(message.data) - message.body.end  # what is behind Content-Length is no part of it (S1)
        new = replace(message.data, edits) if edits else message.data
        return (Send(side.other, new[: len(new) - tail] if tail and edits else new),)

    @staticmethod
    def _length(message: Message, length: int) -> Iterator[tuple[Span, bytes]]:
        """Each Content-Length that there is says what is there now (S8)."""
        if length != message.body.end - message.body.start:
            for span in message.spans(b"content-length"):
                yield span, b"%d" % length

    def _malformed(self, side: Side, data: bytes | None, bad: BadMessage) -> Sequence[Effect]:
        policy = self._options.malformed
        action = {"respond": f"answered {bad.status}" if bad.is_request else "dropped", "discard": "dropped"}
        detail = f"{bad.reason} in line {bad.line}, column {bad.column}"
        self._violation("sip.malformed", detail, action.get(policy, "passed"))
        if policy == "pass" and data is not None:
            return (Send(side.other, data),)
        if policy == "respond" and (answer := refuse(bad, bad.status, b"Bad Request")) is not None:
            return (Send(side, answer),)
        return ()

    # -- calls and registrations -------------------------------------------------------------------------------------

    def _follow(self, side: Side, message: Message) -> bytes | None:
        """What the message means to calls and registrations; its body, if that is another now."""
        method = message.cseq.method
        from_tag, to_tag = message.from_tag or b"", message.to_tag or b""
        if method == b"REGISTER":
            if message.is_request:
                self._registrations.asked(message, side)
            elif message.status >= 200:
                self._registrations.answered(message)
            return None
        if method not in _CALL_METHODS:
            return None
        call = self._call(message, from_tag, to_tag)
        if call is None:
            return None
        asker = Role.CALLER if call.caller_tag == from_tag else Role.CALLEE
        speaker = Speaker(
            asker if message.is_request else asker.other,
            to_tag if asker is Role.CALLER else from_tag,
            self._peers.own(side).host,
            self._peers.as_seen(side).host if self._peers.is_mapped(side) else None,
        )
        if message.is_request:
            return self._requested(call, speaker, message)
        return self._responded(call, speaker, message)

    def _call(self, message: Message, from_tag: bytes, to_tag: bytes) -> Call | None:
        calls = self._table.calls
        call = calls.get((message.call_id, from_tag)) or calls.get((message.call_id, to_tag))
        if call is not None or not message.is_request or message.method != b"INVITE" or to_tag:
            return call
        if len(calls) >= MAX_CALLS:
            self._violation("sip.too_many_calls", str(MAX_CALLS), "answered 503")
            raise _Refused(503, b"Service Unavailable")
        ends_at = self._now + self._options.ring_seconds
        call = Call(message.call_id, from_tag, self._pinholes, self._terms, self._table.media, ends_at)
        calls[message.call_id, from_tag] = call
        heapq.heappush(self._clock, (ends_at, next(self._numbers), call))
        return call

    def _requested(self, call: Call, speaker: Speaker, message: Message) -> bytes | None:
        method, number = message.method, message.cseq.number
        if method == b"BYE":
            call.ends_at = self._now + LAST_WORDS_SECONDS
        if method in (b"CANCEL", b"BYE"):
            call.begin(number, method, speaker.role)
            return None
        offer = call.offer if call.offer is not None and call.offer.by is not speaker.role else None
        if method == b"ACK":
            return self._described(call, speaker, message, answers=offer) if offer is not None else None
        transaction = call.begin(number, method, speaker.role)
        if method == b"PRACK" and offer is not None:
            return self._described(call, speaker, message, answers=offer)
        return self._described(call, speaker, message, offers=transaction)

    def _responded(self, call: Call, speaker: Speaker, message: Message) -> bytes | None:
        method, status = message.cseq.method, message.status
        transaction = call.transactions.get((message.cseq.number, method, speaker.role.other))
        if transaction is None or status == 100:
            return None
        if status >= 300:
            self._failed(call, transaction, status)
            return None
        if method == b"BYE" and status >= 200:
            self._end(call, f"bye_of_{transaction.by.value}")
            return None
        if method not in _OFFERING:
            return None
        if transaction.offer is not None:
            body = self._described(call, speaker, message, answers=transaction.offer)
        else:
            body = self._described(call, speaker, message, offers=transaction)
        if method == b"INVITE" and status < 200:
            if call.started_at is None:
                call.ends_at = self._now + self._options.ring_seconds
        elif method == b"INVITE":
            call.ends_at = self._now + self._options.call_idle
            if call.start(speaker.tag, self._now):
                self._note("call.started", {"call_id": call.key, **self._who(message)})
        return body

    def _failed(self, call: Call, transaction: Transaction, status: int) -> None:
        """A final response that is none of success: what it would have changed stays as it was (S67)."""
        if transaction.offer is not None:
            call.take_back(transaction.offer)
        is_asked_again = status in (401, 407, 422, 491, 494)
        if transaction.method == b"BYE":
            if not is_asked_again:
                self._end(call, f"bye_of_{transaction.by.value}")
        elif transaction.method == b"INVITE" and call.started_at is None:
            if is_asked_again:
                call.ends_at = self._now + LAST_WORDS_SECONDS
            else:
                self._end(call, f"refused_{status}")
        elif status in (408, 481):  # the other party knows nothing of it any more
            self._end(call, f"gone_{status}")
        call.end(transaction)

    @staticmethod
    def _who(message: Message) -> dict[str, Any]:
        who = {}
        for name, field in (("from", b"from"), ("to", b"to")):
            span, address = message.addresses(field)[0]
            who[name] = message.data[span.start : span.end][address.uri.start : address.uri.end]
        return who

    # -- offers and answers ------------------------------------------------------------------------------------------

    def _described(
        self,
        call: Call,
        speaker: Speaker,
        message: Message,
        *,
        offers: Transaction | None = None,
        answers: Offer | None = None,
    ) -> bytes | None:
        """What a message's session description opens, and the body with the places in it."""
        data = message.data[message.body.start : message.body.end]
        if not data:
            return None
        found = sip_body.find_sdp(
            message.first(b"content-type"),
            message.first(b"content-encoding"),
            message.first(b"content-disposition"),
            data,
        )
        if found.unfollowed is not None:
            self._note("address.kept", _kept(message, "body", found.unfollowed))
        ordinary = [part for part in found.sdp if not part.is_early][:1]
        if not ordinary:
            return None
        part = ordinary[0]
        try:
            description = sdp.read_sdp(data[part.span.start : part.span.end])
        except Malformed as error:
            self._violation("sip.bad_sdp", str(error), "media is not followed")
            return None
        if self._options.ice == "pass" and _has_ice(description):
            return None
        trigger = _trigger(message)
        moves: dict[int, sdp.Move] | Refusal
        if answers is not None:
            moves = call.make_answer(answers, speaker, description, trigger)
        else:
            assert offers is not None
            made = call.make_offer(speaker, description, trigger)
            if isinstance(made, Refusal):
                moves = made
            else:
                offers.offer, moves = made
        if isinstance(moves, Refusal):
            if message.is_request:
                raise _Refused(500 if call.started_at is not None else 503, b"No Media Available")
            return None
        if speaker.mapped is None:
            return None
        origin = speaker.mapped if description.origin is not None and description.origin.host == speaker.host else None
        new = sdp.relocate(description, moves, origin, "strip" if moves else "pass")
        left = sdp.residual(new, [speaker.host])
        for rest in left[:4]:
            facts = _kept(message, f"sdp line {rest.line} {rest.field.decode('latin-1')}", "not_followed")
            self._note("address.kept", facts)
        return sip_body.rebuild(data, [(part, new)])

    # -- the addresses of a phone ------------------------------------------------------------------------------------

    def _place(self, side: Side, own: Endpoint) -> Endpoint | None:
        """An address of ours for a port that the phone waits on but does not send from (S32, S58)."""
        if own.port < 1024:
            return None
        seen = self._peers.as_seen(side)
        expect = Expect(
            self._peers.transport,
            "sip",
            "Contact",
            listen=Endpoint(seen.host, 0),
            allow=only(self._peers.own(side.other).host),
            target=own,
            source=None,
            idle_seconds=PORT_SECONDS,
            open_seconds=PORT_SECONDS,
            uses=None,
            is_read=True,
        )
        grant = self._pinholes.open(expect)
        if isinstance(grant, Refusal):
            return None
        self._ports[grant.id] = (own, grant.listen)
        self._table.outside[own, seen.host] = grant.listen
        self._table.inside[grant.listen] = own
        return grant.listen

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        self._now = now
        if isinstance(event, Closed):
            if (call := self._table.media.get(grant.id)) is not None:
                call.closed(grant, event)
                if call.ending is None and not call.has_media and event.reason == "idle":
                    self._end(call, "media_idle")
                else:
                    self._tell_end(call)
            elif isinstance(grant, Grant):
                self._registrations.closed(grant)
                if (names := self._ports.pop(grant.id, None)) is not None:
                    self._table.outside.pop((names[0], names[1].host), None)
                    self._table.inside.pop(names[1], None)
        return self._take_notes()

    # -- clocks and ends ---------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        # Nothing is waited for by a call that is over.
        while self._clock and self._clock[0][2].ending is not None:
            heapq.heappop(self._clock)
        if self._clock:
            return self._clock[0][0]
        return float("inf") if self._registrations or self._ports else None

    def tick(self, now: float) -> Sequence[Effect]:
        self._now = now
        while self._clock and self._clock[0][0] <= now:
            _, _, call = heapq.heappop(self._clock)
            if call.ending is not None:
                continue
            if call.ends_at > now:
                heapq.heappush(self._clock, (call.ends_at, next(self._numbers), call))
            else:
                self._end(call, "timeout" if call.started_at is not None else "not_answered")
        return self._take_notes()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """Calls do not end with the connection that they began on (S75)."""
        self._now = now
        return (Finish(side.other),)

    def _end(self, call: Call, reason: str) -> None:
        if call.ending is None:
            call.ending = reason
            self._table.calls.pop((call.key, call.caller_tag), None)
            call.close()
            self._tell_end(call)

    def _tell_end(self, call: Call) -> None:
        """When the last of its media is closed, and counted."""
        if call.ending is None or call.has_media or call.is_told:
            return
        call.is_told = True
        if call.started_at is not None:
            facts = {"duration_seconds": round(self._now - call.started_at, 3), "streams": call.streams()}
            self._note("call.ended", {"call_id": call.key, "reason": call.ending, **facts})

    # -- lines of log ------------------------------------------------------------------------------------------------

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        self._notes.append(Note(event, facts))

    def _violation(self, rule: str, detail: str, action: str) -> None:
        self._note("violation", {"rule": rule, "detail": detail, "action": action})

    def _take_notes(self) -> list[Effect]:
        notes, self._notes = self._notes, []
        return notes

    def _log_changes(self, message: Message, changes: Sequence[tuple[str, tuple[Span, bytes]]]) -> None:
        """What is new among them: the same few addresses change in every message."""
        data, fresh = message.data, []
        for field, (span, new) in changes:
            key = (field, data[span.start : span.end], new)
            if key[1] != new and key not in self._logged and len(self._logged) < MAX_REPEATED:
                self._logged.add(key)
                fresh.append({"field": field, "before": key[1], "after": new})
        if fresh:
            self._note("address.rewritten", {"message": _trigger(message), "changes": fresh})


def _answer(side: Side, message: Message, status: int, reason: bytes) -> Sequence[Effect]:
    answer = refuse(message, status, reason)
    return () if answer is None else (Send(side, answer),)


def _kept(message: Message, field: str, reason: str) -> dict[str, Any]:
    return {"message": _trigger(message), "changes": [{"field": field, "value": None, "reason": reason}]}


def _trigger(message: Message) -> str:
    method = message.cseq.method.decode("latin-1")
    return method if message.is_request else f"{message.status} {method}"


def _has_ice(description: sdp.Description) -> bool:
    return description.has_ice or any(medium.has_ice for medium in description.media)


def start() -> Callable[[Peers, Any, Pinholes, float], SipEngine]:
    """The engines of one daemon: they share a table."""
    table = SipTable()

    def engine(peers: Peers, options: SipOptions, pinholes: Pinholes, now: float) -> SipEngine:
        return SipEngine(peers, options, pinholes, now, table)

    return engine


HELPER = Helper(
    name="sip",
    summary="SIP: calls, registrations and their media over UDP and TCP",
    ports=((Transport.UDP, 5060), (Transport.TCP, 5060)),
    options=SipOptions,
    start=start,
)
