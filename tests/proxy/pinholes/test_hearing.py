"""How well RTP arrives: what is lost exactly, jitter by samples, and which codec it was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.pinholes import Codec, Heard
from proxy.pinholes.hearing import AT_FIRST, EACH, IN_A_ROW, Hearing

RATE = 8000
CODECS = {0: Codec("PCMU", RATE), 96: Codec("opus", 48000), 101: Codec("telephone-event", RATE)}
RTCP = b"\x80\xc8\x00\x06ssrc" + bytes(20)
STUN = bytes.fromhex("000100002112a442") + bytes(12)


def rtp(number: int, stamp: int = 0, kind: int = 0, ssrc: bytes = b"ssrc") -> bytes:
    head = bytes([0x80, kind]) + (number & 0xFFFF).to_bytes(2, "big") + (stamp & 0xFFFFFFFF).to_bytes(4, "big")
    return head + ssrc + bytes(20)


class Lane:
    """Does with packets what `CarriedHere.take` does."""

    def __init__(self) -> None:
        self.hearing = Hearing(CODECS.get, 0)
        self.packets = self.looked_at = 0
        self.due = EACH

    def carry(self, packets: Iterable[bytes]) -> None:
        for data in packets:
            self.packets += 1
            if data[3] == self.due:
                self.due += 1
            else:
                self.looked_at += 1
                self.due = self.hearing.hear(data, self.due)

    def told(self) -> Heard:
        self.hearing.rest(self.due)
        self.due = EACH
        heard = self.hearing.told(self.packets)
        assert heard is not None
        return heard


def lost(packets: Iterable[bytes]) -> int:
    lane = Lane()
    lane.carry(packets)
    return lane.told().lost


# -- lost --------------------------------------------------------------------------------------------------------------


def test_of_a_whole_stream_nothing_is_lost_and_few_packets_are_looked_at() -> None:
    lane = Lane()
    lane.carry(rtp(number) for number in range(100_000))
    assert lane.told()[:2] == (100_000, 0)
    assert lane.looked_at < 100_000 * (IN_A_ROW + 2) / 256 + AT_FIRST


@pytest.mark.parametrize("gone", [[5], [200], [255], [256], [257], [300, 301, 302], list(range(400, 1400))])
@pytest.mark.parametrize("first", [0, 7, 65_000])
def test_what_is_missing_is_lost(gone: list[int], first: int) -> None:
    assert lost(rtp(first + number) for number in range(2000) if number not in gone) == len(gone)


def test_exactly_256_packets_may_be_missing() -> None:
    assert lost(rtp(number) for number in range(2000) if not 300 <= number < 556) == 256


@given(gone=st.sets(st.integers(1, 998), max_size=300), first=st.integers(0, 0xFFFF))
def test_the_numbers_that_are_missing_are_counted_whatever_they_are(gone: set[int], first: int) -> None:
    assert lost(rtp(first + number) for number in range(1000) if number not in gone) == len(gone)


@given(st.permutations(range(40)), st.integers(0, 0xFFFF))
def test_what_comes_late_is_not_lost(order: Sequence[int], first: int) -> None:
    """As long as the first packet is the first one: what was before it is not known of."""
    whole = [0, *(number + 1 for number in order), *range(41, 300)]
    assert lost(rtp(first + number) for number in whole) == 0


def test_what_comes_twice_makes_up_for_one_that_is_lost_as_in_rtcp() -> None:
    """RFC 3550 s.6.4.1: the number of packets lost includes duplicates, and never goes below nothing here."""
    numbers = [*range(300), 299, 298, *range(300, 500)]
    assert lost(map(rtp, numbers)) == 0
    assert lost(rtp(number) for number in [*range(300), 299, *range(302, 500)]) == 1


@pytest.mark.parametrize("other", [RTCP, STUN, b"\x80", b"\x00\x00\x00\x00", bytes(200)])
def test_what_is_no_rtp_is_not_counted(other: bytes) -> None:
    packets = [rtp(number) for number in range(600)]
    for at in (500, 300, 100, 0):
        packets.insert(at, other if len(other) > 3 else bytes(4))
    del packets[400]
    lane = Lane()
    lane.carry(packets)
    assert lane.told()[:2] == (599, 1)


def test_a_stream_from_another_source_or_begun_anew_loses_nothing() -> None:
    numbers = range(40_000, 40_400)
    first, second = [rtp(number) for number in range(300)], [rtp(number, ssrc=b"next") for number in numbers]
    assert lost(first + second) == 0
    assert lost([*first, *(rtp(number) for number in numbers)]) == 0
    assert lost([*first[:100], *first[110:], *second]) == 10


def test_a_lane_may_be_told_of_and_go_on() -> None:
    lane = Lane()
    lane.carry(rtp(number) for number in range(1000))
    assert lane.told().lost == 0
    lane.carry(rtp(number) for number in range(1003, 2000))
    assert lane.told().lost == 3


# -- jitter ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def paced(clock: list[float], count: int, delays: Sequence[float] = (0.0,), **more: Any) -> Iterable[bytes]:
    """Packets every 20 ms, each late by the next of these delays."""
    for number in range(count):
        clock[0] = 100.0 + number * 0.02 + delays[number % len(delays)]
        yield rtp(number, 160 * number, **more)


def test_a_stream_in_step_has_no_jitter(clock: list[float]) -> None:
    lane = Lane()
    lane.carry(paced(clock, 2000))
    assert lane.told().jitter_seconds == 0


def test_jitter_is_the_mean_difference_of_ways(clock: list[float]) -> None:
    """Of packets that are late by 0 and 8 ms by turns each differs by 8 ms from the one before (RFC 3550 A.8)."""
    lane = Lane()
    lane.carry(paced(clock, 5000, (0.0, 0.008)))
    assert lane.told().jitter_seconds == pytest.approx(0.008, rel=0.05)


def test_time_stamps_may_begin_anew(clock: list[float]) -> None:
    lane = Lane()
    for number in range(20):
        clock[0] = 100.0 + number * 0.02
        lane.carry([rtp(number, 0xFFFFFFFF - 800 + 160 * number)])
    assert lane.told().jitter_seconds == pytest.approx(0, abs=1e-6)


def test_a_key_that_is_pressed_is_no_jitter(clock: list[float]) -> None:
    """Packets of a telephone-event all bear the time of its beginning (RFC 4733 s.2.3)."""
    lane = Lane()
    packets = list(paced(clock, 20))
    for number, data in enumerate(packets):
        clock[0] = 100.0 + number * 0.02
        lane.carry([rtp(number, 800, kind=101) if 5 <= number < 12 else data])
    assert lane.told().jitter_seconds == pytest.approx(0, abs=1e-6)
    assert lane.told().codec == "PCMU"


def test_without_a_known_rate_there_is_no_jitter(clock: list[float]) -> None:
    lane = Lane()
    lane.carry(paced(clock, 500, (0.0, 0.008), kind=120))
    heard = lane.told()
    assert (heard.jitter_seconds, heard.codec, heard.lost) == (0, None, 0)


# -- codec -------------------------------------------------------------------------------------------------------------


def test_the_codec_is_the_one_that_most_packets_had() -> None:
    lane = Lane()
    lane.carry(rtp(number, kind=0) for number in range(300))
    lane.carry(rtp(number, kind=96) for number in range(300, 3000))
    assert lane.told().codec == "opus"


def test_a_stream_of_nothing_but_keys_says_so() -> None:
    lane = Lane()
    lane.carry(rtp(number, kind=101) for number in range(30))
    assert lane.told().codec == "telephone-event"


def test_where_no_rtp_came_nothing_is_told() -> None:
    lane = Lane()
    lane.carry([RTCP, STUN])
    assert lane.hearing.told(2) is None


def test_two_streams_of_one_party_are_told_together() -> None:
    assert Heard(100, 2, 0.001, "PCMU").plus(Heard(300, 1, 0.0005, "opus")) == Heard(400, 3, 0.001, "opus")
