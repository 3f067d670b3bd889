"""Where a sink writes to: what every outlet answers, and the outlets that are files or standard output.

A file that was moved away or removed is followed by a new one of its name, so rotation needs no signal. SIGUSR1 says so
at once.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from proxy.record.chain import Chain, end_cut_line, newest_in
from proxy.record.forms import Form, linked, plain_json

STREAMS = {"stdout": 1, "stderr": 2}

LOOK_SECONDS = 1.0
"""How often is looked whether the file is still the one of its name."""


class Outlet(Protocol):
    """A file, a socket, whatever lines go to. Only the thread of its sink calls it."""

    name: str
    """What the operator calls it."""

    def dress(self, lines: Iterable[str]) -> Iterator[bytes]:
        """What is written for these lines of JSON, which come in order and once each."""

    def write(self, waiting: deque[bytes]) -> None:
        """Write something of what waits, and take from the left what is written. May block. Raises OSError."""

    def is_stale(self) -> bool:
        """Whether it should be opened anew."""

    def reopen(self, waiting: deque[bytes]) -> None:
        """Go on in a new file of the same name, in which what was half written is whole. Raises OSError, or
        PinholeError where another process opens the file; then the old one is kept."""

    def close(self) -> None:
        """Give back what is open."""


def as_bytes(text: str) -> bytes:
    """Text as it is written. Half a surrogate pair, which a peer may have sent, has no encoding of its own."""
    return text.encode("utf-8", "backslashreplace")


def take_written(waiting: deque[bytes], written: int, half: bytes) -> bytes:
    """Take so many bytes from what waits. `half` is what was written before of the first line; the same of the line
    that is now the first one is returned."""
    if written == sum(map(len, waiting)):  # as nearly always
        waiting.clear()
        return b""
    while waiting and written >= len(waiting[0]):
        written -= len(waiting.popleft())
        half = b""
    if written:
        half += waiting[0][:written]
        waiting[0] = waiting[0][written:]
    return half


class FileOutlet:
    """Appends lines to a file, or to a stream that is open already."""

    def __init__(
        self, to: str, form: Form = plain_json, opens: Callable[[], int] | None = None, is_chained: bool = False
    ) -> None:
        """`to` is stdout, stderr or a file's path. Raises OSError when the file cannot be opened. `opens` opens it, and
        the next one after rotation; by default this process does so itself. `is_chained`: the lines go on with the
        chain of those that stand there."""
        self.name = to
        self._opens = opens or partial(open_file, to, is_chained)
        self._fd = self._opens()
        if is_chained:
            end_cut_line(self._fd)
            form = linked(form, Chain(newest_in(self._fd)))
        self._form = form
        self._half = b""
        """The part of the first line that waits which has been written."""
        self._looks_at = 0.0

    def dress(self, lines: Iterable[str]) -> Iterator[bytes]:
        """The lines in their form, each with its end."""
        form = self._form
        if form is plain_json:  # every call has some eight lines, and the interpreter is the loop's as well
            return iter([(line + "\n").encode() for line in lines])
        return (as_bytes(form(line)) + b"\n" for line in lines)

    def write(self, waiting: deque[bytes]) -> None:
        """Append what waits."""
        self._half = take_written(waiting, os.write(self._fd, b"".join(waiting)), self._half)

    def is_stale(self) -> bool:
        """Whether the file is not the one of its name any more. Where that cannot be seen, a signal says so."""
        if self.name in STREAMS or time.monotonic() < self._looks_at:
            return False
        self._looks_at = time.monotonic() + LOOK_SECONDS
        try:
            return not os.path.samestat(os.stat(self.name, follow_symlinks=False), os.fstat(self._fd))
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def reopen(self, waiting: deque[bytes]) -> None:
        """Go on in the file that has the name now, or in a new one."""
        fresh = self._opens()
        self.close()
        self._fd = fresh
        if self._half:
            waiting[0] = self._half + waiting[0]
            self._half = b""

    def close(self) -> None:
        """Close the file."""
        if self._fd > 2:
            os.close(self._fd)
            self._fd = -1


def open_file(to: str, is_read: bool = False) -> int:
    """Open the file that the lines go to. `is_read`: what stands there is read, too. Raises OSError."""
    if to in STREAMS:
        return STREAMS[to]
    # O_NONBLOCK: the opening of a FIFO must not wait for ever for a reader. From then on writing may wait.
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    flags |= os.O_RDWR if is_read else os.O_WRONLY
    # A link is not followed: it may be another user's, and lead to a file that only root may write.
    try:
        fd = os.open(to, flags | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "is a symbolic link, which is not followed: name the file itself") from error
    os.set_blocking(fd, True)
    return fd
