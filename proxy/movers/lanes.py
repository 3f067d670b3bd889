"""Lanes: ways for datagrams from one address to another, and what carries them.

    source --> [at: a socket of ours] --> lane --> [out: a socket of ours] --> to

A lane does not know its purpose: its owner decides which packets it takes, and until when (for media that is
`proxy/pinholes/components.py`). What carries its packets is a *mover*. The mover in user space (`userspace.py`) carries
every lane from its start on. It also carries whatever another mover lets through. So another mover is optional, may
refuse a lane, and may lose what it carries: the packets come to the lane's socket then, as if that mover had never
been.

    start ---> watched --- settle ---> settled --- a packet ------> offered to others --- stop --> over
                                          ^                             |
                                          '---- recall, restart --------'

A lane is watched as long as its packets tell where the sender's stream comes from. Then it is offered to other movers,
each time by a packet that user space has just passed on. So whatever another mover carries is known to have come here,
by this interface, a moment ago. The packet is the last one that has come so far: those that wait in the socket would be
overtaken. A lane is recalled whenever one of its four parts or that interface changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from proxy.movers.stands import Stand
from proxy.sockets.endpoint import Route, UdpEndpoint
from proxy.sockets.packet_info import Address, Ancillary

NOWHERE: Address = ("", 0)
"""An address that is not known yet. The kernel refuses to send there (EINVAL), so a packet is lost as on any way that
does not exist; and no packet comes from there."""

MOST_PUT_OFF = 64
"""How many packets may put a lane's offer off because others wait behind them. Where user space cannot keep up others
always wait, and there the lane is to go above all."""


class LaneOwner(Protocol):
    """The maker of a lane, which decides about its packets."""

    def admits(self, source: Address, ancillary: Ancillary) -> bool:
        """Whether a packet that bears this address came by an interface that leads there. The owner counts a packet
        that did not."""

    def watch(self, data: bytes) -> None:
        """Look at a packet that user space has passed on, as long as the lane is not settled."""

    def give_up(self) -> None:
        """A bug of ours in a callback ends the owner, and the lane with it."""


class Ear(Protocol):
    """Looks at what a lane carries in user space, but for packets that only go on with what it has seen: it names the
    fourth byte of the packet that is due, and a packet that has it is due."""

    def hear(self, data: bytes, due: int) -> int:
        """A packet has come that is not due. Returns what is due next; a negative number: nothing, so the next packet
        is to be heard in any case."""

    def rest(self, due: int) -> None:
        """Nothing more comes for now. All packets before the one that is due have come."""


class Counts(NamedTuple):
    """What a mover has carried for a lane. Of `packets`, so many `lost` did not go out, and so many `away` were carried
    by another mover than user space."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    away: int = 0

    def plus(self, other: Counts) -> Counts:
        """The sum of both. The other figures are about some of the packets, so where there are none nothing is added:
        mostly one of the two is empty."""
        if not other.packets:
            return self
        if not self.packets:
            return other
        return Counts(
            self.packets + other.packets, self.bytes + other.bytes, self.lost + other.lost, self.away + other.away
        )


NOTHING = Counts()


class Carriage(Protocol):
    """A mover's work for one lane."""

    @property
    def packets(self) -> int:
        """How many packets have been carried so far."""

    def counts(self) -> Counts:
        """What has been carried so far."""

    def stop(self) -> Counts:
        """Carry nothing more. What comes from now on comes to the lane's socket. Returns the last counts."""


class Mover(Protocol):
    """Something that can carry lanes, such as a program in the kernel or another process."""

    def start(self, lane: Lane) -> Carriage | None:
        """Carry packets from exactly `lane.source` that come by `lane.interface` to `lane.at`, by `lane.out` to
        `lane.to`. None: this mover cannot carry the lane, which stays in user space. None of the five changes before
        `stop`. A mover that may take lanes later which it refuses now says so (`Movers.offer_again`)."""


class LocalCarriage(Carriage, Protocol):
    """The work of user space for one lane."""

    @property
    def take(self) -> Route:
        """Pass on a packet that the lane's socket did not just receive, because it waited or another lane hands it
        on."""

    @property
    def is_first(self) -> bool:
        """Whether packets of the lane's source come to this lane and not to a newer one."""


class LocalMover(Protocol):
    """The mover in user space, which can carry every lane."""

    @property
    def is_handing_on(self) -> bool:
        """Whether the packet at hand comes from another lane of ours, which has already checked its interface."""

    def start(self, lane: Lane) -> LocalCarriage:
        """Carry this lane."""


