"""What a policy may set under `options: irc:`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import Network, Seconds
from protocols.contract.engine import Options

PERMITS = {
    "irc.dcc_denied": "dcc: allow",
    "irc.type_denied": "types: [send, chat]",
    "irc.channel_offer": "channel_offers: open",
    "irc.denied_port": "deny_ports: []",
    "irc.too_many": "max_waiting: NUMBER",
    "irc.tls_denied": "tls: pass",
}
"""Rule of a violation -> the option that would let it pass."""

Port = Annotated[int, Ge(1), Le(65535)]


@dataclass(frozen=True)
class IrcOptions(Options):
    """What a policy may set under `options: irc:`."""

    dcc: Literal["allow", "deny"] = "deny"
    """Whether a way in is opened for what a client offers to others: files, and chats without the server. `deny`:
    offers pass as they are, and nothing is opened. Whoever connects first gets what was offered, from wherever
    `dcc_peers` lets them come, because nobody knows where the other user is."""

    types: tuple[Literal["send", "chat"], ...] = ("send", "chat")
    """What is opened for: files (SEND and its kin), chats, or both."""

    dcc_peers: tuple[Network, ...] = ()
    """Where those may come from who take up an offer. Without it: from anywhere."""

    inbound: Literal["ignore", "open"] = "ignore"
    """What is done about offers of strangers, which the client takes up by connecting to them. `ignore`: nothing; the
    firewall lets the client out or does not. `open`: with `dcc: allow`, a way to the stranger is opened for this client
    alone."""

    channel_offers: Literal["ignore", "open"] = "ignore"
    """What is done about an offer to a channel, or to several users at once. `open`: one of them may come. The same
    holds for what a stranger offers to a channel that the client is in, with `inbound: open`."""

    hide: bool = False
    """Change the client's address also where only people read it (`DCC Send file (10.1.0.2)`), and in passive offers.
    This is for source NAT."""

    tls: Literal["pass", "deny"] = "pass"
    """What happens to a connection that begins with TLS. `pass`: it is relayed unread, and DCC needs a way of its own.
    `deny`: it is closed, and STARTTLS is refused."""

    starttls: Literal["pass", "hide"] = "pass"
    """What happens to STARTTLS. `pass`: the connection is relayed unread from there on. `hide`: clients are not told
    that the server can do so, and one that tries it all the same is answered with 691."""

    deny_ports: tuple[Port, ...] = (1080, 3128, 3306, 3389, 5432, 5900, 5985, 6379, 8080, 8443)
    """Ports to which nothing is opened, besides those below 1024. A script that makes a client say an offer is after
    services like these."""

    open_seconds: Seconds = 120.0
    """Seconds from an offer to the connection. Somebody has to click."""

    max_waiting: Annotated[int, Ge(1), Le(64)] = 8
    """How many offers of a session may wait at once; the same number again for offers of strangers. All sessions of a
    client together may have 32 of each."""

    idle: Annotated[Seconds, Ge(300)] = 3600.0
    """Seconds without a line of either side, after which a session is closed. Servers ask every few minutes whether
    their clients are alive (PING)."""
