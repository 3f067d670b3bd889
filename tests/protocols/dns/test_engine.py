"""Sessions of DNS (protocols/dns/engine.py): which answers belong to which question, and when a session is over."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import dns.opcode
import dns.update
import pytest

from protocols.contract.addresses import Side, Transport
from protocols.contract.effects import Abort, Close, Copy, Send, Splice
from protocols.contract.engine import Tallies
from protocols.dns import engine, exchange, questions
from protocols.dns.engine import HELPER, MAX_LINGERING_OF_CLIENT
from protocols.dns.options import DnsOptions
from protocols.dns.stream import framed
from protocols.dns.wire import answer_without_records, question_end
from protocols.observe import Engines
from tests.harness.playbook import NETWORKS, Session, on
from tests.protocols.dns.messages import CLIENT, PORT, SERVER, answer, asking, question, read

A, AAAA = question("www.example", "A", 1), question("www.example", "AAAA", 2)
A_IS, AAAA_IS = answer(A, "www.example. 60 IN A 192.0.2.1"), answer(AAAA, "www.example. 60 IN AAAA 2001:db8::1")
ANOTHER = answer(A, "www.example. 60 IN A 192.0.2.66")


def sides(session: Session) -> tuple[list[bytes], list[bytes]]:
    """What each side was sent, message by message."""
    sent = [effect for effect in session.effects if isinstance(effect, Send)]
    client, server = ([send.data for send in sent if send.to is side] for side in Side)
    return client, server


def answers(session: Session) -> dict[str, int]:
    """What was counted."""
    assert isinstance(session.engines, Tallies)
    counts = {tally.name: tally.counts for tally in session.engines.tallies()}
    return {code: count for (code,), count in counts["dns_answers"].items() if count}


# -- UDP: one question, two at once, and their end ---------------------------------------------------------------------


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_a_question_and_its_answer_pass_and_the_session_is_over_a_moment_later(network: str) -> None:
    session = asking(network)
    session.receive(CLIENT, A)
    session.receive(SERVER, A_IS)
    assert sides(session) == ([A_IS], [A])
    session.wait(0.9)
    assert not session.is_over
    session.wait(0.2)
    assert session.effects[-1] == Close("answered")
    assert answers(session) == {"NOERROR": 1}


@pytest.mark.parametrize("order", list(permutations((A_IS, AAAA_IS))))
def test_the_second_of_two_questions_of_one_port_is_answered_too_in_either_order(order: tuple[bytes, bytes]) -> None:
    """DN6: glibc asks for both addresses at once."""
    session = asking()
    session.receive(CLIENT, A)
    session.receive(CLIENT, AAAA)
    session.receive(SERVER, order[0])
    session.wait(5)
    assert not session.is_over
    session.receive(SERVER, order[1])
    assert sides(session) == ([*order], [A, AAAA])
    session.wait(1)
    assert session.effects[-1] == Close("answered")


def test_a_question_that_comes_before_the_end_keeps_the_session() -> None:
    session = asking()
    session.receive(CLIENT, A)
    session.receive(SERVER, A_IS)
    session.wait(0.9)
    session.receive(CLIENT, AAAA)
    session.wait(5)
    session.receive(SERVER, AAAA_IS)
    assert not session.is_over and sides(session)[0] == [A_IS, AAAA_IS]


def test_a_question_that_nobody_answers_is_forgotten_and_counted() -> None:
    """DN7. A flow that is silent is ended by `Helper.idle`, which is as long."""
    session = asking(unanswered_seconds=15.0)
    assert HELPER.idle(DnsOptions(unanswered_seconds=15.0)) == 15.0
    session.receive(CLIENT, A)
    session.wait(15.1)
    session.receive(CLIENT, AAAA)
    assert answers(session) == {"unanswered": 1}
    session.receive(SERVER, A_IS)
    assert session.violations() == ["dns.unasked"]
    session.close()
    assert answers(session) == {"unanswered": 2}


def test_a_question_that_is_asked_again_is_owed_two_answers() -> None:
    session = asking()
    session.receive(CLIENT, A)
    session.receive(CLIENT, A)
    for came in (A_IS, ANOTHER, A_IS):
        session.receive(SERVER, came)
    assert sides(session) == ([A_IS, ANOTHER], [A, A])
    assert session.violations() == ["dns.second_answer"]


def test_one_that_was_answered_may_be_asked_again() -> None:
    """The answer was lost between us and the client."""
    session = asking()
    for _ in range(2):
        session.receive(CLIENT, A)
        session.receive(SERVER, A_IS)
    assert sides(session) == ([A_IS, A_IS], [A, A])
    assert session.violations() == []


def test_sessions_beyond_some_of_a_client_end_with_their_answer() -> None:
    """A resolver that asks from a new port each time has hundreds of them in a second."""
    first = asking()
    sessions = [first]
    peers = on(NETWORKS["none"], HELPER, Transport.UDP, PORT)
    for _ in range(MAX_LINGERING_OF_CLIENT):
        made = first.engines(peers, HELPER.options(), first.pinholes, 0.0)
        sessions.append(Session(made, first.pinholes, first.engines, daemon=first.daemon))
    for session in sessions:
        session.receive(CLIENT, A)
        session.receive(SERVER, A_IS)
    assert [session.is_over for session in sessions] == [False] * MAX_LINGERING_OF_CLIENT + [True]
    first.wait(1.0)
    assert all(session.is_over for session in sessions)


@pytest.mark.parametrize("mode", ["active", "observe"])
def test_a_session_is_done_when_all_its_questions_are_answered(mode: str) -> None:
    """Then it may make room for another one of its client."""
    session = asking(mode=mode)
    assert not session.engine.is_done()
    for data in (A, AAAA):
        session.receive(CLIENT, data)
        assert not session.engine.is_done()
    session.receive(SERVER, A_IS)
    assert not session.engine.is_done()
    session.receive(SERVER, AAAA_IS)
    assert session.engine.is_done()
    session.receive(CLIENT, A)
    assert not session.engine.is_done()


def test_sessions_that_are_observed_end_no_later() -> None:
    """Else a client that asks from many ports would have more of them than it may."""
    first = asking(mode="observe")
    sessions = [first]
    peers = on(NETWORKS["none"], HELPER, Transport.UDP, PORT)
    for _ in range(MAX_LINGERING_OF_CLIENT + 5):
        made = first.engines(peers, DnsOptions(mode="observe"), first.pinholes, 0.0)
        sessions.append(Session(made, first.pinholes, first.engines, daemon=first.daemon))
    for session in sessions:
        session.receive(CLIENT, A)
        session.receive(SERVER, A_IS)
        session.wait(0.001)
    assert [session.is_over for session in sessions] == [False] * MAX_LINGERING_OF_CLIENT + [True] * 6
    first.wait(1.1)
    assert all(session.is_over for session in sessions)


# -- what is not asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("came", "rule"),
    [
        (answer(question("www.example", "A", 9)), "dns.unasked"),
        (answer(question("www.example", "AAAA", 1)), "dns.unasked"),
        (answer(question("www.example", "A", 1, rdclass=3)), "dns.unasked"),
        (answer(question("WWW.example", "A", 1)), "dns.unasked"),
        (answer(question("other.example", "A", 1)), "dns.unasked"),
        (A, "dns.unasked"),
        (A_IS[:4] + bytes(8), "dns.unasked"),
        (A_IS[:5] + b"\2" + A_IS[6:], "dns.malformed"),
        (A_IS[:4] + b"\1" + A_IS[5:], "dns.malformed"),
        (A_IS[:20], "dns.malformed"),
        (A_IS[:11], "dns.malformed"),
        (b"x", "dns.malformed"),
    ],
)
def test_an_answer_that_was_not_asked_for_is_dropped_and_the_true_one_still_comes(came: bytes, rule: str) -> None:
    """DN8: wrong id, type, class, case, name; no answer at all; no message."""
    session = asking()
    session.receive(CLIENT, A)
    session.receive(SERVER, came)
    assert session.sent(CLIENT) == b""
    assert session.violations() == [rule]
    session.receive(SERVER, A_IS)
    assert session.sent(CLIENT) == A_IS


def test_a_server_may_change_the_case_of_names_if_the_option_says_so() -> None:
    asked = question("WwW.eXample", "HTTPS", 7)  # whose number is that of a letter
    lower = answer(question("www.example", "HTTPS", 7))
    for match_case, expected in ((True, b""), (False, lower)):
        session = asking(match_case=match_case)
        session.receive(CLIENT, asked)
        session.receive(SERVER, lower)
        assert session.sent(CLIENT) == expected


def test_an_answer_without_a_question_passes_only_if_it_says_that_something_is_wrong() -> None:
    """DN4, DN8."""
    wrong = answer_without_records(A, 12, 1)
    session = asking()
    session.receive(CLIENT, A)
    session.receive(CLIENT, AAAA)
    session.receive(SERVER, answer_without_records(A, 12, 0))
    assert session.sent(CLIENT) == b""
    session.receive(SERVER, wrong)
    assert session.sent(CLIENT) == wrong
    assert answers(session) == {"FORMERR": 1}


def test_a_cookie_may_be_asked_for_alone() -> None:
    """RFC 7873 s.5.4."""
    asked = b"\0\1\1\0\0\0\0\0\0\0\0\1\0\0\x29\x10\0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh"
    assert HELPER.begins(asked, HELPER.options(), None)
    session = asking()
    session.receive(CLIENT, asked)
    came = bytes((0, 1, 0x81, 0x80)) + asked[4:]
    session.receive(SERVER, came)
    assert sides(session) == ([came], [asked])


def test_who_guesses_is_told_of_once() -> None:
    """DN8: more than ten wrong answers of one server in five seconds."""
    session = asking()
    session.receive(CLIENT, A)
    for number in range(30):
        session.receive(SERVER, answer(question("www.example", "A", 100 + number)))
    assert session.violations().count("dns.spoofing") == 1
    session.wait(6)
    for number in range(9):
        session.receive(SERVER, answer(question("www.example", "A", 100 + number)))
    assert session.violations().count("dns.spoofing") == 1


def test_servers_that_are_watched_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_WATCHED", 1)
    seen = exchange.Seen()
    hosts = [NETWORKS[name].server.host for name in ("none", "dnat")]
    for host in hosts:
        seen.are_many_wrong(host, 0.0)
    assert list(seen.wrong) == hosts[1:]


def test_a_second_answer_is_dropped_and_told_if_it_is_another_one() -> None:
    """DN9."""
    session = asking()
    session.receive(CLIENT, A)
    for came in (ANOTHER, ANOTHER, A_IS):
        session.receive(SERVER, came)
    assert session.sent(CLIENT) == ANOTHER
    assert [note["action"] for note in session.notes("violation")] == ["dropped"]
    session = asking(late="pass")
    session.receive(CLIENT, A)
    for came in (A_IS, ANOTHER):
        session.receive(SERVER, came)
    assert sides(session)[0] == [A_IS, ANOTHER]
    assert [note["action"] for note in session.notes("violation")] == ["passed"]
    assert answers(session) == {"NOERROR": 1}


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_the_oldest_question_is_forgotten_for_one_too_many() -> None:
    session = asking(max_questions=2)
    asked = [question("www.example", "A", number) for number in range(3)]
    for one in asked:
        session.receive(CLIENT, one)
    for one in asked:
        session.receive(SERVER, answer(one))
    assert sides(session)[0] == [answer(one) for one in asked[1:]]
    assert session.violations() == ["dns.unasked"]


def test_a_daemon_remembers_so_many_questions_and_drops_what_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MOST_OF_ALL", 2)
    first = asking()
    second = Session(
        first.engines(on(NETWORKS["none"], HELPER, Transport.UDP, 40001), HELPER.options(), first.pinholes, 0.0),
        first.pinholes,
        first.engines,
    )
    for number in range(3):
        first.receive(CLIENT, question("www.example", "A", number))
    second.receive(CLIENT, A)
    assert second.sent(SERVER) == b""
    assert second.violations() == ["dns.too_many"]
    first.close()
    second.receive(CLIENT, A)
    assert second.sent(SERVER) == A


def test_answered_questions_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MOST_ANSWERED", 1)
    session = asking()
    for asked, came in ((A, A_IS), (AAAA, AAAA_IS)):
        session.receive(CLIENT, asked)
        session.receive(SERVER, came)
    session.receive(SERVER, A_IS)
    session.receive(SERVER, AAAA_IS)
    assert session.violations() == ["dns.unasked"]


def test_what_was_answered_long_ago_is_forgotten() -> None:
    session = asking()
    session.receive(CLIENT, A)
    session.receive(CLIENT, AAAA)
    session.receive(SERVER, A_IS)
    session.wait(16)
    session.receive(CLIENT, question("other.example", "A", 3))
    session.receive(SERVER, A_IS)
    assert session.violations() == ["dns.unasked"]


# -- what is no question -----------------------------------------------------------------------------------------------

NONE = [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    A_IS,
    A[:11],
    A[:-1],
    A[:5] + b"\2" + A[6:],
    A[:4] + b"\1" + A[5:],
    A[:7] + b"\1" + A[8:],
    A[:5] + b"\0" + A[6:],
    A[:2] + b"\x29" + A[3:5] + b"\0" + A[6:12] + b"\0\0\x29",
    b"\0\1\x30\0" + bytes(8),
]


@pytest.mark.parametrize("data", NONE, ids=repr)
def test_what_is_no_question_begins_no_session(data: bytes) -> None:
    """DN5."""
    assert not HELPER.begins(data, HELPER.options(), None)
    assert HELPER.begins(data, DnsOptions(not_dns="pass"), None)


@pytest.mark.parametrize("data", [one for one in NONE[1:] if len(one) > 11 and not one[2] & 0x80], ids=repr)
def test_a_question_that_cannot_be_read_is_answered_so(data: bytes) -> None:
    session = asking()
    session.receive(CLIENT, A)
    session.receive(CLIENT, data)
    assert session.sent(SERVER) == A
    (told,) = sides(session)[0]
    assert (told[:2], told[2] & 0x80, told[3] & 15, len(told)) == (data[:2], 0x80, 1, 12)
    assert session.violations() == ["dns.malformed"]


@pytest.mark.parametrize("data", [A_IS, A[:5]], ids=repr)
def test_what_is_no_question_at_all_is_dropped(data: bytes) -> None:
    """An answer to an answer could be answered in its turn."""
    session = asking()
    session.receive(CLIENT, A)
    session.receive(CLIENT, data)
    assert sides(session) == ([], [A])


def test_what_is_no_dns_can_be_relayed_unread() -> None:
    session = asking(not_dns="pass")
    session.receive(CLIENT, NONE[1])
    assert session.effects == [Send(SERVER, NONE[1]), Splice(engine.UNREAD_SECONDS)]
    session = asking(not_dns="pass")
    session.receive(CLIENT, A)
    assert sides(session)[1] == [A]


def test_updates_and_notices_are_questions() -> None:
    """DN22."""
    update = dns.update.Update("example", id=5)
    update.add("www", 60, "A", "10.0.0.1")
    asked = update.to_wire()
    notice = dns.message.make_query("example", "SOA", id=6)
    notice.set_opcode(dns.opcode.NOTIFY)
    for one in (asked, notice.to_wire()):
        session = asking()
        assert HELPER.begins(one, HELPER.options(), None)
        session.receive(CLIENT, one)
        session.receive(SERVER, answer_without_records(one, question_end(one), 0))
        assert [len(sent) for sent in sides(session)] == [1, 1]


# -- TCP ---------------------------------------------------------------------------------------------------------------


def connected(**options: Any) -> Session:
    return asking(transport=Transport.TCP, **options)


def test_questions_in_one_segment_are_answered_in_any_order() -> None:
    """DN2."""
    session = connected()
    session.receive(CLIENT, framed(A) + framed(AAAA))
    for byte in framed(AAAA_IS) + framed(A_IS):
        session.receive(SERVER, bytes((byte,)))
    assert session.sent(SERVER) == framed(A) + framed(AAAA)
    assert session.sent(CLIENT) == framed(AAAA_IS) + framed(A_IS)
    assert not session.is_over


def test_an_answer_without_question_belongs_to_the_one_with_its_id() -> None:
    session = connected()
    session.receive(CLIENT, framed(A))
    session.receive(SERVER, framed(answer_without_records(A, 12, 0)))
    assert session.sent(CLIENT) == framed(answer_without_records(A, 12, 0))


def test_a_zone_is_transferred_in_as_many_messages_as_it_takes() -> None:
    """DN2, DN22: and its addresses stay, for they are the other server's own."""
    asked = question("example", "AXFR", 4)
    first = answer(asked, "example. 60 IN SOA a. b. 1 2 3 4 5", "www.example. 60 IN A 10.0.0.1")
    rest = first[:5] + b"\0" + first[6:12] + first[25:]
    session = connected(rebinding="refuse")
    session.receive(CLIENT, framed(asked))
    session.receive(SERVER, framed(first) + framed(rest) * 100)
    assert session.sent(CLIENT) == framed(first) + framed(rest) * 100
    session.close()
    assert answers(session) == {}


