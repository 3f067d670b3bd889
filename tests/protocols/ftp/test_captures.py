"""Real FTP sessions through the engine: what it opens, what it rewrites, and that it leaves all else alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side
from protocols.ftp import wire
from protocols.ftp.engine import HELPER
from tests.harness.pcap import Connection, connections
from tests.harness.playbook import Session, render
from tests.harness.recordings import HERE, found, names

CLIENT, SERVER = Side.CLIENT, Side.SERVER


@dataclass(frozen=True)
class Expected:
    """What is opened: for each connection of the capture the ports that the client (active) or the server (passive)
    announces. A number instead: how many, where they are too many to list."""

    active: tuple[int, ...] = ()
    passive: tuple[int, ...] | int = ()
    default: int = 0
    """Transfers without an agreement."""
    violations: tuple[str, ...] = ()
    ends: str | None = None
    """The session is ended before its time."""
    withheld: tuple[bytes, ...] = ()
    """Commands that the server does not get, and replies that the client does not get."""
    answers: tuple[bytes, ...] = ()
    """What the client gets instead."""
    logins: tuple[int, ...] = (230,)
    transfers: int = 0


NO_DATA = b"425 Can't open data connection."

EXPECTED: dict[str, Expected] = {
    "ndpi-start-tls.pcap": Expected(ends="splice 3600", logins=()),
    "suricata-active-retr.pcap": Expected(active=(40003,), transfers=1),
    "suricata-all-data-commands-ipv4.pcap": Expected(
        active=(45809, 37783, 36011, 33975, 40169, 39459, 35495),
        passive=(21008, 21003, 21006, 21008, 21007, 21009, 21005),
        logins=(230, 230),
        transfers=14,
    ),
    "suricata-bounce.pcap": Expected(
        active=(59549,),
        violations=("ftp.bounce", "ftp.unsolicited_reply"),
        withheld=(b"PORT 2,2,2,3,0,80",),
        answers=(b"504 Not the address of this client.",),
        logins=(230, 230),
    ),
    "suricata-passive-retr.pcap": Expected(passive=(47373,), transfers=1),
    "suricata-port-nlst-retr.pcap": Expected(active=(59914, 59926), transfers=2),
    "suricata-too-long-command.pcap": Expected(
        passive=(47373,), violations=("ftp.line_too_long",), ends="abort line_too_long"
    ),
    "zeek-auth-tls.pcap": Expected(ends="splice 3600", logins=()),
    "zeek-epsv-variant-text.pcap": Expected(passive=(63988, 37150), transfers=2),
    "zeek-fake-long-commands.pcap": Expected(
        default=1,
        violations=("ftp.bad_227", "ftp.bad_port", "ftp.unsolicited_reply"),
        withheld=(b"PORT 114,115", b"227 Response to PASV command"),
        answers=(NO_DATA, b"501 Syntax error in parameters."),
        logins=(230, 230),
        transfers=1,
    ),
    "zeek-invalid-reply-code.pcap": Expected(violations=("ftp.bad_reply",), ends="abort bad_reply", logins=(230, 230)),
    "zeek-ipv4-port-and-pasv.pcap": Expected(active=(33582, 37835), passive=(56666, 56667), transfers=4),
    "zeek-ipv6-eprt-and-epsv.pcap": Expected(active=(49189, 49190), passive=(57086, 57087, 57088), transfers=5),
    "zeek-ipv6-multiline-reply.pcap": Expected(passive=(60931,), transfers=1),
    "zeek-missing-reply-code.pcap": Expected(violations=("ftp.bad_reply",), ends="abort bad_reply", logins=(230, 230)),
    # The numbers of the parts between the segments that the capture lost.
    "zeek-pasv-address-not-the-server.pcap": Expected(
        passive=688,
        default=1,
        violations=("ftp.pasv_mismatch",) * 688 + ("ftp.unsolicited_reply",) * 6,
        transfers=0,
    ),
    "zeek-port-flood-third-party.pcap.gz": Expected(
        violations=("ftp.before_login",) * 500, answers=(b"530 Log in with USER and PASS first.",) * 500, logins=()
    ),
}


LONG = "zeek-pasv-address-not-the-server.pcap"
CAPTURES = [pytest.param(name, marks=pytest.mark.slow if name == LONG else ()) for name in EXPECTED]


@cache
def spoken(name: str) -> tuple[Connection, ...]:
    return tuple(connections(found("ftp", name), 21))


def replay(connection: Connection, peers: Peers, cut: int | None = None) -> Session:
    session = Session.of(HELPER, peers)
    if connection.is_continued:
        session.server(b"220 what came before is missing")
        session.client(b"USER u")
        session.server(b"230 in")
        session.effects.clear()
    for side, data in connection.said:
        for at in range(0, len(data), cut or len(data) or 1):
            session.receive(side, data[at : at + cut] if cut else data)
        if not data:
            session.eof(side)
    return session


def no_nat(connection: Connection) -> Peers:
    client, server = connection.client, connection.server
    return Peers(client, client, server, server)


def source_nat(connection: Connection) -> Peers:
    client, server = connection.client, connection.server
    return Peers(client, _other(client, "198.51.100.1", "2001:db8::1"), server, server)


def destination_nat(connection: Connection) -> Peers:
    client, server = connection.client, connection.server
    return Peers(client, client, server, _other(server, "203.0.113.7", "2001:db8::7"))


def _other(endpoint: Endpoint, v4: str, v6: str) -> Endpoint:
    return Endpoint(ip_address(v4 if endpoint.host.version == 4 else v6), endpoint.port)


def lines(stream: bytes) -> list[bytes]:
    return stream.replace(b"\r\n", b"\n").split(b"\n")


def opened(session: Session, *triggers: str) -> list[int]:
    return [grant.expect.target.port for grant in session.pinholes.expected() if grant.expect.trigger in triggers]


ACTIVE, PASSIVE = ("PORT", "EPRT"), ("PASV", "EPSV")


def test_every_capture_has_its_expectation() -> None:
    captures = names("ftp")
    assert captures <= EXPECTED.keys()


@pytest.mark.parametrize("nat", [no_nat, source_nat, destination_nat])
@pytest.mark.parametrize("name", CAPTURES)
def test_capture_opens_exactly_what_was_agreed(name: str, nat: Callable[[Connection], Peers]) -> None:
    expected = EXPECTED[name]
    sessions = [replay(connection, nat(connection)) for connection in spoken(name)]
    active = [port for session in sessions for port in opened(session, *ACTIVE)]
    passive = [port for session in sessions for port in opened(session, *PASSIVE)]
    assert tuple(active) == expected.active
    assert (len(passive) if isinstance(expected.passive, int) else tuple(passive)) == expected.passive
    assert sum(len(session.pinholes.opened) for session in sessions) - len(active) - len(passive) == expected.default
    assert Counter(rule for session in sessions for rule in session.violations()) == Counter(expected.violations)
    last = [line for session in sessions for line in render(session.effects[-1:])]
    ends = [line for line in last if line.startswith(("abort", "splice"))]
    assert ends == ([expected.ends] if expected.ends else [])
    assert tuple(note["result"] for session in sessions for note in session.notes("ftp.login")) == expected.logins


@pytest.mark.parametrize("name", CAPTURES)
def test_capture_without_nat_passes_byte_for_byte(name: str) -> None:
    expected = EXPECTED[name]
    for connection in spoken(name):
        session = replay(connection, no_nat(connection))
        to_server, to_client = session.sent(SERVER), session.sent(CLIENT)
        if expected.ends:
            assert connection.stream(CLIENT).startswith(to_server)
            continue
        withheld = {line + b"\r\n": b"" for line in expected.withheld}
        assert to_server == _without(connection.stream(CLIENT), [*withheld, *_bounces(connection)])
        answers = [answer + b"\r\n" for answer in dict.fromkeys(expected.answers)]
        assert _without(to_client, answers) == _without(connection.stream(SERVER), [*withheld])
        assert not session.notes("address.rewritten")


def _without(stream: bytes, parts: list[bytes]) -> bytes:
    for part in parts:
        stream = stream.replace(part, b"")
    return stream


def _bounces(connection: Connection) -> list[bytes]:
    """The commands of the flood: each names 10.0.0.200."""
    return [line + b"\r\n" for line in lines(connection.stream(CLIENT)) if line.startswith(b"PORT 10,0,0,200,")]


@pytest.mark.parametrize("name", CAPTURES)
def test_capture_with_source_nat_changes_the_clients_announcements_alone(name: str) -> None:
    for connection in spoken(name):
        plain, mapped = replay(connection, no_nat(connection)), replay(connection, source_nat(connection))
        assert mapped.sent(CLIENT) == plain.sent(CLIENT)
        changed = _changed(plain.sent(SERVER), mapped.sent(SERVER))
        grants = [grant for grant in mapped.pinholes.expected() if grant.expect.trigger in ACTIVE]
        assert len(changed) == len(grants) == len(mapped.notes("address.rewritten"))
        for (before, after), grant in zip(changed, grants, strict=True):
            assert before.startswith((b"PORT ", b"EPRT "))
            write = wire.port_line if before.startswith(b"PORT") else wire.eprt_line
            assert after + b"\r\n" == write(grant.listen)
            assert grant.listen.host == source_nat(connection).client_as_seen.host


@pytest.mark.parametrize("name", CAPTURES)
def test_capture_with_destination_nat_changes_the_servers_announcements_alone(name: str) -> None:
    for connection in spoken(name):
        plain, mapped = replay(connection, no_nat(connection)), replay(connection, destination_nat(connection))
        assert mapped.sent(SERVER) == plain.sent(SERVER)
        changed = _changed(plain.sent(CLIENT), mapped.sent(CLIENT))
        grants = [grant for grant in mapped.pinholes.expected() if grant.expect.trigger in PASSIVE]
        assert len(changed) == len(grants) == len(mapped.notes("address.rewritten"))
        for (before, after), grant in zip(changed, grants, strict=True):
            text = wire.six_numbers(grant.listen) if before.startswith(b"227") else b"|||%d|" % grant.listen.port
            assert text in after
            assert after.partition(b"(")[0] == before.partition(b"(")[0]
            assert after.partition(b")")[2] == before.partition(b")")[2]
            assert grant.expect.target.host == connection.server.host != grant.listen.host


def _changed(before: bytes, after: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in zip(lines(before), lines(after), strict=True) if pair[0] != pair[1]]


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 5, 1448])
@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - {LONG}))
def test_capture_is_the_same_however_it_is_cut(name: str, cut: int) -> None:
    for connection in spoken(name):
        for nat in (no_nat, source_nat, destination_nat):
            plain, small = replay(connection, nat(connection)), replay(connection, nat(connection), cut)
            assert small.pinholes.log == plain.pinholes.log
            if EXPECTED[name].ends != "splice 3600":  # from there on the bytes do not come to the engine
                assert render(small.effects) == render(plain.effects)


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - {LONG}))
def test_capture_tells_of_each_transfer_that_ended(name: str) -> None:
    """Without data connections nothing is known of their bytes; a session that ends says so for each."""
    expected = EXPECTED[name]
    sessions = [replay(connection, no_nat(connection)) for connection in spoken(name)]
    assert sum(len(session.notes("ftp.transfer")) for session in sessions) == expected.transfers


@pytest.mark.slow
def test_secrets_of_the_captures_stay_out_of_the_log() -> None:
    for name in EXPECTED:
        if (HERE / "ftp" / name).exists():
            for connection in spoken(name):
                secrets = {line[5:] for line in lines(connection.stream(CLIENT)) if line.startswith(b"PASS ")}
                secrets -= {line[5:] for line in lines(connection.stream(CLIENT)) if line.startswith(b"USER ")}
                told = [line for line in render(replay(connection, no_nat(connection)).effects) if "note" in line]
                assert not any(secret.decode() in line for secret in secrets for line in told)
