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

import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from protocols.contract.addresses import Host, Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Copy, Effect, Finish, Note, Outbox, Resolve, Send, Splice, violation
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import AnyGrant, Closed, Grant, PinholeEvent, Pinholes
from protocols.tns import address as text
from protocols.tns import wire
from protocols.tns.options import PERMITS, TnsOptions
from protocols.tns.redirect import MAX_TEXT, Ask, Follow, Redirect, Redirected, Refuse, Step
from protocols.tns.wire import Kind
from protocols.toolbox import tls
from protocols.toolbox.copies import with_copies
from protocols.toolbox.packets import Packets

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_HELD = 65536
"""How many bytes of the listener may wait behind a redirect while its names are resolved."""
MAX_RESENDS = 5
"""How often a listener may ask for the CONNECT again (T10)."""
MAX_ANSWERS = 16
"""How many packets may come before the answer that ends the handshake."""

REFUSED, TIMED_OUT = 12564, 12535
"""What the client is told by us: ORA-12564 TNS:connection refused, ORA-12535 TNS:operation timed out."""

_LOGGED = {
    "service": ("CONNECT_DATA", "SERVICE_NAME"),
    "sid": ("CONNECT_DATA", "SID"),
    "program": ("CONNECT_DATA", "CID", "PROGRAM"),
    "host": ("CONNECT_DATA", "CID", "HOST"),
    "user": ("CONNECT_DATA", "CID", "USER"),
}
"""What the log tells of the connect data. Nothing else is told: other parameters may hold secrets (T8)."""


class State(Enum):
    """How far the handshake has come.

    START --CONNECT--> WAIT --ACCEPT, REFUSE, any other--> relayed unread
      ^                 | |
      +-----RESEND------+ +--REDIRECT--> REDIRECT --whole, resolved, open--> REDIRECTED
    """

    START = auto()
    """The client's CONNECT is to come."""
    WAIT = auto()
    """The listener's answer to the CONNECT is to come."""
    REDIRECT = auto()
    """The listener's answer is a redirect that is not whole, or whose names are not resolved."""
    REDIRECTED = auto()
    """The redirect was passed on, or refused. Whatever still comes is ignored."""


