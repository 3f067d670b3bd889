"""Finds what is wrong between the parts of a configuration: each key is well-formed, yet the whole cannot do what it
says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from protocols.contract.addresses import Network, Transport
from protocols.contract.engine import Helper
from proxy.config.reach import Above, Reach
from proxy.config.schema import File, HelperEntry, Policy
from proxy.config.values import Mark, suggest

Location = tuple[str | int, ...]
Finding = tuple[Location, str]

NAMEABLE = r"[A-Za-z0-9_.@-]+"
"""Names of interfaces that mean nothing else in a firewall rule, as `lan+` and `lan*` do."""

ENTRIES, POLICIES = "session-helpers", "policies"


def no_such_helper(name: str, registry: Collection[str]) -> str:
    """The message for a name that no helper has, here or yet."""
    return f"there is no helper {name!r} in this version, only: {', '.join(registry)}{suggest(name, registry)}"


class Unread:
    """What of a configuration could not be read: sections, and keys of elements of lists. What depends on one of these
    is not judged."""

    def __init__(self, places: Collection[Location] = ()) -> None:
        self._places = frozenset(places)

    def has(self, section: str) -> bool:
        """Whether this section was read."""
        return (section,) not in self._places

    def has_keys(self, here: Location, *keys: str) -> bool:
        """Whether these keys of an element were read."""
        return not any((*here, key) in self._places for key in keys)

    def has_key_everywhere(self, section: str, *keys: str) -> bool:
        """Whether these keys were read in every element of a section."""
        return self.has(section) and not any(
            place[0] == section and len(place) == 3 and place[2] in keys for place in self._places
        )


def findings(config: File, registry: Mapping[str, Helper], unread: Collection[Location] = ()) -> Iterator[Finding]:
    """Everything that is wrong between the parts.

    `unread` are the sections, and the keys of elements of lists, that could not be read and have a value in `config`
    that means nothing. Locations name elements of lists by their index in `config`.
    """
    known = Unread(unread)
    if known.has(ENTRIES):
        yield from _entries(config.helpers, registry, known)
    is_complete = known.has_key_everywhere(ENTRIES, "name", "enabled")
    table = {entry.name for entry in config.served} if is_complete else set(registry)
    has_ports = known.has("ports") and known.has_key_everywhere(ENTRIES, *_PORTS)
    if has_ports and any(entry.protocol is Transport.UDP for entry in config.served):
        yield from _media_ports(config)
    if not config.policies and known.has(POLICIES):
        yield (POLICIES,), "no policy: every session would be denied"
    names: set[str] = set()
    listed = {entry.name for entry in config.helpers}
    above = Above()
    for index, policy in enumerate(config.policies):
        here: Location = (POLICIES, index)
        if known.has_keys(here, "name"):
            if policy.name in names:
                yield (*here, "name"), f"another policy has the name {policy.name!r} too"
            names.add(policy.name)
        yield from _interfaces(here, policy)
        if known.has_keys(here, "helpers"):
            yield from _helper_names(here, policy, registry, table, listed)
        if known.has_keys(here, "helpers", "action", "options"):
            yield from _options(here, policy, registry)
        if known.has_keys(here, "action", "snat", "dnat", "from", "source", "destination"):
            yield from _nat(here, policy)
        if known.has("network") and known.has_keys(here, "action", "route_mark"):
            yield from _route_mark(here, policy, config.network.mark)
        if known.has_keys(here, "source", "destination"):
            yield from _families(here, policy)
        if known.has_keys(here, *_SELECTORS):
            reach = Reach.of(policy, frozenset(table))
            if (other := above.taking_all_of(reach)) is not None:
                yield here, f"can never match: policy {other.name!r} above takes all of its sessions"
            above.add(reach)


_SELECTORS = ("from", "source", "destination", "helpers")
"""The keys that say which sessions a policy is for."""


def _media_ports(config: File) -> Iterator[Finding]:
    """Whether the range of ports has room for media."""
    ports, taken = config.ports, config.helper_ports
    if not any(
        port + 1 in ports and not {port, port + 1} & taken
        for port in range(ports.first + ports.first % 2, ports.last, 2)
    ):
        needed = "an even port and the one above it, neither of them in the session-helper table"
        yield ("ports",), f"no call could have media: that takes {needed} (RFC 3550 s.11)"


def _entries(entries: Sequence[HelperEntry], registry: Mapping[str, Helper], known: Unread) -> Iterator[Finding]:
    """What is wrong with the session-helper table."""
    if not entries:
        yield (ENTRIES,), "the table is empty: no session would ever be read; leave it out for the usual ports"
    elif not any(entry.enabled for entry in entries) and known.has_key_everywhere(ENTRIES, "enabled"):
        yield (ENTRIES,), "every entry is off: no session would ever be read"
    ids: set[int] = set()
    for index, entry in enumerate(entries):
        here: Location = (ENTRIES, index)
        if known.has_keys(here, "id"):
            if entry.id in ids:
                yield (*here, "id"), f"another entry has the id {entry.id} too"
            ids.add(entry.id)
        if known.has_keys(here, "name"):
            if entry.name not in registry:
                yield (*here, "name"), no_such_helper(entry.name, registry)
            elif known.has_keys(here, "protocol"):
                yield from _transport(here, entry, registry[entry.name])
        if entry.enabled and known.has_keys(here, *_PORTS):
            above = [
                other
                for place, other in enumerate(entries[:index])
                if other.enabled and known.has_keys((ENTRIES, place), *_PORTS)
            ]
            yield from _overlaps(here, entry, above)


_PORTS = ("protocol", "port", "enabled")
"""The keys that say which ports an entry takes."""


def _transport(here: Location, entry: HelperEntry, helper: Helper) -> Iterator[Finding]:
    """Whether the helper can read what comes over the entry's transport."""
    spoken = {transport for transport, _ in helper.ports}
    if entry.protocol not in spoken:
        runs_over = " and ".join(transport.value for transport in Transport if transport in spoken)
        yield (*here, "protocol"), f"{entry.name} runs over {runs_over} only"


