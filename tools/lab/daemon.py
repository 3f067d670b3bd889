"""pinhole at work on the gateway of a lab: rules, daemon, audit log, all as an administrator would start them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from proxy.command.client import ask
from proxy.config import reading
from proxy.errors import PinholeError
from proxy.holder import holding, process
from proxy.holder.process import Child
from proxy.host.rules import Backend, input_line
from proxy.record.catalogue import faults
from tools.lab import identity
from tools.lab.forks import FORKS, Fork

if TYPE_CHECKING:
    from tools.lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "proxy")
LOOKS_TO_WRITE = 100
"""How often a daemon is asked, every 10 ms, whether its lines of log are written, which is done every 20 ms. Answers
are counted and not seconds: one that gets no processor for as long gives no answer either."""
LONGEST_WAIT_SECONDS = 60
"""For what is sure to come, whatever else the machine has to do."""
SAYS_KERNEL_PATH = ("daemon.started", "fastpath.back", "fastpath.lost")
INTERFACES = ("lan0", "wan0")
"""Where clients are, and where servers are."""
KernelPath = Literal["off", "tcx", "clsact"]
"""Whether media passes in the kernel, and by which way the program is attached there."""
KERNEL_PATH: KernelPath = "off"
"""What a daemon has that is not told otherwise."""
ROWS = 4096
"""How many streams the kernel may carry for a daemon that is no child of root's."""
IS_FORKED = False
"""Whether a daemon is a fork of a process that has imported pinhole (`forks.py`). But for its command line, and the
second that it takes to import, it is then what `pinhole run` begins."""
RUNNING: list[Daemon] = []


