"""SIP messages on a stream: where one ends; and datagrams that are none. Rules S2, S4, S5, S6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.sip.answers import refuse
from protocols.sip.head import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_METHOD_BYTES, BadMessage, NotSip
from protocols.sip.reading import read_message
from protocols.sip.stream import StreamFramer, is_filling, is_keep_alive
from tests.harness.sip_messages import (
    BAD_LENGTHS,
    INVITE,
    OTHER_PROTOCOLS,
    RINGING,
    STREAM,
    STREAM_PIECES,
    length,
    put,
    without,
)

# -- streams (S2, S4, S6) ----------------------------------------------------------------------------------------------


def pieces(stream: bytes, *cuts: int) -> list[bytes]:
    """What comes out of a stream that is cut there; line ends that come one after the other are one piece."""
    framer = StreamFramer()
    found: list[bytes] = []
    for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
        framer.push(stream[start:end])
        while (piece := framer.pop()) is not None:
            if found and not piece.strip(b"\r\n") and not found[-1].strip(b"\r\n"):
                piece = found.pop() + piece
            found.append(piece)
    whole = b"".join(found)
    assert stream.startswith(whole)
    assert len(framer) == len(stream) - len(whole)
    return found


def test_stream_is_cut_into_its_messages_and_the_line_ends_between_them() -> None:
    assert pieces(STREAM) == STREAM_PIECES


def test_stream_that_comes_byte_by_byte_is_cut_the_same() -> None:
    assert pieces(STREAM, *range(1, len(STREAM))) == STREAM_PIECES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_stream_is_cut_the_same_however_it_comes(cuts: list[int]) -> None:
    assert pieces(STREAM, *sorted(cuts)) == STREAM_PIECES


def test_message_waits_for_its_last_byte() -> None:
    framer = StreamFramer()
    framer.push(INVITE[:-1])
    assert (framer.pop(), framer.pop(), len(framer)) == (None, None, len(INVITE) - 1)
    framer.push(INVITE[-1:])
    assert (framer.pop(), framer.pop(), len(framer)) == (INVITE, None, 0)


def test_line_end_passes_at_once() -> None:
    framer = StreamFramer()
    framer.push(b"\r\n\r")
    assert (framer.pop(), framer.pop()) == (b"\r\n", None)
    framer.push(b"\n")
    assert (framer.pop(), framer.pop()) == (b"\r\n", None)


def test_nothing_comes_of_nothing() -> None:
    framer = StreamFramer()
    assert framer.pop() is None
    framer.push(b"")
    assert framer.pop() is None


def stream_fault(stream: bytes, *cuts: int) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        pieces(stream, *cuts)
    return caught.value


@pytest.mark.parametrize("data", OTHER_PROTOCOLS)
def test_stream_of_another_protocol_is_closed_with_its_first_line(data: bytes) -> None:
    line = data[: data.index(b"\n") + 1]
    assert isinstance(stream_fault(line), NotSip)
    assert isinstance(stream_fault(line, *range(1, len(line))), NotSip)


@pytest.mark.parametrize(
    "data",
    [b"\x16", b"\0", b"G\xff", b" ", b"\rI", b"SIP:", b"A" * (MAX_METHOD_BYTES + 1), b"GET/", b"{", b"\r\n\r\n\x16"],
)
def test_stream_that_cannot_be_sip_is_closed_before_its_first_line_ends(data: bytes) -> None:
    assert isinstance(stream_fault(data), NotSip)
    assert isinstance(stream_fault(data, *range(1, len(data))), NotSip)


@pytest.mark.parametrize(
    "data", [b"I", b"INVITE", b"INVITE sip:h", b"S", b"SIP", b"SIP/", b"sip/2.0 2", b"\r", b"A" * 64]
)
def test_stream_that_may_still_be_sip_is_waited_for(data: bytes) -> None:
    assert pieces(data) == pieces(data, *range(1, len(data))) == []


def test_line_of_sip_inside_another_protocol_is_not_looked_for() -> None:
    assert pieces(RINGING) == [RINGING]
    assert isinstance(stream_fault(b"POST / HTTP/1.1\r\n\r\n" + RINGING), NotSip)
    assert isinstance(stream_fault(RINGING + b"GET / HTTP/1.1\r\n"), NotSip)


def test_stream_without_content_length_is_refused() -> None:
    bad = stream_fault(without(INVITE, b"Content-Length"))
    assert (bad.reason, bad.status, bad.is_request) == ("content_length_missing", 400, True)
    assert read_message(refuse(bad, bad.status, b"Bad Request") or b"").call_id == b"a84b4c76e66710@10.1.0.2"


@pytest.mark.parametrize("value", BAD_LENGTHS)
def test_stream_with_a_content_length_that_is_no_short_number_is_refused(value: bytes) -> None:
    bad = stream_fault(length(value))
    assert (bad.reason, bad.line) == ("bad_content_length", 10)
    assert refuse(bad, bad.status, b"Bad Request") is not None


def test_stream_with_content_lengths_that_differ_is_refused() -> None:
    bad = stream_fault(length(31, b"l: 0"))
    assert (bad.reason, bad.line) == ("content_length_conflict", 11)


@pytest.mark.parametrize(
    ("more", "reason"), [(b"\r\n \0", "bad_content_length"), (b"\r\n 1\r", "content_length_missing")]
)
def test_content_length_is_not_cut_where_its_field_goes_on(more: bytes, reason: str) -> None:
    assert stream_fault(length(b"31" + more)).reason == reason


@pytest.mark.parametrize("between", [b"\0", b"\0\0\0\0", b"\r\n\0\r\n", b" ", b"\t\0 \n"])
@pytest.mark.parametrize("step", [1, 3, 10000])
def test_nuls_and_blanks_between_messages_of_a_stream_pass_as_they_came(between: bytes, step: int) -> None:
    """A proxy that counts the NUL of a string in sends one behind each message."""
    stream = RINGING + between + INVITE + between + RINGING
    framer, pieces = StreamFramer(), []
    for at in range(0, len(stream), step):
        framer.push(stream[at : at + step])
        while (piece := framer.pop()) is not None:
            pieces.append(piece)
    assert b"".join(pieces) == stream
    assert [piece for piece in pieces if not is_filling(piece)] == [RINGING, INVITE, RINGING]


@pytest.mark.parametrize("junk", [b"\0x", b"\1", b"x\0", b"\x0b", b"\xa0"])
def test_nothing_else_stands_between_messages_of_a_stream(junk: bytes) -> None:
    framer = StreamFramer()
    framer.push(RINGING + junk + b"\r\n" + RINGING)
    assert framer.pop() == RINGING
    with pytest.raises(NotSip):
        while framer.pop() is not None:
            pass


@pytest.mark.parametrize("junk", [b"\0", b" ", b"\0\r\n"])
def test_before_the_first_message_of_a_stream_stand_line_ends_alone(junk: bytes) -> None:
    framer = StreamFramer()
    framer.push(junk + RINGING)
    with pytest.raises(NotSip):
        framer.pop()


def test_content_length_counts_only_as_a_field_of_its_own() -> None:
    folded = put(INVITE, b"Content-Length", b"X: y\r\n Content-Length: 31", b"X-Content-Length: 31", b"Lx: 31")
    assert stream_fault(folded).reason == "content_length_missing"


def test_body_on_a_stream_is_bounded() -> None:
    framer = StreamFramer()
    framer.push(length(MAX_BODY_BYTES))
    assert framer.pop() is None
    bad = stream_fault(length(MAX_BODY_BYTES + 1))
    assert (bad.reason, bad.status, bad.line, bad.column) == ("body_too_large", 513, 10, 17)


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_header_on_a_stream_is_bounded(end: bytes) -> None:
    stream = put(RINGING, b"", b"BYE sip:h SIP/2.0")[:-4] + b"\r\nX: " + b"x" * MAX_HEAD_BYTES + end
    bad = stream_fault(stream)
    assert (bad.reason, bad.status) == ("header_too_large", 513)
    assert refuse(bad, bad.status, b"Message Too Large") is not None


def test_header_on_a_stream_of_the_greatest_size_passes_however_it_comes() -> None:
    start = put(RINGING, b"", b"BYE sip:h SIP/2.0")[:-4] + b"\r\nX: "
    greatest = start + b"x" * (MAX_HEAD_BYTES - len(start) - 4) + b"\r\n\r\n"
    assert pieces(greatest) == pieces(greatest, MAX_HEAD_BYTES - 1) == [greatest]
    assert pieces(greatest[:-4] + b"xxxx") == []
    assert stream_fault(greatest[:-4] + b"xxxxx").reason == "header_too_large"


def test_start_line_on_a_stream_is_bounded() -> None:
    line = b"INVITE sip:" + b"a" * (MAX_HEAD_BYTES - 11)
    assert pieces(line) == []
    assert isinstance(stream_fault(line + b"a"), NotSip)


# -- keep-alives (S5) --------------------------------------------------------------------------------------------------

STUN = b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"\r\n" * 8,
        b"\0",
        b"\0\0\0\0",
        b"     ",
        b"hello",
        b"jaK",
        b"SIP/2.0 ",
        STUN + bytes(8),
        b"\x01\x01\x00\x00" + bytes(16),
        b"\x00\x11\x00\x04" + bytes(20),
        b"\x00\x01\x01\x04" + bytes(16 + 260),
    ],
)
def test_keep_alive_is_known(datagram: bytes) -> None:
    assert is_keep_alive(datagram)


@pytest.mark.parametrize(
    "datagram",
    [
        INVITE,
        b"\r\n\r\n" + RINGING,
        b"SIP/2.0 2",
        b"keep-alive",
        bytes(9),
        STUN,
        STUN + bytes(7),
        STUN + bytes(12),
        b"\x00\x01\x00\x03" + bytes(19),
        b"\x00\x01\x01\x04" + bytes(16 + 4),
        b"\x02\x01\x00\x00" + bytes(16),
        b"\x80\x01\x00\x00" + bytes(16),
    ],
)
def test_other_datagrams_are_no_keep_alive(datagram: bytes) -> None:
    assert not is_keep_alive(datagram)
