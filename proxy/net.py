"""Sets up, removes and inspects what `rules` describes, by the system's own commands: nft, iptables, ip.

What is ours is found by its names and by the protocol number of our routes, never by what the configuration says now:
so `down` also removes what a crashed daemon, or one with another configuration, left behind. Every operation may be
repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from proxy import rules
from proxy.config import Config
from proxy.errors import NetError
from proxy.rules import Backend, Step

COMMAND_SECONDS = 30
"""iptables waits for its lock as long as it takes; a command that takes longer than this hangs."""

_PACKAGES = {"nft": "nftables", "ip": "iproute2"}
_CAP_NET_ADMIN = 12
RTN_LOCAL = "2"
"""linux/rtnetlink.h; what `ip -Numeric` says instead of `local`."""
_IPV6_ADDRESSES = Path("/proc/thread-self/net/if_inet6")

Say = Callable[[str], None]


class Status(NamedTuple):
    """Whether one part of the set-up stands as configured."""

    what: str
    present: bool
    detail: str


def _silent(line: str) -> None:
    """Nobody wants to know."""


def capabilities() -> int:
    """The effective capabilities of this process, as bits (capabilities(7))."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise NetError("/proc/thread-self/status has no CapEff line; is /proc mounted?")


def has_ipv6() -> bool:
    """Whether any interface has an IPv6 address (rules.IPV6_PRESENT)."""
    return _IPV6_ADDRESSES.exists() and bool(_IPV6_ADDRESSES.read_text())


