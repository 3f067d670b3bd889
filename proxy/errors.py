"""The exceptions of this package, drawn once.

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
    """A problem that the operator can act on. The text says what is wrong and how to mend it."""


class ConfigError(PinholeError):
    """The configuration is wrong. `problems` has one line for each problem, `file:line:column: path: what is wrong`, in
    the order of the file."""

    def __init__(self, problems: Sequence[str]) -> None:
        # A file may contain any characters, also in its name; a problem is printed as one line all the same.
        self.problems = tuple(map(printable, problems))
        super().__init__("\n".join(self.problems))


class SocketError(PinholeError):
    """The system refused a socket."""


class NetError(PinholeError):
    """Firewall rules or routes could not be read, set or removed."""


def refusal_reason(error: OSError) -> str:
    """The error of a pinhole that could not be opened, as one word for the audit log and the engine."""
    match error.errno:
        case errno.EADDRINUSE:
            return "address_in_use"
        case errno.EADDRNOTAVAIL:
            return "no_free_port"
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case errno.ENOBUFS | errno.ENOMEM:  # net.core.optmem_max, above all: a listener may need a filter
            return "no_memory"
        case errno.EACCES:  # the port is below 1024, and the process lacks CAP_NET_BIND_SERVICE
            return "not_permitted"
        case _:
            return "bind_failed"


def dial_failure(code: int | None) -> str:
    """The errno of a connection that could not be made, as one word for the audit log."""
    match code:
        case errno.ECONNREFUSED | errno.ECONNRESET:
            return "refused"
        case errno.ETIMEDOUT:
            return "timeout"
        case errno.EMFILE | errno.ENFILE:
            return "no_descriptors"
        case errno.EADDRINUSE | errno.EADDRNOTAVAIL:
            return "no_source_port"
        case errno.EACCES:  # the call had to come from a port below 1024, and the process lacks CAP_NET_BIND_SERVICE
            return "not_permitted"
        case _:
            return "unreachable"
