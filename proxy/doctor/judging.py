"""Judges the rulesets of others by what becomes of pinhole's packets in them (pure).

`traffic` says what those packets are; each is sent through the chains of a hook as the kernel would. What such a walk
finds is a warning, not a failure: a ruleset can ask about things that nobody knows beforehand.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from proxy.config.schema import Config
from proxy.doctor import rulesets_iptables, rulesets_nft
from proxy.doctor.findings import Finding, Level
from proxy.doctor.rulesets import Chain, Chains, SetMark, SetSegment, reachable
from proxy.doctor.traffic import Traffic, marked
from proxy.doctor.walk import Chance, Change, End, Journey, Packet, at_hook, walk
from proxy.host import rules
from proxy.host.rules import Backend

_OUR_CHAINS = (*(chain for _, chain in rules.JUMPS), rules.NEW_TABLE)


@dataclass(frozen=True, slots=True)
class Saved:
    """The output of one of the save commands of iptables."""

    command: str
    """The command that changes these rules: iptables, ip6tables-legacy ..."""
    version: int
    text: str
    is_in_nft: bool
    """Whether `nft list ruleset` shows the same tables in its own words."""


@dataclass(frozen=True, slots=True)
class Firewall:
    """The rulesets of this host."""

    nft: Sequence[object] = ()
    """The objects of `nft --json list ruleset`."""
    saved: Sequence[Saved] = ()
    chains: Chains = field(init=False)

    def __post_init__(self) -> None:
        native = rulesets_nft.read(self.nft, rules.TABLE)
        ages = {(chain.family, chain.table): chain.age for chain in native}
        found: list[Chain] = []
        of_iptables: set[tuple[str, str, str]] = set()
        for saved in self.saved:
            for chain in rulesets_iptables.read(saved.text, saved.version, _OUR_CHAINS, saved.command):
                if saved.is_in_nft:
                    of_iptables.add((chain.family, chain.table, chain.name))
                    chain = replace(chain, age=ages.get((chain.family, chain.table)))
                found.append(chain)
        found += [chain for chain in native if (chain.family, chain.table, chain.name) not in of_iptables]
        chains = {(chain.tool, chain.family, chain.table, chain.name): chain for chain in found}
        object.__setattr__(self, "chains", chains)

    def others(self) -> Iterator[Chain]:
        """The chains that are not ours."""
        return (chain for chain in self.chains.values() if not chain.is_ours)


def judge(config: Config, firewall: Firewall, traffics: Sequence[Traffic], user: str) -> Iterator[Finding]:
    """All that can be said about the rulesets of others, in the order in which packets meet them.

    `user` is the number of the user that the daemon runs as, or a name where there is no such user.
    """
    inward = [packet for traffic in traffics for packet in traffic.inward]
    outward = [replace(packet, owner=user) for traffic in traffics for packet in traffic.outward]
    yield from _judge_extent(firewall, inward)
    yield from judge_marks(config, firewall, inward)
    yield from judge_input(config, firewall, inward)
    yield from judge_output(firewall, outward, user)
    yield from judge_nat(config, firewall, traffics)
    yield from judge_destinations(firewall, inward)
    yield from judge_helpers(config, firewall)
    yield from judge_segments(config, firewall)


def _judge_extent(firewall: Firewall, packets: Iterable[Packet]) -> Iterator[Finding]:
    """Report chains that call each other too often. They are not followed to their end, so what is said of them is half
    the truth."""
    for hook, packet in itertools.product(("prerouting", "input"), packets):
        if not walk(firewall.chains, at_hook(firewall.chains, hook, packet.version), packet).is_whole:
            detail = f"chains of {hook} call each other too often to be followed: not all of them were judged"
            yield Finding(Level.WARN, "firewall", detail)
            return


def _well(check: str, found: Iterable[Finding], detail: str) -> Iterator[Finding]:
    """These findings, or one that says that all is well when there are none."""
    nothing = True
    for finding in found:
        nothing = False
        yield finding
    if nothing:
        yield Finding(Level.OK, check, detail)


# -- what is done about it ---------------------------------------------------------------------------------------------


def _accept_ours(config: Config, base: Chain) -> str:
    """The command that lets packets with our mark by a base chain."""
    if base.tool == "nft":
        line = rules.input_line(config, Backend.NFT)
        return f"nft insert rule {base.family} {base.table} {base.name} {line}"
    table = "" if base.table == "filter" else f" -t {base.table}"
    return f"{base.tool}{table} --insert {base.name} {rules.input_line(config, Backend.IPTABLES)}"


def lasting(config: Config, firewall: Firewall, base: Chain) -> str:
    """A comment that says where the line belongs so that the tool which wrote the chain keeps it. It is "" when that
    tool is not known."""
    names = {chain.name for chain in firewall.chains.values() if (chain.tool, chain.table) == (base.tool, base.table)}
    nft_line, line = rules.input_line(config, Backend.NFT), rules.input_line(config, Backend.IPTABLES)
    if base.tool == "nft" and base.table == "firewalld":
        return "  # firewalld forgets it at each reload; to last: systemctl enable --now pinhole-firewalld (configs/)"
    if base.tool == "nft" and base.table == "fw4":
        directory = f"/usr/share/nftables.d/chain-pre/{base.name}"
        return f"  # to last: mkdir -p {directory}; echo '{nft_line}' >{directory}/pinhole.nft; fw4 reload"
    if base.tool == "nft" and base.table == "nixos-fw":
        return f'  # to last: networking.firewall.extraInputRules = "{nft_line}";'
    for chain, file in (("ufw-before-input", "before.rules"), ("ufw6-before-input", "before6.rules")):
        if chain in names:
            return f"  # to last: sed -i '/^# End required lines/a -A {chain} {line}' /etc/ufw/{file}; ufw reload"
    if "shorewall" in names:
        directory = "shorewall6" if base.tool.startswith("ip6") else "shorewall"
        where = f"{base.name} {line}"
        return f"  # to last: echo 'run_iptables -I {where}' >>/etc/{directory}/started; {directory} reload"
    if "nixos-fw" in names:
        return f'  # to last: networking.firewall.extraCommands = "{_accept_ours(config, base)}";'
    return ""


# -- the mark, and everything before routing ---------------------------------------------------------------------------


def _orders(chains: Chains, version: int) -> list[tuple[bool, list[Chain]]]:
    """The orders in which prerouting may run: whether each may be in force now, and the base chains in that order.

    Chains of one priority run in an order that depends on when they were loaded. The age of tables tells it; the age of
    a table of iptables-legacy is not known. After the next start of the host it may be any order.
    """
    order = at_hook(chains, "prerouting", version)
    ours = {id(base) for base in order if _leads_to_ours(chains, base)}
    unknown_first = sorted(order, key=lambda base: (base.priority, base.age is not None, -(base.age or 0)))
    early = sorted(order, key=lambda base: (base.priority, id(base) not in ours))
    late = sorted(order, key=lambda base: (base.priority, id(base) in ours))
    found: list[tuple[bool, list[Chain]]] = []
    for is_now, item in ((True, order), (True, unknown_first), (False, early), (False, late)):
        if all(item != other for _, other in found):
            found.append((is_now, item))
    return found


def _leads_to_ours(chains: Chains, base: Chain) -> bool:
    """Whether the chain leads to one of ours."""
    return any(chain.is_ours for chain in reachable(chains, base))


def _lost_to(journey: Journey) -> tuple[Change | None, Chance]:
    """The rule that takes our mark away again, and from how many packets. (None, YES): the mark never was set."""
    was_set = False
    for change in journey.changes:
        before = replace(journey.packet, mark=change.before).is_marked()
        after = replace(journey.packet, mark=change.after).is_marked()
        was_set = was_set or (after and change.chain.is_ours and change.chance > Chance.RARELY)
        if before and not after and not change.chain.is_ours:
            return change, change.chance
    return None, Chance.NO if was_set or journey.packet.is_marked() else Chance.YES


def judge_marks(config: Config, firewall: Firewall, packets: Iterable[Packet]) -> Iterator[Finding]:
    """Rules of others that use our mark, take it from packets of ours, or drop these before they are routed."""
    yield from _well("mark", _judge_marks(config, firewall, list(packets)), f"nobody else uses {config.network.mark}")


def _judge_marks(config: Config, firewall: Firewall, packets: list[Packet]) -> Iterator[Finding]:
    yield from _others_who_set(config, firewall)
    chains = firewall.chains
    if not any(chain.is_ours for chain in chains.values()):
        return  # another check says that nothing is set up
    found: dict[str, tuple[Finding, set[int]]] = {}
    for packet in packets:
        for is_now, order in _orders(chains, packet.version):
            for finding in _before_routing(config, firewall, walk(chains, order, packet)):
                if not is_now:
                    finding = replace(finding, check="load order", detail=f"{finding.detail}{_OTHER_ORDER}")
                # One remedy is enough for all packets that it helps.
                _, versions = found.setdefault(finding.remedy, (finding, set()))
                versions.add(packet.version)
    for finding, versions in found.values():
        yield replace(finding, detail=f"{finding.detail} ({_versions(versions)})")


def _versions(versions: Iterable[int]) -> str:
    return " and ".join(f"IPv{version}" for version in sorted(versions))


_OTHER_ORDER = ", if it is loaded in another order than now: chains of one priority run in the order of their loading"


def _before_routing(config: Config, firewall: Firewall, journey: Journey) -> Iterator[Finding]:
    end = journey.end
    if end is not None and not end.chain.is_ours:
        yield _dropped_before_routing(config, firewall, journey, end)
        return
    culprit, chance = _lost_to(journey)
    if culprit is not None:
        some = "" if chance > Chance.RARELY else "some of "
        verb = "overwrites the mark of" if not culprit.is_restored else "restores another mark on"
        yield Finding(
            Level.WARN,
            "mark",
            f"{culprit.chain.place}: {culprit.rule.text!r} {verb} {some}{journey.packet.name} after it was set to "
            f"{config.network.mark}: they never arrive",
            _accept_ours(config, culprit.base),
        )
    elif chance is Chance.YES:
        for said in journey.passed:
            # A packet can miss our own chains only where a chain of iptables jumps to them.
            if said.rule is not None and not said.chain.is_ours and _jump_to_ours(firewall, said.base):
                yield Finding(
                    Level.WARN,
                    "mark",
                    f"{said.chain.place}: {said.rule.text!r} ends {journey.packet.name} before they come to "
                    f"{rules.CHAIN}",
                    f"pinhole net up --backend {Backend.IPTABLES.value}",
                )


def _jump_to_ours(firewall: Firewall, base: Chain) -> bool:
    return not base.is_ours and base.tool != "nft" and _leads_to_ours(firewall.chains, base)


def _dropped_before_routing(config: Config, firewall: Firewall, journey: Journey, end: End) -> Finding:
    text = end.rule.text if end.rule is not None else f"policy {end.verdict.value}"
    packet = journey.packet
    if replace(packet, mark=end.mark).is_marked():
        detail = f"{end.chain.place}: {text!r} drops {packet.name}"
        return Finding(Level.WARN, "prerouting", detail, _accept_ours(config, end.base))
    detail = f"{end.chain.place}: {text!r} drops {packet.name} before they come to pinhole's rules"
    if not packet.is_transparent:
        ports = ",".join(str(item) for item in packet.destination_ports)
        transport = packet.transport.value
        nft = f"{transport} dport {{ {ports} }} accept"
        iptables = f"-p {transport} -m multiport --dports {ports.replace('-', ':')} -j ACCEPT"
    else:
        nft, iptables = "socket transparent 1 accept", "-m socket --transparent -j ACCEPT"
    base = end.base
    if base.tool == "nft":
        return Finding(
            Level.WARN, "prerouting", detail, f"nft insert rule {base.family} {base.table} {base.name} {nft}"
        )
    return Finding(Level.WARN, "prerouting", detail, f"{base.tool} -t {base.table} --insert {base.name} {iptables}")


def _others_who_set(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Rules of others that set our mark. Wherever that is done, the packet is delivered to this host."""
    mark = config.network.mark
    for chain in firewall.others():
        for rule in chain.rules:
            for action in rule.actions:
                if isinstance(action, SetMark) and action.sets is not None and _gives(action, mark.value, mark.mask):
                    yield Finding(
                        Level.WARN,
                        "mark",
                        f"{chain.place}: {rule.text!r} sets bits of {mark}",
                        "# choose other bits for network.mark, or for that rule",
                    )


