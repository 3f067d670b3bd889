"""What is open of each service, by the answers of portmappers; and what the engines of a daemon share besides.

The first answer that names a service opens a pinhole: for one client, to one port of one server, for as many
connections as come. It belongs to the session that asked. Further answers to the same client find it and renew it,
whichever session they come by (PM25). So the engine of the session that opened it is needed until it is closed (PM22).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Peers, Side, Transport, only
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Pinholes, Refusal, Used
from protocols.pmap.options import PmapOptions
from protocols.toolbox.memory import Held, as_client

UDP_IDLE_SECONDS = 30.0
"""How long datagrams of one client port may be silent until they are forgotten, as Linux' own connection tracking has
it. The next one begins anew, by the same pinhole; only an answer that is later than this is lost."""
MAX_SOURCES = 10_000
"""How many sources are remembered that have called over UDP of late."""
IN_A_ROW_SECONDS = 5
"""How many seconds' worth of calls may come at once."""

TOO_MANY = Refusal("max_services")
"""The client has as many services open as its policy allows."""


@dataclass(frozen=True, slots=True)
class Key:
    """A service as one client knows it."""

    transport: Transport
    target: Endpoint
    client: Host
    client_as_seen: Host
    server_as_seen: Host


@dataclass(slots=True)
class Service:
    """A service that is open."""

    grant: Grant
    pinholes: Pinholes
    """Those of the session that opened it."""
    is_used: bool = False
    """Whether its client has ever come."""


class Shared:
    """What the engines of a daemon share."""

    def __init__(self) -> None:
        self.services: dict[Key, Service] = {}
        self.of_client: Counter[Host] = Counter()
        """How many services are open for each client."""
        self.rates = Rates()
        self.held = Held()
        """Bytes of records that are not whole."""


class Ways:
    """Opens services for the client of one session, and looks after those that the session has opened."""

    __slots__ = ("_options", "_own", "_peers", "_pinholes", "_shared")

    def __init__(self, peers: Peers, options: PmapOptions, pinholes: Pinholes, shared: Shared) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._shared = shared
        self._own: dict[int, Key] = {}
        """grant -> service, of those that this session has opened."""

    def __len__(self) -> int:
        return len(self._own)

    def _key(self, transport: Transport, target: Endpoint) -> Key:
        peers = self._peers
        return Key(transport, target, peers.client.host, peers.client_as_seen.host, peers.server_as_seen.host)

    def find(self, transport: Transport, target: Endpoint) -> Endpoint | None:
        """Where the client finds a service that is open for it. None: it is not open."""
        service = self._shared.services.get(self._key(transport, target))
        return None if service is None else service.grant.listen

    def open(self, transport: Transport, target: Endpoint, trigger: str) -> Endpoint | Refusal:
        """Open the service, or let it be open for longer. Returns where the client finds it."""
        key, shared, options = self._key(transport, target), self._shared, self._options
        service = shared.services.get(key)
        if service is not None:
            seconds = options.idle if service.is_used else options.hold
            service.pinholes.renew(service.grant, service.grant.expect.allow, seconds)
            return service.grant.listen
        if shared.of_client[key.client] >= options.max_services:
            return TOO_MANY
        grant = self._pinholes.open(self._expect(transport, target, trigger))
        if isinstance(grant, Refusal):
            return grant
        shared.services[key] = Service(grant, self._pinholes)
        shared.of_client[key.client] += 1
        self._own[grant.id] = key
        return grant.listen

    def _expect(self, transport: Transport, target: Endpoint, trigger: str) -> Expect:
        """A pinhole that this client alone uses, as often as it likes (PM20, PM21).

        1) The client was told of the server as `server_as_seen`, so there it looks for the service. Without NAT of the
           server that is the service's own address, which others may use on rights of their own.
        2) The server knows the client as `client_as_seen`, and perhaps trusts it for a reserved port (PM31).
        """
        peers, options = self._peers, self._options
        is_kept = options.same_port and target.port >= LEAST_PORT
        return Expect(
            transport=transport,
            purpose="rpc",
            trigger=trigger,
            listen=Endpoint(peers.server_as_seen.host, 0) if peers.is_mapped(Side.SERVER) else target,
            allow=only(peers.client.host),
            target=target,
            source=Endpoint(peers.client_as_seen.host, 0),
            idle_seconds=options.idle if transport is Transport.TCP else UDP_IDLE_SECONDS,
            open_seconds=options.hold,
            lasts_seconds=options.idle,
            renewed_by_use=True,
            uses=None,
            prefer=target.port if is_kept else 0,
            reserved_source=options.reserved_source == "auto",
        )

    def heard(self, grant: AnyGrant, event: PinholeEvent) -> None:
        """Something has happened at a pinhole of this session."""
        key = self._own.get(grant.id)
        if key is None:
            return
        if isinstance(event, Used):
            self._shared.services[key].is_used = True
        elif isinstance(event, Closed):
            self._forget(grant.id)

    def close(self) -> None:
        """The session looks after nothing any more, so nobody may come any more. Who has come stays."""
        for key in tuple(self._own.values()):
            grant = self._shared.services[key].grant
            self._forget(grant.id)
            self._pinholes.close(grant)

    def _forget(self, number: int) -> None:
        key = self._own.pop(number)
        del self._shared.services[key]
        of_client = self._shared.of_client
        of_client[key.client] -= 1
        if not of_client[key.client]:
            del of_client[key.client]


class Rates:
    """How many calls each source may make over UDP (PM41)."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """(source, kind of call) -> how many calls it had left, and when that was."""

    def may_call(self, host: Host, kind: str, per_second: int, now: float) -> bool:
        """Whether one more call of this kind may go on. Whoever forges addresses of a network fills its line, whichever
        of them it takes."""
        most = float(per_second * IN_A_ROW_SECONDS)
        key = as_client(host), kind
        left, since = self._left.pop(key, (most, now))
        left = min(most, left + (now - since) * per_second)
        is_allowed = left >= 1.0
        self._left[key] = (left - 1.0 if is_allowed else left), now
        if len(self._left) > MAX_SOURCES:
            self._left.popitem(last=False)
        return is_allowed
