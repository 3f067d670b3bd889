"""What a policy may set under `options: rsh:`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from protocols.contract.addresses import Seconds
from protocols.contract.engine import Options

PERMITS = {
    "rsh.rexec_denied": "rexec: allow",
    "rsh.syslog_denied": "syslog: pass",
    "rsh.stderr_denied": "stderr: follow",
    "rsh.user": "users: [PATTERN]",
    "rsh.command_denied": "commands: [PATTERN]",
}
"""Rule of a violation -> the option that would let it pass."""


@dataclass(frozen=True)
class RshOptions(Options):
    """What a policy may set under `options: rsh:`."""

    rexec: Literal["allow", "deny"] = "allow"
    """Whether clients may use rexec (port 512), whose passwords go in clear. `deny`: they are answered with an
    error."""

    syslog: Literal["pass", "deny"] = "pass"
    """What happens to a connection to another port than 512 that begins as syslog over TCP does: 514 is its port as
    well. `pass`: it is relayed unread, and nothing is opened for it. `deny`: it is closed. From a port from 512 to
    1023, which servers of rsh trust, it is not taken for syslog."""

    stderr: Literal["follow", "deny"] = "follow"
    """Whether a server may connect back for the error output of a command. `deny`: clients that ask for that are
    answered with an error, so that no pinhole is ever open; rcp does not ask."""

    users: tuple[str, ...] = ()
    """Shell patterns, as `backup*`, one of which the name of the user on the server must match; upper and lower case
    are told apart. Without them it may be anybody."""

    deny_users: tuple[str, ...] = ()
    """Shell patterns, as `root`. A command for a user on the server whose name matches one, in upper or lower case, is
    answered with an error, even if `users` has the name."""

    commands: tuple[str, ...] = ()
    """Shell patterns, one of which the whole command must match. Without them any command may run. Servers give the
    command to a shell, and `*` stands for anything, `;` as well: a pattern without `*` says what it means."""

    handshake_seconds: Seconds = 60.0
    """Seconds from the connection to the client's command, and from there to the server's answer. rshd itself waits 60
    seconds for the first."""

    idle: Seconds = 86400.0
    """Seconds without a byte, after which the connection of a command, or that of its error output, is closed, unless
    both of its ends answer keep-alives (`timeouts: silent`). A command that has read all its input may be silent for as
    long."""

    @property
    def judge_strings(self) -> bool:
        """Whether users or commands are not all allowed."""
        return bool(self.users or self.deny_users or self.commands)

    def allow_user(self, name: bytes) -> bool:
        """Whether this may be the user on the server. Servers on Windows take a name in any case, so those that are
        denied are compared without it."""
        if _is_any(name.lower(), [pattern.lower() for pattern in self.deny_users]):
            return False
        return not self.users or _is_any(name, self.users)

    def allow_command(self, command: bytes) -> bool:
        """Whether this command may run."""
        return not self.commands or _is_any(command, self.commands)


def _is_any(text: bytes, patterns: Sequence[str]) -> bool:
    """Whether one of the shell patterns matches the whole text."""
    return any(fnmatchcase(text.decode("latin-1"), pattern.encode().decode("latin-1")) for pattern in patterns)
