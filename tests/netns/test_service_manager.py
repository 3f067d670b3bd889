"""What a service manager hears of the daemon (`Type=notify`): that it listens, how it is, that it lives and ends."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab
from tools.lab.daemon import LONGEST_WAIT_SECONDS

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.executed, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept}]\nuser: nobody\n"


class Manager:
    """It hears facts in the order in which they are told."""

    def __init__(self, path: Path, host: Host) -> None:
        # A daemon does not wait for room, and as a rule there is room for ten. How much is a matter of the network
        # namespace in which the socket is made.
        host.sysctl("unix.max_dgram_qlen", 10000)
        with host.inside():
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        path.chmod(0o777)

    def hears(self, fact: str) -> None:
        """Wait until it is told. Raises TimeoutError."""
        end = time.monotonic() + LONGEST_WAIT_SECONDS
        while (left := end - time.monotonic()) > 0:
            self._sock.settimeout(left)
            if fact in self._told():
                return
        raise TimeoutError(f"{fact} is not told")

    def has_heard(self, fact: str) -> bool:
        """Whether it was told before now, and not heard yet."""
        self._sock.settimeout(0)
        try:
            while fact not in self._told():
                pass
        except BlockingIOError:
            return False
        return True

    def _told(self) -> list[str]:
        return self._sock.recv(4096).decode().splitlines()

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    path = daemon.directory / "notify"
    manager = Manager(path, daemon._lab.gateway)
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
