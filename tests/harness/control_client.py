"""A client of the control socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp


class Answer(NamedTuple):
    """What the daemon has answered."""

    status: int
    text: str

    @property
    def body(self) -> Any:
        """The answer, which is JSON."""
        return json.loads(self.text)


async def ask(path: Path, name: str, method: str = "GET") -> Answer:
    """Ask the daemon at this control socket."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.request(method, f"http://pinhole{name}") as answer,
    ):
        return Answer(answer.status, await answer.text())
