"""H.245 on connections of its own, the life of calls, and what transcripts of one connection cannot say."""

from __future__ import annotations

import random
from typing import Literal

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Abort, Close, Send
from protocols.contract.pinholes import Grant
from protocols.h323.options import H323Options
from protocols.h323.ways import Control
from tests.harness.playbook import Session
from tests.protocols.h323 import messages as m
from tests.protocols.h323.calls import CLIENT, SERVER, Calls

INSIDE, OUTSIDE, OURS = "10.1.0.2", "203.0.113.7", "198.51.100.1"
SETUP = m.setup(source=f"{INSIDE}:40000", dest=f"{OUTSIDE}:1720")
CONNECT = m.answer("connect", h245=f"{OUTSIDE}:4001")


def apart(calls: Calls) -> Session:
    """A call whose caller has dialled the callee's H.245."""
    calls.say(CLIENT, SETUP)
    calls.say(SERVER, CONNECT)
    return calls.control()


def tell(control: Session, side: Side, *messages: bytes) -> list[str]:
    """What messages of H.245 bring about: what the other side reads is what was said if nothing is told of it."""
    before = len(control.effects)
    control.receive(side, b"".join(map(m.tpkt, messages)))
    sent = b"".join(effect.data for effect in control.effects[before:] if isinstance(effect, Send))
    return ["as it came" if sent == b"".join(map(m.tpkt, messages)) else sent.hex()]


def test_media_is_agreed_on_a_connection_of_its_own() -> None:
    """HF40: each opener names RTCP alone, and the answers RTP; the caller is mapped, and the callee is not."""
    calls = Calls()
    control = apart(calls)
    log = calls.log
    del log[:]
    opened = m.open_channel(1, control=f"{INSIDE}:5001")
    control.receive(CLIENT, m.tpkt(opened))
    assert log == [f"offer rtp for {INSIDE}:5000 rtcp 5001 from {INSIDE} = {OURS}:40000"]
    there = m.tpkt(opened.replace(m.octets(f"{INSIDE}:5001"), m.octets(f"{OURS}:40001")))
    assert control.sent(SERVER) == there
    assert tell(control, SERVER, m.acknowledge(1, f"{OUTSIDE}:6000", f"{OUTSIDE}:6001")) == ["as it came"]
    assert log[1:] == [f"answer 2 rtp for {OUTSIDE}:6000 rtcp 6001 from {OUTSIDE} = {OUTSIDE}:6000"]
    assert tell(control, SERVER, m.open_channel(2, control=f"{OUTSIDE}:6001")) == ["as it came"]
    answer = m.acknowledge(2, f"{INSIDE}:5000", f"{INSIDE}:5001")
    control.receive(CLIENT, m.tpkt(answer))
    there = answer.replace(m.octets(f"{INSIDE}:5000"), m.octets(f"{OURS}:40000"))
    assert control.sent(SERVER).endswith(m.tpkt(there.replace(m.octets(f"{INSIDE}:5001"), m.octets(f"{OURS}:40001"))))
    assert len(log) == 2  # the same two places serve both directions (HF41)


def test_the_callee_may_dial_and_sides_are_those_of_the_call() -> None:
    """HF45: the caller has waited, so the client of the H.245 connection is the callee."""
    calls = Calls()
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:40000", dest=f"{OUTSIDE}:1720", h245=f"{INSIDE}:4100"))
    grant = calls.signalling.pinholes.opened[0]
    assert isinstance(grant, Grant) and grant.expect.reader is not None
    assert grant.expect.reader.role == Control(1, "server")
    control = calls.control()
    assert tell(control, CLIENT, m.open_channel(1, control=f"{OUTSIDE}:6001")) == ["as it came"]
    assert calls.log[-1] == f"offer rtp for {OUTSIDE}:6000 rtcp 6001 from {OUTSIDE} = {OUTSIDE}:6000"
    control.receive(SERVER, m.tpkt(m.acknowledge(1, f"{INSIDE}:5000", f"{INSIDE}:5001")))
    assert calls.log[-1].startswith(f"answer 2 rtp for {INSIDE}:5000 rtcp 5001 from {INSIDE} = {OURS}:")


