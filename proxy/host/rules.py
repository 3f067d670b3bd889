"""What brings packets to the daemon, as text: firewall rules (nft or iptables), a routing rule and a route a family.

The rules are static; opening or closing a pinhole never changes them. In the order in which a packet meets them:

1) What a process of this host sends is never ours (it comes by `lo`).
2) A packet for a transparent socket, be it a session or a pinhole, is marked; so is an ICMP error about a packet that
   such a socket sent, without which it would never learn the path MTU. Sockets bound to a wildcard address are some
   other program's and are skipped: ours each stand on one address.
3) A session to a port of the session-helper table, within what a policy names, is handed to the main listener; of
   datagrams, each one that no socket of ours has asked for.
4) Nobody listens: it is refused (`on_daemon_down: block`), or goes on as if we were not there (`bypass`).
5) Marked packets are routed to this host, whatever their destination; one that comes to be forwarded all the same (the
   routing rule was removed behind our back) is dropped.

Which sessions are taken: those that *any* policy names, accepting or denying, by interface, source, destination and the
ports of its helpers. A session outside all of them is not ours, and the forward policy of the host decides about it; an
operator who wants it refused and audited ends the list with a policy that denies. A session to an address of this host
is taken only where a policy with `dnat` names it, so that the host's own services on the same ports stay what they are.

A router has other rulesets as well, loaded before ours or after, and this is how both live beside each other:

- Marks. Others write whole marks (`meta mark set ct mark`), accept what is marked, save marks to connections, and look
  up ways back by the mark. With nft our chain is the last one of prerouting (`PREROUTING_PRIORITY`): nobody overwrites
  our bit, nobody sees it or saves it before the packet has its route, and an `accept` of another chain does not keep
  packets from ours. What this costs: a `dnat` of the kernel's (priority -100) comes before us, so policies see the
  address that it leads to, and addresses within such a session are mapped back by nobody; `dnat` of a policy is the way
  to publish a server.
- iptables knows TPROXY in the mangle table alone (priority -150). There ours is the first rule of the table's chains,
  and accepts what it marks, so that no other rule of the table sees it. What this costs: those rules do not save marks
  of our connections, so that a site with several uplinks which finds the way of its answers by nothing but connection
  marks needs routing rules by source address, or the nft backend; and a chain of nft at mangle or later can overwrite
  the mark. Where the kernel has nf_tables, nft is the better backend, whatever the other rulesets are written in.
- Ways back. Whoever asks for the route back to a packet's source with the packet's mark (`fib saddr . mark`, `-m
  rpfilter --validmark`, net.ipv4.conf.*.src_valid_mark) would find our route to this host, and drop the packet. Such
  a question is asked as if for a packet from `lo`, as is the one for what this host sends; so a routing rule leads what
  has our mark and comes from `lo` past ours.
- Order of routing rules. Ours are before those for uplinks and VPNs, which are numbered from 1000 or down from 32765,
  and leave room before them: a rule that is added without a priority gets the number before the second rule of all,
  and wg-quick relies on two such rules to stand in the order that follows from that. Then the new rule comes before
  ours, and may decide about packets with our mark; `overtaking` says whether it may, and `up` takes a place before it.

Everything here is ours by name (table `inet pinhole`; chains PINHOLE and PINHOLE-GUARD) or by number (routing protocol
`ROUTE_PROTOCOL`), which is how it is found again and removed, whatever the configuration has become in the meantime.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from protocols.contract.addresses import Network, Transport
from proxy.config.checks import NAMEABLE
from proxy.config.schema import Config, Policy
from proxy.config.values import Mark, PortRange
from proxy.errors import NetError

TABLE = "pinhole"
CHAIN = "PINHOLE"
GUARD = "PINHOLE-GUARD"
NEW_TABLE = "PINHOLE-NEW-TABLE"
"""iptables: an empty chain of ours. It stands if `up` made the mangle table, so that `down` removes the table again."""
JUMPS = (("PREROUTING", CHAIN), ("FORWARD", GUARD))
"""iptables: the chains of the mangle table that jump to ours, and our chains."""

ROUTE_PROTOCOL = 213
"""The author of our routing rules and routes (`proto` in `ip rule`, `ip route`); linux/rtnetlink.h leaves the number
free."""

RULE_PRIORITY = 100
"""The number of our first routing rule, unless another rule stands before 103. At 0 none could overtake it, but then
the kernel would number the rules of others 0, 0 ... in the order in which they are added, and not each before the one
before it."""

RULES_IN_A_ROW = 3
"""How many routing rules we have: the first leads what comes from `lo` past the second, the second leads to our route,
and the third stands behind it, since `goto` needs a rule of ours to go to."""

PREROUTING_PRIORITY = 200
"""nft: after every chain that others have in prerouting: mangle -150, dstnat -100, filter 0, security 50, and the 10
that firewalld adds to each. Only SELinux (225) and connection tracking itself come later."""

MULTIPORT_SLOTS = 15
"""iptables' multiport match takes 15 ports, and a range counts as two (XT_MULTI_PORTS)."""