class TnsEngine(Engine):
    """One connection to a listener, until the listener has answered: it accepts the client, refuses it, or sends it
    elsewhere.

    The driver calls the engine. The states are those of `State`; redirect.py follows redirects.
    """

    __slots__ = (
        "_buffers",
        "_connect_data",
        "_ended",
        "_ends_at",
        "_has_finished",
        "_hides",
        "_is_copied",
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
        "_waiting",
    )

    def __init__(self, peers: Peers, options: TnsOptions, pinholes: Pinholes, now: float) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._now = now
        self._out = Outbox()
        self._buffers = {side: Packets(wire.length_of) for side in Side}
        self._state = State.START
        self._is_copied = False
        """Somebody traces the session."""
        self._hides = False
        """A part of connect data has passed, in which half of a password may stand: the step at hand is not copied."""
        self._is_new = True
        """Nothing has come from the client."""
        self._ends_at: float | None = now + options.handshake_seconds
        self._packets = self._resends = 0
        self._version = 0
        self._connect_data: bytes | None = None
        """The connect data, as far as it has come; None once it is in the log."""
        self._missing = 0
        """Bytes of connect data that are still to come in DATA packets (T7)."""
        self._redirect: Redirect | None = None
        self._ended: set[Side] = set()
        self._has_finished = False
        """The client has been told that nothing more comes."""
        self._waiting: dict[int, Grant] = {}
        """Pinholes that the redirected client has not come to yet."""

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """Read the packets that are whole now. A fault ends the session, and never raises an exception."""
        self._now, self._hides = now, False
        if self._state is State.REDIRECTED:
            self._ends_at = now + self._idle
            return (Send(side.other, data),)
        if self._is_new and side is CLIENT:
            self._is_new = False
            if tls.begins(data):
                return self._tls(data)
        self._buffers[side].push(data)
        try:
            if self._is_asking and len(self._buffers[side]) > MAX_HELD:
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

    def copy(self, is_wanted: bool) -> None:
        """Return copies of packets from now on, or no more."""
        self._is_copied = is_wanted

    def _take(self) -> list[Effect]:
        effects = self._out.take()
        if self._is_copied:
            effects = [each for each in effects if not isinstance(each, Copy)] if self._hides else with_copies(effects)
        for number, effect in enumerate(effects):
            if isinstance(effect, Abort | Splice):
                return effects[: number + 1]
        return effects

    def _tls(self, data: bytes) -> Sequence[Effect]:
        if self._options.tls == "deny":
            return tls.is_denied("tns")
        return tls.passes("tns"), Send(SERVER, data), Splice(self._idle)

    def _read(self, side: Side) -> None:
        buffer = self._buffers[side]
        # Packets behind a redirect are no part of it, however long a name takes to resolve.
        while not (side is SERVER and self._is_asking) and (packet := buffer.pop()) is not None:
            self._packets += 1
            if self._is_copied:
                self._out.add(Copy(side, True, packet, b""))
            if self._packets > MAX_ANSWERS + 2 * MAX_RESENDS:
                raise Malformed("no end of packets before the answer")
            if side is CLIENT:
                self._of_client(packet)
            elif self._of_server(packet):
                return

    # -- the client --------------------------------------------------------------------------------------------------

    def _of_client(self, packet: bytes) -> None:
        if self._missing > 0 and wire.kind(packet) == Kind.DATA:  # the packet may come behind the listener's RESEND
            payload = packet[wire.DATA_BYTES :]
            self._hides = self._hides or bool(self._connect_data) or len(payload) < self._missing
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
        """Tell the log who wants which service, as soon as that is known. Parameters that have not come by then are
        left out."""
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
        """Read a packet of the listener. Returns whether nothing more is to be read."""
        if self._state is State.START:
            raise Malformed("the listener speaks first")
        if self._redirect is not None:
            self._redirect.add(packet)
            self._do(self._redirect.step())
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
                self._redirect = Redirect(packet, self._peers, self._options, self._pinholes, self._out, self._idle)
                self._state = State.REDIRECT
                self._do(self._redirect.step())
                return self._state is not State.REDIRECT
            case other:
                self._note("tns.unread", type=other)
                self._step_aside(packet)
                return True
        return False

    def _step_aside(self, packet: bytes) -> None:
        """Relay everything from here on unread, beginning with the bytes that are already here (T29)."""
        self._out.send(CLIENT, packet + self._buffers[SERVER].rest())
        if left := self._buffers[CLIENT].rest():
            self._out.send(SERVER, left)
        self._out.add(Splice(self._idle, self._options.oob == "carry"))

    @property
    def _idle(self) -> float:
        """How long the connection may be silent. This depends on whether a redirect has led the client here."""
        role = self._peers.role
        own = self._options.redirect_idle if isinstance(role, Redirected) and role.via else None
        return own if own is not None else self._options.idle

    @property
    def _is_asking(self) -> bool:
        """Whether a redirect is held until the addresses of a name are known."""
        return self._redirect is not None and self._redirect.awaited is not None

    # -- redirects ---------------------------------------------------------------------------------------------------

    def _do(self, step: Step | None) -> None:
        """Do what a step of the redirect asks for."""
        match step:
            case Ask(name):
                self._out.add(Resolve(name))
            case Refuse(rule, why):
                self._refuse(rule, why)
            case Follow(packet, grants):
                self._waiting.update((grant.id, grant) for grant in grants)
                self._pass_on(packet)
            case None:
                pass  # more of the redirect is to come

    def resolved(self, name: str, hosts: tuple[Host, ...], now: float) -> Sequence[Effect]:
        """The addresses of a name that a redirect has."""
        self._now = now
        if self._redirect is None or name != self._redirect.awaited:
            return ()
        self._do(self._redirect.resolved(name, hosts))
        return self._take()

    def _pass_on(self, packet: bytes) -> None:
        """The redirect goes to the client, and behind it what the listener has sent meanwhile."""
        self._state = State.REDIRECTED
        self._redirect = None
        self._ends_at = self._now + self._idle
        self._out.send(CLIENT, packet + self._buffers[SERVER].rest())
        if left := self._buffers[CLIENT].rest():
            self._out.send(SERVER, left)
        if SERVER in self._ended:
            self._has_finished = True
            self._out.add(Finish(CLIENT))

    def _refuse(self, rule: str, why: str) -> None:
        if rule != "tns.redirect_elsewhere":
            self._violation(rule, why, "refused")
        self._give_up(REFUSED, f"redirect not followed: {why}", "redirect_refused")

    def _give_up(self, error: int, why: str, reason: str) -> None:
        """End the session, and tell the client why in its own protocol."""
        if not self._has_finished:
            self._note("tns.refused", error=error)
            self._out.send(CLIENT, wire.refuse(error, why))
        self._out.add(Abort(reason))
        self._state = State.REDIRECTED
        self._redirect = None

    # -- ends and clocks ---------------------------------------------------------------------------------------------

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A side has ended. Pass on what was not whole, and then the end; but half a redirect is refused."""
        self._now = now
        if side in self._ended:
            return ()
        self._ended.add(side)
        if side is SERVER and self._is_asking:
            return ()  # the listener has said all; the client hears that after the redirect
        waiting = self._buffers[side].rest()
        if side is SERVER and (self._state is State.REDIRECT or self._begins_redirect(waiting)):
            self._refuse("tns.bad_redirect", "the listener ended within it")  # half a redirect could not be rewritten
            return self._take()
        self._has_finished = self._has_finished or side is SERVER
        return ((Send(side.other, waiting),) if waiting else ()) + (Finish(side.other),)

    def _begins_redirect(self, data: bytes) -> bool:
        return self._state is State.WAIT and len(data) > 4 and wire.kind(data) == Kind.REDIRECT

    def is_needed(self) -> bool:
        """Whether a redirected client is still to come. It closes this connection and opens the next one in either
        order (T25)."""
        return bool(self._waiting)

    def deadline(self) -> float | None:
        """When the handshake has taken too long, or a redirected client has been silent for too long."""
        return self._ends_at

    def tick(self, now: float) -> Sequence[Effect]:
        """End the session; a client that waits for its listener hears why."""
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
        """A pinhole that a redirect has opened is closed, so it needs no more care."""
        if isinstance(event, Closed):
            self._waiting.pop(grant.id, None)
        return ()

    # -- lines of log ------------------------------------------------------------------------------------------------

    def _note(self, event: str, **facts: Any) -> None:
        self._out.add(Note(event, facts))

    def _violation(self, rule: str, detail: str, action: str) -> None:
        self._out.add(violation(rule, detail, action))


def start() -> Callable[[Peers, Any, Pinholes, float], TnsEngine]:
    """Make an engine. Sessions know nothing of each other: the one that a redirect has led to learns of the first by
    `Redirected`."""
    return TnsEngine


HELPER = Helper(
    name="tns",
    summary="Oracle TNS: redirects of listeners, and nothing after the handshake",
    ports=((Transport.TCP, 1521),),
    options=TnsOptions,
    permits=PERMITS,
    least={
        "handshake_seconds": (60, "Oracle's own limit is 60 s"),
        "idle": (300, "a pool of connections is silent for longer"),
        "hops": (1, "no redirect is followed, but clusters redirect each client; `mode: observe` leaves all alone"),
    },
    secret=re.compile(rb"(\([ \t\r\n]*[A-Z_]*(?:PASSWORD|PASSPHRASE|TOKEN)[ \t\r\n]*=)[^)]*", re.IGNORECASE),
    start=start,
    purposes=("tns",),
    roles=(Redirected,),
    urgent_inline=False,
)
