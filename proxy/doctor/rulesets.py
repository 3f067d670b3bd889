"""A firewall ruleset as a value (pure): chains of rules, which ask questions and then act.

`rulesets_nft` and `rulesets_iptables` read the rulesets that the kernel shows into these values; `walk` sends a packet
through them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from proxy.config.values import PortRange

ALL_BITS = 0xFFFFFFFF


class Key(Enum):
    """The things that a rule can ask about a packet."""

    IN = "interface it came in by"
    OUT = "interface it goes out by"
    FAMILY = "ip or ip6"
    PROTOCOL = "transport protocol"
    SOURCE = "source address"
    DESTINATION = "destination address"
    SOURCE_PORT = "source port"
    DESTINATION_PORT = "destination port"
    STATE = "state of connection tracking"
    MARK = "mark"
    SOURCE_TYPE = "kind of source address"
    DESTINATION_TYPE = "kind of destination address"
    WAY_BACK = "route to the source"
    """Also by the packet's mark: a routing rule of ours leads this question past our route (rules)."""
    TRANSPARENT = "socket that is transparent"
    WILDCARD = "socket on every address"
    HANDSHAKE = "flags of a TCP segment"
    CAST = "unicast, broadcast or multicast on the link"
    OWNER = "user whose process sends it"
    WITHIN_RATE = "a rate that is not exceeded"
    CONNECTION_MARK = "mark of the connection"
    OTHER = "something that cannot be known beforehand"


@dataclass(frozen=True, slots=True)
class Addresses:
    """All addresses from the first to the last."""

    version: int
    first: int
    last: int


Value = str | int | PortRange | Addresses | tuple[int, int]


@dataclass(frozen=True, slots=True)
class Test:
    """One question. A mark is masked first. The values of a mark are pairs (first, last)."""

    key: Key
    values: tuple[Value, ...] = ()
    negated: bool = False
    mask: int = ALL_BITS


@dataclass(frozen=True, slots=True)
class OneOf:
    """A set of combinations, of which one has to fit in all its parts."""

    alternatives: tuple[tuple[Test | OneOf, ...], ...]
    negated: bool = False


Question = Test | OneOf


class Verdict(Enum):
    """What a rule decides about a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    RETURN = "return"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Jump:
    """The packet goes on in another chain."""

    chain: str
    is_goto: bool = False


@dataclass(frozen=True, slots=True)
class SetMark:
    """The new mark is `mark & keeps ^ sets`. `sets` is None when the mark comes from elsewhere; `is_restored` says that
    it comes from the connection."""

    sets: int | None
    keeps: int = 0
    is_restored: bool = False


@dataclass(frozen=True, slots=True)
class Translation:
    """The packet gets another source or destination address. This ends the chain."""

    is_of_source: bool


@dataclass(frozen=True, slots=True)
class SetSegment:
    """The connection gets another maximum segment size. `size` is None when the route decides it."""

    size: int | None


@dataclass(frozen=True, slots=True)
class Untrack:
    """Connection tracking leaves the packet alone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A verdict map."""

    cases: tuple[tuple[tuple[Question, ...], Action], ...]


Action = Verdict | Jump | SetMark | Translation | SetSegment | Untrack | Choice


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its text, what it asks, and what it then does."""

    text: str
    questions: tuple[Question, ...]
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """One chain with its rules."""

    tool: str
    """The tool in whose words the rules are written: nft, iptables or ip6tables."""
    family: str
    """The family of the table: ip, ip6 or inet."""
    table: str
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    """The hook where packets come into the chain by themselves: prerouting, input, forward, output or postrouting. It
    is "" for a chain that is only called."""
    kind: str = "filter"
    priority: int = 0
    policy: Verdict = Verdict.ACCEPT
    age: int | None = None
    """The number of the chain's table: the younger table has the greater one. None: it is not known."""
    is_ours: bool = False

    @property
    def place(self) -> str:
        """The name of the chain, as the commands write it."""
        if self.tool == "nft":
            return f"nft {self.family} {self.table} {self.name}"
        return f"{self.tool} -t {self.table} {self.name}"

    def sees(self, version: int) -> bool:
        """Whether packets of this IP version come into the chain."""
        return self.family in ("inet", "ip" if version == 4 else "ip6")


Chains = Mapping[tuple[str, str, str, str], Chain]
"""(tool, family, table, name) -> the chain of that name."""


def cases(rule: Rule) -> Iterator[tuple[tuple[Question, ...], Action]]:
    """Each action of the rule, with what has to be true for it beyond what the rule asks."""
    for action in rule.actions:
        if isinstance(action, Choice):
            yield from action.cases
        else:
            yield (), action


def reachable(chains: Chains, start: Chain) -> Iterator[Chain]:
    """The chain and all chains that it calls, each once."""
    seen = {start}
    waiting = [start]
    while waiting:
        chain = waiting.pop()
        yield chain
        for _, action in (case for rule in chain.rules for case in cases(rule)):
            if isinstance(action, Jump):
                target = chains.get((chain.tool, chain.family, chain.table, action.chain))
                if target is not None and target not in seen:
                    seen.add(target)
                    waiting.append(target)
