"""SIP messages that two readers would take for two: which reading counts, and what goes on so that all read alike.

A field that stands once by the grammar (RFC 3261 s.7.3.1) stands twice in the field, by scripts, proxies and attackers.
One stack goes by the first one, another by the last. A bare CR ends a line for some stacks and none for others. Whoever
reads such a message otherwise than we have would take it for another call's, and answer for that one.

So one reading counts, and what contradicts it does not go on. Who writes such a message gains nothing: it could have
written the plain one. In a stream nothing is mended that could end the message elsewhere, for whoever stands before us
would hold other bytes for messages than we do: its users could speak in its name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from protocols.sip import odd

ONCE = (b"from", b"to", b"call-id", b"cseq")
"""Fields that each message has, and once."""
TOLD_ONCE = (*ONCE, b"content-type", b"content-length")

# With the blanks that SLASH allows (RFC 3261 s.25.1): body.py reads these types with them, too.
_DESCRIPTION = re.compile(
    rb"(?i)[ \t\r\n]*+(?:application[ \t\r\n]*+/[ \t\r\n]*+sdp(?![^ \t\r\n;])|multipart[ \t\r\n]*+/)"
)
_LETTERS = re.compile(rb"[^A-Za-z]+")
_BARE_CR = re.compile(rb"\r(?!\n)")
_AT_LINE = re.compile(rb"(?:\A|\n)\r(?!\n)")
_BEHIND_CR = re.compile(rb"\r(?!\n)(\r|[^\r\n:]*+)")
_END_OF_HEAD = re.compile(rb"\n\r?\n")


def agreeing(name: bytes, values: Sequence[bytes], room: int) -> list[bool]:
    """Which values of a field that should stand once say what the one says that counts.

    That is the first one. But of Content-Lengths of a datagram it is the one that ends where the datagram does (room:
    bytes behind the head), and of Content-Types the first one that has session descriptions: what else a body may be,
    nobody here reads. Of From and To the tag decides, which is of a dialog, and the URI, by which a registrar binds.
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
    """Where the line of a field begins, and where the next one does. start, end: of its value."""
    behind = data.find(b"\n", end)
    return data.rfind(b"\n", 0, start) + 1, behind + 1 if behind >= 0 else len(data)


def is_like_length(name: bytes) -> bool:
    """Whether others could take this for the name of Content-Length, whatever stands between its letters."""
    return _LETTERS.sub(b"", name).lower() in (b"contentlength", b"l")


def without_bare_crs(data: bytes, start: int, is_cut: bool) -> tuple[bytes, int] | None:
    """The message with a blank for each bare CR in its head, from this line on, and where the first one stood. None if
    there is none, or if the head or (is_cut: of a stream) the message could end elsewhere by it."""
    empty = _END_OF_HEAD.search(data, start - 1)  # with the end of the line before, for this one may be the empty one
    head = data[start : empty.start() + 1 if empty is not None else len(data)]
    first = _BARE_CR.search(head)
    if first is None or _AT_LINE.search(head):
        return None
    if is_cut and any(match[1] == b"\r" or is_like_length(match[1]) for match in _BEHIND_CR.finditer(head)):
        return None
    return data[:start] + _BARE_CR.sub(b" ", head) + data[start + len(head) :], start + first.start()
