"""Where a party of a call may have its media, if not where its own signalling comes from: at which third hosts.

A session description can name any address. To open media there sends packets of this gateway to that address, past the
firewall's forward chain. So a third host must be one that the party could speak for: on the same side of the gateway,
one single host that is not the gateway, and within what the policy names for that side. Of a party that is behind us
even that would let one host open the others of its network: there an option must name the third host, unless it is
reached by the default route, and so is none of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.pinholes import Party
from proxy.config.schema import Policy
from proxy.sockets.routes import NO_WAY, Way, Ways, default_way_to, way_to

_NOBODY = tuple(
    ip_network(net)
    for net in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")
)
"""Addresses of no single host, or of hosts that only their own link knows (RFC 6890). 224.0.0.0/3 is multicast, what is
reserved (240.0.0.0/4), and the broadcast address."""


class ThirdHosts:
    def __init__(
        self,
        clock: Callable[[], float],
        is_leased: Callable[[Endpoint], bool],
        ask: Callable[[Host], Way] = way_to,
        ask_default: Callable[[Host], Way] = default_way_to,
    ) -> None:
        """is_leased: whether an address and port of ours is a place of media. ask, ask_default: from
        `routes`."""
        self._ways = Ways(clock, ask)
        self._by_default = Ways(clock, ask_default)
        self._is_leased = is_leased

    def may_wait(self, policy: Policy, party: Party) -> bool:
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
            return self._is_leased(at)  # the place of another party, passed on as it was told
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
    """Whether the policy is about that host on that side. Left out is any."""
    networks = policy.sources if side is Side.CLIENT else policy.destinations
    return not networks or any(host in network for network in networks)