def test_either_side_may_speak_of_the_session_itself() -> None:
    """RFC 8490: DSO."""
    asked, told = b"\0\1\x30\0" + bytes(8) + b"\0\1\0\4abcd", b"\0\0\x30\0" + bytes(8)
    session = connected()
    session.receive(CLIENT, framed(asked))
    session.receive(SERVER, framed(b"\0\1\xb0\0" + bytes(8)) + framed(told))
    assert session.sent(SERVER) == framed(asked)
    assert session.sent(CLIENT) == framed(b"\0\1\xb0\0" + bytes(8)) + framed(told)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3 and so on",
        b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        framed(A_IS),
        framed(b"short"),
        b"\0\0",
    ],
    ids=repr,
)
@pytest.mark.parametrize("size", [1, 100])
def test_a_connection_that_does_not_begin_with_a_question_is_closed_or_relayed(data: bytes, size: int) -> None:
    session = connected()
    for at in range(0, len(data), size):
        session.receive(CLIENT, data[at : at + size])
    assert session.effects[-1] == Abort("not_dns")
    assert session.violations() == ["dns.not_dns"]
    assert session.sent(SERVER) == b""
    session = connected(not_dns="pass")
    session.receive(CLIENT, data)
    assert session.effects == [Send(SERVER, data), Splice(300.0)]


