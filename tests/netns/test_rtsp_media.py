"""Media of RTSP on a real kernel: who may send to whom, for how long, and with which connection."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.harness.waiting import attempts
from tests.netns.media_site import FEW, MODES, Mode, Voice
from tests.netns.namespaces import needs_root
from tests.netns.rtsp_site import Site, Stream, site

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SHORT = "media_idle: 1.5"
TIMEOUT = 1
"""Of a session that a test wants to end, in seconds."""


@pytest.fixture(scope="module", params=MODES)
def place(request: pytest.FixtureRequest) -> Iterator[Site]:
    mode: Mode = request.param
    with site(mode, SHORT) as found:
        yield found


def test_data_and_control_pass_both_ways_before_anybody_plays(place: Site) -> None:
    stream = Stream(place, place.talk())
    for one in (0, 1):
        voice, other = Voice(), Voice()
        stream.client[one].say(voice, stream.server_at[one], FEW)  # RT28: it opens its NAT
        assert stream.server[one].hears(voice, FEW) == FEW
        stream.server[one].say(other, stream.client_at[one], FEW)
        assert stream.client[one].hears(other, FEW) == FEW
        assert stream.client[one].came_from == stream.server_at[one]


def test_what_goes_on_as_it_began_passes_in_the_kernel(place: Site) -> None:
    stream = Stream(place, place.talk())
    for _ in range(2):
        for one in (0, 1):
            voice, other = Voice(), Voice()
            stream.client[one].say(voice, stream.server_at[one], FEW)
            assert stream.server[one].hears(voice, FEW) == FEW
            stream.server[one].say(other, stream.client_at[one], FEW)
            assert stream.client[one].hears(other, FEW) == FEW
    if place.daemon.kernel_path != "off":
        assert place.daemon.ask("status")["fastpath"]["streams"] >= 4


def test_a_server_that_names_no_port_is_found_by_its_first_packets(place: Site) -> None:
    """RT17: data and control, each from a port of its own."""
    stream = Stream(place, place.talk(), is_named=False)
    for one in (1, 0):
        voice, back = Voice(), Voice()
        stream.server[one].say(voice, stream.client_at[one], FEW)
        assert stream.client[one].hears(voice, FEW) == FEW
        stream.client[one].say(back, stream.client[one].came_from, FEW)
        assert stream.server[one].hears(back, FEW) == FEW


def test_nobody_but_the_server_sends_to_the_client(place: Site) -> None:
    stream = Stream(place, place.talk())
    voice, stranger = Voice(), Voice()
    stream.server[0].say(voice, stream.client_at[0], 12)
    assert stream.client[0].hears(voice, 12) == 12
    place.socket(place.stranger).say(stranger, stream.client_at[0], FEW)
    place.socket(place.server).say(
        stranger, stream.client_at[0], FEW
    )  # another port of the server, when one is learned
    assert stream.client[0].is_deaf_to(stranger)


def test_teardown_closes_what_was_opened(place: Site) -> None:
    talk = place.talk()
    stream = Stream(place, talk)
    voice = Voice()
    stream.server[0].say(voice, stream.client_at[0], FEW)
    assert stream.client[0].hears(voice, FEW) == FEW
    before = len(place.daemon.audit("rtsp.ended"))
    talk.ask(f"TEARDOWN rtsp://{place.dialled}/ RTSP/1.0", "CSeq: 9", f"Session: {stream.session}")
    talk.answer("RTSP/1.0 200 OK", "CSeq: 9")
    assert place.daemon.wait_for("rtsp.ended", count=before + 1)["packets_to_client"] == FEW
    late = Voice()
    stream.server[0].say(late, stream.client_at[0], 1)
    assert stream.client[0].is_deaf_to(late)


def test_media_goes_on_for_a_moment_when_its_connection_is_cut(place: Site) -> None:
    for _ in attempts():  # this process may get no turn for longer than the session lives
        began, before = time.monotonic(), len(place.daemon.audit("rtsp.ended"))
        talk = place.talk()
        stream, voice = Stream(place, talk, timeout=TIMEOUT), Voice()
        talk.close()
        stream.server[0].say(voice, stream.client_at[0], FEW)
        took = time.monotonic() - began
        ended = place.daemon.wait_for("rtsp.ended", count=before + 1)
        if took < TIMEOUT:
            break
    assert stream.client[0].hears(voice, FEW) == FEW
    assert ended["cause"] == "lost"
    stream.server[0].say(voice, stream.client_at[0], 1)
    assert stream.client[0].is_deaf_to(voice)


def test_another_connection_takes_a_session_over(place: Site) -> None:
    first, before = place.talk(), len(place.daemon.audit("rtsp.ended"))
    stream, voice = Stream(place, first), Voice()
    second = place.talk()
    second.ask(f"PLAY rtsp://{place.dialled}/ RTSP/1.0", "CSeq: 1", f"Session: {stream.session}")
    second.answer("RTSP/1.0 200 OK", "CSeq: 1", f"Session: {stream.session}")
    closed = len(place.daemon.audit("session.closed"))
    first.close()
    place.daemon.wait_for("session.closed", count=closed + 1)
    stream.server[0].say(voice, stream.client_at[0], FEW)
    assert stream.client[0].hears(voice, FEW) == FEW
    second.ask(f"TEARDOWN rtsp://{place.dialled}/ RTSP/1.0", "CSeq: 2", f"Session: {stream.session}")
    second.answer("RTSP/1.0 200 OK", "CSeq: 2")
    assert place.daemon.wait_for("rtsp.ended", count=before + 1)["cause"] == "teardown"


def test_a_session_without_a_message_or_a_packet_is_over(place: Site) -> None:
    before = len(place.daemon.audit("rtsp.ended"))
    talk = place.talk()
    stream, voice = Stream(place, talk, timeout=TIMEOUT), Voice()
    stream.server[0].say(voice, stream.client_at[0], FEW)
    assert place.daemon.wait_for("rtsp.ended", count=before + 1)["cause"] == "timeout"