def test_a_second_way_stands_until_a_message_has_passed_on_the_first() -> None:
    """HF45: both wait, and one of them is dialled."""
    calls = Calls()
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:40000", dest=f"{OUTSIDE}:1720", h245=f"{INSIDE}:4100"))
    calls.say(SERVER, CONNECT)
    control = calls.control(2)
    assert not any(line.startswith("close") for line in calls.log)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    assert "close 1" in calls.log
    calls.say(SERVER, m.facility("startH245", h245=f"{OUTSIDE}:4001"))
    assert len([line for line in calls.log if line.startswith("open")]) == 2


def test_h245_may_be_dialled_again_when_its_connection_is_gone() -> None:
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    control.close()
    before = len(calls.log)
    calls.say(SERVER, m.facility("startH245", h245=f"{OUTSIDE}:4001"))
    assert calls.log[before:] == [f"open tcp for {OUTSIDE}:4001 from {INSIDE} as {OURS} uses 1 read = {OUTSIDE}:4001"]


def test_a_call_goes_on_by_its_h245_and_ends_with_that() -> None:
    """HF10: the signalling connection is lost, and the parties still speak."""
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    calls.signalling.close()
    assert calls.signalling.engine.is_needed()
    assert not any(line.startswith("close") for line in calls.log[2:])
    control.close()
    assert calls.notes("call.ended")[0]["reason"] == "connection_lost"
    assert set(calls.engines.standing().values()) == {0}


def test_media_goes_with_the_call_and_its_h245_half_a_minute_later() -> None:
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    calls.say(CLIENT, m.release_complete())
    assert calls.log[-1] == "close 2"
    assert calls.notes("call.ended")[0]["reason"] == "released"
    calls.signalling.wait(29)
    assert not control.is_over
    calls.signalling.wait(1)
    assert control.effects[-1] == Close("call_over")


def test_nobody_finds_a_call_that_is_over() -> None:
    calls = Calls()
    apart(calls)
    calls.say(CLIENT, m.release_complete())
    late = calls.control()
    late.receive(CLIENT, m.tpkt(m.open_channel(1, control=f"{INSIDE}:5001")))
    assert late.effects == [Close("no_call")]


def test_a_channel_too_many_is_refused_in_words_of_h245() -> None:
    """X17: the opener hears it, and the other side does not hear of the channel."""
    calls = Calls(options=H323Options(max_channels=2))
    control = apart(calls)
    for number in (1, 2):
        tell(control, CLIENT, m.open_channel(number, session=number, control=f"{INSIDE}:{5001 + 2 * number}"))
    before = control.sent(SERVER)
    control.receive(CLIENT, m.tpkt(m.open_channel(3, session=3, control=f"{INSIDE}:5011")))
    assert control.sent(SERVER) == before
    assert control.sent(CLIENT) == m.tpkt(m.refused_channel(3))
    assert "h323.too_many_channels" in calls.rules()


def test_a_hundred_channels_open_no_more_than_an_option_allows() -> None:
    calls = Calls()
    control = apart(calls)
    for number in range(1, 101):
        tell(control, CLIENT, m.open_channel(number, session=number, control=f"{INSIDE}:{5001 + 2 * number}"))
    assert len([line for line in calls.log if line.startswith("offer")]) == 32


def test_a_number_that_is_used_again_is_the_new_channel() -> None:
    """HF39."""
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, session=1, control=f"{INSIDE}:5001"))
    tell(control, CLIENT, m.open_channel(1, session=2, control=f"{INSIDE}:5003"))
    assert calls.log[-2:] == ["close 2", f"offer rtp for {INSIDE}:5002 rtcp 5003 from {INSIDE} = {OURS}:40002"]


def test_a_refused_channel_leaves_nothing() -> None:
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    tell(control, SERVER, m.refused_channel(1))
    assert calls.log[-1] == "close 2"


def test_an_answer_to_no_channel_opens_nothing() -> None:
    calls = Calls()
    control = apart(calls)
    before = len(calls.log)
    assert tell(control, SERVER, m.acknowledge(9, f"{OUTSIDE}:6000", f"{OUTSIDE}:6001")) == ["as it came"]
    assert tell(control, CLIENT, m.acknowledge(9, f"{INSIDE}:5000", f"{INSIDE}:5001")) == ["as it came"]
    assert calls.log[before:] == []


