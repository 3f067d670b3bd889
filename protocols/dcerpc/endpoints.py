"""Endpoints that are open, by the answers of endpoint mappers and activators; and what the engines of a daemon share.

The first answer that names an endpoint opens a pinhole: for one client, to one port of one server, for as many
connections as come. It belongs to the session that asked. Further answers to the same client find it and renew it,
whichever session they come by and whatever interface they are about (DC35). So the engine of the session that opened it
is needed until it is closed: the session itself is over in milliseconds (DC34).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport, only
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Pinholes, Reader, Refusal
from protocols.dcerpc.options import DcerpcOptions
from protocols.toolbox.memory import Held

DATAGRAM_IDLE_SECONDS = 60.0
"""How long datagrams of one client port may be silent until they are forgotten. The next one begins anew, by the same
pinhole."""

TOO_MANY = Refusal("max_endpoints")
"""The client has as many endpoints open as its policy allows."""
OTHER_PORT = Refusal("other_port")
"""An answer that cannot be rewritten names a port that is open under another number, or is to have any."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The role of a session that came to an endpoint: what is bound on it is checked (DC36)."""


@dataclass(frozen=True, slots=True)
class Key:
    """An endpoint as one client knows it."""

    transport: Transport
    target: Endpoint
    caller: Host
    """Who may come: the client, or the server that calls back."""
    caller_as_seen: Host
    known_as: Host
    """Where the caller looks for it."""


@dataclass(slots=True)
class Open:
    """An endpoint that is open."""

    grant: Grant
    by: Ways
    """The ways of the session that opened it."""
    client: Host
    """Whose limit it counts against."""


class Shared:
    """What the engines of a daemon share."""

    def __init__(self) -> None:
        self.open: dict[Key, Open] = {}
        self.of_client: Counter[Host] = Counter()
        """How many endpoints are open for each client."""
        self.held = Held()
        """Bytes of PDUs and stubs that are not whole."""

    def renew(self, key: Key, seconds: float) -> None:
        """An endpoint is in use, by a connection that no pinhole sees."""
        if (found := self.open.get(key)) is not None:
            found.by.renew(found.grant, seconds)


class Ways:
    """Opens endpoints for the client of one session, and looks after those that the session has opened."""

    __slots__ = ("_options", "_own", "_peers", "_pinholes", "_shared")

    def __init__(self, peers: Peers, options: DcerpcOptions, pinholes: Pinholes, shared: Shared) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._shared = shared
        self._own: dict[int, Key] = {}
        """grant -> endpoint, of those that this session has opened."""

    def __len__(self) -> int:
        return len(self._own)

    def open(self, transport: Transport, target: Endpoint, trigger: str, is_exact: bool) -> Endpoint | Refusal:
        """Open the endpoint, or let it be open for longer. Returns where the client finds it: at the very port of the
        target, if `is_exact`."""
        peers = self._peers
        key = key_of(peers, transport, target)
        reader = Reader("dcerpc", Bound()) if self._options.check_bind and transport is Transport.TCP else None
        found = self._shared.open.get(key)
        if found is not None and found.grant.expect.reader != reader:  # the policy has changed since
            found.by.let_go(found.grant)
            found = None
        if found is not None:
            listen = found.grant.listen
            if is_exact and listen.port != target.port:
                return OTHER_PORT
            self._shared.renew(key, self._options.hold)
            return listen
        return self._opened(key, self._expect(key, trigger, is_exact, reader))

    def call_back(self, port: int) -> None:
        """Let the server call the client at this port (DC29)."""
        peers, options = self._peers, self._options
        target = Endpoint(peers.client.host, port)
        caller, known_as = peers.server.host, peers.client_as_seen.host
        key = Key(Transport.TCP, target, caller, peers.server_as_seen.host, known_as)
        if key in self._shared.open:
            self._shared.renew(key, options.hold)
            return
        expect = Expect(
            transport=Transport.TCP,
            purpose="rpc-callback",
            trigger="callbacks",
            listen=Endpoint(peers.client_as_seen.host, port),
            allow=only(peers.server.host),
            target=target,
            source=Endpoint(peers.server_as_seen.host, 0),
            idle_seconds=options.endpoint_idle,
            open_seconds=options.hold,
            lasts_seconds=options.hold,
            renewed_by_use=True,
            uses=None,
        )
        self._opened(key, expect)

    def _opened(self, key: Key, expect: Expect) -> Endpoint | Refusal:
        shared, client = self._shared, self._peers.client.host
        if shared.of_client[client] >= self._options.max_endpoints:
            return TOO_MANY
        grant = self._pinholes.open(expect)
        if isinstance(grant, Refusal):
            return grant
        shared.open[key] = Open(grant, self, client)
        shared.of_client[client] += 1
        self._own[grant.id] = key
        return grant.listen

    def _expect(self, key: Key, trigger: str, is_exact: bool, reader: Reader | None) -> Expect:
        """A pinhole that this client alone uses, as often as it likes (DC33).

        1) The client was told of the server as `server_as_seen`, so there it looks for the endpoint. Without NAT of the
           server that is the endpoint's own address, which others may use on rights of their own (DC37).
        2) The server knows the client as `client_as_seen` (DC38).
        """
        peers, options, target = self._peers, self._options, key.target
        is_mapped = peers.is_mapped(Side.SERVER)
        return Expect(
            transport=key.transport,
            purpose="rpc",
            trigger=trigger,
            listen=Endpoint(peers.server_as_seen.host, target.port if is_exact else 0) if is_mapped else target,
            allow=only(peers.client.host),
            target=target,
            source=Endpoint(peers.client_as_seen.host, 0),
            idle_seconds=options.endpoint_idle if key.transport is Transport.TCP else DATAGRAM_IDLE_SECONDS,
            open_seconds=options.hold,
            lasts_seconds=options.hold,
            renewed_by_use=True,
            uses=None,
            reader=reader,
            prefer=target.port if options.same_port else 0,
        )

    def heard(self, grant: AnyGrant, event: PinholeEvent) -> None:
        """Something has happened at a pinhole of this session."""
        if isinstance(event, Closed):
            self._forget(grant.id)

    def close(self) -> None:
        """The session looks after nothing any more."""
        for key in tuple(self._own.values()):
            self.let_go(self._shared.open[key].grant)

    def let_go(self, grant: Grant) -> None:
        """Nobody may come any more. Who has come stays."""
        self._forget(grant.id)
        self._pinholes.close(grant)

    def renew(self, grant: Grant, seconds: float) -> None:
        """It stands for so long from now on."""
        self._pinholes.renew(grant, grant.expect.allow, seconds)

    def _forget(self, number: int) -> None:
        key = self._own.pop(number, None)
        if key is None:
            return
        client, of_client = self._shared.open.pop(key).client, self._shared.of_client
        of_client[client] -= 1
        if not of_client[client]:
            del of_client[client]


def key_of(peers: Peers, transport: Transport, target: Endpoint) -> Key:
    """An endpoint of the server as the client of this session knows it."""
    return Key(transport, target, peers.client.host, peers.client_as_seen.host, peers.server_as_seen.host)
