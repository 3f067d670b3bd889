"""What `pinhole doctor` says: one finding a check, with what to do when something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    check: str
    detail: str
    remedy: str = ""
    """Shell commands, to be pasted as they are; what is not a command is behind a `#`."""
