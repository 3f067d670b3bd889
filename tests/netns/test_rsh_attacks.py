"""Attacks on the rsh helper, each really tried through a locked-down gateway: by strangers and by a server that is not
its root, by clients that want a way to other ports, and by those that speak something else."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from protocols.contract.addresses import RESERVED_PORTS
from proxy.sockets.reserved import MOST_OF_ONE_CLIENT
from tests.netns.connections import is_reset, read
from tests.netns.ftp_talk import SECONDS, fate, serving
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

RSH, REXEC = 514, 512
STDERR = 600
"""The port where the client awaits the second connection."""
ANY, PRIVILEGED = 0, -1
_privileged = itertools.cycle(range(1023, 700, -1))
"""None comes twice in a row: the last connection from a port is remembered for a minute."""
COMMAND = b"alice\0operator\0uname -a\0"


def dial(host: Host, to: tuple[str, int], port: int = PRIVILEGED) -> socket.socket:
    """A connection from this port."""
    with host.inside():
        source = str(host.v4), next(_privileged) if port == PRIVILEGED else port
        return socket.create_connection(to, SECONDS, source)


class Site:
    """A gateway that drops all that pinhole does not carry: clients inside, a scripted server outside."""

    def __init__(self, lab: Lab, daemon: Daemon) -> None:
        self.lab, self.daemon = lab, daemon
        self.client, self.server = lab.client, lab.server
        self.listener = serving(lab.server, RSH)
        self.before = 0

    def dial(self, port: int = PRIVILEGED, host: Host | None = None, at: int = RSH) -> socket.socket:
        return dial(host or self.client, (str(self.server.v4), at), port)

    @contextlib.contextmanager
    def session(
        self, port: int = PRIVILEGED, host: Host | None = None
    ) -> Iterator[tuple[socket.socket, socket.socket]]:
        """A client from this port, and its server."""
        with self.dial(port, host) as client:
            self.listener.settimeout(SECONDS)
            server, _ = self.listener.accept()
            with server:
                yield client, server

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of this test, once its sessions have ended."""
        self.daemon.until(sessions=0, pinholes=0)
        return [line for line in self.daemon.audit()[self.before :] if line["event"] == event]

    def violations(self) -> list[str]:
        return [line["rule"] for line in self.told("violation")]

    def announced(self, client: socket.socket, server: socket.socket, port: int = STDERR) -> tuple[str, int]:
        """The client announces its port. Returns where the server finds it."""
        client.sendall(b"%d\0" % port)
        text = b""
        while not text.endswith(b"\0"):
            text += read(server, 1)
        return server.getpeername()[0], int(text[:-1])

    @contextlib.contextmanager
    def awaited(self, port: int = STDERR) -> Iterator[socket.socket]:
        """The client waits for the second connection."""
        with self.client.inside(), socket.create_server((str(self.client.v4), port)) as waiting:
            waiting.settimeout(SECONDS)
            yield waiting

    def goes_on(self) -> None:
        """A command as any other."""
        with (
            self.awaited() as waiting,
            self.session() as (client, server),
            dial(self.server, self.announced(client, server)) as second,
            waiting.accept()[0] as errors,
        ):
            assert errors.getpeername()[1] in RESERVED_PORTS
            client.sendall(COMMAND)
            assert read(server, len(COMMAND)) == COMMAND
            server.sendall(b"\0")
            second.sendall(b"oops")
            assert (read(client, 1), read(errors, 4)) == (b"\0", b"oops")
            errors.sendall(b"\2")  # a signal
            assert read(second, 1) == b"\2"


@pytest.fixture(scope="module", params=["none", "interface"])
def usual(request: pytest.FixtureRequest) -> Iterator[Site]:
    policy = f"{{name: lan-out, from: [lan0], action: accept, snat: {request.param}}}"
    with Lab("routed") as lab, pinhole(lab, f"policies: [{policy}]", unprivileged=True) as daemon:
        daemon.lock_down()
        site = Site(lab, daemon)
        with site.listener:
            yield site


@pytest.fixture
def gate(usual: Site) -> Iterator[Site]:
    usual.before = len(usual.daemon.audit())
    yield usual
    usual.goes_on()
    assert usual.told("engine.failed") == []


def is_ours(gate: Site, at: tuple[str, int]) -> bool:
    return at[0] == str(gate.lab.gateway.address(4, "wan0"))


