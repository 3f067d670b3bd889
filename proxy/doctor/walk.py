"""The walk of one packet through a firewall ruleset (pure).

What a rule asks about a packet of which only some things are known has four answers:

    NO       never                             RARELY   for few such packets: a host on a list, a rate that is exceeded
    YES      for each such packet              USUALLY  for all but a few: the opposite of RARELY

A rule is as sure as its least sure question. Verdicts count from USUALLY on. Changes of the mark are told from RARELY
on, because the one client that a rule names is a client all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from protocols.contract.addresses import Network, Transport
from proxy.config.values import PortRange
from proxy.doctor.rulesets import (
    ALL_BITS,
    Action,
    Addresses,
    Chain,
    Chains,
    Choice,
    Jump,
    Key,
    OneOf,
    Question,
    Rule,
    SetMark,
    SetSegment,
    Test,
    Translation,
    Untrack,
    Value,
    Verdict,
    cases,
)

MOST_STEPS = 100_000
"""How many rules one walk looks at. A ruleset whose chains are called more often than that is given up."""
DEEPEST = 64
"""How many chains may be within chains. The kernel allows 16 (NFT_JUMP_STACK_SIZE)."""


class Chance(IntEnum):
    """How often something is so."""

    NO = 0
    RARELY = 1
    USUALLY = 2
    YES = 3

    def opposite(self) -> Chance:
        """How often it is not so."""
        return Chance(3 - self)


@dataclass(frozen=True, slots=True)
class Bits:
    """A mark of which only some bits are known."""

    value: int = 0
    known: int = ALL_BITS


@dataclass(frozen=True, slots=True)
class Packet:
    """What is known about a packet. An empty interface stands for any. Empty networks stand for any address that is on
    no list."""

    name: str
    version: int
    transport: Transport
    state: str
    interface: str = ""
    out: str = ""
    sources: tuple[Network, ...] = ()
    destinations: tuple[Network, ...] = ()
    source_ports: tuple[PortRange, ...] = ()
    destination_ports: tuple[PortRange, ...] = ()
    source_is_ours: bool = False
    destination_is_ours: bool = False
    is_transparent: bool = True
    """Whether the packet goes to a socket of pinhole's, or comes from one."""
    owner: str = ""
    """The user whose process sends the packet."""
    mark: Bits = field(default_factory=Bits)
    our_bits: int = 0
    """The mask of our mark."""
    our_value: int = 0

    def is_marked(self) -> bool:
        """Whether the packet surely carries our mark."""
        return not self.our_bits & ~self.mark.known and self.mark.value & self.our_bits == self.our_value


# -- what a test says --------------------------------------------------------------------------------------------------


def _named(names: Iterable[Value], name: str) -> bool:
    return any(
        isinstance(item, str) and (name.startswith(item[:-1]) if item.endswith("*") else name == item) for item in names
    )


def _interface(values: Sequence[Value], name: str) -> Chance:
    if not name:
        # Only a loopback interface is surely another one than those of sessions.
        return Chance.NO if values and all(item == "lo" for item in values) else Chance.RARELY
    return Chance.YES if _named(values, name) else Chance.NO


def _addresses(values: Iterable[Value], networks: tuple[Network, ...], version: int) -> Chance:
    ranges = [item for item in values if isinstance(item, Addresses) and item.version == version]
    whole = (1 << (32 if version == 4 else 128)) - 1
    if not networks:
        if any(item.first == 0 and item.last == whole for item in ranges):
            return Chance.YES
        return Chance.RARELY if ranges else Chance.NO
    found = []
    for network in networks:
        first, last = int(network.network_address), int(network.broadcast_address)
        if any(item.first <= first and last <= item.last for item in ranges):
            found.append(Chance.YES)
        elif any(item.first <= last and first <= item.last for item in ranges):
            found.append(Chance.RARELY)
        else:
            found.append(Chance.NO)
    return found[0] if len(set(found)) == 1 else Chance.RARELY


