"""What a policy may set under `options: tns:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import Host, Network, Seconds
from protocols.contract.engine import Options

PERMITS = {
    "tns.redirect_elsewhere": "redirect_to: [ADDRESS]",
    "tns.too_many_hops": "hops: 8",
    "tns.tls_denied": "tls: pass",
}
"""Rule of a violation -> the option that would let it pass."""


@dataclass(frozen=True)
class TnsOptions(Options):
    """What a policy may set under `options: tns:`."""

    redirect_to: tuple[Network | str, ...] = ()
    """Where a listener may send its clients besides its own address: networks, and names as `*.db.example.org`, in any
    case and with or without a dot at their end. Without it a listener may name the hosts of its own /24 or /64, unless
    it is published by `dnat`."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    """Addresses of names that listeners may use, as {rac1-vip: 10.1.0.31}. This is for names that the resolver of this
    host does not know or should not be asked for."""

    hops: Annotated[int, Ge(0), Le(8)] = 3
    """How many redirects one after the other a client may follow."""

    oob: Literal["disable", "carry"] = "disable"
    """What happens to urgent data, by which a client interrupts a call. `disable`: the client is told that there is
    none, and interrupts by marker packets. `carry`: urgent data is passed on."""

    tls: Literal["pass", "deny"] = "pass"
    """What happens to a connection that begins with TLS (TCPS). `pass`: it is relayed unread, and redirects in it need
    a way of their own. `deny`: it is closed."""

    idle: Seconds = 86400.0
    """Seconds without a byte, after which an established session is closed, unless both of its ends answer keep-alives.
    If they do, the session is alive and has nothing to say (`timeouts: silent`)."""

    redirect_idle: Seconds | None = None
    """The same for sessions that a redirect has brought about. Without it `idle` counts for them too."""

    handshake_seconds: Seconds = 90.0
    """Seconds from the connection to the client's CONNECT, and from there to the listener's answer. Oracle's own limit
    is 60. The client or the listener should give up before we do, because they know why."""
