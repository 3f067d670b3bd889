"""SDP: which media a description announces and where, and the same description with its media elsewhere.

RFC 8866 (the lines), RFC 3264 (port 0, hold), RFC 3605 (a=rtcp), RFC 5761 (a=rtcp-mux), RFC 8839 (ICE), RFC 9143
(BUNDLE). What offers and answers do to a call is not decided here; nothing here keeps state.

House rules:
- A body is read once, by one linear pattern that stops only at lines that say where media goes. Spans are offsets into
  that body.
- Rewriting touches the tokens of an address or port that changes, adds at most a c= and an a=rtcp line to a media part,
  and removes whole lines of ICE. All other bytes stay as they came: order, line ends, unknown lines (X6, D1). A value
  that would not change keeps its spelling.
- A hop in the middle reads strictly only what decides where media goes. A line that is none of its kind is passed by
  and told of (`oddities`), and costs at most its own medium. What two readers could read in two ways is made to say one
  thing where media moves: each c= of a medium names its new place, and a second a=rtcp is taken out.
- What names the party's own address besides (an alternative, a filter of sources) is mapped or taken out with it.

Ports stand in the walking pattern itself and go through no grammar: they differ in every call, so no cache would help.
`nettype addrtype address`, which c=, o= and a=rtcp have in common, is the same for every call of a phone; it is read by
the grammar once and then remembered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Literal, NamedTuple

from pyparsing import ParseException, Regex

from protocols import grammar
from protocols.engine import Endpoint, Host, Malformed
from protocols.spans import Span, replace

MAX_BYTES = 65535
"""What one datagram can carry; the largest WebRTC offers seen have a third of it."""

NO_NAMES: Mapping[Host, Host] = {}

MAX_MEDIA = 16
"""m= lines in one description. Phones offer two or three, conferences with BUNDLE about ten; each may cost two relays
(D49)."""

MAX_ODDITIES = 16
"""Lines of one description that the log tells of."""

_DISCARD = 9
"""The port of a medium that has none yet: ICE that trickles, or TCP that will only connect (D9)."""


class TooManyMedia(Malformed):
    """More than MAX_MEDIA: who offers them can be told so, for there is nothing else wrong."""


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
"""A host name of 255 bytes, the words before it, and some behind."""


@lru_cache(maxsize=4096)
def _read_address(text: bytes) -> _Address | None:
    """None if the text is no address. The host in it is None for a name, and for the `-` of those who tell none."""
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
        """None for a name, which is never looked up here (D6)."""
        return self.value.host

    @property
    def family_span(self) -> Span:
        """The word IP4 or IP6."""
        return Span(self.at + self.value.family.start, self.at + self.value.family.end)

    @property
    def address_span(self) -> Span:
        """The address or name, with /ttl and /count if there are any."""
        return Span(self.at + self.value.token.start, self.at + self.value.token.end)

    @property
    def is_unspecified(self) -> bool:
        """0.0.0.0 or `::`: hold as RFC 2543 had it, or an address that is not known yet."""
        return self.value.is_unspecified

    @property
    def is_multicast(self) -> bool:
        return self.value.is_multicast


# -- a description -------------------------------------------------------------------------------------------------


class Rtcp(NamedTuple):
    """a=rtcp: where RTCP goes, if not to the port above RTP. RFC 3605 s.2.1."""

    port: int
    port_span: Span
    connection: Connection | None
    """None: the address of c=."""

    @property
    def is_placeholder(self) -> bool:
        """No port that anybody listens on. WebRTC writes `a=rtcp:9 IN IP4 0.0.0.0` whatever its m= line says."""
        return self.port in (0, _DISCARD)


@dataclass(slots=True)
class Media:
    """One m= line and what follows it. `kind`, `proto` and `setup` are in lower case, all else as it came."""

    slot: int
    """Its place among the m= lines, from 0: all that pairs an answer with its offer (D10)."""
    start: int
    """Where the m= line begins."""
    kind: bytes
    port: int
    port_span: Span
    count: int
    """Pairs of ports in a row (D7), nearly always 1."""
    proto: bytes
    direction: Direction
    setup: bytes | None
    has_ice: bool
    connection: Connection | None = None
    """The c= in force, its own or that of the session. None only if the slot is not live, or no c= can be read."""
    others: list[Connection] = field(default_factory=list)
    """Further c= lines of its own, which other readers may go by."""
    rtcp: Rtcp | None = None
    surplus: list[Span] = field(default_factory=list)
    """Further a=rtcp lines."""
    is_mux: bool = False
    is_bundle_only: bool = False
    mid: bytes | None = None

    @property
    def is_live(self) -> bool:
        """Not refused or removed by port 0 (D8), nor without a port as yet (D9).

        bundle-only says something in offers alone; in an answer port 0 means no whatever stands beside it.
        """
        return self.is_bundle_only if self.port == 0 else self.port != _DISCARD

    @property
    def is_hold(self) -> bool:
        """The author does not want to receive (D25). The answer to sendonly is recvonly, which is not seen here."""
        return self.direction in (Direction.SENDONLY, Direction.INACTIVE) or (
            self.connection is not None and self.connection.is_unspecified
        )

    @property
    def is_rtp(self) -> bool:
        return b"rtp" in self.proto.split(b"/")

    @property
    def is_udptl(self) -> bool:
        """T.38 over UDP: one port, no RTCP, nothing in it looks like RTP (D43)."""
        return self.proto.endswith(b"udptl")

    @property
    def is_tcp(self) -> bool:
        """MSRP, BFCP, T.38 and RTP over TCP: a=setup decides who connects, not the port alone (D48)."""
        return self.proto.startswith(b"tcp")

    @property
    def is_movable(self) -> bool:
        """Live, over UDP, and at a single address that is written as one: what `relocate` takes a Move for.

        False for TCP and other transports, host names and multicast; these are left alone (D5, D6, D48).
        """
        return (
            self.is_live
            and self.proto.startswith((b"rtp", b"udp", b"dtls"))
            and self.connection is not None
            and self.connection.host is not None
            and not self.connection.is_multicast
        )

    @property
    def obstacle(self) -> str | None:
        """Why a live medium cannot move, as one snake_case word; None if it can, or is not live."""
        if self.is_movable or not self.is_live:
            return None
        if self.connection is None:
            return "no_address"
        if self.connection.host is None:
            return "host_name"
        return "multicast" if self.connection.is_multicast else "other_transport"

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the author wants to receive. None for what is not live, hold by address, a name, multicast."""
        return self._endpoint(self.connection, self.port) if self.is_live else None

    @property
    def rtcp_endpoint(self) -> Endpoint | None:
        """Where the author wants to receive RTCP that is not multiplexed: a=rtcp, or the port above RTP (D12)."""
        if not self.is_live or not self.is_rtp:
            return None
        if self.rtcp is None:
            return self._endpoint(self.connection, self.port and self.port + 1)
        if self.rtcp.is_placeholder:
            return None
        return self._endpoint(self.rtcp.connection or self.connection, self.rtcp.port)

    @staticmethod
    def _endpoint(connection: Connection | None, port: int) -> Endpoint | None:
        if connection is None or connection.host is None or not 0 < port < 65536:
            return None
        if connection.is_unspecified or connection.is_multicast:
            return None
        return Endpoint(connection.host, port)


