"""Messages and frames of a stream of RTSP, however it is cut."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Malformed
from protocols.rtsp.wire import (
    MAX_BODY_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    Framer,
    Head,
    NotRtsp,
    read_head,
)


def framer(*, frames: bool = False, holds: bool = False) -> Framer:
    made = Framer(lambda head: holds)
    made.frames = frames
    return made


def pieces(data: bytes, size: int, **how: bool) -> list[Head | bytes]:
    made, found = framer(**how), list[Head | bytes]()
    for at in range(0, len(data), size):
        made.push(data[at : at + size])
        while (piece := made.pop()) is not None:
            found.append(piece)
    return found


def told(found: list[Head | bytes]) -> tuple[list[bytes], bytes]:
    """The messages, and all bytes in their order."""
    heads = [piece.data for piece in found if isinstance(piece, Head)]
    return heads, b"".join(piece if isinstance(piece, bytes) else piece.data + piece.body for piece in found)


OPTIONS = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"
WITH_BODY = b"SET_PARAMETER * RTSP/1.0\r\nCSeq: 2\r\nContent-Length: 9\r\n\r\n$\0\0\x09\r\nRTS"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("holds", [False, True])
def test_messages_and_frames_are_told_apart_however_they_arrive(size: int, holds: bool) -> None:
    stream = OPTIONS + b"$\x05\0\x07" + b"OPTIONS" + WITH_BODY + b"\r\n" + b"$\0\0\0" + OPTIONS
    heads, every = told(pieces(stream, size, frames=True, holds=holds))
    assert [head.split(b" ")[0] for head in heads] == [b"OPTIONS", b"SET_PARAMETER", b"OPTIONS"]
    assert every == stream


def test_frames_are_counted_by_their_channels() -> None:
    made = framer(frames=True)
    made.push(b"$\x01\0\x03abc$\x02\0\x01x$\x01\x01\0par")
    made.pop()
    assert made.counts == {1: [2, 259], 2: [1, 1]}
    assert not made.is_between
    made.push(bytes(253))
    made.pop()
    assert made.is_between


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"PLAY rtsp://a/b RTSP/1.0\nCSeq: 7\n\n", (7, b"")),  # RT4
        (b"PLAY rtsp://a/b RTSP/1.0\r\ncseq:7\r\nSESSION : ab$-_.+ ; timeout=5\r\n\r\n", (7, b"ab$-_.+")),
        (b"PLAY rtsp://a/b RTSP/1.0\r\nCSeq:\r\n 7\r\nSession: x;timeout=60\r\n\r\n", (7, b"x")),
        (b"PLAY rtsp://a/b RTSP/1.0\r\n\r\n", (None, b"")),
    ],
)
def test_numbers_and_sessions_are_read_in_every_spelling(data: bytes, names: tuple[int | None, bytes]) -> None:
    (head,) = pieces(data, 1000)
    assert isinstance(head, Head)
    assert (head.cseq(), head.session()[0]) == names


def test_a_timeout_is_a_number() -> None:
    for value, timeout in ((b"a;timeout=30", 30), (b"a;Timeout = 30;x", 30), (b"a;timeout=x", None), (b"a", None)):
        assert read_head(b"PLAY a RTSP/1.0\r\nSession: %b\r\n\r\n" % value).session() == (b"a", timeout)


@pytest.mark.parametrize("reason", [b"", b" OK", b" 1 OK", b" Not Enough: \xff"])
def test_a_response_may_give_any_reason(reason: bytes) -> None:
    assert read_head(b"RTSP/1.0 200%b\r\n\r\n" % reason).code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/x\r\n",
        b"\x00",
        b"\x16\x03",
        b" OPTIONS * RTSP/1.0\r\n",
        b"OPTIONS * SIP/2.0\r\n",
        b"RTSP/1.0 20 OK\r\n",
        b"RTSP/1.0 099 OK\r\n",
        b"OPTIONS  RTSP/1.0\r\n",
        b"O" * (MAX_LINE_BYTES + 1),
        b"OPTIONS " + b"x" * MAX_LINE_BYTES + b" RTSP/1.0\r\n",
    ],
)
def test_what_does_not_begin_as_rtsp_is_none(data: bytes) -> None:
    with pytest.raises(NotRtsp):
        pieces(data, 100)


@pytest.mark.parametrize(
    "head",
    [
        b"CSeq: 1\r\nCSeq: 2\r\n",
        b"CSeq: 1x\r\n",
        b"CSeq: +1\r\n",
        b"CSeq: 12345678901\r\n",
        b"Session: a\r\nSession: b\r\n",
        b"Session: ;\r\n",
    ],
)
def test_what_decides_has_one_meaning(head: bytes) -> None:
    read = read_head(b"PLAY a RTSP/1.0\r\n%b\r\n" % head)
    with pytest.raises(Malformed):
        read.cseq(), read.session()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 1\r\ncontent-length : 2\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x1\r\n",
        b"Content-Length: %d\r\n" % (MAX_BODY_BYTES + 1),
        b"CSeq: 1\rContent-Length: 3\r\n",
        b"CSeq: 1\0\r\n",
        b"X: y\r\n" * (MAX_FIELDS + 1),
        b"X: %b\r\n" % bytes(MAX_HEAD_BYTES).replace(b"\0", b"y"),
    ],
)
def test_where_a_message_ends_is_beyond_doubt(head: bytes) -> None:
    with pytest.raises(Malformed):
        pieces(b"PLAY a RTSP/1.0\r\n%b\r\n" % head, 4096)


@pytest.mark.parametrize(
    "head",
    [
        *(b"X: y\r\n %b: 1\r\n" % name for name in (b"Transport", b"content-length", b"CSeq", b"SESSION")),
        b"X: y\r\n\tTransport : z\r\n",
        b"Transport\r\n : z\r\nTransport: y\r\n",
        b"Content-Length\r\n\t: 50\r\n",
        b"CSeq\x0c: 1\r\n",
        b"Session\xa0: a\r\n",
        b"\x0bTransport: z\r\n",
        b"X: y\r\n \r\nSETUP a RTSP/1.0\r\n",
        b"X: y\r\n\x0c\t\r\n",
        b"X: y\n",
        b"X: y\nTransport: z\r\n",
    ],
)
def test_what_another_reader_would_take_for_a_field_or_an_end_is_a_fault(head: bytes) -> None:
    """RT44."""
    with pytest.raises(Malformed):
        read_head(b"PLAY a RTSP/1.0\r\n%b\r\n" % head)


@pytest.mark.parametrize(
    "data",
    [
        b"PLAY a RTSP/1.0\nContent-Length: 4\r\n\n",
        b"PLAY a RTSP/1.0\r\nCSeq: 1\r\n\n",
    ],
)
def test_lines_of_a_request_end_alike(data: bytes) -> None:
    """RT44: who knows CRLF alone reads on where others see the end."""
    with pytest.raises(Malformed):
        read_head(data)


def test_cameras_may_mix_ends_of_lines_in_answers() -> None:
    assert read_head(b"RTSP/1.0 200 OK\r\nServer: x\nCSeq: 7\r\n\n").cseq() == 7


def test_names_that_only_begin_like_a_deciding_field_are_others() -> None:
    head = read_head(b"PLAY a RTSP/1.0\r\nX: y\r\n session\r\nSession-Id: a\r\nX-CSeq: 8\r\nCSeq : 7\r\n\r\n")
    assert (head.cseq(), head.session()) == (7, (b"", None))


def test_a_frame_before_any_agreement_is_a_fault() -> None:
    with pytest.raises(Malformed):
        pieces(b"$\0\0\0", 4)


def test_what_waits_is_given_back_as_it_came() -> None:
    made = framer(holds=True)
    made.push(WITH_BODY[:-2])
    assert made.pop() is None
    assert len(made) == len(WITH_BODY) - 2
    assert made.rest() == WITH_BODY[:-2]
    assert len(made) == 0
