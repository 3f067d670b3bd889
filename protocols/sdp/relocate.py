"""SDP: the same description with its media elsewhere, and what it still tells of a party's addresses.

House rules:
- Rewriting touches the tokens of an address or port that changes, adds at most a c= and an a=rtcp line to a media part,
  and removes whole lines of ICE. All other bytes stay as they came: order, line ends, unknown lines (X6, D1). A value
  that would not change keeps its spelling.
- What two readers could read in two ways is made to say one thing where media moves: each c= of a medium names its new
  place, and a second a=rtcp is taken out.
- A line that names the party's own address besides (an alternative, a filter of sources) is mapped or taken out with
  it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Literal, NamedTuple

from protocols.contract.addresses import Host, Malformed, text_of
from protocols.sdp.description import Connection, Description, Media
from protocols.sdp.reading import read_sdp, whole_line
from protocols.toolbox.spans import Span, replace

NO_NAMES: Mapping[Host, Host] = {}


class Move(NamedTuple):
    """The new place of a slot's media."""

    host: Host
    port: int
    rtcp_port: int | None
    """The port for RTCP on the same host. None: RTCP goes to the port of RTP, or there is none."""


# These are the lines of all drafts of ICE, with `alt` of its forerunner, and of Microsoft's variant. One name left over
# would be the half-way that D33 warns of.
_ICE_LINES = re.compile(
    rb"\n(?=(a=(?i:ice-[a-z0-9-]++|(?:x-|rtcp-)?(?:remote-)?candidates?+(?:-[a-z0-9-]++)?|end-of-candidates|alt)"
    rb"(?![^:\s])[^\n]*+\n?+))"
)

_TO_TITLE = re.compile(rb"m=[^\r\n]*+(?:[\r\n]++i=[^\r\n]*+)?")
"""From an m= line to where its c= belongs: RFC 8866 s.5, the order of lines."""

_TO_ATTRIBUTES = re.compile(rb"m=[^\r\n]*+(?:[\r\n]++[^am\r\n][^\r\n]*+)*")
"""From an m= line to where its first attribute belongs."""

_ALTERNATIVES = re.compile(rb"\n(?=(a=(?i:altc):[^\n]*+\n?+))")
"""RFC 6947: other places of the medium. When a medium has moved, none of them is its place any more."""
_FILTERS = re.compile(rb"\na=(?i:source-filter):(?P<value>[^\r\n]*+)")
"""RFC 4570: the sources whose packets are taken, and the address where they are taken."""
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

    `moves` has the new place of each slot that moves. Such media must be `is_movable`; the other slots stay as they
    are, and mean what they meant.

    `origin` is the address for o=, where that is an address now. It must be the same for all descriptions of one author
    (D2, D22).

    `ice`: "strip" removes every line of ICE, at both levels (D32). With "pass" there should be no moves: a peer that
    finds candidates beside an address that is not among them gives ICE up (D33).

    `names` has hosts that are known by another address where the description goes to. They are replaced where an
    address names a host and does not say where media goes: in filters of sources, and in the c= of a medium that is
    refused.

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
    # The sort is stable: lines that are inserted at one place stay in the order in which they were made.
    changes.sort(key=lambda change: change[0])
    return replace(body, changes)


def alike(body: bytes, model: Description, moves: Mapping[int, Move], names: Mapping[Host, Host]) -> bytes:
    """Another description of the same message. Those of its media that are where the model's media were go where the
    model's went."""
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
    """What the session's c= becomes (D4). None: it stays.

    It may change if all media that it serves move; media that goes elsewhere gets a c= of its own. It may also serve no
    media, because each medium has its own c= or is refused. Then it goes where the same address goes elsewhere in the
    description.
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
    """The host of a medium's c=."""
    return media.connection.host if media.connection is not None else None


def _move(body: bytes, media: Media, move: Move, session: Host | None) -> Iterator[Change]:
    """The changes that move one medium."""
    connection = media.connection
    assert connection is not None  # a movable medium has a c=
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
    """The changes that let an address name another host."""
    if host is None or connection.host == host or connection.is_unspecified:
        return
    family = b"IP%d" % host.version
    if body[connection.family_span.start : connection.family_span.end].upper() != family:
        yield connection.family_span, family
    yield connection.address_span, text_of(host).encode()


