"""What a policy may set under `options: mgcp:`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protocols.contract.addresses import Count, Network, Seconds
from protocols.contract.engine import MediaOptions

PERMITS = {
    "third_host": "media: [NETWORK]",
    "mgcp.agent": "call_agents: [NETWORK]",
    "mgcp.media": "media: [NETWORK]",
    "mgcp.rate": "rate: NUMBER",
    "mgcp.too_many": "max_connections: NUMBER",
    "mgcp.unknown": "strict: false",
}
"""Rule of a violation, or reason of a refusal -> the option that would let it pass."""


@dataclass(frozen=True)
class MgcpOptions(MediaOptions):
    """What a policy may set under `options: mgcp:`."""

    call_agents: tuple[Network, ...] = ()
    """Networks whose hosts may be call agents. Commands to and from any other agent are dropped. Without it, an agent
    is whoever the policy lets speak to the gateway."""

    media: tuple[Network, ...] = ()
    """Networks in which an agent may place the far end of a connection. A command that names another host is answered
    505. Without it, an agent may name any host that is reached as the agent itself is, and that the policy covers.
    Hosts behind us, other than the two that signal, have media only if they are named here; a gateway behind us may
    name such a host as its own end, too."""

    fixup: Literal["auto", "never"] = "auto"
    """`auto`: with NAT, session descriptions are rewritten and media is relayed. `never`: with NAT, media is left to
    gateways that know their outside address. Without NAT both are the same."""

    names: Literal["auto", "never"] = "auto"
    """`auto`: with NAT, addresses in the names of endpoints and of notified entities are mapped. `never`: they stay."""

    rate: Count = 20
    """How many commands a second one gateway may send. More are dropped, and the gateway repeats them."""

    max_connections: Count = 2000
    """How many connections one gateway may have at once. A command that would make one more is answered 403."""

    media_idle: Seconds = 120.0
    """Seconds without a packet in either direction, after which a connection is taken for over."""

    hold_idle: Seconds = 3600.0
    """The same for a connection that is inactive or on hold, or that has no far end yet."""

    idle: Seconds = 86400.0
    """Seconds without a word between an agent and a gateway that have agreed on something, after which all of their
    connections are taken for over. Gateways send RSIP at a restart alone, so the way to them stands for as long."""

    digits: bool = False
    """Whether the log tells the events that gateways observe (`mgcp.notified`). Dialled digits are among them, which
    are personal data."""

    strict: bool = False
    """Whether commands that RFC 3435 does not know are refused: they are answered 504. Else they pass unread."""
