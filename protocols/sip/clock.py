"""The clocks of a SIP connection. They end a connection that is held open for nothing, or that holds half a message.

RFC 3261 s.18.3 frames messages by their length. So a peer that never ends its message could have us keep it for ever.
Datagrams need no such clock: each one is a whole message, and a flow is idle after `udp_idle`.
"""

from __future__ import annotations

from protocols.contract.addresses import Side
from protocols.sip.options import SipOptions


class StreamClock:
    """The clocks of one connection. All times are those of the engine."""

    __slots__ = ("_begun", "_first_until", "_idle_seconds", "_last", "_message_seconds")

    def __init__(self, options: SipOptions, now: float) -> None:
        self._first_until: float | None = now + options.handshake_seconds
        self._message_seconds = options.message_seconds
        self._idle_seconds = options.connection_idle
        self._begun: dict[Side, float] = {}
        """side -> when the first byte of its unfinished message came."""
        self._last = now
        """When the last sign of life came."""

    def heard(self, now: float) -> None:
        """A whole message has come. A keep-alive counts as one once both sides have said a message."""
        self._first_until = None
        self._last = now

    def waits(self, side: Side, now: float) -> None:
        """The first part of a message has come from this side."""
        self._begun[side] = now

    def waits_not(self, side: Side) -> None:
        """No part of a message from this side waits for its rest."""
        self._begun.pop(side, None)

    def next(self) -> float:
        """When the connection is over, unless something is heard before."""
        times = [self._last + self._idle_seconds]
        times += (begun + self._message_seconds for begun in self._begun.values())
        if self._first_until is not None:
            times.append(self._first_until)
        return min(times)

    def over(self, now: float, is_needed: bool) -> str | None:
        """Why the connection is over by now, as one snake_case word. None: it goes on. is_needed: a call or a
        registration depends on the connection, so the connection may be silent."""
        if self._first_until is not None and now >= self._first_until:
            return "handshake_timeout"
        if any(now >= begun + self._message_seconds for begun in self._begun.values()):
            return "message_timeout"
        if now < self._last + self._idle_seconds:
            return None
        if is_needed:
            self._last = now
            return None
        return "idle"
