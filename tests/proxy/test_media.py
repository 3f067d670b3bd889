"""What is told of packets of media without looking into them."""

from __future__ import annotations

import pytest

from proxy.lanes import protocol_of

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
