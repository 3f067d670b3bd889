"""The audit log of a daemon: its sinks, as the configuration names them, and what it leaves out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial

from proxy.config.recording import Audit, SinkSettings
from proxy.errors import PinholeError
from proxy.record import audit
from proxy.record.audit import AuditLog, Origin, Take
from proxy.record.chain import Chain
from proxy.record.forms import form, linked
from proxy.record.journal import JournalOutlet
from proxy.record.metrics import Metrics
from proxy.record.outlets import STREAMS, FileOutlet, Outlet, open_file
from proxy.record.sampling import Sampler, Watch
from proxy.record.sinks import CLOSE_SECONDS, Sink
from proxy.record.syslog import DEV_LOG, SyslogOutlet

# After a line was left out, the log says so within this time and the window of the line's kind.
LEFT_OUT_SECONDS = 60.0

# The keeper's wishes to read the audit file, and the one before it.
READ_AUDIT = ("read-audit", "read-audit-before")

Opens = Callable[[str], int]
"""Opens the file of this path. Raises OSError, PinholeError."""


def openers(settings: Audit) -> dict[str, Callable[[], int]]:
    """For each file of the log, what opens it."""
    return {
        place.file: partial(open_file, place.file, place.is_chained(settings.chain))
        for place in settings.places
        if place.file is not None
    }


class Recorder:
    """Writes the log to every sink, and tells of lines that were too many. The daemon owns it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Audit,
        instance: str,
        metrics: Metrics,
        opens: Opens | None = None,
        watch: Watch | None = None,
        follow: Take | None = None,
    ) -> None:
        """`instance` is the name of this life of the daemon. `opens` opens files that this process may not open
        itself. `watch` hears of refusals and violations, written or not; `follow` gets every line. Raises PinholeError
        when a file cannot be opened."""
        self._loop = loop
        self.origin = Origin(settings.node or os.uname().nodename, instance)
        self._is_required = settings.required
        self.sinks = [
            Sink(_outlet(settings, place, self.origin.node, opens), origin=self.origin.facts)
            for place in settings.places
        ]
        self._sampler = Sampler(time.monotonic)
        self._sampler.suppressed = lambda event: metrics.audit_suppressed.labels(event).inc()
        self._sampler.began = self._tell_left_out_later
        if watch is not None:
            self._sampler.watch = watch
        metrics.audit_lost.set_function(lambda: self.lost)
        self.log: AuditLog = audit.open_log(
            self.origin, [*self.sinks, *([] if follow is None else [follow])], self._sampler
        )

    @property
    def lost(self) -> int:
        """Lines that were dropped by some sink, since the start."""
        return sum(sink.lost for sink in self.sinks)

    @property
    def waiting(self) -> int:
        """Lines that some sink has not written yet."""
        return max(sink.waiting for sink in self.sinks)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait in memory for some sink."""
        return max(sink.waiting_bytes for sink in self.sinks)

    @property
    def is_failing(self) -> bool:
        """Whether some sink does not work."""
        return any(sink.is_stuck for sink in self.sinks)

    def is_unavailable(self) -> bool:
        """Whether no session may begin, since the log is required and can be written nowhere."""
        return self._is_required and all(sink.is_stuck for sink in self.sinks)

    def reopen(self) -> None:
        """Go on in new files, after log rotation."""
        for sink in self.sinks:
            sink.reopen()

    def tell_last(self) -> None:
        """Say what was left out and not told yet, since the daemon ends."""
        self._tell_left_out(is_last=True)

    def close(self) -> None:
        """Write what is queued. Sinks that do not work have the same few seconds together."""
        for sink in self.sinks:
            sink.end()
        ends_at = time.monotonic() + CLOSE_SECONDS
        for sink in self.sinks:
            sink.wait(max(0.0, ends_at - time.monotonic()))

    def _tell_left_out_later(self) -> None:
        self._loop.call_later(LEFT_OUT_SECONDS, self._tell_left_out)

    def _tell_left_out(self, is_last: bool = False) -> None:
        """Say in the log how many lines were left out, unless a later line of the same kind has already said so."""
        for left_out in self._sampler.ended(is_last):
            event, kind, source = left_out.event, left_out.kind or None, left_out.source or None
            self.log.write("audit.left_out", of=event, kind=kind, source=source, lines=left_out.lines)
        if self._sampler.has_some:
            self._tell_left_out_later()


def _outlet(settings: Audit, place: SinkSettings, node: str, opens: Opens | None) -> Outlet:
    """What a place of the configuration stands for. Raises PinholeError."""
    fd = STREAMS.get(place.to)
    on_terminal = fd is not None and os.isatty(fd)
    usual = "console" if on_terminal or place.to == "journal" else "json"
    looks = form(place.format or usual, fd)
    is_chained = place.is_chained(settings.chain) and (place.format is not None or usual == "json")
    if place.to == "journal":
        return JournalOutlet(looks)
    if place.to == "syslog":
        chained = linked(looks, Chain()) if is_chained else looks
        return SyslogOutlet(place.server or DEV_LOG, chained, node, place.facility)
    path = place.file or place.to
    try:
        return FileOutlet(path, looks, partial(opens, path) if opens and place.file else None, is_chained)
    except OSError as error:
        raise PinholeError(f"audit log {path}: {error.strerror}") from error
