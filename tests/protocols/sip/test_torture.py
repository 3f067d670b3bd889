"""Messages that others made to be hard to read, or sent: what each says, or why it is refused.

RFC 4475 (torture tests), RFC 5118 (IPv6), single messages and captures of other projects. What lies under licences that
keep it out of this tree is read from beside it, and skipped when it is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from protocols.contract.addresses import Side
from protocols.sip.answers import refuse
from protocols.sip.head import BadMessage
from protocols.sip.message import Message, Oddity
from protocols.sip.reading import read_message
from protocols.sip.stream import StreamFramer, is_keep_alive
from protocols.sip.values import Address, within
from protocols.toolbox.spans import Span
from tests.harness.pcap import connections, datagrams
from tests.harness.recordings import found, names

ROUTES = (b"route", b"record-route")


@dataclass(frozen=True)
class Read:
    """What a message says that can be read as a whole; addresses as they are spelled in it."""

    start: str
    """The method and the scheme or address of the Request-URI, or the status."""
    via: tuple[str, ...]
    contact: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    tags: tuple[str | None, str | None] = (None, None)
    body: int = 0
    """Bytes."""
    unreadable: tuple[str, ...] = ()
    """What is not as the grammar has it, and passes all the same."""


@dataclass(frozen=True)
class Refused:
    """Why and where a message is refused, and what a request is answered with, if at all."""

    why: str
    answer: int | None = None


TORTURE: dict[str, Read | Refused] = {
    "badaspec.dat": Read(
        "OPTIONS example.org",
        ("UDP host4.example.com:5060",),
        tags=("433423", None),
        unreadable=("bad_address at 5:5",),
    ),
    "badbranch.dat": Read("OPTIONS example.com", ("UDP 192.0.2.1",), tags=("33242", None)),
    "baddate.dat": Read(
        "INVITE example.com",
        ("UDP host.example.com",),
        contact=("host5.example.net",),
        tags=("2234923", None),
        body=150,
    ),
    "badvers.dat": Refused("bad_version at 1:1", 505),
    "bcast.dat": Read(
        "200",
        ("UDP 192.0.2.198", "UDP 255.255.255.255"),
        contact=("host28.example.com",),
        tags=("11141343", "2229"),
        body=154,
    ),
    "clerr.dat": Refused("body_too_short at 10:17", 400),
    "cparam01.dat": Read(
        "REGISTER example.com",
        ("UDP saturn.example.com:5060",),
        contact=("gw1.example.net",),
        tags=("DkfVgjkrtMwaerKKpe", None),
    ),
    "esc01.dat": Read(
        "INVITE example.net", ("UDP host5.example.net",), contact=("host5.example.net",), tags=("938", None), body=150
    ),
    "esc02.dat": Read(
        "RE%47IST%45R registrar.example.com",
        ("TCP host.example.com",),
        contact=("host1.example.com", "host3.example.com"),
        tags=("f232jadfj23", None),
    ),
    "inv2543.dat": Read("INVITE example.com", ("UDP iftgw.example.com",), route=("example.com",), body=105),
    "invut.dat": Read(
        "INVITE example.com",
        ("UDP somehost.example.com",),
        contact=("host5.example.net",),
        tags=("8392034", None),
        body=40,
    ),
    "ipv6-bug-abnf-3-colons.dat": Read(
        "OPTIONS sip:",
        ("UDP lab1.east.example.com",),
        tags=("810x2", None),
        unreadable=("bad_host at 1:9", "bad_host at 2:5"),
    ),
    "ipv6-good.dat": Read(
        "REGISTER [2001:db8::10]", ("UDP [2001:db8::9:1]",), contact=("[2001:db8::1]",), tags=("81x2", None)
    ),
    "ipv6-in-sdp.dat": Refused("body_too_short at 10:17", 400),
    "longreq.dat": Read(
        "INVITE example.com",
        (*(f"TCP sip{hop}.example.com" for hop in range(33, 0, -1)), "TCP host.example.com"),
        contact=("host5.example.net",),
        tags=(
            "12982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982982424",
            None,
        ),
        body=150,
    ),
    "lwsruri.dat": Read(
        "INVITE example.com",
        ("UDP 192.0.2.1:5060",),
        contact=("host1.example.net",),
        tags=("231413434", "3xfe-9921883-z9f"),
        body=159,
        unreadable=("odd_start_line at 1:1", "bad_uri at 1:8"),
    ),
    "mismatch02.dat": Read(
        "NEWMETHOD example.com",
        ("UDP host.example.net",),
        contact=("host.example.net",),
        tags=("34525", None),
        body=138,
        unreadable=("cseq_mismatch at 6:9",),
    ),
    "mpart01.dat": Read(
        "MESSAGE example.org",
        ("UDP 127.0.0.1:5070",),
        contact=("127.0.0.1:5070",),
        route=("127.0.0.1:5080",),
        tags=("2fb0dcc9", None),
        body=553,
    ),
    "mult-ip-in-sdp.dat": Read(
        "INVITE [2001:db8::10]", ("UDP [2001:db8::9:1]",), contact=("[2001:db8::9:1]",), tags=("81x2", None), body=181
    ),
    "multi01.dat": Read(
        "INVITE company.com",
        ("UDP 192.0.2.25",),
        contact=("host25.example.net", "host36.example.net"),
        tags=("3413415", None),
        body=154,
        unreadable=("repeated_cseq at 7:7", "repeated_call_id at 8:10", "repeated_to at 11:5", "repeated_from at 12:7"),
    ),
    "noreason.dat": Read(
        "100", ("UDP 192.0.2.105",), contact=("host105.example.com",), tags=("39ansfi3", "902jndnke3")
    ),
    "port-unambiguous.dat": Read(
        "REGISTER [2001:db8::10]:5070", ("UDP [2001:db8::9:1]",), contact=("[2001:db8::1]",), tags=("81x2", None)
    ),
    "quotbal.dat": Read(
        "INVITE example.com",
        ("UDP 192.0.2.59:5050",),
        contact=("host59.example.net",),
        tags=("93334", None),
        body=152,
        unreadable=("bad_address at 2:5",),
    ),
    "regescrt.dat": Read(
        "REGISTER example.com", ("UDP host5.example.com",), contact=("example.com",), tags=("8", None)
    ),
    "scalar02.dat": Refused("bad_cseq at 5:6", 400),
    "semiuri.dat": Read("OPTIONS example.com", ("UDP 192.0.2.1",), tags=("33242", None)),
    "trws.dat": Read(
        "OPTIONS example.com",
        ("TCP host1.examle.com",),
        tags=("329429089", None),
        unreadable=("odd_start_line at 1:1",),
    ),
    "unkscm.dat": Read("OPTIONS nobodyknowsthisscheme:", ("TCP host9.example.com",), tags=("384", None)),
    "unksm2.dat": Read("REGISTER example.com", ("UDP 192.0.2.21:5060",), contact=("name:",), tags=("3234233", None)),
    "via-received-param-no-delim.dat": Read(
        "OPTIONS [2001:db8::10]", ("UDP [2001:db8::9:1]",), contact=("[2001:db8::9:1]",), tags=("81x2", None)
    ),
    "wsinv.dat": Read(
        "INVITE chair-dnrc.example.com",
        ("UDP 192.0.2.2", "TCP spindle.example.com", "UDP 192.168.255.111"),
        contact=("example.com",),
        route=("services.example.com",),
        tags=("98asjd8", "1918181833n"),
        body=150,
    ),
}

MESSAGES: dict[str, Read | Refused] = {
    "bad_uri.sip": Refused("missing_via at 1:1"),
    "bad_via2.sip": Refused("not_sip at 1:1"),
    "bc2.sip": Read(
        "BYE 195.37.77.101",
        ("UDP 192.246.69.223",),
        contact=("65.39.205.112:5028",),
        tags=("as38468f70", "e495220a31344eb39a6bf44ee3b01303"),
    ),
    "bye_chris.sip": Read(
        "BYE iptel.org",
        ("UDP 192.246.69.223", "UDP 65.39.205.112:5028"),
        contact=("65.39.205.112:5028",),
        route=("195.37.77.101", "195.37.77.101", "192.246.69.223"),
        tags=("as38468f70", "e495220a31344eb39a6bf44ee3b01303"),
    ),
    "inv_srv.sip": Refused("missing_to at 1:1", 400),
    "invite01.sip": Read(
        "INVITE iptel.org",
        ("UDP 195.37.77.100:5040",),
        contact=("213.20.128.35:9315",),
        tags=("76ff7a07-c091-4192-84a0-d56e91fe104f", None),
        body=452,
    ),
    "invite03.sip": Read(
        "INVITE iptel.org",
        ("UDP 195.37.77.100:5040",),
        contact=("213.20.128.35:9315",),
        tags=("76ff7a07-c091-4192-84a0-d56e91fe104f", None),
        body=451,
    ),
    "invite05.sip": Read(
        "INVITE bat.iptel.org:9",
        ("UDP 195.37.77.100:5040",),
        contact=("213.20.128.35:9315",),
        tags=("76ff7a07-c091-4192-84a0-d56e91fe104f", None),
        body=451,
    ),
    "invite3-callid.sip": Refused("missing_call_id at 1:1", 400),
    "invite5-callid.sip": Refused("missing_call_id at 1:1", 400),
    "long.sip": Refused("body_too_short at 45:17", 400),
    "message02.sip": Refused("missing_to at 1:1", 400),
    "ms-invite-00-rpl.sip": Read(
        "180",
        ("UDP 195.37.77.100", "UDP pig.iptel.org"),
        tags=("ae2c8aec-fd00-4f0c-98b9-6d40b72c950c", None),
        unreadable=("unfinished_line at 8:1",),
    ),
    "ms-invite-01-rpl.sip": Read(
        "180", ("UDP 195.37.77.100", "UDP pig.iptel.org"), tags=("ae2c8aec-fd00-4f0c-98b9-6d40b72c950c", None)
    ),
    "nmr.sip": Refused("body_too_short at 14:17", 400),
    "pingtel.sip": Read(
        "REGISTER iptel.org", ("UDP 195.37.77.103:9",), contact=("24.114.138.250:5061",), tags=("7618c7618^", None)
    ),
    "register02.sip": Read("REGISTER iptel.org:5060", ("UDP 195.37.77.181:9",), contact=("sdfd.df",)),
    "register04.sip": Read("REGISTER iptel.org:5060", ("UDP bat.iptel.org:5060",), unreadable=("bad_address at 2:4",)),
    "req-test1.sip": Read(
        "INVITE 127.0.0.1:5061",
        ("UDP 127.0.0.1", "UDP 127.0.0.1:5061"),
        contact=("foo.bar",),
        body=1,
        unreadable=("odd_start_line at 1:1",),
    ),
    "req1.sip": Refused("missing_from at 1:1", 400),
    "route.sip": Refused("body_too_short at 14:17", 400),
    "sg.sip": Read(
        "INVITE iptel.org",
        ("UDP sipproxy.icr.a-star.edu.sg:5060", "UDP 137.132.31.151:58072"),
        contact=("137.132.31.151:58072",),
        tags=("MTU3MT", None),
        body=153,
        unreadable=("bare_cr at 5:52",),
    ),
    "short_reply.sip": Refused("missing_from at 1:1"),
}


@dataclass(frozen=True)
class Conversation:
    """What a capture holds: how many of each message, and every address that they name."""

    messages: dict[str, int]
    places: set[str]


CAPTURES: dict[str, Conversation] = {
    "ndpi-register-4.pcapng": Conversation(
        {"keep-alive": 22, "REGISTER": 4, "401 REGISTER": 2, "200 REGISTER": 2}, {"10.192.60.4", "10.231.142.84:5060"}
    ),
    "ndpi-t38-fax-call.pcap": Conversation(
        {
            "INVITE": 16,
            "100 INVITE": 16,
            "180 INVITE": 4,
            "200 INVITE": 12,
            "ACK": 16,
            "OPTIONS": 8,
            "200 OPTIONS": 8,
            "488 INVITE": 4,
            "BYE": 4,
            "200 BYE": 4,
        },
        {"10.35.60.100:5060", "10.35.60.72", "10.35.60.72:5060", "138.132.169.101:5060", "192.168.100.219:5060"},
    ),
    "pcpp-requests.pcap": Conversation(
        {"INVITE": 1, "CANCEL": 1, "ACK": 1, "unfinished_line at 12:14": 1},
        {
            "178.45.73.241",
            "178.45.73.241:5060",
            "200.57.7.195",
            "200.57.7.195:5060",
            "200.57.7.195:55061",
            "213.192.59.75",
            "213.192.59.78:5080",
            "bestel.com:55060",
            "iptel.org",
        },
    ),
    "pcpp-responses.pcap": Conversation(
        {"100 INVITE": 1, "180 INVITE": 1, "200 INVITE": 1, "401 REGISTER": 2, "504 REGISTER": 1, "503 REGISTER": 1},
        {"10.129.34.51:51806", "10.3.160.214:5060", "200.57.7.195", "200.57.7.195:55061", "200.57.7.204:5061"},
    ),
    "suricata-call-two-invites.pcap": Conversation(
        {"INVITE": 2, "100 INVITE": 2, "180 INVITE": 2, "200 INVITE": 1, "ACK": 1, "REGISTER": 1, "200 REGISTER": 1},
        {
            "200.57.7.195",
            "200.57.7.195:5060",
            "200.57.7.195:55061",
            "200.57.7.204:5061",
            "bestel.com",
            "bestel.com:55060",
        },
    ),
    "suricata-compact-headers.pcap": Conversation(
        {"INVITE": 1}, {"192.168.1.2", "192.168.1.2:5060", "voip.brujula.net"}
    ),
    "suricata-multi-value-headers.pcap": Conversation(
        {"INVITE": 1}, {"192.168.1.2", "192.168.1.2:5060", "voip.brujula.net"}
    ),
    "suricata-options.pcap": Conversation({"OPTIONS": 1, "200 OPTIONS": 1}, {"192.168.1.10:5060", "example.com"}),
    "suricata-register-invite-nat.pcap": Conversation(
        {
            "REGISTER": 18,
            "401 REGISTER": 14,
            "100 REGISTER": 4,
            "403 REGISTER": 1,
            "200 REGISTER": 3,
            "keep-alive": 21,
            "INVITE": 11,
            "100 INVITE": 3,
            "CANCEL": 11,
            "408 INVITE": 1,
            "ACK": 7,
            "408 CANCEL": 1,
            "407 INVITE": 3,
            "403 INVITE": 2,
            "183 INVITE": 1,
            "480 INVITE": 1,
        },
        {"192.168.1.2", "192.168.1.2:5060", "212.242.33.35:5060", "sip.cybercity.dk", "voip.brujula.net"},
    ),
    "suricata-sdp-offer-answer.pcap": Conversation(
        {"INVITE": 1, "200 INVITE": 1}, {"192.168.1.2", "192.168.1.2:5060", "voip.brujula.net"}
    ),
    "suricata-tcp-register.pcap": Conversation(
        {"REGISTER": 1, "200 REGISTER": 1}, {"192.168.43.100", "192.168.43.1:48376"}
    ),
    "zeek-invalid-content-length.pcap": Conversation({"bad_content_length at 7:16": 2}, set()),
    "zeek-junk-before-request.pcap": Conversation({"keep-alive": 1, "missing_via at 1:1": 1}, set()),
}


def spelled(data: bytes, span: Span, address: Address) -> str:
    if address.hostport is None:
        return address.scheme.decode() + ("" if address.is_star else ":")
    at = within(span, address.hostport)
    return data[at.start : at.end].decode()


def told(data: bytes) -> Read | Refused:
    """Everything of a message that an engine may ask for."""
    try:
        message = read_message(data)
    except BadMessage as bad:
        answer = refuse(bad, bad.status, b"x")
        return Refused(str(bad), None if answer is None else status_of(answer))

    def places(name: bytes) -> tuple[str, ...]:
        return tuple(spelled(message.data, span, address) for span, address in message.addresses(name))

    start = str(message.status)
    if message.is_request:
        start = f"{message.method.decode()} {spelled(message.data, message.uri, message.request_uri())}"
    read = Read(
        start,
        tuple(vias(message)),
        places(b"contact"),
        tuple(place for name in ROUTES for place in places(name)),
        (text(message.from_tag), text(message.to_tag)),
        message.body.end - message.body.start,
    )
    return replace(read, unreadable=tuple(dict.fromkeys(map(partial(told_of, message), message.oddities))))


def told_of(message: Message, oddity: Oddity) -> str:
    return message.where(oddity).replace(" in line ", " at ").replace(", column ", ":")


def text(tag: bytes | None) -> str | None:
    return None if tag is None else tag.decode()


def vias(message: Message) -> Iterator[str]:
    for span, via in message.vias():
        at = within(span, via.hostport)
        yield f"{via.transport.decode()} {message.data[at.start : at.end].decode()}"


def status_of(answer: bytes) -> int:
    """Of an answer to a request that may lack something: then it lacks the same, and is no whole message."""
    return int(answer.split(b" ")[1])


def said(path: Path) -> list[bytes]:
    """Every datagram to and from SIP's port, and every message of streams."""
    messages = [datagram.data for datagram in datagrams(path, 5060)]
    for connection in [*connections(path, 5060), *connections(path, 5054)]:
        framers = {side: StreamFramer() for side in Side}
        for side, data in connection.said:
            framers[side].push(data)
            while (message := framers[side].pop()) is not None:
                messages.append(message)
        assert not any(map(len, framers.values()))
    return messages


