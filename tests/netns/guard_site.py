"""A gateway whose rules and routes are kept by `pinhole net guard`, beside a daemon that may change nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.waiting import until
from tests.netns.ftp_talk import Talk, fate, passive_address, server
from tools.lab import Daemon, Lab
from tools.lab.daemon import COMMAND, ROOT

ALL = "policies: [{name: all, from: [lan0], action: accept}]\nuser: nobody\n"
NARROW = "policies: [{name: narrow, from: [lan0], source: 10.1.0.77, action: accept}]\nuser: nobody\n"
LONGEST_SECONDS = 20.0
"""Within which things are back. With nothing else to do it takes half a second; while news go on to come, the guard
lets them come for a second before it begins. On a busy machine the guard, and each of the programs by which it looks
and sets things up, may wait for its turn for some seconds. What it has no news of it looks for every 30 seconds."""


class Kept:
    """A lab whose gateway has a guard, and a daemon with two capabilities."""

    def __init__(self, lab: Lab, text: str = "") -> None:
        self.lab = lab
        self.daemon = Daemon(lab, ALL + text, "nft", unprivileged=True)
        self._guard: subprocess.Popen[Any] | None = None
        self.said = self.daemon.directory / "guard.log"

    def guard(self, *words: str) -> subprocess.Popen[Any]:
        before = self.entrances()
        with self.said.open("ab") as said:
            command = (*COMMAND, "net", "guard", "-c", str(self.daemon.config), *words)
            self._guard = self.lab.gateway.popen(command, cwd=ROOT, stdout=said, stderr=said)
        until(lambda: self.entrances() - before)
        return self._guard

    def entrances(self) -> set[str]:
        """Where somebody listens who may be a guard."""
        return {line for line in self.run("ss -Hxl").splitlines() if "@pinhole-guard" in line}

    def as_root(self) -> None:
        """Let root start the daemon."""
        shutil.rmtree(self.daemon.directory)
        self.daemon = Daemon(self.lab, ALL, "nft", unprivileged=False)
        self.said = self.daemon.directory / "guard.log"

    def run(self, command: str) -> str:
        return self.lab.gateway.run(["sh", "-c", command]).stdout

    def status(self, *words: str) -> int:
        return self.daemon.command(*words, "-c", str(self.daemon.config), check=False).returncode

    def close(self) -> None:
        self.daemon.stop()
        if self._guard is not None and self._guard.poll() is None:
            self._guard.terminate()
            assert self._guard.wait(60) == 0
        self.daemon.command("net", "down")
        assert "pinhole" not in self.run("nft list tables").lower()
        shutil.rmtree(self.daemon.directory)


@contextmanager
def kept_site(text: str = "") -> Iterator[Kept]:
    """text: what its configuration says besides."""
    with Lab("routed") as lab:
        site = Kept(lab, text)
        yield site
        site.close()


def is_read(lab: Lab, daemon: Daemon) -> bool:
    """Whether the daemon reads a session and lets its data connection through."""
    before = len(daemon.audit("pinhole.used"))
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        has_come = fate(lab.client, *passive_address(talk.ask("PASV"))) == "open payload"
    return has_come and bool(daemon.wait_for("pinhole.used", before + 1))
