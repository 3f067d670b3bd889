"""What an address in a message may open, and what its sender may learn from it (ARCHITECTURE.md, "What an address may
open"). The attacks are such as let a stranger reach any port of a phone or of a published server."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Abort, Send, Splice
from protocols.contract.pinholes import Grant
from protocols.sip.contacts import Called
from tests.harness.sip_flow import (
    CLIENT,
    DIALOG,
    OURS,
    PHONE,
    PROXY,
    SERVER,
    Flow,
    at,
    message,
    register,
    registered,
)

STRANGER, PBX, PUBLISHED = at("192.0.2.66:5060"), at("10.0.0.5:5060"), at("203.0.113.7:5060")
TO_BOB = "To: <sip:bob@example.org>;tag=b"


def published(transport: Transport = Transport.UDP, beside: Flow | None = None, **options: Any) -> Flow:
    """A PBX inside that anybody may call."""
    return Flow(peers=Peers(STRANGER, STRANGER, PBX, PUBLISHED, transport), beside=beside, **options)


def over_tcp(beside: Flow | None = None, port: int = 41000) -> Flow:
    peers = Peers(at(f"10.1.0.2:{port}"), at(f"203.0.113.1:{port + 1}"), PROXY, PROXY, Transport.TCP)
    return Flow(peers=peers, beside=beside)


def expected(transport: Transport = Transport.UDP, **options: Any) -> Flow:
    """A session that a pinhole has let in: the server calls the phone."""
    peers = Peers(at("198.51.100.2:5060"), at("198.51.100.2:5060"), PHONE, OURS, transport, role=Called())
    return Flow(peers=peers, **options)


def asks(
    method: str, *fields: str, number: int = 1, via: str = "UDP 192.0.2.66", uri: str = "sip:203.0.113.7"
) -> bytes:
    return message(
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{via};branch=z9hG4bK{number};rport",
        *DIALOG,
        "To: <sip:bob@example.org>",
        f"CSeq: {number} {method}",
        *fields,
    )


def answers(method: str, *fields: str, number: int = 1, via: str = "UDP 192.0.2.66", status: int = 200) -> bytes:
    return message(
        f"SIP/2.0 {status} OK",
        f"Via: SIP/2.0/{via};branch=z9hG4bK{number};rport=5060",
        *DIALOG,
        TO_BOB,
        f"CSeq: {number} {method}",
        *fields,
    )


def opened(flow: Flow) -> list[str]:
    return [line for line in flow.places.log if line.startswith(("open", "confirm", "renew"))]


GUESSES = [f"<sip:10.0.0.{number}:8089;transport=tcp;lr>" for number in range(1, 251)]


# -- what is said again ------------------------------------------------------------------------------------------------


def test_a_record_route_that_a_phone_copies_opens_nothing_and_comes_back_as_it_was() -> None:
    flow = Flow()
    route = "Record-Route: <sip:10.1.0.2:8443;transport=tcp;lr>"
    via = "UDP 198.51.100.2"
    flow.passes(SERVER, asks("INVITE", route, via=via, uri="sip:alice@203.0.113.1"))
    for status in (180, 200):
        said = answers("INVITE", route, "Contact: <sip:alice@10.1.0.2>", via=via, status=status)
        assert route.encode() in flow.passes(CLIENT, said)
    assert opened(flow) == []


@pytest.mark.parametrize("field", ["Record-Route", "Path"])
@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "REGISTER", "SUBSCRIBE"])
def test_of_guesses_that_a_server_repeats_none_is_told_from_the_others(method: str, field: str) -> None:
    flow = published()
    guesses = f"{field}: {', '.join(GUESSES)}"
    assert guesses.encode() in flow.passes(CLIENT, asks(method, guesses))
    assert guesses.encode() in flow.passes(SERVER, answers(method, guesses))
    assert opened(flow) == []


def test_a_route_of_a_proxy_inside_is_mapped_above_those_that_it_was_sent() -> None:
    flow = published()
    said = "Record-Route: <sip:10.0.0.4;lr>, <sip:10.0.0.5;lr>"
    flow.passes(CLIENT, asks("INVITE", said))
    answer = flow.passes(SERVER, answers("INVITE", "Record-Route: <sip:10.0.0.5;lr>", said))
    assert b"Record-Route: <sip:203.0.113.7;lr>\r\n" + said.encode() in answer


def test_a_registrar_inside_lists_guessed_contacts_as_they_were_sent() -> None:
    flow = published()
    contacts = "Contact: " + ", ".join(f"<sip:x@10.0.0.{number}>" for number in range(1, 33))
    assert contacts.encode() in flow.passes(CLIENT, asks("REGISTER", contacts))
    assert contacts.encode() in flow.passes(SERVER, answers("REGISTER", contacts))
    # Also when they were sent long ago, in another dialog.
    other = published(beside=flow)
    other.passes(CLIENT, asks("REGISTER", number=2))
    assert contacts.encode() in other.passes(SERVER, answers("REGISTER", contacts, number=2))


ODD = (
    "<sip:{};lr>", "sip:{}:8089", '"x" sip:{}>', "<sip:{}", "<sip:a@{}:99999>", "<sip:{}:5060transport=udp>",
    "<sip:a@{};lr>;x=,y", '"a"b" <sip:{}>', "<sip:a b@{}>", "<tel:{}>", "{}", "<sip:x@y;maddr={}>", "<<sip:{}>>",
    '399 {} "so"', "SIP/2.0/UDP {};branch=z9hG4bKq",
)  # fmt: skip
FIELDS = (
    "Record-Route", "Path", "Route", "Service-Route", "Refer-To", "Referred-By", "P-Asserted-Identity", "Diversion",
    "Reply-To", "History-Info", "Warning", "Via", "Subject",
)  # fmt: skip


@pytest.mark.parametrize("hiding", [False, True], ids=["plain", "hiding"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_right_guess_is_answered_like_a_wrong_one_in_whatever_field_and_form(field: str, hiding: bool) -> None:
    for form in ODD:
        heard = []
        for host in ("10.0.0.5", "10.0.0.4"):
            flow = published(topology_hiding=hiding)
            line = f"{field}: {form.format(host)}"
            flow.hear(CLIENT, asks("OPTIONS", line))
            for status in (200, 302, 404):
                sent = flow.hear(SERVER, answers("OPTIONS", line, status=status))
                heard.append([one.data.replace(host.encode(), b"HOST") for one in sent if isinstance(one, Send)])
        assert heard[:3] == heard[3:], form


def test_a_redirect_that_repeats_a_guess_tells_nothing() -> None:
    flow = published()
    flow.passes(CLIENT, asks("INVITE", uri="sip:x@10.0.0.5:8089"))
    contact = "Contact: <sip:x@10.0.0.5:8089>"
    assert contact.encode() in flow.passes(SERVER, answers("INVITE", contact, status=302))
    flow.passes(CLIENT, asks("INVITE", number=2))
    assert b"Contact: <sip:x@203.0.113.7>" in flow.passes(
        SERVER, answers("INVITE", "Contact: <sip:x@10.0.0.5>", number=2)
    )
    assert opened(flow) == []


def test_a_registrar_inside_is_not_told_its_own_address_for_a_contact_that_names_the_published_one() -> None:
    flow = published()
    contact = "Contact: <sip:x@203.0.113.7>"
    assert contact.encode() in flow.passes(CLIENT, asks("REGISTER", contact))
    assert contact.encode() in flow.passes(SERVER, answers("REGISTER", contact))


@pytest.mark.parametrize(
    "field",
    ["To: <sip:bob@10.0.0.5>", "From: <sip:alice@10.0.0.5>;tag=a", "Call-ID: x@10.0.0.5", "Call-ID: x@10.0.0.5;y"],
)
def test_names_that_are_guessed_come_back_as_they_were_though_the_topology_is_hidden(field: str) -> None:
    flow = published(topology_hiding=True)

    def with_it(data: bytes) -> bytes:
        name, _, value = field.encode().partition(b":")
        lines = [name + b":" + value if line.startswith(name + b":") else line for line in data.split(b"\r\n")]
        return b"\r\n".join(lines)

    assert field.encode() in flow.passes(CLIENT, with_it(asks("OPTIONS")))
    assert field.encode() in flow.passes(SERVER, with_it(answers("OPTIONS")))


def test_a_refer_tells_by_the_call_that_it_brings_about_no_address_of_the_inside() -> None:
    flow = Flow()
    via = "UDP 198.51.100.2"
    guess = "<sip:x@10.1.0.2:8443;transport=tcp>"
    flow.passes(SERVER, asks("REFER", f"Refer-To: {guess}", via=via, uri="sip:alice@203.0.113.1"))
    call = asks("INVITE", "Route: <sip:10.1.0.2;lr>", via="UDP 10.1.0.2", uri=guess.strip("<>"))
    passed = flow.passes(CLIENT, call.replace(b"one@", b"another@"))
    assert passed.startswith(b"INVITE sip:x@10.1.0.2:8443;transport=tcp SIP/2.0\r\n")
    assert b"Route: <sip:10.1.0.2;lr>\r\n" in passed
    assert opened(flow) == []


def test_a_port_that_a_server_claims_to_have_seen_is_not_told_to_the_phone() -> None:
    """Some put what they read there into their Contact, and REGISTER with it."""
    flow = Flow()
    flow.hear(CLIENT, register())
    for lie in (b";received=10.1.0.2;rport=8443", b";rport=8443", b";received=203.0.113.1;rport=8443"):
        via = b"203.0.113.1;branch=z9hG4bKr1"
        answer = flow.passes(SERVER, registered().replace(via, via + lie))
        assert b";rport=5060" in answer
    behind = b";received=192.0.2.200;rport=6000"
    assert behind in flow.passes(SERVER, registered().replace(via, via + behind))  # of another NAT further on


# -- what a party says of itself ---------------------------------------------------------------------------------------

OWN = "<sip:alice@10.1.0.2:8443;transport={}>"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    "field", ["Route", "Record-Route", "Path", "Service-Route", "Refer-To", "Referred-By", "Diversion", "Contact"]
)
def test_an_own_address_that_no_2xx_can_agree_to_is_stood_in_for_and_opens_nothing(field: str, transport: str) -> None:
    for method in ("OPTIONS", "MESSAGE", "REFER", "NOTIFY", "PUBLISH"):
        flow = Flow()
        passed = flow.passes(CLIENT, asks(method, f"{field}: {OWN.format(transport)}", via="UDP 10.1.0.2"))
        assert b"10.1.0.2:8443" not in passed
        assert opened(flow) == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_request_uri_that_names_its_sender_opens_nothing(transport: str) -> None:
    flow = Flow()
    uri = OWN.format(transport).strip("<>")
    assert flow.passes(CLIENT, asks("OPTIONS", via="UDP 10.1.0.2", uri=uri)).startswith(
        b"OPTIONS sip:alice@203.0.113.1:5060"
    )
    assert opened(flow) == []


@pytest.mark.parametrize("make", [Flow, over_tcp], ids=["udp", "tcp"])
def test_the_contact_of_a_register_admits_nobody_before_its_2xx(make: type[Flow]) -> None:
    flow = make()
    port = 5070
    flow.hear(CLIENT, register(1, f"<sip:alice@10.1.0.2:{port}>"))
    (grant,) = flow.places.standing.values()
    assert isinstance(grant, Grant)
    assert (grant.expect.allow, grant.expect.confirmed) == ((), False)
    refused = registered(1).replace(b"200 OK", b"401 Unauthorized")
    flow.hear(SERVER, refused)
    assert len(opened(flow)) == 1
    flow.hear(CLIENT, register(2, f"<sip:alice@10.1.0.2:{port}>"))
    flow.hear(SERVER, registered(2, f"<sip:alice@{grant.listen}>;expires=300"))
    assert opened(flow)[1:] == [f"renew {grant.listen} 600 for 198.51.100.2", f"confirm {grant.listen}"]


def test_what_a_phone_registers_for_another_transport_than_it_signals_by_opens_nothing() -> None:
    flow = Flow()
    passed = flow.passes(CLIENT, register(1, "<sip:alice@10.1.0.2:8443;transport=tcp>"))
    assert b"<sip:alice@203.0.113.1:5060;transport=tcp>" in passed
    flow.hear(SERVER, registered(1, "<sip:alice@203.0.113.1:5060;transport=tcp>;expires=300"))
    assert opened(flow) == []
    assert "registration.added" not in flow.events()
    assert [note.facts["changes"][0]["reason"] for note in flow.notes if note.event == "address.kept"] == [
        "other_transport"
    ]


def test_a_via_opens_no_port_for_connections() -> None:
    flow = over_tcp()
    data = asks("OPTIONS", via="TCP 10.1.0.2:8443").replace(b";rport", b"")
    passed = flow.passes(CLIENT, data)
    assert b"Via: SIP/2.0/TCP 203.0.113.1:41001;branch" in passed
    answer = answers("OPTIONS", via="TCP 203.0.113.1:41001").replace(b";rport=5060", b"")
    assert b"Via: SIP/2.0/TCP 10.1.0.2:8443;branch" in flow.passes(SERVER, answer)
    assert opened(flow) == []


def test_a_lower_via_opens_nothing_and_comes_back() -> None:
    flow = Flow()
    lower = "Via: SIP/2.0/UDP 10.1.0.2:8443;branch=z9hG4bKlower"
    passed = flow.passes(CLIENT, asks("OPTIONS", lower, via="UDP 10.1.0.2"))
    outside = "Via: SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bKlower"
    assert outside.encode() in passed
    assert lower.encode() in flow.passes(SERVER, answers("OPTIONS", outside, via="UDP 203.0.113.1"))
    assert opened(flow) == []


def test_the_contact_of_a_call_over_a_connection_is_open_from_its_2xx_to_its_end() -> None:
    flow = over_tcp()
    via = "TCP 10.1.0.2:41000"
    flow.passes(CLIENT, asks("INVITE", "Contact: <sip:alice@10.1.0.2:5060;transport=tcp>", via=via))
    (reserved,) = opened(flow)
    outside = reserved.split()[1]
    ours, far = "TCP 203.0.113.1:41001", "Contact: <sip:bob@pbx.example.org>"
    flow.hear(SERVER, answers("INVITE", far, via=ours, status=180))
    assert len(opened(flow)) == 1
    flow.hear(SERVER, answers("INVITE", far, via=ours))
    assert opened(flow)[1:] == [f"renew {outside} 604800 for 198.51.100.2", f"confirm {outside}"]
    for side, data in ((CLIENT, asks("BYE", number=2, via=via)), (SERVER, answers("BYE", number=2, via=ours))):
        flow.hear(side, data.replace(b"To: <sip:bob@example.org>\r\n", TO_BOB.encode() + b"\r\n"))
    assert opened(flow)[-1] == f"renew {outside} 604800 for "  # nobody


def test_a_subscription_over_a_connection_is_told_of_at_its_contact() -> None:
    flow = over_tcp()
    flow.passes(CLIENT, asks("SUBSCRIBE", "Contact: <sip:alice@10.1.0.2:5060>", via="TCP 10.1.0.2:41000"))
    flow.hear(SERVER, answers("SUBSCRIBE", "Expires: 300", via="TCP 203.0.113.1:41001"))
    assert [line.split()[0] for line in opened(flow)] == ["open", "renew", "confirm"]


@pytest.mark.parametrize("nat", [True, False], ids=["nat", "no_nat"])
def test_a_route_between_two_invites_is_taken_for_nobodys_way_in(nat: bool) -> None:
    """The second INVITE has a route more than the first; the answer repeats it, as if the phone had added it."""
    peers = Peers(
        at("10.1.0.2:41000"), at(f"{'203.0.113.1' if nat else '10.1.0.2'}:41001"), PROXY, PROXY, Transport.TCP
    )
    flow = Flow(peers=peers)
    via, uri = "TCP 198.51.100.2", f"sip:alice@{peers.client_as_seen}"
    route = "Record-Route: <sip:10.1.0.2:8443;transport=tcp;lr>"
    contact = "Contact: <sip:eve@192.0.2.66>"
    flow.hear(SERVER, asks("INVITE", contact, via=via, uri=uri))
    flow.hear(SERVER, asks("INVITE", contact, route, via=via, uri=uri, number=2))
    flow.hear(CLIENT, answers("INVITE", "Contact: <sip:alice@10.1.0.2:41000>", route, via=via, number=2))
    assert opened(flow) == []


def test_no_flow_has_more_than_four_ports_for_what_its_messages_name() -> None:
    flow = Flow()
    for number in range(20):
        port = 6000 + 2 * number
        call = asks("INVITE", f"Contact: <sip:a@10.1.0.2:{port}>", via=f"UDP 10.1.0.2:{port + 1}", number=number)
        assert b"10.1.0.2:" not in flow.passes(CLIENT, call.replace(b";rport", b"")).replace(
            b"Call-ID: one@10.1.0.2", b""
        )
    assert len(opened(flow)) == 4


# -- what comes by a pinhole -------------------------------------------------------------------------------------------


def test_tls_is_not_relayed_in_a_session_that_a_pinhole_let_in() -> None:
    flow = expected(Transport.TCP)
    assert flow.hear(CLIENT, b"\x16\x03\x01\x02\0\x01") == [Abort("tls_denied")]
    assert flow.notes[-1].facts["rule"] == "sip.tls_denied"
    flow = Flow(transport=Transport.TCP)
    assert flow.hear(CLIENT, b"\x16\x03\x01") == [Send(SERVER, b"\x16\x03\x01")]
    assert isinstance(flow.hear(SERVER, b"\x16\x03\x03")[-1], Splice)


STUN = b"\0\1\0\x08\x21\x12\xa4\x42twelve bytespayload!"


@pytest.mark.parametrize(
    "first", [b"PING", b"\0" * 8, b"\r\n" * 100, STUN, b"not SIP at all", b"INVITE sip:x SIP/2.0\r\n"]
)
@pytest.mark.parametrize("malformed", ["pass", "respond", "discard"])
def test_by_a_pinhole_nothing_passes_unread_to_who_has_not_shown_that_it_speaks_sip(
    first: bytes, malformed: str
) -> None:
    flow = expected(malformed=malformed)
    assert [effect for effect in flow.hear(CLIENT, first) if isinstance(effect, Send) and effect.to is SERVER] == []
    ping = asks("OPTIONS", via="UDP 198.51.100.2", uri="sip:alice@203.0.113.1")
    flow.passes(CLIENT, ping)
    assert flow.hear(CLIENT, b"\r\n\r\n") == []
    flow.passes(SERVER, answers("OPTIONS", via="UDP 198.51.100.2"))
    assert flow.hear(CLIENT, b"\r\n\r\n") == [Send(SERVER, b"\r\n\r\n")]
    assert flow.hear(CLIENT, b"not SIP at all") == []


def test_line_ends_by_a_pinhole_for_connections_wait_for_an_answer() -> None:
    flow = expected(Transport.TCP)
    assert flow.hear(CLIENT, b"\r\n\r\n") == []


# -- one address outside -----------------------------------------------------------------------------------------------


def test_a_phone_has_one_address_outside_whatever_the_transport() -> None:
    """RFC 3263 s.4.1: a Contact without a transport is called by UDP, also when it came by TCP."""
    by_udp = Flow(peers=Peers(PHONE, at("203.0.113.1:40404"), PROXY, PROXY, Transport.UDP))
    by_udp.passes(CLIENT, register())
    flow = over_tcp(by_udp)
    flow.passes(CLIENT, asks("INVITE", "Contact: <sip:alice@10.1.0.2>", via="TCP 10.1.0.2:41000"))
    (grant,) = (grant for grant in flow.places.standing.values() if isinstance(grant, Grant))
    assert grant.expect.prefer == 40404


def test_a_contact_for_connections_has_the_phones_own_port_if_that_is_free() -> None:
    flow = over_tcp()
    flow.passes(CLIENT, register())
    (grant,) = flow.places.standing.values()
    assert isinstance(grant, Grant)
    assert grant.expect.prefer == 5060


def test_an_address_outside_is_forgotten_with_its_last_flow() -> None:
    flow = Flow()
    other = Flow(peers=Peers(PHONE, OURS, at("198.51.100.3:5060"), at("198.51.100.3:5060"), Transport.UDP), beside=flow)
    flow.engine.stop(1.0)
    assert flow.table.contacts.flows.seen(PHONE, OURS.host) == OURS
    other.engine.stop(1.0)
    assert flow.table.contacts.flows.seen(PHONE, OURS.host) is None


def test_a_server_at_another_port_of_the_host_that_signals_is_reached_through_it() -> None:
    """A PBX behind a proxy on the same machine; its Contact has no port outside, and finds its way back by the URI."""
    flow = published()
    flow.passes(CLIENT, asks("INVITE"))
    fields = "Record-Route: <sip:10.0.0.5;lr>", "Contact: <sip:bob@10.0.0.5:5080;ob>"
    answer = flow.passes(SERVER, answers("INVITE", *fields))
    assert b"Record-Route: <sip:203.0.113.7;lr>\r\nContact: <sip:bob@203.0.113.7:5060;ob>\r\n" in answer
    ends = asks("BYE", "Route: <sip:203.0.113.7;lr>", uri="sip:bob@203.0.113.7:5060;ob", number=2)
    passed = flow.passes(CLIENT, ends)
    assert passed.startswith(b"BYE sip:bob@10.0.0.5:5080;ob SIP/2.0\r\n")
    assert b"Route: <sip:10.0.0.5;lr>\r\n" in passed
    assert opened(flow) == []


def test_a_proxy_inside_that_changes_the_transport_knows_both_its_routes_again() -> None:
    flow = published()
    flow.passes(CLIENT, asks("INVITE"))
    inside = "<sip:10.0.0.5;r2=on;lr>, <sip:10.0.0.5;transport=tcp;r2=on;lr>"
    outside = inside.replace("10.0.0.5", "203.0.113.7")
    assert outside.encode() in flow.passes(SERVER, answers("INVITE", f"Record-Route: {inside}"))
    assert inside.encode() in flow.passes(CLIENT, asks("ACK", f"Route: {outside}"))


def test_a_proxy_inside_with_two_ports_knows_both_its_routes_again() -> None:
    """Kamailio leaves the usual port out of its Record-Route, and that alone tells them apart outside."""
    flow = published()
    flow.passes(CLIENT, asks("INVITE"))
    inside = "<sip:10.0.0.5:5080;r2=on;lr>, <sip:10.0.0.5;r2=on;lr>"
    outside = "<sip:203.0.113.7:5060;r2=on;lr>, <sip:203.0.113.7;r2=on;lr>"
    assert outside.encode() in flow.passes(SERVER, answers("INVITE", f"Record-Route: {inside}"))
    assert inside.encode() in flow.passes(CLIENT, asks("ACK", f"Route: {outside}"))


def test_a_proxy_inside_that_names_no_port_knows_its_route_again_by_whatever_port_stands_for_it() -> None:
    """It has called out by TCP, so that the port that stands for it is one of its connection's."""
    proxy, seen = at("10.0.0.5:40810"), at("203.0.113.7:46962")
    flow = Flow(peers=Peers(proxy, seen, STRANGER, STRANGER, Transport.TCP))
    inside, outside = "<sip:10.0.0.5;transport=tcp;lr>", "<sip:203.0.113.7:46962;transport=tcp;lr>"
    asked = asks("INVITE", f"Record-Route: {inside}", via="TCP 10.0.0.5")
    assert outside.encode() in flow.passes(CLIENT, asked)
    answer = answers("INVITE", f"Record-Route: {outside}", via="TCP 203.0.113.7:46962")
    assert inside.encode() in flow.passes(SERVER, answer)


