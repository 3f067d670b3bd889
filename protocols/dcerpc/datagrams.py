"""DCE-RPC version 4, over UDP: old clients that ask the endpoint mapper by datagrams (C706 s.12.5).

An answer to an ept_map opens what it names, as over TCP; all other datagrams pass unread. Nothing is ever answered to a
datagram, whose sender may be forged, and no sender may have its server send without end (DC41).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from struct import pack, unpack_from
from typing import NamedTuple

from protocols.contract.addresses import Malformed, Peers, Side
from protocols.contract.effects import Abort, Close, Effect, Note, Outbox, violation
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes
from protocols.dcerpc import towers
from protocols.dcerpc.answers import Answers, Stub
from protocols.dcerpc.association import Context
from protocols.dcerpc.calls import Operation, operation_of, refused_by
from protocols.dcerpc.endpoints import Shared, Ways
from protocols.dcerpc.interfaces import ENDPOINT_MAPPER, name_of
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.wire import Order, Syntax, order_of, swapped
from protocols.toolbox.memory import Holding
from protocols.toolbox.once import Once

CLIENT, SERVER = Side.CLIENT, Side.SERVER

HEAD_BYTES = 80
LENGTH_AT = 74
"""Where the length of the body stands in the head (DC40)."""
REQUEST, RESPONSE, LAST_KIND = 0, 2, 10
FRAGMENT = 0x04
MAX_PENDING = 64
"""How many calls of one flow are remembered. The oldest one is forgotten."""
IDLE_SECONDS = 30.0
"""How long a flow may be silent. Clients repeat a call within seconds."""


def is_call(data: bytes) -> bool:
    """Whether this can be the first datagram of a client."""
    return len(data) >= HEAD_BYTES and data[0] == 4 and data[1] == REQUEST


class Head(NamedTuple):
    """The head of a datagram (DC40)."""

    kind: int
    is_fragment: bool
    order: Order
    context: Context
    """Which interface it is about. Its stub is in NDR32, as that of every datagram is."""
    call: tuple[bytes, int]
    """Activity and sequence number: an answer has those of its request."""
    operation: int
    body: bytes
    is_signed: bool


def read_head(data: bytes) -> Head:
    """Raises Malformed."""
    if len(data) < HEAD_BYTES or data[0] != 4 or data[1] > LAST_KIND:
        raise Malformed(f"a datagram of {len(data)} bytes that is none of version 4")
    order = order_of(data[4])
    version, sequence, operation, _, _, length = unpack_from(f"{order}IIHHHH", data, 60)
    body = data[HEAD_BYTES : HEAD_BYTES + length]
    if len(body) < length:
        raise Malformed("a datagram that is cut short")
    interface, activity = data[24:40], data[40:56]
    if order == ">":
        interface, activity = (swapped(each) for each in (interface, activity))
    is_fragment = bool(data[2] & FRAGMENT)
    context, call = Context(Syntax(interface, version & 0xFFFF, version >> 16), False), (activity, sequence)
    return Head(data[1], is_fragment, order, context, call, operation, body, data[78] != 0)


@dataclass(slots=True)
class Pending:
    """An ept_map that went on to the server."""

    question: towers.Question
    answer: tuple[bytes, bytes] | None = None
    """The hash of the answer that has come, and how it went on: it may come again (X7)."""


class DatagramEngine(Engine):
    """What one client port says to the endpoint mapper of a server."""

    __slots__ = (
        "_active_at", "_answers", "_held", "_is_over", "_once", "_options", "_out", "_peers", "_pending", "_shared",
        "_ways",
    )  # fmt: skip

    def __init__(self, peers: Peers, options: DcerpcOptions, pinholes: Pinholes, now: float, shared: Shared) -> None:
        self._peers = peers
        self._options = options
        self._shared = shared
        self._out = Outbox()
        self._once = Once(self._out.add)
        self._ways = Ways(peers, options, pinholes, shared)
        self._answers = Answers(peers, options, self._ways, self._out.add)
        self._pending: OrderedDict[tuple[bytes, int], Pending] = OrderedDict()
        self._held = Holding(shared.held, peers.client.host)
        self._is_over = False
        self._active_at = now

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._active_at = now
        try:
            head = read_head(data)
            if side is CLIENT:
                self._of_client(head, data, now)
            else:
                self._of_server(head, data)
        except Malformed as bad:
            self._out.add(violation("dcerpc.malformed", str(bad), "dropped"))
        self._count_held()
        return self._out.take()

    def _count_held(self) -> None:
        """All sessions have one budget for what they hold."""
        size = sum(len(pending.answer[1]) for pending in self._pending.values() if pending.answer is not None)
        if not self._held.change(size):
            self._out.add(violation("dcerpc.held_too_much", "answers that may come again", "closed"))
            self._out.add(Abort("held_too_much"))
            self._drop()

    def _drop(self) -> None:
        self._is_over = True
        self._pending.clear()
        self._count_held()

    def _of_client(self, head: Head, data: bytes, now: float) -> None:
        operation = operation_of(head.context, head.operation, self._options) if head.kind == REQUEST else None
        if not self._may_call(operation, now):
            return
        if operation is not None and (rule := refused_by(operation, self._options)) is not None:
            self._out.add(violation(rule, operation.value, "dropped"))
        elif operation is not Operation.MAP or self._asks(head):
            self._out.send(SERVER, data)

    def _may_call(self, operation: Operation | None, now: float) -> bool:
        """Whether the rates allow one more datagram of this client."""
        rates, source, options = self._shared.rates, self._peers.client.host, self._options
        is_allowed = rates.may_call(source, "call", options.udp_calls, now)
        if is_allowed and operation is Operation.LOOKUP:
            is_allowed = rates.may_call(source, "lookup", options.udp_lookups, now)
        if not is_allowed:
            what = f"{(operation or Operation.OTHER).value}, and more datagrams of {source} in a second"
            self._once(violation("dcerpc.rate", what, "dropped"))
        return is_allowed

    def _asks(self, head: Head) -> bool:
        """An ept_map. Returns whether it may go on."""
        if head.is_fragment or head.is_signed:
            self._unread("fragments" if head.is_fragment else "signed")
            return True
        question = towers.read_question(head.body, head.order, False)
        interface = None if question.tower is None else question.tower.interface
        if interface is not None and not self._options.may_be_found(interface):
            self._out.add(violation("dcerpc.interface_denied", f"ept_map of {name_of(interface)}", "dropped"))
            return False
        self._pending.setdefault(head.call, Pending(question))
        if len(self._pending) > MAX_PENDING:
            self._pending.popitem(last=False)
        return True

    def _unread(self, why: str) -> None:
        self._once(Note("dcerpc.unread", {"operation": "ept_map", "why": why}))

    def _of_server(self, head: Head, data: bytes) -> None:
        pending = self._pending.get(head.call) if head.kind == RESPONSE else None
        if pending is None or head.context.interface.uuid != ENDPOINT_MAPPER:
            self._out.send(CLIENT, data)
            return
        if head.is_fragment or head.is_signed:
            self._unread("fragments" if head.is_fragment else "signed")
            self._out.send(CLIENT, data)
            return
        digest = blake2b(data, digest_size=16).digest()
        if pending.answer is None:
            pending.answer = digest, self._changed(pending, head, data)
        known, changed = pending.answer
        if known != digest:
            self._out.add(violation("dcerpc.conflict", "another answer to an ept_map", "dropped"))
            return
        self._out.send(CLIENT, changed)

    def _changed(self, pending: Pending, head: Head, data: bytes) -> bytes:
        """The answer as the client is to read it. What is refused reads as not registered, in as many octets or
        fewer. Raises Malformed."""
        stub = self._answers.mapped(pending.question, Stub(head.body, head.order, False, False))
        if stub is None:
            stub = towers.nothing_found(pending.question, False, head.order)
            return data[:LENGTH_AT] + pack(f"{head.order}H", len(stub)) + data[LENGTH_AT + 2 : HEAD_BYTES] + stub
        return data[:HEAD_BYTES] + stub + data[HEAD_BYTES + len(head.body) :]

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        self._ways.heard(grant, event)
        return ()

    def is_needed(self) -> bool:
        return len(self._ways) > 0

    def deadline(self) -> float | None:
        return None if self._is_over else self._active_at + IDLE_SECONDS

    def tick(self, now: float) -> Sequence[Effect]:
        if self._is_over or now < self._active_at + IDLE_SECONDS:
            return ()
        self._drop()
        return (Close("idle"),)

    def stop(self, now: float) -> Sequence[Effect]:
        self._drop()
        self._ways.close()
        return ()
