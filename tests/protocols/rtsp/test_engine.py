"""What conversations of one connection cannot say: sessions of several ones, floods, and what waits."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Abort, Finish, Splice
from protocols.contract.engine import Counts
from protocols.contract.pinholes import Closed, Heard, MediaGrant
from protocols.rtsp.connection import LOOK_SECONDS
from protocols.rtsp.helper import HELPER
from protocols.rtsp.options import RtspOptions
from protocols.rtsp.requests import MAX_PENDING
from protocols.rtsp.sessions import MAX_SESSIONS, MAX_STREAMS
from protocols.rtsp.setup import MAX_OFFERS
from tests.harness.playbook import NETWORKS, Session, on
from tests.harness.scripts import begin, end, pinholes_of

URL = b"rtsp://203.0.113.7/live"
NETWORK = on(NETWORKS["none"], HELPER, Transport.TCP)


def connected(beside: Session | None = None, network: Peers = NETWORK, **options: Any) -> Session:
    """A connection, and beside another one of the same daemon."""
    return begin(HELPER, network, HELPER.options(**options), beside.engines if beside else None, beside)


def message(*lines: bytes, body: bytes = b"") -> bytes:
    length = (b"Content-Length: %d" % len(body),) if body else ()
    return b"".join(line + b"\r\n" for line in (*lines, *length)) + b"\r\n" + body


def asks(session: Session, method: bytes, number: int, *more: bytes, url: bytes = URL) -> None:
    session.receive(Side.CLIENT, message(b"%b %b RTSP/1.0" % (method, url), b"CSeq: %d" % number, *more))


def answers(session: Session, number: int, *more: bytes, code: int = 200) -> None:
    # What a strict table of pinholes is to know, it must hear.
    data = message(b"RTSP/1.0 %d X" % code, b"CSeq: %d" % number, *more)
    pinholes_of(session).hear(Side.SERVER, data)
    session.receive(Side.SERVER, data)


def sets_up(session: Session, number: int, track: int = 0, name: bytes = b"s", more: tuple[bytes, ...] = ()) -> None:
    """A stream is agreed."""
    port = 5000 + 2 * track
    transport = b"Transport: RTP/AVP;unicast;client_port=%d-%d" % (port, port + 1)
    asks(session, b"SETUP", number, transport, *more, url=URL + b"/%d" % track)
    answers(session, number, b"Session: " + name, transport + b";server_port=%d-%d" % (port + 1000, port + 1001))


def interleaved(session: Session) -> None:
    """Media in the connection is agreed."""
    asks(session, b"SETUP", 1, b"Transport: RTP/AVP/TCP;interleaved=0-1")
    answers(session, 1, b"Session: s", b"Transport: RTP/AVP/TCP;interleaved=0-1")


def standing(session: Session) -> int:
    return len(session.pinholes.standing)


# -- sessions of several connections -----------------------------------------------------------------------------------


def test_another_connection_takes_a_session_over_and_ends_it() -> None:
    first = connected()
    sets_up(first, 1)
    second = connected(first)
    asks(second, b"PLAY", 1, b"Session: s")
    answers(second, 1, b"Session: s")
    assert len(second.notes("rtsp.play")) == 1
    first.close()
    first.wait(100)  # longer than it would go on by itself
    assert standing(first) == 2
    asks(second, b"TEARDOWN", 2, b"Session: s")
    answers(second, 2)
    assert standing(first) == 0
    assert [note["cause"] for note in first.notes("rtsp.ended")] == ["teardown"]
    first.wait(1)
    end(HELPER, first, second)


def test_a_session_ends_when_the_last_connection_that_speaks_of_it_is_lost() -> None:
    first = connected()
    sets_up(first, 1)
    first.use(1)
    second = connected(first)
    asks(second, b"GET_PARAMETER", 1, b"Session: s")
    first.close()
    second.close()
    first.wait(60 + LOOK_SECONDS)
    assert standing(first) == 0
    assert [note["cause"] for note in first.notes("rtsp.ended")] == ["lost"]


def test_a_stream_that_another_connection_adds_outlives_that_one_too() -> None:
    first = connected()
    sets_up(first, 1)
    second = connected(first)
    sets_up(second, 1, track=1, more=(b"Session: s",))
    assert (standing(first), standing(second)) == (2, 2)
    second.close()
    assert standing(second) == 2
    asks(first, b"TEARDOWN", 2, b"Session: s")
    answers(first, 2)
    assert (standing(first), standing(second)) == (0, 0)
    assert len([*first.notes("rtsp.ended"), *second.notes("rtsp.ended")]) == 1
    end(HELPER, first, second)


def test_a_stream_that_another_connection_asks_for_again_is_its_own_from_then_on() -> None:
    network = on(NETWORKS["snat"], HELPER, Transport.TCP)
    first = connected(network=network)
    transport = b"Transport: RTP/AVP;unicast;client_port=5000-5001"
    asks(first, b"SETUP", 1, transport)
    answers(first, 1, b"Session: s")
    second = connected(first, network)
    asks(second, b"SETUP", 1, transport, b"Session: s")
    assert (standing(first), standing(second)) == (2, 1)
    answers(second, 1, b"Session: s")
    assert (standing(first), standing(second)) == (0, 2)
    end(HELPER, first, second)


def test_another_client_that_names_a_session_ends_nothing() -> None:
    first = connected()
    sets_up(first, 1)
    other = connected(first, on(NETWORKS["snat"], HELPER, Transport.TCP))
    asks(other, b"TEARDOWN", 1, b"Session: s")
    answers(other, 1)
    assert standing(first) == 2
    end(HELPER, first, other)


def test_each_stream_of_two_sessions_on_one_connection_ends_with_its_own() -> None:
    session = connected()
    sets_up(session, 1, 0, b"a")
    sets_up(session, 2, 1, b"b")
    asks(session, b"TEARDOWN", 3, b"Session: a")
    answers(session, 3)
    assert standing(session) == 2
    assert [note["cause"] for note in session.notes("rtsp.ended")] == ["teardown"]
    end(HELPER, session)


def test_a_server_that_gives_no_ids_has_one_session() -> None:
    session = connected()
    for number in (1, 2):
        transport = b"Transport: RTP/AVP;unicast;client_port=500%d" % number
        asks(session, b"SETUP", number, transport, url=URL + b"/%d" % number)
        answers(session, number, transport)
    asks(session, b"PLAY", 3)
    answers(session, 3)
    (played,) = session.notes("rtsp.play")
    assert len(played["streams"]) == 2
    assert (standing(session), session.violations()) == (4, [])
    asks(session, b"TEARDOWN", 4)
    answers(session, 4)
    assert standing(session) == 0


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_streams_of_a_session_are_bounded() -> None:
    session = connected()
    for track in range(MAX_STREAMS + 1):
        sets_up(session, track, track, more=(b"Session: s",) if track else ())
    assert standing(session) == 2 * MAX_STREAMS
    assert session.violations() == ["rtsp.too_many"]
    assert b"RTSP/1.0 461 " in session.sent(Side.CLIENT)


@pytest.mark.parametrize("named", [(b"Session: s",), ()])
def test_streams_within_the_connection_are_bounded_too(named: tuple[bytes, ...]) -> None:
    session = connected()
    transport = b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
    for number in range(MAX_STREAMS + 2):
        asks(session, b"SETUP", number, transport, *(named if number else ()), url=URL + b"/%d" % number)
        answers(session, number, b"Session: s", transport)
    assert session.violations() == 2 * ["rtsp.too_many"]
    session.close()
    assert len(session.notes("rtsp.stream")) == MAX_STREAMS


def test_answers_that_wait_are_bounded() -> None:
    session = connected()
    interleaved(session)
    session.receive(Side.SERVER, b"$\0\xff\xff")
    for number in range(MAX_PENDING + 1):
        asks(session, b"SETUP", number)
    assert session.effects[-1] == Abort("malformed")


def test_sessions_of_a_connection_are_bounded() -> None:
    session = connected()
    for number in range(MAX_SESSIONS + 1):
        sets_up(session, number, number, b"s%d" % number)
    assert standing(session) == 2 * MAX_SESSIONS
    assert session.violations() == ["rtsp.too_many"]


def test_a_flood_of_setups_holds_few_places_and_few_requests() -> None:
    session = connected()
    for number in range(4 * MAX_PENDING):
        transport = b"Transport: RTP/AVP;unicast;client_port=%d-%d" % (5000 + 2 * number, 5001 + 2 * number)
        asks(session, b"SETUP", number, transport, url=URL + b"/%d" % number)
    assert standing(session) <= MAX_OFFERS
    assert b"RTSP/1.0 461 " in session.sent(Side.CLIENT)
    end(HELPER, session)


def test_requests_that_nobody_answers_are_forgotten_one_by_one() -> None:
    session = connected()
    sets_up(session, 1)
    for number in range(2, 4 * MAX_PENDING):
        asks(session, b"GET_PARAMETER", number, b"Session: s")
    assert standing(session) == 2
    assert session.violations() == []


# -- answers -----------------------------------------------------------------------------------------------------------


def test_responses_belong_to_requests_by_their_number_whatever_order_they_come_in() -> None:
    session = connected()
    for number in (1, 2):
        transport = b"Transport: RTP/AVP;unicast;client_port=500%d" % number
        asks(session, b"SETUP", number, transport, url=URL + b"/%d" % number)
    answers(session, 2, b"Session: s", b"Transport: RTP/AVP;unicast;client_port=5002;server_port=6002")
    assert [
        str(grant.media.party.data) for grant in session.pinholes.opened if hasattr(grant, "media")
    ] == [  # both asked
        "198.51.100.2:5001",
        "198.51.100.2:5002",
        "203.0.113.7:6002",
    ]
    answers(session, 1, code=461)
    assert standing(session) == 2


def test_a_response_without_a_number_answers_the_only_request() -> None:
    session = connected()
    asks(session, b"SETUP", 1, b"Transport: RTP/AVP;unicast;client_port=5000")
    session.receive(Side.SERVER, message(b"RTSP/1.0 461 No"))
    assert standing(session) == 0
    for number in (2, 3):
        asks(session, b"SETUP", number, b"Transport: RTP/AVP;unicast;client_port=500%d" % number)
    session.receive(Side.SERVER, message(b"RTSP/1.0 200 OK", b"Session: s"))
    assert standing(session) == 2  # both still wait
    assert session.notes("rtsp.session") == []


def test_a_provisional_response_settles_nothing() -> None:
    session = connected()
    asks(session, b"SETUP", 1, b"Transport: RTP/AVP;unicast;client_port=5000")
    answers(session, 1, code=100)
    answers(session, 1, b"Session: s")
    assert standing(session) == 2


@pytest.mark.parametrize("method", [b"SETUP", b"RECORD"])
def test_the_body_of_what_is_answered_here_is_no_request_to_the_server(method: bytes) -> None:
    session = connected(methods_denied=("RECORD",))
    bounce = b"Transport: RTP/AVP;unicast;destination=192.0.2.9;client_port=5000-5001"
    hidden = message(b"SETUP rtsp://a/b RTSP/1.0", b"CSeq: 2", bounce)
    for part in message(method + b" rtsp://a/b RTSP/1.0", b"CSeq: 1", bounce, body=hidden).splitlines(True):
        session.receive(Side.CLIENT, part)
    assert session.sent(Side.SERVER) == b""
    assert len(session.violations()) == 1
    asks(session, b"OPTIONS", 3)
    assert session.sent(Side.SERVER).startswith(b"OPTIONS ")


def test_what_is_answered_here_waits_for_the_end_of_a_frame() -> None:
    session = connected(destination="refuse")
    interleaved(session)
    session.receive(Side.SERVER, b"$\0\0\x04ab")
    asks(session, b"SETUP", 2, b"Transport: RTP/AVP;destination=192.0.2.9;client_port=5000")
    assert session.sent(Side.CLIENT).endswith(b"$\0\0\x04ab")
    session.receive(Side.SERVER, b"cd$\0\0\0")
    answer = b"RTSP/1.0 461 Unsupported Transport\r\nCSeq: 2\r\n\r\n"
    assert session.sent(Side.CLIENT).endswith(b"$\0\0\x04abcd" + answer + b"$\0\0\0")


def test_a_server_that_cannot_be_read_is_told_to_the_client_as_bad() -> None:
    session = connected()
    asks(session, b"DESCRIBE", 7)
    session.receive(Side.SERVER, message(b"RTSP/1.0 200 OK", b"CSeq: 7", b"CSeq: 8"))
    assert session.sent(Side.CLIENT) == b"RTSP/1.0 502 Bad Gateway\r\nCSeq: 7\r\n\r\n"
    assert session.effects[-1] == Abort("malformed")


def test_half_a_message_does_not_go_on_when_its_side_ends() -> None:
    session = connected()
    session.receive(Side.CLIENT, b"OPTIONS * RTSP/1.0\r\nCSe")
    session.eof(Side.CLIENT)
    assert session.effects == [Finish(Side.SERVER)]
    end(HELPER, session)


def test_a_fault_closes_all_that_its_connection_has_opened() -> None:
    session = connected()
    sets_up(session, 1)
    session.receive(Side.CLIENT, b"\0")
    assert standing(session) == 0
    assert [note["cause"] for note in session.notes("rtsp.ended")] == ["violation"]
    assert session.effects[-1] == Abort("not_rtsp")


def test_a_server_asks_in_the_midst_of_media() -> None:
    session = connected()
    sets_up(session, 1)
    session.receive(Side.SERVER, message(b"OPTIONS * RTSP/1.0", b"CSeq: 1"))
    session.receive(Side.CLIENT, message(b"RTSP/1.0 200 OK", b"CSeq: 1"))
    assert session.sent(Side.SERVER).endswith(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
    assert (standing(session), session.violations()) == (2, [])


def test_descriptions_name_the_codecs_of_the_streams_that_are_asked_for() -> None:
    session = connected()
    asks(session, b"DESCRIBE", 1)
    sdp = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    sdp += b"a=rtpmap:96 H265/90000\r\na=control:0\r\n"
    session.receive(Side.SERVER, message(b"RTSP/1.0 200 OK", b"CSeq: 1", b"Content-Type: application/sdp", body=sdp))
    sets_up(session, 2)
    offered = session.pinholes.opened[0]
    assert isinstance(offered, MediaGrant) and offered.media.codecs is not None
    codec = offered.media.codecs.of(96)
    assert codec is not None and codec.name == "H265"


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_messages_of_a_session_put_its_end_off() -> None:
    session = connected()
    sets_up(session, 1)
    for number in range(2, 7):
        session.wait(100)
        asks(session, b"OPTIONS", number)
    assert standing(session) == 2
    session.wait(120)
    assert [note["cause"] for note in session.notes("rtsp.ended")] == ["timeout"]


def test_a_longer_timeout_is_twice_as_long() -> None:
    session = connected()
    sets_up(session, 1, name=b"s;timeout=200")
    session.wait(399)
    assert standing(session) == 2
    session.wait(1)
    assert standing(session) == 0


def test_media_in_use_is_not_ended_by_the_clock_of_its_session() -> None:
    session = connected()
    sets_up(session, 1)
    session.use(1)
    session.wait(10_000)
    assert standing(session) == 2  # their own silence ends them


def test_an_operator_who_closes_a_place_ends_the_session_with_the_last_one() -> None:
    session = connected()
    sets_up(session, 1)
    session.end(1, 0, 0, "closed_by_operator")
    assert [note["cause"] for note in session.notes("rtsp.ended")] == ["closed_by_operator"]


def test_a_stream_that_nobody_used_ends_with_its_session_when_the_others_are_silent() -> None:
    """Streams that were asked for before their session had a name are silent each for itself."""
    session = connected()
    for number in (1, 2):
        transport = b"Transport: RTP/AVP;unicast;client_port=500%d" % number
        asks(session, b"SETUP", number, transport, url=URL + b"/%d" % number)
    for number in (1, 2):
        answers(session, number, b"Session: s", b"Transport: RTP/AVP;unicast;client_port=500%d" % number)
    assert standing(session) == 4
    session.use(1)
    session.wait(1000)
    assert standing(session) == 4
    session.end(1, 160, 0, "idle")
    session.wait(1)
    assert standing(session) == 0
    assert [note["cause"] for note in session.notes("rtsp.ended")] == ["timeout"]


def test_line_ends_keep_no_connection_that_asks_for_nothing() -> None:
    session = connected()
    for _ in range(7):
        session.receive(Side.CLIENT, b"\r\n")
        session.wait(9)
    assert session.effects[-1] == Abort("no_request")


def test_a_connection_that_is_half_over_has_an_end() -> None:
    session = connected(idle=60.0)
    asks(session, b"OPTIONS", 1)
    session.eof(Side.CLIENT)
    session.wait(60)
    assert session.effects[-1] == Abort("idle")


def test_frames_keep_a_session_that_nobody_speaks_of() -> None:
    session = connected()
    interleaved(session)
    for _ in range(5):
        session.wait(100)
        session.receive(Side.SERVER, b"$\0\0\x01x")
    session.wait(119)
    assert session.notes("rtsp.ended") == []
    session.wait(1)
    (ended,) = session.notes("rtsp.ended")
    assert (ended["cause"], ended["packets_to_client"], ended["seconds"]) == ("timeout", 5, 620)


def test_half_a_message_has_its_time_whatever_the_other_side_does() -> None:
    session = connected()
    asks(session, b"OPTIONS", 1)
    session.receive(Side.SERVER, b"RTSP/1.0 200 OK\r\n")
    session.eof(Side.CLIENT)
    session.wait(30)
    assert session.effects[-1] == Abort("incomplete")


def test_frames_that_are_cut_anywhere_are_no_message_that_never_ends() -> None:
    session = connected()
    interleaved(session)
    for _ in range(40):
        session.receive(Side.SERVER, b"$\0")
        session.wait(1)
        session.receive(Side.SERVER, b"\0\x01x")
    assert not session.is_over


def test_a_retry_that_nobody_makes_gives_the_place_back_with_the_connection() -> None:
    session = connected()
    asks(session, b"SETUP", 1, b"Transport: RTP/AVP;unicast;client_port=5000")
    answers(session, 1, code=401)
    assert standing(session) == 1
    session.close()
    assert standing(session) == 0


def test_a_server_may_end_a_session_too() -> None:
    """RFC 7826 s.13.7."""
    session = connected()
    sets_up(session, 1)
    session.receive(Side.SERVER, message(b"TEARDOWN * RTSP/2.0", b"CSeq: 1", b"Session: s"))
    session.wait(5)
    assert standing(session) == 0


def test_lengths_that_are_said_twice_are_changed_twice() -> None:
    session = connected(network=on(NETWORKS["dnat"], HELPER, Transport.TCP))
    asks(session, b"DESCRIBE", 1)
    body = b"v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\n"
    length = b"Content-Length: %d" % len(body)
    answers_with = message(b"RTSP/1.0 200 OK", b"CSeq: 1", b"Content-Type: application/sdp", length, body=body)
    session.receive(Side.SERVER, answers_with)
    assert session.sent(Side.CLIENT).count(b"Content-Length: %d\r\n" % (len(body) + 3)) == 2


def test_a_description_that_cannot_be_read_passes() -> None:
    session = connected()
    asks(session, b"DESCRIBE", 1)
    data = message(b"RTSP/1.0 200 OK", b"CSeq: 1", b"Content-Type: application/sdp", body=b"hello")
    session.receive(Side.SERVER, data)
    assert session.sent(Side.CLIENT) == data


def test_what_is_no_method_cannot_be_denied() -> None:
    with pytest.raises(ValueError, match="methods_denied: 'a b' is not the name of a method"):
        RtspOptions(methods_denied=("a b",))


def test_what_was_agreed_is_told_when_the_daemon_ends() -> None:
    session = connected()
    sets_up(session, 1)
    session.dissolve()
    assert [note["cause"] for note in session.notes("rtsp.ended")] == ["session_closed"]
    other = connected()
    sets_up(other, 1)
    other._stop()
    assert [note["cause"] for note in other.notes("rtsp.ended")] == ["cut"]


def test_a_server_that_asks_before_it_has_answered_is_none() -> None:
    session = connected()
    asks(session, b"OPTIONS", 1)
    session.receive(Side.SERVER, message(b"OPTIONS * RTSP/1.0", b"CSeq: 1"))
    assert session.effects[-1] == Abort("not_rtsp")


def test_http_in_the_midst_of_rtsp_is_none() -> None:
    session = connected()
    asks(session, b"OPTIONS", 1)
    session.receive(
        Side.CLIENT, message(b"GET / HTTP/1.0", b"x-sessioncookie: a", b"Accept: application/x-rtsp-tunnelled")
    )
    assert session.effects[-1] == Abort("not_rtsp")


def test_what_is_behind_the_head_of_a_tunnel_goes_on_with_it() -> None:
    session = connected()
    kind = b"application/x-rtsp-tunnelled"
    data = message(b"POST / HTTP/1.0", b"x-sessioncookie: a", b"Content-Type: " + kind) + b"T1BUSU9OUw=="
    session.receive(Side.CLIENT, data)
    assert session.sent(Side.SERVER) == data


def test_a_spliced_connection_takes_along_what_is_not_whole() -> None:
    session = connected(interleaved="splice")
    interleaved(session)
    asks(session, b"PLAY", 2, b"Session: s")
    session.receive(Side.CLIENT, b"GET_PAR")
    answers(session, 2, b"Session: s")
    assert session.sent(Side.SERVER).endswith(b"\r\n\r\nGET_PAR")
    assert isinstance(session.effects[-1], Splice)


def test_a_setup_without_one_transport_is_answered_here() -> None:
    session = connected()
    for lines in ((), (b"Transport: a", b"Transport: b"), (b'Transport: RTP/AVP;mode="x',)):
        asks(session, b"SETUP", 1, *lines)
    assert session.sent(Side.CLIENT) == 3 * b"RTSP/1.0 400 Bad Request\r\nCSeq: 1\r\n\r\n"
    assert session.sent(Side.SERVER) == b""


def test_a_redirect_by_status_is_told() -> None:
    session = connected()
    asks(session, b"DESCRIBE", 1)
    answers(session, 1, b"Location: rtsp://a:b@192.0.2.1/c", code=302)
    assert session.notes("rtsp.redirected") == [{"message": "302", "location": b"rtsp://192.0.2.1/c"}]


def test_methods_are_known_in_any_case() -> None:
    """Or a server that takes any case would do what is refused here (RT2)."""
    session = connected(methods_denied=("Record",))
    asks(session, b"Setup", 1, b"Transport: RTP/AVP;unicast;destination=192.0.2.9;client_port=5000-5001")
    asks(session, b"record", 2)
    assert session.violations() == ["rtsp.destination", "rtsp.method_denied"]
    assert session.sent(Side.SERVER) == b""
    sets_up(session, 3)
    asks(session, b"teardown", 4, b"Session: s")
    assert session.sent(Side.SERVER).endswith(
        b"teardown rtsp://203.0.113.7/live RTSP/1.0\r\nCSeq: 4\r\nSession: s\r\n\r\n"
    )
    answers(session, 4)
    assert standing(session) == 0


def test_interleaved_media_may_be_denied() -> None:
    session = connected(interleaved="deny")
    asks(session, b"SETUP", 1, b"Transport: RTP/AVP/TCP;interleaved=0-1")
    assert session.violations() == ["rtsp.interleaved_denied"]
    assert session.sent(Side.CLIENT).startswith(b"RTSP/1.0 461 ")


def test_an_answer_that_cannot_be_read_takes_the_first_way() -> None:
    session = connected()
    asks(session, b"SETUP", 1, b"Transport: RTP/AVP;unicast;client_port=5000-5001")
    answers(session, 1, b"Session: s", b"Transport: RTP/AVP;server_port=x")
    assert standing(session) == 2
    assert [change["reason"] for note in session.notes("address.kept") for change in note["changes"]] == ["malformed"]


def test_how_media_came_is_told_with_its_stream() -> None:
    session = connected()
    sets_up(session, 1)
    heard = Heard(100, 3, 0.002, "H264")
    for number in (2, 1):
        grant = session.pinholes.standing[number]
        session.effects += session.engine.pinhole(grant, Closed("idle", 1, 2, 3.0, 4, 5, heard), session.now)
    (stream,) = session.notes("rtsp.stream")
    assert (stream["lost_to_client"], stream["codec_to_server"]) == (3, "H264")
    assert (stream["packets_to_client"], stream["packets_to_server"]) == (4, 5)


def test_the_daemon_is_told_how_much_is_under_way() -> None:
    session = connected()
    sets_up(session, 1)
    assert isinstance(session.engines, Counts)
    assert session.engines.counts() == {"presentations": 1, "media": 2}
