"""The audit log: one line an event, rendered at once, written in batches by a thread of its own.

The loop never waits for the disk: lines go into a bounded queue. When the disk is full or the reader of a pipe stalls,
lines wait; when too many wait, the newest are dropped and counted, and `audit.lost` says how many as soon as writing
works again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from json.encoder import encode_basestring_ascii
from math import isfinite
from types import NoneType
from typing import Any, Protocol

import structlog

from protocols.contract.addresses import Endpoint, Transport
from proxy.errors import PinholeError
from proxy.record.sampling import BUDGETS, Sampler
from proxy.text import printable

MAX_QUEUED_BYTES = 32 * 1024 * 1024
MAX_VALUE_LENGTH = 256
# Lines of this long are written together. The thread shares the interpreter with the loop: to wake it for every line
# cost the loop as much as a third of its time.
GATHER_SECONDS = 0.02
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class Log(Protocol):
    """What the rest of the shell needs of a log: write an event, or bind fields to every later one."""

    def write(self, event: str, **facts: Any) -> None: ...

    def bind(self, **facts: Any) -> Log: ...


class BoundLog(structlog.BoundLoggerBase):
    def write(self, event: str, **facts: Any) -> None:
        with contextlib.suppress(structlog.DropEvent):
            args, _ = self._process_event("info", event, facts)
            self._logger(args[0])

    def bind(self, **facts: Any) -> BoundLog:
        return super().bind(**facts)


class JsonLog(BoundLog):
    """Writes what structlog's chain would have made of it, in a tenth of the time: of a call seven lines are told, and
    what is bound to all lines of a session is rendered once."""

    def __init__(self, logger: Any, processors: Any, context: Any) -> None:
        super().__init__(logger, processors, context)
        self._sampler: Sampler = processors[0]
        self._client = context.get("client", "")
        self._bound = _members(context)

    def write(self, event: str, **facts: Any) -> None:
        if event in BUDGETS:
            left_out = self._sampler.left_out(event, facts, self._client)
            if left_out is None:
                return
            if left_out:
                facts["suppressed"] = left_out
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        moment = f"{_until_second(second)}.{nanoseconds // 1000:06d}Z"
        self._logger(f'{{"time":"{moment}","event":"{event}"{self._bound}{_members(facts)}}}')


def open_log(sink: Sink, form: str, sampler: Sampler | None = None) -> BoundLog:
    """The log that all others are bound from. `form`: json, or console for people."""
    prepare: list[Any] = [sampler or Sampler(time.monotonic), stamp, plain_values]
    if form == "json":
        return JsonLog(sink, [*prepare, _render_json], {})
    is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None: it is closed
    return BoundLog(sink, [*prepare, for_terminal, structlog.dev.ConsoleRenderer(colors=is_terminal)], {})


# One encoder for all lines: json.dumps would make one for each.
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _render_json(_: Any, __: str, record: MutableMapping[str, Any]) -> str:
    return _to_json(record)


def _members(facts: Mapping[str, Any]) -> str:
    """Of a JSON object, each with the comma before it."""
    return "".join([f',"{key}":{_RENDER.get(type(value), _json)(value)}' for key, value in facts.items()])


def _object(facts: Mapping[str, Any]) -> str:
    """Within a line; its keys are not our own words for sure."""
    members = [
        f"{encode_basestring_ascii(key)}:{_RENDER.get(type(value), _json)(value)}" for key, value in facts.items()
    ]
    return f"{{{','.join(members)}}}"


def _json(value: Any) -> str:
    return _to_json(plain(value))


def _text_json(value: str) -> str:
    return encode_basestring_ascii(value if len(value) <= MAX_VALUE_LENGTH else plain(value))


# By type, for values that come in every line: how they are rendered at once. All others are made plain first.
_RENDER: dict[type, Callable[[Any], str]] = {
    str: _text_json,
    bytes: lambda value: encode_basestring_ascii(plain(value)),
    float: lambda value: repr(value) if isfinite(value) else "null",
    int: repr,
    NoneType: lambda _: "null",
    Endpoint: lambda value: f'"{value}"',
    Transport: lambda value: f'"{value.value}"',
    dict: _object,
    list: lambda values: f"[{','.join([_RENDER.get(type(value), _json)(value) for value in values])}]",
    IPv4Network: lru_cache(maxsize=1024)(_json),
    IPv6Network: lru_cache(maxsize=1024)(_json),
}
_RENDER[tuple] = _RENDER[list]


def stamp(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """RFC 3339, UTC, microseconds, always of one width; first in the line, so that lines sort."""
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return {"time": f"{_until_second(second)}.{nanoseconds // 1000:06d}Z", "event": record.pop("event"), **record}


@lru_cache(maxsize=2)
def _until_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def plain_values(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in record.items():
        if type(value) is not str or len(value) > MAX_VALUE_LENGTH:
            record[key] = plain(value)
    return record


def for_terminal(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Plain values as an eye may see them; JSON escapes by itself what does not print."""
    return {key: _printable(value) for key, value in record.items()}


