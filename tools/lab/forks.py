"""The command `pinhole` on a host of the lab, in a process of its own that need not import it first.

Python takes ten times as long to import pinhole as pinhole takes to say its status, and a test asks for it five times.
So a process that has imported it, and does nothing else, is there for all of a run; each command is a fork of that.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy.command.cli import COMMANDS, main
from tools.lab.host import Host, enter

ROOT = Path(__file__).resolve().parents[2]
_MODULES = sorted({where.partition(".")[0] for where in COMMANDS.values()})
IMPORTED = (
    *(f"proxy.command.{module}" for module in _MODULES),
    "proxy.config.reading",
    "proxy.doctor.examine",
    "proxy.host.net",
)
"""What the commands import when they are used."""
_LONGEST_REQUEST = 100_000


class Forks:
    """The process that forks, begun when it is first wanted."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, host: Host, words: Sequence[str], directory: Path, *, check: bool, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """`pinhole WORDS`, begun in this directory, to its end. With `check`, RuntimeError with what it said when its
        status is not 0."""
        command = ["pinhole", *words]
        with tempfile.TemporaryDirectory(prefix="pinhole-command-") as place:
            said = [Path(place, name) for name in ("stdout", "stderr")]
            for path in said:
                path.touch()
            request = {
                "netns": host.netns,
                "words": words,
                "directory": str(directory),
                "environment": dict(os.environ),
                "said": [str(path) for path in said],
            }
            status = self._status(json.dumps(request).encode(), timeout)
            if status is None:
                raise subprocess.TimeoutExpired(command, timeout)
            texts = [path.read_text(errors="backslashreplace") for path in said]
        if check and status:
            raise RuntimeError(f"{host.name}: {' '.join(command)}: exit status {status}\n{''.join(texts)}")
        return subprocess.CompletedProcess(command, status, *texts)

    def _status(self, request: bytes, timeout: float) -> int | None:
        """With which the command ended; -1 when a signal ended it; nothing when it has not ended in time."""
        ours, theirs = os.pipe()
        try:
            with contextlib.ExitStack() as sent:
                sent.callback(os.close, theirs)
                socket.send_fds(self._asked(), [request], [theirs])
            if not select.select([ours], [], [], timeout)[0]:
                return None
            return int(os.read(ours, 16) or b"-1")
        finally:
            os.close(ours)

    def _asked(self) -> socket.socket:
        """Its lab's janitor ends the process too when that was begun inside: it is begun again then."""
        if self._process is None or self._process.poll() is not None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
            with theirs:
                self._process = subprocess.Popen(command, cwd=ROOT, stdin=theirs.fileno(), start_new_session=True)
        return self._socket


FORKS = Forks()


def _perform(request: dict[str, Any]) -> int:
    """Become the command."""
    os.setsid()
    for descriptor, path in enumerate((os.devnull, *request["said"])):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    enter(request["netns"])
    try:
        main(request["words"], prog_name="pinhole")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def serve() -> None:
    """Standard input is the socket by which it is asked."""
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # the forks' collector need not look at them, and so they stay shared
    # Nobody waits for the forks: whoever asked is told the status by the pipe.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    asked = socket.socket(fileno=os.dup(0))
    while True:
        request, descriptors, _, _ = socket.recv_fds(asked, _LONGEST_REQUEST, 1)
        if not request:
            return
        (status,) = descriptors
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asked.close()
            os.write(status, b"%d" % _perform(json.loads(request)))
            os._exit(0)
        os.close(status)
