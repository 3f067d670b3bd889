"""How many lines of an event may be written, as its row says. `proxy/record/sampling.py` keeps to it.

Nine bytes from anywhere make a line of 260. So without a bound a peer could fill the disk, and with one bound for all
peers it could hide what others do. Therefore each source has a budget of its own for each kind of line. Where a source
costs nothing (datagrams with forged addresses), all sources together have a budget as well.

Lines about what opens or closes (`pinhole.opened`, `.used`, `.closed`, sessions, calls) need none: each of them costs
the peer more than the line is long, and there are limits for what may be open.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """`lines` may be written within a window of `seconds`. `of` names the fact that tells one kind of line from
    another. `for_all`: all sources share the budget. `in_all` is a second budget, for each second, for the lines of all
    sources."""

    lines: int
    seconds: float = 1.0
    of: str = ""
    for_all: bool = False
    in_all: int | None = None


REFUSED = Budget(50, for_all=True)
# A trunk with twenty new calls a second still has a line for each message.
DIALOGUE = Budget(200)
# Whoever guesses passwords or numbers is seen long before that; a trunk may fail for all of its callers.
GUESSES = Budget(50, 60.0, "code", in_all=50)
BUG = Budget(10, 60.0, for_all=True)
