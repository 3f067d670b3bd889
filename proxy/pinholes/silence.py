"""Silence of media: when a stream is over that nobody ends.

A medium that falls silent is not over for that alone: while another medium of the same call is heard, or signalling
says that the call lives, silence means nothing (D44, RFC 4103). A place that has an answer and was never used waits as
long.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Protocol

from protocols.contract.pinholes import MediaGrant
from proxy.pinholes.opening import Opening, Owner, Table
from proxy.record.audit import Log

# A stream is looked at so many times within its idle time. That spares a look at the clock for each packet.
LOOKS = 4

FOR_EVER = float("inf")


class Together(Protocol):
    """All media of one call, which live and end together."""

    @property
    def places(self) -> Collection[TimedMedia]:
        """The places of the call's media."""

    @property
    def log(self) -> Log:
        """The audit log, with what all lines about the call say."""

    @property
    def kept_until(self) -> float:
        """Signalling says that the call lives until then, by the loop's clock."""


class TimedMedia(Opening):
    """A pinhole of media. The place of whoever has offered a stream keeps the clock for those who answer it."""

    grant: MediaGrant
    _offerer: TimedMedia | None
    """The place that this one answers. None: this one is the offerer's."""
    _answerers: Sequence[TimedMedia]

    def __init__(self, table: Table, owner: Owner, together: Together) -> None:
        super().__init__(table, owner, together.log)
        self._together = together
        self._seen = self._silent = 0
        """How many packets had passed at the last look, and since how many looks no other one has."""
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def _passed(self) -> int:
        """How many packets have passed to the party and from it."""

    @property
    def is_answered(self) -> bool:
        """Whether this place belongs to an answerer, or has one."""
        return self._offerer is not None or bool(self._answerers)

    def _wait(self) -> float:
        """How long the stream may be silent: as long as the offerer says. It may be silent for ever when an answerer
        has put it on hold (D25), or when nothing has come since the answer; then the end of the call ends it."""
        media = self.grant.media
        partners = [answerer.grant.media for answerer in self._answerers]
        if self._seen:
            return max([media.idle_seconds, *(FOR_EVER for each in partners if each.idle_seconds == FOR_EVER)])
        if self.is_answered:
            return FOR_EVER
        return media.open_seconds if media.open_seconds is not None else self._table.timeouts.pinhole_open

    def _look_later(self) -> None:
        """Set the timer for the next look."""
        self._stop_clock()
        wait = self._wait()
        if wait != FOR_EVER:
            self._timer = self._table.loop.call_later(wait / LOOKS, self._look)

    def _begun(self) -> None:
        """A stream that has begun may be silent for less time than it may take to begin."""
        self._seen, self._silent = self._passed(), 0
        self._look_later()

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Runs from time to time. Silence of one party is normal, silence of all parties is not (D44)."""
        seen = self._passed()
        self._silent = 0 if seen != self._seen else self._silent + 1
        self._seen = seen
        if self._silent < LOOKS or self._is_call_alive():
            self._look_later()
        elif not seen:
            self.shut("never_used")
        else:
            for place in self._silent_ones():
                place.shut("idle" if place._seen else "never_used")
            self.shut("idle")

    def _is_call_alive(self) -> bool:
        """Whether another medium of the call is heard or on hold, or signalling says that the call lives."""
        if self._together.kept_until > self._table.loop.time():
            return True
        return any(place.is_heard or place.is_on_hold for place in self._together.places if place is not self)

    @property
    def is_heard(self) -> bool:
        """For an offerer's place: whether a packet has passed within the time that the stream may be silent."""
        return self._offerer is None and self._seen > 0 and self._silent < LOOKS

    @property
    def is_on_hold(self) -> bool:
        """Whether the party may be silent for ever."""
        return self.grant.media.idle_seconds == FOR_EVER

    def _silent_ones(self) -> list[TimedMedia]:
        """The offerers' places of the other media, in a call whose media is over."""
        return [place for place in self._together.places if place._offerer is None and place is not self]

    @property
    def expires_at(self) -> float | None:
        """When the stream is over if it stays silent. The offerer's place keeps the clock. None: silence ends
        nothing."""
        first = self._offerer or self
        if first._timer is None:
            return None
        silent = first._silent if first._passed() == first._seen else -1
        return first._timer.when() + (LOOKS - silent - 1) * first._wait() / LOOKS
