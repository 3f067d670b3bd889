"""Pinholes for TCP, and the connections to their targets.

    open(expect) -> bind + listen -> [confirm] -> accept the expected peer -> dial the target -> relay -> closed
                                         |
                     anyone else: reset, counted, and the pinhole stays;
                     on a host's own address: passes this host as if there were no pinhole

A pinhole stands on a door, which is a listening transparent socket. Pinholes that lead to the same address may share a
door.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterable
from itertools import chain

from protocols.contract.addresses import Endpoint, Network
from protocols.contract.pinholes import Grant
from proxy.errors import dial_failure, refusal_reason
from proxy.movers.splice import SpliceRelay
from proxy.pinholes.opening import Owner, Passed, Table, mark_to
from proxy.pinholes.timed import Timed
from proxy.sockets import streams, transparent
from proxy.sockets.doors import Door
from proxy.sockets.poll import WRITE, Poll


class Pinhole(Timed):
    """One open pinhole and the relays that it admitted. It is over when it has left its door and no dial and no relay
    is left."""

    __slots__ = (
        "_bytes_in",
        "_bytes_out",
        "_dial_seconds",
        "_door",
        "_is_confirmed",
        "_refused",
        "_uses_left",
        "dialling",
        "relays",
    )

    def __init__(self, table: Table, owner: Owner, grant: Grant, door: Door) -> None:
        super().__init__(table, owner)
        self.grant = grant
        self._door: Door | None = None
        """None once the pinhole admits no more peers."""
        self._timer = None
        try:
            self._begin(grant, door)
        except Exception:  # no room, or a bug of ours
            self._leave_door()
            raise

    def _begin(self, grant: Grant, door: Door) -> None:
        """Enter the door and start the clock. Raises OSError."""
        table = self._table
        door.enter(self)
        self._door = door
        self._is_confirmed = False
        self._uses_left = grant.expect.uses
        self._bytes_in = 0
        self._bytes_out = 0
        self._refused: Counter[str] = Counter()
        """How often a connection was reset, by the rule that it broke."""
        self.dialling: set[_Dial] = set()
        self.relays: set[SpliceRelay] = set()
        expect = grant.expect
        wait = self._start_clock(expect)
        self._dial_seconds = wait if expect.lasts_seconds is None else table.timeouts.pinhole_open
        self._tell_opened(
            expect.purpose, expect.transport, grant.listen, expect.allow, expect.target, wait, expect.trigger
        )
        if expect.confirmed:
            self.confirm()

    @property
    def state(self) -> str:
        """One word for the operator."""
        if self.relays:
            return "relaying"
        if self.dialling:
            return "dialling"
        return "waiting" if self._is_confirmed else "unconfirmed"

    def passed(self) -> Passed:
        """What all relays have carried so far."""
        return Passed(self.bytes_in, self.bytes_out)

    @property
    def bytes_in(self) -> int:
        """Bytes from peers to the target, by all relays so far."""
        return self._bytes_in + sum(relay.bytes_in for relay in self.relays)

    @property
    def bytes_out(self) -> int:
        """Bytes from the target to peers, by all relays so far."""
        return self._bytes_out + sum(relay.bytes_out for relay in self.relays)

    def places(self) -> Iterable[Endpoint]:
        yield self.grant.listen
        admitted = [relay.sockets for relay in self.relays] + [dial.sockets for dial in self.dialling]
        for sock in chain.from_iterable(admitted):
            with contextlib.suppress(OSError):
                yield transparent.local(sock)

    def renew(self, allow: tuple[Network, ...], seconds: float) -> None:
        """From now on the pinhole admits these networks, and stands for so long."""
        if self._door is not None:
            if self._ends_at is None:
                self._dial_seconds = seconds
            before = self.allow
            self._renew(allow, seconds)
            if allow != before:
                self._door.allows_others(self, before)

    def confirm(self) -> None:
        """The other side has agreed, so peers are let in from now on. Until then they wait in the door's backlog."""
        if self._door is not None and not self._is_confirmed:
            self._is_confirmed = True
            self._door.open()

    def refuse(self, sock: socket.socket, peer: Endpoint) -> None:
        """Reset the connection of a peer that no pinhole at this door admits."""
        self._table.metrics.strangers.inc()
        self._reset(sock, "pinhole.stranger", f"{peer} came to {self.grant.listen}")

    def _reset(self, sock: socket.socket, rule: str, why: str) -> None:
        streams.reset(sock)
        self._refused[rule] += 1
        if self._refused[rule] == 1:  # later ones are a number in pinhole.closed
            self._tell_stranger(why, "reset", rule)

    def fail(self, error: OSError) -> None:
        """A connection could not even be accepted."""
        self.shut(refusal_reason(error))

    def use(self, sock: socket.socket, peer: Endpoint) -> None:
        """The expected peer is here. Its connection is read by a helper, or relayed to the target."""
        most = self.grant.expect.at_once
        if most is not None and len(self.relays) + len(self.dialling) >= most:
            self._reset(sock, "pinhole.crowded", f"{peer} came to {self.grant.listen}, where {most} are connected")
            return
        self._count_use()
        if self._uses_left is not None:
            self._uses_left -= 1
        if self._uses_left == 0:
            self._leave_door()
        if self.grant.expect.reader is not None:
            self._tell_used(peer)
            self._table.begin(self.owner, self.grant, sock, peer)
            self._close_if_over("used_up")
            return
        dial = _Dial(self, sock, peer)
        self.dialling.add(dial)
        self._tell_used(peer, dialled_from=dial.begin())
        if dial in self.dialling:  # the engine may have closed the pinhole meanwhile
            dial.start()

    def _leave_door(self) -> None:
        """Admit no more peers."""
        self._stop_clock()
        if self._door is not None:
            door, self._door = self._door, None
            door.leave(self)

    # -- called by the dial and the relay ---------------------------------------------------------------------------

    def connected(self, dial: _Dial, peer: socket.socket, target: socket.socket) -> None:
        """The connection to the target stands, so the relay begins."""
        self.dialling.discard(dial)
        relay: SpliceRelay

        def ended(reason: str) -> None:
            self.relays.discard(relay)
            self._bytes_in += relay.bytes_in
            self._bytes_out += relay.bytes_out
            self._begin_anew()
            self._close_if_over(reason)

        relay = self._table.relay(peer, target, self.grant.expect.idle_seconds, ended)
        self.relays.add(relay)
        relay.start()

    def not_connected(self, dial: _Dial, reason: str) -> None:
        """The target could not be reached."""
        self.dialling.discard(dial)
        self._close_if_over(reason)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the daemon."""
        return self._table.loop

    @property
    def poll(self) -> Poll:
        """The poll that watches sockets of connections."""
        return self._table.poll

    def call(self, peer: Endpoint) -> socket.socket:
        """Begin a connection to the target for this peer. Raises OSError."""
        expect, target = self.grant.expect, self.grant.expect.target
        mark = mark_to(self.owner, target.host)
        source = expect.source
        if source is None:
            # Behind the same interface the target would answer the peer past us.
            is_beside = self._table.borders.are_behind_one(peer.host, target.host)
            source = Endpoint(transparent.route_source(target, mark) if is_beside else peer.host, 0)
        ports: Iterable[int] = (source.port,)
        if (expect.reserved or expect.reserved_source) and not source.port:
            ports = self._table.reserved.sources(peer, source.host)
        return transparent.dial_from(ports, source.host, target, mark, self._table.max_segment)

    def dial_seconds(self) -> float:
        """How long the target may take. Some servers accept data only after the transfer command, so this may be as
        long as the pinhole stands (F49)."""
        return self._dial_seconds

    # -- ends -----------------------------------------------------------------------------------------------------

    def shut(self, reason: str) -> None:
        """Admit no more peers; relays that were admitted go on."""
        self._leave_door()
        self._close_if_over(reason)

    def abort(self, reason: str) -> None:
        """End the pinhole at once, with its dials and its relays."""
        self._leave_door()
        for dial in tuple(self.dialling):
            dial.abort(reason)
        for relay in tuple(self.relays):
            relay.abort(reason)
        self._close_if_over(reason)

    def _close_if_over(self, reason: str) -> None:
        """The pinhole is gone once it has left its door, and no dial and no relay is left."""
        if self._door is not None or self.dialling or self.relays or self.grant.id not in self._table:
            return
        self._table.release(self)
        counts = {"bytes_in": self._bytes_in, "bytes_out": self._bytes_out}
        facts = {"refused": self._refused.total()} if self._refused else {}
        if self.grant.expect.reader is not None:  # what passes is counted by the sessions that came
            facts["sessions"] = self._used
        self._gone(reason, counts, **facts)


class _Dial:
    """The expected peer is here, and the target is being dialled. The dial owns both sockets until the relay takes
    them."""

    __slots__ = ("_comes_from", "_error", "_peer", "_pinhole", "_target", "_timer")

    def __init__(self, pinhole: Pinhole, peer: socket.socket, comes_from: Endpoint) -> None:
        self._pinhole = pinhole
        self._comes_from = comes_from
        self._peer = peer
        self._target: socket.socket | None = None
        self._error: OSError | None = None
        """Why the connection could not even begin."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that the dial holds so far."""
        return (self._peer,) if self._target is None else (self._peer, self._target)

    def begin(self) -> Endpoint | None:
        """Begin the connection to the target. Returns the address and port that it comes from. None: it could not
        begin, and `start` ends it."""
        try:
            self._target = self._pinhole.call(self._comes_from)
            return transparent.local(self._target)
        except OSError as error:
            self._error = error
            return None

    def start(self) -> None:
        """Wait until the connection stands."""
        try:
            if self._error is not None:
                raise self._error
            assert self._target is not None
            self._pinhole.poll.add(self._target, WRITE, self._settled)
        except OSError as error:
            self.abort("target_" + dial_failure(error.errno))
            return
        self._timer = self._pinhole.loop.call_later(self._pinhole.dial_seconds(), self.abort, "target_timeout")

    def _settled(self, events: int) -> None:
        """The connection to the target stands, or has failed."""
        assert self._target is not None
        if code := transparent.dial_result(self._target, events):
            self.abort("target_" + dial_failure(code))
            return
        self._release()
        self._pinhole.connected(self, self._peer, self._target)

    def abort(self, reason: str) -> None:
        """Reset both connections."""
        self._release()
        if self._target is not None:
            streams.reset(self._target)
        streams.reset(self._peer)
        self._pinhole.not_connected(self, reason)

    def give_up(self) -> None:
        """A bug of ours ends the dial (`proxy/record/failures.py`)."""
        self.abort("failed")

    def _release(self) -> None:
        """Stop watching the socket towards the target."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            assert self._target is not None
            self._pinhole.poll.forget(self._target)
