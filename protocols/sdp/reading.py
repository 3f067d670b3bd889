"""SDP as bytes: which lines of a description matter, and what is read in them (`description.py`).

RFC 8866 has the lines and their grammar.

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
from functools import lru_cache

from pyparsing import ParseException, Regex

from protocols.contract.addresses import Host, Malformed
from protocols.sdp.description import Address, Connection, Description, Direction, Media, Rtcp, told
from protocols.toolbox import grammar
from protocols.toolbox.spans import Span

MAX_BYTES = 65535
"""The longest body: what one datagram can carry. The largest WebRTC offers seen have a third of it."""

MAX_MEDIA = 16
"""The number of m= lines in one description. Phones offer two or three, conferences with BUNDLE about ten; each may
cost two relays (D49)."""


class TooManyMedia(Malformed):
    """A description has more than MAX_MEDIA media. Its author can be told so, for nothing else is wrong."""


# -- addresses -----------------------------------------------------------------------------------------------------

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
def _read_address(text: bytes) -> Address | None:
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
    return Address(
        host, family, token, host is not None and host.is_unspecified, host is not None and host.is_multicast
    )


# -- the lines -----------------------------------------------------------------------------------------------------

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


def _malformed(body: bytes, at: int, what: str) -> Malformed:
    """The error for this line."""
    return Malformed(told(body, at, what))


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
