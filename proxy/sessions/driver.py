"""The driver of one engine: it feeds the engine bytes, events and the time, and performs the effects of each step
before anything else happens.

Streams and flows drive their engines through this module alike. A bug in an engine ends the engine's own session, with
a traceback in the log, and nothing else (rule X29).
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
    """The session whose engine is driven."""

    def settle(self) -> None:
        """Called after each step of the engine and its effects."""

    def engine_failed(self, lines: Sequence[str]) -> None:
        """The engine has raised an exception, so the session has to end. `lines` is the traceback."""


class EngineDriver:
    """Calls one engine and performs its effects. Each session owns one driver.

    Steps never nest: while the engine works, events of its pinholes wait in a queue. The driver also keeps the one
    timer of the engine. After `stop` every call is ignored.
    """

    __slots__ = ("_engine", "_events", "_in_engine", "_loop", "_performer", "_timer", "_wakes_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, engine: Engine, performer: Performer) -> None:
        self._loop = loop
        self._engine: Engine | None = engine
        self._performer = performer
        self._in_engine = False
        self._events: deque[tuple[AnyGrant, PinholeEvent]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")
        """When the timer runs out, by the clock of the loop."""
        self._arm()

    @property
    def is_needed(self) -> bool:
        """Whether the engine looks after something that goes on without the session, such as a call."""
        return self._engine is not None and self._engine.is_needed()

    @property
    def is_done(self) -> bool:
        """Whether the engine has done all that the session stood for."""
        return self._engine is not None and self._engine.is_done()

    def receive(self, side: Side, data: bytes) -> None:
        """Hand bytes or a datagram of this side to the engine."""
        if self._engine is not None:
            self._step(self._engine.receive, side, data)

    def eof(self, side: Side) -> None:
        """Tell the engine that this side has sent its last byte."""
        if self._engine is not None:
            self._step(self._engine.eof, side)

    def copy(self, is_wanted: bool) -> None:
        """Have the engine return copies of messages, or no more."""
        if self._engine is not None:
            self._engine.copy(is_wanted)

    def resolved(self, name: str, hosts: tuple[Host, ...]) -> None:
        """Tell the engine the addresses of a name that it asked for."""
        if self._engine is not None:
            self._step(self._engine.resolved, name, hosts)

    def event(self, grant: AnyGrant, event: PinholeEvent) -> None:
        """Tell the engine what has happened at one of its pinholes."""
        if self._engine is None:
            return
        if self._in_engine:
            # The engine closed this pinhole itself, and hears of that when its current step is done.
            self._events.append((grant, event))
            return
        self._step(self._engine.pinhole, grant, event)

    def _step(self, call: Callable[..., Sequence[Effect]], *arguments: Any) -> None:
        """Call the engine once, perform the effects, and then deliver the events that have queued up meanwhile."""
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
            # Events are delivered one after the other and never nested: a timer that runs out may close a thousand
            # pinholes.
            call, arguments = self._engine.pinhole, self._events.popleft()
        self._arm()
        self._performer.settle()

    def _arm(self) -> None:
        """Set the timer, but only when the present one would be late. Deadlines mostly move away, and a timer that runs
        out early just looks again."""
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
            self._performer.settle()  # another session may have ended what this engine looked after

    def hear_out(self) -> None:
        """The session is cut short, so the engine hears that both sides have ended, and then of the pinholes that it
        has closed for that. Only its notes count, because no leg is left for the other effects."""
        if self._engine is None or self._in_engine:
            return
        self._listen(*(partial(self._engine.eof, side) for side in Side))
        self._hear_of_ends()
        self._arm()  # an engine that outlives its session may want to be called sooner than before

    def _hear_of_ends(self) -> None:
        """Tell the engine of the pinholes that it has closed in its last step."""
        while self._engine is not None and not self._in_engine and self._events:
            self._listen(partial(self._engine.pinhole, *self._events.popleft()))

    def end(self) -> None:
        """The engine ends, together with everything that it looks after."""
        self._hear_of_ends()
        if self._engine is not None:
            self._listen(self._engine.stop)
        self.stop()

    def _listen(self, *calls: Callable[[float], Sequence[Effect]]) -> None:
        """Call the engine for its notes alone, at a time when no other effect can be performed any more."""
        if self._in_engine:
            return
        self._in_engine = True  # nobody wants the events of the pinholes that the engine closes now
        try:
            for call in calls:
                self._tell(call(self._loop.time()))
        except Exception:
            self._fail()
        finally:
            self._in_engine = False

    def _fail(self) -> None:
        """The engine has raised an exception. What it shares with other engines of its helper must not outlive it. So
        the engine is told to end and hears of the pinholes that it closes, as far as it still works."""
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
        """Write the notes among these effects to the log."""
        for effect in effects:
            if isinstance(effect, Note):
                self._performer.note(effect.event, effect.told)

    def give_up(self) -> None:
        """A bug of ours in the engine's timer ends the session (`proxy/record/failures.py`)."""
        if isinstance(self._performer, GivesUp):
            self._performer.give_up()

    def stop(self) -> None:
        """Release the engine. It is not called any more."""
        # The engine refers back to the session. Without this reference both are freed as soon as nobody holds them, and
        # need not wait for the collector of cycles.
        self._engine = None
        self._events.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