@pytest.mark.parametrize(
    "at",
    ["127.0.0.1:5001", "0.0.0.0:5001", "10.1.0.3:5001", "169.254.1.1:5001", "10.1.0.2:1023", "255.255.255.255:5001"],
)
def test_media_at_a_third_host_or_a_low_port_is_not_followed(at: str) -> None:
    """HF43."""
    calls = Calls()
    control = apart(calls)
    before = len(calls.log)
    assert tell(control, CLIENT, m.open_channel(1, control=at)) == ["as it came"]
    assert calls.log[before:] == []
    assert set(calls.rules()) <= {"h323.elsewhere", "h323.low_port"} and calls.rules()


@pytest.mark.parametrize("static_nat", [True, False])
def test_who_announces_the_address_of_ours_means_itself_if_an_option_says_so(static_nat: bool) -> None:
    """Found by an audit: media had its place, and the other side went on reading what the endpoint had said, where
    nothing stands."""
    calls = Calls(options=H323Options(static_nat=static_nat))
    control = apart(calls)
    before = len(calls.log)
    opened = m.open_channel(1, control=f"{OURS}:5001")
    control.receive(CLIENT, m.tpkt(opened))
    if static_nat:
        assert calls.log[before:] == [f"offer rtp for {INSIDE}:5000 rtcp 5001 from {INSIDE} = {OURS}:40000"]
        assert control.sent(SERVER) == m.tpkt(opened.replace(m.octets(f"{OURS}:5001"), m.octets(f"{OURS}:40001")))
    else:
        assert control.sent(SERVER) == m.tpkt(opened)
        assert (calls.log[before:], calls.rules()) == ([], ["h323.elsewhere"])


@pytest.mark.parametrize("malformed", ["pass", "deny"])
def test_h245_that_cannot_be_read(malformed: Literal["pass", "deny"]) -> None:
    calls = Calls(options=H323Options(malformed=malformed))
    control = apart(calls)
    control.receive(CLIENT, m.tpkt(b"\xff\xff\xff"))
    if malformed == "pass":
        assert control.sent(SERVER) == m.tpkt(b"\xff\xff\xff")
    else:
        assert control.effects[-1] == Abort("malformed")
    assert calls.rules() == ["h323.malformed"]


def test_h245_that_is_no_tpkt_ends() -> None:
    control = apart(Calls())
    control.receive(CLIENT, b"HTTP/1.1")
    assert control.effects[-1] == Abort("malformed")


def test_several_messages_in_one_packet_are_all_read() -> None:
    """HF7."""
    calls = Calls()
    control = apart(calls)
    both = m.open_channel(1, control=f"{INSIDE}:5001") + m.open_channel(2, session=2, control=f"{INSIDE}:5003")
    control.receive(CLIENT, m.tpkt(both))
    there = both.replace(m.octets(f"{INSIDE}:5001"), m.octets(f"{OURS}:40001"))
    assert control.sent(SERVER) == m.tpkt(there.replace(m.octets(f"{INSIDE}:5003"), m.octets(f"{OURS}:40003")))


@pytest.mark.parametrize("seed", range(6))
def test_h245_is_the_same_however_it_is_cut(seed: int) -> None:
    """HF3: header alone, several packets in one segment, and octet by octet."""
    chance = random.Random(seed)
    script = [
        (CLIENT, m.tpkt(m.open_channel(1, control=f"{INSIDE}:5001")) + b"\x03\0\0\4"),
        (SERVER, m.tpkt(m.acknowledge(1, f"{OUTSIDE}:6000", f"{OUTSIDE}:6001"))),
        (SERVER, m.tpkt(m.open_channel(2, control=f"{OUTSIDE}:6001")) + m.tpkt(m.close_channel(2))),
        (CLIENT, m.tpkt(m.acknowledge(2, f"{INSIDE}:5000", f"{INSIDE}:5001")) + m.tpkt(m.closed_channel(2))),
    ]
    results = []
    for is_cut in (False, True):
        calls = Calls()
        control = apart(calls)
        for side, data in script:
            at = 0
            while at < len(data):
                size = (1 if not seed else chance.randint(1, 9)) if is_cut else len(data)
                control.receive(side, data[at : at + size])
                at += size
        results.append((control.sent(CLIENT), control.sent(SERVER), calls.log))
    assert results[0] == results[1]


def test_calls_are_told_while_they_are_under_way() -> None:
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    (call,) = calls.engines.calls()
    assert (call.caller, call.state, call.direction) == (b"alice", "established", "out")
    assert call.call_id == m.CALL_ID.hex().encode()
    (place,) = call.media
    assert calls.engines.call_of(place) == call
    assert calls.engines.call_of(99) is None
    assert calls.engines.counts() == {"calls": 1, "registrations": 0}


