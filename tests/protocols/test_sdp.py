"""What SDP announces, and how it is rewritten. Rules D1 to D17, D25, D32, D47, D48."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.engine import Endpoint, Host, Malformed
from protocols.sdp import (
    MAX_BYTES,
    MAX_MEDIA,
    Description,
    Direction,
    Media,
    Move,
    Residual,
    read_sdp,
    relocate,
    residual,
)
from tests.playbook import endpoint
from tests.sdp_examples import (
    BUNDLE,
    CALL,
    EXAMPLES,
    FAX,
    MULTICAST,
    OUTSIDE,
    OVER_TCP,
    RFC_3264_NEW_OFFER,
    RFC_3264_OFFER,
    RFC_4317_HOLD,
    RFC_8866,
    TRICKLE,
    WEBRTC,
    sdp,
    stay,
    to,
)

OUTSIDE6 = ip_address("2001:db8:f::7")


def only(body: bytes) -> Media:
    (media,) = read_sdp(body).media
    return media


def moved(body: bytes, moves: dict[int, Move], origin: Host | None = None, ice: bool = False) -> bytes:
    return relocate(read_sdp(body), moves, origin, "strip" if ice else "pass")


# -- reading -------------------------------------------------------------------------------------------------------


def test_media_of_a_call_goes_to_the_session_address_and_the_port_of_the_m_line() -> None:
    media = only(CALL)
    assert media.endpoint == endpoint("10.1.0.2:49170")
    assert (media.kind, media.proto, media.slot, media.count) == (b"audio", b"rtp/avp", 0, 1)
    assert media.is_rtp and media.is_live and media.is_movable
    assert not (media.is_udptl or media.is_tcp or media.is_hold or media.is_mux or media.has_ice)


def test_spans_are_where_the_tokens_stand() -> None:
    description = read_sdp(CALL)
    assert description.origin and description.connection
    for connection in (description.origin, description.connection):
        assert CALL[slice(*connection.family_span)] == b"IP4"
        assert CALL[slice(*connection.address_span)] == b"10.1.0.2"
        assert connection.is_session_level
    assert CALL[slice(*description.media[0].port_span)] == b"49170"
    assert CALL[description.media[0].start :].startswith(b"m=audio")
    assert description.origin.address_span.start < description.connection.address_span.start


def test_origin_is_an_identity_and_a_version() -> None:
    description = read_sdp(CALL)
    assert (description.origin_key, description.origin_version) == (b"alice 2890844526", b"2890844527")
    assert description.origin is not None and description.origin.host == ip_address("10.1.0.2")


@pytest.mark.parametrize(
    ("line", "key", "version", "host"),
    [
        ("o=Mr X 1 2 IN IP4 10.1.0.2", b"Mr X 1", b"2", "10.1.0.2"),
        ("o=- 1 2 in ip6 2001:DB8::1", b"- 1", b"2", "2001:db8::1"),
        ("o=bob 1 2 IN IP4 host.example.com", b"bob 1", b"2", None),
        ("o=- 0 0 IN IP4 -", b"- 0", b"0", None),
    ],
)
def test_origins_of_the_field_are_read(line: str, key: bytes, version: bytes, host: str | None) -> None:
    description = read_sdp(CALL.replace(b"o=alice 2890844526 2890844527 IN IP4 10.1.0.2", line.encode()))
    assert (description.origin_key, description.origin_version) == (key, version)
    assert description.origin is not None
    assert description.origin.host == (host and ip_address(host))


@pytest.mark.parametrize("line", ["o=", "o=-", "o=1 IN IP4 10.1.0.2", "x=", "o=- 1 2 ATM NSAP 47.0091"])
def test_without_an_origin_to_read_there_is_none(line: str) -> None:
    description = read_sdp(CALL.replace(b"o=alice 2890844526 2890844527 IN IP4 10.1.0.2", line.encode()))
    assert description.origin is None
    assert relocate(description, {}, OUTSIDE, "strip").startswith(f"v=0\r\n{line}\r\n".encode())


def test_only_the_first_origin_of_the_session_counts() -> None:
    body = sdp("""
        v=0
        o=a 1 1 IN IP4 10.1.0.2
        o=b 2 2 IN IP4 10.1.0.3
        c=IN IP4 10.1.0.2
        m=audio 4000 RTP/AVP 0
        o=c 3 3 IN IP4 10.1.0.4
    """)
    assert read_sdp(body).origin_key == b"a 1"


def test_an_origin_with_an_address_of_the_wrong_family_is_none() -> None:
    description = read_sdp(CALL.replace(b"IN IP4 10.1.0.2\r\ns", b"IN IP6 10.1.0.2\r\ns"))
    assert description.origin is None and description.origin_version == b"2890844527"


def test_a_c_line_of_the_medium_wins() -> None:
    first, second, third = read_sdp(RFC_8866).media
    assert [first.endpoint, second.endpoint] == [endpoint("198.51.100.1:49170"), endpoint("198.51.100.1:49180")]
    assert third.endpoint == endpoint("[2001:db8::2]:51372")
    assert first.connection and third.connection
    assert first.connection.is_session_level and not third.connection.is_session_level


def test_a_host_name_is_nobodys_address() -> None:
    for media in read_sdp(RFC_3264_OFFER).media:
        assert media.is_live and media.endpoint is None and media.rtcp_endpoint is None and not media.is_movable


def test_a_refused_slot_keeps_its_place() -> None:
    description = read_sdp(RFC_3264_NEW_OFFER)
    assert [media.is_live for media in description.media] == [True, False, True, True]
    assert [media.slot for media in description.media] == [0, 1, 2, 3]
    assert not description.media[1].is_movable


def test_a_refused_slot_needs_no_address() -> None:
    assert only(sdp("v=0\nm=audio 0 RTP/AVP 0")).connection is None


def test_direction_is_inherited_and_overridden() -> None:
    body = sdp("""
        v=0
        c=IN IP4 10.1.0.2
        a=inactive
        m=audio 4000 RTP/AVP 0
        m=video 4002 RTP/AVP 31
        a=SendRecv
        m=video 4004 RTP/AVP 31
        a=recvonly:yes
    """)
    assert read_sdp(body).direction is Direction.INACTIVE
    assert read_sdp(body.replace(b"inactive", b"Inactive")).direction is Direction.INACTIVE
    assert [media.direction for media in read_sdp(body).media] == [
        Direction.INACTIVE,
        Direction.SENDRECV,
        Direction.INACTIVE,
    ]


def test_without_a_direction_media_flows_both_ways() -> None:
    assert only(CALL.replace(b"a=sendrecv\r\n", b"")).direction is Direction.SENDRECV


@pytest.mark.parametrize(
    "body",
    [
        RFC_4317_HOLD,
        CALL.replace(b"a=sendrecv", b"a=inactive"),
        CALL.replace(b"t=0 0", b"t=0 0\r\na=sendonly").replace(b"a=sendrecv\r\n", b""),
        CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 0.0.0.0"),
        CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP6 ::"),
    ],
)
def test_hold_is_seen_in_every_form(body: bytes) -> None:
    assert only(body).is_hold and only(body).is_live


@pytest.mark.parametrize("direction", [b"sendrecv", b"recvonly"])
def test_who_wants_to_receive_does_not_hold(direction: bytes) -> None:
    assert not only(CALL.replace(b"a=sendrecv", b"a=" + direction)).is_hold


def test_hold_by_address_leaves_nowhere_to_send() -> None:
    media = only(CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 0.0.0.0"))
    assert media.endpoint is None and media.rtcp_endpoint is None and media.is_movable


def test_rtcp_goes_to_the_next_port_unless_told_otherwise() -> None:
    assert only(CALL).rtcp_endpoint == endpoint("10.1.0.2:49171")
    assert only(CALL + b"a=rtcp:53020\r\n").rtcp_endpoint == endpoint("10.1.0.2:53020")
    # RFC 3605 s.2.1.
    assert only(CALL + b"a=rtcp:53020 IN IP4 126.16.64.4\r\n").rtcp_endpoint == endpoint("126.16.64.4:53020")
    assert only(CALL + b"a=rtcp:65535\r\n").rtcp_endpoint == endpoint("10.1.0.2:65535")
    assert only(CALL + b"a=RTCP:53020 in ip6 2001:DB8::4\r\n").rtcp_endpoint == endpoint("[2001:db8::4]:53020")


def test_no_rtcp_above_the_last_port() -> None:
    assert only(CALL.replace(b"49170", b"65535")).rtcp_endpoint is None


@pytest.mark.parametrize("line", [b"a=rtcp:9 IN IP4 0.0.0.0", b"a=rtcp:0", b"a=rtcp:9"])
def test_an_rtcp_port_that_nobody_listens_on_is_a_placeholder(line: bytes) -> None:
    media = only(CALL + line)
    assert media.rtcp is not None and media.rtcp.is_placeholder and media.rtcp_endpoint is None


def test_what_is_no_rtp_has_no_rtcp() -> None:
    assert read_sdp(FAX).media[1].rtcp_endpoint is None
    assert read_sdp(FAX).media[0].rtcp_endpoint is None


@pytest.mark.parametrize("name", [b"rtcp-fb:0 nack", b"rtcp-xr:rcvr-rtt", b"rtcp-rsize", b"rtcp-muxer", b"xrtcp:9"])
def test_attribute_names_are_compared_whole(name: bytes) -> None:
    media = only(CALL + b"a=" + name + b"\r\n")
    assert media.rtcp is None and not media.is_mux


def test_rtcp_mux_is_seen() -> None:
    assert only(CALL + b"a=rtcp-mux\r\n").is_mux
    assert only(CALL + b"a=rtcp-mux").is_mux


def test_attributes_of_a_medium_mean_nothing_at_session_level() -> None:
    body = CALL.replace(b"t=0 0", b"a=rtcp:9000\r\na=rtcp-mux\r\na=mid:x\r\na=bundle-only")
    media = only(body)
    assert media.rtcp is None and not media.is_mux and media.mid is None and not media.is_bundle_only


def test_a_group_beside_a_medium_is_none() -> None:
    assert read_sdp(CALL + b"a=group:BUNDLE a b\r\n").groups == []


def test_bundle_groups_are_lists_of_mids() -> None:
    description = read_sdp(BUNDLE)
    assert description.groups == [(b"foo", b"bar")]
    assert [media.mid for media in description.media] == [b"foo", b"bar"]
    assert read_sdp(CALL.replace(b"t=0 0", b"a=group:LS a b\r\na=group:BUNDLE")).groups == []


def test_bundle_only_is_live_at_port_0() -> None:
    first, second = read_sdp(BUNDLE).media
    assert first.endpoint == endpoint("[2001:db8::3]:10000")
    assert second.is_bundle_only and second.is_live and second.endpoint is None and second.rtcp_endpoint is None


def test_port_9_is_nowhere_yet() -> None:
    media = only(TRICKLE)
    assert media.has_ice and not media.is_live and not media.is_movable and media.endpoint is None


@pytest.mark.parametrize(
    ("proto", "is_rtp", "is_udptl", "is_tcp", "is_movable"),
    [
        (b"RTP/AVP", True, False, False, True),
        (b"rtp/savpf", True, False, False, True),
        (b"UDP/TLS/RTP/SAVPF", True, False, False, True),
        (b"udptl", False, True, False, True),
        (b"UDP/UDPTL", False, True, False, True),
        (b"UDP/DTLS/SCTP", False, False, False, True),
        (b"DTLS/SCTP", False, False, False, True),
        (b"UDP/BFCP", False, False, False, True),
        (b"TCP/RTP/AVP", True, False, True, False),
        (b"TCP/MSRP", False, False, True, False),
        (b"TCP", False, False, True, False),
        (b"DCCP/RTP/AVP", True, False, False, False),
        (b"H320", False, False, False, False),
    ],
)
def test_transports_are_told_apart(proto: bytes, is_rtp: bool, is_udptl: bool, is_tcp: bool, is_movable: bool) -> None:
    media = only(CALL.replace(b"RTP/AVP", proto))
    assert (media.is_rtp, media.is_udptl, media.is_tcp, media.is_movable) == (is_rtp, is_udptl, is_tcp, is_movable)


def test_tcp_media_says_who_connects() -> None:
    _, message, floor = read_sdp(OVER_TCP).media
    assert message.is_live and message.is_tcp and message.setup is None
    assert floor.setup == b"active" and not floor.is_live
    both = read_sdp(OVER_TCP.replace(b"t=0 0", b"a=setup:PASSIVE")).media
    assert [media.setup for media in both] == [b"passive", b"passive", b"active"]
    assert read_sdp(OVER_TCP.replace(b"setup:active", b"setup:ActPass")).media[2].setup == b"actpass"


def test_ice_is_seen_at_both_levels() -> None:
    assert only(CALL + b"a=candidate:1 1 udp 1 10.1.0.2 49170 typ host\r\n").has_ice
    assert only(CALL.replace(b"t=0 0", b"a=ice-ufrag:abcd")).has_ice
    assert not only(CALL + b"a=ice-lite\r\n").has_ice


def test_multicast_is_left_alone() -> None:
    layers, other = read_sdp(MULTICAST).media
    assert layers.count == 2
    for media in (layers, other):
        assert media.is_live and media.endpoint is None and media.rtcp_endpoint is None and not media.is_movable


@pytest.mark.parametrize(
    "body",
    [
        CALL.replace(b"\r\n", b"\n"),
        CALL.replace(b"\r\n", b"\r\r\n"),
        CALL.rstrip(b"\r\n"),
        CALL.removesuffix(b"\n"),
        b"\r\n" + CALL,
        CALL + b"\r\n",
        CALL.replace(b"m=audio 49170 ", b"m=AUDIO\t49170  "),
        CALL.replace(b"c=IN IP4 10.1.0.2", b"c=in  ip4\t10.1.0.2 UNHOLD UNHOLD"),
        CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 10.1.0.2/127"),
        CALL.replace(b"t=0 0", b"some nonsense\r\n\xff\xfe=\r\nM=audio"),
    ],
)
def test_what_the_field_sends_is_read_all_the_same(body: bytes) -> None:
    assert only(body).endpoint == endpoint("10.1.0.2:49170")
    assert only(body).kind == b"audio"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "line 1: no v="),
        (b"s=-\r\n" + CALL, "line 1: no v="),
        (b"\xff\xd8\xff", "line 1: no v="),
        (CALL + CALL, "line 9: a second v="),
        (CALL.replace(b"c=", b"x="), "line 6: no c= for this medium"),
        (CALL + b"m=video\r\n", "line 9: m= without a port"),
        (CALL + b"m=\r\n", "line 9: m= without a port"),
        (CALL + b"m=video 49172\r\n", "line 9: m= without a port"),
        (CALL.replace(b"49170", b"$"), "line 6: m= without a port"),
        (CALL.replace(b"49170", b"-1"), "line 6: m= without a port"),
        (CALL.replace(b"49170", b"0x10"), "line 6: m= without a port"),
        (CALL.replace(b"49170", b"000049170"), "line 6: m= without a port"),
        (CALL.replace(b"49170", b"4_0"), "line 6: m= without a port"),
        (CALL.replace(b"49170", b"49170/"), "line 6: m= without a port"),
        (CALL.replace(b"49170", b"49170/0"), "line 6: port above 65535, or none of them"),
        (CALL.replace(b"49170", b"65536"), "line 6: port above 65535, or none of them"),
        (CALL.replace(b"t=0 0", b"c=IN IP4 10.1.0.3"), "line 5: a second c= of the session"),
        (RFC_8866 + b"c=IN IP4 10.1.0.3", "line 15: a second c= of this medium"),
        (MULTICAST.replace(b"224.2.1.2", b"10.1.0.2"), "line 7: a second c= of this medium"),
        (CALL + b"a=rtcp:\r\n", "line 9: a=rtcp without a port"),
        (CALL + b"a=rtcp:65536\r\n", "line 9: a=rtcp without a port"),
        (CALL + b"a=rtcp:53020IN IP4 10.1.0.2\r\n", "line 9: a=rtcp without a port"),
        (CALL + b"a=rtcp:53020 IP4\r\n", "line 9: the address of a=rtcp is not IN, IP4 or IP6, and such an address"),
        (CALL + b"a=rtcp:1\r\na=rtcp:2\r\n", "line 10: a second a=rtcp of this medium"),
        (CALL.replace(b"s=-", b"s=-\0"), "line 3: a NUL"),
        (CALL.replace(b"s=-", b"s=-\rc=IN IP4 10.1.0.3"), "line 3: a bare CR"),
    ],
)
def test_what_cannot_be_followed_is_malformed(body: bytes, problem: str) -> None:
    with pytest.raises(Malformed) as malformed:
        read_sdp(body)
    assert str(malformed.value) == problem


@pytest.mark.parametrize(
    "address",
    [
        b"",
        b"IN",
        b"IN IP4",
        b"IN IP4 ",
        b"IP4 10.1.0.2",
        b"IN IP5 10.1.0.2",
        b"IN IP4 10.1.0.256",
        b"IN IP4 010.1.0.2",
        b"IN IP4 10.1.2",
        b"IN IP4 167837698",
        b"IN IP4 2001:db8::1",
        b"IN IP6 10.1.0.2",
        b"IN IP6 fe80::1%eth0",
        b"IN IP6 [2001:db8::1]",
        b"IN IP6 2001:db8:::1",
        b"IN IP4 10.1.0.2/1/2/3",
        b"IN IP4 $",
        b"IN IP4 h\xf6st",
        b"IN IP4 " + b"a" * 256,
        b"IN IP4 10.1.0.2 " + b"a" * 400,
        b"ATM NSAP 47.0091.8100",
    ],
)
def test_a_connection_that_is_none_is_malformed(address: bytes) -> None:
    with pytest.raises(Malformed, match="line 4: c= is not IN, IP4 or IP6, and such an address"):
        read_sdp(CALL.replace(b"c=IN IP4 10.1.0.2", b"c=" + address))


def test_media_have_a_limit() -> None:
    head = b"v=0\r\nc=IN IP4 10.1.0.2\r\n"
    line = b"m=audio 4000 RTP/AVP 0\r\n"
    assert len(read_sdp(head + line * MAX_MEDIA).media) == MAX_MEDIA
    with pytest.raises(Malformed, match=f"line {MAX_MEDIA + 3}: more than {MAX_MEDIA} media"):
        read_sdp(head + line * (MAX_MEDIA + 1))


def test_a_body_has_a_limit() -> None:
    assert read_sdp(b"v=0".ljust(MAX_BYTES)).media == []
    with pytest.raises(Malformed, match=f"more than {MAX_BYTES} bytes"):
        read_sdp(b"v=0".ljust(MAX_BYTES + 1))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"\n\n ",
        b"\nm=",
        b"\nm=a ",
        b"\nm=a 1/",
        b"\no=",
        b"\no=a ",
        b" ",
        b"\t ",
        b"a ",
        b"\nc=",
        b"/1",
        b"1",
        b"\r",
    ],
)
@pytest.mark.parametrize(
    "begin", [b"v=0", b"v=0\nc=IN IP4 10.1.0.2\nm=audio 4000 RTP/AVP 0\no=", b"v=0\nm=", b"v=0\no=a"]
)
def test_bodies_made_to_be_slow_are_not(begin: bytes, line: bytes) -> None:
    body = begin + line * ((MAX_BYTES - len(begin)) // len(line))
    began = time.process_time()
    with suppress(Malformed):
        relocate(read_sdp(body), {}, OUTSIDE, "strip")
    residual(body, [OUTSIDE, OUTSIDE6])
    assert time.process_time() - began < 0.25


# -- elsewhere -----------------------------------------------------------------------------------------------------


def test_only_the_tokens_of_address_and_port_change() -> None:
    odd = sdp("""
        v=0
        o=alice  1 2 IN IP4 10.1.0.2
        s=caf\u00e9  10.1.0.2
        x-unknown
        c=IN\tip4  10.1.0.2 UNHOLD
        t=0 0
        M=audio 49170
        m=audio  49170/2 RTP/AVP  0
        a=X-traffic:10.1.0.2 49170
    """)
    assert moved(odd, {0: to(40000)}) == odd.replace(b"ip4  10.1.0.2", b"ip4  203.0.113.7").replace(
        b"m=audio  49170/2", b"m=audio  40000/2"
    )


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_line_ends_stay_as_they_are(end: str) -> None:
    body = CALL.decode().replace("\r\n", end).encode()
    after = moved(body, {0: to(40000, 50001)})
    assert after.endswith(
        b"m=audio 40000 RTP/AVP 0 101\na=rtcp:50001\n".replace(b"\n", end.encode())
        + b"".join(body.splitlines(keepends=True)[-2:])
    )
    assert after.count(b"\r") == (after.count(b"\n") if end == "\r\n" else 0)


def test_a_last_line_without_an_end_is_given_none() -> None:
    body = b"v=0\nc=IN IP4 10.1.0.2\nm=video 4002 RTP/AVP 31\nm=audio 4000 RTP/AVP 0"
    assert moved(body, {1: to(40000, 50001)}) == (
        b"v=0\nc=IN IP4 10.1.0.2\nm=video 4002 RTP/AVP 31\nm=audio 40000 RTP/AVP 0\nc=IN IP4 203.0.113.7\na=rtcp:50001"
    )


def test_origin_is_hidden_where_that_is_asked_for() -> None:
    assert moved(CALL, {}) == CALL
    assert moved(CALL, {0: to(40000)}).count(b"10.1.0.2") == 1
    assert moved(CALL, {0: to(40000)}, origin=OUTSIDE) == CALL.replace(b"10.1.0.2", b"203.0.113.7").replace(
        b"49170", b"40000"
    )


@pytest.mark.parametrize("address", [b"IP4 host.example.com", b"IP4 -", b"IP4 0.0.0.0", b"IP6 ::"])
def test_an_origin_that_tells_no_address_stays(address: bytes) -> None:
    body = CALL.replace(b"IP4 10.1.0.2\r\ns", address + b"\r\ns")
    assert moved(body, {0: to(40000)}, origin=OUTSIDE).splitlines()[1] == body.splitlines()[1]


def test_equal_descriptions_give_equal_bytes() -> None:
    again = bytes(bytearray(CALL))
    moves = {0: to(40000, 50001)}
    assert moved(CALL, moves, origin=OUTSIDE, ice=True) == moved(again, moves, origin=OUTSIDE, ice=True)


def test_the_session_address_changes_when_all_that_use_it_go_together() -> None:
    after = moved(RFC_8866, {0: to(40000), 1: to(40002)})
    assert after == (
        RFC_8866.replace(b"\r\nc=IN IP4 198.51.100.1", b"\r\nc=IN IP4 203.0.113.7")
        .replace(b"49170", b"40000")
        .replace(b"49180", b"40002")
    )


def test_a_slot_that_moves_alone_gets_an_address_of_its_own() -> None:
    after = moved(RFC_8866, {1: to(40002)})
    assert after == RFC_8866.replace(
        b"m=audio 49180 RTP/AVP 0\r\n", b"m=audio 40002 RTP/AVP 0\r\nc=IN IP4 203.0.113.7\r\n"
    )
    assert [media.endpoint for media in read_sdp(after).media] == [
        endpoint("198.51.100.1:49170"),
        endpoint("203.0.113.7:40002"),
        endpoint("[2001:db8::2]:51372"),
    ]


def test_an_address_of_its_own_stands_behind_the_title() -> None:
    body = RFC_8866.replace(b"m=audio 49180 RTP/AVP 0", b"m=audio 49180 RTP/AVP 0\r\ni=the second\r\nb=AS:64")
    assert b"\r\ni=the second\r\nc=IN IP4 203.0.113.7\r\nb=AS:64\r\n" in moved(body, {1: to(40002)})


def test_slots_that_go_to_different_hosts_leave_no_old_address_behind() -> None:
    other = ip_address("203.0.113.8")
    after = moved(RFC_8866, {0: to(40000), 1: to(40002, host=other)})
    assert [media.endpoint for media in read_sdp(after).media][:2] == [Endpoint(OUTSIDE, 40000), Endpoint(other, 40002)]
    assert after.count(b"198.51.100.1") == 1  # o=


def test_media_over_tcp_keeps_the_session_address() -> None:
    after = moved(OVER_TCP, {0: to(40000)})
    assert after == OVER_TCP.replace(
        b"m=audio 49170 RTP/AVP 0\r\n", b"m=audio 40000 RTP/AVP 0\r\nc=IN IP4 203.0.113.7\r\n"
    )


def test_refused_slots_have_no_say_in_the_session_address() -> None:
    after = moved(FAX, {1: to(40000)})
    assert after == FAX.replace(b"c=IN IP4 10.23.1.52", b"c=IN IP4 203.0.113.7").replace(b"16756", b"40000")


def test_a_session_address_that_nothing_uses_is_hidden_too() -> None:
    own = CALL.replace(b"a=sendrecv", b"a=sendrecv\r\nc=IN IP4 10.1.0.2")
    assert b"c=IN IP4 10.1.0.2" not in moved(own, {0: to(40000)})
    refused = CALL.replace(b"49170", b"0")
    assert moved(refused, {}, origin=OUTSIDE) == refused.replace(b"10.1.0.2", b"203.0.113.7")
    assert moved(refused, {}) == refused


def test_a_session_address_that_is_foreign_stays_where_nothing_uses_it() -> None:
    own = CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 192.0.2.9").replace(b"a=sendrecv", b"c=IN IP4 10.1.0.2")
    after = moved(own, {0: to(40000)}, origin=OUTSIDE)
    assert after == own.replace(b"10.1.0.2", b"203.0.113.7").replace(b"49170", b"40000")


def test_a_session_address_that_is_a_name_or_multicast_stays() -> None:
    for address in (b"IP4 host.example.com", b"IP4 224.2.1.1/127"):
        body = CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN " + address) + b"c=IN IP4 10.1.0.2\r\n"
        after = moved(body, {0: to(40000)}, origin=OUTSIDE)
        assert b"\r\nc=IN " + address + b"\r\n" in after
        assert only(after).endpoint == Endpoint(OUTSIDE, 40000)


def test_address_and_family_change_together() -> None:
    body = CALL + b"a=rtcp:53020 IN IP4 10.1.0.2\r\n"
    after = moved(body, {0: to(40000, 40001, OUTSIDE6)}, origin=OUTSIDE6)
    assert after == (
        body.replace(b"IP4 10.1.0.2", b"IP6 2001:db8:f::7").replace(b"49170", b"40000").replace(b"53020", b"40001")
    )
    assert moved(after, {0: Move(ip_address("10.1.0.2"), 49170, 53020)}, origin=ip_address("10.1.0.2")) == body


def test_a_time_to_live_goes_with_its_address() -> None:
    body = CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 10.1.0.2/127")
    assert b"\r\nc=IN IP6 2001:db8:f::7\r\n" in moved(body, {0: to(40000, host=OUTSIDE6)})


def test_hold_by_address_stays_hold() -> None:
    body = CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 0.0.0.0")
    assert moved(body, {0: to(40000)}) == body.replace(b"49170", b"40000")
    body = body.replace(b"c=", b"b=AS:1\r\nx=").replace(b"a=sendrecv", b"c=IN IP6 ::")
    assert moved(body, {0: to(40000)}) == body.replace(b"49170", b"40000")


def test_rtcp_is_announced_where_it_is_not_the_next_port() -> None:
    assert b"rtcp" not in moved(CALL, {0: to(40000, 40001)})
    assert b"rtcp" not in moved(CALL, {0: to(40000)})
    after = moved(CALL, {0: to(40000, 50001)})
    assert b"m=audio 40000 RTP/AVP 0 101\r\na=rtcp:50001\r\na=rtpmap" in after
    assert only(after).rtcp_endpoint == Endpoint(OUTSIDE, 50001)


def test_rtcp_is_announced_behind_what_is_no_attribute() -> None:
    body = RFC_8866.replace(b"m=audio 49170 RTP/AVP 0", b"m=audio 49170 RTP/AVP 0\r\nb=AS:64\r\nk=prompt\r\na=ptime:20")
    assert b"\r\nb=AS:64\r\nk=prompt\r\na=rtcp:50001\r\na=ptime:20\r\n" in moved(body, {0: to(40000, 50001)})


def test_rtcp_that_was_announced_is_told_anew() -> None:
    body = CALL + b"a=rtcp: 53020 in ip4 10.1.0.2 x\r\n"
    assert moved(body, {0: to(40000, 40001)}).endswith(b"a=rtcp: 40001 in ip4 203.0.113.7 x\r\n")
    assert moved(CALL + b"a=rtcp:53020", {0: to(40000, 40001)}).endswith(b"\r\na=rtcp:40001")


def test_rtcp_at_a_name_comes_along() -> None:
    body = CALL + b"a=rtcp:53020 IN IP4 host.example.com\r\n"
    assert moved(body, {0: to(40000, 40001)}).endswith(b"a=rtcp:40001 IN IP4 203.0.113.7\r\n")


def test_rtcp_without_a_port_of_its_own_goes_where_rtp_goes() -> None:
    assert moved(CALL + b"a=rtcp:49171\r\na=rtcp-mux\r\n", {0: to(40000)}).endswith(b"a=rtcp:40000\r\na=rtcp-mux\r\n")


@pytest.mark.parametrize("line", [b"a=rtcp:9 IN IP4 0.0.0.0\r\n", b"a=rtcp:0\r\n"])
def test_a_placeholder_of_rtcp_stays(line: bytes) -> None:
    assert moved(CALL + line, {0: to(40000, 50001)}).endswith(line)


def test_fax_gets_no_rtcp() -> None:
    assert b"rtcp" not in moved(FAX, {1: to(40000, 50001)})


def test_port_0_of_bundle_only_stays() -> None:
    after = moved(BUNDLE, {0: to(40000, host=OUTSIDE6), 1: to(40000, host=OUTSIDE6)})
    assert after == BUNDLE.replace(b"c=IN IP6 2001:db8::3", b"c=IN IP6 2001:db8:f::7").replace(b"10000", b"40000")


def test_ice_is_stripped_to_the_last_line() -> None:
    body = WEBRTC + b"a=x-candidate-ipv6:1 10.1.0.2\r\na=rtcp-candidate:1\r\na=Candidate:2 1 UDP 1 10.1.0.2 1 typ host"
    after = moved(body, {0: to(40000)}, ice=True)
    assert b"candidate" not in after.lower() and b"a=ice" not in after
    gone = [line for line in body.split(b"\r\n") if re.match(rb"a=(ice-|.*candidate)", line, re.IGNORECASE)]
    assert len(gone) == 13
    kept = [line for line in body.split(b"\r\n") if line not in gone]
    assert len(after.split(b"\r\n")) == len(kept) + 1  # the last line was one of ICE, and the one before keeps its end
    for name in (b"a=fingerprint:", b"a=setup:", b"a=tls-id:", b"a=group:", b"a=mid:", b"a=rtcp-mux"):
        assert [line for line in after.split(b"\r\n") if line.startswith(name)] == [
            line for line in kept if line.startswith(name)
        ]


@pytest.mark.parametrize(
    "line", [b"a=icecream:1", b"a=ice", b"a=candidatex:1", b"a=my-candidate:1", b"i=a=candidate:1"]
)
def test_what_only_looks_like_ice_stays(line: bytes) -> None:
    body = CALL + line + b"\r\n"
    assert moved(body, {}, ice=True) == body


def test_with_ice_passed_nothing_changes() -> None:
    assert moved(WEBRTC, {}) == WEBRTC
    assert moved(TRICKLE, {}) == TRICKLE


def test_stripping_does_not_lose_what_is_inserted_beside_it() -> None:
    body = RFC_8866.replace(b"m=audio 49180 RTP/AVP 0\r\n", b"m=audio 49180 RTP/AVP 0\r\na=candidate:1\r\n")
    assert b"\r\nm=audio 40002 RTP/AVP 0\r\nc=IN IP4 203.0.113.7\r\na=rtcp:50001\r\nm=video" in moved(
        body, {1: to(40002, 50001)}, ice=True
    )


@pytest.mark.parametrize("body", EXAMPLES)
def test_going_where_it_is_changes_nothing(body: bytes) -> None:
    description = read_sdp(body)
    assert relocate(description, stay(description), description.origin and description.origin.host, "pass") == body


def test_a_value_that_stays_keeps_its_spelling() -> None:
    body = CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN ip6 2001:DB8:0::1").replace(b"49170", b"04000")
    assert moved(body, {0: Move(ip_address("2001:db8::1"), 4000, None)}) == body


@pytest.mark.parametrize(
    ("body", "slot"),
    [(CALL, 1), (CALL, -1), (FAX, 0), (OVER_TCP, 1), (RFC_3264_OFFER, 0), (MULTICAST, 0), (TRICKLE, 0)],
)
def test_moving_what_cannot_move_is_a_bug_of_the_caller(body: bytes, slot: int) -> None:
    with pytest.raises(ValueError, match="cannot move"):
        moved(body, {slot: to(40000)})


# -- what still tells an address -----------------------------------------------------------------------------------

INSIDE = ip_address("10.1.0.2")


def test_lines_that_still_tell_an_address_are_named() -> None:
    body = sdp("""
        v=0
        o=- 1 1 IN IP4 10.1.0.2
        i=trace of 10.1.0.2.
        c=IN IP4 203.0.113.7
        m=audio 40000 RTP/AVP 0
        a=candidate:1 1 udp 1 10.1.0.2 49170 typ host
        a=X-map:[::ffff:10.1.0.2]:49170
        a=path:msrp://10.1.0.2:7394/x;tcp
        a=crypto:1 AES inline:secret|10.1.0.2
        10.1.0.2
    """)
    assert residual(body, [INSIDE]) == [
        Residual(2, b"o", INSIDE),
        Residual(3, b"i", INSIDE),
        Residual(6, b"a=candidate", INSIDE),
        Residual(7, b"a=X-map", INSIDE),
        Residual(8, b"a=path", INSIDE),
        Residual(9, b"a=crypto", INSIDE),
        Residual(10, b"10.1.0.2", INSIDE),
    ]


def test_ipv6_addresses_are_found_in_any_spelling() -> None:
    host = ip_address("2001:db8::3")
    body = BUNDLE.replace(b"c=IN IP6 2001:db8::3", b"c=IN IP6 2001:DB8:0:0::3")
    assert [found.field for found in residual(body, [host])] == [b"o", b"c"]
    assert [found.field for found in residual(b"c=IN IP6 2001:DB8:0:0::3", [host, INSIDE])] == [b"c"]


@pytest.mark.parametrize("text", [b"10.1.0.20", b"110.1.0.2", b"10.1.0.2a", b"1.10.1.0.2", b"010.1.0.2", b"x10.1.0.2"])
def test_other_text_is_no_address(text: bytes) -> None:
    assert residual(CALL.replace(b"10.1.0.2", text), [INSIDE]) == []


def test_nothing_left_is_nothing_told() -> None:
    assert residual(moved(CALL, {0: to(40000)}, origin=OUTSIDE), [INSIDE]) == []
    assert residual(WEBRTC, [INSIDE, OUTSIDE6]) == []
    assert residual(CALL, []) == []


# -- whatever comes ------------------------------------------------------------------------------------------------

LINES = [line for body in EXAMPLES for line in body.splitlines(keepends=True)] + [
    b"m=audio 4000 RTP/AVP 0\r\n",
    b"c=IN IP4 10.1.0.2\r\n",
    b"c=IN IP4 0.0.0.0\n",
    b"a=rtcp:4001\r\n",
    b"a=candidate:1\n",
    b"\r\n",
    b"m=audio 4000 RTP/AVP 0",
    b"a=",
]

shuffled = st.lists(st.sampled_from(LINES), max_size=25).map(lambda lines: b"v=0\r\n" + b"".join(lines))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        until = draw(st.integers(at, min(len(body), at + 20)))
        body[at:until] = draw(st.binary(max_size=6) | st.sampled_from([b"\n", b"\r", b"\r\n", b" ", b"\r\nm=", b"0"]))
    return bytes(body)


HOSTS = st.sampled_from([OUTSIDE, ip_address("203.0.113.8"), OUTSIDE6, INSIDE])
MOVES = st.builds(Move, HOSTS, st.integers(1024, 65535), st.none() | st.integers(1024, 65535))


def shape(description: Description) -> list[tuple[bytes, bytes, int, bool]]:
    return [(media.kind, media.proto, media.count, media.is_live) for media in description.media]


def untouched(body: bytes, ice: bool) -> list[bytes]:
    """The lines that a move has no business with."""
    touched = rb"[com]=|a=rtcp:" + (rb"|a=ice-|a=.*candidates?" if ice else b"")
    return [line for line in re.split(rb"[\r\n]+", body) if line and not re.match(touched, line, re.IGNORECASE)]


@given(st.binary(max_size=200) | st.binary(max_size=200).map(b"v=0\n".__add__))
def test_any_bytes_are_read_or_malformed(body: bytes) -> None:
    try:
        description = read_sdp(body)
    except Malformed:
        return
    assert relocate(description, {}, None, "pass") == body


@given(shuffled | mutated(), st.data())
def test_whatever_moves_the_rest_stays(body: bytes, data: st.DataObject) -> None:
    try:
        before = read_sdp(body)
    except Malformed:
        return
    movable = [media.slot for media in before.media if media.is_movable]
    slots = data.draw(st.lists(st.sampled_from(movable), unique=True)) if movable else []
    moves = {slot: data.draw(MOVES) for slot in slots}
    origin = data.draw(st.none() | HOSTS)
    ice = data.draw(st.booleans())
    body_after = relocate(before, moves, origin, "strip" if ice else "pass")

    after = read_sdp(body_after)
    assert shape(after) == shape(before)
    assert untouched(body_after, ice) == untouched(body, ice)
    assert (after.origin_key, after.origin_version, after.groups) == (
        before.origin_key,
        before.origin_version,
        before.groups,
    )
    for was, media in zip(before.media, after.media, strict=True):
        move = moves.get(was.slot)
        if move is None:
            assert (media.endpoint, media.rtcp_endpoint) == (was.endpoint, was.rtcp_endpoint)
        elif was.endpoint is not None:
            assert media.endpoint == Endpoint(move.host, move.port)
            if move.rtcp_port is not None and was.rtcp_endpoint is not None:
                assert media.rtcp_endpoint == Endpoint(move.host, move.rtcp_port)
        assert media.is_hold == was.is_hold
    assert relocate(after, moves, origin, "strip" if ice else "pass") == body_after


@given(shuffled | mutated())
def test_going_where_it_is_changes_nothing_whatever_it_is(body: bytes) -> None:
    try:
        description = read_sdp(body)
    except Malformed:
        return
    moves = stay(description)
    if any(_has_rtcp_elsewhere(description.media[slot]) for slot in moves):
        return
    assert relocate(description, moves, None, "pass") == body


def _has_rtcp_elsewhere(media: Media) -> bool:
    """RTCP at another host, which a Move brings to the host of RTP."""
    return media.rtcp is not None and media.rtcp.connection is not None
