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

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from protocols.contract.addresses import Malformed, Peers, Side, Transport
from protocols.contract.effects import Abort, Effect, Finish, Note, Outbox, Splice, violation
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import AnyGrant, PinholeEvent, Pinholes, Refusal
from protocols.ftp import wire
from protocols.ftp.agreement import Agreements, Answer, Forward
from protocols.ftp.data import DataConnections, Transfer
from protocols.ftp.login import FIRST as LOG_IN_FIRST
from protocols.ftp.login import NEED_LOGIN, Login
from protocols.ftp.options import FtpOptions
from protocols.ftp.queue import MAX_PENDING, Pending, ReplyQueue
from protocols.toolbox.lines import LineBuffer, LineTooLong

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_COMMAND_BYTES = 4096
"""F2. 512 would break long UTF-8 paths; Linux paths end at 4096."""
MAX_REPLY_BYTES = 8192
"""F18: banners and quota lines are long. The same bound holds for a reply to PASV as a whole."""
MAX_WAITING_BYTES = 16384
"""Most bytes of commands behind one that waits for the reply to a login."""
CLOSING_SECONDS = 5.0
"""F16: after 421 the server closes by itself; if it does not, we do."""


class FtpEngine(Engine):
    __slots__ = (
        "_agreements",
        "_answered",
        "_auth",
        "_busy",
        "_client_ends",
        "_data",
        "_denied",
        "_ending_by",
        "_finished",
        "_held",
        "_hidden",
        "_is_leaving",
        "_kept",
        "_last",
        "_lines",
        "_login",
        "_multi",
        "_now",
        "_opaque",
        "_options",
        "_out",
        "_over",
        "_peers",
        "_queue",
        "_spoken",
        "_stray_noted",
        "_unanswered_noted",
    )

    def __init__(self, peers: Peers, options: FtpOptions, pinholes: Pinholes, now: float) -> None:
        self._peers = peers
        self._options = options
        self._denied = frozenset(verb.upper() for verb in options.commands_denied)
        self._hidden = self._denied | wire.TLS_COMMANDS if options.tls == "deny" else self._denied

        self._out = Outbox()
        self._data = DataConnections(
            peers,
            pinholes,
            self._out,
            third_party=() if options.third_party == "deny" else options.third_party,
            idle_seconds=options.idle,
            active_source_port=20 if options.active_source_port_20 else 0,
        )
        self._agreements = Agreements(peers, options, self._data, self._out)
        self._lines = {CLIENT: LineBuffer(MAX_COMMAND_BYTES), SERVER: LineBuffer(MAX_REPLY_BYTES)}
        self._busy = False
        self._over = False
        self._finished: set[Side] = set()

        self._queue = ReplyQueue(self._out, is_translated=self._agreements.is_translated)
        self._kept: bytes | None = None
        """A command line that waits for the reply to a login; all lines behind this one wait, too."""
        self._client_ends = False
        """The client has ended its side, and some of its commands wait for the reply to a login."""
        self._is_leaving = False
        """The client has said QUIT."""
        self._spoken: set[Side] = set()
        # The reply that is coming in: its code, the command it answers, and its lines if they cannot go on as they are.
        self._multi: bytes | None = None
        self._answered: Pending | None = None
        self._held: bytearray | None = None
        self._stray_noted = self._unanswered_noted = False

        self._login = Login(now + options.login_seconds)
        self._auth: Pending | None = None
        self._opaque: Pending | None = None

        self._now = self._last = now
        self._ending_by: float | None = None

    # -- what comes in ---------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if self._over or side in self._finished:
            return ()
        self._now = now
        self._busy = True
        if self._opaque is not None:
            self._first_opaque(side, data)
        elif side is SERVER or SERVER not in self._finished:  # nobody would answer a command any more
            self._lines[side].push(data)
            self._read(side)
        return self._done()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        if self._over or side in self._finished:
            return ()
        self._now = self._last = now
        self._busy = True
        if side is CLIENT:
            self._end_client()
        else:
            if self._opaque is None:
                self._read_rest(SERVER)
            if not self._over:
                self._end(SERVER)
        return self._done()

    def _done(self) -> Sequence[Effect]:
        self._busy = False
        return self._out.take()

    def _read(self, side: Side) -> None:
        lines = self._lines[side]
        # A TLS handshake has no line end to wait for (F12, F70).
        if side not in self._spoken and bytes(lines)[:2] == b"\x16\x03":
            self._not_ftp("TLS on a clear-text port")
            return
        try:
            if side is SERVER:
                while not self._over and (line := lines.pop()) is not None:
                    self._reply_line(line)
                side = CLIENT  # whose commands may have waited for the reply to AUTH
            if self._opaque is None and SERVER not in self._finished:
                self._read_commands(self._lines[CLIENT])
        except Malformed as fault:
            self._bad_line(side, fault)
        if self._client_ends and self._kept is None and not self._over:
            self._end_client()

    def _read_commands(self, lines: LineBuffer) -> None:
        # What stands behind AUTH waits: if the server agrees, it must not have been sent (F67).
        while not self._over and self._auth is None:
            line = lines.pop() if self._kept is None else self._kept_command(lines)
            if line is None:
                break
            self._command_line(line)
        if self._over:
            return
        if self._auth is not None and len(lines) > MAX_COMMAND_BYTES:
            self._injected("commands behind AUTH")
        elif self._kept is not None and len(lines) > MAX_WAITING_BYTES:
            detail = f"{MAX_WAITING_BYTES} bytes of commands behind one that needs a login"
            self._quit(b"421 Too many commands at once.", "too_many_pending", "ftp.too_many_pending", detail)

    def _kept_command(self, lines: LineBuffer) -> bytes | None:
        """The command that waits for a login, once that is known."""
        if self._queue.is_logging_in():
            return None
        if why := self._login.waits(bytes(lines)):
            self._not_ftp(why)
            return None
        line, self._kept = self._kept, None
        return line

    def _read_rest(self, side: Side) -> None:
        """The last line of a stream may lack its end. Some readers take it all the same, so it is checked as any
        other."""
        try:
            if rest := self._lines[side].pop_rest():
                if side is CLIENT:
                    self._command_line(rest)
                else:
                    self._reply_line(rest)
        except Malformed as fault:
            self._bad_line(side, fault)

    def _bad_line(self, side: Side, fault: Malformed) -> None:
        too_long = isinstance(fault, LineTooLong)
        reason = "line_too_long" if too_long else "nul"
        if side is SERVER:
            self._quit(b"421 The server's reply cannot be relayed.", reason, f"ftp.{reason}", f"reply: {fault}")
        else:
            text = b"500 Line too long." if too_long else b"500 NUL in a command."
            self._quit(text, reason, f"ftp.{reason}", str(fault))

    # -- commands --------------------------------------------------------------------------------------------------

    def _command_line(self, line: bytes) -> None:
        self._last = self._now
        command = wire.read_command(line)
        verb = command.verb
        if verb in NEED_LOGIN and not self._login.is_done and self._queue.is_logging_in():
            self._kept = line
            return
        if verb:
            self._spoken.add(CLIENT)
        if why := self._login.said(command):
            self._not_ftp(why)
            return
        if not verb:
            self._answer(command, b"500 No command.")
        elif verb in self._denied:
            self._violation("ftp.command_denied", verb, "answered 502")
            self._answer(command, b"502 Command not allowed here.")
        elif (handler := _COMMANDS.get(verb)) is not None:
            handler(self, command, line)
        else:
            self._forward(command, line)

    def _forward(self, command: wire.Command, line: bytes, **known: Any) -> None:
        """Send a command on; `line` is what the server gets. Its reply is due when those before it have come."""
        self._is_leaving = self._is_leaving or command.verb == "QUIT"
        if self._enqueue(Pending(command.verb, command.argument, **known)):
            self._out.send(SERVER, self._line_end(CLIENT, line))

    def _answer(self, command: wire.Command, text: bytes) -> None:
        """Answer a command in the server's place, in turn."""
        if self._queue:
            self._enqueue(Pending(command.verb, answer=text + wire.CRLF))
        else:
            self._out.send(CLIENT, text + wire.CRLF)

    def _enqueue(self, pending: Pending) -> bool:
        if not self._queue.append(pending):
            detail = f"{MAX_PENDING} commands wait for their reply"
            self._quit(b"421 Too many commands at once.", "too_many_pending", "ftp.too_many_pending", detail)
            return False
        return True

    def _line_end(self, side: Side, line: bytes) -> bytes:
        """A bare LF becomes CR LF where we rewrite at all (F1); without NAT bytes stay as they came."""
        return wire.with_crlf(line) if self._peers.is_mapped(side) else line

    def _transfer(self, command: wire.Command, line: bytes) -> None:
        agreement, data = self._data.agreement, None
        if agreement is None and self._may_use_default_port() and not self._queue.is_agreeing():
            opened = self._data.open_default(command.verb)
            if not isinstance(opened, Refusal):  # else nearly every server answers 425, and that says it best
                data = opened
        self._data.wait(agreement or data)
        self._forward(command, line, data=data, transfer=Transfer(command.verb, command.argument))

    def _may_use_default_port(self) -> bool:
        options = self._options
        return (
            self._login.is_done
            and options.default_data_port
            and not self._agreements.is_epsv_only
            and self._peers.client.port >= options.min_port
        )

    def _agree(self, command: wire.Command, line: bytes) -> None:
        """PORT, EPRT, PASV, EPSV and their kin."""
        if not self._login.is_done and command.verb in wire.AGREEMENTS:
            self._violation("ftp.before_login", command.verb, "answered 530")
            self._answer(command, LOG_IN_FIRST)
            return
        match self._agreements.asked(command, line):
            case Forward(new, data):
                self._forward(command, new, data=data)
            case Answer(text):
                self._answer(command, text)

    def _tls_command(self, command: wire.Command, line: bytes) -> None:
        if self._options.tls == "deny":
            if command.verb == "AUTH":
                self._note("ftp.tls", mechanism=command.argument.upper(), action="answered 534")
            self._answer(command, b"534 Request denied for policy reasons.")
            return
        self._forward(command, line)
        if command.verb == "AUTH" and not self._over:
            self._auth = self._queue.youngest

    # -- replies ---------------------------------------------------------------------------------------------------

    def _reply_line(self, line: bytes) -> None:
        self._last = self._now
        text = wire.without_telnet(line) if 0xFF in line else line
        if self._multi is not None:
            if wire.ends_reply(text, self._multi):
                code = int(self._multi)
                self._pass_reply(line)
                self._reply_ends(code)
            elif not self._is_hidden(text):
                self._pass_reply(line)
            return
        match = wire.REPLY_LINE.match(text)
        if match is None:
            if SERVER not in self._spoken:
                self._not_ftp("the first line is no FTP reply")
            elif text.strip():
                # Passed on it would shift every later reply by one, and with them what is taken for a 227.
                self._quit(b"421 The server's reply makes no sense.", "bad_reply", "ftp.bad_reply", "no reply code")
            else:
                self._pass_reply(line)
            return
        self._spoken.add(SERVER)
        code = int(match[1])
        self._answered = self._turn(code)
        if self._answered is not None and code // 100 == 2 and _is_passive(self._answered):
            self._held = bytearray()
        self._pass_reply(line)
        if match[2]:
            self._multi = match[1]
        else:
            self._reply_ends(code)

    def _pass_reply(self, line: bytes) -> None:
        if self._held is None:
            self._out.send(CLIENT, self._line_end(SERVER, line))
            return
        self._held += line
        if len(self._held) > MAX_REPLY_BYTES:
            raise LineTooLong(f"more than {MAX_REPLY_BYTES} bytes in answer to {self._queue.oldest.verb}")

    def _is_hidden(self, text: bytes) -> bool:
        """F68, F72: what would be refused is no feature."""
        answered = self._answered
        if not self._hidden or answered is None or answered.verb != "FEAT":
            return False
        return wire.feature(text) in self._hidden

    def _turn(self, code: int) -> Pending | None:
        """The command that this reply answers, or None."""
        answered, unanswered = self._queue.turn(code)
        for pending in unanswered:
            self._give_up(pending, answered, code)
        if answered is None and code != 421:
            self._stray(f"{code} with no command pending")
        elif answered is not None and code in (227, 229) and not _is_passive(answered):
            self._stray(f"{code} in answer to another command")
        return answered

    def _give_up(self, pending: Pending, answered: Pending | None, code: int) -> None:
        """The server has left this command without a reply, and answers a later one now."""
        if not self._unanswered_noted:  # once is enough to know the server
            self._unanswered_noted = True
            self._violation("ftp.no_reply", f"{pending.verb}: the server went on without one", "passed over")
        if pending is self._auth:
            self._auth = None
        goes_ahead = answered is not None and answered.transfer is not None and code < 400
        if pending.data is not None and goes_ahead and self._login.is_done:
            self._data.confirm(pending.data)  # PORT: its reply may have been taken for that of an older command
        self._will_not_be_answered(pending)

    def _reply_ends(self, code: int) -> None:
        answered, held = self._answered, self._held
        self._multi = self._answered = self._held = None
        if code == 421:
            self._ending_by = self._now + CLOSING_SECONDS
        if answered is None:
            return
        if code < 200:
            if code != 120:  # which is for the service as a whole
                self._transfer_starts(answered)
            return
        if self._is_anothers(answered, code, held):
            self._stray(f"{code} in answer to {answered.verb}")
            self._out.send(CLIENT, self._line_end(SERVER, bytes(held or b"")))
            return
        if code == 426 and answered.verb == "ABOR" and answered.transfer is None:
            return  # of a transfer that we took for ended; ABOR's own reply follows (F10)
        if answered.verb == "ABOR" and (head := self._queue.oldest).transfer is not None:
            self._reply_to(head, code, b"")  # ABOR has ended it, and it gets no reply of its own
        self._reply_to(answered, code, bytes(held or b""))

    def _is_anothers(self, answered: Pending, code: int, held: bytearray | None) -> bool:
        """Whether this success of a command that asks for an address has none, and no right to have one: it is the
        second reply to an older command, and the one that is waited for comes behind it."""
        return (
            held is not None and code not in (227, 229) and not _is_all(answered) and not wire.names_port(bytes(held))
        )

    def _reply_to(self, answered: Pending, code: int, held: bytes) -> None:
        if why := self._login.replied(answered.verb, code):
            self._not_ftp(why)
            return
        if (handler := _REPLIES.get(answered.verb)) is not None:
            handler(self, answered, code, held)
        if self._over:
            return
        if answered.waits_for is not None and self._queue.coming_transfer() is None:
            self._data.expect_no_longer(answered.waits_for, code, self._now)
        self._queue.settle(answered)
        # A transfer may have been asked for before its agreement stood.
        if answered.verb in wire.AGREEMENTS and (coming := self._queue.coming_transfer()) and not coming.has_begun:
            self._data.wait(self._data.agreement)

    def _stray(self, detail: str) -> None:
        if self._is_leaving or self._ending_by is not None or CLIENT in self._finished:
            return  # some say good-bye twice, and some say behind 421 what has failed
        if not self._stray_noted:  # once is enough to know the server
            self._stray_noted = True
            self._violation("ftp.unsolicited_reply", detail, "passed as text")

    def _login_replied(self, answered: Pending, code: int, _: bytes) -> None:
        if answered.verb == "USER":
            self._login.user = answered.argument
        if code < 300:
            self._login.done()
        if code < 300 or code >= 400:
            self._note("ftp.login", user=self._login.user, result=code)

    def _rein_replied(self, answered: Pending, code: int, _: bytes) -> None:
        """F71: everything is as after the greeting; a running transfer ends by itself."""
        if code < 300:
            self._data.replace(None)
            self._agreements.is_epsv_only = self._data.is_persistent = False
            self._login.begin_again(self._now + self._options.login_seconds)

    def _mode_replied(self, answered: Pending, code: int, _: bytes) -> None:
        """F57: in block and compressed mode one data connection carries many files."""
        if code < 300:
            self._data.is_persistent = answered.argument.upper() in (b"B", b"C")

    def _auth_replied(self, answered: Pending, code: int, _: bytes) -> None:
        """F65, F66: 234, or 334 for mechanisms that go on; anything else leaves the session as it is."""
        self._auth = None
        if code >= 400:
            return
        if self._lines[CLIENT] or self._lines[SERVER]:
            self._injected("bytes behind AUTH or behind its reply")
            return
        self._opaque = answered
        self._data.replace(None)
        self._note("ftp.tls", mechanism=answered.argument.upper(), action="control connection relayed unread")

    def _first_opaque(self, side: Side, data: bytes) -> None:
        """The client speaks first in TLS and GSSAPI alike; with TLS it says a handshake record (F67)."""
        assert self._opaque is not None
        is_tls = self._opaque.argument.upper().startswith((b"TLS", b"SSL"))
        if side is SERVER:
            self._injected("bytes behind the reply to AUTH")
        elif is_tls and data[0] != 0x16:
            self._injected("clear text after AUTH")
        else:
            self._report_transfers()
            self._out.send(SERVER, data)
            self._out.add(Splice(self._options.idle))
            self._over = True

    def _port_replied(self, answered: Pending, code: int, _: bytes) -> None:
        """F28: any 2yz is success."""
        if answered.data is None:
            return
        if code >= 300 or not self._login.is_done:
            self._data.close(answered.data)
            return
        self._data.confirm(answered.data)

    def _transfer_starts(self, answered: Pending) -> None:
        """The server goes ahead: over the agreement of this moment, or to the default data port."""
        if answered.transfer is None:
            # Some command that is not known for one that moves data (F58).
            answered.waits_for = self._data.agreement
            self._data.wait(answered.waits_for)
            return
        answered.transfer.has_begun = True
        if answered.data is not None and self._login.is_done:
            self._data.confirm(answered.data)
            answered.data = None
        self._data.attach(answered.transfer)

    def _transfer_replied(self, answered: Pending, code: int, _: bytes) -> None:
        assert answered.transfer is not None
        if code < 400:
            self._transfer_starts(answered)
        elif answered.data is not None and answered.data.used_at is None:
            self._data.close(answered.data)
        self._data.replied(answered.transfer, code, self._now)

    def _passive_replied(self, answered: Pending, code: int, reply: bytes) -> None:
        if code < 300 and not self._login.is_done:
            self._violation("ftp.before_login", f"{code} in answer to {answered.verb}", "answered 530")
            self._out.send(CLIENT, LOG_IN_FIRST + wire.CRLF)
        elif told := self._agreements.replied(answered, code, reply):
            self._out.send(CLIENT, told)

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        if self._over:
            return ()
        self._now = self._last = now
        self._data.event(grant, event, now, self._queue.coming_transfer())
        # Opening, confirming and closing may bring an event before they return: its effects go out with ours, in order.
        return () if self._busy else self._out.take()

    # -- clocks and ends -------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        return min([at for at, _ in self._clocks()], default=None)

    def tick(self, now: float) -> Sequence[Effect]:
        if self._over:
            return ()
        self._now = now
        self._busy = True
        for at, expired in self._clocks():
            if at <= now and not self._over:
                expired()
        return self._done()

    def _clocks(self) -> list[tuple[float, Callable[[], None]]]:
        clocks: list[tuple[float, Callable[[], None]]] = []
        if self._over:
            return clocks
        if self._ending_by is not None:
            clocks.append((self._ending_by, self._closed_by_server))
        if not self._login.is_done:
            clocks.append((self._login.by, self._login_too_slow))
        if not self._data.using:  # X14, F75: stands still while data moves
            clocks.append((self._last + self._options.idle, self._idle))
        if (agreement := self._data.agreement) is not None and agreement.close_at is not None:
            clocks.append((agreement.close_at, self._agreement_over))
        return clocks

    def _agreement_over(self) -> None:
        self._data.replace(None)

    def _closed_by_server(self) -> None:
        self._abort("closed_by_server")

    def _login_too_slow(self) -> None:
        self._time_out(b"421 Login takes too long.\r\n", "login_timeout")

    def _idle(self) -> None:
        self._time_out(b"421 Idle for too long.\r\n", "idle")

    def _time_out(self, text: bytes, reason: str) -> None:
        if SERVER not in self._finished:  # else the client has been told already that nothing more comes
            self._out.send(CLIENT, text)
        self._abort(reason)

    def _end_client(self) -> None:
        """The client says no more. What waits for a login is read first; its last line may have to wait, too."""
        is_read = self._opaque is None and SERVER not in self._finished
        if self._auth is not None and self._lines[CLIENT]:
            self._injected("commands behind AUTH, then the end")
        elif is_read and self._kept is None:
            self._read_rest(CLIENT)
        self._client_ends = is_read and self._kept is not None
        if not self._client_ends and not self._over:
            self._end(CLIENT)

    def _end(self, side: Side) -> None:
        """One direction is over: that is passed on, the other one goes on."""
        self._finished.add(side)
        if side is SERVER:
            self._no_more_replies()
            if self._client_ends:
                self._client_ends = False
                self._end(CLIENT)
        if len(self._finished) == 2:
            self._report_transfers()
        self._out.add(Finish(side.other))

    def _no_more_replies(self) -> None:
        """What the server owes will not come: unconfirmed pinholes go, transfers wait for their data alone."""
        for pending in self._queue:
            self._will_not_be_answered(pending)
        self._queue.clear()

    def _will_not_be_answered(self, pending: Pending) -> None:
        if pending.data is not None and pending.data is not self._data.agreement:
            self._data.close(pending.data)
        if pending.transfer is not None:
            pending.transfer.is_unanswered = True
            if pending.transfer.data is None:
                self._data.report(pending.transfer)

    def _report_transfers(self) -> None:
        """At the end each transfer is told of with what is known."""
        for pending in self._queue:
            if pending.transfer is not None:
                self._data.report(pending.transfer)
        self._queue.clear()
        self._data.report_all()

    def _quit(self, text: bytes, reason: str, rule: str, detail: str) -> None:
        self._violation(rule, detail, "closed")
        self._out.send(CLIENT, text + wire.CRLF)
        self._abort(reason)

    def _not_ftp(self, detail: str) -> None:
        # No answer: whoever speaks another protocol would take it for one of its own.
        self._violation("ftp.not_ftp", detail, "closed")
        self._abort("not_ftp")

    def _injected(self, detail: str) -> None:
        self._violation("ftp.tls_injection", detail, "closed")
        self._abort("tls_injection")

    def _abort(self, reason: str) -> None:
        self._report_transfers()
        self._out.add(Abort(reason))
        self._over = True

    # -- small things ----------------------------------------------------------------------------------------------

    def _note(self, event: str, **facts: Any) -> None:
        self._out.add(Note(event, facts))

    def _violation(self, rule: str, detail: str, action: str) -> None:
        self._out.add(violation(rule, detail, action))


