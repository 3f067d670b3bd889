"""A process that has no descriptor left."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def no_descriptors(left: int = 0) -> Iterator[None]:
    """What is open stays, and nothing more can be opened, but for so many descriptors that are `left`."""
    gc.collect()  # what an earlier test has left to the collector must not become free meanwhile
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(left + 1)]  # the lowest numbers that are free
    for descriptor in spare:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare[left], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
