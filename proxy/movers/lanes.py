"""Lanes: ways for datagrams from one address to another, and what carries them.

    source --> [at: a socket of ours] --> lane --> [out: a socket of ours] --> to

A lane says nothing of why: whose packets it takes, and until when, is decided by whoever made it (for media that is
`proxy/pinholes/components.py`). What carries its packets is a *mover*. The one in user space (`userspace.py`) carries
every lane from its start on. It also carries whatever another mover lets through, so another one may be there or not,
may refuse a lane, and may lose what it carries: the packets come to the lane's socket then, as if it had never been.

    start ---> watched --- settle ---> settled: others may carry it --- stop --> over
                  ^                       |   ^
                  |                    recall |
                  '---- restart ----------'   '--- settle

A lane is watched as long as its packets tell something: where the sender's stream comes from. It is recalled when they
may tell something again, and whenever one of its four parts changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from proxy.movers.stands import Stand
from proxy.sockets.endpoints import Route, UdpEndpoint
from proxy.sockets.packet_info import Address, Ancillary

NOWHERE: Address = ("", 0)
"""An address that is not known yet. The kernel refuses to send there (EINVAL), so that a packet is lost as on any way
that does not exist; and nothing comes from there."""

Watch = Callable[[bytes], None]
"""Is shown each packet that a lane in user space has passed on."""


class LaneOwner(Protocol):
    """Who has made a lane."""

    def admits(self, source: Address, ancillary: Ancillary) -> bool:
        """Whether a packet that bears this address may come as the kernel says that it came. One that may not is
        counted by the owner."""

    def give_up(self) -> None:
        """A bug of ours in a callback: the owner ends, with the lane."""


class Counts(NamedTuple):
    """What a mover has carried of a lane. `lost` of `packets` did not go out."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(self.packets + other.packets, self.bytes + other.bytes, self.lost + other.lost)


class Carriage(Protocol):
    """One lane that a mover carries."""

    def counts(self) -> Counts:
        """What it has carried by now."""

    def stop(self) -> Counts:
        """Carry nothing more: what comes from now on comes to the lane's socket. Returns the last counts."""


class Mover(Protocol):
    """Something that can carry lanes: a program in the kernel, another process."""

    def start(self, lane: Lane) -> Carriage | None:
        """Carry packets from exactly `lane.source` to `lane.at`, by `lane.out` to `lane.to`. None: it cannot carry this
        one, and it stays in user space. None of the four changes before `stop`."""


class LocalCarriage(Carriage, Protocol):
    """A lane that is carried in user space."""

    @property
    def take(self) -> Route:
        """Pass on a packet that has come at another moment, or by another hand, than the socket's."""


class LocalMover(Protocol):
    """The mover in user space, which can carry every lane."""

    @property
    def is_handing_on(self) -> bool:
        """Whether the packet that is looked at now has come from another lane of ours, which has looked at it."""

    def start(self, lane: Lane) -> LocalCarriage: ...


class Lane:
    """Datagrams from `source` that come to `at` go out by `out` to `to`."""

    __slots__ = (
        "_away",
        "_before",
        "_here",
        "_movers",
        "_unseen",
        "at",
        "is_settled",
        "last",
        "out",
        "owner",
        "source",
        "to",
        "watch",
    )

    def __init__(self, movers: Movers, owner: LaneOwner, to: Address) -> None:
        self._movers = movers
        self.owner = owner
        self.source: Address = ()
        self.at: Stand | None = None
        """Where packets come to; None as long as no socket hears them."""
        self.out: UdpEndpoint | None = None
        self.to = to
        self.watch: Watch | None = None
        """Who looks at each packet, until the lane is settled."""
        self.is_settled = False
        self.last = b""
        """The newest packet that user space has seen: who comes from elsewhere must go on where it ended."""
        self._here: LocalCarriage | None = None
        self._away: Carriage | None = None
        self._before = Counts()
        """What passed before it was restarted or recalled."""
        self._unseen = 0

    # -- its life ------------------------------------------------------------------------------------------------------

    def start(self, source: Address, at: Stand | None, out: UdpEndpoint) -> None:
        """Take packets from there, as they come to that socket, and send them by the other. Again: from there, and no
        longer from elsewhere."""
        self.stop()
        self.source, self.at, self.out = source, at, out
        if at is not None:
            self._here = self._movers.local.start(self)
            if self.is_settled:
                self.settle()

    def settle(self) -> None:
        """Nothing is to be learned from its packets, so the first mover whose `start` takes the lane carries it. If
        none does, it stays in user space."""
        self.watch, self.is_settled = None, True
        if self._here is None or self._away is not None:
            return
        for mover in self._movers.others:
            if (carriage := mover.start(self)) is not None:
                self._away = carriage
                return

    def recall(self) -> None:
        """Each packet comes by user space from now on, until the lane is settled again."""
        if self._away is not None:
            counts, self._away = self._away.stop(), None
            self._before = self._before.plus(counts)
            self._unseen += counts.packets

    def redirect(self, to: Address) -> None:
        """Its packets go to another address from now on."""
        self.recall()
        self.to = to
        if self.is_settled:
            self.settle()

    def stop(self) -> None:
        """No packet is taken any more; what was counted stays."""
        self.recall()
        if self._here is not None:
            self._before = self._before.plus(self._here.stop())
            self._here = None

    def end(self) -> Counts:
        """Stop for good. Returns all that has passed."""
        self.stop()
        # They refer to each other: without that both go when nobody holds them, not when cycles are collected.
        self.watch = None
        del self.owner
        return self._before

    # -- its packets ---------------------------------------------------------------------------------------------------

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a packet of the sender that came before it was known as one."""
        if self._here is not None:
            self._here.take(data, ancillary)

    @property
    def unseen(self) -> int:
        """How many packets may have passed since `last` was seen, because another mover carried them."""
        return self._unseen + (self._away.counts().packets if self._away is not None else 0)

    def counts(self) -> Counts:
        """All that has passed, whoever carried it."""
        counts = self._before
        for carriage in (self._here, self._away):
            if carriage is not None:
                counts = counts.plus(carriage.counts())
        return counts


class Movers:
    """What carries the lanes of a daemon: user space, and what it may hand settled lanes to, the best one first.

    The table of pinholes makes it (`proxy/pinholes/table.py`), today without any other mover than user space.
    """

    def __init__(self, local: LocalMover, others: Sequence[Mover] = ()) -> None:
        self.local = local
        self.others = tuple(others)
