"""What the service manager is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from proxy.host import service
from tests.harness.scarce import no_descriptors
from tests.harness.shell import SECONDS


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Its end of the socket, of both kinds that there are."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@pinhole-test-{os.getpid()}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(name.replace("@", "\0"))
    sock.settimeout(SECONDS)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    return sock


def test_facts_are_lines_of_one_datagram(manager: socket.socket) -> None:
    with manager:
        service.tell("STATUS=serving", "READY=1")
        assert manager.recv(100) == b"STATUS=serving\nREADY=1"


def test_nobody_is_told_where_nobody_asks_or_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service.tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    service.tell("READY=1")


def test_a_fact_that_no_descriptor_is_left_for_is_not_told_and_no_more_than_that(manager: socket.socket) -> None:
    with manager:
        with no_descriptors():
            service.tell("WATCHDOG=1")
        service.tell("STOPPING=1")
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_it_says_that_it_is_alive_twice_in_the_time_of_the_watchdog(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], seconds: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert service.alive_seconds() == seconds
