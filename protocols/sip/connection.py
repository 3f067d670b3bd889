"""One TCP connection that carries SIP: its two byte streams are cut into messages, and neither may wait for ever.

RFC 3261 s.18.3 (framing). What has come of a message that is not whole yet is held in memory: its bytes count against
bounds for each client and for the daemon (`Held`), and its time against the clocks of the connection (clock.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from protocols.contract.addresses import Peers, Side
from protocols.sip.clock import StreamClock
from protocols.sip.options import SipOptions
from protocols.sip.stream import StreamFramer
from protocols.toolbox.memory import Held


class HeldTooMuch(Exception):
    """More bytes of messages that are not whole are held than may be. `size` counts those of this connection."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Connection:
    """The two streams of one connection. Times are those of the engine."""

    __slots__ = ("_client", "_clock", "_counted", "_framers", "_held")

    def __init__(self, peers: Peers, options: SipOptions, held: Held, now: float) -> None:
        self._client = peers.client.host
        self._clock = StreamClock(options, now)
        self._framers = {side: StreamFramer() for side in Side}
        self._held = held
        self._counted = dict.fromkeys(Side, 0)
        """side -> bytes of an unfinished message, as `held` has counted them."""

    def cut(self, side: Side, data: bytes, now: float) -> Iterator[bytes]:
        """The messages that have come to their end, and what stands between them. Raises BadMessage where the stream
        cannot be read any further, and HeldTooMuch."""
        framer = self._framers[side]
        before, is_anew = len(framer), False
        framer.push(data)
        while (piece := framer.pop()) is not None:
            is_anew = True
            yield piece
        after = len(framer)
        if not after:
            self._clock.waits_not(side)
        elif is_anew or not before:  # what waits now is no longer what waited before
            self._clock.waits(side, now)
        if not self._held.change(self._client, self._counted[side], after):
            raise HeldTooMuch(after)
        self._counted[side] = after

    def heard(self, now: float) -> None:
        """A whole message has come, or a keep-alive between two sides that have both said a message."""
        self._clock.heard(now)

    def ended(self, side: Side) -> None:
        """This side says nothing more, so the rest of its message never comes."""
        self._release(side)
        self._clock.waits_not(side)

    def close(self) -> None:
        """Nothing more is read, and what is held counts no longer."""
        for side in Side:
            self._release(side)

    def _release(self, side: Side) -> None:
        if held := self._counted.pop(side, 0):
            self._held.change(self._client, held, 0)

    def next(self) -> float:
        """The time at which the connection is over, unless something is heard."""
        return self._clock.next()

    def over(self, now: float, is_needed: bool) -> str | None:
        """Why the connection is over by now, as `StreamClock.over` says."""
        return self._clock.over(now, is_needed)