def test_a_server_that_speaks_first_speaks_no_dns() -> None:
    session = connected()
    session.receive(SERVER, framed(A_IS))
    assert session.effects[-1] == Abort("not_dns")
    assert session.sent(CLIENT) == b""
    session = connected(not_dns="pass")
    session.receive(SERVER, b"220 mail.example ESMTP\r\n")
    assert session.effects == [Send(CLIENT, b"220 mail.example ESMTP\r\n"), Splice(300.0)]


def test_a_message_about_the_connection_holds_no_records() -> None:
    """RFC 8490 s.5.4: its counts are 0; what has others is no question either."""
    odd = b"\0\1\x30\0\0\1" + bytes(6) + A[12:]
    session = connected()
    session.receive(CLIENT, framed(A) + framed(odd))
    session.receive(SERVER, framed(b"\0\2\xb0\0\0\0\0\1" + bytes(4)))
    assert session.sent(SERVER) == framed(A)
    assert session.violations() == ["dns.malformed", "dns.unasked"]


@pytest.mark.parametrize("side", Side)
def test_what_is_shorter_than_a_header_ends_the_connection(side: Side) -> None:
    session = connected()
    session.receive(CLIENT, framed(A))
    session.receive(side, framed(b"12345678901") + framed(A))
    assert session.effects[-1] == Abort("malformed")
    assert session.sent(SERVER) == framed(A)


