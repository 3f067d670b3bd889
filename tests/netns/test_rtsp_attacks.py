"""Attacks on the RTSP helper, each really tried through a gateway that drops all else, with source NAT and without
(RT4, RT9, RT10, RT11, RT18, RT19, RT44, X10).

Where a client is hidden (S), a port that it names is one of the gateway's own when the server hears of it; where it is
not (N), the place stands on the very port, which may be that of another service.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.netns.connections import read_all
from tests.netns.media_site import FEW, Mode, Socket, Voice
from tests.netns.namespaces import needs_root
from tests.netns.rtsp_site import Site, Stream, Talk, heard, last_words, message, site

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

_sessions = itertools.count(1)


@pytest.fixture(scope="module", params=["S", "N"])
def place(request: pytest.FixtureRequest) -> Iterator[Site]:
    mode: Mode = request.param
    with site(mode) as found:
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


@pytest.mark.parametrize("port", ["53", "1023"])
def test_ports_of_other_services_are_not_opened(place: Site, talk: Talk, port: str) -> None:
    before = opened(place)
    assert setup(talk, f"RTP/AVP;unicast;client_port={port}").startswith(b"RTSP/1.0 461 ")
    assert opened(place) == before


def test_nobody_reaches_a_port_of_signalling_through_a_place_for_media(place: Site, talk: Talk) -> None:
    """With source NAT the place of 5060 is a port of ours. Without, it would stand in the way of what comes to that
    port as signalling, so there is none."""
    before, transport = opened(place), "RTP/AVP;unicast;client_port=5060-5061"
    if place.mode == "S":
        asked = talk.ask("SETUP rtsp://camera/1 RTSP/1.0", "CSeq: 1", f"Transport: {transport}")
        assert b"client_port=5060" not in asked
        place.daemon.wait_for("pinhole.opened", count=before + 1)
    else:
        refused = len(place.daemon.audit("pinhole.refused"))
        assert setup(talk, transport).startswith(b"RTSP/1.0 461 ")
        line = place.daemon.wait_for("pinhole.refused", count=refused + 1)
        assert (line["listen"], line["reason"]) == (f"{place.client.v4}:5060", "address_in_use")
        assert opened(place) == before
    phone, stranger, voice = place.socket(place.client, 5060), place.socket(place.stranger), Voice()
    for sender in (stranger, place.socket(place.server)):
        sender.say(voice, (place.client_as_seen, 5060), FEW)
    assert phone.is_deaf_to(voice)


def test_a_service_on_a_port_that_is_named_for_media_hears_the_server_alone(place: Site, talk: Talk) -> None:
    """1900 is that of UPnP. With source NAT the server has it by another number, and that number leads there."""
    service = place.socket(place.client, 1900), place.socket(place.client, 1901)
    stream, voice = Stream(place, talk, client=service), Voice()
    at = stream.client_at[0]
    assert (at == (str(place.client.v4), 1900)) == (place.mode == "N")
    place.socket(place.stranger).say(voice, at, FEW)
    place.socket(place.stranger, stream.server[0].port).say(voice, (place.client_as_seen, 1900), FEW)
    assert service[0].is_deaf_to(voice)
    stream.server[0].say(voice, at, FEW)
    assert service[0].hears(voice, FEW) == FEW


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
    with pytest.raises((ConnectionResetError, BrokenPipeError, ConnectionError)):
        talk.client.sendall(b"OPTIONS * RTSP/1.0\r\n" + b"X: y\r\n" * 8000)  # half of which may be too much already
        while True:
            if not talk.client.recv(4096):
                raise ConnectionError("closed")


# -- messages that are read in more than one way (RT4, RT44) -----------------------------------------------------------

ASKED = b"SETUP rtsp://camera/1 RTSP/1.0\r\nCSeq: 1\r\n"
HARMLESS, FLOOD = b"RTP/AVP;unicast;client_port=5000-5001", b"RTP/AVP;unicast;destination=%b;client_port=5000-5001"


@contextlib.contextmanager
def nothing_opens(place: Site, *rules: str) -> Iterator[None]:
    """Meanwhile no pinhole is opened, and these rules are broken, each of them once. The log holds back lines of a rule
    that is broken often; metrics count all."""
    before = place.counted("pinholes_opened", "violations")
    yield
    more = place.counted("pinholes_opened", "violations") - before
    assert more == Counter(f'pinhole_violations_total{{rule="{rule}"}}' for rule in rules)


@pytest.mark.parametrize(
    "request_",
    [
        ASKED + b"Transport: RTP/AVP;unicast;\r\n destination=%b;client_port=5000-5001\r\n\r\n",
        ASKED + b"Transport:\r\n\tRTP/AVP;client_port=5000-5001;destination\r\n =\r\n %b\r\n\r\n",
        (ASKED + b"Transport: RTP/AVP;destination=%b;client_port=5000\r\n\r\n").replace(b"\r\n", b"\n"),
        (ASKED + b"Transport: RTP/AVP;client_port=5000;\r\n destination=%b\r\n\r\n").replace(b"\r\n", b"\n"),
    ],
    ids=["folded", "folded_everywhere", "lf", "lf_folded"],
)
def test_a_third_host_is_found_however_the_lines_are_cut(place: Site, talk: Talk, request_: bytes) -> None:
    with nothing_opens(place, "rtsp.destination"):
        talk.client.sendall(request_ % str(place.lab.client_stranger.v4).encode())
        assert heard(talk.client).startswith(b"RTSP/1.0 461 ")
        assert talk.is_silent()


@pytest.mark.parametrize(
    "request_",
    [
        ASKED + b"Transport: " + HARMLESS + b"\r\nX: y\r\n Transport: " + FLOOD + b"\r\n\r\n",
        ASKED + b"Transport\r\n : " + FLOOD + b"\r\nTransport: " + HARMLESS + b"\r\n\r\n",
        ASKED + b"Transport\x0c: " + FLOOD + b"\r\nTransport: " + HARMLESS + b"\r\n\r\n",
        ASKED + b"\x0bTransport: " + FLOOD + b"\r\nTransport: " + HARMLESS + b"\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: y\r\n \r\n" + ASKED + b"Transport: " + FLOOD + b"\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length\r\n : 0\r\nContent-Length: 105\r\n\r\n"
        + (ASKED + b"Transport: " + FLOOD + b"\r\n\r\n"),
        ASKED + b"Transport: " + HARMLESS + b";x=1\nY: z;destination=%b\r\n\r\n",
        ASKED + b"Transport: " + HARMLESS + b"\n\nOPTIONS * RTSP/1.0\r\nTransport: " + FLOOD + b"\r\n\r\n",
    ],
    ids=["in_a_fold", "fold_at_colon", "ff_at_colon", "vt", "blank_line", "length", "lf_parameter", "lf_end"],
)
def test_what_hides_a_transport_from_one_of_two_readers_ends_the_session(
    place: Site, talk: Talk, request_: bytes
) -> None:
    with nothing_opens(place, "rtsp.malformed"):
        talk.client.sendall(request_.replace(b"%b", str(place.lab.client_stranger.v4).encode()))
        assert last_words(talk.client).startswith(b"RTSP/1.0 400 ")
        assert last_words(talk.server) == b""


@pytest.mark.parametrize("where", ["a line", "the body"])
def test_a_second_transport_of_a_setup_is_never_sent_on(place: Site, talk: Talk, where: str) -> None:
    """live555 takes the first one, be it within another field. And who knows other ends of lines reads on in a body."""
    flood = b"Transport: " + FLOOD % str(place.lab.client_stranger.v4).encode() + b"\r\n\r\n"
    more = b"User-Agent: x " + flood if where == "a line" else b"Content-Length: %d\r\n\r\n" % len(flood) + flood
    with nothing_opens(place, "rtsp.malformed"):
        talk.client.sendall(ASKED + b"Transport: " + HARMLESS + b"\r\n" + more)
        assert heard(talk.client).startswith(b"RTSP/1.0 400 ")
        assert talk.is_silent()


def held(place: Site, talk: Talk, number: int = 1) -> tuple[Socket, tuple[str, int]]:
    """A SETUP waits for its answer: the client's socket, and where the server would find it."""
    client = place.socket(place.client)
    asked = talk.ask(
        f"SETUP rtsp://camera/{number} RTSP/1.0", f"CSeq: {number}", f"Transport: RTP/AVP;client_port={client.port}"
    )
    return client, (place.client_as_seen, int(asked.partition(b"client_port=")[2].split(b"\r")[0]))