def _gives(action: SetMark, value: int, mask: int) -> bool:
    """Whether the action can give a packet this mark."""
    assert action.sets is not None
    return (
        bool(action.sets & mask) and (action.sets ^ value) & mask & ~action.keeps == 0 and action.sets & mask == value
    )


# -- input and output --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Dropped:
    """A rule, or a policy, and the packets of ours that it drops."""

    end: End
    names: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)

    def said(self) -> str:
        """The packets in words."""
        rule = self.end.rule
        what = f"{rule.text!r}" if rule is not None else f"its policy {self.end.verdict.value}"
        place = self.end.chain.place
        return f"{place}: {what} drops {', '.join(self.names)} ({_versions(self.versions)})"


def _dropped(chains: Chains, hook: str, packets: Iterable[Packet]) -> list[_Dropped]:
    """For each base chain the first rule that drops packets of ours, since one remedy helps all of them."""
    found: dict[int, _Dropped] = {}
    for packet in packets:
        end = walk(chains, at_hook(chains, hook, packet.version), packet).end
        if end is None or end.chain.is_ours:
            continue
        dropped = found.setdefault(id(end.base), _Dropped(end))
        dropped.versions.add(packet.version)
        if packet.name not in dropped.names:
            dropped.names.append(packet.name)
    return list(found.values())


