"""Pipes for splice(2), kept for the next relay."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass

from proxy.sockets.poll import Poll

# One slot of a pipe holds the pages of one segment, so a large pipe moves far more than its nominal size in two system
# calls.
PIPE_BYTES = 1 << 20

POOLED_PIPES = 64


@dataclass(slots=True)
class Pipe:
    """The two descriptors of a pipe."""

    read: int
    write: int


class Splicer:
    """What all relays share: the poll that watches their sockets, and empty pipes for the next use. The table of
    pinholes owns it."""

    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self._pipes: list[Pipe] = []

    def take_pipe(self) -> Pipe:
        """Take an empty pipe. Raises OSError when no descriptors are left."""
        if self._pipes:
            return self._pipes.pop()
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Past the user's pipe budget the kernel refuses; the default size is slower, not wrong.
        with contextlib.suppress(OSError):
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return Pipe(read, write)

    def give_pipe(self, pipe: Pipe, is_empty: bool) -> None:
        """Keep an empty pipe for the next relay: to make and size a pipe costs more than to move a small file through
        it."""
        if is_empty and len(self._pipes) < POOLED_PIPES:
            self._pipes.append(pipe)
        else:
            _close(pipe)

    def drop_pipes(self) -> None:
        """Close the pipes that are kept."""
        while self._pipes:
            _close(self._pipes.pop())


def _close(pipe: Pipe) -> None:
    os.close(pipe.read)
    os.close(pipe.write)
