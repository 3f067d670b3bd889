"""SIP messages for tests, and how they are changed."""

from __future__ import annotations

import pytest

from protocols.sip.head import MAX_FIELDS, MAX_HEAD_BYTES, MAX_METHOD_BYTES, BadMessage
from protocols.sip.message import Message
from protocols.sip.reading import read_message
from protocols.toolbox.spans import Span

BODY = b"v=0\r\no=- 1 1 IN IP4 10.1.0.20\r\n"

INVITE = b"\r\n".join(
    [
        b"INVITE sip:bob@203.0.113.9:5070;transport=udp SIP/2.0",
        b"Via: SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport",
        b"Max-Forwards: 70",
        b'From: "Alice" <sip:alice@example.com>;tag=1928301774',
        b"To: Bob <sip:bob@example.com>",
        b"Call-ID: a84b4c76e66710@10.1.0.2",
        b"CSeq: 314159 INVITE",
        b"Contact: <sip:alice@10.1.0.2:5060;transport=udp>",
        b"Content-Type: application/sdp",
        b"Content-Length: %d" % len(BODY),
        b"",
        BODY,
    ]
)
"""The shape that all others here are cut from."""

RINGING = b"\r\n".join(
    [
        b"SIP/2.0 180 Ringing",
        b"Via: SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport=5060",
        b"From: <sip:alice@example.com>;tag=1928301774",
        b"To: <sip:bob@example.com>;tag=a6c85cf",
        b"Call-ID: a84b4c76e66710@10.1.0.2",
        b"CSeq: 314159 INVITE",
        b"Content-Length: 0",
        b"",
        b"",
    ]
)


def without(message: bytes, name: bytes) -> bytes:
    """The message without these fields."""
    lines = message.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(name + b":"))


def put(message: bytes, name: bytes, *fields: bytes) -> bytes:
    """The message with other lines in place of this field; empty: of the start line."""
    lines = message.split(b"\r\n")
    at = next(at for at, line in enumerate(lines) if line.startswith(name + b":" if name else b""))
    return b"\r\n".join([*lines[:at], *fields, *lines[at + 1 :]])


def refused(message: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        read_message(message)
    return caught.value


def text(message: Message, span: Span) -> bytes:
    return message.data[span.start : span.end]


def values(message: Message, name: bytes) -> list[bytes]:
    return [text(message, span) for span in message.spans(name)]


def length(value: bytes | int, *more: bytes) -> bytes:
    line = b"Content-Length: %b" % (b"%d" % value if isinstance(value, int) else value)
    return put(INVITE, b"Content-Length", line, *more)


BAD_LENGTHS = [b"", b"-1", b"+1", b"1x", b"0x1", b"1 1", b"1,1", b"1.0", b"1_0", b"12345678", b"4294967296", b"\xb2"]
OTHER_PROTOCOLS = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /SIP/2.0 HTTP/1.1\r\n\r\nREGISTER sip:h SIP/2.0\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    b"220 ftp\r\n",
    b"SIP/2.0/UDP h\r\n",
    b"SIPS/2.0 200 OK\r\n",
    b"INVITE sip:h SIP/2.0/UDP\r\n",
    b"INVITE sip:h SIP/20\r\n",
    b"INVITE sip:h XSIP/2.0\r\n",
    b"<INVITE> sip:h SIP/2.0\r\n",
    b"A" * (MAX_METHOD_BYTES + 1) + b" sip:h SIP/2.0\r\n",
    b"\0\0\0\0\r\n",
    b" INVITE sip:h SIP/2.0\r\n",
    b"\r \nINVITE sip:h SIP/2.0\r\n",
    b"-\r\n",
]

STREAM_PIECES = [
    INVITE,
    b"\r\n\r\n",
    RINGING,
    RINGING.replace(b"\r\n", b"\n"),
    b"\r\n",
    length(b"\r\n 031", b"l: 31"),
    put(INVITE, b"", b"INVITE  sip:h SIP/2.0  "),
    put(RINGING, b"Content-Length", b"L:0"),
    b"\n",
    put(RINGING, b"Via", b"X: Content-Length: 5\r\n Content-Length: 6"),
]

STREAM = b"".join(STREAM_PIECES)

FAULTS = {
    "bad_request_line": put(INVITE, b"", b"INVITE SIP/2.0"),
    "bad_version": put(INVITE, b"", b"INVITE sip:h SIP/3.0"),
    "bad_header_line": put(INVITE, b"", b"INVITE sip:h SIP/2.0\r\n x"),
    "bare_cr": put(INVITE, b"Contact", b"\rContact: x"),
    "body_too_short": INVITE[:-1],
    "bad_content_length": length(b"x"),
    "unfinished_line": INVITE[: INVITE.index(b"Content-Type") + 3],
    "too_many_fields": put(INVITE, b"Contact", *[b"X:"] * MAX_FIELDS),
    "header_too_large": put(INVITE, b"Contact", b"X: " + b"x" * MAX_HEAD_BYTES),
}
