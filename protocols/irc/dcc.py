"""What users say to each other by CTCP DCC: the words of an offer, and of one that is to be resumed (IR6 to IR10).

    PRIVMSG bob :^ADCC SEND "my file" 167837698 5000 12345^A      an offer: the file, where it waits, how long it is
    PRIVMSG bob :^ADCC CHAT chat 167837698 5001^A
    PRIVMSG bob :^ADCC SEND file 167837698 0 12345 77^A           a passive one: bob is to wait, and to say where
    PRIVMSG alice :^ADCC RESUME file 5000 1024^A                  the receiver has a part already
    PRIVMSG bob :^ADCC ACCEPT file 5000 1024^A                    the sender will begin behind it

Names of files may hold blanks without being quoted, and then may end in digits. So a text can be read in more ways than
one, and all are given: only one of them names the client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from protocols.contract.addresses import Endpoint, Host, Malformed
from protocols.toolbox.grammar import IPV4, IPV6
from protocols.toolbox.grammar import read as read_whole
from protocols.toolbox.spans import Span

SENDING = frozenset({"SEND", "TSEND", "SSEND", "XMIT", "MOVE"})
"""IR8: a file, where its receiver connects to the sender. T: without acknowledgements; S: by TLS."""
CHATTING = frozenset({"CHAT", "SCHAT"})
RESUMING = frozenset({"RESUME", "ACCEPT"})

_DCC = re.compile(rb"\x01DCC +(?P<type>[A-Za-z]{1,16})(?= |\x01|$)", re.IGNORECASE)
_QUOTED = re.compile(rb' *"(?P<name>[^"\x01]*)"(?= |$)')
_WORD = re.compile(rb"[^ ]+")
# No signs and no leading zeros: others might read those in another way (IR9).
_NUMBER = re.compile(rb"(?:0|[1-9][0-9]{0,19})")
_SIZE = re.compile(rb"[0-9]{0,20}T?")
_QUOTE = re.compile(rb"\x10([nr0\x10])")
_ESCAPE = re.compile(rb"\\([a\\])")
_UNQUOTED = {b"n": b"\n", b"r": b"\r", b"0": b"\0", b"\x10": b"\x10", b"a": b"\x01", b"\\": b"\\"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a line."""

    text: bytes
    span: Span


@dataclass(frozen=True, slots=True)
class Dcc:
    """What is said by DCC."""

    type: str
    """In upper case."""
    name: bytes | None
    """Of the file, if it is quoted."""
    words: tuple[Word, ...]
    """All words behind the type, or behind the quoted name."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A way in which an offer can be read."""

    name: bytes
    """Of the file, as its user knows it. Of a chat: `chat`."""
    host: Host
    port: int
    """0: a passive offer, whose receiver says where it waits itself (IR10)."""
    size: int | None
    token: bytes | None
    address: Span
    """The word that names the host."""
    number: Span
    """The word that names the port."""

    def at(self) -> Endpoint:
        """Where the user says to wait."""
        return Endpoint(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Resume:
    """A way in which RESUME and ACCEPT can be read. Both name the port of the sender (IR8)."""

    name: bytes
    port: int
    number: Span
    """The word that names the port."""


def read(line: bytes, text: Span) -> Dcc | None:
    """What a text says by DCC. None: it is another one. Only one that begins the text counts (IR6)."""
    match = _DCC.match(line, text.start, text.end)
    if match is None:
        return None
    end = line.find(b"\x01", match.end(), text.end)
    end = text.end if end < 0 else end  # the last byte may be missing (IR6)
    quoted = _QUOTED.match(line, match.end(), end)
    start = match.end() if quoted is None else quoted.end()
    words = tuple(Word(found[0], Span(*found.span())) for found in _WORD.finditer(line, start, end))
    return Dcc(match["type"].decode("ascii").upper(), None if quoted is None else quoted["name"], words)


def offers(line: bytes, dcc: Dcc) -> Iterator[Offer]:
    """The ways to read an offer, the likeliest one first."""
    if dcc.type in CHATTING:
        starts: Iterator[int] = iter((0 if dcc.name is not None else 1,))
    else:
        starts = _starts(dcc, (3, 4, 2))
    for at in starts:
        if (offer := _offer(line, dcc, at)) is not None:
            yield offer


def resumes(line: bytes, dcc: Dcc) -> Iterator[Resume]:
    """The ways to read RESUME or ACCEPT, the likeliest one first."""
    for at in _starts(dcc, (2, 3)):
        number, *more = dcc.words[at:]
        port = _port(number.text)
        if port is not None and more and _NUMBER.fullmatch(more[0].text) and all(map(_is_size, more[1:])):
            yield Resume(_name(line, dcc, at), port, number.span)


def _starts(dcc: Dcc, lengths: tuple[int, ...]) -> Iterator[int]:
    """Where the words behind the name may begin: behind a quoted name; else behind a name without blanks, or so many
    words before the end (IR9)."""
    count, least, most = len(dcc.words), min(lengths), max(lengths)
    starts = (1, *(count - length for length in lengths)) if dcc.name is None else (0,)
    return (at for at in dict.fromkeys(starts) if at >= starts[0] and least <= count - at <= most)


def _offer(line: bytes, dcc: Dcc, at: int) -> Offer | None:
    """The offer whose address is the word at this place. None: the words there are none."""
    most = 1 if dcc.type in CHATTING else 2
    if not 2 <= len(dcc.words) - at <= 2 + most:
        return None
    address, port, *extras = dcc.words[at:]
    host, number = _host(address.text), _port(port.text)
    if host is None or number is None or not all(map(_is_size, extras)):
        return None
    # No host has an address of 0.0.0.0/8: a number so small is a port or a size. Passive offers may have a dummy.
    if host.version == 4 and number and int(host) < 1 << 24:
        return None
    token = extras[-1].text if len(extras) == most else None
    size = extras[0].text.rstrip(b"T") if most == 2 and extras else b""
    return Offer(_name(line, dcc, at), host, number, int(size) if size else None, token, address.span, port.span)


def _name(line: bytes, dcc: Dcc, at: int) -> bytes:
    """The name of the file, without quoting: it is told to the log and never changed (IR7)."""
    name = line[dcc.words[0].span.start : dcc.words[at - 1].span.end] if dcc.name is None else dcc.name
    name = _QUOTE.sub(lambda match: _UNQUOTED[match[1]], name)
    return _ESCAPE.sub(lambda match: _UNQUOTED[match[1]], name)


def _is_size(word: Word) -> bool:
    return _SIZE.fullmatch(word.text) is not None


def _port(text: bytes) -> int | None:
    """The number of a port, 0 included. None: it is none."""
    return int(text) if _NUMBER.fullmatch(text) and len(text) <= 5 and int(text) <= 65535 else None


def _host(text: bytes) -> Host | None:
    """An address: of IPv4 as one number or with dots, of IPv6 with colons (IR9). None: it is none."""
    if _NUMBER.fullmatch(text):
        return IPv4Address(int(text)) if int(text) < 1 << 32 else None
    try:
        found: Host = read_whole(IPV6 if b":" in text else IPV4, text)
    except Malformed:
        return None
    return found


def written(host: Host, like: bytes) -> bytes:
    """An address as it stands in an offer, with dots where the word in its place has some."""
    if isinstance(host, IPv4Address) and b"." not in like:
        return b"%d" % int(host)
    return str(host).encode()