def _printable(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case dict():
            return {printable(key): _printable(item) for key, item in value.items()}
        case list():
            return [_printable(item) for item in value]
        case _:
            return value


def plain(value: Any) -> Any:
    """A value as the log shows it: peer bytes escaped and cut with their true length noted (rule X18)."""
    match value:
        case float():
            return value if isfinite(value) else None  # for ever: JSON has no such number
        case bool() | int() | None:
            return value
        case str():
            return value if len(value) <= MAX_VALUE_LENGTH else _cut(value, len(value))
        case bytes() | bytearray() | memoryview():
            text = bytes(value[:MAX_VALUE_LENGTH]).decode("latin-1").encode("unicode_escape").decode("ascii")
            return text if len(value) <= MAX_VALUE_LENGTH else _cut(text, len(value))
        case Endpoint() | IPv4Address() | IPv6Address():
            return str(value)
        case Enum():
            return value.value
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            text = str(value)
            return _cut(text, len(text))


def _cut(text: str, true_length: int) -> str:
    return text if true_length <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}... ({true_length} bytes)"


class Sink:
    """Takes rendered lines from the loop and writes them from a thread."""

    def __init__(
        self, to: str, report: Callable[[str], None] | None = None, opens: Callable[[], int] | None = None
    ) -> None:
        """`to`: stdout, stderr or a file's path. Raises OSError when the file cannot be opened.

        `report` is told, once each, when writing begins to fail and when it works again; the default tells stderr.
        `opens`: opens the file, also the next one after rotation; the default does so by itself.
        """
        self._to = to
        self._report = report or (lambda text: print(f"pinhole: {printable(text)}", file=sys.stderr, flush=True))
        self._opens = opens or partial(open_file, to)
        self._fd = self._opens()
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._lost = 0
        self.lost = 0
        """Lines that nobody will ever read, since the start; those of late are `_lost`, until the log says so."""
        self._wake = threading.Condition()
        self._reopen = False
        self._closing = False
        self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        data = line.encode() + b"\n"
        with self._wake:
            if self._queued_bytes + len(data) > MAX_QUEUED_BYTES:
                self._lost += 1
                self.lost += 1
                return
            self._lines.append(data)
            self._queued_bytes += len(data)
            if len(self._lines) == 1:
                self._wake.notify()

    def reopen(self) -> None:
        """After log rotation: go on in a new file of the same name."""
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
        failing = False
        rest = rest_of_line = b""  # to be written; of the line that is half written, what stands there
        while True:
            with self._wake:
                while not (rest or self._lines or self._lost or self._reopen or self._closing):
                    self._wake.wait()
                if not rest:
                    self._wake.wait_for(lambda: self._closing, GATHER_SECONDS)
                reopen, self._reopen = self._reopen, False
                if not rest:
                    rest = b"".join(self._lines)
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
                if failing:
                    failing = False
                    self._report(f"audit log {self._to}: writing again")
            except OSError as error:
                if not failing:
                    failing = True
                    self._report(f"audit log {self._to}: {error.strerror}; lines wait in memory")
                if closing:
                    return
                with self._wake:
                    self._wake.wait(RETRY_SECONDS)

    def _open_anew(self) -> bool:
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
        lost, self._lost = self._lost, 0
        return _to_json(stamp(None, "", {"event": "audit.lost", "lines": lost})).encode() + b"\n"


def _unfinished(written: bytes) -> bytes:
    """What stands behind the last whole line."""
    return written[written.rfind(b"\n") + 1 :]


def open_file(to: str) -> int:
    """Where the lines go. Raises OSError."""
    match to:
        case "stdout":
            return 1
        case "stderr":
            return 2
        case path:
            # Not to wait for ever for somebody to read from a FIFO; from then on writing may wait.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            # A link there may be somebody else's, to a file that only root may write.
            try:
                fd = os.open(path, flags | os.O_NOFOLLOW, 0o640)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise OSError(errno.ELOOP, "is a symbolic link, which is not followed: name the file itself") from error
            os.set_blocking(fd, True)
            return fd
