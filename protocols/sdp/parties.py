"""Where a party of a call wants its media, as its session description says, and whether it may have it there.

A party may name itself, and outside media servers that are hosts of their own; inside, hosts that an option names. Some
parties name themselves by an address at which nobody finds them from here: that is seen through. Which third hosts are
outside at all, and may be named, depends on routes and policies, and is asked of `Pinholes.may_wait`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network
from typing import NamedTuple

from protocols.contract import pinholes
from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Network, Side, only
from protocols.contract.pinholes import Party
from protocols.sdp import description as sdp
from protocols.sdp.codecs import codecs_of

_SHARED = ip_network("100.64.0.0/10")
_UNREACHABLE = tuple(
    ip_network(net)
    for net in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Addresses that mean nothing to hosts outside: RFC 1918, 6598, 3927, 4193, 4291."""


class Role(Enum):
    """The part of a party in its call."""

    CALLER = "caller"
    CALLEE = "callee"

    # Each is one object; Enum would make the hash of its name each time.
    __hash__ = object.__hash__

    other: Role


# The other role is stored and not computed, as that of a side is.
Role.CALLER.other, Role.CALLEE.other = Role.CALLEE, Role.CALLER


class Speaker(NamedTuple):
    """The author of a session description, as the flow knows it that the description came by: all that is needed to
    find the author's media."""

    role: Role
    tag: bytes
    """The tag of the callee, which may be one of several."""
    host: Host
    """The host that the speaker's signalling comes from."""
    mapped: Host | None
    """The address of ours by which the other side knows the speaker."""
    is_behind_us: bool
    """Whether policies let the speaker's sessions out, not in: what is opened for it opens its own network."""
    side: Side
    """The side of the policy that the speaker is on."""
    number: int | None = None
    """The number of the message that brings the description, by which its parties know it (CSeq)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long media may wait and be silent, and whose addresses it may name."""

    open_seconds: float
    idle_seconds: float
    hosts: tuple[Network, ...]
    """Third hosts behind us that may have media."""
    sources: tuple[Network, ...] = ()
    """Further networks that media may come from, for parties that are not behind us."""


def wanted(
    speaker: Speaker,
    medium: sdp.Media,
    held: pinholes.Media | None,
    trigger: str,
    terms: Terms,
    announced: Mapping[Endpoint, Party],
    may_wait: Callable[[Party], bool],
) -> pinholes.Media | None:
    """The place that the party needs for this medium. None: the medium is to be left alone.

    `held` is the place that it has now. `announced` has places of ours, with their parties. `may_wait` is that of
    `Pinholes`.
    """
    if not medium.is_movable:
        return None
    rtp = medium.endpoint
    if rtp is None:  # this is hold by address: the place where it was stays known (D25)
        if held is None:
            return None
        party = held.party
    else:
        rtcp = None if medium.is_udptl else medium.rtcp_endpoint
        party = _party(speaker, rtp, rtcp, terms, announced, may_wait)
    kind, codecs = ("udptl", None) if medium.is_udptl else ("rtp", codecs_of(medium.text, medium.start))
    idle, wait = (float("inf"), float("inf")) if medium.is_hold else (terms.idle_seconds, terms.open_seconds)
    return pinholes.Media(kind, trigger, party, idle, wait, codecs=codecs, number=speaker.number)


def _party(
    speaker: Speaker,
    rtp: Endpoint,
    rtcp: Endpoint | None,
    terms: Terms,
    announced: Mapping[Endpoint, Party],
    may_wait: Callable[[Party], bool],
) -> Party:
    """The party as it is to be sent to and heard."""
    if _is_at_itself(speaker, rtp, rtcp):
        return _named(speaker, rtp, rtcp, terms, learn=False, third=())
    is_hidden = _is_private(rtp.host) and not _is_private(speaker.host)
    learn = is_elsewhere(speaker, rtp, terms, may_wait) or is_hidden
    rtp = meant(speaker, rtp, terms, announced, may_wait)
    rtcp = meant(speaker, rtcp, terms, announced, may_wait) if rtcp is not None else None
    party = _named(speaker, rtp, rtcp, terms, learn, _third(speaker, rtp, rtcp))
    if is_hidden and speaker.mapped is None and not may_wait(party):
        # The party is behind a NAT of its own, and numbered as a network of ours: nothing is sent to that address
        # (D41).
        rtcp = Endpoint(speaker.host, rtcp.port) if rtcp is not None else None
        party = _named(speaker, Endpoint(speaker.host, rtp.port), rtcp, terms, learn, third=())
    return party


def _is_at_itself(speaker: Speaker, rtp: Endpoint, rtcp: Endpoint | None) -> bool:
    """Whether the party waits at the host that it signals from, with data and control. That is so nearly always, and by
    the same c=."""
    return rtp.host == speaker.host and (rtcp is None or rtcp.host is rtp.host or rtcp.host == speaker.host)


