"""What a policy may set under `options: pptp:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import Seconds
from protocols.contract.engine import Options

PERMITS: Mapping[str, str] = {
    "pptp.too_many_calls": "calls: 16",
    "pptp.incoming_denied": "incoming_calls: allow",
}
"""Rule of a violation -> the option that would let it pass."""


@dataclass(frozen=True)
class PptpOptions(Options):
    """What a policy may set under `options: pptp:`."""

    calls: Annotated[int, Ge(1), Le(10_000)] = 8
    """How many calls, each a tunnel, a control connection may have at once, and its client twice as many in all of its
    connections. A client has one; a concentrator that serves a dial-in line may have many."""

    idle: Seconds = 600.0
    """Seconds without a packet in a tunnel and without a message of its control connection, after which the tunnel is
    closed. Both ends ask each other every 60 seconds whether they are there. A control connection without a tunnel is
    closed after as long."""

    incoming_calls: Literal["allow", "deny"] = "allow"
    """Whether the concentrator, which mostly is the server, may ask for a call. `deny`: it is told that the call is not
    accepted."""

    tunnel: Literal["follow", "ignore"] = "follow"
    """`follow`: the tunnels of GRE are carried, with source NAT and destination NAT as the policy says. `ignore`: they
    have a way of their own, and the control connection is read for the log alone."""
