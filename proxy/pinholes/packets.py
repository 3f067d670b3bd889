"""What a packet on a port of media tells without being decrypted: its protocol, its stream, whether it goes on."""

from __future__ import annotations

MAX_DROPOUT = 3000
"""How far the sequence numbers of a stream may have moved on meanwhile: RFC 3550 appendix A.1."""

# RFC 5389 s.6. The cookie tells STUN from UDPTL, whose packets begin with a number that counts from 0.
_STUN_COOKIE = bytes.fromhex("2112a442")


def protocol_of(packet: bytes) -> str:
    """What a packet on a port of media is: rtp, rtcp, stun, dtls, zrtp or other (UDPTL, a keep-alive of one byte).

    RFC 7983 s.7, RFC 5761 s.4.
    """
    first = packet[0] if len(packet) > 1 else 0xFF
    if 128 <= first <= 191:
        return "rtcp" if 192 <= packet[1] <= 223 else "rtp"
    if first <= 3 and packet[4:8] == _STUN_COOKIE:
        return "stun"
    if 16 <= first <= 19:
        return "zrtp"
    return "dtls" if 20 <= first <= 63 else "other"


def tells_source(packet: bytes) -> bool:
    """Whether the packet belongs to the stream itself. STUN comes from every port of a party that tries them all, and a
    keep-alive (D45) from whichever port holds a mapping open."""
    return len(packet) > 1 and protocol_of(packet) != "stun"


def source_of_stream(packet: bytes) -> bytes | None:
    """The SSRC of RTP or RTCP (RFC 3550 s.5.1, s.6.4.1). None: the packet is neither."""
    match protocol_of(packet):
        case "rtp" if len(packet) >= 12:
            return packet[8:12]
        case "rtcp" if len(packet) >= 8:
            return packet[4:8]
    return None


def goes_on(before: bytes, after: bytes, unseen: int = 0) -> bool:
    """Whether `after` is a later packet of the same stream as `before`. `unseen` says how many packets may have come
    between without being looked at."""
    ssrc = source_of_stream(before)
    if ssrc is None or ssrc != source_of_stream(after):
        return False
    if protocol_of(before) != "rtp" or protocol_of(after) != "rtp":
        return after != before  # RTCP has no number of its own
    ahead = (int.from_bytes(after[2:4], "big") - int.from_bytes(before[2:4], "big")) & 0xFFFF
    return 0 < ahead < MAX_DROPOUT + unseen
