"""IRC: a session with a server, and the connections between users that are agreed on in it (DCC).

RFC 1459, RFC 2812 (lines, numerics), the CTCP and DCC descriptions of the clients, IRCv3 (tags, echo-message, tls). Ids
in comments (IR13) are those of `protocols/FACTS.md`.

    client                    pinhole                   server                    another user
      | CAP, NICK, USER -------> | ------------------------> |
      | <----------------------- | <------------------ 001   |                    from here on offers count (IR4)
      | PRIVMSG, an offer: a --> | open b, PRIVMSG: b -----> | --------------------> |
      | <======================= | <============================================== | connects to b

             bytes in, clocks, ends            engine.py
                 |
             exchange.py                       what users say to each other, both ways
                 |        |
             ways.py    dcc.py, wire.py        what stands open; how it is written

House rules:
- The one who comes is a stranger to the session, and may be anywhere. So nothing is opened unless the policy says
  `dcc: allow`, and then for one connection to the client itself, at a port that is no service of its host (IR14).
- Offers count at the beginning of a whole line alone, from a client that has registered, and in one direction. So a
  browser or a text that a user was made to send opens nothing (IR3, IR4, IR6; CVE-2022-2663).
- What the server says opens nothing, unless `inbound: open` (IR16, IR17).
- What is not understood passes as it came.

Not supported: DCC of sessions that are encrypted, and of links between servers (both are relayed unread); offers that a
client makes by other means than PRIVMSG.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from protocols.contract.addresses import Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Effect, Finish, Note, Outbox, Splice, violation
from protocols.contract.engine import Begun, Engine, Helper
from protocols.contract.pinholes import AnyGrant, Grant, PinholeEvent, Pinholes
from protocols.irc import wire
from protocols.irc.exchange import Exchange
from protocols.irc.options import PERMITS, IrcOptions
from protocols.irc.ways import PURPOSES, Waiting, Ways
from protocols.irc.wire import Message
from protocols.toolbox import tls
from protocols.toolbox.copies import LineCopies, with_copies
from protocols.toolbox.lines import LineBuffer, LineTooLong

CLIENT, SERVER = Side.CLIENT, Side.SERVER

TLS_CAPABILITIES = frozenset({b"tls", b"sts"})
"""By these a server says that a client may, or must, come by TLS (IRCv3)."""


class IrcEngine(Engine):
    """One connection of a client to its server."""

    __slots__ = (
        "_asks_for_tls", "_copies", "_exchange", "_finished", "_heard_at", "_hides_tls", "_is_over", "_is_silent",
        "_lines", "_nick", "_options", "_out", "_spoken", "_user", "_ways",
    )  # fmt: skip

    def __init__(self, peers: Peers, options: IrcOptions, pinholes: Pinholes, now: float, waiting: Waiting) -> None:
        self._options = options
        self._out = Outbox()
        self._ways = Ways(peers, options, pinholes, waiting)
        self._exchange = Exchange(peers, options, self._ways, self._out)
        self._lines = {side: LineBuffer(wire.MAX_LINE_BYTES) for side in Side}
        self._copies: LineCopies | None = None
        self._hides_tls = options.tls == "deny" or options.starttls == "hide"
        self._is_silent = True
        """The client has not sent a byte yet."""
        self._spoken = False
        """The client has said something that begins a session of IRC."""
        self._user = b""
        """The name by which the client registers."""
        self._nick = b""
        """The client's nick, as its server knows it. Empty: the server has not let it in yet."""
        self._asks_for_tls = False
        """The client has said STARTTLS, and the answer has not come."""
        self._finished: set[Side] = set()
        self._is_over = False
        """Nothing is read any more."""
        self._heard_at = now

    # -- bytes in --------------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """Read what a side has said, as far as it is whole."""
        if self._is_over or side in self._finished:
            return ()
        self._heard_at = now
        if self._copies is not None:
            for copy in self._copies.came(side, data):
                self._out.add(copy)
        lines = self._lines[side]
        lines.push(data)
        if side is CLIENT and self._is_silent:
            self._is_silent = False
            if tls.begins(data):  # a handshake has no line end to wait for
                self._begins_with_tls()
        try:
            while not self._is_over and (line := lines.pop()) is not None:
                self._read(side, line)
        except Malformed as fault:
            self._bad_line(fault)
        return self._done()

    def _done(self) -> Sequence[Effect]:
        effects = self._out.take()
        return effects if self._copies is None else with_copies(effects)

    def copy(self, is_wanted: bool) -> None:
        """Return copies of lines from now on, or no more."""
        if is_wanted != (self._copies is not None):
            begun = {side: bytes(lines) for side, lines in self._lines.items()}
            self._copies = LineCopies(begun) if is_wanted else None

    def _read(self, side: Side, line: bytes) -> None:
        if b"\0" in line:
            raise Malformed("NUL in a line")
        message = wire.read(line)
        if side is CLIENT:
            self._from_client(line, message)
        else:
            self._from_server(line, message)

    # -- from the client -------------------------------------------------------------------------------------------

    def _from_client(self, line: bytes, message: Message | None) -> None:
        if not self._spoken and line.strip(b"\r\n"):
            if message is None or message.command not in wire.FIRST | wire.OF_SERVERS:
                self._not_irc()
                return
            self._spoken = True
        if message is None:
            self._out.send(SERVER, line)
            return
        match message.command:
            case "USER" if not self._nick:
                self._user = message.param(0)
            case "PRIVMSG" if not self._finished:
                line = self._exchange.from_client(line, message, bool(self._nick))
            case "NOTICE":
                line = self._exchange.notice(line, message)
            case "STARTTLS" if self._hides_tls:
                self._out.add(Note("irc.tls", {"action": "STARTTLS answered 691"}))
                if SERVER not in self._finished:  # else the client has been told that nothing more will come
                    self._out.send(CLIENT, b"691 * :STARTTLS is not available\r\n")
                return
            case "STARTTLS":
                self._asks_for_tls = True
        self._out.send(SERVER, line)
        if message.command in wire.OF_SERVERS and not self._nick:
            self._out.add(Note("irc.unread", {"reason": "server_link"}))
            self._relay_unread()

    def _begins_with_tls(self) -> None:
        if self._options.tls == "deny":
            for effect in tls.is_denied("irc"):
                self._out.add(effect)
            self._is_over = True
        else:
            self._out.add(tls.passes("irc"))
            self._relay_unread()

    def _not_irc(self) -> None:
        """Browsers and servers can be made to send requests of their own protocols (IR3). There is no answer, because
        it would be taken for one of that protocol."""
        self._out.add(violation("irc.not_irc", "the first line is none of IRC", "closed"))
        self._abort("not_irc")

    # -- from the server -------------------------------------------------------------------------------------------

    def _from_server(self, line: bytes, message: Message | None) -> None:
        if message is None:
            self._out.send(CLIENT, line)
            return
        match message.command:
            case wire.WELCOME if self._user and not self._nick and message.param(0):
                self._nick = message.param(0)
                facts = {"nick": self._nick, "user": self._user, "server_name": message.prefix}
                self._out.add(Note("irc.registered", facts))
            case "NICK" if self._nick and wire.is_same_nick(message.nick, self._nick) and message.param(0):
                self._nick = message.param(0)
            case "PRIVMSG" if self._nick and not self._finished:
                line = self._exchange.from_server(line, message, self._nick)
            case "CAP" if self._hides_tls:
                line = self._without_tls(line, message)
            case wire.STARTTLS_FAILED:
                self._asks_for_tls = False
        self._out.send(CLIENT, line)
        if message.command == wire.STARTTLS_AGREED and self._asks_for_tls:
            self._out.add(Note("irc.tls", {"action": "STARTTLS: connection relayed unread"}))
            self._relay_unread()

    def _without_tls(self, line: bytes, message: Message) -> bytes:
        left = wire.without_capabilities(line, message, TLS_CAPABILITIES)
        if left != line:
            self._out.add(Note("irc.tls", {"action": "capabilities tls and sts taken out of a list"}))
        return left

    # -- connections of users --------------------------------------------------------------------------------------

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """Somebody has come to a pinhole, or it is gone."""
        note = self._ways.event(grant, event) if isinstance(grant, Grant) else None
        return () if note is None else (note,)

    def is_needed(self) -> bool:
        """Whether a connection of users goes on, of which the log is told at its end (IR18)."""
        return self._ways.is_used

    def stop(self, now: float) -> Sequence[Effect]:
        self._is_over = True
        return self._ways.end()

    # -- ends ------------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When the session is idle."""
        return None if self._is_over else self._heard_at + self._options.idle

    def tick(self, now: float) -> Sequence[Effect]:
        if not self._is_over and self._heard_at + self._options.idle <= now:
            self._abort("idle", b"Closing link: idle for too long")
        return self._done()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A side has ended. What it has left without a line end is no line, and goes on as it is."""
        if self._is_over or side in self._finished:
            return ()
        self._ways.close_waiting()
        self._finished.add(side)
        self._is_over = len(self._finished) == 2
        try:
            if rest := self._lines[side].pop_rest():
                self._out.send(side.other, rest)
        except Malformed as fault:
            self._bad_line(fault)
            return self._done()
        self._out.add(Finish(side.other))
        return self._done()

    def _bad_line(self, fault: Malformed) -> None:
        """A line is too long, or holds a NUL. The two sides could then differ about where the next line begins."""
        reason = "line_too_long" if isinstance(fault, LineTooLong) else "nul"
        self._out.add(violation(f"irc.{reason}", str(fault), "closed"))
        self._abort(reason, b"Closing link: a line that cannot be relayed")

    def _abort(self, reason: str, told: bytes = b"") -> None:
        """End the session. `told`: the client learns why."""
        if told and SERVER not in self._finished:
            self._out.send(CLIENT, b"ERROR :" + told + b"\r\n")
        self._ways.close_waiting()
        self._out.add(Abort(reason))
        self._is_over = True

    def _relay_unread(self) -> None:
        """Nothing more can be read. What has come goes on first."""
        if self._finished:
            self._abort("half_closed")  # nobody is left to agree on anything
            return
        for note in self._ways.end():
            self._out.add(note)
        for side in Side:
            if rest := bytes(self._lines[side]):
                self._out.send(side.other, rest)
        self._out.add(Splice(self._options.idle))
        self._is_over = True


class IrcEngines:
    """Makes the engines of one daemon, which share what each client may have waiting."""

    def __init__(self) -> None:
        self._waiting = Waiting()

    def __call__(self, peers: Peers, options: IrcOptions, pinholes: Pinholes, now: float) -> Engine:
        return IrcEngine(peers, options, pinholes, now, self._waiting)

    def standing(self) -> Mapping[str, int]:
        return {"offers": len(self._waiting)}


HELPER = Helper(
    name="irc",
    summary="IRC: files and chats between users (DCC)",
    ports=((Transport.TCP, 6667),),
    off={(Transport.TCP, 6667): "most of IRC is encrypted, and what DCC opens is open to strangers"},
    is_of_use=lambda options: options != IrcOptions(),
    options=IrcOptions,
    permits=PERMITS,
    servers_begin=(Begun(Transport.TCP),),
    start=IrcEngines,
    purposes=PURPOSES,
    secret=re.compile(
        rb"^( *(?:@[^ \r\n]* +)?(?::[^ \r\n]+ +)?(?:PASS|OPER|AUTHENTICATE|WEBIRC|NS|NICKSERV|IDENTIFY|REGISTER"
        rb"|PRIVMSG +(?:NICKSERV|AUTHSERV|Q|X))\b)[^\r\n]+",
        re.MULTILINE | re.IGNORECASE,
    ),
)
