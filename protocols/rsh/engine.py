"""RSH and rexec: a command on another host, and a second connection back for its error output (rcmd(3), rexec(3)).

There is no standard (RFC 1282 is about rlogin); ids in comments (RS1) are those of `protocols/FACTS.md`.

    client -> server   PORT NUL        the way back is opened; the port becomes one of ours where NAT maps the client
    server -> client                   comes to that port for error output and signals, before anything else is said
    client -> server   USER NUL ...    held until all strings are whole, judged, told to the log, and passed on
    server -> client   NUL             the command runs: from here on bytes are relayed unread, both ways
                       or an error     and no command runs

What each must believe:
1) The client trusts a second connection that comes from the host it asked, at a port below 1024; so it comes from
   `server_as_seen`, at such a port if the server's own one is such a port.
2) The server finds the client, and the port that it was told, at `client_as_seen`.
3) Both trust a reserved port on the first connection as well (`Helper.reserved_source`).

House rules:
- The way back stands before the server hears of it, and is closed when the command runs and nobody has come (RS1).
- Nothing of a command, a password or of what a command reads and writes is told to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from protocols.contract.addresses import RESERVED_PORTS, Endpoint, Malformed, Peers, Side, Transport, only
from protocols.contract.effects import Abort, Effect, Finish, Note, Outbox, Splice, violation
from protocols.contract.engine import Begun, Engine, Helper
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Pinholes, Refusal
from protocols.rsh.options import PERMITS, RshOptions
from protocols.rsh.wire import REXEC, RSH, UNREAD, First, Strings, error, first, read_port, service_at

CLIENT, SERVER = Side.CLIENT, Side.SERVER

OPEN_SECONDS = 30.0
"""Seconds from the port to the second connection. rshd connects at once (own)."""
MAX_TEXT_BYTES = 100
"""How much of a server's error the log is told."""


class State(Enum):
    """How far it has come.

    FIRST --port--> STRINGS --all--> ANSWER --NUL--> OVER, relayed unread
      |                |               |
      +-- syslog: OVER +---------------+--error of the server--> REFUSED
    """

    FIRST = auto()
    """The first string of the client is to come."""
    STRINGS = auto()
    """The other strings are to come."""
    ANSWER = auto()
    """The server's answer is to come."""
    REFUSED = auto()
    """The server's error passes on, and nothing else does."""
    OVER = auto()
    """Nothing is read any more."""


