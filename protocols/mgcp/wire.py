"""Messages of MGCP: commands and responses, several of which may come in one datagram (RFC 3435 s.3).

    CRCX 1204 aaln/1@rgw.example.net MGCP 1.0      verb, transaction id, endpoint, version and profile
    C: A3C47F21456789F0                            parameters, a line each
    M: recvonly
                                                   an empty line, where a session description follows
    v=0 ...

    200 1204 OK                                    code, transaction id, comment
    I: FDE234C8

House rules:
- The first line is read strictly, since nothing else tells MGCP from other datagrams (MG5). Of the parameters those are
  read strictly that say which connection is meant; all others pass (MG9).
- Spans are offsets into the message, and a message keeps the line ends that it came with (MG4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from protocols.contract.addresses import Malformed
from protocols.toolbox.spans import Span

MAX_BYTES = 4096
"""The longest message. RFC 3435 s.3.5.4 has entities take 4,000 bytes (MG10)."""
MAX_MESSAGES = 8
"""How many messages a datagram may carry (MG10)."""
MAX_LINES = 64
"""How many parameters a message may have (MG10)."""
MAX_ID_BYTES = 128
"""The longest id of a call or connection that is followed. RFC 3435 s.3.2.2 has 32 hexadecimal digits."""
MAX_ENDPOINT_BYTES = 255
"""RFC 3435 s.2.1.2: each part of a name is at most this long, and no name in use comes near."""

FROM_AGENT = frozenset((b"EPCF", b"RQNT", b"CRCX", b"MDCX", b"AUEP", b"AUCX"))
"""Commands that agents send to gateways (MG1)."""
FROM_GATEWAY = frozenset((b"NTFY", b"RSIP"))
"""Commands that gateways send to agents. DLCX goes both ways."""
MAKING = frozenset((b"CRCX", b"MDCX"))
"""Commands that make a connection, or change one."""
KNOWN = FROM_AGENT | FROM_GATEWAY | {b"DLCX"}

_COMMAND = re.compile(
    rb"(?P<verb>[A-Za-z][A-Za-z0-9]{3})[ \t]+(?P<number>[0-9]{1,9})[ \t]+(?P<endpoint>[!-~\x80-\xff]+)[ \t]+"
    rb"(?i:MGCP)[ \t]+[0-9]\.[0-9](?:[ \t][^\r\n]*)?\r?(?:\n|\Z)"
)
_RESPONSE = re.compile(rb"(?P<code>[0-9]{3})[ \t]+(?P<number>[0-9]{1,9})(?P<text>[ \t][^\r\n]*)?\r?(?:\n|\Z)")
_PARAMETER = re.compile(rb"[ \t]*+(?P<name>[^\s:]{1,40})[ \t]*+:[ \t]*+")
_SEPARATOR = re.compile(rb"(?:\A|(?<=\n))\.\r?(?:\n|\Z)")
_DESCRIPTION = re.compile(rb"(?:\A|(?<=\n))(?=v=)")


NOWHERE = Span(0, 0)


class NotMgcp(Malformed):
    """The first line is none of MGCP."""


class Parameter(NamedTuple):
    """One line of a message: `N: ca@[192.0.2.1]:2727`."""

    name: bytes
    """In capitals."""
    value: bytes
    span: Span
    """Where the value stands."""


@dataclass(frozen=True, slots=True)
class Message:
    """One command or response."""

    data: bytes
    number: int
    """The transaction id."""
    parameters: tuple[Parameter, ...]
    body: Span
    """What stands behind the empty line."""
    verb: bytes = b""
    """In capitals; empty for a response."""
    endpoint: Span = NOWHERE
    code: int = 0
    """0: this is a command, or the acknowledgement 000."""
    text: bytes = b""
    """The comment of a response."""

    @property
    def is_command(self) -> bool:
        return bool(self.verb)

    @property
    def name(self) -> bytes:
        """The name of the endpoint that a command is for."""
        return self.data[self.endpoint.start : self.endpoint.end]

    def id(self, name: bytes) -> bytes:
        """The id of a call or a connection. Raises Malformed if there are two, or it is too long: ids are
        remembered."""
        found = self.only(name)
        if len(found) > MAX_ID_BYTES:
            raise Malformed(f"{name.decode('latin-1')} of {len(found)} bytes")
        return found

    def first(self, name: bytes) -> bytes:
        """The value of the first parameter of this name; empty if there is none."""
        return next((one.value for one in self.parameters if one.name == name), b"")

    def only(self, name: bytes) -> bytes:
        """The value of a parameter that decides which connection is meant. Raises Malformed if there are two: readers
        differ about which one counts."""
        found = [one.value for one in self.parameters if one.name == name]
        if len(found) > 1:
            raise Malformed(f"{name.decode('latin-1')} twice")
        return found[0] if found else b""


def split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The messages of a datagram, each with the line that separates it from the next one (MG7)."""
    at = 0
    for line in _SEPARATOR.finditer(data):
        yield data[at : line.start()], line[0]
        at = line.end()
    if at < len(data) or not at:
        yield data[at:], b""