def test_a_question_that_cannot_be_read_does_not_disturb_the_next() -> None:
    session = connected()
    session.receive(CLIENT, framed(A) + framed(A[:-1]) + framed(AAAA))
    assert session.sent(SERVER) == framed(A) + framed(AAAA)
    assert read(session.sent(CLIENT)[2:]).rcode() == 1


def test_nothing_is_said_behind_the_end() -> None:
    session = connected()
    session.receive(CLIENT, framed(A))
    session.eof(SERVER)
    session.receive(CLIENT, framed(A[:-1]))
    assert session.sent(CLIENT) == b""
    assert session.violations() == ["dns.malformed"]


def test_an_answer_that_nobody_asked_for_is_dropped_on_a_stream_too() -> None:
    session = connected()
    session.receive(CLIENT, framed(A))
    session.receive(SERVER, framed(AAAA_IS) + framed(A_IS) + framed(A_IS) + framed(A))
    assert session.sent(CLIENT) == framed(A_IS)
    assert session.violations() == ["dns.unasked", "dns.unasked"]


def test_a_connection_without_a_whole_message_is_closed() -> None:
    session = connected(stream_idle=60.0)
    session.receive(CLIENT, framed(A))
    session.wait(50)
    session.receive(CLIENT, framed(AAAA)[:5])  # half a message keeps nothing alive
    session.wait(9)
    assert not session.is_over
    session.wait(2)
    assert session.effects[-1] == Close("idle")


