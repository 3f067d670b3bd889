"""Reads values of SIP header fields that do not follow the grammar, as far as something can be found in them.

A hop in the middle reads strictly only what decides about an address of ours, a call or a pinhole. Everything else
passes byte for byte and is noted. A value is refused only if it decides about one of these and cannot be read. The
reason: the two ends of a call agree on many things that the grammar does not know, and a hop that does not use a value
gains nothing by refusing it.

So a value is read by the grammar (values.py) first. A value that does not follow the grammar is read once more here, as
most SIP stacks would read it. That opens nothing that a well-formed value would not: the address that is found decides
who may be named, and whoever writes an odd value could have written a plain one.

House rules:
- Nothing here raises. What is not found is None, and a value in which nothing is found passes as it came.
- An address of ours that the structure of the value does not show is still found by its spelling (`renamed`). If it
  were left there, the other side would learn it.
- Where a parameter is given twice the first one counts. What depends on the parameter is not opened wider by that.
- The work is linear in the length of the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar, cast

from protocols.contract.addresses import Endpoint, Host, Malformed
from protocols.sip import remembered
from protocols.sip.remembered import read_address, read_uri, read_via
from protocols.sip.values import (
    HEADER_PARAMETER,
    MAX_VALUES,
    REMEMBERED,
    STAR,
    URI_PARAMETER,
    Address,
    Parameter,
    Parameters,
    Via,
    read_host,
    stripped,
)
from protocols.toolbox.spans import Span

Value = TypeVar("Value")

_BLANK = rb"[ \t\r\n]*+"

# Some senders leave out the brackets around an IPv6 address, or write a zone behind the address. A number with a sixth
# digit is no port, and neither is one with a letter behind it that could be part of a name.
_HOST = (
    rb"(?P<host>\[[^\]\s<>@;?,]{2,64}\]|(?:[0-9A-Fa-f]{0,4}:){2,8}[0-9A-Fa-f.]{0,15}|[A-Za-z0-9_.-]{1,255}+)"
    rb"(?:(?P<colon>" + _BLANK + rb":" + _BLANK + rb")(?P<port>[0-9]*+))?"
)
_HOSTPORT = re.compile(_BLANK + _HOST)
_BRACKETED = re.compile(rb"<[ \t\r\n]*+(?=(?i:sips?):)")
_SCHEME = re.compile(rb"(?<![A-Za-z0-9.+-])(?P<scheme>(?i:sips?)):")
_ANY_STAR = re.compile(_BLANK + rb"\*" + _BLANK + rb"(?:;.*)?\Z", re.DOTALL)
_VIA = re.compile(
    _BLANK + rb"(?i:SIP)" + _BLANK + rb"/" + _BLANK + rb"[^/\s;,]++" + _BLANK + rb"/" + _BLANK
    + rb"(?P<transport>[^\s;,/]++)[ \t\r\n]++" + _HOST
)  # fmt: skip
_TAG = re.compile(rb";[ \t\r\n]*+(?i:tag)[ \t\r\n]*+=[ \t\r\n]*+\"?([^;,<>\" \t\r\n\0]++)")

_BEHIND_HOST = re.compile(rb"[;?]")
_MAX_ATS = 8
"""How many signs `@` of one value are tried. A host is looked for behind each of them."""
_MAX_BYTES = 512
"""Values longer than this are not remembered."""


_Place = tuple[Host | bytes | None, Span | None, int | None, Span | None, int]
_NOWHERE: _Place = (None, None, None, None, 0)


def _hostport(value: bytes, match: re.Match[bytes]) -> _Place:
    """Host and port as found, where they stand, and where the rest of the value begins.

    A colon with nothing behind it goes with the host, as an empty port that stands behind the colon. A number that is
    no port is ignored, so that the host alone is mapped.
    """
    at, text = Span(*match.span("host")), match["host"]
    if text.startswith(b"["):
        text = text.strip(b"[]").partition(b"%")[0].join((b"[", b"]"))  # a zone means nothing to another host
    elif b":" in text:
        text = b"[%b]" % text
    try:
        host: Host | bytes | None = read_host(text)
    except Malformed:
        return None, None, None, None, at.end
    if match["colon"] is None:
        return host, at, None, None, at.end
    port_at, digits = Span(*match.span("port")), match["port"]
    if not digits:
        return host, at, None, port_at, port_at.end
    if len(digits) > 5 or not 0 < int(digits) < 65536:
        return host, at, None, None, port_at.end
    return host, at, int(digits), port_at, port_at.end


def _first_of_each(pattern: re.Pattern[bytes], value: bytes, start: int, end: int) -> Parameters:
    """The parameters between start and end. Of parameters with the same name the first one counts."""
    found: dict[bytes, Parameter] = {}
    for match in pattern.finditer(value, start, end):
        name, text = match["name"].lower(), match["value"]
        if name in found:
            continue
        at = Span(*match.span("value")) if text is not None else Span(match.end("name"), match.end("name"))
        found[name] = Parameter(text[1:-1] if text is not None and text[:1] == b'"' else text, at, Span(*match.span()))
    return found


def _user_ends(value: bytes, start: int, end: int) -> Iterator[int]:
    """Where a host may begin, the likeliest place first. That is behind the last `@` that belongs to the user, as in
    values.py; an `@` behind a parameter of the host does not belong to the user. The places behind earlier signs
    follow."""
    ends: list[int] = []
    at = value.find(b"@", start, end)
    while at >= 0 and len(ends) < _MAX_ATS:
        ends.append(at + 1)
        further = value.find(b"@", at + 1, end)
        at = further if further >= 0 and not _BEHIND_HOST.search(value, at + 1, further) else -1
    yield from reversed(ends or [start])


def find_address(value: bytes) -> Address:
    """Find an address in a value, wherever its URI stands. `host` is None if no host is found."""
    return _find_address(value) if len(value) > _MAX_BYTES else _remembered_address(value)


def _find_address(value: bytes) -> Address:
    if _ANY_STAR.match(value):
        return STAR
    brackets = list(_BRACKETED.finditer(value))
    opened = brackets[-1] if brackets else None  # brackets before the last one stand in a display name
    scheme = _SCHEME.search(value, opened.end() if opened is not None else 0)
    if scheme is None:
        return Address(Span(0, len(value)), b"")
    closed = value.find(b">", scheme.end())
    end = closed if closed >= 0 else len(value)
    name = scheme["scheme"].lower()
    for begin in _user_ends(value, scheme.end(), end):
        found = _HOSTPORT.match(value, begin, end)
        host, host_span, port, port_span, behind = _hostport(value, found) if found is not None else _NOWHERE
        if host is not None:
            break
    else:
        return Address(Span(scheme.start(), end), name)
    user = Span(scheme.end(), begin - 1) if begin > scheme.end() else None
    if opened is None and closed < 0:  # without brackets all parameters are of the field (RFC 3261 s.20.10)
        own: Parameters = {}
        rest = _first_of_each(HEADER_PARAMETER, value, behind, end)
    else:
        own = _first_of_each(URI_PARAMETER, value, behind, end)
        rest = _first_of_each(HEADER_PARAMETER, value, end, len(value))
    return Address(Span(scheme.start(), end), name, user, host, host_span, port, port_span, own, rest)


def find_via(value: bytes) -> Via:
    """Find the transport, sent-by and parameters of a Via. What `received` and `rport` say is not used. A Via that
    names no hop gets a host without a name, which is nobody's host."""
    match = _VIA.match(value)
    host, host_span, port, port_span, behind = _hostport(value, match) if match is not None else _NOWHERE
    if match is None or host is None or host_span is None:
        return _NO_HOP
    parameters = _first_of_each(HEADER_PARAMETER, value, behind, len(value))
    branch = parameters.get(b"branch")
    transport, given = match["transport"].upper(), branch.value if branch is not None else None
    return Via(transport, host, host_span, port, port_span, parameters, given, None, None, None)


