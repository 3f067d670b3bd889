"""SIP messages that others could read in another way than we do: what goes on, and that they gain nobody anything."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Peers, Transport
from protocols.contract.effects import Send
from protocols.contract.pinholes import MediaGrant
from protocols.sip.head import BadMessage
from protocols.sip.reading import read_message
from tests.harness.sip_flow import CLIENT, OURS, SERVER, Flow, at, established, invite, message, register, response, sdp
from tests.harness.sip_messages import BODY, INVITE, length, put, refused

# -- which reading counts ----------------------------------------------------------------------------------------------


def told(data: bytes, is_cut: bool = False) -> list[str]:
    read = read_message(data, is_cut)
    return [read.where(oddity) for oddity in read.oddities if oddity.mended_at is not None]


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (b"f: <sip:a@h>", "repeated_from"),
        (b"T: <sip:a@h>;tag=1", "repeated_to"),
        (b"T: <sip:eve@h>", "repeated_to"),
        (b"Call-Id: 1", "repeated_call_id"),
        (b"cseq: 1 INVITE", "repeated_cseq"),
        (b"c: text/plain;x=1\r\n ;y=2", "repeated_content_type"),
        (b"l: 5", "repeated_content_length"),
        (b"l: x", "repeated_content_length"),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_field_that_contradicts_an_earlier_one_does_not_go_on(field: bytes, reason: str, count: int) -> None:
    plain = put(INVITE, b"Content-Type", b"Content-Type: application/sdp")
    data = put(plain, b"Content-Length", b"Content-Length: 31", *[field] * count)
    assert read_message(data).data == plain
    first, each = data[: data.index(field)].count(b"\n") + 1, 1 + field.count(b"\n")
    found = [where.partition(",")[0] for where in told(data)]
    assert found == [f"{reason} in line {first + number * each}" for number in range(count)]


def test_what_agrees_with_the_one_that_counts_stays() -> None:
    data = put(INVITE, b"Call-ID", b"Call-ID: one", b"i: two", b"i:  one")
    assert read_message(data).data == put(INVITE, b"Call-ID", b"Call-ID: one", b"i:  one")


@pytest.mark.parametrize("lengths", [(31, b"l: 0"), (0, b"l: 031"), (9999, b"l: 31"), (b"x", b"l: 31")])
def test_of_content_lengths_the_one_counts_that_ends_with_the_datagram(lengths: tuple[int | bytes, bytes]) -> None:
    read = read_message(length(*lengths))
    assert read.data[read.body.start : read.body.end] == BODY
    assert len(read.spans(b"content-length")) == 1


def test_of_content_lengths_none_of_which_fits_the_first_counts() -> None:
    read = read_message(length(5, b"l: 7"))
    assert read.data[read.body.start : read.body.end] == BODY[:5]
    assert refused(length(99, b"l: 7")).reason == "body_too_short"


def test_of_content_types_the_one_counts_that_has_descriptions() -> None:
    read = read_message(
        put(INVITE, b"Content-Type", b"c: text/plain", b"c: multipart/mixed;boundary=b", b"c: text/html")
    )
    assert [read.data[span.start : span.end] for span in read.spans(b"content-type")] == [b"multipart/mixed;boundary=b"]


@pytest.mark.parametrize("kind", [b"application / sdp", b"Application/\r\n SDP;a=b", b"multipart /mixed;boundary=b"])
def test_content_type_has_descriptions_whatever_blanks_stand_around_its_slash(kind: bytes) -> None:
    read = read_message(put(INVITE, b"Content-Type", b"c: application/sdp-x", b"c: " + kind))
    assert [read.data[span.start : span.end] for span in read.spans(b"content-type")] == [kind]


@pytest.mark.parametrize("line", [b"X: a\rb", b"X: a\r", b"X\r: a", b"X: a\rl: 5", b"X: a\r\rContact: <sip:a@h>"])
def test_bare_cr_in_a_datagram_is_a_blank(line: bytes) -> None:
    read = read_message(put(INVITE, b"Contact", line))
    assert read.data == put(INVITE, b"Contact", line.replace(b"\r", b" "))
    assert [oddity.reason for oddity in read.oddities] == ["bare_cr"]


def test_bare_cr_in_a_body_stays() -> None:
    data = put(INVITE, b"Contact", b"X: a\rb").replace(BODY, BODY.replace(b"\r\n", b"\n\r"))
    assert read_message(data).data == data.replace(b"a\rb", b"a b")


@pytest.mark.parametrize("body", [b"v=0\ro=1", b"a\rb\r\n\r\nc", b"\ra"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_bare_cr_in_a_body_stays_behind_a_head_with_a_line_that_is_no_field(body: bytes, is_cut: bool) -> None:
    data = length(len(body)).replace(BODY, body).replace(b"\r\nCall-ID", b"\r\nno field\r\nCall-ID")
    read = read_message(data, is_cut)
    assert read.data == data
    assert [oddity.reason for oddity in read.oddities] == ["bad_header_line"]


@pytest.mark.parametrize("line", [b"X: a\rl: 5", b"X: a\rContent Length: 5", b"X: a\r", b"X: a\r\rb"])
def test_bare_cr_that_could_end_a_message_of_a_stream_elsewhere_is_refused_there(line: bytes) -> None:
    with pytest.raises(BadMessage, match="bare_cr at 8:5"):
        read_message(put(INVITE, b"Contact", line), is_cut=True)


def test_bare_cr_that_ends_nothing_is_a_blank_in_a_stream_too() -> None:
    assert told(put(INVITE, b"Contact", b"X: a\rContact: <sip:a@h>"), is_cut=True) == ["bare_cr in line 8, column 5"]


def test_without_call_id_a_call_has_the_tag_of_its_caller() -> None:
    nameless = put(INVITE, b"Call-ID", b"Call-ID: ")
    assert (read_message(nameless).call_id, read_message(nameless).data) == (b"", nameless)
    bad = refused(put(nameless, b"From", b"From: <sip:a@h>"))
    assert (bad.reason, bad.line) == ("bad_call_id", 6)


# -- what goes on ------------------------------------------------------------------------------------------------------


TWICE = [
    (b"Call-ID: one@10.1.0.2\r\n", b"Call-ID: one@10.1.0.2\r\ni: other\r\n"),
    (b"tag=a\r\n", b"tag=a\r\nFrom: <sip:eve@example.org>;tag=e\r\n"),
    (b"CSeq: 1 INVITE\r\n", b"CSeq: 1 INVITE\r\nCSeq: 7 BYE\r\n"),
]


@pytest.mark.parametrize("nat", [True, False])
@pytest.mark.parametrize(("once", "twice"), TWICE)
def test_a_call_that_says_something_twice_works(once: bytes, twice: bytes, nat: bool) -> None:
    flow, host = Flow(nat), "203.0.113.1" if nat else "10.1.0.2"
    shown = flow.passes(CLIENT, invite().replace(once, twice, 1))
    assert once in shown and shown == Flow(nat).passes(CLIENT, invite())
    answer = response(200, body=sdp("198.51.100.9", 8000), host=host)
    flow.passes(SERVER, answer.replace(once, twice, 1))
    assert "call.started" in flow.events()
    assert len(flow.places.standing) == 2


def test_a_request_is_answered_for_the_method_that_it_has() -> None:
    """Else an OPTIONS that says REGISTER in CSeq has its answer taken for the registrar's."""
    flow = Flow()
    flow.passes(CLIENT, register())
    probe = register().replace(b"REGISTER sip:", b"OPTIONS sip:")
    assert b"CSeq: 1 OPTIONS\r\n" in flow.passes(CLIENT, probe)
    answer = message(
        "SIP/2.0 200 OK", "Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKr1", "From: <sip:alice@example.org>;tag=r",
        "To: <sip:alice@example.org>;tag=s", "Call-ID: reg@10.1.0.2", "CSeq: 1 OPTIONS",
    )  # fmt: skip
    flow.passes(SERVER, answer)
    assert "registration.added" not in flow.events()
    assert not any(one.startswith("confirm") for one in flow.places.log)


