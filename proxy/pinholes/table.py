"""The table of pinholes: open, admit, relay, expire, close. A pinhole stands on a listening transparent socket.

    open(expect) -> bind + listen -> [confirm] -> accept the expected peer -> dial the target -> relay -> closed
                                         |
                     anyone else: reset, counted, and the pinhole stays;
                     on a host's own address: passes this host as if there were no pinhole

If the process dies, the kernel closes every pinhole in the same instant.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from protocols.contract.addresses import Endpoint, Host, Network, Transport
from protocols.contract.pinholes import AnyGrant, Expect, Grant, Media, MediaGrant, Party, Refusal
from proxy.config.schema import Limits, Timeouts
from proxy.movers.lanes import Stands
from proxy.movers.pipes import Splicer
from proxy.movers.splice import SpliceRelay
from proxy.pinholes.borders import Borders
from proxy.pinholes.datagrams import DatagramPinhole
from proxy.pinholes.media import MediaPlace, Together
from proxy.pinholes.media_offers import Offers
from proxy.pinholes.opening import Opening, Owner, mark_to
from proxy.pinholes.shares import Group, Shares
from proxy.pinholes.third_hosts import ThirdHosts
from proxy.record.metrics import Metrics
from proxy.sockets import streams, transparent
from proxy.sockets.doors import Door, Doors
from proxy.sockets.endpoints import UdpEndpoints
from proxy.sockets.ports import PortPool
from proxy.sockets.readers import Readers

_Kind = TypeVar("_Kind", bound=Opening)


class PinholeTable:
    """Every pinhole of the daemon. Cost of each operation does not grow with their number."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        timeouts: Timeouts,
        ports: PortPool,
        metrics: Metrics,
        own_listeners: frozenset[Endpoint] = frozenset(),
        max_segment: int | None = None,
    ) -> None:
        """max_segment: bytes of a TCP segment, at most, of sessions and data connections."""
        self.loop = loop
        self.max_segment = max_segment
        self.limits = limits
        self.timeouts = timeouts
        self.ports = ports
        self.metrics = metrics
        self.splicer = Splicer(loop)
        self.doors = Doors(loop, max_segment)
        self.endpoints = UdpEndpoints(Readers(loop), ports)
        self.stands = Stands(self.endpoints)
        self.borders = Borders(loop.time)
        self._third_hosts = ThirdHosts(loop.time, self.stands.is_leased)
        self._offers = Offers(ports)
        self._own_listeners = own_listeners
        self.begin: Callable[[Owner, Grant, socket.socket, Endpoint], None]
        """Begins the session of a connection that an engine is to read; set by whoever has the sessions."""
        self.has_helper: Callable[[Transport, int], bool] = lambda *_: False
        """Whether sessions to this port are taken over; set likewise."""
        self.is_published: Callable[[Transport, Endpoint], bool] = lambda *_: False
        """Whether sessions to this address of ours are led to a server inside; set likewise."""
        self._pinholes: dict[int, Opening] = {}
        metrics.pinholes.set_function(self._pinholes.__len__)
        self._count_opened = cache(metrics.pinholes_opened.labels)  # of few purposes
        self._per_client: Counter[str] = Counter()
        self._shares = Shares(limits.pinholes)
        self._shares_of_ports = Shares(len(ports))
        """Of the ports on which connections are awaited; those for datagrams have shares of their own."""
        self._last_id = 0
        self._all_gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pinholes)

    def __iter__(self) -> Iterator[Opening]:
        return iter(tuple(self._pinholes.values()))

    def __contains__(self, number: int) -> bool:
        return number in self._pinholes

    def use(self, limits: Limits, timeouts: Timeouts) -> None:
        """Open new pinholes by these; those that stand keep theirs."""
        self.limits, self.timeouts = limits, timeouts

    def share(self, groups: Collection[Group]) -> None:
        """Keep a part of the limit for each of these groups."""
        self._shares.use(self.limits.pinholes, groups)
        self._shares_of_ports.use(len(self.ports), groups)

    def of(self, owner: Owner) -> SessionPinholes:
        return SessionPinholes(self, owner)

    def open(self, owner: Owner, expect: Expect, held: int) -> Pinhole | DatagramPinhole | Refusal:
        """`held`: how many the owner has already."""
        refusal = self._refuses(owner, expect.target, held)
        if refusal is None and _leads_to_this_host(expect):
            refusal = Refusal("target_is_gateway")
        pinhole: Pinhole | DatagramPinhole
        if refusal is None:
            try:
                if expect.transport is Transport.UDP:
                    pinhole = DatagramPinhole(self, owner, self._last_id + 1, expect)
                else:
                    pinhole = self._at_a_door(owner, expect)
            except OSError as error:
                refusal = Refusal(_refusal(error))
        if refusal is not None:
            self._refused(owner, expect, expect.transport, expect.listen, expect.target, refusal)
            return refusal
        self._last_id += 1
        return self._add(pinhole, expect.purpose)

    def _at_a_door(self, owner: Owner, expect: Expect) -> Pinhole:
        """Raises OSError."""
        door = self._door(owner, expect)
        try:
            if expect.target.host == owner.decided_by.client.host:  # who comes is on the server's side
                door.mark(owner.policy.route_mark or 0)
            return Pinhole(self, owner, Grant(self._last_id + 1, expect, door.at), door)
        except Exception:  # no room, or a bug of ours
            door.close_if_empty()
            self._give_port(owner, expect, door.at)
            raise

    def may_wait(self, owner: Owner, party: Party) -> bool:
        return self._third_hosts.may_wait(owner.policy, party)

    def place(
        self, owner: Owner, media: Media, held: int, together: Together, offerer: MediaPlace | None
    ) -> MediaPlace | Refusal:
        """A place for a party of a media stream; `offerer`: the one that it answers."""
        refusal = self._refuses(owner, media.party.rtp, held)
        if refusal is None and not self.may_wait(owner, media.party):
            refusal = Refusal("third_host")
        if refusal is None and offerer is None and not self._offers.make_room(owner.charged_to):
            refusal = Refusal("limit_of_offers")
        if refusal is None:
            try:
                place = MediaPlace(self, owner, self._last_id + 1, media, together, offerer)
            except OSError as error:
                refusal = Refusal(_refusal(error))
        if refusal is not None:
            self._refused(owner, media, Transport.UDP, media.party.mapped or media.party.rtp, media.party.rtp, refusal)
            return refusal
        self._last_id += 1
        if offerer is None:
            self._offers.add(place)
        return self._add(place, media.purpose)

    def answered(self, place: MediaPlace) -> None:
        self._offers.remove(place)

    def _refuses(self, owner: Owner, target: Endpoint, held: int) -> Refusal | None:
        if held >= self.limits.pinholes_per_session:
            return Refusal("limit_per_session")
        if self._per_client[owner.charged_to] >= self.limits.pinholes_per_client:
            return Refusal("limit_per_client")
        if not self._shares.has_room(owner.group):
            return Refusal("limit_total")
        # A link-local address of IPv6 is nothing without its zone (RFC 4007 s.6), which no protocol of ours can say.
        is_of_a_link = target.host.version == 6 and target.host.is_link_local
        if target.host.is_loopback or is_of_a_link or target in self._own_listeners or not target.port:
            return Refusal("target_not_allowed")
        return None

    def _refused(
        self, owner: Owner, wanted: Expect | Media, transport: Transport, listen: Any, target: Endpoint, why: Refusal
    ) -> None:
        self.metrics.pinholes_refused.labels(why.reason).inc()
        owner.log.write(
            "pinhole.refused",
            purpose=wanted.purpose,
            transport=transport,
            listen=listen,
            target=target,
            trigger=wanted.trigger,
            reason=why.reason,
        )

    def _add(self, pinhole: _Kind, purpose: str) -> _Kind:
        self._pinholes[pinhole.grant.id] = pinhole
        self._per_client[pinhole.owner.charged_to] += 1
        self._shares.take(pinhole.owner.group)
        self._count_opened(purpose).inc()
        return pinhole

    def _door(self, owner: Owner, expect: Expect) -> Door:
        if expect.listen.port:
            in_place = expect.listen.host == expect.target.host  # no address of ours
            return self.doors.take(expect.listen, may_share=expect.confirmed, in_place=in_place)
        if not self._shares_of_ports.has_room(owner.group):
            raise OSError(errno.EADDRNOTAVAIL, "no free port")
        host, prefer = expect.listen.host, expect.prefer
        wanted = (prefer,) if prefer and not self.is_published(Transport.TCP, Endpoint(host, prefer)) else ()
        for port in chain(wanted, self.ports.candidates(Transport.TCP, host)):
            at = Endpoint(host, port)
            try:
                door = self.doors.take(at, may_share=False)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self.ports.lease(Transport.TCP, at.host, port)
            self._shares_of_ports.take(owner.group)
            return door
        raise OSError(errno.EADDRNOTAVAIL, "no free port")

    def release(self, pinhole: Pinhole) -> None:
        self._give_port(pinhole.owner, pinhole.grant.expect, pinhole.grant.listen)

    def _give_port(self, owner: Owner, expect: Expect, at: Endpoint) -> None:
        """It is others' to have, if it was one of ours."""
        if not expect.listen.port:
            self.ports.release(Transport.TCP, at.host, at.port)
            self._shares_of_ports.give(owner.group)

    def forget(self, pinhole: Opening) -> None:
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

    def relays(self) -> int:
        return sum(bool(pinhole.relays) for pinhole in self._pinholes.values())

    async def drained(self) -> None:
        """Wait until the last pinhole has gone by itself."""
        self._all_gone.clear()
        if self._pinholes:
            await self._all_gone.wait()

    def close(self, reason: str) -> None:
        """At the daemon's end: everything, relays too."""
        for pinhole in tuple(self._pinholes.values()):
            pinhole.abort(reason)
        self.splicer.close()


