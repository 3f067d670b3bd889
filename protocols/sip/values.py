"""What SIP header fields say: addresses, URIs, Vias, and lists of them. Nothing here keeps state.

RFC 3261 s.7.3.1 (fields), s.19.1 (URIs), s.20.10 and 20.42 (Contact, Via); RFC 3581 (rport); RFC 5118 (IPv6). Their
grammar stands in abnf.py. A value is read as it came, folds included, so that its spans are offsets into what came.

House rules:
- What two readers could read in two ways is no value here: a parameter given twice, an `@` behind the host, a quote
  without end. What can only be read in one way is read, though the grammar may have it otherwise. What becomes of a
  value that is none is not decided here: odd.py looks for what can be found in it all the same.
- What was read may be remembered (remembered.py), and is not to be changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from pyparsing import ParseException, ParserElement

from protocols.contract.addresses import Host, Malformed
from protocols.sip import abnf
from protocols.toolbox import grammar
from protocols.toolbox.spans import Span

BLANKS = b" \t\r\n"
"""Linear white space, the line end of a fold included (LWS, RFC 3261 s.25.1)."""

MAX_VALUES = 256
"""The most values of one field. A message has passed 70 hops at most (RFC 3261 s.8.1.1.6)."""

REMEMBERED = 4096
"""The number of values of one kind that are remembered with what was read in them."""


def within(value: Span, part: Span) -> Span:
    """Where a part of a value stands, in the message in which the value stands."""
    return Span(value.start + part.start, value.start + part.end)


def unfolded(value: bytes) -> bytes:
    """The value on one line: one space for each fold and the blanks around it (RFC 3261 s.7.3.1; S14)."""
    return _FOLD.sub(b" ", value) if b"\n" in value else value


_FOLD = re.compile(rb"(?<![ \t])[ \t]*+(?:\r?\n[ \t]++)+")


# -- lists -----------------------------------------------------------------------------------------------------------

# What may hold commas that separate nothing, and what is left of it if its end is missing.
_GROUPS = re.compile(rb'"(?:[^"\\]++|\\[^\r\n])*"|<[^<>]*+>|[,()"<]')


def split(data: bytes, span: Span) -> list[Span]:
    """The values of a field that is a list, without the blanks around them; nothing between two commas is no value.

    Commas in quoted strings, in `<...>` and in comments do not separate (S16). Not for the fields of authentication,
    whose commas separate parameters, nor for Date and Call-ID (S15).
    Raises Malformed if a quoted string, a bracket or a comment has no end, and if there are more than MAX_VALUES.
    """
    if data.find(b",", *span) < 0:
        only = stripped(data, *span)
        return [only] if only.start < only.end else []
    parts: list[Span] = []
    start, depth = span.start, 0
    for match in _GROUPS.finditer(data, *span):
        match match[0]:
            case b"," if not depth:
                if len(parts) == MAX_VALUES:
                    raise Malformed("too_many_values")
                parts.append(Span(start, match.start()))
                start = match.end()
            case b"(":
                depth += 1
            case b")":
                depth = max(0, depth - 1)
            case b'"' | b"<":
                raise Malformed("unclosed_quote" if match[0] == b'"' else "unclosed_bracket")
    if depth:
        raise Malformed("unclosed_comment")
    return _stripped(data, [*parts, Span(start, span.end)])


def _stripped(data: bytes, spans: list[Span]) -> list[Span]:
    return [part for part in (stripped(data, *span) for span in spans) if part.start < part.end]


def stripped(data: bytes, start: int, end: int) -> Span:
    """The span without the blanks at both ends."""
    if start < end and data[start] == 32:  # as nearly always behind the colon
        start += 1
    if start < end and data[start] > 32 and data[end - 1] > 32:
        return Span(start, end)
    value = data[start:end]
    begin = end - len(value.lstrip(BLANKS))
    return Span(begin, max(begin, start + len(value.rstrip(BLANKS))))


# -- parameters ------------------------------------------------------------------------------------------------------


class Parameter(NamedTuple):
    """`;name=value`, `;name="value"` or `;name`."""

    value: bytes | None
    """The value without quotes, with escapes as they came; None if there is no `=`."""
    span: Span
    """Where the value stands, quotes included. The span is empty without a value, at the end of the name, where
    `=value` can be put."""
    whole: Span
    """Where the parameter stands with the semicolon before it: what to take out."""


Parameters = Mapping[bytes, Parameter]
"""name in lower case -> parameter."""

_NONE: Parameters = {}

HEADER_PARAMETER = re.compile(
    rb';[ \t\r\n]*+(?P<name>[^;= \t\r\n]*+)(?:[ \t\r\n]*+=[ \t\r\n]*+(?P<value>"(?:[^"\\]++|\\.)*"|[^; \t\r\n]*+))?'
)
URI_PARAMETER = re.compile(rb";(?P<name>[^;=]*+)(?:=(?P<value>[^;]*+))?")


def _parameters(pattern: re.Pattern[bytes], value: bytes, span: tuple[int, int]) -> Parameters:
    """The parameters in that part of a value, whose shape has been checked. Raises Malformed if one comes twice."""
    if span[0] == span[1]:
        return _NONE
    found: dict[bytes, Parameter] = {}
    for match in pattern.finditer(value, *span):
        name, text = match["name"].lower(), match["value"]
        if name in found:
            # RFC 3261 s.7.3.1: a parameter name comes once. Twice the same says nothing else; `;;` is empty twice.
            if name and found[name].value != text:
                raise Malformed("repeated_parameter")
            continue
        at = Span(*match.span("value")) if text is not None else Span(match.end("name"), match.end("name"))
        if text is not None and text[:1] == b'"':
            text = text[1:-1]
        found[name] = Parameter(text, at, Span(*match.span()))
    return found


# -- hosts -----------------------------------------------------------------------------------------------------------

_NUMERIC = re.compile(rb"[0-9.]++")


@lru_cache(maxsize=REMEMBERED)
def read_host(text: bytes) -> Host | bytes:
    """An address, IPv6 in brackets, or a name as it came. Raises Malformed.

    No name ends in a label of digits (RFC 1123 s.2.1), so what looks like an address is one, or nothing.
    """
    host: Host | bytes
    if text.startswith(b"["):
        host = grammar.read(grammar.IPV6, text[1:-1])
    elif _NUMERIC.fullmatch(text):
        host = grammar.read(grammar.IPV4, text)
    else:
        host = text
    return host


def _host(text: bytes) -> Host | bytes:
    try:
        return read_host(text)
    except Malformed:
        raise Malformed("bad_host") from None


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > 65535:
        raise Malformed("bad_port")
    return port


# -- addresses -------------------------------------------------------------------------------------------------------


class Address(NamedTuple):
    """A name-addr or addr-spec with its parameters: a value of Contact, From, Route ...; or a URI alone.

    Spans are offsets into the value.
    """

    uri: Span
    """Where the URI stands, without the brackets around it."""
    scheme: bytes
    """The scheme in lower case. Only `sip` and `sips` have a host that is read (S20)."""
    user: Span | None = None
    """The user with the password; None if there is no `@`."""
    host: Host | bytes | None = None
    """An address, or a name as it came."""
    host_span: Span | None = None
    """Where the host stands, the brackets of an IPv6 address included."""
    port: int | None = None
    """The port; None if none is given, for none is to be guessed (S22)."""
    port_span: Span | None = None
    """Where the digits of the port stand."""
    uri_parameters: Parameters = _NONE
    parameters: Parameters = _NONE
    """The parameters of the header field. Without brackets around the URI all parameters are the field's (S17)."""

    @property
    def is_star(self) -> bool:
        """Whether the value is `Contact: *`, which means all bindings (S52)."""
        return self.scheme == b"*"

    @property
    def hostport(self) -> Span | None:
        """The host, with the port if there is one."""
        return _hostport(self.host_span, self.port_span) if self.host_span else None

    def parameter(self, name: bytes) -> bytes | None:
        """The value of a parameter of the header field; empty for one without a value; None if it is not there."""
        return _value(self.parameters, name)

    def uri_parameter(self, name: bytes) -> bytes | None:
        """The value of a parameter of the URI (transport, lr, maddr ...); empty or None as of `parameter`."""
        return _value(self.uri_parameters, name)


