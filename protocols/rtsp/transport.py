"""The field Transport: how media may flow, and between which ports (RFC 2326 s.12.39; RFC 7826 s.18.54).

A client lists what it can do, in the order that it likes; the server's answer names the one that holds (RT13). Version
1.0 and 2.0 say the same in other words:

    RTP/AVP;unicast;client_port=4588-4589;server_port=6256-6257;destination=192.0.2.7;source=192.0.2.1
    RTP/AVP;unicast;dest_addr="192.0.2.7:4588"/":4589";src_addr="192.0.2.1:6256"/":6257"

Both are read into one shape. All spans are offsets into the value that was read, so that a change touches the digits of
a port or of an address and nothing else (X6).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host, Malformed
from protocols.rtsp.urls import host_of, spelled
from protocols.toolbox.spans import Span

MAX_SPECS = 16
MAX_PARAMETERS = 32

_SPEC = re.compile(rb"[^,\"]*+(?:\"[^\"]*+\"[^,\"]*+)*")
_PARAMETER = re.compile(rb"[^;\"]*+(?:\"[^\"]*+\"[^;\"]*+)*")
_NAMED = re.compile(rb"\s*+([^\s=;]++)\s*+(?:=\s*+(.*))?", re.DOTALL)
_PORTS = re.compile(rb"([0-9]{1,5}+)(?:[ \t]*+[-/][ \t]*+([0-9]{1,5}+))?")
_ADDRESS = re.compile(rb"\"(\[[0-9A-Fa-f:.]{2,45}+\]|[^\":\[\]]*+)(?::([0-9]{1,5}+))?\"")


class Param(NamedTuple):
    name: bytes
    """In lower case."""
    value: bytes
    at: Span
    """Where the value stands."""
    whole: Span
    """Where the parameter stands, with the semicolon before it."""


class At(NamedTuple):
    """An address where packets go to or come from, and where it is written."""

    host: Host | None
    """None: none is written, or a name is (which is never looked up)."""
    is_named: bool
    """Whether a host is written at all."""
    port: int
    host_at: Span
    port_at: Span


@dataclass(frozen=True, slots=True)
class Spec:
    """One way in which media may flow."""

    span: Span
    tokens: tuple[bytes, ...]
    """`rtp`, `avp`, `udp` in lower case."""
    params: tuple[Param, ...]
    client: tuple[At, ...]
    """Where the client takes data, and control if that has a port of its own."""
    server: tuple[At, ...]
    """The same of the server."""
    others: tuple[At, ...]
    """Addresses of the client in the words of version 2.0, where the message is of 1.0: some server may follow them."""
    destination: Param | None
    source: Param | None

    def param(self, name: bytes) -> Param | None:
        return next((one for one in self.params if one.name == name), None)

    @property
    def is_tcp(self) -> bool:
        """Whether media flows in the connection itself."""
        return b"tcp" in self.tokens or self.param(b"interleaved") is not None

    @property
    def is_multicast(self) -> bool:
        """Whether many receive it. The word alone does not decide: its absence means multicast by the letter, and
        unicast in the field (RT15)."""
        if self.is_tcp:
            return False
        return b"mcast" in self.tokens or (self.param(b"multicast") is not None and self.param(b"client_port") is None)

    @property
    def is_udp(self) -> bool:
        """Whether it flows between ports of the two hosts."""
        return not self.is_tcp and not self.is_multicast

    @property
    def is_rtp(self) -> bool:
        return self.tokens[0] == b"rtp"

    @property
    def kind(self) -> str:
        """One word for the log."""
        return "interleaved" if self.is_tcp else "multicast" if self.is_multicast else "udp"

    def channels(self) -> tuple[int, ...]:
        """The channels of interleaved media (RT10)."""
        found = self.param(b"interleaved")
        ports = _PORTS.fullmatch(found.value) if found is not None else None
        numbers = tuple(int(one) for one in ports.groups() if one) if ports else ()
        return numbers if all(number < 256 for number in numbers) else ()

    def hosts(self) -> Iterator[tuple[Host | None, bytes, Span, Span]]:
        """Where the client wants its media, as far as a host is written: the host, its text, where it stands, and what
        to take out so that none is written."""
        if self.destination is not None and self.destination.value:
            text = self.destination.value.strip(b'"')
            yield host_of(text), text, self.destination.at, self.destination.whole
        for at in (*self.client, *self.others):
            if at.is_named:
                yield at.host, b"", at.host_at, at.host_at


def read(value: bytes, is_2: bool) -> list[Spec]:
    """The ways that a value names, the preferred one first. Raises Malformed."""
    specs: list[Spec] = []
    start = 0
    while start <= len(value):
        found = _SPEC.match(value, start)
        assert found is not None  # it may be empty
        end = found.end()
        if end < len(value) and value[end : end + 1] != b",":
            raise Malformed("a quoted string without an end")
        if value[start:end].strip():
            specs.append(_read_spec(value, Span(start, end), is_2))
        if len(specs) > MAX_SPECS:
            raise Malformed(f"more than {MAX_SPECS} transports")
        start = end + 1
    if not specs:
        raise Malformed("no transport")
    return specs


def _read_spec(value: bytes, span: Span, is_2: bool) -> Spec:
    params: list[Param] = []
    tokens: tuple[bytes, ...] = (b"",)
    start, is_first = span.start, True
    while start <= span.end:
        found = _PARAMETER.match(value, start, span.end)
        assert found is not None  # it may be empty
        if b";" in found[0]:
            raise Malformed("a semicolon in quotes")  # many servers know no quotes (RT13)
        if is_first:
            tokens = tuple(token.strip() for token in found[0].lower().split(b"/"))
        elif found[0].strip():
            named = _NAMED.fullmatch(value, found.start(), found.end())
            if named is None:
                raise Malformed("a parameter without a name")
            text = (named[2] or b"").rstrip()
            at = named.start(2) if text else named.end(1)
            whole = Span(found.start() - 1, found.end())
            params.append(Param(named[1].lower(), text, Span(at, at + len(text)), whole))
        if len(params) > MAX_PARAMETERS:
            raise Malformed(f"more than {MAX_PARAMETERS} parameters")
        is_first, start = False, found.end() + 1
    named_by = {param.name: param for param in params}
    if len(named_by) < len(params) and {b"client_port", b"destination", b"dest_addr"} & _twice(params):
        raise Malformed("an address is named twice")
    client, server = (b"dest_addr", b"src_addr") if is_2 else (b"client_port", b"server_port")
    reads = _addresses if is_2 else _ports
    return Spec(
        span,
        tokens,
        tuple(params),
        reads(named_by.get(client)),
        reads(named_by.get(server)),
        () if is_2 else _addresses(named_by.get(b"dest_addr")),
        named_by.get(b"destination"),
        named_by.get(b"source"),
    )


def _twice(params: list[Param]) -> set[bytes]:
    names = [param.name for param in params]
    return {name for name in names if names.count(name) > 1}


def _ports(param: Param | None) -> tuple[At, ...]:
    """`4588-4589`, `4588`, and `4588/4600` (RT16)."""
    if param is None:
        return ()
    found = _PORTS.fullmatch(param.value)
    if found is None:
        raise Malformed(f"{param.name.decode('latin-1')} is no pair of ports")
    spans = [Span(param.at.start + found.start(n), param.at.start + found.end(n)) for n in (1, 2) if found[n]]
    return _checked(tuple(At(None, False, int(found[n + 1]), Span(0, 0), span) for n, span in enumerate(spans)))


def _addresses(param: Param | None) -> tuple[At, ...]:
    """`"host:port"/"host:port"`, each part of which may be missing (RT24)."""
    if param is None:
        return ()
    found: list[At] = []
    start = 0
    while True:
        one = _ADDRESS.match(param.value, start)
        if one is None or len(found) == 2:
            raise Malformed(f"{param.name.decode('latin-1')} is no pair of addresses")
        at = param.at.start
        host = Span(at + one.start(1), at + one.end(1))
        port = Span(at + one.start(2), at + one.end(2)) if one[2] else Span(0, 0)
        found.append(At(host_of(one[1]), bool(one[1]), int(one[2] or 0), host, port))
        if one.end() == len(param.value):
            return _checked(tuple(found))
        if param.value[one.end() : one.end() + 1] != b"/":
            raise Malformed(f"{param.name.decode('latin-1')} is no pair of addresses")
        start = one.end() + 1


def _checked(found: tuple[At, ...]) -> tuple[At, ...]:
    """The same, if they are ports, or 0 for none."""
    if any(at.port > 65535 for at in found):
        raise Malformed("a port above 65535")
    return found


def ends(found: tuple[At, ...], host: Host) -> tuple[Endpoint, Endpoint | None] | None:
    """Data and control of a party at this host, where the spec names no other one. None: no port is named. The same
    port twice is one, for control and data together."""
    if not found or not found[0].port:
        return None
    data, *rest = (Endpoint(at.host or host, at.port) for at in found)
    control = rest[0] if rest and rest[0].port and rest[0] != data else None
    return data, control


def text_of(host: Host, is_2: bool) -> bytes:
    """The host as this version of Transport spells it (RT25)."""
    return spelled(host) if is_2 else str(host).encode()
