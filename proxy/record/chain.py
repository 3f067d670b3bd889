"""A log that shows what was done to it: each line has a hash of itself and of the line before.

    {"time": ..., "seq": 17, ..., "prev": HASH OF LINE 16, "hash": HASH OF THIS LINE UP TO HERE}

A line that was changed does not fit its own hash; where one was removed, doubled or moved, `prev` does not fit what
stands before it. Whoever may write the file can also compute the whole chain anew, and can cut its end off. Against
that the newest hash has to be known elsewhere: `pinhole audit verify` prints it. The chain of a file goes on after
rotation and restart.
"""

from __future__ import annotations

import contextlib
import os
import re
from hashlib import sha256

TAIL_BYTES = 262_144
"""How much of a file's end is looked through for its last whole line."""

LINKED = re.compile(r',"prev":(?:null|"(?P<prev>[0-9a-f]{64})"),"hash":"(?P<hash>[0-9a-f]{64})"}$')
"""The end of a line that is part of a chain."""


class Chain:
    """Links the lines of one file, in the order in which they come."""

    def __init__(self, newest: str | None = None) -> None:
        """`newest` is the hash of the line that stands last already. None: there is none."""
        self._newest = newest

    def link(self, line: str) -> str:
        """The line with its two hashes. It is an object of JSON with at least one member."""
        before = "null" if self._newest is None else f'"{self._newest}"'
        text = f'{line[:-1]},"prev":{before}'
        self._newest = hash_of(text)
        return f'{text},"hash":"{self._newest}"}}'


def newest_in(fd: int) -> str | None:
    """The hash of the last line of a file that has one. None: there is none, or the file cannot be read."""
    try:
        size = os.fstat(fd).st_size
        tail = os.pread(fd, TAIL_BYTES, max(0, size - TAIL_BYTES))
    except OSError:  # a pipe, or a stream that was opened for writing alone
        return None
    for line in reversed(tail.decode("ascii", "replace").splitlines()):
        if found := LINKED.search(line):
            return found["hash"]
    return None


def end_cut_line(fd: int) -> None:
    """A daemon that was killed may have left the last line without its end. The next one begins on a line of its
    own."""
    with contextlib.suppress(OSError):  # a pipe, or a disk that is full
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")


def hash_of(text: str) -> str:
    """The hash of a line up to its own."""
    # What is no UTF-8 in a file that somebody has changed counts as it stands there.
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
