"""Requests that a proxy inside forwards for hosts outside: whatever address they name as their Contact, the proxy has
not said it of itself (ARCHITECTURE.md, "What an address may open"). Else a stranger and somebody whom the proxy
reaches, or two of its subscribers, would open any port of its host."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Peers, Side, Transport
from tests.harness.sip_flow import CLIENT, SDP, SERVER, Flow, at, sdp
from tests.protocols.sip.test_openings import answers, asks, opened, published

SEEN = at("203.0.113.7:5060")
LATER = "Contact: <sip:bob@192.0.2.77>"
METHODS = ("INVITE", "REGISTER", "SUBSCRIBE")


def trunk(beside: Flow, transport: Transport, nat: bool = True, signals_from: int = 5060) -> Flow:
    """From the proxy inside to a host outside that it forwards to."""
    own, far = at(f"10.0.0.5:{signals_from}"), at("192.0.2.77:5060")
    seen = at(f"203.0.113.7:{signals_from}") if nat else own
    return Flow(peers=Peers(own, seen, far, far, transport), beside=beside)


def lower(transport: Transport, more: str = ";received=192.0.2.66;rport=7777", sent_by: str = "192.0.2.66:7777") -> str:
    return f"Via: SIP/2.0/{transport.name} {sent_by};branch=z9hG4bKlower{more}"


def forwards(method: str, transport: Transport, contact: str, via: str, nat: bool = True) -> tuple[Flow, bytes]:
    """What a stranger asks of the proxy, sent on to the trunk: its flow there, and what that is told."""
    stranger = published(transport)
    stranger.passes(CLIENT, asks(method, contact, via=f"{transport.name} 192.0.2.66:7777"))
    flow = trunk(stranger, transport, nat)
    passed = flow.passes(CLIENT, asks(method, via, contact, via=f"{transport.name} 10.0.0.5"))
    agreed = contact if method == "REGISTER" else LATER
    flow.hear(
        SERVER, answers(method, agreed, "Expires: 300", via=f"{transport.name} {'203.0.113.7' if nat else '10.0.0.5'}")
    )
    return flow, passed


@pytest.mark.parametrize("nat", [True, False], ids=["nat", "no_nat"])
@pytest.mark.parametrize("via", ["192.0.2.66:7777", "10.0.0.5"], ids=["true", "lie"])
@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
@pytest.mark.parametrize("method", METHODS)
def test_a_contact_that_is_forwarded_for_another_opens_nothing_and_tells_nothing(
    method: str, transport: Transport, via: str, nat: bool
) -> None:
    contact = f"Contact: <sip:x@10.0.0.5:8089;transport={transport.name.lower()}>"
    flow, passed = forwards(method, transport, contact, lower(transport, sent_by=via), nat)
    assert contact.encode() in passed
    assert not any("8089" in line for line in opened(flow))
    assert "registration.added" not in flow.events()


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_what_nobody_outside_has_said_is_stood_in_for(transport: Transport) -> None:
    """The Contact of another phone's request, changed by the proxy, tells no address of the inside."""
    flow = trunk(published(transport), transport)
    contact = "Contact: <sip:x@10.0.0.5:8089;ob>"
    passed = flow.passes(CLIENT, asks("INVITE", lower(transport), contact, via=f"{transport.name} 10.0.0.5"))
    assert b"Contact: <sip:x@203.0.113.7:5060;ob>" in passed
    assert opened(flow) == []
    ends = asks("BYE", via=f"{transport.name} 192.0.2.77", uri="sip:x@203.0.113.7:5060;ob", number=7)
    assert flow.passes(SERVER, ends).startswith(b"BYE sip:x@10.0.0.5:8089;ob SIP/2.0\r\n")


def test_a_response_that_is_forwarded_comes_back_as_it_was() -> None:
    """A subscriber outside answers, by way of the proxy, somebody else outside."""
    caller = published()
    caller.passes(CLIENT, asks("INVITE", "Contact: <sip:alice@192.0.2.66>"))
    callee = Flow(
        peers=Peers(at("192.0.2.99:5060"), at("192.0.2.99:5060"), at("10.0.0.5:5060"), SEEN, Transport.UDP),
        beside=caller,
    )
    contact = "Contact: <sip:x@10.0.0.5:8089>"
    callee.passes(SERVER, asks("INVITE", lower(Transport.UDP), "Contact: <sip:alice@192.0.2.66>", via="UDP 10.0.0.5"))
    callee.passes(CLIENT, answers("INVITE", lower(Transport.UDP), contact, via="UDP 203.0.113.7"))
    assert contact.encode() in caller.passes(SERVER, answers("INVITE", contact))
    assert opened(caller) == []


