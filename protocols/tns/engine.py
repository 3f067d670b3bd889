"""Oracle TNS: a listener's redirect followed and, where NAT is in force, rewritten; then out of the way.

There is no public specification; ids in comments (T14) are those of `protocols/FACTS.md`.

    client: CONNECT (+ DATA)   read for the log, passed on           wire.py
    server: RESEND             the same once more
            ACCEPT, REFUSE     passed on; from here on bytes are relayed unread, both ways
            REDIRECT           held until its text is whole          address.py
                               -> names resolved, addresses checked, a pinhole for each, text rewritten, passed on

The client then opens a new connection to where it was sent. That comes through the pinhole and is a session of its own
with an engine of its own, which knows by its role, `Redirected`, how the client got there.

House rules:
- Nothing is announced that is not open: a redirect is passed on when its pinholes stand (T25).
- Where no NAT maps the server, nothing is rewritten, and the pinhole stands on the very address that was named.
- A redirect that cannot be followed becomes a REFUSE with a text that says why.

Not supported: what is inside TLS; rewriting of the connect data, which names the address that the client dialled (T8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import ip_network
from typing import Any

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Malformed, Network, Peers, Side, Transport, only
from protocols.contract.effects import Abort, Effect, Finish, Note, Outbox, Resolve, Send, Splice, violation
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Pinholes, Reader, Refusal
from protocols.tns import address as text
from protocols.tns import wire
from protocols.tns.options import TnsOptions
from protocols.tns.wire import Kind, PacketBuffer
from protocols.toolbox.spans import Span, replace

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_TEXT = 8192
"""Of a redirect, and of connect data that is read (T14)."""
MAX_HELD = 65536
"""Behind a redirect, while its names are resolved."""
MAX_RESENDS = 5
MAX_ANSWERS = 16
"""Packets before the answer that ends the handshake."""
MAX_RESOLVED = 4
"""Addresses of one name that are opened for."""

TLS_HANDSHAKE = 0x16
REFUSED, TIMED_OUT = 12564, 12535
"""What the client is told by us: ORA-12564 TNS:connection refused, ORA-12535 TNS:operation timed out."""

_LOGGED = {
    "service": ("CONNECT_DATA", "SERVICE_NAME"),
    "sid": ("CONNECT_DATA", "SID"),
    "program": ("CONNECT_DATA", "CID", "PROGRAM"),
    "host": ("CONNECT_DATA", "CID", "HOST"),
    "user": ("CONNECT_DATA", "CID", "USER"),
}
"""Of the connect data, and nothing else: other parameters may hold secrets (T8)."""


class State(Enum):
    START = auto()
    """A CONNECT is to come."""
    WAIT = auto()
    """And the listener's answer."""
    REDIRECT = auto()
    """Which is a redirect that is not whole, or whose names are not resolved."""
    REDIRECTED = auto()
    """Passed on; what still comes means nothing."""


@dataclass(frozen=True, slots=True)
class Redirected:
    """The role of an engine whose client comes because a listener has sent it."""

    via: tuple[Endpoint, ...]
    """The servers that have sent the client on, one after the other."""


