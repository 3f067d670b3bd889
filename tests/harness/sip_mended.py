"""What may be changed in a message so that everybody reads it alike, judged apart from the engine."""

from __future__ import annotations

import re

_LONG = {b"f": b"from", b"t": b"to", b"i": b"call-id", b"c": b"content-type", b"l": b"content-length"}
_ONCE = frozenset((b"from", b"to", b"call-id", b"cseq", b"content-type", b"content-length"))
_LINE = re.compile(rb"\r?\n|[^\n]*(?:\n[ \t][^\n]*)*\n?")
"""With those that continue it; nothing continues an empty one."""


def rest_behind(came: bytes, sent: bytes) -> bytes | None:
    """What stands behind the part of `came` that goes on as `sent`; None if something else was changed than may be.

    In the head: a bare CR is a blank, CSeq of a request names its method, and of a field that should stand once further
    lines are gone, or earlier ones, but not all of them. The body is as it came.
    """
    method = re.split(rb"[ \t]", sent.lstrip(b"\r\n"), maxsplit=1)[0]
    told, gone = set[bytes](), set[bytes]()
    at = of = 0
    while of < len(sent):
        line, new = _line(came, at), _line(sent, of)
        if not line:
            return None
        at += len(line)
        if new.strip(b"\r\n") == b"" and line == new and told:
            body = sent[of + len(new) :]
            return came[at + len(body) :] if came.startswith(body, at) and gone <= told else None
        if new in (line, _plain(line), _of_method(_plain(line), method)):
            of += len(new)
            told.add(_name(new))
        elif _name(line) in _ONCE:
            gone.add(_name(line))
        else:
            return None
    # The head has no end: of a datagram that was cut on its way the last line may be gone, like any other.
    while _name(line := _line(came, at)) in _ONCE:
        gone.add(_name(line))
        at += len(line)
    return came[at:] if gone <= told else None


def _line(data: bytes, at: int) -> bytes:
    found = _LINE.match(data, at)
    assert found is not None  # where nothing is left, it matches that
    return found[0]


def _plain(line: bytes) -> bytes:
    return re.sub(rb"\r(?!\n)", b" ", line)


def _of_method(line: bytes, method: bytes) -> bytes:
    if _name(line) != b"cseq" or method.upper() == b"SIP/2.0":
        return line
    return re.sub(rb"[^ \t\r\n]+([ \t\r\n]*)\Z", lambda end: method + end[1], line)


def _name(line: bytes) -> bytes:
    name = line.partition(b":")[0].strip().lower()
    return _LONG.get(name, name)
