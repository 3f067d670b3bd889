"""The contract between protocol engines and whatever drives them.

An engine understands one control session of a helper. It is fed bytes and the time, and answers with effects; it
holds no socket, no clock and no log, so the same engine serves a live session, a capture replayed from a file, and a
fuzzer.

    bytes in -> receive(side, data, now) -> effects out
                     |
                     +-> pinholes.open(expect) -> Grant | Refusal      (answered at once: it is a bind())

Hosts and sides are named in addresses.py, effects in effects.py, what may be opened in pinholes.py.

House rules:
- An engine never raises. What the peer does wrong becomes an effect; an exception that leaves an engine is our bug.
- An engine never announces an address that is not open yet: open first, announce after, undo on failure.
- Every buffer, queue and lifetime has a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from protocols.contract.addresses import Host, Peers, Side, Transport
from protocols.contract.effects import Effect, Finish
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes


class Engine:
    """An answer for every call that an engine can get; an engine overrides those that it minds.

    This is the one base class of the project that has behaviour: without it every engine would repeat some seven
    methods that say nothing. `now` is in seconds of a monotonic clock.

    After an Abort, a Close or a Splice was returned the engine hears of bytes and their ends no more. A Splice is the
    last thing that it is asked at all. After the other two, and after the sides have gone by themselves, it is told to
    `stop` at once; or when it is not needed any more, and until then its clock and its pinholes go on.
    """

    __slots__ = ()

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """A side has said something: a part of its stream, or one datagram."""
        raise NotImplementedError

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A side has no more to say, or is gone."""
        return (Finish(side.other),)

    def is_needed(self) -> bool:
        """Whether it looks after something that goes on while both sides are silent, and when they are gone (S75)."""
        return False

    def stop(self, now: float) -> Sequence[Effect]:
        """It ends with all that it looks after. Of the effects only notes are performed."""
        return ()

    def deadline(self) -> float | None:
        """When tick() wants to be called next; may move with every call."""
        return None

    def tick(self, now: float) -> Sequence[Effect]:
        """The deadline has come."""
        return ()

    def resolved(self, name: str, hosts: tuple[Host, ...], now: float) -> Sequence[Effect]:
        """What a Resolve has asked for; no hosts when there are none, or in too long a time."""
        return ()

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """What has become of a pinhole. This may come from inside `Pinholes.confirm` or `close`, before they return,
        while the engine is at work."""
        return ()


EngineFactory = Callable[[Peers, Any, Pinholes, float], Engine]
"""Called as factory(peers, options, pinholes, now) when both sides can be reached."""


@runtime_checkable
class Counts(Protocol):
    """An EngineFactory whose engines share a table may say how much is in it, for those who look after the daemon."""

    def counts(self) -> Mapping[str, int]: ...


@runtime_checkable
class Shares(Protocol):
    """An EngineFactory whose engines share a table says how many entries stand in it, by kind.

    There are none when the last session is over and no engine is needed: an entry that is left would stay for the life
    of the daemon. What is only remembered, within a bound of its own, is not counted.
    """

    def standing(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a policy may set for every helper; the options of each are a dataclass that adds its own."""

    # Of an inherited field the string under it is not read by what makes the schema.
    mode: Literal["active", "observe"] = field(
        default="active",
        metadata={
            "description": "`observe`: nothing is changed, opened or refused; the audit log says what would have been."
        },
    )


@dataclass(frozen=True, slots=True)
class Helper:
    """What the registry holds for each protocol: one line there, one of these at the bottom of the protocol's
    module."""

    name: str
    summary: str
    """One line for people who look for it."""
    ports: tuple[tuple[Transport, int], ...]
    """Default entries of the session-helper table, as FortiOS has them."""
    options: type[Options]
    """A frozen dataclass; its fields, types, defaults and the string under each are schema and manual of `options`. Of
    a number its type says what it may be; of other things `__post_init__`, by `ValueError("key: what is wrong")`."""
    start: Callable[[], EngineFactory]
    """Called once for each daemon. What the engines of a helper share lives in what it returns."""
    off: Mapping[tuple[Transport, int], str] = field(default_factory=dict, hash=False)
    """Those of `ports` that the table lists but does not serve until a configuration says so, each with the reason."""
    begins: Callable[[bytes, Any, object], bool] = lambda data, options, role: True
    """Called as begins(data, options, role): whether a datagram, as the options read it, can be the first of a flow
    whose engine has this role. Anybody can send one, from any address: a session, and a port of ours, are only for
    those that can."""
    answers: Callable[[bytes], bool] = lambda data: False
    """Whether a datagram answers another one. Servers answer from other ports, too."""
    roles: tuple[type[Any], ...] = ()
    """What a `Reader` can have an engine be: frozen dataclasses of plain values."""
    beside: object = None
    """The role of a session that a server begins from another port of its host, towards a client whose own session is
    needed."""
    idle: Callable[[Any], float | None] = lambda options: None
    """For how many seconds both sides of a flow may be silent until it is over, as the options read it, unless its
    engine is needed. What has arrived in time is heard first. None, or more than the configuration allows: `timeouts:
    udp_idle`. One that its server has not answered ends after `timeouts: udp_unanswered` in any case."""
    audit: Literal["each", "counted"] = "each"
    """Whether the audit log tells of each session. Those that are counted, since they are many and short, have one line
    a minute together (`sessions.counted`); violations, pinholes and what engines note have lines of their own."""
    reserved_source: bool = False
    """The server of a TCP session is dialled from a port from 512 to 1023, the client's own if that is free, when the
    client came from such a port (rshd demands one, as `Expect.reserved` says). A client that did not is dialled for
    from any port, so that the server refuses it as without us. The daemon does not start without the right to."""
    urgent_inline: bool = True
    """Whether TCP urgent data stays in the stream (rules F8, T27)."""