def run(command: tuple[str, ...], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command to its end. Raises NetError when it is not installed or does not end."""
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
            # Their messages are read below, and PATH of a service may lack /usr/sbin.
            env={**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
        )
    except FileNotFoundError:
        package = _PACKAGES.get(command[0], "iptables")
        raise NetError(f"{command[0]} is not installed: apt install {package}") from None
    except subprocess.TimeoutExpired:
        raise NetError(f"{' '.join(command)} did not end within {COMMAND_SECONDS} s") from None


def _said(failed: subprocess.CompletedProcess[str]) -> str:
    return failed.stderr.strip() or f"exit status {failed.returncode}"


def _do(step: Step) -> None:
    """Raises NetError when the command fails."""
    done = run(step.command, step.stdin)
    if done.returncode == 0:
        return
    text = _said(done)
    remedy = ""
    # What the kernel says when it has no such expression, target or match.
    if step.stdin and ("No such file or directory" in text or "No chain/target/match by that name" in text):
        modules = (
            "nft_tproxy nft_socket nft_fib_inet" if step.command[0] == "nft" else "xt_TPROXY xt_socket xt_addrtype"
        )
        remedy = f" (if the kernel lacks transparent proxying: modprobe -a {modules})"
    raise NetError(f"{' '.join(step.command)}: {text}{remedy}")


def _require_admin() -> None:
    if not capabilities() >> _CAP_NET_ADMIN & 1:
        raise NetError("firewall rules and routes need CAP_NET_ADMIN: run as root, as in `sudo pinhole net ...`")


def up(config: Config, backend: Backend, say: Say = _silent) -> None:
    """Sets everything up as configured, in place of what an earlier `up` left.

    say: is told each command.  Raises NetError at the first that fails; `down` then removes what was done before it.
    """
    todo = rules.steps(config, backend)
    _require_admin()
    ipv6 = has_ipv6()
    if not ipv6:
        say("no interface has an IPv6 address: set up for IPv4 alone")
    for step in todo:
        if (step.version == 6 and not ipv6) or (step.unless and run(step.unless).returncode == 0):
            continue
        say(" ".join(step.command))
        _do(step)


def down(config: Config, backend: Backend, say: Say = _silent) -> None:
    """Removes all that `up` ever set up with this backend, whatever the configuration was then. Raises NetError."""
    _require_admin()
    todo: list[Step] = []
    emptied: list[int] = []
    # Also where IPv6 has lost its last address since `up`.
    versions = (4, 6) if _IPV6_ADDRESSES.exists() else (4,)
    if backend is Backend.NFT:
        if _nft_comment() is not None:
            todo.append(Step(("nft", "delete", "table", "inet", rules.TABLE)))
    else:
        for version in versions:
            saved = _saved_mangle(version)
            if f":{rules.NEW_TABLE} " in saved:
                emptied.append(version)
            if removal := rules.iptables_removal(saved):
                todo.append(Step((f"{rules.iptables(version)}-restore", "--noflush", "--wait"), removal))
    # Routes last: what is marked has a way as long as there is a rule that marks.
    todo += [step for step in rules.routing_removal() if step.version in versions]
    for step in todo:
        say(" ".join(step.command))
        _do(step)
    for version in emptied:
        # The table was not there before `up`; left empty it would be a trace. Only iptables over nftables can drop one.
        if rules.iptables_is_untouched(_saved_mangle(version)):
            _do(Step(("nft", "delete", "table", "ip" if version == 4 else "ip6", "mangle")))


def _read(command: tuple[str, ...]) -> str:
    done = run(command)
    if done.returncode != 0:
        raise NetError(f"{' '.join(command)}: {_said(done)}")
    return done.stdout


def _nft_comment() -> str | None:
    """The comment of our table; None when there is no such table. (nft 1.0.6 leaves it out of its JSON.)"""
    names = json.loads(_read(("nft", "--json", "list", "tables")))["nftables"]
    if not any(item["table"]["name"] == rules.TABLE for item in names if item.get("table", {}).get("family") == "inet"):
        return None
    for line in _read(("nft", "list", "table", "inet", rules.TABLE)).splitlines():
        if line.strip().startswith("comment "):
            return line.strip().removeprefix("comment ").strip('"')
    return ""


def _saved_mangle(version: int) -> str:
    return _read((f"{rules.iptables(version)}-save", "-t", "mangle"))


def routing(version: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All routing rules of an IP version, and those routes that are ours, as `ip --json` tells them: in numbers, as
    tables may have names (/etc/iproute2/rt_tables).
    """
    ip = ("ip", f"-{version}", "-Numeric", "--json")
    ours = ("table", "all", "protocol", str(rules.ROUTE_PROTOCOL))
    return json.loads(_read((*ip, "rule", "show")) or "[]"), json.loads(_read((*ip, "route", "show", *ours)) or "[]")


_OLD = "from another configuration; `pinhole net up` replaces it"


def _firewall_status(config: Config, backend: Backend) -> list[Status]:
    if backend is Backend.NFT:
        comment, what = _nft_comment(), f"nft table inet {rules.TABLE}"
        if comment is None:
            return [Status(what, False, "missing")]
        as_configured = comment == rules.label(config, backend)
        return [Status(what, as_configured, "as configured" if as_configured else _OLD)]
    found = []
    for version in (4, 6) if has_ipv6() else (4,):
        saved = _saved_mangle(version).splitlines()
        for hook, chain in rules.JUMPS:
            if not any(line.startswith(f":{chain} ") for line in saved):
                detail = "missing"
            elif not any(f'--comment "{rules.label(config, backend, version)}"' in line for line in saved):
                detail = _OLD
            elif (jumps := saved.count(f"-A {hook} -j {chain}")) != 1:
                detail = f"{jumps} jumps from {hook} instead of one"
            else:
                detail = ""
            found.append(Status(f"{rules.iptables(version)} chain {chain}", not detail, detail or "as configured"))
    return found


def _routing_status(config: Config, version: int) -> list[Status]:
    mark, table = config.network.mark, str(config.network.table)
    all_rules, routes = routing(version)
    selects = {"fwmark": f"{mark.value:#x}", "table": table}
    if mark.mask != 0xFFFFFFFF:
        selects["fwmask"] = f"{mark.mask:#x}"
    has_rule = any(selects.items() <= rule.items() for rule in all_rules)
    wanted = {"type": RTN_LOCAL, "dst": "default", "dev": "lo", "table": table}
    has_route = any(wanted.items() <= route.items() for route in routes)
    return [
        Status(f"IPv{version} rule fwmark {mark} lookup {table}", has_rule, "as configured" if has_rule else "missing"),
        Status(
            f"IPv{version} route local default dev lo table {table}",
            has_route,
            "as configured" if has_route else "missing",
        ),
    ]


def status(config: Config, backend: Backend) -> list[Status]:
    """Each part of the set-up, and whether it stands as configured. Raises NetError when that cannot be told."""
    _require_admin()
    found = _firewall_status(config, backend)
    for version in (4, 6) if has_ipv6() else (4,):
        found += _routing_status(config, version)
    return found
