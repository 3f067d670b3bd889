"""Our routing rules and routes, and those of others that may come before them. This module is pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from proxy.config.schema import Config
from proxy.config.values import Mark
from proxy.host.steps import Step

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


def steps(config: Config, priority: int) -> Iterator[Step]:
    table, protocol = str(config.network.table), str(ROUTE_PROTOCOL)
    for version in (4, 6):
        ip = ("ip", f"-{version}")
        old = [step for step in removal() if step.version == version]
        why = f"IPv{version}: what is marked is for this host. Protocol {protocol} says that an entry is ours."
        yield replace(old[0], why=why)
        yield from old[1:]
        local = (*ip, "route", "replace", "local", "default", "dev", "lo", "table", table, "protocol", protocol)
        yield Step(local, version=version)
        # The last rule is added first, because the first one goes to it.
        for rule in reversed(routing_rules(config, priority)):
            yield Step((*ip, "rule", "add", *rule, "protocol", protocol), version=version)


def removal() -> tuple[Step, ...]:
    """The steps that remove our routing rules and routes, whatever the configuration was. It is no error when there are
    none."""
    commands = []
    for version in (4, 6):
        ip, protocol = ("ip", f"-{version}"), str(ROUTE_PROTOCOL)
        commands.append(Step((*ip, "rule", "flush", "protocol", protocol), version=version))
        commands.append(Step((*ip, "route", "flush", "table", "all", "protocol", protocol), version=version))
    return tuple(commands)