class TnsEngine(Engine):
    __slots__ = (
        "_address",
        "_addresses",
        "_awaited",
        "_buffers",
        "_connect_data",
        "_ended",
        "_ends_at",
        "_has_finished",
        "_hosts",
        "_is_new",
        "_missing",
        "_now",
        "_options",
        "_out",
        "_packets",
        "_peers",
        "_pinholes",
        "_redirect",
        "_resends",
        "_state",
        "_version",
        "_via",
        "_waiting",
    )

    def __init__(self, peers: Peers, options: TnsOptions, pinholes: Pinholes, now: float) -> None:
        self._peers = peers
        self._via = peers.role.via if isinstance(peers.role, Redirected) else ()
        self._options = options
        self._pinholes = pinholes
        self._now = now
        self._out = Outbox()
        self._buffers = {side: PacketBuffer() for side in Side}
        self._state = State.START
        self._is_new = True
        """Nothing has come from the client."""
        self._ends_at: float | None = now + options.handshake_seconds
        self._packets = self._resends = 0
        self._version = 0
        self._connect_data: bytes | None = None
        """As far as it has come; None once it is in the log."""
        self._missing = 0
        self._redirect: wire.Redirect | None = None
        self._address = b""
        """The part of the redirect's text that says where to."""
        self._addresses: list[text.Address] = []
        self._hosts: dict[str, tuple[Host, ...]] = {}
        """Names in it and their addresses."""
        self._awaited: str | None = None
        self._ended: set[Side] = set()
        self._has_finished = False
        """The client has been told that nothing more comes."""
        self._waiting: dict[int, Grant] = {}
        """Pinholes that the redirected client has not come to yet."""

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._now = now
        if self._state is State.REDIRECTED:
            self._ends_at = now + self._idle
            return (Send(side.other, data),)
        if self._is_new and side is CLIENT:
            self._is_new = False
            if data[0] == TLS_HANDSHAKE:
                return self._tls(data)
        self._buffers[side].push(data)
        try:
            if self._awaited is not None and len(self._buffers[side]) > MAX_HELD:
                raise Malformed(f"more than {MAX_HELD} bytes behind a redirect")
            self._read(side)
        except Malformed as bad:
            if self._state is State.START:
                self._violation("tns.malformed", str(bad), "closed")
                self._out.add(Abort("not_tns"))
            else:
                self._violation("tns.malformed", str(bad), "refused")
                self._give_up(REFUSED, f"what came makes no sense: {bad}", "malformed")
        return self._take()

    def _take(self) -> list[Effect]:
        effects = self._out.take()
        for number, effect in enumerate(effects):
            if isinstance(effect, Abort | Splice):
                return effects[: number + 1]
        return effects

    def _tls(self, data: bytes) -> Sequence[Effect]:
        if self._options.tls == "deny":
            self._violation("tns.tls_denied", "the connection begins with TLS", "closed")
            return (*self._out.take(), Abort("tls_denied"))
        self._note("tns.tls", action="connection relayed unread")
        return (*self._out.take(), Send(SERVER, data), Splice(self._idle))

    def _read(self, side: Side) -> None:
        buffer = self._buffers[side]
        # What comes behind a redirect is no part of it, however long a name takes to resolve.
        while not (side is SERVER and self._awaited is not None) and (packet := buffer.pop()) is not None:
            self._packets += 1
            if self._packets > MAX_ANSWERS + 2 * MAX_RESENDS:
                raise Malformed("no end of packets before the answer")
            if side is CLIENT:
                self._of_client(packet)
            elif self._of_server(packet):
                return

    # -- the client --------------------------------------------------------------------------------------------------

    def _of_client(self, packet: bytes) -> None:
        if self._missing > 0 and wire.kind(packet) == Kind.DATA:  # it may come behind the listener's RESEND
            payload = packet[wire.DATA_BYTES :]
            self._missing -= len(payload)
            if self._connect_data is not None:
                self._connect_data += payload[: MAX_TEXT - len(self._connect_data)]
                self._tell_connect()
        elif self._state is State.START:
            connect = wire.read_connect(packet)
            self._state = State.WAIT
            if not self._resends:
                self._ends_at = self._now + self._options.handshake_seconds
            self._version = connect.version
            if not self._resends:
                self._connect_data = connect.data[:MAX_TEXT]
                self._missing = connect.missing
            if self._options.oob == "disable":
                packet = wire.without_attention(packet)
            self._tell_connect()
        self._out.send(SERVER, packet)

    def _tell_connect(self, is_whole: bool = False) -> None:
        """Who wants what, as soon as that is known; what was left out by then is left out."""
        if self._connect_data is None or (self._missing > 0 and not is_whole):
            return
        facts: dict[str, Any] = {"version": self._version}
        try:
            root = text.parse(self._connect_data)
        except Malformed:
            root = text.Node("", 0)
        inner = root.first("DESCRIPTION") or root
        facts |= {name: next(inner.values(*path), None) for name, path in _LOGGED.items()}
        self._connect_data = None
        self._note("tns.connect", **{name: fact for name, fact in facts.items() if fact is not None})

    # -- the listener ------------------------------------------------------------------------------------------------

    def _of_server(self, packet: bytes) -> bool:
        """Whether nothing more is to be read."""
        if self._state is State.START:
            raise Malformed("the listener speaks first")
        if self._redirect is not None:
            self._redirect.add(packet)
            self._gather()
            return self._state is State.REDIRECTED
        if wire.kind(packet) != Kind.RESEND:
            self._tell_connect(is_whole=True)
        match wire.kind(packet):
            case Kind.RESEND:
                self._resends += 1
                if self._resends > MAX_RESENDS:
                    raise Malformed("RESEND without end")
                self._state = State.START
                self._out.send(CLIENT, packet)
            case Kind.ACCEPT:
                self._note("tns.accepted", version=wire.accepted_version(packet))
                if self._options.oob == "disable":
                    packet = wire.accepted_without_attention(packet)
                self._step_aside(packet)
                return True
            case Kind.REFUSE:
                self._note("tns.refused", error=wire.refused_with(packet))
                self._step_aside(packet)
                return True
            case Kind.REDIRECT:
                self._redirect = wire.begin_redirect(packet, MAX_TEXT)
                self._state = State.REDIRECT
                self._gather()
                return self._state is not State.REDIRECT
            case other:
                self._note("tns.unread", type=other)
                self._step_aside(packet)
                return True
        return False

    def _step_aside(self, packet: bytes) -> None:
        """What follows is relayed unread, and before it what is already here (T29)."""
        self._out.send(CLIENT, packet + self._buffers[SERVER].rest())
        if left := self._buffers[CLIENT].rest():
            self._out.send(SERVER, left)
        self._out.add(Splice(self._idle, self._options.oob == "carry"))

    @property
    def _idle(self) -> float:
        own = self._options.redirect_idle if self._via else None
        return own if own is not None else self._options.idle

    # -- redirects ---------------------------------------------------------------------------------------------------

    def _gather(self) -> None:
        assert self._redirect is not None
        if len(self._redirect.text) > MAX_TEXT:
            raise Malformed(f"more than {MAX_TEXT} bytes of redirect text")
        if not self._redirect.is_whole:
            return
        if len(self._via) >= self._options.hops:
            self._refuse("tns.too_many_hops", f"more than {self._options.hops} redirects")
            return
        self._address = self._redirect.text.partition(b"\0")[0]
        try:
            self._addresses = text.addresses(self._address)
        except Malformed as bad:
            self._refuse("tns.bad_redirect", str(bad))
            return
        self._resolve()

    def _resolve(self) -> None:
        """The next name whose address is not known; the redirect is held while it is asked for."""
        for address in self._addresses:
            if address.protocol not in text.NETWORKED:
                continue
            if isinstance(address.host, str) and (name := address.host.lower()) not in self._hosts:
                known = next(
                    (host for alias, host in self._options.hosts.items() if _plain(alias) == _plain(name)), None
                )
                if known is None:
                    self._awaited = name
                    self._out.add(Resolve(name))
                    return
                self._hosts[name] = (known,)
        self._follow()

    def resolved(self, name: str, hosts: tuple[Host, ...], now: float) -> Sequence[Effect]:
        self._now = now
        if name != self._awaited or self._state is not State.REDIRECT:
            return ()
        self._awaited = None
        self._hosts[name] = hosts[:MAX_RESOLVED]
        self._resolve()
        return self._take()

    def _follow(self) -> None:
        """Open what may be opened, and send the redirect on; or refuse it as a whole."""
        assert self._redirect is not None
        is_mapped = self._peers.is_mapped(SERVER)
        changes: list[tuple[Span, bytes]] = []
        rewritten: list[dict[str, Any]] = []
        opened: list[tuple[Endpoint, Grant]] = []
        reason = ""
        for address in self._addresses:
            grants, why = self._open_for(address)
            opened += grants
            reason = reason or why
            if not is_mapped:
                continue
            if grants:
                target, grant = grants[0]
                changes += text.point(address, grant.listen)
                rewritten.append({"field": "address", "before": target, "after": grant.listen})
            else:
                changes.append((address.whole, b""))
        if not opened:
            self._refuse("tns.redirect_elsewhere", reason)
            return
        try:
            sent = self._redirect.as_it_came()
            if is_mapped:
                new = replace(self._address, sorted(changes)) + self._redirect.text[len(self._address) :]
                sent = self._redirect.with_text(new)
        except Malformed as bad:
            for _, grant in opened:
                self._pinholes.close(grant)
            self._refuse("tns.bad_redirect", str(bad))
            return
        if rewritten:
            self._note("address.rewritten", message="REDIRECT", changes=rewritten)
        for target, grant in opened:
            hop = len(self._via) + 1
            self._note("tns.redirected", **{"from": self._peers.server}, to=target, known_as=grant.listen, hop=hop)
        self._passed_on(sent)

    def _passed_on(self, sent: bytes) -> None:
        self._state = State.REDIRECTED
        self._redirect = None
        self._ends_at = self._now + self._idle
        self._out.send(CLIENT, sent + self._buffers[SERVER].rest())
        if left := self._buffers[CLIENT].rest():
            self._out.send(SERVER, left)
        if SERVER in self._ended:
            self._has_finished = True
            self._out.add(Finish(CLIENT))

    def _open_for(self, address: text.Address) -> tuple[list[tuple[Endpoint, Grant]], str]:
        """Pinholes to the hosts that an address names; none, and why."""
        if address.protocol not in text.NETWORKED:
            return [], self._elsewhere(address, f"protocol {address.protocol}")
        family = self._peers.server.host.version
        hosts = self._hosts[address.host.lower()] if isinstance(address.host, str) else (address.host,)
        if not hosts:
            return [], self._elsewhere(address, "the name has no address")
        found: list[tuple[Endpoint, Grant]] = []
        reason = "no address of the server's family"
        for host in hosts:
            target = Endpoint(host, address.port)
            if host.version != family:
                continue
            if why := self._forbidden(address, target):
                reason = why
                continue
            grant = self._open(target)
            if isinstance(grant, Refusal):
                reason = grant.reason
                continue
            found.append((target, grant))
            if self._peers.is_mapped(SERVER):
                break  # one will do: the text names one
        return found, "" if found else self._elsewhere(address, reason)

    def _elsewhere(self, address: text.Address, why: str) -> str:
        where = f"{address.host}:{address.port}"
        self._violation("tns.redirect_elsewhere", f"{where}: {why}", "not opened")
        return f"{where} {why}"

    def _forbidden(self, address: text.Address, target: Endpoint) -> str:
        """Why the client must not be led there (T23); empty if it may."""
        host = target.host
        if target.port < LEAST_PORT:
            return "the port is below 1024"
        if target == self._peers.server or target in self._via:
            return "it has been there"
        if host.is_loopback or host.is_link_local or host.is_multicast or host.is_unspecified:
            return "no address of a server"
        if host == self._peers.server.host:
            return ""
        for allowed in self._options.redirect_to:
            if isinstance(allowed, str):
                if isinstance(address.host, str) and _is_named(address.host, allowed):
                    return ""
            elif host in allowed:
                return ""
        if not self._options.redirect_to and not self._peers.is_mapped(SERVER) and host in _neighbours(self._peers):
            return ""
        return "the policy does not name it (redirect_to)"

    def _open(self, target: Endpoint) -> Grant | Refusal:
        peers = self._peers
        listen = Endpoint(peers.server_as_seen.host, 0) if peers.is_mapped(SERVER) else target
        grant = self._pinholes.open(
            Expect(
                Transport.TCP,
                "tns",
                "REDIRECT",
                listen=listen,
                allow=only(peers.client.host),
                target=target,
                source=Endpoint(peers.client_as_seen.host, 0),
                idle_seconds=self._idle,
                reader=Reader("tns", Redirected((*self._via, peers.server))),
            )
        )
        if isinstance(grant, Grant):
            self._waiting[grant.id] = grant
        return grant

    def _refuse(self, rule: str, why: str) -> None:
        if rule != "tns.redirect_elsewhere":
            self._violation(rule, why, "refused")
        self._give_up(REFUSED, f"redirect not followed: {why}", "redirect_refused")

    def _give_up(self, error: int, why: str, reason: str) -> None:
        """The client hears why, in its own protocol."""
        if not self._has_finished:
            self._note("tns.refused", error=error)
            self._out.send(CLIENT, wire.refuse(error, why))
        self._out.add(Abort(reason))
        self._state = State.REDIRECTED

    # -- ends and clocks ---------------------------------------------------------------------------------------------

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        self._now = now
        if side in self._ended:
            return ()
        self._ended.add(side)
        if side is SERVER and self._state is State.REDIRECT and self._awaited is not None:
            return ()  # it has said all; the client hears that after the redirect
        waiting = self._buffers[side].rest()
        if side is SERVER and (self._state is State.REDIRECT or self._begins_redirect(waiting)):
            self._refuse("tns.bad_redirect", "the listener ended within it")  # half of it could not be rewritten
            return self._take()
        self._has_finished = self._has_finished or side is SERVER
        return ((Send(side.other, waiting),) if waiting else ()) + (Finish(side.other),)

    def _begins_redirect(self, data: bytes) -> bool:
        return self._state is State.WAIT and len(data) > 4 and wire.kind(data) == Kind.REDIRECT

    def is_needed(self) -> bool:
        """The client closes this connection, and comes to where it was sent, in either order (T25)."""
        return bool(self._waiting)

    def deadline(self) -> float | None:
        return self._ends_at

    def tick(self, now: float) -> Sequence[Effect]:
        self._now = now
        if self._ends_at is None or now < self._ends_at:
            return ()
        self._ends_at = None
        if self._state is State.REDIRECTED:
            return (Abort("idle"),)
        if self._state is State.START:
            return (Abort("handshake_timeout"),)
        self._give_up(TIMED_OUT, "no answer of the listener in time", "handshake_timeout")
        return self._take()

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        if isinstance(event, Closed):
            self._waiting.pop(grant.id, None)
        return ()

    # -- lines of log ------------------------------------------------------------------------------------------------

    def _note(self, event: str, **facts: Any) -> None:
        self._out.add(Note(event, facts))

    def _violation(self, rule: str, detail: str, action: str) -> None:
        self._out.add(violation(rule, detail, action))


def _plain(name: str) -> str:
    """Names are the same in any case, and with the dot of the root at their end (RFC 1034 s.3.1)."""
    return name.lower().rstrip(".")


def _is_named(name: str, pattern: str) -> bool:
    """`*.example.org` is every name below it."""
    name, pattern = _plain(name), _plain(pattern)
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _neighbours(peers: Peers) -> Network:
    host = peers.server.host
    return ip_network(f"{host}/{24 if host.version == 4 else 64}", strict=False)


def start() -> Callable[[Peers, Any, Pinholes, float], TnsEngine]:
    """Sessions know nothing of each other; what one has led to, the other hears by `Redirected`."""
    return TnsEngine


HELPER = Helper(
    name="tns",
    summary="Oracle TNS: redirects of listeners, and nothing after the handshake",
    ports=((Transport.TCP, 1521),),
    options=TnsOptions,
    start=start,
    roles=(Redirected,),
    urgent_inline=False,
)
