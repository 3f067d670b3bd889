"""The firewall policies of a FortiGate in our words, as far as they concern helpers.

What cannot be said is left out wherever leaving it in would let more through than the FortiGate does. The one exception
is `dstintf`: no policy of ours looks at the way out, and a remark says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.contract.addresses import Network
from proxy.config.networks import NAME
from proxy.config.values import Dnat, PortRange, parse_interface
from proxy.fortios import voip
from proxy.fortios.objects import EVERYBODY, Objects, VirtualIp
from proxy.fortios.syntax import Block
from proxy.fortios.table import Entry

MOST_NESTED = 32
"""How deep groups of addresses may be nested."""

_NARROWING = (
    "groups", "users", "fsso-groups", "internet-service", "internet-service-src", "ztna-status", "srcaddr-negate",
    "dstaddr-negate", "service-negate", "srcaddr6-negate", "dstaddr6-negate", "src-vendor-mac", "tos-negate",
    "rtp-nat",
)  # fmt: skip
"""Settings by which a policy is for fewer sessions than its addresses say, or for others."""


@dataclass(slots=True)
class Written:
    """One policy of ours, and what is to be said about it. Without keys it is a remark alone."""

    remarks: list[str]
    keys: dict[str, Any] = field(default_factory=dict)


class _Names:
    """Gives each thing a name that no other one has."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}
        """The number that was last put behind a name. Of names in other scripts there may be thousands alike."""

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def once(self, name: str) -> str:
        """This name, or one like it that is not taken. It is taken from now on."""
        found = name
        while found in self._taken:
            self._last[name] = self._last.get(name, 1) + 1
            found = f"{name}{self._separator}{self._last[name]}"
        self._taken.add(found)
        return found


class Unmapped(Exception):
    """A policy cannot be said in our words. The text says why."""


