"""SIP messages: what is read, and why one is refused. Rules S1, S3, S6, S9, S12, S13, S14, S15, S16, S17, S18, S19,
S20, S21, S22, S23, S24, S25, S26."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from protocols.sip.answers import refuse
from protocols.sip.head import MAX_FIELDS, MAX_HEAD_BYTES, BadMessage, CSeq, Field, NotSip
from protocols.sip.message import Message
from protocols.sip.reading import read_message
from protocols.sip.values import MAX_VALUES
from protocols.toolbox.spans import Span
from tests.harness.sip_messages import (
    BAD_LENGTHS,
    BODY,
    INVITE,
    OTHER_PROTOCOLS,
    RINGING,
    length,
    put,
    refused,
    text,
    values,
    without,
)

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
    "line", [b"no colon here", b": no name", b"two words: x", b"na\xefve: x", b"X\0: a", b"a\r\n b c\r\n\td"]
)
@pytest.mark.parametrize("name", [b"Max-Forwards", b"Contact", b"Content-Length"])
def test_line_that_is_no_header_field_is_noted_and_hides_none(line: bytes, name: bytes) -> None:
    kept = next(part for part in INVITE.split(b"\r\n") if part.startswith(name + b":"))
    for lines in ((kept, line), (line, kept), (line, kept, line)):
        message = read_message(put(INVITE, name, *lines))
        assert [field.name for field in message.fields] == [field.name for field in read_message(INVITE).fields]
        assert [oddity.reason for oddity in message.oddities] == ["bad_header_line"] * lines.count(line)
        assert text(message, message.body) == BODY


@pytest.mark.parametrize(
    "line",
    [b"Content-Length\0: 5", b"Content Length: 5", b"content-length 5", b"\xa0Content-Length: 5", b"l;: 5", b"(L): 5"],
)
def test_line_that_others_could_take_for_a_content_length_is_refused_in_a_stream(line: bytes) -> None:
    data = put(INVITE, b"Contact", line)
    with pytest.raises(BadMessage, match="bad_header_line at 8:1"):
        read_message(data, is_cut=True)
    assert text(read_message(data), read_message(data).body) == BODY


def test_other_kinds_of_body_may_be_named_twice() -> None:
    message = read_message(put(INVITE, b"Content-Type", b"Content-Type: text/plain", b"c: text/html"))
    assert [oddity.reason for oddity in message.oddities] == ["repeated_content_type"]


@pytest.mark.parametrize("value", [b'"a\\\0b" <sip:a@h>', b"a\0b", b"\0", b'"\0" <sip:a@h>'])
def test_nul_in_a_value_passes(value: bytes) -> None:
    """RFC 4475 s.3.1.1.2 has one behind a backslash, which is right; of others nobody here makes use."""
    message = read_message(put(INVITE, b"Contact", b"Subject: " + value))
    assert (values(message, b"subject"), message.oddities) == ([value], [])


@pytest.mark.parametrize(
    ("field", "reason"),
    [(b"CSeq: 314159\0 INVITE", "bad_cseq"), (b"Call-ID: a\0b", "bad_call_id"), (b"l: 3\0", "bad_content_length")],
)
def test_nul_in_a_value_that_decides_is_refused(field: bytes, reason: str) -> None:
    name = {b"l": b"Content-Length"}.get(field.partition(b":")[0], field.partition(b":")[0])
    assert refused(put(INVITE, name, field)).reason == reason


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        (b"\rX: a", "bare_cr", 1),
        (b"\r", "bare_cr", 1),
        (b"X: a\rb\r\n\r", "bare_cr", 5),
    ],
)
def test_head_that_a_bare_cr_could_end_is_refused_with_its_place(line: bytes, reason: str, column: int) -> None:
    bad = refused(put(INVITE, b"Contact", line))
    assert (bad.reason, bad.line, bad.column, bad.status) == (reason, 8, column, 400)
    assert str(bad) == f"{reason} at 8:{column}"


def test_fault_in_a_folded_line_is_told_where_it_is() -> None:
    bad = refused(put(INVITE, b"Contact", b"Contact: a\r\n <sip:\r@h>\r\n\rX"))
    assert (bad.reason, bad.line, bad.column) == ("bare_cr", 9, 7)


def test_fold_with_nothing_to_continue_is_refused() -> None:
    bad = refused(put(INVITE, b"Via", b" Via: SIP/2.0/UDP h"))
    assert (bad.reason, bad.line, bad.column) == ("bad_header_line", 2, 1)


def test_end_of_a_datagram_ends_its_header() -> None:
    message = read_message(RINGING[:-2])
    assert message.body == Span(len(RINGING) - 2, len(RINGING) - 2)


@pytest.mark.parametrize("cut", [-3, -4])
def test_end_of_a_datagram_ends_its_last_field_too(cut: int) -> None:
    message = read_message(RINGING[:cut])
    assert values(message, b"content-length") == [b"0"]
    assert [oddity.reason for oddity in message.oddities] == ["unfinished_line"]


@pytest.mark.parametrize("cut", [-10, -18])
def test_datagram_that_ends_within_a_line_is_refused(cut: int) -> None:
    assert refused(RINGING[:cut]).reason == "unfinished_line"


@pytest.mark.parametrize("name", [b"Via", b"From", b"To", b"Call-ID", b"CSeq"])
@pytest.mark.parametrize("message", [INVITE, RINGING])
def test_message_without_a_required_field_is_refused(message: bytes, name: bytes) -> None:
    bad = refused(without(message, name))
    assert bad.reason == "missing_" + name.decode().lower().replace("-", "_")
    assert (bad.status, bad.is_request) == (400, message is INVITE)


@pytest.mark.parametrize(
    "field",
    [
        b'f: "Alice" <sip:alice@example.com>;tag=1928301774',
        b"From: sip:other@example.com;tag=1928301774;x",
        b"T: <sip:a@h>",
        b"t: Bob  <sip:b",
        b"i: a84b4c76e66710@10.1.0.2",
        b"cseq:  314159  INVITE",
        b"c:application/sdp",
    ],
)
def test_field_that_says_the_same_again_is_noted(field: bytes) -> None:
    message = read_message(put(INVITE, b"Content-Type", b"Content-Type: application/sdp", field))
    assert [oddity.reason.partition("_")[0] for oddity in message.oddities] == ["repeated"]
    assert (message.from_tag, message.to_tag, message.call_id) == (b"1928301774", None, b"a84b4c76e66710@10.1.0.2")


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
        b"INVITE\tsip:h SIP/2.0",
        b"INVITE sip:h; lr SIP/2.0",
        b"INVITE <sip:h> SIP/2.0",
        b'INVITE sip:"h" SIP/2.0',
        b"INVITE x SIP/2.0 sip:h SIP/2.0\t",
    ],
)
def test_request_line_with_blanks_and_a_uri_of_any_shape_is_noted(line: bytes) -> None:
    message = read_message(put(INVITE, b"", line))
    assert (message.method, [oddity.reason for oddity in message.oddities]) == (b"INVITE", ["odd_start_line"])
    assert text(message, message.uri) == line.strip().removeprefix(b"INVITE").removesuffix(b"SIP/2.0").strip()


@pytest.mark.parametrize("line", [b"SIP/2.0  200 OK", b"SIP/2.0\t200 OK", b"SIP/2.0 200OK", b"SIP/2.0 200\t"])
def test_status_line_with_other_blanks_is_noted(line: bytes) -> None:
    message = read_message(put(RINGING, b"", line))
    assert (message.status, [oddity.reason for oddity in message.oddities]) == (200, ["odd_start_line"])


@pytest.mark.parametrize(
    "line",
    [b"INVITE sip:h SIP/2.0\r", b"INVITE sip:\0 SIP/2.0", b"INVITE SIP/2.0", b"INVITE  SIP/2.0"],
)
def test_malformed_request_line_is_answered_with_400(line: bytes) -> None:
    bad = refused(put(INVITE, b"", line))
    assert (bad.reason, bad.line, bad.column, bad.status) == ("bad_request_line", 1, 1, 400)
    assert bad.is_request
    assert not isinstance(bad, NotSip)


def test_line_is_counted_behind_the_empty_ones() -> None:
    bad = refused(b"\r\n\r\n" + put(INVITE, b"", b"INVITE SIP/2.0"))
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
        (b"SIP/2.0 200 a\rb", "bad_status_line"),
        (b"SIP/2.0", "bad_status_line"),
    ],
)
def test_malformed_status_line_is_refused_and_never_answered(line: bytes, reason: str) -> None:
    bad = refused(put(RINGING, b"", line))
    assert (bad.reason, bad.is_request) == (reason, False)
    assert refuse(bad, bad.status, b"x") is None


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
def test_cseq_of_a_request_names_its_own_method_and_that_of_a_response_any(method: bytes) -> None:
    message = read_message(put(INVITE, b"CSeq", b"CSeq: 1 " + method))
    assert (message.cseq, message.data) == ((1, b"INVITE"), put(INVITE, b"CSeq", b"CSeq: 1 INVITE"))
    assert odd(message) == [": cseq_mismatch in line 7, column 9"]
    assert read_message(put(RINGING, b"CSeq", b"CSeq: 1 " + method)).cseq.method == method


@pytest.mark.parametrize("value", [b"a\r\n b", b"a" * 1025])
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


@pytest.mark.parametrize("value", BAD_LENGTHS)
def test_content_length_that_is_no_short_number_is_refused(value: bytes) -> None:
    assert refused(length(value)).reason == "bad_content_length"


def test_content_lengths_that_agree_are_one() -> None:
    message = read_message(length(31, b"l: 031"))
    assert values(message, b"content-length") == [b"31", b"031"]
    assert message.content_length == message.spans(b"content-length")[0]


@pytest.mark.parametrize("lengths", [(31, b"l: 0"), (0, b"l: 31")])
def test_content_lengths_that_differ_are_refused_in_a_stream(lengths: tuple[int, bytes]) -> None:
    with pytest.raises(BadMessage, match="content_length_conflict at 11:3"):
        read_message(length(*lengths), is_cut=True)


# -- values that cannot be read ----------------------------------------------------------------------------------------


def odd(message: Message) -> list[str]:
    return [f"{oddity.name.decode()}: {message.where(oddity)}" for oddity in message.oddities]


def test_value_that_is_no_address_is_noted_with_its_place() -> None:
    message = read_message(put(INVITE, b"Contact", b"Contact: <sip:a@h>,\r\n  < sip:b@h>"))
    assert [address.host for _, address in message.addresses(b"contact")] == [b"h", b"h"]
    assert odd(message) == ["contact: bad_address in line 9, column 3"]


@pytest.mark.parametrize(
    ("value", "reason", "hosts"),
    [
        (b"<sip:a@h", ["bad_address"], [b"h"]),
        (b'"a, <sip:a@h>', ["unclosed_quote", "bad_address"], [None, b"h"]),
        (b"<sip:300.1.1.1>", ["bad_host"], [None]),
    ],
)
def test_list_that_cannot_be_split_is_noted_with_its_place(
    value: bytes, reason: list[str], hosts: list[bytes | None]
) -> None:
    message = read_message(put(INVITE, b"Contact", b"Contact:  " + value))
    assert [address.host for _, address in message.addresses(b"contact")] == hosts
    assert odd(message) == [f"contact: {word} in line 8, column 11" for word in reason]


def test_via_that_names_no_hop_is_nobodys() -> None:
    message = read_message(put(INVITE, b"Via", b"Via: SIP/2.0/UDP h", b"Via: SIP/2.0 h"))
    assert [via.host for _, via in message.vias()] == [b"h", b""]
    assert odd(message) == ["via: bad_via in line 3, column 6"]


def test_tag_of_what_is_no_address_is_found() -> None:
    message = read_message(put(INVITE, b"To", b'To: "Mr. J. User <sip:j.user@example.com>;tag=1'))
    assert message.to_tag == b"1"
    assert odd(message) == ["to: bad_address in line 5, column 5"]


def test_to_that_is_empty_is_no_address() -> None:
    message = read_message(put(INVITE, b"To", b"To: ,"))
    assert (message.to_tag, message.address(b"to")[1].host) == (None, None)


def test_request_uri_that_is_none_is_noted_with_its_place() -> None:
    message = read_message(put(INVITE, b"", b"INVITE sip:[::1::] SIP/2.0"))
    assert message.request_uri().host is None
    assert odd(message) == ["request-uri: bad_host in line 1, column 8"]


def test_number_of_values_is_bounded() -> None:
    many = b",".join([b"<sip:a@h>"] * (MAX_VALUES + 1))
    for value in (many, many + b',"'):
        with pytest.raises(BadMessage, match="too_many_values"):
            read_message(put(INVITE, b"Contact", b"Contact: " + value)).addresses(b"contact")
