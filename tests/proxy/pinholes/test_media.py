"""What is told of packets of media without looking into them; whose stream they are of."""

from __future__ import annotations

import pytest

from proxy.pinholes.packets import MAX_DROPOUT, goes_on, protocol_of

STUN_HEADER = bytes.fromhex("000100002112a442") + bytes(12)


@pytest.mark.parametrize(
    ("packet", "protocol"),
    [
        (b"\x80\x00" + bytes(10), "rtp"),
        (b"\xbf\x80" + bytes(10), "rtp"),
        (b"\x80\xc8" + bytes(26), "rtcp"),
        (b"\x81\xdf" + bytes(26), "rtcp"),
        (b"\x80\xe0" + bytes(10), "rtp"),
        (STUN_HEADER, "stun"),
        (b"\x01\x01" + STUN_HEADER[2:], "stun"),
        (b"\x10\x00" + b"\x00" * 10, "zrtp"),
        (b"\x16\xfe\xff" + bytes(10), "dtls"),
        (b"\x14\xfe\xfd" + bytes(10), "dtls"),
        (b"\x40\x00\x00\x04" + bytes(4), "other"),
        (b"\xc0" + bytes(10), "other"),
        (b"", "other"),
        (b"\x80", "other"),
        (b"\r\n", "other"),
    ],
)
def test_the_first_byte_tells_the_protocols_of_a_port_of_media_apart(packet: bytes, protocol: str) -> None:
    """RFC 7983 s.7, RFC 5761 s.4; D42."""
    assert protocol_of(packet) == protocol


def test_udptl_is_not_taken_for_stun() -> None:
    """Its sequence numbers begin with the bytes that STUN begins with (D43)."""
    assert protocol_of(bytes.fromhex("000100010302") + b"T.38 data") == "other"


def rtp(number: int, ssrc: bytes = b"ssrc") -> bytes:
    return b"\x80\x00" + (number & 0xFFFF).to_bytes(2, "big") + bytes(4) + ssrc + bytes(160)


RTCP = b"\x80\xc8\x00\x06ssrc" + bytes(20)


@pytest.mark.parametrize(
    ("before", "after", "does"),
    [
        (rtp(7), rtp(8), True),
        (rtp(7), rtp(7 + MAX_DROPOUT - 1), True),
        (rtp(0xFFFF), rtp(3), True),
        (rtp(7), rtp(7), False),  # who has only overheard it
        (rtp(7), rtp(6), False),
        (rtp(7), rtp(7 + MAX_DROPOUT), False),
        (rtp(7), rtp(8, b"another "[:4]), False),
        (rtp(7), RTCP, True),
        (RTCP, rtp(900), True),
        (RTCP, RTCP, False),
        (RTCP, RTCP[:-1] + b"x", True),
        (rtp(7), b"\x80", False),
        (b"", rtp(8), False),
        (STUN_HEADER, STUN_HEADER, False),
        (b"speech", b"speech", False),
    ],
)
def test_a_stream_is_known_by_its_source_and_its_numbers(before: bytes, after: bytes, does: bool) -> None:
    """RFC 3550 s.5.1, appendix A.1."""
    assert goes_on(before, after) is does


def test_a_stream_may_go_on_beyond_what_nobody_has_looked_at() -> None:
    """Another mover than user space has carried so many of its packets."""
    assert goes_on(rtp(7), rtp(7 + MAX_DROPOUT), unseen=1)
    assert not goes_on(rtp(7), rtp(7 + MAX_DROPOUT + 1), unseen=1)
    assert not goes_on(rtp(7), rtp(7), unseen=1)
