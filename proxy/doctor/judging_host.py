"""Judges what else the host and a running daemon say of themselves: interfaces, kernel parameters, limits (pure)."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from proxy.config.schema import Config
from proxy.config.values import PortRange
from proxy.doctor.findings import Finding, Trouble, fine, trouble, well
from proxy.host import scopes

NEARLY_PERCENT = 80
"""From here on a limit is nearly used."""


def judge_interfaces(config: Config, present: Collection[str]) -> Iterator[Finding]:
    """Interfaces of the configuration that this host does not have: a name from an example, a misspelled one, or one
    that has changed."""
    places = [(f"policy {policy.name}, from", "no session", policy.interfaces) for policy in config.policies]
    places.append(("network, fastpath_interfaces", "no media", config.network.fastpath_interfaces))
    for place, what, names in places:
        for name in names:
            if name not in present:
                meant = difflib.get_close_matches(name, present, 1)
                detail = f"there is no interface {name} now, so {what} comes in by it"
                remedy = f"# is {meant[0]} meant?" if meant else "# see `ip link` for the names there are"
                yield trouble(Trouble.INTERFACE_UNKNOWN, place, detail, remedy)


def judge_bridges(bridges: Sequence[str], used: Collection[str], name: str, value: str) -> Finding:
    """With br_netfilter, IP rules see a bridged packet while it is still on the bridge; the socket that TPROXY finds
    for it there is forgotten before the packet reaches IP, and the client's SYN is never answered.

    used: those by which packets of sessions come in.
    """
    if value == "0":
        return fine(name, "off; sessions may come in by a bridge")
    concerned = [bridge for bridge in bridges if bridge in used]
    if not concerned:
        return fine(name, f"on, but sessions of the policies come in by no bridge ({', '.join(bridges)})")
    detail = (
        f"on (Docker does that): sessions that come in by a bridge ({', '.join(concerned)}) are never answered; "
        "`from` keeps a policy off the bridges of others"
    )
    return trouble(Trouble.BRIDGES_FILTERED, name, detail, f"sysctl -w net.bridge.{name}=0")


def judge_ports(ports: PortRange, local_range: str, reserved: str) -> Finding:
    """Whether the kernel gives ports of our pool to connections of other programs.

    local_range, reserved: ip_local_port_range ("32768 60999") and ip_local_reserved_ports ("40000-40009,8080").
    """
    words = local_range.split()
    if len(words) != 2:
        return trouble(Trouble.PORTS_UNREADABLE, "ports", "net.ipv4.ip_local_port_range cannot be read: not examined")
    first, last = map(int, words)
    shared = PortRange(max(first, ports.first), min(last, ports.last))
    kept = scopes.merge_ports(_ranges(reserved.split(",") if reserved else ()))
    if shared.first > shared.last or any(item.first <= shared.first and shared.last <= item.last for item in kept):
        detail = f"{ports} are not given to other programs by themselves; a local user may still bind them"
        return fine("ports", detail)
    wanted = ",".join(str(item) for item in scopes.merge_ports((*kept, ports)))
    return trouble(
        Trouble.PORTS_SHARED,
        "ports",
        f"the kernel gives {shared} to connections of other programs; a pinhole cannot stand on a port in use",
        f"sysctl -w net.ipv4.ip_local_reserved_ports={wanted}",
    )


def _ranges(texts: Iterable[str]) -> Iterator[PortRange]:
    for text in texts:
        first, _, last = text.partition("-")
        yield PortRange(int(first), int(last or first))


def judge_limits(rows: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Limits that are nearly used. `rows` are those of `/v1/limits`."""
    found = (_nearly(row) for row in rows if row["used_percent"] >= NEARLY_PERCENT)
    yield from well("limits", found, f"less than {NEARLY_PERCENT} % of each is used")


def _nearly(row: Mapping[str, Any]) -> Finding:
    name, most = row["limit"], row["most"]
    by = f" by {row['by']}" if row["by"] else ""
    detail = f"{row['used']} of {most} are used{by}: what comes when none is left is refused"
    remedies = {
        "descriptors": f"# systemd: LimitNOFILE={2 * most}, and restart",
        "ports": "# ports: a wider range, then `pinhole reload`",
    }
    remedy = remedies.get(name, f"# limits: {{{name}: {2 * most}}}, then `pinhole reload`")
    return trouble(Trouble.LIMIT_NEAR, f"limit {name}", detail, remedy)
