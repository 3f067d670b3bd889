"""SIP: signalling between phones, proxies and registrars, rewritten where NAT is in force, and what it opens.

RFC 3261 (SIP), RFC 3264 (offer and answer), RFC 3581 (rport); RFC 7362 (what a middlebox does to media). Ids in
comments (S31, D22) are those of `protocols/FACTS.md`.

    a datagram, or one message cut from a stream
      -> read (reading.py)                what cannot be read is answered 400, dropped or passed, as the policy says
      -> head rewritten (rewrite.py)      each party finds the other where it knows it, and gets its own back
      -> call or registration             offers and answers open places for media (dialogs.py, offers.py);
                                          a 2xx to REGISTER lets the phone be called (registrations.py)
      -> body rewritten (relocate.py), Content-Length made right, sent on

House rules:
- The same datagram again is passed on as the same bytes and opens nothing (S62).
- Without NAT every byte goes through as it came, but for what others could read in another way than we do
  (mends.py); what is opened and closed is the same.
- What cannot have what it needs is refused as a whole (503, 500 in a call), never passed half rewritten (D49).

Not supported: relaying ICE candidates of our own; S/MIME bodies and those in other encodings pass unread.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from protocols.contract.addresses import Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Copy, Effect, Finish, Send, Splice
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, Closed, Grant, PinholeEvent, Pinholes
from protocols.sip.answers import Refused, refuse
from protocols.sip.connection import Connection, HeldTooMuch
from protocols.sip.contacts import Called, Claimed, Contacts
from protocols.sip.described import UNCHANGED, Descriptions, Followed
from protocols.sip.dialogs import Dialogs
from protocols.sip.echoes import Echoes
from protocols.sip.head import MAX_METHOD_BYTES, BadMessage, NotSip
from protocols.sip.lifetimes import Lifetimes
from protocols.sip.message import Message
from protocols.sip.names import Names
from protocols.sip.notes import Notes
from protocols.sip.options import SipOptions
from protocols.sip.reading import read_message
from protocols.sip.registrations import Name, Registrations
from protocols.sip.rewrite import Rewriter
from protocols.sip.stream import is_filling, is_keep_alive
from protocols.sip.subscriptions import Subscriptions
from protocols.sip.table import SipTable
from protocols.sip.told import Told
from protocols.sip.ways import Ways
from protocols.toolbox import tls
from protocols.toolbox.spans import Span, replace

CLIENT, SERVER = Side.CLIENT, Side.SERVER


class SipEngine(Engine):
    """One flow of datagrams, or one TCP connection, between a client and a server. The engine hands what it reads to
    its parts: `_rewriter` maps the head, and `_dialogs`, `_registrations` and `_subscriptions` say what a message means
    and open ways. What must be known beyond this flow, calls above all, stands in `_table`, which all engines of a
    daemon share. What this engine began there it also ends (`_lifetimes`, `_contacts`)."""

    __slots__ = (
        "_blocked",
        "_connection",
        "_contacts",
        "_dialogs",
        "_ended",
        "_has_begun",
        "_is_copied",
        "_is_let_in",
        "_is_proved",
        "_is_tls",
        "_lifetimes",
        "_names",
        "_notes",
        "_number",
        "_options",
        "_over",
        "_peers",
        "_registrations",
        "_rewriter",
        "_spoken",
        "_subscriptions",
        "_table",
        "_told",
    )

    def __init__(self, peers: Peers, options: SipOptions, pinholes: Pinholes, now: float, table: SipTable) -> None:
        self._peers = peers
        self._options = options
        self._table = table
        self._number = next(table.numbers)
        self._is_let_in = isinstance(peers.role, Called)
        """A pinhole let the session in; otherwise a policy did."""
        self._over = False
        self._notes = notes = Notes()
        self._blocked = frozenset(method.upper().encode() for method in options.block_methods)
        self._contacts = Contacts(peers, pinholes, table.contacts)
        self._names = names = Names(peers, table.texts, self._contacts, options)
        echoes = Echoes(peers, table.echoes)
        self._rewriter = Rewriter(peers, table.texts, echoes, names, self._contacts, options, next(table.numbers))
        self._registrations = Registrations(peers, options, names, self._contacts, table.registrations, notes.note)
        self._lifetimes = Lifetimes(peers, options, pinholes, table, notes.note_of)
        descriptions = Descriptions(peers, options, echoes, table.calls, notes.note)
        ways = Ways(peers, names, self._contacts)
        self._dialogs = Dialogs(peers, options, self._lifetimes, descriptions, ways, table.calls, notes)
        is_stream = peers.transport is Transport.TCP
        if not is_stream:
            table.contacts.flows.add(peers.client, peers.client_as_seen)
        self._connection = Connection(peers, options, table.held, now) if is_stream else None
        self._spoken: set[Side] = set()
        """The sides that have said a message."""
        self._is_proved = False
        """Both sides have said a message, so each has shown that it speaks SIP and receives what is sent to it."""
        self._ended: set[Side] = set()
        self._subscriptions = Subscriptions(peers, names, self._contacts, (b"SUBSCRIBE", self._number))
        self._is_tls = False
        """The client has begun with TLS, and the server has not answered yet."""
        self._has_begun = False
        """At least one byte of the stream has come."""
        self._told = Told(peers, notes.note)
        self._is_copied = False
        """Somebody collects the messages."""

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if self._over:
            return ()
        if self._connection is not None:
            return self._stream(self._connection, side, data, now)
        if is_keep_alive(data):
            return (Send(side.other, data),) if self._may_pass_unread() else ()
        key = self._number, side, hash(data), len(data)
        again = self._table.repeats.get(key, now)
        if self._options.rates and (sends := self._too_often(side, data, again is not None, now)) is not None:
            if sends:
                self._table.repeats.put(key, sends, now)
            return (*self._notes.take(), *sends)
        if again is not None:
            self._table.seen.repeated += 1
            if self._is_copied:
                self._copy_again(side, data, again)
                return (*self._notes.take(), *again)
            return again
        sends = self._message(side, data, now, key)
        self._table.repeats.put(key, sends, now)
        return (*self._notes.take(), *sends) if self._notes.waiting else sends

    def _stream(self, connection: Connection, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if self._is_tls:
            return self._unread(side, data)
        if not self._has_begun:
            self._has_begun = True
            if side is CLIENT and tls.begins(data):
                return self._tls(data)
        effects: list[Effect] = []
        try:
            for piece in connection.cut(side, data, now):
                sends = self._piece(connection, side, piece, now)
                effects += (*self._notes.take(), *sends)
        except HeldTooMuch as held:
            self._notes.violation(
                "sip.held_too_much", f"{held.size} bytes of a message that is not whole yet", "closed"
            )
            effects += self._break_off("held_too_much")
        except NotSip:
            self._notes.violation("sip.not_sip", "the stream does not begin as SIP", "closed")
            effects += self._break_off("not_sip")
        except BadMessage as bad:
            # Where the next one begins is not known.
            sends = self._malformed(side, None, bad)
            effects += (*self._notes.take(), *sends, *self._break_off("bad_framing"))
        if side.other in self._ended:  # this side has been told that nothing more comes: no answers of ours either
            return [effect for effect in effects if not (isinstance(effect, Send) and effect.to is side)]
        return effects

    def _piece(self, connection: Connection, side: Side, data: bytes, now: float) -> Sequence[Send]:
        """What is sent on for a message, or for what stands between two messages."""
        if is_filling(data):
            if not self._may_pass_unread():
                return ()
            if self._is_proved:
                connection.heard(now)
            return (Send(side.other, data),)
        connection.heard(now)
        if self._options.rates and (sends := self._too_often(side, data, False, now)) is not None:
            return sends
        return self._message(side, data, now)

    def _break_off(self, reason: str) -> Sequence[Effect]:
        """Give the stream up: it cannot be read any further, or has been waited for too long."""
        self._over = True
        self._close()
        return (*self._notes.take(), Abort(reason))

    def _tls(self, data: bytes) -> Sequence[Effect]:
        if self._options.tls == "deny" or self._is_let_in:
            # A pinhole is for messages that are read. Behind TLS anything could go to any service of the party (X10).
            how = " and came by a pinhole" if self._is_let_in else ""
            self._over = True
            self._close()
            return (*self._notes.take(), *tls.is_denied("sip", how))
        self._is_tls = True
        return (*self._notes.take(), tls.passes("sip"), Send(SERVER, data))

    def _unread(self, side: Side, data: bytes) -> Sequence[Effect]:
        """Let a connection that begins with TLS go on unread. Until its server answers, the clock of the handshake
        runs: one byte of the client's is no reason to hold a connection for hours."""
        if side is CLIENT:
            return (Send(SERVER, data),)
        self._over = True
        return (Send(CLIENT, data), Splice(self._options.call_idle))

    def _message(self, side: Side, data: bytes, now: float, key: Hashable | None = None) -> Sequence[Send]:
        """What is sent on for a message. What the log is to be told has been noted. `key` is that by which a datagram
        is known when it comes again."""
        try:
            message = read_message(data, self._connection is not None)
            method, status = message.cseq.method, message.status
            try:
                self._table.seen.counts[method, status] += 1
            except KeyError:
                self._table.seen.hear(method, status)
            if not self._is_proved:
                self._spoken.add(side)
                self._is_proved = len(self._spoken) == len(Side)
            sends = self._pass(side, message, now, key)
            if self._is_copied:
                self._copy(side, message, sends)
        except BadMessage as bad:
            sends = self._malformed(side, data, bad)
        except Malformed as bad:
            sends = self._malformed(side, data, BadMessage(str(bad), 0, 0))
        finally:
            self._notes.of = None
        return sends

    def _may_pass_unread(self) -> bool:
        """Whether bytes that are no message go on. In a session that a pinhole let in they do not before both sides
        have shown that they speak SIP: they could be anything, for any service of that host (X10)."""
        return not self._is_let_in or self._is_proved

    def _too_often(self, side: Side, data: bytes, is_repeat: bool, now: float) -> Sequence[Send] | None:
        """What is sent for a request that is one more than its source may send; None if it may go on."""
        source = self._peers.own(side).host
        excess = self._table.rates.excess(source, data, self._options.rates, is_repeat, now)
        if excess is None:
            return None
        sends: Sequence[Send] = ()
        if excess.is_answered:
            try:
                sends = self._answer(side, read_message(data, self._connection is not None), 503, b"Too Many Requests")
            except Malformed:
                sends = ()
        if excess.is_told:
            self._notes.violation("sip.rate", excess.detail, "answered 503" if sends else "dropped")
        return sends

    def _pass(self, side: Side, message: Message, now: float, key: Hashable | None) -> Sequence[Send]:
        if message.is_request and message.method in self._blocked:
            self._notes.violation("sip.method_blocked", message.method.decode(), "answered 403")
            return self._answer(side, message, 403, b"Forbidden")
        if not message.call_id:
            message.call_id = _unnamed(self._peers)
        changes, stands_in = self._rewriter.rewrite(message, side, now)
        message.call_id = self._rewriter.call_id(message, side)
        try:
            body, moved = self._follow(side, message, stands_in, now, key)
        except Refused as refused:
            return self._answer(side, message, refused.status, refused.reason)
        edits = [change for _, change in changes] if changes else []
        if body is not None:
            edits += self._length(message, len(body))
            edits.append((message.body, body))
            edits.sort(key=lambda change: change[0])
        if changes or moved:
            self._told.changes(message, changes, moved)
        if message.oddities:
            self._told.oddities(message)
        if self._names.is_needed:
            self._told.left(message, side, body)
        tail = len(message.data) - message.body.end  # what is behind Content-Length is no part of it (S1)
        new = replace(message.data, edits) if edits else message.data
        return (Send(side.other, new[: len(new) - tail] if tail and edits else new),)

    def _follow(self, side: Side, message: Message, stands_in: bool, now: float, key: Hashable | None) -> Followed:
        """Do what the message means to calls and registrations, and return what its body is on the other side.
        `stands_in`: one of its contacts could not have an address of its own."""
        method = message.cseq.method
        if method == b"SUBSCRIBE":
            self._subscriptions.hear(message, side, now)
        if method != b"REGISTER":
            return self._dialogs.follow(side, message, now, key)
        if message.is_request:
            self._registrations.asked(message, side, stands_in)
        elif message.status >= 200:
            self._registrations.answered(message, side, now)
        return UNCHANGED

    @staticmethod
    def _length(message: Message, length: int) -> Iterator[tuple[Span, bytes]]:
        """Make each Content-Length that there is say how long the body is now (S8)."""
        if length != message.body.end - message.body.start:
            for span in message.spans(b"content-length"):
                yield span, b"%d" % length

    def _malformed(self, side: Side, data: bytes | None, bad: BadMessage) -> Sequence[Send]:
        policy = self._options.malformed
        sends: Sequence[Send] = ()
        action = "dropped"
        if policy == "pass" and data is not None:
            says_sip = not isinstance(bad, NotSip) or not self._is_let_in
            if says_sip and self._may_pass_unread():
                sends, action = (Send(side.other, data),), "passed"
        elif policy == "respond":
            sends = self._answer(side, bad, bad.status, b"Bad Request")
            action = f"answered {bad.status}" if sends else action
        self._notes.violation("sip.malformed", f"{bad.reason} in line {bad.line}, column {bad.column}", action)
        return sends

    def _answer(self, side: Side, request: Message | BadMessage, status: int, reason: bytes) -> Sequence[Send]:
        """Send a response of our own. A response to a datagram has at most as many bytes as the datagram: its source
        may be another host's address, and we would amplify an attack on that host. That a server has answered before
        proves nothing, since it would answer a forged source, too."""
        head = request.head if isinstance(request, BadMessage) else request
        at_most = len(head.data) if head is not None and self._connection is None else None
        if at_most is not None and isinstance(head, Message) and any(one.mended_at for one in head.oddities):
            at_most -= MAX_METHOD_BYTES  # by which it may be longer than it came
        answer = refuse(request, status, reason, at_most)
        return () if answer is None else (Send(side, answer),)

    # -- what else happens -------------------------------------------------------------------------------------------

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        if isinstance(event, Closed):
            self._closed(grant, event, now)
            self._let_go(now)
        elif (call := self._table.calls.media.get(grant.id)) is not None:
            call.media.used(grant)
        return self._notes.take()

    def _closed(self, grant: AnyGrant, event: Closed, now: float) -> None:
        if (call := self._table.calls.media.get(grant.id)) is not None:
            self._lifetimes.closed(call, grant, event, now)
        elif isinstance(grant, Grant):
            self._lapsed(self._contacts.closed(grant))

    def _lapsed(self, claims: Sequence[Claimed]) -> None:
        """End the claims to contacts whose registrations are over."""
        for _, key in claims:
            match key:
                case (Registrations() as registrations, Name() as name):
                    registrations.lapsed(name)

    def deadline(self) -> float | None:
        clock = self._connection.next() if self._connection is not None and not self._is_left else None
        soonest = self._lifetimes.next()
        for at in (self._contacts.next(), clock):
            if at is not None and (soonest is None or at < soonest):
                soonest = at
        return soonest

    def tick(self, now: float) -> Sequence[Effect]:
        self._lifetimes.tick(now)
        self._lapsed(self._contacts.due(now, bool(self._lifetimes)))
        self._let_go(now)
        if self._connection is None or self._is_left:
            return self._notes.take()
        reason = self._connection.over(now, self.is_needed())
        return self._notes.take() if reason is None else self._break_off(reason)

    @property
    def _is_left(self) -> bool:
        """Whether no clock runs any more, because both sides have ended or nothing is read."""
        return self._over or len(self._ended) == len(Side)

    def _close(self) -> None:
        """Read nothing more of the connection."""
        if self._connection is not None:
            self._connection.close()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """One side of a connection has ended. Calls do not end with the connection that they began on (S75). A message
        that never becomes whole is dropped."""
        if side in self._ended:
            return ()
        self._ended.add(side)
        if self._connection is not None:
            self._connection.ended(side)
        self._let_go(now)
        return (Finish(side.other),)

    def _let_go(self, now: float) -> None:
        """When both sides are gone and no call needs them, give up the ports that only messages have named."""
        if len(self._ended) == len(Side) and not self._lifetimes:
            self._contacts.over(now)

    def is_needed(self) -> bool:
        return bool(self._lifetimes) or self._contacts.are_claimed

    def stop(self, now: float) -> Sequence[Effect]:
        self._close()
        if self._connection is None:
            self._table.contacts.flows.remove(self._peers.client, self._peers.client_as_seen)
        self._lifetimes.stop(now)
        self._registrations.stop()
        self._lapsed(self._contacts.stop(now))
        return self._notes.take()

    # -- copies for those who collect messages ------------------------------------------------------------------------

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted

    def _copy(self, side: Side, message: Message, sends: Sequence[Send]) -> None:
        """The message as it came, and what is sent for it. All of it belongs to one call, by whatever name either side
        knows that."""
        self._notes.add([Copy(side, True, message.data, message.call_id)])
        self._notes.add(Copy(send.to, False, send.data, message.call_id) for send in sends)

    def _copy_again(self, side: Side, data: bytes, sends: Sequence[Send]) -> None:
        """The same for a datagram that has come before, and was not read this time."""
        try:
            message = read_message(data, False)
        except Malformed:
            return
        message.call_id = self._rewriter.call_id(message, side)
        self._copy(side, message, sends)


def _unnamed(peers: Peers) -> bytes:
    """The name of a call that has no Call-ID. Whatever anybody else says without one belongs to another call. No
    Call-ID begins with a blank, and this name holds no address that could be hidden."""
    hosts = sorted(str(host).replace(".", "-").replace(":", "-") for host in (peers.client.host, peers.server.host))
    return f" none, between {' and '.join(hosts)}".encode()
