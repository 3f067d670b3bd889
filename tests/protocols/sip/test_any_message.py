"""SIP messages: whatever comes is read or refused, in linear time."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Malformed
from protocols.sip.answers import refuse
from protocols.sip.head import BadMessage
from protocols.sip.reading import read_message
from protocols.sip.stream import StreamFramer, is_keep_alive
from protocols.toolbox.spans import Span, replace
from tests.harness.sip_mended import rest_behind
from tests.harness.sip_messages import (
    BODY,
    FAULTS,
    INVITE,
    STREAM,
    STREAM_PIECES,
    put,
)

# -- whatever comes ----------------------------------------------------------------------------------------------------

_SPICE = st.sampled_from(
    [
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b" ",
            b"\t",
            b":",
            b",",
            b";",
            b"<",
            b">",
            b'"',
            b"\\",
            b"@",
            b"(",
            b"\xff",
            b"",
        ),
        *(
            b"\r\n\r\n",
            b"\r\n ",
            b"SIP/2.0",
            b"Content-Length: 5\r\n",
            b"l:0\r\n",
            b"v:",
            b"BYE sip:h SIP/2.0\r\n",
            b"*",
        ),
    ]
)


def mutated(data: st.DataObject, message: bytes) -> bytes:
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(message)))
        end = min(len(message), start + data.draw(st.integers(0, 12)))
        message = replace(message, [(Span(start, end), data.draw(_SPICE))])
    return message


def read_all(data: bytes) -> None:
    """All that there is to be read; checks that spans are where their values are."""
    try:
        message = read_message(data)
    except BadMessage as bad:
        answer = refuse(bad, bad.status, b"Bad Request")
        assert answer is None or answer.endswith(b"\r\nContent-Length: 0\r\n\r\n")
        assert 1 <= bad.line <= data.count(b"\n") + 1
        return
    assert message.body.end <= len(message.data)
    for field in message.fields:
        assert 0 < field.span.start <= field.span.end
        # Only where the datagram ends in a last field is there no line end between that and the body.
        assert field.span.end < message.body.start or message.body.start == len(message.data)
        assert field.span in message.spans(field.name)
        for read in (message.vias, lambda name=field.name: message.addresses(name)):
            with suppress(BadMessage):
                for span, value in read():
                    place = value.hostport
                    if place is not None:
                        assert place.end <= span.end - span.start
    for ask in (lambda: message.from_tag, lambda: message.to_tag, message.request_uri):
        with suppress(BadMessage):
            ask()
    answer = refuse(message, 500, b"x")
    assert answer is None or message.is_request


@given(st.data())
def test_whatever_is_cut_from_a_stream_is_one_message_of_the_length_it_says(data: st.DataObject) -> None:
    """The framer and the reader agree where a message ends: nothing is smuggled between them."""
    stream = mutated(data, STREAM)
    framer = StreamFramer()
    framer.push(stream)
    with suppress(BadMessage):
        while (piece := framer.pop()) is not None:
            if piece.strip(b"\r\n"):
                with suppress(BadMessage):
                    message = read_message(piece, is_cut=True)
                    assert message.body.end == len(message.data)
                    assert message.data == piece or rest_behind(piece, message.data) == b""
                    onward = StreamFramer()
                    onward.push(message.data)
                    assert [*iter(onward.pop, None)][-1] == message.data.lstrip(b"\r\n")


@given(st.data())
def test_mutated_messages_are_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    read_all(mutated(data, data.draw(st.sampled_from(STREAM_PIECES + list(FAULTS.values())))))


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    read_all(data)
    read_all(b"INVITE sip:h SIP/2.0\r\n" + data)
    framer = StreamFramer()
    framer.push(data)
    with suppress(Malformed):
        while framer.pop() is not None:
            pass
    assert is_keep_alive(data) in (True, False)


HOSTILE = [
    b"\r\n" * 32000,
    b"INVITE sip:h SIP/2.0\r\n" + b"X:\r\n" * 16000,
    b"INVITE sip:h SIP/2.0\r\n" + b"X:" + b"\r\n " * 20000,
    b"INVITE sip:h SIP/2.0\r\n" + b"X:" + b" " * 64000 + b"\r",
    b"INVITE sip:h SIP/2.0\r\n" + b"x" * 64000,
    b"INVITE sip:h SIP/2.0\r\n" + b"X \t" * 20000 + b"\r\n",
    b"INVITE " + b" SIP/2.0" * 8000 + b"\r\n",
    b"INVITE sip:h SIP/2.0" + b" " * 64000 + b"x\r\n",
    put(INVITE, b"CSeq", b"CSeq: " + b"\r\n " * 20000 + b"1 INVITE"),
    put(INVITE, b"CSeq", b"CSeq: 1" + b"0" * 64000),
    put(INVITE, b"Content-Length", *[b"l: 31"] * 6000),
    put(INVITE, b"Via", b"v: " + b"SIP/2.0/UDP h," * 4000),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_work_on_a_hostile_message_is_linear(data: bytes) -> None:
    # What is not linear takes minutes on 64 KiB; the timeout is there for that, not to measure anything.
    read_all(data)
    framer = StreamFramer()
    framer.push(data)
    with suppress(BadMessage):
        while framer.pop() is not None:
            pass


def test_message_is_changed_by_its_spans_and_nothing_else_in_it() -> None:
    message = read_message(INVITE)
    (via_at, via), *_ = message.vias()
    (contact_at, contact), *_ = message.addresses(b"contact")
    assert contact.hostport is not None
    assert message.content_length is not None
    changes = [
        (Span(via_at.start + via.hostport.start, via_at.start + via.hostport.end), b"203.0.113.1:40000"),
        (
            Span(contact_at.start + contact.hostport.start, contact_at.start + contact.hostport.end),
            b"203.0.113.1:40000",
        ),
        (message.content_length, b"0"),
        (message.body, b""),
    ]
    expected = INVITE.replace(b"10.1.0.2:5060", b"203.0.113.1:40000").replace(b"Length: 31", b"Length: 0")
    assert replace(INVITE, changes) == expected[: -len(BODY)]
