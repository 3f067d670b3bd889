"""What brings packets to the daemon, as text: firewall rules (nft or iptables), a routing rule and a route a family.

The rules are static; opening or closing a pinhole never changes them. In the order in which a packet meets them:

1) What a process of this host sends is never ours (it comes by `lo`).
2) A packet for a transparent socket, be it a session or a pinhole, is marked; so is an ICMP error about a packet that
   such a socket sent, without which it would never learn the path MTU. Sockets bound to a wildcard address are some
   other program's and are skipped: ours each stand on one address.
3) A session to a port of the session-helper table, within what a policy names, is handed to the main listener; of
   datagrams, each one that no socket of ours has asked for. The tunnels of helpers that carry any have no ports and no
   sockets that a rule could look for: of the hosts that a policy names each packet is marked, unless an earlier policy
   lets it by, and those of no tunnel end here, also while nobody serves.
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
import shlex
from collections.abc import Iterator
from enum import Enum

from proxy.config.schema import Config
from proxy.host import rules_iptables, rules_nft, rules_routing
from proxy.host.rules_routing import RULE_PRIORITY
from proxy.host.steps import Step


class Backend(Enum):
    """The kind of firewall that our rules are written for."""

    NFT = "nft"
    IPTABLES = "iptables"


def label(config: Config, backend: Backend, version: int = 4) -> str:
    """The comment that loaded rules carry: the same for the same rules, so one can see whether they are up to date."""
    table = rules_nft.table(config, "") if backend is Backend.NFT else rules_iptables.table(config, version, "")
    return f"pinhole {hashlib.sha256(table.encode()).hexdigest()[:12]}"


def steps(config: Config, backend: Backend, priority: int = RULE_PRIORITY) -> tuple[Step, ...]:
    """The steps that set everything up, in order, also over an older set-up. `priority` is the number of our first
    routing rule.

    Raises NetError for what the backend cannot do.
    """
    if backend is Backend.NFT:
        firewall = rules_nft.steps(config, label(config, backend))
    else:
        firewall = rules_iptables.steps(config, {version: label(config, backend, version) for version in (4, 6)})
    # Routes come first: a packet must never be marked before there is a way for it.
    return (*rules_routing.steps(config, priority), *firewall)


def _removal_text(backend: Backend) -> Iterator[str]:
    """The commands that remove a complete set-up by hand."""
    if backend is Backend.NFT:
        yield f"nft delete table inet {rules_nft.TABLE}"
    else:
        for version in (4, 6):
            mangle = f"{rules_iptables.command(version)} -t mangle"
            for hook, chain in rules_iptables.JUMPS:
                yield f"{mangle} -D {hook} -j {chain}; {mangle} -F {chain}; {mangle} -X {chain}"
            yield f"{mangle} -X {rules_iptables.NEW_TABLE} 2>/dev/null"
    for step in rules_routing.removal():
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
            yield f"    {rules_iptables.command(version)} --insert INPUT {input_line(config, backend)}"
    yield "Where sessions come in by a bridge, net.bridge.bridge-nf-call-iptables and -ip6tables must be 0."
    yield ""
    yield "To undo:"
    for line in _removal_text(backend):
        yield f"    {line}"
