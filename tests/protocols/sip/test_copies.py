"""Copies of messages for those who collect them: of both sides, under one name, and none unless somebody asks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Copy, Send
from protocols.sip.helper import HELPER
from tests.harness.sip_flow import CLIENT, SERVER, Flow, invite, message, response, sdp


def copied(flow: Flow, side: Side, data: bytes) -> tuple[list[Copy], list[Send]]:
    effects = flow.hear(side, data)
    return [one for one in effects if isinstance(one, Copy)], [one for one in effects if isinstance(one, Send)]


def collected(**options: Any) -> Flow:
    flow = Flow(**options)
    flow.engine.copy(True)
    return flow


def test_nobody_gets_copies_who_has_not_asked() -> None:
    flow = Flow()
    assert copied(flow, CLIENT, invite())[0] == []
    flow.engine.copy(True)
    flow.engine.copy(False)
    assert copied(flow, CLIENT, invite(2))[0] == []


def test_a_message_is_copied_as_it_came_and_as_it_went_on() -> None:
    (came, went), (send,) = copied(collected(), CLIENT, invite())
    assert came == Copy(CLIENT, True, invite(), b"one@10.1.0.2")
    assert went == Copy(SERVER, False, send.data, b"one@10.1.0.2")
    assert went.data != came.data


def test_what_comes_again_is_copied_again() -> None:
    flow = collected()
    first, again = copied(flow, CLIENT, invite()), copied(flow, CLIENT, invite())
    assert first == again
    assert len(first[0]) == 2


def test_an_answer_of_ours_is_copied_to_whoever_asked() -> None:
    flow = collected(block_methods=("MESSAGE",))
    asked = invite().replace(b"INVITE", b"MESSAGE")
    (came, went), _ = copied(flow, CLIENT, asked)
    assert (came.side, came.has_come) == (CLIENT, True)
    assert (went.side, went.has_come) == (CLIENT, False)
    assert went.data.startswith(b"SIP/2.0 403 ")


def test_a_call_has_one_name_though_its_sides_know_it_by_two() -> None:
    flow = collected(topology_hiding=True)
    asked, _ = copied(flow, CLIENT, invite())
    told = re.search(rb"Call-ID: (\S+)", asked[1].data)
    assert told is not None
    assert told[1] != b"one@10.1.0.2"
    answer = response(200, body=sdp("198.51.100.9", 8000)).replace(b"one@10.1.0.2", told[1])
    answered, _ = copied(flow, SERVER, answer)
    again, _ = copied(flow, SERVER, answer)
    assert len({one.of for one in (*asked, *answered, *again)}) == 1


def test_a_session_that_is_only_watched_is_copied_as_it_passes() -> None:
    (came, went), (send,) = copied(collected(mode="observe"), CLIENT, invite())
    assert came.data == went.data == send.data == invite()
    assert (went.side, went.has_come) == (SERVER, False)


def test_what_is_no_message_is_not_copied() -> None:
    flow = collected()
    assert copied(flow, CLIENT, b"\r\n\r\n")[0] == []
    broken = message("INVITE sip:bob@198.51.100.2 SIP/2.0")
    assert copied(flow, CLIENT, broken)[0] == []
    assert copied(flow, CLIENT, broken)[0] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"Authorization: Digest response=1\r\nTo: b\r\n", b"Authorization:#\r\nTo: b\r\n"),
        (b"proxy-authorization :\r\n Digest x,\r\n\ty\r\nTo: b\r\n", b"proxy-authorization :#\r\nTo: b\r\n"),
        (b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY|2^20\r\n", b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:#\r\n"),
        (b"WWW-Authenticate: Digest nonce=1\r\n", b"WWW-Authenticate: Digest nonce=1\r\n"),
        (b"X-Authorization: y\r\n", b"X-Authorization: y\r\n"),
    ],
)
def test_answers_to_challenges_and_keys_of_media_are_secret(text: bytes, shown: bytes) -> None:
    assert HELPER.secret is not None
    assert HELPER.secret.sub(lambda found: found[1] + b"#", text) == shown
