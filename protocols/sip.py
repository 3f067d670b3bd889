"""SIP: signalling between phones, proxies and registrars, rewritten where NAT is in force, and what it opens.

RFC 3261 (SIP), RFC 3264 (offer and answer), RFC 3581 (rport); RFC 7362 (what a middlebox does to media). Ids in
comments (S31, D22) are those of the project's list of protocol facts.

    a datagram, or one message cut from a stream
      -> read (sip_message.py)            what cannot be read is answered 400, dropped or passed, as the policy says
      -> head rewritten (sip_rewrite.py)  each party finds the other where it knows it, and gets its own back
      -> call or registration             offers and answers open places for media (sip_dialogs.py, sip_calls.py);
                                          a 2xx to REGISTER lets the phone be called (sip_register.py)
      -> body rewritten (sdp.py), Content-Length made right, sent on

House rules:
- The same datagram again is answered with the same bytes and opens nothing (S62).
- Without NAT every byte goes through as it came; what is opened and closed is the same.
- What cannot have what it needs is refused as a whole (503, 500 in a call), never passed half rewritten (D49).

Not supported: relaying ICE candidates of our own; S/MIME bodies and those in other encodings pass unread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from protocols.engine import (
    Abort,
    AnyGrant,
    Closed,
    Effect,
    Finish,
    Grant,
    Helper,
    Host,
    Malformed,
    Note,
    Peers,
    PinholeEvent,
    Pinholes,
    Send,
    Side,
    Splice,
    Transport,
    only,
    violation,
)
from protocols.sip_contacts import LAST_WORDS_SECONDS, Claimed, Contacts
from protocols.sip_dialogs import Dialogs, trigger_of
from protocols.sip_message import (
    MAX_ID_BYTES,
    MAX_METHOD_BYTES,
    BadMessage,
    Message,
    NotSip,
    Refused,
    StreamFramer,
    is_keep_alive,
    is_sip,
    read_message,
    refuse,
)
from protocols.sip_observe import Observed
from protocols.sip_options import SipOptions
from protocols.sip_register import Name, Registrations
from protocols.sip_rewrite import Rewriter
from protocols.sip_table import Recent, SipTable
from protocols.spans import Span, replace

CLIENT = Side.CLIENT

MAX_SUBSCRIBED_SECONDS = 7 * 86400
MAX_SUBSCRIBING = 64
"""Of a flow, that wait for their answers."""
MAX_INVITES = 8
"""Of a call that are not to be repeated when it is over."""
MAX_LOGGED = 64
"""Rewritten addresses of a flow that stand in the log: the same few change in every message."""
_TLS_HANDSHAKE = 0x16


class SipEngine:
    __slots__ = (
        "_blocked",
        "_contacts",
        "_dialogs",
        "_ended",
        "_framers",
        "_has_begun",
        "_logged",
        "_notes",
        "_now",
        "_number",
        "_observed",
        "_options",
        "_over",
        "_peers",
        "_registrations",
        "_rewriter",
        "_subscribed_until",
        "_subscribing",
        "_table",
    )

    def __init__(self, peers: Peers, options: SipOptions, pinholes: Pinholes, now: float, table: SipTable) -> None:
        self._peers = peers
        self._options = options
        self._table = table
        self._number = next(table.numbers)
        self._now = now
        self._over = False
        self._notes: list[Effect] = []
        self._blocked = frozenset(method.upper().encode() for method in options.block_methods)
        self._observed = Observed(self._note, table.numbers, table.unheard) if options.mode == "observe" else None
        holes: Pinholes = pinholes if self._observed is None else self._observed
        self._contacts = Contacts(peers, holes, table)
        self._rewriter = Rewriter(peers, table, self._contacts, options)
        self._registrations = Registrations(peers, options, self._rewriter, self._contacts, table, self._note)
        self._dialogs = Dialogs(peers, options, holes, self._rewriter, self._contacts, table, self._note)
        is_stream = peers.transport is Transport.TCP
        self._framers = {side: StreamFramer() for side in Side} if is_stream else {}
        self._ended: set[Side] = set()
        self._subscribing: Recent[tuple[bytes, int], bool] = Recent(MAX_SUBSCRIBING)
        """What has no final response yet."""
        self._subscribed_until = 0.0
        self._has_begun = False
        """A byte of the stream has come."""
        self._logged: set[tuple[str, bytes, bytes]] = set()

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if self._over:
            return ()
        self._now = now
        if self._framers:
            return self._stream(side, data)
        if is_keep_alive(data):
            return (Send(side.other, data),)
        key = self._number, side, hash(data), len(data)
        again = self._table.repeats.get(key, now)
        if self._options.rates and (sends := self._too_often(side, data, again is not None)) is not None:
            if sends:
                self._table.repeats.put(key, sends, now)
            return (*self._take_notes(), *sends)
        if again is not None:
            return again
        self._dialogs.invited = None
        sends = self._message(side, data)
        self._table.repeats.put(key, sends, now)
        if (call := self._dialogs.invited) is not None and len(call.invites) < MAX_INVITES:
            call.invites.append(key)
        return (*self._take_notes(), *sends)

    def _stream(self, side: Side, data: bytes) -> Sequence[Effect]:
        if not self._has_begun:
            self._has_begun = True
            if data[0] == _TLS_HANDSHAKE and side is CLIENT:
                self._over = True
                return self._tls(data)
        framer = self._framers[side]
        framer.push(data)
        effects: list[Effect] = []
        try:
            while (piece := framer.pop()) is not None:
                sends = self._piece(side, piece)
                effects += (*self._take_notes(), *sends)
        except NotSip:
            self._violation("sip.not_sip", "the stream does not begin as SIP", "closed")
            effects += self._break_off("not_sip")
        except BadMessage as bad:
            # Where the next one begins is not known.
            sends = self._malformed(side, None, bad)
            effects += (
                *self._take_notes(),
                *(sends if self._observed is None else ()),
                *self._break_off("bad_framing"),
            )
        if side.other in self._ended:  # this side has been told that nothing more comes: no answers of ours either
            return [effect for effect in effects if not (isinstance(effect, Send) and effect.to is side)]
        return effects

    def _piece(self, side: Side, data: bytes) -> Sequence[Send]:
        if not data.strip():
            return (Send(side.other, data),)
        if self._options.rates and (sends := self._too_often(side, data, False)) is not None:
            return sends
        return self._message(side, data)

    def _break_off(self, reason: str) -> Sequence[Effect]:
        """The stream cannot be read; an observer lets it go on, what it holds back first."""
        self._over = True
        if self._observed is None:
            return (*self._take_notes(), Abort(reason))
        held = [Send(side.other, bytes(framer)) for side, framer in self._framers.items() if len(framer)]
        return (*self._take_notes(), *held, Splice(self._options.call_idle))

    def _tls(self, data: bytes) -> Sequence[Effect]:
        if self._options.tls == "deny":
            self._violation("sip.tls_denied", "the connection begins with TLS", "closed")
            if self._observed is None:
                return (*self._take_notes(), Abort("tls_denied"))
        self._note("sip.tls", {"action": "connection relayed unread"})
        return (*self._take_notes(), Send(Side.SERVER, data), Splice(self._options.call_idle))

    def _message(self, side: Side, data: bytes) -> Sequence[Send]:
        """What is sent for it; what is to be told of it has been noted."""
        try:
            sends = self._pass(side, read_message(data))
        except BadMessage as bad:
            sends = self._malformed(side, data, bad)
        except Malformed as bad:
            sends = self._malformed(side, data, BadMessage(str(bad), 0, 0))
        if self._observed is not None:
            sends = (Send(side.other, data),)
            self._hear_of_closed()
        return sends

    def _too_often(self, side: Side, data: bytes, is_repeat: bool) -> Sequence[Send] | None:
        """One request more than the source may send: the first ones are answered, a flood is not even read. Repeats are
        counted apart, and dropped, for each has had its answer or will have it."""
        # Line ends before it mean nothing (S4).
        method = data.lstrip(b"\r\n")[: MAX_METHOD_BYTES + 1].partition(b" ")[0].decode("latin-1")
        rates = self._options.rates
        if method.upper().startswith("SIP/"):
            return None
        if method not in rates:
            # Together, for there are as many names as one likes. Without these a call does not come to its end.
            method = "OTHER" if method not in ("ACK", "BYE", "CANCEL") else method
        limit = rates.get(method)
        if limit is None:
            return None
        source = self._peers.own(side).host
        if is_repeat:
            # Within a second a request comes twice again (timers A and E).
            method, limit = f"repeated {method}", 2 * limit
        count = self._table.rates.count(source, method, limit, self._now)
        if count <= limit:
            return None
        sends: Sequence[Send] = ()
        if count <= 2 * limit and not is_repeat:
            try:
                sends = _answer(side, read_message(data), 503, b"Too Many Requests")
            except Malformed:
                sends = ()
        if count == limit + 1 or (count == 2 * limit + 1 and not is_repeat):
            action = "answered 503" if sends else "dropped"
            self._violation("sip.rate", f"more than {limit} {method} a second from {source}", action)
        return sends if self._observed is None else None

    def _pass(self, side: Side, message: Message) -> Sequence[Send]:
        if message.is_request and message.method in self._blocked:
            self._violation("sip.method_blocked", message.method.decode(), "answered 403")
            return _answer(side, message, 403, b"Forbidden")
        changes = self._rewriter.rewrite(message, side, self._now)
        message.call_id = self._rewriter.call_id(message, side)
        try:
            body = self._follow(side, message)
        except Refused as refused:
            return _answer(side, message, refused.status, refused.reason)
        edits = [change for _, change in changes]
        if body is not None:
            edits += self._length(message, len(body))
            edits.append((message.body, body))
            edits.sort(key=lambda change: change[0])
        if changes or self._dialogs.moved:
            self._log_changes(message, changes)
        tail = len(message.data) - message.body.end  # what is behind Content-Length is no part of it (S1)
        new = replace(message.data, edits) if edits else message.data
        return (Send(side.other, new[: len(new) - tail] if tail and edits else new),)

    def _follow(self, side: Side, message: Message) -> bytes | None:
        """What the message means to calls and registrations; its body, if that is another now."""
        method = message.cseq.method
        if method == b"SUBSCRIBE":
            self._subscribed(message, side)
        if method != b"REGISTER":
            return self._dialogs.follow(side, message, self._now)
        if message.is_request:
            self._registrations.asked(message, side)
        elif message.status >= 200:
            self._registrations.answered(message, side, self._now)
        return None

    def _subscribed(self, message: Message, side: Side) -> None:
        """The notifier has something to say for so long (RFC 6665 s.4.4.1; S72). By a connection it says it there."""
        if self._framers:
            return
        asked = message.call_id, message.cseq.number
        if message.is_request:
            if side is CLIENT:
                self._subscribing.put(asked, True)
            return
        if side is CLIENT or message.status < 200 or not self._subscribing.get(asked):
            return
        self._subscribing.drop(asked)
        seconds = (message.first(b"expires") or b"").strip()
        if message.status >= 300 or not seconds.isdigit() or len(seconds) > 9:
            return
        until = self._now + min(int(seconds), MAX_SUBSCRIBED_SECONDS) + LAST_WORDS_SECONDS
        if int(seconds) and until > self._subscribed_until:
            self._subscribed_until = until
            own, allow = self._peers.own(CLIENT), only(self._peers.own(side).host)
            key, left = (b"SUBSCRIBE", self._number), until - self._now
            self._contacts.claim(CLIENT, own, Transport.UDP, key, allow, left, "200 SUBSCRIBE", self._now)

    @staticmethod
    def _length(message: Message, length: int) -> Iterator[tuple[Span, bytes]]:
        """Each Content-Length that there is says what is there now (S8)."""
        if length != message.body.end - message.body.start:
            for span in message.spans(b"content-length"):
                yield span, b"%d" % length

    def _malformed(self, side: Side, data: bytes | None, bad: BadMessage) -> Sequence[Send]:
        policy = self._options.malformed
        sends: Sequence[Send] = ()
        action = "dropped"
        if policy == "pass" and data is not None:
            sends, action = (Send(side.other, data),), "passed"
        elif policy == "respond" and (answer := refuse(bad, bad.status, b"Bad Request")) is not None:
            sends, action = (Send(side, answer),), f"answered {bad.status}"
        self._violation("sip.malformed", f"{bad.reason} in line {bad.line}, column {bad.column}", action)
        return sends

    # -- what else happens -------------------------------------------------------------------------------------------

    def resolved(self, name: str, hosts: tuple[Host, ...], now: float) -> Sequence[Effect]:
        return ()  # it asks for none

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        self._now = now
        if isinstance(event, Closed):
            self._closed(grant, event)
            self._let_go()
        return self._take_notes()

    def _closed(self, grant: AnyGrant, event: Closed) -> None:
        if (call := self._table.media.get(grant.id)) is not None:
            self._dialogs.closed(call, grant, event, self._now)
        elif isinstance(grant, Grant):
            self._lapsed(self._contacts.closed(grant))

    def _lapsed(self, claims: Sequence[Claimed]) -> None:
        """Registrations among claims to contacts that are over."""
        for _, key in claims:
            match key:
                case (Registrations() as registrations, Name() as name):
                    registrations.lapsed(name)

    def _hear_of_closed(self) -> None:
        while self._table.unheard:
            self._closed(*self._table.unheard.pop())

    def deadline(self) -> float | None:
        first, second = self._dialogs.next(), self._contacts.next()
        if first is None or second is None:
            return second if first is None else first
        return min(first, second)

    def tick(self, now: float) -> Sequence[Effect]:
        self._now = now
        self._dialogs.tick(now)
        self._lapsed(self._contacts.due(now, bool(self._dialogs)))
        self._hear_of_closed()
        self._let_go()
        return self._take_notes()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """Calls do not end with the connection that they began on (S75)."""
        self._now = now
        if side in self._ended:
            return ()
        self._ended.add(side)
        self._let_go()
        return (Finish(side.other),)

    def _let_go(self) -> None:
        """What the two sides have named, when both are gone and no call of theirs needs it."""
        if len(self._ended) == len(Side) and not self._dialogs:
            self._contacts.over(self._now)

    def is_needed(self) -> bool:
        return bool(self._dialogs) or self._contacts.are_claimed

    def stop(self, now: float) -> Sequence[Effect]:
        self._now = now
        self._dialogs.stop(now)
        self._registrations.stop()
        self._lapsed(self._contacts.stop(now))
        self._hear_of_closed()
        return self._take_notes()

    # -- lines of log ------------------------------------------------------------------------------------------------

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        if event == "violation":
            self._violation(facts["rule"], facts["detail"], facts["action"])
        else:
            self._notes.append(Note(event, facts))

    def _violation(self, rule: str, detail: str, action: str) -> None:
        if self._observed is not None and action != "passed":
            action = f"passed; else {action}"
        self._notes.append(violation(rule, detail, action))

    def _take_notes(self) -> list[Effect]:
        notes, self._notes = self._notes, []
        return notes

    def _log_changes(self, message: Message, changes: Sequence[tuple[str, tuple[Span, bytes]]]) -> None:
        """What is new among them."""
        data = message.data
        fresh: list[dict[str, Any]] = []
        for field, (span, new) in changes:
            key = (field, data[span.start : span.end][:MAX_ID_BYTES], new)
            if key[1] != new and key not in self._logged and len(self._logged) < MAX_LOGGED:
                self._logged.add(key)
                fresh.append({"field": field, "before": key[1], "after": new})
        fresh += ({"field": field, "before": before, "after": after} for field, before, after in self._dialogs.moved)
        if fresh:
            event = "address.rewritten" if self._observed is None else "address.observed"
            self._note(event, {"message": trigger_of(message), "changes": fresh})


def _answer(side: Side, message: Message, status: int, reason: bytes) -> Sequence[Send]:
    answer = refuse(message, status, reason)
    return () if answer is None else (Send(side, answer),)


class SipEngines:
    """Those of one daemon share a table; observers have one of their own, for what stands in theirs stands nowhere
    else, and another engine would announce it (a reload may make the one of the other)."""

    def __init__(self) -> None:
        active = SipTable()
        self._tables = {"active": active, "observe": SipTable(numbers=active.numbers)}

    def __call__(self, peers: Peers, options: SipOptions, pinholes: Pinholes, now: float) -> SipEngine:
        return SipEngine(peers, options, pinholes, now, self._tables[options.mode])

    def counts(self) -> Mapping[str, int]:
        """What is under way, for the daemon's status."""
        tables = self._tables.values()
        return {
            "calls": sum(len(calls) for table in tables for calls in table.calls.values()),
            "media": sum(len(table.media) for table in tables),
            "contacts": sum(len(table.contacts) for table in tables),
        }


def begins(data: bytes, options: SipOptions) -> bool:
    """Whether a flow may begin with this datagram: what is no SIP costs nobody a socket."""
    return is_sip(data) or options.malformed == "pass" or options.mode == "observe"


HELPER = Helper(
    name="sip",
    summary="SIP: calls, registrations and their media over UDP and TCP",
    ports=((Transport.UDP, 5060), (Transport.TCP, 5060)),
    options=SipOptions,
    start=SipEngines,
    begins=begins,
    answers=lambda data: data.startswith(b"SIP/2.0 "),
)
