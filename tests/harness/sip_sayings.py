"""What the party on each side of a SIP flow has said of itself, read apart from the engine, and more loosely.

An address opens something only if its own party said it in a request of its own: in Contact, or in the top Via. Where
it stands elsewhere, in Record-Route, in a response, in a body, it may be an echo of what somebody else said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport

MAX_BYTES = 400_000
"""Of a stream that are remembered: more than an engine holds of one message."""
DEFAULT_PORTS = frozenset((5060, 5061))

_START = re.compile(rb"(?:\S+\s.*\s)?SIP/\d\.\d(?:\s.*)?", re.IGNORECASE | re.DOTALL)
_FILLING = b"\r\n\0 \t"
"""What stands before a message, and is none of it."""
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"\n(?:Content-Length|l)[ \t]*:\s*(\d+)", re.IGNORECASE)
_FIELD = re.compile(rb"([^\s:]+)[ \t]*:(.*)", re.DOTALL)
_HOST = re.compile(rb"[0-9a-fA-F.:]{2,}")
_PORT = re.compile(rb"\d{1,5}")
_LONG_NAMES = {b"m": b"contact", b"v": b"via", b"i": b"call-id"}

Transaction = tuple[bytes, bytes]
"""Call-ID, and the number of CSeq with the method: of a request that of its first line, for which it is answered."""


@dataclass(slots=True)
class Saying:
    """A message, as far as it tells who is where."""

    status: int = 0
    """0 of a request."""
    method: bytes = b""
    """Of a request."""
    contacts: list[bytes] = field(default_factory=list)
    vias: list[bytes] = field(default_factory=list)
    call_id: bytes = b""
    cseq: bytes = b""

    @property
    def transaction(self) -> Transaction:
        number, method = (*self.cseq.split(), b"", b"")[:2]
        return self.call_id, b"%b %b" % (number.lstrip(b"0"), self.method or method)


class Sayings:
    """Of one flow."""

    def __init__(self, peers: Peers, beside: Sayings | None = None, is_hidden: bool = False) -> None:
        """beside: of another flow of the same daemon; a request of one may be answered in another. is_hidden: a Call-ID
        tells the other side no host that is behind us."""
        self._peers = peers
        self._hidden = {
            str(peers.own(side).host).encode(): str(peers.as_seen(side).host).encode()
            for side in Side
            if is_hidden and peers.is_mapped(side)
        }
        self._text = dict.fromkeys(Side, b"")
        """Of a stream."""
        self._unread: list[tuple[Side, bytes]] = []
        """Mostly nobody asks."""
        self._requests: dict[Side, list[Saying]] = {side: [] for side in Side}
        self._answered: set[tuple[Host, Transaction]] = beside._answered if beside else set()
        """Who has answered what 2xx."""

    def hear(self, side: Side, data: bytes) -> None:
        if self._peers.transport is Transport.TCP:
            self._text[side] = (self._text[side] + data)[-MAX_BYTES:]
        self._unread.append((side, data))

    def read(self) -> None:
        """What was heard since the last time."""
        if self._peers.transport is Transport.TCP:
            self._unread = [*self._text.items()] if self._unread else []
            for side, _ in self._unread:
                self._requests[side].clear()
        for side, data in self._unread:
            for saying in _messages(data, self._peers.transport):
                for own, seen in self._hidden.items():  # one side knows it by the one, and the other by the other
                    saying.call_id = saying.call_id.replace(own, seen)
                if not saying.status:
                    self._requests[side].append(saying)
                elif 200 <= saying.status < 300:
                    self._answered.add((self._peers.own(side).host, saying.transaction))
        self._unread = []

    def has_said(self, side: Side, at: Endpoint, in_via: bool = False, is_agreed: bool = False) -> bool:
        """Whether the party named this address as its own: in a request's Contact or top Via, in its Via alone, or in
        the Contact of one that the other side has answered 2xx."""
        requests = self._requests[side]
        # What it calls itself in both is an alias of where it signals from: the address of its VPN, or of a container.
        aliases = {host for one in requests for host in {*_hosts(one.contacts)} & {*_hosts(one.vias[:1])}}
        for request in requests:
            if is_agreed and not self._is_agreed(side, request):
                continue
            values = [*request.vias[:1] * (not is_agreed), *request.contacts * (not in_via)]
            for value in values:
                hosts = {*hosts_in(value)}
                if at.port in _ports(value) and ({at.host} | aliases) & hosts:
                    return True
                if at == self._peers.own(side) and aliases & hosts:
                    return True
        return False

    def _is_agreed(self, side: Side, request: Saying) -> bool:
        """The other side said 2xx to it, or its own party did in the same dialog."""
        own, other = self._peers.own(side).host, self._peers.own(side.other).host
        dialogs = {call_id for host, (call_id, _) in self._answered if host == own}
        return (other, request.transaction) in self._answered or request.call_id in dialogs


def _messages(data: bytes, transport: Transport) -> Iterator[Saying]:
    for message in (data,) if transport is Transport.UDP else _cut(data):
        if (found := _read(message)) is not None:
            yield found


def _cut(stream: bytes) -> Iterator[bytes]:
    """Messages, each as long as its Content-Length says; behind one that does not say it all is one."""
    while (stream := stream.lstrip(_FILLING)) and (head := _END_OF_HEAD.search(stream)) is not None:
        lengths = {int(length) for length in _LENGTH.findall(stream[: head.end()])}
        if len(lengths) != 1:
            break
        end = head.end() + lengths.pop()
        yield stream[:end]
        stream = stream[end:]
    yield stream


def _read(message: bytes) -> Saying | None:
    lines = _lines(message.lstrip(_FILLING))
    start = next(lines, b"")
    if _START.fullmatch(start) is None:
        return None
    status = re.match(rb"SIP/\S+\s+(\d{3})", start, re.IGNORECASE)
    found = Saying(int(status[1]) if status else 0, b"" if status else start.split()[0])
    for line in lines:
        if (match := _FIELD.fullmatch(line)) is None:
            continue
        name, value = _LONG_NAMES.get(match[1].lower(), match[1].lower()), match[2]
        match name:
            case b"contact":
                found.contacts.append(value)
            case b"via":
                found.vias += (part for part in value.split(b",") if part.strip())
            case b"call-id":
                found.call_id = found.call_id or value.strip()  # what a body has does not count
            case b"cseq":
                found.cseq = found.cseq or value
    return found


def _lines(data: bytes) -> Iterator[bytes]:
    """With those that continue them."""
    line: bytes | None = None
    for one in re.split(rb"\r?\n", data):
        if line and one[:1] in (b" ", b"\t"):
            line += one
            continue
        if line is not None:
            yield line
        line = one
    if line is not None:
        yield line


def _ports(value: bytes) -> set[int]:
    return {int(port) for port in _PORT.findall(value)} | DEFAULT_PORTS


def _hosts(values: list[bytes]) -> Iterator[Host]:
    return (host for value in values for host in hosts_in(value))


def hosts_in(data: bytes) -> Iterator[Host]:
    """Whatever may be read as an address."""
    for word in _HOST.findall(data):
        bare = word.strip(b".:")
        for text in {word, word.removeprefix(b":"), bare, bare.partition(b":")[0]}:
            if (host := _read_host(text)) is not None:
                yield host


@lru_cache(maxsize=4096)
def _read_host(text: bytes) -> Host | None:
    try:
        return ip_address(text.decode())
    except ValueError:
        return None


def is_sip(data: bytes) -> bool:
    """Whether it begins as a message does, line ends before it apart."""
    return b"SIP/2.0" in data.lstrip(b"\r\n").partition(b"\n")[0].upper()
