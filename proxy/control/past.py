"""The audit file, read backwards: what is over. This module knows lines and bytes, and not what they mean.

The file may have gigabytes, so there is a bound on what is read, and a search looks at bytes and not at lines: only the
lines that it finds are parsed. It is done in a thread, and lets the loop have its turn after each block.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO

from proxy.errors import PinholeError

BLOCK_BYTES = 256 * 1024
MOST_BYTES = 256 * 1024 * 1024
"""So much of a file is searched at most."""
MOST_LINE_BYTES = 64 * 1024
"""A longer line is passed over."""
PAUSE_SECONDS = 0.0005
"""The pause after each block. The interpreter is shared with the loop, and nobody in a call should hear a search."""

_WITHIN = tuple(bytes((one,)) for one in b"0123456789.")
"""What a word that is asked for does not stand behind, or it is the end of another one."""

Line = dict[str, Any]
Opener = Callable[[], int]
"""Opens a file for reading. Raises OSError, or a PinholeError."""


class Past:
    """One audit file, open for reading."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, os.SEEK_END)

    def before(self, end: int | None, *words: str) -> Iterator[tuple[int, Line]]:
        """The lines that begin before `end` (None: all) and have one of these words, the newest first, each with where
        it begins. A word counts if no letter or digit goes on behind it, and no digit or dot before it."""
        end = self._end if end is None else min(end, self._end)
        least, pattern = max(0, end - MOST_BYTES), _pattern(words)
        while end > least:
            begin = max(least, end - BLOCK_BYTES)
            block = self._whole_lines(begin, end)
            for match in reversed(list(_lines_with(pattern, block))):
                if (line := _parse(block[match.start() : match.end()])) is not None:
                    yield begin + match.start(), line
            end = begin
            time.sleep(PAUSE_SECONDS)

    def after(self, begin: int, *words: str) -> Iterator[Line]:
        """The lines from `begin` on that have one of these words, the oldest first."""
        pattern, most = _pattern(words), min(self._end, begin + MOST_BYTES)
        while begin < most:
            block = self._whole_lines(begin, min(most, begin + BLOCK_BYTES))
            for match in _lines_with(pattern, block):
                if (line := _parse(block[match.start() : match.end()])) is not None:
                    yield line
            begin += BLOCK_BYTES
            time.sleep(PAUSE_SECONDS)

    def offset_of(self, moment: str) -> int:
        """Where the first line begins whose time is later than this one (RFC 3339, UTC, as lines have it)."""
        low, high = 0, self._end
        while high - low > BLOCK_BYTES:
            middle = (low + high) // 2
            said = self._time_at(middle)
            if said is None or said > moment:
                high = middle
            else:
                low = middle
        block = self._whole_lines(low, min(self._end, high + MOST_LINE_BYTES))
        for match in re.finditer(rb"[^\n]+\n?", block):
            line = _parse(match[0])
            if line is not None and str(line.get("time")) > moment:
                return low + match.start()
        return self._end

    def _time_at(self, offset: int) -> str | None:
        """The time of the first line that begins behind this place."""
        self._file.seek(offset)
        data = self._file.read(2 * MOST_LINE_BYTES)
        line = _parse(data[data.find(b"\n") + 1 :].partition(b"\n")[0])
        return None if line is None else str(line.get("time"))

    def _whole_lines(self, begin: int, end: int) -> bytes:
        """The lines that begin from `begin` to `end`. What is not theirs is blanked, so that places stay right."""
        self._file.seek(max(0, begin - 1))
        data = self._file.read(end - max(0, begin - 1) + MOST_LINE_BYTES)
        if begin:
            first = data.find(b"\n") + 1
            data = b"\n" * (first - 1) + data[first:] if first else b""
        last = data.find(b"\n", max(0, end - begin - 1))
        return data if last < 0 else data[: last + 1]


def open_all(openers: Sequence[Opener]) -> tuple[ExitStack, list[Past]]:
    """The files that can be opened, each as one to search, and what closes them."""
    stack, found = ExitStack(), []
    for opener in openers:
        try:
            file = stack.enter_context(os.fdopen(opener(), "rb"))
        except (OSError, PinholeError):
            continue
        found.append(Past(file))
    return stack, found


def files(path: str | None) -> tuple[str, ...]:
    """The audit file, and the one before it as logrotate leaves it. None: there is no such file."""
    return () if path is None else (path, f"{path}.1")


def open_file(path: str) -> int:
    """Open an audit file for reading. Raises OSError."""
    # A pipe would wait for a writer, and a link may lead to a file that only root may read.
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)


def _pattern(words: Sequence[str]) -> re.Pattern[bytes]:
    return re.compile(rb"(?:%s)(?![0-9A-Za-z])" % b"|".join(re.escape(word.encode()) for word in words))


def _lines_with(pattern: re.Pattern[bytes], block: bytes) -> Iterator[re.Match[bytes]]:
    """The lines of the block in which the pattern is found, each once."""
    whole, at = re.compile(rb"[^\n]*"), 0
    while (found := pattern.search(block, at)) is not None:
        if block[found.start() - 1 : found.start()] in _WITHIN:
            at = found.end()
            continue
        line = whole.match(block, block.rfind(b"\n", 0, found.start()) + 1)
        assert line is not None
        yield line
        at = line.end() + 1


def _parse(data: bytes) -> Line | None:
    """A line as JSON. None: it is none, as the last one that is not whole yet."""
    try:
        line = json.loads(data)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
