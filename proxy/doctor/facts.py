"""What this host says of itself, by its own commands and files: rulesets, links, routes, kernel parameters.

Nothing is judged here. A fact that cannot be told is a NetError.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from protocols.contract.addresses import Network
from proxy.doctor import judging_routes
from proxy.doctor.firewall import Firewall, Saved
from proxy.doctor.judging_fastpath import Kernel
from proxy.doctor.judging_routes import RoutingRule
from proxy.doctor.traffic import Links
from proxy.errors import NetError
from proxy.holder import process, watching
from proxy.host import commands, entrances, routing, rules_iptables

SYSCTL = Path("/proc/sys/net")
_FLAVOURS = ("nft", "legacy")


def output(command: tuple[str, ...]) -> str | None:
    """What a command prints. None: it is not installed, or fails."""
    try:
        done = commands.run(command)
    except NetError:
        return None
    return done.stdout if done.returncode == 0 else None


# -- rulesets ----------------------------------------------------------------------------------------------------------


def firewall() -> tuple[Firewall, bool]:
    """The rulesets of this host, and whether nft could tell its own. A command that is not installed has no rules to
    show."""
    objects: Sequence[object] = ()
    if output(("nft", "--version")) is not None:
        try:
            said = json.loads(output(("nft", "--json", "list", "ruleset")) or "")
        except json.JSONDecodeError:
            return Firewall((), tuple(_saved())), False
        objects = said["nftables"] if isinstance(said, dict) and isinstance(said.get("nftables"), list) else ()
    return Firewall(objects, tuple(_saved())), True


def _saved() -> Iterator[Saved]:
    """The rules of both flavours of iptables, since both are in force. The plain command is one of the two."""
    for version in (4, 6):
        plain = rules_iptables.command(version)
        names = output((plain, "--version"))
        default = "nft" if names is not None and "nf_tables" in names else "legacy"
        for flavour in _FLAVOURS:
            command = plain if flavour == default else f"{plain}-{flavour}"
            if (text := output((f"{command}-save",))) is not None:
                yield Saved(command, version, text, is_in_nft=flavour == "nft")


# -- links and routes --------------------------------------------------------------------------------------------------


def _of_ip(*words: str) -> list[dict[str, Any]]:
    """What a command of iproute2 prints, as values. Raises NetError."""
    return commands.read_json(("ip", "-json", *words))


def links() -> Links:
    """The interfaces of this host and what is connected to them. Raises NetError."""
    networks: dict[str, tuple[Network, ...]] = {}
    found = _of_ip("-details", "address", "show")
    for link in found:
        if "LOOPBACK" in link.get("flags", ()):
            continue
        networks[str(link.get("ifname"))] = tuple(
            ip_network(f"{item['local']}/{item['prefixlen']}", strict=False)
            for item in link.get("addr_info", ())
            if item.get("scope") == "global" and "local" in item
        )
    bridges = {link.get("ifname") for link in found if link.get("linkinfo", {}).get("info_kind") == "bridge"}
    deserted = bridges - {link.get("master") for link in found}
    ways = {version: _default_ways(version, "main") for version in (4, 6)}
    return Links(networks, ways, _static_routes(), frozenset(map(str, deserted)))


def _static_routes() -> dict[str, tuple[Network, ...]]:
    """The networks that static routes lead to, by interface. Routes of routing daemons are left out: there may be a
    million. Raises NetError."""
    found: dict[str, tuple[Network, ...]] = {}
    for version, author in itertools.product((4, 6), ("static", "boot")):
        for route in _of_ip(f"-{version}", "route", "show", "table", "main", "protocol", author):
            if route.get("dst") != "default" and "dev" in route:
                found[route["dev"]] = (*found.get(route["dev"], ()), ip_network(route["dst"]))
    return found


def bridges() -> list[str]:
    """The names of the bridges. Raises NetError."""
    return [str(link.get("ifname")) for link in _of_ip("link", "show", "type", "bridge")]


def routing_rules() -> list[RoutingRule]:
    """The routing rules of this host. Raises NetError."""
    return [
        rule
        for version in routing.versions()
        for rule in judging_routes.routing_rules(
            version, commands.read(("ip", f"-{version}", "-Numeric", "-details", "rule", "show"))
        )
    ]


def strict_ways(routes: Iterable[RoutingRule]) -> dict[str, tuple[str, ...]]:
    """For each routing table that a mark leads to: the interfaces of its default routes where rp_filter (of IPv4 alone)
    drops packets, because the usual default route does not lead there. Raises NetError."""
    usual = _default_ways(4, "main")
    tables = {
        rule.after("lookup") for rule in routes if rule.version == 4 and rule.after("fwmark") and not rule.is_ours
    }
    found = {}
    for table in tables - {""}:
        try:
            ways = _default_ways(4, table)
        except NetError:  # there is no such table: it has no route yet
            continue
        found[table] = tuple(name for name in ways if name not in usual and _filters_strictly(name))
    return found


def _default_ways(version: int, table: str) -> tuple[str, ...]:
    """The interfaces of default routes, which may share one of several next hops. Raises NetError."""
    routes = _of_ip(f"-{version}", "route", "show", "table", table, "default")
    ways = (way for route in routes for way in (route, *route.get("nexthops", ())))
    return tuple(dict.fromkeys(str(way["dev"]) for way in ways if "dev" in way))


def _filters_strictly(interface: str) -> bool:
    """Whether rp_filter is strict at this interface. The greater of both values is in force."""
    return max(sysctl(f"ipv4/conf/{name}/rp_filter") or "0" for name in ("all", interface)) == "1"


# -- kernel parameters -------------------------------------------------------------------------------------------------


def sysctl(name: str) -> str:
    """The value of a kernel parameter. It is "" when this kernel has no parameter of that name."""
    path = SYSCTL / name
    return path.read_text().strip() if path.exists() else ""


# -- media in the kernel -----------------------------------------------------------------------------------------------


def fastpath(daemon: Mapping[str, Any] | None) -> Kernel:
    """What this host says of media in the kernel. `daemon` is what one that runs says of it. Raises NetError."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    try:
        has_policies, has_marks = watching.has_policies(), watching.has_rules_by_mark()
    except OSError as error:
        raise NetError(f"IPsec policies and routing rules: {error.strerror}") from error
    names = [name for _, name in socket.if_nameindex()]
    return Kernel(
        release=(int(found[1]), int(found[2])) if found else (0, 0),
        is_little_endian=sys.byteorder == "little",
        jit=sysctl("core/bpf_jit_enable"),
        is_held=bool(entrances.standing(process.ENTRANCE)),
        has_policies=has_policies,
        has_marks=has_marks,
        interfaces=names,
        not_forwarding={name: versions for name in names if (versions := tuple(_not_forwarded(name)))},
        daemon=daemon,
    )


def _not_forwarded(interface: str) -> Iterator[int]:
    """The IP versions that are not forwarded when they come by this interface."""
    return (version for version in routing.versions() if sysctl(f"ipv{version}/conf/{interface}/forwarding") == "0")