def agreed(number: int, transport: str) -> bytes:
    """A response that agrees to a SETUP, for a session of its own."""
    session = f"Session: agreed{next(_sessions)}"
    return message("RTSP/1.0 200 OK", f"CSeq: {number}", session, f"Transport: {transport}")


def test_an_answer_that_hides_its_transport_ends_the_session(place: Site, talk: Talk) -> None:
    client, at = held(place, talk)
    server, voice = place.socket(place.server), Voice()
    transport = f"RTP/AVP;unicast;client_port={at[1]};server_port={server.port}"
    with nothing_opens(place, "rtsp.malformed"):
        talk.server.sendall(message("RTSP/1.0 200 OK", "CSeq: 1", "Session: s", "X: y", f" Transport: {transport}"))
        assert last_words(talk.client) == b"RTSP/1.0 502 Bad Gateway\r\nCSeq: 1\r\n\r\n"
    server.say(voice, at, FEW)
    assert client.is_deaf_to(voice)


@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["crlf", "lf"])
def test_another_source_is_found_in_a_folded_answer(place: Site, talk: Talk, end: str) -> None:
    client, at = held(place, talk)
    stranger, server, voice = place.socket(place.stranger), place.socket(place.server), Voice()
    transport = f"RTP/AVP;unicast;client_port={at[1]};{end} source={place.stranger.v4};{end}\tserver_port={server.port}"
    answer = agreed(1, transport).replace(b"\r\n", b"\n").replace(b"\n", end.encode())
    with nothing_opens(place, "rtsp.source"):
        talk.server.sendall(answer)
        assert str(place.stranger.v4).encode() in heard(talk.client)
    for sender in (stranger, server):
        sender.say(voice, at, FEW)
    assert client.is_deaf_to(voice)


