"""A connection to port 135: the endpoint mapper, DCOM's activator and its resolver of objects.

Ids in comments (DC20) are those of `protocols/FACTS.md`.

    client -> server:135    bind                  which interfaces, in which transfer syntaxes       association.py
    server:135 -> client    bind_ack
    client -> server:135    ept_map netlogon      may it be found? (`interfaces`)                    towers.py
    server:135 -> client    a tower: port 49153   a pinhole for this client opens; the answer goes on  answers.py
    client -> server:49153  as often as it likes  relayed unread, for hours after this session is over

What each must believe:
1) The client thinks that the endpoint is at the host that it asked, at the port that the answer says.
2) The server thinks that `client_as_seen` calls.

House rules:
- What is opened is what an answer names that belongs to a call of this connection; nothing else opens anything.
- A PDU goes on byte for byte, unless an address in it has to change; a tower changes in place.
- What is signed is read and never changed. What is sealed passes, and the log says so.
- Nobody registers endpoints through us.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from protocols.contract.addresses import Malformed, Peers, Side
from protocols.contract.effects import Abort, Close, Effect, Finish, Note, Outbox, violation
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes
from protocols.dcerpc import dcom, towers, wire
from protocols.dcerpc.answers import Answers, Stub
from protocols.dcerpc.association import Association
from protocols.dcerpc.calls import ACTIVATES, ASKED_IN_FULL, Call, Operation, operation_of, refused_by
from protocols.dcerpc.endpoints import Shared, Ways
from protocols.dcerpc.interfaces import name_of
from protocols.dcerpc.ndr import Joined
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.wire import Kind, Pdu, Request, Response
from protocols.toolbox.memory import Holding
from protocols.toolbox.once import Once
from protocols.toolbox.packets import Packets
from protocols.toolbox.spans import Span, replace

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_PENDING = 64
"""How many calls of one connection are remembered. The oldest one is forgotten, and its answer passes unread (DC6)."""

ANSWERS_OF_BINDS = frozenset({Kind.BIND_ACK, Kind.BIND_NAK, Kind.ALTER_CONTEXT_RESPONSE})
BINDS = frozenset({Kind.BIND, Kind.ALTER_CONTEXT})
BY_CLIENTS = BINDS | {Kind.REQUEST, Kind.AUTH3, Kind.CANCEL, Kind.ORPHANED}
"""What clients say. The others are for servers."""


class SessionEngine(Engine):
    """One connection to the endpoint mapper of a server."""

    __slots__ = (
        "_active_at", "_answers", "_association", "_buffers", "_calls", "_has_server_ended", "_has_spoken", "_held",
        "_is_over", "_once", "_options", "_out", "_peers", "_rates", "_ways",
    )  # fmt: skip

    def __init__(self, peers: Peers, options: DcerpcOptions, pinholes: Pinholes, now: float, shared: Shared) -> None:
        self._peers = peers
        self._options = options
        self._out = Outbox()
        self._once = Once(self._out.add)
        self._ways = Ways(peers, options, pinholes, shared)
        self._answers = Answers(peers, options, self._ways, self._out.add)
        self._association = Association()
        self._calls: OrderedDict[int, Call] = OrderedDict()
        """Those on interfaces that are read here, by their number; the oldest one first."""
        self._buffers = {side: Packets(wire.length_of) for side in Side}
        self._held = Holding(shared.held, peers.client.host)
        self._rates = shared.rates
        self._has_spoken = False
        """Whether the client has begun with a bind."""
        self._has_server_ended = False
        self._is_over = False
        self._active_at = now

    # -- what comes in -------------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._active_at = now
        buffer = self._buffers[side]
        buffer.push(data)
        try:
            while not self._is_over and (raw := buffer.pop()) is not None:
                pdu = wire.read_pdu(raw)
                if side is CLIENT:
                    self._of_client(pdu)
                else:
                    self._of_server(pdu)
        except Malformed as bad:
            rule = "dcerpc.malformed" if self._has_spoken else "dcerpc.not_dcerpc"
            self._end(rule, str(bad), rule.removeprefix("dcerpc."))
        self._count_held()
        return self._out.take()

    def _count_held(self) -> None:
        """All sessions have one budget for what they hold."""
        if self._is_over:
            size = 0
        else:
            size = sum(map(len, self._buffers.values()))
            for call in self._calls.values():
                size += sum(part.size for part in (call.request, call.answer) if part is not None)
        if not self._held.change(size):
            self._end("dcerpc.held_too_much", "unfinished PDUs and stubs", "held_too_much")
            self._count_held()

    def _end(self, rule: str, why: str, reason: str) -> None:
        self._out.add(violation(rule, why, "closed"))
        self._out.add(Abort(reason))
        self._drop()

    def _drop(self) -> None:
        self._is_over = True
        for buffer in self._buffers.values():
            buffer.rest()
        self._calls.clear()

    # -- the client ----------------------------------------------------------------------------------------------------

    def _of_client(self, pdu: Pdu) -> None:
        if not self._has_spoken and pdu.kind != Kind.BIND:
            raise Malformed(f"{Kind(pdu.kind).name.lower()} before a bind")
        self._has_spoken = True
        if pdu.kind == Kind.REQUEST:
            self._requested(pdu)
            return
        if pdu.kind in BINDS:
            self._association.ask(pdu)
        elif pdu.kind == Kind.ORPHANED:
            self._calls.pop(pdu.call, None)
        elif pdu.kind not in BY_CLIENTS:
            self._unsolicited(f"{Kind(pdu.kind).name.lower()} of a client")
        self._out.send(SERVER, pdu.raw)

    def _requested(self, pdu: Pdu) -> None:
        call, request = self._calls.get(pdu.call), wire.read_request(pdu)
        if self._association.is_asked_for(request.context):
            raise Malformed("a call on a context that is not agreed on")
        context = self._association.contexts.get(request.context)
        operation = operation_of(context, request.operation, self._options)
        if not pdu.flags & wire.FIRST:
            if call is None and operation is not None:
                raise Malformed("a fragment of no call")
            if call is None or call.request is None:
                self._out.send(SERVER, pdu.raw)
            else:
                self._more_of_request(pdu, request, call, call.request)
            return
        if call is not None:
            raise Malformed("a call with the number of another one")
        if operation is None or context is None:
            self._out.send(SERVER, pdu.raw)
        elif not self._is_refused(pdu, request, operation):
            self._begin(pdu, request, operation, context.is_wide)

    def _begin(self, pdu: Pdu, request: Request, operation: Operation, is_wide: bool | None) -> None:
        """The first PDU of a call on an interface that is read here."""
        call = Call(request.context, operation, bool(is_wide), None)
        call.is_read = operation is not Operation.OTHER and is_wide is not None
        if call.is_read and request.level == wire.SEALED:
            self._sealed(operation)
            call.is_read = False
        elif operation is not Operation.OTHER and is_wide is None:
            self._once(Note("dcerpc.unread", {"operation": operation.value, "why": "transfer_syntax"}))
        if not pdu.flags & wire.MAYBE:
            self._calls[pdu.call] = call
            if len(self._calls) > MAX_PENDING:
                self._forget_oldest()
        if call.is_read and operation in ASKED_IN_FULL:
            call.request = Joined(pdu.order)
            self._more_of_request(pdu, request, call, call.request)
        else:
            self._out.send(SERVER, pdu.raw)

    def _forget_oldest(self) -> None:
        """Whatever is held of it goes on."""
        _, call = self._calls.popitem(last=False)
        if call.request is not None:
            self._out.send(SERVER, call.request.raw)
        if call.answer is not None:
            self._out.send(CLIENT, call.answer.raw)

    def _is_refused(self, pdu: Pdu, request: Request, operation: Operation) -> bool:
        """Whether the server is not even asked. The client hears why; one that asks in fragments, which nobody does,
        loses its connection."""
        rule, said, status = refused_by(operation, self._options), "access_denied", wire.ACCESS_DENIED
        if rule is None and not self._is_in_time(operation):
            rule, said, status = "dcerpc.busy", "too_busy", wire.TOO_BUSY
        if rule is None:
            return False
        if not pdu.flags & wire.LAST:
            self._end(rule, f"{operation.value} in fragments", "refused")
            return True
        self._out.add(violation(rule, operation.value, f"answered {said}"))
        self._answer(wire.fault(pdu.call, request.context, status))
        return True

    def _is_in_time(self, operation: Operation) -> bool:
        """Whether `rates` allows one more such call of this client (DC19)."""
        most = self._options.rates.get(operation.value)
        return most is None or self._rates.may_call(self._peers.client.host, operation.value, most, self._active_at)

    def _more_of_request(self, pdu: Pdu, request: Request, call: Call, joined: Joined) -> None:
        joined.add(pdu, request.stub)
        if pdu.flags & wire.LAST:
            call.request = None
            self._asked(pdu.call, call, joined)

    def _asked(self, number: int, call: Call, joined: Joined) -> None:
        """A whole request: of an ept_map, or of an activation."""
        try:
            if call.operation is Operation.MAP:
                call.question = towers.read_question(joined.stub, joined.order, call.is_wide)
            else:
                creates = call.operation is Operation.CREATE_INSTANCE
                call.asked_for = dcom.read_class(joined.stub, joined.order, call.is_wide, creates)
        except Malformed as bad:
            if call.operation is Operation.MAP:
                self._refuse(number, call, "dcerpc.malformed", f"ept_map: {bad}")
                return
            # What is activated is told, and decides about nothing.
        tower = call.question.tower if call.question is not None else None
        interface = tower.interface if tower is not None else None
        if interface is not None and call.question is not None and not self._options.may_be_found(interface):
            action = "answered as not registered"
            self._out.add(violation("dcerpc.interface_denied", f"ept_map of {name_of(interface)}", action))
            self._calls.pop(number, None)
            self._answer(wire.response(number, call.context, towers.nothing_found(call.question, call.is_wide)))
            return
        self._out.send(SERVER, joined.raw)

    def _refuse(self, number: int, call: Call, rule: str, why: str) -> None:
        self._out.add(violation(rule, why, "answered bad_stub_data"))
        self._calls.pop(number, None)
        self._answer(wire.fault(number, call.context, wire.BAD_STUB))

    # -- the server ----------------------------------------------------------------------------------------------------

    def _of_server(self, pdu: Pdu) -> None:
        if not self._has_spoken:
            raise Malformed("the server speaks first")
        if pdu.kind == Kind.RESPONSE:
            self._responded(pdu, wire.read_response(pdu))
            return
        if pdu.kind in ANSWERS_OF_BINDS:
            self._association.answer(pdu)
        elif pdu.kind == Kind.FAULT:
            self._association.answer(pdu)
            self._calls.pop(pdu.call, None)
        elif pdu.kind in BY_CLIENTS:
            self._unsolicited(f"{Kind(pdu.kind).name.lower()} of a server")
        self._out.send(CLIENT, pdu.raw)

    def _responded(self, pdu: Pdu, response: Response) -> None:
        call = self._calls.get(pdu.call)
        if call is None or call.request is not None or call.context != response.context:
            context = self._association.contexts.get(response.context)
            if operation_of(context, -1, self._options) is not None:
                self._unsolicited(f"a response to call {pdu.call}")
            self._out.send(CLIENT, pdu.raw)
            return
        if call.is_read and call.answer is None and response.level == wire.SEALED:
            self._sealed(call.operation)
            call.is_read = False
        if not call.is_read:
            self._out.send(CLIENT, pdu.raw)
            if pdu.flags & wire.LAST:
                del self._calls[pdu.call]
            return
        self._more_of_answer(pdu, response, call)

    def _more_of_answer(self, pdu: Pdu, response: Response, call: Call) -> None:
        if bool(pdu.flags & wire.FIRST) is (call.answer is not None):
            raise Malformed("fragments of a response out of order")
        if response.level == wire.SEALED:
            raise Malformed("a response that is sealed in its middle")
        call.answer = joined = call.answer or Joined(pdu.order)
        joined.add(pdu, response.stub)
        if pdu.flags & wire.LAST:
            del self._calls[pdu.call]
            self._answered(pdu.call, call, joined)

    def _answered(self, number: int, call: Call, joined: Joined) -> None:
        """A whole answer that is read."""
        stub = Stub(joined.stub, joined.order, call.is_wide, joined.trailers)
        try:
            if call.question is not None:
                changed = self._answers.mapped(call.question, stub)
                if changed is None:
                    nothing = towers.nothing_found(call.question, call.is_wide)
                    self._answer(wire.response(number, call.context, nothing))
                    return
                raw = joined.replaced(changed)
            elif call.operation is Operation.LOOKUP:
                raw = joined.replaced(self._answers.listed(stub))
            else:
                raw = self._read_dcom(call, stub, joined)
        except Malformed as bad:
            self._refuse(number, call, "dcerpc.malformed", f"answer to {call.operation.value}: {bad}")
            return
        self._out.send(CLIENT, raw)

    def _read_dcom(self, call: Call, stub: Stub, joined: Joined) -> bytes:
        """What an answer of DCOM opens, and how it reads for the client. Raises Malformed."""
        octets, order, is_wide, operation = stub.octets, stub.order, stub.is_wide, call.operation
        if operation in ACTIVATES:
            read = dcom.read_remote_activation if operation is Operation.REMOTE_ACTIVATION else dcom.read_activated
            self._answers.activated(stub, read(octets, order, is_wide), call.asked_for)
            return joined.raw
        read = dcom.read_alive if operation is Operation.ALIVE2 else dcom.read_resolved
        change = self._answers.resolved(stub, read(octets, order, is_wide), operation.value)
        if change is None:
            return joined.raw
        (start, end), new = change
        # What stands behind it is aligned to four octets, as the array before it was.
        behind = end + -end % 4
        new += bytes(-(start + len(new)) % 4)
        resized = joined.resized(replace(octets, [(Span(start, min(behind, len(octets))), new)]))
        return joined.raw if resized is None else resized

    # -- both ----------------------------------------------------------------------------------------------------------

    def _unsolicited(self, what: str) -> None:
        """It passes: only what belongs to a call opens anything (DC21)."""
        self._once(violation("dcerpc.unsolicited", what, "passed, nothing opened"))

    def _sealed(self, operation: Operation) -> None:
        """DC12."""
        self._once(Note("dcerpc.sealed", {"operation": operation.value}))

    def _answer(self, raw: bytes) -> None:
        """A PDU of ours, unless the client has seen the end of the server's."""
        if not self._has_server_ended:
            self._out.send(CLIENT, raw)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """Half a PDU, or half an answer, is of no use to anybody."""
        self._active_at = now
        self._has_server_ended = self._has_server_ended or side is SERVER
        self._buffers[side].rest()
        if side is SERVER:
            self._calls.clear()
        self._answers.tell_list()
        self._count_held()
        self._out.add(Finish(side.other))
        return self._out.take()

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        self._ways.heard(grant, event)
        return ()

    def is_needed(self) -> bool:
        """Whether an endpoint is open that this session has asked for (DC34)."""
        return len(self._ways) > 0

    def deadline(self) -> float | None:
        return None if self._is_over else self._active_at + self._options.idle

    def tick(self, now: float) -> Sequence[Effect]:
        if self._is_over or now < self._active_at + self._options.idle:
            return ()
        self._answers.tell_list()
        self._drop()
        self._count_held()
        self._out.add(Close("idle"))
        return self._out.take()

    def stop(self, now: float) -> Sequence[Effect]:
        self._drop()
        self._count_held()
        self._ways.close()
        return ()