def _renumber(before: int, span: Span, port: int) -> Iterator[Change]:
    """The change that puts another port in place of one."""
    if before != port:
        yield span, b"%d" % port


def _insert(body: bytes, up_to: re.Pattern[bytes], media: Media, line: bytes) -> Change:
    """The change that adds a line. Its line end stands before it, so it can follow a last line that has none."""
    before = up_to.match(body, media.start)
    assert before is not None  # an m= line stands there
    return Span(before.end(), before.end()), line


def _filters(text: bytes, names: Mapping[Host, Host]) -> Iterator[Change]:
    """The changes that map the addresses in filters of sources."""
    for line in _FILTERS.finditer(text) if names and b"source-filter" in text else ():
        at = line.start("value")
        words = [(word, _address_in(word[0])) for word in _WORD.finditer(line["value"])]
        news = [(word, names[host]) for word, host in words if host is not None and host in names]
        if any(new.version != host.version for host, new in names.items()) and news:
            yield whole_line(line), b""  # a filter has one family for all its addresses
            continue
        for word, new in news:
            yield Span(at + word.start(), at + word.end()), str(new).encode()


def with_names(body: bytes, names: Mapping[Host, Host]) -> bytes:
    """A description whose media stays where it is: its filters of sources name hosts as its reader knows them."""
    changes = sorted(_filters(body, names))
    return replace(body, changes) if changes else body


def with_other_host(body: bytes, before: Host, after: Host) -> bytes:
    """A description that no media follows (RFC 3261 s.11: what a phone can do), with another host in it."""
    if before.version != after.version:
        return body
    host = re.escape(str(before).encode())
    lines = rb"(?m)^((?:[oc]=|a=rtcp:)[^\r\n]*\bIN[ \t]+IP[46][ \t]+)(?:%b(?=[ \t/\r\n]|\Z)|\[%b\])" % (host, host)
    return re.sub(lines, rb"\g<1>" + str(after).encode(), body, flags=re.IGNORECASE)


# -- what still tells an address -----------------------------------------------------------------------------------


class Residual(NamedTuple):
    """A line that holds an address. The line is named and not quoted, since it may hold a key as well (D16)."""

    line: int
    field: bytes
    """The name of the line: `c`, `i`, `a=candidate`."""
    host: Host

    @property
    def log_name(self) -> str:
        """What the log calls the line."""
        return f"sdp line {self.line} {self.field.decode('latin-1')}"


MAX_LOOKED_AT = 512
"""How many words of one body are looked at as addresses: this is for the log alone."""
_ANY_ADDRESS = re.compile(rb"(?<![0-9A-Za-z.])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]{2,45}+)(?![0-9A-Za-z])")
_FIELD = re.compile(rb"a=[^:\s]{0,40}|[^=\s]{0,40}")


def residual(body: bytes, hosts: Collection[Host]) -> list[Residual]:
    """The lines of a body where one of these addresses still stands, in whatever spelling (D15, X5)."""
    if all(host.version == 4 for host in hosts) and not any(text_of(host).encode() in body for host in hosts):
        return []
    lines = enumerate(body.split(b"\n"), 1)
    tokens = ((number, line, token) for number, line in lines for token in _ANY_ADDRESS.findall(line))
    found = ((number, line, _address_in(token)) for number, line, token in islice(tokens, MAX_LOOKED_AT))
    return [Residual(number, _field(line), host) for number, line, host in found if host is not None and host in hosts]


def _address_in(token: bytes) -> Host | None:
    """The address that this word is. None: it is something else."""
    try:
        host = ip_address(token.decode().rstrip("."))
    except ValueError:
        return None  # the word is a time, a fingerprint or a version
    return host.ipv4_mapped or host if isinstance(host, IPv6Address) else host


def _field(line: bytes) -> bytes:
    """The name of a line."""
    name = _FIELD.match(line)
    assert name is not None  # it may be empty
    return name[0]
