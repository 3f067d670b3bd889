"""Sets up, removes and inspects what `rules` describes, with the system's own commands: nft, iptables, ip.

Our rules and routes are found by their names and by the protocol number of our routes, never by the present
configuration. So `down` also removes what a crashed daemon, or one with another configuration, left behind. Every
operation may be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from proxy.config.schema import Config
from proxy.config.values import Mark
from proxy.errors import NetError
from proxy.host import rules, rules_iptables, rules_nft, rules_routing
from proxy.host.commands import read, read_json, run, said, turn
from proxy.host.rules import Backend
from proxy.host.rules_routing import RoutingRule
from proxy.host.steps import Step

_CAP_NET_ADMIN = 12
RTN_LOCAL = "2"
"""The number in linux/rtnetlink.h that `ip -Numeric` prints instead of `local`."""
_RT_TABLE_LOCAL = "255"
_TAKES_NOTHING = (
    "MARK",
    "CONNMARK",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
    "LOG",
    "NFLOG",
    "TRACE",
    "SET",
    "TEE",
    "TCPMSS",
)
"""Targets of iptables after which a packet goes on to the next rule."""
_IPV6_ADDRESSES = Path("/proc/thread-self/net/if_inet6")

Say = Callable[[str], None]


class Status(NamedTuple):
    """Whether one part of the set-up stands as configured."""

    what: str
    present: bool
    detail: str


def _silent(line: str) -> None:
    """Say nothing."""


def capabilities() -> int:
    """The effective capabilities of this process, as bits (capabilities(7))."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise NetError("/proc/thread-self/status has no CapEff line; is /proc mounted?")


def has_ipv6() -> bool:
    """Whether any interface has an IPv6 address (rules.IPV6_PRESENT)."""
    return _IPV6_ADDRESSES.exists() and bool(_IPV6_ADDRESSES.read_text())


def _do(step: Step) -> None:
    """Run one step. Raises NetError when the command fails."""
    done = run(step.command, step.stdin)
    if done.returncode == 0:
        return
    text = said(done)
    remedy = ""
    # The kernel says so when it has no such expression, target or match.
    if step.stdin and ("No such file or directory" in text or "No chain/target/match by that name" in text):
        modules = (
            "nft_tproxy nft_socket nft_fib_inet" if step.command[0] == "nft" else "xt_TPROXY xt_socket xt_addrtype"
        )
        remedy = f" (if the kernel lacks transparent proxying: modprobe -a {modules})"
    raise NetError(f"{' '.join(step.command)}: {text}{remedy}")


def require_admin() -> None:
    if not capabilities() >> _CAP_NET_ADMIN & 1:
        raise NetError("firewall rules and routes need CAP_NET_ADMIN: run as root, as in `sudo pinhole net ...`")


def up(config: Config, backend: Backend, say: Say = _silent) -> None:
    """Set everything up as configured, in place of what an earlier `up` left, also by the other backend.

    `say` gets each step as text. Raises NetError at the first command that fails; `down` then removes what was done
    before it.
    """
    todo = rules.steps(config, backend)  # a configuration that cannot be set up is refused before anything is changed
    require_admin()
    with turn():
        if _routing_is_right(config):  # packets of sessions that stand would have no way for a moment
            todo = tuple(step for step in todo if step.command[0] != "ip")
        elif (priority := _priority(config)) != rules_routing.RULE_PRIORITY:
            say(f"others have routing rules before {rules_routing.RULE_PRIORITY}: ours begin at {priority}")
            todo = rules.steps(config, backend, priority)
        ipv6 = has_ipv6()
        if not ipv6:
            say("no interface has an IPv6 address: set up for IPv4 alone")
        for step in todo:
            if (step.version == 6 and not ipv6) or (step.unless and run(step.unless).returncode == 0):
                continue
            _tell_and_do(step, say)
        for other in all_standing():
            if other is not backend:
                say(f"rules by {other.value} stood as well, and are removed")
                _remove_rules(other, say)


def _priority(config: Config) -> int:
    """The number of our first routing rule, before those of others that may match our mark."""
    others = [rule for version in _versions() for rule in routing_rules_of_others(version)]
    return rules_routing.rule_priority(others, config.network.mark)