_NO_HOP = Via(b"", b"", Span(0, 0), None, None, {}, None, None, None, None)

_FINDERS: Mapping[object, object] = {read_address: find_address, read_uri: find_address, read_via: find_via}


def found(value: bytes, read: Callable[[bytes], Value]) -> Value:
    """Read a value that this reader of values.py has refused."""
    find = cast("Callable[[bytes], Value]", _FINDERS[read])  # each finder returns the type of its reader
    return find(value)


class Identity(NamedTuple):
    """What a value of From or To says: the tag of its dialog, and the URI of the party."""

    tag: bytes | None
    """None: the value has no tag."""
    uri: bytes
    """The URI as it stands in the value. Where no URI is found, this is the whole value."""
    oddity: str | None
    """Why the value is no address by the grammar, as one snake_case word. None: it is an address."""


def read_identity(value: bytes) -> Identity:
    """Read a value of From or To by the grammar, or find its parts if it does not follow the grammar."""
    return _read_identity(value) if len(value) > _MAX_BYTES else _remembered_identity(value)


def _read_identity(value: bytes) -> Identity:
    try:
        uri, tag = remembered.read_identity(value)
    except Malformed as error:
        uri = find_address(value).uri
        return Identity(find_tag(value), value[uri.start : uri.end], str(error))
    return Identity(tag, value[uri.start : uri.end], None)


