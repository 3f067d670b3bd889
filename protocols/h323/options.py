"""What a policy may set under `options: h323:` and `options: ras:`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protocols.contract.addresses import Count, Network, Seconds
from protocols.contract.engine import MediaOptions, Options

PERMITS = {
    "third_host": "media_hosts: [NETWORK]",
    "h323.elsewhere": "media_hosts: [NETWORK]",
    "h323.forward_elsewhere": "forward_to: [NETWORK]",
    "h323.malformed": "malformed: pass",
    "h323.rate": "rate: NUMBER",
    "h323.too_many_calls": "max_calls: NUMBER",
    "h323.too_many_channels": "max_channels: NUMBER",
    "h323.t120": "t120: allow",
}
"""Rule of a violation of H.323, or reason of a refusal -> the option that would let it pass."""


@dataclass(frozen=True)
class H323Options(MediaOptions):
    """What a policy may set under `options: h323:`."""

    media_hosts: tuple[Network, ...] = ()
    """Further hosts at which a party may have its media, as an MCU behind its gatekeeper does. Hosts on the server's
    side that are known by their own addresses need not be named, if they are reached as the server itself is."""

    forward_to: tuple[Network, ...] = ()
    """Hosts to which a Facility may send a caller on at another port than that of H.323. Without it nothing is opened
    for that: to the port of H.323 the caller begins a new session, about which policies decide."""

    t120: Literal["deny", "allow"] = "deny"
    """Whether connections for T.120 data are opened: NetMeeting had itself controlled by them."""

    traversal: Literal["map", "pass"] = "map"
    """`map`: H.460.17 and H.460.18 are treated as any call, and gatekeepers see endpoints without NAT. `pass`: a
    connection that begins with a Facility or a keep-alive, as theirs do, is relayed unread."""

    fixup: Literal["auto", "never"] = "auto"
    """`auto`: with NAT, addresses in messages are mapped and media is relayed. `never`: with NAT, both are left to
    endpoints that know their outside address. Without NAT both are the same."""

    static_nat: bool = False
    """Whether an endpoint that announces the address of ours by which it is known means itself: some are configured
    with their outside address."""

    malformed: Literal["pass", "deny"] = "pass"
    """What becomes of a message that cannot be read: it passes and opens nothing, or its connection is closed."""

    media_idle: Seconds = 120.0
    """Seconds without a packet in either direction, after which media is over when its call has shown no sign of life
    for `call_idle`."""

    call_idle: Seconds = 14400.0
    """Seconds without a message, after which a call is over when its media is silent, too."""

    setup_seconds: Seconds = 300.0
    """Seconds from Setup to Connect, after which a call is taken for over."""

    max_calls: Count = 10000
    """How many calls there may be at once, of all sessions together. A further Setup is answered ReleaseComplete."""

    max_channels: Count = 32
    """How many logical channels one call may have open. A further one is refused."""

    rate: Count = 50
    """How many Setups a second one host may send. More are answered ReleaseComplete."""


RAS_PERMITS = {
    "ras.elsewhere": "call_targets: [NETWORK]",
    "ras.malformed": "malformed: pass",
    "ras.rate": "rate: NUMBER",
    "ras.too_many_registrations": "max_registrations: NUMBER",
}
"""The same of RAS."""


@dataclass(frozen=True)
class RasOptions(Options):
    """What a policy may set under `options: ras:`."""

    callers: Literal["gatekeeper", "admitted", "any"] | tuple[Network, ...] = "gatekeeper"
    """Who may call an endpoint that has registered. `gatekeeper`: its gatekeeper, and the alternates that this one has
    named. `admitted`: also whom a gatekeeper has told, in a session here, to call it, for a minute. Networks: these and
    the gatekeeper. `any`: everybody, as a gatekeeper needs it that leaves signalling to the endpoints."""

    gatekeepers: tuple[Network, ...] = ()
    """Other hosts than the one that was asked at which a gatekeeper may have its endpoints register, at another port
    than 1719. To 1719 they begin a new session, about which policies decide."""

    call_targets: tuple[Network, ...] = ()
    """Hosts that a gatekeeper may have its endpoints call at another port than 1720. Without it: hosts that are reached
    as the gatekeeper is, and that the policy covers."""

    traversal: Literal["map", "pass"] = "map"
    """`map`: endpoints that offer H.460.17 or H.460.18 are treated as all others, and gatekeepers see them without NAT.
    `pass`: what such an endpoint says and hears goes unchanged, and opens nothing."""

    fixup: Literal["auto", "never"] = "auto"
    """`auto`: with NAT, addresses in messages are mapped. `never`: with NAT, they are left to endpoints that know their
    outside address. Without NAT both are the same."""

    malformed: Literal["pass", "deny"] = "pass"
    """What becomes of a datagram that cannot be read: it passes and opens nothing, or is dropped."""

    max_registrations: Count = 1000
    """How many addresses the endpoints of one session may have registered at once. A request for more is dropped."""

    rate: Count = 100
    """How many requests a second one host may send. More are dropped, and the host repeats them."""
