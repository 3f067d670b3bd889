"""A party that moves in the middle of its stream: who may be that party, elsewhere than before.

Nobody is told of a move: a NAT before the party has given it another port. So whoever comes from elsewhere is a
*candidate*, whose packets wait. It has moved if the address of before stays silent meanwhile, and if it is the same
stream or has sent enough; if not, it was a stranger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxy.sockets.packet_info import Address, Ancillary

# Who has sent so many from elsewhere is the one: RFC 7362 s.4 asks for a lock. From the announced address, one will do.
LOCK_PACKETS = 8
# Longer than any packet of speech lasts (RFC 3551 s.4.2: 20 ms; 60 and 100 are seen).
GOES_ON_SECONDS = 0.2
ALONE_SECONDS = 2.0
MOST_KEPT, MOST_KEPT_BYTES = 32, 2048
"""Packets of a candidate that wait for the decision, and how many bytes one may have; others are lost."""


class Stream(Protocol):
    """The stream of a party, as far as a candidate may be its continuation."""

    @property
    def is_stream(self) -> bool:
        """Whether it is known by a number."""

    def is_continued_by(self, data: bytes) -> bool:
        """Whether a packet from elsewhere is the next one of it."""

    def is_late(self, source: Address) -> bool:
        """Whether another stream came from there, which is over."""

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a packet of the party."""

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""


class Candidate:
    """Who may be the party, elsewhere than before: it waits until that address has been silent for long enough."""

    __slots__ = ("count", "goes_on", "heard", "kept", "source", "stream", "timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: Stream,
        source: Address,
        heard: int,
        is_stream: bool,
        decide: Callable[[], None],
    ) -> None:
        self.stream = stream
        self.source = source
        self.heard = heard
        """How many packets of the party had come when this one first came."""
        self.goes_on = is_stream
        """Whether it has gone on where the party's stream ended."""
        self.count = 0
        self.kept: list[tuple[bytes, Ancillary]] = []
        # Who does not know the stream, or is no RTP, can be told by nothing but that it is alone.
        self.timer = loop.call_later(GOES_ON_SECONDS if is_stream else ALONE_SECONDS, decide)

    def keep(self, data: bytes, ancillary: Ancillary) -> None:
        """Another packet of it, to be passed on if it is the party."""
        self.count += 1
        if len(self.kept) < MOST_KEPT and len(data) <= MOST_KEPT_BYTES:
            self.kept.append((data, ancillary))

    def has_moved(self, heard: int) -> bool:
        """Whether it is the party, which has sent `heard` packets by now from where it was."""
        return heard == self.heard and (self.goes_on or self.count >= LOCK_PACKETS)

    def admit(self) -> None:
        """It is the party: what has waited is passed on."""
        for data, ancillary in self.kept:
            self.stream.take(data, ancillary)

    def refuse(self) -> None:
        """It was a stranger."""
        self.timer.cancel()
        if not self.stream.is_late(self.source):
            self.stream.refuse(self.source, self.count)