def _leads_to_this_host(expect: Expect) -> bool:
    """Whether a server that is elsewhere wants to send its client here (T23). Services of the gateway would meet a
    connection of its own, which no firewall looks at."""
    target = expect.target.host
    return bool(expect.via) and all(hop.host != target for hop in expect.via) and transparent.is_own(target)


def _refusal(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "address_in_use"
        case errno.EADDRNOTAVAIL:
            return "no_free_port"
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case _:
            return "bind_failed"


class SessionPinholes:
    """What an engine holds as `Pinholes`: the table, seen by one session."""

    __slots__ = ("_apart", "_held", "_owner", "_parent", "_table", "kept_until")

    def __init__(self, table: PinholeTable, owner: Owner, parent: SessionPinholes | None = None) -> None:
        self._table = table
        self._owner = owner
        self._parent = parent
        self._held: dict[int, Opening] = {}
        self.kept_until = 0.0
        self._apart: set[SessionPinholes] = set()
        """Of those that are limited by themselves, the ones that hold something."""

    def __iter__(self) -> Iterator[Opening]:
        yield from tuple(self._held.values())
        for others in tuple(self._apart):
            yield from others

    def __len__(self) -> int:
        return len(self._held) + sum(map(len, self._apart))

    def apart(self) -> SessionPinholes:
        return SessionPinholes(self._table, self._owner, self)

    def open(self, expect: Expect) -> Grant | Refusal:
        answer = self._table.open(self._owner, expect, len(self._held))
        return answer if isinstance(answer, Refusal) else self._hold(answer).grant

    def confirm(self, grant: Grant) -> None:
        if isinstance(pinhole := self._held.get(grant.id), Pinhole | DatagramPinhole):
            pinhole.confirm()

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        if isinstance(pinhole := self._held.get(grant.id), Pinhole | DatagramPinhole):
            pinhole.renew(allow, seconds)

    def offer(self, media: Media) -> MediaGrant | Refusal:
        return self._place(media, None)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        offerer = self._held.get(offered.id)
        return self._place(media, offerer) if isinstance(offerer, MediaPlace) else Refusal("offer_gone")

    def may_wait(self, party: Party) -> bool:
        return self._table.may_wait(self._owner, party)

    def keep(self, seconds: float) -> None:
        self.kept_until = self._table.loop.time() + seconds

    @property
    def places(self) -> list[MediaPlace]:
        return [pinhole for pinhole in self._held.values() if isinstance(pinhole, MediaPlace)]

    def _place(self, media: Media, offerer: MediaPlace | None) -> MediaGrant | Refusal:
        answer = self._table.place(self._owner, media, len(self._held), self, offerer)
        return answer if isinstance(answer, Refusal) else self._hold(answer).grant

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        place = self._held.get(grant.id)
        if not isinstance(place, MediaPlace):
            return Refusal("closed")
        if not self._table.may_wait(self._owner, media.party):
            return Refusal("third_host")
        try:
            place.change(media)
        except OSError as error:
            return Refusal(_refusal(error))
        return place.grant

    def _hold(self, pinhole: _Kind) -> _Kind:
        self._held[pinhole.grant.id] = pinhole
        pinhole.closed = self._forget
        if self._parent is not None:
            self._parent._apart.add(self)
        return pinhole

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        if pinhole := self._held.get(grant.id):
            pinhole.shut(reason)

    def end(self, reason: str) -> None:
        """The session is over: waiting pinholes go with it, admitted relays run to their end (rule X15)."""
        for pinhole in self:
            pinhole.shut(reason)

    def _forget(self, pinhole: Opening) -> None:
        del self._held[pinhole.grant.id]
        if self._parent is not None and not self._held:
            self._parent._apart.remove(self)


class Pinhole(Opening):
    """One open pinhole and the relays that it admitted."""

    grant: Grant

    __slots__ = (
        "_bytes_in",
        "_bytes_out",
        "_dial_seconds",
        "_door",
        "_is_confirmed",
        "_refused",
        "_timer",
        "_uses_left",
        "dialling",
        "relays",
    )

    def __init__(self, table: PinholeTable, owner: Owner, grant: Grant, door: Door) -> None:
        super().__init__(table, owner)
        self.grant = grant
        self._door: Door | None = None
        self._timer: asyncio.TimerHandle | None = None
        try:
            self._begin(grant, door)
        except Exception:  # no room, or a bug of ours
            self._leave_door()
            raise

    def _begin(self, grant: Grant, door: Door) -> None:
        """Raises OSError."""
        table = self._table
        door.enter(self)
        self._door = door
        self._is_confirmed = False
        self._uses_left = grant.expect.uses
        self._bytes_in = 0
        self._bytes_out = 0
        self._refused = 0
        self.dialling: set[_Dial] = set()
        self.relays: set[SpliceRelay] = set()
        expect = grant.expect
        wait = expect.open_seconds if expect.open_seconds is not None else table.timeouts.pinhole_open
        self._dial_seconds = wait
        self._timer = table.loop.call_later(wait, self.shut, "never_used")
        self._tell_opened(
            expect.purpose, expect.transport, grant.listen, expect.allow, expect.target, wait, expect.trigger
        )
        if expect.confirmed:
            self.confirm()

    @property
    def state(self) -> str:
        if self.relays:
            return "relaying"
        if self.dialling:
            return "dialling"
        return "waiting" if self._is_confirmed else "unconfirmed"

    def summary(self, now: float) -> dict[str, Any]:
        expect, at = self.grant.expect, self.grant.listen
        passed = (self.bytes_in, self.bytes_out)
        return self._describe(
            now, self.state, expect.purpose, expect.transport, at, expect.allow, expect.target, *passed
        )

    @property
    def bytes_in(self) -> int:
        return self._bytes_in + sum(relay.bytes_in for relay in self.relays)

    @property
    def bytes_out(self) -> int:
        return self._bytes_out + sum(relay.bytes_out for relay in self.relays)

    def _places(self) -> Iterable[Endpoint]:
        yield self.grant.listen
        admitted = [relay.sockets for relay in self.relays] + [dial.sockets for dial in self.dialling]
        for sock in chain.from_iterable(admitted):
            with contextlib.suppress(OSError):
                yield transparent.local(sock)

    def renew(self, allow: tuple[Network, ...], seconds: float) -> None:
        if self._door is not None:
            self._stop_timer()
            # Of one that is for a single use it matters only that nobody came.
            reason = "expired" if self._uses_left is None else "never_used"
            self._timer = self._table.loop.call_later(seconds, self.shut, reason)
            self._dial_seconds = seconds
            before = self.allow
            self._readmit(allow, seconds)
            self._door.allows_others(self, before)

    def confirm(self) -> None:
        if self._door is not None and not self._is_confirmed:
            self._is_confirmed = True
            self._door.open()

    @property
    def allow(self) -> tuple[Network, ...]:
        return self.grant.expect.allow

    def allows(self, host: Host) -> bool:
        return any(host in network for network in self.allow)

    def refuse(self, sock: socket.socket, peer: Endpoint) -> None:
        streams.reset(sock)
        self._refused += 1
        self._table.metrics.strangers.inc()
        if self._refused == 1:  # the rest is a number in pinhole.closed
            self._tell_stranger(f"{peer} came to {self.grant.listen}", "reset")

    def fail(self, error: OSError) -> None:
        self.shut(_refusal(error))

    def use(self, sock: socket.socket, peer: Endpoint) -> None:
        if self._uses_left is not None:
            self._uses_left -= 1
        if self._uses_left == 0:
            self._leave_door()
        if self.grant.expect.is_read:
            self._tell_used(peer)
            self._table.begin(self.owner, self.grant, sock, peer)
            self._close_if_over("used_up")
            return
        dial = _Dial(self, sock)
        self.dialling.add(dial)
        self._tell_used(peer)
        if dial in self.dialling:  # unless the engine thought better of it
            dial.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave_door(self) -> None:
        self._stop_timer()
        if self._door is not None:
            door, self._door = self._door, None
            door.leave(self)

    # -- from the dial and the relay ------------------------------------------------------------------------------

    def connected(self, dial: _Dial, peer: socket.socket, target: socket.socket) -> None:
        self.dialling.discard(dial)
        relay: SpliceRelay

        def ended(reason: str) -> None:
            self.relays.discard(relay)
            self._bytes_in += relay.bytes_in
            self._bytes_out += relay.bytes_out
            self._close_if_over(reason)

        silent, idle = self._table.timeouts.silent, self.grant.expect.idle_seconds
        splicer = self._table.splicer
        relay = SpliceRelay(self._table.loop, splicer, peer, target, idle, ended, silent_seconds=silent)
        self.relays.add(relay)
        relay.start()

    def not_connected(self, dial: _Dial, reason: str) -> None:
        self.dialling.discard(dial)
        self._close_if_over(reason)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._table.loop

    def call(self, target: Endpoint, source: Endpoint) -> socket.socket:
        """Begin a connection to its target. Raises OSError."""
        return transparent.dial(target, source, mark_to(self.owner, target.host), self._table.max_segment)

    def dial_seconds(self) -> float:
        """Some servers accept data only after the transfer command, so this may take as long as the pinhole (F49)."""
        return self._dial_seconds

    # -- ends -----------------------------------------------------------------------------------------------------

    def shut(self, reason: str) -> None:
        """Admit nobody more; what was admitted goes on."""
        self._leave_door()
        self._close_if_over(reason)

    def abort(self, reason: str) -> None:
        self._leave_door()
        for dial in tuple(self.dialling):
            dial.abort(reason)
        for relay in tuple(self.relays):
            relay.abort(reason)
        self._close_if_over(reason)

    def _close_if_over(self, reason: str) -> None:
        if self._door is not None or self.dialling or self.relays or self.grant.id not in self._table:
            return
        self._table.release(self)
        counts = {"bytes_in": self._bytes_in, "bytes_out": self._bytes_out}
        self._gone(reason, counts, **({"refused": self._refused} if self._refused else {}))


class _Dial:
    """The expected peer is here; its target is being called."""

    __slots__ = ("_peer", "_pinhole", "_target", "_timer")

    def __init__(self, pinhole: Pinhole, peer: socket.socket) -> None:
        self._pinhole = pinhole
        self._peer = peer
        self._target: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return (self._peer,) if self._target is None else (self._peer, self._target)

    def start(self) -> None:
        expect = self._pinhole.grant.expect
        try:
            source = expect.source or Endpoint(transparent.remote(self._peer).host, 0)
            self._target = self._pinhole.call(expect.target, source)
        except OSError as error:
            self.abort("target_" + dial_failure(error.errno))
            return
        self._pinhole.loop.add_writer(self._target, self._settled)
        self._timer = self._pinhole.loop.call_later(self._pinhole.dial_seconds(), self.abort, "target_timeout")

    def _settled(self) -> None:
        assert self._target is not None
        if code := transparent.dial_result(self._target):
            self.abort("target_" + dial_failure(code))
            return
        self._release()
        self._pinhole.connected(self, self._peer, self._target)

    def abort(self, reason: str) -> None:
        self._release()
        if self._target is not None:
            streams.reset(self._target)
        streams.reset(self._peer)
        self._pinhole.not_connected(self, reason)

    def give_up(self) -> None:
        """A bug of ours (`proxy/record/failures.py`)."""
        self.abort("failed")

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            assert self._target is not None
            self._pinhole.loop.remove_writer(self._target)


def dial_failure(code: int | None) -> str:
    """The errno of a connection that did not come about, as one word for the audit log."""
    match code:
        case errno.ECONNREFUSED | errno.ECONNRESET:
            return "refused"
        case errno.ETIMEDOUT:
            return "timeout"
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case errno.EADDRINUSE | errno.EADDRNOTAVAIL:
            return "no_source_port"
        case _:
            return "unreachable"
