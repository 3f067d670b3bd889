"""What a service manager hears of the daemon (`Type=notify`): that it listens, how it is, that it lives and ends."""

from __future__ import annotations

import contextlib
import queue
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.executed, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept}]\nuser: nobody\n"
SECONDS = 60
"""For what is sure to be told, whatever else the machine has to do."""
LAST = "LAST=1"
"""What a test tells, to know that all that was told before has been read."""


class Manager:
    """It hears facts in the order in which they are told.

    They are read at once, for a socket has room for ten, and a daemon does not wait for room: it says five times a
    second that it lives, and a command that a test runs meanwhile may take for seconds.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self._path)
        path.chmod(0o777)
        self._told: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while data := self._sock.recv(4096):
            self._told.put(data.decode().splitlines())

    def hears(self, fact: str) -> None:
        """Wait until it is told. Raises TimeoutError."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(queue.Empty):
                if fact in self._told.get(timeout=1):
                    return
        raise TimeoutError(f"{fact} is not told")

    def has_heard(self, fact: str) -> bool:
        """Whether it was told before now, and not heard yet."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(LAST.encode(), self._path)
        found = False
        while LAST not in (facts := self._told.get(timeout=SECONDS)):
            found = found or fact in facts
        return found

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._sock.close()


@pytest.fixture
def manager(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    path = daemon.directory / "notify"
    manager = Manager(path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield manager
    manager.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Lab("routed") as lab:
        daemon = Daemon(lab, ALL, "nft", unprivileged=False)
        daemon.net_up()
        yield daemon
        if daemon.is_running():
            daemon.stop()
        shutil.rmtree(daemon.directory)


def test_it_is_told_of_each_turn_of_a_daemons_life(manager: Manager, daemon: Daemon) -> None:
    daemon.start()
    manager.hears("READY=1")
    manager.hears("WATCHDOG=1")
    manager.hears("WATCHDOG=1")
    daemon.signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    manager.hears("READY=1")
    daemon.net_down()
    manager.hears("STATUS=degraded")
    daemon.net_up()
    manager.hears("STATUS=serving")
    daemon.signal(signal.SIGTERM)
    manager.hears("STOPPING=1")
    assert daemon.wait() == 0


def test_a_daemon_that_cannot_listen_is_never_ready_and_ends_with_1(manager: Manager, daemon: Daemon) -> None:
    with daemon._lab.gateway.inside():
        taken = socket.create_server(("127.0.0.1", 50000))
    with taken, pytest.raises(RuntimeError, match="cannot listen on port 50000"):
        daemon.start()
    assert daemon.wait() == 1
    assert not manager.has_heard("READY=1")
