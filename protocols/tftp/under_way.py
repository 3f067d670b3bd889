"""What is under way between whom, for all engines of a daemon: the session of a transfer ends what the session of a
request began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.effects import Close, Effect
from protocols.tftp.guard import Guard
from protocols.tftp.transfer import Transfer

MAX_UNDER_WAY = 50_000
"""How many requests of a daemon are remembered while they wait or move, so that a repeated request opens nothing. A
request that is forgotten and repeated opens one more way in."""
MAX_DALLYING = 20
"""How many transfers of one client may stand behind their end, in case the last ACK is asked for once more (TF16). A
machine that boots reads hundreds of files in a second, and each of these is a session."""


class Ends(NamedTuple):
    """Between whom a request was made."""

    client: Endpoint
    client_as_seen: Endpoint
    """As its server sees it."""
    server: Endpoint


class UnderWay:
    """What the last request between two ends began, from that request to the end of its file. The engines of a daemon
    share it, because the session of a transfer ends what the session of a request began."""

    __slots__ = ("_dallying", "_transfers", "guard")

    def __init__(self) -> None:
        self._transfers: dict[Ends, Transfer] = {}
        self._dallying: Counter[Host] = Counter()
        """client -> how many of its transfers stand behind their end."""
        self.guard = Guard()

    def __len__(self) -> int:
        return len(self._transfers)

    @property
    def dallying(self) -> int:
        """How many transfers stand behind their end."""
        return self._dallying.total()

    def get(self, ends: Ends) -> Transfer | None:
        """The transfer between two ends, if one is under way."""
        return self._transfers.get(ends)

    def begin(self, ends: Ends, transfer: Transfer) -> None:
        """The transfer takes the place of an earlier one between the same ends."""
        if ends in self._transfers or len(self._transfers) < MAX_UNDER_WAY:
            self._transfers[ends] = transfer

    def forget(self, ends: Ends, transfer: Transfer) -> None:
        """The transfer is over, so the same request begins another one from now on. A later transfer between the same
        ends stays."""
        if self._transfers.get(ends) is transfer:
            del self._transfers[ends]

    def waiting(self, ends: Ends, transfer: Transfer) -> Transfer | None:
        """The transfer that has come behind this one between the same ends, and that nobody has answered yet."""
        found = self._transfers.get(ends)
        return None if found is None or found is transfer or found.is_answered else found

    def receive(self, ends: Ends, transfer: Transfer, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """Read a packet of the transfer's file, in whichever session it moves."""
        was_taken_up, was_over = transfer.is_taken_up, transfer.result is not None
        effects = transfer.receive(side, data, now)
        if transfer.is_taken_up and not was_taken_up:
            self.guard.heard(ends.client.host)
        if transfer.result is None or was_over:
            return effects
        self.forget(ends, transfer)
        if transfer.is_disowned:
            self.guard.unheard(ends.client.host, ends.server.host, now)
        if isinstance(effects[-1], Close):
            return effects
        if self._dallying.get(ends.client.host, 0) >= MAX_DALLYING:
            return (*effects, Close("finished"))
        self._dallying[ends.client.host] += 1
        transfer.is_dallying = True
        return effects

    def tick(self, ends: Ends, transfer: Transfer, now: float) -> Sequence[Effect]:
        """The transfer's deadline has come."""
        was_unheard = transfer.is_unheard
        effects = transfer.tick(now)
        if transfer.result is not None:
            self.forget(ends, transfer)
        if was_unheard and not transfer.is_unheard:
            self.guard.unheard(ends.client.host, ends.server.host, now)
        return effects

    def let_go(self, ends: Ends, transfer: Transfer) -> None:
        """The session has the transfer no more."""
        self.forget(ends, transfer)
        if transfer.is_dallying:
            transfer.is_dallying = False
            self._dallying[ends.client.host] -= 1
            if not self._dallying[ends.client.host]:
                del self._dallying[ends.client.host]

    def end(self, ends: Ends, transfer: Transfer, result: str, now: float) -> Sequence[Effect]:
        """The transfer goes on no more."""
        self.let_go(ends, transfer)
        if transfer.is_unheard:
            self.guard.unheard(ends.client.host, ends.server.host, now)
        return transfer.end(result, now)
