"""What the daemon knows of the rules and routes that bring sessions here: what is missing of them, by the word of a
guard (`proxy/host/guard.py`), and how other ones come in force."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from proxy.config.schema import Config
from proxy.config.whereabouts import told_by
from proxy.errors import NetError
from proxy.host import link, rules, scopes
from proxy.host.link import Line, Link
from proxy.host.rules import Backend
from proxy.record.audit import Log
from proxy.record.metrics import Metrics

FIND_SECONDS = 1.0
"""How often to look for a guard that has ended: the service manager starts it again."""

NOBODY_MAY = (
    "the configuration is in force, the firewall rules are still the old ones: nobody here may change them. "
    "`pinhole net up` does; `pinhole net guard` (systemd: pinhole-guard.service) does so at each reload"
)
OLD_POLICIES = (
    "the firewall rules do for this configuration, and are written for the policies before: "
    "`pinhole net up` writes them anew"
)
IN_DOUBT = (
    "after an earlier reload the firewall rules were still those of another configuration, and nobody here can see "
    "whether they still are: `pinhole net status` tells, `pinhole net up` sets them up"
)

Say = Callable[[str], None]


class Outcome(NamedTuple):
    """What has become of the rules at a reload, if there is something to say."""

    problem: str = ""
    """Why they are not in force, though the configuration is."""
    remark: str = ""


class Rules:
    """Listens to the guard. The daemon owns it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, guard: Link | None, source: str, log: Log, metrics: Metrics, say: Say
    ) -> None:
        """`source` is the `Config.source` of what is served."""
        self._loop = loop
        self._guard = guard
        self._is_own = guard is not None and guard.is_own
        self._source = source
        self._log = log
        self._metrics = metrics
        self._say = say
        self.missing: list[str] = []
        self.watched: Literal["all", "routing", "nothing"] = "nothing"
        self.are_kept = False
        """Whether the guard puts back what is missing."""
        self.are_in_doubt = False
        """Whether a reload has left other rules than those of its configuration, and no later one had a guard set them
        up. Who watches routing alone has no news of a set-up by hand. A guard that comes does not say by which file it
        has set rules up: only its answer to a wish tells that they are those of this configuration."""
        self._missing_since = 0.0
        self._answer: asyncio.Future[str | None] | None = None
        self._finding: asyncio.TimerHandle | None = None
        self.changed: Callable[[], None] = lambda: None
        """Called when something is missing, or is there again."""

    def start(self) -> None:
        """Begin to listen."""
        if self._guard is not None:
            self._loop.add_reader(self._guard.sock, self._told)
            self._loop.call_soon(self._told)  # some lines may have been read already

    def stop(self) -> None:
        """Stop listening. A guard that is a child of this process is ended by whoever started it."""
        if self._finding is not None:
            self._finding.cancel()
        if self._guard is not None:
            self._loop.remove_reader(self._guard.sock)

    async def bring_in_force(self, fresh: Config, before: Config) -> Outcome:
        """Have the rules of a fresh configuration set up, if they are others or in doubt. Raises NetError when others
        could not be; then the old ones stand."""
        # Of thousands of policies this takes a while.
        label, old = await asyncio.to_thread(lambda: [rules.label(each, Backend.NFT) for each in (fresh, before)])
        if label == old and not self.are_in_doubt:
            return Outcome()
        if self._guard is not None and (self.are_kept or (self.watched == "all" and not self.missing)):
            problem = await self._wish("apply", rules=label)
            if problem is None:
                self.are_in_doubt = False
                return Outcome()
            if label != old:
                raise NetError(f"the firewall rules would be others, and could not be set up: {problem}")
            # What is in doubt was so before, and the reload itself changes nothing about it.
            return Outcome(remark=f"{told_by(fresh.source, IN_DOUBT)}; the guard could not: {problem}")
        if label == old or await asyncio.to_thread(scopes.do_for, before, fresh):
            return Outcome(remark=told_by(fresh.source, IN_DOUBT if self.are_in_doubt else OLD_POLICIES))
        self.are_in_doubt = True
        return Outcome(problem=told_by(fresh.source, NOBODY_MAY))

    async def _wish(self, name: str, **facts: Any) -> str | None:
        """Tell the guard a wish, and wait until it is done. Returns the problem, if there is one."""
        assert self._guard is not None
        self._answer = self._loop.create_future()
        try:
            self._guard.wish(name, **facts)
            async with asyncio.timeout(link.ANSWER_SECONDS):
                return await self._answer
        except NetError as error:  # it has ended, which the loop has not heard yet
            return str(error)
        except TimeoutError:
            return "the process that guards them does not answer"
        finally:
            self._answer = None

    # -- what the guard says ---------------------------------------------------------------------------------------

    def _told(self) -> None:
        """The guard has something to tell."""
        if self._guard is None:
            return
        try:
            for line in self._guard.lines():
                self._take(line)
        except EOFError:
            self._lost(self._guard)

    def _take(self, line: Line) -> None:
        if "done" in line:
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(line["problem"])
            return
        is_first = self.watched == "nothing"
        self._watch("all" if line["sees_rules"] else "routing")
        self.are_kept = line["keeps"]
        before, self.missing = self.missing, [str(part) for part in line["missing"]]
        at = float(line.get("at", time.monotonic()))
        self._metrics.rules_missing.set(len(self.missing))
        if self.missing:
            if not before:
                self._missing_since = at
            self._log.write("rules.missing", parts=self.missing)
            if is_first and not self.are_kept:
                remedy = told_by(self._source, "`pinhole net up`, or `pinhole run --net`")
                self._say(f"nothing brings sessions here ({self.missing[0]}): {remedy}")
        elif before:
            facts = {"passed": line["passed"], "sessions": line["sessions"]} if line.get("passed") else {}
            seconds = round(at - self._missing_since, 3)
            self._log.write("rules.restored", parts=before, seconds=seconds, by=line.get("by", "others"), **facts)
        if bool(before) != bool(self.missing):
            self.changed()

    def _watch(self, what: Literal["all", "routing", "nothing"]) -> None:
        """The guard sees so much."""
        self.watched = what
        self._metrics.rules_watched.labels("rules").set(what == "all")
        self._metrics.rules_watched.labels("routes").set(what != "nothing")

    def _lost(self, guard: Link) -> None:
        """The guard has ended. One that is a service of its own is started again, one of ours is not."""
        self._loop.remove_reader(guard.sock)
        self._watch("nothing")
        self.are_kept = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result("the process that guards them has ended")
        if self._is_own:
            self._say("the process that watches rules and routes has ended; nobody will tell when they are taken away")
            return
        self._say("the guard of rules and routes has ended; until it is back nobody puts back what is taken away")
        guard.sock.close()
        self._guard = None
        self._find()

    def _find(self) -> None:
        """Look for the guard until it is back."""
        self._finding = None
        guard = None
        with contextlib.suppress(OSError):  # there is no descriptor left
            guard = link.find(patience=0)
        if guard is None:
            self._finding = self._loop.call_later(FIND_SECONDS, self._find)
            return
        self._guard = guard
        self._say("the guard of rules and routes is back")
        self.start()