class Backend(Enum):
    """The kind of firewall that our rules are written for."""

    NFT = "nft"
    IPTABLES = "iptables"


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


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the set-up, and its input."""

    command: tuple[str, ...]
    stdin: str = ""
    unless: tuple[str, ...] = ()
    """A command that succeeds when there is nothing to do."""
    version: int | None = None
    """The IP version that the step is for. None: both."""
    why: str = ""
    """The reason, as a comment in the printed script."""
    what: str = ""
    """What the step does, where its command does not say it to a reader."""

    def __str__(self) -> str:
        """The step in one line, for people."""
        return self.what or " ".join(self.command)

    def shell(self) -> str:
        """The step as lines of POSIX shell."""
        line = shlex.join(self.command)
        if self.unless:
            line = f"{shlex.join(self.unless)} 2>/dev/null || {line}"
        return f"{line} <<'EOF'\n{self.stdin}EOF\n" if self.stdin else f"{line}\n"


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


def _comment(policy: str) -> str:
    """A policy's name in ASCII, without what would end a quoted string; at most 63 characters (see config)."""
    return "policy " + re.sub(r'["\\$`]', "'", policy).encode("ascii", "replace").decode()


def label(config: Config, backend: Backend, version: int = 4) -> str:
    """The comment that loaded rules carry: the same for the same rules, so one can see whether they are up to date."""
    rules = _nft_table(config, "") if backend is Backend.NFT else _iptables_table(config, version, "")
    return f"pinhole {hashlib.sha256(rules.encode()).hexdigest()[:12]}"


def takes_the_same(one: Config, other: Config) -> bool:
    """Whether both configurations take the same sessions over, by whatever names of policies."""
    return {replace(scope, policy="") for scope in scopes(one)} == {
        replace(scope, policy="") for scope in scopes(other)
    }


# -- nft ---------------------------------------------------------------------------------------------------------------


def _set(items: Iterable[object]) -> str:
    """Items as nft writes a set of them."""
    values = [str(item) for item in items]
    return values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"


def _nft_scope(scope: Scope) -> str:
    """The nft rule for one scope."""
    family = "ip" if scope.version == 4 else "ip6"
    matches = [f"meta nfproto ipv{scope.version}"]
    if scope.interfaces:
        matches.append("iifname " + _set(f'"{name}"' for name in scope.interfaces))
    if scope.sources:
        matches.append(f"{family} saddr {_set(scope.sources)}")
    if scope.destinations:
        matches.append(f"{family} daddr {_set(scope.destinations)}")
    matches.append(f"{scope.transport.value} dport {_set(scope.ports)}")
    matches.append("fib daddr type " + ("{ unicast, local }" if scope.own_addresses else "unicast"))
    return f'{" ".join(matches)} jump take comment "{_comment(scope.policy)}"'


