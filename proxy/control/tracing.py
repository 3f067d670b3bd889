"""Traces: the messages of sessions as they pass, before and after pinhole has read them, for who follows one caller.

Engines make copies of messages only while somebody traces their session, so a trace costs the others nothing. What a
helper calls secret is taken out before a message leaves this module. Who reads too slowly misses messages, and is told
how many.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from protocols.contract.addresses import Endpoint
from proxy.control import rows
from proxy.control.filters import Test, matcher, parameters_of
from proxy.control.gateway import Gateway
from proxy.control.routes import Asked, Peer
from proxy.control.shapes import Field, Kind, Row, Shape, stamp
from proxy.sessions.session import Session

MOST_WAITING = 1000
"""How many messages wait for one reader."""
ALIVE_SECONDS = 15.0
"""After so long without a message, the reader is told that the trace goes on."""
REMOVED = b" (removed)"

MESSAGE = Shape(
    "message",
    "A message as it came, or as it goes on.",
    {
        "time": Field(Kind.TIME, "When it passed"),
        "session": Field(Kind.WORD, "The session"),
        "helper": Field(Kind.WORD, "The helper that reads it"),
        "step": Field(Kind.WORD, "came: as a side has sent it; went: as it is sent on"),
        "source": Field(Kind.ENDPOINT, "From where it travels"),
        "target": Field(Kind.ENDPOINT, "Where to"),
        "text": Field(Kind.TEXT, "The message without its secrets; bytes that are no text stand as \\xNN"),
        "missed": Field(Kind.INTEGER, "How many messages before this one were not shown, since they were not fetched"),
    },
)

_NAMES = ("id", "helper", "policy", "transport", "interface", "client", "server", "address")
PARAMETERS = tuple(one for one in parameters_of(rows.SESSION) if one.name in _NAMES)
"""The filters of sessions by what does not change while they last."""


class _Reader:
    """Somebody who traces."""

    def __init__(self, is_wanted: Test) -> None:
        self.is_wanted = is_wanted
        self.waiting: asyncio.Queue[Row] = asyncio.Queue(MOST_WAITING)
        self.missed = 0

    def take(self, row: Row) -> None:
        """Keep a message until it is fetched."""
        try:
            self.waiting.put_nowait({**row, "missed": self.missed})
            self.missed = 0
        except asyncio.QueueFull:
            self.missed += 1


class Traces:
    """All traces that are under way."""

    def __init__(self, gateway: Gateway, told: Callable[[Peer, str, str], None]) -> None:
        """told: writes down who has begun what, and about what."""
        self._gateway = gateway
        self._told = told
        self._readers: list[_Reader] = []

    def follow(self, asked: Asked) -> AsyncGenerator[tuple[str, str], None]:
        """The messages of the sessions that the filters let through, until the reader goes away. Raises Wrong at once
        when a filter cannot be read."""
        reader = _Reader(matcher(rows.SESSION, asked.query))
        self._told(asked.peer, "trace", ", ".join(f"{name} {value}" for name, value in asked.query.items()) or "all")
        return self._followed(reader)

    async def _followed(self, reader: _Reader) -> AsyncGenerator[tuple[str, str], None]:
        self._readers.append(reader)
        self._changed()
        try:
            yield "begun", "{}"
            while True:
                try:
                    async with asyncio.timeout(ALIVE_SECONDS):
                        row = await reader.waiting.get()
                except TimeoutError:
                    yield "alive", "{}"  # by this is noticed that the reader has gone away
                else:
                    yield "message", json.dumps(row)
        finally:
            self._readers.remove(reader)
            self._changed()

    def _changed(self) -> None:
        """Other sessions are traced now than before."""
        self._gateway.sessions.trace(self if self._readers else None)

    def wants(self, session: Session) -> bool:
        """Whether somebody traces this session."""
        return bool(self._readers_of(session))

    def take(self, session: Session, has_come: bool, source: Endpoint, target: Endpoint, data: bytes) -> None:
        """Show a message to those who trace its session."""
        readers = self._readers_of(session)
        if not readers:
            return
        row: dict[str, Any] = {
            "time": stamp(time.time()),
            "session": session.key,
            "helper": session.helper.name,
            "step": "came" if has_come else "went",
            "source": str(source),
            "target": str(target),
            "text": _text(session, data),
        }
        for reader in readers:
            reader.take(row)

    def _readers_of(self, session: Session) -> list[_Reader]:
        row = rows.of_session(session, self._gateway.now)
        return [reader for reader in self._readers if reader.is_wanted(row)]


def _text(session: Session, data: bytes) -> str:
    """A message without its secrets."""
    if session.helper.secret is not None:
        data = session.helper.secret.sub(lambda found: found[1] + REMOVED, data)
    return data.decode("utf-8", "backslashreplace")