def judge_input(config: Config, firewall: Firewall, packets: Iterable[Packet]) -> Iterator[Finding]:
    """Input chains that drop packets of ours."""
    arrived = [replace(marked(packet), is_transparent=True) for packet in packets]
    found = (
        Finding(
            Level.WARN,
            "input policy",
            dropped.said(),
            _accept_ours(config, dropped.end.base) + lasting(config, firewall, dropped.end.base),
        )
        for dropped in _dropped(firewall.chains, "input", arrived)
    )
    yield from _well("input policy", found, "lets packets with our mark in")


def judge_output(firewall: Firewall, packets: Iterable[Packet], user: str) -> Iterator[Finding]:
    """Output chains that drop what our sockets send. Such packets have no mark and are known by their owner."""
    found = (
        Finding(Level.WARN, "output policy", dropped.said(), _let_out(dropped.end.base, user))
        for dropped in _dropped(firewall.chains, "output", packets)
    )
    yield from _well("output policy", found, "lets out what pinhole sends")


def _let_out(base: Chain, user: str) -> str:
    if base.tool == "nft":
        return f"nft insert rule {base.family} {base.table} {base.name} socket transparent 1 accept"
    table = "" if base.table == "filter" else f" -t {base.table}"
    return f"{base.tool}{table} --insert {base.name} -m owner --uid-owner {user} -j ACCEPT"


