"""The mover in user space: a packet costs one look-up of its source, one comparison and one `sendto`."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.movers.lanes import Counts, Lane
from proxy.sockets import packet_info
from proxy.sockets.endpoint import UdpEndpoint
from proxy.sockets.packet_info import Address, Ancillary

MOST_HANDED = 8
"""How many lanes of ours may hand one packet on: a call between two phones behind us takes one step, and a place that
was passed on takes one more."""


class UserSpace:
    """The mover in this process. It carries every lane from its start on."""

    def __init__(self, leased: Mapping[Address, UdpEndpoint]) -> None:
        """`leased` has the endpoints on addresses of ours. What one of them sends to another would have to pass our own
        firewall, so it is handed on without the network."""
        self.leased = leased
        self.handed = 0
        """How many lanes have handed on the packet at hand."""

    @property
    def is_handing_on(self) -> bool:
        """Whether the packet at hand comes from another lane of ours, which has already checked its interface."""
        return self.handed > 0

    def start(self, lane: Lane) -> CarriedHere:
        """Carry this lane from now on."""
        return CarriedHere(self, lane)


class CarriedHere:
    """A lane whose packets are read from one socket and sent by another one."""

    __slots__ = (
        "_ancillary",
        "_at",
        "_due",
        "_lane",
        "_leased",
        "_mover",
        "_out",
        "_send",
        "_source",
        "bytes",
        "lost",
        "packets",
    )

    def __init__(self, mover: UserSpace, lane: Lane) -> None:
        assert lane.at is not None and lane.out is not None
        self._mover = mover
        self._lane = lane
        self._leased = mover.leased
        self._out = lane.out
        self._send = lane.out.sock.sendto
        self._ancillary: Ancillary = ()
        """What the kernel said of the last packet whose interface was checked."""
        self._due = -1
        """What the lane's ear says of the next packet."""
        self.packets = self.bytes = self.lost = 0
        self._at, self._source = lane.at, lane.source
        self._at.claim(self._source, self.take)

    def counts(self) -> Counts:
        """What has been carried so far."""
        return Counts(self.packets, self.bytes, self.lost)

    def stop(self) -> Counts:
        """Take no packet any more, and return the last counts."""
        self._at.unclaim(self._source, self.take)
        if self._lane.ear is not None:
            self._lane.ear.rest(self._due)
        return self.counts()

    @property
    def is_first(self) -> bool:
        """Whether packets of the lane's source come to this lane and not to a newer one."""
        return self._at.is_taken_by(self._source, self.take)

    def take(self, data: bytes, ancillary: Ancillary) -> None:
        """Pass on a packet. All that a stream costs is spent in these lines, so they ask nothing twice."""
        # Mostly the kernel says the same as for the packet before: to compare that is quicker than to read it.
        if ancillary != self._ancillary and not self._is_let_in(ancillary):
            return
        self.packets += 1
        self.bytes += len(data)
        lane = self._lane
        lane.last = data
        try:
            number = data[3]
        except IndexError:  # a keep-alive of one byte
            number = -2
        if number == self._due:
            self._due = number + 1
        elif lane.ear is not None:
            self._due = lane.ear.hear(data, self._due)
        to = lane.to
        # the address is a place of another call, such as the other leg of a call between two phones behind us
        if to in self._leased:
            self._hand_on(self._leased[to], data, ancillary)
        else:
            try:
                self._send(data, to)
            except OSError as error:
                self._send_again(error, data, to)
        if lane.offered != lane.movers.turn:
            lane.passed(data)

    def _is_let_in(self, ancillary: Ancillary) -> bool:
        """Whether a packet is taken that came by another interface than the one before it, or with another DSCP."""
        if not self._mover.is_handing_on:
            if not self._lane.owner.admits(self._source, ancillary):
                return False
            self._lane.comes_by(packet_info.arrival_interface(ancillary))
        self._ancillary = ancillary
        self._out.send_as(packet_info.traffic_class(ancillary))  # D46
        return True

    def _hand_on(self, near: UdpEndpoint, data: bytes, ancillary: Ancillary) -> None:
        """Give the packet to the lane that would take it if the network brought it."""
        take, mover = near.routes.get(self._out.address), self._mover
        # Parties that name places of ours, in this call or in several, could make a ring of lanes.
        if take is not None and take != self.take and mover.handed < MOST_HANDED:
            mover.handed += 1
            try:
                take(data, ancillary)
            finally:
                mover.handed -= 1

    def _send_again(self, error: OSError, data: bytes, to: Address) -> None:
        """The packet did not go out: no route, or a full buffer. Media may be lost at any time, and the stream goes on
        (D50). But a socket that hears one host is told by ICMP of the fate of an earlier packet, and has sent nothing
        then; so it tries once more."""
        if isinstance(error, ConnectionRefusedError):
            try:
                self._send(data, to)
                return
            except OSError:
                pass
        self.lost += 1

    def give_up(self) -> None:
        """A bug of ours ends the lane's owner (`proxy/record/failures.py`)."""
        self._lane.owner.give_up()
