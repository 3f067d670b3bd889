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

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from protocols.contract.addresses import LEAST_PORT, Host, Peers, Side, Transport
from protocols.contract.effects import Effect, Finish
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes


class Engine(ABC):
    """The base class of engines. It has an answer for every call but `receive`; an engine overrides those that it cares
    about.

    Base classes with behaviour are few here. Without this one every engine would repeat some seven methods that do
    nothing. `now` is in seconds of a monotonic clock.

    After an engine has returned an Abort, a Close or a Splice it gets no more bytes and no more ends. After a Splice it
    is not called at all. After an Abort or a Close, and after both sides have ended by themselves, the engine is told
    to `stop`: at once if it is not needed, otherwise when it is no longer needed. Until then its clock and its pinholes
    go on.
    """

    __slots__ = ()

    @abstractmethod
    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """A side has sent something: a part of its stream, or one datagram.

        To read is all that no engine can leave out. An answer here would hide that an author forgot it: the bytes of
        both sides would be dropped in silence. So an engine without it cannot be made.
        """

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A side has sent its last byte, or is gone."""
        return (Finish(side.other),)

    def copy(self, is_wanted: bool) -> None:
        """From now on the engine returns a `Copy` of each message that it reads and sends, or does so no more."""
        return None  # without copies, whoever traces sessions sees nothing of this one

    def is_needed(self) -> bool:
        """Whether the engine looks after something that goes on while both sides are silent, and after they are gone
        (S75)."""
        return False

    def is_done(self) -> bool:
        """Whether the session has done all that it stood for, and only waits to see whether more comes. Then it may end
        to make room for another session of its client."""
        return False

    def stop(self, now: float) -> Sequence[Effect]:
        """The engine ends, with all that it looks after. Only the notes among its effects are performed."""
        return ()

    def deadline(self) -> float | None:
        """When `tick` should be called next. This may move with every call."""
        return None

    def tick(self, now: float) -> Sequence[Effect]:
        """The deadline has come."""
        return ()

    def resolved(self, name: str, hosts: tuple[Host, ...], now: float) -> Sequence[Effect]:
        """The answer to a Resolve. `hosts` is empty when there is no answer, or none came in time."""
        return ()

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """Something has happened at a pinhole of this engine. This may be called from inside `Pinholes.confirm` or
        `close`, before they return, while the engine is at work."""
        return ()


EngineFactory = Callable[[Peers, Any, Pinholes, float], Engine]
"""Makes an engine. It is called as factory(peers, options, pinholes, now) when both sides can be reached."""


@runtime_checkable
class Counts(Protocol):
    """An EngineFactory whose engines share a table may tell how much is in it, for the operator."""

    def counts(self) -> Mapping[str, int]:
        """The numbers, by name."""


class Tally(NamedTuple):
    """What the engines of a helper have seen since they were first made, counted by kind: messages, for example."""

    name: str
    """Of snake_case words, and unique among helpers: sip_requests."""
    text: str
    """What is counted, for the operator."""
    labels: tuple[str, ...]
    """What tells one kind from another, as method and code."""
    counts: Mapping[tuple[str, ...], int]
    """The values of the labels -> how many. Peers must not be able to add kinds without end. Kinds that are known are
    there from the start."""


@runtime_checkable
class Tallies(Protocol):
    """An EngineFactory whose engines share a table may tell what they have seen."""

    def tallies(self) -> Sequence[Tally]:
        """The numbers, which never become smaller."""


@runtime_checkable
class Shares(Protocol):
    """An EngineFactory whose engines share a table tells how many entries stand in it, by kind.

    There are none when the last session is over and no engine is needed: an entry left behind would stay for the
    life of the daemon. Entries that are only remembered, within a bound of their own, are not counted.
    """

    def standing(self) -> Mapping[str, int]:
        """The numbers of entries, by kind."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a policy may set for every helper. The options of each helper are a dataclass that adds its own."""

    # The generator of the schema does not read the string under an inherited field, so the description is given here.
    mode: Literal["active", "observe", "off"] = field(
        default="active",
        metadata={
            "description": "`observe`: nothing is changed, opened or refused; the audit log says what would have been. "
            "`off`: the session passes unread, with the NAT of its policy."
        },
    )


@dataclass(frozen=True)
class MediaOptions(Options):
    """What a policy may set for every helper that opens media."""

    media_path: Literal["auto", "user"] = field(
        default="auto",
        metadata={
            "description": "`auto`: media passes in the kernel where it can (`network: fastpath`), and meets no "
            "firewall rule there. `user`: media of this policy never leaves the daemon."
        },
    )


