"""What is open of each service, by the answers of portmappers; and what the engines of a daemon share besides."""

from __future__ import annotations

from protocols.contract.addresses import LEAST_PORT, Endpoint, Peers, Side, Transport, only
from protocols.contract.pinholes import Expect, Pinholes, Refusal
from protocols.pmap.options import PmapOptions
from protocols.toolbox.memory import Held
from protocols.toolbox.rates import Rates
from protocols.toolbox.services import Opener, Services, key_of

UDP_IDLE_SECONDS = 30.0
"""How long datagrams of one client port may be silent until they are forgotten, as Linux' own connection tracking has
it. The next one begins anew, by the same pinhole; only an answer that is later than this is lost."""

MAX_CONNECTIONS = 1000
"""How many connections a client may have to one service at once. A kernel has one for a server, or sixteen (nconnect)
for each of its hosts that are hidden behind one address."""


class Shared:
    """What the engines of a daemon share."""

    def __init__(self) -> None:
        self.services = Services()
        self.rates = Rates()
        self.held = Held()
        """Bytes of records that are not whole."""


class Ways(Opener):
    """Opens services for the client of one session (PM22, PM25)."""

    __slots__ = ("_options", "_peers")

    def __init__(self, peers: Peers, options: PmapOptions, pinholes: Pinholes, shared: Shared) -> None:
        super().__init__(peers.client.host, pinholes, shared.services)
        self._peers = peers
        self._options = options

    def find(self, transport: Transport, target: Endpoint) -> Endpoint | None:
        """Where the client finds a service that is open for it. None: it is not open."""
        service = self._services.find(key_of(self._peers, transport, target))
        return None if service is None else service.grant.listen

    def open(self, transport: Transport, target: Endpoint, trigger: str) -> Endpoint | Refusal:
        """Open the service, or let it be open for longer. Returns where the client finds it."""
        key, options = key_of(self._peers, transport, target), self._options
        service = self._services.find(key)
        if service is None:
            return self._begin(key, self._expect(transport, target, trigger), options.max_services)
        service.renew(options.idle if service.is_used else options.hold)
        return service.grant.listen

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
            at_once=MAX_CONNECTIONS,
            prefer=target.port if is_kept else 0,
            reserved_source=options.reserved_source == "auto",
        )
