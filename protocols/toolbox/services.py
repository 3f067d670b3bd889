"""Services that a directory tells clients of, such as a portmapper or an endpoint mapper: what is open of them.

The first answer that names a service opens a pinhole: for one client, to one port of one server, for as many
connections as come. It belongs to the session that asked. Further answers to the same client find it and renew it,
whichever session they come by. So the engine of the session that opened it is needed until it is closed; the session
itself may be over in milliseconds, and its client comes back for hours.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Host, Peers, Transport
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Pinholes, Refusal, Used

TOO_MANY = Refusal("too_many_services")
"""The client has as many services open as its policy allows."""


@dataclass(frozen=True, slots=True)
class Key:
    """A service as one caller knows it."""

    transport: Transport
    target: Endpoint
    caller: Host
    """Who may come: the client, as a rule."""
    caller_as_seen: Host
    known_as: Host
    """Where the caller looks for it."""


def key_of(peers: Peers, transport: Transport, target: Endpoint) -> Key:
    """A service of the server as the client of this session knows it."""
    return Key(transport, target, peers.client.host, peers.client_as_seen.host, peers.server_as_seen.host)


@dataclass(slots=True)
class Service:
    """A service that is open."""

    key: Key
    grant: Grant
    by: Opener
    """The opener of the session that asked first."""
    is_used: bool = False
    """Whether anybody has ever come."""

    def renew(self, seconds: float) -> None:
        """It stands for so long from now on."""
        self.by.renew(self.grant, seconds)

    def close(self) -> None:
        """Nobody may come any more. Who has come stays."""
        self.by.let_go(self.grant)


class Services:
    """What is open, of all sessions of a daemon."""

    __slots__ = ("_of_client", "_open")

    def __init__(self) -> None:
        self._open: dict[Key, Service] = {}
        self._of_client: Counter[Host] = Counter()
        """How many are open for each client."""

    def __len__(self) -> int:
        return len(self._open)

    def find(self, key: Key) -> Service | None:
        return self._open.get(key)

    def has_room(self, client: Host, most: int) -> bool:
        """Whether fewer than so many are open for this client."""
        return self._of_client[client] < most

    def add(self, service: Service) -> None:
        self._open[service.key] = service
        self._of_client[service.by.client] += 1

    def drop(self, service: Service) -> None:
        del self._open[service.key]
        client = service.by.client
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]


class Opener:
    """Opens services for the client of one session, and looks after those that the session has opened."""

    __slots__ = ("_own", "_pinholes", "_services", "client")

    def __init__(self, client: Host, pinholes: Pinholes, services: Services) -> None:
        self.client = client
        self._pinholes = pinholes
        self._services = services
        self._own: dict[int, Service] = {}
        """Those that this session has opened, by the numbers of their grants."""

    def __len__(self) -> int:
        return len(self._own)

    def _begin(self, key: Key, expect: Expect, most: int) -> Endpoint | Refusal:
        """Open a service that is not open, unless the client has so many. Returns where its caller finds it."""
        if not self._services.has_room(self.client, most):
            return TOO_MANY
        grant = self._pinholes.open(expect)
        if isinstance(grant, Refusal):
            return grant
        self._own[grant.id] = service = Service(key, grant, self)
        self._services.add(service)
        return grant.listen

    def renew(self, grant: Grant, seconds: float) -> None:
        """A service of this session stands for so long from now on."""
        self._pinholes.renew(grant, grant.expect.allow, seconds)

    def let_go(self, grant: Grant) -> None:
        """Nobody may come to a service of this session any more. Who has come stays."""
        self._forget(grant.id)
        self._pinholes.close(grant)

    def heard(self, grant: AnyGrant, event: PinholeEvent) -> None:
        """Something has happened at a pinhole of this session."""
        if grant.id not in self._own:
            return
        if isinstance(event, Used):
            self._own[grant.id].is_used = True
        elif isinstance(event, Closed):
            self._forget(grant.id)

    def close(self) -> None:
        """The session looks after nothing any more."""
        for service in tuple(self._own.values()):
            self.let_go(service.grant)

    def _forget(self, number: int) -> None:
        self._services.drop(self._own.pop(number))
