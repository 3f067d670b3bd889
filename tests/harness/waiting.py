"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    holds: Callable[[], object], told: str | Callable[[], object] = "it does not come about", seconds: float = 30
) -> None:
    """Wait until it holds. Raises AssertionError with what is `told` when it has not come about in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, told if isinstance(told, str) else told()
        time.sleep(0.01)
