"""In the place of pppd, which needs a kernel that knows PPP: frames as PPTP's programs hand them to it, and a program
that counts and returns them.

HDLC-like framing of RFC 1662: a flag at both ends, some bytes escaped, and a checksum. What is in a frame is nobody's
business but that of its ends. As a program it is started by a server of PPTP for each call, on a terminal.
"""

from __future__ import annotations

import os
import sys
import tty
from collections.abc import Iterator

FLAG, ESCAPE = 0x7E, 0x7D
_GOOD = 0xF0B8
GREETING = b"\xff\x03\xc0\x21greeting of the server"


def _checksum_table() -> Iterator[int]:
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
        yield value


_TABLE = tuple(_checksum_table())


def _checksum(data: bytes | bytearray) -> int:
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value


def framed(payload: bytes) -> bytes:
    """A frame with this payload, address and control field included."""
    whole = payload + (_checksum(payload) ^ 0xFFFF).to_bytes(2, "little")
    escaped = bytearray()
    for byte in whole:
        escaped += bytes((ESCAPE, byte ^ 0x20)) if byte in (FLAG, ESCAPE) or byte < 0x20 else bytes((byte,))
    return bytes((FLAG, *escaped, FLAG))


class Frames:
    """Cuts a stream into frames. Raises ValueError for one whose checksum is wrong."""

    def __init__(self) -> None:
        self._data = b""

    def push(self, data: bytes) -> Iterator[bytes]:
        """The payloads of the frames that are whole with these bytes."""
        *whole, self._data = (self._data + data).split(bytes((FLAG,)))
        for frame in filter(None, whole):
            payload, is_escaped = bytearray(), False
            for byte in frame:
                if byte == ESCAPE and not is_escaped:
                    is_escaped = True
                else:
                    payload.append(byte ^ 0x20 if is_escaped else byte)
                    is_escaped = False
            if _checksum(payload) != _GOOD:
                raise ValueError(f"a frame with a wrong checksum: {bytes(payload)!r}")
            yield bytes(payload[:-2])


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def main(directory: str) -> None:
    """Greet, and return every frame that comes. How many came and how many went stands in a file of the directory."""
    tty.setraw(0)
    frames, came, went = Frames(), 0, 1
    counts = os.open(os.path.join(directory, f"ppp-{os.getpid()}"), os.O_WRONLY | os.O_CREAT)
    _write(framed(GREETING))
    while data := os.read(0, 65536):
        for payload in frames.push(data):
            came += 1
            went += 1
            # The count is there before the frame is: whoever gets the frame may look at once.
            os.pwrite(counts, b"%d %d\n" % (came, went), 0)
            _write(framed(payload))


if __name__ == "__main__":
    main(sys.argv[1])
