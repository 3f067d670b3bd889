"""Timers that run together: what is looked at from time to time is looked at in one wake-up of the process."""

from __future__ import annotations


def next_beat(now: float, seconds: float) -> float:
    """When a timer runs next that runs every so many seconds, by the clock of `now`: in half of that time at the
    soonest. All timers of one interval, and of its multiples, run at the same moments."""
    beat = (now // seconds + 1) * seconds
    # A beat that is almost now may be the one that was just had, for numbers are rounded.
    return beat if beat - now >= seconds / 2 else beat + seconds
