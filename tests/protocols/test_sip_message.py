"""SIP messages: what is read, why one is refused, what answers it, and where one ends. Rules S1 to S26."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.engine import Malformed
from protocols.sip_message import (
    MAX_BODY_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_METHOD_BYTES,
    BadMessage,
    CSeq,
    Field,
    Message,
    NotSip,
    StreamFramer,
    is_keep_alive,
    read_message,
    refuse,
)
from protocols.spans import Span, replace

BODY = b"v=0\r\no=- 1 1 IN IP4 10.1.0.20\r\n"

INVITE = b"\r\n".join(
    [
        b"INVITE sip:bob@203.0.113.9:5070;transport=udp SIP/2.0",
        b"Via: SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport",
        b"Max-Forwards: 70",
        b'From: "Alice" <sip:alice@example.com>;tag=1928301774',
        b"To: Bob <sip:bob@example.com>",
        b"Call-ID: a84b4c76e66710@10.1.0.2",
        b"CSeq: 314159 INVITE",
        b"Contact: <sip:alice@10.1.0.2:5060;transport=udp>",
        b"Content-Type: application/sdp",
        b"Content-Length: %d" % len(BODY),
        b"",
        BODY,
    ]
)
"""The shape that all others here are cut from."""

RINGING = b"\r\n".join(
    [
        b"SIP/2.0 180 Ringing",
        b"Via: SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport=5060",
        b"From: <sip:alice@example.com>;tag=1928301774",
        b"To: <sip:bob@example.com>;tag=a6c85cf",
        b"Call-ID: a84b4c76e66710@10.1.0.2",
        b"CSeq: 314159 INVITE",
        b"Content-Length: 0",
        b"",
        b"",
    ]
)


def without(message: bytes, name: bytes) -> bytes:
    """The message without these fields."""
    lines = message.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(name + b":"))


def put(message: bytes, name: bytes, *fields: bytes) -> bytes:
    """The message with other lines in place of this field; empty: of the start line."""
    lines = message.split(b"\r\n")
    at = next(at for at, line in enumerate(lines) if line.startswith(name + b":" if name else b""))
    return b"\r\n".join([*lines[:at], *fields, *lines[at + 1 :]])


def refused(message: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        read_message(message)
    return caught.value


def text(message: Message, span: Span) -> bytes:
    return message.data[span.start : span.end]


def values(message: Message, name: bytes) -> list[bytes]:
    return [text(message, span) for span in message.spans(name)]


# -- requests and responses --------------------------------------------------------------------------------------------


def test_request_says_what_to_do_and_to_whom() -> None:
    message = read_message(INVITE)
    assert (message.is_request, message.method, message.status) == (True, b"INVITE", 0)
    assert text(message, message.uri) == b"sip:bob@203.0.113.9:5070;transport=udp"
    assert message.request_uri().host == ip_address("203.0.113.9")


def test_response_has_a_status_and_no_method() -> None:
    message = read_message(RINGING)
    assert (message.is_request, message.method, message.status) == (False, b"", 180)
    assert text(message, message.uri) == b""


def test_message_says_to_which_dialog_it_belongs() -> None:
    message = read_message(RINGING)
    assert message.call_id == b"a84b4c76e66710@10.1.0.2"
    assert message.cseq == CSeq(314159, b"INVITE")
    assert (message.from_tag, message.to_tag) == (b"1928301774", b"a6c85cf")


def test_request_outside_of_a_dialog_has_no_tag_in_to() -> None:
    assert read_message(INVITE).to_tag is None


def test_empty_tag_is_none() -> None:
    assert read_message(put(INVITE, b"To", b"To: <sip:bob@example.com>;tag=")).to_tag is None


def test_fields_are_told_in_their_order_by_their_long_names() -> None:
    message = read_message(put(INVITE, b"Contact", b"m: <sip:a@10.1.0.2>", b"X-Unknown : 1", b"CONTACT:*"))
    assert [field.name for field in message.fields] == [
        *(b"via", b"max-forwards", b"from", b"to", b"call-id", b"cseq", b"contact", b"x-unknown", b"contact"),
        *(b"content-type", b"content-length"),
    ]
    at = message.data.index(b"CONTACT:*") + 8
    assert message.fields[8] == Field(b"contact", Span(at, at + 1))


def test_max_forwards_is_not_missed() -> None:
    assert read_message(without(INVITE, b"Max-Forwards")).method == b"INVITE"


@pytest.mark.parametrize("method", [b"REGISTER", b"invite", b"INVITEX", b"RE%47IST%45R", b"!x-_*+`.%'~", b"A" * 64])
def test_any_token_is_a_method_and_case_counts(method: bytes) -> None:
    message = read_message(INVITE.replace(b"INVITE", method))
    assert (message.method, message.cseq.method) == (method, method)


@pytest.mark.parametrize("uri", [b"sip:h", b"tel:+1-2", b"urn:service:sos", b"sip:%00@h;a?b", b"x", b"sip:\xe9@h"])
def test_request_uri_may_be_any_word(uri: bytes) -> None:
    message = read_message(put(INVITE, b"", b"INVITE %b SIP/2.0" % uri))
    assert text(message, message.uri) == uri


@pytest.mark.parametrize("reason", [b" OK", b" ", b"", b" \xd0\x9e\xd0\x9a \x01", b" a  b "])
def test_reason_phrase_may_be_anything_and_nothing(reason: bytes) -> None:
    assert read_message(put(RINGING, b"", b"SIP/2.0 200" + reason)).status == 200


@pytest.mark.parametrize("status", [100, 199, 200, 699])
def test_status_is_from_100_to_699(status: int) -> None:
    assert read_message(put(RINGING, b"", b"SIP/2.0 %d x" % status)).status == status


@pytest.mark.parametrize("version", [b"SIP/2.0", b"sip/2.0", b"Sip/2.0"])
def test_version_is_in_any_case(version: bytes) -> None:
    assert read_message(put(INVITE, b"", b"INVITE sip:h " + version)).method == b"INVITE"
    assert read_message(put(RINGING, b"", version + b" 200 OK")).status == 200


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n\r\n", b"\n"])
def test_empty_lines_before_a_message_mean_nothing(before: bytes) -> None:
    message = read_message(before + INVITE)
    assert text(message, message.uri).startswith(b"sip:bob")
    assert text(message, message.body) == BODY


# -- header fields (S9, S12 to S15) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compact", "name"),
    [
        (b"i", b"call-id"),
        (b"m", b"contact"),
        (b"e", b"content-encoding"),
        (b"l", b"content-length"),
        (b"c", b"content-type"),
        (b"f", b"from"),
        (b"s", b"subject"),
        (b"k", b"supported"),
        (b"t", b"to"),
        (b"v", b"via"),
        (b"u", b"allow-events"),
        (b"o", b"event"),
        (b"r", b"refer-to"),
        (b"b", b"referred-by"),
        (b"x", b"session-expires"),
        (b"a", b"accept-contact"),
        (b"j", b"reject-contact"),
        (b"d", b"request-disposition"),
        (b"y", b"identity"),
    ],
)
def test_compact_name_is_the_long_one(compact: bytes, name: bytes) -> None:
    bare = b"\r\n".join(line for line in RINGING.split(b"\r\n") if not line.lower().startswith(name + b":"))
    value = {b"call-id": b"1", b"content-length": b"0"}.get(name, b"SIP/2.0/UDP h")
    for spelling in (compact, compact.upper()):
        message = read_message(put(bare, b"CSeq", b"CSeq: 1 INVITE", spelling + b": " + value))
        assert values(message, name) == [value]


@pytest.mark.parametrize("name", [b"Via", b"VIA", b"vIa", b"Via ", b"v \t ", b"V"])
def test_name_is_in_any_case_with_blanks_before_the_colon(name: bytes) -> None:
    message = read_message(put(INVITE, b"Via", name + b": SIP/2.0/UDP h"))
    assert values(message, b"via") == [b"SIP/2.0/UDP h"]


@pytest.mark.parametrize("colon", [b":", b": ", b":\t \t", b":\r\n ", b": \r\n\t \r\n "])
@pytest.mark.parametrize("end", [b"", b"  ", b"\t", b"\r\n ", b" \r\n \t"])
def test_blanks_and_folds_around_a_value_are_no_part_of_it(colon: bytes, end: bytes) -> None:
    message = read_message(put(INVITE, b"Contact", b"Contact" + colon + b"<sip:a@h>" + end))
    assert values(message, b"contact") == [b"<sip:a@h>"]
    assert message.first(b"contact") == b"<sip:a@h>"


def test_folded_value_keeps_its_folds_in_the_span_and_loses_them_when_read() -> None:
    message = read_message(put(INVITE, b"Contact", b"Contact: A\r\n\tB  \r\n  <sip:a@h>"))
    assert values(message, b"contact") == [b"A\r\n\tB  \r\n  <sip:a@h>"]
    assert message.first(b"contact") == b"A B <sip:a@h>"


def test_field_may_be_empty() -> None:
    message = read_message(put(INVITE, b"Contact", b"Subject:", b"Organization: "))
    assert (values(message, b"subject"), message.first(b"organization")) == ([b""], b"")


def test_field_that_is_not_there_is_none() -> None:
    message = read_message(INVITE)
    assert (message.spans(b"route"), message.first(b"route"), message.addresses(b"route")) == ([], None, [])


def test_values_of_several_lines_and_of_lists_come_in_their_order() -> None:
    route = [b"Route: <sip:10.0.0.1;lr>, <sip:10.0.0.2>", b"X: y", b"route:\r\n <sip:10.0.0.3>\r\n , <sip:10.0.0.4>"]
    message = read_message(put(INVITE, b"Contact", *route))
    found = message.addresses(b"route")
    assert [str(address.host) for _, address in found] == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
    assert [text(message, span) for span, _ in found][1:3] == [b"<sip:10.0.0.2>", b"<sip:10.0.0.3>"]
    assert len(message.spans(b"route")) == 2


def test_top_via_comes_first() -> None:
    message = read_message(put(INVITE, b"Via", b"v: SIP/2.0/TCP a, SIP/2.0/UDP b", b"Via: SIP/2.0/TLS c"))
    assert [via.host for _, via in message.vias()] == [b"a", b"b", b"c"]


def test_bare_lf_ends_lines_too() -> None:
    folded = put(without(INVITE, b"Content-Length"), b"Contact", b"Contact:\r\n <sip:a@h>")
    message = read_message(folded.replace(b"\r\n", b"\n"))
    assert values(message, b"contact") == [b"<sip:a@h>"]
    assert text(message, message.body) == BODY.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        (b"no colon here", "bad_header_line", 1),
        (b": no name", "bad_header_line", 1),
        (b"two words: x", "bad_header_line", 1),
        (b"na\xefve: x", "bad_header_line", 1),
        (b"X: a\rb", "bare_cr", 5),
        (b"X: a\r", "bare_cr", 5),
        (b"X: a\r\r", "bare_cr", 5),
        (b"X\r: a", "bare_cr", 2),
        (b"X: a\0b", "nul_in_header", 5),
        (b"X\0: a", "nul_in_header", 2),
    ],
)
def test_line_that_is_no_header_field_is_refused_with_its_place(line: bytes, reason: str, column: int) -> None:
    bad = refused(put(INVITE, b"Contact", line))
    assert (bad.reason, bad.line, bad.column, bad.status) == (reason, 8, column, 400)
    assert str(bad) == f"{reason} at 8:{column}"


def test_fault_in_a_folded_line_is_told_where_it_is() -> None:
    bad = refused(put(INVITE, b"Contact", b"Contact: a\r\n <sip:\r@h>"))
    assert (bad.reason, bad.line, bad.column) == ("bare_cr", 9, 7)


def test_fold_with_nothing_to_continue_is_refused() -> None:
    bad = refused(put(INVITE, b"Via", b" Via: SIP/2.0/UDP h"))
    assert (bad.reason, bad.line, bad.column) == ("bad_header_line", 2, 1)


def test_end_of_a_datagram_ends_its_header() -> None:
    message = read_message(RINGING[:-2])
    assert message.body == Span(len(RINGING) - 2, len(RINGING) - 2)


@pytest.mark.parametrize("cut", [-3, -4, -10, -18])
def test_datagram_that_ends_within_a_line_is_refused(cut: int) -> None:
    assert refused(RINGING[:cut]).reason == "unfinished_line"


@pytest.mark.parametrize("name", [b"Via", b"From", b"To", b"Call-ID", b"CSeq"])
@pytest.mark.parametrize("message", [INVITE, RINGING])
def test_message_without_a_required_field_is_refused(message: bytes, name: bytes) -> None:
    bad = refused(without(message, name))
    assert bad.reason == "missing_" + name.decode().lower().replace("-", "_")
    assert (bad.status, bad.is_request) == (400, message is INVITE)


@pytest.mark.parametrize(
    "field", [b"f: <sip:a@h>", b"T: <sip:a@h>", b"Call-Id: 1", b"cseq: 1 INVITE", b"c: text/plain"]
)
def test_field_that_says_twice_what_is_said_once_is_refused(field: bytes) -> None:
    bad = refused(put(INVITE, b"Content-Type", b"Content-Type: application/sdp", field))
    assert bad.reason.startswith("repeated_")
    assert bad.line == 10


def test_header_of_the_greatest_size_is_read_and_of_one_byte_more_refused() -> None:
    line = b"X: " + b"x" * (MAX_HEAD_BYTES - len(RINGING) - 5)
    greatest = put(RINGING, b"Call-ID", b"Call-ID: a84b4c76e66710@10.1.0.2", line)
    assert read_message(greatest).body == Span(MAX_HEAD_BYTES, MAX_HEAD_BYTES)
    bad = refused(greatest.replace(b"X: ", b"X:  "))
    assert (bad.reason, bad.status) == ("header_too_large", 513)


def test_number_of_fields_is_bounded() -> None:
    many = [b"X:"] * (MAX_FIELDS - 9)
    assert len(read_message(put(INVITE, b"Contact", b"Contact: *", *many)).fields) == MAX_FIELDS
    bad = refused(put(INVITE, b"Contact", b"Contact: *", b"X:", *many))
    assert (bad.reason, bad.status, bad.line) == ("too_many_fields", 513, MAX_FIELDS + 3)


# -- start lines (S6, S24 to S26) --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"INVITE  sip:h SIP/2.0",
        b"INVITE sip:h  SIP/2.0",
        b"INVITE sip:h SIP/2.0 ",
        b"INVITE sip:h SIP/2.0\r",
        b"INVITE\tsip:h SIP/2.0",
        b"INVITE sip:h; lr SIP/2.0",
        b"INVITE <sip:h> SIP/2.0",
        b'INVITE sip:"h" SIP/2.0',
        b"INVITE sip:\0 SIP/2.0",
        b"INVITE SIP/2.0",
    ],
)
def test_malformed_request_line_is_answered_with_400(line: bytes) -> None:
    bad = refused(put(INVITE, b"", line))
    assert (bad.reason, bad.line, bad.column, bad.status) == ("bad_request_line", 1, 1, 400)
    assert bad.is_request
    assert not isinstance(bad, NotSip)


def test_line_is_counted_behind_the_empty_ones() -> None:
    bad = refused(b"\r\n\r\n" + put(INVITE, b"", b"INVITE  sip:h SIP/2.0"))
    assert (bad.line, bad.column) == (3, 1)


@pytest.mark.parametrize("line", [b"INVITE sip:h SIP/7.0", b"INVITE  sip:h SIP/1.0 ", b"INVITE sip:h sip/2.1"])
def test_request_of_another_version_is_answered_with_505(line: bytes) -> None:
    bad = refused(put(INVITE, b"", line))
    assert (bad.reason, bad.status, bad.is_request) == ("bad_version", 505, True)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"SIP/3.0 200 OK", "bad_version"),
        (b"SIP/2.0 99 OK", "bad_status_line"),
        (b"SIP/2.0 099 OK", "bad_status_line"),
        (b"SIP/2.0 700 OK", "bad_status_line"),
        (b"SIP/2.0 2000 OK", "bad_status_line"),
        (b"SIP/2.0 4294967301 better not", "bad_status_line"),
        (b"SIP/2.0 +20 OK", "bad_status_line"),
        (b"SIP/2.0  200 OK", "bad_status_line"),
        (b"SIP/2.0 200 a\rb", "bad_status_line"),
        (b"SIP/2.0 200 a\0b", "bad_status_line"),
        (b"SIP/2.0", "bad_status_line"),
    ],
)
def test_malformed_status_line_is_refused_and_never_answered(line: bytes, reason: str) -> None:
    bad = refused(put(RINGING, b"", line))
    assert (bad.reason, bad.is_request) == (reason, False)
    assert refuse(bad, bad.status, b"x") is None


OTHER_PROTOCOLS = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /SIP/2.0 HTTP/1.1\r\n\r\nREGISTER sip:h SIP/2.0\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
    b"220 ftp\r\n",
    b"SIP/2.0/UDP h\r\n",
    b"SIPS/2.0 200 OK\r\n",
    b"INVITE sip:h SIP/2.0/UDP\r\n",
    b"INVITE sip:h SIP/20\r\n",
    b"INVITE sip:h XSIP/2.0\r\n",
    b"<INVITE> sip:h SIP/2.0\r\n",
    b"A" * (MAX_METHOD_BYTES + 1) + b" sip:h SIP/2.0\r\n",
    b"\0\0\0\0\r\n",
    b" INVITE sip:h SIP/2.0\r\n",
    b"\r \nINVITE sip:h SIP/2.0\r\n",
    b"-\r\n",
]


@pytest.mark.parametrize("data", OTHER_PROTOCOLS)
def test_what_does_not_begin_with_a_line_of_sip_is_none(data: bytes) -> None:
    bad = refused(data + INVITE)
    assert isinstance(bad, NotSip)
    assert (bad.reason, bad.is_request, bad.head, refuse(bad, 400, b"x")) == ("not_sip", False, None, None)


# -- Call-ID and CSeq (S24) --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "cseq"),
    [
        (b"0 INVITE", CSeq(0, b"INVITE")),
        (b"0009\r\n  INVITE", CSeq(9, b"INVITE")),
        (b"2147483647\t INVITE ", CSeq(2**31 - 1, b"INVITE")),
    ],
)
def test_cseq_is_a_number_below_2_31_and_the_method(value: bytes, cseq: CSeq) -> None:
    assert read_message(put(INVITE, b"CSeq", b"CSeq: " + value)).cseq == cseq


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"INVITE",
        b"1",
        b"1INVITE",
        b"-1 INVITE",
        b"+1 INVITE",
        b"1_0 INVITE",
        b"0x1 INVITE",
        b"2147483648 INVITE",
        b"00000000001 INVITE",
        b"36893488147419103232 INVITE",
        b"1 INVITE x",
        b"1 IN:VITE",
        b"\xd9\xa1 INVITE",
    ],
)
@pytest.mark.parametrize("message", [INVITE, RINGING])
def test_cseq_that_is_no_number_and_method_is_refused(message: bytes, value: bytes) -> None:
    assert refused(put(message, b"CSeq", b"CSeq: " + value)).reason == "bad_cseq"


@pytest.mark.parametrize("method", [b"invite", b"INVITEX", b"BYE"])
def test_cseq_of_another_method_is_refused_in_requests_alone(method: bytes) -> None:
    bad = refused(put(INVITE, b"CSeq", b"CSeq: 1 " + method))
    assert (bad.reason, bad.line, bad.column) == ("cseq_mismatch", 7, 9)
    assert read_message(put(RINGING, b"CSeq", b"CSeq: 1 " + method)).cseq.method == method


@pytest.mark.parametrize("value", [b"", b"  ", b"a\r\n b", b"a" * 1025])
def test_call_id_is_one_word(value: bytes) -> None:
    bad = refused(put(INVITE, b"Call-ID", b"Call-ID: " + value))
    assert (bad.reason, bad.line) == ("bad_call_id", 6)


def test_tags_have_a_bound() -> None:
    to = b"To: <sip:bob@example.org>;tag="
    assert read_message(put(RINGING, b"To", to + b"t" * 1024)).to_tag == b"t" * 1024
    with pytest.raises(BadMessage) as error:
        _ = read_message(put(RINGING, b"To", to + b"t" * 1025)).to_tag
    assert error.value.reason == "tag_too_long"


def test_call_id_is_opaque() -> None:
    call_id = b'a<,;>"\xff:@10.1.0.2'
    assert read_message(put(INVITE, b"Call-ID", b"i:%b " % call_id)).call_id == call_id


# -- body and Content-Length (S1, S3) ----------------------------------------------------------------------------------


def length(value: bytes | int, *more: bytes) -> bytes:
    line = b"Content-Length: %b" % (b"%d" % value if isinstance(value, int) else value)
    return put(INVITE, b"Content-Length", line, *more)


def test_body_is_what_content_length_counts() -> None:
    message = read_message(INVITE)
    assert text(message, message.body) == BODY
    assert message.content_length is not None
    assert text(message, message.content_length) == b"%d" % len(BODY)


def test_what_stands_behind_the_body_of_a_datagram_is_no_part_of_it() -> None:
    message = read_message(length(5))
    assert text(message, message.body) == BODY[:5]


def test_body_without_a_content_length_goes_to_the_end() -> None:
    message = read_message(without(INVITE, b"Content-Length"))
    assert (text(message, message.body), message.content_length) == (BODY, None)


@pytest.mark.parametrize("count", [len(BODY) + 1, 9999, 9999999])
def test_body_shorter_than_its_content_length_is_refused(count: int) -> None:
    bad = refused(length(count))
    assert (bad.reason, bad.line, bad.column) == ("body_too_short", 10, 17)


@pytest.mark.parametrize("value", [b" 0031", b"\r\n 31", b"31 \t"])
def test_content_length_is_its_digits_alone(value: bytes) -> None:
    message = read_message(length(value))
    assert message.content_length is not None
    assert text(message, message.content_length) == value.strip()


BAD_LENGTHS = [b"", b"-1", b"+1", b"1x", b"0x1", b"1 1", b"1,1", b"1.0", b"1_0", b"12345678", b"4294967296", b"\xb2"]


@pytest.mark.parametrize("value", BAD_LENGTHS)
def test_content_length_that_is_no_short_number_is_refused(value: bytes) -> None:
    assert refused(length(value)).reason == "bad_content_length"


def test_content_lengths_that_agree_are_one() -> None:
    message = read_message(length(31, b"l: 031"))
    assert values(message, b"content-length") == [b"31", b"031"]
    assert message.content_length == message.spans(b"content-length")[0]


def test_content_lengths_that_differ_are_refused() -> None:
    bad = refused(length(31, b"l: 0"))
    assert (bad.reason, bad.line) == ("content_length_conflict", 11)


# -- values that cannot be read ----------------------------------------------------------------------------------------


def test_value_that_is_no_address_is_told_with_its_place() -> None:
    message = read_message(put(INVITE, b"Contact", b"Contact: <sip:a@h>,\r\n  < sip:b@h>"))
    with pytest.raises(BadMessage) as caught:
        message.addresses(b"contact")
    bad = caught.value
    assert (bad.reason, bad.line, bad.column, bad.status, bad.is_request) == ("bad_address", 9, 3, 400, True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"<sip:a@h", "bad_address"), (b'"a, <sip:a@h>', "unclosed_quote"), (b"<sip:300.1.1.1>", "bad_host")],
)
def test_list_that_cannot_be_split_is_told_with_its_place(value: bytes, reason: str) -> None:
    message = read_message(put(INVITE, b"Contact", b"Contact:  " + value))
    with pytest.raises(BadMessage) as caught:
        message.addresses(b"contact")
    assert (caught.value.reason, caught.value.line, caught.value.column) == (reason, 8, 11)


def test_via_that_cannot_be_read_is_told_with_its_place() -> None:
    message = read_message(put(INVITE, b"Via", b"Via: SIP/2.0/UDP h", b"Via: SIP/2.0 h"))
    with pytest.raises(BadMessage, match="bad_via at 3:6"):
        message.vias()


def test_tag_of_what_is_no_address_is_told_with_its_place() -> None:
    message = read_message(put(INVITE, b"To", b'To: "Mr. J. User <sip:j.user@example.com>'))
    with pytest.raises(BadMessage, match="bad_address at 5:5"):
        assert message.to_tag


def test_to_that_is_empty_is_no_address() -> None:
    message = read_message(put(INVITE, b"To", b"To: ,"))
    with pytest.raises(BadMessage, match="at 5:5"):
        message.address(b"to")


def test_request_uri_that_is_none_is_told_with_its_place() -> None:
    message = read_message(put(INVITE, b"", b"INVITE sip:[::1::] SIP/2.0"))
    with pytest.raises(BadMessage, match="bad_host at 1:8"):
        message.request_uri()


# -- answers (S23) -----------------------------------------------------------------------------------------------------


def test_refused_request_gets_its_own_fields_back_and_a_tag() -> None:
    answer = refuse(read_message(INVITE), 488, b"Not Acceptable Here")
    assert answer is not None
    message = read_message(answer)
    assert message.status == 488
    assert answer.startswith(b"SIP/2.0 488 Not Acceptable Here\r\n")
    assert answer.endswith(b"Content-Length: 0\r\n\r\n")
    for name in (b"via", b"from", b"call-id", b"cseq"):
        assert message.first(name) == read_message(INVITE).first(name)
    assert (message.first(b"to") or b"").startswith(b"Bob <sip:bob@example.com>;tag=")
    assert len(message.to_tag or b"") == 16


def test_answer_to_a_request_sent_again_is_the_same_again() -> None:
    first, again = (refuse(read_message(INVITE), 503, b"x") for _ in range(2))
    assert first == again
    other = refuse(read_message(INVITE.replace(b"a84b", b"a85b")), 503, b"x")
    assert other is not None
    assert first is not None
    assert read_message(other).to_tag != read_message(first).to_tag


def test_answer_has_every_via_in_its_order_and_unfolded() -> None:
    vias = [b"Via: SIP/2.0/UDP a, SIP/2.0/UDP b;\r\n  branch=1", b"v: SIP/2.0/UDP c"]
    answer = refuse(read_message(put(INVITE, b"Via", *vias)), 400, b"x") or b""
    assert b"Via: SIP/2.0/UDP a, SIP/2.0/UDP b; branch=1\r\nVia: SIP/2.0/UDP c\r\nFrom" in answer


@pytest.mark.parametrize("to", [b"<sip:bob@h>;tag=1", b"sip:bob@h;tag", b'"Mr. J. User <sip:j.user@example.com>'])
def test_to_with_a_tag_or_that_cannot_be_read_is_given_back_as_it_came(to: bytes) -> None:
    answer = refuse(read_message(put(INVITE, b"To", b"To: " + to)), 400, b"x") or b""
    assert b"\r\nTo: " + to + b"\r\n" in answer


@pytest.mark.parametrize("message", [RINGING, INVITE.replace(b"INVITE", b"ACK")])
def test_response_and_ack_get_no_answer(message: bytes) -> None:
    assert refuse(read_message(message), 400, b"x") is None


@pytest.mark.parametrize(
    "via", [[], [b"Via:"], [b"Via: ,"], [b"Via: SIP/2.0 h", b"Via: SIP/2.0/UDP h"], [b'Via: SIP/2.0/UDP h;a="b, c']]
)
def test_request_with_no_via_to_answer_by_gets_no_answer(via: list[bytes]) -> None:
    for message in (put(INVITE, b"Via", *via), put(put(INVITE, b"Via", *via), b"CSeq", b"CSeq: x")):
        try:
            assert refuse(read_message(message), 400, b"x") is None
        except BadMessage as bad:
            assert refuse(bad, bad.status, b"x") is None


FAULTS = {
    "bad_request_line": put(INVITE, b"", b"INVITE  sip:h SIP/2.0"),
    "bad_version": put(INVITE, b"", b"INVITE sip:h SIP/3.0"),
    "bad_header_line": put(INVITE, b"Contact", b"Contact; x"),
    "bare_cr": put(INVITE, b"Contact", b"Contact: x\r"),
    "nul_in_header": put(INVITE, b"Contact", b"Contact: \0"),
    "cseq_mismatch": put(INVITE, b"Max-Forwards", b"Max-Forwards: 70").replace(b"INVITE sip", b"BYE sip"),
    "body_too_short": INVITE[:-1],
    "bad_content_length": length(b"x"),
    "unfinished_line": INVITE[: INVITE.index(b"Content-Type") + 3],
    "too_many_fields": put(INVITE, b"Contact", *[b"X:"] * MAX_FIELDS),
    "header_too_large": put(INVITE, b"Contact", b"X: " + b"x" * MAX_HEAD_BYTES),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_whatever_is_wrong_with_a_request_it_is_answered(reason: str) -> None:
    bad = refused(FAULTS[reason])
    assert (bad.reason, bad.is_request) == (reason, True)
    answer = refuse(bad, bad.status, b"Bad Request")
    assert answer is not None
    message = read_message(answer)
    assert message.status == bad.status
    assert message.first(b"via") == b"SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport"
    assert message.call_id == b"a84b4c76e66710@10.1.0.2"


def test_answer_to_a_request_with_something_missing_has_what_there_is() -> None:
    answer = refuse(refused(without(without(INVITE, b"To"), b"From")), 400, b"Bad Request")
    assert answer is not None
    assert answer.split(b"\r\n") == [
        b"SIP/2.0 400 Bad Request",
        b"Via: SIP/2.0/UDP 10.1.0.2:5060;branch=z9hG4bK776asdhds;rport",
        b"Call-ID: a84b4c76e66710@10.1.0.2",
        b"CSeq: 314159 INVITE",
        b"Content-Length: 0",
        b"",
        b"",
    ]


def test_body_gives_no_fields_to_an_answer() -> None:
    body = b"Via: SIP/2.0/UDP evil\r\n"
    bad = refused(put(INVITE, b"Contact", b"Contact; x") + body)
    assert b"evil" not in (refuse(bad, 400, b"x") or b"")


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
    assert b"".join(found) + bytes(framer) == stream
    assert len(framer) == len(bytes(framer))
    return found


STREAM_PIECES = [
    INVITE,
    b"\r\n\r\n",
    RINGING,
    RINGING.replace(b"\r\n", b"\n"),
    b"\r\n",
    length(b"\r\n 031", b"l: 31"),
    put(INVITE, b"", b"INVITE  sip:h SIP/2.0  "),
    put(RINGING, b"Content-Length", b"L:0"),
    b"\n",
    put(RINGING, b"Via", b"X: Content-Length: 5\r\n Content-Length: 6"),
]
STREAM = b"".join(STREAM_PIECES)


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


@pytest.mark.parametrize("more", [b"\r\n \0", b"\r\n 1\r"])
def test_content_length_is_not_cut_where_its_field_goes_on(more: bytes) -> None:
    assert stream_fault(length(b"31" + more)).reason == "content_length_missing"


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
                    assert read_message(piece).body.end == len(piece)


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
    assert message.body.end <= len(data)
    assert (
        all(0 < field.span.start <= field.span.end < message.body.start for field in message.fields)
        or not message.fields
    )
    for field in message.fields:
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
