"""What `pinhole doctor` reports: one finding for each check, with a remedy when something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    level: Level
    check: str
    detail: str
    remedy: str = ""
    """Shell commands, to be pasted as they are. What is not a command stands behind a `#`."""