class Daemon:
    """A running pinhole. `directory` holds its configuration, control socket and audit log."""

    def __init__(
        self,
        lab: Lab,
        text: str,
        backend: Literal["nft", "iptables"],
        unprivileged: bool,
        tree: Path = ROOT,
        under: tuple[str, ...] = (),
        kernel_path: KernelPath | None = None,
        is_path_refused: bool = False,
    ) -> None:
        """tree: the checkout whose pinhole it is. under: a command that runs it and measures it, and makes it slow.
        kernel_path: of media; by default `KERNEL_PATH`. is_path_refused: the daemon is to serve without it."""
        self._lab = lab
        self._backend = backend
        # A clone in root's home (mode 0700) is root's alone; started as root, pinhole becomes an ordinary user itself.
        self._unprivileged = unprivileged and _may_be_read_by_all(tree) and _may_be_read_by_all(Path(sys.prefix))
        self._tree = tree
        self._under = under
        self.directory = Path(tempfile.mkdtemp(prefix="pinhole-"))
        self.directory.chmod(0o777)
        self.log = self.directory / "audit.log"
        self.stderr = self.directory / "stderr.log"
        self.config = self.directory / "pinhole.yaml"
        self.kernel_path: KernelPath = kernel_path or KERNEL_PATH
        self._is_path_refused = is_path_refused
        self.holder: Child | None = None
        """Who holds the kernel path for a daemon that is no child of root's."""
        self.write_config(text)
        self._process: subprocess.Popen[Any] | Fork | None = None
        self._is_to_end = False

    def write_config(self, text: str) -> None:
        """`text`: policies and whatever else is to be chosen; log and control socket are added."""
        self.write_file(f"{text}\naudit: {{to: {self.log}}}\ncontrol: {self.directory}/control.sock\n")

    def write_file(self, text: str) -> None:
        """`text`: the whole configuration."""
        self.config.write_text(_without_kernel_path(text) if self.kernel_path == "off" else text)

    def reload(self, text: str) -> None:
        """Put another configuration in force (`write_config`)."""
        self.write_config(text)
        self.command("reload", "-c", str(self.config))

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`pinhole WORDS` on the gateway."""
        if self._tree == ROOT:
            return FORKS.run(self._lab.gateway, words, self._tree, check=check)
        return self._lab.gateway.run((*COMMAND, *words), cwd=self._tree, check=check)

    def plan(self) -> str:
        return self.command("net", "plan", "--backend", self._backend, "-c", str(self.config)).stdout

    def lock_down(self) -> None:
        """The administrator has the gateway drop all that pinhole does not carry (`Lab.lock_down`)."""
        self._lab.lock_down(input_line(reading.load(self.config), Backend(self._backend)), self._backend)

    def net_up(self) -> None:
        self.command("net", "up", "--backend", self._backend, "-c", str(self.config))

    def net_down(self) -> None:
        self.command("net", "down", "--backend", self._backend, "-c", str(self.config))

    def start(self, *words: str, **limits: int) -> None:
        """Begin to serve. words: further ones for `pinhole run`. limits: for prlimit, as `nofile=64`. Raises
        RuntimeError, with what it said, when it ends, and when it has not the kernel path that it is to have."""
        if self._unprivileged and self.holder is None:
            self.hold()
        started = len(self._written("daemon.started"))
        self._is_to_end = False
        self._process = self._begin(("run", "-c", str(self.config), *words), limits)
        for _ in _ticks(LONGEST_WAIT_SECONDS * (4 if self._under else 1)):
            if len(self._written("daemon.started")) > started:
                self._wait_for_kernel_path()
                return
            if self._process.poll() is not None:
                break
        self._is_to_end = True
        raise RuntimeError(f"pinhole did not start:\n{self.stderr.read_text()}")

    def _wait_for_kernel_path(self) -> None:
        """Without this check media would pass in user space, and no test would see the difference. Raises RuntimeError
        when the path does not come."""
        if self.kernel_path == "off" or self._is_path_refused or self._tree != ROOT:
            return
        for _ in _ticks(LONGEST_WAIT_SECONDS):
            said = [line for line in self._lines() if line["event"] in SAYS_KERNEL_PATH][-1]
            # A daemon waits two seconds for a holder; on a busy machine one may come later than that. The tables come
            # first, and then one interface after the other.
            is_there = said.get("fastpath") == "on" or said["event"] == "fastpath.back"
            if is_there and set(INTERFACES) <= set(self.look()["fastpath"]["interfaces"]):
                return
            if said.get("fastpath_reason") == "configured_off":
                return
        raise RuntimeError(f"media does not pass in the kernel: {said}\n{self.stderr.read_text()}")

    def _begin(self, words: tuple[str, ...], limits: Mapping[str, int]) -> subprocess.Popen[Any] | Fork:
        """`pinhole WORDS` on the gateway, by whoever is to start it."""
        gateway = self._lab.gateway
        environment = os.environ | {"PYTHONFAULTHANDLER": "1", process.WAY: self.kernel_path}
        with self.stderr.open("ab") as stderr:
            if IS_FORKED and self._tree == ROOT and not (self._under or limits):
                said = stderr.fileno()
                return FORKS.start(gateway, words, self._tree, environment, said, said, self._unprivileged)
            command = (*self._under, *COMMAND, *words)
            if self._unprivileged:
                command = (*identity.SETPRIV, *command)
            if limits:
                command = ("prlimit", *(f"--{name}={value}" for name, value in limits.items()), *command)
            return gateway.popen(command, cwd=self._tree, env=environment, stdout=stderr, stderr=stderr)

    def hold(self) -> None:
        """The administrator has the kernel path held for the user that serves, if it is to be used."""
        if self.kernel_path == "off":
            return
        settings = holding.Settings(pwd.getpwnam(identity.USER).pw_uid, ROWS)
        with self._lab.gateway.inside(), unittest.mock.patch.dict(os.environ, {process.WAY: self.kernel_path}):
            self.holder = process.fork(settings)

    def let_go(self) -> None:
        """The kernel path is held no more."""
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.end()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._is_to_end = self._is_to_end or number in (signal.SIGTERM, signal.SIGKILL)
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self) -> None:
        """As systemd would: ask it, and insist when it does not. Raises RuntimeError, with what it said and where it
        stood, when it had ended before or had to be killed."""
        if self.is_running():
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(40)
        if self.is_running():
            self.signal(signal.SIGABRT)
            raise RuntimeError(f"pinhole did not end ({self.wait()}):\n{self.stderr.read_text()}")
        if self._process is not None and not self._is_to_end:
            raise RuntimeError(f"pinhole ended by itself ({self.wait()}):\n{self.stderr.read_text()}")
        if self._tree == ROOT and (wrong := [fault for line in self._lines() for fault in faults(line)]):
            raise RuntimeError("lines that the catalogue does not know:\n" + "\n".join(wrong[:20]))

    # -- what it says ---------------------------------------------------------------------------------------------

    def audit(self, event: str = "", **facts: Any) -> list[dict[str, Any]]:
        """The lines of the audit log so far: of one event, with these facts."""
        self._wait_until_written()
        return self._written(event, **facts)

    def _wait_until_written(self) -> None:
        """Return when all that has happened is in the log, unless nothing can be written or nobody answers."""
        with contextlib.suppress(PinholeError):
            for _ in range(LOOKS_TO_WRITE):
                if not self.is_running() or not self.look().get("audit_lines_waiting"):
                    break
                time.sleep(0.01)

    def look(self) -> dict[str, Any]:
        """The daemon's status, without a command. Raises PinholeError."""
        return ask(f"{self.directory}/control.sock", "GET", "v1/status")

    def _written(self, event: str = "", **facts: Any) -> list[dict[str, Any]]:
        return [
            line
            for line in self._lines()
            if (not event or line["event"] == event) and all(line.get(key) == value for key, value in facts.items())
        ]

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self.log.exists():
            yield from whole_lines(self.log)

    def wait_for(self, event: str, count: int = 1, **facts: Any) -> dict[str, Any]:
        """The newest such line, when there are `count` of them. Raises TimeoutError with the end of the log."""
        for _ in _ticks(LONGEST_WAIT_SECONDS):
            if len(found := self._written(event, **facts)) >= count:
                return found[-1]
        tail = "\n".join(map(str, self._written()[-12:]))
        raise TimeoutError(f"{event} {facts} was not written {count} times; the log ends:\n{tail}")

    def report(self) -> str:
        """For whoever asks why something did not work: is it there, what did it say, what does its audit log end on."""
        state = "runs" if self.is_running() else f"has ended ({self.wait() if self._process else None})"
        tail = [json.dumps(line) for line in self._written()[-20:]]
        return "\n".join(
            [f"{self.directory}: {state}, kernel path {self.kernel_path}", self.stderr.read_text()[-3000:], *tail]
        )

    def until(self, **expected: int) -> dict[str, Any]:
        """The daemon's status, when it says this, and the lines of log that led there are written, unless nothing can
        be written. Raises TimeoutError with what it says instead."""
        for _ in _ticks(LONGEST_WAIT_SECONDS):
            status = self.ask("status")
            if all(status[name] == value for name, value in expected.items()):
                self._wait_until_written()
                return status
        raise TimeoutError(f"the status did not become {expected}: {status}")

    def ask(self, name: Literal["status", "sessions", "pinholes"]) -> dict[str, Any]:
        """The daemon's own report, through its control socket."""
        said = self.command(name, "--json", "-c", str(self.config), check=False)
        if not said.stdout:
            raise RuntimeError(said.stderr)
        answer = json.loads(said.stdout)
        assert isinstance(answer, dict)
        return answer


