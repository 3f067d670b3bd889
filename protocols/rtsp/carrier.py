"""One connection as it is read: its two streams, what is not whole yet and since when, and the media that they carry.

What has come of a message that is not whole is held in memory: its bytes count against bounds for each client and for
the daemon (`Held`), and its time against the clocks here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from protocols.contract.addresses import Host, Side
from protocols.rtsp.wire import Framer, Head, HeldTooMuch, Piece
from protocols.toolbox.memory import Held

FIRST_SECONDS = 60.0
"""The time to the first message of a connection."""
WHOLE_SECONDS = 30.0
"""The time that a message may take from its first byte to its last."""


class Carrier:
    """Both streams of a connection. Times are those of the engine."""

    __slots__ = ("_asks_until", "_client", "_counted", "_held", "_waits_since", "framers", "heard_at")

    def __init__(self, client: Host, framers: Mapping[Side, Framer], held: Held, now: float) -> None:
        self.framers = framers
        self.heard_at = now
        """When the last message came, or the last bytes of a frame or a body that passes."""
        self._client = client
        self._held = held
        self._counted = dict.fromkeys(Side, 0)
        """side -> bytes that are not whole, as `held` has counted them."""
        self._asks_until: float | None = now + FIRST_SECONDS
        """None: the first message has come."""
        self._waits_since: dict[Side, float] = {}
        """side -> since when a message of it is not whole."""

    def cut(self, side: Side, data: bytes, now: float) -> Iterator[Piece]:
        """The messages that have come to their end, and what passes as it comes. Raises Malformed where the stream
        cannot be read any further."""
        framer = self.framers[side]
        framer.push(data)
        while (piece := framer.pop()) is not None:
            self.heard_at = now
            self._waits_since.pop(side, None)
            if isinstance(piece, Head):
                self._asks_until = None
            yield piece
        waiting = len(framer)
        if waiting:
            self._waits_since.setdefault(side, now)
        else:
            self._waits_since.pop(side, None)
        if not self._count(side, waiting):
            raise HeldTooMuch("too much of unfinished messages")

    def _count(self, side: Side, size: int) -> bool:
        """So much is held of this side. Returns False if that is too much."""
        if not self._held.change(self._client, self._counted[side], size):
            return False
        self._counted[side] = size
        return True

    def rest(self, side: Side) -> bytes:
        """All that is not whole, as it came; it waits no longer."""
        return self.framers[side].rest()

    def ended(self, side: Side) -> None:
        """This side says nothing more, so the rest of its message never comes."""
        self._waits_since.pop(side, None)
        self._count(side, 0)

    def close(self) -> None:
        """Nothing more is read."""
        for side in Side:
            self.ended(side)

    def lasts_until(self, idle_seconds: float) -> tuple[float, str]:
        """When the connection is over if nothing comes, and why. `idle_seconds`: for how long it may be silent."""
        whole = min(self._waits_since.values(), default=float("inf")) + WHOLE_SECONDS
        if self._asks_until is not None:
            return min((whole, "incomplete"), (self._asks_until, "no_request"))
        return min((whole, "incomplete"), (self.heard_at + idle_seconds, "idle"))
