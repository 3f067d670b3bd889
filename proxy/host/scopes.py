"""Which sessions are taken over: what the policies say, as firewall rules can ask it. This module is pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from protocols.contract.addresses import Host, Network, Transport
from proxy.config.checks import NAMEABLE
from proxy.config.schema import REGISTRY, Config, Policy
from proxy.config.values import PortRange
from proxy.errors import NetError


@dataclass(frozen=True, slots=True)
class Scope:
    """The sessions of one policy, of one IP version and transport. Empty interfaces, sources, destinations: any."""

    policy: str
    version: int
    transport: Transport
    ports: tuple[PortRange, ...]
    interfaces: tuple[str, ...]
    sources: tuple[Network, ...]
    destinations: tuple[Network, ...]
    own_addresses: bool
    """Whether sessions to addresses of this host are taken too."""


def merge_ports(ports: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """The same ports in order, in as few ranges as possible."""
    merged: list[PortRange] = []
    for item in sorted(ports):
        if merged and item.first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, item.last))
        else:
            merged.append(item)
    return tuple(merged)


def _within(networks: Sequence[Network], version: int) -> tuple[Network, ...] | None:
    """The networks of one IP version, none of them inside another. () means any; None means that there is none of this
    version."""
    if not networks:
        return ()
    ours: tuple[Network, ...]
    if version == 4:
        ours = tuple(collapse_addresses(network for network in networks if isinstance(network, IPv4Network)))
    else:
        ours = tuple(collapse_addresses(network for network in networks if isinstance(network, IPv6Network)))
    if not ours:
        return None
    return () if ours[0].prefixlen == 0 else ours


def _names(policy: Policy, name: str) -> bool:
    """Whether the policy is about this helper."""
    return not policy.helpers or name in policy.helpers


def _cannot_be_dialled(policy: Policy, version: int) -> bool:
    """Whether clients of this IP version would reach a published server of the other version, which would have to see
    their own addresses. With source NAT the helper translates (RFC 6384)."""
    return policy.dnat is not None and policy.dnat.host.version != version and policy.snat == "none"


def scopes(config: Config) -> Iterator[Scope]:
    """The sessions that are taken over, in the order of the policies.

    Raises NetError for an interface whose name means something else in a firewall rule (`lan+`, `lan*`).
    """
    for policy in config.policies:
        for interface in policy.interfaces:
            if not re.fullmatch(NAMEABLE, interface):
                raise NetError(
                    f"policy {policy.name}: firewall rules cannot name the interface {interface!r}; "
                    "rename it (ip link set ... name ...), or leave `from` out"
                )
        for version in (4, 6):
            sources, destinations = _within(policy.sources, version), _within(policy.destinations, version)
            if sources is None or destinations is None or _cannot_be_dialled(policy, version):
                continue
            for transport in Transport:
                ports = merge_ports(
                    ports
                    for entry in config.served
                    if entry.protocol is transport and _names(policy, entry.name)
                    for ports in entry.ports
                )
                if ports:
                    yield Scope(
                        policy=policy.name,
                        version=version,
                        transport=transport,
                        ports=ports,
                        interfaces=tuple(sorted(set(policy.interfaces))),
                        sources=sources,
                        destinations=destinations,
                        own_addresses=policy.accept and policy.dnat is not None,
                    )


@dataclass(frozen=True, slots=True)
class TunnelScope:
    """The tunnels between the hosts of one policy, one way: their packets have no ports. Empty interfaces, sources,
    destinations: any."""

    policy: str
    interfaces: tuple[str, ...]
    sources: tuple[Network, ...]
    destinations: tuple[Network, ...]
    to: tuple[str, ...]
    """Whose address a packet goes to: `unicast` is a host elsewhere, `local` this one."""
    is_taken: bool = True
    """Whether they are taken over. If not they pass by, whatever the policies behind this one say."""


def _host(host: Host) -> tuple[Network, ...]:
    return (ip_network(host),)


def tunnels(config: Config) -> list[TunnelScope]:
    """The tunnels that rules are about, in the order of the policies."""
    found = [scope for policy in config.policies for scope in _tunnels_of(config, policy)]
    while found and not found[-1].is_taken:  # nobody behind it would take them
        found.pop()
    return found


def _tunnels_of(config: Config, policy: Policy) -> Iterator[TunnelScope]:
    """What clients of a policy send, and what its servers send. All tunnels are of IPv4. A policy that denies is about
    none: a session that it denies has none, and no rule can see which side has begun the session that a packet belongs
    to."""
    sources, destinations = _within(policy.sources, 4), _within(policy.destinations, 4)
    carries = _carries_tunnels(config, policy)
    if not policy.accept or carries is None or sources is None or destinations is None:
        return
    if policy.dnat is not None and policy.dnat.host.version != 4:
        return
    interfaces = tuple(sorted(set(policy.interfaces)))
    if not carries:
        # If its servers could be anywhere, tunnels would pass by that clients elsewhere have with its own hosts.
        if destinations and policy.dnat is None:
            yield TunnelScope(policy.name, interfaces, sources, destinations, ("unicast",), is_taken=False)
            yield TunnelScope(policy.name, (), destinations, sources, ("unicast",), is_taken=False)
        return
    to = ("unicast",) if policy.dnat is None else ("unicast", "local")
    yield TunnelScope(policy.name, interfaces, sources, destinations, to)
    servers = destinations if policy.dnat is None else _host(policy.dnat.host)
    match policy.snat:
        case "none":
            yield TunnelScope(policy.name, (), servers, sources, ("unicast",))
        case "interface":
            yield TunnelScope(policy.name, (), servers, (), ("local",))
        case addresses:
            known = tuple(network for host in addresses if host.version == 4 for network in _host(host))
            if known:
                yield TunnelScope(policy.name, (), servers, known, ("unicast", "local"))


def _carries_tunnels(config: Config, policy: Policy) -> bool | None:
    """Whether a helper of the policy carries tunnels. One that is off, or only observes, has them pass by. None: the
    policy is for no helper that could."""
    # Helpers from elsewhere, as tests have them, are not in the registry.
    names = {entry.name for entry in config.served if entry.name in REGISTRY and _names(policy, entry.name)}
    able = [REGISTRY[name] for name in names if REGISTRY[name].tunnels(REGISTRY[name].options())]
    options = [(helper, policy.options[helper.name]) for helper in able]
    return any(given.mode == "active" and helper.tunnels(given) for helper, given in options) if able else None


def do_for(before: Config, fresh: Config) -> bool:
    """Whether the rules of the configuration before do for a fresh one, by whatever names of policies. They may bring
    tunnels that it denies: packets of no session are dropped, and those of sessions that stand still pass."""
    if _sessions(before) != _sessions(fresh):
        return False
    there, wanted = _tunnels(before), _tunnels(fresh)
    return there == wanted if _lets_some_by(before) or _lets_some_by(fresh) else set(there) >= set(wanted)


def _sessions(config: Config) -> set[Scope]:
    return {replace(scope, policy="") for scope in scopes(config)}


def _tunnels(config: Config) -> list[TunnelScope]:
    return [replace(scope, policy="") for scope in tunnels(config)]


def _lets_some_by(config: Config) -> bool:
    """Whether tunnels of a policy are to pass by."""
    return any(policy.accept and _carries_tunnels(config, policy) is False for policy in config.policies)


def comment(policy: str) -> str:
    """A policy's name in ASCII, without what would end a quoted string; at most 63 characters (see config)."""
    return "policy " + re.sub(r'["\\$`]', "'", policy).encode("ascii", "replace").decode()