@dataclass(slots=True)
class Description:
    body: bytes
    text: bytes
    """The same with each line ended by LF: as long, so that offsets are those of the body."""
    origin: Connection | None = None
    """The address of o=, which names the author and is nowhere to send media to (D2). None: no o= line that one can
    read."""
    origin_key: bytes = b""
    """User and session id of o=: the same in all descriptions that one author makes for a session."""
    origin_version: bytes = b""
    """The same version: the same description (D22)."""
    connection: Connection | None = None
    """The c= of the session level."""
    media: list[Media] = field(default_factory=list)
    direction: Direction = Direction.SENDRECV
    setup: bytes | None = None
    has_ice: bool = False
    groups: list[tuple[bytes, ...]] = field(default_factory=list)
    """The mids of each a=group:BUNDLE (D17)."""
    others: list[Connection] = field(default_factory=list)
    """Further c= lines of the session level, which other readers may go by."""
    has_choice: bool = False
    """Somewhere there is more than one c= to go by."""
    oddities: list[str] = field(default_factory=list)
    """Lines that are not of their kind and were passed by: the number of each, and why."""

    def tell(self, text: bytes, at: int, what: str) -> None:
        if len(self.oddities) < MAX_ODDITIES:
            self.oddities.append(_told(text, at, what))


