"""A bug of ours in a callback of the loop: the session or pinhole that it happened to is released, whatever state it is
in.

A bug in an engine ends its session in order (`proxy/sessions/driver.py`). A bug outside the engines, between accepting
and relaying or in a timer, leaves things half done: a session that no callback will ever reach again, with its sockets
and its client. The loop reports every exception that leaves a callback. Only then is this module called, so it costs
nothing before. The objects that the callback was working on stand in the frames that the exception came through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class GivesUp(Protocol):
    """An object that holds sockets, or is counted."""

    def give_up(self) -> None:
        """Release everything now. The object has failed, so nothing may be taken for granted, and this may be called
        twice."""


def at_work(error: BaseException) -> Iterator[GivesUp]:
    """The objects in whose methods the exception was raised, the innermost first, each once."""
    found: dict[int, GivesUp] = {}
    step = error.__traceback__
    while step is not None:
        one = step.tb_frame.f_locals.get("self")
        if isinstance(one, GivesUp):
            found.pop(id(one), None)
            found[id(one)] = one
        step = step.tb_next
    yield from reversed(found.values())


def let_go(error: BaseException) -> None:
    """Release all of these objects. The caller reports the error."""
    for one in tuple(at_work(error)):
        with contextlib.suppress(Exception):  # the bug may be in the release, too; the others are released all the same
            one.give_up()
