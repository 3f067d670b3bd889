"""TNS packets as bytes: cut from a stream, read, and written anew with lengths that fit.

There is no public specification. What is known of the format stands in `protocols/FACTS.md` (T1 to T33). Up to and
including the packet that answers CONNECT lengths have 16 bits; what comes after needs no reading (T3, T28).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from struct import unpack_from
from typing import NamedTuple

from protocols.contract.addresses import Malformed

HEADER_BYTES = 8
DATA_BYTES = 10
"""The length of header and data flags of a DATA packet, and of header and text length of a REDIRECT."""
MAX_PACKET = 0xFFFF
LEAST_CONNECT = 26
"""The bytes of a CONNECT up to the field, at 26, that says where its connect data begins (T6)."""

HAS_ID, ID_BYTES = 0x01, 16
"""Flag of a packet: an id of the connection stands at its end."""
ATTENTION = 0x0600
"""Service options: can send and receive attention, which is urgent data."""
CHECK_URGENT = 0x01
CHECKS_FROM = 318
"""The version from which urgent data is tried out."""


class Kind(IntEnum):
    """The type of a packet, its fifth byte (T2). Names as Oracle's traces have them."""

    CONNECT = 1
    ACCEPT = 2
    ACK = 3
    REFUSE = 4
    REDIRECT = 5
    DATA = 6
    NULL = 7
    ABORT = 9
    RESEND = 11
    MARKER = 12
    ATTENTION = 13
    CONTROL = 14


LAST_KIND = 19
"""The highest number of a packet's type that is known."""


def length_of(data: bytearray) -> int | None:
    """How many bytes the packet has that these bytes begin with. None: too few have come. Raises Malformed."""
    if len(data) < HEADER_BYTES:
        return None
    length, kind = int.from_bytes(data[:2], "big"), data[4]
    if length < HEADER_BYTES or not 1 <= kind <= LAST_KIND:
        raise Malformed(f"no packet: length {length}, type {kind}")
    return length


def kind(packet: bytes) -> int:
    return packet[4]


# -- CONNECT and its answers -------------------------------------------------------------------------------------------


class Connect(NamedTuple):
    """What a CONNECT says, as far as the engine minds (T6)."""

    version: int
    """The version of TNS that the client speaks."""
    missing: int
    """Bytes of connect data that follow in DATA packets (T7)."""
    data: bytes
    """The connect data that stands in the packet itself."""


def read_connect(packet: bytes) -> Connect:
    """Read the client's first packet (T6). Raises Malformed when it is no CONNECT."""
    if packet[4] != Kind.CONNECT or len(packet) < LEAST_CONNECT + 2:
        raise Malformed(f"the first packet has type {packet[4]} and {len(packet)} bytes")
    version = int.from_bytes(packet[8:10], "big")
    size, at = unpack_from(">HH", packet, 24)
    if at < LEAST_CONNECT or (at > len(packet) and size):
        raise Malformed(f"connect data at {at} of {len(packet)} bytes")
    data = packet[at : at + size]
    return Connect(version, size - len(data), data)


def without_attention(connect: bytes) -> bytes:
    """The CONNECT of a client that knows nothing of urgent data; no length changes (T27)."""
    changed = bytearray(connect)
    options = int.from_bytes(changed[12:14], "big") & ~ATTENTION
    changed[12:14] = options.to_bytes(2, "big")
    if int.from_bytes(changed[26:28], "big") >= 74 and len(changed) >= 74:
        changed[73] &= ~CHECK_URGENT
    return _without_checksum(changed) if changed != connect else connect


def accepted_version(accept: bytes) -> int | None:
    """The version of TNS that the listener has agreed to; None when the ACCEPT is too short to say one."""
    return int.from_bytes(accept[8:10], "big") if len(accept) >= 10 else None


def accepted_without_attention(accept: bytes) -> bytes:
    """The ACCEPT of a listener that knows nothing of urgent data; no length changes (T27)."""
    changed = bytearray(accept)
    if len(changed) >= 12:
        options = int.from_bytes(changed[10:12], "big") & ~ATTENTION
        changed[10:12] = options.to_bytes(2, "big")
    if (accepted_version(accept) or 0) >= CHECKS_FROM and len(changed) >= 45:
        changed[44] &= ~CHECK_URGENT
    return _without_checksum(changed) if changed != accept else accept


_ERROR = re.compile(rb"\(\s*(?i:ERR)\s*=\s*([0-9]{1,6})\s*\)")