def _routing_is_right(config: Config) -> bool:
    """Whether our routing rules and routes stand as configured, and nothing else of ours beside them."""
    for version in _versions():
        all_rules, routes = routing(version)
        ours = [rule for rule in all_rules if rule.get("protocol") == str(rules_routing.ROUTE_PROTOCOL)]
        if len(ours) != rules_routing.RULES_IN_A_ROW or len(routes) != 1:
            return False
    return all(part.present for part in (*routing_status(config), *overtaking(config)))


def _versions() -> tuple[int, ...]:
    """The IP versions that this host uses."""
    return (4, 6) if has_ipv6() else (4,)


def down(backend: Backend, say: Say = _silent) -> None:
    """Remove all that `up` ever set up with this backend, whatever the configuration was then. If rules of the other
    backend stand, the routes stay, since both backends share them. Raises NetError."""
    require_admin()
    with turn():
        _remove_rules(backend, say)
        # Routes go last, so that a marked packet has a way as long as a rule marks packets.
        if not any(_stands(other) for other in Backend if other is not backend):
            _remove_routes(say)


def clear(say: Say = _silent) -> None:
    """Remove all that `up` ever set up, with either backend. Raises NetError."""
    require_admin()
    with turn():
        for backend in Backend:
            if _is_installed(backend.value):
                _remove_rules(backend, say)
        _remove_routes(say)


def _remove_rules(backend: Backend, say: Say) -> None:
    """Remove our firewall rules by this backend. Raises NetError."""
    if backend is Backend.NFT:
        if _nft_comment() is not None:
            _tell_and_do(Step(("nft", "delete", "table", "inet", rules_nft.TABLE)), say)
        return
    for version in _versions_known():
        saved = _saved_mangle(version)
        if removal := rules_iptables.removal(saved):
            command = (f"{rules_iptables.command(version)}-restore", "--noflush", "--wait")
            _tell_and_do(
                Step(command, removal, what=f"{rules_iptables.command(version)}: our chains, and jumps to them"), say
            )
        # The table was not there before `up`, and left empty it would be a trace.
        if (
            f":{rules_iptables.NEW_TABLE} " in saved
            and _tables_can_be_dropped(version)
            and rules_iptables.is_untouched(_saved_mangle(version))
        ):
            _do(Step(("nft", "delete", "table", "ip" if version == 4 else "ip6", "mangle")))


def _remove_routes(say: Say) -> None:
    """Remove our routing rules and routes. Raises NetError."""
    for step in rules_routing.removal():
        if step.version in _versions_known():
            _tell_and_do(step, say)


def _versions_known() -> tuple[int, ...]:
    """The IP versions that this host knows, also if IPv6 has lost its last address since `up`."""
    return (4, 6) if _IPV6_ADDRESSES.exists() else (4,)


def _tell_and_do(step: Step, say: Say) -> None:
    say(str(step))
    _do(step)


def _is_installed(command: str) -> bool:
    try:
        run((command, "--version"))
    except NetError:
        return False
    return True


def _tables_can_be_dropped(version: int) -> bool:
    """Whether this iptables keeps its tables in nftables, and nft is there to drop an empty one. A table of the legacy
    kind stays for as long as its kernel module."""
    if "nf_tables" not in read((rules_iptables.command(version), "--version")):
        return False
    return _is_installed("nft")


def _nft_comment() -> str | None:
    """The comment of our table. None: there is no such table. (nft 1.0.6 leaves the comment out of its JSON, and some
    versions of nft have no JSON.)"""
    if f"table inet {rules_nft.TABLE}" not in read(("nft", "list", "tables")).splitlines():
        return None
    for line in read(("nft", "list", "table", "inet", rules_nft.TABLE)).splitlines():
        if line.strip().startswith("comment "):
            return line.strip().removeprefix("comment ").strip('"')
    return ""


def _saved_mangle(version: int) -> str:
    """The mangle table as `iptables-save` prints it."""
    return read((f"{rules_iptables.command(version)}-save", "-t", "mangle"))


