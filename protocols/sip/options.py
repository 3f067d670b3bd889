"""What a policy may set under `options: sip:`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from protocols.contract.addresses import Count, Network, Seconds
from protocols.contract.engine import MediaOptions

PERMITS = {
    "third_host": "media_hosts: [ADDRESS]",
    "sip.malformed": "malformed: pass",
    "sip.method_blocked": "block_methods: []",
    "sip.too_many_calls": "max_calls: 20000",
    "sip.too_many_registrations": "max_registrations: 2000",
    "sip.rate": "rates: {}",
    "sip.tls_denied": "tls: pass",
    "pinhole.stranger": "media_from: [NETWORK]",
}
"""Rule of a violation, or reason of a refusal -> the option that would let it pass."""


@dataclass(frozen=True)
class SipOptions(MediaOptions):
    """What a policy may set under `options: sip:`."""

    fixup: Literal["auto", "never"] = "auto"
    """`auto`: with NAT, addresses are rewritten and media is relayed. `never`: with NAT, messages are read and their
    senders checked, but they and their media are left to ends that mend addresses themselves (STUN, a border
    controller). Without NAT both are the same."""

    tls: Literal["pass", "deny"] = "pass"
    """What happens to a connection that begins with TLS. `pass`: it is relayed unread, and its media needs a way of its
    own. `deny`: it is closed."""

    ice: Literal["strip", "pass"] = "strip"
    """What happens to ICE candidates with NAT. `strip`: they are taken out of offers and answers, so that media goes by
    the relays. `pass`: they stay, and such media is neither relayed nor rewritten."""

    direct_media: bool = False
    """With NAT, two phones behind us may call each other by way of a server. `true`: they send their media to each
    other, not through the relays. They must be able to reach each other."""

    malformed: Literal["respond", "discard", "pass"] = "respond"
    """What happens to a message in which something cannot be read that decides about an address of ours, a call or a
    pinhole. `respond`: a request is answered 400, a response dropped; `discard`: both are dropped; `pass`: both go on
    untouched. A message with any other fault passes, and the log tells of it; what others could read in another way is
    mended."""

    block_methods: tuple[str, ...] = ()
    """Methods whose requests are answered 403 and never passed on, as [MESSAGE, SUBSCRIBE]."""

    rates: Mapping[str, Count] = field(default_factory=dict)
    """How many requests a second of one method may come from one source address, as {INVITE: 20, REGISTER: 50}. OTHER
    counts all methods together that are not named here, but not ACK, BYE and CANCEL. As many requests again are
    answered 503; what is beyond is dropped unread. Without it there is no limit."""

    strict_register: bool = True
    """Who may call a registered phone. `true`: its registrar, the hosts of Service-Route and Path, and trusted_peers.
    `false`: any host."""

    trusted_peers: tuple[Network, ...] = ()
    """Networks whose hosts may call registered phones besides their registrar."""

    media_hosts: tuple[Network, ...] = ()
    """Networks of hosts behind us whose addresses a session description may name, besides the host that signals: media
    gateways of a PBX."""

    media_from: tuple[Network, ...] = ()
    """Networks from which media of parties outside may come, besides the address that their session description names:
    a carrier's media servers. Without NAT this has an effect where the party behind us names its own address."""

    topology_hiding: bool = False
    """With NAT, addresses in From, To and Call-ID are mapped as well. They are identities, and some ends compare
    them."""

    ring_seconds: Seconds = 300.0
    """Seconds from the last provisional response to an INVITE to the answer. An INVITE without any response at all is
    given up after 32. Early media that is heard goes on for longer."""

    media_idle: Seconds = 120.0
    """Seconds without a packet of either party in any medium of a call, after which the call's media is closed. It is
    never closed while on hold, while a session timer runs, or before any packet has come at all."""

    call_idle: Seconds = 14400.0
    """Seconds without any signalling, after which an established call without session timer is taken for over, unless
    its media is still heard."""

    handshake_seconds: Seconds = 30.0
    """Seconds from a TCP connection to the end of its first message. A SIP client speaks at once."""

    message_seconds: Seconds = 30.0
    """Seconds from the first byte of a message on a TCP connection to its last one. The longest messages have 288 KiB,
    and a lost packet is sent again within seconds."""

    connection_idle: Seconds = 3600.0
    """Seconds without a message, after which a TCP connection is closed if no call and no registration depends on it.
    Keep-alives count as messages once both sides have said one; before that any host could send them."""

    max_calls: Count = 10000
    """How many calls at once may come by the sessions of one client address. More are answered 503."""

    max_registrations: Count = 1000
    """How many bindings one session may have at once. More are passed, but those phones cannot be called."""

    def __post_init__(self) -> None:
        for method in self.rates:
            if not _is_method(method):
                raise ValueError(f"rates: {method!r} is not the name of a method; they are in capitals")
        for method in self.block_methods:
            if not _is_method(method):
                raise ValueError(f"block_methods: {method!r} is not the name of a method; they are in capitals")
            if method in ("ACK", "CANCEL"):
                raise ValueError(f"block_methods: {method} is part of an INVITE and cannot be refused; block INVITE")


def _is_method(name: str) -> bool:
    return re.fullmatch(r"[A-Z0-9.!%*_+`'~-]+", name) is not None  # a token (RFC 3261 s.25.1)