# -- other names of a host ---------------------------------------------------------------------------------------------

ALIAS = "172.17.0.2"


def test_a_phone_that_takes_its_vpns_address_for_its_own_is_known_by_where_it_signals_from() -> None:
    flow = Flow()
    call = asks("INVITE", f"Contact: <sip:alice@{ALIAS}:5060>", via=f"UDP {ALIAS}:5060")
    passed = flow.passes(CLIENT, call)
    assert b"Via: SIP/2.0/UDP 203.0.113.1:5060;branch" in passed
    assert b"Contact: <sip:alice@203.0.113.1:5060>\r\n" in passed
    answer = answers("INVITE", "Contact: <sip:bob@198.51.100.2>", via="UDP 203.0.113.1:5060")
    assert f"Via: SIP/2.0/UDP {ALIAS}:5060;branch".encode() in flow.passes(SERVER, answer)
    ends = asks("BYE", via="UDP 198.51.100.2", uri="sip:alice@203.0.113.1:5060", number=7)
    assert flow.passes(SERVER, ends).startswith(f"BYE sip:alice@{ALIAS}:5060 SIP/2.0\r\n".encode())
    assert opened(flow) == []


def test_such_a_phone_can_be_called_once_it_is_registered() -> None:
    flow = Flow()
    asked = register(1, f"<sip:alice@{ALIAS}>").replace(b"10.1.0.2;", ALIAS.encode() + b";")
    assert b"Contact: <sip:alice@203.0.113.1>" in flow.passes(CLIENT, asked)
    assert f"Contact: <sip:alice@{ALIAS}>;expires=300".encode() in flow.passes(SERVER, registered())
    assert opened(flow) == ["open 203.0.113.1:5060 for 10.1.0.2:5060 from 198.51.100.2"]
    incoming = expected()
    incoming = Flow(peers=incoming.inner._peers, beside=flow)
    incoming.hear(CLIENT, asks("INVITE", via="UDP 198.51.100.2", uri="sip:alice@203.0.113.1"))
    answer = answers("INVITE", f"Contact: <sip:alice@{ALIAS}>", via="UDP 198.51.100.2")
    assert b"Contact: <sip:alice@203.0.113.1>" in incoming.passes(SERVER, answer)


