"""What a policy may set under `options: rtsp:`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from protocols.contract.addresses import LEAST_PORT, Network, Seconds
from protocols.contract.engine import MediaOptions

PERMITS = {
    "rtsp.destination": "destination: strip",
    "rtsp.source": "media_hosts: [ADDRESS]",
    "rtsp.low_port": "min_port: 1",
    "rtsp.multicast_denied": "multicast: pass",
    "rtsp.interleaved_denied": "interleaved: frame",
    "rtsp.udp_denied": "force_interleaved: false",
    "rtsp.tunnel_denied": "http_tunnel: pass",
    "rtsp.tls_denied": "tls: pass",
    "rtsp.method_denied": "methods_denied: []",
    "third_host": "media_hosts: [ADDRESS]",
}
"""Rule of a violation, or reason of a refused pinhole -> the option that would let it pass."""


@dataclass(frozen=True)
class RtspOptions(MediaOptions):
    """What a policy may set under `options: rtsp:`."""

    destination: Literal["refuse", "strip"] = "refuse"
    """What happens to a SETUP that has media sent to another host than its client, by which a server can be made to
    flood that host. `refuse`: it is answered 461. `strip`: the address is taken out, and media goes to the client."""

    media_hosts: tuple[Network, ...] = ()
    """Other hosts from which servers may have media sent, as IPTV does (`source=`). Media of a host that is not named
    has no way in."""

    multicast: Literal["pass", "deny"] = "pass"
    """Whether clients may ask for multicast. Nothing is opened for it: to forward it is the work of multicast routing.
    `deny`: such a SETUP is answered 461."""

    interleaved: Literal["frame", "splice", "deny"] = "frame"
    """What happens to media in the connection itself. `frame`: it is read frame by frame, so that a later SETUP for UDP
    is seen. `splice`: from PLAY on, such a connection is relayed unread, which costs less; a later SETUP for UDP gets
    no media. `deny`: a SETUP that asks for nothing else is answered 461."""

    force_interleaved: bool = False
    """Answer a SETUP that asks for UDP alone with 461. Clients then ask for media in the connection itself, and no
    pinhole is ever needed."""

    http_tunnel: Literal["pass", "deny"] = "pass"
    """Whether RTSP may be carried in two connections of HTTP, as QuickTime has it. Their heads must be those of a
    tunnel, which no page in a browser can send unasked; nothing is opened for what they carry, and it is relayed
    unread."""

    tls: Literal["pass", "deny"] = "pass"
    """What happens to a connection that begins with TLS. `pass`: it is relayed unread, and only media in the connection
    itself can work. `deny`: it is closed."""

    min_port: Annotated[int, Ge(1), Le(65535)] = LEAST_PORT
    """The lowest port that either side may name for media. Below 1024 are services that an attack wants to reach."""

    methods_denied: tuple[str, ...] = ()
    """Methods of clients that are answered 405 and never reach the server, such as ANNOUNCE and RECORD."""

    media_idle: Seconds = 120.0
    """Seconds that a session lives, at least, without a message or a packet. It is twice the session's timeout if that
    is more. Cameras that send on events are silent for long."""

    session_grace: Seconds = 120.0
    """Seconds, at most, that media goes on when its connection is lost without TEARDOWN, unless another connection
    takes the session over. It is the session's timeout if that is less."""

    idle: Annotated[Seconds, Ge(60)] = 3600.0
    """Seconds after which a connection without a message or a frame is closed, if no media of its sessions goes on
    beside it."""

    def __post_init__(self) -> None:
        for method in self.methods_denied:
            if not re.fullmatch("[A-Za-z_-]+", method):
                raise ValueError(f"methods_denied: {method!r} is not the name of a method")
