"""Where the lines of the log go: a file or a pipe, which may be slow, full, or gone for a while."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from proxy.errors import PinholeError
from proxy.record.render import stamp, to_json
from proxy.text import printable

MAX_QUEUED_BYTES = 32 * 1024 * 1024

# The lines of so many seconds are written together. The thread shares the interpreter with the loop: to wake it for
# every line cost the loop as much as a third of its time.
GATHER_SECONDS = 0.02

RETRY_SECONDS = 1.0

CLOSE_SECONDS = 5.0


class Sink:
    """Takes rendered lines from the loop and writes them from a thread of its own."""

    def __init__(
        self, to: str, report: Callable[[str], None] | None = None, opens: Callable[[], int] | None = None
    ) -> None:
        """`to` is stdout, stderr or a file's path. Raises OSError when the file cannot be opened.

        `report` is called once when writing begins to fail and once when it works again; by default it prints to
        stderr. `opens` opens the file, and the next one after rotation; by default the sink opens it by itself.
        """
        self._to = to
        self._report = report or (lambda text: print(f"pinhole: {printable(text)}", file=sys.stderr, flush=True))
        self._opens = opens or partial(open_file, to)
        self._fd = self._opens()
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._in_hand = 0
        """Lines that the thread has taken and not written yet."""
        self._lost = 0
        self.lost = 0
        """Lines that were dropped, since the start. `_lost` counts those that the log has not told of yet."""
        self.is_failing = False
        """The last attempt to write has failed."""
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._reopen = False
        self._closing = False
        self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        """Queue one line."""
        data = line.encode() + b"\n"
        with self._lock:  # this is the condition's own lock, taken without its detour through Python
            if self._queued_bytes + len(data) > MAX_QUEUED_BYTES:
                self._lost += 1
                self.lost += 1
                return
            self._lines.append(data)
            self._queued_bytes += len(data)
            if len(self._lines) == 1:
                self._wake.notify()

    @property
    def is_terminal(self) -> bool:
        """Whether people read the lines as they are written."""
        return os.isatty(self._fd)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait in memory to be written."""
        return self._queued_bytes

    @property
    def waiting(self) -> int:
        """How many lines are not written yet."""
        with self._lock:
            return len(self._lines) + self._in_hand

    def reopen(self) -> None:
        """Go on in a new file of the same name, after log rotation."""
        with self._wake:
            self._reopen = True
            self._wake.notify()

    def close(self) -> None:
        """Write what is queued, within a limit: a full disk must not keep the daemon from ending."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(CLOSE_SECONDS)
        if self._fd > 2 and not self._thread.is_alive():
            os.close(self._fd)
            self._fd = -1

    def _write_all(self) -> None:
        """The work of the thread."""
        # `rest` is still to be written; `rest_of_line` is the part of a half-written line that has been written
        rest = rest_of_line = b""
        while True:
            with self._wake:
                while not (rest or self._lines or self._lost or self._reopen or self._closing):
                    self._wake.wait()
                if not rest:
                    self._wake.wait_for(lambda: self._closing, GATHER_SECONDS)
                reopen, self._reopen = self._reopen, False
                if not rest:
                    rest = b"".join(self._lines)
                    self._in_hand = len(self._lines)
                    self._lines.clear()
                    self._queued_bytes = 0
                    if self._lost:
                        rest += self._lost_line()
                if not rest and self._closing:
                    return
                closing = self._closing
            if reopen and self._open_anew():
                rest = rest_of_line + rest
            try:
                if rest:
                    written = os.write(self._fd, rest)
                    rest_of_line, rest = _unfinished(rest_of_line + rest[:written]), rest[written:]
                    if not rest:
                        self._in_hand = 0
                if self.is_failing:
                    self.is_failing = False
                    self._report(f"audit log {self._to}: writing again")
            except OSError as error:
                if not self.is_failing:
                    self.is_failing = True
                    self._report(f"audit log {self._to}: {error.strerror}; lines wait in memory")
                if closing:
                    return
                with self._wake:
                    self._wake.wait(RETRY_SECONDS)

    def _open_anew(self) -> bool:
        """Open the file again. Returns whether that worked."""
        try:
            fresh = self._opens()
        except (OSError, PinholeError) as error:
            text = error.strerror if isinstance(error, OSError) else error
            self._report(f"audit log {self._to}: {text}; it goes on in the file it has")
            return False
        if self._fd > 2:
            os.close(self._fd)
        self._fd = fresh
        return True

    def _lost_line(self) -> bytes:
        """The line that tells how many were dropped."""
        lost, self._lost = self._lost, 0
        return to_json(stamp(None, "", {"event": "audit.lost", "lines": lost})).encode() + b"\n"


def _unfinished(written: bytes) -> bytes:
    """The bytes behind the last whole line."""
    return written[written.rfind(b"\n") + 1 :]


def open_file(to: str) -> int:
    """Open the file that the lines go to. Raises OSError."""
    match to:
        case "stdout":
            return 1
        case "stderr":
            return 2
        case path:
            # O_NONBLOCK: the opening of a FIFO must not wait for ever for a reader. From then on writing may wait.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            # A link is not followed: it may be another user's, and lead to a file that only root may write.
            try:
                fd = os.open(path, flags | os.O_NOFOLLOW, 0o640)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise OSError(errno.ELOOP, "is a symbolic link, which is not followed: name the file itself") from error
            os.set_blocking(fd, True)
            return fd
