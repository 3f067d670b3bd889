"""Judges what the rules of others do to sessions: addresses translated, helpers attached, segment sizes (pure)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from proxy.config.schema import Config
from proxy.doctor.findings import Finding, Trouble, in_words, trouble, well
from proxy.doctor.firewall import Firewall
from proxy.doctor.packets import Packet
from proxy.doctor.rulesets import SetSegment, reachable
from proxy.doctor.traffic import Traffic
from proxy.doctor.walk import at_hook, walk


def judge_nat(config: Config, firewall: Firewall, traffics: Iterable[Traffic]) -> Iterator[Finding]:
    """Source NAT of the kernel that would give another address to a session which we send with the client's address."""
    check = "source NAT"
    places: dict[str, tuple[str, str, set[int]]] = {}
    for traffic in traffics:
        if traffic.policy.snat != "none":
            continue
        for packet in traffic.outward:
            if packet.state != "new":
                continue
            order = at_hook(firewall.chains, "postrouting", packet.version)
            for chain, rule in walk(firewall.chains, order, packet).translations:
                places.setdefault(chain.place, (rule.text, traffic.policy.name, set()))[2].add(packet.version)
    found = (
        trouble(
            Trouble.NAT_OF_SOURCES,
            check,
            f"{place}: {text!r} translates sources; where it meets sessions of policy {policy}, which has "
            f"`snat: none`, the server sees another address than the one announced in it ({in_words(versions)})",
            "# set `snat: interface` in that policy, or exempt these sessions from the rule",
        )
        for place, (text, policy, versions) in places.items()
    )
    yield from well(check, found, "none by the kernel for sessions that keep their address")


def judge_destinations(firewall: Firewall, packets: Iterable[Packet]) -> Iterator[Finding]:
    """Rules of others that lead new sessions to helper ports elsewhere, where pinhole does not look for them."""
    check = "destination NAT"
    found: dict[str, Finding] = {}
    for packet in packets:
        if packet.is_transparent or packet.state != "new":
            continue
        order = at_hook(firewall.chains, "prerouting", packet.version)
        for chain, rule in walk(firewall.chains, order, packet).translations:
            found[chain.place + rule.text] = trouble(
                Trouble.NAT_OF_DESTINATIONS,
                check,
                f"{chain.place}: {rule.text!r} leads sessions of helper ports elsewhere: policies see the new "
                "address, and addresses within the sessions are not mapped back",
                "# publish the server by `dnat` of a policy, and take the rule away",
            )
    yield from well(check, found.values(), "none by the kernel on helper ports")


def judge_helpers(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Helpers of the kernel's connection tracking, which read and rewrite the same sessions."""
    check = "kernel helpers"
    found = [
        trouble(Trouble.HELPER_ATTACHED, check, f"{detail}: it would rewrite addresses a second time", remedy)
        for detail, remedy in itertools.chain(_nft_helpers(config, firewall), _iptables_helpers(config, firewall))
    ]
    yield from well(check, found, "none attached to ours")


def _nft_helpers(config: Config, firewall: Firewall) -> Iterator[tuple[str, str]]:
    ours = {entry.name for entry in config.served}
    used: list[tuple[object, object, object]] = []
    helpers: list[tuple[object, object, str, str]] = []
    for item in firewall.nft:
        match item:
            case {"ct helper": {"family": owner, "table": place, "name": str(name), "type": str(kind)}}:
                helpers.append((owner, place, name, kind))
            case {"rule": {"family": family, "table": table, "expr": list(statements)}}:
                for statement in statements:
                    if isinstance(statement, dict) and isinstance(statement.get("ct helper"), str):
                        used.append((family, table, statement["ct helper"]))
    for owner, place, name, kind in helpers:
        if kind in ours and (owner, place, name) in used:
            where = f"{owner} {place}"
            yield (
                f"nft table {where} attaches {kind}",
                f'# remove the rules `ct helper set "{name}"` from nft table {where}',
            )


def _iptables_helpers(config: Config, firewall: Firewall) -> Iterator[tuple[str, str]]:
    ours = {entry.name for entry in config.served}
    for chain in firewall.others():
        if chain.tool == "nft":
            continue
        for rule in chain.rules:
            match = re.search(r"-j CT .*--helper (\S+)", rule.text)
            if match and match[1] in ours:
                yield f"{chain.tool} attaches {match[1]}", f"{chain.tool} -t {chain.table} -D {chain.name} {rule.text}"


def judge_segments(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Sessions that are taken over never pass forward, so a segment size that is set there does not hold for them.

    A size that follows the route is no loss: each leg of a session is a socket of this host, which knows its route.
    """
    check = "segment size"
    ours = config.network.max_segment
    found: dict[tuple[str, int], Finding] = {}
    for version in (4, 6):
        for base in at_hook(firewall.chains, "forward", version):
            for chain in reachable(firewall.chains, base):
                for rule in chain.rules:
                    for action in rule.actions:
                        if isinstance(action, SetSegment) and action.size is not None and _exceeds(ours, action.size):
                            found[chain.place, action.size] = trouble(
                                Trouble.SEGMENT_IN_FORWARD,
                                check,
                                f"{chain.place}: {rule.text!r} does not reach sessions that pinhole takes over: "
                                "they never pass forward; where a path needs it, they stall",
                                f"# network: {{max_segment: {action.size}}}",
                            )
    yield from well(check, found.values(), "none is set in forward alone")


def _exceeds(ours: int | None, wanted: int) -> bool:
    """Whether our segments may be longer than the rule wants."""
    return ours is None or ours > wanted
