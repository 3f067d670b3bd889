"""A loop whose time goes by as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast


class Clock:
    """Its time stands still until the test moves it on: none passes while this process gets no processor, and none has
    to be waited for."""

    def __init__(self, real: asyncio.AbstractEventLoop | None = None) -> None:
        """real: the loop that does all but what has its time. Without one nothing else is done."""
        self._real = real
        self._now = 1000.0 if real is None else real.time()
        self.timers: list[asyncio.TimerHandle] = []
        """What waits for its time."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The clock, as those know it whom it is given to."""
        return cast(asyncio.AbstractEventLoop, self)

    def skip(self, seconds: float) -> None:
        """Let so much time pass. Whatever is due meanwhile is called in its order."""
        end = self._now + seconds
        while self.timers and (timer := min(self.timers, key=asyncio.TimerHandle.when)).when() <= end:
            self._timer_handle_cancelled(timer)
            self._now = max(self._now, timer.when())
            timer._run()
        self._now = end

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, arguments, self.loop)
        self.timers.append(timer)
        return timer

    def call_later(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        return self.call_at(self._now + seconds, callback, *arguments)

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> asyncio.Handle:
        if self._real is None:
            return self.call_later(0, callback, *arguments)
        return self._real.call_soon(callback, *arguments)

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """The test hears of what a call raises."""
        raise context["exception"]

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        """By a TimerHandle."""
        self.timers = [other for other in self.timers if other is not timer]  # two of the same call are equal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
