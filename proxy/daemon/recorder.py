"""The audit log of a daemon: its sinks, as the configuration names them, and what it leaves out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import cache, partial

from proxy.config.recording import Audit, SinkSettings
from proxy.control import past
from proxy.errors import PinholeError
from proxy.host.keeper import Wish
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


class KeptFiles:
    """What the keeper opens of the log, for a process that may not do so itself: the files of the configuration that
    it has read last, and those of earlier ones."""

    def __init__(self, settings: Audit) -> None:
        self.wishes: dict[str, Wish] = {}
        self.use(settings)

    def use(self, settings: Audit) -> None:
        """Open the files of this configuration as well."""
        for place in settings.places:
            if place.file is not None:
                self.wishes[f"audit {place.file}"] = partial(open_file, place.file, place.is_chained(settings.chain))
        for wish, path in zip(READ_AUDIT, past.files(settings.readable), strict=False):
            self.wishes[wish] = partial(past.open_file, path)


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
        self._opens = opens
        self._follow = follow
        self._settings = settings
        self.sinks: list[Sink] = []
        self._takes: list[Take] = []
        self._leaving: list[Sink] = []
        """Sinks that a reload has ended, and that may still write what they have."""
        self._next: tuple[Audit, list[Sink]] | None = None
        """What a reload is about to bring in force."""
        self.prepare(settings)
        self.use()
        self._sampler = Sampler(time.monotonic)
        count_of = cache(metrics.audit_suppressed.labels)
        self._sampler.suppressed = lambda event: count_of(event).inc()
        self._sampler.began = self._tell_left_out_later
        if watch is not None:
            self._sampler.watch = watch
        metrics.audit_lost.set_function(lambda: self.lost)
        self.log: AuditLog = audit.open_log(self.origin, self._take, self._sampler)

    def _take(self, line: str) -> None:
        """A line for all that take it."""
        for take in self._takes:
            take(line)

    def _all(self) -> list[Take]:
        """All that take lines."""
        return [*self.sinks, *([] if self._follow is None else [self._follow])]

    # -- reload --------------------------------------------------------------------------------------------------------

    def prepare(self, settings: Audit) -> None:
        """Open what a configuration names and is not open yet. Raises PinholeError: then everything is as before."""
        if (settings.node or os.uname().nodename) != self.origin.node:
            raise PinholeError("audit: node: changed, which needs a restart")
        standing = dict(zip(_places(self._settings), self.sinks, strict=False))
        fresh: list[Sink] = []
        self._next = settings, fresh
        try:
            for terms in _places(settings):
                fresh.append(standing.get(terms) or self._sink(*terms))
        except PinholeError:
            self.forget()
            raise

    def forget(self) -> None:
        """The configuration is not brought in force after all."""
        if self._next is not None:
            for sink in self._next[1]:
                if sink not in self.sinks:
                    sink.end()
            self._next = None

    def use(self) -> None:
        """Bring in force what was prepared. A sink that is not named any more writes what it has and ends."""
        if self._next is not None:
            before, (self._settings, self.sinks), self._next = self.sinks, self._next, None
            self._takes = self._all()
            gone = [sink for sink in before if sink not in self.sinks]
            for sink in gone:
                sink.end()
            self._leaving = [sink for sink in (*self._leaving, *gone) if not sink.is_over]

    def _sink(self, place: SinkSettings, is_chained: bool) -> Sink:
        """A sink that writes to this place. Raises PinholeError."""
        return Sink(_outlet(place, is_chained, self.origin.node, self._opens), origin=self.origin.facts)

    # -- how it does ---------------------------------------------------------------------------------------------------

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
    def failing(self) -> list[str]:
        """The sinks that do not work."""
        return [sink.name for sink in self.sinks if sink.is_stuck]

    def is_unavailable(self) -> bool:
        """Whether no session may begin, since the log is required and can be written nowhere."""
        return self._settings.required and all(sink.is_stuck for sink in self.sinks)

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
        for sink in (*self.sinks, *self._leaving):
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


_Terms = tuple[SinkSettings, bool]
"""A place, and whether its lines are chained."""


def _places(settings: Audit) -> list[_Terms]:
    return [(place, place.is_chained(settings.chain)) for place in settings.places]


def _outlet(place: SinkSettings, is_chained: bool, node: str, opens: Opens | None) -> Outlet:
    """What a place of the configuration stands for. Raises PinholeError."""
    fd = STREAMS.get(place.to)
    on_terminal = fd is not None and os.isatty(fd)
    usual = "console" if on_terminal or place.to == "journal" else "json"
    looks = form(place.format or usual, fd)
    is_chained = is_chained and (place.format is not None or usual == "json")
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