class Lane:
    """Datagrams from `source` that come to `at` go out by `out` to `to`.

    The owner, such as a path of media, starts, settles and ends the lane. The lane holds the carriages of its movers.
    """

    __slots__ = (
        "_away",
        "_before",
        "_here",
        "at",
        "ear",
        "interface",
        "is_settled",
        "last",
        "may_leave",
        "movers",
        "offered",
        "out",
        "owner",
        "source",
        "to",
    )

    def __init__(self, movers: Movers, owner: LaneOwner, to: Address, may_leave: bool = True) -> None:
        """`may_leave`: other movers than user space may carry the lane."""
        self.movers = movers
        self.may_leave = may_leave
        self.owner = owner
        self.source: Address = ()
        self.at: Stand | None = None
        """The stand where packets come to. None: no socket hears them."""
        self.out: UdpEndpoint | None = None
        self.to = to
        self.is_settled = False
        """Whether nothing is to be learned from the packets. Until then the owner watches each of them."""
        self.offered = -1
        """At which turn (`Movers.turn`) the lane was last offered to other movers. User space tells the lane of its
        packets until it has been offered at this turn. A negative number: it has not been, and each packet that has put
        that off took 1 away."""
        self.interface = 0
        """The index of the interface by which its packets come; 0: not known."""
        self.last = b""
        """The newest packet that user space has seen. A sender from elsewhere must continue the stream from there."""
        self.ear: Ear | None = None
        """Looks at the packets of user space. None: nobody does."""
        self._here: LocalCarriage | None = None
        """The carriage in user space. None: the lane is stopped."""
        self._away: Carriage | None = None
        """The carriage of another mover, if one carries the lane."""
        self._before = NOTHING
        """What passed before the last restart or recall."""

    # -- the life of a lane --------------------------------------------------------------------------------------------

    def start(self, source: Address, at: Stand | None, out: UdpEndpoint) -> None:
        """Take packets from this source as they come to this stand, and send them by this endpoint. A second call
        changes the source: packets from the old one are no longer taken."""
        self.stop()
        self.source, self.at, self.out = source, at, out
        self.interface = 0
        if at is not None:
            self._here = self.movers.local.start(self)

    def settle(self) -> None:
        """Nothing is to be learned from its packets, so others may carry it from the next one on."""
        self.is_settled = True

    def recall(self) -> None:
        """What another mover carries passes user space again; the next packet that user space passes on offers the lane
        anew."""
        self.offered = -1
        if self._away is not None:
            counts, self._away = self._away.stop(), None
            self._before = self._before.plus(counts)

    def redirect(self, to: Address) -> None:
        """Send the packets to another address from now on."""
        self.recall()
        self.to = to

    def comes_by(self, interface: int) -> None:
        """User space takes a packet that came by this interface, and the one before it may have come by another one."""
        if interface != self.interface:
            self.recall()
            self.interface = interface

    def stop(self) -> None:
        """Take no packet any more. The counts stay."""
        if self._here is None:  # then no other mover carries it either
            return
        self.recall()
        self._before = self._before.plus(self._here.stop())
        self._here = None

    def end(self) -> Counts:
        """Stop for good. Returns the counts of all that has passed."""
        self.stop()
        self.is_settled = True  # nobody watches a packet that is on its way through the lane at this moment
        # Lane and owner refer to each other. Without these references both are freed as soon as nobody holds them, and
        # need not wait for the collector of cycles.
        del self.owner
        self.ear = None
        return self._before

    # -- packets ------------------------------------------------------------------------------------------------------

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a packet of the sender that came before it was known as the sender's."""
        if self._here is not None:
            self._here.take(data, ancillary)

    def passed(self, data: bytes) -> None:
        """User space has passed on a packet, and the lane has not been offered at this turn. The owner watches the
        packet, or the first of the other movers that takes the lane carries it from now on."""
        if not self.is_settled:
            self.owner.watch(data)
        # What the owner has seen may have changed the lane, or ended it.
        if not self.is_settled or self._here is None:
            return
        assert self.at is not None
        may_go = self.may_leave and self._away is None and self._here.is_first
        if may_go and self.offered > -MOST_PUT_OFF and self.at.endpoint.has_left():
            self.offered = min(self.offered, 0) - 1
            return
        self.offered = self.movers.turn
        if not may_go:
            return
        for mover in self.movers.others:
            if (carriage := mover.start(self)) is not None:
                self._away = carriage
                return

    @property
    def is_away(self) -> bool:
        """Whether another mover than user space carries the lane."""
        return self._away is not None

    @property
    def unseen(self) -> int:
        """How many packets user space has not seen, because another mover carried them."""
        return self.counts().away

    @property
    def packets(self) -> int:
        """How many packets have passed, whichever mover carried them: what silence is judged by, for each stream again
        and again."""
        packets = self._before.packets
        if self._here is not None:
            packets += self._here.packets
        if self._away is not None:
            packets += self._away.packets
        return packets

    def counts(self) -> Counts:
        """All that has passed, whichever mover carried it."""
        counts = self._before
        for carriage in (self._here, self._away):
            if carriage is not None:
                counts = counts.plus(carriage.counts())
        return counts


class Movers:
    """What carries the lanes of a daemon: user space, and what it may offer settled lanes to, the best one first.

    The table of pinholes makes it (`proxy/pinholes/table.py`).
    """

    def __init__(self, local: LocalMover, others: Sequence[Mover] = ()) -> None:
        self.local = local
        self.others = tuple(others)
        self.turn = 0
        """How often all lanes have been offered anew."""

    def offer_again(self) -> None:
        """A mover may take lanes now that it has refused. Each is offered with its next packet."""
        self.turn += 1