# -- reading -------------------------------------------------------------------------------------------------------

_BEGIN = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]*+v=")

# A CR may be half of a line end, or the last byte that a wrong Content-Length left; some phones write CR CR LF, and
# some end their lines by CR alone.
_BARE_CR = re.compile(rb"\r(?![\r\n]|\Z)")

# Stops only at lines that matter; possessive, so linear. Names of attributes are compared up to the colon (D11), and in
# any case: SendRecv is seen in the field. So are users with blanks in their names (o=).
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

    Raises Malformed, with the number of the line and what is wrong there, if it cannot be followed: no v=, a second
    one, more than MAX_MEDIA media, more than MAX_BYTES. An m= without a port, a c= or a=rtcp that is none, a live slot
    without c= (D3) are `oddities`. Lines that do not say where media goes may hold anything.
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
        if media.connection is None and media.is_live:
            description.tell(text, media.start, "no c= for this medium")
    return description


def _whole_line(line: re.Match[bytes]) -> Span:
    """The line with its own line end, and without that of the line before it."""
    end = _LINE_END.match(line.string, line.end())
    return Span(line.start() + 1, end.end() if end is not None else line.end())


def _told(body: bytes, at: int, what: str) -> str:
    return f"line {body.count(10, 0, at) + 1}: {what}"


def _malformed(body: bytes, at: int, what: str) -> Malformed:
    return Malformed(_told(body, at, what))


