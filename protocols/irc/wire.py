"""Lines of IRC: tags, prefix, command and parameters (RFC 2812 s.2.3.1, IRCv3 message tags).

Lines are bytes: nobody says in which character set they are. Positions are kept, so that a word can be replaced and all
other bytes stay (IR2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocols.toolbox.spans import Span

MAX_LINE_BYTES = 8704
"""IR1: 512 bytes of a line, and 8191 of tags in front of it."""
MAX_BODY_BYTES = 512
"""IR1: a line without its tags, its end included. Servers cut what is longer."""

WELCOME, STARTTLS_AGREED, STARTTLS_FAILED = "001", "670", "691"
"""Numerics: the client is registered (RFC 2812 s.5.1); the answers to STARTTLS (IRCv3 tls)."""

FIRST = frozenset(
    {"AUTHENTICATE", "CAP", "NICK", "PASS", "PING", "QUIT", "STARTTLS", "USER", "WEBIRC"}
)  # fmt: skip
"""IR3: what a client may say first. No method of HTTP, and no request of SIP, is one of them."""
OF_SERVERS = frozenset({"CAPAB", "PROTOCTL", "SERVER"})
"""By these a client says that it is a server (IR3)."""

_HEAD = re.compile(rb"(?P<tags>@[^ \r\n]* +)?(?::(?P<prefix>[^ \r\n]+) +)?(?P<command>[A-Za-z]+|[0-9]{3})(?=[ \r\n]|$)")
_CHANNELS = b"#&+!@%~*$.,"
"""What a target begins with that is no nick: a channel, with or without a mark for a part of its members (`@#ops`), or
a mask of servers."""
_FOLDED = bytes.maketrans(rb"[]\~", rb"{}|^")
"""RFC 2812 s.2.2: because of IRC's Scandinavian origin these are the lower case of each other."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line."""

    body: int
    """Where the line begins behind its tags."""
    prefix: bytes
    """Who says it, as a server tells it: a server's name, or `nick!user@host`. Empty where it is not said."""
    command: str
    """In upper case, or three digits."""
    params: tuple[bytes, ...]
    """Those before the text, and the text."""
    text: Span | None
    """The last parameter, where a colon stands before it, without its colon."""

    @property
    def nick(self) -> bytes:
        """Whose line it is."""
        return self.prefix.partition(b"!")[0]

    def param(self, number: int) -> bytes:
        """One parameter; empty where there are fewer."""
        return self.params[number] if number < len(self.params) else b""


def read(line: bytes) -> Message | None:
    """Read a line, with or without its end. None: it is none of IRC."""
    match = _HEAD.match(line)
    if match is None:
        return None
    end = len(line.rstrip(b"\r\n"))
    words, colon, text = line[match.end() : end].partition(b" :")
    start = match.end() + len(words) + len(colon)
    params = tuple(filter(None, words.split(b" ")))
    return Message(
        body=match.end("tags") if match["tags"] else 0,
        prefix=match["prefix"] or b"",
        command=match["command"].decode("ascii").upper(),
        params=(*params, text) if colon else params,
        text=Span(start, end) if colon else None,
    )


def is_one_nick(target: bytes) -> bool:
    """Whether a message to this target goes to one user, and not to a channel or to several (IR24)."""
    return bool(target) and target[:1] not in _CHANNELS and b"," not in target


def is_same_nick(one: bytes, other: bytes) -> bool:
    """Whether these are the same nick, in whatever case."""
    return one == other or one.lower().translate(_FOLDED) == other.lower().translate(_FOLDED)


def without_capabilities(line: bytes, message: Message, names: frozenset[bytes]) -> bytes:
    """A list of capabilities (CAP LS, CAP NEW) without these, each of which may have a value. Other lines, and lists
    that have none of them, stay as they are."""
    if message.command != "CAP" or message.param(1).upper() not in (b"LS", b"NEW") or message.text is None:
        return line
    start, end = message.text
    words = line[start:end].split(b" ")
    left = [word for word in words if word.partition(b"=")[0].lower() not in names]
    return line if left == words else line[:start] + b" ".join(left) + line[end:]
