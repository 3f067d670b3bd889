"""RTSP: a connection on which media is asked for (RFC 2326, RFC 7826). Ids in comments (RT21) are those of
`protocols/FACTS.md`.

    bytes --> Carrier --> a message --> _request, _response --> what becomes of it --> on to the other side
                     +--> frames, bodies that nobody reads --------------------------> as they came

A request waits for the response with its CSeq (requests.py). SETUP and its 2xx are setup.py's matter; PLAY,
RECORD, TEARDOWN and all that names a session are told to that session (sessions.py), which may belong to another
connection.

House rules:
- What is answered here is sent between messages of the server, never within one. Its body goes no further either: the
  server would read that as the next request.
- A stream that cannot be read ends with all that its connection has opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protocols.contract.addresses import Malformed, Peers, Side
from protocols.contract.effects import Abort, Copy, Effect, Finish, Note, Outbox, Splice, violation
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, Closed, PinholeEvent, Pinholes
from protocols.rtsp import tunnel, urls
from protocols.rtsp.carrier import Carrier
from protocols.rtsp.codecs import Described, is_description
from protocols.rtsp.connection import Connection
from protocols.rtsp.options import RtspOptions
from protocols.rtsp.requests import MAX_PENDING, TEARDOWN_SECONDS, Pending, Waiting
from protocols.rtsp.sessions import Session, Table
from protocols.rtsp.setup import Refused, Setups
from protocols.rtsp.wire import EarlyFrame, Framer, Head, HeldTooMuch, NotRtsp, answer
from protocols.toolbox import tls

CLIENT, SERVER = Side.CLIENT, Side.SERVER

_GONE = (454, 455)
"""Answers to TEARDOWN that say that there is nothing left of the session."""


class RtspEngine(Engine):
    """One connection of a client to its server."""

    __slots__ = (
        "_agent",
        "_answers",
        "_carrier",
        "_connection",
        "_denied",
        "_described",
        "_ended",
        "_has_answered",
        "_is_copied",
        "_is_over",
        "_is_tunnel",
        "_now",
        "_options",
        "_out",
        "_peers",
        "_pending",
        "_setups",
        "_started",
    )

    def __init__(self, peers: Peers, options: RtspOptions, pinholes: Pinholes, now: float, table: Table) -> None:
        self._peers = peers
        self._options = options
        self._now = now
        self._out = Outbox()
        self._denied = frozenset(method.upper().encode() for method in options.methods_denied)
        answered_here = self._denied | {b"SETUP"}
        asks = Framer(lambda head: is_description(head) or head.method in answered_here)
        self._carrier = Carrier(peers.client.host, {CLIENT: asks, SERVER: Framer(is_description)}, table.held, now)
        self._setups = Setups(peers, options, pinholes, table)
        self._pending = {side: Waiting() for side in Side}
        self._connection = Connection(peers, options, self._setups, table, self._carrier)
        self._described = Described()
        self._answers: list[bytes] = []
        """Answers of ours that wait until the client is told nothing else."""
        self._agent = b""
        self._started = self._has_answered = self._is_tunnel = self._is_over = self._is_copied = False
        self._ended: set[Side] = set()

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """Read what is whole now. A fault ends the connection, and never raises an exception."""
        self._now = now
        if not self._started:
            if side is SERVER:
                return self._fail("rtsp.not_rtsp", "the server speaks first", "not_rtsp")
            self._started = True
            if tls.begins(data):
                return self._tls(data)
        head = None
        try:
            for piece in self._carrier.cut(side, data, now):
                if isinstance(piece, bytes):
                    self._out.send(side.other, piece)
                else:
                    head = piece
                    self._message(side, piece)
                    head = None
                if self._is_over:
                    break
                if side is SERVER:
                    self._flush()
        except NotRtsp as bad:
            return self._fail("rtsp.not_rtsp", str(bad), "not_rtsp")
        except HeldTooMuch as bad:
            return self._fail("rtsp.held_too_much", str(bad), "held_too_much")
        except EarlyFrame as bad:
            return self._fail("rtsp.frame", str(bad), "malformed", self._last_answer(side, None))
        except Malformed as bad:
            return self._fail("rtsp.malformed", str(bad), "malformed", self._last_answer(side, head))
        return self._take()

    def _take(self) -> list[Effect]:
        self._tell()
        return self._out.take()

    def _tls(self, data: bytes) -> Sequence[Effect]:
        self._is_over = True
        if self._options.tls == "deny":
            return tls.is_denied("rtsp")
        self._out.add(tls.passes("rtsp"))
        self._out.send(SERVER, data)
        self._out.add(Splice(self._options.idle))
        return self._take()

    def _fail(self, rule: str, detail: str, reason: str, answer: bytes = b"") -> Sequence[Effect]:
        """End the connection, with all that it has opened. `answer` is what the client is told before."""
        if answer:
            self._answers.append(answer)
            self._flush()
        self._out.add(violation(rule, detail, "closed"))
        self._is_over = True
        for waiting in self._pending.values():
            for pending in waiting.take():
                self._forget(pending)
        self._connection.end_all("violation", self._now)
        self._carrier.close()
        return [*self._take(), Abort(reason)]

    # -- messages ----------------------------------------------------------------------------------------------------

    def copy(self, is_wanted: bool) -> None:
        """Return copies of messages from now on, or no more. Frames, and bodies that nobody reads, are not copied."""
        self._is_copied = is_wanted

    def _copied(self, side: Side, has_come: bool, data: bytes) -> None:
        if self._is_copied:
            self._out.add(Copy(side, has_come, data, b""))

    def _message(self, side: Side, head: Head) -> None:
        self._copied(side, True, head.data + head.body)
        if not head.is_rtsp or self._is_tunnel:
            self._http(side, head)
        elif head.method:
            if side is SERVER and not self._has_answered:
                raise NotRtsp("the server asks first")
            self._request(side, head)
        else:
            self._response(side, head)

    def _pass(self, side: Side, head: Head, changes: Sequence[urls.Named] = ()) -> None:
        """Send a message on, with these changes and those of addresses that stand anywhere (RT34)."""
        self._tell()
        sent, told = urls.relocated(head, self._peers, side, changes)
        self._out.send(side.other, sent)
        self._copied(side.other, False, sent)
        if told:
            self._out.add(Note("address.rewritten", {"message": head.name, "changes": told}))

    def _request(self, side: Side, head: Head) -> None:
        number = head.cseq()
        name, _ = head.session()
        if side is CLIENT:
            self._agent = self._agent or head.first(b"user-agent")[:200]
            if head.method in self._denied:
                self._out.add(violation("rtsp.method_denied", head.name, "answered 405"))
                self._answer(head, 405, b"Method Not Allowed")
                return
        session = self._connection.named(name, self._now)
        pending = Pending(head.method, head.url, name)
        changes: Sequence[urls.Named] = ()
        match head.method:
            case b"SETUP" if side is CLIENT:
                asked = self._setups.ask(head, session, self._described.codecs(head.url), number, self._now)
                if isinstance(asked, Refused):
                    self._answer(head, asked.code, asked.reason)
                    return
                pending.asked = asked
                changes = [("transport", change) for change in asked.changes]
            case b"TEARDOWN":
                pending.ends_at = self._now + TEARDOWN_SECONDS
            case b"ANNOUNCE":
                self._described.read(head)
            case b"REDIRECT" if side is SERVER:
                self._redirected(head)
        if (forgotten := self._pending[side].add(number, pending)) is not None:
            self._forget(forgotten)
        self._pass(side, head, changes)

    def _response(self, side: Side, head: Head) -> None:
        self._has_answered = self._has_answered or side is SERVER
        number = head.cseq()
        name, timeout = head.session()
        session = self._connection.named(name, self._now)
        changes: Sequence[urls.Named] = ()
        pending = self._pending[side.other].answered(number) if head.code >= 200 else None
        if pending is not None:
            session = session or self._connection.named(pending.session, self._now)
            changes = self._settle(pending, head, name, timeout, session)
        if side is SERVER and 300 <= head.code < 400 and b"location" in head.fields:
            self._redirected(head)
        self._pass(side, head, changes)
        if pending is not None and pending.method in (b"PLAY", b"RECORD") and 200 <= head.code < 300:
            self._begun(pending, session)
            self._tell()

    def _settle(
        self, pending: Pending, head: Head, name: bytes, timeout: int | None, session: Session | None
    ) -> list[urls.Named]:
        """A request has its final answer. Returns what becomes of that."""
        is_good = 200 <= head.code < 300
        if pending.asked is not None:
            if is_good:
                name = name or pending.session
                changes = self._connection.agree(pending.asked, head, name, timeout, self._agent, self._now)
                return [("transport", change) for change in changes]
            self._setups.take_back(pending.asked, self._now, head.code in (401, 407))
        elif pending.method == b"DESCRIBE" and is_good:
            self._described.read(head)
        elif pending.method == b"TEARDOWN" and (is_good or head.code in _GONE):
            self._connection.tear_down(pending.url, pending.session, self._now)
        return []

    def _begun(self, pending: Pending, session: Session | None) -> None:
        """PLAY or RECORD has its 2xx. From then on a connection may need no reading any more (RT12)."""
        if session is None or session.cause:
            return
        self._connection.begun(session, pending.method == b"PLAY")
        may_splice = self._options.interleaved == "splice" and not self._peers.is_mapped(SERVER)
        if may_splice and self._connection.is_all_within:
            self._connection.end_all("unread", self._now)
            self._step_aside()

    def _step_aside(self) -> None:
        """From here on the connection is relayed unread."""
        self._is_over = True
        for side in (SERVER, CLIENT):
            if rest := self._carrier.rest(side):
                self._out.send(side.other, rest)
        self._carrier.close()
        self._tell()
        self._out.add(Splice(self._options.idle))

    def _tell(self) -> None:
        for note in self._setups.notes:
            self._out.add(note)
        self._setups.notes.clear()

    def _forget(self, pending: Pending) -> None:
        """A request whose answer is not waited for any more."""
        if pending.asked is not None:
            self._setups.take_back(pending.asked, self._now, is_retried=False)
            pending.asked = None
        if pending.method == b"TEARDOWN":
            self._connection.tear_down(pending.url, pending.session, self._now)

    def _redirected(self, head: Head) -> None:
        location = urls.told(head.first(b"location"))
        self._out.add(Note("rtsp.redirected", {"message": head.name, "location": location}))

    # -- answers of ours, and HTTP -----------------------------------------------------------------------------------

    def _answer(self, head: Head, code: int, reason: bytes) -> None:
        """Answer a request of the client's in the place of its server. Raises Malformed if too many of them wait."""
        self._tell()
        if len(self._answers) == MAX_PENDING:
            raise Malformed(f"more than {MAX_PENDING} requests whose answers wait for the end of a frame or a body")
        self._answers.append(answer(head.version, code, reason, head.first(b"cseq")))
        self._flush()

    def _last_answer(self, side: Side, head: Head | None) -> bytes:
        """What the client is told when a stream cannot be read any further. `head` is the request that was at fault, if
        it was read at all."""
        if side is CLIENT:
            version, number = (head.version, head.first(b"cseq")) if head is not None else (b"RTSP/1.0", b"")
            return answer(version, 400, b"Bad Request", number)
        oldest = self._pending[CLIENT].oldest
        return answer(b"RTSP/1.0", 502, b"Bad Gateway", b"%d" % oldest) if oldest is not None else b""

    def _flush(self) -> None:
        """What waits is sent, if no message or frame of the server is under way."""
        if SERVER in self._ended:
            self._answers.clear()  # the client has been told that nothing more comes
        if self._answers and self._carrier.framers[SERVER].is_between:
            for ours in self._answers:
                self._out.send(CLIENT, ours)
                self._copied(CLIENT, False, ours)
            self._answers.clear()

    def _http(self, side: Side, head: Head) -> None:
        """A tunnel begins, or is answered (RT37)."""
        if self._is_tunnel and side is SERVER and not head.is_rtsp and head.code:
            self._out.send(CLIENT, tunnel.mapped(head, self._peers))
            self._step_aside()
            return
        if self._has_answered or self._is_tunnel or side is SERVER or self._pending[CLIENT]:
            raise NotRtsp("HTTP in the midst of RTSP")
        if not tunnel.is_tunnel(head):
            raise NotRtsp("HTTP that is no tunnel of RTSP")
        if self._options.http_tunnel == "deny":
            self._out.add(violation("rtsp.tunnel_denied", "RTSP in HTTP", "closed"))
            self._out.add(Abort("tunnel_denied"))
            self._is_over = True
            return
        self._out.add(Note("rtsp.tunnel", {"message": head.name}))
        self._out.send(SERVER, head.data)
        if head.method == b"POST":
            self._step_aside()  # its answer comes at the end, if ever
        else:
            self._is_tunnel = True

    # -- ends and clocks ---------------------------------------------------------------------------------------------

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A side has ended. Half a message does not go on. Media goes on for a while (RT6)."""
        self._now = now
        if side in self._ended:
            return ()
        self._ended.add(side)
        self._carrier.ended(side)
        self._lose()
        self._out.add(Finish(side.other))
        return self._take()

    def _lose(self) -> None:
        for pending in self._pending[CLIENT]:
            pending.asked = None
        torn = {pending.session for pending in self._pending[CLIENT] if pending.method == b"TEARDOWN"}
        self._connection.lose(torn, self._now)

    def is_needed(self) -> bool:
        return self._connection.is_needed()

    def _lasts_until(self) -> tuple[float, str]:
        """When the connection is over, if nothing comes, and why. Media beside it keeps it."""
        is_alone = not any(True for _ in self._connection.streams)
        return self._carrier.lasts_until(self._options.idle if is_alone else float("inf"))

    def _deadlines(self) -> Iterator[float]:
        if not self._is_over and len(self._ended) < 2:
            yield self._lasts_until()[0]
        for waiting in self._pending.values():
            yield from (pending.ends_at for pending in waiting if pending.ends_at is not None)
        yield from self._connection.deadlines(self._now)

    def deadline(self) -> float | None:
        at = min(self._deadlines(), default=float("inf"))
        return None if at == float("inf") else at

    def tick(self, now: float) -> Sequence[Effect]:
        self._now = now
        for waiting in self._pending.values():
            for pending in waiting.overdue(now):
                self._forget(pending)
        self._connection.tick(now)
        if not self._is_over and len(self._ended) < 2:
            at, why = self._lasts_until()
            if at <= now:
                self._is_over = True
                self._lose()
                return [*self._take(), Abort(why)]
        return self._take()

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """Something has happened at a place."""
        if isinstance(event, Closed):
            return self._connection.closed(grant.id, event, now)
        self._connection.used(grant.id)
        return ()

    def stop(self, now: float) -> Sequence[Effect]:
        self._now, self._is_over = now, True
        self._carrier.close()
        self._connection.stop(now)
        return [effect for effect in self._take() if isinstance(effect, Note)]