def is_command(data: bytes) -> bool:
    """Whether a datagram begins with a command."""
    return _COMMAND.match(data) is not None


def number_of(data: bytes) -> int:
    """The transaction id of a command, of which nothing else need be right."""
    first = _COMMAND.match(data)
    return int(first["number"]) if first is not None else 0


def is_response(data: bytes) -> bool:
    """Whether a datagram begins with a response."""
    return _RESPONSE.match(data) is not None


def read_message(data: bytes) -> Message:
    """Read one message.

    Raises NotMgcp without a first line of MGCP; Malformed if the message is too long, has too many lines, or control
    bytes by which two readers could read two things.
    """
    first = _COMMAND.match(data) or _RESPONSE.match(data)
    if first is None:
        raise NotMgcp("the first line is neither a command nor a response")
    if len(data) > MAX_BYTES:
        raise Malformed(f"more than {MAX_BYTES} bytes")
    number = int(first["number"])
    if not number:
        raise Malformed("transaction 0")
    parameters, body = _head(data, first.end())
    if first.re is _RESPONSE:
        return Message(data, number, parameters, body, code=int(first["code"]), text=(first["text"] or b"").strip())
    endpoint = Span(*first.span("endpoint"))
    if endpoint.end - endpoint.start > MAX_ENDPOINT_BYTES:
        raise Malformed("the name of the endpoint is too long")
    return Message(data, number, parameters, body, first["verb"].upper(), endpoint)


def _head(data: bytes, at: int) -> tuple[tuple[Parameter, ...], Span]:
    """The parameters, from their first line to the empty line or the end, and what stands behind it."""
    parameters: list[Parameter] = []
    while at < len(data):
        end = data.find(b"\n", at)
        line = data[at : end if end >= 0 else len(data)]
        after = end + 1 if end >= 0 else len(data)
        line = line.removesuffix(b"\r")
        if not line.strip(b" \t"):
            return tuple(parameters), Span(after, len(data))
        if b"\r" in line or b"\0" in line:
            raise Malformed("a control byte in a parameter")
        if len(parameters) == MAX_LINES:
            raise Malformed(f"more than {MAX_LINES} lines")
        if (found := _PARAMETER.match(line)) is not None:
            value = line[found.end() :].rstrip(b" \t")
            start = at + found.end()
            parameters.append(Parameter(found["name"].upper(), value, Span(start, start + len(value))))
        at = after
    return tuple(parameters), Span(len(data), len(data))


def descriptions(data: bytes, body: Span) -> list[Span]:
    """Where session descriptions stand in a body: one, or in the answer to AUCX two with an empty line between them
    (RFC 3435 s.2.3.11)."""
    starts = [body.start + begin.end() for begin in _DESCRIPTION.finditer(data[body.start : body.end])]
    return [Span(start, end) for start, end in pairwise([*starts, body.end])]


def answer(code: int, number: int, text: str) -> bytes:
    """A response of ours, which refuses a command."""
    return b"%d %d %b\r\n" % (code, number, text.encode("ascii"))


def counted(value: bytes) -> dict[str, int]:
    """The value of `P:`, what a gateway has counted of a connection: `PS=1245, OS=62345, ...` (RFC 3435 s.2.3.7)."""
    pairs = re.findall(
        rb"(?:\A|,)[ \t]*([A-Z]{2}|[A-Z/]{2,10})[ \t]*=[ \t]*([0-9]{1,15})(?=[ \t]*(?:,|\Z))", value[:500]
    )
    return {name.decode("ascii"): int(number) for name, number in pairs}
