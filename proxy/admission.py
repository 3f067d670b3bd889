"""A pinhole for datagrams that an engine is to read: who may begin a flow to a party, and for how long.

It stands on an endpoint, the party's address as others know it: the one that its own flows go out from, or one for this
alone. A phone that has registered can be called through it, by whom its engine named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.engine import Expect, Grant, Host, Network
from proxy import sockets
from proxy.endpoints import UdpEndpoint
from proxy.opening import Opening, Owner

if TYPE_CHECKING:
    from proxy.pinholes import PinholeTable


class DatagramPinhole(Opening):
    """In the table of pinholes, beside those for connections."""

    grant: Grant

    def __init__(self, table: PinholeTable, owner: Owner, number: int, expect: Expect) -> None:
        """Raises OSError when the endpoint cannot be had."""
        super().__init__(table, owner)
        endpoints = table.endpoints
        at = expect.listen
        self._endpoint: UdpEndpoint = endpoints.take(at) if at.port else endpoints.take_free(at.host)
        self._endpoint.admits.append(self)
        self.grant = Grant(number, expect, self._endpoint.at)
        self._uses_left = expect.uses
        self._used = self._refused = 0
        self._is_confirmed = expect.confirmed
        self._is_over = False
        wait = expect.open_seconds if expect.open_seconds is not None else table.timeouts.pinhole_open
        self._timer = table.loop.call_later(wait, self._expire)
        listen = self.grant.listen
        self._tell_opened(expect.purpose, expect.transport, listen, expect.allow, expect.target, wait, expect.trigger)

    def confirm(self) -> None:
        self._is_confirmed = True

    def renew(self, allow: tuple[Network, ...], seconds: float) -> None:
        if not self._is_over:
            self._timer.cancel()
            self._timer = self._table.loop.call_later(seconds, self._expire)
            self._readmit(allow, seconds)

    def admits(self, host: Host) -> bool:
        return self._is_confirmed and any(host in network for network in self.grant.expect.allow)

    def use(self, peer: sockets.Address) -> None:
        """Somebody whom it admits begins a flow."""
        self._used += 1
        self._tell_used(sockets.endpoint(peer))
        if self._uses_left is not None:
            self._uses_left -= 1
            if not self._uses_left:
                self.shut("used_up")

    def refuse(self) -> None:
        self._refused += 1
        self._table.metrics.strangers.inc()

    def _expire(self) -> None:
        self.shut("expired" if self._used or self.grant.expect.uses is None else "never_used")

    def shut(self, reason: str) -> None:
        """Nobody more may begin; flows that it admitted go on."""
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        self._endpoint.admits.remove(self)
        self._table.endpoints.give(self._endpoint)
        self._gone(reason, {}, sessions=self._used, refused=self._refused)

    abort = shut

    def summary(self, now: float) -> dict[str, Any]:
        expect, state = self.grant.expect, "waiting" if self._is_confirmed else "unconfirmed"
        listen = self.grant.listen
        return self._describe(now, state, expect.purpose, expect.transport, listen, expect.allow, expect.target)
