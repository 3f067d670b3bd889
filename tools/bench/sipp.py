"""Calls of sipp, many a second: its built-in caller and callee, each call with media ports of its own."""

from __future__ import annotations

import csv
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.lab import Lab

BUFFER_BYTES = 1 << 22
FIRST_MEDIA_PORT = 10_000
"""Ports of calls go on from here in steps of four; after 2,500 calls they come again."""
HANG_UP_SECONDS = 0.2
"""From ACK to BYE."""
PATIENCE_SECONDS = 20
_UNPUBLISHED = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Load:
    """What became of some calls."""

    rate: float
    """Calls a second, as asked for."""
    made: int
    failed: int
    retransmissions: int
    """Of both ends."""
    seconds: float

    @property
    def is_sound(self) -> bool:
        return not (self.failed or self.retransmissions) and self.made >= 0.97 * self.rate * self.seconds


def load(lab: Lab, rate: int, seconds: float) -> Load:
    """Calls at this rate, for so long, from the client to the server. RuntimeError when sipp does not do it at all."""
    with tempfile.TemporaryDirectory(prefix="sipp-") as made:
        directory = Path(made)
        for name in ("uac", "uas"):
            (directory / f"{name}.xml").write_text(_scenario(name))
        answering = _sipp(lab.server, directory, "uas", "-aa")
        try:
            lab.server.wait_until_bound("udp", 5060, answering, PATIENCE_SECONDS)
            count = int(rate * seconds)
            limits = ["-m", str(count), "-l", str(count), "-d", str(int(HANG_UP_SECONDS * 1000))]
            calling = _sipp(
                lab.client, directory, "uac", f"{lab.server.v4}:5060", "-r", str(rate), "-rp", "1000", *limits
            )
            try:
                calling.wait(seconds + 2 * PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                calling.terminate()
                calling.wait()
        finally:
            answering.terminate()
            answering.wait()
        caller, callee = _figures(directory / "uac.csv"), _figures(directory / "uas.csv")
        made_calls = int(caller["SuccessfulCall(C)"])
        return Load(
            rate,
            made_calls,
            count - made_calls,
            int(caller["Retransmissions(C)"]) + int(callee["Retransmissions(C)"]),
            seconds,
        )


def _scenario(name: str) -> str:
    """sipp's own; sipp gives each call a port for its media when it is asked to."""
    done = subprocess.run(["sipp", "-sd", name], capture_output=True, text=True, check=False)
    text = _UNPUBLISHED.sub("", done.stdout).replace("[media_port]", "[auto_media_port]")
    return re.sub(r'<timewait milliseconds="\d+"/>', "", text)


def _sipp(host: Any, directory: Path, name: str, *words: str) -> subprocess.Popen[Any]:
    command = ["sipp", "-sf", f"{name}.xml", *words, "-i", str(host.v4), "-p", "5060", "-mi", str(host.v4)]
    command += ["-mp", str(FIRST_MEDIA_PORT), "-buff_size", str(BUFFER_BYTES), "-nostdin"]
    command += ["-trace_stat", "-stf", f"{name}.csv", "-fd", "1"]
    process: subprocess.Popen[Any] = host.popen(
        command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return process


def _figures(path: Path) -> dict[str, str]:
    """The last line of sipp's statistics."""
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    if not rows:
        raise RuntimeError("sipp has written no statistics")
    return rows[-1]