def _ports(values: Iterable[Value], ports: tuple[PortRange, ...]) -> Chance:
    ranges = [item for item in values if isinstance(item, PortRange)]
    asked = ports or (PortRange(1024, 65535),)
    if all(any(item.first <= port.first and port.last <= item.last for item in ranges) for port in asked):
        return Chance.YES
    if any(item.first <= port.last and port.first <= item.last for item in ranges for port in asked):
        return Chance.RARELY
    return Chance.NO


def _mark(values: Iterable[Value], mask: int, mark: Bits) -> Chance:
    known, value = mark.known & mask, mark.value & mask & mark.known
    found = Chance.NO
    for item in values:
        if not isinstance(item, tuple):
            continue
        first, last = item
        if not mask & ~mark.known:
            if first <= value <= last:
                return Chance.YES
        elif first != last or (first & known) == value:
            found = Chance.RARELY
    return found


def _words(values: Iterable[Value], word: str) -> Chance:
    return Chance.YES if word in values else Chance.NO


def _flags(values: Iterable[Value], packet: Packet) -> Chance:
    """How often such a packet has these flags. `values` are MASK/FLAGS; the mask may be `any` (one of the flags) or
    `all` (these and no other)."""
    if packet.transport is not Transport.TCP:
        return Chance.NO
    # Connection tracking has no place for the second of two legs with the same addresses. That leg begins with a SYN,
    # too.
    shown = {"ack"} if packet.state == "established" else {"syn"}
    for item in values:
        mask, _, flags = str(item).partition("/")
        wanted = set(flags.split(",")) - {"", "none"}
        if mask == "any":
            fits = bool(shown & wanted)
        else:
            fits = (shown if mask == "all" else shown & set(mask.split(","))) == wanted
        if fits:
            return Chance.YES
    # A few segments of each session have other flags.
    return Chance.RARELY


def _answer(test: Test, packet: Packet) -> Chance:
    """The answer to the test, as if the test were not negated."""
    values = test.values
    match test.key:
        case Key.IN:
            return _interface(values, packet.interface)
        case Key.OUT:
            return _interface(values, packet.out)
        case Key.FAMILY:
            return _words(values, "ip" if packet.version == 4 else "ip6")
        case Key.PROTOCOL:
            return _words(values, packet.transport.value)
        case Key.SOURCE:
            return _addresses(values, packet.sources, packet.version)
        case Key.DESTINATION:
            return _addresses(values, packet.destinations, packet.version)
        case Key.SOURCE_PORT:
            return _ports(values, packet.source_ports)
        case Key.DESTINATION_PORT:
            return _ports(values, packet.destination_ports)
        case Key.STATE:
            return _words(values, packet.state)
        case Key.MARK:
            return _mark(values, test.mask, packet.mark)
        case Key.SOURCE_TYPE:
            return _words(values, "local" if packet.source_is_ours else "unicast")
        case Key.DESTINATION_TYPE:
            return _words(values, "local" if packet.destination_is_ours else "unicast")
        case Key.WAY_BACK:
            return Chance.USUALLY
        case Key.TRANSPARENT:
            return Chance.YES if packet.is_transparent else Chance.NO
        case Key.WILDCARD:
            return Chance.NO
        case Key.HANDSHAKE:
            return _flags(values, packet)
        case Key.OWNER:
            return _words(values, packet.owner) if packet.owner else Chance.NO
        case Key.CAST:
            return _words(values, "unicast")
        case Key.WITHIN_RATE:
            return Chance.USUALLY
        case Key.CONNECTION_MARK | Key.OTHER:
            return Chance.RARELY


def chance(question: Question, packet: Packet) -> Chance:
    """How often such a packet fits the question."""
    match question:
        case Test():
            found = _answer(question, packet)
        case OneOf():
            found = max((_all(parts, packet) for parts in question.alternatives), default=Chance.NO)
    return found.opposite() if question.negated else found


def _all(questions: Iterable[Question], packet: Packet) -> Chance:
    return min((chance(question, packet) for question in questions), default=Chance.YES)


# -- the walk ----------------------------------------------------------------------------------------------------------


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
            fits = _all(rule.questions, self.journey.packet)
            for questions, action in cases(rule):
                hit = min(reached, fits, _all(questions, self.journey.packet))
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
