"""Sessions of rsh and rexec (protocols/rsh/engine.py): what the transcripts do not say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Side, Transport
from protocols.contract.effects import Abort, Send, Splice
from protocols.contract.pinholes import Expect, Grant
from protocols.rsh.engine import HELPER, RshEngine
from protocols.rsh.options import RshOptions
from tests.harness.playbook import NETWORKS, Session, on

CLIENT, SERVER = Side.CLIENT, Side.SERVER
COMMAND = b"alice\0operator\0uname -a\0"


def begun(network: str = "none", port: int = 514, client_port: int = 1022, **options: Any) -> Session:
    peers = on(NETWORKS[network], HELPER, Transport.TCP, client_port, port)
    return Session.of(HELPER, peers, HELPER.options(**options))


def opened(session: Session) -> Expect:
    (grant,) = session.pinholes.standing.values()
    assert isinstance(grant, Grant)
    return grant.expect


@pytest.mark.parametrize("network", ["none", "snat", "dnat", "none6", "snat6", "dnat6", "4to6", "6to4"])
def test_the_way_back_is_for_the_server_alone_once_and_to_the_clients_own_port(network: str) -> None:
    """RS10, RS11."""
    session = begun(network)
    peers = on(NETWORKS[network], HELPER, Transport.TCP)
    session.receive(CLIENT, b"1000\0")
    expect = opened(session)
    assert (expect.transport, expect.uses, expect.open_seconds, expect.idle_seconds) == (Transport.TCP, 1, 30, 86400)
    assert (expect.reserved, expect.from_reserved, expect.confirmed, expect.reader) == (True, True, True, None)
    assert [one.network_address for one in expect.allow] == [peers.server.host]
    assert expect.target == Endpoint(peers.client.host, 1000)
    assert expect.listen == Endpoint(peers.client_as_seen.host, 0 if peers.is_mapped(CLIENT) else 1000)
    assert expect.source == Endpoint(peers.server_as_seen.host, 0)
    assert session.sent(SERVER) == (b"1023\0" if peers.is_mapped(CLIENT) else b"1000\0")


def test_it_stands_before_the_server_hears_of_it() -> None:
    """RS1: the engine asks in the step in which it passes the port on, or passes nothing on."""
    session = begun("snat")
    session.pinholes.refuse_next.append("limit_per_client")
    session.receive(CLIENT, b"1000\0" + COMMAND)
    assert session.sent(SERVER) == b""
    assert session.effects[-1] == Abort("stderr_refused")


def test_servers_of_rexec_come_from_any_port() -> None:
    """RS3."""
    session = begun(port=512, client_port=40000)
    session.receive(CLIENT, b"2000\0")
    assert (opened(session).reserved, opened(session).from_reserved) == (False, False)


@pytest.mark.parametrize("port", [514, 512, 544])
def test_for_a_client_at_another_port_no_way_leads_to_a_reserved_one(port: int) -> None:
    """RS3, RS12: no server of rsh takes it for root, and what waits at such a port of its host is not its own."""
    session = begun(port=port, client_port=1024)
    session.receive(CLIENT, b"1000\0")
    assert session.violations() == ["rsh.source_port"]
    assert session.pinholes.opened == []


def test_a_client_at_another_port_that_wants_no_second_connection_is_its_servers_business() -> None:
    session = begun(client_port=1024)
    session.receive(CLIENT, b"\0" + COMMAND)
    assert session.sent(SERVER) == b"\0" + COMMAND


@pytest.mark.parametrize("said", [b"<34>1 - - -\n", b"57 <34>1 "])
def test_syslog_passes_as_it_came(said: bytes) -> None:
    session = begun(client_port=40000)
    session.receive(CLIENT, said)
    assert session.effects[1:] == [Send(SERVER, said), Splice(86400)]


def test_from_a_port_that_servers_trust_nothing_is_syslog() -> None:
    """RS9: a server may take it for a port, and what follows for a command whose users nobody has judged."""
    session = begun(client_port=1022, deny_users=("root",))
    session.receive(CLIENT, b"<34>1 - - -\n")
    assert session.violations() == ["rsh.not_rsh"]
    assert session.sent(SERVER) == b""


def test_when_the_command_runs_one_side_may_be_silent_for_hours_after_the_other_has_ended() -> None:
    """RS5: clients end at once when they have no input."""
    session = begun(idle=7200.0)
    session.receive(CLIENT, b"\0" + COMMAND)
    session.receive(SERVER, b"\0output")
    assert session.effects[-1] == Splice(7200, half_closed_seconds=7200)
    assert session.sent(CLIENT) == b"\0output"


def test_a_password_is_neither_told_nor_kept() -> None:
    session = begun(port=512)
    session.receive(CLIENT, b"\0alice\0secret\0command\0")
    assert session.notes("rsh.command") == [{"service": "rexec", "remote_user": b"alice"}]
    engine = session.engine
    assert isinstance(engine, RshEngine)
    kept = [getattr(engine, name) for name in RshEngine.__slots__] + engine._strings.whole
    assert "secret" not in repr(kept)


def test_a_way_back_that_ends_when_no_command_runs_is_nobodys_business() -> None:
    session = begun()
    session.receive(CLIENT, b"1000\0" + COMMAND)
    session.use(1)
    session.receive(SERVER, b"\1no\n")
    before = list(session.effects)
    session.end(1, 0, 0, "target_refused")
    assert session.effects == before


def test_the_clock_of_a_session_begins_with_its_first_byte() -> None:
    session = begun(client_port=40000)
    session.wait(600.0)
    session.receive(CLIENT, b"10")
    session.wait(59.0)
    assert not session.is_over
    session.wait(1.0)
    assert session.effects[-1] == Abort("handshake_timeout")


@pytest.mark.parametrize("name", [b"root", b"Root", b"backup-root"])
def test_those_who_are_denied_are_denied_in_any_case(name: bytes) -> None:
    assert not RshOptions(deny_users=("ROOT", "*-root")).allow_user(name)


def test_who_is_named_must_be_spelled_so() -> None:
    options = RshOptions(users=("backup", "söl*"))
    assert [options.allow_user(name) for name in (b"backup", b"Backup", b"", "sölle".encode())] == [
        True, False, False, True,
    ]  # fmt: skip


def test_commands_are_compared_as_a_whole() -> None:
    options = RshOptions(commands=("uptime", "rcp -*"))
    allowed = [options.allow_command(command) for command in (b"uptime", b"uptime; id", b"\nuptime", b"rcp -f x\ny")]
    assert allowed == [True, False, False, True]


def test_a_session_whose_users_cannot_be_read_is_refused_only_if_users_are_to_be_judged() -> None:
    """RS8."""
    for commands, refused in (((), []), (("id",), ["rsh.user"])):
        session = begun(port=544, commands=commands)
        session.receive(CLIENT, b"\0")
        assert session.violations() == refused


def test_what_is_known_of_the_peers_decides_not_their_ports_alone() -> None:
    """A published server: what the client dials is the service, whatever port it has inside."""
    peers = on(NETWORKS["dnat"], HELPER, Transport.TCP)
    session = Session.of(HELPER, replace(peers, server=replace(peers.server, port=10514)))
    session.receive(CLIENT, b"\0" + COMMAND)
    assert session.notes("rsh.command")[0]["service"] == "rsh"
