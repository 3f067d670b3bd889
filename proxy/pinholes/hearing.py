"""How well RTP arrives: packets lost, jitter and codec of one stream, at a price that a packet of media can pay.

RFC 3550 s.6.4.1 (lost, jitter), A.1 and A.3 (how they are counted), A.8 (jitter); RFC 3551 (payload types).

A lane compares one byte of each packet with the one that is due (`userspace.py`). Only what is not due comes here: the
first packets, each 256th one, and whatever comes behind a gap, too late or twice. So loss is exact. Jitter is that of
a few packets in a row out of each 256.

Times are those at which a packet is read, so jitter counts what this gateway adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from protocols.contract.pinholes import Codec, Heard

IN_A_ROW = 8
"""How many packets of each 256 are looked at for jitter."""
AT_FIRST = 24
"""How many at the beginning, since many calls have no 256 packets."""
MAX_DROPOUT = 3000
MAX_MISORDER = 100
"""RFC 3550 A.1: a packet that is farther away than this belongs to a stream that has begun anew."""
EACH = -1
"""The next packet is to come here whatever its number is."""
_HEADER_BYTES = 12
_EVENTS = frozenset(("telephone-event", "CN", "red", "tone"))
"""What stands between the packets of a codec, with time stamps of its own."""


def is_rtp(data: bytes) -> bool:
    """Whether this packet has a number and a time stamp (RFC 7983 s.7, RFC 5761 s.4)."""
    return len(data) >= _HEADER_BYTES and 128 <= data[0] <= 191 and not 192 <= data[1] <= 223


class Hearing:
    """What is heard of one sender's RTP by one lane. `Lane.ear` refers to it."""

    __slots__ = (
        "_before",
        "_codec",
        "_codec_of",
        "_count",
        "_first",
        "_highest",
        "_left",
        "_others",
        "_read_at",
        "_ssrc",
        "_stamp",
        "_type",
        "_types",
        "jitter",
    )

    def __init__(self, codec_of: Callable[[int], Codec | None], others: int) -> None:
        """`codec_of` says what a payload type means to whoever receives it. `others`: so many packets have come before
        the first one of RTP."""
        self._codec_of = codec_of
        self._ssrc = b""
        self._first = self._highest = 0
        """Numbers of the stream, which go on where the 16 bits of the packets begin anew."""
        self._before = 0
        """How many packets streams of before should have had."""
        self._others = others
        """Packets that were no RTP: RTCP on the same port, STUN and the like."""
        self._left = AT_FIRST
        self._read_at = 0.0
        self._stamp = 0
        self._type = -1
        self._codec: Codec | None = None
        self._types: dict[int, int] = {}
        """Payload type -> how many packets with it were looked at."""
        self.jitter = 0.0
        """In seconds."""

    def hear(self, data: bytes, due: int) -> int:
        """A packet has come whose fourth byte is not the one that was due. Returns the one that is due next."""
        if not is_rtp(data):
            self._others += 1
            return due
        self.rest(due)
        number = data[2] << 8 | data[3]
        if data[8:12] != self._ssrc:
            self._begin(data, number)
        else:
            ahead = (number - self._highest) & 0xFFFF
            if ahead < MAX_DROPOUT:
                self._highest += ahead
            elif ahead < 0x10000 - MAX_MISORDER:
                self._begin(data, number)
        if due > 0xFF:
            self._left = IN_A_ROW
            self._read_at = 0.0
        if self._left:
            self._left -= 1
            self._time(data)
            if self._left:
                return EACH
        return (self._highest & 0xFF) + 1

    def rest(self, due: int) -> None:
        """All packets up to the one that is due have come."""
        if due > 0:
            self._highest = (self._highest & ~0xFF) + due - 1

    def _begin(self, data: bytes, number: int) -> None:
        """A stream begins."""
        if self._ssrc:
            self._before += self._highest - self._first + 1
        self._ssrc = data[8:12]
        self._first = self._highest = number
        self._read_at = 0.0
        self._left = max(self._left, IN_A_ROW)

    def _time(self, data: bytes) -> None:
        """Compare the time since the packet before with the time between their time stamps."""
        now, stamp = time.monotonic(), int.from_bytes(data[4:8], "big")
        kind = data[1] & 0x7F
        self._types[kind] = self._types.get(kind, 0) + 1
        if kind != self._type:
            self._type, self._codec, self._read_at = kind, self._codec_of(kind), 0.0
        codec = self._codec
        if codec is not None and codec.name not in _EVENTS:
            if self._read_at:
                # The difference of two time stamps is one of 32 bits with a sign.
                passed = ((stamp - self._stamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
                late = now - self._read_at - passed / codec.rate
                self.jitter += (abs(late) - self.jitter) / 16
            self._read_at, self._stamp = now, stamp

    def told(self, packets: int) -> Heard | None:
        """What was heard, where so many packets have come by the lane. None: no RTP."""
        if not self._ssrc:
            return None
        expected = self._before + self._highest - self._first + 1
        received = packets - self._others
        codecs = [(count, codec) for kind, count in self._types.items() if (codec := self._codec_of(kind)) is not None]
        spoken = [one for one in codecs if one[1].name not in _EVENTS] or codecs
        name = max(spoken)[1].name if spoken else None
        return Heard(received, max(0, expected - received), round(self.jitter, 6), name)