# -- the connection back -----------------------------------------------------------------------------------------------


def test_a_stranger_does_not_come_by_the_way_back_and_does_not_use_it_up(gate: Site) -> None:
    with gate.awaited() as waiting, gate.session() as (client, server):
        at = gate.announced(client, server)
        came = fate(gate.lab.server_stranger, *at)
        assert came == ("reset" if is_ours(gate, at) else "silent")  # as for every packet of others to that host
        with dial(gate.server, at), waiting.accept()[0]:
            pass
    assert gate.violations() == (["pinhole.stranger"] if is_ours(gate, at) else [])


def test_who_is_not_root_on_the_server_does_not_come_by_it_either(gate: Site) -> None:
    """RS10: else whoever has an account there could speak as the command's error output."""
    with gate.awaited() as waiting, gate.session() as (client, server):
        at = gate.announced(client, server)
        with pytest.raises(ConnectionResetError), dial(gate.server, at, 30000) as unprivileged:
            read(unprivileged, 1)
        with dial(gate.server, at), waiting.accept()[0] as errors:
            assert errors.getpeername()[1] in RESERVED_PORTS
    assert gate.violations() == ["pinhole.stranger"]


def test_nobody_comes_by_it_a_second_time(gate: Site) -> None:
    with gate.awaited() as waiting, gate.session() as (client, server):
        at = gate.announced(client, server)
        with dial(gate.server, at), waiting.accept()[0]:
            assert fate(gate.server, *at) in ("refused", "silent")


def test_it_is_closed_when_the_command_runs_and_nobody_has_come(gate: Site) -> None:
    with gate.session() as (client, server):
        at = gate.announced(client, server)
        client.sendall(COMMAND)
        assert read(server, len(COMMAND)) == COMMAND
        server.sendall(b"\0")
        assert read(client, 1) == b"\0"
        assert fate(gate.server, *at) in ("refused", "silent")


def test_it_is_closed_with_the_session_of_a_server_that_never_comes(gate: Site) -> None:
    with gate.session() as (client, server):
        at = gate.announced(client, server)
        server.close()
        client.close()
    assert [line["reason"] for line in gate.told("pinhole.closed")] == ["session_closed"]
    assert fate(gate.server, *at) in ("refused", "silent")


def test_of_what_was_admitted_a_reset_is_passed_on_alone(gate: Site) -> None:
    with gate.awaited() as waiting, gate.session() as (client, server):
        with dial(gate.server, gate.announced(client, server)) as second, waiting.accept()[0] as errors:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            second.close()
            assert is_reset(errors)
        client.sendall(COMMAND)
        assert read(server, len(COMMAND)) == COMMAND


# -- ports that a client names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["400", "511", "1024", "70000", "001000", "99999999"])
def test_no_way_leads_to_a_port_that_rsh_does_not_use(gate: Site, port: str) -> None:
    """RS2, RS12: 111 is the portmapper, 515 alone would be printing."""
    with gate.session() as (client, server):
        client.sendall(port.encode() + b"\0")
        assert read(client, 100) == b"\1port out of range\n"
        assert is_reset(server)
    assert gate.violations() == ["rsh.port"]
    assert gate.told("pinhole.opened") == []


@pytest.mark.parametrize("port", [b"", b"0", b"000"])
def test_who_wants_no_second_connection_gets_none(gate: Site, port: bytes) -> None:
    with gate.session() as (client, server):
        client.sendall(port + b"\0" + COMMAND)
        assert read(server, len(port) + 1 + len(COMMAND)) == port + b"\0" + COMMAND
    assert gate.told("pinhole.opened") == []


def test_a_client_that_is_not_root_opens_no_way_and_gains_no_port(gate: Site) -> None:
    """RS3: nor could its server take it for root."""
    with gate.session(port=30000) as (client, server):  # none of those that the kernel gives to other connections
        assert server.getpeername()[1] >= 1024
        client.sendall(b"1000\0")
        assert read(client, 100) == b"\1source port not reserved\n"
    assert gate.violations() == ["rsh.source_port"]
    assert gate.told("pinhole.opened") == []