@pytest.mark.parametrize("length", ["Content-Length: {}", "Content-Length:\r\n {}"], ids=["plain", "folded"])
def test_an_answer_within_the_body_of_another_one_agrees_to_nothing(place: Site, talk: Talk, length: str) -> None:
    talk.ask("OPTIONS * RTSP/1.0", "CSeq: 7")
    client, at = held(place, talk)
    server, early, voice = place.socket(place.server), Voice(), Voice()
    hidden = agreed(1, f"RTP/AVP;unicast;client_port={at[1]};server_port={server.port}")
    split = message("RTSP/1.0 200 OK", "CSeq: 7", length.format(len(hidden))) + hidden
    talk.server.sendall(split)
    assert read_all(talk.client, len(split)) == split
    server.say(early, at, FEW)
    assert client.is_deaf_to(early)
    talk.server.sendall(hidden)  # as an answer of its own it is one
    heard(talk.client)
    server.say(voice, at, FEW)
    assert client.hears(voice, FEW) == FEW


# -- frames with a false length (RT10, RT11) ---------------------------------------------------------------------------


def interleaved(talk: Talk) -> Talk:
    """The connection, when its two sides have agreed on media within."""
    transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
    talk.ask("SETUP rtsp://camera/9 RTSP/1.0", "CSeq: 9", transport)
    talk.answer("RTSP/1.0 200 OK", "CSeq: 9", f"Session: within{next(_sessions)}", transport)
    return talk