def _overlaps(here: Location, entry: HelperEntry, earlier: Sequence[HelperEntry]) -> Iterator[Finding]:
    """Ports of this entry that an earlier entry has too."""
    for number, ports in enumerate(entry.ports):
        others = [(other, taken) for other in earlier if other.protocol is entry.protocol for taken in other.ports]
        others += [(entry, taken) for taken in entry.ports[:number]]
        for other, taken in others:
            first, last = max(ports.first, taken.first), min(ports.last, taken.last)
            if first <= last:
                both = type(ports)(first, last)
                owner = "this entry already" if other is entry else f"entry {other.id} ({other.name}) too"
                yield (*here, "port", number), f"{entry.protocol.value} port {both} is in {owner}"


def _interfaces(here: Location, policy: Policy) -> Iterator[Finding]:
    """Interfaces that firewall rules cannot name."""
    for index, name in enumerate(policy.interfaces):
        if not re.fullmatch(NAMEABLE, name):
            yield (
                (*here, "from", index),
                f"firewall rules cannot name the interface {name!r}; name each one that is meant, or leave `from` out",
            )


def _helper_names(
    here: Location, policy: Policy, registry: Mapping[str, Helper], table: Collection[str], listed: Collection[str]
) -> Iterator[Finding]:
    """What is wrong with the helpers that a policy names. `table` are the helpers with an entry, `listed` those and the
    ones whose entries are off."""
    for index, name in enumerate(policy.helpers):
        if name not in registry:
            yield (*here, "helpers", index), no_such_helper(name, registry)
        elif name not in table:
            lacks = f"has {name} off" if name in listed else f"has no entry for {name}"
            yield (*here, "helpers", index), f"session-helpers {lacks}, so this can never match"


def _options(here: Location, policy: Policy, registry: Mapping[str, Helper]) -> Iterator[Finding]:
    """Options that have no effect. Every helper has some, whether the file gives them or not. Those that differ from
    the default were given."""
    for name, options in policy.options.items():
        if options == registry[name].options():
            continue
        if not policy.accept:
            yield (*here, "options", name), "has no effect in a policy that denies"
        elif policy.helpers and name not in policy.helpers:
            yield (*here, "options", name), f"has no effect: this policy is not for {name}"


def _nat(here: Location, policy: Policy) -> Iterator[Finding]:
    """What is wrong with the NAT of a policy."""
    if not policy.accept:
        if policy.snat != "none":
            yield (*here, "snat"), "has no effect in a policy that denies"
        if policy.dnat:
            yield (*here, "dnat"), "has no effect in a policy that denies"
        return
    if policy.dnat and not policy.interfaces and not policy.destinations:
        yield (
            (*here, "dnat"),
            "takes every session, outgoing ones too; say which it is for with `destination` or `from`",
        )
    clients = _versions(policy.sources) & _versions(policy.destinations)
    dialled = {policy.dnat.host.version} if policy.dnat else clients
    if policy.snat == "none":
        if clients and not clients & dialled:
            words = f"IPv{min(clients)} clients keep their own address and cannot reach an IPv{min(dialled)} server"
            yield (*here, "dnat"), f"{words}; give them another one with `snat`"
    elif policy.snat != "interface" and not dialled & {host.version for host in policy.snat}:
        yield (*here, "snat"), f"has no IPv{min(dialled)} address, so no session of this policy could be dialled"


def _route_mark(here: Location, policy: Policy, ours: Mark) -> Iterator[Finding]:
    """What is wrong with the `route_mark` of a policy."""
    if policy.route_mark is None:
        return
    if not policy.accept:
        yield (*here, "route_mark"), "has no effect in a policy that denies"
    elif policy.route_mark & ours.mask:
        yield (
            (*here, "route_mark"),
            f"has bits of `network: mark` ({ours}), by which packets are delivered to this host; choose others",
        )


def _families(here: Location, policy: Policy) -> Iterator[Finding]:
    """Whether a policy can match any IP version."""
    if not _versions(policy.sources) & _versions(policy.destinations):
        yield here, "can never match: source and destination have no IP version in common"


def _versions(networks: Sequence[Network]) -> set[int]:
    """The IP versions of these networks. An empty list stands for both."""
    return {network.version for network in networks} or {4, 6}
