"""Packets and a session that others recorded, through the engine: what it tells, what it opens, what it changes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any, Literal

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Note, Splice
from protocols.tns.engine import HELPER
from protocols.tns.options import TnsOptions
from tests.harness.pcap import connections
from tests.harness.playbook import NETWORKS, Session, on, render
from tests.harness.recordings import found

CLIENT, SERVER = Side.CLIENT, Side.SERVER
OPAQUE = "splice 86400"
NEIGHBOURS = ip_network("192.168.0.0/24")
CUTS = [0, 1, 7]
"""Bytes at once; 0 for all."""


def recorded(name: str) -> bytes:
    return found("tns", f"net-tns-{name}.raw").read_bytes()


def say(session: Session, side: Side, data: bytes, cut: int) -> None:
    for at in range(0, len(data), cut or len(data)):
        session.receive(side, data[at : at + cut] if cut else data)


def told(session: Session) -> list[str]:
    """All but what is sent."""
    return [line for line in render(session.effects) if not line.startswith("->")]


def begun(cut: int, network: str = "none", **options: Any) -> Session:
    session = Session.of(HELPER, on(NETWORKS[network], HELPER, Transport.TCP), HELPER.options(**options))
    say(session, CLIENT, recorded("connect"), cut)
    return session


CONNECT = "note tns.connect version=308 sid=XE host=__jdbc__"
ANSWERS = {
    "accept": ["note tns.accepted version=308", OPAQUE],
    "refuse": ["note tns.refused error=12618", OPAQUE],
    "resend": [],
    # No answers to a CONNECT: whoever sends them knows better, and nothing is read any more.
    "marker": ["note tns.unread type=12", OPAQUE],
    "ano-request": ["note tns.unread type=6", OPAQUE],
    "data-eof": ["note tns.unread type=6", OPAQUE],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("network", ["none", "snat", "dnat"])
@pytest.mark.parametrize("name", ANSWERS)
def test_packets_that_name_no_address_pass_as_they_came(name: str, network: str, cut: int) -> None:
    session = begun(cut, network)
    say(session, SERVER, recorded(name), cut)
    assert told(session) == [CONNECT, *ANSWERS[name]]
    if not any(isinstance(effect, Splice) for effect in session.effects) or not cut:
        assert session.sent(CLIENT) == recorded(name)
    assert session.sent(SERVER) == recorded("connect")
    assert session.pinholes.log == []


@pytest.mark.parametrize("cut", CUTS)
def test_the_recorded_redirect_without_nat_opens_the_host_that_the_policy_names_and_passes_as_it_came(
    cut: int,
) -> None:
    session = begun(cut, redirect_to=(NEIGHBOURS,))
    say(session, SERVER, recorded("redirect"), cut)
    (opened,) = session.pinholes.log
    assert opened.startswith("open tcp for 192.168.0.4:2143 ")
    assert [line.split()[1] for line in told(session)] == ["tns.connect", "tns.redirected"]
    assert session.sent(CLIENT) == recorded("redirect")


@pytest.mark.parametrize("cut", CUTS)
def test_the_recorded_redirect_of_a_published_listener_names_the_gateway(cut: int) -> None:
    session = begun(cut, "dnat", redirect_to=(NEIGHBOURS,))
    say(session, SERVER, recorded("redirect"), cut)
    text = b"(ADDRESS=(PROTOCOL=tcp)(HOST=203.0.113.7)(PORT=61000))"
    assert session.sent(CLIENT) == b"\0\x40\0\0\x05\0\0\0\0\x36" + text
    assert len(text) == 0x36


@pytest.mark.parametrize("cut", CUTS)
def test_the_recorded_redirect_leads_elsewhere_when_the_policy_does_not_name_it(cut: int) -> None:
    session = begun(cut)
    say(session, SERVER, recorded("redirect"), cut)
    assert [line.split()[1] for line in told(session)] == [
        "tns.connect", "violation", "tns.refused", "redirect_refused",
    ]  # fmt: skip
    assert session.sent(CLIENT)[4] == 4  # a REFUSE
    assert session.pinholes.standing == {}


@pytest.mark.parametrize("name", ["accept", "marker", "ano-request", "data-eof", "refuse", "redirect"])
def test_what_does_not_begin_a_session_ends_it(name: str) -> None:
    session = Session.of(HELPER, on(NETWORKS["none"], HELPER, Transport.TCP))
    say(session, CLIENT, recorded(name), 0)
    assert told(session)[-1] == "abort not_tns"
    assert session.sent(SERVER) == b""


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("snat", [None, "198.51.100.1"])
@pytest.mark.parametrize("oob", ["disable", "carry"])
def test_sqlplus_logs_in_after_a_resend_and_is_let_alone(
    oob: Literal["disable", "carry"], snat: str | None, cut: int
) -> None:
    (connection,) = connections(found("tns", "ndpi-oracle12-sqlplus.pcapng"), 1521)
    client, server = connection.client, connection.server
    seen = client if snat is None else Endpoint(ip_address(snat), 40000)
    session = Session.of(HELPER, Peers(client, seen, server, server), TnsOptions(oob=oob))
    for side, data in connection.said[:4]:  # CONNECT, RESEND, CONNECT, ACCEPT
        say(session, side, data, cut)
    assert told(session) == [
        "note tns.connect version=315 sid=igor program=sqlplus@kali host=kali user=root",
        "note tns.accepted version=315",
        OPAQUE + (" urgent" if oob == "carry" else ""),
    ]
    for side in Side:
        sent = b"".join(data for speaker, data in connection.said[:4] if speaker is side)
        expected = sent if oob == "carry" else sent.replace(b"\x0c\x41", b"\x08\x41")
        assert session.sent(side.other) == expected
    assert not any(isinstance(effect, Note) and effect.event == "violation" for effect in session.effects)
