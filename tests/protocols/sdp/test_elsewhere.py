"""How SDP is rewritten, and what still tells an address in it. Rules D1, D2, D3, D4, D5, D6, D7, D8, D9, D10, D11, D12,
D13, D14, D15, D16, D17, D25, D32, D47, D48."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint
from protocols.sdp.reading import read_sdp
from protocols.sdp.relocate import (
    Move,
    Residual,
    relocate,
    residual,
)
from tests.harness.playbook import endpoint
from tests.harness.sdp_examples import (
    BUNDLE,
    CALL,
    EXAMPLES,
    FAX,
    INSIDE,
    MULTICAST,
    OUTSIDE,
    OUTSIDE6,
    OVER_TCP,
    RFC_3264_OFFER,
    RFC_8866,
    TRICKLE,
    WEBRTC,
    moved,
    only,
    sdp,
    stay,
    to,
)

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
