"""Descriptions to test with: those of the RFCs, and what phones and browsers send; and the two usual moves."""

from __future__ import annotations

from ipaddress import ip_address

from protocols.contract.addresses import Host
from protocols.sdp.description import Description, Media
from protocols.sdp.reading import read_sdp
from protocols.sdp.relocate import (
    Move,
    relocate,
)

OUTSIDE = ip_address("203.0.113.7")
OUTSIDE6 = ip_address("2001:db8:f::7")
INSIDE = ip_address("10.1.0.2")


def sdp(text: str, end: str = "\r\n") -> bytes:
    return "".join(line.strip() + end for line in text.strip().splitlines()).encode()


def to(port: int, rtcp_port: int | None = None, host: Host = OUTSIDE) -> Move:
    return Move(host, port, rtcp_port)


def only(body: bytes) -> Media:
    (media,) = read_sdp(body).media
    return media


def moved(body: bytes, moves: dict[int, Move], origin: Host | None = None, ice: bool = False) -> bytes:
    return relocate(read_sdp(body), moves, origin, "strip" if ice else "pass")


def stay(description: Description) -> dict[int, Move]:
    """Every medium to where it is."""
    moves = {}
    for media in description.media:
        if media.is_movable and media.connection and media.connection.host and not media.connection.is_unspecified:
            rtcp = media.rtcp_endpoint.port if media.rtcp_endpoint else None
            moves[media.slot] = Move(media.connection.host, media.port, rtcp)
    return moves


CALL = sdp("""
    v=0
    o=alice 2890844526 2890844527 IN IP4 10.1.0.2
    s=-
    c=IN IP4 10.1.0.2
    t=0 0
    m=audio 49170 RTP/AVP 0 101
    a=rtpmap:101 telephone-event/8000
    a=sendrecv
""")

# RFC 8866 s.5.
RFC_8866 = sdp("""
    v=0
    o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1
    s=Call to John Smith
    i=SDP Offer #1
    u=http://www.jdoe.example.com/home.html
    e=Jane Doe <jane@jdoe.example.com>
    p=+1 617 555-6011
    c=IN IP4 198.51.100.1
    t=0 0
    m=audio 49170 RTP/AVP 0
    m=audio 49180 RTP/AVP 0
    m=video 51372 RTP/AVP 99
    c=IN IP6 2001:db8::2
    a=rtpmap:99 h263-1998/90000
""")

# RFC 3264 s.10.1: the offer, the answer, and the new offer of the answerer.
RFC_3264_OFFER = sdp("""
    v=0
    o=alice 2890844526 2890844526 IN IP4 host.anywhere.com
    s=
    c=IN IP4 host.anywhere.com
    t=0 0
    m=audio 49170 RTP/AVP 0
    a=rtpmap:0 PCMU/8000
    m=video 51372 RTP/AVP 31
    a=rtpmap:31 H261/90000
    m=video 53000 RTP/AVP 32
    a=rtpmap:32 MPV/90000
""")
RFC_3264_ANSWER = sdp("""
    v=0
    o=bob 2890844730 2890844730 IN IP4 host.example.com
    s=
    c=IN IP4 host.example.com
    t=0 0
    m=audio 49920 RTP/AVP 0
    a=rtpmap:0 PCMU/8000
    m=video 0 RTP/AVP 31
    m=video 53000 RTP/AVP 32
    a=rtpmap:32 MPV/90000
""")
RFC_3264_NEW_OFFER = sdp("""
    v=0
    o=bob 2890844730 2890844731 IN IP4 host.example.com
    s=
    c=IN IP4 host.example.com
    t=0 0
    m=audio 65422 RTP/AVP 0
    a=rtpmap:0 PCMU/8000
    m=video 0 RTP/AVP 31
    m=video 53000 RTP/AVP 32
    a=rtpmap:32 MPV/90000
    m=audio 51434 RTP/AVP 110
    a=rtpmap:110 telephone-events/8000
    a=recvonly
""")

# RFC 4317 s.3.1, Alice puts Bob on hold.
RFC_4317_HOLD = sdp("""
    v=0
    o=alice 2890844526 2890844527 IN IP4 host.atlanta.example.com
    s=
    c=IN IP4 host.atlanta.example.com
    t=0 0
    m=audio 49170 RTP/AVP 97
    a=rtpmap:97 iLBC/8000
    a=sendonly
""")