def _nft_table(config: Config, comment: str) -> str:
    """Our whole nft table."""
    network = config.network
    port = network.listen_port
    protocols = "meta l4proto { tcp, udp }"
    with_errors = "meta l4proto { tcp, udp, icmp, ipv6-icmp }"
    mark = f"meta mark set meta mark & {network.mark.mask ^ 0xFFFFFFFF:#010x} | {network.mark.value:#x}"
    taken = list(scopes(config))
    lines = [
        f"table inet {TABLE} {{",
        f'    comment "{comment}"',
        "    chain ours {",
        "        # Not `socket wildcard 0` as a match: it fails on a handshake in progress, whose end is lost.",
        "        socket wildcard 1 return",
        f"        {mark} accept",
        "    }",
        "    chain take {",
        f"        meta nfproto ipv4 {protocols} tproxy ip to 127.0.0.1:{port} {mark} accept",
        f"        meta nfproto ipv6 {protocols} tproxy ip6 to [::1]:{port} {mark} accept",
    ]
    if network.on_daemon_down == "block":
        lines += [
            "        # Nobody listens. Not marked: that would deliver it to a service of this host on the same port.",
            "        meta l4proto tcp reject with tcp reset",
            "        drop",
        ]
    lines += ["    }", "    chain sessions {"]
    lines += [f"        {_nft_scope(scope)}" for scope in taken]
    lines += [
        "    }",
        "    chain prerouting {",
        f"        type filter hook prerouting priority {PREROUTING_PRIORITY}; policy accept;",
        '        iifname "lo" accept',
        f"        {with_errors} socket transparent 1 jump ours",
    ]
    for transport in Transport:
        ports = merge_ports(item for scope in taken if scope.transport is transport for item in scope.ports)
        if ports:
            lines.append(f"        {transport.value} dport {_set(ports)} jump sessions")
    lines += [
        "    }",
        "    chain forward {",
        "        type filter hook forward priority filter; policy accept;",
        f"        meta mark & {network.mark.mask:#x} == {network.mark.value:#x} drop",
        "    }",
        "}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _nft_steps(config: Config) -> Iterator[Step]:
    # All of this is one transaction. The table is created first so that it can be deleted, whether it was there or not.
    fresh = f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n"
    table = _nft_table(config, label(config, Backend.NFT))
    why = f"The firewall rules: our own table inet {TABLE}."
    yield Step(("nft", "-f", "-"), fresh + table, why=why, what=f"nft: table inet {TABLE}")


# -- iptables ----------------------------------------------------------------------------------------------------------


def _multiport(ports: Sequence[PortRange]) -> Iterator[str]:
    """The ports as arguments of --dports, as many in each as one rule takes."""
    chunk: list[str] = []
    slots = 0
    for item in ports:
        needed = 1 if len(item) == 1 else 2
        if slots + needed > MULTIPORT_SLOTS:
            yield ",".join(chunk)
            chunk, slots = [], 0
        chunk.append(str(item).replace("-", ":"))
        slots += needed
    if chunk:
        yield ",".join(chunk)


def _iptables_scope(scope: Scope, target: str) -> Iterator[str]:
    """The iptables rules for one scope. iptables knows no sets of addresses, so there is a rule for each
    combination."""
    for interface in scope.interfaces or (None,):
        for source in scope.sources or (None,):
            for destination in scope.destinations or (None,):
                for ports in _multiport(scope.ports):
                    rule = [f"-A {CHAIN}"]
                    rule += [f"-i {interface}"] if interface else []
                    rule += [f"-s {source}"] if source else []
                    rule += [f"-d {destination}"] if destination else []
                    rule += [f"-p {scope.transport.value} -m multiport --dports {ports} -m pkttype --pkt-type unicast"]
                    rule += [] if scope.own_addresses else ["-m addrtype ! --dst-type LOCAL"]
                    rule += [f'-m comment --comment "{_comment(scope.policy)}"', target]
                    yield " ".join(rule)


def _iptables_table(config: Config, version: int, comment: str) -> str:
    """Our chains, as input of iptables-restore."""
    network = config.network
    listener = "127.0.0.1" if version == 4 else "::1"
    target = f"-j TPROXY --on-ip {listener} --on-port {network.listen_port} --tproxy-mark {network.mark}"
    lines = [
        "*mangle",
        f":{CHAIN} - [0:0]",
        f":{GUARD} - [0:0]",
        f'-A {CHAIN} -i lo -m comment --comment "{comment}" -j RETURN',
        f"-A {CHAIN} -m socket --transparent -j MARK --set-xmark {network.mark}",
        f"-A {CHAIN} -m mark --mark {network.mark} -j ACCEPT",
        *(rule for scope in scopes(config) if scope.version == version for rule in _iptables_scope(scope, target)),
        f"-A {GUARD} -m mark --mark {network.mark} -j DROP",
        "COMMIT",
    ]
    return "".join(f"{line}\n" for line in lines)


def iptables(version: int) -> str:
    """The command for this IP version."""
    return "iptables" if version == 4 else "ip6tables"


def _iptables_steps(config: Config) -> Iterator[Step]:
    if config.network.on_daemon_down == "bypass":
        raise NetError(
            "iptables drops what TPROXY cannot hand over, so it cannot do `on_daemon_down: bypass`; "
            "use the nft backend, or set network.on_daemon_down to block"
        )
    for version in (4, 6):
        table = _iptables_table(config, version, label(config, Backend.IPTABLES, version))
        yield Step(
            (iptables(version), "--wait", "--table", "mangle", "--new-chain", NEW_TABLE),
            unless=("sh", "-c", f"{iptables(version)}-save | grep -q '^[*]mangle'"),
            version=version,
            why=f"IPv{version}: where there is no mangle table yet, remember that.",
        )
        yield Step(
            (f"{iptables(version)}-restore", "--noflush", "--wait"),
            table,
            version=version,
            why=f"The firewall rules, IPv{version}: our own chains {CHAIN} and {GUARD}, emptied and filled at once ...",
            what=f"{iptables(version)}: chains {CHAIN} and {GUARD} in the table mangle",
        )
        for number, (hook, chain) in enumerate(JUMPS):
            mangle = f"{iptables(version)} --wait --table mangle"
            jump = f"{hook} --jump {chain}"
            yield Step(
                # The old jump goes first, since rules of others may have come before it.
                ("sh", "-c", f"{mangle} --delete {jump} 2>/dev/null; {mangle} --insert {jump}"),
                unless=("sh", "-c", f'test "$({mangle} --list-rules {hook} 1)" = "-A {hook} -j {chain}"'),
                version=version,
                why="" if number else "... and one jump to each, before all else: what is ours, no other rule sees.",
                what=f"{iptables(version)}: jump to {chain}, the first rule of {hook}",
            )


# -- the whole ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A routing rule, as far as it matters whether it can come between a packet with our mark and our route."""

    priority: int
    mark: Mark | None = None
    """The mark that the rule asks for. None: any."""
    is_inverted: bool = False
    """Whether the rule has a `not`: it matches packets that its selectors do not."""
    is_for_arrivals: bool = True
    """False: the rule matches only packets that this host sends, or that come by a VRF."""

    def may_match(self, mark: Mark) -> bool:
        """Whether the rule may decide about packets that carry this mark and come from outside."""
        if self.is_inverted:
            return True
        if not self.is_for_arrivals:
            return False
        return self.mark is None or not (self.mark.value ^ mark.value) & self.mark.mask & mark.mask


def overtaking(others: Iterable[RoutingRule], mark: Mark, priority: int) -> list[RoutingRule]:
    """The rules of others that may decide about packets with our mark before ours, which begin at `priority`."""
    return [rule for rule in others if rule.priority < priority + RULES_IN_A_ROW and rule.may_match(mark)]


def rule_priority(others: Iterable[RoutingRule], mark: Mark) -> int:
    """The number that our first routing rule gets: before the rules of others that may match, with room for later
    ones."""
    lowest = min((rule.priority for rule in overtaking(others, mark, RULE_PRIORITY)), default=None)
    return RULE_PRIORITY if lowest is None else max(1, min(lowest // 2, lowest - RULES_IN_A_ROW))


def routing_rules(config: Config, priority: int) -> tuple[tuple[str, ...], ...]:
    """Our routing rules as arguments of `ip rule add`, without their protocol."""
    mark, table = str(config.network.mark), str(config.network.table)
    past = priority + RULES_IN_A_ROW - 1
    return (
        ("priority", str(priority), "iif", "lo", "fwmark", mark, "goto", str(past)),
        ("priority", str(priority + 1), "fwmark", mark, "lookup", table),
        ("priority", str(past), "nop"),
    )


def _routing_steps(config: Config, priority: int) -> Iterator[Step]:
    table, protocol = str(config.network.table), str(ROUTE_PROTOCOL)
    for version in (4, 6):
        ip = ("ip", f"-{version}")
        old = [step for step in routing_removal() if step.version == version]
        why = f"IPv{version}: what is marked is for this host. Protocol {protocol} says that an entry is ours."
        yield replace(old[0], why=why)
        yield from old[1:]
        local = (*ip, "route", "replace", "local", "default", "dev", "lo", "table", table, "protocol", protocol)
        yield Step(local, version=version)
        # The last rule is added first, because the first one goes to it.
        for rule in reversed(routing_rules(config, priority)):
            yield Step((*ip, "rule", "add", *rule, "protocol", protocol), version=version)


def steps(config: Config, backend: Backend, priority: int = RULE_PRIORITY) -> tuple[Step, ...]:
    """The steps that set everything up, in order, also over an older set-up. `priority` is the number of our first
    routing rule.

    Raises NetError for what the backend cannot do.
    """
    firewall = _nft_steps(config) if backend is Backend.NFT else _iptables_steps(config)
    # Routes come first: a packet must never be marked before there is a way for it.
    return (*_routing_steps(config, priority), *firewall)


def routing_removal() -> tuple[Step, ...]:
    """The steps that remove our routing rules and routes, whatever the configuration was. It is no error when there are
    none."""
    commands = []
    for version in (4, 6):
        ip, protocol = ("ip", f"-{version}"), str(ROUTE_PROTOCOL)
        commands.append(Step((*ip, "rule", "flush", "protocol", protocol), version=version))
        commands.append(Step((*ip, "route", "flush", "table", "all", "protocol", protocol), version=version))
    return tuple(commands)


def iptables_removal(saved: str) -> str:
    """Input of `iptables-restore --noflush` that takes our chains, and all jumps to them, out of a mangle table.

    `saved` is what `iptables-save -t mangle` prints. Returns "" when no chain of ours is there.
    """
    lines = saved.splitlines()
    ours = [*(chain for _, chain in JUMPS), NEW_TABLE]
    chains = [chain for chain in ours if any(line.startswith(f":{chain} ") for line in lines)]
    jumps = [
        line for line in lines if line.startswith("-A ") and line.endswith(tuple(f" -j {chain}" for chain in chains))
    ]
    removed = ["-D" + line.removeprefix("-A") for line in jumps]
    removed += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
    return "".join(f"{line}\n" for line in ("*mangle", *removed, "COMMIT")) if chains else ""


def iptables_is_untouched(saved: str) -> bool:
    """Whether a mangle table is as if it had never been used. `saved` is what `iptables-save -t mangle` prints."""
    return all(line.split()[1] == "ACCEPT" for line in saved.splitlines() if line.startswith(":")) and not any(
        line.startswith("-A ") for line in saved.splitlines()
    )


def _removal_text(backend: Backend) -> Iterator[str]:
    """The commands that remove a complete set-up by hand."""
    if backend is Backend.NFT:
        yield f"nft delete table inet {TABLE}"
    else:
        for version in (4, 6):
            mangle = f"{iptables(version)} -t mangle"
            for hook, chain in JUMPS:
                yield f"{mangle} -D {hook} -j {chain}; {mangle} -F {chain}; {mangle} -X {chain}"
            yield f"{mangle} -X {NEW_TABLE} 2>/dev/null"
    for step in routing_removal():
        yield shlex.join(step.command)


def input_line(config: Config, backend: Backend) -> str:
    """The one line that the administrator's own ruleset needs."""
    mark = config.network.mark
    if backend is Backend.NFT:
        return f"meta mark and {mark.mask:#x} == {mark.value:#x} accept"
    return f"-m mark --mark {mark} -j ACCEPT"


IPV6_PRESENT = "grep -q . /proc/net/if_inet6 2>/dev/null"
"""A shell command that tells whether this host has any IPv6 address. A host without one (`disable_ipv6=1`) refuses IPv6
routes."""


def plan(config: Config, backend: Backend) -> str:
    """The whole set-up as a POSIX shell script, which may also be pasted, again and again. Raises NetError as `steps`
    does."""
    lines = ["#!/bin/sh\n"]
    lines += [f"# {line}\n" if line else "#\n" for line in _preface(config, backend)]
    # The commands run in a subshell, so that a failure ends the script but not the shell that it is pasted into.
    lines.append("(\nset -e\n")
    version: int | None = None
    for step in steps(config, backend):
        if version == 6 and step.version != 6:
            lines.append("fi\n")
        if step.why:
            lines.append(f"\n# {step.why}\n")
        if step.version == 6 and version != 6:
            lines.append(f"if {IPV6_PRESENT}; then\n")
        lines.append(step.shell())
        version = step.version
    lines.append("fi\n" if version == 6 else "")
    lines.append(")\n")
    return "".join(lines)


def _preface(config: Config, backend: Backend) -> Iterator[str]:
    """The comment at the head of the script."""
    yield f"Brings sessions to pinhole ({backend.value}); written by `pinhole net plan --backend {backend.value}`."
    yield "It touches nothing that is not pinhole's own, and may be run again at any time."
    yield ""
    yield "Yours to do. Sessions and pinholes end in sockets on this host: they pass INPUT, never FORWARD. If your"
    yield "input chain drops by default, this line belongs to its top, before `ct state invalid` is dropped too: both"
    yield "legs of a session may have the same addresses and ports, which connection tracking takes for one connection"
    yield "out of step."
    if backend is Backend.NFT:
        yield f"    {input_line(config, backend)}"
    else:
        for version in (4, 6):
            yield f"    {iptables(version)} --insert INPUT {input_line(config, backend)}"
    yield "Where sessions come in by a bridge, net.bridge.bridge-nf-call-iptables and -ip6tables must be 0."
    yield ""
    yield "To undo:"
    for line in _removal_text(backend):
        yield f"    {line}"
