"""SDP: whatever comes is read or malformed, and whatever moves, the rest stays."""

from __future__ import annotations

import re
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Endpoint, Malformed
from protocols.sdp.description import Description, Media
from protocols.sdp.reading import read_sdp
from protocols.sdp.relocate import (
    Move,
    relocate,
)
from tests.harness.sdp_examples import (
    EXAMPLES,
    INSIDE,
    OUTSIDE,
    OUTSIDE6,
    stay,
)

# -- whatever comes ------------------------------------------------------------------------------------------------

LINES = [line for body in EXAMPLES for line in body.splitlines(keepends=True)] + [
    b"m=audio 4000 RTP/AVP 0\r\n",
    b"c=IN IP4 10.1.0.2\r\n",
    b"c=IN IP4 0.0.0.0\n",
    b"a=rtcp:4001\r\n",
    b"a=candidate:1\n",
    b"\r\n",
    b"m=audio 4000 RTP/AVP 0",
    b"a=",
]

shuffled = st.lists(st.sampled_from(LINES), max_size=25).map(lambda lines: b"v=0\r\n" + b"".join(lines))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        until = draw(st.integers(at, min(len(body), at + 20)))
        body[at:until] = draw(st.binary(max_size=6) | st.sampled_from([b"\n", b"\r", b"\r\n", b" ", b"\r\nm=", b"0"]))
    return bytes(body)


HOSTS = st.sampled_from([OUTSIDE, ip_address("203.0.113.8"), OUTSIDE6, INSIDE])
MOVES = st.builds(Move, HOSTS, st.integers(1024, 65535), st.none() | st.integers(1024, 65535))


def shape(description: Description) -> list[tuple[bytes, bytes, int, bool]]:
    return [(media.kind, media.proto, media.count, media.is_live) for media in description.media]


def untouched(body: bytes, ice: bool) -> list[bytes]:
    """The lines that a move has no business with."""
    touched = rb"[com]=|a=rtcp:" + (rb"|a=ice-|a=.*candidates?" if ice else b"")
    return [line for line in re.split(rb"[\r\n]+", body) if line and not re.match(touched, line, re.IGNORECASE)]


@given(st.binary(max_size=200) | st.binary(max_size=200).map(b"v=0\n".__add__))
def test_any_bytes_are_read_or_malformed(body: bytes) -> None:
    try:
        description = read_sdp(body)
    except Malformed:
        return
    assert relocate(description, {}, None, "pass") == body


@given(shuffled | mutated(), st.data())
def test_whatever_moves_the_rest_stays(body: bytes, data: st.DataObject) -> None:
    try:
        before = read_sdp(body)
    except Malformed:
        return
    movable = [media.slot for media in before.media if media.is_movable]
    slots = data.draw(st.lists(st.sampled_from(movable), unique=True)) if movable else []
    moves = {slot: data.draw(MOVES) for slot in slots}
    origin = data.draw(st.none() | HOSTS)
    ice = data.draw(st.booleans())
    body_after = relocate(before, moves, origin, "strip" if ice else "pass")

    after = read_sdp(body_after)
    assert shape(after) == shape(before)
    assert untouched(body_after, ice) == untouched(body, ice)
    assert (after.origin_key, after.origin_version, after.groups) == (
        before.origin_key,
        before.origin_version,
        before.groups,
    )
    for was, media in zip(before.media, after.media, strict=True):
        move = moves.get(was.slot)
        if move is None:
            assert (media.endpoint, media.rtcp_endpoint) == (was.endpoint, was.rtcp_endpoint)
        elif was.endpoint is not None:
            assert media.endpoint == Endpoint(move.host, move.port)
            if move.rtcp_port is not None and was.rtcp_endpoint is not None:
                assert media.rtcp_endpoint == Endpoint(move.host, move.rtcp_port)
        assert media.is_hold == was.is_hold
    assert relocate(after, moves, origin, "strip" if ice else "pass") == body_after


@given(shuffled | mutated())
def test_going_where_it_is_changes_nothing_whatever_it_is(body: bytes) -> None:
    try:
        description = read_sdp(body)
    except Malformed:
        return
    moves = stay(description)
    if any(_has_rtcp_elsewhere(media) or media.others or media.surplus for media in description.media):
        return
    if description.others or re.search(rb"(?i)\na=altc:", body):
        return
    assert relocate(description, moves, None, "pass") == body


def _has_rtcp_elsewhere(media: Media) -> bool:
    """RTCP at another host, which a Move brings to the host of RTP."""
    return media.rtcp is not None and media.rtcp.connection is not None