class Policies:
    """Writes the policies of one virtual domain."""

    def __init__(self, domain: Block, objects: Objects, table: Sequence[Entry]) -> None:
        self._domain = domain
        self._objects = objects
        self._table = [entry for entry in table if not entry.remark and not entry.off]
        self.networks: dict[str, list[str]] = {}
        """The networks that policies name, as the section `networks` writes them."""
        self._names: dict[tuple[str, int], str] = {}
        self._within: list[str] = []
        """The groups whose members are being looked at."""
        self._policy_names, self._network_names = _Names(" "), _Names("-")
        self.interfaces: dict[str, str] = {}
        """Names of interfaces that are none on Linux -> what stands for them."""

    def written(self) -> Iterator[Written]:
        """Every policy that concerns a helper, in the order of the file."""
        for number, policy in self._domain.block("firewall policy").edits.items():
            title = f"policy {number}" + (f" ({policy.word('name')})" if policy.words("name") else "")
            try:
                yield from self._policy(number, policy, title)
            except Unmapped as why:
                yield Written([f"{title} is left out: {why}"])

    def _policy(self, number: str, policy: Block, title: str) -> Iterator[Written]:
        ports, unknown = self._objects.ports(policy.words("service"))
        remarks = [f"nothing is known of the service {name!r}; it is passed over" for name in unknown]
        helpers, reaching = self._helpers(ports)
        if not helpers:
            return  # the policy has nothing to do with helpers
        if policy.word("status", "enable") == "disable":
            raise Unmapped("it is disabled")
        accepts = self._action(policy)
        remarks += self._narrowing(policy, accepts)
        remarks += reaching
        keys: dict[str, Any] = {"name": self._name(number, policy)}
        if interfaces := self._interfaces(policy):
            keys["from"] = interfaces
        virtual, plain = self._destinations(policy)
        if sources := self._addresses(policy, "srcaddr", remarks, accepts):
            keys["source"] = sources
        if len(helpers) < len({entry.name for entry in self._table}):
            keys["helpers"] = sorted(helpers)
        keys["action"] = "accept" if accepts else "deny"
        if accepts:
            keys |= self._nat(policy, remarks)
            options, told = voip.of_policy(policy, self._domain.block("voip profile").edits)
            remarks += told
            if options and "sip" in helpers:
                keys["options"] = {"sip": options}
        if plain:
            yield self._to_addresses(policy, title, dict(keys), list(remarks), accepts)
        for one in virtual:
            title_here = f"{title}, virtual IP {one.name!r}"
            published = self._published(one, helpers)
            if not published and one.ports is not None:
                transport, low, high = one.ports
                words = f"port {PortRange(low, high)}/{transport.value} is that of no helper"
                yield Written([f"{title_here} is left out: {words}"])
            is_alone = not plain and len(virtual) == len(published) == 1
            for entry in published:
                yield self._to_virtual_ip(dict(keys), [title_here, *remarks], one, entry, is_alone)

    # -- the parts of a policy -----------------------------------------------------------------------------------

    def _helpers(self, ports: list[Any]) -> tuple[set[str], list[str]]:
        """The helpers whose sessions the ports include, and remarks on those of which they include only some."""
        inside = {entry.name for entry in self._table if entry.is_within(ports)}
        partly = [
            f"the service has port {entry.port}/{entry.protocol.value} of {entry.name} not, here the policy is for "
            f"all ports of the helper"
            for entry in self._table
            if entry.name in inside and not entry.is_within(ports)
        ]
        return inside, partly

    def _action(self, policy: Block) -> bool:
        """Whether the policy accepts."""
        match policy.word("action", "deny"):
            case "accept":
                return True
            case "deny":
                return False
            case other:
                raise Unmapped(f"its action is {other}")

    def _narrowing(self, policy: Block, accepts: bool) -> list[str]:
        """What makes the policy be for fewer sessions, which ours cannot say. To deny more than the FortiGate does is
        allowed."""
        found = [key for key in _NARROWING if policy.words(key) and policy.word(key) != "disable"]
        if policy.word("schedule", "always") != "always":
            found.append("schedule")
        if not found:
            return []
        words = ", ".join(f"`{key}`" for key in found)
        if accepts or any(key.endswith("-negate") for key in found):
            raise Unmapped(f"{words} cannot be said, and without it more would pass")
        return [f"{words} is not mapped: this denies more"]

    def _name(self, number: str, policy: Block) -> str:
        """A name that no other policy has."""
        own = re.sub(r"[^ -~]", "?", policy.word("name")).strip()[:48]
        name = own or f"policy {number}"
        return self._policy_names.once(name if name not in self._policy_names else f"{name} {number}")

    def _interfaces(self, policy: Block) -> list[str]:
        """Interfaces by which sessions come. Empty: any."""
        names = self._objects.interfaces(policy.words("srcintf"))
        return list(dict.fromkeys(map(self.interface, names)))

    def interface(self, name: str) -> str:
        """A name that an interface of Linux can have."""
        found = re.sub(r"[^A-Za-z0-9_.@-]", "-", name)[:15] or "-"
        if found != name:
            self.interfaces[name] = found
        return str(parse_interface(found))

    def _destinations(self, policy: Block) -> tuple[list[VirtualIp], list[str]]:
        """The virtual IPs that the policy names as destination, and the other addresses."""
        virtual: list[VirtualIp] = []
        plain: list[str] = []
        for name in policy.words("dstaddr"):
            found = self._objects.virtual_ips(name)
            if isinstance(found, str):
                raise Unmapped(found)
            if found is None:
                plain.append(name)
            else:
                virtual += found
        return virtual, plain + policy.words("dstaddr6")

    def _addresses(self, policy: Block, key: str, remarks: list[str], accepts: bool) -> list[str]:
        """The networks of `srcaddr` or `dstaddr` and its twin for IPv6. Empty: any."""
        found: list[str] = []
        problems: list[str] = []
        everybody: set[int] = set()
        for version, names in ((4, policy.words(key)), (6, policy.words(f"{key}6"))):
            for name in names:
                if self._objects.virtual_ips(name) is not None and key == "dstaddr":
                    continue
                if name == "all":
                    everybody.add(version)
                else:
                    found += self._network(name, version, problems)
        if everybody == {4, 6}:
            return []
        found = [str(EVERYBODY[version]) for version in sorted(everybody)] + found
        if not found:
            raise Unmapped("; ".join(problems) or f"it has no `{key}`")
        if problems and not accepts:
            problems = [f"{problem}, so less is denied" for problem in problems]
        remarks += problems
        return list(dict.fromkeys(found))

    def _network(self, name: str, version: int, problems: list[str]) -> list[str]:
        """The name by which `networks` knows an address or a group. Empty: nothing of it can be said."""
        if (name, version) in self._names:
            return [self._names[name, version]]
        if name in self._within or len(self._within) >= MOST_NESTED:
            problems.append(f"{name!r} is within itself, or within too many groups")
            return []
        found = self._objects.networks(name, version)
        problems += found.problems
        written = [_word(network) for network in found.networks]
        self._within.append(name)
        for member in found.members:
            if member == "all":
                written.append(str(EVERYBODY[version]))
            else:
                written += self._network(member, version, problems)
        self._within.pop()
        if not written:
            return []
        own = self._network_name(name)
        self._names[name, version] = own
        self.networks[own] = list(dict.fromkeys(written))
        return [own]

    def _network_name(self, name: str) -> str:
        """A name that `networks` can have and that is not taken."""
        base = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:56]
        return self._network_names.once(base if NAME.fullmatch(base) else f"net-{base}")

    def _nat(self, policy: Block, remarks: list[str]) -> dict[str, Any]:
        """The source NAT of the policy."""
        if policy.is_on("nat46") or policy.is_on("nat64"):
            raise Unmapped("it translates between IPv4 and IPv6")
        if not policy.is_on("nat"):
            return {}
        if not policy.is_on("ippool"):
            return {"snat": "interface"}
        hosts: list[str] = []
        for name in policy.words("poolname"):
            pool = self._objects.pool(name)
            if isinstance(pool, str):
                raise Unmapped(pool)
            hosts += map(str, pool)
        remarks.append("the addresses of `poolname` must be routed to this host")
        return {"snat": hosts[0] if len(hosts) == 1 else hosts}

    # -- policies of ours --------------------------------------------------------------------------------------------

    def _to_addresses(
        self, policy: Block, title: str, keys: dict[str, Any], remarks: list[str], accepts: bool
    ) -> Written:
        """The policy for the destinations that are no virtual IPs."""
        way_out = self._objects.interfaces(policy.words("dstintf"))
        destinations = self._addresses(policy, "dstaddr", remarks, accepts)
        everywhere = all(word in map(str, EVERYBODY.values()) for word in destinations)
        if way_out and everywhere:
            if not accepts:
                raise Unmapped(
                    f"it denies all that goes out by {', '.join(way_out)}, and ours do not look at the way out"
                )
            remarks.append(
                f"there only what goes out by {', '.join(way_out)}; name `destination` if that is not all there is"
            )
        if not everywhere:
            keys = (
                {key: value for key, value in keys.items() if key in ("name", "from", "source")}
                | {"destination": destinations}
                | keys
            )
        return Written([title, *remarks], keys)

    def _published(self, one: VirtualIp, helpers: set[str]) -> list[Entry | None]:
        """The entries whose ports a virtual IP publishes. None stands for all of them."""
        if one.ports is None:
            return [None]
        return [entry for entry in self._table if entry.name in helpers and entry.is_within([one.ports])]

    def _to_virtual_ip(
        self, keys: dict[str, Any], remarks: list[str], one: VirtualIp, entry: Entry | None, is_alone: bool
    ) -> Written:
        """The policy for a virtual IP, which publishes a server, or for the one entry whose port it publishes.
        `is_alone`: the policy of the FortiGate becomes no other one besides."""
        if entry is not None:
            keys["helpers"] = [entry.name]
            if entry.name not in keys.get("options", {}):
                keys.pop("options", None)
            if len([each for each in self._table if each.name == entry.name]) > 1:
                remarks.append(
                    f"the virtual IP is for port {entry.port}/{entry.protocol.value} alone, here for all of the helper"
                )
        if not is_alone:
            keys["name"] = self._policy_names.once(f"{keys['name']} {one.name}"[:60])
        if one.interface != "any" and "from" not in keys:
            keys["from"] = [self.interface(one.interface)]
        if one.outside is not None:
            keys["destination"] = str(one.outside)
        elif "from" not in keys:
            raise Unmapped(f"the public address of the virtual IP {one.name!r} is not known")
        else:
            remarks.append("the public address is that of the interface: name it as `destination`")
        if keys["action"] == "accept":
            keys["dnat"] = str(Dnat(one.inside, _moved_to(one, entry)))
        order = ("name", "from", "source", "destination", "helpers", "action", "snat", "dnat", "options")
        return Written(remarks, {key: keys[key] for key in order if key in keys})


def _moved_to(one: VirtualIp, entry: Entry | None) -> int | None:
    """The port of a published server. None: the one that the client dials."""
    if one.ports is None or entry is None:
        return None
    port = one.inside_port + entry.port - one.ports[1]
    return port if port != entry.port else None


def _word(network: Network) -> str:
    """A network as one writes it."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