class RshEngine(Engine):
    """One connection to a server of rsh or rexec, until the command runs or does not."""

    __slots__ = (
        "_begun",
        "_ends_at",
        "_error",
        "_grant",
        "_has_finished",
        "_is_used",
        "_now",
        "_options",
        "_out",
        "_peers",
        "_pinholes",
        "_port",
        "_service",
        "_state",
        "_strings",
    )

    def __init__(self, peers: Peers, options: RshOptions, pinholes: Pinholes, now: float) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._now = now
        self._service = service_at(peers.server_as_seen.port)
        self._state = State.FIRST
        self._out = Outbox()
        self._begun = bytearray()
        """The client's first string, as far as it has come."""
        self._port = 0
        """Where the client awaits the second connection. 0: nowhere."""
        self._grant: Grant | None = None
        """The way back, until it is gone."""
        self._is_used = False
        """Whether the second connection has come."""
        self._strings = Strings(self._service.most)
        self._error: bytearray | None = bytearray()
        """What the server says is wrong. None once the log has been told."""
        self._has_finished = False
        """The client has been told that nothing more comes."""
        # Programs that log over TCP may be silent for long before their first message.
        is_patient = self._may_be_syslog and options.syslog == "pass"
        self._ends_at = now + (options.idle if is_patient else options.handshake_seconds)

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._now = now
        if side is SERVER:
            self._of_server(data)
        else:
            self._of_client(data)
        return self._out.take()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A client may end as soon as its command is passed on, and then read for hours (RS5)."""
        self._now = now
        if side is SERVER:
            self._has_finished = True
            if self._state is State.REFUSED:
                self._tell_error()
        self._out.add(Finish(side.other))
        return self._out.take()

    # -- the client --------------------------------------------------------------------------------------------------

    def _of_client(self, data: bytes) -> None:
        if self._state is State.FIRST:
            if not self._begun:
                self._ends_at = self._now + self._options.handshake_seconds
            self._begun += data
            data = self._first()
        if self._state is State.STRINGS and data:
            data = self._string(data)
        if self._state is State.ANSWER and data:  # a client that does not wait for the answer
            self._out.send(SERVER, data)

    def _first(self) -> bytes:
        """Read the first string, if it has come. Returns what stands behind it."""
        match first(self._begun):
            case First.UNKNOWN:
                return b""
            case First.PORT:
                text, _, rest = bytes(self._begun).partition(b"\0")
                self._ask(text)
                return rest
            case First.SYSLOG if self._may_be_syslog:
                self._is_syslog()
            case _:
                self._refuse("rsh.not_rsh", "the first string is no port", "no port")
        return b""

    @property
    def _may_be_syslog(self) -> bool:
        """RS9: 514 is the port of syslog over TCP as well. But some servers of rsh take `<` for a digit, and would run
        a command that went there unread; those trust no other client than one at a reserved port."""
        return self._service is not REXEC and self._peers.client.port not in RESERVED_PORTS

    def _is_syslog(self) -> None:
        if self._options.syslog == "deny":
            self._out.add(violation("rsh.syslog_denied", "the connection begins as syslog does", "closed"))
            self._end(Abort("syslog_denied"))
            return
        self._out.add(Note("rsh.syslog", {"action": "connection relayed unread"}))
        self._out.send(SERVER, bytes(self._begun))
        self._end(Splice(self._options.idle))

    def _ask(self, text: bytes) -> None:
        """The client says where it awaits the second connection. The server hears of that when the way stands (RS1,
        RS11)."""
        service, peers = self._service, self._peers
        if service is REXEC and self._options.rexec == "deny":
            self._refuse("rsh.rexec_denied", "rexec", "rexec is not allowed here")
            return
        if service is UNREAD and self._options.judge_strings:
            self._refuse("rsh.user", f"names are not read at port {peers.server_as_seen.port}", "not allowed here")
            return
        try:
            self._port = read_port(text, service.ports)
        except Malformed as bad:
            self._refuse("rsh.port", str(bad), "port out of range")
            return
        if self._port and (text := self._opened(text)) == b"":
            return
        self._begun.clear()
        self._out.send(SERVER, text + b"\0")
        self._state = State.STRINGS if service.most else State.ANSWER
        if service is UNREAD:
            self._tell_command({})

    def _opened(self, text: bytes) -> bytes:
        """Open the way back. Returns what the server is told; empty: there is no way, and the client has heard so."""
        client = self._peers.client
        if self._options.stderr == "deny":
            self._refuse("rsh.stderr_denied", f"to port {self._port}", "no connection for error output here")
            return b""
        if self._port in RESERVED_PORTS and client.port not in RESERVED_PORTS:
            # No server of rsh lets it in (RS3), and whoever it is on its host, what waits there may be somebody else's.
            self._refuse("rsh.source_port", f"the client comes from port {client.port}", "source port not reserved")
            return b""
        grant = self._pinholes.open(self._expect())
        if isinstance(grant, Refusal):
            self._give_up("no way for error output", "stderr_refused")
            return b""
        self._grant = grant
        if not self._peers.is_mapped(CLIENT):
            return text
        change = {"field": "port", "before": Endpoint(client.host, self._port), "after": grant.listen}
        self._out.add(Note("address.rewritten", {"message": "stderr port", "changes": [change]}))
        return b"%d" % grant.listen.port

    def _expect(self) -> Expect:
        """RS10: the server alone, once, and to the client's own port. A client that waits at a reserved port finds one
        wherever a port is chosen here; and rsh's server comes from one, or is somebody else on its host."""
        peers, is_mapped = self._peers, self._peers.is_mapped(CLIENT)
        return Expect(
            transport=Transport.TCP,
            purpose="rsh-stderr",
            trigger="stderr port",
            listen=Endpoint(peers.client_as_seen.host, 0 if is_mapped else self._port),
            allow=only(peers.server.host),
            target=Endpoint(peers.client.host, self._port),
            source=Endpoint(peers.server_as_seen.host, 0),
            idle_seconds=self._options.idle,
            open_seconds=OPEN_SECONDS,
            reserved=self._port in RESERVED_PORTS,
            from_reserved=self._service is RSH,
        )

    def _string(self, data: bytes) -> bytes:
        """Read the strings. Returns what stands behind the last one, when all have come and may pass."""
        strings = self._strings
        try:
            rest = strings.push(data)
        except Malformed as bad:
            self._refuse("rsh.too_long", str(bad), "too long")
            return b""
        if not strings.are_whole:
            return b""
        one, two, command = strings.whole
        users = {"remote_user": one} if self._service is REXEC else {"local_user": one, "remote_user": two}
        if not self._options.allow_user(users["remote_user"]):
            self._refuse("rsh.user", f"the user is {users['remote_user'].decode('latin-1')!r}", "user not allowed here")
        elif not self._options.allow_command(command):
            self._refuse("rsh.command_denied", "the command is none of `commands`", "command not allowed here")
        else:
            self._tell_command(users)
            self._out.send(SERVER, strings.as_sent())
            self._strings = Strings(())  # nothing of it is kept
            self._state = State.ANSWER
            self._ends_at = self._now + self._options.handshake_seconds
            return rest
        return b""

    def _tell_command(self, users: dict[str, bytes]) -> None:
        facts: dict[str, Any] = {"service": self._service.name, **users}
        if self._port:
            facts["stderr_port"] = self._port
        self._out.add(Note("rsh.command", facts))

    # -- the server --------------------------------------------------------------------------------------------------

    def _of_server(self, data: bytes) -> None:
        if self._state is not State.REFUSED:
            if data[0] == 0 or self._service is UNREAD:
                self._agreed(data)
                return
            self._state = State.REFUSED
            self._ends_at = self._now + self._options.handshake_seconds
            self._close_unused()
            self._out.send(CLIENT, data[:1])
            data = data[1:]
        if self._error is not None:
            text, newline, _ = data[: MAX_TEXT_BYTES - len(self._error)].partition(b"\n")
            self._error += text
            length = len(text + newline)
            self._out.send(CLIENT, data[:length])
            data = data[length:]
            if newline or len(self._error) == MAX_TEXT_BYTES:
                self._tell_error()
        if data:
            self._out.send(CLIENT, data)

    def _agreed(self, data: bytes) -> None:
        """The command runs (RS6)."""
        if self._state is not State.ANSWER:
            self._refuse("rsh.early_answer", "the server has agreed before it knows the command", "no command yet")
            return
        self._out.send(CLIENT, data)
        self._end(Splice(self._options.idle, half_closed_seconds=self._options.idle))
        self._close_unused()

    def _tell_error(self) -> None:
        if self._error is not None:
            self._out.add(Note("rsh.refused", {"text": bytes(self._error)}))
            self._error = None

    # -- the way back ------------------------------------------------------------------------------------------------

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """The second connection has come, or it will not. Then the client would wait for it in vain (RS1)."""
        self._now = now
        if grant is not self._grant:
            return ()
        if not isinstance(event, Closed):
            self._is_used = True
            return ()
        self._grant = None
        is_lost = not self._is_used or event.reason.startswith("target_")
        if is_lost and self._state in (State.STRINGS, State.ANSWER):
            self._give_up("no second connection", "no_second_connection")
        return self._out.take()

    def _close_unused(self) -> None:
        """Nobody waits for a second connection any more that has not come by now."""
        grant = self._grant
        if grant is not None and not self._is_used:
            self._grant = None
            self._pinholes.close(grant)

    # -- ends and clocks ---------------------------------------------------------------------------------------------

    def _refuse(self, rule: str, detail: str, text: str) -> None:
        """The client may not do this, and hears so (RS12)."""
        self._out.add(violation(rule, detail, "answered with an error"))
        self._give_up(text, "refused")

    def _give_up(self, text: str, reason: str) -> None:
        if not (self._has_finished or self._state is State.REFUSED):
            self._out.send(CLIENT, error(text))
        self._end(Abort(reason))
        self._close_unused()

    def _end(self, effect: Abort | Splice) -> None:
        self._out.add(effect)
        self._state = State.OVER

    def deadline(self) -> float | None:
        return None if self._state is State.OVER else self._ends_at

    def tick(self, now: float) -> Sequence[Effect]:
        self._now = now
        awaited = "answer" if self._state is State.ANSWER else "command"
        self._give_up(f"no {awaited} in time", "handshake_timeout")
        return self._out.take()


def start() -> Callable[[Peers, Any, Pinholes, float], RshEngine]:
    """Make an engine. Sessions know nothing of each other."""
    return RshEngine


HELPER = Helper(
    name="rsh",
    summary="RSH and rexec: commands on another host, and the connection back for their error output",
    ports=((Transport.TCP, 514), (Transport.TCP, 512)),
    options=RshOptions,
    permits=PERMITS,
    least={
        "handshake_seconds": (10, "servers look for their client's name first"),
        "idle": (3600, "a command may say nothing for hours"),
    },
    servers_begin=(Begun(Transport.TCP, RESERVED_PORTS.start),),
    start=start,
    purposes=("rsh-stderr",),
    reserved_source=True,
)