# -- translation, helpers, segment sizes -------------------------------------------------------------------------------


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
        Finding(
            Level.WARN,
            check,
            f"{place}: {text!r} translates sources; where it meets sessions of policy {policy}, which has "
            f"`snat: none`, the server sees another address than the one announced in it ({_versions(versions)})",
            "# set `snat: interface` in that policy, or exempt these sessions from the rule",
        )
        for place, (text, policy, versions) in places.items()
    )
    yield from _well(check, found, "none by the kernel for sessions that keep their address")


def judge_destinations(firewall: Firewall, packets: Iterable[Packet]) -> Iterator[Finding]:
    """Rules of others that lead new sessions to helper ports elsewhere, where pinhole does not look for them."""
    check = "destination NAT"
    found: dict[str, Finding] = {}
    for packet in packets:
        if packet.is_transparent or packet.state != "new":
            continue
        order = at_hook(firewall.chains, "prerouting", packet.version)
        for chain, rule in walk(firewall.chains, order, packet).translations:
            found[chain.place + rule.text] = Finding(
                Level.WARN,
                check,
                f"{chain.place}: {rule.text!r} leads sessions of helper ports elsewhere: policies see the new "
                "address, and addresses within the sessions are not mapped back",
                "# publish the server by `dnat` of a policy, and take the rule away",
            )
    yield from _well(check, found.values(), "none by the kernel on helper ports")