def _is_passive(pending: Pending) -> bool:
    return pending.verb in wire.PASSIVE_227 or pending.verb == "EPSV"


def _is_all(pending: Pending) -> bool:
    """EPSV ALL asks for no address."""
    return pending.argument.upper() == b"ALL"


_COMMANDS: Mapping[str, Callable[[FtpEngine, wire.Command, bytes], None]] = {
    **dict.fromkeys(wire.TRANSFERS, FtpEngine._transfer),
    **dict.fromkeys((*wire.AGREEMENTS, "LPRT", "LPSV"), FtpEngine._agree),
    **dict.fromkeys(wire.TLS_COMMANDS, FtpEngine._tls_command),
}
"""Commands that need more than being passed on and counted."""

_REPLIES: Mapping[str, Callable[[FtpEngine, Pending, int, bytes], None]] = {
    **dict.fromkeys(wire.TRANSFERS, FtpEngine._transfer_replied),
    **dict.fromkeys(wire.PASSIVE_227, FtpEngine._passive_replied),
    "EPSV": FtpEngine._passive_replied,
    "PORT": FtpEngine._port_replied,
    "EPRT": FtpEngine._port_replied,
    "USER": FtpEngine._login_replied,
    "PASS": FtpEngine._login_replied,
    "ACCT": FtpEngine._login_replied,
    "REIN": FtpEngine._rein_replied,
    "MODE": FtpEngine._mode_replied,
    "AUTH": FtpEngine._auth_replied,
}
"""Final replies that change what we know."""

HELPER = Helper(
    name="ftp",
    summary="FTP: data connections of PORT, PASV, EPRT and EPSV",
    ports=((Transport.TCP, 21),),
    options=FtpOptions,
    start=lambda: FtpEngine,
)
