"""Where SDP stands in SIP bodies. Rules S83, S85, S86, S87, S88."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.sip.body import MAX_DEPTH, MAX_PARTS, Found, Sdp, find_sdp, rebuild
from protocols.toolbox.spans import Span
from tests.harness.sdp_examples import CALL, FAX

TORTURE = Path(__file__).parents[2] / "captures" / "sip-torture"

LONGER = CALL.replace(b"10.1.0.2", b"203.0.113.107")
ISUP = b"\x01\x00\x49\x00\r\n\x00--\r\n-\xff"


def multipart(*parts: bytes, boundary: bytes = b"unique-1", end: bytes = b"\r\n") -> bytes:
    return b"".join(b"--" + boundary + end + part + end for part in parts) + b"--" + boundary + b"--" + end


def part(content: bytes, *fields: bytes) -> bytes:
    return b"".join(field + b"\r\n" for field in fields) + b"\r\n" + content


SDP_PART = part(CALL, b"Content-Type: application/sdp")
ISUP_PART = part(
    ISUP, b"Content-Type: application/ISUP; version=nxv3", b"Content-Disposition: signal; handling=optional"
)
MIXED = b"multipart/mixed; boundary=unique-1"


def found(body: bytes, content_type: bytes = MIXED) -> list[bytes]:
    """What is found there, and nothing else being the matter."""
    answer = find_sdp(content_type, None, None, body)
    assert answer.unfollowed is None
    return [body[slice(*sdp.span)] for sdp in answer.sdp]


def why(body: bytes, content_type: bytes | None = MIXED) -> str | None:
    """Why nothing was found."""
    answer = find_sdp(content_type, None, None, body)
    assert answer.sdp == ()
    return answer.unfollowed


# -- one body ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/sdp",
        b"APPLICATION/SDP",
        b"application/sdp;charset=utf-8",
        b' application / sdp ; a="x;y" ; b ',
        b"application/sdp\r\n ;x=1",
        b"\tapplication/sdp;",
    ],
)
def test_application_sdp_in_any_spelling_is_sdp(content_type: bytes) -> None:
    assert find_sdp(content_type, None, None, CALL) == Found((Sdp(Span(0, len(CALL)), False, ()),), None)


@pytest.mark.parametrize(
    "content_type",
    [b"text/plain", b"application/sdpx", b"message/sipfrag", b"application/dialog-info+xml", b"application/isup"],
)
def test_what_is_not_called_sdp_is_none(content_type: bytes) -> None:
    assert why(CALL, content_type) is None


def test_without_a_content_type_nothing_is_guessed() -> None:
    assert why(CALL, None) == "no_content_type"


def test_an_empty_body_is_nothing() -> None:
    assert why(b"", None) is None
    assert why(b"", b"application/sdp") is None


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"application",
        b"application/",
        b"/sdp",
        b"application/sdp, text/plain",
        b"application/sdp text",
        b'application/sdp; a="x',
        b"application/sdp;" + b"a" * 512,
        b"multipart/mixed; boundary=a; Boundary=b",
    ],
)
def test_a_type_that_cannot_be_read_is_not_followed(content_type: bytes) -> None:
    assert why(CALL, content_type) == "bad_content_type"


@pytest.mark.parametrize("encoding", [b"gzip", b" deflate", b"gzip;q=1", b"x-unknown"])
def test_an_encoded_body_is_left_alone(encoding: bytes) -> None:
    assert find_sdp(b"application/sdp", encoding, None, CALL) == Found((), "encoded")
    assert find_sdp(MIXED, encoding, None, multipart(SDP_PART)) == Found((), "encoded")
    assert find_sdp(b"text/plain", encoding, None, CALL) == Found((), None)


def test_identity_is_no_encoding() -> None:
    assert len(find_sdp(b"application/sdp", b"Identity", None, CALL).sdp) == 1


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        (b"application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "encrypted"),
        (b"application/x-pkcs7-mime", "encrypted"),
        (b"multipart/encrypted; boundary=unique-1", "encrypted"),
        (b"multipart/signed; boundary=unique-1", "signed"),
    ],
)
def test_what_is_encrypted_or_signed_is_left_alone(content_type: bytes, reason: str) -> None:
    assert why(multipart(SDP_PART), content_type) == reason


@pytest.mark.parametrize(
    "disposition", [b"session", b" Session ; handling=required", b"session;handling=optional", b""]
)
def test_session_is_what_sdp_is_for(disposition: bytes) -> None:
    (sdp,) = find_sdp(b"application/sdp", None, disposition, CALL).sdp
    assert not sdp.is_early


def test_early_session_is_a_description_of_its_own() -> None:
    (sdp,) = find_sdp(b"application/sdp", None, b"early-session; handling=optional", CALL).sdp
    assert sdp.is_early


@pytest.mark.parametrize("disposition", [b"render", b"icon", b"preview;handling=optional"])
def test_sdp_to_look_at_announces_nothing(disposition: bytes) -> None:
    assert find_sdp(b"application/sdp", None, disposition, CALL) == Found((), None)


# -- multipart -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"mixed", b"Alternative", b"RELATED"])
def test_sdp_is_found_among_other_parts(kind: bytes) -> None:
    assert found(multipart(ISUP_PART, SDP_PART, ISUP_PART), b"multipart/" + kind + b";boundary=unique-1") == [CALL]


@pytest.mark.parametrize(
    ("parameter", "boundary"),
    [
        (b"boundary=unique-1", b"unique-1"),
        (b'BOUNDARY = "unique-1"', b"unique-1"),
        (b"boundary=----=_Part_1.2'()+:?/", b"----=_Part_1.2'()+:?/"),
        (b'boundary="a b\\"c\\\\"', b'a b"c\\'),
        (b'x="; boundary=no"; boundary=yes', b"yes"),
        (b"type=application/sdp;\r\n\tboundary=unique-1;start=x", b"unique-1"),
    ],
)
def test_boundaries_are_read_quoted_or_not(parameter: bytes, boundary: bytes) -> None:
    assert found(multipart(ISUP_PART, SDP_PART, boundary=boundary), b"multipart/mixed; " + parameter) == [CALL]


def test_preamble_and_epilogue_are_no_parts() -> None:
    body = (
        b"Content-Type: application/sdp\r\n\r\nv=0\r\n"
        + multipart(SDP_PART)
        + SDP_PART
        + b"\r\n--unique-1\r\n"
        + SDP_PART
    )
    assert found(body) == [CALL]
    assert found(b"\r\n" + multipart(SDP_PART)) == [CALL]


def test_a_boundary_is_a_whole_line() -> None:
    trap = CALL + b"a=--unique-1\r\n--unique-10\r\n --unique-1\r\n--unique-1x--\r\n"
    assert found(multipart(part(trap, b"Content-Type: application/sdp"))) == [trap]


def test_a_boundary_may_have_blanks_behind_it() -> None:
    assert found(multipart(SDP_PART).replace(b"unique-1\r\n", b"unique-1 \t\r\n")) == [CALL]


def test_the_line_end_before_a_boundary_is_part_of_it() -> None:
    assert found(multipart(part(CALL.rstrip(), b"Content-Type: application/sdp"))) == [CALL.rstrip()]


def test_bare_line_feeds_are_understood() -> None:
    body = multipart(SDP_PART, ISUP_PART, end=b"\n").replace(b"\r\n", b"\n")
    assert found(body) == [CALL.replace(b"\r\n", b"\n")]


def test_a_last_boundary_that_is_missing_is_made_up_for() -> None:
    assert found(b"--unique-1\r\n" + SDP_PART) == [CALL]


def test_nested_multiparts_are_searched() -> None:
    inner = part(
        multipart(ISUP_PART, SDP_PART, boundary=b"unique-1-in"),
        b"Content-Type: multipart/alternative;",
        b" boundary=unique-1-in",
    )
    assert found(multipart(ISUP_PART, inner, SDP_PART)) == [CALL, CALL]


def test_nesting_has_a_limit() -> None:
    def nested(depth: int) -> tuple[bytes, bytes]:
        content_type, body = b"application/sdp", CALL
        for level in range(depth):
            body = multipart(part(body, b"Content-Type: " + content_type), boundary=b"level-%d" % level)
            content_type = b"multipart/mixed; boundary=level-%d" % level
        return content_type, body

    content_type, body = nested(MAX_DEPTH)
    assert found(body, content_type) == [CALL]
    content_type, body = nested(MAX_DEPTH + 1)
    assert why(body, content_type) == "too_deep"


def test_parts_have_a_limit() -> None:
    assert len(found(multipart(*[SDP_PART] * MAX_PARTS))) == MAX_PARTS
    assert why(multipart(*[SDP_PART] * (MAX_PARTS + 1))) == "too_many_parts"


@pytest.mark.parametrize(
    "content_type", [b"multipart/mixed", b'multipart/mixed; boundary=""', b"multipart/mixed; boundary"]
)
def test_multipart_without_a_boundary_is_bad(content_type: bytes) -> None:
    assert why(multipart(SDP_PART), content_type) == "bad_multipart"


def test_multipart_without_parts_is_bad() -> None:
    assert why(multipart(SDP_PART), b"multipart/mixed; boundary=other") == "bad_multipart"
    assert why(b"--unique-1--\r\n") == "bad_multipart"


@pytest.mark.parametrize(
    "empty", [b"", b"\r\n", b"Content-Type: application/sdp", b"\r\nContent-Type: application/sdp\r\n"]
)
def test_a_part_with_nothing_in_it_or_without_a_type_is_no_sdp(empty: bytes) -> None:
    assert why(multipart(empty)) is None


@pytest.mark.parametrize(
    "fields",
    [
        [b"content-type : application/sdp"],
        [b"c:application/sdp"],
        [b"Content-Type:", b"\tapplication/sdp;", b" x=y"],
        [b"X-First: y", b"no field at all", b"X-First: y", b"Content-Type: application/sdp"],
        [b"X: Content-Type: text/plain", b"Content-Type: application/sdp", b"Content-ID: <a@b>"],
        [b"Content-Type: application/sdp", b"Content-Transfer-Encoding: Binary", b"Content-Encoding: identity"],
        [b"Content-Type: application/sdp", b"Content-Disposition: Session;handling=required"],
    ],
)
def test_the_fields_of_a_part_are_read(fields: list[bytes]) -> None:
    assert found(multipart(part(CALL, *fields))) == [CALL]


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (b"Content-Transfer-Encoding: base64", "encoded"),
        (b"Content-Transfer-Encoding: quoted-printable", "encoded"),
        (b"Content-Encoding: gzip", "encoded"),
        (b"e: gzip", "encoded"),
        (b"Content-Type: text/plain", "bad_multipart"),
        (b"c: text/plain", "bad_multipart"),
        (b"Content-Length: ten", "bad_multipart"),
        (b"Content-Length: -1", "bad_multipart"),
        (b"Content-Length: 12345678", "bad_multipart"),
        (b"Content-Length: 1 2", "bad_multipart"),
        (b"Content-Disposition: render", None),
    ],
)
def test_a_part_that_cannot_be_followed_is_left_alone(field: bytes, reason: str | None) -> None:
    body = multipart(part(CALL, b"Content-Type: application/sdp", field))
    assert why(body) == reason
    answer = find_sdp(MIXED, None, None, multipart(part(CALL, b"Content-Type: application/sdp", field), SDP_PART))
    assert len(answer.sdp) == 1 and answer.unfollowed == reason


def test_the_first_reason_is_told() -> None:
    encrypted, encoded = (
        part(b"", b"Content-Type: application/pkcs7-mime"),
        part(CALL, b"Content-Type: application/sdp", b"e: gzip"),
    )
    assert why(multipart(encrypted, encoded)) == "encrypted"


def test_early_and_ordinary_session_stand_side_by_side() -> None:
    early = part(FAX, b"Content-Type: application/sdp", b"Content-Disposition: early-session")
    body = multipart(SDP_PART, early)
    assert found(body) == [CALL, FAX]
    assert [sdp.is_early for sdp in find_sdp(MIXED, None, None, body).sdp] == [False, True]


# -- other SDP in its place ----------------------------------------------------------------------------------------


def rebuilt(body: bytes, *new: bytes, content_type: bytes = MIXED) -> bytes:
    return rebuild(body, list(zip(find_sdp(content_type, None, None, body).sdp, new, strict=True)))


def test_a_body_that_is_sdp_is_replaced_whole() -> None:
    assert rebuilt(CALL, LONGER, content_type=b"application/sdp") == LONGER


def test_only_the_sdp_of_a_multipart_changes() -> None:
    body = b"preamble\r\n" + multipart(ISUP_PART, SDP_PART, ISUP_PART) + b"epilogue"
    assert rebuilt(body, LONGER) == body.replace(CALL, LONGER)


def test_nothing_to_change_is_the_same_body() -> None:
    body = multipart(ISUP_PART, SDP_PART)
    assert rebuild(body, []) == rebuilt(body, CALL) == body


def sized(content: bytes, *fields: bytes) -> bytes:
    return part(content, *fields, b"Content-Length:  %d " % len(content))


def test_the_length_of_the_part_is_corrected() -> None:
    def body(sdp: bytes) -> bytes:
        return multipart(sized(ISUP, b"Content-Type: application/isup"), sized(sdp, b"Content-Type: application/sdp"))

    assert rebuilt(body(CALL), LONGER) == body(LONGER)
    assert rebuilt(body(LONGER), CALL) == body(CALL)
    assert rebuilt(body(CALL), b"") == body(b"")


def test_lengths_around_lengths_are_corrected_from_the_inside_out() -> None:
    def body(first: bytes, second: bytes) -> bytes:
        inner = multipart(
            sized(first, b"Content-Type: application/sdp"),
            sized(second, b"Content-Type: application/sdp", b"Content-Disposition: early-session"),
            boundary=b"in",
        )
        return multipart(
            sized(inner, b"Content-Type: multipart/mixed; boundary=in"), sized(first, b"c: application/sdp")
        )

    short, long = b"v=0\r\n", b"v=0\r\ns=" + b"x" * 1000 + b"\r\n"
    assert rebuilt(body(short, short), long, short, long) == body(long, short)
    assert rebuilt(body(short, short), long, long, long) == body(long, long)
    assert rebuilt(body(long, long), short, long, short) == body(short, long)


def test_a_length_that_was_wrong_is_not_made_negative() -> None:
    body = multipart(part(CALL, b"Content-Type: application/sdp", b"Content-Length: 3"))
    assert b"Content-Length: 0\r\n" in rebuilt(body, b"v=0")


# -- whatever comes ------------------------------------------------------------------------------------------------

PIECES = [
    b"--unique-1",
    b"--in",
    b"--",
    b"\r\n",
    b"\n",
    b" ",
    b"Content-Type: application/sdp\r\n",
    b"Content-Type: multipart/mixed;boundary=in\r\n",
    b"Content-Length: 10\r\n",
    b"Content-Disposition: early-session\r\n",
    b"v=0\r\n",
    b"\0",
    b":",
    SDP_PART,
    ISUP_PART,
]
bodies = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=20).map(b"".join)


@given(
    bodies, st.sampled_from([MIXED, b"application/sdp"]) | st.binary(max_size=20), st.none() | st.binary(max_size=10)
)
def test_any_body_is_searched_without_an_exception(body: bytes, content_type: bytes, other: bytes | None) -> None:
    answer = find_sdp(content_type, other, other, body)
    assert rebuild(body, [(sdp, body[slice(*sdp.span)]) for sdp in answer.sdp]) == body


@given(bodies, st.data())
def test_new_sdp_is_found_where_the_old_one_was(middle: bytes, data: st.DataObject) -> None:
    body = b"--unique-1\r\n" + SDP_PART + b"\r\n--unique-1\r\n" + middle
    before = find_sdp(MIXED, None, None, body)
    new = [data.draw(st.sampled_from([CALL, LONGER, FAX])) for _ in before.sdp]
    after_body = rebuild(body, list(zip(before.sdp, new, strict=True)))
    after = find_sdp(MIXED, None, None, after_body)
    assert after.unfollowed == before.unfollowed
    assert [after_body[slice(*sdp.span)] for sdp in after.sdp] == new
    for was, sdp in zip(before.sdp, after.sdp, strict=True):
        for length_was, length in zip(was.lengths, sdp.lengths, strict=True):
            said = int(after_body[slice(*length.digits)]) - int(body[slice(*length_was.digits)])
            grown = (length.content.end - length.content.start) - (length_was.content.end - length_was.content.start)
            assert said == grown or int(after_body[slice(*length.digits)]) == 0


@pytest.mark.parametrize(
    "piece",
    [
        b"--unique-1\r\n",
        b"\n--unique-1",
        b"--",
        b"\r\n",
        b"\n ",
        b"a:\r\n",
        b":",
        b"a",
        b" ",
        b"--unique-1\r\na: b\r\n ",
    ],
)
def test_bodies_made_to_be_slow_are_not(piece: bytes) -> None:
    body = b"--unique-1\r\n" + piece * (65000 // len(piece))
    began = time.process_time()
    find_sdp(MIXED, None, None, body)
    assert time.process_time() - began < 0.25


@pytest.mark.parametrize("piece", [b" ", b";", b";a", b'"', b';a="', b"\\", b';a="\\', b"\r\n ", b"=", b"; boundary=x"])
def test_types_made_to_be_slow_are_not(piece: bytes) -> None:
    content_type = (b"multipart/mixed" + piece * 500)[:511] + b"\0"
    began = time.process_time()
    find_sdp(content_type, None, None, CALL)
    assert time.process_time() - began < 0.25


def test_the_multipart_message_of_rfc_4475_is_searched_to_its_end() -> None:
    """S.3.1.1.11: text and a binary signature, no SDP."""
    head, _, body = (TORTURE / "mpart01.dat").read_bytes().partition(b"\r\n\r\n")
    assert b"multipart/mixed;boundary=7a9cbec02ceef655" in head
    assert why(body, b"multipart/mixed;boundary=7a9cbec02ceef655") is None
    with_sdp = body.replace(b"text/plain", b"application/sdp").replace(b"Hello", CALL)
    assert found(with_sdp, b"multipart/mixed;boundary=7a9cbec02ceef655") == [CALL]