def test_the_contact_of_another_phone_behind_a_proxy_stays_and_so_do_addresses_that_are_found() -> None:
    for via, contact in (
        ("UDP 10.1.0.2", "<sip:carol@10.1.0.3>"),
        ("UDP 10.1.0.3", "<sip:carol@10.1.0.3>, <sip:carol@10.1.0.4>"),
        ("UDP 8.8.8.8", "<sip:carol@8.8.8.8>"),
    ):
        flow = Flow()
        assert contact.encode() in flow.passes(CLIENT, asks("INVITE", f"Contact: {contact}", via=via))
    flow = Flow()
    lower = "Via: SIP/2.0/UDP 10.1.0.9"
    assert b"10.1.0.3>" in flow.passes(CLIENT, asks("INVITE", lower, "Contact: <sip:c@10.1.0.3>", via="UDP 10.1.0.3"))


def test_an_address_of_ours_is_no_other_name_of_who_knows_it() -> None:
    flow = Flow()
    flow.passes(CLIENT, asks("INVITE", "Contact: <sip:alice@203.0.113.1:5080>", via="UDP 203.0.113.1:5080"))
    assert not len(flow.table.texts.aliases)


def test_a_host_on_ipv6_has_other_names_too() -> None:
    own, seen, far = (Endpoint(ip_address(host), 5060) for host in ("fd01::2", "2001:db8::1", "2001:db8:2::7"))
    flow = Flow(peers=Peers(own, seen, far, far, Transport.UDP))
    call = asks("INVITE", "Contact: <sip:alice@[fd99::2]>", via="UDP [fd99::2]")
    assert b"Contact: <sip:alice@[2001:db8::1]>" in flow.passes(CLIENT, call)
    assert ip_address("fd99::2") in {alias for _, alias in flow.table.texts.aliases._entries}