def whole_lines(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of an audit log, one after the other: a log of hours is not to be held at once. Half a line is the end,
    even if the other half is written at this moment: by itself that is no line."""
    with log.open() as lines:
        yield from map(json.loads, itertools.takewhile(lambda line: line.endswith("\n"), lines))


def _without_kernel_path(text: str) -> str:
    """The same configuration, by which all media passes the daemon. Every line stays where it is."""
    if "fastpath:" in text:
        return text
    if not re.search("^network:", text, re.M):
        return f"{text.rstrip()}\nnetwork: {{fastpath: off}}\n"
    return re.sub(r"^network:( *\{)?(.*)$", _with_fastpath_off, text, count=1, flags=re.M)


def _with_fastpath_off(found: re.Match[str]) -> str:
    return f"network: {{fastpath: off, {found[2]}" if found[1] else "network:\n  fastpath: off"


def _may_be_read_by_all(tree: Path) -> bool:
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in (tree, *tree.parents))


def _ticks(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.01)


@contextlib.contextmanager
def pinhole(
    lab: Lab,
    text: str,
    backend: Literal["nft", "iptables"] = "nft",
    unprivileged: bool = False,
    tree: Path = ROOT,
    under: tuple[str, ...] = (),
    kernel_path: KernelPath | None = None,
    is_path_refused: bool = False,
    **limits: int,
) -> Iterator[Daemon]:
    """Rules up, daemon serving; at the end both are gone again. What it wrote stays only after an error.

    tree: the checkout whose pinhole it is. under: a command that runs it. is_path_refused: it is to serve without the
    kernel path. limits: for prlimit, as `nofile=64`."""
    daemon = Daemon(lab, text, backend, unprivileged, tree, under, kernel_path, is_path_refused)
    daemon.net_up()
    RUNNING.append(daemon)
    try:
        daemon.start(**limits)
        yield daemon
    finally:
        RUNNING.remove(daemon)
        daemon.stop()
        daemon.let_go()
        daemon.net_down()
    shutil.rmtree(daemon.directory)
