"""A sink takes lines of the log from the loop, and writes them from a thread of its own, whatever happens there.

When the disk is full, the reader of a pipe stalls or a collector is gone, lines wait; when too many wait, the newest
are dropped and counted, and `audit.lost` says how many as soon as writing works again. No sink waits for another one.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from proxy.errors import PinholeError
from proxy.record.outlets import Outlet
from proxy.record.render import now, to_json
from proxy.text import say

MAX_QUEUED_BYTES = 32 * 1024 * 1024

# The lines of so many seconds are written together. The thread shares the interpreter with the loop: to wake it for
# every line cost the loop as much as a third of its time.
GATHER_SECONDS = 0.02

RETRY_SECONDS = 1.0

CLOSE_SECONDS = 5.0

# Who reads a pipe or takes a connection may pause. A write that takes longer than this is one that does not work.
STUCK_SECONDS = 5.0


class Sink:
    """Takes lines from the loop, keeps them until its outlet has them, and counts those that it cannot keep."""

    def __init__(
        self, outlet: Outlet, report: Callable[[str], None] = say, origin: Mapping[str, Any] | None = None
    ) -> None:
        """`report` is called once when writing begins to fail and once when it works again. `origin` are the fields
        that say who writes the log."""
        self._outlet = outlet
        self._report = report
        self._origin = origin or {}
        self._lines: deque[str] = deque()
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
        self._is_kept = False
        """No new file could be opened, and that was said."""
        self._busy_since: float | None = None
        self._reopen = False
        self._closing = False
        self._thread = threading.Thread(target=self._write_and_close, name=f"audit {outlet.name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """What the operator calls it."""
        return self._outlet.name

    def __call__(self, line: str) -> None:
        """Queue one line, which is ASCII."""
        size = len(line) + 1
        with self._lock:  # this is the condition's own lock, taken without its detour through Python
            if self._queued_bytes + size > MAX_QUEUED_BYTES:
                self._lost += 1
                self.lost += 1
                return
            self._lines.append(line)
            self._queued_bytes += size
            if len(self._lines) == 1:
                self._wake.notify()

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait in memory to be written."""
        return self._queued_bytes

    @property
    def waiting(self) -> int:
        """How many lines are not written yet."""
        with self._lock:
            return len(self._lines) + self._in_hand

    @property
    def is_stuck(self) -> bool:
        """Whether nothing can be written now, as far as is known: the last attempt failed, or does not come back."""
        since = self._busy_since
        return self.is_failing or (since is not None and time.monotonic() - since > STUCK_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether it was ended, and has written all that it could."""
        return not self._thread.is_alive()

    def reopen(self) -> None:
        """Go on in a new file of the same name, after log rotation."""
        with self._wake:
            self._reopen = True
            self._wake.notify()

    def close(self) -> None:
        """Write what is queued, within a limit: a full disk must not keep the daemon from ending."""
        self.end()
        self.wait(CLOSE_SECONDS)

    def end(self) -> None:
        """Take no more lines, and write those that are queued."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    def wait(self, seconds: float) -> None:
        """Wait until that is done, but no longer than this."""
        self._thread.join(seconds)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _write_and_close(self) -> None:
        """The work of the thread."""
        try:
            self._write_all()
        finally:
            self._outlet.close()

    def _write_all(self) -> None:
        """Write until the sink is closed."""
        waiting: deque[bytes] = deque()
        while True:
            with self._wake:
                while not (waiting or self._lines or self._lost or self._reopen or self._closing):
                    self._wake.wait()
                if not waiting:
                    self._wake.wait_for(lambda: self._closing, GATHER_SECONDS)
                reopen, self._reopen = self._reopen, False
                lines = [] if waiting else self._take()
                closing = self._closing
            waiting.extend(self._dressed(lines))
            if not waiting and closing and not self._lost:
                return
            if reopen or (waiting and self._outlet.is_stale()):
                self._open_anew(waiting)
            if waiting and not self._write(waiting):
                if closing:
                    return
                with self._wake:
                    self._wake.wait(RETRY_SECONDS)
            self._in_hand = len(waiting)

    def _take(self) -> list[str]:
        """All lines that are queued."""
        lines = list(self._lines)
        self._lines.clear()
        self._queued_bytes = 0
        if self._lost:
            lines.append(self._lost_line())
        self._in_hand = len(lines)
        return lines

    def _dressed(self, lines: list[str]) -> list[bytes]:
        """What is written for these lines. A bug of ours in a form must not end the thread."""
        try:
            return list(self._outlet.dress(lines))
        except Exception:
            self._report(f"audit log {self.name}: {len(lines)} lines have no form: {traceback.format_exc()}")
            self._lost += len(lines)
            self.lost += len(lines)
            return []

    def _write(self, waiting: deque[bytes]) -> bool:
        """Write something of what waits. Returns whether that worked."""
        self._busy_since = time.monotonic()
        try:
            self._outlet.write(waiting)
        except (OSError, PinholeError) as error:
            if not self.is_failing:
                self.is_failing = True
                self._report(f"audit log {self.name}: {_why(error)}; lines wait in memory")
            return False
        finally:
            self._busy_since = None
        if self.is_failing:
            self.is_failing = False
            self._report(f"audit log {self.name}: writing again")
        return True

    def _open_anew(self, waiting: deque[bytes]) -> None:
        """After log rotation."""
        try:
            self._outlet.reopen(waiting)
        except (OSError, PinholeError) as error:
            if not self._is_kept:
                self._is_kept = True
                self._report(f"audit log {self.name}: {_why(error)}; it goes on in the file it has")
        else:
            self._is_kept = False

    def _lost_line(self) -> str:
        """The line that tells how many were dropped. It has no number: those of the dropped lines are missing."""
        lost, self._lost = self._lost, 0
        facts = {"event": "audit.lost", "severity": "error", **self._origin, "sink": self.name, "lines": lost}
        return to_json({"time": now(), **facts})


def _why(error: OSError | PinholeError) -> str:
    """What went wrong, in words."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
