"""What an engine asks for: bytes to send, an end, a line of the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from protocols.contract.addresses import Side


@dataclass(slots=True, unsafe_hash=True)  # it is kept from being changed as endpoints are (addresses.py)
class Send:
    """Send these bytes to that side, behind everything that was sent there before. Both a forwarded message and an
    answer of ours are sent so."""

    to: Final[Side]
    data: Final[bytes]


@dataclass(frozen=True, slots=True)
class Finish:
    """Half-close towards that side, behind what was sent before."""

    to: Side


@dataclass(frozen=True, slots=True)
class Abort:
    """Drop both legs by reset, and every waiting pinhole of the session. `reason` is one snake_case word for the audit
    log.

    What was sent before is delivered first, so that an answer in the protocol can precede the reset.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """The session is over, in order.

    What was sent before is delivered. Then a stream ends on both sides, and what the peers still say goes unread; a
    flow gives its sockets back, and the next datagram of these two begins a session of its own. Waiting pinholes go
    with it unless the engine `is_needed`; what they have admitted runs to its end. `reason` is one snake_case word for
    the audit log. A flow that no engine closes ends when both sides have been silent for too long (`Helper.idle`),
    unless the engine `is_needed`.
    """

    reason: str = "finished"


@dataclass(frozen=True, slots=True)
class Splice:
    """The engine has nothing more to read here. After what was sent before, the rest is relayed both ways without the
    engine."""

    idle_seconds: float
    carries_urgent: bool = False
    """Whether urgent data goes on as urgent data. False: it becomes part of the stream."""
    half_closed_seconds: float | None = None
    """How long nothing may move once one side has ended. None: ten minutes. Protocols whose clients end at once, and
    then listen for as long as they like, name another time."""


@dataclass(slots=True, unsafe_hash=True)
class Note:
    """One line of audit log. Facts hold plain values; peer bytes stay bytes and are escaped and cut by the log."""

    event: Final[str]
    facts: Final[Mapping[str, Any]]
    of: Final[Mapping[str, Any] | None] = field(default=None, compare=False)
    """What all lines about the same thing say as well, such as a call."""

    @property
    def told(self) -> Mapping[str, Any]:
        """All that the line says."""
        return {**self.facts, **self.of} if self.of else self.facts


def violation(rule: str, detail: str, action: str) -> Note:
    """A note that a peer did what it may not: the rule by its name (`ftp.bounce`), what was seen, and what was done
    about it."""
    return Note("violation", {"rule": rule, "detail": detail, "action": action})


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for the addresses of a name. The engine gets them in a call of `resolved`."""

    name: str


@dataclass(frozen=True, slots=True)
class Copy:
    """A whole message as a side has sent it, or as it is sent to one: for those who collect messages. Nothing is sent
    by this. An engine returns copies only when it was asked for them (`Engine.copy`)."""

    side: Side
    """The side that has sent the message, or that it is sent to."""
    has_come: bool
    """Whether the side has sent it."""
    data: bytes
    of: bytes
    """What the message belongs to, as a call, by a name that is the same on both sides."""


Effect = Send | Finish | Abort | Close | Splice | Note | Resolve | Copy


class Outbox:
    """Collects effects in the order in which they arise. Neighbouring sends to one side become one."""

    __slots__ = ("_effects", "_parts", "_to")

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._parts: list[bytes] = []
        self._to = Side.CLIENT

    def send(self, to: Side, data: bytes) -> None:
        """Add bytes for this side."""
        if to is not self._to:
            if self._parts:
                self._join()
            self._to = to
        self._parts.append(data)

    def add(self, effect: Effect) -> None:
        """Add any other effect."""
        if self._parts:
            self._join()
        self._effects.append(effect)

    def take(self) -> list[Effect]:
        """All effects so far. The outbox is empty afterwards."""
        if self._parts:
            self._join()
        effects, self._effects = self._effects, []
        return effects

    def _join(self) -> None:
        self._effects.append(Send(self._to, b"".join(self._parts)))
        self._parts.clear()
