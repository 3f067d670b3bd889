"""The walk of one packet through a firewall ruleset (pure).

A rule is as sure as its least sure question. Verdicts count from USUALLY on. Changes of the mark are told from RARELY
on, because the one client that a rule names is a client all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from proxy.doctor.answers import all_of
from proxy.doctor.packets import Bits, Chance, Packet
from proxy.doctor.rulesets import (
    ALL_BITS,
    Action,
    Chain,
    Chains,
    Choice,
    Jump,
    Rule,
    SetMark,
    SetSegment,
    Translation,
    Untrack,
    Verdict,
    cases,
)

MOST_STEPS = 100_000
"""How many rules one walk looks at. A ruleset whose chains are called more often than that is given up."""
DEEPEST = 64
"""How many chains may be within chains. The kernel allows 16 (NFT_JUMP_STACK_SIZE)."""


@dataclass(frozen=True, slots=True)
class Change:
    """A rule that changes the mark of such packets, or of some of them."""

    chain: Chain
    base: Chain
    rule: Rule
    chance: Chance
    before: Bits
    after: Bits
    is_restored: bool


@dataclass(frozen=True, slots=True)
class End:
    """The rule that decides about such packets. `rule` is None when the policy of the chain decides."""

    chain: Chain
    base: Chain
    rule: Rule | None
    verdict: Verdict
    mark: Bits

    @property
    def drops(self) -> bool:
        """Whether the packets are dropped."""
        return self.verdict in (Verdict.DROP, Verdict.REJECT)


@dataclass(slots=True)
class Journey:
    """What became of a packet at one hook."""

    packet: Packet
    changes: list[Change] = field(default_factory=list)
    translations: list[tuple[Chain, Rule]] = field(default_factory=list)
    passed: list[End] = field(default_factory=list)
    """What each base chain decided."""
    end: End | None = None
    """The rule or policy that dropped the packet. None: it was not dropped."""
    is_whole: bool = True
    """Whether every chain could be followed to its end."""


def set_mark(mark: Bits, action: SetMark) -> Bits:
    """The mark after this action."""
    if action.sets is None:
        return Bits(mark.value & action.keeps & mark.known, mark.known & action.keeps)
    known = (mark.known & action.keeps) | (ALL_BITS & ~action.keeps)
    return Bits((mark.value & action.keeps ^ action.sets) & known, known)


def at_hook(chains: Chains, hook: str, version: int) -> list[Chain]:
    """The base chains that see a packet, in their order. At one priority the kernel puts the youngest first.

    Chains that do nothing are left out, since iptables-legacy has such chains in each table that was ever looked at.
    """
    found = [
        chain
        for chain in chains.values()
        if chain.hook == hook and chain.sees(version) and (chain.rules or chain.policy is not Verdict.ACCEPT)
    ]
    return sorted(found, key=lambda chain: (chain.priority, -(chain.age or 0)))


def walk(chains: Chains, order: Iterable[Chain], packet: Packet) -> Journey:
    """Send a packet through these base chains."""
    walker = _Walker(chains, Journey(packet))
    for base in order:
        # The kernel translates by the first packet of a connection only.
        if base.kind == "nat" and packet.state != "new":
            continue
        if walker.through(base):
            break
    return walker.journey


class _Walker:
    """One walk of one packet."""

    def __init__(self, chains: Chains, journey: Journey) -> None:
        self.journey = journey
        self._chains = chains
        self._steps = 0
        self._seen: set[tuple[Chain, Packet]] = set()
        self._base: Chain | None = None

    def through(self, base: Chain) -> bool:
        """Send the packet through a base chain. Returns whether it ends there."""
        self._base = base
        end = self._chain(base, Chance.YES, 0) or (base, None, base.policy)
        chain, rule, verdict = end
        said = End(chain, base, rule, verdict, self.journey.packet.mark)
        self.journey.passed.append(said)
        if said.drops:
            self.journey.end = said
        return said.drops

    def _chain(self, chain: Chain, reached: Chance, depth: int) -> tuple[Chain, Rule, Verdict] | None:
        """The rule that ends the packet in this chain or in one that it calls. None: the packet comes to the end of the
        chain."""
        if depth > DEEPEST:
            self.journey.is_whole = False
            return None
        end: tuple[Chain, Rule, Verdict] | None = None
        is_decided = False
        for rule in chain.rules:
            self._steps += 1
            if self._steps > MOST_STEPS:
                self.journey.is_whole = False
                return end
            # The questions are asked once for all actions: an action may change what the rule has asked for.
            fits = all_of(rule.questions, self.journey.packet)
            for questions, action in cases(rule):
                hit = min(reached, fits, all_of(questions, self.journey.packet))
                if hit is Chance.NO:
                    continue
                found, leaves = self._act(chain, rule, action, hit, depth)
                if not (found or leaves) or hit is Chance.RARELY:
                    continue
                if not is_decided:
                    end, is_decided = found, True
                if hit is Chance.YES:
                    return end
                # Few packets come further, so from here on only a change of the mark is of interest.
                reached = Chance.RARELY
        return end

    def _act(
        self, chain: Chain, rule: Rule, action: Action, hit: Chance, depth: int
    ) -> tuple[tuple[Chain, Rule, Verdict] | None, bool]:
        """What ends the packet, and whether the packet leaves this chain."""
        journey = self.journey
        match action:
            case Verdict.RETURN:
                return None, True
            case Verdict():
                return (chain, rule, action), True
            case Jump():
                target = self._chains.get((chain.tool, chain.family, chain.table, action.chain))
                if target is None:
                    return None, action.is_goto
                if hit <= Chance.RARELY:
                    if (target, journey.packet) in self._seen:
                        return None, False
                    self._seen.add((target, journey.packet))
                return self._chain(target, hit, depth + 1), action.is_goto
            case SetMark():
                before = journey.packet.mark
                after = set_mark(before, action)
                assert self._base is not None
                journey.changes.append(Change(chain, self._base, rule, hit, before, after, action.is_restored))
                if hit > Chance.RARELY:
                    journey.packet = replace(journey.packet, mark=after)
            case Translation():
                if hit > Chance.RARELY or action.is_of_source:
                    journey.translations.append((chain, rule))
                return (chain, rule, Verdict.ACCEPT), True
            case Untrack():
                if hit > Chance.RARELY:
                    journey.packet = replace(journey.packet, state="untracked")
            case SetSegment() | Choice():
                pass  # `cases` takes a choice apart
        return None, False