def frame(size: int) -> bytes:
    """The head of a frame with this length."""
    return b"$\0" + size.to_bytes(2, "big")


HIDDEN = message("SETUP rtsp://camera/1 RTSP/1.0", "CSeq: 1", "Transport: RTP/AVP;unicast;client_port=5000-5001")


def test_a_setup_within_a_frame_opens_nothing_even_if_it_is_answered(place: Site, talk: Talk) -> None:
    """As a server does that looks for requests in all that comes. Its answer is one to nothing."""
    interleaved(talk)
    client, server, voice = place.socket(place.client, 5000), place.socket(place.server), Voice()
    with nothing_opens(place):
        talk.client.sendall(frame(len(HIDDEN)) + HIDDEN)
        assert read_all(talk.server, 4 + len(HIDDEN)) == frame(len(HIDDEN)) + HIDDEN
        answer = agreed(1, f"RTP/AVP;unicast;client_port=5000-5001;server_port={server.port}")
        talk.server.sendall(answer)
        assert heard(talk.client) == answer
        server.say(voice, (place.client_as_seen, 5000), FEW)
        assert client.is_deaf_to(voice)


def test_a_request_that_a_frame_swallows_opens_nothing(place: Site, talk: Talk) -> None:
    """It is counted as media by its length, in how many parts it may come. What follows is read again."""
    interleaved(talk)
    media = bytes(12)
    with nothing_opens(place):
        for part in (frame(len(media) + len(HIDDEN)) + media, HIDDEN[:20], HIDDEN[20:]):
            talk.client.sendall(part)
            assert read_all(talk.server, len(part)) == part
    stream, voice = Stream(place, talk), Voice()
    stream.server[0].say(voice, stream.client_at[0], FEW)
    assert stream.client[0].hears(voice, FEW) == FEW


def test_an_answer_within_a_frame_of_the_server_agrees_to_nothing(place: Site, talk: Talk) -> None:
    interleaved(talk)
    client, at = held(place, talk)
    server, early, voice = place.socket(place.server), Voice(), Voice()
    answer = agreed(1, f"RTP/AVP;unicast;client_port={at[1]};server_port={server.port}")
    talk.server.sendall(frame(len(answer)) + answer)
    assert read_all(talk.client, 4 + len(answer)) == frame(len(answer)) + answer
    server.say(early, at, FEW)
    assert client.is_deaf_to(early)
    talk.server.sendall(answer)
    heard(talk.client)
    server.say(voice, at, FEW)
    assert client.hears(voice, FEW) == FEW


@pytest.mark.parametrize("rest", [b"\x80\x1a" + HIDDEN, b"y\r\n" + HIDDEN], ids=["media", "a line"])
def test_a_frame_that_is_longer_than_it_says_ends_the_session_with_its_media(
    place: Site, talk: Talk, rest: bytes
) -> None:
    """A frame's end is where a message begins, and nobody searches for one behind what is none."""
    stream, voice = Stream(place, interleaved(talk)), Voice()
    with nothing_opens(place, "rtsp.not_rtsp"):
        talk.client.sendall(frame(4) + b"abcd" + rest)
        assert last_words(talk.server) == frame(4) + b"abcd"
        assert last_words(talk.client) == b""
    stream.server[0].say(voice, stream.client_at[0], FEW)
    assert stream.client[0].is_deaf_to(voice)


def test_a_frame_that_never_ends_opens_nothing(place: Site, talk: Talk) -> None:
    interleaved(talk)
    with nothing_opens(place):
        sent = frame(65535) + HIDDEN
        talk.client.sendall(sent)
        assert read_all(talk.server, len(sent)) == sent
        talk.client.close()
        assert talk.server.recv(1) == b""