@pytest.mark.parametrize("side", list(Side))
def test_a_guess_is_remembered_only_of_who_is_mapped(side: Side) -> None:
    flow = Flow(nat=False)
    flow.hear(side, asks("OPTIONS", "Record-Route: <sip:10.1.0.2;lr>, <sip:198.51.100.2;lr>"))
    assert not len(flow.table.echoes.said)


# -- what a search by coverage has found -------------------------------------------------------------------------------


def test_a_contact_said_by_datagram_opens_no_port_for_connections() -> None:
    by_datagram = Flow()
    again = asks("INVITE", "Contact: <sip:alice@10.1.0.2>", number=2, via="UDP 10.1.0.2")
    by_datagram.passes(CLIENT, again.replace(b"example.org>\r\nCSeq", b"example.org>;tag=b\r\nCSeq"))
    by_connection = over_tcp(by_datagram)
    by_connection.passes(CLIENT, asks("INVITE", via="TCP 10.1.0.2:41000"))
    answer = answers("INVITE", "Contact: <sip:bob@198.51.100.2;transport=tcp>", via="TCP 203.0.113.1:41001")
    by_connection.passes(SERVER, answer)
    assert opened(by_connection) == []


@pytest.mark.parametrize(("number", "asked"), [(1, ["open"]), (2, ["open", "renew", "confirm"])])
def test_a_2xx_to_one_invite_opens_nothing_that_another_one_named(number: int, asked: list[str]) -> None:
    """The first INVITE of the call came by datagram; the second one, over a connection, names another Contact."""
    by_datagram = Flow()
    by_datagram.passes(CLIENT, asks("INVITE", "Contact: <sip:alice@10.1.0.2>", via="UDP 10.1.0.2"))
    by_connection = over_tcp(by_datagram)
    again = asks("INVITE", "Contact: <sip:alice@10.1.0.2:8443;transport=tcp>", number=2, via="TCP 10.1.0.2:41000")
    by_connection.passes(CLIENT, again)
    answer = answers("INVITE", "Contact: <sip:bob@198.51.100.2>", number=number, via="TCP 203.0.113.1:41001")
    by_connection.passes(SERVER, answer)
    assert [line.split()[0] for line in opened(by_connection)] == asked


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_an_observer_holds_nothing_back_that_came_by_a_pinhole(transport: Transport) -> None:
    flow = expected(transport, mode="observe")
    assert flow.passes(CLIENT, b"\r\n\r\n") == b"\r\n\r\n"


