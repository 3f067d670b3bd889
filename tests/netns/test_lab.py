"""The lab that other tests stand on: its hosts, its ruleset, its captures, and that nothing of it stays behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.connections import read
from tests.netns.ftp_talk import Talk, server
from tests.netns.namespaces import needs_root
from tools.lab import Datagram, Host, Lab, conversations, datagrams, janitor, lab, pinhole

pytestmark = [pytest.mark.netns, needs_root]

ROOT = Path(__file__).parents[2]
SECONDS = 5.0
ALL = "policies: [{name: all, action: accept}]"
both_versions = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
both_backends = pytest.mark.parametrize("backend", ["nft", "iptables"])


@pytest.fixture(scope="module")
def routed() -> Iterator[Lab]:
    with Lab("routed") as made:
        yield made


def serve(host: Host, version: int, port: int = 21) -> socket.socket:
    with host.inside():
        sock = socket.create_server(
            (str(host.address(version)), port), family=socket.AF_INET if version == 4 else socket.AF_INET6
        )
    sock.settimeout(SECONDS)
    return sock


def bound(host: Host, version: int, port: int) -> socket.socket:
    with host.inside():
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind((str(host.address(version)), port))
    sock.settimeout(SECONDS)
    return sock


def dial(host: Host, to: Host, version: int, port: int = 21, timeout: float = SECONDS) -> socket.socket:
    with host.inside():
        return socket.create_connection((str(to.address(version)), port), timeout)


@both_versions
@pytest.mark.parametrize("name", ["client", "client_stranger", "server_stranger"])
def test_every_host_reaches_the_server_and_is_seen_by_its_own_address(routed: Lab, name: str, version: int) -> None:
    host = routed.hosts[name]
    with serve(routed.server, version) as listener, dial(host, routed.server, version):
        accepted, peer = listener.accept()
        accepted.close()
    assert peer[0] == str(host.address(version))


@both_versions
def test_without_a_route_back_the_server_does_not_reach_the_client(version: int) -> None:
    with Lab("nat") as made, serve(made.client, version), pytest.raises(OSError, match="unreachable"):
        dial(made.server, made.client, version)


@both_versions
@pytest.mark.parametrize("routes", ["nat", "routed"])
def test_a_wide_lab_has_another_network_inside_and_a_host_farther_outside(routes: str, version: int) -> None:
    with Lab("nat" if routes == "nat" else "routed", wide=True) as made:
        inside, outside = (made.client, made.neighbour), (made.server, made.elsewhere)
        pairs = [inside, inside[::-1], outside, outside[::-1]]
        pairs += [(near, far) for near in inside for far in outside if routes == "routed"]
        pairs += [(far, near) for near in inside for far in outside if routes == "routed"]
        for near, far in pairs:
            with serve(far, version) as listener, dial(near, far, version):
                accepted, peer = listener.accept()
                accepted.close()
            assert peer[0] == str(near.address(version))
        made.lock_down()
        with serve(made.neighbour, version), pytest.raises(TimeoutError):
            dial(made.client, made.neighbour, version, timeout=0.2)


@both_versions
@pytest.mark.parametrize(
    ("addresses", "are_global"),
    [("documentation", ()), ("global-wan", ("wan0",)), ("global", ("lan0", "lan1", "wan0"))],
)
def test_addresses_are_global_where_they_are_asked_for(
    addresses: lab.Addresses, are_global: tuple[str, ...], version: int
) -> None:
    with Lab("routed", addresses, wide=True) as made:
        gateway = made.gateway
        assert [port for port in sorted(gateway.interfaces) if gateway.address(version, port).is_global] == [
            *are_global
        ]
        assert made.elsewhere.address(version).is_global is ("wan0" in are_global)
        assert made.client.address(version).is_global is ("lan0" in are_global)
        with serve(made.elsewhere, version), dial(made.client, made.elsewhere, version):
            pass
        # None of them leads out of this machine.
        assert gateway.run(["ip", f"-{version}", "route", "show", "default"]).stdout == ""


@both_backends
@both_versions
def test_locked_down_nothing_passes_the_gateway_nor_enters_it(version: int, backend: str) -> None:
    with Lab("routed") as made:
        made.lock_down(backend="nft" if backend == "nft" else "iptables")
        for target in (made.server, made.gateway):
            with serve(target, version), pytest.raises(TimeoutError):
                dial(made.client, target, version, timeout=0.2)


@both_backends
@both_versions
def test_locked_down_the_line_given_is_accepted_on_input(version: int, backend: str) -> None:
    line = "tcp dport 2222 accept" if backend == "nft" else "-p tcp --dport 2222 -j ACCEPT"
    with Lab("routed") as made:
        made.lock_down(line, "nft" if backend == "nft" else "iptables")
        with serve(made.gateway, version, 2222), dial(made.client, made.gateway, version, 2222):
            pass


@both_versions
def test_capture_holds_the_whole_conversation_byte_by_byte(routed: Lab, version: int, tmp_path: Path) -> None:
    path = tmp_path / "client.pcap"
    with (
        routed.client.capture("eth0", "tcp port 21", path) as capture,
        serve(routed.server, version) as listener,
        dial(routed.client, routed.server, version) as near,
    ):
        far, _ = listener.accept()
        with far:
            near.sendall(b"RETR a\r\n")
            assert far.recv(100) == b"RETR a\r\n"
            far.sendall(b"150 " * 10_000)
            assert read(near, 40_000) == b"150 " * 10_000
        (seen,) = conversations(capture.collect(), port=21)
        # What was collected is not given again. The last acknowledgement may come meanwhile.
        assert conversations(capture.collect(), port=21) == []
    assert seen.client == (routed.client.address(version), seen.client[1])
    assert seen.server == (routed.server.address(version), 21)
    assert (seen.from_client, seen.from_server) == (b"RETR a\r\n", b"150 " * 10_000)
    assert path.stat().st_size > 40_000


@both_versions
def test_capture_tells_datagrams_by_who_sent_what_to_whom(routed: Lab, version: int) -> None:
    client, server = ((host.address(version), 5060) for host in (routed.client, routed.server))
    with (
        routed.server.capture("eth0", "udp") as capture,
        bound(routed.client, version, 5060) as near,
        bound(routed.server, version, 5060) as far,
    ):
        near.sendto(b"to the server", (str(server[0]), 5060))
        assert far.recv(100) == b"to the server"
        far.sendto(b"", (str(client[0]), 5060))
        assert near.recv(100) == b""
        seen = datagrams(capture.collect())
    assert seen == [Datagram(client, server, b"to the server"), Datagram(server, client, b"")]


def test_a_command_runs_on_its_host_and_its_failure_is_told(routed: Lab) -> None:
    assert str(routed.client.v4) in routed.client.run(["ip", "-brief", "address"]).stdout
    assert routed.client.run(["id", "-un"], user="nobody").stdout == "nobody\n"
    with pytest.raises(RuntimeError, match="exit status 2"):
        routed.client.run(["sh", "-c", "exit 2"])


def test_several_labs_stand_at_once_and_go_with_all_their_processes() -> None:
    with Lab() as one, Lab() as other:
        assert {one.name, other.name} <= set(lab.standing())
        sleeper = one.server.popen(["sleep", "1000"])
        assert sleeper.pid in janitor.processes_in([one.server.netns])
        other.close()
        assert other.name not in lab.standing()
        assert sleeper.poll() is None
    assert sleeper.returncode == -signal.SIGKILL
    assert one.name not in lab.standing()


def test_lab_goes_with_its_processes_when_its_creator_is_killed() -> None:
    program = (
        "import sys; from tools.lab import Lab\n"
        "lab = Lab().__enter__(); sleeper = lab.server.popen(['sleep', '1000'])\n"
        "print(lab.name, sleeper.pid, lab._janitor.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as creator:
        assert creator.stdout
        name, sleeper, keeper = creator.stdout.readline().split()
        assert name in lab.standing()
        watched = os.pidfd_open(int(keeper))
        creator.kill()
    assert select.select([watched], [], [], 60)[0], "the lab's janitor does not end"
    os.close(watched)
    assert name not in lab.standing()
    assert int(sleeper) not in janitor.processes_in([f"{name}-server"])
    with pytest.raises(OSError):
        os.stat(f"/proc/{sleeper}/ns/net")  # a dead process is in no namespace, whether it was waited for or not


def test_leftovers_are_found_and_removed_by_command() -> None:
    # A lab whose creator and janitor are both gone.
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    name = f"{lab.PREFIX}-{ended.stdout.strip()}-0"
    subprocess.run(["ip", "netns", "add", f"{name}-client"], check=True)
    try:
        command = [sys.executable, "-m", "tools.lab"]
        listed = subprocess.run([*command, "list"], capture_output=True, text=True, check=True, cwd=ROOT)
        assert f"{name}: left over, 0 processes\n" in listed.stdout
        removed = subprocess.run([*command, "down"], capture_output=True, text=True, check=True, cwd=ROOT)
        assert f"{name}: removed\n" in removed.stdout
        assert name not in lab.standing()
    finally:
        janitor.tear_down([f"{name}-client"])


def test_shell_runs_a_command_on_a_host() -> None:
    with Lab() as made:
        command = [sys.executable, "-m", "tools.lab", "shell", "--lab", made.name, "server", "--", "ip", "-br", "addr"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert str(made.server.v4) in said.stdout


def test_what_has_happened_at_a_gateway_is_in_its_log_when_it_is_read() -> None:
    """The daemon writes many lines at once, a moment later."""
    with Lab("routed") as made, pinhole(made, ALL) as daemon, server(made.server):
        for number in range(1, 11):
            with Talk(made.client, str(made.server.v4)):
                assert len(daemon.audit("session.opened")) == number
