"""SDP: which media a description announces, and where. `relocate.py` writes the same with its media elsewhere.

RFC 8866 (the lines), RFC 3264 (port 0, hold), RFC 3605 (a=rtcp), RFC 5761 (a=rtcp-mux), RFC 8839 (ICE), RFC 9143
(BUNDLE). What offers and answers do to a call is not decided here; nothing here keeps state.

House rules:
- A body is read once, by one linear pattern that stops only at lines that say where media goes. Spans are offsets into
  that body.
- A hop in the middle reads strictly only what decides where media goes. A line that is none of its kind is passed by
  and told of (`oddities`), and costs at most its own medium.

Ports stand in the walking pattern itself and go through no grammar: they differ in every call, so no cache would help.
`nettype addrtype address`, which c=, o= and a=rtcp have in common, is the same for every call of a phone; it is read by
the grammar once and then remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from pyparsing import ParseException, Regex

from protocols.contract.addresses import Endpoint, Host, Malformed
from protocols.toolbox import grammar
from protocols.toolbox.spans import Span

MAX_BYTES = 65535
"""The longest body: what one datagram can carry. The largest WebRTC offers seen have a third of it."""

MAX_MEDIA = 16
"""The number of m= lines in one description. Phones offer two or three, conferences with BUNDLE about ten; each may
cost two relays (D49)."""

MAX_ODDITIES = 16
"""How many lines of one description the log tells of."""

_DISCARD = 9
"""The port of a medium that has none yet: ICE that trickles, or TCP that will only connect (D9)."""


class TooManyMedia(Malformed):
    """A description has more than MAX_MEDIA media. Its author can be told so, for nothing else is wrong."""


class Direction(Enum):
    """Which way media flows, as the author of the description sees it. RFC 8866 s.6.7."""

    SENDRECV = b"sendrecv"
    SENDONLY = b"sendonly"
    RECVONLY = b"recvonly"
    INACTIVE = b"inactive"


# -- addresses -----------------------------------------------------------------------------------------------------


class _Address(NamedTuple):
    """`IN IP4 192.0.2.1` taken apart; spans are offsets into that text."""

    host: Host | None
    family: Span
    token: Span
    is_unspecified: bool
    is_multicast: bool


# RFC 8866 s.9: nettype SP addrtype SP connection-address, and whatever words a phone adds behind it. Brackets around an
# IPv6 address, and an address of the other family than the word before it says, are seen in the field.
_ADDRESS = Regex(
    r"[ \t]{0,4}(?i:IN)[ \t]{1,4}(?P<family>(?i:IP[46]))[ \t]{1,4}"
    r"(?P<token>(?P<open>\[)?(?P<address>[0-9A-Za-z_.:-]{1,255})(?(open)\])(?:/[0-9]{1,3}){0,2})(?=[ \t\0]|\Z)",
    as_match=True,
)
# pyparsing would skip blanks, and make eight of each tab: then no span would be right.
_ADDRESS.leave_whitespace().parse_with_tabs()

_NUMERIC = re.compile(r"[0-9.]+|.*:.*")
_MAX_ADDRESS_BYTES = 320
"""The longest text that is read as an address: a host name of 255 bytes, the words before it, and some behind."""


@lru_cache(maxsize=4096)
def _read_address(text: bytes) -> _Address | None:
    """The address in this text. None: the text is no address. The host in it is None for a name, and for the `-` of
    authors who tell none."""
    try:
        match = _ADDRESS.parse_string(text.decode("latin-1"))[0]
        host: Host | None = None
        if _NUMERIC.fullmatch(match["address"]):
            piece = grammar.IPV6 if ":" in match["address"] else grammar.IPV4
            host = grammar.read(piece, match["address"].encode())
    except (ParseException, Malformed):
        return None
    family, token = Span(*match.span("family")), Span(*match.span("token"))
    return _Address(
        host, family, token, host is not None and host.is_unspecified, host is not None and host.is_multicast
    )


class Connection(NamedTuple):
    """An address of a description, and where it stands there."""

    value: _Address
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
            self.oddities.append(_told(text, at, what))


# -- reading -------------------------------------------------------------------------------------------------------

_BEGIN = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*+v=")

# A CR may be half of a line end, or the last byte that a wrong Content-Length left; some phones write CR CR LF, and
# some end their lines by CR alone.
_BARE_CR = re.compile(rb"\r(?![\r\n]|\Z)")

# The pattern stops only at lines that matter, and is possessive, so linear. Names of attributes are compared up to the
# colon (D11), and in any case: SendRecv is seen in the field. So are users with blanks in their names (o=).
_LINES = re.compile(
    rb"""
    \n(?:
        (?P<media>m=(?:
            (?P<kind>[^ \t\r\n]++) [ \t]++ (?P<port>[0-9]{1,5}+) (?:/(?P<count>[0-9]{1,5}+))? [ \t]++
            (?P<proto>[^ \t\r\n]++)
        )?)
    |   c=(?P<connection>[^\r\n]*+)
    |   (?P<origin>o=
            (?P<key>[^ \t\r\n]++ (?:[ \t]++[^ \t\r\n]++){1,7}?) [ \t]++ (?P<version>[^ \t\r\n]++) [ \t]++
            (?P<author>(?i:IN)[ \t][^\r\n]*+)
        )
    |   a=(?i:
            (?P<direction>sendrecv|sendonly|recvonly|inactive)(?![^ \t\r\n])
        |   rtcp:(?P<rtcp>[^\r\n]*+)
        |   (?P<mux>rtcp-mux)(?![^ \t\r\n])
        |   mid:(?P<mid>[^ \t\r\n]*+)
        |   (?P<bundle_only>bundle-only)(?![^ \t\r\n])
        |   setup:(?P<setup>[^ \t\r\n]*+)
        |   (?P<ice>candidate|ice-ufrag):
        |   group:BUNDLE(?P<group>[ \t][^\r\n]*+)
        )
    |   (?P<second>v=)
    )
    """,
    re.VERBOSE,
)

_LINE_END = re.compile(rb"[^\r\n]*+\r*\n?")
_DIRECTIONS = {direction.value: direction for direction in Direction}


def read_sdp(body: bytes) -> Description:
    """Read one session description.

    Raises Malformed, with the number of the line and what is wrong there, if the description cannot be followed: no v=,
    a second one, more than MAX_MEDIA media, more than MAX_BYTES. An m= without a port, a c= or a=rtcp that is none, and
    a live slot without c= (D3) become `oddities`. Lines that do not say where media goes may hold anything.
    """
    if len(body) > MAX_BYTES:
        raise Malformed(f"more than {MAX_BYTES} bytes")
    begin = _BEGIN.search(body)
    if begin is None:
        raise Malformed("line 1: no v=")
    text = body if body.count(b"\r") == body.count(b"\r\n") else _BARE_CR.sub(b"\n", body)
    description = Description(body, text)
    media: Media | None = None
    for line in _LINES.finditer(text, begin.end()):
        field_name = line.lastgroup
        if field_name == "media":
            media = _read_media(description, line)
            description.media.append(media)
        elif field_name == "second":
            raise _malformed(body, line.start() + 1, "a second v=")
        elif media is None:
            _session_line(description, line)
        else:
            _media_line(description, media, line)
    for media in description.media:
        media.settle()
        if media.connection is None and media.is_live:
            description.tell(text, media.start, "no c= for this medium")
    return description


def whole_line(line: re.Match[bytes]) -> Span:
    """The line with its own line end, and without that of the line before it."""
    end = _LINE_END.match(line.string, line.end())
    return Span(line.start() + 1, end.end() if end is not None else line.end())


def _told(body: bytes, at: int, what: str) -> str:
    """What is wrong in which line, as text."""
    return f"line {body.count(10, 0, at) + 1}: {what}"


def _malformed(body: bytes, at: int, what: str) -> Malformed:
    """The error for this line."""
    return Malformed(_told(body, at, what))


def _read_media(description: Description, line: re.Match[bytes]) -> Media:
    """The medium of an m= line."""
    slot = len(description.media)
    if slot == MAX_MEDIA:
        raise TooManyMedia(*_malformed(line.string, line.start("media"), f"more than {MAX_MEDIA} media").args)
    kind, port, count, proto = line.group("kind", "port", "count", "proto")
    number, pairs = int(port or 0), int(count or 1)
    if kind is None or number > 65535 or not pairs:
        # The line keeps its place among the media (D10), but no peer could send to it.
        what = "m= without a port" if kind is None else "port above 65535, or none of them"
        description.tell(line.string, line.start("media"), what)
        kind, proto, number, pairs = kind or b"", proto or b"", 0, 1
    return Media(
        line.string,
        slot,
        line.start("media"),
        kind.lower(),
        number,
        Span(*line.span("port")),
        pairs,
        proto.lower(),
        description.direction,
        description.setup,
        description.has_ice,
        description.connection,
    )


def _session_line(description: Description, line: re.Match[bytes]) -> None:
    """Read a line before the first m=."""
    match line.lastgroup:
        case "origin":
            if description.origin is None:
                description.origin_key, description.origin_version = line.group("key", "version")
                description.origin = _connection(line["author"], line.start("author"), True)
        case "connection":
            connection = _read_connection(description, line, True)
            if connection is not None and description.connection is not None:
                description.others.append(connection)
                description.has_choice = True
            else:
                description.connection = connection or description.connection
        case "direction":
            description.direction = _DIRECTIONS[line["direction"].lower()]
        case "setup":
            description.setup = line["setup"].lower()
        case "ice":
            description.has_ice = True
        case "group":
            description.groups.append(tuple(line["group"].split()))
        case _:
            pass  # a=rtcp and the like mean something only for a medium


def _media_line(description: Description, media: Media, line: re.Match[bytes]) -> None:
    """Read a line that belongs to a medium."""
    match line.lastgroup:
        case "direction":
            media.direction = _DIRECTIONS[line["direction"].lower()]
        case "connection":
            connection = _read_connection(description, line)
            if connection is None:
                return
            # Several c= lines are for layers of multicast alone (D5).
            if media.connection is not None and not media.connection.is_session_level:
                media.others.append(connection)
                description.has_choice = True
            else:
                media.connection = connection
        case "rtcp":
            rtcp = _read_rtcp(description, line)
            if rtcp is None or media.rtcp is not None:
                media.surplus.append(whole_line(line))
            else:
                media.rtcp = rtcp
        case "mux":
            media.is_mux = True
        case "mid":
            media.mid = line["mid"]
        case "bundle_only":
            media.is_bundle_only = True
        case "setup":
            media.setup = line["setup"].lower()
        case "ice":
            media.has_ice = True
        case _:
            pass  # o= and a=group belong above all media


def _connection(text: bytes, at: int, is_session_level: bool) -> Connection | None:
    """The address in this text, as it stands in the description."""
    address = _read_address(text) if len(text) <= _MAX_ADDRESS_BYTES else None
    return None if address is None else Connection(address, at, is_session_level)


def _read_connection(
    description: Description, line: re.Match[bytes], is_session_level: bool = False
) -> Connection | None:
    """The address of a c= line. None: it is none, and is told of."""
    connection = _connection(line["connection"], line.start("connection"), is_session_level)
    if connection is None:
        what = "c= is not IN, IP4 or IP6, and an address"
        description.tell(line.string, line.start() + 1, what)
    return connection


_RTCP = re.compile(rb"[ \t]*+(?P<port>[0-9]{1,5}+)[ \t]*+(?P<address>(?<=[ \t])[^ \t].*+)?\Z", re.DOTALL)


def _read_rtcp(description: Description, line: re.Match[bytes]) -> Rtcp | None:
    """The value of an a=rtcp line. None: it is none, and is told of."""
    at = line.start("rtcp")
    value = _RTCP.match(line["rtcp"])
    if value is None or int(value["port"]) > 65535:
        description.tell(line.string, at, "a=rtcp without a port")
        return None
    connection = None
    if value["address"] is not None:
        connection = _connection(value["address"], at + value.start("address"), False)
        if connection is None:
            what = "the address of a=rtcp is not IN, IP4 or IP6, and an address"
            description.tell(line.string, at, what)
            return None
    return Rtcp(int(value["port"]), Span(at + value.start("port"), at + value.end("port")), connection)


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
