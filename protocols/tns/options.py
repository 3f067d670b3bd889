"""What a policy may set under `options: tns:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import Host, Network, Seconds
from protocols.contract.engine import Options


@dataclass(frozen=True)
class TnsOptions(Options):
    """What a policy may set under `options: tns:`."""

    redirect_to: tuple[Network | str, ...] = ()
    """Where a listener may send its clients besides its own address: networks, and names as `*.db.example.org`, in any
    case and with or without a dot at their end. Without: to the hosts of its own /24 or /64, unless it is published by
    `dnat`."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    """Addresses of names that listeners may use, for those that the resolver of this host does not know or should not
    be asked for, as {rac1-vip: 10.1.0.31}."""

    hops: Annotated[int, Ge(0), Le(8)] = 3
    """How often one after the other a client may be sent elsewhere."""

    oob: Literal["disable", "carry"] = "disable"
    """Urgent data, by which a client interrupts a call. `disable`: it is told that there is none, and interrupts by
    marker packets. `carry`: it is passed on."""

    tls: Literal["pass", "deny"] = "pass"
    """A connection that begins with TLS (TCPS). `pass`: it is relayed unread, and redirects in it need a way of their
    own. `deny`: it is closed."""

    idle: Seconds = 86400.0
    """Seconds without a byte after which an established session is closed, if not both of its ends answer keep-alives;
    if they do, it is there and has nothing to say (`timeouts: silent`)."""

    redirect_idle: Seconds | None = None
    """As `idle`, for sessions that a redirect has brought about; without it `idle` counts for them too."""

    handshake_seconds: Seconds = 90.0
    """From the connection to the client's CONNECT, and from there to the listener's answer. Oracle's own limit is 60:
    whoever gives up first should be one of the two who know why."""