def test_a_connection_has_few_places_to_be_told_at_and_those_that_are_over_make_room() -> None:
    flow = Flow(nat=False, transport=Transport.TCP)
    for number in range(1, 40):
        flow.now = float(number)
        contact = f"Contact: <sip:alice@10.1.0.2:{7000 + number}>"
        flow.passes(CLIENT, asks("SUBSCRIBE", contact, via="TCP 10.1.0.2", number=number))
        flow.hear(SERVER, answers("SUBSCRIBE", "Expires: 300", via="TCP 10.1.0.2", number=number))
    assert len(opened(flow)) == 16
    flow.now = 1000.0
    flow.passes(CLIENT, asks("SUBSCRIBE", "Contact: <sip:alice@10.1.0.2:6000>", via="TCP 10.1.0.2", number=50))
    flow.hear(SERVER, answers("SUBSCRIBE", "Expires: 300", via="TCP 10.1.0.2", number=50))
    assert len(opened(flow)) == 17


@pytest.mark.parametrize("nat", [True, False])
def test_a_line_without_an_end_is_mapped_once(nat: bool) -> None:
    """The last one of a datagram that was cut on its way."""
    via = b"Via: SIP/2.0/UDP 203.0.113.1;rport"
    answer = answers("REGISTER", via="UDP 203.0.113.1").partition(b"Content-Length")[0]
    heard = Flow(nat).passes(SERVER, answer + via)
    assert heard.count(b"10.1.0.2") == (2 + heard.count(b"one@10.1.0.2") if nat else 1)
