"""The mover in the kernel: a row for each settled lane, by which a program at the interface passes the lane's packets.

    packet --> interface --> [a row for its 5-tuple?] --yes--> rewritten, counted, out by the route
                                     '---no--> the lane's socket, user space

What the program does not take comes to user space as if there were no row: fragments, packets longer than the route
allows, those whose route leads to this host. So a row saves work and decides nothing. These lanes stay in user space
altogether:

- from IPv4 to IPv6 or back, since the program does not change the header's kind;
- to a place of ours, where user space hands the packet on without the network, and what was handed on so;
- of a session with a `route_mark`, since the program looks routes up without a mark;
- by an interface that the program is not attached to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from typing import Protocol

from proxy.beats import next_beat
from proxy.movers.lanes import Counts, Lane
from proxy.record.metrics import Metrics
from proxy.sockets.packet_info import Address

KEEP_SECONDS = 0.5
"""How often rows are kept, where they end by themselves unless they are: nobody else removes them when both the daemon
and the holder die."""
REST_SECONDS = 10.0
"""After a row could not be had no other one is asked for, for so long."""
TELL_SECONDS = 3600.0
"""The log says not more often than this that a row could not be had."""

_UNSPECIFIED = frozenset(("", "0.0.0.0", "::"))
"""Hosts that nothing can be sent to. The table of routes has a route for them all the same: the default one."""


class Row(Protocol):
    """A row in the tables of the program: packets of one 5-tuple."""

    def counts(self) -> tuple[int, int]:
        """How many packets and how many bytes of payload have passed so far."""

    def take_back(self) -> tuple[int, int]:
        """Remove the row. Returns the last counts."""


class Rows(Protocol):
    """The tables of the program (`proxy/ebpf/tables.py`)."""

    @property
    def capacity(self) -> int:
        """How many rows there may be."""

    def put(self, source: Address, at: Address, out: Address, to: Address, interface: int) -> Row | None:
        """Have packets from `source` to `at`, if they come by this interface, go on from `out` to `to`. None: all rows
        are taken. Raises OSError when the kernel refuses."""

    def keep(self) -> None:
        """The rows hold for a moment more."""

    def close(self) -> None:
        """Let go of the tables."""


class Kernel:
    """The mover of what the program in the kernel carries. It has no rows before somebody gives it the tables (`use`),
    and takes a lane only by an interface that the program is attached to (`attach`). The table of pinholes owns it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, leased: Container[Address], metrics: Metrics) -> None:
        """`leased` has the places on addresses of ours."""
        self._loop = loop
        self._leased = leased
        self._metrics = metrics
        self.tell_full: Callable[[int], None] = lambda _: None
        """Called with the number of rows when a lane gets none, once an hour at most."""
        self._told_at = -TELL_SECONDS
        self.offer_again: Callable[[], None] = lambda: None
        """Called when lanes may be taken that were refused (`Movers.offer_again`)."""
        self.rows: Rows | None = None
        """The tables. None: there is no program."""
        self.interfaces: set[int] = set()
        """The indexes of the interfaces that the program is attached to."""
        self.is_held = False
        """Whether somebody watches over the program. Without it no lane is taken, but those that were taken go on."""
        self._is_resting = False
        self._keeper: asyncio.TimerHandle | None = None
        self._carried: dict[tuple[Address, Address], InKernel] = {}
        """The lanes that it carries, by where their packets come from and where they come to."""

    def __len__(self) -> int:
        """How many lanes it carries."""
        return len(self._carried)

    @property
    def capacity(self) -> int:
        """How many lanes it could carry."""
        return self.rows.capacity if self.rows is not None else 0

    # -- what the kernel has -------------------------------------------------------------------------------------------

    def use(self, rows: Rows) -> None:
        """From now on lanes may have rows in these tables, and none in those of before."""
        self.leave()
        self.rows, self.is_held = rows, True
        self.offer_again()

    def leave(self) -> None:
        """Take all rows back, and let go of the tables."""
        self._recall(tuple(self._carried.values()), "no_program")
        if self.rows is not None:
            self.rows.close()
        self.rows, self.is_held = None, False
        self.interfaces.clear()

    def hold_on(self) -> None:
        """Nobody watches over the program any more. What is carried goes on; nothing new is taken."""
        self.is_held = False

    def attach(self, index: int) -> None:
        """The program is attached to the interface with this index."""
        self.interfaces.add(index)
        self.offer_again()

    def detach(self, index: int) -> None:
        """The interface is gone. One that comes back, as those of PPPoE do, has another index."""
        self.interfaces.discard(index)
        self._recall([one for one in self._carried.values() if one.lane.interface == index], "no_interface")

    # -- lanes ---------------------------------------------------------------------------------------------------------

    def start(self, lane: Lane) -> InKernel | None:
        """Put in a row for the lane. None: it cannot have one now, or never."""
        if self.rows is None:
            return None
        taken = self._refuses(lane) or self._take(lane)
        if isinstance(taken, str):
            self._metrics.media_promotions.labels(taken).inc()
            return None
        self._metrics.media_promotions.labels("kernel").inc()
        return taken

    def _refuses(self, lane: Lane) -> str | None:
        """Why the lane cannot have a row. None: it can, if there is one."""
        assert lane.at is not None and lane.out is not None
        if not self.is_held:
            return "no_holder"
        if self._is_resting:
            return "no_row"
        if lane.interface not in self.interfaces:
            return "no_interface"
        if len(lane.source) != len(lane.to):
            return "two_versions"
        if lane.to in self._leased or lane.source in self._leased:
            return "place_of_ours"
        if lane.to[0] in _UNSPECIFIED or not lane.to[1]:
            return "nowhere"
        return "marked" if lane.out.is_marked else None

    def _take(self, lane: Lane) -> InKernel | str:
        """Put in the row. Returns why there is none, in one word."""
        assert self.rows is not None and lane.at is not None and lane.out is not None
        key = source, at = lane.source, lane.at.endpoint.address
        self.give_way(source, at)
        try:
            row = self.rows.put(source, at, lane.out.address, lane.to, lane.interface)
        except OSError:
            row = None
        if row is None:
            self._rest()
            return "no_row"
        carried = self._carried[key] = InKernel(self, lane, key, row)
        if self._keeper is None:
            self._keep()
        return carried

    def give_way(self, source: Address, at: Address) -> None:
        """Packets from `source` to `at` are another lane's from now on. When that ends, the next one of them offers
        this lane again."""
        if (carried := self._carried.get((source, at))) is not None:
            self._recall((carried,), "newer_lane")

    def _recall(self, carried: tuple[InKernel, ...] | list[InKernel], why: str) -> None:
        for one in carried:
            one.why = why
            one.lane.recall()

    def over(self, carried: InKernel) -> tuple[int, int]:
        """Take a lane's row back. Returns its last counts."""
        del self._carried[carried.key]
        self._metrics.media_demotions.labels(carried.why).inc()
        return carried.row.take_back()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Runs from time to time while there are rows."""
        if self.rows is None or not self._carried:
            self._keeper = None
            return
        self.rows.keep()
        self._keeper = self._loop.call_at(next_beat(self._loop.time(), KEEP_SECONDS), self._keep)

    def _rest(self) -> None:
        """A row could not be had, and the next one could hardly be."""
        self._is_resting = True
        self._loop.call_later(REST_SECONDS, self.wake)
        now = self._loop.time()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            self.tell_full(self.capacity)

    def wake(self) -> None:
        """Rows may be asked for again."""
        self._is_resting = False
        self.offer_again()


class InKernel:
    """A lane whose packets the program passes."""

    __slots__ = ("_mover", "key", "lane", "row", "why")

    def __init__(self, mover: Kernel, lane: Lane, key: tuple[Address, Address], row: Row) -> None:
        self._mover = mover
        self.lane = lane
        self.key = key
        self.row = row
        self.why = "lane"
        """Why it ends, in one word. That the lane is over, or has changed, is the usual reason."""

    @property
    def packets(self) -> int:
        """How many packets of it."""
        return self.row.counts()[0]

    def counts(self) -> Counts:
        """What has been carried so far."""
        packets, size = self.row.counts()
        return Counts(packets, size, 0, packets)

    def stop(self) -> Counts:
        """Carry nothing more, and return the last counts."""
        packets, size = self._mover.over(self)
        return Counts(packets, size, 0, packets)