def test_one_client_does_not_take_all_reserved_ports(gate: Site) -> None:
    """RS4: of our address, where source NAT needs one for each command."""
    with contextlib.ExitStack() as stack:
        for number in range(MOST_OF_ONE_CLIENT):
            client, server = stack.enter_context(gate.session())
            at = gate.announced(client, server, STDERR + 1 + number)
        client, server = stack.enter_context(gate.session())
        if is_ours(gate, at):
            client.sendall(b"%d\0" % STDERR)
            assert read(client, 100) == b"\1no way for error output\n"
        client, server = stack.enter_context(gate.session(host=gate.lab.client_stranger))
        gate.announced(client, server)
    refused = [line["reason"] for line in gate.told("pinhole.refused")]
    assert refused == (["no_free_port"] if is_ours(gate, at) else [])


# -- other protocols ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b"x\0", b" 1000\0"])
def test_what_is_not_rsh_reaches_no_server(gate: Site, said: bytes) -> None:
    with gate.session() as (client, server):
        client.sendall(said)
        assert read(client, 100) == b"\1no port\n"
        assert is_reset(server)
    assert gate.violations() == ["rsh.not_rsh"]


@pytest.mark.parametrize("said", [b"<34>1 - host app - - - hello\n", b"28 <34>1 - host app - - - hello"])
def test_syslog_passes_unread_and_opens_nothing(gate: Site, said: bytes) -> None:
    """RS9: from any port, in either framing, and whatever a later message looks like."""
    with gate.session(port=ANY) as (client, server):
        client.sendall(said)
        client.sendall(b"1000\0")
        assert read(server, len(said) + 5) == said + b"1000\0"
    assert len(gate.told("rsh.syslog")) == 1
    assert gate.told("pinhole.opened") == gate.told("violation") == []


def test_a_command_does_not_pass_as_syslog(gate: Site) -> None:
    """RS9: netkit would take the first bytes for a port. So it comes from a port that no server of rsh trusts, or
    nowhere."""
    said = b"<\xb8\0" + COMMAND
    with gate.session() as (client, server):
        client.sendall(said)
        assert read(client, 100) == b"\1no port\n"
    with gate.session(port=ANY) as (client, server):
        assert server.getpeername()[1] not in RESERVED_PORTS
        client.sendall(said)
        assert read(server, len(said)) == said


def test_a_client_may_end_before_the_answer(gate: Site) -> None:
    """RS5."""
    with gate.session() as (client, server):
        client.sendall(b"\0" + COMMAND)
        client.shutdown(socket.SHUT_WR)
        assert read(server, 100) == b"\0" + COMMAND
        server.sendall(b"\0output")
        server.shutdown(socket.SHUT_WR)
        assert read(client, 100) == b"\0output"
    assert [line["reason"] for line in gate.told("session.closed")] == ["finished"]


def test_strings_without_end_are_refused_and_not_kept(gate: Site) -> None:
    with gate.session() as (client, server):
        client.sendall(b"\0alice\0operator\0" + bytes([99]) * 70_000)
        assert read(client, 100) == b"\1too long\n"
        with contextlib.suppress(ConnectionResetError):  # which may overtake the first string
            assert read(server, 100) == b"\0"
    assert gate.violations() == ["rsh.too_long"]


def test_a_server_that_agrees_to_what_it_has_not_heard_is_not_believed(gate: Site) -> None:
    with gate.session() as (client, server):
        client.sendall(b"\0")
        assert read(server, 1) == b"\0"
        server.sendall(b"\0")
        assert read(client, 100) == b"\1no command yet\n"
    assert gate.violations() == ["rsh.early_answer"]


@pytest.mark.parametrize(
    ("port", "said", "rule"),
    [("111", b"port out of range", "rsh.port"), ("873", b"source port not reserved", "rsh.source_port")],
)
def test_of_rexec_no_way_leads_to_a_low_port(gate: Site, port: str, said: bytes, rule: str) -> None:
    """RS12: whoever asks may be anybody on its host, and the portmapper or rsync there is somebody else's."""
    with serving(gate.server, REXEC), gate.dial(port=ANY, at=REXEC) as client:
        client.sendall(port.encode() + b"\0")
        assert read(client, 100) == b"\1" + said + b"\n"
    assert gate.violations() == [rule]


def test_nothing_of_it_is_left(gate: Site) -> None:
    gate.daemon.until(sessions=0, pinholes=0)
    assert gate.daemon.look()["ports_leased"] == 0
