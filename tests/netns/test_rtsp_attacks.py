"""Attacks on the RTSP helper, each really tried through a gateway that drops all else (RT9, RT11, RT18, RT19,
X10)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.media_site import FEW, Voice
from tests.netns.namespaces import needs_root
from tests.netns.rtsp_site import Site, Stream, Talk, heard, message, site

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site("S") as found:
        yield found


@pytest.fixture
def talk(place: Site) -> Talk:
    return place.talk()


def opened(place: Site) -> int:
    return len(place.daemon.audit("pinhole.opened"))


def setup(talk: Talk, transport: str) -> bytes:
    """A SETUP that is answered here, and never reaches the server."""
    talk.say("SETUP rtsp://camera/1 RTSP/1.0", "CSeq: 1", f"Transport: {transport}")
    answer = heard(talk.client)
    assert talk.is_silent()
    return answer


@pytest.mark.parametrize(
    "transport",
    [
        "RTP/AVP;unicast;destination={other};client_port=5000-5001",
        "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP;unicast;destination={other};client_port=5000-5001",
        'RTP/AVP;mode="x";destination="{other}";client_port=5000-5001',
        "RTP/AVP;\x0cdestination={other};client_port=5000-5001",
        "RTP/AVP;multicast;destination={other};port=5000-5001",
        "RTP/AVP;unicast;destination=198.51.100.2;client_port=5000-5001",
    ],
)
def test_a_server_is_not_told_to_flood_another_host(place: Site, talk: Talk, transport: str) -> None:
    before, told = opened(place), len(place.daemon.audit("violation", rule="rtsp.destination"))
    answer = setup(talk, transport.format(other=place.lab.client_stranger.v4))
    assert answer.startswith(b"RTSP/1.0 461 ")
    place.daemon.wait_for("violation", count=told + 1, rule="rtsp.destination")
    assert opened(place) == before


def test_what_servers_without_quotes_would_read_is_not_sent_to_one(place: Site, talk: Talk) -> None:
    hidden = f'RTP/AVP;x="a;destination={place.lab.client_stranger.v4};b";client_port=5000-5001'
    assert setup(talk, hidden).startswith(b"RTSP/1.0 400 ")


def test_a_request_within_a_refused_one_never_reaches_the_server(place: Site, talk: Talk) -> None:
    transport = f"Transport: RTP/AVP;unicast;destination={place.lab.client_stranger.v4};client_port=5000-5001"
    hidden = message("SETUP rtsp://camera/1 RTSP/1.0", "CSeq: 2", transport)
    talk.say("SETUP rtsp://camera/1 RTSP/1.0", "CSeq: 1", transport, f"Content-Length: {len(hidden)}")
    talk.client.sendall(hidden)
    assert heard(talk.client).startswith(b"RTSP/1.0 461 ")
    assert talk.is_silent()


@pytest.mark.parametrize("port", ["53", "1023", "5060-5061"])
def test_ports_of_other_services_are_not_opened(place: Site, talk: Talk, port: str) -> None:
    """5060 is one of signalling: with source NAT it is mapped to a port of ours, so nobody reaches it by its number."""
    before = opened(place)
    if port.startswith("5060"):
        asked = talk.ask("SETUP rtsp://camera/1 RTSP/1.0", "CSeq: 1", f"Transport: RTP/AVP;client_port={port}")
        assert b"client_port=5060" not in asked
        place.daemon.wait_for("pinhole.opened", count=before + 1)
    else:
        assert setup(talk, f"RTP/AVP;unicast;client_port={port}").startswith(b"RTSP/1.0 461 ")
        assert opened(place) == before


def test_media_of_a_third_host_has_no_way_in(place: Site, talk: Talk) -> None:
    told = len(place.daemon.audit("violation", rule="rtsp.source"))
    stream = Stream(place, talk, source=str(place.stranger.v4))
    place.daemon.wait_for("violation", count=told + 1, rule="rtsp.source")
    voice = Voice()
    place.socket(place.stranger, stream.server[0].port).say(voice, stream.client_at[0], FEW)
    stream.server[0].say(voice, stream.client_at[0], FEW)
    assert stream.client[0].is_deaf_to(voice)


def test_nobody_gets_in_before_the_server_has_agreed(place: Site, talk: Talk) -> None:
    client, server = place.socket(place.client), place.socket(place.server)
    asked = talk.ask("SETUP rtsp://camera/1 RTSP/1.0", "CSeq: 1", f"Transport: RTP/AVP;client_port={client.port}")
    ours = int(asked.partition(b"client_port=")[2].split(b"\r")[0])
    voice = Voice()
    server.say(voice, (place.client_as_seen, ours), FEW)
    assert client.is_deaf_to(voice)
    talk.answer("RTSP/1.0 403 Forbidden", "CSeq: 1")
    place.daemon.wait_for("pinhole.closed", reason="not_agreed")


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: camera\r\nContent-Length: 200\r\n\r\nSETUP rtsp://camera/1 RTSP/1.0\r\nCSeq: 1\r\n"
        b"Transport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n",
        b"GET / HTTP/1.1\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n",
        b"\r\n" * 10 + b"EHLO x\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\rTransport: x\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 3\r\nContent-Length: 70\r\n\r\n",
        b"$\0\0\x20SETUP rtsp://camera/1 RTSP/1.0\r\n",
        b"A" * 9000,
    ],
    ids=["post", "get", "smtp", "bare_cr", "two_lengths", "frame", "long"],
)
def test_what_is_no_rtsp_is_closed_and_never_read_as_such(place: Site, talk: Talk, data: bytes) -> None:
    before = opened(place)
    talk.client.sendall(data)
    with pytest.raises((ConnectionResetError, ConnectionError)):
        while talk.client.recv(4096):
            pass
        raise ConnectionError("closed")
    assert not talk.server.recv(4096).strip(b"\r\n") if data.startswith(b"\r\n") else talk.is_silent()
    assert opened(place) == before


def test_a_server_that_speaks_first_is_closed(place: Site, talk: Talk) -> None:
    talk.server.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        talk.client.recv(1)


def test_a_flood_of_setups_leaves_ports_to_others(place: Site) -> None:
    talk, other = place.talk(), place.talk()
    for number in range(200):
        port = 5000 + 2 * number
        transport = f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1}"
        talk.say(f"SETUP rtsp://camera/{number} RTSP/1.0", f"CSeq: {number}", transport)
    place.daemon.wait_for("violation", rule="rtsp.too_many")
    stream, voice = Stream(place, other), Voice()
    stream.server[0].say(voice, stream.client_at[0], FEW)
    assert stream.client[0].hears(voice, FEW) == FEW
    talk.close()


def test_a_message_that_never_ends_holds_nothing_for_ever(place: Site, talk: Talk) -> None:
    talk.client.sendall(b"OPTIONS * RTSP/1.0\r\n" + b"X: y\r\n" * 8000)
    with pytest.raises((ConnectionResetError, BrokenPipeError, ConnectionError)):
        while True:
            if not talk.client.recv(4096):
                raise ConnectionError("closed")
