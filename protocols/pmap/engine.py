"""ONC RPC portmapper and rpcbind: a client asks at port 111 where a service is, and goes there (RFC 1833).

Ids in comments (PM20) are those of `protocols/FACTS.md`.

    client -> server:111   GETPORT nfs v3 tcp, GETADDR ...   may the program be found? (`programs`)
    server:111 -> client   2049, 10.1.0.2.8.1 ...            a pinhole for this client opens there; the answer goes on
    client -> server:2049  as often as it likes              relayed unread, long after the session on port 111 is over

What each must believe:
1) The client thinks that the service is where the answer says, at the host that it asked: at `server_as_seen`.
2) The server thinks that `client_as_seen` calls, from a reserved port if the client itself has one.

House rules:
- What is opened is what an answer names that matches a question; a question opens nothing, nor does a DUMP.
- Nobody has the portmapper call others for him, and nobody registers services through us, unless options say so.
- A message goes on byte for byte unless an address in it has to change; on a stream such a record is written anew, as
  one fragment.
- No answer of ours to a datagram is longer than the call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from protocols.contract.addresses import Endpoint, Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Close, Effect, Finish, Note, Outbox, Splice, violation
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes
from protocols.pmap import wire
from protocols.pmap.answers import NOT_REGISTERED, Answers, Asked
from protocols.pmap.lookups import Question, read_question, read_universal, universal
from protocols.pmap.options import PERMITS, PmapOptions
from protocols.pmap.programs import Procedure, name_of, procedure
from protocols.pmap.services import Shared, Ways
from protocols.pmap.wire import Call, RecordBuffer, Reply, Status
from protocols.toolbox.memory import Holding
from protocols.toolbox.once import Once
from protocols.toolbox.spans import replace

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_PENDING = 64
"""How many calls of one session are remembered. The oldest one is forgotten: a client that asks for so much at once
does not wait for it any more."""
ANSWERED_SECONDS = 5.0
"""How long a flow stays whose calls are all answered. A client that asks again later begins another one."""
UNANSWERED_SECONDS = 30.0
"""The same with a call that is not: clients give up after 25 seconds (clnt_call(3))."""
IDLE_SECONDS = 300.0
"""How long a connection may be silent. Clients close it when they have their answer."""

LOOKUPS = frozenset({Procedure.GETPORT, Procedure.GETADDR, Procedure.GETVERSADDR, Procedure.GETADDRLIST})
WRITES = frozenset({Procedure.SET, Procedure.UNSET})
INDIRECT = frozenset({Procedure.CALLIT, Procedure.INDIRECT})
LONG = frozenset({Procedure.DUMP, Procedure.GETSTAT})
"""Calls whose answers are longer than they are (PM41)."""


@dataclass(slots=True)
class Pending:
    """A call that went on to the server."""

    call: Call
    asked: Asked | None
    """What its answer is read for. None: the answer goes on unread."""
    answer: bytes | None = None
    """Over UDP: the hash of the answer that has come, empty unless it is an answer that opens something. The call may
    come again, and so may its answer (PM6)."""

    @property
    def opens(self) -> bool:
        """Whether its answer opens something."""
        return self.asked is not None and self.asked.question is not None


class PmapEngine(Engine):
    """The session of one client, by a connection or from one port, with the portmapper of a server."""

    __slots__ = (
        "_active_at", "_answers", "_buffers", "_has_server_ended", "_has_spoken", "_held", "_is_over", "_is_stream",
        "_once", "_options", "_out", "_peers", "_pending", "_shared", "_ways",
    )  # fmt: skip

    def __init__(self, peers: Peers, options: PmapOptions, pinholes: Pinholes, now: float, shared: Shared) -> None:
        self._peers = peers
        self._options = options
        self._shared = shared
        self._is_stream = peers.transport is Transport.TCP
        self._out = Outbox()
        self._once = Once(self._out.add)
        self._ways = Ways(peers, options, pinholes, shared)
        self._answers = Answers(peers, options, self._ways, self._out.add)
        self._pending: OrderedDict[int, Pending] = OrderedDict()
        """xid -> call, the oldest one first."""
        limits = {CLIENT: wire.MAX_CALL_BYTES, SERVER: wire.MAX_REPLY_BYTES}
        self._buffers = {side: RecordBuffer(limit) for side, limit in limits.items()}
        self._held = Holding(shared.held, peers.client.host)
        self._has_spoken = False
        """Whether a first call has been read."""
        self._has_server_ended = False
        """Whether the client has been told that its server says no more."""
        self._is_over = False
        self._active_at = now

    # -- what comes in -------------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._active_at = now
        if not self._is_stream:
            self._message(side, data, data, now)
            return self._out.take()
        buffer = self._buffers[side]
        buffer.push(data)
        try:
            while not self._is_over and (record := buffer.pop()) is not None:
                self._message(side, record.body, record.raw, now)
        except Malformed as bad:
            self._unreadable(side, str(bad))
        self._count_held()
        return self._out.take()

    def _count_held(self) -> None:
        """All sessions have one budget for what their buffers hold."""
        size = sum(map(len, self._buffers.values()))
        if not self._held.change(size):
            self._end("pmap.held_too_much", "unfinished records", "held_too_much")

    def _message(self, side: Side, body: bytes, raw: bytes, now: float) -> None:
        """A whole message: `body` is what it says, `raw` how it came."""
        try:
            if side is CLIENT:
                self._called(wire.read_call(body), body, raw, now)
            else:
                self._replied(wire.read_reply(body), body, raw)
        except Malformed as bad:
            self._unreadable(side, str(bad))

    def _unreadable(self, side: Side, why: str) -> None:
        """What cannot even be told apart ends a stream, because nobody knows where the next message begins. A datagram
        is dropped (PM5)."""
        rule = "pmap.malformed" if self._has_spoken or side is SERVER else "pmap.not_rpc"
        if self._is_stream:
            self._end(rule, why, rule.removeprefix("pmap."))
        else:
            self._out.add(violation(rule, why, "dropped"))

    def _end(self, rule: str, why: str, reason: str) -> None:
        self._out.add(violation(rule, why, "closed"))
        self._out.add(Abort(reason))
        self._is_over = True
        self._drop_buffers()

    def _drop_buffers(self) -> None:
        for buffer in self._buffers.values():
            buffer.clear()
        self._count_held()

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _called(self, call: Call, body: bytes, raw: bytes, now: float) -> None:
        self._has_spoken = True
        is_ours = call.program == wire.PROGRAM
        what = procedure(call.version, call.procedure) if is_ours else Procedure.OTHER
        if not self._may_call(what, now):
            return
        if what in WRITES:
            self._refuse(call, "pmap.write", what.value, Status.SYSTEM_ERROR)
        elif what in INDIRECT and self._options.indirect == "deny":
            # Over UDP no portmapper answers an indirect call that fails, and nor do we (PM40).
            self._refuse(call, "pmap.indirect", what.value, Status.PROCEDURE_UNAVAILABLE, is_told=self._is_stream)
        elif what is Procedure.DUMP and self._options.dump == "deny":
            self._refuse(call, "pmap.dump", what.value, Status.PROCEDURE_UNAVAILABLE)
        elif not is_ours or call.flavor == wire.RPCSEC_GSS:
            self._unread(call, "another_program" if not is_ours else "wrapped", raw)
        elif what in LOOKUPS:
            self._looks_up(call, what, body, raw)
        else:
            is_read = what is Procedure.DUMP
            self._pass(call, Asked(what, call.version, None, wire.caller(call)) if is_read else None, raw)

    def _may_call(self, what: Procedure, now: float) -> bool:
        """Whether the rates of UDP allow one more call."""
        if self._is_stream:
            return True
        rates, source, options = self._shared.rates, self._peers.client.host, self._options
        is_allowed = rates.may_call(source, "call", options.udp_calls, now)
        if is_allowed and what in LONG:
            is_allowed = rates.may_call(source, "dump", options.udp_dumps, now)
        if not is_allowed:
            self._once(violation("pmap.rate", f"{what.value}, and more calls of {source} in a second", "dropped"))
        return is_allowed

    def _refuse(self, call: Call, rule: str, detail: str, status: Status, *, is_told: bool = True) -> None:
        """The server is not asked. The client hears why, in the words of the protocol."""
        self._out.add(violation(rule, detail, f"answered {status.name.lower()}" if is_told else "dropped"))
        if is_told:
            self._answer(wire.reply(call.xid, status))

    def _unread(self, call: Call, why: str, raw: bytes) -> None:
        self._out.add(Note("pmap.unread", {"program": call.program, "procedure": call.procedure, "why": why}))
        self._pass(call, None, raw)

    def _looks_up(self, call: Call, what: Procedure, body: bytes, raw: bytes) -> None:
        try:
            question = read_question(what, body, call.arguments, self._asked_over())
        except Malformed as bad:
            self._refuse(call, "pmap.malformed", f"{what.value}: {bad}", Status.GARBAGE_ARGUMENTS)
            return
        if not self._options.may_be_found(question.program):
            name = f"{what.value} of {name_of(question.program)}"
            self._out.add(violation("pmap.program_denied", name, "answered as not registered"))
            self._answer(wire.reply(call.xid, Status.SUCCESS, NOT_REGISTERED))
            return
        changed = self._with_inside_hint(what, question, body)
        asked = Asked(what, call.version, question, wire.caller(call))
        self._pass(call, asked, raw if changed == body else self._framed(changed))

    def _asked_over(self) -> bytes:
        """The netid of this session, as its server has it."""
        return self._peers.transport.value.encode("ascii") + (b"6" if self._peers.server.host.version == 6 else b"")

    def _with_inside_hint(self, what: Procedure, question: Question, body: bytes) -> bytes:
        """The call with the server's own address as the one that its client knows it by (PM34)."""
        peers = self._peers
        if not question.hint or not peers.is_mapped(SERVER):
            return body
        try:
            hint = read_universal(question.hint)
        except Malformed:
            return body
        if hint is None or hint.host != peers.server_as_seen.host:
            return body
        port = peers.server.port if hint.port == peers.server_as_seen.port else hint.port
        inside = Endpoint(peers.server.host, port)
        change = {"field": "hint", "before": hint, "after": inside}
        self._out.add(Note("address.rewritten", {"message": what.value, "changes": [change]}))
        return replace(body, [(question.hint_at, wire.text(universal(inside)))])

    def _pass(self, call: Call, asked: Asked | None, raw: bytes) -> None:
        """The call goes on, and its answer is waited for."""
        before = self._pending.pop(call.xid, None)
        is_repeated = before is not None and before.call == call and before.asked == asked
        self._pending[call.xid] = before if before is not None and is_repeated else Pending(call, asked)
        if len(self._pending) > MAX_PENDING:
            self._pending.popitem(last=False)
        self._out.send(SERVER, raw)

    # -- replies -------------------------------------------------------------------------------------------------------

    def _replied(self, reply: Reply, body: bytes, raw: bytes) -> None:
        pending = self._pending.get(reply.xid)
        if pending is None:
            self._out.add(violation("pmap.unsolicited", f"a reply to call {reply.xid}", "passed, nothing opened"))
            self._out.send(CLIENT, raw)
            return
        is_repeated = False
        if self._is_stream:
            del self._pending[reply.xid]
        else:
            # A clock, a counter or a list may be another one when it is asked for again.
            answer = blake2b(body, digest_size=16).digest() if pending.opens else b""
            is_repeated = pending.answer is not None
            if is_repeated and pending.answer != answer:
                detail = f"another reply to call {reply.xid}"
                self._out.add(violation("pmap.conflict", detail, "dropped"))
                return
            pending.answer = answer
        if pending.call.asks_for_tls and reply.is_success and reply.verifier == wire.STARTTLS:
            self._turns_to_tls(raw)
        elif pending.asked is None or not reply.is_success:
            self._out.send(CLIENT, raw)
        else:
            self._answered(pending.asked, reply, body, raw, is_repeated)

    def _answered(self, asked: Asked, reply: Reply, body: bytes, raw: bytes, is_repeated: bool) -> None:
        try:
            changed = self._answers.changed(asked, body, reply.results, is_repeated)
        except Malformed as bad:
            self._out.add(
                violation("pmap.malformed", f"answer to {asked.procedure.value}: {bad}", "answered system_error")
            )
            self._answer(wire.reply(reply.xid, Status.SYSTEM_ERROR))
            return
        self._out.send(CLIENT, raw if changed == body else self._framed(changed))

    def _turns_to_tls(self, raw: bytes) -> None:
        """From now on nothing can be read (PM7)."""
        self._out.add(Note("pmap.tls", {"action": "passed"}))
        self._out.send(CLIENT, raw)
        for side, buffer in self._buffers.items():
            if rest := bytes(buffer):
                self._out.send(side.other, rest)
        self._out.add(Splice(IDLE_SECONDS))
        self._is_over = True
        self._drop_buffers()
        self._ways.close()

    def _answer(self, body: bytes) -> None:
        """A reply of ours, unless the client has seen the end of the server's."""
        if not self._has_server_ended:
            self._out.send(CLIENT, self._framed(body))

    def _framed(self, body: bytes) -> bytes:
        return wire.record(body) if self._is_stream else body

    # -- ends ----------------------------------------------------------------------------------------------------------

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """Half a record that its sender never ended is of no use to anybody."""
        self._active_at = now
        self._has_server_ended = self._has_server_ended or side is SERVER
        self._buffers[side].clear()
        self._count_held()
        return (Finish(side.other),)

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        self._ways.heard(grant, event)
        return ()

    def is_needed(self) -> bool:
        """Whether a service is open that this session has asked for (PM22)."""
        return len(self._ways) > 0

    def deadline(self) -> float | None:
        return None if self._is_over else self._active_at + self._patience()[0]

    def _patience(self) -> tuple[float, str]:
        """For how long both sides may be silent, and why the session is over then."""
        if self._is_stream:
            return IDLE_SECONDS, "idle"
        if any(pending.answer is None for pending in self._pending.values()):
            return UNANSWERED_SECONDS, "unanswered"
        return ANSWERED_SECONDS, "answered"

    def tick(self, now: float) -> Sequence[Effect]:
        seconds, reason = self._patience()
        if self._is_over or now < self._active_at + seconds:
            return ()
        self._is_over = True
        self._drop_buffers()
        return (Close(reason),)

    def stop(self, now: float) -> Sequence[Effect]:
        self._is_over = True
        self._drop_buffers()
        self._ways.close()
        return ()


class PmapEngines:
    """Makes the engines of one daemon, which share what is open."""

    def __init__(self) -> None:
        self._shared = Shared()

    def __call__(self, peers: Peers, options: PmapOptions, pinholes: Pinholes, now: float) -> Engine:
        return PmapEngine(peers, options, pinholes, now, self._shared)

    def counts(self) -> Mapping[str, int]:
        """What is open, for the daemon's status."""
        return self.standing()

    def standing(self) -> Mapping[str, int]:
        return {"services": len(self._shared.services)}


HELPER = Helper(
    name="pmap",
    summary="ONC RPC portmapper and rpcbind: services of NFS and others, at the ports that port 111 tells",
    ports=((Transport.TCP, 111), (Transport.UDP, 111)),
    options=PmapOptions,
    permits=PERMITS,
    start=PmapEngines,
    begins=lambda data, options, role: wire.is_call(data),
    purposes=("rpc",),
    idle=lambda options: UNANSWERED_SECONDS + ANSWERED_SECONDS,
    reserved_source=True,
)
