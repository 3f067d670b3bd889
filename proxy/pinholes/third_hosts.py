"""Third hosts: where else a party of a call may have its media than at the host where its signalling comes from.

A session description can name any address. To open media there sends packets of this gateway to that address, past the
firewall's forward chain. So a third host must be one that the party could speak for: on the same side of the gateway, a
single host that is not the gateway, and within the networks that the policy names for that side. For a party behind us
even that would let one host open the other hosts of its network. There an option must name the third host, unless the
default route leads to it, so that it is none of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.pinholes import Party, Refusal
from proxy.config.schema import Policy
from proxy.errors import refusal_reason
from proxy.sockets import transparent
from proxy.sockets.routes import NO_WAY, Way, Ways, default_way_to, way_to

_NOBODY = tuple(
    ip_network(net)
    for net in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")
)
"""Addresses that belong to no single host, or to hosts that only their own link knows (RFC 6890). 224.0.0.0/3 is
multicast, the reserved block 240.0.0.0/4, and the broadcast address."""


def refusal_of_gateway(host: Host) -> Refusal | None:
    """Refuses a host that is this gateway, and any host when there is no descriptor left to see whether it is."""
    try:
        return Refusal("target_is_gateway") if transparent.is_own(host) else None
    except OSError as error:
        return Refusal(refusal_reason(error))


class ThirdHosts:
    """Decides about third hosts by routes and policy."""

    def __init__(
        self,
        clock: Callable[[], float],
        is_leased: Callable[[Endpoint], bool],
        ask: Callable[[Host], Way] = way_to,
        ask_default: Callable[[Host], Way] = default_way_to,
    ) -> None:
        """`is_leased` tells whether an address and port of ours is a place of media. `ask` and `ask_default` ask the
        kernel for a route (`proxy/sockets/routes.py`)."""
        self._ways = Ways(clock, ask)
        self._by_default = Ways(clock, ask_default)
        self._is_leased = is_leased

    def may_wait(self, policy: Policy, party: Party) -> bool:
        """Whether the party may have its media where it says."""
        if party.is_at_itself:
            return True
        return all(
            at is None or at.host == party.host or self._may_wait_at(policy, party, at)
            for at in (party.data, party.control)
        )

    def _may_wait_at(self, policy: Policy, party: Party, at: Endpoint) -> bool:
        host = at.host
        if host.version == 6 and host.ipv4_mapped is not None:
            return False
        if any(host in network for network in _NOBODY):
            return False
        way = self._ways.to(host)
        if way.is_to_us:
            return self._is_leased(at)  # this is the place of another party, passed on as the party was told it
        if not way.interface or not way.is_to_one_host:
            return False
        if party.is_named:
            return True
        assert party.host is not None
        return (
            party.mapped is None
            and way.interface == self._ways.to(party.host).interface
            and _names(policy, party.side, host)
            and (not party.is_inside or self._by_default.to(host) is not NO_WAY)
        )


def _names(policy: Policy, side: Side | None, host: Host) -> bool:
    """Whether the policy covers this host on this side. A list that is left out covers every host."""
    networks = policy.sources if side is Side.CLIENT else policy.destinations
    return not networks or any(host in network for network in networks)
