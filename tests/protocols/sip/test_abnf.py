"""The grammar of SIP values, composed of pyparsing elements rule by rule, says what the one that is in use says.

RFC 3261 s.25.1. What is in use (protocols/sip/abnf.py) has each value as one pattern, for speed. Here the same rules
are elements: a value is one or is none for both, and both find the same in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyparsing import (
    Combine,
    Empty,
    FollowedBy,
    Group,
    Literal,
    Opt,
    ParseException,
    ParserElement,
    Regex,
    StringEnd,
    ZeroOrMore,
)

from protocols.contract.addresses import Malformed
from protocols.sip import abnf
from protocols.sip.fields import ADDRESSES, IDENTITIES
from protocols.sip.head import BadMessage
from protocols.sip.reading import read_message
from protocols.sip.remembered import read_address, read_uri, read_via
from protocols.sip.values import HEADER_PARAMETER, URI_PARAMETER, split
from protocols.toolbox.spans import Span
from tests.harness.recordings import found as recording
from tests.harness.recordings import names
from tests.harness.sip_odd_values import rows, said
from tests.protocols.sip.test_torture import said as recorded

# -- the rules, each under the name that the RFC gives it --------------------------------------------------------------

SWS = Regex(r"[ \t\r\n]*").suppress()
LWS = Regex(r"[ \t\r\n]+").suppress()
SEMI, EQUAL = Literal(";").suppress() + SWS, Literal("=").suppress() + SWS
SLASH, COLON = SWS + Literal("/").suppress() + SWS, SWS + Literal(":").suppress() + SWS

token = Regex(r"[A-Za-z0-9.!%*_+`'~-]+")
qdtext, quoted_pair = Regex(r'[^"\\]'), Regex(r"\\[^\r\n]")
quoted_string = Combine('"' + ZeroOrMore(qdtext | quoted_pair) + '"')
comment = Literal("(") + Regex(r"[^()]*") + Literal(")") + SWS

hostname = Regex(r"[A-Za-z0-9_.-]{1,255}(?![A-Za-z0-9_.-])")
ipv6_reference = Combine("[" + Regex(r"[0-9A-Fa-f:.]{2,45}") + "]")
host = (ipv6_reference | hostname)("host")
port = Regex(r"[0-9]{1,5}(?![0-9])")("port")
hostport = host + Opt(Literal(":").suppress() + port)

at = Literal("@").suppress()
user_part = Regex(r'[^@<>" \t\r\n]*')
further = Combine("@" + Regex(r'[^@;?<>" \t\r\n]*') + FollowedBy("@"))
user = Combine(user_part + ZeroOrMore(further))("user")
user_alone = Regex(r'[^@;?,<>" \t\r\n]*')("user")

uri_parameters = Group(ZeroOrMore(Combine(";" + Regex(r'[^@;?<>" \t\r\n]*'))))("uri_parameters")
headers = Opt("?" + Regex(r'[^<>" \t\r\n]*'))
scheme = Regex(r"(?i:sips?)(?=:)")("scheme")
other_scheme = Regex(r"(?!(?i:sips?):)[A-Za-z][A-Za-z0-9+.-]*(?=:)")("other")


def uri_with(userinfo: ParserElement, rest: ParserElement, opaque: str) -> ParserElement:
    """A user that holds what looks like the rest is tried first, and given up if no host and `rest` follow it."""
    sip_uri = scheme + ":" + (userinfo + at + hostport + rest | hostport + rest)
    absolute_uri = other_scheme + ":" + Regex(opaque)
    return sip_uri | absolute_uri


generic_name = Regex(r'[^@;,=<>" \t\r\n]*')


def params(gen_value: ParserElement) -> ParserElement:
    generic_param = Group(SEMI + generic_name + SWS + Opt(EQUAL + gen_value + SWS))
    return Group(ZeroOrMore(generic_param))("parameters") + StringEnd()


display_name = quoted_string | Regex(r'[^"<>;,]*')
params_behind_brackets = params(quoted_string | Regex(r'[^;,<>" \t\r\n]*'))
params_alone = params(quoted_string | Regex(r'[^@;,<>" \t\r\n]*'))


RAQUOT = Literal(">").suppress() + SWS
in_brackets = uri_with(user, uri_parameters + headers + FollowedBy(">"), r'[^<>" \t\r\n]+')
name_addr = (
    SWS + display_name.suppress() + SWS + Literal("<").suppress() + in_brackets + RAQUOT + params_behind_brackets
)
addr_spec = SWS + uri_with(user_alone, Empty(), r'[^;?,<>" \t\r\n]+') + SWS + params_alone
ADDRESS = (name_addr | addr_spec).leave_whitespace().parse_with_tabs()

REQUEST_URI = uri_with(user, uri_parameters + headers + StringEnd(), r'[^<>" \t\r\n]+') + StringEnd()
REQUEST_URI = REQUEST_URI.leave_whitespace().parse_with_tabs()

via_value = quoted_string | Regex(r'[^;,()<>" \t\r\n]*')
via_params = Group(SEMI + Regex(r'[^;,=()<>" \t\r\n]*') + SWS + Opt(EQUAL + via_value + SWS))
sent_protocol = Regex(r"(?i:SIP)").suppress() + SLASH + token.suppress() + SLASH + token("transport")
sent_by = host + SWS + Opt(COLON + port + SWS)
VIA = (
    SWS
    + sent_protocol
    + LWS
    + sent_by
    + Group(ZeroOrMore(via_params))("parameters")
    + ZeroOrMore(comment)
    + StringEnd()
)
VIA = VIA.leave_whitespace().parse_with_tabs()


# -- what each of the two finds ----------------------------------------------------------------------------------------

PARTS = ("scheme", "other", "user", "host", "port", "transport")
Found = dict[str, Any]
Kind = tuple[ParserElement, ParserElement]
KINDS: dict[str, Kind] = {
    "address": (abnf.ADDRESS, ADDRESS),
    "uri": (abnf.URI, REQUEST_URI),
    "via": (abnf.VIA, VIA),
}


def by_pattern(pattern: ParserElement, value: bytes) -> Found | None:
    try:
        match = pattern.parse_string(value.decode("latin-1"))[0]
    except ParseException:
        return None
    groups = match.groupdict()
    found: Found = {name: groups[name] for name in PARTS if groups.get(name) is not None}
    inside, outside = groups.get("uri_parameters") or "", groups["parameters"] or ""
    found["inside"] = [one[0].decode("latin-1") for one in URI_PARAMETER.finditer(inside.encode("latin-1"))]
    found["outside"] = [
        [text.decode("latin-1") for text in one.group("name", "value") if text is not None]
        for one in HEADER_PARAMETER.finditer(outside.encode("latin-1"))
    ]
    return found


def by_rules(rules: ParserElement, value: bytes) -> Found | None:
    try:
        tokens = rules.parse_string(value.decode("latin-1"))
    except ParseException:
        return None
    found: Found = {name: tokens[name] for name in PARTS if name in tokens}
    found["inside"] = list(tokens["uri_parameters"]) if "uri_parameters" in tokens else []
    found["outside"] = [list(one) for one in tokens["parameters"]] if "parameters" in tokens else []
    return found


def assert_alike(kind: str, value: bytes) -> bool:
    """Whether it is one."""
    pattern, rules = KINDS[kind]
    found = by_pattern(pattern, value)
    assert found == by_rules(rules, value), value
    return found is not None


# -- values of others --------------------------------------------------------------------------------------------------


def messages() -> Iterator[bytes]:
    for folder in ("sip-torture", "sip-messages"):
        for name in sorted(names(folder)):
            yield recording(folder, name).read_bytes()
    for name in sorted(names("sip")):
        yield from recorded(recording("sip", name))


def values() -> set[tuple[str, bytes]]:
    """Every value of a field with addresses that somebody else has written: of torture, captures and odd products."""
    collected: set[tuple[str, bytes]] = set()
    for data in messages():
        try:
            message = read_message(data)
        except BadMessage:
            continue
        if message.is_request:
            collected.add(("uri", data[message.uri.start : message.uri.end]))
        for name in message.names & (ADDRESSES | IDENTITIES | {b"via"}):
            kind = "via" if name == b"via" else "address"
            try:
                collected |= {(kind, message.data[start:end]) for start, end in message.parts(name)}
            except BadMessage:
                continue
    for row in rows():
        header = row.field.partition(" ")[0]
        value = said(row, "10.1.0.2")
        if header == "request-uri":
            collected.add(("uri", value))
        elif header == "via" or header.encode() in ADDRESSES | IDENTITIES:
            try:
                parts = [value[start:end] for start, end in split(value, Span(0, len(value)))]
            except Malformed:
                parts = [value]
            collected |= {("via" if header == "via" else "address", part) for part in (value, *parts)}
    return collected


def test_every_value_of_others_is_read_alike() -> None:
    kinds = {kind: [value for one, value in values() if one == kind] for kind in KINDS}
    are_read = {kind: [assert_alike(kind, value) for value in found] for kind, found in kinds.items()}
    assert all(len(read) > 50 for read in are_read.values())
    assert all(0.6 < sum(read) / len(read) < 1 for read in are_read.values())


EXAMPLES = {
    "address": [
        b"<sip:alice@10.1.0.2:5070>", b'"A <b>, \\"c" <sips:a@[2001:db8::1]:5061;lr?x=y@z>;tag=1;q="a;b"',
        b"sip:a@h.example;tag=1", b"Alice <tel:+1-201;x=y>;a", b"sip:a@b@c", b"<sip:a@b@c>", b"<sip:a;b=c@d;e=f>",
        b"<sip:h?Call-ID=a@b>", b"<sip:h?Call-ID=a@b%40c>", b"<sip:a@h;x=@>", b"sip:h:123456", b"<sip:a@h>;a=1;a=2",
        b"<sip:a@h>;=", b"<sip:a@h>;a =\r\n b", b'"', b"<sip:>", b"<sip:a@h", b"", b"<urn:service:sos>", b"*",
    ],
    "uri": [b"sip:a@h;transport=tcp?x=y", b"sips:h", b"tel:1;x", b"sip:a,b@h", b"sip:a@h:5060,", b"sip:a@[::1]:5;a=b"],
    "via": [
        b"SIP/2.0/UDP h:5060;branch=z9hG4bK1;rport", b"SIP / 2.0 / TCP [::1] : 5060 ; a = b (x) (y)", b"SIP/2.0 UDP h",
        b'SIP/2.0/X h;a="b;(c)"', b"SIP/2.0/UDP h (a(b))", b"SIP/2.0/UDP h;received=[::1];maddr=m;ttl=1",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, found in EXAMPLES.items() for value in found])
def test_an_example_is_read_alike(kind: str, value: bytes) -> None:
    assert_alike(kind, value)


PIECES = [
    *("sip:", "sips:", "tel:", "SIP/2.0/UDP ", "a", "b.example", "10.1.0.2", "[::1]", "5060", "tag", "é"),
    *'<>@;:=?,"\\() \t&/',
    *("\r\n ", ';a="', "lr", "%40"),
]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_whatever_is_put_together_is_read_alike(kind: str, data: st.DataObject) -> None:
    start = {"address": ["", "<sip:", "sip:a@", '"a" <sip:'], "uri": ["sip:"], "via": ["SIP/2.0/UDP h"]}[kind]
    text = data.draw(st.sampled_from(start)) + "".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=12)))
    assert_alike(kind, text.encode("latin-1"))


# -- and the readers by it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "read"), [("address", read_address), ("uri", read_uri), ("via", read_via)])
def test_what_is_no_value_by_the_rules_is_refused_for_its_shape_and_nothing_else_is(kind: str, read: Any) -> None:
    for value in (value for one, value in values() if one == kind and value != b"*"):
        reason = None
        try:
            read(value)
        except Malformed as error:
            reason = str(error)
        is_one = by_rules(KINDS[kind][1], value) is not None
        assert (reason == f"bad_{kind}") is not is_one, value
