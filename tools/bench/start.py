"""How long the command `pinhole` takes from its start to its end. People run it in loops."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: tuple[tuple[str, ...], ...] = (("--version",), ("status",), ("sessions",), ("calls",))
LIMIT_SECONDS = 0.12
"""What a command that asks the daemon may take. A person takes a tenth of a second for at once."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@dataclass(slots=True)
class Figures:
    """What a command took in each round, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of the process alone, system calls included: what is left of the figure when the machine is busy."""


def run(rounds: int) -> dict[str, Figures]:
    """The figures of each command. The first round, which fills the disk cache, does not count."""
    found = {" ".join(command): Figures() for command in COMMANDS}
    with tempfile.TemporaryDirectory() as place:
        at, file = Path(place, "control.sock"), Path(place, "pinhole.yaml")
        file.write_text(f"policies: [{{name: all, action: accept}}]\ncontrol: {at}\n")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(at))
            listener.listen()
            threading.Thread(target=_answer_all, args=[listener], daemon=True).start()
            for number in range(rounds + 1):
                for command in COMMANDS:
                    wall, cpu = _timed([*command, *(() if command[0].startswith("-") else ("-c", str(file)))])
                    if number:
                        found[" ".join(command)].wall.append(wall)
                        found[" ".join(command)].cpu.append(cpu)
    return found


def _answer_all(listener: socket.socket) -> None:
    """Be the daemon: whatever is asked, the answer is empty."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(_ANSWER)


def _timed(words: Sequence[str]) -> tuple[float, float]:
    command = [sys.executable, "-m", "proxy", *words]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")
    return wall, used.ru_utime + used.ru_stime


def is_met(found: dict[str, Figures]) -> bool:
    """Whether no command takes longer than it may."""
    return all(median(figures.wall) < LIMIT_SECONDS for figures in found.values())
