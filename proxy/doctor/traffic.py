"""The packets that pinhole's sessions are made of, as far as the configuration says what they look like (pure).

For each accepting policy and IP version: what comes from clients and servers and must reach sockets of this host, and
what those sockets send. `judging` sends them through the rulesets of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from protocols.contract.addresses import Host, Network, Transport
from protocols.contract.engine import Begun
from proxy.config.schema import REGISTRY, Config, Policy
from proxy.config.values import PortRange
from proxy.doctor.packets import Bits, Packet
from proxy.host import scopes
from proxy.host.scopes import Scope, TunnelScope

_HIGH = (PortRange(1024, 65535),)


@dataclass(frozen=True, slots=True)
class Links:
    """The interfaces of this host: what is connected to each, and by which ones packets to distant hosts leave."""

    networks: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)
    """interface -> the networks that are connected to it. Loopback is left out."""
    outward: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """IP version -> the interfaces of default routes."""
    beyond: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)
    """interface -> the networks that static routes lead to by it."""
    deserted: frozenset[str] = frozenset()
    """Bridges without a port, as Docker's is while no container runs: nobody is there."""

    def connected(self, interface: str, version: int) -> tuple[Network, ...]:
        """The networks of this IP version that are connected to an interface."""
        return tuple(item for item in self.networks.get(interface, ()) if item.version == version)

    def clients(self, interface: str, sources: tuple[Network, ...], version: int) -> tuple[Network, ...]:
        """The networks of those who may come in by an interface ("" is any), of those that a policy names: the parts of
        them that are there. Where none is known to be, those that are not elsewhere; where the rest of the world is,
        all of them."""
        if interface and not sources:
            return self.connected(interface, version)
        if interface in self.outward.get(version, ()):
            return sources
        here: list[Network] = []
        elsewhere: list[Network] = []
        for name, item in self._known(version):
            is_here = interface in ("", name) and name not in self.deserted
            (here if is_here else elsewhere).append(item)
        # Of two networks that overlap, one is within the other.
        parts = (max(one, item, key=_length) for one in sources for item in here if _overlap(one, item))
        return tuple(dict.fromkeys(parts)) or _without(sources, elsewhere) or sources

    def _known(self, version: int) -> Iterator[tuple[str, Network]]:
        """The networks of this IP version that are known to be behind an interface, with its name."""
        for ways in (self.networks, self.beyond):
            for name, found in ways.items():
                yield from ((name, item) for item in found if item.version == version)

    def towards(self, networks: tuple[Network, ...], version: int, away_from: tuple[str, ...]) -> tuple[str, ...]:
        """The interfaces that lead to these networks. () when they cannot be told."""
        found = [
            name
            for name, item in self._known(version)
            for network in networks
            if network.version == version and _overlap(item, network)
        ]
        if found:
            return tuple(dict.fromkeys(found))
        if outward := tuple(name for name in self.outward.get(version, ()) if name not in away_from):
            return outward
        return tuple(
            name
            for name, connected in self.networks.items()
            if name not in away_from and any(item.version == version for item in connected)
        )


def _length(network: Network) -> int:
    return network.prefixlen


def _without(networks: tuple[Network, ...], others: Iterable[Network]) -> tuple[Network, ...]:
    """The networks without what others have of them."""
    for other in others:
        kept: list[Network] = []
        for network in networks:
            if not _overlap(network, other):
                kept.append(network)
            elif network.prefixlen < other.prefixlen:
                kept += network.address_exclude(other)  # type: ignore[arg-type]  # both are of one IP version
        networks = tuple(kept)
    return networks


