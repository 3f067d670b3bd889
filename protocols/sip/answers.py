"""Responses of our own: what answers a SIP request that does not go on.

RFC 3261 s.8.2.6 (responses), s.19.3 (tags); rule S23. An answer is made of what the request says, without state.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b

from protocols.contract.addresses import Malformed
from protocols.sip.head import BadMessage, Head
from protocols.sip.message import Message
from protocols.sip.remembered import read_address, read_via
from protocols.sip.values import split, unfolded
from protocols.toolbox.spans import Span

_TAG_BYTES = 8
"""The length of a tag of ours. RFC 3261 s.19.3 wants at least four bytes."""


class Refused(Exception):
    """Raised when a message cannot go on; it says with what the sender is answered."""

    def __init__(self, status: int, reason: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason


def refuse(message: Message | BadMessage, status: int, reason: bytes, at_most: int | None = None) -> bytes | None:
    """The final response to a request (RFC 3261 s.8.2.6). It is made without state, so a request that is sent again
    gets the same response with the same tag in To. If the request lacks something, the response has what there is. None
    if there is no answer: to a response, to an ACK, to a request with no Via to be answered by (S23), or if the
    response had more bytes than `at_most`."""
    head = message.head if isinstance(message, BadMessage) else message
    if head is None or not head.is_request or head.method == b"ACK":
        return None
    vias = [unfolded(head.data[span.start : span.end]) for span in head.spans(b"via")]
    if not vias or not _has_top_via(vias[0]):
        return None
    for form in _Form:
        answer = _refusal(head, vias, status, reason, form)
        if at_most is None or len(answer) <= at_most:
            return answer
    return None


class _Form(Enum):
    """The forms of a response, from the usual one to the shortest."""

    USUAL = "usual"
    COMPACT = "compact"
    """RFC 3261 s.7.3.3."""
    SHORTEST = "shortest"
    """COMPACT without a tag and a reason phrase, by which nobody knows a response."""


def _refusal(head: Head, vias: list[bytes], status: int, reason: bytes, form: _Form) -> bytes:
    is_usual, has_all = form is _Form.USUAL, form is not _Form.SHORTEST
    lines = [b"SIP/2.0 %d %b" % (status, reason if has_all else b"")]
    lines += ((b"Via: %b" if is_usual else b"v:%b") % via for via in vias)
    for title, compact, name in _COPIED:
        value = head.first(name)
        if value is not None:
            if name == b"to" and has_all:
                value = _with_tag(head, value)
            lines.append(b"%b: %b" % (title, value) if is_usual else b"%b:%b" % (compact, value))
    return b"\r\n".join([*lines, b"Content-Length: 0" if is_usual else b"l:0", b"", b""])


_COPIED = (
    (b"From", b"f", b"from"),
    (b"To", b"t", b"to"),
    (b"Call-ID", b"i", b"call-id"),
    (b"CSeq", b"CSeq", b"cseq"),
)


def _has_top_via(field: bytes) -> bool:
    try:
        top = split(field, Span(0, len(field)))[:1]
        return bool(top and read_via(field[top[0].start : top[0].end]))
    except Malformed:
        return False


def _with_tag(head: Head, to: bytes) -> bytes:
    try:
        if b"tag" in read_address(to).parameters:
            return to
    except Malformed:
        return to
    digest = blake2b(digest_size=_TAG_BYTES)
    for name in (b"via", b"from", b"call-id", b"cseq"):
        digest.update((head.first(name) or b"") + b"\n")
    return b"%b;tag=%b" % (to, digest.hexdigest().encode())
