"""Where a party of a SIP call wants its media, by what its session description says, and whether it may have it there.

A party may name itself, and outside media servers that are hosts of their own; inside, whom policy allows. Some name
themselves by an address at which nobody finds them from here: that is seen through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network

from protocols import engine, sdp
from protocols.engine import Endpoint, Host, Network, Party, only
from protocols.sip_contacts import LEAST_PORT

_SHARED = ip_network("100.64.0.0/10")


class Role(Enum):
    CALLER = "caller"
    CALLEE = "callee"

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__

    @property
    def other(self) -> Role:
        return Role.CALLEE if self is Role.CALLER else Role.CALLER


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who says an SDP, as the flow that it came by knows: what is needed to find its media."""

    role: Role
    tag: bytes
    """Of the callee, which may be one of several."""
    host: Host
    """Where its signalling comes from."""
    mapped: Host | None
    """The address of ours by which the other side knows it."""
    is_behind_us: bool
    """Whether policies let its sessions out, not in: what is opened for it opens its own network."""
    opposite: Collection[Host]
    """Where the other party's signalling comes from."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long media may wait and be silent, and whose addresses it may name."""

    open_seconds: float
    idle_seconds: float
    hosts: tuple[Network, ...]
    """Besides those that signalling comes from."""


def wanted(
    speaker: Speaker,
    medium: sdp.Media,
    held: engine.Media | None,
    trigger: str,
    terms: Terms,
    announced: Mapping[Endpoint, Party],
) -> engine.Media | None:
    """What the party's place for this medium should be; None if it is to be left alone.

    held: what it is now. announced: places of ours, and whose they are.
    """
    if not medium.is_movable:
        return None
    if medium.endpoint is None:  # hold by address: where it was stays known (D25)
        if held is None:
            return None
        party = held.party
    else:
        rtp, rtcp, learn = medium.endpoint, None if medium.is_udptl else medium.rtcp_endpoint, False
        if rtcp is not None and rtcp.host != speaker.host:
            rtcp = meant(speaker, rtcp, terms, announced)
        if rtp.host != speaker.host:
            learn = _is_private(rtp.host) and not _is_private(speaker.host)
            rtp = meant(speaker, rtp, terms, announced)
        allow = only(rtp.host)
        if learn and rtp.host != speaker.host:
            allow += only(speaker.host)
        party = Party(rtp, rtcp, speaker.mapped, allow, learn)
    for_ever = float("inf")
    return engine.Media(
        "udptl" if medium.is_udptl else "rtp",
        trigger,
        party,
        for_ever if medium.is_hold else terms.idle_seconds,
        for_ever if medium.is_hold else terms.open_seconds,
    )


def objection(
    speaker: Speaker, medium: sdp.Media, terms: Terms, announced: Mapping[Endpoint, Party]
) -> tuple[str, Endpoint] | None:
    """Why no place is opened for it, as one snake_case word, and what of it; None if nothing is against that."""
    if not medium.is_movable:
        return None
    for at in (medium.endpoint, None if medium.is_udptl else medium.rtcp_endpoint):
        if at is None:
            continue
        if at.port < LEAST_PORT:
            return "low_port", at
        if at.host != speaker.host and not _may_name(speaker, meant(speaker, at, terms, announced).host, terms):
            return "third_host", at
        if medium.count > 1:  # D7: all of the pairs, or none
            return "several_pairs", at
    return None


def meant(speaker: Speaker, at: Endpoint, terms: Terms, announced: Mapping[Endpoint, Party]) -> Endpoint:
    """Where media really waits that is announced elsewhere than at the party's own host: there all the same, when that
    is named by the address that stands for it outside (who knows it from STUN, or was told), or by one behind a NAT of
    its own that could be a host of ours (D41)."""
    if any(at.host in network for network in terms.hosts):
        return at
    if at.host == speaker.mapped:
        # Or it passes on what it was told: the place of another one behind us.
        party = announced.get(at)
        return at if party is not None and party.rtp.host != speaker.host else Endpoint(speaker.host, at.port)
    if _is_private(at.host) and not _is_private(speaker.host):
        is_ours = speaker.mapped is not None or any(_are_near(one, at.host) for one in speaker.opposite)
        return Endpoint(speaker.host, at.port) if is_ours else at
    return at


def _may_name(speaker: Speaker, host: Host, terms: Terms) -> bool:
    """A third host is a matter of policy, where it is inside; outside, media servers are hosts of their own.

    Without NAT what is inside is known by who lets whom in alone, and by its network."""
    if host == speaker.host or any(host in network for network in terms.hosts):
        return True
    if host.is_loopback or host.is_link_local or host.is_multicast:
        return False
    # A private address that comes from a public one is behind a NAT of its own: learned from its packets, or never.
    if speaker.mapped is not None:
        return False
    if speaker.is_behind_us:
        return not _may_be_neighbours(speaker.host, host)
    # Nor may one outside name neighbours of who is inside, unless they are its own.
    return _are_near(speaker.host, host) or not any(_are_near(one, host) for one in speaker.opposite)


def _may_be_neighbours(one: Host, other: Host) -> bool:
    if one.version != other.version:
        return True  # who can tell
    return (one.is_private and other.is_private) or _are_near(one, other)


def _is_private(host: Host) -> bool:
    """Also those between a provider's NAT and its customers' (RFC 6598)."""
    return host.is_private or host in _SHARED


def _are_near(one: Host, other: Host) -> bool:
    """Whether they may be in one network."""
    if one.version != other.version:
        return False
    return other in ip_network((one, 24 if one.version == 4 else 64), strict=False)
