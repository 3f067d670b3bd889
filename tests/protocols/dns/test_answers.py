"""Addresses in answers (protocols/dns/answers.py): which are translated, which stay, and which are refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import dns.flags
import pytest

from protocols.contract.addresses import Transport
from protocols.dns.addresses import is_inside
from protocols.dns.options import DnsOptions
from protocols.dns.reverse import address_of, name_of
from protocols.dns.stream import framed
from protocols.dns.wire import text_of_name, wire_of_name
from tests.harness.playbook import Session
from tests.protocols.dns.messages import (
    CLIENT,
    SERVER,
    SIGNATURE,
    answer,
    asking,
    question,
    read,
    records,
    through,
)

PAIRS = {
    ip_network("203.0.113.0/28"): ip_network("10.1.0.0/28"),
    ip_network("2001:db8:7::/64"): ip_network("fd07::/64"),
}
WWW = question("www.example")


def translating(**options: Any) -> Session:
    return asking(translate=PAIRS, **options)


def test_an_address_is_replaced_in_its_place_and_is_remembered_for_less_long() -> None:
    """DN15, DN17."""
    session = translating()
    came = answer(WWW, "www.example. 3600 IN A 203.0.113.5", "www.example. 3600 IN A 192.0.2.9")
    went = through(session, WWW, came)
    assert records(went) == ["www.example. 60 IN A 10.1.0.5", "www.example. 60 IN A 192.0.2.9"]
    assert len(went) == len(came)
    (told,) = session.notes("address.rewritten")
    assert told["changes"] == [{"field": b"A www.example.", "before": "203.0.113.5", "after": "10.1.0.5"}]


def test_a_shorter_time_to_live_stays() -> None:
    went = through(translating(), WWW, answer(WWW, "www.example. 5 IN A 203.0.113.5"))
    assert records(went) == ["www.example. 5 IN A 10.1.0.5"]


def test_an_answer_without_such_an_address_passes_byte_for_byte() -> None:
    came = answer(WWW, "www.example. 3600 IN CNAME web.example.", "web.example. 3600 IN A 192.0.2.5", authentic=True)
    assert through(translating(), WWW, came) == came


def test_a_line_of_the_log_tells_of_a_few_addresses_and_an_answer_has_no_hundreds() -> None:
    records_of = [f"www.example. 60 IN A 203.0.{number // 256}.{number % 256}" for number in range(257)]
    pairs = {ip_network("203.0.0.0/16"): ip_network("10.2.0.0/16")}
    session = asking(translate=pairs)
    assert len(records(through(session, WWW, answer(WWW, *records_of[:256])))) == 256
    (told,) = session.notes("address.rewritten")
    assert len(told["changes"]) == 17 and told["changes"][16]["field"] == "and 240 more"
    session = asking(translate=pairs)
    assert through(session, WWW, answer(WWW, *records_of)) == b""
    assert session.violations() == ["dns.malformed"]


def test_ipv6_and_a_chain_of_names_and_what_comes_along() -> None:
    asked = question("_sip._udp.example", "SRV", use_edns=0, payload=1232)
    came = answer(
        asked,
        "_sip._udp.example. 3600 IN SRV 1 1 5060 pbx.example.",
        more=("pbx.example. 3600 IN A 203.0.113.1", "pbx.example. 3600 IN AAAA 2001:db8:7::1"),
        authority=("example. 3600 IN NS ns.example.",),
    )
    assert records(through(translating(), asked, came)) == [
        "_sip._udp.example. 3600 IN SRV 1 1 5060 pbx.example.",
        "pbx.example. 60 IN A 10.1.0.1",
        "pbx.example. 60 IN AAAA fd07::1",
    ]
    asked = question("www.example", "AAAA")
    came = answer(asked, "www.example. 9 IN CNAME a.example.", "a.example. 9 IN AAAA 2001:db8:7::9")
    assert records(through(translating(), asked, came))[1] == "a.example. 9 IN AAAA fd07::9"


def test_hints_of_service_bindings_are_translated_as_addresses_are() -> None:
    """DN15: a client prefers them."""
    asked = question("www.example", "HTTPS")
    text = 'www.example. 300 IN HTTPS 1 . alpn="h2,h3" ipv4hint="203.0.113.5,192.0.2.1" ipv6hint="2001:db8:7::5"'
    went = records(through(translating(), asked, answer(asked, text)))
    assert 'ipv4hint="10.1.0.5,192.0.2.1"' in went[0] and 'ipv6hint="fd07::5"' in went[0]
    assert 'alpn="h2,h3"' in went[0] and went[0].startswith("www.example. 60 IN")


def bound(data: bytes) -> bytes:
    """An answer with a service binding of these bytes."""
    asked = question("www.example", "HTTPS")
    came = bytearray(answer(asked))
    came[7] = 1
    return bytes(came) + b"\xc0\x0c\0\x41\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\1\3abc",
        b"\0\1\xc0\x0c",
        b"\0\1\0\0\4\0\3\1\2\3",
        b"\0\1\0\0\4\0\4\1\2\3",
        b"\0\1\0\0\6\0\4\1\2\3\4",
        b"\0\1\0\0\4",
        b"\0\1\0\0\4\0",
    ],
    ids=repr,
)
def test_a_service_binding_that_cannot_be_read_is_dropped(data: bytes) -> None:
    session = translating()
    assert through(session, question("www.example", "HTTPS"), bound(data)) == b""
    assert session.violations() == ["dns.malformed"]


@pytest.mark.parametrize("data", [b"\0\0\0", b"\0\1\3abc\0", b"\0\1\0\0\3\0\2\1\xbb\0\4\0\0"], ids=repr)
def test_a_service_binding_without_addresses_passes(data: bytes) -> None:
    assert through(translating(), question("www.example", "HTTPS"), bound(data)) == bound(data)


def test_an_address_record_of_another_length_is_dropped() -> None:
    came = answer(WWW, "www.example. 60 IN A 203.0.113.5")
    assert through(translating(), WWW, came[:-5] + b"\3" + came[-4:-1]) == b""


def test_other_classes_and_the_authority_section_stay() -> None:
    asked = question("www.example", "A", rdclass=3)
    came = bytearray(answer(asked))
    came[7] = 1
    chaos = bytes(came) + b"\xc0\x0c\0\1\0\3\0\0\0\x3c\0\4\xcb\0\x71\5"
    assert through(translating(), asked, chaos) == chaos
    came2 = answer(WWW, authority=("ns.example. 60 IN A 203.0.113.5",))
    assert through(translating(), WWW, came2) == came2


# -- DNSSEC ------------------------------------------------------------------------------------------------------------

SIGNED = (
    "www.example. 3600 IN A 203.0.113.5",
    f"www.example. 3600 IN RRSIG {SIGNATURE.format('A')}",
    "www.example. 3600 IN TXT text",
    f"www.example. 3600 IN RRSIG {SIGNATURE.format('TXT')}",
)
ASKED_SIGNED = question("www.example", "A", want_dnssec=True)


def test_a_signed_address_is_left_alone_and_the_log_says_so() -> None:
    """DN18."""
    session = translating()
    came = answer(ASKED_SIGNED, *SIGNED, authentic=True)
    assert through(session, ASKED_SIGNED, came) == came
    assert session.notes("dns.kept") == [{"name": b"www.example.", "addresses": ["203.0.113.5"], "reason": "signed"}]
    assert session.notes("address.rewritten") == []


def test_what_is_not_signed_beside_it_is_translated() -> None:
    came = answer(
        ASKED_SIGNED, "www.example. 60 IN CNAME cdn.example.", f"www.example. 60 IN RRSIG {SIGNATURE.format('CNAME')}",
        "cdn.example. 60 IN A 203.0.113.5", authentic=True,
    )  # fmt: skip
    went = through(translating(), ASKED_SIGNED, came)
    assert records(went)[2] == "cdn.example. 60 IN A 10.1.0.5"
    assert not read(went).flags & dns.flags.AD


def test_signatures_of_what_is_changed_can_be_taken_out() -> None:
    session = translating(dnssec="strip")
    went = through(session, ASKED_SIGNED, answer(ASKED_SIGNED, *SIGNED, authentic=True))
    found = records(went)
    assert found[:2] == ["www.example. 60 IN A 10.1.0.5", 'www.example. 3600 IN TXT "text"']
    assert len(found) == 3 and "RRSIG TXT" in found[2]
    assert not read(went).flags & dns.flags.AD
    assert read(went).edns == 0  # OPT is still there


def test_or_left_wrong() -> None:
    went = through(translating(dnssec="translate"), ASKED_SIGNED, answer(ASKED_SIGNED, *SIGNED, authentic=True))
    found = records(went)
    assert "www.example. 60 IN A 10.1.0.5" in found and any("RRSIG A" in line for line in found)
    assert not read(went).flags & dns.flags.AD


def test_a_message_that_is_signed_as_a_whole_is_never_touched() -> None:
    """DN18: TSIG, and SIG(0) by its covered type 0."""
    tsig = b"\3key\0\0\xfa\0\xff\0\0\0\0\0\4abcd"
    sig0 = b"\0\0\x18\0\xff\0\0\0\0\0\4\0\0ab"
    for seal in (tsig, sig0):
        came = bytearray(answer(WWW, "www.example. 60 IN A 203.0.113.5") + seal)
        came[11] += 1
        session = translating(dnssec="strip")
        assert through(session, WWW, bytes(came)) == bytes(came)
        assert session.notes("dns.kept")[0]["reason"] == "signed"


def test_authentic_data_is_cleared_where_an_address_was_changed() -> None:
    came = answer(WWW, "www.example. 60 IN A 203.0.113.5", authentic=True)
    assert not read(through(translating(), WWW, came)).flags & dns.flags.AD


# -- as NAT maps it ----------------------------------------------------------------------------------------------------


def test_what_policies_publish_is_translated_for_who_reaches_it_otherwise() -> None:
    """DN13."""
    session = asking(published="translate")
    session.pinholes.published[ip_address("10.1.0.5")] = (ip_address("203.0.113.5"),)
    went = through(session, WWW, answer(WWW, "www.example. 60 IN A 10.1.0.5", "www.example. 60 IN A 10.1.0.6"))
    assert records(went) == ["www.example. 60 IN A 203.0.113.5", "www.example. 60 IN A 10.1.0.6"]


def test_what_is_published_at_several_addresses_is_left_alone_and_told() -> None:
    """DN16."""
    session = asking(published="translate")
    session.pinholes.published[ip_address("10.1.0.5")] = (ip_address("203.0.113.5"), ip_address("203.0.113.6"))
    came = answer(WWW, "www.example. 60 IN A 10.1.0.5")
    assert through(session, WWW, came) == came
    assert session.notes("dns.kept") == [{"name": b"www.example.", "addresses": ["10.1.0.5"], "reason": "ambiguous"}]


# -- names of addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "known"),
    [("10.1.0.5", "203.0.113.5"), ("fd07::5", "2001:db8:7::5")],
)
def test_the_name_of_an_address_is_asked_for_by_the_one_that_the_server_knows(asked: str, known: str) -> None:
    """DN15. The client gets its own question back, letter for letter."""
    mine = text_of_name(name_of(ip_address(asked).packed)).decode().upper()
    theirs = text_of_name(name_of(ip_address(known).packed)).decode()
    session = translating(ptr=True)
    session.receive(CLIENT, question(mine, "PTR", use_edns=0))
    went = session.sent(SERVER)
    assert read(went).question[0].to_text() == f"{theirs} IN PTR"
    assert (read(went).edns, read(went).id) == (0, 0x1234)
    session.receive(
        SERVER,
        answer(went, f"{theirs} 60 IN PTR www.example.", more=("www.example. 60 IN A 203.0.113.5",)),
    )
    back = session.sent(CLIENT)
    assert records(back) == [f"{mine} 60 IN PTR www.example.", "www.example. 60 IN A 10.1.0.5"]
    assert read(back).question[0].to_text() == f"{mine} IN PTR"
    assert [note["message"] for note in session.notes("address.rewritten")] == ["question", "answer"]


def test_names_within_data_are_written_anew_with_the_rest() -> None:
    """RFC 3597 s.4: they may be compressed, and point to what has moved."""
    session = translating(ptr=True)
    session.receive(CLIENT, question("5.0.1.10.in-addr.arpa", "PTR"))
    came = answer(
        session.sent(SERVER),
        "5.113.0.203.in-addr.arpa. 60 IN CNAME 5.0-15.113.0.203.in-addr.arpa.",
        "5.0-15.113.0.203.in-addr.arpa. 60 IN PTR www.example.",
        authority=("113.0.203.in-addr.arpa. 60 IN SOA ns.113.0.203.in-addr.arpa. root.example. 1 2 3 4 5",),
        more=(
            "a.example. 60 IN MX 5 mx.example.",
            "b.example. 60 IN SRV 1 2 3 mx.example.",
            'c.example. 60 IN TXT "t"',
        ),
    )
    session.receive(SERVER, came)
    went = read(session.sent(CLIENT))
    assert [line for rrset in went.answer for line in str(rrset).splitlines()] == [
        "5.0.1.10.in-addr.arpa. 60 IN CNAME 5.0-15.113.0.203.in-addr.arpa.",
        "5.0-15.113.0.203.in-addr.arpa. 60 IN PTR www.example.",
    ]
    assert went.authority == read(came).authority
    assert {str(rrset) for rrset in went.additional} == {str(rrset) for rrset in read(came).additional}


@pytest.mark.parametrize(
    "asked",
    [
        question("4.3.2.1.in-addr.arpa", "PTR"),
        question("0.1.10.in-addr.arpa", "PTR"),
        question("05.0.1.10.in-addr.arpa", "PTR"),
        question("256.0.1.10.in-addr.arpa", "PTR"),
        question("x.0.1.10.in-addr.arpa", "PTR"),
        question("5.ip6.arpa", "PTR"),
        question("www.example", "PTR"),
        question("5.0.1.10.in-addr.arpa", "PTR", rdclass=3),
        question("5.0.1.10.in-addr.arpa", "TXT"),
        question("5.0.1.10.in-addr.arpa", "PTR", want_dnssec=True),
        question("5.0.1.10.in-addr.arpa", "PTR", flags=dns.flags.RD | dns.flags.CD),
    ],
)
def test_other_questions_go_on_as_they_came(asked: bytes) -> None:
    session = translating(ptr=True)
    session.receive(CLIENT, asked)
    assert session.sent(SERVER) == asked


def test_one_who_checks_signatures_is_answered_about_another_name_if_the_option_says_so() -> None:
    session = translating(ptr=True, dnssec="strip")
    session.receive(CLIENT, question("5.0.1.10.in-addr.arpa", "PTR", want_dnssec=True))
    name = "5.113.0.203.in-addr.arpa."
    went = session.sent(SERVER)
    assert read(went).question[0].to_text() == f"{name} IN PTR"
    came = answer(went, f"{name} 60 IN PTR a.example.", f"{name} 60 IN RRSIG {SIGNATURE.format('PTR')}")
    session.receive(SERVER, came)
    assert records(session.sent(CLIENT)) == ["5.0.1.10.in-addr.arpa. 60 IN PTR a.example."]


def test_published_addresses_have_names_too() -> None:
    session = asking(published="translate", ptr=True)
    session.pinholes.published[ip_address("203.0.113.5")] = (ip_address("10.1.0.5"),)
    session.receive(CLIENT, question("5.0.1.10.in-addr.arpa", "PTR"))
    assert read(session.sent(SERVER)).question[0].to_text() == "5.113.0.203.in-addr.arpa. IN PTR"


def test_an_answer_that_became_too_long_for_a_datagram_sends_the_client_to_tcp() -> None:
    session = asking(translate={ip_network("1.2.3.0/28"): ip_network("100.101.102.0/28")}, ptr=True)
    session.receive(CLIENT, question("5.102.101.100.in-addr.arpa", "PTR"))
    name = "5.3.2.1.in-addr.arpa."
    came = answer(
        session.sent(SERVER),
        *(f"{name} 60 IN PTR {'a' * (11 if number else 23)}{number:02}.host.example." for number in range(16)),
    )
    assert 506 < len(came) <= 512, len(came)
    session.receive(SERVER, came)
    went = read(session.sent(CLIENT))
    assert went.flags & dns.flags.TC and not went.answer
    assert went.question[0].to_text() == "5.102.101.100.in-addr.arpa. IN PTR"


def renamed(**options: Any) -> tuple[Session, bytes]:
    """A session that has asked for the name of a translated address, and the answer to it."""
    session = translating(ptr=True, **options)
    session.receive(CLIENT, question("5.0.1.10.in-addr.arpa", "PTR"))
    return session, answer(session.sent(SERVER), "5.113.0.203.in-addr.arpa. 60 IN PTR www.example.")


def test_what_is_signed_as_a_whole_about_another_name_is_dropped() -> None:
    session, came = renamed()
    session.receive(SERVER, came[:11] + b"\1" + came[12:] + b"\3key\0\0\xfa\0\xff\0\0\0\0\0\4abcd")
    assert session.sent(CLIENT) == b""
    assert session.violations() == ["dns.malformed"]


def test_a_signature_that_was_not_asked_for_keeps_nothing_of_another_name() -> None:
    session, _ = renamed()
    name = "5.113.0.203.in-addr.arpa."
    signed = answer(
        session.sent(SERVER), f"{name} 60 IN PTR a.example.", f"{name} 60 IN RRSIG {SIGNATURE.format('PTR')}"
    )
    session.receive(SERVER, signed)
    assert records(session.sent(CLIENT))[0] == "5.0.1.10.in-addr.arpa. 60 IN PTR a.example."
    assert session.notes("dns.kept") == []


def test_a_name_that_is_longer_than_its_record_is_dropped() -> None:
    session, came = renamed()
    session.receive(SERVER, came[:-15] + b"\0\2" + came[-13:])
    assert session.sent(CLIENT) == b""
    assert session.violations() == ["dns.malformed"]


def test_names_beyond_the_reach_of_pointers_are_written_out() -> None:
    """RFC 1035 s.4.1.4: a pointer has 14 bits."""
    session = asking(translate=PAIRS, ptr=True, transport=Transport.TCP)
    session.receive(CLIENT, framed(question("5.0.1.10.in-addr.arpa", "PTR")))
    name = "5.113.0.203.in-addr.arpa."
    texts = (f'{name} 60 IN TXT "{letter * 250}"' for letter in map(chr, range(0x61, 0x61 + 26)))
    pointers = (f"{name} 60 IN PTR h{number}.a.very.long.name.example." for number in range(700))
    came = answer(session.sent(SERVER)[2:], *texts, *pointers, "last.example. 60 IN MX 5 mail.last.example.")
    session.receive(SERVER, framed(came))
    went = records(session.sent(CLIENT)[2:])
    assert len(went) == 727 and went[-1] == "last.example. 60 IN MX 5 mail.last.example."


def test_an_error_without_a_question_belongs_to_another_name_too() -> None:
    session, came = renamed()
    session.receive(SERVER, came[:3] + b"\x85" + bytes(8))
    assert session.sent(CLIENT) == came[:3] + b"\x85" + bytes(8)


def test_an_observer_passes_such_a_question_on() -> None:
    session = translating(ptr=True, mode="observe")
    asked = question("5.0.1.10.in-addr.arpa", "PTR")
    session.receive(CLIENT, asked)
    assert session.sent(SERVER) == asked


def test_names_of_addresses_are_read_as_they_are_written() -> None:
    for text in ("10.1.0.5", "255.255.255.255", "fd00::1"):
        packed = ip_address(text).packed
        assert address_of(name_of(packed)) == packed
        assert text_of_name(name_of(packed)).decode() == ip_address(text).reverse_pointer + "."
    assert address_of(wire_of_name("g" + ".0" * 31 + ".ip6.arpa")) is None


# -- rebinding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.1", "172.31.0.1", "127.0.0.1", "169.254.1.1", "0.0.0.0", "100.64.0.1"],
)
def test_a_name_of_the_internet_that_leads_inside_is_refused(address: str) -> None:
    session = asking(rebinding="refuse")
    went = read(through(session, WWW, answer(WWW, f"www.example. 60 IN A {address}")))
    assert went.rcode() == 5 and not went.answer
    assert read(WWW).is_response(went)
    (told,) = session.notes("violation")
    assert told["detail"] == f"www.example. at {address}"


@pytest.mark.parametrize("address", ["::1", "::", "fd00::1", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"])
def test_so_is_one_of_ipv6(address: str) -> None:
    asked = question("www.example", "AAAA")
    assert (
        read(through(asking(rebinding="refuse"), asked, answer(asked, f"www.example. 60 IN AAAA {address}"))).rcode()
        == 5
    )


@pytest.mark.parametrize("address", ["192.0.2.1", "172.32.0.1", "11.0.0.1", "100.128.0.1"])
def test_an_address_of_the_internet_passes(address: str) -> None:
    came = answer(WWW, f"www.example. 60 IN A {address}")
    assert through(asking(rebinding="refuse"), WWW, came) == came


def test_a_hint_is_as_good_as_an_address() -> None:
    asked = question("www.example", "HTTPS")
    came = answer(asked, 'www.example. 60 IN HTTPS 1 . ipv4hint="10.0.0.1"')
    assert read(through(asking(rebinding="refuse"), asked, came)).rcode() == 5


def test_an_address_of_this_gateway_is_refused_too() -> None:
    session = asking("snat", rebinding="refuse")
    assert read(through(session, WWW, answer(WWW, "www.example. 60 IN A 198.51.100.1"))).rcode() == 5


@pytest.mark.parametrize("name", ["www.corp.example", "CORP.example"])
def test_names_of_ones_own_may_lead_inside(name: str) -> None:
    asked = question(name)
    came = answer(asked, f"{name}. 60 IN A 10.0.0.1")
    assert through(asking(rebinding="refuse", local_domains=("Corp.example.",)), asked, came) == came


@pytest.mark.parametrize("name", ["notcorp.example", "corp.example.evil", "example"])
def test_other_names_are_not_taken_for_them(name: str) -> None:
    asked = question(name)
    session = asking(rebinding="refuse", local_domains=("corp.example",))
    assert read(through(session, asked, answer(asked, f"{name}. 60 IN A 10.0.0.1"))).rcode() == 5


def test_a_translated_address_may_lead_inside() -> None:
    session = asking(rebinding="refuse", translate=PAIRS)
    assert records(through(session, WWW, answer(WWW, "www.example. 60 IN A 203.0.113.5"))) == [
        "www.example. 60 IN A 10.1.0.5"
    ]


def test_addresses_are_told_apart_as_numbers() -> None:
    assert is_inside(ip_address("10.255.255.255").packed) and not is_inside(ip_address("2001:db8::1").packed)


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"translate": {ip_network("192.0.2.0/24"): ip_network("10.0.0.0/25")}}, "same size"),
        ({"translate": {ip_network("192.0.2.0/24"): ip_network("fd00::/24")}}, "same size"),
        (
            {
                "translate": {
                    ip_network("192.0.2.0/24"): ip_network("10.0.0.0/24"),
                    ip_network("10.0.0.0/28"): ip_network("203.0.113.0/28"),
                }
            },
            "translated again",
        ),
        ({"local_domains": ("a..b",)}, "local_domains"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], why: str) -> None:
    """DN20."""
    with pytest.raises(ValueError, match=why):
        DnsOptions(**options)


def test_what_one_gateway_has_translated_passes_the_next_one_as_it_is() -> None:
    """DN20."""
    once = through(translating(), WWW, answer(WWW, "www.example. 3600 IN A 203.0.113.5"))
    assert through(translating(), WWW, once) == once


def test_of_networks_within_each_other_the_smaller_one_counts() -> None:
    session = asking(
        translate={
            ip_network("203.0.0.0/16"): ip_network("10.2.0.0/16"),
            ip_network("203.0.113.5"): ip_network("10.1.0.77"),
        }
    )
    went = through(session, WWW, answer(WWW, "www.example. 60 IN A 203.0.113.5", "www.example. 60 IN A 203.0.113.6"))
    assert records(went) == ["www.example. 60 IN A 10.1.0.77", "www.example. 60 IN A 10.2.113.6"]
