"""A pinhole for datagrams: which peers may begin a flow to a party, or be relayed to it, and for how long.

The pinhole stands on the party's address as others know it. On an address of ours that is the endpoint by which the
party's own flows go out, or an endpoint for this pinhole alone. Without NAT it is one endpoint for each host that the
pinhole admits. A phone that has registered can be called through such a pinhole, by the peers that its engine named; a
server of TFTP sends its file through one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections import Counter
from collections.abc import Iterable

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Network, Side, Transport
from protocols.contract.pinholes import Expect, Grant
from proxy.errors import refusal_reason
from proxy.pinholes.opening import Owner, Passed, Table, mark_to
from proxy.pinholes.relays import DatagramRelay
from proxy.pinholes.timed import Timed
from proxy.sockets import packet_info, transparent
from proxy.sockets.endpoint import EVERYBODY, Heard, UdpEndpoint
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.packet_info import Address, Ancillary
from proxy.sockets.reserved import is_reserved

MOST_RELAYS = 64
"""How many relays one pinhole may have at once: a host that may come as often as it likes has 65,535 ports to come
from. The one that has been silent for longest gives way to a further one, so a program that asks each question from a
new port may ask as many as it likes. The log has a line of no further one, which costs its peer a single datagram."""


class DatagramPinhole(Timed):
    """A pinhole for datagrams. It is over when its endpoints are given back and its last relay has ended; flows that it
    admitted go on by themselves."""

    def __init__(self, table: Table, owner: Owner, number: int, expect: Expect) -> None:
        """Raises OSError when the endpoint cannot be had."""
        super().__init__(table, owner)
        self._endpoints: dict[Heard, UdpEndpoint] = {}
        """For each hearing (`Heard`) the endpoint that the pinhole holds. Empty once it admits no more peers."""
        self._timer = None
        try:
            self._begin(number, expect)
        except Exception:  # no room, or a bug of ours
            self._undo()
            raise

    def _begin(self, number: int, expect: Expect) -> None:
        """Take the endpoints and start the clock. Raises OSError."""
        self._stand(expect)
        at = expect.listen
        self.grant = Grant(number, expect, at if at.port else self._endpoints[EVERYBODY].at)
        self._uses_left = expect.uses
        self._refused = self._forged = self._gave_way = 0
        self.relays: set[DatagramRelay] = set()
        self._passed: Counter[str] = Counter()
        """What the relays that have ended have carried."""
        self._is_confirmed = expect.confirmed
        self._is_over = False
        wait = self._start_clock(expect)
        listen = self.grant.listen
        self._tell_opened(expect.purpose, expect.transport, listen, expect.allow, expect.target, wait, expect.trigger)

    def _undo(self) -> None:
        """Stop the clock and give back the endpoints that were taken."""
        self._stop_clock()
        while self._endpoints:
            self._leave(self._endpoints.popitem()[1])

    def _stand(self, expect: Expect) -> None:
        """Take the sockets that hear the admitted peers. Raises OSError."""
        endpoints, at = self._table.endpoints, expect.listen
        if not at.port:
            whose = self.owner.charged_to if expect.reserved else ""
            self._endpoints[EVERYBODY] = self._at(endpoints.take_free(at.host, whose, self._table.preferred(expect)))
            return
        for hears in self._heard(expect):
            self._endpoints[hears] = self._at(endpoints.take(at, hears=hears))

    def _heard(self, expect: Expect) -> list[Heard]:
        """Which peers the sockets hear. At an address of ours they hear everybody, and strangers are counted. At the
        party's own address the packets of others must pass as if no pinhole stood there, which is possible when single
        hosts are admitted and not whole networks. Where the party is published at the address, others come to it by
        that policy, networks included."""
        hosts: list[Heard] = [network.network_address for network in expect.allow if network.num_addresses == 1]
        if self._table.is_published(Transport.UDP, expect.listen):
            return list(dict.fromkeys(hosts))
        if expect.listen != expect.target or len(hosts) < len(expect.allow):
            return [EVERYBODY]
        return list(dict.fromkeys(hosts))

    def _at(self, endpoint: UdpEndpoint) -> UdpEndpoint:
        """The pinhole waits at this endpoint from now on."""
        self._table.waiting.setdefault(endpoint, []).append(self)
        return endpoint

    def _leave(self, endpoint: UdpEndpoint) -> None:
        """Give one endpoint back."""
        waiting = self._table.waiting
        waiting[endpoint].remove(self)
        if not waiting[endpoint]:
            del waiting[endpoint]
        self._table.endpoints.give(endpoint)

    def confirm(self) -> None:
        """The other side has agreed, so peers are admitted from now on."""
        self._is_confirmed = True

    def renew(self, allow: tuple[Network, ...], seconds: float) -> None:
        """From now on the pinhole admits these networks, and stands for so long."""
        if not self._is_over:
            before = self.allow
            self._renew(allow, seconds)
            if allow != before and self.grant.expect.listen.port:
                self._move()

    def _move(self) -> None:
        """The pinhole admits other peers now, so other sockets are needed. A host for which no socket can be had is not
        admitted."""
        heard = self._heard(self.grant.expect)
        for hears in heard:
            if hears not in self._endpoints:
                with contextlib.suppress(OSError):
                    self._endpoints[hears] = self._at(self._table.endpoints.take(self.grant.listen, hears=hears))
        for hears in [hears for hears in self._endpoints if hears not in heard]:
            self._leave(self._endpoints.pop(hears))

    def admits(self, peer: Endpoint) -> bool:
        """Whether this peer may come now."""
        return self._is_confirmed and self.allows(peer)

    def is_led_to(self, host: Host, index: int) -> bool:
        """Whether datagrams of this host may come by the interface with this index."""
        side = Side.CLIENT if host == self.owner.decided_by.client.host else Side.SERVER
        return self._table.borders.leads_to(host, index, self.owner, side)

    def use(self, peer: Address, relay: DatagramRelay | None = None, is_told: bool = True) -> None:
        """An admitted peer begins a flow, or is relayed. `is_told`: the log has a line of it."""
        self._count_use()
        if self._uses_left is not None:
            self._uses_left -= 1
            if not self._uses_left:
                self._stop()
        dialled = {} if relay is None else {"dialled_from": relay.places[1].at}
        self._tell_used(packet_info.endpoint(peer), is_told, **dialled)
        self._close_if_over("used_up")

    # -- relays ----------------------------------------------------------------------------------------------------

    def relay(self, at: UdpEndpoint, data: bytes, ancillary: Ancillary, source: Address) -> None:
        """Begin a relay with the first datagram of an admitted peer, which came to one of the endpoints. A datagram
        with a forged source begins none, or the forger would be taken for the peer."""
        if not self.may_come_by(packet_info.endpoint(source).host, ancillary):
            return
        try:
            relay, gave_way = self._begin_relay(at, source)
        except OSError as error:
            self.refuse()
            if self._uses_left == 1:  # or else another peer may have more luck
                self.shut(f"target_{refusal_reason(error)}")
            return
        self.relays.add(relay)
        self.use(source, relay, is_told=not gave_way)
        relay.receive(data, ancillary)
        at.read_left()  # this reads what the peer has sent since, in order: from now on another socket may hear it

    def _begin_relay(self, at: UdpEndpoint, source: Address) -> tuple[DatagramRelay, bool]:
        """A relay for one more peer, and whether another one gave way to it: because there are as many as there may be,
        or because no port is left. Raises OSError."""
        if len(self.relays) < MOST_RELAYS:
            try:
                return self._connect(at, source), False
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or not self.relays:
                    raise
        self._gave_way += 1
        min(self.relays, key=lambda relay: relay.active_at).end("gave_way")
        return self._connect(at, source), True

    def _connect(self, at: UdpEndpoint, source: Address) -> DatagramRelay:
        """Take the two endpoints of a relay. Raises OSError."""
        target, peer = self.grant.expect.target, packet_info.endpoint(source)
        with contextlib.ExitStack() as taken:
            # On the target's own address the socket hears this one peer, so that others on the peer's host pass as well
            # once the pinhole admits no more peers.
            near = self.endpoints.take(at.at, hears=EVERYBODY if at.hears is EVERYBODY else peer)
            taken.callback(self.endpoints.give, near)
            far = self._far(peer)
            taken.callback(self.endpoints.give, far)
            for endpoint, host in ((near, peer.host), (far, target.host)):
                transparent.set_mark(endpoint.sock, mark_to(self.owner, host))
            ends = (source, peer.host), (transparent.address(target), target.host)
            relay = DatagramRelay(self, at, near, far, *ends, self.grant.expect.idle_seconds, self._ended)
            taken.pop_all()
            return relay

    def _far(self, peer: Endpoint) -> UdpEndpoint:
        """Take the endpoint by which the target knows the peer: on the peer's own port if that is possible. Raises
        OSError."""
        expect, endpoints = self.grant.expect, self.endpoints
        source = expect.source or peer
        if not source.port and source.host == peer.host:
            source = peer
        if source.port:
            is_ours = endpoints.get(source, EVERYBODY) is not None
            return endpoints.take(source, hears=EVERYBODY if is_ours else expect.target)
        if (expect.reserved or expect.reserved_source) and is_reserved(peer.port):
            return endpoints.take_free(source.host, reserved_for=self.owner.charged_to)
        is_published = self._table.is_published(Transport.UDP, Endpoint(source.host, peer.port))
        return endpoints.take_mapped(peer, source.host, keep_port=peer.port >= LEAST_PORT and not is_published)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the daemon."""
        return self._table.loop

    @property
    def endpoints(self) -> UdpEndpoints:
        """The UDP endpoints of the daemon."""
        return self._table.endpoints

    def may_come_by(self, host: Host, ancillary: Ancillary) -> bool:
        """Whether a datagram of this host came by an interface that leads to the host. If not, it is counted as
        forged."""
        index = packet_info.arrival_interface(ancillary)
        if self.is_led_to(host, index):
            return True
        self._forged += 1
        self._table.metrics.strangers.inc()
        if self._forged == 1:  # later ones are a number in pinhole.closed
            by = self._table.borders.name_of(index)
            self._tell_stranger(f"{host} seems to send by {by} to {self.grant.listen}", "dropped", "pinhole.spoofed")
        return False

    def _ended(self, relay: DatagramRelay, reason: str) -> None:
        """A relay has ended."""
        self.relays.discard(relay)
        self._passed.update(_carried(relay))
        self._begin_anew()
        self._close_if_over(reason)

    def _carried(self) -> Counter[str]:
        """What all relays have carried so far."""
        passed = Counter(self._passed)
        for relay in self.relays:
            passed.update(_carried(relay))
        return passed

    # -- ends ------------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """The time has run out. A peer whose datagram came in time is let in, even if the datagram has not been read
        yet."""
        timer = self._timer
        for endpoint in tuple(self._endpoints.values()):
            endpoint.read_left()
        if self._timer is timer:  # neither used up nor renewed by what was read
            super()._expire()

    def refuse(self) -> None:
        """Count a datagram of a peer that is not admitted."""
        self._refused += 1
        self._table.metrics.strangers.inc()

    def places(self) -> Iterable[Endpoint]:
        return [self.grant.listen, *(endpoint.at for relay in self.relays for endpoint in relay.places)]

    def shut(self, reason: str) -> None:
        """Admit no more peers; flows and relays that were admitted go on."""
        self._stop()
        self._close_if_over(reason)

    def abort(self, reason: str) -> None:
        """End the pinhole at once, with its relays."""
        self._stop()
        for relay in tuple(self.relays):
            relay.end(reason)
        self._close_if_over(reason)

    def _stop(self) -> None:
        """Give back the endpoints."""
        self._is_over = True
        self._undo()

    def _close_if_over(self, reason: str) -> None:
        """The pinhole is gone once it admits no more peers and its last relay has ended."""
        if not self._is_over or self.relays or self.grant.id not in self._table:
            return
        if self.grant.expect.reader is not None:
            self._gone(reason, {}, sessions=self._used, refused=self._refused)
            return
        counts = {name: self._passed[name] for name in ("bytes_in", "bytes_out", "packets_in", "packets_out")}
        some = {
            "refused": self._refused,
            "packets_refused": self._forged,
            "packets_lost": self._passed["packets_lost"],
            "gave_way": self._gave_way,
        }
        self._gone(reason, counts, **{name: count for name, count in some.items() if count})

    @property
    def state(self) -> str:
        """One word for the operator."""
        return "relaying" if self.relays else "waiting" if self._is_confirmed else "unconfirmed"

    def passed(self) -> Passed:
        """What all relays have carried so far."""
        return Passed(*map(self._carried().__getitem__, Passed._fields))


def _carried(relay: DatagramRelay) -> dict[str, int]:
    """What one relay has carried."""
    return {
        "bytes_in": relay.bytes_in,
        "bytes_out": relay.bytes_out,
        "packets_in": relay.packets_in,
        "packets_out": relay.packets_out,
        "packets_lost": relay.packets_lost,
    }
