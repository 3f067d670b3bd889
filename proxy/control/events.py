"""The lines of the audit log as they are written, for who follows them.

The log hands over each line, as it does to its sinks. While nobody follows, that is all. Each reader has a bounded
queue: one who reads too slowly loses lines, is told how many, and keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator

from proxy.control.filters import Test, matcher, parameters_of
from proxy.control.routes import Asked
from proxy.control.shapes import Field, Kind, Row, Shape

MOST_WAITING = 1000
"""How many lines wait for one reader."""
AT_ONCE = 64
"""So many lines are looked at before others have their turn."""
ALIVE_SECONDS = 15.0
"""After so long without a line, the reader is told that the stream goes on. By this is noticed that he has left."""

EVENT = Shape(
    "event",
    "A line of the audit log. Its other fields are those of the catalogue (`pinhole audit schema`).",
    {
        "time": Field(Kind.TIME, "When it happened"),
        "event": Field(Kind.WORD, "What happened"),
        **{
            name: Field(Kind.WORD, "As in the catalogue", may_be_absent=True)
            for name in ("session", "helper", "policy", "call_id", "pinhole", "reason", "rule")
        },
        **{
            name: Field(Kind.ENDPOINT, "As in the catalogue", may_be_absent=True, may_be_null=True)
            for name in ("client", "server", "peer", "listen", "target", "known_as", "contact", "dialled")
        },
    },
    is_open=True,
)

PARAMETERS = tuple(one for one in parameters_of(EVENT) if one.name != "limit")

_ABSENT = dict.fromkeys(EVENT.fields)


class _Reader:
    """Somebody who follows."""

    def __init__(self, is_wanted: Test) -> None:
        self.is_wanted = is_wanted
        self.waiting: deque[str] = deque()
        self.missed = 0
        self.has_some = asyncio.Event()

    def take(self, line: str) -> None:
        """Keep a line until it is fetched."""
        if len(self.waiting) >= MOST_WAITING:
            self.missed += 1
            return
        self.waiting.append(line)
        self.has_some.set()


class Events:
    """Everybody who follows the log. It is one of those whom the log hands its lines to."""

    def __init__(self) -> None:
        self._readers: list[_Reader] = []

    def __call__(self, line: str) -> None:
        """A line of the log, as JSON."""
        for reader in self._readers:
            reader.take(line)

    def follow(self, asked: Asked) -> AsyncGenerator[tuple[str, str], None]:
        """The lines that the filters let through, from now on, until the reader goes away. Raises Wrong at once when a
        filter cannot be read."""
        return self._followed(_Reader(matcher(EVENT, asked.query)))

    async def _followed(self, reader: _Reader) -> AsyncGenerator[tuple[str, str], None]:
        self._readers.append(reader)
        try:
            yield "begun", "{}"
            while True:
                try:
                    async with asyncio.timeout(ALIVE_SECONDS):
                        await reader.has_some.wait()
                except TimeoutError:
                    yield "alive", "{}"
                for _ in range(min(AT_ONCE, len(reader.waiting))):
                    line = reader.waiting.popleft()
                    row: Row = json.loads(line)
                    if reader.is_wanted({**_ABSENT, **row}):
                        yield row["event"], line
                if not reader.waiting:
                    reader.has_some.clear()
                    if reader.missed:
                        missed, reader.missed = reader.missed, 0
                        yield "missed", json.dumps({"missed": missed})
                await asyncio.sleep(0)
        finally:
            self._readers.remove(reader)
