"""pinhole on a host of the lab, by a process that has imported it already: its commands, and the daemon.

Python takes ten times as long to import pinhole as pinhole takes to say its status, and a test asks for it five times.
A daemon that begins uses a second of a processor, nearly all of it to import. So a process that has imported pinhole,
and does nothing else, is there for all of a run; each command and each daemon is a fork of it.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from proxy.command.cli import COMMANDS, main
from tools.lab import identity
from tools.lab.host import Host, enter, go_into

ROOT = Path(__file__).resolve().parents[2]
_MODULES = sorted({where.partition(".")[0] for where in COMMANDS.values()})
IMPORTED = (
    *(f"proxy.command.{module}" for module in _MODULES),
    "proxy.config.reading",
    "proxy.daemon.starting",
    "proxy.doctor.examine",
    "proxy.host.net",
)
"""What the commands import when they are used."""
_LONGEST_REQUEST = 100_000
_NUMBER = struct.Struct("=q")
_UNKNOWN = -1
"""The status of a fork, when the process that forks has not lived to see its end."""


@dataclass(slots=True)
class Fork:
    """What `Popen` is to a program."""

    args: Sequence[str]
    pid: int
    _told: int
    """The pipe by which its status comes when it has ended."""
    returncode: int | None = None

    def poll(self) -> int | None:
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its status, which is below 0 when a signal ended it. Raises subprocess.TimeoutExpired."""
        if (status := self._status(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _status(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._told, select.POLLIN)
            if waiting.poll(None if seconds is None else seconds * 1000):
                said = os.read(self._told, _NUMBER.size)
                self.returncode = _NUMBER.unpack(said)[0] if said else _UNKNOWN
                os.close(self._told)
        return self.returncode


class Forks:
    """The process that forks, begun when it is first wanted."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        # A lab takes with it whatever was begun inside, so this is begun outside of all.
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def run(
        self, host: Host, words: Sequence[str], directory: Path, *, check: bool, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """`pinhole WORDS`, begun in this directory, to its end. With `check`, RuntimeError with what it said when its
        status is not 0."""
        with contextlib.ExitStack() as closing:
            stdout, stderr = (os.memfd_create(name) for name in ("stdout", "stderr"))
            closing.callback(os.close, stdout)
            closing.callback(os.close, stderr)
            fork = self.start(host, words, directory, os.environ, stdout, stderr)
            status = fork.wait(timeout)
            texts = _text(stdout), _text(stderr)
        if check and status:
            raise RuntimeError(f"{host.name}: {' '.join(fork.args)}: exit status {status}\n{''.join(texts)}")
        return subprocess.CompletedProcess(fork.args, status, *texts)

    def start(
        self,
        host: Host,
        words: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
        unprivileged: bool = False,
    ) -> Fork:
        """`pinhole WORDS`, begun in this directory, with this environment, in a session of its own. unprivileged: as
        the user, and with the rights, of `tools.lab.identity`."""
        request = {
            "netns": host.netns,
            "words": words,
            "directory": str(directory),
            "environment": dict(environment),
            "unprivileged": unprivileged,
        }
        ours, theirs = os.pipe()
        try:
            socket.send_fds(self._asked(), [json.dumps(request).encode()], [theirs, stdout, stderr])
        finally:
            os.close(theirs)
        if not (said := os.read(ours, _NUMBER.size)):
            os.close(ours)
            raise RuntimeError("the process that forks has ended")
        return Fork(["pinhole", *words], _NUMBER.unpack(said)[0], ours)

    def _asked(self) -> socket.socket:
        if self._process is None or self._process.poll() is not None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-c", f"from {__name__} import serve; serve({self._outside})"]
            with theirs:
                self._process = subprocess.Popen(
                    command, cwd=ROOT, stdin=theirs.fileno(), pass_fds=[self._outside], start_new_session=True
                )
            atexit.register(_end, self._process, self._socket)
        return self._socket


FORKS = Forks()


def _end(process: subprocess.Popen[bytes], asked: socket.socket) -> None:
    """The process that forks ends when nobody can ask it any more."""
    asked.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _text(descriptor: int) -> str:
    """Of a file that a fork wrote."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="backslashreplace")


def serve(outside: int) -> None:
    """Fork when asked to by the socket that is standard input, and tell of each fork its number and then its status.

    outside: the network namespace in which this process waits.
    """
    go_into(outside)
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # the forks' collector need not look at them, and so they stay shared
    asked = socket.socket(fileno=os.dup(0))
    waiting = select.poll()
    waiting.register(asked, select.POLLIN)
    forks: dict[int, tuple[int, int]] = {}
    """Descriptor of a fork's process -> its number, and the pipe of whoever asked for it."""
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor != asked.fileno():
                waiting.unregister(descriptor)
                _tell_end(descriptor, *forks.pop(descriptor))
                continue
            request, descriptors, _, _ = socket.recv_fds(asked, _LONGEST_REQUEST, 3)
            if not request:
                return
            told, *said = descriptors
            if not (pid := os.fork()):
                asked.detach()
                _become(json.loads(request), *said)
            os.write(told, _NUMBER.pack(pid))
            for descriptor in said:
                os.close(descriptor)
            ended = os.pidfd_open(pid)
            forks[ended] = pid, told
            waiting.register(ended, select.POLLIN)


def _tell_end(descriptor: int, pid: int, told: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(told, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os.close(told)
    os.close(descriptor)


def _become(request: dict[str, Any], stdout: int, stderr: int) -> NoReturn:
    """Be the command, to its end."""
    status = 1
    try:
        _take_place(request, stdout, stderr)
        main(request["words"], prog_name="pinhole")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _take_place(request: dict[str, Any], stdout: int, stderr: int) -> None:
    """As a program has it that is begun anew."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    enter(request["netns"])
    if request["unprivileged"]:
        identity.become()
    if os.environ.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()
