"""Which sessions may begin: the first policy that matches, and the addresses that the session goes on with. This module
is pure.

A session needs both an entry of the session-helper table for its transport and port, and a policy that accepts it.
Addresses are compared as numbers, and an IPv4-mapped IPv6 address is the IPv4 address that it stands for (rule X5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host, Network, Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import plain_host
from proxy.pinholes.shares import Group
from proxy.sessions.switches import Mode, Switches
from proxy.sockets.arrival import Arrival


class Accepted(NamedTuple):
    """A policy accepts the session."""

    entry: HelperEntry
    policy: Policy
    helper: str
    """The helper that reads the session: the one of the entry, or another one that a pinhole names."""

    @property
    def group(self) -> Group:
        """The sessions that this one shares parts of the limits with."""
        return Group(self.helper, self.policy.dnat is not None)


@dataclass(frozen=True, slots=True)
class Denied:
    """The session may not begin. `reason` is one snake_case word; `policy` names the policy that decided, if one
    did."""

    reason: str
    policy: str | None


class Nat(NamedTuple):
    """How the server is dialled: from which address (None: the kernel chooses it by the route), and to which
    address."""

    source: Host | None
    dial: Endpoint


_Masks = tuple[tuple[int, int], ...]
"""Networks of one IP version, each as the bits that count and their value."""


@dataclass(frozen=True, slots=True)
class _Networks:
    """The networks of a policy, by IP version."""

    v4: _Masks
    v6: _Masks


@dataclass(frozen=True, slots=True)
class _Rule:
    """A policy in a form that is quick to compare. None: any."""

    policy: Policy
    interfaces: frozenset[str] | None
    sources: _Networks | None
    destinations: _Networks | None


class PolicyTable:
    """The policies and the session-helper table of a configuration, compiled."""

    def __init__(self, config: Config) -> None:
        self.switches: Switches | None = None
        """What an operator throws: switches change the mode that a policy gives a helper. The registry of sessions sets
        them for the table that is in force."""
        self._switched: dict[tuple[str, str, Mode], Policy] = {}
        """Policies as switches have them, by name, helper and mode."""
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
        """Every group that a session can belong to."""
        return frozenset(
            Group(name, rule.policy.dnat is not None)
            for name, rules in self._rules.items()
            for rule in rules
            if rule.policy.accept
        )

    def decide(self, arrival: Arrival, helper: str | None = None) -> Accepted | Denied:
        """The first policy that matches decides. Where no policy matches the answer is a deny (`no_policy`), as it is
        without a table entry (`no_helper`). `helper` names the helper that is to read the session where the port does
        not say it."""
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
                    if not self.switches:
                        return Accepted(entry, rule.policy, name)
                    return Accepted(entry, self._as_switched(rule.policy, name, client), name)
                return Denied("denied_by_policy", rule.policy.name)
        return Denied("no_policy", None)

    def _as_switched(self, policy: Policy, helper: str, client: Host) -> Policy:
        """The policy, with the mode that a switch gives the helper for this client."""
        assert self.switches is not None
        mode = self.switches.mode_of(helper, client)
        if mode == "active":
            return policy
        key = policy.name, helper, mode
        if key not in self._switched:
            options = {**policy.options, helper: replace(policy.options[helper], mode=mode)}
            self._switched[key] = policy.model_copy(update={"options": options})
        return self._switched[key]

    def judge(self, arrival: Arrival, helper: str | None = None) -> Accepted | Denied:
        """The answer of `decide`, but Denied also when the policy has no NAT for the session."""
        decision = self.decide(arrival, helper)
        how = nat(decision.policy, arrival) if isinstance(decision, Accepted) else decision
        return how if isinstance(how, Denied) else decision

    def helper_of(self, arrival: Arrival) -> str | None:
        """The helper that has the port which the session goes to. None: no entry has it."""
        entry = self._entries.get((arrival.transport, arrival.server.port))
        return None if entry is None else entry.name

    def has_helper(self, transport: Transport, port: int) -> bool:
        """Whether sessions to this port are taken over, on whichever host it is."""
        return (transport, port) in self._entries

    def is_published(self, transport: Transport, at: Endpoint) -> bool:
        """Whether a policy leads sessions from this address and port to another server."""
        return any(True for _ in self.published_at(transport, at))

    def published_at(self, transport: Transport, at: Endpoint) -> Iterator[Endpoint]:
        """The servers that policies lead sessions to from this address and port."""
        entry = self._entries.get((transport, at.port))
        for rule in self._rules[entry.name] if entry is not None else ():
            to = rule.policy.dnat
            if to is not None and (rule.destinations is None or _holds(rule.destinations, at.host)):
                yield Endpoint(to.host, to.port or at.port)


def nat(policy: Policy, arrival: Arrival) -> Nat | Denied:
    """The address that the server of an accepted session sees, and the address where the server is dialled.

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
            # The choice depends only on the client's number, so the client keeps its address over sessions, restarts
            # and gateways.
            return Nat(ours[int(client) % len(ours)], dial)


def _is_of_a_link(host: Host) -> bool:
    """Whether this is an IPv6 address that means nothing without its zone (RFC 4007 s.6)."""
    return isinstance(host, IPv6Address) and host.is_link_local


def _compile(policy: Policy) -> _Rule:
    """Turn a policy into numbers."""
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
    """Whether one of these networks contains the host."""
    number = int(host)
    return any(number & mask == value for mask, value in (networks.v4 if host.version == 4 else networks.v6))
