"""Where the programs of peers are: as tools/setup has unpacked them, or as installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

UNPACKED = Path(__file__).parents[2] / ".cache" / "debian"
"""Where tools/setup unpacks servers."""


def found(name: str) -> str | None:
    """The path of a program. None: it is not there."""
    unpacked = (f"{UNPACKED}/{folder}" for folder in ("usr/sbin", "usr/bin", "sbin", "bin"))
    places = (*unpacked, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")
    return shutil.which(name, path=os.pathsep.join(places))


def program(name: str) -> str:
    """The same, or else the name alone: whoever starts it hears that it is not there."""
    return found(name) or name


def missing(*names: str) -> str:
    """Those that are not there, for a person; empty when all are."""
    return ", ".join(name for name in names if found(name) is None)