def judge_helpers(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Helpers of the kernel's connection tracking, which read and rewrite the same sessions."""
    check = "kernel helpers"
    found = [
        Finding(Level.WARN, check, f"{detail}: it would rewrite addresses a second time", remedy)
        for detail, remedy in itertools.chain(_nft_helpers(config, firewall), _iptables_helpers(config, firewall))
    ]
    yield from _well(check, found, "none attached to ours")


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
                            found[chain.place, action.size] = Finding(
                                Level.WARN,
                                check,
                                f"{chain.place}: {rule.text!r} does not reach sessions that pinhole takes over: "
                                "they never pass forward; where a path needs it, they stall",
                                f"# network: {{max_segment: {action.size}}}",
                            )
    yield from _well(check, found.values(), "none is set in forward alone")


def _exceeds(ours: int | None, wanted: int) -> bool:
    """Whether our segments may be longer than the rule wants."""
    return ours is None or ours > wanted


# -- our own rules -----------------------------------------------------------------------------------------------------


def judge_own(config: Config, firewall: Firewall, backend: Backend) -> Iterator[Finding]:
    """Chains of ours that have fewer or more rules than they were given; the comment of a table says nothing of that.

    Raises NetError as `rules.steps` does.
    """
    wanted = _rules_by_chain(config, backend)
    held = {
        (chain.family if backend is Backend.IPTABLES else "", chain.name): len(chain.rules)
        for chain in firewall.chains.values()
        if chain.is_ours and (chain.tool == "nft") == (backend is Backend.NFT)
    }
    families = {family for family, _ in held}
    for (family, name), count in wanted.items():
        if family not in families:
            continue  # the whole table is missing, which the check of the set-up says
        if held.get((family, name), 0) != count:
            where = f"inet {rules.TABLE} {name}" if backend is Backend.NFT else f"{family} mangle {name}"
            yield Finding(
                Level.FAIL,
                "rules",
                f"{where} has {held.get((family, name), 'no chain, instead of')} of {count} rules",
                f"pinhole net up --backend {backend.value}",
            )


def _rules_by_chain(config: Config, backend: Backend) -> dict[tuple[str, str], int]:
    """How many rules each chain of ours should have."""
    counts: dict[tuple[str, str], int] = {}
    for step in rules.steps(config, backend):
        if backend is Backend.NFT and step.command[0] == "nft":
            for line in step.stdin.splitlines():
                words = line.split()
                if words[:1] == ["chain"]:
                    chain = ("", words[1])
                    counts[chain] = 0
                elif line.startswith("        ") and words and words[0] not in ("#", "type"):
                    counts[chain] += 1
        elif backend is Backend.IPTABLES and step.stdin:
            family = "ip" if step.version == 4 else "ip6"
            for line in step.stdin.splitlines():
                words = line.split()
                if line.startswith(":"):
                    counts[family, words[0][1:]] = 0
                elif words[:1] == ["-A"]:
                    counts[family, words[1]] += 1
    return counts
