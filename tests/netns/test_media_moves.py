"""Media that moves, with and without NAT, after any number of packets from where it was: heard at both ends, and nobody
else is (RFC 3264 s.8.3.1, RFC 4961; rules D21, D22, D23, D24, D25, D26, D27, D28, D39, D40, D41, D42, D43, D44,
D45)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from tests.netns.media_site import SITES, VERSIONS, Fax, Phone, Site, Talk, Voice, both_are_heard, site, site_id
from tests.netns.namespaces import needs_root

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

STRAGGLERS = (0, 5, 20, 200)
NEW = 30
BACK = 10
MEDIA_IDLE, RING = 2.0, 2.0
"""Short, and longer than a busy machine may take for one packet, or for a call to begin."""
LONGER = 1.5
"""Times either, it would be over: a stream is looked at four times within its idle time."""
GAP_SECONDS = 0.15
"""A source that is silent for longer (0.2 s) may be followed to where its stream goes on."""


@contextlib.contextmanager
def talking(place: Site, early: bool = False) -> Iterator[Talk]:
    """A call in which both have been heard."""
    talk = place.talk(early=early)
    for phone in (talk.caller, talk.callee):
        assert talk.is_heard(phone, BACK) == BACK
    yield talk
    talk.hang_up()


def moves_by(method: str) -> Callable[[Talk, Phone, int], None]:
    def move(talk: Talk, mover: Phone, stragglers: int) -> None:
        before = talk.take_new_ports(mover)
        talk.change(mover, method)
        talk.say_from(before, stragglers)
        both_are_heard(talk, NEW, mover)

    return move


def stays_and_sends_from_before(talk: Talk, mover: Phone, stragglers: int) -> None:
    """It has announced another port, and goes on to send from the one of before: symmetry is a recommendation."""
    before = talk.take_new_ports(mover)
    talk.change(mover)
    talk.say_from(before, stragglers)
    talk.media[talk.other(mover)][0].hears(talk.voices[mover], stragglers)
    assert talk.is_heard(mover, NEW, before[mover]) == NEW
    assert talk.is_heard(talk.other(mover), BACK) == BACK


def sends_a_fax(talk: Talk, mover: Phone, stragglers: int) -> None:
    before = talk.take_new_ports(talk.caller, talk.callee)
    talk.change(mover, kinds=("image",))
    talk.say(mover, stragglers, before[mover])
    for phone in (mover, talk.other(mover)):
        assert talk.is_heard(phone, NEW, voice=Fax()) == NEW


def plays_music(talk: Talk, mover: Phone, stragglers: int) -> None:
    """Hold: music from another port, then speech again from the one of before."""
    speech = talk.media[mover]
    music = [mover.media()]
    talk.media[mover] = music
    talk.change(mover, more="a=sendonly\r\n", answer_more="a=recvonly\r\n")
    talk.say(mover, stragglers, speech[0])
    tune = Voice()
    assert talk.is_heard(mover, NEW, voice=tune) == NEW
    talk.media[mover] = speech
    talk.change(mover)
    talk.say(mover, stragglers, music[0], voice=tune)
    both_are_heard(talk, NEW, mover)


def has_another_port_of_its_nat(talk: Talk, mover: Phone, stragglers: int) -> None:
    """In the middle of the call, and without a word."""
    talk.say(mover, stragglers)
    talk.media[talk.other(mover)][0].hears(talk.voices[mover], stragglers)
    talk.take_new_ports(mover)
    both_are_heard(talk, NEW, mover)


MOVES: list[Callable[[Talk, Phone, int], None]] = [
    moves_by("INVITE"),
    moves_by("UPDATE"),
    stays_and_sends_from_before,
    sends_a_fax,
    plays_music,
    has_another_port_of_its_nat,
]
IDS = ["reinvite", "update", "asymmetric", "fax", "music", "rebinding"]


@pytest.mark.parametrize("move", MOVES, ids=IDS)
def test_who_moves_is_heard_whatever_comes_from_before(
    place: Site, mover: Phone, move: Callable[[Talk, Phone, int], None]
) -> None:
    for stragglers in STRAGGLERS:
        with talking(place) as talk:
            move(talk, mover, stragglers)


def test_the_answer_may_name_another_port_than_early_media_had(place: Site) -> None:
    for stragglers in STRAGGLERS:
        with talking(place, early=True) as talk:
            before = talk.take_new_ports(talk.callee)
            talk.answered()
            talk.say_from(before, stragglers)
            both_are_heard(talk, NEW, talk.callee)


def test_music_may_come_from_another_host_that_is_named(place: Site) -> None:
    """A media server of its own, for as long as the call is on hold."""
    mover, server = place.far, place.lab.server_stranger
    for stragglers in STRAGGLERS:
        with talking(place) as talk:
            speech = talk.media[mover]
            music = [place.open(server, 9000 + stragglers)]
            talk.media[mover], talk.media_at[mover] = music, str(server.address(place.version))
            talk.change(mover, more="a=sendonly\r\n", answer_more="a=recvonly\r\n")
            talk.say(mover, stragglers, speech[0])
            tune = Voice()
            assert talk.is_heard(mover, NEW, voice=tune) == NEW
            talk.media[mover] = speech
            del talk.media_at[mover]
            talk.change(mover)
            talk.say(mover, stragglers, music[0], voice=tune)
            both_are_heard(talk, NEW, mover)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_phone_behind_a_nat_of_its_own_is_followed_to_another_port_of_it(version: int) -> None:
    """It names an address of its home, and is known by its packets alone (D41)."""
    with site("D", addresses="global-wan", version=version) as home:
        ours = str(home.lab.client_stranger.address(version))
        for address in ("192.168.77.7" if version == 4 else "fd77::7", ours):  # also one that means a host of ours
            for stragglers in STRAGGLERS:
                talk = Talk(home.far, home.near)
                talk.media_at[home.far] = address
                talk.begin()
                for _ in range(2):
                    assert talk.is_heard(home.far, NEW) == NEW
                    talk.to[home.near] = [talk.media[home.near][0].came_from]  # as exchanges do
                    assert talk.is_heard(home.near, BACK) == BACK
                    talk.say(home.far, stragglers)
                    talk.media[home.near][0].hears(talk.voices[home.far], stragglers)
                    talk.media[home.far] = [home.far.media()]
                talk.hang_up()


@pytest.mark.parametrize("elsewhere", [("10.8.0.2", "fd08::2"), ("172.17.0.1", "fd17::1")], ids=["vpn", "container"])
def test_a_phone_that_names_its_vpn_or_container_has_media(place: Site, elsewhere: tuple[str, str]) -> None:
    """Without NAT its peer is told that address, and nothing can be done about it but to say so."""
    talk = Talk(*place.parties)
    talk.media_at[place.near] = elsewhere[place.version == 6]
    talk.begin()
    if place.mode == "N":
        kept = place.daemon.wait_for("address.kept")
        assert kept["changes"][0]["reason"] == "third_host"
    else:
        place.daemon.wait_for("media.learned", expected=place.near.at)
        for phone in (place.near, place.far):
            assert talk.is_heard(phone, NEW) == NEW
    talk.hang_up()


# -- attacks -----------------------------------------------------------------------------------------------------------


def test_a_stranger_of_the_same_host_is_not_heard(place: Site, mover: Phone) -> None:
    """Beside the party, in its pauses, and after it: who does not know the stream cannot continue it (RTP bleed)."""
    with talking(place) as talk:
        hearer = talk.media[talk.other(mover)][0]
        eve, bleed = mover.media(), Voice()
        for _ in range(3):
            talk.say(mover, 40, eve, bleed)
            assert hearer.is_deaf_to(bleed)
            assert talk.is_heard(mover, BACK) == BACK
        talk.say(mover, 40, eve, bleed)
        assert hearer.is_deaf_to(bleed)


def test_a_stranger_before_the_party_does_not_keep_it_out(place: Site, mover: Phone) -> None:
    talk = place.talk()
    talk.say(mover, 40, mover.media(), Voice())
    both_are_heard(talk, NEW, mover)
    eve, bleed = mover.media(), Voice()
    talk.say(mover, 40, eve, bleed)
    assert talk.media[talk.other(mover)][0].is_deaf_to(bleed)
    talk.hang_up()


def test_who_continues_a_stream_that_goes_on_where_it_was_is_not_heard(place: Site, mover: Phone) -> None:
    """A source that moves without a word while the old one still sends."""
    for _ in range(10):
        with talking(place) as talk:
            voice, longest_gap, since = talk.voices[mover], 0.0, time.monotonic()
            hearer, eve = talk.media[talk.other(mover)][0], mover.media()
            for _ in range(20):
                talk.say(mover, 1)
                longest_gap = max(longest_gap, time.monotonic() - since)
                since = time.monotonic()
                talk.say(mover, 1, eve)
                time.sleep(0.02)
            if longest_gap < GAP_SECONDS:
                assert hearer.hears(voice, 20) == 20
                assert hearer.hears_all(voice) <= 1  # the last one of the other port had nothing beside it
                return
    raise AssertionError("this machine is too busy for a stream without a gap")


def test_another_host_is_not_heard_whatever_address_it_bears(place: Site) -> None:
    """Its own, or another port of the party's host."""
    with talking(place) as talk:
        hearer = talk.media[place.near][0]
        for spoofs in ("", place.far.at):
            eve, bleed = place.open(place.lab.server_stranger, talk.media[place.far][0].port + 4, spoofs), Voice()
            talk.say(place.far, 40, eve, bleed)
            assert hearer.is_deaf_to(bleed)
        assert talk.is_heard(place.far, BACK) == BACK