def _hostport(host: Span, port: Span | None) -> Span:
    return Span(host.start, port.end if port else host.end)


def _value(parameters: Parameters, name: bytes) -> bytes | None:
    parameter = parameters.get(name)
    return None if parameter is None else parameter.value or b""


STAR = Address(Span(0, 1), b"*")


def _match(pattern: ParserElement, value: bytes, otherwise: str) -> re.Match[str]:
    try:
        match: re.Match[str] = pattern.parse_string(value.decode("latin-1"))[0]
    except ParseException:
        raise Malformed(otherwise) from None
    return match


def parse_address(value: bytes) -> Address:
    return STAR if value == b"*" else _address(value, _match(abnf.ADDRESS, value, "bad_address"))


def parse_uri(value: bytes) -> Address:
    return _address(value, _match(abnf.URI, value, "bad_uri"))


def _address(value: bytes, match: re.Match[str]) -> Address:
    uri, parameters = Span(*match.span("uri")), _parameters(HEADER_PARAMETER, value, match.span("parameters"))
    if match["scheme"] is None:
        return Address(uri, match["other"].lower().encode(), parameters=parameters)
    host, port = match.span("host"), match.span("port")
    return Address(
        uri,
        match["scheme"].lower().encode(),
        None if match["user"] is None else Span(*match.span("user")),
        _host(value[host[0] : host[1]]),
        Span(*host),
        None if port[0] < 0 else _port(value[port[0] : port[1]]),
        None if port[0] < 0 else Span(*port),
        _parameters(URI_PARAMETER, value, match.span("uri_parameters")),
        parameters,
    )


