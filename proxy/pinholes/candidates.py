"""A party that moves in the middle of its stream: which sender, elsewhere than before, may be that party.

A move is not announced: a NAT before the party has given it another port. So a sender at another address is a
*candidate*, whose packets wait. The party has moved if its old address stays silent meanwhile, and if the candidate
continues the stream or has sent enough; if not, the candidate was a stranger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from proxy.sockets.packet_info import Address, Ancillary

# A sender that has sent so many packets from elsewhere is taken for the party: RFC 7362 s.4 asks for a lock. From the
# announced address one packet will do.
LOCK_PACKETS = 8
# This is longer than any packet of speech lasts (RFC 3551 s.4.2: 20 ms; 60 and 100 are seen).
GOES_ON_SECONDS = 0.2
ALONE_SECONDS = 2.0
MOST_KEPT, MOST_KEPT_BYTES = 32, 2048
"""Packets of a candidate that wait for the decision, and how many bytes one may have; others are lost."""


class Stream(Protocol):
    """The stream of a party, as far as must be known to decide whether a candidate continues it."""

    @property
    def is_stream(self) -> bool:
        """Whether the stream is known by a number."""

    def is_continued_by(self, data: bytes) -> bool:
        """Whether a packet from elsewhere is the next one of this stream."""

    def is_late(self, source: Address) -> bool:
        """Whether another stream came from this address and is over."""

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a packet of the party."""

    def refuse(self, source: Address, count: int = 1) -> None:
        """A stranger's packets were not passed on."""


class Candidate:
    """A sender that may be the party after a move. It waits until the party's old address has been silent for long
    enough."""

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
        """How many packets of the party had come when this candidate first came."""
        self.goes_on = is_stream
        """Whether the candidate continues the party's stream."""
        self.count = 0
        self.kept: list[tuple[bytes, Ancillary]] = []
        # A candidate that does not continue the stream, or sends no RTP, can be told only by being the only sender.
        self.timer = loop.call_later(GOES_ON_SECONDS if is_stream else ALONE_SECONDS, decide)

    def keep(self, data: bytes, ancillary: Ancillary) -> None:
        """Keep another packet of the candidate, to be passed on if the candidate is the party."""
        self.count += 1
        if len(self.kept) < MOST_KEPT and len(data) <= MOST_KEPT_BYTES:
            self.kept.append((data, ancillary))

    def has_moved(self, heard: int) -> bool:
        """Whether the candidate is the party. `heard` is how many packets have come from the party's old address by
        now."""
        return heard == self.heard and (self.goes_on or self.count >= LOCK_PACKETS)

    def admit(self) -> None:
        """The candidate is the party, so the packets that waited are passed on."""
        for data, ancillary in self.kept:
            self.stream.take(data, ancillary)

    def refuse(self) -> None:
        """The candidate was a stranger."""
        self.timer.cancel()
        if not self.stream.is_late(self.source):
            self.stream.refuse(self.source, self.count)
