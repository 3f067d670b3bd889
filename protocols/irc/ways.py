"""The ways in that stand for offers of one session, and the connections that came by them.

    an offer of the client     anybody (or `dcc_peers`) -> the client, where the server's side knows it (IR13, IR14)
    an offer of a stranger     the client alone -> the stranger, where it says that it waits (IR17)

Each is used once. What the client announces is remembered for as long as its way stands or its connection lasts. So
those who resume a file, and a client that hears its own words, find the ports that they know (IR15, IR16).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Literal

from protocols.contract.addresses import Endpoint, Host, Network, Peers, Side, Transport, only
from protocols.contract.effects import Note
from protocols.contract.pinholes import Closed, Expect, Grant, Party, PinholeEvent, Pinholes, Refusal
from protocols.irc.dcc import SENDING
from protocols.irc.options import IrcOptions
from protocols.toolbox.memory import as_client

CLIENT, SERVER = Side.CLIENT, Side.SERVER

SEND, CHAT = PURPOSES = "irc-send", "irc-chat"
IDLE_SECONDS = {SEND: 300.0, CHAT: 86400.0}
"""How long a connection may be silent (IR18)."""
INBOUND_OPEN_SECONDS = 60.0
"""The time in which a client takes up an offer of a stranger, if a way was opened for that."""
MAX_WAITING_OF_CLIENT = 32
"""How many offers all sessions of a client may have waiting in one direction: a script that has the client offer port
after port is held to that, however many connections it makes."""
ANYBODY: Mapping[int, tuple[Network, ...]] = {4: (ip_network("0.0.0.0/0"),), 6: (ip_network("::/0"),)}

Direction = Literal["out", "in"]
"""`out`: the client offers; `in`: a stranger does."""
Key = tuple[Direction, Endpoint]


class Waiting:
    """How many offers wait of each client, in all sessions of a daemon."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: Counter[tuple[Direction, str]] = Counter()

    def __len__(self) -> int:
        return self._of.total()

    def has_room(self, direction: Direction, client: Host) -> bool:
        return self._of[direction, as_client(client)] < MAX_WAITING_OF_CLIENT

    def change(self, direction: Direction, client: Host, by: int) -> None:
        key = direction, as_client(client)
        self._of[key] += by
        if not self._of[key]:
            del self._of[key]


@dataclass(slots=True, eq=False)
class Way:
    """A way in that stands for an offer, or that somebody has come by."""

    key: Key
    grant: Grant
    facts: Mapping[str, Any]
    """What the log says of the offer."""
    said: tuple[bytes, bytes] = (b"", b"")
    """Address and port, in the client's own words."""
    peer: Endpoint | None = None
    """Who has come. None: nobody yet."""


