"""What SDP announces. Rules D1, D2, D3, D4, D5, D6, D7, D8, D9, D10, D11, D12, D13, D14, D15, D16, D17, D25, D48."""

from __future__ import annotations

import time
from contextlib import suppress
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Host, Malformed
from protocols.sdp.description import Direction, prefer
from protocols.sdp.reading import MAX_BYTES, MAX_MEDIA, read_sdp
from protocols.sdp.relocate import (
    Move,
    alike,
    relocate,
    residual,
    with_names,
    with_other_host,
)
from tests.harness.playbook import endpoint
from tests.harness.sdp_examples import (
    BUNDLE,
    CALL,
    FAX,
    MULTICAST,
    OUTSIDE,
    OUTSIDE6,
    OVER_TCP,
    RFC_3264_NEW_OFFER,
    RFC_3264_OFFER,
    RFC_4317_HOLD,
    RFC_8866,
    TRICKLE,
    only,
    sdp,
)

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


def test_an_origin_that_is_no_address_is_none() -> None:
    description = read_sdp(CALL.replace(b"IN IP4 10.1.0.2\r\ns", b"IN IP4 10.1.0.256\r\ns"))
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
        (b"\xff\xd8\xff", "line 1: no v="),
        (CALL + CALL, "line 9: a second v="),
    ],
)
def test_what_cannot_be_followed_is_malformed(body: bytes, problem: str) -> None:
    with pytest.raises(Malformed) as malformed:
        read_sdp(body)
    assert str(malformed.value) == problem


@pytest.mark.parametrize(
    ("body", "problem"),
    [
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
        (CALL + b"a=rtcp:\r\n", "line 9: a=rtcp without a port"),
        (CALL + b"a=rtcp:65536\r\n", "line 9: a=rtcp without a port"),
        (CALL + b"a=rtcp:53020IN IP4 10.1.0.2\r\n", "line 9: a=rtcp without a port"),
        (CALL + b"a=rtcp:53020 IP4\r\n", "line 9: the address of a=rtcp is not IN, IP4 or IP6, and an address"),
    ],
)
def test_a_line_that_says_nothing_of_its_kind_is_passed_by_and_told_of(body: bytes, problem: str) -> None:
    description = read_sdp(body)
    assert description.oddities == [problem]
    alive = [medium for medium in description.media if medium.is_movable]
    assert relocate(description, {}, None, "strip") == body
    assert len(alive) == (0 if b"49170" not in body or b"c=" not in body or b"m=audio 49170 " not in body else 1)


@pytest.mark.parametrize(
    "body",
    [
        CALL.replace(b"s=-", b"s=-\0"),
        CALL + b"\0",
        CALL.replace(b"s=-", b"s=-\rb=AS:64"),
        CALL.replace(b"\r\n", b"\r"),
        b"\r\n--preamble\r\n" + CALL,
        b"s=-\r\n" + CALL,
        CALL.replace(b"c=IN IP4", b"c=IN IP6"),
        CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 [10.1.0.2]"),
        CALL.replace(b"c=IN IP4 10.1.0.2", b"c=IN IP4 10.1.0.2\0"),
    ],
)
def test_what_others_read_is_read_and_moved(body: bytes) -> None:
    description = read_sdp(body)
    assert only(body).endpoint == endpoint("10.1.0.2:49170")
    moved = relocate(description, {0: Move(ip_address("203.0.113.1"), 40000, None)}, ip_address("203.0.113.1"), "strip")
    assert b"10.1.0.2" not in moved and b"m=audio 40000 " in moved and b"c=IN IP4 203.0.113.1" in moved


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"t=0 0", b"c=IN IP4 10.1.0.3\r\nt=0 0"),
        (b"t=0 0", b"c=IN IP6 2001:db8::1\r\nt=0 0"),
        (b"c=IN IP4 10.1.0.2", b"c=IN IP6 2001:db8::1\r\nc=IN IP4 10.1.0.2"),
        (b"t=0 0\r\n", b"t=0 0\r\nc=IN IP4 10.1.0.2\r\n"),
    ],
)
def test_each_of_several_c_lines_names_the_new_place(before: bytes, after: bytes) -> None:
    """Readers go by the first, the last or the one of their family."""
    for body in (
        CALL.replace(before, after),
        CALL.replace(b"c=IN IP4 10.1.0.2\r\n", b"") + after.replace(b"t=0 0\r\n", b""),
    ):
        description = read_sdp(body)
        prefer(description, ip_address("10.1.0.2"))
        if not description.media[0].is_movable:
            continue
        moved = relocate(description, {0: Move(ip_address("203.0.113.1"), 40000, None)}, None, "strip")
        lines = [line for line in moved.split(b"\r\n") if line.startswith(b"c=")]
        assert set(lines) == {b"c=IN IP4 203.0.113.1"} and len(lines) == body.count(b"c=")


def test_the_c_line_that_names_the_party_counts() -> None:
    for level in (
        CALL.replace(b"t=0", b"c=IN IP4 10.1.0.9\r\nt=0"),
        CALL + b"c=IN IP4 192.0.2.1\r\nc=IN IP4 10.1.0.9\r\n",
    ):
        description = read_sdp(level)
        prefer(description, ip_address("10.1.0.9"))
        assert description.media[0].endpoint == endpoint("10.1.0.9:49170")


