"""A pinhole for datagrams that an engine is to read: who may begin a flow to a party, and for how long.

It stands on the party's address as others know it. On an address of ours that is the endpoint that the party's own
flows go out from, or one for this alone; without NAT it is an endpoint for each host that the pinhole admits. A phone
that has registered can be called through it, by whom its engine named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Network
from protocols.contract.pinholes import Expect, Grant
from proxy.pinholes.opening import Owner, Table, Timed
from proxy.sockets import packet_info
from proxy.sockets.endpoints import EVERYBODY, Heard, UdpEndpoint


class DatagramPinhole(Timed):
    """In the table of pinholes, beside those for connections."""

    def __init__(self, table: Table, owner: Owner, number: int, expect: Expect) -> None:
        """Raises OSError when the endpoint cannot be had."""
        super().__init__(table, owner)
        self._endpoints: dict[Heard, UdpEndpoint] = {}
        self._timer = None
        try:
            self._begin(number, expect)
        except Exception:  # no room, or a bug of ours
            self._undo()
            raise

    def _begin(self, number: int, expect: Expect) -> None:
        """Raises OSError."""
        self._stand(expect)
        at = expect.listen
        self.grant = Grant(number, expect, at if at.port else self._endpoints[EVERYBODY].at)
        self._uses_left = expect.uses
        self._refused = 0
        self._is_confirmed = expect.confirmed
        self._is_over = False
        wait = self._start_clock(expect)
        listen = self.grant.listen
        self._tell_opened(expect.purpose, expect.transport, listen, expect.allow, expect.target, wait, expect.trigger)

    def _undo(self) -> None:
        """What stands, or has been begun."""
        self._stop_clock()
        for endpoint in self._endpoints.values():
            self._leave(endpoint)

    def _stand(self, expect: Expect) -> None:
        """The sockets that hear whom it admits. Raises OSError."""
        endpoints, at = self._table.endpoints, expect.listen
        if not at.port:
            self._endpoints[EVERYBODY] = self._at(endpoints.take_free(at.host, expect.reserved))
            return
        for hears in self._heard(expect):
            self._endpoints[hears] = self._at(endpoints.take(at, hears=hears))

    @staticmethod
    def _heard(expect: Expect) -> list[Heard]:
        """Who is heard at the pinhole's address. At one of ours everybody is, and strangers are counted. At the party's
        own address others must pass as if nobody stood there, as far as single hosts are admitted and not networks."""
        is_in_place = expect.listen == expect.target
        if not is_in_place or any(network.num_addresses > 1 for network in expect.allow):
            return [EVERYBODY]
        return list(dict.fromkeys(network.network_address for network in expect.allow))

    def _at(self, endpoint: UdpEndpoint) -> UdpEndpoint:
        self._table.waiting.setdefault(endpoint, []).append(self)
        return endpoint

    def _leave(self, endpoint: UdpEndpoint) -> None:
        waiting = self._table.waiting
        waiting[endpoint].remove(self)
        if not waiting[endpoint]:
            del waiting[endpoint]
        self._table.endpoints.give(endpoint)

    def confirm(self) -> None:
        self._is_confirmed = True

    def renew(self, allow: tuple[Network, ...], seconds: float) -> None:
        if not self._is_over:
            before = self.grant.expect.allow
            self._renew(allow, seconds)
            if allow != before and self.grant.expect.listen.port:
                self._move()

    def _move(self) -> None:
        """The pinhole admits others now, so others are to be heard. A host for which no socket can be had is not
        admitted."""
        heard = self._heard(self.grant.expect)
        for hears in heard:
            if hears not in self._endpoints:
                with contextlib.suppress(OSError):
                    self._endpoints[hears] = self._at(self._table.endpoints.take(self.grant.listen, hears=hears))
        for hears in [hears for hears in self._endpoints if hears not in heard]:
            self._leave(self._endpoints.pop(hears))

    def admits(self, host: Host) -> bool:
        return self._is_confirmed and any(host in network for network in self.grant.expect.allow)

    def use(self, peer: packet_info.Address) -> None:
        """Somebody whom it admits begins a flow."""
        self._count_use()
        self._tell_used(packet_info.endpoint(peer))
        if self._uses_left is not None:
            self._uses_left -= 1
            if not self._uses_left:
                self.shut("used_up")

    def _expire(self) -> None:
        """Who came in time is let in, though nobody has come to read it."""
        timer = self._timer
        for endpoint in tuple(self._endpoints.values()):
            endpoint.read_left()
        if self._timer is timer:  # neither used up nor renewed by what was read
            super()._expire()

    def refuse(self) -> None:
        self._refused += 1
        self._table.metrics.strangers.inc()

    def _places(self) -> Iterable[Endpoint]:
        return [self.grant.listen]

    def shut(self, reason: str) -> None:
        """Nobody more may begin; flows that it admitted go on."""
        if self._is_over:
            return
        self._is_over = True
        self._undo()
        self._gone(reason, {}, sessions=self._used, refused=self._refused)

    abort = shut

    def summary(self, now: float) -> dict[str, Any]:
        expect, state = self.grant.expect, "waiting" if self._is_confirmed else "unconfirmed"
        listen = self.grant.listen
        return self._describe(now, state, expect.purpose, expect.transport, listen, expect.allow, expect.target)