def test_what_becomes_too_long_for_a_stream_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_MESSAGE_BYTES", 20)
    session = connected(rebinding="refuse")
    session.receive(CLIENT, framed(A))
    session.receive(SERVER, framed(A_IS))
    assert session.sent(CLIENT) == b""
    assert session.violations() == ["dns.malformed"]


# -- what is told ------------------------------------------------------------------------------------------------------


def test_questions_are_logged_if_the_option_says_so() -> None:
    session = asking(log_questions=True)
    session.receive(CLIENT, A)
    session.wait(0.25)
    session.receive(CLIENT, question("nobody.example", "TYPE65280", 9))
    session.receive(SERVER, A_IS)
    strange = bytearray(answer(question("nobody.example", "TYPE65280", 9)))
    strange[3] |= 9
    session.receive(SERVER, bytes(strange))
    session.receive(CLIENT, AAAA)
    session.close()
    assert session.notes("dns.question") == [
        {"name": b"www.example.", "type": "A", "code": "NOERROR", "answers": 1, "seconds": 0.25},
        {"name": b"nobody.example.", "type": "TYPE65280", "code": "CODE9", "answers": 0, "seconds": 0.0},
        {"name": b"www.example.", "type": "AAAA", "code": "unanswered", "answers": 0, "seconds": 0.0},
    ]


