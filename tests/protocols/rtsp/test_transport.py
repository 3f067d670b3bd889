"""The field Transport in both versions, and URLs, as they are written."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Malformed
from protocols.rtsp import transport, urls
from protocols.rtsp.transport import MAX_SPECS, read
from protocols.toolbox.spans import replace
from tests.harness.playbook import endpoint

HERE = ip_address("192.0.2.7")


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (b"RTP/AVP;unicast;client_port=1-2", ["udp"]),
        (b"rtp/avp/udp;Client_Port=1-2", ["udp"]),
        (b"RTP/AVP", ["udp"]),
        (b"RTP/AVP;multicast;port=1-2", ["multicast"]),
        (b"RTP/AVP;multicast;client_port=1-2", ["udp"]),
        (b"RTP/AVP/TCP;unicast;interleaved=0-1", ["interleaved"]),
        (b"RTP/AVP;interleaved=0-1", ["interleaved"]),
        (b"x-real-rdt/mcast;client_port=6970;mode=play,x-real-rdt/tcp;mode=play", ["multicast", "interleaved"]),
        (b'RTP/AVP;mode="PLAY,RECORD", RAW/RAW/UDP;client_port=5', ["udp", "udp"]),
    ],
)
def test_ways_are_told_apart_by_what_they_name(value: bytes, kinds: list[str]) -> None:
    assert [spec.kind for spec in read(value, is_2=False)] == kinds


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        (b"4588-4589", (4588, 4589)),
        (b" 4588 - 4589 ", (4588, 4589)),
        (b"4588/4600", (4588, 4600)),
        (b"4589-4588", (4589, 4588)),
        (b"4588", (4588, None)),
        (b"4588-4588", (4588, None)),
        (b"4588-0", (4588, None)),
        (b"0-0", None),
        (b"0", None),
    ],
)
def test_ports_are_read_in_every_spelling(value: bytes, ports: tuple[int, int | None] | None) -> None:
    (spec,) = read(b"RTP/AVP;unicast;client_port=" + value, is_2=False)
    ends = transport.ends(spec.client, HERE)
    assert (ends and (ends[0].port, ends[1].port if ends[1] else None)) == ports


@pytest.mark.parametrize(
    ("value", "ends"),
    [
        (b'":8000"/":8001"', ("192.0.2.7:8000", "192.0.2.7:8001")),
        (b'"192.0.2.9:8000"', ("192.0.2.9:8000", None)),
        (b'"[2001:db8::1]:8000"/"[2001:db8::1]:8001"', ("[2001:db8::1]:8000", "[2001:db8::1]:8001")),
        (b'"[::ffff:192.0.2.9]:8000"', ("192.0.2.9:8000", None)),
        (b'"192.0.2.9"', None),
    ],
)
def test_addresses_of_version_2(value: bytes, ends: tuple[str, str | None] | None) -> None:
    (spec,) = read(b"RTP/AVP/UDP;unicast;dest_addr=" + value, is_2=True)
    found = transport.ends(spec.client, HERE)
    assert found == (ends and (endpoint(ends[0]), endpoint(ends[1]) if ends[1] else None))


@pytest.mark.parametrize(
    ("value", "is_2"),
    [
        (b"", False),
        (b" , ", False),
        (b'RTP/AVP;mode="PLAY', False),
        (b"RTP/AVP;client_port=a-b", False),
        (b"RTP/AVP;client_port=1-2-3", False),
        (b"RTP/AVP;client_port=123456", False),
        (b"RTP/AVP;client_port=65536", False),
        (b"RTP/AVP;client_port=1-2;client_port=3-4", False),
        (b"RTP/AVP;destination=192.0.2.1;destination=192.0.2.2;client_port=1", False),
        (b'RTP/AVP;x="a;destination=192.0.2.9;b";client_port=1', False),
        (b'RTP/AVP"a;destination=192.0.2.9;b";client_port=1', False),
        (b'RTP/AVP;mode="a""b;destination=192.0.2.9";client_port=1', False),
        (b"RTP/AVP;desti\r\n nation=192.0.2.9;client_port=1", False),
        (b"RTP/AVP;=x;client_port=1", False),
        (b"RTP/AVP;dest_addr=:8000", True),
        (b'RTP/AVP;dest_addr=":8000"/":8001"/":8002"', True),
        (b'RTP/AVP;dest_addr=":8000"x', True),
        (b"RTP/AVP," * (MAX_SPECS + 1), False),
        (b"RTP/AVP" + b";x" * 40, False),
    ],
)
def test_what_cannot_be_read_is_malformed(value: bytes, is_2: bool) -> None:
    with pytest.raises(Malformed):
        read(value, is_2)


@pytest.mark.parametrize("blank", [b" ", b"\t", b"\r\n ", b"\x0b", b"\x0c"])
def test_blanks_hide_no_destination(blank: bytes) -> None:
    (spec,) = read(b"RTP/AVP;;%bdestination%b=%b192.0.2.9;client_port=1;" % (blank, blank, blank), is_2=False)
    assert [host for host, *_ in spec.hosts()] == [ip_address("192.0.2.9")]


def test_a_long_value_takes_no_longer_than_its_length() -> None:
    for value in (b"RTP/AVP;x=" + b" " * 30000 + b"y", b'RTP/AVP;x="' + b'"a' * 15000 + b'"', b";" * 30 + b" " * 30000):
        read(b"RTP/AVP" + value, is_2=False)


def test_channels_are_bytes() -> None:
    assert read(b"RTP/AVP/TCP;interleaved=2-3", is_2=False)[0].channels() == (2, 3)
    assert read(b"RTP/AVP/TCP;interleaved=256-257", is_2=False)[0].channels() == ()
    assert read(b"RTP/AVP/TCP;interleaved=x", is_2=False)[0].channels() == ()


OWN, SEEN = endpoint("10.0.0.5:554"), endpoint("203.0.113.7:8554")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (b"rtsp://10.0.0.5/a", b"rtsp://203.0.113.7:8554/a"),
        (b"rtsp://10.0.0.5:554/a", b"rtsp://203.0.113.7:8554/a"),
        (b"rtsp://10.0.0.5:8000/a", b"rtsp://203.0.113.7:8000/a"),
        (b"RTSP://u:p@10.0.0.5/a, rtsp://10.0.0.5/b", b"RTSP://u:p@203.0.113.7:8554/a, rtsp://203.0.113.7:8554/b"),
        (b"rtsp://10.0.0.50/a", b"rtsp://10.0.0.50/a"),
        (b"rtsp://camera/10.0.0.5", b"rtsp://camera/10.0.0.5"),
        (b"rtsp://[::ffff:10.0.0.5]/a", b"rtsp://203.0.113.7:8554/a"),
        (b"track1", b"track1"),
    ],
)
def test_urls_name_a_host_as_it_is_known(text: bytes, after: bytes) -> None:
    assert replace(text, urls.mapped(text, OWN, SEEN)) == after


def test_a_url_without_a_port_stays_so_where_that_is_the_usual_one() -> None:
    assert replace(b"rtsp://10.0.0.5/a", urls.mapped(b"rtsp://10.0.0.5/a", OWN, endpoint("203.0.113.7:554"))) == (
        b"rtsp://203.0.113.7/a"
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (b"rtsp://u:p@10.0.0.5/a", b"rtsp://10.0.0.5/a"),
        (b"rtsp://u:p@q@10.0.0.5/a", b"rtsp://10.0.0.5/a"),
        (b"rtsp://u:%b@10.0.0.5/a" % (b"p" * 600), b"rtsp://10.0.0.5/a"),
        (b"rtsp://a/" + b"b" * 600, b"rtsp://a/" + b"b" * 503),
        (b"rtsp://a/b?user=x&password=y&channel=1", b"rtsp://a/b?user=...&password=...&channel=1"),
        (b"rtsp://a/user=x&pwd=y/c", b"rtsp://a/user=...&pwd=.../c"),
        (b"rtsp://a/streamid=0", b"rtsp://a/streamid=0"),
    ],
)
def test_the_log_is_told_nothing_that_lets_somebody_in(url: bytes, shown: bytes) -> None:
    assert urls.told(url) == shown
