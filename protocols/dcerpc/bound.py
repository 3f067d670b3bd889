"""A connection to an endpoint, with `check_bind`: no other interfaces are bound there than those that may be found
(DC36).

    bind             refused: answered bind_nak, and the server is not asked
    alter_context    refused: answered a fault, unknown interface
    all else         goes on as it came
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.contract.addresses import Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Close, Effect, Finish, Outbox, violation
from protocols.contract.engine import Engine
from protocols.dcerpc import wire
from protocols.dcerpc.endpoints import Shared
from protocols.dcerpc.interfaces import name_of
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.wire import Kind, Pdu
from protocols.toolbox.memory import Holding
from protocols.toolbox.packets import Packets
from protocols.toolbox.services import key_of

CLIENT, SERVER = Side.CLIENT, Side.SERVER
RENEWALS = 2
"""How often within `hold` the pinhole hears that a connection is in use, which no pinhole sees of a session."""


class BoundEngine(Engine):
    """One connection to an endpoint."""

    __slots__ = (
        "_active_at", "_buffers", "_has_server_ended", "_has_spoken", "_held", "_is_over", "_key", "_options", "_out",
        "_peers", "_renews_at", "_shared",
    )  # fmt: skip

    def __init__(self, peers: Peers, options: DcerpcOptions, now: float, shared: Shared) -> None:
        self._peers = peers
        self._options = options
        self._shared = shared
        self._key = key_of(peers, Transport.TCP, peers.server)
        self._out = Outbox()
        self._buffers = {side: Packets(wire.length_of) for side in Side}
        self._held = Holding(shared.held, peers.client.host)
        self._has_spoken = self._has_server_ended = self._is_over = False
        self._active_at = now
        self._renews_at = now + options.hold / RENEWALS

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._active_at = now
        self._buffers[side].push(data)
        try:
            while not self._is_over and (raw := self._buffers[side].pop()) is not None:
                if side is SERVER or not self._is_refused(wire.read_pdu(raw)):
                    self._out.send(side.other, raw)
        except Malformed as bad:
            rule = "dcerpc.malformed" if self._has_spoken else "dcerpc.not_dcerpc"
            self._end(rule, str(bad), rule.removeprefix("dcerpc."))
        self._count_held()
        return self._out.take()

    def _is_refused(self, pdu: Pdu) -> bool:
        """Whether this PDU of the client does not go on."""
        if not self._has_spoken and pdu.kind != Kind.BIND:
            raise Malformed(f"{Kind(pdu.kind).name.lower()} before a bind")
        if pdu.kind not in (Kind.BIND, Kind.ALTER_CONTEXT):
            return False
        denied = [
            offer.interface.uuid
            for offer in wire.read_offers(pdu)
            if not self._options.may_be_found(offer.interface.uuid)
        ]
        if not denied:
            self._has_spoken = True
            return False
        is_bind = pdu.kind == Kind.BIND
        what = f"{'bind' if is_bind else 'alter_context'} of {name_of(denied[0])} at {self._peers.server}"
        action = "answered bind_nak" if is_bind else "answered unknown_interface"
        self._out.add(violation("dcerpc.interface_denied", what, action))
        if not self._has_server_ended:
            refusal = wire.bind_nak(pdu.call) if is_bind else wire.fault(pdu.call, 0, wire.UNKNOWN_INTERFACE)
            self._out.send(CLIENT, refusal)
        return True

    def _end(self, rule: str, why: str, reason: str) -> None:
        self._out.add(violation(rule, why, "closed"))
        self._out.add(Abort(reason))
        self._is_over = True

    def _count_held(self) -> None:
        size = 0 if self._is_over else sum(map(len, self._buffers.values()))
        if not self._held.change(size):
            self._end("dcerpc.held_too_much", "unfinished PDUs", "held_too_much")
            self._count_held()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        self._active_at = now
        self._has_server_ended = self._has_server_ended or side is SERVER
        self._buffers[side].rest()
        self._count_held()
        return (Finish(side.other),)

    def deadline(self) -> float | None:
        return None if self._is_over else min(self._renews_at, self._active_at + self._options.endpoint_idle)

    def tick(self, now: float) -> Sequence[Effect]:
        if self._is_over:
            return ()
        if now >= self._renews_at:
            self._renews_at = now + self._options.hold / RENEWALS
            self._renew()
        if now < self._active_at + self._options.endpoint_idle:
            return ()
        self._is_over = True
        self._count_held()
        return (Close("idle"),)

    def stop(self, now: float) -> Sequence[Effect]:
        """The pinhole stands for as long again as after any other use."""
        self._is_over = True
        self._count_held()
        self._renew()
        return ()

    def _renew(self) -> None:
        """The endpoint is in use, by a connection that no pinhole sees."""
        if (endpoint := self._shared.endpoints.find(self._key)) is not None:
            endpoint.renew(self._options.hold)
