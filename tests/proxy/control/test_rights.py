"""Who may look and who may change: everybody who may open the socket, or the members of two groups."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.control.rights import Rights, peer_of
from proxy.control.routes import Peer, Right, Route, Single
from proxy.control.server import Control

LOOK, CHANGE, OTHER = 4711, 4712, 4713
NOBODY = 65534
ALL = frozenset(Right)


@pytest.mark.parametrize(
    ("uid", "groups", "may"),
    [
        (0, (), ALL), (os.geteuid(), (), ALL), (NOBODY, (CHANGE,), ALL), (NOBODY, (LOOK, CHANGE), ALL),
        (NOBODY, (LOOK,), {Right.LOOK}), (NOBODY, (OTHER,), set()),
    ],
)  # fmt: skip
def test_two_groups_say_who_may_look_and_who_may_change(uid: int, groups: tuple[int, ...], may: set[Right]) -> None:
    assert Rights(LOOK, CHANGE).of(Peer(uid, 0, 1), groups) == may


def test_without_groups_whoever_may_open_the_socket_may_do_both() -> None:
    assert Rights().of(Peer(NOBODY, NOBODY, 1), ()) == ALL


def test_with_one_group_for_changes_the_daemons_own_may_look() -> None:
    assert Rights(None, CHANGE).of(Peer(NOBODY, 0, 1), (os.getegid(),)) == {Right.LOOK}
    assert Rights(None, CHANGE).of(Peer(NOBODY, 0, 1), (OTHER,)) == frozenset()


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    class Transport:
        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def get_extra_info(self, _: str) -> socket.socket:
            return self._sock

    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer, groups = peer_of(Transport(ours))
    assert peer == Peer(os.geteuid(), os.getegid(), os.getpid())
    assert set(os.getgroups()) | {os.getegid()} == set(groups)


@pytest_asyncio.fixture
async def path() -> AsyncIterator[Path]:
    """A socket with both groups, where one may look at one thing and change another."""
    routes = [
        Route("GET", "/v1/look", "Look", Single(None, lambda _: {"ok": True})),
        Route("POST", "/v1/change", "Change", Single(None, lambda _: {"ok": True}), right=Right.CHANGE),
    ]
    with tempfile.TemporaryDirectory() as directory:  # pytest keeps its own for root alone
        Path(directory).chmod(0o755)
        at = Path(directory) / "control.sock"
        server = Control(str(at), routes, rights=Rights(LOOK, CHANGE))
        await server.start()
        yield at
        await server.stop()


ASK = """
import os, socket, sys
path, group, request = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.setgroups([group]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(path)
    sock.sendall(f"{request} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(sock.recv(65536).split()[1].decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    ("group", "request_line", "status"),
    [
        (LOOK, "GET /v1/look", "200"), (LOOK, "POST /v1/change", "403"), (CHANGE, "POST /v1/change", "200"),
        (CHANGE, "GET /v1/look", "200"), (OTHER, "GET /v1/look", "403"), (OTHER, "POST /v1/change", "403"),
    ],
)  # fmt: skip
async def test_real_users_are_let_in_by_their_groups(path: Path, group: int, request_line: str, status: str) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    command = [sys.executable, "-c", ASK, str(path), str(group), request_line]
    said = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == status
