"""Components of a party, its data and its control: each has a place, and learns where the party sends from.

Which packets are taken (rules D39 to D41, RFC 7362, RFC 3264 s.8.3.1):

- A packet from the address that a party has announced is never a stranger's: that address was agreed on. From there the
  party takes its stream back at any time.
- A party may send from another port, or from another host that the agreement allows. Its first packets tell from where;
  after `LOCK_PACKETS` of them that address is settled, and others are refused.
- A party may move in the middle of its stream: a NAT before it has given it another port. A packet of the same stream
  (same SSRC, next sequence numbers) from elsewhere waits for `GOES_ON_SECONDS`. If the address of before stays silent
  meanwhile, the party has moved, and the packets that waited are passed on; if not, a stranger has tried. A stranger
  who does not know the stream cannot continue it.
- Some packets cannot be told by their stream: those that come soon after a new agreement without being announced (music
  on hold from another port of a server), and those that are no RTP. Their source must be the only one for
  `ALONE_SECONDS`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Final

from protocols.contract.addresses import Endpoint
from protocols.contract.pinholes import Party
from proxy.movers.lanes import NOWHERE
from proxy.movers.stands import Stand
from proxy.pinholes.candidates import LOCK_PACKETS, Candidate
from proxy.pinholes.packets import tells_source
from proxy.pinholes.paths import MediaPath, Place
from proxy.sockets import transparent
from proxy.sockets.endpoint import EVERYBODY, Heard
from proxy.sockets.packet_info import Address, Ancillary

REOPENED_SECONDS = 5.0
"""For so long after a new agreement a party may begin another stream from elsewhere."""


class Component:
    """The data or the control of one party: its place, the address that packets are sent to, and the address that its
    own packets come from."""

    __slots__ = (
        "_candidate",
        "_reopened_at",
        "announced",
        "at",
        "inward",
        "is_locked",
        "leased",
        "outward",
        "party",
        "place",
        "received",
        "source",
        "to",
        "waits",
    )

    def __init__(self, place: Place, party: Party, waits: Endpoint | None, leased: Stand | None, is_new: bool) -> None:
        """`waits` is the address that the party is to be sent to. `leased` is the socket of its place, if the place is
        on an address of ours. `is_new`: the party was not known before; otherwise it has agreed anew."""
        self.place = place
        self.waits = waits
        self.party = party
        self.leased = leased
        self.at = leased.endpoint.at if leased is not None else waits
        """The address of the party's place."""
        self.announced: Final = transparent.address(waits) if waits is not None else NOWHERE
        self.to = self.source = self.announced
        self.is_locked = False
        """Whether it is settled where the party's packets come from."""
        self.received = 0
        """How many packets have told where the party's stream comes from, until that is settled."""
        self.outward: list[MediaPath] = []
        """The paths of the party's packets to its partners."""
        self.inward: list[MediaPath] = []
        """The paths of the partners' packets to the party."""
        self._candidate: Candidate | None = None
        """The sender elsewhere that may be this party."""
        self._reopened_at: float | None = None
        """When the parties last agreed anew. None: the party has moved since, or nothing was agreed anew."""
        if not is_new:
            self.reopen()

    def stands_for(self, partner: Component) -> list[Stand]:
        """Take the stands at this party's place that hear the partner. Raises OSError when there can be none."""
        mark, stands = self.place.mark_of(self.party), self.place.stands
        assert self.at is not None
        if self.leased is not None:
            return [stands.share(self.leased, mark)]
        if stands.is_leased(self.at):  # this party has passed on what it was told, which is the place of another party
            return [stands.take(self.at, EVERYBODY)]
        taken: list[Stand] = []
        failed = OSError(errno.EADDRNOTAVAIL, "nobody to hear")
        for heard in self._to_hear(partner):
            try:
                taken.append(stands.take(self.at, heard, mark))
            # the error also says that no route leads there, and then nothing can come from there
            except OSError as error:
                failed = error
        if not taken:
            raise failed
        return taken

    def _to_hear(self, partner: Component) -> Iterable[Heard]:
        """Which hosts the stands hear. On another host's address they hear single hosts, so that all else passes as if
        no place stood there. The exception is a party at its own address whose partner may be anywhere in a network
        that the policy names."""
        allow = partner.party.allow
        hosts = [net.network_address for net in allow if net.prefixlen == net.max_prefixlen]
        if len(hosts) < len(allow) and self.party.is_at_itself:
            return (EVERYBODY,)
        if partner.party.control is not None and partner.waits is not None and partner.waits.host not in hosts:
            # RTCP may have a host of its own (RFC 3605 s.2.1), and comes from there as well
            hosts.append(partner.waits.host)
        return hosts

    # -- where the party's packets come from ---------------------------------------------------------------------------

    def learn(self, source: Address) -> None:
        """The party's packets come from this address. Raises OSError when packets from there belong to another
        stream."""
        if source == self.source:
            return
        if any(path.cannot_take(source) for path in self.outward):
            raise OSError(errno.EADDRINUSE, "another stream's")
        self.source = source
        for path in self.outward:
            path.move()

    def _send_to(self, address: Address) -> None:
        """From now on the partners' packets go to this address."""
        if address != self.to:
            self.to = address
            for path in self.inward:
                path.lane.redirect(address)

    def reopen(self) -> None:
        """The parties have agreed anew, so this one may now send from elsewhere without announcing it."""
        self._reopened_at = self.place.loop.time()

    def come_back(self) -> None:
        """The party has sent from the address that it announced."""
        self.learn(self.announced)
        self._send_to(self.announced)
        self.is_locked = True
        self.forget()

    def meet(self, path: MediaPath, source: Address, data: bytes, ancillary: Ancillary, is_late: bool) -> bool:
        """A packet has come from elsewhere, from a host that may be this party. Returns whether the packet is taken, or
        kept for a moment. `is_late`: another stream came from that address and is over. Its last packets are not this
        party's, but a server may send for one branch of a forked call from where it sent for another."""
        if self.is_locked or is_late:
            return tells_source(data) and self._consider(path, source, data, ancillary)
        if self.received and not tells_source(data):
            return False
        try:
            self.learn(source)
        except OSError:
            return False
        if self.party.learn or self.waits is None:
            self._send_to(source)
        path.take(data, ancillary)
        return True

    def passed(self, data: bytes) -> None:
        """A packet of the party was passed on before it is settled where its packets come from."""
        if not self.is_locked and tells_source(data):
            self.received += 1
            self.is_locked = self.source == self.announced or self.received >= LOCK_PACKETS

    # -- a party that moves --------------------------------------------------------------------------------------------

    def _is_open(self) -> bool:
        """Whether the parties have agreed anew a moment ago."""
        return self._reopened_at is not None and self.place.loop.time() - self._reopened_at < REOPENED_SECONDS

    def _heard(self) -> int:
        """How many packets of the party have passed."""
        return sum(path.lane.packets for path in self.outward)

    def _consider(self, path: MediaPath, source: Address, data: bytes, ancillary: Ancillary) -> bool:
        """A packet has come from elsewhere though the party's address is settled. Returns whether the packet is kept,
        because its sender may be the party after a move."""
        is_stream = path.is_continued_by(data)
        candidate = self._candidate
        if not is_stream and path.is_stream and not self._is_open():
            if candidate is None or candidate.source != source or not candidate.goes_on:
                return False
            is_stream = True  # the source has several streams in one, or this is its RTCP
        if candidate is not None and candidate.source != source:
            if candidate.goes_on or not is_stream:
                return False
            self.forget()
        if self._candidate is None:
            loop = self.place.loop
            self._candidate = Candidate(loop, path, source, self._heard(), is_stream, self._decide)
        self._candidate.keep(data, ancillary)
        return True

    def _decide(self) -> None:
        """The time to wait is over: the candidate is the party, or a stranger."""
        candidate = self._candidate
        assert candidate is not None
        if not candidate.has_moved(self._heard()):
            self.forget()
            return
        is_symmetric = self.to == self.source
        try:
            self.learn(candidate.source)
        except OSError:
            self.forget()
            return
        self._candidate = None
        self._reopened_at = None
        if self.party.learn or (is_symmetric and candidate.goes_on):
            self._send_to(candidate.source)  # the party's NAT has given it another port, for both directions
        candidate.admit()

    def forget(self) -> None:
        """The candidate, if there is one, was a stranger."""
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            candidate.refuse()


def join(one: Component, other: Component) -> None:
    """Let packets pass both ways between two components. Raises OSError, and then none pass."""
    joined: list[MediaPath] = []
    try:
        for sender, receiver in ((one, other), (other, one)):
            if receiver.at is not None:
                joined.append(MediaPath(sender, receiver))
        if len(joined) == 2:
            there, back = joined
            there.begin(back)
            back.begin(there)
        for path in joined:
            path.listen()
    except Exception:
        for path in joined:
            path.end()
        raise
