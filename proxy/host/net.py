"""Sets up, removes and inspects what `rules` describes, with the system's own commands: nft, iptables, ip.

Our rules and routes are found by their names and by the protocol number of our routes, never by the present
configuration. So `down` also removes what a crashed daemon, or one with another configuration, left behind. Every
operation may be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.config.schema import Config
from proxy.errors import NetError
from proxy.host import privileges, routing, rules, rules_iptables, rules_nft, rules_routing
from proxy.host.commands import read, run, said, turn
from proxy.host.routing import Status as Status
from proxy.host.rules import Backend
from proxy.host.steps import Step

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

Say = Callable[[str], None]


def _silent(line: str) -> None:
    """Say nothing."""


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
    if privileges.NET_ADMIN not in privileges.effective():
        raise NetError("firewall rules and routes need CAP_NET_ADMIN: run as root, as in `sudo pinhole net ...`")


def up(config: Config, backend: Backend, say: Say = _silent) -> None:
    """Set everything up as configured, in place of what an earlier `up` left, also by the other backend.

    `say` gets each step as text. Raises NetError at the first command that fails; `down` then removes what was done
    before it.
    """
    todo = rules.steps(config, backend)  # a configuration that cannot be set up is refused before anything is changed
    require_admin()
    with turn():
        routes = routing.look()
        if routing.is_right(config, routes):  # packets of sessions that stand would have no way for a moment
            todo = tuple(step for step in todo if step.command[0] != "ip")
        elif (priority := routing.priority(config, routes)) != rules_routing.RULE_PRIORITY:
            say(f"others have routing rules before {rules_routing.RULE_PRIORITY}: ours begin at {priority}")
            todo = rules.steps(config, backend, priority)
        ipv6 = routing.has_ipv6()
        if not ipv6:
            say("no interface has an IPv6 address: set up for IPv4 alone")
        for step in todo:
            if (step.version == 6 and not ipv6) or (step.unless and run(step.unless).returncode == 0):
                continue
            _tell_and_do(step, say)
        for other in Backend:
            if other is not backend and _stands(other):
                say(f"rules by {other.value} stood as well, and are removed")
                _remove_rules(other, say)


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
    for version in routing.versions_known():
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
        if step.version in routing.versions_known():
            _tell_and_do(step, say)


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


def _nft_text() -> str | None:
    """Our table as nft prints it. None: there is no such table. Raises NetError."""
    done = run(("nft", "--stateless", "list", "table", "inet", rules_nft.TABLE))
    if done.returncode == 0:
        return done.stdout
    if f"table inet {rules_nft.TABLE}" in read(("nft", "list", "tables")).splitlines():
        raise NetError(f"nft list table inet {rules_nft.TABLE}: {said(done)}")
    return None


def _nft_comment() -> str | None:
    """The comment of our table. None: there is no such table. (nft 1.0.6 leaves the comment out of its JSON, and some
    versions of nft have no JSON.)"""
    text = _nft_text()
    return None if text is None else _comment(text)


def _comment(text: str) -> str:
    for line in text.splitlines():
        if line.strip().startswith("comment "):
            return line.strip().removeprefix("comment ").strip('"')
    return ""


def _saved_mangle(version: int) -> str:
    """The mangle table as `iptables-save` prints it."""
    return read((f"{rules_iptables.command(version)}-save", "-t", "mangle"))


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
    for version in routing.versions():
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


def overtaking(config: Config) -> list[Status]:
    """For each IP version, whether routing rules of others may decide about packets with our mark before ours do.
    Raises NetError when that cannot be told."""
    return routing.overtaking(config, routing.look())


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
        text = _nft_text()
        return [(f"nft table inet {rules_nft.TABLE}", _comment(text or ""), text)]
    found: list[tuple[str, str, str | None]] = []
    for version in routing.versions():
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
    return [*_firewall_status(config, backend), *routing.status(config, routing.look())]