def test_a_refusal_of_what_was_mended_is_no_longer_than_it_came() -> None:
    method = b"M" * 64
    short = b"%b a:a SIP/2.0\r\nv:SIP/2.0/UDP 10.1.0.2\r\nf:a:a\r\nt:a:a\r\ni:1\r\nCSeq:1 Y\r\n\r\n" % method
    for size in range(0, 200, 10):
        data = short.replace(b"a:a SIP", b"a:%b SIP" % (b"a" * size))
        (send,) = Flow(block_methods=(method.decode(),)).hear(CLIENT, data) or [Send(CLIENT, b"")]
        assert isinstance(send, Send) and send.to is CLIENT
        assert len(send.data) <= len(data)


# -- attacks -----------------------------------------------------------------------------------------------------------

MALLORY = at("198.51.100.66:5060")


def mallorys(victim: Flow) -> Flow:
    """Another host's flow to the same phone."""
    return Flow(peers=Peers(MALLORY, MALLORY, at("10.1.0.2:5060"), OURS, Transport.UDP), beside=victim)


OWN = ["From: <sip:m@h>;tag=m", "To: <sip:alice@example.org>;tag=n", "Call-ID: m"]
VICTIMS = ["From: <sip:bob@example.org>;tag=b", "To: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2"]


def mallory_says(method: str, *fields: str) -> bytes:
    body = sdp("198.51.100.66", 6666) if method in ("INVITE", "UPDATE") else ""
    return message(
        f"{method} sip:alice@203.0.113.1 SIP/2.0", "Via: SIP/2.0/UDP 198.51.100.66;branch=z9hG4bKm;rport", *fields,
        f"CSeq: 3 {method}", "Contact: <sip:m@198.51.100.66>", "Content-Type: application/sdp", body=body,
    )  # fmt: skip


