"""The connections of all gateways of a daemon, and what is known of each gateway (RFC 3435 s.2.1.2 and 2.1.3).

A connection belongs to its gateway, and not to the session in which it was made: another agent may change or delete it,
and the gateway may have restarted before either says so (MG17). The engine that made it looks after its media.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from protocols.contract.addresses import Endpoint, Host
from protocols.contract.pinholes import Closed, MediaGrant, Party, Pinholes
from protocols.mgcp.media import ConnectionMedia, Idle
from protocols.toolbox.memory import as_client

MOST_OF_AN_ENDPOINT = 16
"""How many connections one endpoint may have: a conference has a few."""

_TAKEN_AWAY = frozenset(("idle", "never_used", "gave_way", "no_place", "closed_by_operator", "address_gone"))
"""Reasons for which media ends by itself. When it was the last medium, the connection is over."""


@dataclass(slots=True, eq=False)
class Connection:
    """One connection of an endpoint."""

    gateway: Gateway
    endpoint: bytes
    """By what its endpoint is known here (`Control.identity`). It may be a wildcard before the gateway has chosen
    one."""
    name: bytes
    """The endpoint as its gateway or agent has named it, for the log."""
    call_id: bytes
    media: ConnectionMedia
    owner: set[Connection]
    """Those of the engine that has made it, until their end is told."""
    began_at: float
    touched_at: float
    """When a command about it was last agreed to."""
    id: bytes = b""
    """Empty before the gateway has given one."""
    is_added: bool = False
    """Whether the gateway has agreed to it."""
    ending: str | None = None
    """Why it is over."""
    is_used: bool = False
    """Whether packets have come, so that silence of its media ends it."""
    reported: dict[str, int] = field(default_factory=dict)
    """What the gateway itself has counted."""

    def end(self, reason: str) -> None:
        """The connection is over, and its media with it. A second time this has no effect."""
        if self.ending is None:
            self.ending = reason
            self.gateway.count -= 1
            self.gateway.drop(self)
            self.media.close_all()

    def closed(self, grant: MediaGrant, event: Closed) -> None:
        """A place of its media is gone."""
        self.media.closed(grant, event)
        if not self.media.streams and event.reason in _TAKEN_AWAY:
            self.end(f"media_{event.reason}")

    @property
    def named(self) -> dict[str, Any]:
        """By what its parties know it, for the log."""
        return {"endpoint": self.name, "call_id": self.call_id, "connection": self.id}

    def facts(self) -> dict[str, Any]:
        """The connection as it stands, for the log."""
        return {**self.named, "mode": self.media.mode, "streams": self.media.standing()}

    def ended(self, now: float) -> dict[str, Any]:
        """The connection as it was, for the log: what passed here beside what its gateway has counted."""
        seconds = round(now - self.began_at, 3)
        facts = {**self.named, "reason": self.ending, "duration_seconds": seconds}
        return {**facts, **self.media.totals(), "reported": self.reported}


@dataclass(slots=True, eq=False)
class Gateway:
    """A gateway and its connections, whichever agent has made them."""

    at: Endpoint
    endpoints: dict[bytes, dict[bytes, Connection]] = field(default_factory=dict)
    """Endpoint -> its connections, by their ids."""
    count: int = 0
    """How many connections there are, with those that it has not agreed to yet."""
    engines: int = 0
    """How many engines read its sessions."""
    heard_at: float = 0.0
    """When the gateway or one of its agents has last said something."""

    def get(self, endpoint: bytes, number: bytes) -> Connection | None:
        """The connection of this endpoint that has this id."""
        return self.endpoints.get(endpoint, {}).get(number)

    def full(self, endpoint: bytes, most: int) -> tuple[str, str] | None:
        """The rule by which there can be no further connection of this endpoint, and how many there are. None: there
        can be one. `most`: of all endpoints together."""
        if self.count >= most:
            return "mgcp.too_many", f"{self.count} connections of {self.at}"
        of_endpoint = len(self.endpoints.get(endpoint, ()))
        if of_endpoint >= MOST_OF_AN_ENDPOINT:
            return "mgcp.endpoint_full", f"{of_endpoint} connections of {endpoint.decode('latin-1')}"
        return None

    def forgotten(self, endpoint: bytes, before: float) -> Connection | None:
        """A connection that carries nothing and that nobody has spoken of since then: of this endpoint, or of any if
        this one has few. The response that has deleted it was perhaps lost."""
        of_endpoint = self.endpoints.get(endpoint, {})
        few = len(of_endpoint) < MOST_OF_AN_ENDPOINT
        every = chain.from_iterable(one.values() for one in self.endpoints.values()) if few else of_endpoint.values()
        return next((one for one in every if not one.is_used and one.touched_at <= before), None)

    def add(self, connection: Connection) -> None:
        """The gateway has given the connection its id, which no other one has any more."""
        if (before := self.get(connection.endpoint, connection.id)) is not None:
            self.drop(before)
        self.endpoints.setdefault(connection.endpoint, {})[connection.id] = connection

    def drop(self, connection: Connection) -> None:
        """Nobody finds the connection by its id any more. A second time this has no effect."""
        of_endpoint = self.endpoints.get(connection.endpoint, {})
        if of_endpoint.get(connection.id) is connection:
            del of_endpoint[connection.id]
            if not of_endpoint:
                del self.endpoints[connection.endpoint]

    def matching(self, endpoint: bytes, call_id: bytes = b"", number: bytes = b"") -> list[Connection]:
        """The connections that a command is about. Its endpoint may be a wildcard; an empty call id or connection id
        means all of them."""
        names = [name for name in self.endpoints if is_covered(name, endpoint)] if b"*" in endpoint else [endpoint]
        return [
            one
            for name in names
            for one in self.endpoints.get(name, {}).values()
            if call_id in (b"", one.call_id) and number in (b"", one.id)
        ]


def is_covered(name: bytes, pattern: bytes) -> bool:
    """Whether an endpoint is one of those that a name with wildcards stands for (RFC 3435 s.2.1.2): `*` is all of a
    term, and as the last term all that follows."""
    (terms, _, domain), (wanted, _, of) = name.rpartition(b"@"), pattern.rpartition(b"@")
    if domain != of:
        return False
    have, want = terms.split(b"/"), wanted.split(b"/")
    if want[-1] == b"*" and len(have) >= len(want):
        have = have[: len(want)]
    return len(have) == len(want) and all(one in (b"*", other) for one, other in zip(want, have, strict=True))


class ConnectionBook:
    """What all MGCP engines of a daemon know together."""

    __slots__ = ("_commands", "_second", "announced", "gateways", "media")

    def __init__(self) -> None:
        self.gateways: dict[Endpoint, Gateway] = {}
        self.media: dict[int, Connection] = {}
        """id of a grant -> the connection whose place it is, for all places that are open."""
        self.announced: dict[Endpoint, Party] = {}
        """address at which we announced media -> the party whose media it is."""
        self._commands: Counter[str] = Counter()
        """gateway -> how many commands it has sent in the current second."""
        self._second = 0

    def join(self, at: Endpoint) -> Gateway:
        """An engine reads a session of the gateway at this address."""
        gateway = self.gateways.get(at)
        if gateway is None:
            gateway = self.gateways[at] = Gateway(at)
        gateway.engines += 1
        return gateway

    def leave(self, gateway: Gateway) -> None:
        """An engine reads it no more."""
        gateway.engines -= 1
        if not gateway.engines:
            del self.gateways[gateway.at]

    def count(self, host: Host, now: float) -> int:
        """How many commands this gateway has sent in the current second, with this one."""
        if int(now) != self._second:
            self._second = int(now)
            self._commands.clear()
        name = as_client(host)
        self._commands[name] += 1
        return self._commands[name]

    def begin(
        self,
        gateway: Gateway,
        names: tuple[bytes, bytes, bytes, bytes],
        mode: bytes,
        part: Pinholes,
        idle: Idle,
        owner: set[Connection],
        now: float,
    ) -> Connection:
        """A connection that stands once its gateway agrees. `names`: its endpoint as it is known here, and
        as it was named; call id and connection id."""

        def enter(grant: MediaGrant) -> None:
            self.media[grant.id] = connection
            if grant.media.party.mapped is not None and grant.data is not None:
                self.announced[grant.data] = grant.media.party

        endpoint, name, call_id, number = names
        media = ConnectionMedia(part, idle, mode, enter, self.withdraw)
        connection = Connection(gateway, endpoint, name, call_id, media, owner, now, now, number)
        owner.add(connection)
        gateway.count += 1
        return connection

    def withdraw(self, grant: MediaGrant) -> None:
        """The place is gone."""
        self.media.pop(grant.id, None)
        # The far end of another connection may wait at a place of ours, which stays what it is.
        if grant.media.party.mapped is not None and grant.data is not None:
            self.announced.pop(grant.data, None)
