"""The audit log of a daemon at work: lines that join, places that block, and a log that must be written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.harness.waiting import until
from tests.netns.ftp_talk import Talk, dial, fate, passive_address, server
from tests.netns.namespaces import needs_root
from tests.netns.test_daemon import HALF, HeldServer, read
from tests.netns.test_sip_attacks import RTP, Site, site
from tools.lab import Daemon, Lab, pinhole
from tools.lab.daemon import whole_lines

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ROOT = Path(__file__).parents[2]
HIDDEN = "policies: [{name: all, from: [lan0], action: accept, snat: interface}]"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("routed") as lab:
        yield lab


@contextlib.contextmanager
def writing(lab: Lab, audit: str, log: Path | None = None) -> Iterator[Daemon]:
    """A daemon with this section `audit`, in which {log} is its usual file. log: another one that it has."""
    with pinhole(lab, HIDDEN) as daemon:
        daemon.stop()
        daemon.log.unlink()
        text = audit.replace("{log}", str(daemon.log))
        daemon.write_file(f"{HIDDEN}\naudit: {text}\ncontrol: {daemon.directory}/control.sock\n")
        daemon.log = log or daemon.log
        daemon.start()
        yield daemon


def a_session(lab: Lab) -> None:
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        assert talk.ask("NOOP").startswith("200")


# -- lines that join ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["none", "interface"])
def gate(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as gate:
        yield gate


def test_every_line_of_a_call_says_so_and_who_may_come_through_each_of_its_holes(gate: Site) -> None:
    gate.call()
    media = gate.speaker(gate.lab.client, 7000)
    (to_server,) = (
        line["listen"] for line in gate.daemon.audit("pinhole.opened", purpose="rtp") if line["answers"] is not None
    )
    host, _, port = to_server.rpartition(":")
    media.say(RTP, (host, int(port)))
    gate.daemon.wait_for("pinhole.used")
    gate.hang_up()
    lines = gate.daemon.audit()
    opened = {line["pinhole"]: line for line in lines if line["event"] == "pinhole.opened" and line["purpose"] == "rtp"}
    of_call = [line for line in lines if line.get("pinhole") in opened or line["event"].startswith("call.")]
    assert len(of_call) == 8
    assert {(line["call_id"], line["direction"]) for line in of_call} == {("call", "out")}
    (offered,) = (name for name, line in opened.items() if line["answers"] is None)
    joined = gate.daemon.wait_for("pinhole.joined")
    assert (joined["pinhole"], joined["allow"]) == (offered, [f"{gate.server_at}/32"])
    assert opened[joined["answered_at"]]["answers"] == offered
    assert opened[joined["answered_at"]]["allow"] == [f"{gate.phone_at}/32"]


def test_a_call_that_is_refused_says_with_which_code(gate: Site) -> None:
    gate.from_phone(gate.invite())
    gate.from_server(gate.response(486, "INVITE"))
    failed = gate.daemon.wait_for("call.failed")
    assert (failed["call_id"], failed["code"], failed["reason"]) == ("call", 486, "So")
    assert (failed["from"], failed["to"]) == ("sip:alice@example.org", "sip:bob@example.org")


def test_every_line_has_its_place_and_its_writer_and_no_name_comes_again_after_a_restart(lab: Lab) -> None:
    with pinhole(lab, HIDDEN) as daemon, server(lab.server):
        for life in (1, 2):
            with Talk(lab.client, str(lab.server.v4)) as talk:
                assert talk.ask("PASV").startswith("227")
            daemon.wait_for("session.closed", life)
            if life == 1:
                daemon.signal(signal.SIGKILL)
                daemon.wait()
                daemon.start()
        lines = daemon.audit()
    lives: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        lives.setdefault(line["instance"], []).append(line)
    assert len(lives) == 2
    assert {line["node"] for line in lines} == {os.uname().nodename}
    for instance, of_life in lives.items():
        assert [line["seq"] for line in of_life] == list(range(1, len(of_life) + 1))
        assert {line["session"].partition("-")[0] for line in of_life if "session" in line} == {instance}
    opened = [line["pinhole"] for line in lines if line["event"] == "pinhole.opened"]
    assert len(opened) == len(set(opened)) == 2


def test_who_had_our_address_and_port_is_known_of_every_connection_that_is_dialled(lab: Lab) -> None:
    held = HeldServer()
    with pinhole(lab, HIDDEN) as daemon, server(lab.server, held), Talk(lab.client, str(lab.server.v4)) as talk:
        address, port = passive_address(talk.ask("PASV"))
        with dial(lab.client, address, port) as data:
            talk.send(b"RETR file\r\n")
            assert talk.reply().startswith("150")
            read(data, len(HALF))
            (at_server,) = held.data
            assert daemon.wait_for("pinhole.used")["dialled_from"] == "{}:{}".format(*at_server.getpeername())
            held.finish()
        opened = daemon.wait_for("session.opened")
        assert opened["dialled_from"] == opened["snat"]
    held.close()


def test_what_is_denied_says_by_which_transport_and_helper(lab: Lab) -> None:
    with pinhole(lab, "policies: [{name: rest, action: deny}]") as daemon:
        assert fate(lab.client, str(lab.server.v4), 21) == "reset"
        denied = daemon.wait_for("session.denied")
        assert (denied["transport"], denied["helper"], denied["policy"]) == ("tcp", "ftp", "rest")


def test_a_real_log_is_as_the_printed_schema_has_it(gate: Site) -> None:
    gate.call()
    gate.hang_up()
    gate.phone.say(b"REGISTER nonsense", (gate.server_at, 5060))
    gate.daemon.wait_for("violation")
    printed = subprocess.run(
        [sys.executable, "-m", "proxy", "audit", "schema"], cwd=ROOT, capture_output=True, check=True
    )
    validator = jsonschema.Draft202012Validator(json.loads(printed.stdout))
    lines = gate.daemon.audit()
    assert len({line["event"] for line in lines}) > 6
    for line in lines:
        validator.validate(line)


def test_what_lasts_is_told_of_meanwhile(lab: Lab) -> None:
    held = HeldServer()
    with (
        writing(lab, "{to: {log}, progress: 1s}") as daemon,
        server(lab.server, held),
        Talk(lab.client, str(lab.server.v4)) as talk,
    ):
        address, port = passive_address(talk.ask("PASV"))
        with dial(lab.client, address, port) as data:
            talk.send(b"RETR file\r\n")
            assert talk.reply().startswith("150")
            read(data, len(HALF))
            # The first lines may have come before all of it has passed.
            daemon.wait_for("pinhole.progress", 2, bytes_in=0, bytes_out=len(HALF), purpose="ftp-data")
            held.finish()
    held.close()


# -- places that block -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_pipe_that_nobody_reads(path: Path) -> Iterator[str]:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while os.write(filler, b"x" * 4096):
            pass
    yield str(path)
    os.close(reader)
    os.close(filler)


@contextlib.contextmanager
def a_collector_that_reads_nothing(lab: Lab, kind: socket.SocketKind) -> Iterator[str]:
    with lab.gateway.inside():
        sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.bind(("127.0.0.1", 0))
    if kind is socket.SOCK_STREAM:
        sock.listen(0)
    way = "tcp" if kind is socket.SOCK_STREAM else "udp"
    with sock:
        yield f'{{to: syslog, server: "{way}://127.0.0.1:{sock.getsockname()[1]}"}}'


@contextlib.contextmanager
def a_socket_that_nobody_reads(path: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        yield f"{{to: syslog, server: {path}}}"


@contextlib.contextmanager
def every_place_that_takes_nothing(lab: Lab, directory: Path) -> Iterator[list[str]]:
    """One of each kind, as entries of `sinks`."""
    with (
        a_pipe_that_nobody_reads(directory / "pipe") as pipe,
        a_socket_that_nobody_reads(directory / "socket") as unix,
        a_collector_that_reads_nothing(lab, socket.SOCK_DGRAM) as udp,
        a_collector_that_reads_nothing(lab, socket.SOCK_STREAM) as tcp,
    ):
        full, journal, gone = "{to: /dev/full}", "{to: journal}", '{to: syslog, server: "tcp://127.0.0.1:9"}'
        yield [f"{{to: {pipe}}}", full, journal, unix, udp, tcp, gone]


def test_places_that_take_nothing_hold_up_neither_traffic_nor_the_other_places_nor_the_end(
    lab: Lab, tmp_path: Path
) -> None:
    with (
        every_place_that_takes_nothing(lab, tmp_path) as sinks,
        writing(lab, f"{{to: {{log}}, sinks: [{', '.join(sinks)}]}}") as daemon,
        server(lab.server),
    ):
        began = time.monotonic()
        for _ in range(100):
            with Talk(lab.client, str(lab.server.v4)) as talk:
                assert talk.ask("NOOP").startswith("200")
        assert time.monotonic() - began < 60  # a place that each line waits for takes a second for it, or five
        daemon.wait_for("session.closed", 100)
        status = daemon.ask("status")
        assert status["audit_lines_lost"] == 0
        assert status["audit_lines_waiting"] > 300
        lines = daemon.audit()
        assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
        daemon.signal(signal.SIGTERM)
        began = time.monotonic()
        assert daemon.wait() == 0
        assert time.monotonic() - began < 30  # they are given five seconds


def test_a_log_that_must_be_written_and_cannot_refuses_new_sessions_and_lets_old_ones_go_on(
    lab: Lab, tmp_path: Path
) -> None:
    run: Callable[..., Any] = subprocess.run
    run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0777", "tmpfs", str(tmp_path)], check=True)
    try:
        log, filler = tmp_path / "audit.log", tmp_path / "filler"
        with (
            writing(lab, f"{{to: {log}, required: true}}", log) as daemon,
            server(lab.server),
            Talk(lab.client, str(lab.server.v4)) as before,
        ):
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(b"x" * 512):
                    pass
            until(lambda: fate(lab.client, str(lab.server.v4), 21) == "reset")
            assert before.ask("NOOP").startswith("200")
            filler.unlink()
            daemon.wait_for("session.denied", reason="audit_unavailable")
            until(lambda: "writing again" in daemon.stderr.read_text())  # the line stands a moment before that is known
            with Talk(lab.client, str(lab.server.v4)) as after:
                assert after.ask("NOOP").startswith("200")
    finally:
        run(["umount", str(tmp_path)], check=True)


def test_one_place_that_works_is_enough_for_a_log_that_must_be_written(lab: Lab) -> None:
    with writing(lab, "{to: {log}, required: true, sinks: [{to: /dev/full}]}") as daemon:
        until(lambda: "No space left" in daemon.stderr.read_text())
        a_session(lab)
        assert daemon.audit("session.denied") == []


# -- rotation ----------------------------------------------------------------------------------------------------------


def test_a_log_that_was_moved_away_is_followed_by_a_new_file_and_its_chain_goes_on(lab: Lab) -> None:
    with writing(lab, "{to: {log}, chain: true}") as daemon:
        a_session(lab)
        daemon.wait_for("session.closed")
        daemon.log.rename(daemon.log.with_name("audit.log.1"))
        time.sleep(1.1)  # how often it looks
        a_session(lab)
        daemon.wait_for("session.closed")
        said = daemon.command("audit", "verify", str(daemon.log))
        assert "in 2 files are as they were written" in said.stdout
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        daemon.start()
        assert "in 2 files are as they were written" in daemon.command("audit", "verify", str(daemon.log)).stdout


@pytest.mark.parametrize("unprivileged", [False, True])
def test_a_reload_takes_the_log_elsewhere_and_ends_nothing(lab: Lab, unprivileged: bool) -> None:
    """Also where another process opens the files, since the daemon serves as an ordinary user."""
    with pinhole(lab, HIDDEN, unprivileged=unprivileged) as daemon, server(lab.server):
        with Talk(lab.client, str(lab.server.v4)) as talk:
            before, after = daemon.log, daemon.directory / "elsewhere.log"
            daemon.write_file(f"{HIDDEN}\naudit: {{to: {after}}}\ncontrol: {daemon.directory}/control.sock\n")
            assert daemon.command("reload", "-c", str(daemon.config)).returncode == 0
            assert talk.ask("NOOP").startswith("200")
        daemon.log = after
        daemon.wait_for("session.closed")
        assert daemon.audit()[0]["event"] == "config.reloaded"

        def numbers() -> list[int]:
            return [line["seq"] for line in [*whole_lines(before), *daemon.audit()]]

        # What is left for the old place is written beside what comes to the new one.
        until(lambda: (found := numbers()) == list(range(1, len(found) + 1)), numbers)