def _read_media(description: Description, line: re.Match[bytes]) -> Media:
    slot = len(description.media)
    if slot == MAX_MEDIA:
        raise TooManyMedia(*_malformed(line.string, line.start("media"), f"more than {MAX_MEDIA} media").args)
    kind, port, count, proto = line.group("kind", "port", "count", "proto")
    number, pairs = int(port or 0), int(count or 1)
    if kind is None or number > 65535 or not pairs:
        # The line keeps its place among the media (D10), and is none that anybody could send to.
        what = "m= without a port" if kind is None else "port above 65535, or none of them"
        description.tell(line.string, line.start("media"), what)
        kind, proto, number, pairs = kind or b"", proto or b"", 0, 1
    return Media(
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
            pass  # a=rtcp and the like mean something beside a medium only


def _media_line(description: Description, media: Media, line: re.Match[bytes]) -> None:
    match line.lastgroup:
        case "direction":
            media.direction = _DIRECTIONS[line["direction"].lower()]
        case "connection":
            connection = _read_connection(description, line)
            if connection is None:
                return
            # Several are for layers of multicast alone (D5).
            if media.connection is not None and not media.connection.is_session_level:
                media.others.append(connection)
                description.has_choice = True
            else:
                media.connection = connection
        case "rtcp":
            rtcp = _read_rtcp(description, line)
            if rtcp is None or media.rtcp is not None:
                media.surplus.append(_whole_line(line))
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
            pass  # o= and a=group stand above all media


def _connection(text: bytes, at: int, is_session_level: bool) -> Connection | None:
    address = _read_address(text) if len(text) <= _MAX_ADDRESS_BYTES else None
    return None if address is None else Connection(address, at, is_session_level)


def _read_connection(
    description: Description, line: re.Match[bytes], is_session_level: bool = False
) -> Connection | None:
    connection = _connection(line["connection"], line.start("connection"), is_session_level)
    if connection is None:
        what = "c= is not IN, IP4 or IP6, and an address"
        description.tell(line.string, line.start() + 1, what)
    return connection


_RTCP = re.compile(rb"[ \t]*+(?P<port>[0-9]{1,5}+)[ \t]*+(?P<address>(?<=[ \t])[^ \t].*+)?\Z", re.DOTALL)


def _read_rtcp(description: Description, line: re.Match[bytes]) -> Rtcp | None:
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


# -- the same with its media elsewhere -----------------------------------------------------------------------------


class Move(NamedTuple):
    """Where a slot's media is to go instead."""

    host: Host
    port: int
    rtcp_port: int | None
    """Where RTCP goes on the same host. None: to the port of RTP, or there is none."""


# All that ICE has written in any of its drafts, `alt` of its forerunner among it, and what Microsoft made of it. One
# name left over would be the half-way that D33 warns of.
_ICE_LINES = re.compile(
    rb"\n(?=(a=(?i:ice-[a-z0-9-]++|(?:x-|rtcp-)?(?:remote-)?candidates?+(?:-[a-z0-9-]++)?|end-of-candidates|alt)"
    rb"(?![^:\s])[^\n]*+\n?+))"
)

_TO_TITLE = re.compile(rb"m=[^\r\n]*+(?:[\r\n]++i=[^\r\n]*+)?")
"""From an m= to where its c= belongs: RFC 8866 s.5, the order of lines."""

_TO_ATTRIBUTES = re.compile(rb"m=[^\r\n]*+(?:[\r\n]++[^am\r\n][^\r\n]*+)*")
"""From an m= to where its first attribute belongs."""

_ALTERNATIVES = re.compile(rb"\n(?=(a=(?i:altc):[^\n]*+\n?+))")
"""RFC 6947: where else the medium is. One of a medium that is elsewhere now is none of its places any more."""
_FILTERS = re.compile(rb"\na=(?i:source-filter):(?P<value>[^\r\n]*+)")
"""RFC 4570: whose packets are taken, and at which address."""
_WORD = re.compile(rb"[^ \t]++")

Change = tuple[Span, bytes]


def without_ice(body: bytes) -> bytes:
    """A description, or a fragment of one (RFC 8840 s.9), without its lines of ICE."""
    text = b"\n" + body
    return replace(text, ((Span(*line.span(1)), b"") for line in _ICE_LINES.finditer(text)))[1:]


def relocate(
    description: Description,
    moves: Mapping[int, Move],
    origin: Host | None,
    ice: Literal["strip", "pass"],
    names: Mapping[Host, Host] = NO_NAMES,
) -> bytes:
    """The body with the media of some slots elsewhere.

    moves: by slot, for media that are `is_movable`; the other slots stay as they are, and mean what they meant.
    origin: the address for o=, where that is an address now. It must be the same for all descriptions of one author
    (D2, D22).
    ice: "strip" removes every line of ICE, at both levels (D32). With "pass" there should be no moves: a peer that
    finds candidates beside an address that is not among them gives ICE up (D33).
    names: hosts that are known by another address where the description goes to. They are replaced where an address
    says who somebody is and not where media goes: in filters of sources, and in the c= of a medium that is refused.
    Raises ValueError for a slot that cannot move; that is a bug of the caller.

    The same arguments give the same bytes. An address 0.0.0.0 or `::` stays, since it says hold (D25), and port 0 stays
    for bundle-only. An address and the word IP4 or IP6 before it change together (D47).
    """
    body = description.body
    for slot in moves:
        if not (0 <= slot < len(description.media) and description.media[slot].is_movable):
            raise ValueError(f"slot {slot} cannot move")
    changes: list[Change] = []
    if origin is not None and description.origin is not None and description.origin.host is not None:
        changes += _point(body, description.origin, origin)
    session = _session_host(description, moves, origin)
    if session is not None and description.connection is not None:
        for one in (description.connection, *description.others):
            changes += _point(body, one, session)
    for slot, move in moves.items():
        changes += _move(body, description.media[slot], move, session)
    for media in description.media:
        connection = media.connection
        if connection is not None and not connection.is_session_level and not media.is_live:
            changes += _point(body, connection, names.get(connection.host) if connection.host else None)
    if ice == "strip":
        changes += ((Span(*line.span(1)), b"") for line in _ICE_LINES.finditer(description.text))
    if moves and b"altc" in description.text.lower():
        changes += ((Span(*line.span(1)), b"") for line in _ALTERNATIVES.finditer(description.text))
    if names:
        changes += _filters(description.text, names)
    # Stable: what is inserted at one place stays in the order in which it was made.
    changes.sort(key=lambda change: change[0])
    return replace(body, changes)


def alike(body: bytes, model: Description, moves: Mapping[int, Move], names: Mapping[Host, Host]) -> bytes:
    """Another description of the same message, with those of its media elsewhere that are where the model's were."""
    try:
        description = read_sdp(body)
    except Malformed:
        return body
    places = {model.media[slot].endpoint: move for slot, move in moves.items()}
    same = {
        medium.slot: places[medium.endpoint]
        for medium in description.media
        if medium.is_movable and medium.endpoint is not None and medium.endpoint in places
    }
    return relocate(description, same, None, "strip", names)


def _session_host(description: Description, moves: Mapping[int, Move], origin: Host | None) -> Host | None:
    """What the session's c= becomes (D4), or None if it stays.

    It may change if all media that it serves move; those that go elsewhere get a c= of their own. If it serves none,
    because each has its own or is refused, it goes where the same address goes that is elsewhere in the description.
    """
    connection = description.connection
    if connection is None or connection.host is None:
        return None
    served = [media.slot for media in description.media if media.connection is connection and media.port]
    if served:
        return moves[served[0]].host if all(slot in moves for slot in served) else None
    if origin is not None and description.origin is not None and description.origin.host == connection.host:
        return origin
    return next((moves[slot].host for slot in sorted(moves) if _host(description.media[slot]) == connection.host), None)


def _host(media: Media) -> Host | None:
    return media.connection.host if media.connection is not None else None


def _move(body: bytes, media: Media, move: Move, session: Host | None) -> Iterator[Change]:
    connection = media.connection
    assert connection is not None  # it is movable
    end = next((end for end in (b"\r\n", b"\n") if end in body), b"\r")
    yield from ((span, b"") for span in media.surplus)
    if not connection.is_session_level:
        for one in (connection, *media.others):
            yield from _point(body, one, move.host)
    elif not connection.is_unspecified and (session or connection.host) != move.host:
        yield _insert(body, _TO_TITLE, media, end + b"c=IN IP%d %b" % (move.host.version, str(move.host).encode()))
    if not media.port:
        return
    yield from _renumber(media.port, media.port_span, move.port)
    if media.rtcp is None:
        if media.is_rtp and move.rtcp_port not in (None, move.port + 1):
            yield _insert(body, _TO_ATTRIBUTES, media, end + b"a=rtcp:%d" % move.rtcp_port)
    elif not media.rtcp.is_placeholder:
        yield from _renumber(media.rtcp.port, media.rtcp.port_span, move.rtcp_port or move.port)
        if media.rtcp.connection is not None:
            yield from _point(body, media.rtcp.connection, move.host)


def _point(body: bytes, connection: Connection, host: Host | None) -> Iterator[Change]:
    if host is None or connection.host == host or connection.is_unspecified:
        return
    family = b"IP%d" % host.version
    if body[connection.family_span.start : connection.family_span.end].upper() != family:
        yield connection.family_span, family
    yield connection.address_span, str(host).encode()


def _renumber(before: int, span: Span, port: int) -> Iterator[Change]:
    if before != port:
        yield span, b"%d" % port


def _insert(body: bytes, up_to: re.Pattern[bytes], media: Media, line: bytes) -> Change:
    """A line, its end before it: so it can follow a last line that has none."""
    before = up_to.match(body, media.start)
    assert before is not None  # an m= line stands there
    return Span(before.end(), before.end()), line


def _filters(text: bytes, names: Mapping[Host, Host]) -> Iterator[Change]:
    for line in _FILTERS.finditer(text) if names and b"source-filter" in text else ():
        at = line.start("value")
        words = [(word, _address_in(word[0])) for word in _WORD.finditer(line["value"])]
        news = [(word, names[host]) for word, host in words if host is not None and host in names]
        if any(new.version != host.version for host, new in names.items()) and news:
            yield _whole_line(line), b""  # a filter has one family for all its addresses
            continue
        for word, new in news:
            yield Span(at + word.start(), at + word.end()), str(new).encode()


def with_names(body: bytes, names: Mapping[Host, Host]) -> bytes:
    """A description whose media stays where it is: its filters of sources name hosts as its reader knows them."""
    changes = sorted(_filters(body, names))
    return replace(body, changes) if changes else body


def prefer(description: Description, host: Host) -> None:
    """Of several c= lines, the one that names this host counts."""
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


def with_other_host(body: bytes, before: Host, after: Host) -> bytes:
    """Of a description that no media follows (RFC 3261 s.11: what somebody can do): the same, of another host."""
    if before.version != after.version:
        return body
    host = re.escape(str(before).encode())
    lines = rb"(?m)^((?:[oc]=|a=rtcp:)[^\r\n]*\bIN[ \t]+IP[46][ \t]+)(?:%b(?=[ \t/\r\n]|\Z)|\[%b\])" % (host, host)
    return re.sub(lines, rb"\g<1>" + str(after).encode(), body, flags=re.IGNORECASE)


# -- what still tells an address -----------------------------------------------------------------------------------


class Residual(NamedTuple):
    """A line that holds an address. It is named and not quoted: it may hold a key as well (D16)."""

    line: int
    field: bytes
    """`c`, `i`, `a=candidate`."""
    host: Host


MAX_LOOKED_AT = 512
"""What may be an address, of one body: it is for the log alone."""
_ANY_ADDRESS = re.compile(rb"(?<![0-9A-Za-z.])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]{2,45}+)(?![0-9A-Za-z])")
_FIELD = re.compile(rb"a=[^:\s]{0,40}|[^=\s]{0,40}")


def residual(body: bytes, hosts: Collection[Host]) -> list[Residual]:
    """Where one of these addresses still stands in a body, in whatever line and spelling (D15, X5)."""
    if all(host.version == 4 for host in hosts) and not any(str(host).encode() in body for host in hosts):
        return []
    lines = enumerate(body.split(b"\n"), 1)
    tokens = ((number, line, token) for number, line in lines for token in _ANY_ADDRESS.findall(line))
    found = ((number, line, _address_in(token)) for number, line, token in islice(tokens, MAX_LOOKED_AT))
    return [Residual(number, _field(line), host) for number, line, host in found if host is not None and host in hosts]


def _address_in(token: bytes) -> Host | None:
    try:
        host = ip_address(token.decode().rstrip("."))
    except ValueError:
        return None  # a time, a fingerprint, a version
    return host.ipv4_mapped or host if isinstance(host, IPv6Address) else host


def _field(line: bytes) -> bytes:
    name = _FIELD.match(line)
    assert name is not None  # it may be empty
    return name[0]