def test_a_second_rtcp_line_goes_when_its_medium_moves() -> None:
    for end in (b"\r\n", b"\n"):
        body = (CALL + b"a=rtcp:1 IN IP4 10.1.0.2\r\na=rtcp:2\r\na=rtcp:x\r\na=x\r\n").replace(b"\r\n", end)
        moved = relocate(read_sdp(body), {0: Move(ip_address("203.0.113.1"), 40000, 40005)}, None, "strip")
        assert moved.endswith(end + b"a=rtcp:40005 IN IP4 203.0.113.1" + end + b"a=x" + end)
        assert moved.count(b"a=rtcp") == 1


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
        b"IN IP6 fe80::1%eth0",
        b"IN IP6 [2001:db8::1",
        b"IN IP6 2001:db8:::1",
        b"IN IP4 10.1.0.2/1/2/3",
        b"IN IP4 $",
        b"IN IP4 h\xf6st",
        b"IN IP4 " + b"a" * 256,
        b"IN IP4 10.1.0.2 " + b"a" * 400,
        b"ATM NSAP 47.0091.8100",
    ],
)
def test_a_connection_that_is_none_is_told_of(address: bytes) -> None:
    description = read_sdp(CALL.replace(b"c=IN IP4 10.1.0.2", b"c=" + address))
    assert description.oddities == [
        "line 4: c= is not IN, IP4 or IP6, and an address",
        "line 6: no c= for this medium",
    ]
    assert description.media[0].obstacle == "no_address"


# -- what else names an address ----------------------------------------------------------------------------------------

NAMES: dict[Host, Host] = {ip_address("10.1.0.2"): ip_address("203.0.113.1")}
TO_RELAY = {0: Move(ip_address("203.0.113.1"), 40000, None)}


def test_a_medium_that_is_refused_names_no_address_of_the_inside() -> None:
    refused = CALL + b"m=video 0 RTP/AVP 31\r\nc=IN IP4 10.1.0.2\r\nm=text 9 RTP/AVP 98\r\nc=IN IP4 192.0.2.7\r\n"
    moved = relocate(read_sdp(refused), TO_RELAY, None, "strip", NAMES)
    assert moved.endswith(
        b"m=video 0 RTP/AVP 31\r\nc=IN IP4 203.0.113.1\r\nm=text 9 RTP/AVP 98\r\nc=IN IP4 192.0.2.7\r\n"
    )


@pytest.mark.parametrize(
    "line", [b"a=altc:1 IP4 10.1.0.2 49170", b"a=ALTC:2 IP6 2001:db8::2 5000", b"a=alt:1 1 : x y 10.1.0.2 5"]
)
def test_alternatives_of_a_medium_that_moves_are_taken_out(line: bytes) -> None:
    moved = relocate(read_sdp(CALL + line + b"\r\na=x\r\n"), TO_RELAY, None, "strip", NAMES)
    assert moved == relocate(read_sdp(CALL + b"a=x\r\n"), TO_RELAY, None, "strip", NAMES)


def test_filters_of_sources_name_hosts_as_their_reader_knows_them() -> None:
    """RFC 4570: else packets from our address are refused."""
    body = (
        CALL
        + b"a=source-filter: incl IN IP4 * 10.1.0.2 192.0.2.9\r\na=Source-Filter:excl IN IP4 10.1.0.2 10.1.0.21\r\n"
    )
    after = body.replace(b"10.1.0.2 192", b"203.0.113.1 192").replace(b"10.1.0.2 10", b"203.0.113.1 10")
    assert with_names(body, NAMES) == after
    assert with_names(body, {}) == body
    other_family: dict[Host, Host] = {ip_address("10.1.0.2"): ip_address("2001:db8::1")}
    assert with_names(body, other_family) == CALL


def test_ipv6_in_brackets_is_an_address() -> None:
    body = CALL.replace(b"IP4 10.1.0.2", b"IP6 [2001:db8::2]")
    host, moves = ip_address("2001:db8:f::1"), {0: Move(ip_address("2001:db8:f::1"), 40000, None)}
    assert only(body).endpoint == endpoint("[2001:db8::2]:49170")
    moved = relocate(read_sdp(body), moves, host, "strip")
    assert moved.count(b"IP6 2001:db8:f::1\r\n") == 2 and b"[" not in moved
    assert with_other_host(body, ip_address("2001:db8::2"), host).count(b"IP6 2001:db8:f::1\r\n") == 2


def test_another_description_of_the_message_has_the_same_places() -> None:
    second = CALL.replace(b"RTP/AVP 0", b"RTP/SAVP 8") + b"m=video 50000 RTP/AVP 31\r\n"
    moved = alike(second, read_sdp(CALL), TO_RELAY, NAMES)
    assert b"m=audio 40000 RTP/SAVP 8" in moved and b"m=video 50000" in moved
    assert alike(b"no description", read_sdp(CALL), TO_RELAY, NAMES) == b"no description"


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
