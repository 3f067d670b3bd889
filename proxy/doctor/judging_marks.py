"""Judges rules of others before routing: what becomes of our mark there, and of the packets that carry it (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from protocols.contract.addresses import Transport
from proxy.config.schema import Config
from proxy.doctor.findings import Finding, Trouble, in_words, trouble, well
from proxy.doctor.firewall import Firewall
from proxy.doctor.packets import Chance, Packet
from proxy.doctor.remedies import accept_ours
from proxy.doctor.rulesets import Chain, Chains, SetMark, reachable
from proxy.doctor.walk import Change, End, Journey, at_hook, walk
from proxy.host import rules_iptables
from proxy.host.rules import Backend


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
    yield from well("mark", _judge_marks(config, firewall, list(packets)), f"nobody else uses {config.network.mark}")


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
                    finding = trouble(
                        Trouble.LOAD_ORDER, "load order", f"{finding.detail}{_OTHER_ORDER}", finding.remedy
                    )
                # One remedy is enough for all packets that it helps.
                _, versions = found.setdefault(finding.remedy, (finding, set()))
                versions.add(packet.version)
    for finding, versions in found.values():
        yield replace(finding, detail=f"{finding.detail} ({in_words(versions)})")


_OTHER_ORDER = ", if it is loaded in another order than now: chains of one priority run in the order of their loading"


def _before_routing(config: Config, firewall: Firewall, journey: Journey) -> Iterator[Finding]:
    end = journey.end
    if end is not None and not end.chain.is_ours:
        yield from _dropped_before_routing(config, firewall, journey, end)
        return
    culprit, chance = _lost_to(journey)
    if culprit is not None:
        some = "" if chance > Chance.RARELY else "some of "
        verb = "overwrites the mark of" if not culprit.is_restored else "restores another mark on"
        yield trouble(
            Trouble.MARK_OVERWRITTEN,
            "mark",
            f"{culprit.chain.place}: {culprit.rule.text!r} {verb} {some}{journey.packet.name} after it was set to "
            f"{config.network.mark}: they never arrive",
            accept_ours(config, culprit.base),
        )
    elif chance is Chance.YES:
        for said in journey.passed:
            # A packet can miss our own chains only where a chain of iptables jumps to them.
            if said.rule is None or said.chain.is_ours or not _jump_to_ours(firewall, said.base):
                continue
            if _stands_before(firewall, said):
                yield trouble(
                    Trouble.MARK_NOT_SET,
                    "mark",
                    f"{said.chain.place}: {said.rule.text!r} ends {journey.packet.name} before they come to "
                    f"{rules_iptables.CHAIN}",
                    _OUR_JUMP_FIRST,
                )


_OUR_JUMP_FIRST = f"pinhole net up --backend {Backend.IPTABLES.value}"
"""What is accepted before our jump never comes to our chain, so an exception for packets of ours would help none."""


def _jump_to_ours(firewall: Firewall, base: Chain) -> bool:
    return not base.is_ours and base.tool != "nft" and _leads_to_ours(firewall.chains, base)


def _stands_before(firewall: Firewall, end: End) -> bool:
    """Whether the rule stands before the jump to our chain. Behind it no packet of ours comes, though it may seem so:
    where a policy names two networks, none of our rules is for all of its packets."""
    chains, rules = firewall.chains, end.base.rules
    leading = (number for number, rule in enumerate(rules) if _leads_to_ours(chains, replace(end.base, rules=(rule,))))
    before = replace(end.base, rules=rules[: next(leading, len(rules))])
    return any(rule is end.rule for chain in reachable(chains, before) for rule in chain.rules)


def _dropped_before_routing(config: Config, firewall: Firewall, journey: Journey, end: End) -> Iterator[Finding]:
    text = end.rule.text if end.rule is not None else f"policy {end.verdict.value}"
    packet = journey.packet
    if replace(packet, mark=end.mark).is_marked():
        detail = f"{end.chain.place}: {text!r} drops {packet.name}"
        yield trouble(Trouble.PREROUTING_DROPS, "prerouting", detail, accept_ours(config, end.base))
        return
    detail = f"{end.chain.place}: {text!r} drops {packet.name} before they come to pinhole's rules"
    base = end.base
    if _jump_to_ours(firewall, base):
        if _stands_before(firewall, end):
            yield trouble(Trouble.PREROUTING_DROPS, "prerouting", detail, _OUR_JUMP_FIRST)
        return
    if packet.transport is Transport.GRE:
        nft, iptables = "ip protocol gre accept", ["-p gre -j ACCEPT"]
    elif not packet.is_transparent:
        ports = ",".join(str(item) for item in packet.destination_ports)
        transport = packet.transport.value
        nft = f"{transport} dport {{ {ports} }} accept"
        some = rules_iptables.multiport(packet.destination_ports)
        iptables = [f"-p {transport} -m multiport --dports {ports} -j ACCEPT" for ports in some]
    else:
        nft, iptables = "socket transparent 1 accept", ["-m socket --transparent -j ACCEPT"]
    if base.tool == "nft":
        remedy = f"nft insert rule {base.family} {base.table} {base.name} {nft}"
    else:
        remedy = "\n".join(f"{base.tool} -t {base.table} --insert {base.name} {rule}" for rule in iptables)
    yield trouble(Trouble.PREROUTING_DROPS, "prerouting", detail, remedy)


def _others_who_set(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Rules of others that set our mark. Wherever that is done, the packet is delivered to this host."""
    mark = config.network.mark
    for chain in firewall.others():
        for rule in chain.rules:
            for action in rule.actions:
                if isinstance(action, SetMark) and action.sets is not None and _gives(action, mark.value, mark.mask):
                    yield trouble(
                        Trouble.MARK_SHARED,
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
