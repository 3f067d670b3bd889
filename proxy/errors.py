"""Every exception of ours, drawn once.

PinholeError
├── ConfigError      the configuration is wrong; carries every problem found, each with file, line and column
├── SocketError      the system refused a socket: capability missing, no descriptors, address in use
└── NetError         firewall rules or routes could not be read, set or removed

What a *peer* does wrong is `protocols.contract.addresses.Malformed`; it never leaves the engine.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from proxy.text import printable


class PinholeError(Exception):
    """Something the operator can act on. The text says what is wrong and how to mend it."""


class ConfigError(PinholeError):
    """`problems`: one line each, `file:line:column: path: what is wrong`, in the order of the file."""

    def __init__(self, problems: Sequence[str]) -> None:
        # A file says what it likes, also in its name; a problem is one line all the same.
        self.problems = tuple(map(printable, problems))
        super().__init__("\n".join(self.problems))


class SocketError(PinholeError):
    pass


class NetError(PinholeError):
    pass


def refusal_reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "address_in_use"
        case errno.EADDRNOTAVAIL:
            return "no_free_port"
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case errno.EACCES:  # a port below 1024, without CAP_NET_BIND_SERVICE
            return "not_permitted"
        case _:
            return "bind_failed"


def dial_failure(code: int | None) -> str:
    """The errno of a connection that did not come about, as one word for the audit log."""
    match code:
        case errno.ECONNREFUSED | errno.ECONNRESET:
            return "refused"
        case errno.ETIMEDOUT:
            return "timeout"
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case errno.EADDRINUSE | errno.EADDRNOTAVAIL:
            return "no_source_port"
        case errno.EACCES:  # to be called from a port below 1024, without CAP_NET_BIND_SERVICE
            return "not_permitted"
        case _:
            return "unreachable"
