"""What the demonstration of a helper is made of. What a helper brings is one `Demonstration`; its line stands in
`demonstrations.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.lab.gateways import Gateway
from tools.peers.ftp import TransferFailed

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Job:
    """One session, or several, of a client with a server. `run` returns what came of it, as cells of a table; it raises
    TransferFailed, CallFailed or OSError when that did not work."""

    server: str
    client: str
    how: str
    run: Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """For one helper: what its jobs are called together, how many there are at a gateway, and the jobs; each is run
    before the next is taken."""

    helper: str
    title: str
    count: int
    jobs: Callable[[Gateway, Path], Iterator[Job]]
    missing: Callable[[], str]
    """Which of its servers and clients are not installed; empty when all are."""


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compared(what: str, path: Path, source: Path) -> dict[str, str]:
    """The cell that says that a file has come as it was sent. Raises TransferFailed if it has not."""
    if checksum(path) != (expected := checksum(source)):
        raise TransferFailed(f"the {what} of {path.stat().st_size} bytes differs from its source")
    return {"checksums": f"equal ({expected[:8]}…)"}