def refused_with(refuse: bytes) -> int | None:
    """The ORA- number in a REFUSE (T31)."""
    found = _ERROR.search(refuse, 12)
    return int(found[1]) if found else None


def refuse(code: int, text: str) -> bytes:
    """A REFUSE with a text for people, as listeners write them. text: without quotes and parentheses."""
    words = text.translate(str.maketrans("()'\"\\", "     "))
    body = (
        f"(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR={code})(ERROR_STACK=(ERROR=(CODE={code})(EMFI=4)(ARGS='{words}'))"
        f"(ERROR=(CODE={code})(EMFI=4))))"
    ).encode()
    return _header(12 + len(body), Kind.REFUSE) + b"\x22\x00" + len(body).to_bytes(2, "big") + body


def _header(length: int, kind: Kind) -> bytes:
    return length.to_bytes(2, "big") + b"\0\0" + bytes((kind,)) + b"\0\0\0"


# -- REDIRECT ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Redirect:
    """A REDIRECT and the packets that complete it (T12 to T17)."""

    first: bytes
    """The packet itself."""
    wanted: int
    """How many bytes the text has. 0: all that the next packet has (T14)."""
    text: bytes
    more: list[bytes]
    """Packets that brought the rest."""

    @property
    def is_whole(self) -> bool:
        """Whether all of the text has come that was announced; of an unknown length, one more packet (T14)."""
        return len(self.text) >= self.wanted and (self.wanted > 0 or bool(self.more))

    def add(self, packet: bytes) -> None:
        """The next packet. Raises Malformed if it cannot be part of this."""
        if packet[4] not in (Kind.DATA, Kind.REDIRECT) or len(packet) < DATA_BYTES:
            raise Malformed(f"a packet of type {packet[4]} within a redirect")
        self.more.append(packet)
        self.text += packet[DATA_BYTES : _end(packet)]
        if self.wanted and len(self.text) > self.wanted:
            raise Malformed("more redirect text than announced")

    def as_it_came(self) -> bytes:
        """All packets of it, unchanged."""
        return self.first + b"".join(self.more)

    def with_text(self, text: bytes) -> bytes:
        """The redirect with another text, and all lengths right. A redirect of several packets goes on in one, because
        clients read no further. Raises Malformed if it is too long for a packet (T18)."""
        if DATA_BYTES + len(text) > MAX_PACKET:
            raise Malformed("the rewritten redirect is too long")
        first = bytearray(self.first)
        if self.wanted:
            first[8:10] = len(text).to_bytes(2, "big")
        if not self.more:
            first[DATA_BYTES : DATA_BYTES + self.wanted] = text
            return _with_length(first)
        if _end(self.first) > DATA_BYTES:  # the text began in the first packet, so it stands there now
            first[DATA_BYTES : _end(self.first)] = text
            return _with_length(first)
        last = self.more[-1]  # the flags of this packet say that nothing more comes
        second, tail = bytearray(last[:DATA_BYTES]), last[_end(last) :]
        if second[4] == Kind.REDIRECT:
            second[8:10] = len(text).to_bytes(2, "big")
        return _with_length(first) + _with_length(second + text + tail)


def _with_length(packet: bytearray) -> bytes:
    if len(packet) > MAX_PACKET:
        raise Malformed("the rewritten redirect is too long")
    packet[:2] = len(packet).to_bytes(2, "big")
    return _without_checksum(packet)


def _without_checksum(packet: bytearray) -> bytes:
    """The packet with no checksum in its header. After a change the old checksum would be wrong (T1)."""
    packet[2:4] = b"\0\0"
    return bytes(packet)


def begin_redirect(packet: bytes, limit: int) -> Redirect:
    """A redirect of which this is the first packet. Raises Malformed, also for more than `limit` bytes of text."""
    if len(packet) < DATA_BYTES:
        raise Malformed("a redirect without a length")
    wanted = int.from_bytes(packet[8:10], "big")
    if wanted > limit:
        raise Malformed(f"{wanted} bytes of redirect text")
    return Redirect(packet, wanted, packet[DATA_BYTES : min(DATA_BYTES + wanted, _end(packet))], [])


def _end(packet: bytes) -> int:
    """Where the text in a packet of a redirect ends: before the id of the connection, if it has one."""
    return max(DATA_BYTES, len(packet) - (ID_BYTES if packet[5] & HAS_ID else 0))
