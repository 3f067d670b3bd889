"""FTP before and after the login: whether the client has logged in, and whether it is a client of FTP at all.

Browsers, mail programs and servers can be made to send requests of their own protocols to any port, and what stands in
them may look like FTP (NAT slipstreaming). So until the login every line is looked at, and nothing is agreed on (F12).
"""

from __future__ import annotations

from protocols.ftp import wire

MAX_UNKNOWN = 10
"""F12: how many unknown verbs in a row end the session. Before the login they are unknown to us, after it to the
server. Clients probe one or two."""
UNKNOWN_REPLIES = frozenset({500, 502})
"""Replies by which a server says that it does not know a command (RFC 959 s.4.2)."""

NEED_LOGIN = wire.AGREEMENTS | wire.TRANSFERS
"""Commands that wait while the reply to a login is on its way, because a client may send all at once (F5)."""
FIRST = b"530 Log in with USER and PASS first."

_OTHER_PROTOCOL = "a line of another protocol"


class Login:
    """The login of one session. A text that a method returns says why this is no FTP session; "" if it may be one."""

    __slots__ = ("_has_spoken", "_unknown", "by", "is_done", "user")

    def __init__(self, by: float) -> None:
        self.by = by
        """When the client must have logged in at the latest."""
        self.is_done = False
        """Whether the server has answered USER, PASS or ACCT by 2yz."""
        self.user = b""
        self._has_spoken = False
        self._unknown = 0

    def said(self, command: wire.Command) -> str:
        """A command has come."""
        is_known = command.verb in wire.KNOWN
        if self.is_done:
            self._unknown = 0 if is_known else self._unknown
            return ""
        is_first = not self._has_spoken
        if command.verb:
            self._has_spoken = True
            if command.is_foreign(is_first):
                return "the first line is no FTP command" if is_first else _OTHER_PROTOCOL
        self._unknown = 0 if is_known else self._unknown + 1
        return self._too_many()

    def waits(self, lines: bytes) -> str:
        """Lines have come that wait for the login: the rest of a request of another protocol may stand in them."""
        for line in lines.splitlines(keepends=True):
            if wire.read_command(line).is_foreign(is_first=False):
                return _OTHER_PROTOCOL
        return ""

    def replied(self, verb: str, code: int) -> str:
        """The server has answered a command."""
        if not verb or verb in wire.KNOWN:
            return ""
        if code not in UNKNOWN_REPLIES:
            self._unknown = 0
        elif self.is_done:
            self._unknown += 1
        return self._too_many()

    def _too_many(self) -> str:
        return f"{self._unknown} unknown commands in a row" if self._unknown > MAX_UNKNOWN else ""

    def done(self) -> None:
        self.is_done = True
        self._unknown = 0

    def begin_again(self, by: float) -> None:
        """After REIN the session is as it was after the greeting (F71)."""
        self.by = by
        self.is_done = False
        self.user = b""
