"""Who may: the first policy that matches a session, and the addresses it goes on with. Pure.

A session needs both, an entry of the session-helper table for its transport and port, and a policy that accepts it.
Addresses are compared as numbers, and an IPv4-mapped IPv6 address is the IPv4 address that it stands for (rule X5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Host, Network, Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import plain_host
from proxy.pinholes.shares import Group
from proxy.sockets.arrival import Arrival


@dataclass(frozen=True, slots=True)
class Accepted:
    entry: HelperEntry
    policy: Policy
    helper: str
    """Whose engine reads the session: that of the entry, or another one that a pinhole names."""

    @property
    def group(self) -> Group:
        return Group(self.helper, self.policy.dnat is not None)


@dataclass(frozen=True, slots=True)
class Denied:
    """`reason` is one snake_case word; `policy` names the one that decided, if one did."""

    reason: str
    policy: str | None


@dataclass(frozen=True, slots=True)
class Nat:
    """How the server is dialled: as whom (None: the kernel chooses by its route), and where."""

    source: Host | None
    dial: Endpoint


_Masks = tuple[tuple[int, int], ...]
"""Networks of one IP version, each as the bits that count and their value."""


@dataclass(frozen=True, slots=True)
class _Networks:
    v4: _Masks
    v6: _Masks


@dataclass(frozen=True, slots=True)
class _Rule:
    """A policy, ready to be compared. None: any."""

    policy: Policy
    interfaces: frozenset[str] | None
    sources: _Networks | None
    destinations: _Networks | None


class PolicyTable:
    """The policies and the session-helper table of a configuration, compiled."""

    def __init__(self, config: Config) -> None:
        self._entries = {
            (entry.protocol, port): entry
            for entry in config.served
            for ports in entry.ports
            for port in range(ports.first, ports.last + 1)
        }
        self._rules = {
            name: tuple(_compile(policy) for policy in config.policies if not policy.helpers or name in policy.helpers)
            for name in {entry.name for entry in config.served}
        }

    def groups(self) -> frozenset[Group]:
        """The groups that sessions can be of."""
        return frozenset(
            Group(name, rule.policy.dnat is not None)
            for name, rules in self._rules.items()
            for rule in rules
            if rule.policy.accept
        )

    def decide(self, arrival: Arrival, helper: str | None = None) -> Accepted | Denied:
        """The first policy that matches decides. None is a deny (`no_policy`), no table entry too (`no_helper`).
        helper: who is to read the session, where that is no matter of its port."""
        entry = self._entries.get((arrival.transport, arrival.server.port))
        if entry is None or (helper is not None and helper not in self._rules):
            return Denied("no_helper", None)
        name = entry.name if helper is None else helper
        client, server = plain_host(arrival.client.host), plain_host(arrival.server.host)
        for rule in self._rules[name]:
            if (
                (rule.interfaces is None or arrival.interface in rule.interfaces)
                and (rule.sources is None or _holds(rule.sources, client))
                and (rule.destinations is None or _holds(rule.destinations, server))
            ):
                if rule.policy.accept:
                    return Accepted(entry, rule.policy, name)
                return Denied("denied_by_policy", rule.policy.name)
        return Denied("no_policy", None)

    def judge(self, arrival: Arrival, helper: str | None = None) -> Accepted | Denied:
        """The same, and Denied too when the policy has no NAT for it."""
        decision = self.decide(arrival, helper)
        how = nat(decision.policy, arrival) if isinstance(decision, Accepted) else decision
        return how if isinstance(how, Denied) else decision

    def has_helper(self, transport: Transport, port: int) -> bool:
        """Whether sessions to this port are taken over, whoever's it is."""
        return (transport, port) in self._entries

    def is_published(self, transport: Transport, at: Endpoint) -> bool:
        """Whether a policy leads sessions to this address and port somewhere else."""
        entry = self._entries.get((transport, at.port))
        return entry is not None and any(
            rule.policy.dnat is not None and (rule.destinations is None or _holds(rule.destinations, at.host))
            for rule in self._rules[entry.name]
        )


def nat(policy: Policy, arrival: Arrival) -> Nat | Denied:
    """Whom the server of an accepted session sees, and where it is dialled.

    Denied: `no_snat_address` when none of the policy's addresses has the IP version that is dialled;
    `client_other_family` when the server would have to see a client of the other version by its own address;
    `link_local` when one of the two would have to be known to the other by an address that means something on one link
    only: nothing else could come to the server at it, and no server could answer it.
    """
    if _is_of_a_link(arrival.server.host) or (policy.snat == "none" and _is_of_a_link(arrival.client.host)):
        return Denied("link_local", policy.name)
    client, dial = plain_host(arrival.client.host), Endpoint(plain_host(arrival.server.host), arrival.server.port)
    if policy.dnat is not None:
        dial = Endpoint(policy.dnat.host, policy.dnat.port or dial.port)
    match policy.snat:
        case "none":
            if client.version != dial.host.version:
                return Denied("client_other_family", policy.name)
            return Nat(client, dial)
        case "interface":
            return Nat(None, dial)
        case addresses:
            ours = [host for host in addresses if host.version == dial.host.version]
            if not ours:
                return Denied("no_snat_address", policy.name)
            # By the client's number, so that it keeps its address over sessions, restarts and gateways.
            return Nat(ours[int(client) % len(ours)], dial)


def _is_of_a_link(host: Host) -> bool:
    """An IPv6 address that is nothing without its zone (RFC 4007 s.6)."""
    return host.version == 6 and host.is_link_local


def _compile(policy: Policy) -> _Rule:
    return _Rule(
        policy,
        frozenset(policy.interfaces) or None,
        _masks(policy.sources) if policy.sources else None,
        _masks(policy.destinations) if policy.destinations else None,
    )


def _masks(networks: Sequence[Network]) -> _Networks:
    def of(version: int) -> _Masks:
        return tuple((int(net.netmask), int(net.network_address)) for net in networks if net.version == version)

    return _Networks(of(4), of(6))


def _holds(networks: _Networks, host: Host) -> bool:
    number = int(host)
    return any(number & mask == value for mask, value in (networks.v4 if host.version == 4 else networks.v6))
