"""Endpoints that are open, by the answers of endpoint mappers and activators; and what the engines of a daemon share.

There is one for each client and port of a server, whichever interface was asked for (DC34, DC35). It is closed when
`hold` has passed since an answer named it and since a connection by it began or ended, whatever has become of the
session that asked; or before that by an operator, and by a reload that denies this session.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Peers, Side, Transport, only
from protocols.contract.pinholes import Expect, Pinholes, Reader, Refusal
from protocols.dcerpc.options import DcerpcOptions
from protocols.toolbox.memory import Held
from protocols.toolbox.rates import Rates
from protocols.toolbox.services import Key, Opener, Services, key_of

DATAGRAM_IDLE_SECONDS = 60.0
"""How long datagrams of one client port may be silent until they are forgotten. The next one begins anew, by the same
pinhole."""

OTHER_PORT = Refusal("other_port")
"""An answer that cannot be rewritten names a port that is open under another number, or is to have any."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The role of a session that came to an endpoint: what is bound on it is checked (DC36)."""


class Shared:
    """What the engines of a daemon share."""

    def __init__(self) -> None:
        self.endpoints = Services()
        self.rates = Rates()
        self.held = Held()
        """Bytes of PDUs and stubs that are not whole, and of answers over UDP that may come again."""


class Ways(Opener):
    """Opens endpoints for the client of one session."""

    __slots__ = ("_options", "_peers")

    def __init__(self, peers: Peers, options: DcerpcOptions, pinholes: Pinholes, shared: Shared) -> None:
        super().__init__(peers.client.host, pinholes, shared.endpoints)
        self._peers = peers
        self._options = options

    def open(self, transport: Transport, target: Endpoint, trigger: str, is_exact: bool) -> Endpoint | Refusal:
        """Open the endpoint, or let it be open for longer. Returns where the client finds it: at the very port of the
        target, if `is_exact`."""
        key, options = key_of(self._peers, transport, target), self._options
        reader = Reader("dcerpc", Bound()) if options.check_bind and transport is Transport.TCP else None
        found = self._services.find(key)
        if found is not None and found.grant.expect.reader != reader:  # the policy has changed since
            found.close()
            found = None
        if found is None:
            return self._begin(key, self._expect(key, trigger, is_exact, reader), options.max_endpoints)
        listen = found.grant.listen
        if is_exact and listen.port != target.port:
            return OTHER_PORT
        found.renew(options.hold)
        return listen

    def call_back(self, port: int) -> Endpoint | Refusal:
        """Let the server call the client at this port (DC29). Returns where."""
        peers, options = self._peers, self._options
        target = Endpoint(peers.client.host, port)
        caller, known_as = peers.server.host, peers.client_as_seen.host
        key = Key(Transport.TCP, target, caller, peers.server_as_seen.host, known_as)
        if (found := self._services.find(key)) is not None:
            found.renew(options.hold)
            return found.grant.listen
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
            at_once=options.max_connections,
        )
        return self._begin(key, expect, options.max_endpoints)

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
            at_once=options.max_connections,
            reader=reader,
            prefer=target.port if options.same_port else 0,
        )