class Begun(NamedTuple):
    """Connections, or datagrams, that a server begins by itself, to where its client has told it."""

    transport: Transport
    least_port: int = LEAST_PORT
    """Both ends have this port or a higher one."""


@dataclass(frozen=True, slots=True)
class Helper:
    """The registry's entry for one protocol. It stands at the bottom of the protocol's module; the registry names it in
    one line."""

    name: str
    summary: str
    """One line for operators who look for the helper."""
    ports: tuple[tuple[Transport, int], ...]
    """The default entries of the session-helper table, as FortiOS has them."""
    options: type[Options]
    """A frozen dataclass. Its fields, types and defaults and the string under each field are schema and manual of
    `options`. The type of a number says which values it may have; other values are checked in `__post_init__`, by
    `ValueError("key: what is wrong")`."""
    start: Callable[[], EngineFactory]
    """Called once for each daemon. What the engines of a helper share lives in the factory that it returns."""
    family: str = ""
    """Helpers of one family share one factory, and with it what their engines have together: calls that are set up by
    one of them go to endpoints that have registered by the other. The `start` of the one that stands first in the
    registry makes it; it tells by the options for which of them an engine is to be. Empty: the helper is alone."""
    off: Mapping[tuple[Transport, int], str] = field(default_factory=dict, hash=False)
    """Those of `ports` that the table lists but does not serve until a configuration says so, each with the reason."""
    is_of_use: Callable[[Any], bool] = lambda options: True
    """Called as is_of_use(options). Tells whether a helper that is off by default has a reason to be on, if these are
    the options of a policy. Whoever has it on without a reason is told so."""
    begins: Callable[[bytes, Any, object], bool] = lambda data, options, role: True
    """Called as begins(data, options, role). Tells whether a datagram, as the options read it, can be the first of a
    flow whose engine has this role. Any host can send one, from any address, and only those that can begin a flow get a
    session and a port of ours."""
    answers: Callable[[bytes], bool] = lambda data: False
    """Whether a datagram answers another one. Servers answer from other ports, too."""
    purposes: tuple[str, ...] = ()
    """What the pinholes of its engines are for, by the words that each `Expect` and `Media` says."""
    roles: tuple[type[Any], ...] = ()
    """The roles that a `Reader` can give to an engine of this helper: frozen dataclasses of plain values."""
    hep: int | None = None
    """The number of the protocol in HEP, by which collectors know its messages. None: the messages are not
    collected."""
    secret: re.Pattern[bytes] | None = field(default=None, hash=False)
    """What nobody is shown of a message who traces a session: a match, except for its first group."""
    beside: object = None
    """The role of a session that a server begins from another port of its host, towards a client whose own session is
    needed."""
    idle: Callable[[Any], float | None] = lambda options: None
    """For how many seconds both sides of a flow may be silent, as the options read it, before the flow ends, unless its
    engine is needed. Datagrams that arrived in time are read first. None, or more than the configuration allows:
    `timeouts: udp_idle`. A flow whose server has not answered ends after `timeouts: udp_unanswered` in any case."""
    permits: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Rule of a violation, or reason of a refused pinhole -> the option that would let it pass, as it stands below the
    helper's name in `options`: `min_port: 1`. What is not named here no option lets pass."""
    audit: Literal["each", "counted"] = "each"
    """Whether the audit log has lines for each session. Sessions that are many and short can be counted instead: they
    have one line a minute together (`sessions.counted`). Violations, pinholes and the notes of engines always have
    lines of their own."""
    least: Mapping[str, tuple[float, str]] = field(default_factory=dict, hash=False)
    """Name of an option -> the value of which less is allowed and yet unwise, and why. Whoever has less is told so."""
    servers_begin: tuple[Begun, ...] = ()
    """What servers begin towards clients because of what passes in a session. The doctor asks whether the rules of
    others let it come; what clients begin needs no entry."""
    tunnels: Callable[[Any], bool] = lambda options: False
    """Called as tunnels(options). Tells whether engines with these options carry tunnels (`Media` of Transport.GRE).
    Then the firewall rules bring the tunnels of all hosts that such a policy names, and they pass nowhere else."""
    reserved_source: bool = False
    """Whether the server of a TCP session is dialled from a port from 512 to 1023, when the client itself came from
    such a port (rshd demands one, as `Expect.reserved` says). The client's own port is taken if it is free and
    the server knows the client by another address (on the client's own, both connections would look the same). For a
    client that came from another port, the server is dialled from any port, so that it refuses the client as it would
    without us. The daemon does not start without the right to bind such ports."""
    urgent_inline: bool = True
    """Whether TCP urgent data stays in the stream (rules F8, T27)."""
