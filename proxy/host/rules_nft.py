"""Our rules for nft: a table of our own. This module is pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protocols.contract.addresses import Transport
from proxy.config.schema import Config
from proxy.host.scopes import Scope, TunnelScope, comment, merge_ports, scopes, tunnels
from proxy.host.steps import Step

TABLE = "pinhole"

PREROUTING_PRIORITY = 200
"""nft: after every chain that others have in prerouting: mangle -150, dstnat -100, filter 0, security 50, and the 10
that firewalld adds to each. Only SELinux (225) and connection tracking itself come later."""


def _set(items: Iterable[object]) -> str:
    """Items as nft writes a set of them."""
    values = [str(item) for item in items]
    return values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"


def _between(scope: Scope | TunnelScope, family: str) -> list[str]:
    """The matches of a scope's interfaces and hosts."""
    matches = []
    if scope.interfaces:
        matches.append("iifname " + _set(f'"{name}"' for name in scope.interfaces))
    if scope.sources:
        matches.append(f"{family} saddr {_set(scope.sources)}")
    if scope.destinations:
        matches.append(f"{family} daddr {_set(scope.destinations)}")
    return matches


def _scope(scope: Scope) -> str:
    """The nft rule for one scope."""
    family = "ip" if scope.version == 4 else "ip6"
    matches = [f"meta nfproto ipv{scope.version}", *_between(scope, family)]
    matches.append(f"{scope.transport.value} dport {_set(scope.ports)}")
    matches.append("fib daddr type " + ("{ unicast, local }" if scope.own_addresses else "unicast"))
    return f'{" ".join(matches)} jump take comment "{comment(scope.policy)}"'


OF_TUNNELS = "meta nfproto ipv4 ip protocol 47 @th,0,32 & 0x0007ffff == 0x0001880b"
"""GRE of version 1 that carries PPP (RFC 2637 s.4.1); all other GRE passes by. The protocol is said by `ip protocol`:
with `meta l4proto`, nft 1.0.6 lists the rule without it, and what is loaded from such a list catches TCP and UDP
(PP2)."""


def _tunnel_scope(scope: TunnelScope, mark: str) -> str:
    """The nft rule for the tunnels of one scope. There is no socket to look for: a raw socket is on no port. So packets
    of no call are taken as well, and where their address has no call at all, nobody but the rule can count them."""
    matches = [*_between(scope, "ip"), f"fib daddr type {_set(scope.to)}"]
    verdict = f"{mark} accept" if scope.is_taken else "accept"
    return f'{" ".join(matches)} counter {verdict} comment "{comment(scope.policy)}"'


def table(config: Config, label: str) -> str:
    """Our whole nft table."""
    network = config.network
    port = network.listen_port
    protocols = "meta l4proto { tcp, udp }"
    # Names that nft knows by itself: a small system has no /etc/protocols.
    with_errors = "meta l4proto { tcp, udp, icmp, icmpv6 }"
    mark = f"meta mark set meta mark & {network.mark.mask ^ 0xFFFFFFFF:#010x} | {network.mark.value:#x}"
    taken = list(scopes(config))
    lines = [
        f"table inet {TABLE} {{",
        f'    comment "{label}"',
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
    lines += [f"        {_scope(scope)}" for scope in taken]
    carried = tunnels(config)
    if carried:
        lines += ["    }", "    chain tunnels {"]
        lines += [f"        {_tunnel_scope(scope, mark)}" for scope in carried]
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
    if carried:
        lines.append(f"        {OF_TUNNELS} jump tunnels")
    lines += [
        "    }",
        "    chain forward {",
        "        type filter hook forward priority filter; policy accept;",
        f"        meta mark & {network.mark.mask:#x} == {network.mark.value:#x} drop",
        "    }",
        "}",
    ]
    return "".join(f"{line}\n" for line in lines)


def steps(config: Config, label: str) -> Iterator[Step]:
    # All of this is one transaction. The table is created first so that it can be deleted, whether it was there or not.
    fresh = f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n"
    text = table(config, label)
    why = f"The firewall rules: our own table inet {TABLE}."
    yield Step(("nft", "-f", "-"), fresh + text, why=why, what=f"nft: table inet {TABLE}")
