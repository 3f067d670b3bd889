"""Waiting for what another process or thread does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator


def until(
    holds: Callable[[], object], told: str | Callable[[], object] = "it does not come about", seconds: float = 30
) -> None:
    """Wait until it holds. Raises AssertionError with what is `told` when it has not come about in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, told if isinstance(told, str) else told()
        time.sleep(0.01)


def attempts(
    count: int = 10, told: str | Callable[[], object] = "this machine is too busy for what has to come in time"
) -> Iterator[int]:
    """Number the attempts at what has to be done in time by a process that may get no turn meanwhile. Whoever succeeds
    leaves the loop. Raises AssertionError with what is `told` after so many."""
    yield from range(1, count + 1)
    raise AssertionError(told if isinstance(told, str) else told())


async def pause(seconds: float) -> None:
    """Let the time pass, and have the loop read what has come. A loop that got no processor for so long calls what is
    due before it looks at its sockets."""
    await asyncio.sleep(seconds)
    await asyncio.sleep(0.001)
