"""A real server of PPTP and real clients of it. What they carry is not PPP, which takes a kernel that knows it: the
server starts a program in the place of pppd for each call (`tools/peers/ppp.py`), and a client is that here.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from tools.lab import Host
from tools.peers import ppp
from tools.peers.programs import UNPACKED
from tools.peers.programs import missing as _missing

PORT = 1723
SECONDS = 20


def missing() -> str:
    """The programs that are not installed; empty when all are."""
    return _missing("pptp", "pptpd")


def _where_their_paths_lead(script: str, *words: str | Path) -> list[str | Path]:
    """A command in a mount namespace of its own. Their paths are compiled into these programs."""
    prepared = f'mount --bind {UNPACKED}/usr/sbin /usr/sbin && mount -t tmpfs run /run && {script}; exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", prepared, "sh", *words]


@dataclass(frozen=True, slots=True)
class Server:
    """A server of PPTP."""

    host: Host
    directory: Path
    process: subprocess.Popen[Any]

    def counts(self) -> list[tuple[int, int]]:
        """How many frames came and went at each call's program, the oldest call first."""
        files = sorted(self.directory.glob("ppp-*"), key=lambda path: path.stat().st_ctime)
        said = (path.read_text().split() for path in files)
        return [(int(words[0]), int(words[1])) if words else (0, 1) for words in said]


@contextlib.contextmanager
def pptpd(host: Host, address: IPv4Address | IPv6Address) -> Iterator[Server]:
    """pptpd, on an address of a host."""
    with tempfile.TemporaryDirectory(prefix="pptpd-") as made:
        directory = Path(made)
        program, options, config = directory / "pppd", directory / "options", directory / "pptpd.conf"
        program.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S {ppp.__file__} {directory}\n")
        program.chmod(0o755)
        options.write_text("")
        config.write_text(
            f"ppp {program}\noption {options}\nlisten {address}\nlocalip 192.0.2.1\nremoteip 192.0.2.2-99\n"
        )
        command = _where_their_paths_lead(
            ":", "/usr/sbin/pptpd", "--fg", "--conf", config, "--pidfile", "/run/pptpd.pid"
        )
        with (directory / "log").open("wb") as output:
            process = host.popen(command, stdout=output, stderr=output)
        try:
            host.wait_until_bound("tcp", PORT, process)
            yield Server(host, directory, process)
        finally:
            host.end(process, SECONDS)


@dataclass(slots=True)
class Call:
    """A call of pptp to a server, and its end of what is in the tunnel."""

    host: Host
    process: subprocess.Popen[Any]
    sock: socket.socket
    log: Path
    _frames: ppp.Frames = field(default_factory=ppp.Frames)
    _came: list[bytes] = field(default_factory=list)

    def send(self, payload: bytes) -> None:
        """Send a frame into the tunnel."""
        self.sock.sendall(ppp.framed(payload))

    def receive(self, seconds: float = SECONDS) -> bytes:
        """The next frame from the tunnel. Raises TimeoutError, and ConnectionError when the client has ended."""
        ends_at = time.monotonic() + seconds
        while not self._came:
            left = ends_at - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise TimeoutError(f"nothing comes from the tunnel: {self.log.read_text()[-500:]}")
            if not (data := self.sock.recv(65536)):
                raise ConnectionError(f"the client has ended: {self.log.read_text()[-500:]}")
            self._came += self._frames.push(data)
        return self._came.pop(0)

    def is_greeted(self, seconds: float = SECONDS) -> bool:
        """Whether the server's program has been heard."""
        return self.receive(seconds) == ppp.GREETING

    def echo(self, *payloads: bytes) -> bool:
        """Whether the server's program returns all of these in order."""
        for payload in payloads:
            self.send(payload)
        return [self.receive() for _ in payloads] == list(payloads)

    def hang_up(self) -> None:
        """End the call in order. Now and then a client lets go of its call and then does not end: it is killed."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS)
        self.process.kill()
        self.process.wait()
        self.sock.close()


@contextlib.contextmanager
def pptp(
    host: Host, server: IPv4Address | IPv6Address, source: IPv4Address, words: Sequence[str] = ()
) -> Iterator[Call]:
    """A call to a server from an address of a host."""
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="pptp-") as made, ours:
        log = Path(made) / "log"
        command = ["/usr/sbin/pptp", str(server), "--nolaunchpppd", "--nohostroute", "--localbind", str(source), *words]
        with theirs, log.open("wb") as output:
            process = host.popen(
                _where_their_paths_lead("mkdir -p /run/pptp", *command), stdin=theirs, stdout=theirs, stderr=output
            )
        try:
            yield Call(host, process, ours, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            host.end(process, SECONDS)
