"""Where real traffic for tests is: most of it in the tree, and what a licence keeps out of that, beside it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "captures"
PLACES = (HERE, Path(__file__).parents[3] / "shared" / "captures")
NOT_BESIDE = "is under a licence that keeps it out of this tree, and is not beside it"
KEPT_OUT = ("*/ndpi-*", "sip-messages/*", "dce-rpc/scapy-*")
"""What such a licence is on."""


def found(folder: str, name: str) -> Path:
    """Skips the test that asks for one that a licence keeps out and that is not there. Raises FileNotFoundError when
    another one is not there."""
    for place in PLACES:
        if (path := place / folder / name).exists():
            return path
    if any(fnmatchcase(f"{folder}/{name}", pattern) for pattern in KEPT_OUT):
        pytest.skip(f"{name} {NOT_BESIDE}")
    raise FileNotFoundError(HERE / folder / name)


def names(folder: str) -> set[str]:
    """Of all that are there."""
    return {path.name for place in PLACES for path in (place / folder).glob("*")}