def routing(version: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All routing rules of an IP version, and those routes that are ours, as `ip --json` prints them. Tables are
    numbers there, since their names depend on the host (/etc/iproute2/rt_tables)."""
    ip = ("ip", f"-{version}", "-Numeric", "--json")
    ours = ("table", "all", "protocol", str(rules_routing.ROUTE_PROTOCOL))
    return read_json((*ip, "rule", "show")), read_json((*ip, "route", "show", *ours))


def routing_rules_of_others(version: int) -> list[RoutingRule]:
    """Routing rules that may decide about packets to other hosts: all but ours, and but the one for this host's own
    addresses."""
    return [
        _routing_rule(rule)
        for rule in routing(version)[0]
        if rule.get("protocol") != str(rules_routing.ROUTE_PROTOCOL) and rule.get("table") != _RT_TABLE_LOCAL
    ]


def _routing_rule(rule: dict[str, Any]) -> RoutingRule:
    """rule: as `ip -Numeric --json rule show` tells it."""
    mark = Mark(int(rule["fwmark"], 0), int(rule.get("fwmask", "0xffffffff"), 0)) if "fwmark" in rule else None
    return RoutingRule(
        rule["priority"],
        mark,
        is_inverted="not" in rule,
        is_for_arrivals="oif" not in rule and "l3mdev" not in rule and rule.get("iif") != "lo" and "nop" not in rule,
    )


_OLD = "from another configuration; `pinhole net up` replaces it"


def _firewall_status(config: Config, backend: Backend) -> list[Status]:
    """Whether our firewall rules stand as configured."""
    if backend is Backend.NFT:
        comment, what = _nft_comment(), f"nft table inet {rules_nft.TABLE}"
        if comment is None:
            return [Status(what, False, "missing")]
        as_configured = comment == rules.label(config, backend)
        return [Status(what, as_configured, "as configured" if as_configured else _OLD)]
    found = []
    for version in _versions():
        saved = _saved_mangle(version).splitlines()
        for hook, chain in rules_iptables.JUMPS:
            if not any(line.startswith(f":{chain} ") for line in saved):
                detail = "missing"
            elif not any(f'--comment "{rules.label(config, backend, version)}"' in line for line in saved):
                detail = _OLD
            elif (jumps := saved.count(f"-A {hook} -j {chain}")) != 1:
                detail = f"{jumps} jumps from {hook} instead of one"
            elif taker := _takes_before(saved, hook, chain):
                detail = f"{taker!r} comes before the jump to it; `pinhole net up` puts that first"
            else:
                detail = ""
            found.append(
                Status(f"{rules_iptables.command(version)} chain {chain}", not detail, detail or "as configured")
            )
    return found


def _takes_before(saved: list[str], hook: str, chain: str) -> str:
    """The first rule of others that stands before our jump and may keep packets from it. It is "" when there is
    none."""
    for line in saved:
        if line == f"-A {hook} -j {chain}":
            break
        target = re.search(r" -[jg] (\S+)", line)
        if line.startswith(f"-A {hook} ") and target and target[1] not in _TAKES_NOTHING:
            return line
    return ""


def _routing_status(config: Config, version: int) -> list[Status]:
    """Whether our routing rules and routes of this IP version stand as configured."""
    mark, table = config.network.mark, str(config.network.table)
    all_rules, routes = routing(version)
    selects = {"fwmark": f"{mark.value:#x}"}
    if mark.mask != 0xFFFFFFFF:
        selects["fwmask"] = f"{mark.mask:#x}"
    ours = [rule for rule in all_rules if rule.get("protocol") == str(rules_routing.ROUTE_PROTOCOL)]
    to_table = next((rule for rule in ours if (selects | {"table": table}).items() <= rule.items()), None)
    has_way_past = any((selects | {"iif": "lo"}).items() <= rule.items() for rule in ours)
    missing = "missing" if to_table is None else "" if has_way_past else "the rule before it, for `lo`, is missing"
    wanted = {"type": RTN_LOCAL, "dst": "default", "dev": "lo", "table": table}
    has_route = any(wanted.items() <= route.items() for route in routes)
    return [
        Status(f"IPv{version} rule fwmark {mark} lookup {table}", not missing, missing or "as configured"),
        Status(
            f"IPv{version} route local default dev lo table {table}",
            has_route,
            "as configured" if has_route else "missing",
        ),
    ]


def overtaking(config: Config) -> list[Status]:
    """For each IP version, whether routing rules of others may decide about packets with our mark before ours do. Our
    rules must stand for this. Raises NetError when that cannot be told."""
    found = []
    for version in _versions():
        ours = [
            rule["priority"]
            for rule in routing(version)[0]
            if rule.get("protocol") == str(rules_routing.ROUTE_PROTOCOL)
        ]
        before = (
            rules_routing.overtaking(routing_rules_of_others(version), config.network.mark, min(ours)) if ours else []
        )
        numbers = ", ".join(str(rule.priority) for rule in before)
        # No rule of ours can stand before the first numbers, so a rule of others that stands there has to be moved
        # itself.
        has_place = all(rule.priority > rules_routing.RULES_IN_A_ROW for rule in before)
        remedy = "`pinhole net up` puts ours first" if has_place else "`pinhole doctor` says how to move it"
        detail = f"priority {numbers}; {remedy}" if before else "none may match our mark"
        found.append(Status(f"IPv{version} rules of others before ours", not before, detail))
    return found


def routing_status(config: Config) -> list[Status]:
    """The status of our routing rules and routes, which any user may look at. Raises NetError when that cannot be
    told."""
    return [part for version in _versions() for part in _routing_status(config, version)]


def all_standing() -> list[Backend]:
    """The backends whose rules of ours are set up. A command that is not installed has none."""
    return [backend for backend in Backend if _stands(backend)]


def _stands(backend: Backend) -> bool:
    """Whether rules of ours by this backend are set up."""
    try:
        if backend is Backend.NFT:
            return _nft_comment() is not None
        return any(f":{rules_iptables.CHAIN} " in _saved_mangle(version) for version in (4, 6))
    except NetError:
        return False


def standing() -> Backend:
    """The backend whose rules of ours are set up. If neither or both have rules, it is nft, or iptables where there is
    no nft."""
    if stand := all_standing():
        return stand[0]
    return Backend.NFT if _is_installed("nft") else Backend.IPTABLES


def chosen(config: Config, wanted: Backend | None = None) -> Backend:
    """The backend to use: the one that is wanted, or that the configuration names, or whose rules stand."""
    if wanted is None and config.network.backend is not None:
        wanted = Backend(config.network.backend)
    return wanted or standing()


def beside(backend: Backend) -> list[Status]:
    """Rules of ours by the other backend, which are in the way of these."""
    detail = "stand as well; `pinhole net up` removes them"
    return [Status(f"rules by {other.value}", False, detail) for other in all_standing() if other is not backend]


def is_legacy() -> bool:
    """Whether iptables keeps its tables where the kernel does not report changes."""
    return "legacy" in read((rules_iptables.command(4), "--version"))


def standing_rules(backend: Backend) -> list[tuple[str, str, str | None]]:
    """Our rules as they stand. For each part: its name, the comment that tells which configuration it is from, and its
    text (None: it is missing). Raises NetError."""
    if backend is Backend.NFT:
        comment = _nft_comment()
        text = None if comment is None else read(("nft", "--stateless", "list", "table", "inet", rules_nft.TABLE))
        return [(f"nft table inet {rules_nft.TABLE}", comment or "", text)]
    found: list[tuple[str, str, str | None]] = []
    for version in _versions():
        saved = _saved_mangle(version).splitlines()
        comments = [line.partition('"')[2].partition('"')[0] for line in saved if '--comment "pinhole ' in line]
        comment = comments[0] if comments else ""
        for hook, chain in rules_iptables.JUMPS:
            what = f"{rules_iptables.command(version)} chain {chain}"
            if not any(line.startswith(f":{chain} ") for line in saved) or f"-A {hook} -j {chain}" not in saved:
                found.append((what, "", None))
                continue
            own = (f":{chain} ", f"-A {chain} ")
            ours = [line for line in saved if line.startswith(own) or line.endswith(f" -j {chain}")]
            found.append((what, comment, "\n".join(line.partition("[")[0] for line in ours)))
    return found


def status(config: Config, backend: Backend) -> list[Status]:
    """Each part of the set-up, and whether it stands as configured. Raises NetError when that cannot be told."""
    require_admin()
    found = _firewall_status(config, backend)
    for version in _versions():
        found += _routing_status(config, version)
    return found
