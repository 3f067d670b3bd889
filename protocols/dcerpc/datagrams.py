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
from protocols.dcerpc.answers import Answers, Heard
from protocols.dcerpc.endpoints import Shared, Ways
from protocols.dcerpc.interfaces import ENDPOINT_MAPPER, name_of
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.wire import Order, Uuid, order_of, swapped
from protocols.toolbox.memory import Holding

CLIENT, SERVER = Side.CLIENT, Side.SERVER

HEAD_BYTES = 80
LENGTH_AT = 74
"""Where the length of the body stands in the head (DC40)."""
REQUEST, PING, RESPONSE, LAST_KIND = 0, 1, 2, 10
FRAGMENT = 0x04
INSERT, DELETE, LOOKUP, MAP, MGMT_DELETE = 0, 1, 2, 3, 6
WRITES = frozenset({INSERT, DELETE, MGMT_DELETE})
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
    interface: Uuid
    version: int
    """Of the interface: the major one."""
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
    call = activity, sequence
    return Head(data[1], is_fragment, order, interface, version & 0xFFFF, call, operation, body, data[78] != 0)


@dataclass(slots=True)
class Pending:
    """An ept_map that went on to the server."""

    question: towers.Question
    answer: tuple[bytes, bytes] | None = None
    """The hash of the answer that has come, and how it went on: it may come again (X7)."""


class DatagramEngine(Engine):
    """What one client port says to the endpoint mapper of a server."""

    __slots__ = (
        "_active_at", "_answers", "_held", "_is_over", "_options", "_out", "_peers", "_pending", "_shared", "_told",
        "_ways",
    )  # fmt: skip

    def __init__(self, peers: Peers, options: DcerpcOptions, pinholes: Pinholes, now: float, shared: Shared) -> None:
        self._peers = peers
        self._options = options
        self._shared = shared
        self._out = Outbox()
        self._ways = Ways(peers, options, pinholes, shared)
        self._answers = Answers(peers, options, self._ways, self._out.add)
        self._pending: OrderedDict[tuple[bytes, int], Pending] = OrderedDict()
        self._held = Holding(shared.held, peers.client.host)
        self._told: set[str] = set()
        """Rules and events of which one line a flow is enough."""
        self._is_over = False
        self._active_at = now

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._active_at = now
        try:
            head = read_head(data)
            if side is CLIENT:
                if self._may_call(head, now):
                    self._of_client(head, data)
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

    def _of_client(self, head: Head, data: bytes) -> None:
        if head.kind == REQUEST and (head.interface, head.version) == (ENDPOINT_MAPPER, 3):
            if head.operation in WRITES or (head.operation == LOOKUP and self._options.lookup == "deny"):
                rule = "dcerpc.epm_write" if head.operation in WRITES else "dcerpc.lookup"
                self._out.add(violation(rule, f"operation {head.operation}", "dropped"))
                return
            if head.operation == MAP and not self._asks(head):
                return
        self._out.send(SERVER, data)

    def _may_call(self, head: Head, now: float) -> bool:
        """Whether the rates allow one more datagram of this client."""
        rates, source, options = self._shared.rates, self._peers.client.host, self._options
        is_allowed = rates.may_call(source, "call", options.udp_calls, now)
        if is_allowed and (head.kind, head.interface, head.operation) == (REQUEST, ENDPOINT_MAPPER, LOOKUP):
            is_allowed = rates.may_call(source, "lookup", options.udp_lookups, now)
        if not is_allowed:
            what = f"operation {head.operation}, and more datagrams of {source} in a second"
            self._once(violation("dcerpc.rate", what, "dropped"), "dcerpc.rate")
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
        self._once(Note("dcerpc.unread", {"operation": "ept_map", "why": why}), "dcerpc.unread")

    def _once(self, note: Note, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._out.add(note)

    def _of_server(self, head: Head, data: bytes) -> None:
        pending = self._pending.get(head.call) if head.kind == RESPONSE else None
        if pending is None or head.interface != ENDPOINT_MAPPER:
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
        heard = Heard(head.body, head.order, False, False)
        stub = self._answers.mapped(pending.question, heard)
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