# -- silence -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=SITES, ids=site_id)
def hasty(request: pytest.FixtureRequest) -> Iterator[Site]:
    """With short clocks."""
    mode, version = request.param
    with site(mode, f"media_idle: {MEDIA_IDLE}, ring_seconds: {RING}", version=version) as found:
        yield found


def test_silence_of_one_medium_and_long_early_media_cost_nothing(hasty: Site) -> None:
    # Text, of which nothing comes while nobody types, beside speech.
    talk = hasty.talk(kinds=("audio", "text"))
    typed = {phone: Voice() for phone in (talk.caller, talk.callee)}
    assert talk.is_heard(talk.caller, 1, voice=typed[talk.caller], line=1) == 1
    end = time.monotonic() + LONGER * MEDIA_IDLE
    while time.monotonic() < end:
        for phone in typed:
            assert talk.is_heard(phone, 1) == 1
        time.sleep(0.1)
    for phone, text in typed.items():
        assert talk.is_heard(phone, 1, voice=text, line=1) == 1
    talk.hang_up()
    # Music before anybody answers, for longer than anything may ring.
    talk = hasty.talk(early=True)
    end = time.monotonic() + LONGER * RING
    while time.monotonic() < end:
        assert talk.is_heard(talk.callee, 1) == 1
        time.sleep(0.1)
    talk.answered()
    for phone in (talk.caller, talk.callee):
        assert talk.is_heard(phone, BACK) == BACK
    talk.hang_up()
    # When nothing at all is heard, the call is over.
    talk = hasty.talk()
    assert talk.is_heard(talk.caller, BACK) == BACK
    hasty.daemon.wait_for("call.ended", call_id=talk.call, reason="media_idle")
