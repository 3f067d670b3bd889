"""Questions and answers that others recorded, through the engines."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Note, Send
from protocols.dns.engine import HELPER, is_question
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.pcap import Datagram, connections, datagrams
from tests.harness.playbook import Session
from tests.harness.recordings import found

CLIENT, SERVER = Side.CLIENT, Side.SERVER
FRAGMENT_BYTES = 1472
"""Of an answer of which the recording has the first part only."""


def session_of(client: Endpoint, server: Endpoint, transport: Transport, **options: Any) -> Session:
    return Session.of(HELPER, Peers(client, client, server, server, transport), HELPER.options(**options))


def conversations(name: str, **options: Any) -> Iterator[tuple[Session, list[Datagram]]]:
    """A session for each port of a client, and what was recorded of it, from its first question on."""
    of: dict[Endpoint, list[Datagram]] = {}
    for one in datagrams(found("dns", name), 53):
        if len(one.data) == FRAGMENT_BYTES:
            continue
        client = one.source if one.target.port == 53 else one.target
        if client in of or (one.target.port == 53 and is_question(one.data)):
            of.setdefault(client, []).append(one)
    for client, packets in of.items():
        session = session_of(client, packets[0].target, Transport.UDP, **options)
        for one in packets:
            session.receive(CLIENT if one.source == client else SERVER, one.data)
        yield session, packets


def test_addresses_and_mail_exchangers_are_asked_for_and_answered() -> None:
    for session, (asked, answered) in conversations("suricata-udp-a-aaaa-mx.pcap"):
        assert (session.sent(SERVER), session.sent(CLIENT)) == (asked.data, answered.data)
        assert session.violations() == []


def test_addresses_in_a_recorded_answer_are_translated() -> None:
    pairs = {ip_network("216.197.242.0/24"): ip_network("10.1.0.0/24")}
    told = [
        [change["after"] for change in note["changes"]]
        for session, _ in conversations("suricata-udp-a-aaaa-mx.pcap", translate=pairs)
        for note in session.notes("address.rewritten")
    ]
    assert [len(addresses) for addresses in told] == [12]
    assert told[0][:2] == ["10.1.0.244", "10.1.0.217"]


def test_many_questions_of_one_segment_are_answered() -> None:
    (connection,) = connections(found("dns", "suricata-tcp-many-requests.pcap"), 53)
    session = session_of(connection.client, connection.server, Transport.TCP, rebinding="refuse")
    for side, data in connection.said:
        if data:
            session.receive(side, data)
        else:
            session.eof(side)
    assert session.sent(SERVER) == connection.stream(CLIENT)
    assert session.sent(CLIENT) == connection.stream(SERVER)
    assert session.violations() == []


def test_an_answer_that_comes_twice_goes_on_once() -> None:
    """DN9. The recording has only these three packets."""
    ((session, (asked, first, second)),) = conversations("zeek-two-responses.pcap")
    assert session.sent(SERVER) == asked.data
    assert session.sent(CLIENT) == first.data == second.data
    assert session.violations() == []  # it is no other one


def test_options_of_edns_pass_as_they_came() -> None:
    """DN3, DN21: client subnets among them, and answers of 934 bytes and signed ones."""
    answered = 0
    for session, packets in conversations("zeek-edns-ecs.pcap", rebinding="refuse", local_domains=("de",)):
        client = packets[0].source
        theirs = [one.data for one in packets if one.source == client]
        sent = [effect.data for effect in session.effects if isinstance(effect, Send) and effect.to is SERVER]
        assert sent == theirs
        back = [effect.data for effect in session.effects if isinstance(effect, Send) and effect.to is CLIENT]
        assert back == [one.data for one in packets if one.source != client]
        answered += len(back)
        assert [effect for effect in session.effects if isinstance(effect, Note)] == []
    assert answered == 12


@pytest.mark.parametrize("name", ["zeek-edns-ecs.pcap", "suricata-udp-a-aaaa-mx.pcap"])
def test_recorded_answers_can_all_be_read(name: str) -> None:
    """The reader of records finds nothing wrong with what real servers say."""
    for session, _ in conversations(name, translate={ip_network("192.0.2.0/24"): ip_network("10.0.0.0/24")}):
        assert "dns.malformed" not in session.violations()
    assert FakePinholes().opened == []
