"""Our rules for iptables: chains of the mangle table, and how they are found in it again. This module is pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proxy.config.schema import Config
from proxy.config.values import Mark, PortRange
from proxy.errors import NetError
from proxy.host.scopes import Scope, TunnelScope, comment, scopes, tunnels
from proxy.host.steps import Step

CHAIN = "PINHOLE"
GUARD = "PINHOLE-GUARD"
NEW_TABLE = "PINHOLE-NEW-TABLE"
"""iptables: an empty chain of ours. It stands if `up` made the mangle table, so that `down` removes the table again."""
JUMPS = (("PREROUTING", CHAIN), ("FORWARD", GUARD))
"""iptables: the chains of the mangle table that jump to ours, and our chains."""

MULTIPORT_SLOTS = 15
"""iptables' multiport match takes 15 ports, and a range counts as two (XT_MULTI_PORTS)."""


def command(version: int) -> str:
    """The command for this IP version."""
    return "iptables" if version == 4 else "ip6tables"


def multiport(ports: Sequence[PortRange]) -> Iterator[str]:
    """The ports as arguments of --dports, as many in each as one rule takes."""
    chunk: list[str] = []
    slots = 0
    for item in ports:
        needed = 1 if len(item) == 1 else 2
        if slots + needed > MULTIPORT_SLOTS:
            yield ",".join(chunk)
            chunk, slots = [], 0
        chunk.append(str(item).replace("-", ":"))
        slots += needed
    if chunk:
        yield ",".join(chunk)


def _between(scope: Scope | TunnelScope) -> Iterator[list[str]]:
    """The matches of a scope's interfaces and hosts. iptables knows no sets of addresses, so there is a rule for each
    combination."""
    for interface in scope.interfaces or (None,):
        for source in scope.sources or (None,):
            for destination in scope.destinations or (None,):
                matches = {"-i": interface, "-s": source, "-d": destination}
                yield [f"{name} {value}" for name, value in matches.items() if value is not None]


def _rule(scope: Scope | TunnelScope, *words: str) -> str:
    """A rule of our chain that names the scope's policy. The last word says what it does."""
    *matches, target = words
    return " ".join((f"-A {CHAIN}", *matches, f'-m comment --comment "{comment(scope.policy)}"', target))


def _scope(scope: Scope, target: str) -> Iterator[str]:
    """The iptables rules for one scope."""
    to = () if scope.own_addresses else ("-m addrtype ! --dst-type LOCAL",)
    for hosts in _between(scope):
        for ports in multiport(scope.ports):
            what = f"-p {scope.transport.value} -m multiport --dports {ports} -m pkttype --pkt-type unicast"
            yield _rule(scope, *hosts, what, *to, target)


OF_TUNNELS = '-p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B"'
"""GRE of version 1 that carries PPP (RFC 2637 s.4.1): the word behind the IP header, whose length stands in the
header."""


def _tunnel_scope(scope: TunnelScope, mark: Mark) -> Iterator[str]:
    """The iptables rules for the tunnels of one scope."""
    to = f"-m addrtype --dst-type {','.join(scope.to).upper()}"
    # What a rule before has marked is taken: a mark does not end the walk.
    how = (f"-j MARK --set-xmark {mark}",) if scope.is_taken else (f"-m mark ! --mark {mark}", "-j RETURN")
    for hosts in _between(scope):
        yield _rule(scope, *hosts, OF_TUNNELS, to, *how)


def table(config: Config, version: int, label: str) -> str:
    """Our chains, as input of iptables-restore."""
    network = config.network
    listener = "127.0.0.1" if version == 4 else "::1"
    target = f"-j TPROXY --on-ip {listener} --on-port {network.listen_port} --tproxy-mark {network.mark}"
    lines = [
        "*mangle",
        f":{CHAIN} - [0:0]",
        f":{GUARD} - [0:0]",
        f'-A {CHAIN} -i lo -m comment --comment "{label}" -j RETURN',
        f"-A {CHAIN} -m socket --transparent -j MARK --set-xmark {network.mark}",
        *(rule for scope in tunnels(config) if version == 4 for rule in _tunnel_scope(scope, network.mark)),
        f"-A {CHAIN} -m mark --mark {network.mark} -j ACCEPT",
        *(rule for scope in scopes(config) if scope.version == version for rule in _scope(scope, target)),
        f"-A {GUARD} -m mark --mark {network.mark} -j DROP",
        "COMMIT",
    ]
    return "".join(f"{line}\n" for line in lines)


def steps(config: Config, labels: Mapping[int, str]) -> Iterator[Step]:
    if config.network.on_daemon_down == "bypass":
        raise NetError(
            "iptables drops what TPROXY cannot hand over, so it cannot do `on_daemon_down: bypass`; "
            "use the nft backend, or set network.on_daemon_down to block"
        )
    for version in (4, 6):
        text = table(config, version, labels[version])
        yield Step(
            (command(version), "--wait", "--table", "mangle", "--new-chain", NEW_TABLE),
            unless=("sh", "-c", f"{command(version)}-save | grep -q '^[*]mangle'"),
            version=version,
            why=f"IPv{version}: where there is no mangle table yet, remember that.",
        )
        yield Step(
            (f"{command(version)}-restore", "--noflush", "--wait"),
            text,
            version=version,
            why=f"The firewall rules, IPv{version}: our own chains {CHAIN} and {GUARD}, emptied and filled at once ...",
            what=f"{command(version)}: chains {CHAIN} and {GUARD} in the table mangle",
        )
        for number, (hook, chain) in enumerate(JUMPS):
            mangle = f"{command(version)} --wait --table mangle"
            jump = f"{hook} --jump {chain}"
            yield Step(
                # The old jump goes first, since rules of others may have come before it.
                ("sh", "-c", f"{mangle} --delete {jump} 2>/dev/null; {mangle} --insert {jump}"),
                unless=("sh", "-c", f'test "$({mangle} --list-rules {hook} 1)" = "-A {hook} -j {chain}"'),
                version=version,
                why="" if number else "... and one jump to each, before all else: what is ours, no other rule sees.",
                what=f"{command(version)}: jump to {chain}, the first rule of {hook}",
            )


def removal(saved: str) -> str:
    """Input of `iptables-restore --noflush` that takes our chains, and all jumps to them, out of a mangle table.

    `saved` is what `iptables-save -t mangle` prints. Returns "" when no chain of ours is there.
    """
    lines = saved.splitlines()
    ours = [*(chain for _, chain in JUMPS), NEW_TABLE]
    chains = [chain for chain in ours if any(line.startswith(f":{chain} ") for line in lines)]
    jumps = [
        line for line in lines if line.startswith("-A ") and line.endswith(tuple(f" -j {chain}" for chain in chains))
    ]
    removed = ["-D" + line.removeprefix("-A") for line in jumps]
    removed += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
    return "".join(f"{line}\n" for line in ("*mangle", *removed, "COMMIT")) if chains else ""


def is_untouched(saved: str) -> bool:
    """Whether a mangle table is as if it had never been used. `saved` is what `iptables-save -t mangle` prints."""
    return all(line.split()[1] == "ACCEPT" for line in saved.splitlines() if line.startswith(":")) and not any(
        line.startswith("-A ") for line in saved.splitlines()
    )