class Ways:
    """All ways of one session. The engine owns them."""

    __slots__ = ("_coming", "_moving", "_options", "_peers", "_pinholes", "_waiting")

    def __init__(self, peers: Peers, options: IrcOptions, pinholes: Pinholes, waiting: Waiting) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._waiting = waiting
        self._coming: dict[Key, Way] = {}
        """Where nobody has come yet, by where the one who offers waits."""
        self._moving: dict[int, Way] = {}
        """Where somebody has come, by the number of the grant."""

    # -- opening ---------------------------------------------------------------------------------------------------

    def open_to_client(self, port: int, facts: Mapping[str, Any], said: tuple[bytes, bytes]) -> Way | str:
        """Open a way to the client, which waits at this port. Returns why not, as one word, if it cannot be opened.

        What each must believe:
        1) The client waits at its own address and port, whatever it says (IR11).
        2) Others find it where the server's side knows it: at its own address and port, or at a port of ours (IR13).
        3) The client sees them come from where they are; from where it knows the server, if what is on the server's
           side is hidden from it, or of another family.
        """
        peers = self._peers
        listen = Endpoint(peers.client_as_seen.host, 0 if peers.is_mapped(CLIENT) else port)
        version = listen.host.version
        allow = tuple(net for net in self._options.dcc_peers if net.version == version)
        if not allow:
            if self._options.dcc_peers:
                return "no_peers_of_family"
            allow = ANYBODY[version]
        hides = peers.is_mapped(SERVER) or peers.client.host.version != version
        source = Endpoint(peers.server_as_seen.host, 0) if hides else None
        target = Endpoint(peers.client.host, port)
        expect = _expect(facts, listen, allow, target, source, self._options.open_seconds)
        return self._open("out", expect, facts, said)

    def open_to_stranger(self, at: Endpoint, facts: Mapping[str, Any]) -> Way | str:
        """Open a way for the client alone to a stranger who waits there. Returns why not, as one word."""
        peers = self._peers
        if not at.host.version == peers.client.host.version == peers.client_as_seen.host.version:
            return "other_family"
        if at.host in {peers.client.host, peers.client_as_seen.host}:
            return "own_address"
        # The word of a stranger opens nothing that the session's own server could not be in: no host of ours (IR17).
        party = Party(
            at, None, None, only(at.host), host=peers.server.host, side=SERVER, is_inside=peers.is_mapped(SERVER)
        )
        if not self._pinholes.may_wait(party):
            return "third_host"
        source = Endpoint(peers.client_as_seen.host, 0)
        expect = _expect(facts, at, only(peers.client.host), at, source, INBOUND_OPEN_SECONDS)
        return self._open("in", expect, facts, (b"", b""))

    def _open(
        self, direction: Direction, expect: Expect, facts: Mapping[str, Any], said: tuple[bytes, bytes]
    ) -> Way | str:
        key = direction, expect.target
        if (before := self._coming.get(key)) is not None:
            # The same offer again, perhaps to another user: the port waits for one connection, and so does its way.
            assert expect.open_seconds is not None
            self._pinholes.renew(before.grant, expect.allow, expect.open_seconds)
            before.facts, before.said = facts, said
            return before
        client = self._peers.client.host
        count = sum(direction == other for other, _ in self._coming)
        if count >= self._options.max_waiting or not self._waiting.has_room(direction, client):
            return "too_many"
        grant = self._pinholes.open(expect)
        if isinstance(grant, Refusal):
            return grant.reason
        self._waiting.change(direction, client, 1)
        way = self._coming[key] = Way(key, grant, facts, said)
        return way

    # -- looking up ------------------------------------------------------------------------------------------------

    def announced(self, port: int) -> Way | None:
        """The way of the client's that others know by this port."""
        return next((way for way in self._of_client() if way.grant.listen.port == port), None)

    def offered(self, port: int) -> Way | None:
        """The way to this port of the client. If it was offered more than once, the last one counts."""
        return next((way for way in self._of_client() if way.key[1].port == port), None)

    def _of_client(self) -> Iterator[Way]:
        for way in (*self._coming.values(), *reversed(self._moving.values())):
            if way.key[0] == "out":
                yield way

    @property
    def is_used(self) -> bool:
        """Whether a connection lasts that came by one of them."""
        return bool(self._moving)

    # -- what happens to them --------------------------------------------------------------------------------------

    def event(self, grant: Grant, event: PinholeEvent) -> Note | None:
        """Somebody has come, or a way is gone. Returns what the log is told of a connection that has ended."""
        key = next((key for key, way in self._coming.items() if way.grant.id == grant.id), None)
        if isinstance(event, Closed):
            if key is not None:
                self._forget(key)
            way = self._moving.pop(grant.id, None)
            return None if way is None else _transfer(way, event)
        if key is not None:
            way = self._moving[grant.id] = self._forget(key)
            way.peer = event.peer
        return None

    def _forget(self, key: Key) -> Way:
        self._waiting.change(key[0], self._peers.client.host, -1)
        return self._coming.pop(key)

    def close_waiting(self) -> None:
        """Nobody may come any more. Who has come stays (IR18)."""
        for key in tuple(self._coming):
            self._pinholes.close(self._forget(key).grant)

    def end(self) -> list[Note]:
        """Nobody follows the connections any more. The log is told of them, with what is known."""
        self.close_waiting()
        moving, self._moving = self._moving, {}
        return [_transfer(way, None) for way in moving.values()]


def _expect(
    facts: Mapping[str, Any],
    listen: Endpoint,
    allow: tuple[Network, ...],
    target: Endpoint,
    source: Endpoint | None,
    open_seconds: float,
) -> Expect:
    """One connection, for what is offered."""
    purpose = SEND if facts["type"] in SENDING else CHAT
    return Expect(
        transport=Transport.TCP,
        purpose=purpose,
        trigger=f"DCC {facts['type']}",
        listen=listen,
        allow=allow,
        target=target,
        source=source,
        idle_seconds=IDLE_SECONDS[purpose],
        open_seconds=open_seconds,
    )


def _transfer(way: Way, closed: Closed | None) -> Note:
    facts = {name: way.facts[name] for name in ("direction", "type", "nick", "file", "size") if name in way.facts}
    facts |= {"peer": way.peer, "bytes_in": None, "bytes_out": None, "seconds": None, "result": "unfinished"}
    if closed is not None:
        facts |= {"bytes_in": closed.bytes_in, "bytes_out": closed.bytes_out}
        facts |= {"seconds": round(closed.seconds, 6), "result": closed.reason}
    return Note("irc.transfer", facts)