# RFC 9143 s.18.1 with the second medium as s.18.3 has it.
BUNDLE = sdp("""
    v=0
    o=alice 2890844526 2890844526 IN IP6 2001:db8::3
    s=
    c=IN IP6 2001:db8::3
    t=0 0
    a=group:BUNDLE foo bar
    m=audio 10000 RTP/AVP 0 8 97
    b=AS:200
    a=mid:foo
    a=rtcp-mux
    a=rtpmap:0 PCMU/8000
    a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
    m=video 0 RTP/AVP 31 32
    b=AS:1000
    a=mid:bar
    a=bundle-only
    a=rtcp-mux
    a=rtpmap:31 H261/90000
""")

# As browsers write it, RFC 8829 s.7.
WEBRTC = sdp("""
    v=0
    o=- 4962303333179871723 1 IN IP4 0.0.0.0
    s=-
    t=0 0
    a=ice-options:trickle ice2
    a=group:BUNDLE a1 d1
    a=ice-lite
    m=audio 10100 UDP/TLS/RTP/SAVPF 96 0 8
    c=IN IP4 203.0.113.100
    a=mid:a1
    a=sendrecv
    a=rtpmap:96 opus/48000/2
    a=ice-ufrag:ETEn
    a=ice-pwd:OtSK0WpNtpUjkY4+86js7ZQl
    a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB
    a=setup:actpass
    a=tls-id:91bbf309c0990a6bec11e38ba2933cee
    a=rtcp:10101 IN IP4 203.0.113.100
    a=rtcp-mux
    a=rtcp-mux-only
    a=rtcp-rsize
    a=candidate:1 1 udp 2113929471 203.0.113.100 10100 typ host
    a=candidate:1 2 udp 2113929470 203.0.113.100 10101 typ host
    a=remote-candidates:1 192.0.2.1 1 2 192.0.2.1 2
    a=ice-mismatch
    a=ice-pacing:50
    a=end-of-candidates
    m=application 0 UDP/DTLS/SCTP webrtc-datachannel
    c=IN IP4 0.0.0.0
    a=mid:d1
    a=bundle-only
    a=sctp-port:5000
""")

# RFC 8829 s.7.1: the first offer of a browser that trickles.
TRICKLE = sdp("""
    v=0
    o=- 4962303333179871722 1 IN IP4 0.0.0.0
    s=-
    t=0 0
    a=ice-options:trickle ice2
    m=audio 9 UDP/TLS/RTP/SAVPF 96 0 8
    c=IN IP4 0.0.0.0
    a=ice-ufrag:ETEn
    a=rtcp:9 IN IP4 0.0.0.0
    a=rtcp-mux
""")

FAX = sdp("""
    v=0
    o=- 191 1228500780 IN IP4 10.23.1.52
    s=IMSS
    c=IN IP4 10.23.1.52
    t=0 0
    m=audio 0 RTP/AVP 8
    m=image 16756 UDPTL t38
    a=T38FaxVersion:0
""")

# RFC 4975 s.4 and RFC 8856, beside a voice.
OVER_TCP = sdp("""
    v=0
    o=alice 2890844526 2890844526 IN IP4 10.1.0.2
    s=-
    c=IN IP4 10.1.0.2
    t=0 0
    m=audio 49170 RTP/AVP 0
    m=message 7394 TCP/MSRP *
    a=accept-types:text/plain
    a=path:msrp://10.1.0.2:7394/2s93i9ek2a;tcp
    m=application 9 TCP/BFCP *
    a=setup:active
""")

MULTICAST = sdp("""
    v=0
    o=- 1 1 IN IP4 10.1.0.2
    s=-
    t=0 0
    m=video 49170/2 RTP/AVP 31
    c=IN IP4 224.2.1.1/127
    c=IN IP4 224.2.1.2/127
    m=video 49180 RTP/AVP 31
    c=IN IP6 FF15::101/3
""")

EXAMPLES = [
    CALL,
    RFC_8866,
    RFC_3264_OFFER,
    RFC_3264_ANSWER,
    RFC_3264_NEW_OFFER,
    RFC_4317_HOLD,
    BUNDLE,
    WEBRTC,
    TRICKLE,
    FAX,
    OVER_TCP,
    MULTICAST,
]
