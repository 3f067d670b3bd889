"""Where real traffic for tests is: most of it in the tree, and what a licence keeps out of that, beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parents[1] / "captures"
PLACES = (HERE, Path(__file__).parents[3] / "shared" / "captures")
NOT_BESIDE = "is under a licence that keeps it out of this tree, and is not beside it"


def found(folder: str, name: str) -> Path:
    """Skips the test that asks for one that is not there."""
    for place in PLACES:
        if (path := place / folder / name).exists():
            return path
    pytest.skip(f"{name} {NOT_BESIDE}")


def names(folder: str) -> set[str]:
    """Of all that are there."""
    return {path.name for place in PLACES for path in (place / folder).glob("*")}