METHODS = pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "CANCEL"])


@METHODS
@pytest.mark.parametrize("status", ["200 OK", "481 Gone"])
def test_who_names_another_ones_call_behind_his_own_opens_and_closes_nothing_of_it(method: str, status: str) -> None:
    victim = established(Flow())
    mallory, before = mallorys(victim), dict(victim.places.standing)
    shown = mallory.passes(CLIENT, mallory_says(method, *OWN, *VICTIMS))
    assert b"one@10.1.0.2" not in shown
    copied = "Via", "From", "To", "Call-ID", "CSeq"
    mallory.hear(
        SERVER,
        message(f"SIP/2.0 {status}", *(line for line in shown.decode().split("\r\n") if line.startswith(copied))),
    )
    victim.tick(200.0)
    assert {key: one for key, one in victim.places.standing.items() if key in before} == before
    assert "call.ended" not in victim.events() + mallory.events()


@METHODS
def test_who_names_another_ones_call_before_his_own_gains_no_more_than_by_naming_it_alone(method: str) -> None:
    shown, standing = [], []
    for fields in ((*VICTIMS, *OWN), VICTIMS):
        victim = established(Flow())
        shown.append(mallorys(victim).hear(CLIENT, mallory_says(method, *fields)))
        standing.append(victim.places.standing)
    assert (shown[0], standing[0]) == (shown[1], standing[1])


@pytest.mark.parametrize("own_first", [True, False])
def test_an_answer_that_names_two_calls_answers_one_that_its_sender_was_asked_for_or_none(own_first: bool) -> None:
    victim = Flow()
    victim.hear(CLIENT, invite())
    mallory, before = mallorys(victim), list(victim.places.standing)
    ids = ["Call-ID: m", "Call-ID: one@10.1.0.2"]
    answer = response(200, body=sdp("198.51.100.66", 6666)).replace(
        b"Call-ID: one@10.1.0.2", "\r\n".join(ids if own_first else ids[::-1]).encode()
    )
    mallory.hear(CLIENT, answer)
    assert list(victim.places.standing) == before
    assert "call.started" not in victim.events() + mallory.events()


def nameless(data: bytes) -> bytes:
    return data.replace(b"Call-ID: one@10.1.0.2", b"Call-ID: ")


def test_calls_without_call_id_of_other_hosts_share_nothing() -> None:
    victim = Flow()
    victim.hear(CLIENT, nameless(invite()))
    victim.hear(SERVER, nameless(response(200, body=sdp("198.51.100.9", 8000))))
    assert "call.started" in victim.events()
    mallory, before = mallorys(victim), dict(victim.places.standing)
    for asker, asked in (("m", "n"), ("b", "a"), ("a", "b")):
        fields = f"From: <sip:m@h>;tag={asker}", f"To: <sip:a@h>;tag={asked}", "Call-ID: "
        bye = mallory_says("BYE", *fields)
        mallory.hear(CLIENT, bye)
        mallory.hear(SERVER, bye.replace(b"BYE sip:alice@203.0.113.1 SIP/2.0", b"SIP/2.0 200 OK"))
    assert (victim.places.standing, "call.ended" in victim.events() + mallory.events()) == (before, False)


def test_who_guesses_addresses_without_call_id_spoils_no_other_ones_call() -> None:
    """What he has named would come back to him as it was: only to him."""
    victim = Flow()
    mallory = mallorys(victim)
    guess = nameless(response(200, body=sdp("10.1.0.2", 7000))).replace(b"sip:bob@198.51.100.2:5060", b"sip:a@10.1.0.2")
    mallory.hear(CLIENT, guess)
    shown = victim.passes(CLIENT, nameless(invite()))
    assert b"c=IN IP4 203.0.113.1\r\n" in shown
    assert len([one for one in victim.places.standing.values() if isinstance(one, MediaGrant)]) == 1


def test_a_registrar_is_told_of_no_other_user_than_the_one_whose_registration_is_followed() -> None:
    flow = Flow()
    to = b"To: <sip:alice@example.org>\r\n"
    shown = flow.passes(CLIENT, register().replace(to, to + b"t: <sip:bob@example.org>\r\n"))
    assert shown == Flow().passes(CLIENT, register())


def test_what_names_the_same_user_twice_in_other_words_stays() -> None:
    twice = register().replace(
        b"To: <sip:alice@example.org>", b'To: <sip:alice@example.org>\r\nt: "A" <sip:alice@example.org>'
    )
    assert b't: "A" <sip:alice@example.org>\r\n' in Flow().passes(CLIENT, twice)
