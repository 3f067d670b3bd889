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
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: tuple[tuple[str, ...], ...] = (("--version",), ("status",), ("sessions",), ("pinholes",))
LIMIT_SECONDS = 0.12
"""What a command that asks the daemon may take. A person takes a tenth of a second for at once."""
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def run(rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by command. The first round, which fills the disk cache, does not count."""
    found: dict[str, list[float]] = {" ".join(command): [] for command in COMMANDS}
    with tempfile.TemporaryDirectory() as place:
        at, file = Path(place, "control.sock"), Path(place, "pinhole.yaml")
        file.write_text(f"policies: [{{name: all, action: accept}}]\ncontrol: {at}\n")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(at))
            listener.listen()
            threading.Thread(target=_answer_all, args=[listener], daemon=True).start()
            for number in range(rounds + 1):
                for command in COMMANDS:
                    took = _timed([*command, *(() if command[0].startswith("-") else ("-c", str(file)))])
                    if number:
                        found[" ".join(command)].append(took)
    return found


def _answer_all(listener: socket.socket) -> None:
    """Be the daemon: whatever is asked, the answer is empty."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(_ANSWER)


def _timed(words: Sequence[str]) -> float:
    command = [sys.executable, "-m", "proxy", *words]
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "PYTHONPATH": ""})
    return time.perf_counter() - began


def is_met(found: dict[str, list[float]]) -> bool:
    """Whether no command takes longer than it may."""
    return all(median(seconds) < LIMIT_SECONDS for seconds in found.values())
