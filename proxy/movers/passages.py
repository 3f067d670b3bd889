"""Passages: ways for the packets of a tunnel from one of its parties to the other.

    sender --> [at: a raw endpoint] --> passage --> [out: a raw endpoint] --> receiver

A packet costs one look-up of its source and id, the exchange of the id, and one `sendto`. Nothing else of it is looked
at: the numbers in it are the business of the ends, and so is what it carries (PP16, PP18).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Protocol

from proxy.movers.lanes import Counts
from proxy.sockets.packet_info import Ancillary
from proxy.sockets.raw import ID, ID_AT, Holder, RawEndpoint


class PassageOwner(Protocol):
    """The maker of a passage, which decides about its packets."""

    def admits(self, host: IPv4Address, ancillary: Ancillary) -> bool:
        """Whether a packet that bears this address came by an interface that leads there. The owner counts a packet
        that did not."""

    def begun(self) -> None:
        """The first packet is about to pass."""

    def give_up(self) -> None:
        """A bug of ours in a callback ends the owner, and the passage with it."""


class Passage:
    """Packets from `source` with the id `number`, which come to `at`, go out by `out` to `to` with the id `known`."""

    __slots__ = (
        "_ancillary", "_at", "_exchanged", "_holder", "_mark", "_number", "_out", "_owner", "_send", "_source", "_to",
        "bytes", "lost", "packets",
    )  # fmt: skip

    def __init__(
        self,
        owner: PassageOwner,
        holder: Holder,
        at: RawEndpoint,
        source: IPv4Address,
        number: int,
        out: RawEndpoint,
        to: IPv4Address,
        known: int,
        mark: int,
    ) -> None:
        """`holder` is the place that has the id `number` at `at`. `mark` is put on what goes out. Raises OSError when
        another passage takes these packets, or the mark cannot be set."""
        self._owner = owner
        self._holder = holder
        self._at, self._source, self._number = at, source, number
        self._out, self._to, self._mark = out, (str(to), 0), mark
        self._exchanged = ID.pack(known) if known != number else None
        """The id that goes into the packets. None: they have it already."""
        self._send: Callable[[memoryview, tuple[str, int]], int] = out.sender(mark).sendto
        self._ancillary: Ancillary = ()
        """What the kernel said of the last packet whose interface was checked."""
        self.packets = self.bytes = self.lost = 0
        at.claim(holder, source, number, self)

    def take(self, packet: memoryview, traffic_class: int, ancillary: Ancillary) -> None:
        """Pass a packet on."""
        # Mostly the kernel says the same as for the packet before: to compare that is quicker than to read it.
        if ancillary != self._ancillary and not self._is_let_in(ancillary):
            return
        self.packets += 1
        self.bytes += len(packet)
        if self.packets == 1:
            self._owner.begun()
        if self._exchanged is not None:
            packet[ID_AT : ID_AT + 2] = self._exchanged
        try:
            self._out.send_as(self._mark, traffic_class)
            self._send(packet, self._to)
        except OSError:  # there is no route, or a buffer is full: the ends of a tunnel bear the loss of a packet
            self.lost += 1

    def _is_let_in(self, ancillary: Ancillary) -> bool:
        """Whether a packet is taken that came by another interface than the one before it."""
        if not self._owner.admits(self._source, ancillary):
            return False
        self._ancillary = ancillary
        return True

    def counts(self) -> Counts:
        """What has passed so far."""
        return Counts(self.packets, self.bytes, self.lost)

    def stop(self) -> None:
        """Take no packet any more."""
        self._at.unclaim(self._holder, self._source, self._number)

    def give_up(self) -> None:
        """A bug of ours ends the owner (`proxy/record/failures.py`)."""
        self._owner.give_up()
