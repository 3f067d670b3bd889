"""The contract between protocol engines and whatever drives them.

An engine understands one control session of a helper. It is fed bytes and the time, and answers with effects; it
holds no socket, no clock and no log, so the same engine serves a live session, a capture replayed from a file, and a
fuzzer.

    bytes in -> receive(side, data, now) -> effects out
                     |
                     +-> pinholes.open(expect) -> Grant | Refusal      (answered at once: it is a bind())

House rules:
- An engine never raises. What the peer does wrong becomes an effect; an exception that leaves an engine is our bug.
- An engine never announces an address that is not open yet: open first, announce after, undo on failure.
- Every buffer, queue and lifetime has a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Any, Protocol, runtime_checkable

from annotated_types import Ge, Gt, Le

Host = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Seconds = Annotated[float, Gt(0), Le(366 * 86400)]
"""Of an option."""
Count = Annotated[int, Ge(1), Le(10_000_000)]
"""Of an option."""


class Malformed(Exception):
    """A peer sent what its protocol does not allow. Raised by parsers, caught at the engine's edge."""


class Transport(Enum):
    TCP = "tcp"
    UDP = "udp"

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__


class Side(Enum):
    """Who is at the other end of a leg: the one who dialled, or the one who was dialled."""

    CLIENT = "client"
    SERVER = "server"

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__

    other: Side


# Asked for dozens of times in each call: kept, not computed.
Side.CLIENT.other, Side.SERVER.other = Side.SERVER, Side.CLIENT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port. Port 0 stands for "any", where the field that holds it says so."""

    host: Host
    port: int
    # Made when they are first asked for: the key of many tables, and those of `ipaddress` cost a microsecond each time.
    _hash: int = field(init=False, repr=False, compare=False)
    _text: str = field(init=False, repr=False, compare=False)
    _host_text: str = field(init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            value = hash((self.host, self.port))
            object.__setattr__(self, "_hash", value)
            return value

    def __str__(self) -> str:
        try:
            return self._text
        except AttributeError:
            host = self.host_text
            text = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
            object.__setattr__(self, "_text", text)
            return text

    @property
    def host_text(self) -> str:
        try:
            return self._host_text
        except AttributeError:
            text = str(self.host)
            object.__setattr__(self, "_host_text", text)
            return text


@dataclass(frozen=True, slots=True)
class Peers:
    """The two hosts of a session, each by its own address and by the one that the other host knows.

    Without NAT the two are equal. Source NAT gives the client another address on the server's leg; destination NAT
    gives the server another one on the client's leg.
    """

    client: Endpoint
    client_as_seen: Endpoint
    server: Endpoint
    server_as_seen: Endpoint
    transport: Transport = Transport.TCP
    via: tuple[Endpoint, ...] = ()
    """The servers that have sent the client here, one after the other: of a session that a pinhole has let in."""
    is_expected: bool = False
    """A pinhole has let it in, not a policy: it was the host on the server's side that had the way opened."""

    def own(self, side: Side) -> Endpoint:
        """The address that the host on this side has itself."""
        return self.client if side is Side.CLIENT else self.server

    def as_seen(self, side: Side) -> Endpoint:
        """The address under which the host on the other side knows this one."""
        return self.client_as_seen if side is Side.CLIENT else self.server_as_seen

    def is_mapped(self, side: Side) -> bool:
        """Whether NAT gives the host on this side another address (a changed port alone is no NAT of the address)."""
        if side is Side.CLIENT:
            return self.client.host != self.client_as_seen.host
        return self.server.host != self.server_as_seen.host


# -- effects: what an engine wants done ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Forward or answer: these bytes to that side, in order with everything else sent there."""

    to: Side
    data: bytes


@dataclass(frozen=True, slots=True)
class Finish:
    """Half-close towards that side, after what was sent before."""

    to: Side


