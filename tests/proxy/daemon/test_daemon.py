"""What the parts of a daemon make of each other, without sessions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config import reading
from proxy.daemon.daemon import Daemon
from proxy.sockets import transparent
from tests.harness.scarce import no_descriptors
from tests.harness.shell import SECONDS

ALL = "policies: [{name: all, action: accept}]\n"

Make = Callable[[str], Daemon]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a daemon of a configuration, which serves nobody yet."""

    def made(more: str = "") -> Daemon:
        file = tmp_path / "pinhole.yaml"
        file.write_text(f"{ALL}audit: {{to: {tmp_path}/audit.log}}\ncontrol: {tmp_path}/control.sock\n{more}")
        return Daemon(str(file), reading.load(file))

    return made


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """The service manager's end of its socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(SECONDS)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return sock


async def test_a_time_without_descriptors_is_not_the_last_one_at_which_it_says_that_it_lives(
    make: Make, manager: socket.socket
) -> None:
    daemon = make("")
    with manager:
        with no_descriptors():
            daemon._tell_alive(0.01)
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    await daemon.stop()


async def test_without_descriptors_it_ends_in_order_all_the_same(make: Make, manager: socket.socket) -> None:
    daemon = make("")
    with manager, no_descriptors():
        await daemon.stop()


def test_marks_that_cannot_be_tried_for_want_of_a_descriptor_are_no_mistake_of_the_configuration() -> None:
    with no_descriptors():
        transparent.check_marks()
