"""Mends SIP messages that two readers would take for two different messages. One reading counts, and the message goes
on so that every reader takes that one.

The grammar has some fields stand once (RFC 3261 s.7.3.1). In the field they stand twice, by scripts, proxies and
attackers. One stack goes by the first value, another by the last. A bare CR ends a line for some stacks and not for
others. A stack that reads such a message otherwise than we have would take it for another call's message, and answer
for that call.

So one reading counts, and whatever contradicts it does not go on. The writer of such a message gains nothing, because
it could have written the plain one. In a stream nothing is mended that could end the message in another place. The peer
before us would then take other bytes for messages than we do, and its users could speak in its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from protocols.sip import odd

ONCE = (b"from", b"to", b"call-id", b"cseq")
"""Fields that every message has exactly once."""
TOLD_ONCE = (*ONCE, b"content-type", b"content-length")
"""Fields whose values must not contradict each other."""

# SLASH allows blanks around it (RFC 3261 s.25.1), and body.py reads these types with blanks, too.
_DESCRIPTION = re.compile(
    rb"(?i)[ \t\r\n]*+(?:application[ \t\r\n]*+/[ \t\r\n]*+sdp(?![^ \t\r\n;])|multipart[ \t\r\n]*+/)"
)
_LETTERS = re.compile(rb"[^A-Za-z]+")
_BARE_CR = re.compile(rb"\r(?!\n)")
_AT_LINE = re.compile(rb"(?:\A|\n)\r(?!\n)")
_BEHIND_CR = re.compile(rb"\r(?!\n)(\r|[^\r\n:]*+)")
_END_OF_HEAD = re.compile(rb"\n\r?\n")


def agreeing(name: bytes, values: Sequence[bytes], room: int) -> list[bool]:
    """Which values of a field agree with the value that counts, where the field should stand once.

    The first value counts, with two exceptions. Among Content-Lengths of a datagram it is the one that ends where the
    datagram does (room: bytes behind the head). Among Content-Types it is the first one that holds session
    descriptions, because no other body is read here. Values of From and To agree if they have the same tag, which names
    the dialog, and the same URI, by which a registrar binds.
    """
    said: list[object]
    if name in (b"from", b"to"):
        said = [odd.read_identity(value)[:2] for value in values]
    elif name == b"content-length":
        said = [int(value) if value.isdigit() and len(value) < 8 else value for value in values]
        if room in said:
            return [one == room for one in said]
    else:
        said = [b" ".join(value.split()) for value in values]
    if name == b"content-type":
        descriptions = [one for one, value in zip(said, values, strict=True) if _DESCRIPTION.match(value)]
        if not descriptions:
            return [True] * len(said)
        return [one == descriptions[0] for one in said]
    return [one == said[0] for one in said]


def line_of(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the line of a field begins, and where the next line begins. start, end: the span of the field's value."""
    behind = data.find(b"\n", end)
    return data.rfind(b"\n", 0, start) + 1, behind + 1 if behind >= 0 else len(data)


def is_like_length(name: bytes) -> bool:
    """Whether another stack could take this name for Content-Length, whatever stands between its letters."""
    return _LETTERS.sub(b"", name).lower() in (b"contentlength", b"l")


def without_bare_crs(data: bytes, start: int, is_cut: bool) -> tuple[bytes, int] | None:
    """The message with a blank for each bare CR in its head, from this line on, and where the first CR stood.

    None: the head has no bare CR, or mending it could end the head in another place. With is_cut (the message comes
    from a stream) it is None also if the whole message could end in another place.
    """
    # the end of the line before is searched too, because this line may be the empty one
    empty = _END_OF_HEAD.search(data, start - 1)
    head = data[start : empty.start() + 1 if empty is not None else len(data)]
    first = _BARE_CR.search(head)
    if first is None or _AT_LINE.search(head):
        return None
    if is_cut and any(match[1] == b"\r" or is_like_length(match[1]) for match in _BEHIND_CR.finditer(head)):
        return None
    return data[:start] + _BARE_CR.sub(b" ", head) + data[start + len(head) :], start + first.start()