@dataclass(frozen=True, slots=True)
class Abort:
    """Drop both legs by reset and every waiting pinhole of the session. `reason` is one snake_case word for the audit
    log.

    What was sent before is delivered first, so that an answer in the protocol can precede the reset.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Splice:
    """Nothing more to read here: after what was sent before, relay the rest both ways without the engine."""

    idle_seconds: float
    carries_urgent: bool = False
    """Urgent data goes on as such; else it becomes part of the stream."""


@dataclass(frozen=True, slots=True)
class Note:
    """One line of audit log. Facts hold plain values; peer bytes stay bytes and are escaped and cut by the log."""

    event: str
    facts: Mapping[str, Any]


def violation(rule: str, detail: str, action: str) -> Note:
    """A peer did what it may not: the rule by its name (`ftp.bounce`), what was seen, and what was done about it."""
    return Note("violation", {"rule": rule, "detail": detail, "action": action})


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for the addresses of a name; the engine hears of them by `resolved`."""

    name: str


Effect = Send | Finish | Abort | Splice | Note | Resolve


# -- pinholes: what an engine asks for, and the answer -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expect:
    """A connection that both sides agreed on and that should be let through.

    It will come from `allow` to `listen`; it is dialled on to `target`, which sees it come from `source`.
    """

    transport: Transport
    purpose: str
    """What it carries, for the log: ftp-data, rtp, tns."""
    trigger: str
    """The command, header or packet that asked for it."""
    listen: Endpoint
    """Where it will come to. Port 0: a random free one of ours."""
    allow: tuple[Network, ...]
    """Who may come. Everyone else is refused, counted, and does not use the pinhole up."""
    target: Endpoint
    source: Endpoint | None
    """Port 0: the kernel's choice. None: as whom it came."""
    idle_seconds: float
    open_seconds: float | None = None
    """Time to the first use; of one that may be used for ever, all its time. None: as configured (`timeouts:
    pinhole_open`)."""
    uses: int | None = 1
    """None: as often as may be while it stands."""
    is_read: bool = False
    """What comes is a session of its own, read by an engine of the same helper; else it is relayed."""
    via: tuple[Endpoint, ...] = ()
    """For that session's `Peers`."""
    confirmed: bool = True
    """False: bound and listening, but nobody is admitted before `Pinholes.confirm` (rules X10, F30)."""
    prefer: int = 0
    """The port that it should have if `listen` leaves that open and the port is free; 0: any."""


@dataclass(frozen=True, slots=True)
class Grant:
    """An open pinhole. `listen` is where it stands: the address to announce."""

    id: int
    expect: Expect
    listen: Endpoint


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pinhole was not opened, as one snake_case word: limit_per_session, no_free_port, address_in_use ..."""

    reason: str


# -- media: streams of datagrams between two parties -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a media stream, as its own session description says."""

    rtp: Endpoint
    """Where it waits for packets."""
    rtcp: Endpoint | None
    """Where it waits for RTCP; None: with the rest."""
    mapped: Host | None
    """The address of ours under which its partner is to find it; None: its own."""
    allow: tuple[Network, ...]
    """From where its packets may come; which of them it is, is learned from the first ones and then held to (D39)."""
    learn: bool = False
    """Send to where its packets come from, not to where it says that it waits: it stands behind a NAT (D41)."""
    host: Host | None = None
    """Where its signalling comes from; None: where it waits. Another host is a third one, a matter of `may_wait`."""
    side: Side | None = None
    """On which side of the policy it is: of those whom the policy lets in (CLIENT), or of those who are called."""
    is_inside: bool = False
    """It is behind us: what is opened for it opens our own network."""
    is_named: bool = False
    """An option names the third host as one that may have media there."""

    @property
    def is_at_itself(self) -> bool:
        """It waits where its signalling comes from."""
        host = self.host
        return host is None or (host == self.rtp.host and (self.rtcp is None or host == self.rtcp.host))


@dataclass(frozen=True, slots=True)
class Media:
    """A stream that one party has offered, or one that another has answered with."""

    purpose: str
    """For the log: rtp, udptl."""
    trigger: str
    party: Party
    idle_seconds: float
    """Without a packet of either party, until it is over."""
    open_seconds: float | None = None
    """Until the first packet. None: as configured (`timeouts: pinhole_open`)."""


@dataclass(frozen=True, slots=True)
class MediaGrant:
    """Where the party's partner finds it: the addresses to announce. RTCP is on the next port, unless the party is not
    mapped and has it elsewhere."""

    id: int
    media: Media
    rtp: Endpoint
    rtcp: Endpoint | None


AnyGrant = Grant | MediaGrant


