"""What clients ask a portmapper, and where its answers say that a service is (RFC 1833).

GETPORT                  program, version, protocol   ->  a port
GETADDR, GETVERSADDR     program, version, netid ...  ->  a universal address: `10.1.0.2.3.120`
GETADDRLIST              the same                     ->  a universal address for each netid
DUMP                     nothing                      ->  every program with its port or universal address
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from protocols.contract.addresses import Endpoint, Malformed, Transport
from protocols.pmap.programs import Procedure
from protocols.pmap.wire import Reader
from protocols.toolbox.spans import Span

MAX_ENTRIES = 4096
"""How many services an answer may list. A busy host has a few hundred."""

TRANSPORTS = {b"tcp": Transport.TCP, b"tcp6": Transport.TCP, b"udp": Transport.UDP, b"udp6": Transport.UDP}
"""netid -> transport. The others (`local`, `ticlts`) do not leave their host (PM11)."""
_PROTOCOLS = {6: b"tcp", 17: b"udp"}
"""Version 2 names a protocol of IP where the others have a netid (PM10)."""


NOWHERE = Span(0, 0)


def _netid(protocol: int) -> bytes:
    return _PROTOCOLS.get(protocol, b"%d" % protocol)


@dataclass(frozen=True, slots=True)
class Question:
    """Where one program is, over one transport."""

    program: int
    version: int
    netid: bytes
    hint: bytes = b""
    """The address by which the client knows its server: rpcbind names the interface that fits it (PM11)."""
    hint_at: Span = NOWHERE
    """Where that stands in the call, with its length and padding."""


def read_question(procedure: Procedure, call: bytes, at: int, asked_over: bytes) -> Question:
    """The arguments of a lookup, which begin at `at`. `asked_over` is the netid by which the call came. Raises
    Malformed.

    RFC 1833 s.2.2.1: GETADDR and GETVERSADDR answer about the transport that the call comes by, whichever netid it
    names. Some clients name none (PM11).
    """
    reader = Reader(call, at)
    program, version = reader.numbers(2)
    if procedure is Procedure.GETPORT:
        protocol, _ = reader.numbers(2)
        return Question(program, version, _netid(protocol))
    netid, start = reader.text(), reader.at
    hint, end = reader.text(), reader.at
    reader.text()  # the owner
    if netid in TRANSPORTS or not netid:
        netid = asked_over
    return Question(program, version, netid, hint, Span(start, end))


@dataclass(frozen=True, slots=True)
class Found:
    """Where an answer says that a service is."""

    program: int
    version: int
    netid: bytes
    at: Endpoint | None
    """None: nowhere, or nowhere that a packet could go."""
    span: Span
    """Where that stands in the answer: the number, or the text with its length and padding."""
    entry: Span
    """Where the whole entry of a list stands."""
    is_text: bool = True
    """Whether it is a universal address, not a port alone."""

    @property
    def transport(self) -> Transport | None:
        """The transport of the service. None: none of ours."""
        return TRANSPORTS.get(self.netid)


def read_port(question: Question, answer: bytes, at: int, server: Endpoint) -> Found:
    """The answer to GETPORT: a port of the server (PM10). Raises Malformed."""
    span = Span(at, at + 4)
    where = _at_port(Reader(answer, at).number(), server)
    return Found(question.program, question.version, question.netid, where, span, span, is_text=False)


def read_address(question: Question, answer: bytes, at: int) -> Found:
    """The answer to GETADDR and GETVERSADDR (PM11). Raises Malformed."""
    reader = Reader(answer, at)
    text = reader.text()
    where = read_universal(text) if text and question.netid in TRANSPORTS else None
    span = Span(at, reader.at)
    return Found(question.program, question.version, question.netid, where, span, span)


def read_addresses(question: Question, answer: bytes, at: int) -> list[Found]:
    """The answer to GETADDRLIST. Raises Malformed."""
    found = []
    for reader, start in _entries(answer, at):
        where_at = reader.at
        text, span = reader.text(), Span(where_at, reader.at)
        netid, _ = reader.text(), reader.number()
        reader.text(), reader.text()  # the family and the protocol
        entry = Span(start, reader.at)
        found.append(Found(question.program, question.version, netid, _listed(netid, text), span, entry))
    return found


def read_dump(version: int, answer: bytes, at: int, server: Endpoint) -> list[Found]:
    """The answer to DUMP (PM14). Raises Malformed."""
    found = []
    for reader, start in _entries(answer, at):
        program, of_program = reader.numbers(2)
        netid = _netid(reader.number()) if version == 2 else reader.text()
        where_at = reader.at
        if version == 2:
            where = _at_port(reader.number(), server)
            span = Span(where_at, reader.at)
        else:
            where = _listed(netid, reader.text())
            span = Span(where_at, reader.at)
            reader.text()  # the owner
        entry = Span(start, reader.at)
        found.append(Found(program, of_program, netid, where, span, entry, is_text=version > 2))
    return found


def _entries(answer: bytes, at: int) -> Iterator[tuple[Reader, int]]:
    """A list of XDR: each entry stands behind a 1, and a 0 ends it (RFC 4506 s.4.19). Yields the reader before each
    entry, and where the 1 stands."""
    reader = Reader(answer, at)
    for _ in range(MAX_ENTRIES):
        start = reader.at
        if not reader.number():
            return
        yield reader, start
    raise Malformed(f"a list of more than {MAX_ENTRIES} services")


def _at_port(port: int, server: Endpoint) -> Endpoint | None:
    if port > 65535:
        raise Malformed(f"port {port}")
    return Endpoint(server.host, port) if port else None


def _listed(netid: bytes, text: bytes) -> Endpoint | None:
    """The address of an entry. One that cannot be read is no reason to lose the others."""
    try:
        return read_universal(text) if netid in TRANSPORTS else None
    except Malformed:
        return None


# -- universal addresses (RFC 5665 s.5.2.3) ----------------------------------------------------------------------------

_UNIVERSAL = re.compile(rb"([0-9A-Fa-f.:]{2,45})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")


def read_universal(text: bytes) -> Endpoint | None:
    """The host and the port of `10.1.0.2.3.120` or `fd02::2.3.120`: the last two numbers are the octets of the port
    (PM12). Raises Malformed; a port of 0 is none."""
    match = _UNIVERSAL.fullmatch(text)
    if match is None:
        raise Malformed(f"no universal address: {text[:60]!r}")
    high, low = int(match[2]), int(match[3])
    try:
        host = ip_address(match[1].decode("ascii"))
    except ValueError:
        raise Malformed(f"no universal address: {text[:60]!r}") from None
    if high > 255 or low > 255:
        raise Malformed(f"no universal address: {text[:60]!r}")
    return Endpoint(host, high * 256 + low) if high or low else None


def universal(at: Endpoint) -> bytes:
    """The other way round."""
    return f"{at.host_text}.{at.port >> 8}.{at.port & 255}".encode("ascii")
