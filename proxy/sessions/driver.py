"""One engine at work: fed with bytes, events and the time, and its effects performed before anything else happens.

Streams and flows drive their engines through here alike. A bug in an engine ends its own session, with a traceback in
the log, and nothing else (rule X29).
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from protocols.contract.addresses import Host, Side
from protocols.contract.effects import Effect, Note
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, PinholeEvent
from proxy.record.failures import GivesUp
from proxy.sessions import effects


class Performer(effects.Performer, Protocol):
    """The session whose engine it is."""

    def settle(self) -> None:
        """After each step of the engine and its effects."""

    def engine_failed(self, lines: Sequence[str]) -> None:
        """The engine has raised. `lines`: the traceback. The session has to end."""


class EngineDriver:
    __slots__ = ("_engine", "_events", "_in_engine", "_loop", "_performer", "_timer", "_wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, engine: Engine, performer: Performer) -> None:
        self._loop = loop
        self._engine: Engine | None = engine
        self._performer = performer
        self._in_engine = False
        self._events: deque[tuple[AnyGrant, PinholeEvent]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")
        self._arm()

    @property
    def is_needed(self) -> bool:
        """Whether the engine looks after something that goes on without the session."""
        return self._engine is not None and self._engine.is_needed()

    def receive(self, side: Side, data: bytes) -> None:
        if self._engine is not None:
            self._step(self._engine.receive, side, data)

    def eof(self, side: Side) -> None:
        if self._engine is not None:
            self._step(self._engine.eof, side)

    def resolved(self, name: str, hosts: tuple[Host, ...]) -> None:
        if self._engine is not None:
            self._step(self._engine.resolved, name, hosts)

    def event(self, grant: AnyGrant, event: PinholeEvent) -> None:
        if self._engine is None:
            return
        if self._in_engine:
            # The engine closed it itself; it hears of that when it is done with what it is at.
            self._events.append((grant, event))
            return
        self._step(self._engine.pinhole, grant, event)

    def _step(self, call: Callable[..., Sequence[Effect]], *arguments: Any) -> None:
        while True:
            self._in_engine = True
            try:
                wanted = call(*arguments, self._loop.time())
            except Exception:
                self._fail()
                return
            finally:
                self._in_engine = False
            effects.apply(wanted, self._performer)
            if self._engine is None:
                return
            if not self._events:
                break
            # One after the other, not one within the other: a clock that runs out may close a thousand pinholes.
            call, arguments = self._engine.pinhole, self._events.popleft()
        self._arm()
        self._performer.settle()

    def _arm(self) -> None:
        """Deadlines mostly move away, so a timer is set anew only when it would be late; an early one looks again."""
        if self._engine is None or (deadline := self._engine.deadline()) is None or deadline >= self._wakes_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = deadline
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer, self._wakes_at = None, float("inf")
        if self._engine is None:
            return
        deadline = self._engine.deadline()
        if deadline is not None and deadline <= self._loop.time():
            self._step(self._engine.tick)
        else:
            self._arm()
            self._performer.settle()  # what it looked after may have ended by another session's doing

    def hear_out(self) -> None:
        """A session that is cut short: nothing more comes from either side, and what the engine has to say of that is
        said, though no leg is left to do it on."""
        if self._engine is not None:
            self._listen(*(partial(self._engine.eof, side) for side in Side))

    def end(self) -> None:
        """The engine ends, and what it looks after with it."""
        if self._engine is not None:
            self._listen(self._engine.stop)
        self.stop()

    def _listen(self, *calls: Callable[[float], Sequence[Effect]]) -> None:
        """To what the engine has to say, when nothing can be done any more."""
        if self._in_engine:
            return
        self._in_engine = True  # events of pinholes it closes now are nobody's any more
        try:
            for call in calls:
                self._tell(call(self._loop.time()))
        except Exception:
            self._fail()
        finally:
            self._in_engine = False

    def _fail(self) -> None:
        """The engine has raised. What it shares with others of its helper must not outlive it there: it is told to end,
        and hears of what it closes, as far as it still can."""
        lines = traceback.format_exc(limit=-8).splitlines()
        engine, now = self._engine, self._loop.time()
        said: list[Effect] = []
        self._in_engine = True
        with contextlib.suppress(Exception):
            if engine is not None:
                said += engine.stop(now)
                while self._events:
                    said += engine.pinhole(*self._events.popleft(), now)
        self._in_engine = False
        self.stop()
        self._tell(said)
        self._performer.engine_failed(lines)

    def _tell(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Note):
                self._performer.note(effect.event, effect.facts)

    def give_up(self) -> None:
        """A bug of ours at the engine's clock (`proxy/record/failures.py`)."""
        if isinstance(self._performer, GivesUp):
            self._performer.give_up()

    def stop(self) -> None:
        """The engine is not asked any more."""
        # It refers back to the session; without it both go when nobody holds them, not when cycles are collected.
        self._engine = None
        self._events.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