_remembered_identity = lru_cache(maxsize=REMEMBERED)(_read_identity)
"""Results are remembered, because all messages of a call have the same From and To."""


def find_tag(value: bytes) -> bytes | None:
    """Find the tag in a value of From or To. The first tag behind the URI counts. If no bracket is closed, the first
    tag anywhere counts."""
    match = _TAG.search(value, value.rfind(b">") + 1)
    return match[1] if match is not None else None


_PIECES = re.compile(rb"<[^<>]*+>|,")


def split(data: bytes, span: Span) -> list[Span]:
    """Cut a list at the commas outside of brackets. This is for a list whose quotes, brackets or comments have no
    end."""
    parts: list[Span] = []
    start = span.start
    for match in _PIECES.finditer(data, *span):
        if match[0] == b"," and len(parts) < MAX_VALUES:
            parts.append(Span(start, match.start()))
            start = match.end()
    found = [stripped(data, *part) for part in (*parts, Span(start, span.end))]
    return [part for part in found if part.start < part.end]


@lru_cache(maxsize=64)
def _literal(host: Host) -> re.Pattern[bytes]:
    """A pattern that finds this host by its spelling."""
    text = re.escape(str(host).encode())
    if host.version == 6:
        return re.compile(rb"(?<![0-9A-Za-z.:])(?:\[%b\](?::(?P<port>[0-9]{1,5})(?![0-9]))?|%b(?![0-9A-Za-z:]))"
                          % (text, text), re.IGNORECASE)  # fmt: skip
    return re.compile(rb"(?<![0-9A-Za-z.])%b(?![0-9A-Za-z]|\.[0-9])(?::(?P<port>[0-9]{1,5})(?![0-9]))?" % text)


def renamed(value: bytes, before: Endpoint, after: Endpoint) -> Iterator[tuple[Span, bytes]]:
    """Find where an address of ours is spelled out in a value, and say what to write there. The port behind it is
    mapped too if it is the mapped port; any other port stays."""
    if str(before.host).encode() not in value.lower():
        return
    for match in _literal(before.host).finditer(value):
        digits, is_plain = match["port"], not match[0].startswith(b"[")
        port = b":%d" % after.port if digits and int(digits) == before.port else b":%b" % digits if digits else b""
        host = str(after.host).encode()
        yield Span(*match.span()), (host if after.host.version == 4 or is_plain else b"[%b]" % host) + port


_remembered_address = lru_cache(maxsize=REMEMBERED)(_find_address)