def _overlap(one: Network, other: Network) -> bool:
    """Whether two networks of the same IP version have addresses in common."""
    return int(one.network_address) <= int(other.broadcast_address) and int(other.network_address) <= int(
        one.broadcast_address
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """The packets of one policy and one IP version."""

    policy: Policy
    inward: tuple[Packet, ...]
    """Packets that come for sockets of ours."""
    outward: tuple[Packet, ...]
    """Packets that sockets of ours send."""


def _alone(host: Host) -> Network:
    return ip_network(host)


def _first(scope: Scope, config: Config, interface: str, sources: tuple[Network, ...]) -> Packet:
    return Packet(
        name="new sessions of clients",
        version=scope.version,
        transport=scope.transport,
        state="new",
        interface=interface,
        sources=sources,
        destinations=scope.destinations,
        source_ports=_HIGH,
        destination_ports=scope.ports,
        destination_is_ours=scope.own_addresses,
        our_bits=config.network.mark.mask,
        our_value=config.network.mark.value,
        is_transparent=False,
    )


def of_scope(config: Config, policy: Policy, scope: Scope, links: Links) -> Traffic:
    """All packets that a session of this scope may consist of."""
    interfaces = scope.interfaces or ("",)
    # With NAT the server talks to an address of this host.
    has_nat = policy.snat != "none"
    servers = (_alone(policy.dnat.host),) if policy.dnat is not None else scope.destinations
    to_servers = links.towards(servers, scope.version, scope.interfaces) or ("",)
    inward: list[Packet] = []
    outward: list[Packet] = []
    for interface in interfaces:
        clients = links.clients(interface, scope.sources, scope.version)
        first = _first(scope, config, interface, clients)
        inward.append(first)
        outward.append(replace(_reply(first, "answers to clients"), out=interface, interface=""))
        if scope.transport is Transport.TCP:
            more = replace(first, name="data connections of clients", destination_ports=_HIGH, is_transparent=True)
            inward.append(more)
        for out in to_servers:
            towards = replace(
                first,
                name="sessions to servers",
                interface="",
                out=out,
                sources=() if has_nat else clients,
                source_is_ours=has_nat,
                destinations=servers,
                destination_is_ours=False,
                is_transparent=True,
            )
            outward.append(towards)
            inward.append(replace(_reply(towards, "answers of servers"), interface=out, out=""))
            for begun in _servers_begin(config, policy, scope):
                inward += _begun_by_servers(begun, towards, out, has_nat)
    unique = tuple(dict.fromkeys(inward)), tuple(dict.fromkeys(outward))
    return Traffic(policy, *unique)


def _reply(packet: Packet, name: str) -> Packet:
    return replace(
        packet,
        name=name,
        state="established",
        interface=packet.out,
        out=packet.interface,
        sources=packet.destinations,
        destinations=packet.sources,
        source_ports=packet.destination_ports,
        destination_ports=packet.source_ports,
        source_is_ours=packet.destination_is_ours,
        destination_is_ours=packet.source_is_ours,
        is_transparent=True,
    )


def _servers_begin(config: Config, policy: Policy, scope: Scope) -> Iterable[Begun]:
    """What servers may begin in sessions of this scope, each kind once."""
    names = [
        entry.name for entry in config.served if entry.protocol is scope.transport and entry.name in policy.helpers
    ]
    return dict.fromkeys(begun for name in names for begun in REGISTRY[name].servers_begin)


def _begun_by_servers(begun: Begun, towards: Packet, out: str, has_nat: bool) -> Iterator[Packet]:
    """The first packet of what a server begins, and the same where it has the same addresses on both legs."""
    is_tcp = begun.transport is Transport.TCP
    ports = (PortRange(begun.least_port, 65535),)
    data = replace(
        _reply(towards, "data connections of servers" if is_tcp else "media and data of servers"),
        transport=begun.transport,
        state="new",
        interface=out,
        out="",
        source_ports=ports,
        destination_ports=ports,
    )
    yield data
    if is_tcp and not has_nat:
        # The server's leg and the client's leg have the same addresses and ports. Connection tracking takes them for
        # one connection out of step.
        yield replace(data, name="data connections with the same addresses on both legs", state="invalid")


def of_config(config: Config, links: Links) -> list[Traffic]:
    """The packets of all policies. Raises NetError as `scopes.scopes` does."""
    policies = {policy.name: policy for policy in config.policies}
    names = {entry.name for entry in config.served}
    found = []
    for scope in scopes.scopes(config):
        policy = policies[scope.policy]
        if policy.accept:
            reduced = policy if policy.helpers else policy.model_copy(update={"helpers": tuple(sorted(names))})
            found.append(of_scope(config, reduced, scope, links))
    for tunnel in scopes.tunnels(config):
        if not tunnel.is_taken:
            continue
        policy = policies[tunnel.policy]
        # What servers send comes by another interface than those that a policy names for its clients.
        by_servers = links.towards(tunnel.sources, 4, policy.interfaces) if policy.interfaces else ()
        ways = tunnel.interfaces or by_servers or ("",)
        found.append(Traffic(policy, tuple(_of_tunnel(config, tunnel, way) for way in ways), ()))
    return found


def _of_tunnel(config: Config, scope: TunnelScope, interface: str) -> Packet:
    """A packet of a tunnel. It is known to our rules by its hosts and its form alone: a raw socket is none that a rule
    can look for."""
    return Packet(
        name="packets of tunnels (GRE)",
        version=4,
        transport=Transport.GRE,
        state="new",
        interface=interface,
        sources=scope.sources,
        destinations=scope.destinations,
        destination_is_ours="unicast" not in scope.to,
        our_bits=config.network.mark.mask,
        our_value=config.network.mark.value,
        is_transparent=False,
    )


def marked(packet: Packet) -> Packet:
    """The same packet with our mark on it."""
    mark = Bits(packet.mark.value & ~packet.our_bits | packet.our_value, packet.mark.known | packet.our_bits)
    return replace(packet, mark=mark)