def test_questions_are_counted_by_type() -> None:
    session = asking()
    for number, kind in enumerate(("A", "AAAA", "OPT", "TYPE65280")):
        session.receive(CLIENT, question("www.example", kind, number))
    assert isinstance(session.engines, Tallies)
    counts = session.engines.tallies()[0].counts
    assert {kind: count for (kind,), count in counts.items() if count} == {"A": 1, "AAAA": 1, "other": 2}
    assert isinstance(session.engines, Engines) and session.engines.counts() == {"questions": 4}


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_who_traces_a_session_gets_each_message(transport: Transport) -> None:
    session = asking(transport=transport)
    session.engine.copy(True)
    wrapped = framed if transport is Transport.TCP else bytes
    session.receive(CLIENT, wrapped(A))
    session.receive(SERVER, wrapped(A_IS))
    copies = [effect for effect in session.effects if isinstance(effect, Copy)]
    assert [(copy.side, copy.has_come) for copy in copies] == [
        (CLIENT, True), (SERVER, False), (SERVER, True), (CLIENT, False),
    ]  # fmt: skip
    assert copies[0].data == A and copies[2].data == A_IS


def test_policies_are_compiled_once_and_forgotten_after_reloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_POLICIES", 1)
    engines = engine.DnsEngines()
    peers, pinholes = on(NETWORKS["none"], HELPER, Transport.UDP, PORT), asking().pinholes
    options = DnsOptions()
    for one in (options, options, DnsOptions(late="pass")):
        engines(peers, one, pinholes, 0.0)
    assert len(engines._policies) == 1
