"""Audio whose every 20 ms are told apart: G.711 noise, as bytes of RTP, as sound files, and found again in either.

RFC 3550 (RTP), RFC 3551 s.4.5.14 (PCMU and PCMA), ITU-T G.711.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Container, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import datagrams

RATE = 8000
"""Samples a second; G.711 has a byte for each."""
FRAME = RATE // 50
"""Samples in 20 ms: what a packet carries."""
_RTP_HEADER_BYTES = 12
_WITHOUT_ZEROS = bytes(code - (code & 0x7F == 0x7F) for code in range(256))


def noise(milliseconds: int) -> bytes:
    """µ-law, but for its two zeros: which of them a sample of 0 becomes is the encoder's choice."""
    return os.urandom(milliseconds * FRAME // 20).translate(_WITHOUT_ZEROS)


def frames(samples: bytes, width: int = 1) -> list[bytes]:
    """The whole frames of samples of `width` bytes each."""
    size = FRAME * width
    return [samples[at : at + size] for at in range(0, len(samples) - size + 1, size)]


def rtp_payloads(captured: Iterable[bytes], to: IPv4Address | IPv6Address, ports: Container[int]) -> list[bytes]:
    """What RTP carried to this address, on even ports among these, in the order in which it came.

    captured: Ethernet frames.
    """
    return [
        one.payload[_RTP_HEADER_BYTES:]
        for one in datagrams(captured)
        if one.destination[0] == to
        and one.destination[1] in ports
        and one.destination[1] % 2 == 0
        and len(one.payload) > _RTP_HEADER_BYTES
        and one.payload[0] >> 6 == 2
    ]


def run_of(heard: Sequence[bytes], said: Sequence[bytes]) -> bool:
    """Whether all that was heard was said, in this order and without a gap."""
    if not heard or heard[0] not in said:
        return False
    begin = said.index(heard[0])
    return list(heard) == list(said[begin : begin + len(heard)])


def decoded(mu_law: bytes) -> bytes:
    """As 16 bits a sample, little-endian."""
    return b"".join(_LINEAR[code] for code in mu_law)


def _linear(code: int) -> int:
    inverse = ~code & 0xFF
    magnitude = (((inverse & 0x0F) << 3) + 0x84 << (inverse >> 4 & 7)) - 0x84
    return -magnitude if inverse & 0x80 else magnitude


_LINEAR = [_linear(code).to_bytes(2, "little", signed=True) for code in range(256)]


def write_wav(path: Path, samples: bytes) -> None:
    """16 bits a sample, one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples)