class Pinholes(Protocol):
    """The only calls out of an engine. All are local and immediate."""

    def open(self, expect: Expect) -> Grant | Refusal: ...

    def confirm(self, grant: Grant) -> None:
        """The other side agreed: admit the expected peer, also one that has been waiting. Again, or late: no effect."""

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        """Admit nobody more. A relay already admitted runs to its end. Closing again, or too late, has no effect.
        Media stops at once: an answerer's, or an offerer's with all that were joined to it."""

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        """From now on it admits these and no others, and stands for so long, whatever it was to be. Late: no effect."""

    def apart(self) -> Pinholes:
        """For something that has a life of its own, such as a call: limited as if it were a session."""

    def may_wait(self, party: Party) -> bool:
        """Whether a party may have media at a third host: one that is reached as its own signalling is, that is neither
        this host nor many, and that the policy names."""

    def keep(self, seconds: float) -> None:
        """Signalling says that what is done here lives for so long: its media may be silent."""

    def offer(self, media: Media) -> MediaGrant | Refusal:
        """Hold the place at which the offerer can be reached. Nobody reaches it before there is an answer."""

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """Join an answerer to it: packets pass both ways from now on. Several may have answered (forking, D27); each
        has a place of its own."""

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """The party has another address, or other terms, from now on. A mapped place stays where it is, and what was
        learned is forgotten (D28)."""


@dataclass(frozen=True, slots=True)
class Used:
    """The expected peer came and was admitted; its target is being called."""

    peer: Endpoint


@dataclass(frozen=True, slots=True)
class Closed:
    """The pinhole is gone, with its relays. Bytes are those from the peer that came (in) and those sent to it (out)."""

    reason: str
    bytes_in: int
    bytes_out: int
    seconds: float
    packets_in: int = 0
    packets_out: int = 0
    """Of media: to the party, and from it."""


PinholeEvent = Used | Closed


# -- engines and helpers -------------------------------------------------------------------------------------------


class Engine(Protocol):
    """`now` is in seconds of a monotonic clock. Nothing is called any more after an Abort or a Splice was returned."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]: ...

    def eof(self, side: Side, now: float) -> Sequence[Effect]: ...

    def is_needed(self) -> bool:
        """Whether it looks after something that goes on while both sides are silent, and when they are gone (S75)."""

    def stop(self, now: float) -> Sequence[Effect]:
        """It ends with all that it looks after. Of the effects only notes are performed."""

    def deadline(self) -> float | None:
        """When tick() wants to be called next; may move with every call."""

    def tick(self, now: float) -> Sequence[Effect]: ...

    def resolved(self, name: str, hosts: tuple[Host, ...], now: float) -> Sequence[Effect]:
        """What a Resolve has asked for; no hosts when there are none, or in too long a time."""

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """May come from inside `Pinholes.confirm` or `close`, before they return, while the engine is at work."""


EngineFactory = Callable[[Peers, Any, Pinholes, float], Engine]
"""Called as factory(peers, options, pinholes, now) when both sides can be reached."""


@runtime_checkable
class Counts(Protocol):
    """An EngineFactory whose engines share a table may say how much is in it, for those who look after the daemon."""

    def counts(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class Helper:
    """What the registry holds for each protocol: one line there, one of these at the bottom of the protocol's
    module."""

    name: str
    summary: str
    """One line for people who look for it."""
    ports: tuple[tuple[Transport, int], ...]
    """Default entries of the session-helper table, as FortiOS has them."""
    options: type[Any]
    """A frozen dataclass; its fields, types, defaults and the string under each are schema and manual of `options`. Of
    a number its type says what it may be; of other things `__post_init__`, by `ValueError("key: what is wrong")`."""
    start: Callable[[], EngineFactory]
    """Called once for each daemon. What the engines of a helper share lives in what it returns."""
    begins: Callable[[bytes, Any], bool] = lambda data, options: True
    """Whether a datagram, as the options read it, can be the first of a flow. Anybody can send one, from any address: a
    session, and a port of ours, are only for those that can."""
    answers: Callable[[bytes], bool] = lambda data: False
    """Whether a datagram answers another one. Servers answer from other ports, too."""
    urgent_inline: bool = True
    """Whether TCP urgent data stays in the stream (rules F8, T27)."""


@lru_cache(maxsize=4096)
def only(host: Host) -> tuple[Network, ...]:
    """The `allow` of an expect that admits this one host."""
    return (ip_network(host),)
