"""By which addresses clients reach the servers that policies publish. This module is pure.

A policy with `dnat` publishes a server at each address of its `destination`, for those who come by its `from` and from
its `source`. Whoever comes otherwise is on the server's side of the gateway, and so is whoever comes by the interface
by which the server is reached: such a client reaches the server by the server's own address, and has no way, or a
longer one, by the published address.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from protocols.contract.addresses import Host
from proxy.config.schema import Config, Policy
from proxy.config.values import plain_host
from proxy.sockets.arrival import Arrival

InterfaceTo = Callable[[Host], str]
"""The name of the interface by which a host is reached."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A server and an address at which a policy publishes it."""

    server: Host
    published: Host
    policy: Policy

    def is_for(self, client: Arrival, interface_to: InterfaceTo) -> bool:
        """Whether the client reaches the server by the published address."""
        policy, host = self.policy, plain_host(client.client.host)
        if policy.interfaces and client.interface not in policy.interfaces:
            return False
        if policy.sources and not any(host.version == net.version and host in net for net in policy.sources):
            return False
        return client.interface != interface_to(self.server)


class Published:
    """The servers that policies publish, and the addresses at which they do."""

    def __init__(self, config: Config, interface_to: InterfaceTo) -> None:
        self._interface_to = interface_to
        self._by_server: dict[Host, list[_Pair]] = {}
        self._by_address: dict[Host, list[_Pair]] = {}
        for policy in config.policies:
            if not policy.accept or policy.dnat is None:
                continue
            server = plain_host(policy.dnat.host)
            for network in policy.destinations:
                # A server at every address of a network has none by which others could be told to reach it. And an
                # answer about addresses of one version cannot name one of the other.
                if network.num_addresses > 1 or network.version != server.version:
                    continue
                pair = _Pair(server, network.network_address, policy)
                self._by_server.setdefault(pair.server, []).append(pair)
                self._by_address.setdefault(pair.published, []).append(pair)

    def reached_as(self, client: Arrival, host: Host) -> Collection[Host]:
        """The addresses by which the client reaches this host. Empty: by the one that it is named by here."""
        found = {pair.published for pair in self._by_server.get(host, ()) if self._is_for(pair, client)}
        pairs = self._by_address.get(host, ())
        if not found and not any(self._is_for(pair, client) for pair in pairs):
            found = {pair.server for pair in pairs}
        return found

    def reached_at(self, client: Arrival, address: Host) -> Collection[Host]:
        """The hosts that the client reaches by this address. Empty: the one that has it."""
        pairs = self._by_address.get(address, ())
        found = {pair.server for pair in pairs if self._is_for(pair, client)}
        if not found:
            found = {pair.published for pair in self._by_server.get(address, ()) if not self._is_for(pair, client)}
        return found

    def _is_for(self, pair: _Pair, client: Arrival) -> bool:
        return pair.is_for(client, self._interface_to)
