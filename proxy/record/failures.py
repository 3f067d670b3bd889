"""A bug of ours in a callback of the loop: whoever it happened to is let go, whatever state it is in.

A bug in an engine ends its session in order (`proxy/sessions/driver.py`). One in the shell itself, between accepting
and relaying or in a timer, leaves things half done: a session that nothing will ever call again, with its sockets and
its client. The loop hears of every exception that leaves a callback, so this is looked at there and costs nothing
before: what the callback was at work on stands in the frames that the exception came through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class GivesUp(Protocol):
    """Something that holds sockets, or is counted."""

    def give_up(self) -> None:
        """Let go of everything now. It has failed: nothing may be taken for granted, and this may be called twice."""


def at_work(error: BaseException) -> Iterator[GivesUp]:
    """Those in whose methods it happened, the innermost first, each once."""
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
    """All of them. What is said about it is the caller's business."""
    for one in tuple(at_work(error)):
        with contextlib.suppress(Exception):  # the bug may be in the way out, too; the others are let go all the same
            one.give_up()