def label(data: bytes) -> str:
    if is_keep_alive(data):
        return "keep-alive"
    message = told(data)
    if isinstance(message, Refused):
        return message.why
    cseq = read_message(data).cseq.method.decode()
    return f"{message.start} {cseq}" if message.start.isdigit() else cseq


def named(data: bytes) -> set[str]:
    message = None if is_keep_alive(data) else told(data)
    if not isinstance(message, Read):
        return set()
    target = message.start.split()[1:]
    return {*(via.split()[1] for via in message.via), *message.contact, *message.route, *target}


@pytest.mark.parametrize(
    ("folder", "expected"), [("sip-torture", TORTURE), ("sip-messages", MESSAGES), ("sip", CAPTURES)]
)
def test_every_message_has_its_expectation(folder: str, expected: dict[str, object]) -> None:
    files = names(folder)
    assert files <= expected.keys()


@pytest.mark.parametrize("name", TORTURE)
def test_torture_message_is_read_or_refused_as_it_should_be(name: str) -> None:
    assert told(found("sip-torture", name).read_bytes()) == TORTURE[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_single_message_is_read_or_refused_as_it_should_be(name: str) -> None:
    assert told(found("sip-messages", name).read_bytes()) == MESSAGES[name]


@pytest.mark.parametrize("name", CAPTURES)
def test_captured_messages_are_read_or_refused_as_they_should_be(name: str) -> None:
    messages = said(found("sip", name))
    assert Counter(label(data) for data in messages) == CAPTURES[name].messages
    assert {place for data in messages for place in named(data)} == CAPTURES[name].places


WHOLE = [name for name, expected in TORTURE.items() if isinstance(expected, Read)]


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("step", [1, 7, 65536])
def test_torture_message_is_cut_from_a_stream_as_long_as_it_is_read(name: str, step: int) -> None:
    data = found("sip-torture", name).read_bytes()
    message = read_message(data)
    if message.content_length is None:
        with pytest.raises(BadMessage, match="content_length_missing"):
            first_piece(data, step)
    else:
        behind = len(message.data) - message.body.end
        assert first_piece(data, step) == data[: len(data) - behind]


def first_piece(data: bytes, step: int) -> bytes | None:
    framer = StreamFramer()
    for at in range(0, len(data), step):
        framer.push(data[at : at + step])
        if (piece := framer.pop()) is not None:
            return piece
    return None


def test_tortuous_message_says_what_rfc_4475_says_that_it_does() -> None:
    """RFC 4475 s.3.1.1.1: every value, whatever blanks, folds and escapes stand around it."""
    message = read_message(found("sip-torture", "wsinv.dat").read_bytes())
    assert message.call_id == b"wsinv.ndaksdj@192.0.2.1"
    assert message.cseq == (9, b"INVITE")
    assert message.first(b"max-forwards") == b"0068"
    assert message.first(b"subject") == b""
    assert message.first(b"newfangledheader") == b"newfangled value continued newfangled value"
    assert message.first(b"unknownheaderwithunusualvalue") == b";;,,;;,;"
    assert [via.branch for _, via in message.vias()] == [b"390skdjuw", b"z9hG4bK9ikj8", b"z9hG4bK30239"]
    (_, contact), *_ = message.addresses(b"contact")
    assert (contact.parameter(b"newparam"), contact.parameter(b"secondparam")) == (b"newvalue", b"")
    assert contact.parameter(b"q") == b"0.33"
    (_, route), *_ = message.addresses(b"route")
    assert (route.uri_parameter(b"lr"), route.uri_parameter(b"unknownwith")) == (b"", b"value")
    assert message.request_uri().uri_parameter(b"unknownparam") == b""


def test_escaped_names_are_not_what_they_escape() -> None:
    """RFC 4475 s.3.1.1.5: `C%6Fntact` is no Contact, and `RE%47IST%45R` no REGISTER."""
    message = read_message(found("sip-torture", "esc02.dat").read_bytes())
    assert message.first(b"c%6fntact") == b"<sip:alias2@host2.example.com>"
    assert message.method != b"REGISTER"


def test_received_without_brackets_is_an_address() -> None:
    """RFC 5118 s.4.5."""
    message = read_message(found("sip-torture", "via-received-param-no-delim.dat").read_bytes())
    (_, via), *_ = message.vias()
    assert via.received == ip_address("2001:db8::9:255")


def test_header_in_a_contact_does_not_make_it_a_route() -> None:
    """RFC 4475 s.3.3.14."""
    message = read_message(found("sip-torture", "regescrt.dat").read_bytes())
    (span, contact), *_ = message.addresses(b"contact")
    assert message.data[span.start : span.end] == b"<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"
    assert contact.host == b"example.com"
