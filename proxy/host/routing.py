"""Our routing rules and routes as they stand, and those of others that may come before them. Any user may look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from proxy.config.schema import Config
from proxy.config.values import Mark
from proxy.host import rules_routing
from proxy.host.commands import read_json
from proxy.host.rules_routing import ROUTE_PROTOCOL, RoutingRule

_RTN_LOCAL = "2"
"""The number in linux/rtnetlink.h that `ip -Numeric` prints instead of `local`."""
_RT_TABLE_LOCAL = "255"
_IPV6_ADDRESSES = Path("/proc/thread-self/net/if_inet6")


class Status(NamedTuple):
    """Whether one part of the set-up stands as configured."""

    what: str
    present: bool
    detail: str


class Seen(NamedTuple):
    """The routing of one IP version, as `ip --json` prints it. Tables are numbers there, since their names depend on
    the host (/etc/iproute2/rt_tables)."""

    version: int
    rules: list[dict[str, Any]]
    """All routing rules."""
    routes: list[dict[str, Any]]
    """Routes of ours."""

    def ours(self) -> list[dict[str, Any]]:
        """Our routing rules."""
        return [rule for rule in self.rules if rule.get("protocol") == str(ROUTE_PROTOCOL)]

    def of_others(self) -> list[RoutingRule]:
        """Routing rules that may decide about packets to other hosts: all but ours, and but the one for this host's own
        addresses."""
        return [
            _routing_rule(rule)
            for rule in self.rules
            if rule.get("protocol") != str(ROUTE_PROTOCOL) and rule.get("table") != _RT_TABLE_LOCAL
        ]


def has_ipv6() -> bool:
    """Whether any interface has an IPv6 address (rules.IPV6_PRESENT)."""
    return _IPV6_ADDRESSES.exists() and bool(_IPV6_ADDRESSES.read_text())


def versions() -> tuple[int, ...]:
    """The IP versions that this host uses."""
    return (4, 6) if has_ipv6() else (4,)


def versions_known() -> tuple[int, ...]:
    """The IP versions that this host knows, also if IPv6 has lost its last address."""
    return (4, 6) if _IPV6_ADDRESSES.exists() else (4,)


def look() -> list[Seen]:
    """The routing of this host now. Raises NetError when that cannot be told."""
    found = []
    for version in versions():
        ip = ("ip", f"-{version}", "-Numeric", "--json")
        ours = ("table", "all", "protocol", str(ROUTE_PROTOCOL))
        found.append(Seen(version, read_json((*ip, "rule", "show")), read_json((*ip, "route", "show", *ours))))
    return found


def status(config: Config, seen: Sequence[Seen]) -> list[Status]:
    """Whether our routing rules and routes stand as configured."""
    return [part for one in seen for part in _status(config, one)]


def _status(config: Config, seen: Seen) -> list[Status]:
    mark, table = config.network.mark, str(config.network.table)
    selects = {"fwmark": f"{mark.value:#x}"}
    if mark.mask != 0xFFFFFFFF:
        selects["fwmask"] = f"{mark.mask:#x}"
    to_table = next((rule for rule in seen.ours() if (selects | {"table": table}).items() <= rule.items()), None)
    has_way_past = any((selects | {"iif": "lo"}).items() <= rule.items() for rule in seen.ours())
    missing = "missing" if to_table is None else "" if has_way_past else "the rule before it, for `lo`, is missing"
    wanted = {"type": _RTN_LOCAL, "dst": "default", "dev": "lo", "table": table}
    has_route = any(wanted.items() <= route.items() for route in seen.routes)
    return [
        Status(f"IPv{seen.version} rule fwmark {mark} lookup {table}", not missing, missing or "as configured"),
        Status(
            f"IPv{seen.version} route local default dev lo table {table}",
            has_route,
            "as configured" if has_route else "missing",
        ),
    ]


def overtaking(config: Config, seen: Sequence[Seen]) -> list[Status]:
    """For each IP version, whether routing rules of others may decide about packets with our mark before ours do. Our
    rules must stand for this."""
    found = []
    for one in seen:
        ours = [rule["priority"] for rule in one.ours()]
        before = rules_routing.overtaking(one.of_others(), config.network.mark, min(ours)) if ours else []
        numbers = ", ".join(str(rule.priority) for rule in before)
        # No rule of ours can stand before the first numbers, so a rule of others that stands there has to be moved
        # itself.
        has_place = all(rule.priority > rules_routing.RULES_IN_A_ROW for rule in before)
        remedy = "`pinhole net up` puts ours first" if has_place else "`pinhole doctor` says how to move it"
        detail = f"priority {numbers}; {remedy}" if before else "none may match our mark"
        found.append(Status(f"IPv{one.version} rules of others before ours", not before, detail))
    return found


def is_right(config: Config, seen: Sequence[Seen]) -> bool:
    """Whether our routing rules and routes stand as configured and before others, and nothing else of ours stands
    beside them."""
    return all(len(one.ours()) == rules_routing.RULES_IN_A_ROW and len(one.routes) == 1 for one in seen) and all(
        part.present for part in (*status(config, seen), *overtaking(config, seen))
    )


def priority(config: Config, seen: Sequence[Seen]) -> int:
    """The number that our first routing rule should have: before those of others that may match our mark."""
    return rules_routing.rule_priority([rule for one in seen for rule in one.of_others()], config.network.mark)


def _routing_rule(rule: dict[str, Any]) -> RoutingRule:
    """rule: as `ip -Numeric --json rule show` tells it."""
    mark = Mark(int(rule["fwmark"], 0), int(rule.get("fwmask", "0xffffffff"), 0)) if "fwmark" in rule else None
    return RoutingRule(
        rule["priority"],
        mark,
        is_inverted="not" in rule,
        is_for_arrivals="oif" not in rule and "l3mdev" not in rule and rule.get("iif") != "lo" and "nop" not in rule,
    )