def test_a_call_ends_when_nobody_has_said_or_heard_anything() -> None:
    calls = Calls(options=H323Options(call_idle=600.0))
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    calls.signalling.wait(700)
    assert not calls.notes("call.ended")  # its media would have ended if it were silent
    calls.signalling.end(2, 0, 0, "idle")
    calls.signalling.wait(200)
    assert calls.notes("call.ended")[0]["reason"] == "idle"


def test_what_passed_is_told_at_the_end() -> None:
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    tell(control, SERVER, m.acknowledge(1, f"{OUTSIDE}:6000", f"{OUTSIDE}:6001"))
    calls.signalling.end(2, 1600, 3200)
    calls.say(CLIENT, m.release_complete())
    (stream,) = calls.notes("call.ended")[0]["streams"]
    assert (stream["medium"], stream["packets_to_caller"], stream["bytes_to_caller"]) == (1, 10, 1600)


def test_a_call_that_begins_on_half_a_connection_ends_with_the_other_half() -> None:
    """Found by the fuzzer: the callee had ended already."""
    calls = Calls()
    calls.signalling.eof(SERVER)
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:40000", h245=f"{INSIDE}:4100"))
    calls.signalling.eof(CLIENT)
    assert calls.log[-1] == "close 1"
    assert calls.notes("call.failed")[0]["reason"] == "connection_lost"


def test_a_daemon_that_ends_tells_of_its_calls() -> None:
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    calls.signalling.dissolve()
    assert calls.notes("call.ended")[0]["reason"] == "stopped"
    assert set(calls.engines.standing().values()) == {0}


def test_nothing_is_answered_to_a_side_that_has_been_told_of_the_end() -> None:
    """Found by the fuzzer: the server had ended, so the client was told that nothing more comes."""
    calls = Calls(options=H323Options(rate=1))
    calls.signalling.eof(SERVER)
    calls.say(CLIENT, SETUP, m.setup(reference=2))
    assert calls.sent(CLIENT) == b"" and calls.rules() == ["h323.rate"]
    calls = Calls(options=H323Options(max_channels=1))
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    control.eof(SERVER)
    tell(control, CLIENT, m.open_channel(2, session=2, control=f"{INSIDE}:5003"))
    assert control.sent(CLIENT) == b""


@pytest.mark.parametrize("is_released", [True, False], ids=["released", "replaced"])
def test_what_passed_is_counted_though_the_reference_is_that_of_a_new_call_already(is_released: bool) -> None:
    """Found by review: nobody knew whose places were closed, and they stood in the book of the daemon for ever."""
    calls = Calls()
    calls.signalling.tells_late = True
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:40000", control=[m.open_channel(1, control=f"{INSIDE}:5001")]))
    calls.say(SERVER, CONNECT)
    again = m.setup(source=f"{INSIDE}:40000", call_id=b"a" * 16)
    calls.say(CLIENT, *([m.release_complete()] if is_released else []), again)
    assert len(calls.notes("call.ended")) == 1
    assert {kind: n for kind, n in calls.engines.standing().items() if n} == {"calls": 1}


def test_a_setup_with_reference_0_begins_a_call() -> None:
    """Found by Asterisk, one of a hundred starts of which was mute (HF6)."""
    calls = Calls()
    calls.say(CLIENT, m.setup(reference=0, control=[m.open_channel(1, control=f"{INSIDE}:5001")]))
    calls.say(SERVER, m.answer("connect", reference=0))
    assert [note["tunnelled"] for note in calls.notes("call.started")] == [True]
    assert [line.split()[0] for line in calls.log] == ["offer"]
    calls.say(CLIENT, m.release_complete(reference=0))
    assert len(calls.notes("call.ended")) == 1


def test_a_setup_without_a_reference_is_of_no_call() -> None:
    calls = Calls()
    setup = m.setup(control=[m.open_channel(1, control=f"{INSIDE}:5001")])
    dummy = setup.replace(b"\x08\x02\x00\x01", b"\x08\x00", 1)
    calls.say(CLIENT, b"\x03\0" + len(dummy).to_bytes(2, "big") + dummy[4:])
    assert calls.log == []


