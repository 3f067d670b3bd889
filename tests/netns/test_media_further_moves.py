"""Further moves of media: of both parties at once, refused ones, those that cross, late offers, forks."""

from __future__ import annotations

import re

import pytest

from tests.netns.media_site import FEW, Fax, Phone, Site, Talk, Voice, audio, both_are_heard, described, in_sdp, places
from tests.netns.namespaces import needs_root

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

MANY = 20


def test_both_move_at_once(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    for _ in range(3):
        before = talk.take_new_ports(talk.caller, talk.callee)
        talk.change(mover)
        talk.say_from(before, FEW)
        both_are_heard(talk, MANY)
    talk.hang_up()


@pytest.mark.parametrize("status", [488, 491])
def test_a_refused_move_leaves_all(place: Site, mover: Phone, status: int) -> None:
    talk = place.talk()
    both_are_heard(talk)
    other = talk.other(mover)
    before, to = talk.media[mover], dict(talk.to)
    talk.take_new_ports(mover)
    offer = mover.ask(talk, "INVITE", 20, talk.describes(mover))
    other.answer(talk, offer, status)
    mover.ask(talk, "ACK", 20)
    talk.media[mover], talk.to = before, to
    both_are_heard(talk, MANY)
    talk.take_new_ports(mover)
    talk.change(mover)
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_glare(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    other = talk.other(mover)
    before, to = dict(talk.media), dict(talk.to)
    talk.take_new_ports(mover, other)
    mover.say(talk, "INVITE", 20, talk.describes(mover))
    other.say(talk, "INVITE", 20, talk.describes(other))
    at_other, at_mover = other.hear(talk.call), mover.hear(talk.call)
    other.answer(talk, at_other, 491)
    mover.answer(talk, at_mover, 491)
    news = dict(talk.media)
    talk.media, talk.to = dict(before), to
    both_are_heard(talk, MANY)
    talk.media = news
    talk.change(mover)
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_glare_with_update_that_one_accepts(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    other = talk.other(mover)
    before = talk.media[other]
    talk.take_new_ports(mover, other)
    mover.say(talk, "UPDATE", 20, talk.describes(mover))
    other.say(talk, "UPDATE", 20, talk.describes(other))
    at_other, at_mover = other.hear(talk.call), mover.hear(talk.call)
    mover.answer(talk, at_mover, 491)
    talk.media[other] = before
    talk.to[other] = places(at_other)
    talk.to[mover] = places(other.answer(talk, at_other, 200, talk.describes(other)))
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_hold_by_address_and_back_from_another_port(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    talk.media_at[mover] = place.hold
    talk.change(mover, more="a=inactive\r\n", answer_more="a=inactive\r\n")
    del talk.media_at[mover]
    talk.take_new_ports(mover)
    talk.change(mover)
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_hold_by_both_and_back_one_after_the_other(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    other = talk.other(mover)
    talk.media_at[mover] = place.hold
    talk.change(mover, more="a=inactive\r\n", answer_more="a=inactive\r\n")
    talk.media_at[other] = place.hold
    talk.change(other, more="a=inactive\r\n", answer_more="a=inactive\r\n")
    talk.take_new_ports(mover, other)
    del talk.media_at[mover]
    talk.change(mover, answer_more="a=inactive\r\n")
    del talk.media_at[other]
    talk.change(other)
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_late_offer(place: Site) -> None:
    caller, callee = place.parties
    talk = Talk(caller, callee)
    for phone in (caller, callee):
        talk.media[phone] = [phone.media()]
    invite = caller.ask(talk, "INVITE", 1)
    talk.to[caller] = places(callee.answer(talk, invite, 200, talk.describes(callee)))
    talk.is_begun = True
    talk.to[callee] = places(caller.ask(talk, "ACK", 1, talk.describes(caller)))
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_late_offer_within(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    other = talk.other(mover)
    for number in (20, 21):
        before = talk.take_new_ports(mover, other)
        invite = mover.ask(talk, "INVITE", number)
        talk.to[mover] = places(other.answer(talk, invite, 200, talk.describes(other)))
        talk.to[other] = places(mover.ask(talk, "ACK", number, talk.describes(mover)))
        talk.say_from(before, FEW)
        both_are_heard(talk, MANY)
    talk.hang_up()


def test_reliable_provisional_and_update_before_200(place: Site) -> None:
    caller, callee = place.parties
    talk = Talk(caller, callee)
    talk.begin(early=True)
    both_are_heard(talk)
    prack = caller.ask(talk, "PRACK", 2)
    callee.answer(talk, prack, 200)
    for by in (caller, callee):
        before = talk.take_new_ports(caller, callee)
        talk.change(by, "UPDATE")
        talk.say_from(before, FEW)
        both_are_heard(talk, MANY)
    callee.answer(talk, talk.invite, 200)
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_forks_of_several_forms(place: Site) -> None:
    """183 of three branches, two of them at the same port, one 180 without, then a 200 of the second."""
    caller, callee = place.parties
    talk = Talk(caller, callee)
    talk.media[caller] = [caller.media()]
    first, second = callee.media(), callee.media()
    invite = caller.ask(talk, "INVITE", 1, talk.describes(caller))
    talk.to[callee] = places(invite)
    told = {}
    for tag, sock, status in (("b1", first, 183), ("b2", second, 183), ("b3", first, 180), ("b4", None, 180)):
        talk.tags[callee] = tag
        talk.media[callee] = [sock] if sock else []
        body = talk.describes(callee) if sock else ""
        data = callee.answer(talk, invite, status, body)
        if sock:
            told[tag] = places(data)
            talk.to[caller] = told[tag]
            assert talk.is_heard(caller, FEW) == FEW
            assert talk.is_heard(callee, FEW) == FEW
    for tag in ("b1", "b2", "b3"):
        talk.to[caller] = told[tag]
        talk.media[callee] = [second if tag == "b2" else first]
        assert talk.is_heard(caller, FEW) == FEW
    talk.tags[callee], talk.media[callee] = "b2", [second]
    talk.to[caller] = places(callee.answer(talk, invite, 200, talk.describes(callee)))
    talk.is_begun = True
    both_are_heard(talk, MANY)
    talk.take_new_ports(callee)
    talk.change(callee)
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_fork_wins_that_shares_its_port_with_one_that_lost(place: Site) -> None:
    caller, callee = place.parties
    talk = Talk(caller, callee)
    talk.media[caller], talk.media[callee] = [caller.media()], [callee.media()]
    invite = caller.ask(talk, "INVITE", 1, talk.describes(caller))
    talk.to[callee] = places(invite)
    for tag in ("b1", "b2"):
        talk.tags[callee] = tag
        talk.to[caller] = places(callee.answer(talk, invite, 183, talk.describes(callee)))
        for phone in (caller, callee):
            assert talk.is_heard(phone, FEW) == FEW
    talk.tags[callee] = "b1"
    talk.to[caller] = places(callee.answer(talk, invite, 200, talk.describes(callee)))
    talk.is_begun = True
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_fax_and_back_with_new_ports(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    for _ in range(2):
        for kind in ("image", "audio"):
            before = talk.take_new_ports(talk.caller, talk.callee)
            talk.change(mover, kinds=(kind,))
            talk.say_from(before, FEW)
            for phone in before:
                voice = Fax() if kind == "image" else Voice()
                assert talk.is_heard(phone, MANY, voice=voice) == MANY
    talk.hang_up()


def test_fax_as_second_line_and_audio_back(place: Site, mover: Phone) -> None:
    talk = place.talk()
    both_are_heard(talk)
    speech = {phone: list(talk.media[phone]) for phone in (talk.caller, talk.callee)}
    other = talk.other(mover)

    def body(phone: Phone, *lines: str) -> str:
        return described(phone.at, *lines)

    fax = {phone: phone.media() for phone in speech}
    offer = mover.ask(talk, "INVITE", 20, body(mover, audio(0), f"image {fax[mover].port} udptl t38"))
    at = places(offer)[1]
    answer = places(other.answer(talk, offer, 200, body(other, audio(0), f"image {fax[other].port} udptl t38")))[1]
    for phone, there in ((other, at), (mover, answer)):
        voice = Fax()
        fax[phone].say(voice, there, MANY)
        assert fax[talk.other(phone)].hears(voice, MANY) == MANY
    offer = mover.ask(talk, "INVITE", 21, body(mover, audio(speech[mover][0].port), "image 0 udptl t38"))
    talk.to[other] = places(offer)
    answer2 = other.answer(talk, offer, 200, body(other, audio(speech[other][0].port), "image 0 udptl t38"))
    talk.to[mover] = places(answer2)
    both_are_heard(talk, MANY)
    talk.hang_up()


def test_video_and_text_beside_audio_that_move_alone(place: Site, mover: Phone) -> None:
    kinds = ("audio", "video", "text")
    talk = place.talk(kinds=kinds)
    for moved in (0, 1, 2, 1):
        before = talk.media[mover][moved]
        talk.media[mover][moved] = mover.media()
        talk.change(mover, kinds=kinds)
        talk.say(mover, FEW, before, line=moved)
        for line in range(3):
            voices = {phone: Voice() for phone in (talk.caller, talk.callee)}
            for phone in (mover, talk.other(mover)):
                assert talk.is_heard(phone, MANY, voice=voices[phone], line=line) == MANY, (moved, line)
    talk.hang_up()


def test_video_is_added_dropped_and_added_again(place: Site, mover: Phone) -> None:
    talk = place.talk()
    other = talk.other(mover)

    def lines(phone: Phone, video: int) -> str:
        return described(phone.at, audio(talk.media[phone][0].port), f"video {video} RTP/AVP 99")

    for number in (30, 32, 34):
        video = {phone: phone.media() for phone in (mover, other)}
        offer = mover.ask(talk, "INVITE", number, lines(mover, video[mover].port))
        answer = other.answer(talk, offer, 200, lines(other, video[other].port))
        talk.to = {other: places(offer), mover: places(answer)}
        for phone in (mover, other):
            voice = Voice()
            video[phone].say(voice, talk.to[phone][1], FEW)
            assert video[talk.other(phone)].hears(voice, FEW) == FEW
        offer = mover.ask(talk, "INVITE", number + 1, lines(mover, 0))
        other.answer(talk, offer, 200, lines(other, 0))
        both_are_heard(talk)
    talk.hang_up()


def rtcp_at(data: bytes) -> tuple[str, int]:
    host, port = places(data)[0]
    found = re.search(rb"a=rtcp:(\d+)(?: IN IP[46] (\S+))?", data)
    return (host, port + 1) if found is None else ((found[2] or host.encode()).decode(), int(found[1]))


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_rtcp_apart(place: Site, is_elsewhere: bool) -> None:
    caller, callee = place.parties
    talk = Talk(caller, callee)
    far, near = place.far, place.near
    rtcp_host = place.lab.server_stranger if is_elsewhere else far.host
    rtcp = {far: place.open(rtcp_host, 9500 + is_elsewhere), near: near.media()}
    for phone in (caller, callee):
        talk.media[phone] = [phone.media()]

    def body(phone: Phone) -> str:
        host = f" {in_sdp(str(rtcp_host.address(place.version)))}" if phone is far and is_elsewhere else ""
        return talk.describes(phone, more=f"a=rtcp:{rtcp[phone].port}{host}\r\n")

    invite = caller.ask(talk, "INVITE", 1, body(caller))
    answer = callee.answer(talk, invite, 200, body(callee))
    talk.is_begun = True
    talk.to = {callee: places(invite), caller: places(answer)}
    both_are_heard(talk, MANY)
    to = {callee: rtcp_at(invite), caller: rtcp_at(answer)}
    for phone in (caller, callee):
        report = b"\x80\xc8\x00\x06" + phone.at.encode().ljust(24)
        for _ in range(3):
            rtcp[phone].socket.sendto(report, to[phone])
        for _ in range(3):
            assert rtcp[talk.other(phone)].socket.recvfrom(2000)[0] == report
    talk.hang_up()


def test_who_answers_with_another_tag_and_port_may_go_on_from_the_port_of_before(place: Site) -> None:
    """Early media of one branch, an answer of another one, and all of it sent by one socket."""
    caller, callee = place.parties
    talk = Talk(caller, callee)
    talk.begin(early=True)
    before = talk.media[callee][0]
    assert talk.is_heard(callee, FEW) == FEW
    talk.tags[callee], talk.media[callee] = "b2", [callee.media()]
    talk.to[caller] = places(callee.answer(talk, talk.invite, 200, talk.describes(callee)))
    assert talk.is_heard(callee, MANY, before) == MANY
    both_are_heard(talk, MANY)
    talk.hang_up()