def _third(speaker: Speaker, rtp: Endpoint, rtcp: Endpoint | None) -> Sequence[Host]:
    """The hosts among these that are not the one which signals."""
    return [at.host for at in (rtp, rtcp) if at is not None and at.host != speaker.host]


def _named(
    speaker: Speaker, rtp: Endpoint, rtcp: Endpoint | None, terms: Terms, learn: bool, third: Sequence[Host]
) -> Party:
    """The party at these endpoints. `third` is what `_third` returns."""
    allow = only(rtp.host)
    if learn and rtp.host != speaker.host:
        allow += only(speaker.host)
    if speaker.mapped is None and terms.sources:
        allow += tuple(network for network in terms.sources if network not in allow)
    is_named = bool(third) and _is_behind_us(speaker) and all(_is_in(host, terms.hosts) for host in third)
    host, side, is_inside = speaker.host, speaker.side, speaker.is_behind_us
    return Party(rtp, rtcp, speaker.mapped, allow, learn, host, side, is_inside, is_named)


def _is_in(host: Host, networks: Sequence[Network]) -> bool:
    return any(host in network for network in networks)


def objection(
    speaker: Speaker,
    medium: sdp.Media,
    terms: Terms,
    announced: Mapping[Endpoint, Party],
    may_wait: Callable[[Party], bool],
) -> tuple[str, Endpoint] | None:
    """Why no place is opened for this medium, as one snake_case word, and which endpoint is meant. None: nothing is
    against it."""
    if not medium.is_movable:
        return None
    rtp, rtcp = medium.endpoint, None if medium.is_udptl else medium.rtcp_endpoint
    is_at_itself = rtp is not None and _is_at_itself(speaker, rtp, rtcp)
    for at in (rtp, rtcp):
        if at is None:
            continue
        if at.port < LEAST_PORT:
            return "low_port", at
        if (
            not is_at_itself
            and at.host != speaker.host
            and not _may_name(speaker, meant(speaker, at, terms, announced, may_wait), terms)
        ):
            return "third_host", at
        if medium.count > 1:  # D7: all of the pairs move, or none
            return "several_pairs", at
    if rtp is None or is_at_itself:
        return None
    if may_wait(_party(speaker, rtp, rtcp, terms, announced, may_wait)):
        return None
    return "third_host", rtcp if rtcp is not None and rtp.host == speaker.host else rtp


def meant(
    speaker: Speaker,
    at: Endpoint,
    terms: Terms,
    announced: Mapping[Endpoint, Party],
    may_wait: Callable[[Party], bool],
) -> Endpoint:
    """The endpoint where media really waits. It may be announced elsewhere than at the party's own host and yet wait
    there: under the address that stands for the party outside (which it knows from STUN, or was told), or under one of
    its VPN or container that means nothing to hosts outside."""
    if at.host == speaker.host or (_is_behind_us(speaker) and any(at.host in network for network in terms.hosts)):
        return at
    if at.host == speaker.mapped:
        # The party may also pass on what it was told: the place of another party behind us.
        party = announced.get(at)
        return (
            at
            if party is not None and party.data is not None and party.data.host != speaker.host
            else Endpoint(speaker.host, at.port)
        )
    if is_elsewhere(speaker, at, terms, may_wait):
        return Endpoint(speaker.host, at.port)
    return at


def is_elsewhere(speaker: Speaker, at: Endpoint, terms: Terms, may_wait: Callable[[Party], bool]) -> bool:
    """Whether a party with an address of ours names an address that only the party itself can mean, of its VPN or of a
    container: it means nothing to hosts outside, and is no neighbour of the party's. Media is then learned from the
    host that signals, and from no other."""
    return (
        speaker.mapped is not None
        and at.host not in (speaker.host, speaker.mapped)
        and any(at.host in network for network in _UNREACHABLE)
        and not any(at.host in network for network in terms.hosts)
        and not may_wait(Party(at, None, None, (), host=speaker.host, side=speaker.side))
    )


def _is_behind_us(speaker: Speaker) -> bool:
    """Whether the party is on our side of the NAT."""
    return speaker.mapped is not None or speaker.is_behind_us


def _may_name(speaker: Speaker, at: Endpoint, terms: Terms) -> bool:
    """What can be said without asking for routes: a party with an address of ours may name only third hosts that an
    option names."""
    if at.host == speaker.host or speaker.mapped is None:
        return True
    return any(at.host in network for network in terms.hosts)


def _is_private(host: Host) -> bool:
    """Whether this is a private address, also one between a provider's NAT and its customers' (RFC 6598)."""
    return host.is_private or host in _SHARED