@pytest.mark.parametrize("side", list(Side))
def test_a_setup_is_refused_with_the_reference_that_it_came_with(side: Side) -> None:
    """Found by review: one of three octets was more than an answer had room for."""
    calls = Calls(options=H323Options(rate=1))
    calls.say(CLIENT, SETUP)
    long = m.setup(reference=0x1234).replace(b"\x08\x02\x12\x34", b"\x08\x03\x12\x34\x56")
    if side is SERVER:
        calls.say(SERVER, m.setup(reference=7))
    calls.say(side, b"\x03\0" + len(long).to_bytes(2, "big") + long[4:])
    assert calls.rules() == ["h323.rate"]
    assert b"\x08\x03\x92\x34\x56\x5a" in calls.sent(side)


def test_nothing_is_opened_on_the_h245_of_a_call_that_is_over() -> None:
    """Found by review: media of a call that was released could be opened again, and stood in the book for ever."""
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"))
    calls.say(CLIENT, m.release_complete())
    before = len(calls.log)
    assert tell(control, CLIENT, m.open_channel(2, control=f"{INSIDE}:5003")) == ["as it came"]
    assert calls.log[before:] == []
    assert set(calls.engines.standing().values()) == {0}


def test_h245_looks_after_its_call_by_its_own_clock() -> None:
    """Found by review: no clock of this connection ran, since all that it could see was another connection's."""
    calls = Calls()
    control = apart(calls)
    assert control.engine.deadline() == 30
    assert control.engine.tick(30) == ()
    tell(control, CLIENT, m.open_channel(1, control=f"{INSIDE}:5001"), m.close_channel(1))
    assert control.engine.deadline() == 5
    control.engine.tick(5)
    assert calls.log[-1] == "close 2"
    assert control.engine.deadline() == 60
    calls.signalling.now = 40
    calls.say(CLIENT, m.release_complete())
    assert control.engine.tick(60) == ()
    assert (control.engine.deadline(), control.engine.tick(70)) == (70, (Close("call_over"),))


def test_a_fast_start_proposes_no_more_pairs_than_a_call_may_have_channels() -> None:
    """Found by review: proposals that all had one number had a place each, and were kept for ever. Those of one pair
    are one stream, however many they are (HF25)."""
    calls = Calls(options=H323Options(max_channels=2))
    fast = [m.channel(1, media=f"{INSIDE}:{5000 + 2 * at // 3 * 2}", is_reverse=True) for at in range(100)]
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:40000", fast=fast))
    assert [line.split(" = ")[0] for line in calls.log] == [
        f"offer rtp for {INSIDE}:{port} rtcp {port + 1} from {INSIDE}" for port in (5000, 5002)
    ]
    assert set(calls.rules()) == {"h323.too_many_channels"}


def test_a_fast_start_is_answered_with_no_more_channels_than_a_call_may_have() -> None:
    calls = Calls(options=H323Options(max_channels=2))
    calls.say(CLIENT, m.setup(source=f"{INSIDE}:40000", fast=[m.channel(1, media=f"{INSIDE}:5000", is_reverse=True)]))
    answers = [m.channel(number, media=f"{OUTSIDE}:6000", control=f"{OUTSIDE}:6001") for number in (1, 2, 3)]
    calls.say(SERVER, m.answer("connect", fast=answers))
    assert len([line for line in calls.log if line.startswith("answer")]) == 1
    assert calls.rules() == ["h323.too_many_channels"]


def test_only_a_channel_that_is_open_is_closed_later() -> None:
    """Found by review: each number that was named had a time of its own."""
    calls = Calls()
    control = apart(calls)
    tell(control, CLIENT, *(m.close_channel(number) for number in range(1, 100)))
    assert control.engine.deadline() == 30


def test_a_way_that_stands_is_announced_again_when_a_connection_by_the_other_one_is_gone() -> None:
    """HF45, HF46: both wait, and who has dialled says nothing. Found by review: the second was not opened anew, since
    it stood, and so it was announced as it came."""
    calls = Calls()
    setup = m.setup(source=f"{INSIDE}:40000", dest=f"{OUTSIDE}:1720", h245=f"{INSIDE}:4100")
    calls.say(CLIENT, setup)
    calls.say(SERVER, CONNECT)
    calls.control(2).close()
    again = m.facility("startH245", h245=f"{INSIDE}:4100", from_callee=False)
    assert calls.say(CLIENT, again) == []
    assert calls.sent(SERVER).endswith(again.replace(m.octets(f"{INSIDE}:4100"), m.octets(f"{OURS}:61000")))
