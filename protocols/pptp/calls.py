"""The calls of a control connection: the ids of both ends, as each knows itself and as the other knows it, and the
tunnel that belongs to each call.

    network server (PNS)            this gateway                access concentrator (PAC)
    own id 5  ------- 7: 5 -------> place 5 = 40961 ------ 7: 40961 ------>
    <------------ 8: 0, 5 --------- place 0 = 0 <--------- 8: 0, 40961 ----  own id 0
    GRE to 0  ====================>          ==========================>  GRE to 0
    GRE to 5  <====================          <==========================  GRE to 40961

An end is known by another id where it is known by another address, and packets bear the id of the one who receives
them (PP16). So every message that names a call is written in the ids of the one who reads it. Ends are told apart by
what they send and not by who has dialled (PP11): whoever asks for an outgoing call is its network server.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from protocols.contract.addresses import Endpoint, Peers, Side, Transport, only
from protocols.contract.pinholes import Media, MediaGrant, Party, Pinholes, Refusal
from protocols.pptp.options import PptpOptions
from protocols.pptp.wire import Outcome

PURPOSE = "gre-pptp"
MOST_OVER = 16
"""How many calls that are over a connection remembers. Their last messages may cross each other, and are written in
the ids of their reader, too."""
CONNECTIONS_OF_A_CLIENT = 2
"""A client may have so many times the calls of one connection."""


@dataclass(slots=True, eq=False)
class End:
    """One end of a call."""

    own: int
    """Its id, as itself has it."""
    known: int
    """Its id as the other end knows it."""


@dataclass(slots=True, eq=False)
class Call:
    """A call that somebody has asked for."""

    asked_by: Side
    pns: Side
    """The side of its network server. The other one has the access concentrator."""
    part: Pinholes
    ends: dict[Side, End] = field(default_factory=dict)
    """The ends whose ids are known: at first that of the one who asks."""
    offered: MediaGrant | None = None
    """The place of the one who asks. None: it is gone."""
    is_up: bool = False
    """Both ends have agreed, and packets pass."""
    cause: str = ""
    """Why it ends. Empty: it does not."""
    code: Outcome | None = None
    """What the concentrator says of its end."""

    @property
    def is_incoming(self) -> bool:
        """Whether the concentrator has asked for it."""
        return self.asked_by is not self.pns


class Calls:
    """The calls of one control connection."""

    def __init__(self, peers: Peers, options: PptpOptions, pinholes: Pinholes, of_client: Counter[Any]) -> None:
        """`of_client` has the number of calls of each client of the daemon."""
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._of_client = of_client
        self._standing: list[Call] = []
        self._over: deque[Call] = deque(maxlen=MOST_OVER)
        self._by_place: dict[int, Call] = {}
        """Number of a first place -> its call, until that place is gone."""

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._standing))

    def __len__(self) -> int:
        return len(self._standing)

    # -- by their ids --------------------------------------------------------------------------------------------------

    def by_own(self, side: Side, number: int, pns: Side | None = None) -> Call | None:
        """The call by which this side has this id itself. `pns` is the side of its network server."""
        return self._find(side, "own", number, pns)

    def by_known(self, side: Side, number: int, pns: Side | None = None) -> Call | None:
        """The call by which this side is known to the other one by this id."""
        return self._find(side, "known", number, pns)

    def _find(self, side: Side, what: str, number: int, pns: Side | None) -> Call | None:
        for call in (*self._standing, *reversed(self._over)):
            end = call.ends.get(side)
            if end is not None and pns in (None, call.pns) and getattr(end, what) == number:
                return call
        return None

    # -- from the first word to the tunnel -----------------------------------------------------------------------------

    def is_full(self) -> bool:
        """Whether the connection, or all those of its client, have as many calls as they may."""
        most, of_client = self._options.calls, self._of_client[self._peers.client.host]
        return len(self._standing) >= most or of_client >= most * CONNECTIONS_OF_A_CLIENT

    def ask(self, side: Side, number: int, is_incoming: bool, trigger: str) -> Call | Refusal:
        """A side asks for a call, and has this id in it. Its place is where the other one will find it."""
        call = Call(side, side.other if is_incoming else side, self._pinholes.apart())
        offered = call.part.offer(self._media(side, number, trigger))
        if isinstance(offered, Refusal):
            return offered
        call.offered = offered
        self._by_place[offered.id] = call
        self._add_end(call, side, number, offered)
        self._standing.append(call)
        self._of_client[self._peers.client.host] += 1
        return call

    def agree(self, call: Call, number: int, trigger: str) -> Refusal | None:
        """The other side agrees, and has this id. From now on packets pass: it may send some behind its very word
        (PP19)."""
        side = call.asked_by.other
        if call.offered is None:
            return Refusal("offer_gone")
        answered = call.part.answer(call.offered, self._media(side, number, trigger))
        if isinstance(answered, Refusal):
            return answered
        self._add_end(call, side, number, answered)
        call.is_up = True
        return None

    def _media(self, side: Side, number: int, trigger: str) -> Media:
        own, is_mapped = self._peers.own(side).host, self._peers.is_mapped(side)
        party = Party(
            data=Endpoint(own, number),
            control=None,
            mapped=self._peers.as_seen(side).host if is_mapped else None,
            allow=only(own),
            host=own,
            side=side,
            keeps_port=side is Side.SERVER,
        )
        idle = self._options.idle
        return Media(PURPOSE, trigger, party, idle, open_seconds=idle, transport=Transport.GRE)

    def _add_end(self, call: Call, side: Side, number: int, grant: MediaGrant) -> None:
        assert grant.data is not None
        call.ends[side] = End(number, grant.data.port)

    def keep(self) -> None:
        """A message has come, so the tunnels live (PP22). A call that nobody has agreed to yet has its time, and no
        more: a connection that lives does not make its reply come."""
        for call in self._standing:
            if call.is_up:
                call.part.keep(self._options.idle)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def end(self, call: Call, cause: str, code: Outcome | None = None) -> None:
        """The call is over. When its tunnel is closed, which may be later, it is told what has passed. A second time
        this has no effect."""
        if call.offered is None or call.cause:
            return
        call.cause, call.code = cause, code
        self._drop(call)
        call.part.close(call.offered, cause)

    def closed(self, grant: MediaGrant) -> Call | None:
        """A place is gone. Returns the call whose first place it was: the other one goes with it."""
        call = self._by_place.pop(grant.id, None)
        if call is not None:
            call.offered = None
            if not call.cause:  # no side has ended it
                self._drop(call)
        return call

    def _drop(self, call: Call) -> None:
        self._standing.remove(call)
        self._over.append(call)
        client = self._peers.client.host
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]
