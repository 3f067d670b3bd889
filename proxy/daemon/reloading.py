"""Reads the configuration again while the daemon serves, and says what that changes and what it ends.

    files --thread--> Config, PolicyTable, changes --loop, in one step--> in force

A file of many policies takes half a second to read. That is done in a thread, so that nobody in a call hears it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from protocols.contract.live import Call
from proxy.config import files, reading
from proxy.config.changes import Change, changes
from proxy.config.schema import Config
from proxy.config.shown import hash_of
from proxy.daemon.rules import Outcome
from proxy.errors import ConfigError, PinholeError
from proxy.record.audit import Log
from proxy.sessions.policy import PolicyTable
from proxy.sessions.session import Session

NEEDS_RESTART = ("metrics", "network", "user")
"""The sections that only a restart brings in force."""

SWITCH_SECONDS = 0.0005
"""How long the reading thread may keep the interpreter from the loop while packets wait; usually Python has 5 ms."""

MOST_ENDS = 1000
"""How many sessions an answer tells of one by one."""

NOTHING = Outcome()

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A configuration that was read and is not in force yet."""

    config: Config
    policies: PolicyTable
    changes: Sequence[Change]
    hash: str


class Parts(Protocol):
    """What a reload needs of the daemon."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    def all_sessions(self) -> Iterator[Session]:
        """The sessions, and those that are over while their engines still look after something."""

    def calls(self) -> Iterator[Call]:
        """The calls that are under way."""

    async def prepare(self, fresh: Config) -> Outcome:
        """Do what may fail or takes time, before anything else is otherwise. Raises PinholeError: nothing has
        changed."""

    def use(self, fresh: Fresh) -> None:
        """Bring a configuration in force."""


class Reloading:
    """One reload after the other. The daemon owns it."""

    def __init__(self, parts: Parts, path: str | None, gather: files.Gather, log: Log) -> None:
        """`gather` reads the files of the configuration at `path`."""
        self._parts = parts
        self._path = path
        self._gather = gather
        self._log = log
        self._one = asyncio.Lock()
        self.ended: Callable[[bool], None] = lambda is_fine: None
        """Called after each reload, with whether its configuration is in force."""

    async def reload(self, is_dry: bool = False) -> Answer:
        """Read the configuration again. New sessions follow it. If it is wrong, the old one stays in force. With
        `is_dry` it stays in force in any case."""
        async with self._one:
            before = self._parts.config
            try:
                with _short_turns():
                    fresh = await asyncio.to_thread(self._read, before)
            except ConfigError as error:
                return self._rejected(list(error.problems), is_dry)
            except PinholeError as error:
                return self._rejected([str(error)], is_dry)
            fixed = [name for name in NEEDS_RESTART if getattr(fresh.config, name) != getattr(before, name)]
            if fixed:
                what = f"{fresh.config.source}: {', '.join(fixed)}: changed, which needs a restart"
                return self._rejected([f"{what}; nothing was reloaded"], is_dry, fresh)
            if is_dry:
                return self._answer(fresh, self._ends(fresh), is_dry=True)
            try:
                outcome = await self._parts.prepare(fresh.config)
            except PinholeError as error:
                return self._rejected([f"{fresh.config.source}: {error}; nothing was reloaded"], is_dry, fresh)
            # From here on there is no await: what is told to end is what ends.
            ends = self._ends(fresh)
            self._parts.use(fresh)
            self.ended(True)
            self._log.write(
                "config.reloaded",
                config=fresh.config.source,
                hash=fresh.hash,
                changed=[change.key for change in fresh.changes],
                ended=[end["id"] for end in ends],
            )
            return self._answer(fresh, ends, outcome)

    def _read(self, before: Config) -> Fresh:
        """Read the files. This runs in a thread and touches nothing of the daemon."""
        config = reading.in_force(self._path, self._gather)
        return Fresh(config, PolicyTable(config), changes(before, config), hash_of(config))

    def _ends(self, fresh: Fresh) -> list[dict[str, Any]]:
        """The sessions that the fresh configuration lets go on no more."""
        found = [(each, why) for each in self._parts.all_sessions() if (why := each.ends_by(fresh.policies))]
        calls = Counter(id(call.pinholes) for call in self._parts.calls()) if found else Counter()
        return [
            {
                "id": session.key,
                "helper": session.helper.name,
                "policy": session.policy.name,
                "client": str(session.arrival.client),
                "server": str(session.arrival.server),
                "reason": reason,
                "calls": calls[id(session.pinholes)],
            }
            for session, reason in found
        ]

    def _answer(
        self, fresh: Fresh, ends: list[dict[str, Any]], outcome: Outcome = NOTHING, is_dry: bool = False
    ) -> Answer:
        """What whoever asked is told of a configuration that is in force, or could be."""
        return {
            **_told(fresh, [outcome.problem] if outcome.problem else [], is_dry),
            "remarks": [outcome.remark] if outcome.remark else [],
            "ends": ends[:MOST_ENDS],
            "ends_total": len(ends),
        }

    def _rejected(self, problems: list[str], is_dry: bool, fresh: Fresh | None = None) -> Answer:
        """What whoever asked is told of a configuration that is not put in force."""
        if not is_dry:
            self.ended(False)
            self._log.write("config.rejected", problems=problems)
        return _told(fresh, problems, is_dry)


def _told(fresh: Fresh | None, problems: list[str], is_dry: bool) -> Answer:
    """What every answer has."""
    return {
        "ok": not problems,
        "dry_run": is_dry,
        "hash": fresh.hash if fresh is not None else None,
        "problems": problems,
        "warnings": list(fresh.config.warnings) if fresh is not None else [],
        "remarks": [],
        "changes": [change.row for change in fresh.changes] if fresh is not None else [],
        "ends": [],
        "ends_total": 0,
    }


@contextmanager
def _short_turns() -> Iterator[None]:
    """While it lasts, a thread that computes gives the interpreter back to the loop soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
