"""The daemon as its administrator meets it: two capabilities, sudden death, orderly stop, reload, rotation, no
descriptors, a full disk, and peers that fail in every way. After each, nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.record.catalogue import BUDGETS
from tests.netns.ftp_talk import Served, Talk, dial, fate, passive_address, plain_server, server
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept}]"
HALF = b"x" * 3_000_000
MARK_CAP_NET_BIND_SERVICE_AND_RAW = 1 << 10 | 1 << 13


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("routed") as lab:
        yield lab


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Daemon]:
    with pinhole(lab, ALL, unprivileged=True) as daemon:
        yield daemon


class HeldServer:
    """Sends half a file over each data connection and holds it there until told what to do."""

    def __init__(self) -> None:
        self.data: list[socket.socket] = []
        self.listener: socket.socket | None = None

    def close(self) -> None:
        for sock in (*self.data, *filter(None, [self.listener])):
            sock.close()

    def __call__(self, served: Served, line: bytes) -> bytes | None:
        if line.startswith(b"PASV"):
            if self.listener:
                self.listener.close()
            reply = served.passive(None)
            with served.host.inside():
                listener = socket.create_server(passive_address(reply.decode()))
            self.listener = listener
            return reply
        if line.startswith(b"RETR"):
            served.control.sendall(b"150 coming\r\n")
            self.control = served.control
            assert self.listener
            self.listener.settimeout(10)
            sock, _ = self.listener.accept()
            self.listener.close()
            self.data.append(sock)
            sock.sendall(HALF)
            return None
        return plain_server(served, line)

    def finish(self) -> None:
        self.data[-1].close()
        self.control.sendall(b"226 done\r\n")


@pytest.fixture
def held() -> Iterator[HeldServer]:
    with contextlib.closing(HeldServer()) as held:
        yield held


def stock(daemon: Daemon) -> dict[str, Any]:
    """What must be the same before and after."""
    status = daemon.ask("status")
    return {name: status[name] for name in ("sessions", "pinholes", "transfers", "ports_leased", "descriptors")}


def nothing_left(daemon: Daemon, before: dict[str, Any]) -> None:
    after = daemon.until(**{name: value for name, value in before.items() if name != "descriptors"})
    # An empty pipe for each direction of a transfer may be kept for the next one.
    assert after["descriptors"] - before["descriptors"] in (0, 2, 4)


def half_way(lab: Lab, talk: Talk) -> socket.socket:
    """A download of which half has come."""
    address, port = passive_address(talk.ask("PASV"))
    data = dial(lab.client, address, port)
    talk.send(b"RETR file\r\n")
    assert talk.reply().startswith("150")
    read(data, len(HALF))
    return data


def read(sock: socket.socket, size: int) -> None:
    while size:
        data = sock.recv(min(size, 1 << 20))
        assert data, "the end, too early"
        size -= len(data)


def ending(sock: socket.socket) -> str:
    try:
        return "closed" if not sock.recv(100) else "more"
    except ConnectionResetError:
        return "reset"


# -- least privilege, sudden death -------------------------------------------------------------------------------------


@pytest.mark.executed
def test_it_serves_with_two_capabilities_and_no_more(lab: Lab, daemon: Daemon) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
    assert status["Uid"].split()[0] != "0"
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[kind], 16) == MARK_CAP_NET_BIND_SERVICE_AND_RAW
    for kind in ("CapAmb", "CapInh"):  # it starts no command that would need any
        assert int(status[kind], 16) == 0
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        assert fate(lab.client, *passive_address(talk.ask("PASV"))) == "open payload"


@pytest.mark.parametrize(
    ("on_daemon_down", "then"), [("block", {"refused", "silent"}), ("bypass", {"open 220 ready\r\n"})]
)
def test_killed_in_mid_transfer_its_pinholes_are_gone_and_sessions_blocked_or_let_by(
    lab: Lab, on_daemon_down: str, then: set[str], held: HeldServer
) -> None:
    with (
        pinhole(lab, f"{ALL}\nnetwork: {{on_daemon_down: {on_daemon_down}}}", unprivileged=True) as daemon,
        server(lab.server, held),
        Talk(lab.client, str(lab.server.v4)) as talk,
        Talk(lab.client, str(lab.server.v4)) as waiting,
    ):
        data = half_way(lab, talk)
        waiting.ask("PASV")
        listening = {line.split()[3] for line in lab.gateway.run(["ss", "-Htln"]).stdout.splitlines()}
        assert len(listening) == 3  # two for redirected sessions, the pinhole
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        assert lab.gateway.run(["ss", "-Htln"]).stdout == ""
        with data:
            assert ending(data) == "reset"  # half a file must not look like a whole one
        assert ending(held.data[0]) == "reset"
        assert fate(lab.client, str(lab.server.v4), 21) in then
        daemon.start()
        with Talk(lab.client, str(lab.server.v4)) as again:
            assert again.ask("NOOP").startswith("200")


# -- stop, reload, rotate ----------------------------------------------------------------------------------------------


@pytest.mark.executed
def test_asked_to_stop_it_lets_a_transfer_end_and_takes_nothing_new(lab: Lab, daemon: Daemon, held: HeldServer) -> None:
    with server(lab.server, held), Talk(lab.client, str(lab.server.v4)) as talk:
        data = half_way(lab, talk)
        quiet = Talk(lab.client, str(lab.server.v4))
        daemon.signal(signal.SIGTERM)
        with quiet:
            assert quiet.end() == "closed"
        assert fate(lab.client, str(lab.server.v4), 21) in ("refused", "silent", "reset")
        assert daemon.is_running()
        held.finish()
        with data:
            assert ending(data) == "closed"
        assert talk.reply().startswith("226")
        assert daemon.wait() == 0
    assert not (daemon.directory / "control.sock").exists()
    assert [line["reason"] for line in daemon.audit("pinhole.closed")] == ["finished"]


def test_asked_twice_it_stops_at_once(lab: Lab, daemon: Daemon, held: HeldServer) -> None:
    with server(lab.server, held), Talk(lab.client, str(lab.server.v4)) as talk, half_way(lab, talk) as data:
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("daemon.stopping")
        assert daemon.is_running()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0  # nor does it wait the 30 seconds that transfers have
        assert ending(data) == "reset"


def test_what_does_not_end_in_time_is_cut(lab: Lab, held: HeldServer) -> None:
    with (
        pinhole(lab, f"{ALL}\ntimeouts: {{drain: 0.3}}") as daemon,
        server(lab.server, held),
        Talk(lab.client, str(lab.server.v4)) as talk,
        half_way(lab, talk) as data,
    ):
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0  # long before the 30 seconds that they have otherwise
        assert ending(data) == "reset"


def test_a_new_configuration_holds_for_new_sessions_alone(lab: Lab, daemon: Daemon) -> None:
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as old:
        daemon.write_config("policies: [{name: none, from: [lan0], action: deny}]")
        assert daemon.command("reload", "-c", str(daemon.config)).returncode == 0
        assert fate(lab.client, str(lab.server.v4), 21) == "reset"
        assert daemon.wait_for("session.denied")["policy"] == "none"
        assert old.ask("NOOP").startswith("200")


@pytest.mark.executed
@pytest.mark.parametrize("ask", ["reload", "SIGHUP"])
def test_a_wrong_configuration_is_refused_with_its_lines_and_the_old_stays(lab: Lab, daemon: Daemon, ask: str) -> None:
    daemon.write_config("policies: [{name: all, acton: accept}]")
    if ask == "reload":
        refused = daemon.command(
            "reload", "-c", "/dev/null", check=False
        )  # the daemon reads its own file, not this one
        good = daemon.directory / "good.yaml"
        good.write_text(f"{ALL}\ncontrol: {daemon.directory}/control.sock\n")
        refused = daemon.command("reload", "-c", str(good), check=False)
        assert refused.returncode == 1
        assert "acton" in refused.stdout + refused.stderr
    else:
        daemon.signal(signal.SIGHUP)
    (problem, *_) = daemon.wait_for("config.rejected")["problems"]
    assert problem.startswith(f"{daemon.config}:1:")
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        assert talk.ask("NOOP").startswith("200")


@pytest.mark.executed
def test_a_rotated_log_is_begun_anew(lab: Lab, daemon: Daemon) -> None:
    daemon.log.rename(daemon.log.with_suffix(".1"))
    daemon.signal(signal.SIGUSR1)
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        talk.ask("NOOP")
    daemon.wait_for("session.closed")
    assert daemon.audit("daemon.started") == []


@pytest.mark.executed
def test_a_second_daemon_is_refused_with_a_reason_and_the_first_goes_on(lab: Lab, daemon: Daemon) -> None:
    second = daemon.command("run", "-c", str(daemon.config), check=False)
    assert second.returncode == 1
    assert "is another pinhole running?" in second.stderr
    assert stat.S_IMODE((daemon.directory / "control.sock").stat().st_mode) == 0o660
    assert daemon.ask("status")["state"] == "serving"


# -- peers that fail ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "reason"),
    [("198.51.100.2", "server_refused"), ("203.0.113.9", "server_unreachable"), ("198.51.100.99", "server_timeout")],
)
def test_a_server_that_cannot_be_had_is_a_reset_for_the_client(lab: Lab, target: str, reason: str) -> None:
    with pinhole(lab, f"{ALL}\ntimeouts: {{connect: 1}}") as daemon:
        before = stock(daemon)
        assert fate(lab.client, target, 21) == "reset"
        assert daemon.wait_for("session.failed")["reason"] == reason
        assert stock(daemon) == before


def test_a_server_that_resets_in_mid_transfer_is_a_reset_for_the_client(
    lab: Lab, daemon: Daemon, held: HeldServer
) -> None:
    before = stock(daemon)
    with server(lab.server, held), Talk(lab.client, str(lab.server.v4)) as talk, half_way(lab, talk) as data:
        held.data[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        held.data[0].close()
        assert ending(data) == "reset"
        assert talk.ask("NOOP").startswith("200")
    assert daemon.wait_for("pinhole.closed")["reason"] == "reset_by_target"
    nothing_left(daemon, before)


def test_a_client_that_vanishes_in_mid_transfer_is_a_reset_for_the_server(
    lab: Lab, daemon: Daemon, held: HeldServer
) -> None:
    before = stock(daemon)
    with server(lab.server, held):
        talk = Talk(lab.client, str(lab.server.v4))
        data = half_way(lab, talk)
        for sock in (data, talk.control):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        data.close()
        talk.close()
        assert ending(held.data[0]) == "reset"
        nothing_left(daemon, before)
    assert daemon.wait_for("session.closed")["reason"] == "reset_by_client"


def test_a_client_that_resets_its_control_connection_in_mid_transfer_has_its_file_whole(
    lab: Lab, daemon: Daemon, held: HeldServer
) -> None:
    """The data connection goes on (X15)."""
    before = stock(daemon)
    with server(lab.server, held):
        talk = Talk(lab.client, str(lab.server.v4))
        with half_way(lab, talk) as data:
            talk.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            talk.close()
            assert daemon.wait_for("session.closed")["reason"] == "reset_by_client"
            assert daemon.audit("pinhole.closed") == []
            held.data[0].sendall(HALF)
            held.data[0].close()
            read(data, len(HALF))
            assert ending(data) == "closed"
    assert daemon.wait_for("pinhole.closed")["reason"] == "finished"
    (transfer,) = daemon.audit("ftp.transfer")
    assert (transfer["bytes"], transfer["result"]) == (None, None)
    nothing_left(daemon, before)


def test_an_upload_half_closed_by_the_client_is_whole_at_the_server(lab: Lab, daemon: Daemon, held: HeldServer) -> None:
    before = stock(daemon)
    with server(lab.server, held), Talk(lab.client, str(lab.server.v4)) as talk, half_way(lab, talk) as data:
        data.sendall(b"the other way")
        data.shutdown(socket.SHUT_WR)
        assert held.data[0].recv(100) == b"the other way"
        assert held.data[0].recv(100) == b""
        held.data[0].sendall(b"and the rest")
        held.finish()
        read(data, len(b"and the rest"))
        assert ending(data) == "closed"
    nothing_left(daemon, before)


def test_a_session_that_is_half_closed_for_long_is_ended(lab: Lab) -> None:
    with (
        pinhole(lab, f"{ALL}\ntimeouts: {{half_closed: 0.3}}") as daemon,
        server(lab.server, lambda *_: None),
        Talk(lab.client, str(lab.server.v4), login=False) as talk,
    ):
        talk.control.shutdown(socket.SHUT_WR)
        talk.end()
        assert daemon.wait_for("session.closed")["reason"] in ("half_closed", "finished")


def test_a_login_that_takes_too_long_is_told_so(lab: Lab) -> None:
    policy = "policies: [{name: all, from: [lan0], action: accept, options: {ftp: {login_seconds: 0.5}}}]"
    with pinhole(lab, policy) as daemon, server(lab.server), Talk(lab.client, str(lab.server.v4), login=False) as talk:
        # Whichever is first: the server's greeting may be later than that.
        assert talk.reply().startswith("421") or talk.reply().startswith("421")
        assert talk.end() in ("closed", "reset")
        assert daemon.wait_for("session.closed")["reason"] == "login_timeout"


def test_who_breaks_a_rule_over_and_over_fills_no_log_and_each_time_counts(lab: Lab, daemon: Daemon) -> None:
    times, written = 300, BUDGETS["violation"].lines
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        for _ in range(times):
            assert talk.ask("PORT 198,51,100,3,100,100").startswith("5")
        daemon.wait_for("violation", written, rule="ftp.bounce")
        assert len(daemon.audit("violation", rule="ftp.bounce")) == written
        curl = ["curl", "-s", "--unix-socket", f"{daemon.directory}/control.sock", "http://pinhole/metrics"]
        counted = lab.gateway.run(curl).stdout
        assert f'pinhole_violations_total{{rule="ftp.bounce"}} {times}.0' in counted
        assert f'pinhole_audit_lines_suppressed_total{{event="violation"}} {times - written}.0' in counted
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    (left_out,) = daemon.audit("audit.left_out", of="violation")
    assert (left_out["kind"], left_out["source"], left_out["lines"]) == ("ftp.bounce", "10.1.0.2", times - written)


# -- an address that goes away -----------------------------------------------------------------------------------------


SNAT = "policies: [{name: all, from: [lan0], action: accept, snat: interface}]"


def lose_address(lab: Lab) -> None:
    """As a line does whose address is another one after it was dialled up again."""
    lab.gateway.run(["ip", "address", "add", "198.51.100.77/24", "dev", "wan0"])
    lab.gateway.run(["ip", "address", "del", "198.51.100.1/24", "dev", "wan0"])


def test_an_address_that_goes_away_ends_data_connections_with_their_session(lab: Lab, held: HeldServer) -> None:
    with (
        pinhole(lab, SNAT) as daemon,
        server(lab.server, held),
        Talk(lab.client, str(lab.server.v4)) as talk,
        half_way(lab, talk) as data,
    ):
        lose_address(lab)
        assert ending(data) == "reset"
        assert talk.end() == "reset"
        daemon.wait_for("session.closed", reason="address_gone")
        daemon.wait_for("pinhole.closed", reason="address_gone")
        daemon.until(sessions=0, pinholes=0, transfers=0, ports_leased=0)


def test_so_it_does_with_those_whose_session_has_ended_before(lab: Lab, held: HeldServer) -> None:
    with (
        pinhole(lab, SNAT) as daemon,
        server(lab.server, held),
        Talk(lab.client, str(lab.server.v4)) as talk,
        half_way(lab, talk) as data,
    ):
        talk.close()
        daemon.wait_for("session.closed")
        lose_address(lab)
        assert ending(data) == "reset"
        daemon.wait_for("pinhole.closed", reason="address_gone")


def test_so_it_does_with_a_session_that_is_relayed_unread(lab: Lab) -> None:
    def with_tls(served: Served, line: bytes) -> bytes | None:
        return b"234 go on\r\n" if line.startswith(b"AUTH") else plain_server(served, line)

    with (
        pinhole(lab, SNAT) as daemon,
        server(lab.server, with_tls),
        Talk(lab.client, str(lab.server.v4)) as talk,
    ):
        assert talk.ask("AUTH TLS").startswith("234")
        lose_address(lab)
        assert talk.end() == "reset"
        daemon.wait_for("session.closed", reason="address_gone")


def test_sessions_that_nobody_knows_by_that_address_go_on(lab: Lab, daemon: Daemon, held: HeldServer) -> None:
    with server(lab.server, held), Talk(lab.client, str(lab.server.v4)) as talk, half_way(lab, talk) as data:
        lab.gateway.run(["ip", "address", "add", "198.51.100.78/24", "dev", "wan0"])
        lab.gateway.run(["ip", "address", "del", "198.51.100.78/24", "dev", "wan0"])
        lab.gateway.run(["ip", "address", "add", "10.1.0.99/24", "dev", "lan0"])
        held.finish()
        assert ending(data) == "closed"
        assert talk.reply().startswith("226")


# -- a machine that fails ----------------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_descriptors_clients_are_reset_and_the_daemon_neither_spins_nor_ends(lab: Lab) -> None:
    with pinhole(lab, ALL) as daemon, server(lab.server):
        daemon.stop()
        daemon.start(nofile=40)
        talks: list[Talk] = []
        with pytest.raises(ConnectionResetError):
            for _ in range(40):
                talks.append(Talk(lab.client, str(lab.server.v4)))
        assert len(talks) >= 3
        before = cpu_seconds(daemon.pid)
        waiting = [fate(lab.client, str(lab.server.v4), 21) for _ in range(5)]
        assert set(waiting) == {"reset"}
        assert cpu_seconds(daemon.pid) - before < 0.5
        assert talks[0].ask("NOOP").startswith("200")
        for talk in talks:
            talk.close()
        daemon.wait_for("session.closed", len(talks))
        assert daemon.audit("listener.overloaded") or daemon.audit("session.failed", reason="server_no_descriptors")
        assert not daemon.audit("session.denied")
        assert fate(lab.client, str(lab.server.v4), 21).startswith("open 220")


def test_a_full_disk_stops_no_session_and_loses_no_line_that_fits_in_memory(lab: Lab, tmp_path: Path) -> None:
    run: Callable[..., Any] = subprocess.run
    run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0777", "tmpfs", str(tmp_path)], check=True)
    try:
        filler = tmp_path / "filler"
        with pinhole(lab, ALL) as daemon, server(lab.server):
            daemon.stop()
            daemon.log = tmp_path / "audit.log"
            daemon.write_config(ALL)
            daemon.start()
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 512):
                        pass
                except OSError:
                    pass
            for _ in range(40):  # more lines than the last page of the log can take
                with Talk(lab.client, str(lab.server.v4)) as talk:
                    assert talk.ask("NOOP").startswith("200")
            assert daemon.is_running()
            filler.unlink()
            closed = daemon.wait_for("session.closed", 40)
            assert closed["reason"] in ("finished", "reset_by_client")
            assert daemon.ask("status")["audit_lines_lost"] == 0
            assert "No space left on device" in daemon.stderr.read_text()
    finally:
        run(["umount", str(tmp_path)], check=True)


def test_a_reload_puts_other_limits_of_pinholes_in_force(lab: Lab, daemon: Daemon) -> None:
    def replies(count: int) -> list[str]:
        with contextlib.ExitStack() as stack:
            talks = [stack.enter_context(Talk(lab.client, str(lab.server.v4))) for _ in range(count)]
            told = [talk.ask("PASV")[:3] for talk in talks]
        daemon.until(sessions=0, pinholes=0)  # what these have had does not count against the next ones
        return told

    with server(lab.server):
        assert replies(3) == ["227"] * 3
        daemon.write_config(ALL + "\nlimits: {pinholes: 2}")
        daemon.command("reload", "-c", str(daemon.config))
        assert replies(3) == ["227", "227", "425"]
        daemon.write_config(ALL)
        daemon.command("reload", "-c", str(daemon.config))
        assert replies(3) == ["227"] * 3
