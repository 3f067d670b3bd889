"""Every server of rsh with every client, rcp and rexec, through a gateway in each role that drops all that pinhole does
not carry."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocols.contract.addresses import RESERVED_PORTS
from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways
from tools.lab.gateways import ROLES, Gateway
from tools.peers import rsh
from tools.peers.ftp import SECONDS, TransferFailed
from tools.peers.rsh import CLIENTS, PASSWORD, SERVERS, USER, Client, Server

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

NETKIT = CLIENTS[0]
ERRORS = b"to stderr\n"
BULK = 40_000_000
AT_ONCE = 40


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(request.param, "nft") as serving:
        yield serving


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Server]:
    """It trusts the one address alone by which it is to know the client."""
    hides, lab = gateway.role.hides_client, gateway.lab
    trusted = [lab.gateway.address(v, "wan0") if hides else gateway.client.address(v) for v in (4, 6)]
    with SERVERS[request.param](gateway.server, trusted) as serving:
        yield serving


def told(gateway: Gateway, before: int) -> dict[str, dict[str, Any]]:
    """The lines of one session, by event, once it has ended."""
    gateway.daemon.until(sessions=0, pinholes=0)
    return {line["event"]: line for line in gateway.daemon.audit()[before:]}


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_command_runs_with_its_input_output_and_errors(
    gateway: Gateway, server: Server, client: Client, version: int
) -> None:
    before = len(gateway.daemon.audit())
    said = client.run(gateway.client, gateway.dialled(version), f"cat; printf '{ERRORS.decode()}' >&2", b"input")
    assert said.output == b"input"
    # The other client takes errors from its connection and writes them nowhere, also without a gateway.
    assert said.errors == (ERRORS if client is NETKIT else b"")
    lines = told(gateway, before)
    assert lines["pinhole.closed"]["bytes_in"] == len(ERRORS)
    command = lines["rsh.command"]
    assert (command["local_user"], command["remote_user"]) == ("root", USER)
    # RS3, RS11, RS13: there are reserved ports at all four legs.
    opened, used = lines["session.opened"], lines["pinhole.used"]
    seen = [opened["client"], opened["dialled_from"], lines["pinhole.opened"]["listen"], used["dialled_from"]]
    assert all(port_of(endpoint) in RESERVED_PORTS for endpoint in seen), seen


@pytest.mark.parametrize("version", [4, 6])
def test_rcp_moves_files_without_a_connection_back(
    gateway: Gateway, server: Server, version: int, tmp_path: Path
) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(os.urandom(1_000_000))
    before = len(gateway.daemon.audit())
    rsh.upload(gateway.client, gateway.dialled(version), here, server.home / "file")
    assert (server.home / "file").read_bytes() == here.read_bytes()
    rsh.download(gateway.client, gateway.dialled(version), server.home / "file", back)
    assert back.read_bytes() == here.read_bytes()
    lines = told(gateway, before)
    assert "pinhole.opened" not in lines and "stderr_port" not in lines["rsh.command"]


@pytest.fixture(scope="module")
def netkit(gateway: Gateway) -> Iterator[Server]:
    trusted = [gateway.client.v4, *(gateway.lab.gateway.address(4, name) for name in ("lan0", "wan0"))]
    with rsh.netkit(gateway.server, trusted) as serving:
        yield serving


@pytest.mark.parametrize("has_errors", [True, False])
def test_rexec_runs_with_and_without_a_connection_back(gateway: Gateway, netkit: Server, has_errors: bool) -> None:
    before = len(gateway.daemon.audit())
    said = rsh.rexec(gateway.client, gateway.dialled(4), "echo secret words; echo errors >&2", has_errors)
    assert (said.output, said.errors) == (
        (b"secret words\n", b"errors\n") if has_errors else (b"secret words\nerrors\n", b"")
    )
    lines = told(gateway, before)
    assert ("pinhole.used" in lines) is has_errors
    assert (lines["rsh.command"]["service"], lines["rsh.command"]["remote_user"]) == ("rexec", USER)


def test_a_server_says_itself_that_a_user_may_not(gateway: Gateway, netkit: Server) -> None:
    before = len(gateway.daemon.audit())
    with pytest.raises(TransferFailed, match="Permission denied"):
        NETKIT.run(gateway.client, gateway.dialled(4), "id", user="root")
    assert told(gateway, before)["rsh.refused"]["text"] == "Permission denied."
    with pytest.raises(TransferFailed):  # rexecd says nothing to a wrong password, and ends
        rsh.rexec(gateway.client, gateway.dialled(4), "id", password="wrong-guess")


def test_a_command_may_outlive_its_input_its_output_and_its_errors(gateway: Gateway, netkit: Server) -> None:
    """RS5."""
    at = gateway.dialled(4)
    assert NETKIT.run(gateway.client, at, "exec 2>&-; sleep 0.3; echo late").output == b"late\n"
    assert NETKIT.run(gateway.client, at, "exec <&- >&-; sleep 0.3; echo late >&2").errors == b"late\n"


def test_a_signal_reaches_the_command_by_the_connection_back(gateway: Gateway, netkit: Server) -> None:
    command = NETKIT.command(
        gateway.dialled(4), "trap 'echo caught; exit' INT; echo ready; while :; do sleep 0.1; done"
    )
    process = gateway.client.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=SECONDS)[0] == b"caught\n"


def test_bulk_input_comes_back_whole(gateway: Gateway, netkit: Server) -> None:
    given = os.urandom(BULK)
    assert NETKIT.run(gateway.client, gateway.dialled(4), "cat", given).output == given


def test_many_commands_at_once(gateway: Gateway, netkit: Server) -> None:
    """RS4: each takes two reserved ports of the client, and with source NAT one of ours."""
    at = gateway.dialled(4)
    started = [
        gateway.client.popen(
            NETKIT.command(at, f"read word; echo {number}; echo errors {number} >&2"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(AT_ONCE)
    ]
    gateway.daemon.until(pinholes=AT_ONCE)
    said = [process.communicate(b"go\n", timeout=SECONDS) for process in started]
    assert said == [(b"%d\n" % number, b"errors %d\n" % number) for number in range(AT_ONCE)]


def test_no_command_passes_as_syslog(gateway: Gateway, netkit: Server) -> None:
    """RS9: the server takes these bytes for a port, and that for none, if the client comes from a port that it
    trusts."""
    for port in (800, 0):
        with gateway.client.inside():
            source = str(gateway.client.v4), port
            client = socket.create_connection((str(gateway.dialled(4)), rsh.RSH_PORT), SECONDS, source)
        with client:
            client.sendall(b"<\xb8\0root\0%b\0echo ran\0" % USER.encode())
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while more := client.recv(100):
                    answer += more
        assert answer == (b"\1no port\n" if port else b"")


def test_neither_commands_nor_passwords_nor_what_passed_is_in_the_log(gateway: Gateway, netkit: Server) -> None:
    """It has seen all the tests above."""
    log = gateway.daemon.log.read_text()
    assert "rsh.command" in log
    for secret in (PASSWORD, "wrong-guess", "secret words", "printf", "to stderr", "trap"):
        assert secret not in log, secret


def test_without_its_helper_no_command_runs_that_wants_a_connection_back() -> None:
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 tcp dport { 512, 514 } accept
                meta l4proto icmpv6 accept
                meta l4proto tcp reject with tcp reset
            }
            }
            """
        )
        with rsh.netkit(lab.server, [lab.client.v4]):
            with pytest.raises(TransferFailed):
                NETKIT.run(lab.client, lab.server.v4, "echo never")
            with pytest.raises(TransferFailed):
                rsh.rexec(lab.client, lab.server.v4, "echo never", seconds=1)
            assert rsh.rexec(lab.client, lab.server.v4, "echo alone", has_errors=False).output == b"alone\n"
