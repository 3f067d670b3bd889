"""What a policy may set under `options: tftp:`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import Count, Seconds
from protocols.contract.engine import Options

PERMITS = {
    "tftp.read": "read: allow",
    "tftp.write": "write: allow",
    "tftp.name": "names: [PATTERN]",
    "tftp.too_long": "max_bytes: NUMBER",
    "tftp.reflection": "unanswered_per_minute: NUMBER",
}
"""Rule of a violation -> the option that would let it pass."""


@dataclass(frozen=True)
class TftpOptions(Options):
    """What a policy may set under `options: tftp:`."""

    read: Literal["allow", "deny"] = "allow"
    """Whether clients may fetch files. `deny`: a read request is answered with ERROR 2 and never reaches the server."""

    write: Literal["allow", "deny"] = "allow"
    """Whether clients may store files on the server. `deny` is right for sites that only boot from it."""

    names: tuple[str, ...] = ()
    """Shell patterns, as `pxelinux*`, one of which the whole name of a file must match; upper and lower case are told
    apart. Without them any name may pass. A request for another name is answered with ERROR 2. Names are judged both as
    they are spelled and as file systems read them (`boot/../x` is none of `boot/*`), and slashes of either kind are
    alike."""

    deny_names: tuple[str, ...] = ()
    """Shell patterns, as `*-confg`. A request for a name that matches one is answered with ERROR 2, even if `names` has
    it. Upper and lower case are alike here, and so are names from the root and from the directory: servers differ in
    that."""

    max_bytes: Annotated[int, Ge(1), Le(1 << 40)] | None = None
    """How many bytes a transfer may move. A transfer that announces more, or turns out to be longer, is ended with
    ERROR 3, and so is one whose packets are eight times as many bytes with all that is repeated."""

    open_seconds: Seconds = 15.0
    """Seconds from a request to the first packet of its answer. Servers that fetch a file from elsewhere first need
    ten."""

    unanswered_per_minute: Count = 20
    """How many answers of a minute a client may leave without a word of its own, before its requests are dropped; and
    how many may be left so of what one server sends, before those of clients are dropped that have never taken an
    answer up. Such requests may have come with a forged source, to make the server send something to somebody else."""