def test_a_pbx_that_answers_a_guesser_itself_is_known_by_its_published_address() -> None:
    flow = published()
    flow.passes(CLIENT, asks("INVITE", "Contact: <sip:x@10.0.0.5:8089>"))
    assert b"Contact: <sip:bob@203.0.113.7>" in flow.passes(SERVER, answers("INVITE", "Contact: <sip:bob@10.0.0.5>"))
    again = asks("INVITE", "Contact: <sip:bob@10.0.0.5>", via="UDP 10.0.0.5", uri="sip:x@192.0.2.66", number=2)
    assert b"Contact: <sip:bob@203.0.113.7>" in flow.passes(SERVER, again)


# -- media -------------------------------------------------------------------------------------------------------------


def described(data: bytes, host: str, port: int, more: str = "") -> bytes:
    body = sdp(host, port, more)
    fields = f"{SDP}\r\nContent-Length: {len(body)}".encode()
    return data.replace(b"Content-Length: 0", fields) + body.encode()


@pytest.mark.parametrize("more", ["", "a=rtcp:5007\r\n"])
@pytest.mark.parametrize("is_answer", [False, True], ids=["offer", "answer"])
def test_media_that_is_forwarded_for_another_opens_nothing_at_the_proxy(is_answer: bool, more: str) -> None:
    """A stranger and one whom the proxy reaches, either of whom says that its media is at a port of the proxy's."""
    stranger = published()
    stranger.places.unroutable.add(at("10.0.0.5:0").host)  # for who is outside
    here = ("10.0.0.5", 5006, more)
    theirs = ("192.0.2.66", 7000) if is_answer else here
    offer, below = asks("INVITE", "Contact: <sip:eve@192.0.2.66>"), lower(Transport.UDP)
    stranger.passes(CLIENT, described(offer, *theirs))
    flow = trunk(stranger, Transport.UDP)
    offer = asks("INVITE", below, "Contact: <sip:eve@192.0.2.66>", via="UDP 10.0.0.5")
    passed = flow.passes(CLIENT, described(offer, *theirs))
    assert passed.endswith(sdp(*theirs).encode() if is_answer else sdp(*here).encode())
    answer = answers("INVITE", below, LATER, via="UDP 203.0.113.7:5060")
    flow.hear(SERVER, described(answer, *(here if is_answer else ("192.0.2.77", 6000))))
    stranger.hear(SERVER, described(answers("INVITE", LATER), *(here if is_answer else ("192.0.2.77", 6000))))
    assert not [line for line in flow.places.log if "10.0.0.5" in line]
    kept = [note for one in (flow, stranger) for note in one.notes if note.event == "address.kept"]
    assert "said_by_other" in [note.facts["changes"][0]["reason"] for note in kept]


def test_a_relay_for_media_on_the_proxys_own_host_is_reached() -> None:
    stranger = published()
    stranger.passes(CLIENT, described(asks("INVITE", "Contact: <sip:eve@192.0.2.66>"), "192.0.2.66", 7000))
    flow = trunk(stranger, Transport.UDP)
    offer = asks("INVITE", lower(Transport.UDP), "Contact: <sip:eve@192.0.2.66>", via="UDP 10.0.0.5")
    assert b"c=IN IP4 203.0.113.7\r\n" in flow.passes(CLIENT, described(offer, "10.0.0.5", 5006))
    assert "offer 10.0.0.5:5006" in flow.places.log


# -- what a proxy says of itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("method", METHODS)
def test_a_pbx_behind_a_proxy_of_its_own_host_is_at_its_own_port(method: str, side: Side) -> None:
    flow = trunk(published(), Transport.UDP) if side is CLIENT else published()
    below = lower(Transport.UDP, "", "10.0.0.5:5080")
    flow.passes(side, asks(method, below, "Contact: <sip:pbx@10.0.0.5:5080>", via="UDP 10.0.0.5"))
    assert len(opened(flow)) == 1
    assert " for 10.0.0.5:5080 from " in opened(flow)[0]


def test_a_registrar_between_is_called_where_its_via_says_that_it_waits() -> None:
    """It puts itself into the Contacts of the phones whose REGISTER it forwards, and dials from any port."""
    flow = trunk(published(Transport.TCP), Transport.TCP, signals_from=41000)
    contact = "Contact: <sip:x@10.0.0.5:5060;transport=tcp>"
    flow.passes(CLIENT, asks("REGISTER", lower(Transport.TCP, "", "10.0.0.9"), contact, via="TCP 10.0.0.5"))
    (reserved,) = opened(flow)
    agreed = f"Contact: <sip:x@{reserved.split()[1]};transport=tcp>;expires=300"
    flow.hear(SERVER, answers("REGISTER", agreed, via="TCP 203.0.113.7:41000"))
    assert opened(flow)[1:] != []
    assert "registration.added" in flow.events()
