"""What the places of media (`MediaPlace`) and of tunnels (`TunnelPlace`) have in common: how packets are counted there,
and what the log and operators are told of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.pinholes import Party
from proxy.movers.lanes import Counts
from proxy.pinholes.opening import Owner, Passed, Table
from proxy.pinholes.silence import TimedMedia, Together
from proxy.sockets import packet_info
from proxy.sockets.packet_info import Ancillary


class PartyPlace(TimedMedia):
    """The place where one party is found by its partners. In the table it is one pinhole."""

    _offerer: PartyPlace | None
    _answerers: Sequence[PartyPlace]

    def __init__(self, table: Table, owner: Owner, together: Together) -> None:
        super().__init__(table, owner, together)
        self._refused = 0
        """How many packets were not passed on to the party."""
        self._is_used = self._is_over = False
        self._told: tuple[str, ...] = ()
        """The rules of which the log has a line: later packets that one refuses are a number in pinhole.closed."""

    # -- packets that come ---------------------------------------------------------------------------------------------

    def _first_came(self, source: Endpoint, **facts: Any) -> None:
        """The first packet has come to the party."""
        self._is_used = True
        self._tell_used(source, **facts)
        (self._offerer or self)._begun()

    def _count_refused(self, count: int = 1) -> None:
        self._refused += count
        self._table.metrics.strangers.inc(count)

    def _is_first(self, rule: str) -> bool:
        """Whether a packet that the rule refuses is the first one to be told of."""
        if rule in self._told:
            return False
        self._told += (rule,)
        return True

    def may_come_by(self, party: Party, host: Host, ancillary: Ancillary) -> bool:
        """Whether a packet that bears this address of the party came by an interface that leads there."""
        side = party.side or Side.SERVER
        return self._table.borders.leads_to(host, packet_info.arrival_interface(ancillary), self.owner, side)

    def refuse_forged(self, host: Host, ancillary: Ancillary) -> None:
        """A packet bore a party's address and came by the wrong interface."""
        self._count_refused()
        if self._is_first("pinhole.spoofed"):
            by = self._table.borders.name_of(packet_info.arrival_interface(ancillary))
            self._tell_stranger(f"{host} seems to send by {by} to {self.grant.known}", "dropped", "pinhole.spoofed")

    # -- lines of the audit log ----------------------------------------------------------------------------------------

    def _tell_stands(self, **facts: Any) -> None:
        """The place stands, and is joined to the offerer's if there is one."""
        media, offerer = self.grant.media, self._offerer
        self._tell_opened(
            media.purpose,
            media.transport,
            self.grant.known,
            offerer.grant.media.party.allow if offerer else (),
            media.party.known,
            self._wait(),
            media.trigger,
            answers=offerer.name if offerer else None,
            **facts,
        )
        if offerer is not None:  # from now on the answerer may send to it
            allow = media.party.allow
            offerer.log.write("pinhole.joined", pinhole=offerer.name, allow=allow, answered_at=self.name)
        (offerer or self)._look_later()

    def _tell_gone(self, reason: str) -> None:
        """Nothing is left of the place."""
        into, out = self.counts_in(), self.counts_out()
        counts = {"bytes_in": into.bytes, "bytes_out": out.bytes}
        counts |= {"packets_in": into.packets, "packets_out": out.packets}
        some = {"packets_in_kernel": into.away + out.away, "packets_lost": into.lost}
        told = {name: count for name, count in some.items() if count}
        self._gone(reason, counts, packets_refused=self._refused, **told)

    # -- reports -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def counts_in(self) -> Counts:
        """What has passed to the party."""

    @abstractmethod
    def counts_out(self) -> Counts:
        """What has passed from the party."""

    @property
    def purpose(self) -> str:
        """What passes here, as the log has it."""
        return self.grant.media.purpose

    def carried(self) -> tuple[int, int]:
        """What has passed to the party: what came from it is counted at the places of its partners."""
        into = self.counts_in()
        return into.bytes, into.packets

    def _passed(self) -> int:
        """How many packets have passed to the party and from it."""
        return self.counts_in().packets + self.counts_out().packets

    def passed(self) -> Passed:
        """What has passed so far."""
        into, out = self.counts_in(), self.counts_out()
        return Passed(into.bytes, out.bytes, into.packets, out.packets)
