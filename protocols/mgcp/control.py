"""What the messages of one session do to connections: agents make, change, audit and delete them, gateways agree, and
lose them when they restart (RFC 3435 s.2.3).

This stands from when it is known which side is the agent. What it returns of a message are the descriptions that are to
be others on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from protocols.contract.addresses import Host, Malformed, Peers, Side
from protocols.contract.pinholes import Closed, MediaGrant, Pinholes
from protocols.mgcp import wire
from protocols.mgcp.connections import Connection, ConnectionBook
from protocols.mgcp.descriptions import Descriptions, Followed, Refused
from protocols.mgcp.media import Change, Idle
from protocols.mgcp.names import address_of
from protocols.mgcp.options import MgcpOptions
from protocols.mgcp.transactions import Transaction
from protocols.mgcp.wire import Message
from protocols.toolbox.spans import Span

_LOST = (b"restart", b"forced")
"""Methods of RSIP after which connections are gone. After `disconnected` they stand (RFC 3435 s.4.4.7), and a gateway
that is `graceful` deletes them itself (MG17)."""
_UNKNOWN_CONNECTION = 515
MAX_MODE_BYTES = 32
"""More than the names of all modes have."""

Bodies = dict[Span, Followed]
"""Where a description stands in a message -> what the other side reads in its place."""


class Control:
    """The agent and the gateway of one session."""

    __slots__ = (
        "_descriptions",
        "_hosts",
        "_idle",
        "_most",
        "_note",
        "_own",
        "_part",
        "_table",
        "agent",
        "gateway",
        "is_known",
    )

    def __init__(
        self,
        peers: Peers,
        agent: Side,
        options: MgcpOptions,
        pinholes: Pinholes,
        table: ConnectionBook,
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.agent = agent
        """The side of the agent."""
        self.gateway = table.join(peers.own(agent.other))
        self._hosts: frozenset[Host] = frozenset((peers.own(agent.other).host, peers.as_seen(agent.other).host))
        """The gateway, as it knows itself and as its agent does."""
        self._idle = Idle(options.media_idle, options.hold_idle)
        self._most = options.max_connections
        self._part = pinholes.apart
        self._table = table
        self._note = note
        self._descriptions = Descriptions(peers, agent, options, table, note)
        self._own: set[Connection] = set()
        """Connections that commands of this session have made, until their end is told."""
        self.is_known = False
        """Whether the two have agreed on something, so that either may speak again after hours (MG20)."""

    def identity(self, name: bytes) -> bytes:
        """By what an endpoint is known here. Names are the same in any case, and the gateway's own address is left out,
        since each side has another one for it."""
        local, _, domain = name.rpartition(b"@")
        return (local + b"@" + (b"" if address_of(name) in self._hosts else domain)).lower()

    @property
    def has_connections(self) -> bool:
        """Whether something depends on this session."""
        return bool(self._own)

    @property
    def is_waiting(self) -> bool:
        """Whether it matters for how long the two are silent."""
        return self.is_known or any(connection.ending is None for connection in self._own)

    # -- commands ------------------------------------------------------------------------------------------------------

    def command(self, message: Message, transaction: Transaction, trigger: str, now: float) -> Bodies:
        """An agent makes a connection, or changes one. Raises Refused, Malformed."""
        mode, spans = message.only(b"M").lower()[:MAX_MODE_BYTES], wire.descriptions(message.data, message.body)
        if len(spans) > 1:
            raise Malformed("more than one description")
        connection = None
        if message.verb == b"MDCX":
            connection = self.gateway.get(transaction.endpoint, transaction.about)
        if connection is None:  # one that was made before this daemon began may be changed as well
            connection = self._begin(transaction, mode, now)
        transaction.connection = connection
        transaction.change = change = Change(mode or None)
        if not self._descriptions.follows:
            return {}
        bodies = ((span, message.data[span.start : span.end]) for span in spans)
        return {span: self._descriptions.command(connection, body, trigger, change) for span, body in bodies}

    def _begin(self, transaction: Transaction, mode: bytes, now: float) -> Connection:
        """A connection that stands once its gateway agrees. Raises Refused if there are too many."""
        endpoint, gateway = transaction.endpoint, self.gateway
        if gateway.full(endpoint, self._most) is not None:
            forgotten = gateway.forgotten(endpoint, now - self._idle.held)
            self._end("gave_way", [forgotten] if forgotten is not None else [], now)
        if (why := gateway.full(endpoint, self._most)) is not None:
            raise Refused(403, "Too Many Connections", *why)
        part = self._part({"call_id": transaction.call_id})
        names = endpoint, transaction.name, transaction.call_id, transaction.about
        return self._table.begin(gateway, names, mode, part, self._idle, self._own, now)

    def restarted(self, message: Message, transaction: Transaction, now: float) -> None:
        """A gateway tells of a restart."""
        method = message.first(b"RM").lower()
        self._note("mgcp.restart", {"endpoint": message.name, "method": method, "delay": message.first(b"RD")})
        if method in _LOST:
            self._end("restart", self.gateway.matching(transaction.endpoint), now)

    def deleted_by_gateway(self, message: Message, transaction: Transaction, now: float) -> None:
        """A gateway tells that it has deleted something by itself."""
        self._end("gateway", self._of(transaction), now, message.first(b"P"))

    # -- responses -----------------------------------------------------------------------------------------------------

    def agreed(self, message: Message, transaction: Transaction, trigger: str, now: float) -> Bodies:
        """A command is accepted, or under way."""
        is_final = message.code >= 200
        self.is_known = self.is_known or is_final
        connection, change = transaction.connection, transaction.change
        if transaction.verb == b"AUCX":
            return self._audited(message, transaction)
        if transaction.verb == b"DLCX" and transaction.by is self.agent and is_final:
            self._end("agent", self._of(transaction), now, message.first(b"P"))
        if connection is None or change is None or connection.ending is not None:
            return {}
        number, specific = message.id(b"I"), message.first(b"Z")
        if len(specific) > wire.MAX_ENDPOINT_BYTES:
            raise Malformed("the name of the endpoint is too long")
        if is_final:
            connection.touched_at = now
            connection.media.agree(change)
        bodies = {}
        spans = wire.descriptions(message.data, message.body)
        if len(spans) == 1 and self._descriptions.follows:
            body = message.data[spans[0].start : spans[0].end]
            bodies[spans[0]] = self._descriptions.response(connection, body, trigger)
        if is_final:
            self._stands(connection, number, specific, now)
        return bodies

    def _stands(self, connection: Connection, number: bytes, specific: bytes, now: float) -> None:
        """A connection has been made or changed. The response may give it an id, and name its endpoint."""
        if connection.is_added:
            self._note("mgcp.connection_changed", connection.facts())
            return
        connection.id = number or connection.id
        if specific:
            connection.endpoint, connection.name = self.identity(specific), specific
        before = self.gateway.get(connection.endpoint, connection.id)
        self.gateway.add(connection)
        if before is not None:
            self._end("replaced", [before], now)
        connection.is_added = True
        self._note("mgcp.connection_added", connection.facts())

    def _audited(self, message: Message, transaction: Transaction) -> Bodies:
        if not self._descriptions.follows:
            return {}
        connection = self.gateway.get(transaction.endpoint, transaction.about)
        return {
            span: self._descriptions.audited(connection, message.data[span.start : span.end])
            for span in wire.descriptions(message.data, message.body)
        }

    def declined(self, message: Message, transaction: Transaction, now: float) -> None:
        """A command is refused by whom it was for."""
        facts = {"endpoint": transaction.name, "command": transaction.verb}
        self._note("mgcp.refused", {**facts, "code": message.code, "text": message.text})
        self.take_back(transaction, now)
        if message.code == _UNKNOWN_CONNECTION and transaction.about and transaction.by is self.agent:
            self._end("unknown_to_gateway", self._of(transaction), now)

    def take_back(self, transaction: Transaction, now: float) -> None:
        """Nothing comes of a command."""
        connection, change = transaction.connection, transaction.change
        if connection is not None and change is not None:
            transaction.change = None
            connection.media.take_back(change)
            if not connection.is_added:
                self._end("refused", [connection], now)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _of(self, transaction: Transaction) -> list[Connection]:
        """The connections that a command was about."""
        return self.gateway.matching(transaction.endpoint, transaction.call_id, transaction.about)

    def _end(self, reason: str, connections: Iterable[Connection], now: float, reported: bytes = b"") -> None:
        ending = list(connections)
        for connection in ending:
            if reported and len(ending) == 1:
                connection.reported = wire.counted(reported)
            connection.end(reason)
            self._tell_end(connection, now)

    def _tell_end(self, connection: Connection, now: float) -> None:
        """Tell the log of the end of a connection when its last medium is gone and counted."""
        if connection.ending is not None and not connection.media.streams and connection in connection.owner:
            connection.owner.discard(connection)
            if connection.is_added:
                self._note("mgcp.connection_ended", connection.ended(now))

    def used(self, grant: MediaGrant) -> None:
        """Packets have come to a place of a connection."""
        connection = self._table.media.get(grant.id)
        if connection is not None:
            connection.is_used = True

    def closed(self, grant: MediaGrant, event: Closed, now: float) -> None:
        """A place of a connection is gone."""
        connection = self._table.media.get(grant.id)
        if connection is not None:
            connection.closed(grant, event)
            self._tell_end(connection, now)

    def end_all(self, reason: str, now: float) -> None:
        """The two have been silent for too long, or the session is over."""
        self.is_known = False
        self._end(reason, tuple(self._own), now)

    def stop(self, now: float) -> None:
        """The engine ends. Nobody tells it of places that are closed now."""
        self.end_all("stopped", now)
        for connection in tuple(self._own):
            connection.media.forget()
            self._tell_end(connection, now)
        self._table.leave(self.gateway)