# -- Via -------------------------------------------------------------------------------------------------------------


class Via(NamedTuple):
    """One Via, so one hop. Spans are offsets into the value."""

    transport: bytes
    """The transport in capitals; any token (S38)."""
    host: Host | bytes
    """The host of sent-by: an address, or a name as it came."""
    host_span: Span
    """Where the host of sent-by stands, the brackets of an IPv6 address included."""
    port: int | None
    port_span: Span | None
    parameters: Parameters
    branch: bytes | None
    received: Host | None
    """The host in `received`, which may stand with or without brackets (S22)."""
    rport: int | None
    """The port in `rport`; None also if `rport` is asked for and not given yet, in which case it is among the
    parameters."""
    maddr: Host | bytes | None

    @property
    def hostport(self) -> Span:
        """Sent-by: the host, with the port if there is one."""
        return _hostport(self.host_span, self.port_span)


def parse_via(value: bytes) -> Via:
    match = _match(abnf.VIA, value, "bad_via")
    host, port = match.span("host"), match.span("port")
    parameters = _parameters(HEADER_PARAMETER, value, match.span("parameters"))
    received, rport, maddr = (_given(parameters, name) for name in (b"received", b"rport", b"maddr"))
    return Via(
        match["transport"].upper().encode(),
        _host(value[host[0] : host[1]]),
        Span(*host),
        None if port[0] < 0 else _port(value[port[0] : port[1]]),
        None if port[0] < 0 else Span(*port),
        parameters,
        _given(parameters, b"branch"),
        None if received is None else _received(received),
        None if rport is None else _rport(rport),
        None if maddr is None else _host(maddr),
    )


def _given(parameters: Parameters, name: bytes) -> bytes | None:
    """The value of a parameter; None if there is no such parameter, or nothing behind its `=`."""
    parameter = parameters.get(name)
    return parameter.value or None if parameter is not None else None


def _received(text: bytes) -> Host:
    host = _host(b"[%b]" % text if b":" in text and not text.startswith(b"[") else text)
    if isinstance(host, bytes):
        raise Malformed("bad_received")
    return host


def _rport(text: bytes) -> int:
    if not _RPORT.fullmatch(text):
        raise Malformed("bad_rport")
    return _port(text)


_RPORT = re.compile(rb"[0-9]{1,5}")
