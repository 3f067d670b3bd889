"""What payload types stand for, as a description says it or RFC 3551 does."""

from __future__ import annotations

import pytest

from protocols.contract.pinholes import Codec
from protocols.sdp.codecs import Named, codecs_of
from protocols.sdp.reading import read_sdp

SDP = b"""v=0
o=- 1 1 IN IP4 10.1.0.2
s=-
c=IN IP4 10.1.0.2
t=0 0
m=audio 7000 RTP/AVP 96 8 101
a=rtpmap:96 opus/48000/2
a=RTPMAP: 101  telephone-event/8000
a=fmtp:96 useinbandfec=1
m=video 7002 RTP/AVP 96
a=rtpmap:96 H264/90000
"""


def of(text: bytes, medium: int) -> Named:
    read = read_sdp(text).media[medium]
    return codecs_of(read.text, read.start)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_medium_has_codecs_of_its_own(end: bytes) -> None:
    text = SDP.replace(b"\n", end)
    audio, video = of(text, 0), of(text, 1)
    assert audio.of(96) == Codec("opus", 48000)
    assert audio.of(101) == Codec("telephone-event", 8000)
    assert video.of(96) == Codec("H264", 90000)


def test_static_types_need_no_line_and_may_have_one() -> None:
    assert of(SDP, 0).of(8) == Codec("PCMA", 8000)
    assert of(SDP, 1).of(34) == Codec("H263", 90000)
    assert of(SDP.replace(b"a=fmtp:96 useinbandfec=1", b"a=rtpmap:8 mine/16000"), 0).of(8) == Codec("mine", 16000)


def test_what_nobody_has_said_is_not_known() -> None:
    assert of(SDP, 0).of(120) is None


@pytest.mark.parametrize("value", [b"", b"96", b"96 opus", b"96 opus/0", b"x y/8"])
def test_a_line_that_is_none_is_passed_by(value: bytes) -> None:
    assert of(SDP.replace(b"96 opus/48000/2", value), 0).of(96) is None


def test_the_same_lines_are_read_once() -> None:
    assert of(SDP, 0) is of(SDP.replace(b"7000", b"7010"), 0)
