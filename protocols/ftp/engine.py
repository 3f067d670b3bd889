"""FTP: the control connection, and the data connections that PORT, EPRT, PASV and EPSV agree on.

RFC 959, RFC 1123 s.4.1 (FTP as it is), RFC 2428 (EPRT, EPSV), RFC 4217 (TLS), RFC 2577 (bounce), RFC 6384 (gateways
that translate addresses and families). Ids in comments (F24, X13) are those of `protocols/FACTS.md`; in short:

    client                       pinhole                       server
      | PORT a ------------------> | open, not yet confirmed     |         active: the server comes to us,
      |                            | PORT b -------------------> |         we dial the client
      |                            | <--------------------- 200  |
      | <--------------------- 200 | confirm                     |
      | PASV --------------------> | --------------------------> |         passive: the client comes to us,
      |                            | <------------------- 227 a  |         we dial the server
      | <------------------- 227 b | open, then announce         |

                bytes in, clocks, ends                engine.py
                    |         |
                commands.py   replies.py              tables of what each command and reply does
                    |         |
                    session.py                        all that is known of the session, and its states
                    |    |    |
         agreement.py  data.py  queue.py, login.py    who may dial whom; what was moved; whose reply it is
                    |
                 wire.py                              how FTP writes things

House rules:
- Commands and replies are matched first in, first out; only the reply that answers PASV or EPSV is looked into (F5,
  F14).
- An address that no NAT maps goes through as it was written, and the pinhole stands exactly there. An address that
  NAT maps is replaced, and the pinhole stands on a port of ours (X13).
- Data connections run between the two hosts of the session, whatever the text says (F24, F42). `third_party` names
  exceptions.
- A reply of ours waits its turn behind those that the server still owes.
- Nothing is agreed on before a login (2yz to USER, PASS or ACCT), and until then whoever speaks another protocol is
  found out by each of its lines: browsers and servers can be made to send requests whose method is an FTP verb.

Not supported: data connections of a session after AUTH (it is relayed, not read); LPRT and LPSV (refused with 502).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from protocols.contract.addresses import Malformed, Peers, Side, Transport
from protocols.contract.effects import Effect, Splice
from protocols.contract.engine import Begun, Engine, Helper
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes
from protocols.ftp import commands, replies
from protocols.ftp.options import PERMITS, FtpOptions
from protocols.ftp.session import AGREED, ASKED, MAX_COMMAND_BYTES, OVER, READ, Session
from protocols.toolbox import tls
from protocols.toolbox.copies import LineCopies, with_copies
from protocols.toolbox.lines import LineTooLong

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_WAITING_BYTES = 16384
"""How many bytes of commands may wait behind one that waits for the reply to a login."""


class FtpEngine(Engine):
    """One control connection. It is cut into lines, the lines change a `Session`, and what is to be done comes out of
    the session's outbox.

    The driver calls the engine. The engine owns the session, and by that the session's pinholes. session.py draws the
    states.
    """

    __slots__ = ("_busy", "_copies", "_session")

    def __init__(self, peers: Peers, options: FtpOptions, pinholes: Pinholes, now: float) -> None:
        self._session = Session(peers, options, pinholes, now)
        self._busy = False
        """A call is being answered. Events of pinholes that come meanwhile leave their effects to that call."""
        self._copies: LineCopies | None = None

    # -- bytes in --------------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        """Read what a side has said, as far as it is whole."""
        session = self._session
        if session.is_over or side in session.finished:
            return ()
        session.now = now
        self._busy = True
        if self._copies is not None and session.mode is not AGREED:
            for copy in self._copies.came(side, data):
                session.out.add(copy)
        if session.mode is AGREED:
            self._begin_tls(side, data)
        elif side is SERVER or SERVER not in session.finished:  # nobody would answer a command any more
            session.lines[side].push(data)
            self._read(side)
        return self._done()

    def _done(self) -> Sequence[Effect]:
        self._busy = False
        effects = self._session.out.take()
        return effects if self._copies is None else with_copies(effects)

    def copy(self, is_wanted: bool) -> None:
        """Return copies of lines from now on, or no more."""
        if is_wanted != (self._copies is not None):
            begun = {side: bytes(lines) for side, lines in self._session.lines.items()}
            self._copies = LineCopies(begun) if is_wanted else None

    def _read(self, side: Side) -> None:
        session = self._session
        # A TLS handshake has no line end to wait for (F12, F70).
        if side not in session.spoken and tls.begins(bytes(session.lines[side])):
            session.not_ftp("TLS on a clear-text port")
            return
        try:
            if side is SERVER:
                self._read_replies()
                side = CLIENT  # some of its commands may have waited for a reply
            if session.mode is not AGREED and SERVER not in session.finished:
                self._read_commands()
        except Malformed as fault:
            self._bad_line(side, fault)
        if session.client_ends and session.kept is None and not session.is_over:
            self._end_client()

    def _read_replies(self) -> None:
        session = self._session
        lines = session.lines[SERVER]
        while session.mode is not OVER and (line := lines.pop()) is not None:
            replies.read(session, line)

    def _read_commands(self) -> None:
        session = self._session
        lines = session.lines[CLIENT]
        while session.mode is READ:
            line = lines.pop() if session.kept is None else self._kept_command()
            if line is None:
                break
            commands.read(session, line)
        if session.mode is ASKED and len(lines) > MAX_COMMAND_BYTES:
            session.injected("commands behind AUTH")
        elif session.kept is not None and len(lines) > MAX_WAITING_BYTES and not session.is_over:
            detail = f"{MAX_WAITING_BYTES} bytes of commands behind one that needs a login"
            session.quit(b"421 Too many commands at once.", "too_many_pending", detail)

    def _kept_command(self) -> bytes | None:
        """The command that has waited for a login. None: the reply to the login has not come yet, or this is no FTP
        session."""
        session = self._session
        if session.queue.is_logging_in():
            return None
        if why := session.login.waits(bytes(session.lines[CLIENT])):
            session.not_ftp(why)
            return None
        line, session.kept = session.kept, None
        return line

    def _bad_line(self, side: Side, fault: Malformed) -> None:
        """A line is too long, or holds a NUL. The two sides could then differ about where the next line begins (F2)."""
        is_long = isinstance(fault, LineTooLong)
        reason = "line_too_long" if is_long else "nul"
        if side is SERVER:
            self._session.quit(b"421 The server's reply cannot be relayed.", reason, f"reply: {fault}")
        else:
            self._session.quit(b"500 Line too long." if is_long else b"500 NUL in a command.", reason, str(fault))

    def _begin_tls(self, side: Side, data: bytes) -> None:
        """The client speaks first in TLS and GSSAPI alike; with TLS it says a handshake record (F67)."""
        session = self._session
        assert session.auth is not None
        is_tls = session.auth.argument.upper().startswith((b"TLS", b"SSL"))
        if side is SERVER:
            session.injected("bytes behind the reply to AUTH")
        elif is_tls and not tls.begins(data):
            session.injected("clear text after AUTH")
        else:
            session.report_transfers()
            session.out.send(SERVER, data)
            session.out.add(Splice(session.options.idle))
            session.mode = OVER

    # -- data connections ------------------------------------------------------------------------------------------

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        """A data connection has begun or ended."""
        session = self._session
        if session.is_over:
            return ()
        session.now = session.heard_at = now
        session.data.event(grant, event, now, session.queue.coming_transfer())
        # Opening, confirming and closing may bring an event before they return: its effects go out with ours, in order.
        return () if self._busy else session.out.take()

    # -- clocks ----------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When the first clock runs out."""
        first = None
        for at, _ in self._clocks():
            if first is None or at < first:
                first = at
        return first

    def tick(self, now: float) -> Sequence[Effect]:
        """Do what the clocks that have run out ask for."""
        session = self._session
        if session.is_over:
            return ()
        session.now = now
        self._busy = True
        for at, expired in self._clocks():
            if at <= now and not session.is_over:
                expired(session)
        return self._done()

    def _clocks(self) -> list[tuple[float, Callable[[Session], None]]]:
        """The clocks that run, and what happens when each has run out."""
        session = self._session
        clocks: list[tuple[float, Callable[[Session], None]]] = []
        if session.is_over:
            return clocks
        if session.ending_by is not None:
            clocks.append((session.ending_by, _closed_by_server))
        if not session.login.is_done:
            clocks.append((session.login.by, _login_too_slow))
        if not session.data.using:  # X14, F75: the clock stands still while data moves
            clocks.append((session.heard_at + session.options.idle, _idle))
        if (agreement := session.data.agreement) is not None and agreement.close_at is not None:
            clocks.append((agreement.close_at, _agreement_over))
        return clocks

    # -- ends ------------------------------------------------------------------------------------------------------

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """A side has ended. What it has left without a line end is read, then the end is passed on."""
        session = self._session
        if session.is_over or side in session.finished:
            return ()
        session.now = session.heard_at = now
        self._busy = True
        if side is CLIENT:
            self._end_client()
        else:
            if session.mode is not AGREED:
                self._read_rest(SERVER)
            if not session.is_over:
                session.end(SERVER)
        return self._done()

    def _end_client(self) -> None:
        """The client has ended. Commands that wait for a login are read first, and the client's last line may have to
        wait, too."""
        session = self._session
        is_read = session.mode is not AGREED and SERVER not in session.finished
        if session.mode is ASKED and session.lines[CLIENT]:
            session.injected("commands behind AUTH, then the end")
        elif is_read and session.kept is None:
            self._read_rest(CLIENT)
        session.client_ends = is_read and session.kept is not None
        if not session.client_ends and not session.is_over:
            session.end(CLIENT)

    def _read_rest(self, side: Side) -> None:
        """The last line of a stream may lack its end. Some readers take it all the same, so it is checked like any
        other line."""
        session = self._session
        try:
            if rest := session.lines[side].pop_rest():
                if side is CLIENT:
                    commands.read(session, rest)
                else:
                    replies.read(session, rest)
        except Malformed as fault:
            self._bad_line(side, fault)


def _closed_by_server(session: Session) -> None:
    session.abort("closed_by_server")


def _login_too_slow(session: Session) -> None:
    session.time_out(b"421 Login takes too long.", "login_timeout")


def _idle(session: Session) -> None:
    session.time_out(b"421 Idle for too long.", "idle")


def _agreement_over(session: Session) -> None:
    session.data.replace(None)


HELPER = Helper(
    name="ftp",
    summary="FTP: data connections of PORT, PASV, EPRT and EPSV",
    ports=((Transport.TCP, 21),),
    options=FtpOptions,
    permits=PERMITS,
    least={
        "login_seconds": (10, "people type their passwords"),
    },
    servers_begin=(Begun(Transport.TCP),),
    start=lambda: FtpEngine,
    purposes=("ftp-data",),
    secret=re.compile(rb"^([ \t]*(?:PASS|ACCT)\b)[^\r\n]+", re.MULTILINE | re.IGNORECASE),
)
