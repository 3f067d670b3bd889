"""Addresses, URIs, Vias and lists of SIP. Rules S14, S15, S16, S17, S18, S19, S20, S21, S22, S38."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Host, Malformed
from protocols.sip.remembered import read_address, read_uri, read_via
from protocols.sip.values import Address, Parameter, Via, split, stripped, unfolded, within
from protocols.toolbox.spans import Span, replace

READERS: list[Callable[[bytes], Address | Via]] = [read_address, read_uri, read_via]


def at(value: bytes, span: Span | None) -> bytes | None:
    return None if span is None else value[span.start : span.end]


def hostport(value: bytes) -> bytes | None:
    return at(value, read_address(value).hostport)


# -- name-addr and addr-spec (S16, S17) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"<sip:alice@10.1.0.2:5070>",
        b"sip:alice@10.1.0.2:5070",
        b"Alice <sip:alice@10.1.0.2:5070>",
        b"Alice<sip:alice@10.1.0.2:5070>",
        b"A. Bell, Jr <sip:alice@10.1.0.2:5070>".replace(b",", b""),
        b'"Alice" <sip:alice@10.1.0.2:5070>',
        b'"Alice"<sip:alice@10.1.0.2:5070>',
        b'"A <sip:x@192.0.2.1>, \\" ;tag=1" <sip:alice@10.1.0.2:5070>',
        b'"\\\\" <sip:alice@10.1.0.2:5070>',
        b'"" <sip:alice@10.1.0.2:5070>',
        b"8..123 <sip:alice@10.1.0.2:5070>",
        b"bob@example.com: <sip:alice@10.1.0.2:5070>",
        b"Andr\xe9 \xe4\xb8\xad <sip:alice@10.1.0.2:5070>",
        b"\t<sip:alice@10.1.0.2:5070>  ",
        b'"Alice"\r\n <sip:alice@10.1.0.2:5070>\n\t',
    ],
)
def test_uri_of_an_address_is_found_whatever_name_stands_before_it(value: bytes) -> None:
    address = read_address(value)
    assert at(value, address.uri) == b"sip:alice@10.1.0.2:5070"
    assert (address.scheme, at(value, address.user)) == (b"sip", b"alice")
    assert (address.host, at(value, address.host_span)) == (ip_address("10.1.0.2"), b"10.1.0.2")
    assert (address.port, at(value, address.port_span)) == (5070, b"5070")
    assert at(value, address.hostport) == b"10.1.0.2:5070"
    assert (address.uri_parameters, address.parameters, address.is_star) == ({}, {}, False)


def test_parameters_inside_brackets_are_the_uris_and_those_outside_the_headers() -> None:
    address = read_address(b"<sip:10.1.0.2;transport=TCP;lr>;expires=60;q=0.5")
    assert (address.uri_parameter(b"transport"), address.parameter(b"transport")) == (b"TCP", None)
    assert (address.parameter(b"expires"), address.uri_parameter(b"expires")) == (b"60", None)
    assert (address.parameter(b"q"), address.uri_parameter(b"lr")) == (b"0.5", b"")


def test_without_brackets_all_parameters_are_the_headers() -> None:
    value = b"sip:+16505552222@10.1.0.2;user=phone;tag=1"
    address = read_address(value)
    assert at(value, address.uri) == b"sip:+16505552222@10.1.0.2"
    assert (address.parameter(b"user"), address.parameter(b"tag"), address.uri_parameters) == (b"phone", b"1", {})


@pytest.mark.parametrize("value", [b"sip:a@10.1.0.2?x=y", b"sip:a,b@10.1.0.2", b"sip:a?b@10.1.0.2"])
def test_question_mark_and_comma_need_brackets(value: bytes) -> None:
    with pytest.raises(Malformed, match="bad_address"):
        read_address(value)
    assert read_address(b"<%b>" % value).host == ip_address("10.1.0.2")


def test_parameters_stand_between_any_blanks_and_folds() -> None:
    value = b"<sip:a@h>\r\n  ;\n  tag\t =  98asjd8 ;\r\n x"
    address = read_address(value)
    assert address.parameters == {
        b"tag": Parameter(b"98asjd8", Span(25, 32), Span(13, 32)),
        b"x": Parameter(None, Span(38, 38), Span(33, 38)),
    }


def test_parameter_names_are_in_any_case_and_values_stay_as_they_are() -> None:
    assert read_address(b"<sip:h>;TAG=aB").parameter(b"tag") == b"aB"


def test_quoted_parameter_value_is_read_without_its_quotes_and_replaced_with_them() -> None:
    value = b'<sip:h>;+sip.instance="<urn:uuid:1;2,3>";reg-id=1'
    instance = read_address(value).parameters[b"+sip.instance"]
    assert instance.value == b"<urn:uuid:1;2,3>"
    assert replace(value, [(instance.span, b"x")]) == b"<sip:h>;+sip.instance=x;reg-id=1"
    assert replace(value, [(instance.whole, b"")]) == b"<sip:h>;reg-id=1"


def test_quoted_parameter_value_may_hold_an_escaped_quote() -> None:
    address = read_address(b'<sip:h>;a="x\\";b=1";c=2')
    assert (address.parameter(b"a"), address.parameter(b"b"), address.parameter(b"c")) == (b'x\\";b=1', None, b"2")


def test_parameter_without_value_has_a_place_where_one_can_be_put() -> None:
    value = b"SIP/2.0/UDP h;rport;branch=z9hG4bK1"
    rport = read_via(value).parameters[b"rport"]
    assert rport.value is None
    assert replace(value, [(rport.span, b"=5060")]) == b"SIP/2.0/UDP h;rport=5060;branch=z9hG4bK1"


@pytest.mark.parametrize("value", [b"<sip:h>;tag=", b"<sip:h>;tag", b"<sip:h;tag=>"])
def test_parameter_with_nothing_behind_it_is_there_and_empty(value: bytes) -> None:
    address = read_address(value)
    assert b"" in (address.parameter(b"tag"), address.uri_parameter(b"tag"))


@pytest.mark.parametrize(
    "value",
    [b"<sip:h>;tag=1;tag=2", b"<sip:h>;tag=1;TAG=2", b"<sip:h;maddr=10.0.0.1;maddr=10.0.0.2>", b"<sip:h>;tag;tag=1"],
)
def test_parameter_that_says_two_things_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed, match="repeated_parameter"):
        read_address(value)


def test_parameter_that_says_the_same_twice_is_one() -> None:
    address = read_address(b"<sip:h;lr;lr>;;;x=1;x=1")
    assert list(address.uri_parameters) == [b"lr"]
    assert address.parameter(b"x") == b"1"


def test_star_is_all_contacts() -> None:
    star = read_address(b"*")
    assert (star.is_star, star.host, star.hostport, star.uri) == (True, None, None, Span(0, 1))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"alice",
        b"<>",
        b"<sip:>",
        b"sip:",
        b"<alice@example.com>",
        b"< sip:a@h>",
        b"<sip:a@h >",
        b"<sip:a b@h>",
        b"<sip:a@h",
        b"sip:a@h>",
        b'"Alice <sip:a@h>',
        b'"Alice" "B" <sip:a@h>',
        b"Alice; <sip:a@h>",
        b"<sip:a@h> x",
        b"<sip:a@h>;a b",
        b"<sip:a@h>;a=b c",
        b'<sip:a@h>;a="b',
        b'<sip:a@h>;a="b\\',
        b'<sip:a@h>;a="b\\\r\n"',
        b"<sip:a@h>, <sip:b@h>",
        b"<<sip:a@h>>",
        b"<sip:a@h><sip:b@h>",
        b"sip:a@h <sip:b@h",
        b"<sip:a@h:>",
        b"<sip:a@h:x>",
        b"<sip:a@h:5060x>",
        b"<sip:a@h:123456>",
        b"<sip:a@[::1>",
        b"<sip:a@::1>",
        b"<sip:a@h/x>",
        b"<sip:a@h\0>",
        b"<1sip:a@h>",
        b"* ",
        b"*;expires=0",
    ],
)
def test_what_is_no_address_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed, match="bad_address"):
        read_address(value)


# -- URIs (S18 to S22) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "user",
    [
        b"alice",
        b"alice:secret",
        b"+1-212-555-1212:1234",
        b"user;par=u%40example.net",
        b"alice;day=tuesday?x=y&z",
        b"a/b,c$d(e)'f",
        b"sips%3Auser%40example.com",
        b"null-%00-null",
        b"**",
        b"\xe9",
        b"",
    ],
)
def test_host_begins_behind_whatever_the_user_is(user: bytes) -> None:
    value = b"<sip:%b@10.1.0.2;lr>" % user
    address = read_address(value)
    assert (at(value, address.user), hostport(value)) == (user, b"10.1.0.2")


def test_host_begins_behind_the_last_at_before_the_parameters() -> None:
    value = b"<sip:alice@example.com@10.1.0.2;lr>"
    assert (at(value, read_address(value).user), hostport(value)) == (b"alice@example.com", b"10.1.0.2")


@pytest.mark.parametrize("value", [b"<sip:a@10.1.0.2;x@192.0.2.1>", b"sip:a@10.1.0.2;x=y@192.0.2.1", b"sip:a@b@c"])
def test_an_at_that_could_make_another_host_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed, match="bad_address"):
        read_address(value)


def test_what_headers_a_uri_brings_does_not_matter() -> None:
    value = b"<sip:bob@10.1.0.2?Replaces=12345%40192.0.2.1%3Bto-tag%3D1&x=a@b;c>;y=1"
    address = read_address(value)
    assert (hostport(value), address.uri_parameters, address.parameter(b"y")) == (b"10.1.0.2", {}, b"1")


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        (b"sip:10.1.0.2", b"sip"),
        (b"SIP:10.1.0.2", b"sip"),
        (b"<sips:a@10.1.0.2>", b"sips"),
        (b"<SipS:10.1.0.2>", b"sips"),
    ],
)
def test_scheme_is_in_any_case(value: bytes, scheme: bytes) -> None:
    assert read_address(value).scheme == scheme


@pytest.mark.parametrize(
    ("value", "uri", "scheme"),
    [
        (b"tel:+1-212-555;phone-context=10.1.0.2", b"tel:+1-212-555", b"tel"),
        (b"<tel:+1;phone-context=10.1.0.2>;x=1", b"tel:+1;phone-context=10.1.0.2", b"tel"),
        (b"<http://10.1.0.2:80/a?b>;tag=1", b"http://10.1.0.2:80/a?b", b"http"),
        (b"<URN:service:sos>", b"URN:service:sos", b"urn"),
        (b"im:a@10.1.0.2", b"im:a@10.1.0.2", b"im"),
        (b"<sipx:a@10.1.0.2>", b"sipx:a@10.1.0.2", b"sipx"),
        (b"<name:John_Smith>", b"name:John_Smith", b"name"),
    ],
)
def test_other_schemes_have_no_host(value: bytes, uri: bytes, scheme: bytes) -> None:
    address = read_address(value)
    assert (at(value, address.uri), address.scheme) == (uri, scheme)
    assert (address.host, address.hostport, address.port, address.user) == (None, None, None, None)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (b"10.1.0.2", ip_address("10.1.0.2"), None),
        (b"10.1.0.2:0", ip_address("10.1.0.2"), 0),
        (b"10.1.0.2:05060", ip_address("10.1.0.2"), 5060),
        (b"10.1.0.2:65535", ip_address("10.1.0.2"), 65535),
        (b"[2001:db8::10]", ip_address("2001:db8::10"), None),
        (b"[2001:db8::10]:5070", ip_address("2001:db8::10"), 5070),
        (b"[2001:db8::10:5070]", ip_address("2001:db8::10:5070"), None),
        (b"[::]", ip_address("::"), None),
        (b"[2001:DB8:0::10]", ip_address("2001:db8::10"), None),
        (b"[::ffff:192.0.2.1]", ip_address("::ffff:192.0.2.1"), None),
        (b"example.com", b"example.com", None),
        (b"Example.COM.:5060", b"Example.COM.", 5060),
        (b"my_pbx", b"my_pbx", None),
        (b"192.0.2.1.example.com", b"192.0.2.1.example.com", None),
    ],
)
def test_host_is_an_address_or_a_name_and_no_port_is_guessed(text: bytes, host: Host | bytes, port: int | None) -> None:
    for value in (b"<sip:a@%b>" % text, b"sip:%b" % text, b"<sip:%b;lr>" % text):
        address = read_address(value)
        assert (address.host, address.port, hostport(value)) == (host, port, text)
    value = b"SIP/2.0/UDP %b;branch=1" % text
    via = read_via(value)
    assert (via.host, via.port, at(value, via.hostport)) == (host, port, text)


@pytest.mark.parametrize(
    "text", [b"010.0.0.1", b"10.1.0.256", b"1.2.3", b"1.2.3.4.5", b"1234", b"[1.2.3.4]", b"[2001:db8:::1]", b"[::1::]"]
)
def test_what_looks_like_an_address_and_is_none_is_refused(text: bytes) -> None:
    for read, value in ((read_address, b"<sip:a@%b>" % text), (read_via, b"SIP/2.0/UDP %b" % text)):
        with pytest.raises(Malformed, match="bad_host"):
            read(value)


def test_port_above_65535_is_refused() -> None:
    for read, value in ((read_address, b"sip:h:65536"), (read_uri, b"sip:h:65536"), (read_via, b"SIP/2.0/UDP h:99999")):
        with pytest.raises(Malformed, match="bad_port"):
            read(value)


def test_uri_alone_has_its_parameters_without_brackets() -> None:
    value = b"sip:bob;x=1@[2001:db8::1]:5070;transport=tcp;lr?a=b"
    uri = read_uri(value)
    assert at(value, uri.uri) == value
    assert (uri.host, uri.port, at(value, uri.user)) == (ip_address("2001:db8::1"), 5070, b"bob;x=1")
    assert (uri.uri_parameter(b"transport"), uri.uri_parameter(b"lr"), uri.parameters) == (b"tcp", b"", {})


@pytest.mark.parametrize("value", [b"", b"*", b"<sip:h>", b"sip:h ", b" sip:h", b"sip:h;x y", b'"A" <sip:h>', b"h"])
def test_what_is_no_uri_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed, match="bad_uri"):
        read_uri(value)


# -- Via (S22, S38) ----------------------------------------------------------------------------------------------------


def test_via_tells_the_transport_and_who_sent_it() -> None:
    value = b"SIP/2.0/UDP 10.1.0.2:5070;branch=z9hG4bK1;received=192.0.2.1;rport=40000;maddr=239.1.2.3;ttl=1"
    via = read_via(value)
    assert via[:5] == (b"UDP", ip_address("10.1.0.2"), Span(12, 20), 5070, Span(21, 25))
    assert (via.branch, via.received, via.rport) == (b"z9hG4bK1", ip_address("192.0.2.1"), 40000)
    assert via.maddr == ip_address("239.1.2.3")
    assert at(value, via.parameters[b"received"].span) == b"192.0.2.1"
    assert at(value, via.parameters[b"rport"].span) == b"40000"


@pytest.mark.parametrize(
    "value",
    [
        b"SIP/2.0/TCP h:5060;branch=1",
        b"sip/2.0/tcp h:5060;branch=1",
        b"SIP / 2.0 / TCP h : 5060 ; branch = 1",
        b" SIP  /   2.0\r\n /TCP\r\n    h\t:\r\n 5060;branch=\r\n 1 ",
        b"SIP/2.0/TCP h:5060;branch=1 (of Alice, at home; ours)",
        b"SIP/2.0/TCP h:5060;branch=1(a) (b) ",
        b"SIP/2.0/TCP h:5060;;branch=1;",
    ],
)
def test_via_has_blanks_anywhere_and_comments_behind_all(value: bytes) -> None:
    via = read_via(value)
    assert (via.transport, via.host, via.port, via.branch) == (b"TCP", b"h", 5060, b"1")
    assert at(value, via.host_span) == b"h"
    assert at(value, via.port_span) == b"5060"


@pytest.mark.parametrize("transport", [b"TLS", b"SCTP", b"WS", b"TLS-SCTP", b"foo!"])
def test_via_of_any_transport_is_read(transport: bytes) -> None:
    assert read_via(b"SIP/2.0/%b h" % transport).transport == transport.upper()


@pytest.mark.parametrize("received", [b"2001:db8::9:255", b"[2001:db8::9:255]"])
def test_received_is_read_with_and_without_brackets(received: bytes) -> None:
    assert read_via(b"SIP/2.0/UDP h;received=%b" % received).received == ip_address("2001:db8::9:255")


def test_via_of_rfc_2543_has_no_branch() -> None:
    via = read_via(b"SIP/2.0/UDP h")
    assert via[3:] == (None, None, {}, None, None, None, None)


@pytest.mark.parametrize("text", [b";rport", b";rport="])
def test_rport_that_is_asked_for_is_there_and_has_no_port(text: bytes) -> None:
    via = read_via(b"SIP/2.0/UDP h" + text)
    assert b"rport" in via.parameters
    assert via.rport is None


def test_maddr_may_be_a_name() -> None:
    assert read_via(b"SIP/2.0/UDP h;maddr=sip.mcast.net").maddr == b"sip.mcast.net"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b";received=h", "bad_received"),
        (b";received=10.0.0.01", "bad_host"),
        (b";received=[::1::]", "bad_host"),
        (b";rport=x", "bad_rport"),
        (b";rport=+1", "bad_rport"),
        (b";rport=123456", "bad_rport"),
        (b";rport=65536", "bad_port"),
        (b";maddr=1.2.3", "bad_host"),
        (b";received=10.0.0.1;received=10.0.0.2", "repeated_parameter"),
    ],
)
def test_via_with_a_parameter_that_cannot_be_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        read_via(b"SIP/2.0/UDP h" + text)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"h",
        b"SIP/2.0/UDP",
        b"SIP/2.0/UDP ",
        b"SIP/2.0/UDP ;branch=1",
        b"SIP/2.0/UDPh",
        b"SIP/2.0 h",
        b"HTTP/1.1/TCP h",
        b"SIP//UDP h",
        b"SIP/2.0/UDP h:",
        b"SIP/2.0/UDP h:x",
        b"SIP/2.0/UDP h:123456",
        b"SIP/2.0/UDP h x",
        b"SIP/2.0/UDP ::1",
        b"SIP/2.0/UDP h, SIP/2.0/UDP i",
        b"SIP/2.0/UDP h;a b",
        b'SIP/2.0/UDP h;a="b',
        b"SIP/2.0/UDP h (x",
        b"SIP/2.0/UDP h (x) ;branch=1",
        b"SIP/2.0/UDP h;branch=<1>",
    ],
)
def test_what_is_no_via_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed, match="bad_via"):
        read_via(value)


# -- lists (S15, S16) --------------------------------------------------------------------------------------------------


def parts(value: bytes) -> list[bytes]:
    """Of a list in the middle of other bytes."""
    message = b"a,b\r\n" + value + b",c"
    return [message[slice(*span)] for span in split(message, Span(5, 5 + len(value)))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a", [b"a"]),
        (b" a ", [b"a"]),
        (b"a,b", [b"a", b"b"]),
        (b" a\t,\r\n b , c;d=e ", [b"a", b"b", b"c;d=e"]),
        (b"", []),
        (b" ", []),
        (b",", []),
        (b"a,,b,", [b"a", b"b"]),
        (b'"a,b" <c>,d', [b'"a,b" <c>', b"d"]),
        (b'"a\\",b",c', [b'"a\\",b"', b"c"]),
        (b'"a\\\\",b', [b'"a\\\\"', b"b"]),
        (b"<a,b>,c", [b"<a,b>", b"c"]),
        (b'<a>;x="1,2";y=3,c', [b'<a>;x="1,2";y=3', b"c"]),
        (b'"<",b', [b'"<"', b"b"]),
        (b"a (b,c),d", [b"a (b,c)", b"d"]),
        (b"a (b,(c,d),e),f", [b"a (b,(c,d),e)", b"f"]),
        (b"a),b", [b"a)", b"b"]),
        (b'a (b "c,)") ,d', [b'a (b "c,)")', b"d"]),
    ],
)
def test_commas_separate_values_but_not_in_quotes_brackets_and_comments(value: bytes, expected: list[bytes]) -> None:
    assert parts(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'"a,b', "unclosed_quote"),
        (b'a,"b\\"', "unclosed_quote"),
        (b"<a,b", "unclosed_bracket"),
        (b"a, <b <c>", "unclosed_bracket"),
        (b"(a,b", "unclosed_comment"),
    ],
)
def test_list_in_which_something_has_no_end_is_refused(value: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        parts(value)


def test_value_keeps_its_place_in_the_message() -> None:
    message = b"Contact: <sip:a@10.1.0.2>, <sip:b@10.1.0.3:5070>\r\n"
    places = []
    for span in split(message, Span(8, len(message) - 2)):
        address = read_address(message[span.start : span.end])
        assert address.hostport is not None
        places.append(within(span, address.hostport))
    changed = replace(message, [(place, b"h") for place in places])
    assert changed == b"Contact: <sip:a@h>, <sip:b@h>\r\n"


@pytest.mark.parametrize(
    ("data", "expected"), [(b" a ", Span(1, 2)), (b"a", Span(0, 1)), (b"\r\n\ta b\r\n ", Span(3, 6)), (b"", Span(0, 0))]
)
def test_blanks_and_folds_around_a_value_are_no_part_of_it(data: bytes, expected: Span) -> None:
    assert stripped(data, 0, len(data)) == expected


def test_value_of_blanks_alone_is_empty() -> None:
    assert len(range(*stripped(b"x  \t y", 1, 5))) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a", b"a"),
        (b"a  b", b"a  b"),
        (b"a\r\n b", b"a b"),
        (b"a \t\r\n \t b", b"a b"),
        (b"a\n b\r\n\tc", b"a b c"),
        (b"a\r\n \r\n b", b"a b"),
    ],
)
def test_fold_is_one_space(value: bytes, expected: bytes) -> None:
    assert unfolded(value) == expected


# -- whatever comes ----------------------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [
        *(bytes([byte]) for byte in b' \t\r\n<>"\\();,:@=?*[]/\0a1'),
        b"sip:",
        b"SIP/2.0/UDP ",
        b"10.1.0.2",
        b"[2001:db8::1]",
        b"tag=1",
        b";received=",
        b";rport=",
        b"tel:",
        b"\xff",
    ]
)


@given(st.lists(_PIECES, max_size=24).map(b"".join))
def test_values_of_any_bytes_are_read_or_refused_and_nothing_else(value: bytes) -> None:
    for read in READERS:
        try:
            found = read(value)
        except Malformed:
            continue
        check_spans(value, found)
    try:
        spans = split(value, Span(0, len(value)))
    except Malformed:
        return
    assert all(value[span.start : span.end].strip() for span in spans)
    assert sorted(spans) == spans


def check_spans(value: bytes, found: Address | Via) -> None:
    """Whatever a span is said to be, that is what stands there."""
    if found.port is not None:
        assert int(at(value, found.port_span) or b"") == found.port
    if found.host is not None:
        text = at(value, found.host_span) or b""
        host = text if isinstance(found.host, bytes) else ip_address(text.strip(b"[]").decode())
        assert host == found.host
        assert (at(value, found.hostport) or b"").startswith(text)
    listed = [found.parameters] if isinstance(found, Via) else [found.parameters, found.uri_parameters]
    for name, parameter in (item for parameters in listed for item in parameters.items()):
        whole, text = at(value, parameter.whole) or b"", at(value, parameter.span) or b""
        assert whole.startswith(b";")
        assert name in whole.lower()
        assert whole.endswith(text)
        assert (parameter.value or b"") in (text, text[1:-1])


@given(
    st.sampled_from([b"", b"Alice ", b'"A, <b>" ']),
    st.sampled_from([b"", b"bob@", b"b;c=d@"]),
    st.sampled_from([b"10.1.0.2", b"[2001:db8::1]", b"h.example"]),
    st.none() | st.integers(0, 65535),
    st.sampled_from([b"", b";lr", b";transport=tcp;ob"]),
    st.sampled_from([b"", b";expires=60", b';q=0.1;+x="a;b,c"']),
)
def test_well_formed_addresses_are_read_as_what_they_were_made_of(
    name: bytes, user: bytes, host: bytes, port: int | None, inside: bytes, outside: bytes
) -> None:
    place = host if port is None else b"%b:%d" % (host, port)
    value = b"%b<sip:%b%b%b>%b" % (name, user, place, inside, outside)
    address = read_address(value)
    assert (at(value, address.hostport), address.port) == (place, port)
    assert b"".join(at(value, each.whole) or b"" for each in address.uri_parameters.values()) == inside
    assert b"".join(at(value, each.whole) or b"" for each in address.parameters.values()) == outside
    assert parts(value + b", " + value) == [value, value]


HOSTILE = [
    b'"' * 65536,
    b"<" * 65536,
    b"(" * 65536,
    b"(\\" * 32768,
    b'"\\' * 32768,
    b"a," * 32768,
    b"sip:" + b"a@" * 32768,
    b"<sip:" + b"@" * 65536,
    b"<sip:a@h" + b";a" * 32768,
    b"<sip:a@h>" + b";" * 65536,
    b"<sip:a@h>" + b" " * 65536 + b"x",
    b"A " * 32768 + b"<",
    b"<sip:a@h>;a=" + b'"\\"' * 20000,
    b"SIP/2.0/UDP h" + b";a=b" * 16384 + b"<",
    b"SIP/2.0/UDP h" + b"(a)" * 20000 + b"(",
    b"SIP" + b" \r\n" * 20000 + b"x",
    b"\r\n " * 20000 + b"*",
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_work_on_a_hostile_value_is_linear(value: bytes) -> None:
    # What is not linear takes minutes on 64 KiB; the timeout is there for that, not to measure anything.
    for read in READERS:
        with suppress(Malformed):
            read(value)
    with suppress(Malformed):
        split(value, Span(0, len(value)))
    unfolded(value)
