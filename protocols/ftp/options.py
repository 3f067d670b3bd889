"""What a policy may set under `options: ftp:`. Field, type, default and the text below it are schema and manual."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import LEAST_PORT, Network, Seconds
from protocols.contract.engine import Options

PERMITS = {
    "ftp.low_port": "min_port: 1",
    "ftp.bounce": "third_party: [ADDRESS]",
    "ftp.pasv_mismatch": "third_party: [ADDRESS]",
    "ftp.command_denied": "commands_denied: []",
    "ftp.tls_denied": "tls: allow",
}
"""Rule of a violation -> the option that would let it pass."""


@dataclass(frozen=True)
class FtpOptions(Options):
    """What a policy may set under `options: ftp:`."""

    third_party: Literal["deny"] | tuple[Network, ...] = "deny"
    """Which hosts PORT, EPRT and 227 may name, and which may come to a data port, besides the two hosts of the session.
    This is for server-to-server transfers (FXP), and for server farms that send data from another address. `deny` or a
    list of networks."""

    min_port: Annotated[int, Ge(1), Le(65535)] = LEAST_PORT
    """The lowest port that PORT, EPRT, 227 and 229 may name. A bounce attack wants to reach the services below 1024."""

    passive_mismatch: Literal["use_server", "refuse"] = "use_server"
    """What happens when a 227 names a host that is neither the server nor a permitted third party, as servers behind a
    NAT of their own do. `use_server`: the port is opened on the server's own address, where nearly all clients go
    anyway. `refuse`: the client is answered 425."""

    active_source_port_20: bool = False
    """Dial active-mode data connections from port 20, for clients that insist on it. A data connection is refused while
    an earlier one from port 20 to the same client port lingers."""

    default_data_port: bool = True
    """Let a server connect to the client's control port when no data port was agreed, as RFC 959 s.3.3 has it."""

    tls: Literal["allow", "deny"] = "allow"
    """Whether a session may turn to TLS. `allow`: after AUTH the session is relayed unread, and its data connections
    need a direct route. `deny`: AUTH is answered 534, and FEAT does not name it."""

    idle: Annotated[Seconds, Ge(300)] = 3600.0
    """Seconds after which a control connection without a whole line, or a data connection without a byte, is closed;
    300 at least (RFC 1123 s.4.1.3.2). Most servers have a shorter limit and say so politely; this one is for servers
    that have none. The control connection's clock stands still while data moves. A data connection is not idle while
    both of its ends answer keep-alives (`timeouts: silent`). A pinhole stands open for as long when a transfer was
    asked for and its data has not come."""

    login_seconds: Seconds = 120.0
    """Seconds from the connection to a successful login."""

    commands_denied: tuple[str, ...] = ()
    """Commands that are answered 502 and never reach the server, such as SITE or DELE."""

    def __post_init__(self) -> None:
        if isinstance(self.third_party, str) and self.third_party != "deny":
            raise ValueError("third_party: `deny` or a list of networks")
        for verb in self.commands_denied:
            if not re.fullmatch("[A-Za-z@0-9]+", verb):
                raise ValueError(f"commands_denied: {verb!r} is not the name of a command")
