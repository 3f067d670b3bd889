"""What stands around the daemon fails while a call and a transfer go on: the resolver, the clock, whoever takes the
audit log. `test_faults.py` has the table of all faults."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.sessions import resolver
from tests.harness.waiting import attempts, until
from tests.netns.ftp_talk import fate
from tests.netns.media_site import site
from tests.netns.namespaces import needs_root
from tests.netns.tns_talk import calling, listening, refused
from tests.netns.traffic import going_on, setting
from tools.lab import Daemon, Host
from tools.peers.tns_packets import address, in_two

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

DAY = 86_400
OPEN_SECONDS = 1
MANY = 60
"""Sessions, whose lines are more than what the kernel keeps for any sink."""
NODE, COLLECTOR = "node2.example", "collector.example"


def with_other_files(**files: Path) -> tuple[str, ...]:
    """Runs the daemon where these stand in place of those by name."""
    mounts = [f"mount --bind {file} {name}" for name, file in files.items()]
    return ("unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh")


def expires_soon(daemon: Daemon) -> None:
    """From now on a new pinhole that nobody uses is closed after `OPEN_SECONDS`. One of before, for a transfer that was
    yet to begin, had the time that it has by itself."""
    daemon.config.write_text(f"{daemon.config.read_text()}timeouts: {{pinhole_open: {OPEN_SECONDS}}}\n")
    daemon.command("reload", "-c", str(daemon.config))


# -- the resolver ------------------------------------------------------------------------------------------------------


def test_a_dead_resolver_keeps_nobody_waiting_but_who_needs_a_name_and_him_not_for_long(tmp_path: Path) -> None:
    servers, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    servers.write_text("nameserver 198.51.100.2\n")
    hosts.write_text("127.0.0.1 localhost\n")
    under = with_other_files(**{"/etc/resolv.conf": servers, "/etc/hosts": hosts})
    with site("S", more=f'hep: {{to: "{COLLECTOR}:9060"}}', under=under, is_locked=False) as place:
        with place.lab.server.inside():
            dead = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dead.bind(("198.51.100.2", 53))  # it takes questions and answers none
        redirect = in_two(address(NODE, 21522))
        with dead, listening(place.lab.server, redirect), going_on(place) as traffic:
            expires_soon(place.daemon)
            with calling(traffic.client, (traffic.server, 1521)) as client:
                began = time.monotonic()
                assert dead.recv(500)
                traffic.goes_on()
                traffic.calls()
                assert time.monotonic() - began < resolver.SECONDS
                assert NODE in refused(client)
                assert time.monotonic() - began < resolver.SECONDS + 4
            assert traffic.daemon.wait_for("violation")["helper"] == "tns"
            assert traffic.metric("pinhole_hep_messages_lost_total") > 0
            hosts.write_text(f"127.0.0.1 localhost {COLLECTOR}\n{traffic.server} {NODE}\n")
            with calling(traffic.client, (traffic.server, 1521)):
                assert traffic.daemon.wait_for("pinhole.opened", helper="tns")["target"] == f"{traffic.server}:21522"
            traffic.goes_on()
            traffic.daemon.wait_for("session.closed", 2, helper="tns")
            traffic.ends()


# -- the clock ---------------------------------------------------------------------------------------------------------

CLOCK = """
import os, time
_file, _now, _nanoseconds = os.open({path!r}, os.O_RDONLY), time.time, time.time_ns
_moved_by = lambda: int(os.pread(_file, 20, 0) or 0)
time.time = lambda: _now() + _moved_by()
time.time_ns = lambda: _nanoseconds() + _moved_by() * 10**9
"""
"""Namespaces have no wall clock of their own, and the machine's is everybody's. So the daemon reads it by this."""


@pytest.mark.parametrize("moved_by", [-DAY, DAY])
def test_a_clock_that_is_set_changes_no_timeout_no_order_and_no_length_of_time(tmp_path: Path, moved_by: int) -> None:
    moved = tmp_path / "moved"
    moved.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(CLOCK.format(path=str(moved)))
    under = ("env", f"PYTHONPATH={tmp_path}")
    with site("S", under=under) as place, going_on(place) as traffic:
        daemon = traffic.daemon
        expires_soon(daemon)
        with traffic.another() as idle:
            for _ in attempts():  # this process may get no turn for as long as the pinhole stands
                moved.write_text("0")
                opened, asked_at = len(daemon.audit("pinhole.opened")), time.monotonic()
                idle.ask("PASV")
                standing = daemon.wait_for("pinhole.opened", opened + 1)
                before = daemon.audit()[-1]
                moved.write_text(str(moved_by))
                if time.monotonic() - asked_at < OPEN_SECONDS:
                    break
            unused = daemon.wait_for("pinhole.closed", pinhole=standing["pinhole"], reason="never_used")
            traffic.goes_on()
            traffic.calls()
            assert idle.ask("PASV").startswith("227 ")
            for row in traffic.listed("sessions"):
                assert 0 <= row["age_seconds"] < 60
        assert (unused["time"] < before["time"]) == (moved_by < 0)
        assert OPEN_SECONDS <= unused["duration_seconds"] < 10
        assert "never_used" in daemon.command("explain", unused["pinhole"], "-c", str(daemon.config)).stdout
        moved.write_text("0")
        traffic.goes_on()
        traffic.ends()
        lines = daemon.audit()
        assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
        assert all(0 <= line.get("duration_seconds", 0) < 60 for line in lines)


# -- who takes the audit log -------------------------------------------------------------------------------------------


def restart(daemon: Daemon, audit: str) -> None:
    """With these keys of `audit` as well."""
    daemon.stop()
    daemon.config.write_text(daemon.config.read_text().replace("audit: {", f"audit: {{{audit}, "))
    daemon.start()


class Blocked:
    """One of each kind of sink, none of which is read: a file that is a pipe, syslog by UNIX and by TCP, the journal.
    By UDP nobody can be kept waiting. `directory` is `/run` for the daemon."""

    def __init__(self, directory: Path, at: Host) -> None:
        self._pipe = directory / "pipe"
        os.mkfifo(self._pipe)
        self._pipe.chmod(0o666)
        self._reading = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._journal = self._datagrams(directory / "systemd" / "journal" / "socket")
        self._log = self._datagrams(directory / "log")
        at.run(["ip", "link", "set", "lo", "mtu", "1500"])  # a small window has room for a whole segment
        with at.inside():
            self._collector = socket.create_server(("127.0.0.1", 6514), backlog=1)
        self._collector.settimeout(10)
        self._collector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)

    @staticmethod
    def _datagrams(path: Path) -> socket.socket:
        path.parent.mkdir(parents=True, exist_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(path))
        path.chmod(0o666)
        return sock

    @property
    def named(self) -> str:
        places = [
            f"{{to: file, path: {self._pipe}}}",
            '{to: syslog, server: "/run/log"}',
            '{to: syslog, server: "tcp://127.0.0.1:6514"}',
            "{to: journal}",
        ]
        return f"sinks: [{', '.join(places)}]"

    @contextlib.contextmanager
    def read(self) -> Iterator[list[bytearray]]:
        """Read all from now on. Yields what has come to each."""
        stream = self._collector.accept()[0]
        os.set_blocking(self._reading, False)
        descriptors = [self._reading, *(sock.fileno() for sock in (self._log, stream, self._journal))]
        texts, end = [bytearray() for _ in descriptors], threading.Event()

        def reading() -> None:
            while not end.is_set():
                for ready in select.select(descriptors, [], [], 0.05)[0]:
                    texts[descriptors.index(ready)].extend(os.read(ready, 1 << 16))

        thread = threading.Thread(target=reading, daemon=True)
        thread.start()
        try:
            yield texts
        finally:
            end.set()
            thread.join()
            stream.close()

    def close(self) -> None:
        os.close(self._reading)
        for sock in (self._log, self._collector, self._journal):
            sock.close()


def test_sinks_that_are_all_blocked_keep_nobody_waiting_and_lose_no_line(tmp_path: Path) -> None:
    system = tmp_path / "run"
    system.mkdir()
    under = with_other_files(**{"/run": system})
    with (
        site("S", under=under, is_locked=False) as place,
        contextlib.closing(Blocked(system, place.lab.gateway)) as blocked,
    ):
        daemon = place.daemon
        with setting(place.lab.gateway, "net.ipv4.tcp_wmem", "4096 4096 4096"):
            restart(daemon, blocked.named)
        with going_on(place) as traffic:
            for _ in range(MANY):
                began = time.monotonic()
                with traffic.another() as talk:
                    talk.ask("PASV")
                assert time.monotonic() - began < 5  # a sink that were waited for would take longer
            daemon.wait_for("session.closed", MANY, helper="ftp")
            traffic.goes_on()
            until(lambda: traffic.checks()["audit"] == "cannot be written")
            assert traffic.metric("pinhole_audit_queue_lines") > 0
            with blocked.read() as texts:
                daemon.until(audit_lines_waiting=0)
                until(lambda: traffic.checks()["audit"] == "ok")
                sessions = [line["session"].encode() for line in daemon.audit("session.closed")]
                until(lambda: all(session in text for session in sessions for text in texts))
                assert daemon.ask("status")["audit_lines_lost"] == 0
                traffic.ends()
                daemon.stop()


def test_where_the_log_is_required_a_full_disk_refuses_what_is_new_until_there_is_room() -> None:
    with site("S") as place, small_disk(place.daemon.directory / "disk") as filled:
        daemon = place.daemon
        daemon.stop()
        daemon.log = daemon.directory / "disk" / "audit.log"
        daemon.write_config(daemon.config.read_text().rpartition("\naudit:")[0])
        restart(daemon, "required: true")
        with going_on(place) as traffic:
            with filled():
                until(lambda: fate(traffic.client, traffic.server, 21) == "reset")
                assert traffic.checks()["audit"] == "cannot be written"
                traffic.goes_on()
                assert traffic.metric('pinhole_sessions_denied_total{reason="audit_unavailable"}') > 0
            until(lambda: fate(traffic.client, traffic.server, 21).startswith("open 220"))
            daemon.wait_for("session.denied", reason="audit_unavailable")
            traffic.ends()
            assert daemon.ask("status")["audit_lines_lost"] == 0
        daemon.stop()


@contextlib.contextmanager
def small_disk(at: Path) -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    """Yields what fills it for a while."""
    run: Callable[..., Any] = subprocess.run
    at.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0777", "tmpfs", str(at)], check=True)

    @contextlib.contextmanager
    def filled() -> Iterator[None]:
        filler = at / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 512):
                pass
        yield
        filler.unlink()

    try:
        yield filled
    finally:
        run(["umount", str(at)], check=True)
