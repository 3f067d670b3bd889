"""A pinhole for datagrams that an engine is to read: who may begin a flow to a party, and for how long.

It stands on an endpoint, the party's address as others know it: the one that its own flows go out from, or one for this
alone. A phone that has registered can be called through it, by whom its engine named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from protocols.engine import Closed, Expect, Grant, Host, Used
from proxy import sockets
from proxy.endpoints import UdpEndpoint

if TYPE_CHECKING:
    from proxy.pinholes import Owner, PinholeTable


class DatagramPinhole:
    """In the table of pinholes, beside those for connections."""

    relays = dialling = ()

    def __init__(self, table: PinholeTable, owner: Owner, number: int, expect: Expect) -> None:
        """Raises OSError when the endpoint cannot be had."""
        self._table = table
        self.owner = owner
        endpoints = table.endpoints
        at = expect.listen
        self._endpoint: UdpEndpoint = endpoints.take(at) if at.port else endpoints.take_free(at.host)
        self._endpoint.admits.append(self)
        self.grant = Grant(number, expect, self._endpoint.at)
        self.closed: Callable[[Any], None] = lambda _: None
        self._uses_left = expect.uses
        self._used = self._refused = 0
        self._is_confirmed = expect.confirmed
        self._is_over = False
        self._opened_at = table.loop.time()
        wait = expect.open_seconds if expect.open_seconds is not None else table.timeouts.pinhole_open
        self._timer = table.loop.call_later(wait, self._expire)
        owner.log.write(
            "pinhole.opened",
            pinhole=number,
            purpose=expect.purpose,
            transport=expect.transport,
            listen=self.grant.listen,
            allow=expect.allow,
            target=expect.target,
            expires_seconds=wait,
            trigger=expect.trigger,
        )

    def confirm(self) -> None:
        self._is_confirmed = True

    def prolong(self, seconds: float) -> None:
        if not self._is_over:
            self._timer.cancel()
            self._timer = self._table.loop.call_later(seconds, self._expire)

    def admits(self, host: Host) -> bool:
        return self._is_confirmed and any(host in network for network in self.grant.expect.allow)

    def use(self, peer: sockets.Address) -> None:
        """Somebody whom it admits begins a flow."""
        self._used += 1
        at = sockets.endpoint(peer)
        self.owner.log.write("pinhole.used", pinhole=self.grant.id, peer=at)
        self.owner.pinhole_event(self.grant, Used(at))
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
        self._table.forget(self)
        self.closed(self)
        seconds = self._table.loop.time() - self._opened_at
        self.owner.log.write(
            "pinhole.closed",
            pinhole=self.grant.id,
            reason=reason,
            duration_seconds=round(seconds, 6),
            sessions=self._used,
            refused=self._refused,
        )
        self.owner.pinhole_event(self.grant, Closed(reason, 0, 0, seconds))

    abort = shut

    def summary(self, now: float) -> dict[str, Any]:
        expect = self.grant.expect
        return {
            "pinhole": self.grant.id,
            "session": self.owner.key,
            "purpose": expect.purpose,
            "transport": expect.transport.value,
            "listen": str(self.grant.listen),
            "allow": [str(network) for network in expect.allow],
            "target": str(expect.target),
            "state": "waiting" if self._is_confirmed else "unconfirmed",
            "age_seconds": round(now - self._opened_at, 3),
            "bytes_in": 0,
            "bytes_out": 0,
        }
