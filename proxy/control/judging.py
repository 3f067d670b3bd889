"""Which policies an arrival does not match, and why: the wrong interface, source, destination or helper. This module is
pure."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.contract.addresses import Host, Network
from proxy.config.schema import Config, Policy
from proxy.config.values import plain_host
from proxy.control.addresses import place


def mismatches(config: Config, helper: str | None, client: str, server: str, interface: str) -> list[str]:
    """For each policy that would accept, why it does not match: one sentence each."""
    ends = place(client), place(server)
    if ends[0] is None or ends[1] is None:
        return []
    found = []
    for policy in config.policies:
        if policy.accept and (why := _why_not(policy, helper, ends[0].host, ends[1].host, interface)):
            found.append(f"policy {policy.name}: {'; '.join(why)}")
    return found


def _why_not(policy: Policy, helper: str | None, client: Host, server: Host, interface: str) -> Sequence[str]:
    found = []
    if policy.helpers and helper is not None and helper not in policy.helpers:
        found.append(f"it is for {', '.join(policy.helpers)}, and {helper} reads that port")
    if policy.interfaces and interface not in policy.interfaces:
        came = f"it came by {interface}" if interface else "it is not known by which one it came"
        found.append(f"`from` is {', '.join(policy.interfaces)}, and {came}")
    if policy.sources and not _holds(policy.sources, client):
        found.append(f"`source` does not contain {client}")
    if policy.destinations and not _holds(policy.destinations, server):
        found.append(f"`destination` does not contain {server}")
    return found


def _holds(networks: Sequence[Network], host: Host) -> bool:
    host = plain_host(host)
    return any(host in network for network in networks if network.version == host.version)


def helper_of(config: Config, transport: str | None, port: int) -> str | None:
    """The helper whose sessions go to this port. `transport` is None when it is not known."""
    for entry in config.served:
        is_of = transport in (None, entry.protocol.value)
        if is_of and any(ports.first <= port <= ports.last for ports in entry.ports):
            return entry.name
    return None
