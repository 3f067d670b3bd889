"""Every pinhole of the daemon: whether one more may be opened, by which limits, and on which port.

If the process dies, the kernel closes every pinhole in the same instant.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Set
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from protocols.contract.addresses import Endpoint, Host, Transport
from protocols.contract.pinholes import Expect, Grant, Media, Party, Reader, Refusal
from proxy.config.schema import Limits, Timeouts
from proxy.errors import refusal_reason
from proxy.movers.kernel import Kernel
from proxy.movers.lanes import Movers
from proxy.movers.pipes import Splicer
from proxy.movers.splice import SpliceRelay
from proxy.movers.stands import Stands
from proxy.movers.userspace import UserSpace
from proxy.pinholes.borders import Borders
from proxy.pinholes.connections import Pinhole
from proxy.pinholes.datagrams import DatagramPinhole
from proxy.pinholes.media import MediaPlace
from proxy.pinholes.media_offers import Offers
from proxy.pinholes.opening import Opening, Owner
from proxy.pinholes.places import PartyPlace
from proxy.pinholes.shares import Group, Shares
from proxy.pinholes.silence import Together
from proxy.pinholes.third_hosts import ThirdHosts, refusal_of_gateway
from proxy.pinholes.tunnels import TunnelPlace
from proxy.record.audit import Log
from proxy.record.metrics import Metrics
from proxy.sockets.arrival import Arrival
from proxy.sockets.doors import Door, Doors
from proxy.sockets.endpoint import UdpEndpoint
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.poll import Poll
from proxy.sockets.ports import PortPool
from proxy.sockets.raw import RawEndpoints
from proxy.sockets.readers import Readers
from proxy.sockets.reserved import ReservedPorts

_Kind = TypeVar("_Kind", bound=Opening)


class PinholeTable:
    """Every pinhole of the daemon, from its opening to its end.

    The daemon owns the table. Sessions open pinholes through their `SessionPinholes`; each pinhole leaves the table by
    itself (`forget`). The cost of an operation does not grow with the number of pinholes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        timeouts: Timeouts,
        ports: PortPool,
        metrics: Metrics,
        own_listeners: frozenset[Endpoint] = frozenset(),
        max_segment: int | None = None,
        instance: str | None = None,
    ) -> None:
        """`max_segment`: how many bytes a TCP segment of a session or data connection has at most. `instance` is the
        name of this life of the daemon."""
        self.loop = loop
        self.instance = instance or secrets.token_hex(4)
        self.max_segment = max_segment
        self.limits = limits
        self.timeouts = timeouts
        self.ports = ports
        self.metrics = metrics
        self.poll = Poll(loop)
        self.splicer = Splicer(self.poll)
        self.doors = Doors(self.poll, max_segment)
        self.reserved = ReservedPorts()
        self.endpoints = UdpEndpoints(Readers(loop), ports, self.reserved)
        self.raw = RawEndpoints(self.endpoints.readers)
        self.stands = Stands(self.endpoints)
        self.kernel = Kernel(loop, self.endpoints.leased, metrics)
        self.movers = Movers(UserSpace(self.endpoints.leased), (self.kernel,))
        self.kernel.offer_again = self.movers.offer_again
        self.stands.gives_way = self.kernel.give_way
        self.borders = Borders(loop.time)
        self.waiting: dict[UdpEndpoint, list[DatagramPinhole]] = {}
        """For each endpoint the pinholes that admit datagrams there."""
        self._third_hosts = ThirdHosts(loop.time, self.stands.is_leased)
        self._offers = Offers(ports)
        self._own_listeners = own_listeners
        self.begin: Callable[[Owner, Grant, socket.socket, Endpoint], None]
        """Begins the session for a connection that an engine is to read. The registry of sessions sets this function
        and the three below."""
        self.refuses_reader: Callable[[Owner, Reader], str | None] = lambda *_: None
        """Why an engine may not have the peer's bytes read by this reader. None: it may."""
        self.has_helper: Callable[[Transport, int], bool] = lambda *_: False
        """Whether sessions to this port are taken over."""
        self.is_published: Callable[[Transport, Endpoint], bool] = lambda *_: False
        """Whether sessions to this address of ours are led to a server inside."""
        self.reached_as: Callable[[Arrival, Host], Collection[Host]] = lambda *_: ()
        """The addresses by which the client of an arrival reaches a host, as policies publish it. The registry of
        sessions sets this function and the one below."""
        self.reached_at: Callable[[Arrival, Host], Collection[Host]] = lambda *_: ()
        """The hosts that the client reaches by an address."""
        self._pinholes: dict[int, Opening] = {}
        metrics.pinholes.set_function(self._pinholes.__len__)
        # there are only a few purposes, so each label is made once
        self._count_opened = cache(metrics.pinholes_opened.labels)
        self._per_client: Counter[str] = Counter()
        self._shares = Shares(limits.pinholes)
        self._shares_of_ports = Shares(len(ports))
        """Shares of the ports on which connections are awaited. Ports for datagrams have shares of their own."""
        self._last_id = 0
        self._all_gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pinholes)

    def __iter__(self) -> Iterator[Opening]:
        return iter(tuple(self._pinholes.values()))

    def __contains__(self, number: int) -> bool:
        return number in self._pinholes

    def find(self, name: str) -> Opening | None:
        """The pinhole of that name."""
        instance, _, number = name.partition("-p")
        return self._pinholes.get(int(number)) if instance == self.instance and number.isdecimal() else None

    def name(self, number: int) -> str:
        """The name of a pinhole, by its number in this life of the daemon. Both the audit log and operators call it
        so: the name is unique over restarts and gateways."""
        return f"{self.instance}-p{number}"

    def busiest(self) -> tuple[int, str | None]:
        """How many pinholes the client has that has most, and which one that is."""
        return max(((count, client) for client, count in self._per_client.items()), default=(0, None))

    def use(self, limits: Limits, timeouts: Timeouts) -> None:
        """Open new pinholes by these limits. Pinholes that stand already keep theirs."""
        self.limits, self.timeouts = limits, timeouts

    def share(self, groups: Collection[Group]) -> None:
        """Keep a part of each limit for each of these groups."""
        self._shares.use(self.limits.pinholes, groups)
        self._shares_of_ports.use(len(self.ports), groups)

    def open(self, owner: Owner, expect: Expect, held: int) -> Pinhole | DatagramPinhole | Refusal:
        """Open a pinhole, or say why not. `held` is the number of pinholes that the owner has already."""
        refusal = self._refuses(owner, expect.target, expect.transport, held) or self._refuses_to_admit(owner, expect)
        pinhole: Pinhole | DatagramPinhole
        if refusal is None:
            try:
                if expect.transport is Transport.UDP:
                    pinhole = DatagramPinhole(self, owner, self._last_id + 1, expect)
                else:
                    pinhole = self._at_a_door(owner, expect)
            except OSError as error:
                refusal = Refusal(refusal_reason(error))
        if refusal is not None:
            self._refused(owner.log, expect, expect.transport, expect.listen, expect.target, refusal)
            return refusal
        self._last_id += 1
        return self._add(pinhole, expect.purpose)

    def _refuses_to_admit(self, owner: Owner, expect: Expect) -> Refusal | None:
        """Why this target or this reader is not allowed. None: both are."""
        if expect.transport is Transport.GRE:
            return Refusal("transport_not_carried")
        target, reader = expect.target.host, expect.reader
        if target not in owner.hosts and (refusal := refusal_of_gateway(target)) is not None:
            return refusal
        if reader is not None and (why := self.refuses_reader(owner, reader)) is not None:
            return Refusal(f"reader_{why}")
        return None

    def _at_a_door(self, owner: Owner, expect: Expect) -> Pinhole:
        """Open a pinhole for connections. Raises OSError."""
        door = self._door(owner, expect)
        try:
            if expect.target.host == owner.decided_by.client.host:  # the peer is on the server's side
                door.mark(owner.policy.route_mark or 0)
            return Pinhole(self, owner, Grant(self._last_id + 1, expect, door.at), door)
        except Exception:  # no room, or a bug of ours
            door.close_if_empty()
            self._give_port(owner, expect, door.at)
            raise

    def may_wait(self, owner: Owner, party: Party) -> bool:
        """Whether the party may have its media where it says."""
        return self._third_hosts.may_wait(owner.policy, party)

    def place(
        self, owner: Owner, media: Media, held: int, together: Together, offerer: PartyPlace | None
    ) -> PartyPlace | Refusal:
        """Open a place for a party of a media stream or of a tunnel. `offerer` is the place that this one answers, if
        there is one."""
        party = media.party
        place: PartyPlace
        refusal = self._refuses(owner, party.known, media.transport, held) or self._refuses_party(owner, media)
        takes_ports = offerer is None and media.transport is Transport.UDP
        if refusal is None and takes_ports and not self._offers.make_room(owner.charged_to):
            refusal = Refusal("limit_of_offers")
        if refusal is None:
            try:
                if media.transport is Transport.GRE:
                    assert offerer is None or isinstance(offerer, TunnelPlace)
                    place = TunnelPlace(self, owner, self._last_id + 1, media, together, offerer)
                else:
                    assert offerer is None or isinstance(offerer, MediaPlace)
                    place = MediaPlace(self, owner, self._last_id + 1, media, together, offerer)
            except OSError as error:
                refusal = Refusal(refusal_reason(error))
        if refusal is not None:
            listen = party.mapped or party.known
            self._refused(together.log, media, media.transport, listen, party.known, refusal)
            return refusal
        self._last_id += 1
        if offerer is None and isinstance(place, MediaPlace):
            self._offers.add(place)
        return self._add(place, media.purpose)

    def _refuses_party(self, owner: Owner, media: Media) -> Refusal | None:
        """Why this party may have no place. None: it may."""
        party = media.party
        if media.transport is Transport.UDP:
            return None if self.may_wait(owner, party) else Refusal("third_host")
        ends = (party.data.host if party.data is not None else None, party.mapped)
        if media.transport is not Transport.GRE or any(end is not None and end.version != 4 for end in ends):
            return Refusal("transport_not_carried")
        if party.data is None or party.data.host not in owner.hosts:
            return Refusal("third_host")
        # What we send to an address of ours would come to a socket of ours, and then go round (PP5).
        return refusal_of_gateway(party.data.host)

    def answered(self, place: MediaPlace) -> None:
        """The offer has an answer, and no longer counts among the unanswered ones."""
        self._offers.remove(place)

    def _refuses(self, owner: Owner, target: Endpoint | None, transport: Transport, held: int) -> Refusal | None:
        """Why one more pinhole towards this target is not allowed. None: it is."""
        if held >= self.limits.pinholes_per_session:
            return Refusal("limit_per_session")
        if self._per_client[owner.charged_to] >= self.limits.pinholes_per_client:
            return Refusal("limit_per_client")
        if not self._shares.has_room(owner.group):
            return Refusal("limit_total")
        if target is None:  # media may say it later; then it is learned from the networks that the engine allows
            return None
        # A link-local address of IPv6 is nothing without its zone (RFC 4007 s.6), which no protocol of ours can say.
        is_of_a_link = target.host.version == 6 and target.host.is_link_local
        # In place of a port a tunnel has an id, of which 0 is one like any other (PP12).
        has_port = bool(target.port) or transport is Transport.GRE
        if target.host.is_loopback or is_of_a_link or target in self._own_listeners or not has_port:
            return Refusal("target_not_allowed")
        return None

    def _refused(
        self,
        log: Log,
        wanted: Expect | Media,
        transport: Transport,
        listen: Any,
        target: Endpoint | None,
        why: Refusal,
    ) -> None:
        """Count a refusal and write it to the audit log."""
        self.metrics.pinholes_refused.labels(why.reason).inc()
        log.write(
            "pinhole.refused",
            purpose=wanted.purpose,
            transport=transport,
            listen=listen,
            target=target,
            trigger=wanted.trigger,
            reason=why.reason,
        )

    def _add(self, pinhole: _Kind, purpose: str) -> _Kind:
        """The pinhole stands, and counts from now on."""
        self._pinholes[pinhole.grant.id] = pinhole
        self._per_client[pinhole.owner.charged_to] += 1
        self._shares.take(pinhole.owner.group)
        self._count_opened(purpose).inc()
        return pinhole

    def _door(self, owner: Owner, expect: Expect) -> Door:
        """Take the door that the pinhole stands on: at the address that the engine names, or at a free port of ours.
        Raises OSError."""
        if expect.listen.port:
            in_place = expect.listen.host == expect.target.host  # the door stands on the target's own address
            return self.doors.take(expect.listen, may_share=expect.confirmed, in_place=in_place, allow=expect.allow)
        has_room = self._shares_of_ports.has_room(owner.group)
        if not has_room or (expect.reserved and not self.reserved.has_room(owner.charged_to)):
            raise OSError(errno.EADDRNOTAVAIL, "no free port")
        host, prefer, pool = expect.listen.host, self.preferred(expect), self._pool_of(expect)
        for port in chain((prefer,) if prefer else (), pool.candidates(Transport.TCP, host)):
            at = Endpoint(host, port)
            try:
                door = self.doors.take(at, may_share=False)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            pool.lease(Transport.TCP, at.host, port)
            self._shares_of_ports.take(owner.group)
            if expect.reserved:
                self.reserved.take(owner.charged_to)
            return door
        raise OSError(errno.EADDRNOTAVAIL, "no free port")

    def preferred(self, expect: Expect) -> int:
        """The port that a pinhole should have, where it has its choice of ours. 0: any."""
        is_free = expect.prefer and not self.is_published(expect.transport, Endpoint(expect.listen.host, expect.prefer))
        return expect.prefer if is_free and not expect.reserved else 0

    def _pool_of(self, expect: Expect) -> PortPool:
        """The pool that a port of ours comes from."""
        return self.reserved if expect.reserved else self.ports

    def release(self, pinhole: Pinhole) -> None:
        """A pinhole for connections has left its door for good."""
        self._give_port(pinhole.owner, pinhole.grant.expect, pinhole.grant.listen)

    def _give_port(self, owner: Owner, expect: Expect, at: Endpoint) -> None:
        """If the port was one of ours, others may have it now."""
        if not expect.listen.port:
            self._pool_of(expect).release(Transport.TCP, at.host, at.port)
            self._shares_of_ports.give(owner.group)
            if expect.reserved:
                self.reserved.give(owner.charged_to)

    def relay(
        self,
        peer: socket.socket,
        target: socket.socket,
        idle_seconds: float,
        ended: Callable[[str], None],
        heads: tuple[bytes, bytes] = (b"", b""),
        carries_urgent: bool = False,
        half_closed_seconds: float | None = None,
    ) -> SpliceRelay:
        """A relay between two connections, each of which is the other's sink once `start` is called."""
        return SpliceRelay(
            self.loop,
            self.splicer,
            peer,
            target,
            idle_seconds,
            ended,
            heads,
            carries_urgent,
            self.timeouts.silent,
            half_closed_seconds,
        )

    def forget(self, pinhole: Opening) -> None:
        """The pinhole is gone, and no longer counts."""
        del self._pinholes[pinhole.grant.id]
        if isinstance(pinhole, MediaPlace):
            self._offers.remove(pinhole)
        self._shares.give(pinhole.owner.group)
        client = pinhole.owner.charged_to
        if left := self._per_client[client] - 1:
            self._per_client[client] = left
        else:
            del self._per_client[client]
        if not self._pinholes:
            self._all_gone.set()

    def gone(self, numbers: Set[int]) -> Set[int]:
        """Those of these pinholes that do not stand any more."""
        return numbers - self._pinholes.keys()

    def relays(self) -> int:
        """How many pinholes have a running relay."""
        return sum(bool(pinhole.relays) for pinhole in self._pinholes.values())

    async def drained(self) -> None:
        """Wait until the last pinhole has gone by itself."""
        self._all_gone.clear()
        if self._pinholes:
            await self._all_gone.wait()

    def close(self, reason: str) -> None:
        """End every pinhole and every relay, at the end of the daemon."""
        for pinhole in tuple(self._pinholes.values()):
            pinhole.abort(reason)
        self.splicer.drop_pipes()
        self.poll.close()
