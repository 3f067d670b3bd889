"""SDP: which media a description announces, and where. `reading.py` makes one of bytes, and `relocate.py` writes the
same with its media elsewhere.

RFC 8866 (the lines), RFC 3264 (port 0, hold), RFC 3605 (a=rtcp), RFC 5761 (a=rtcp-mux), RFC 8839 (ICE), RFC 9143
(BUNDLE). What offers and answers do to a call is not decided here. Spans are offsets into the body that was read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host
from protocols.toolbox.spans import Span

MAX_ODDITIES = 16
"""How many lines of one description the log tells of."""

_DISCARD = 9
"""The port of a medium that has none yet: ICE that trickles, or TCP that will only connect (D9)."""


class Direction(Enum):
    """Which way media flows, as the author of the description sees it. RFC 8866 s.6.7."""

    SENDRECV = b"sendrecv"
    SENDONLY = b"sendonly"
    RECVONLY = b"recvonly"
    INACTIVE = b"inactive"


# -- addresses -----------------------------------------------------------------------------------------------------


class Address(NamedTuple):
    """`IN IP4 192.0.2.1` taken apart; spans are offsets into that text."""

    host: Host | None
    family: Span
    token: Span
    is_unspecified: bool
    is_multicast: bool


class Connection(NamedTuple):
    """An address of a description, and where it stands there."""

    value: Address
    at: int
    is_session_level: bool = False

    @property
    def host(self) -> Host | None:
        """The host. None: a name, which is never looked up here (D6)."""
        return self.value.host

    @property
    def family_span(self) -> Span:
        """Where the word IP4 or IP6 stands."""
        return Span(self.at + self.value.family.start, self.at + self.value.family.end)

    @property
    def address_span(self) -> Span:
        """Where the address or name stands, with /ttl and /count if there are any."""
        return Span(self.at + self.value.token.start, self.at + self.value.token.end)

    @property
    def is_unspecified(self) -> bool:
        """Whether this is 0.0.0.0 or `::`: hold as RFC 2543 had it, or an address that is not known yet."""
        return self.value.is_unspecified

    @property
    def is_multicast(self) -> bool:
        """Whether this is a multicast address."""
        return self.value.is_multicast


# -- a description -------------------------------------------------------------------------------------------------


class Rtcp(NamedTuple):
    """a=rtcp: where RTCP goes, if not to the port above RTP. RFC 3605 s.2.1."""

    port: int
    port_span: Span
    connection: Connection | None
    """The address for RTCP. None: the address of c=."""

    @property
    def is_placeholder(self) -> bool:
        """Whether this is a port that nobody listens on. WebRTC writes `a=rtcp:9 IN IP4 0.0.0.0` whatever its m= line
        says."""
        return self.port in (0, _DISCARD)


@dataclass(slots=True)
class Media:
    """One m= line and what follows it. `kind`, `proto` and `setup` are in lower case, all else is as it came."""

    text: bytes = field(repr=False, compare=False)
    """The text of the whole description."""
    slot: int
    """The place among the m= lines, from 0: it is all that pairs an answer with its offer (D10)."""
    start: int
    """The offset where the m= line begins."""
    kind: bytes
    port: int
    port_span: Span
    count: int
    """How many pairs of ports follow each other (D7); nearly always 1."""
    proto: bytes
    direction: Direction
    setup: bytes | None
    has_ice: bool
    connection: Connection | None = None
    """The c= in force: the medium's own, or that of the session. It is None only if the slot is not live, or no c= can
    be read."""
    others: list[Connection] = field(default_factory=list)
    """Further c= lines of the medium, which other readers may follow."""
    rtcp: Rtcp | None = None
    surplus: list[Span] = field(default_factory=list)
    """Further a=rtcp lines."""
    is_mux: bool = False
    is_bundle_only: bool = False
    mid: bytes | None = None
    endpoint: Endpoint | None = None
    """The endpoint where the author wants to receive. None for what is not live, hold by address, a name, multicast."""
    rtcp_endpoint: Endpoint | None = None
    """The endpoint where the author wants to receive RTCP that is not multiplexed: a=rtcp, or the port above RTP
    (D12)."""
    is_movable: bool = False
    """Whether the medium is live, over UDP, and at a single address that is written as one: then `relocate` takes a
    Move for it. False for TCP and other transports, host names and multicast; these are left alone (D5, D6, D48)."""

    @property
    def log_name(self) -> str:
        """What the log calls it."""
        return f"sdp m={self.kind.decode('latin-1')}"

    @property
    def is_live(self) -> bool:
        """Whether the medium is neither refused or removed by port 0 (D8), nor without a port as yet (D9).

        bundle-only says something in offers alone; in an answer port 0 means no, whatever stands beside it.
        """
        return self.is_bundle_only if self.port == 0 else self.port != _DISCARD

    @property
    def is_hold(self) -> bool:
        """Whether the author does not want to receive (D25). The answer to sendonly is recvonly, which is not seen
        here."""
        return self.direction in (Direction.SENDONLY, Direction.INACTIVE) or (
            self.connection is not None and self.connection.is_unspecified
        )

    @property
    def is_rtp(self) -> bool:
        """Whether the medium is RTP in any profile."""
        return b"rtp" in self.proto.split(b"/")

    @property
    def is_udptl(self) -> bool:
        """Whether this is T.38 over UDP: one port, no RTCP, and nothing in it looks like RTP (D43)."""
        return self.proto.endswith(b"udptl")

    @property
    def is_tcp(self) -> bool:
        """Whether this is MSRP, BFCP, T.38 or RTP over TCP: a=setup decides who connects, not the port alone (D48)."""
        return self.proto.startswith(b"tcp")

    @property
    def obstacle(self) -> str | None:
        """Why a live medium cannot move, as one snake_case word. None: it can, or it is not live."""
        if self.is_movable or not self.is_live:
            return None
        if self.connection is None:
            return "no_address"
        if self.connection.host is None:
            return "host_name"
        return "multicast" if self.connection.is_multicast else "other_transport"

    def settle(self) -> None:
        """All lines of the medium have been read. Where it is received does not change from now on, unless another c=
        counts."""
        self.endpoint = self.rtcp_endpoint = None
        self.is_movable = False
        if not self.is_live:
            return
        self.is_movable = (
            self.proto.startswith((b"rtp", b"udp", b"dtls"))
            and self.connection is not None
            and self.connection.host is not None
            and not self.connection.is_multicast
        )
        self.endpoint = _endpoint(self.connection, self.port)
        if not self.is_rtp:
            return
        if self.rtcp is None:
            self.rtcp_endpoint = _endpoint(self.connection, self.port and self.port + 1)
        elif not self.rtcp.is_placeholder:
            self.rtcp_endpoint = _endpoint(self.rtcp.connection or self.connection, self.rtcp.port)


def _endpoint(connection: Connection | None, port: int) -> Endpoint | None:
    """The endpoint for this address and port. None: no single host and port is named."""
    if connection is None or connection.host is None or not 0 < port < 65536:
        return None
    if connection.is_unspecified or connection.is_multicast:
        return None
    return Endpoint(connection.host, port)


@dataclass(slots=True)
class Description:
    """A session description: its media, and what it says of the session as a whole."""

    body: bytes
    text: bytes
    """The body with each line ended by LF. It has the same length, so that offsets are those of the body."""
    origin: Connection | None = None
    """The address of o=, which names the author and is nowhere to send media to (D2). None: no o= line can be read."""
    origin_key: bytes = b""
    """The user and the session id of o=: the same in all descriptions that one author makes for a session."""
    origin_version: bytes = b""
    """The version of o=. The same version means the same description (D22)."""
    connection: Connection | None = None
    """The c= of the session level."""
    media: list[Media] = field(default_factory=list)
    direction: Direction = Direction.SENDRECV
    setup: bytes | None = None
    has_ice: bool = False
    groups: list[tuple[bytes, ...]] = field(default_factory=list)
    """The mids of each a=group:BUNDLE (D17)."""
    others: list[Connection] = field(default_factory=list)
    """Further c= lines of the session level, which other readers may follow."""
    has_choice: bool = False
    """Whether the session or a medium has more than one c=."""
    oddities: list[str] = field(default_factory=list)
    """Lines that are not of their kind and were passed by: the number of each, and why."""

    def tell(self, text: bytes, at: int, what: str) -> None:
        """Remember a line that was passed by."""
        if len(self.oddities) < MAX_ODDITIES:
            self.oddities.append(told(text, at, what))


def told(body: bytes, at: int, what: str) -> str:
    """What is wrong in which line, as text."""
    return f"line {body.count(10, 0, at) + 1}: {what}"


def prefer(description: Description, host: Host) -> None:
    """If there are several c= lines, let the one that names this host count."""
    if not description.has_choice:
        return
    if description.connection is not None and description.others:
        first = description.connection
        chosen = next((one for one in (first, *description.others) if one.host == host), first)
        description.others = [one for one in (first, *description.others) if one is not chosen]
        description.connection = chosen
        for media in description.media:
            media.connection = chosen if media.connection is first else media.connection
    for media in description.media:
        if media.connection is not None and media.others:
            every = [media.connection, *media.others]
            media.connection = next((one for one in every if one.host == host), every[0])
            media.others = [one for one in every if one is not media.connection]
        media.settle()
