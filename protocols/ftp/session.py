"""All that is known of one FTP session, and what can be said of it: one value, which commands and replies change.

    what each side is allowed to say                                   Mode

    greeting ...   both are read, line by line                         READ
        client: AUTH         what the client says next waits           ASKED       RFC 4217 s.4; F67
        server: 5yz, 4yz     read as before                            READ
        server: 234, 334     the next bytes are the client's           AGREED      F65, F66
        client: a handshake  Splice: relayed unread                    OVER
    any of these: Abort                                                OVER

Beside the mode, and independent of it: whether the client has logged in (`login`), which sides have ended (`finished`),
and whether the server has said 421 (`ending_by`).

Commands and replies are read in commands.py and replies.py, by plain functions over this value; the engine feeds them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from protocols.contract.addresses import Peers, Side
from protocols.contract.effects import Abort, Finish, Note, Outbox, violation
from protocols.contract.pinholes import Pinholes
from protocols.ftp import wire
from protocols.ftp.agreement import Agreements
from protocols.ftp.data import DataConnections
from protocols.ftp.login import Login
from protocols.ftp.options import FtpOptions
from protocols.ftp.queue import Pending, ReplyQueue
from protocols.toolbox.lines import LineBuffer

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_COMMAND_BYTES = 4096
"""F2: the longest command line. 512 would break long UTF-8 paths; Linux paths end at 4096."""
MAX_REPLY_BYTES = 8192
"""F18: banners and quota lines are long. The same bound holds for a reply to PASV as a whole."""


class Mode(Enum):
    """How incoming bytes are read."""

    READ = auto()
    """Commands and replies, line by line."""
    ASKED = auto()
    """Both are read line by line, but no command behind AUTH before its reply. If the server agrees to AUTH, such a
    command must not have come."""
    AGREED = auto()
    """The server has agreed to AUTH, and the client is to begin its handshake."""
    OVER = auto()
    """Nothing is read: the session is aborted, or relayed unread."""


READ, ASKED, AGREED, OVER = Mode
# These are names of the module, because each look at a member of an enum costs as much as ten comparisons.


@dataclass(slots=True, eq=False)
class Reply:
    """A reply of several lines, between its first line and its last (RFC 959 s.4.2)."""

    code: bytes
    answered: Pending | None
    """The command that it answers, if it answers one."""
    held: bytearray | None
    """Its lines, if they cannot go on as they are."""


class Session:
    """What is known of one session. The ways to end it (`quit`, `not_ftp`, `injected`, `abort`) stand here, because
    commands, replies and clocks all use them."""

    __slots__ = (
        "agreements",
        "auth",
        "client_ends",
        "data",
        "denied",
        "ending_by",
        "finished",
        "heard_at",
        "hidden",
        "is_leaving",
        "kept",
        "lines",
        "login",
        "mode",
        "now",
        "options",
        "out",
        "peers",
        "queue",
        "reply",
        "rewrites",
        "spoken",
        "stray_noted",
        "unanswered_noted",
    )

    def __init__(self, peers: Peers, options: FtpOptions, pinholes: Pinholes, now: float) -> None:
        self.peers = peers
        self.options = options
        self.denied: Collection[str] = frozenset(verb.upper() for verb in options.commands_denied)
        """Commands that are answered 502."""
        self.hidden = self.denied | wire.TLS_COMMANDS if options.tls == "deny" else self.denied
        """Commands that no reply to FEAT names (F68, F72)."""
        self.rewrites = {side: peers.is_mapped(side) for side in Side}
        """Whether words of a side may be written anew, because NAT maps its address."""

        self.out = Outbox()
        self.data = DataConnections(
            peers,
            pinholes,
            self.out,
            third_party=() if options.third_party == "deny" else options.third_party,
            idle_seconds=options.idle,
            active_source_port=20 if options.active_source_port_20 else 0,
        )
        self.agreements = Agreements(peers, options, self.data, self.out)
        self.queue = ReplyQueue(self.out, is_translated=self.agreements.is_translated)
        self.login = Login(now + options.login_seconds)
        self.lines = {CLIENT: LineBuffer(MAX_COMMAND_BYTES), SERVER: LineBuffer(MAX_REPLY_BYTES)}

        self.mode = READ
        self.auth: Pending | None = None
        """The AUTH that waits for its reply, or was agreed to."""
        self.reply: Reply | None = None
        self.kept: bytes | None = None
        """A command line that waits for the reply to a login; all lines behind this one wait, too."""
        self.spoken: set[Side] = set()
        """The sides that have said something that may be FTP."""
        self.is_leaving = False
        """The client has said QUIT."""
        self.finished: set[Side] = set()
        """The sides whose end has been passed on."""
        self.client_ends = False
        """The client has ended its side, and some of its commands wait for the reply to a login."""
        self.ending_by: float | None = None
        """When a server that has said 421 must have closed."""
        self.stray_noted = self.unanswered_noted = False
        """The log has been told of an unanswered command. Once is enough to know a server."""

        self.now = self.heard_at = now
        """When a line or an event of a data connection came last."""

    @property
    def is_over(self) -> bool:
        return self.mode is OVER

    # -- what is said ----------------------------------------------------------------------------------------------

    def note(self, event: str, **facts: Any) -> None:
        """Write a line of log."""
        self.out.add(Note(event, facts))

    def violation(self, rule: str, detail: str, action: str) -> None:
        """Tell of a rule that a peer has broken, and what was done about it."""
        self.out.add(violation(rule, detail, action))

    def line_end(self, side: Side, line: bytes) -> bytes:
        """The line with CR LF for a bare LF, where we rewrite at all (F1); without NAT bytes stay as they came."""
        return wire.with_crlf(line) if self.rewrites[side] else line

    # -- transfers and agreements that end with something else ------------------------------------------------------

    def will_not_be_answered(self, pending: Pending) -> None:
        """The server owes this command a reply that will not come."""
        if pending.data is not None and pending.data is not self.data.agreement:
            self.data.close(pending.data)
        if pending.transfer is not None:
            pending.transfer.is_unanswered = True
            if pending.transfer.data is None:
                self.data.report(pending.transfer)

    def report_transfers(self) -> None:
        """The session ends, and the log is told of each transfer with what is known."""
        for pending in self.queue:
            if pending.transfer is not None:
                self.data.report(pending.transfer)
        self.queue.clear()
        self.data.report_all()

    # -- ends ------------------------------------------------------------------------------------------------------

    def quit(self, text: bytes, reason: str, detail: str) -> None:
        """The session cannot go on, and the client is told so. reason: why the session ends; also the name of the rule
        that was broken."""
        self.violation(f"ftp.{reason}", detail, "closed")
        self.out.send(CLIENT, text + wire.CRLF)
        self.abort(reason)

    def not_ftp(self, detail: str) -> None:
        """A peer speaks another protocol (F12). It gets no answer, because the answer would be taken for one of that
        protocol."""
        self.violation("ftp.not_ftp", detail, "closed")
        self.abort("not_ftp")

    def injected(self, detail: str) -> None:
        """A side has sent something in clear that the other side might take for words that TLS has protected (F67)."""
        self.violation("ftp.tls_injection", detail, "closed")
        self.abort("tls_injection")

    def time_out(self, text: bytes, reason: str) -> None:
        """A clock has run out, and the client is told so, if it can still be told anything."""
        if SERVER not in self.finished:
            self.out.send(CLIENT, text + wire.CRLF)
        self.abort(reason)

    def abort(self, reason: str) -> None:
        """End the session with all its pinholes."""
        self.report_transfers()
        self.out.add(Abort(reason))
        self.mode = OVER

    def end(self, side: Side) -> None:
        """One direction is over. Its end is passed on, and the other direction goes on."""
        self.finished.add(side)
        if side is SERVER:
            # Replies that the server still owes will not come. So unconfirmed pinholes go, and transfers wait for their
            # data alone.
            for pending in self.queue:
                self.will_not_be_answered(pending)
            self.queue.clear()
            if self.client_ends:
                self.client_ends = False
                self.end(CLIENT)
        if len(self.finished) == 2:
            self.report_transfers()
        self.out.add(Finish(side.other))
