"""Judges our own rules, which anybody may have changed (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.schema import Config
from proxy.doctor.findings import Finding, Trouble, trouble
from proxy.doctor.firewall import Firewall
from proxy.host import rules, rules_nft
from proxy.host.rules import Backend


def judge_own(config: Config, firewall: Firewall, backend: Backend) -> Iterator[Finding]:
    """Chains of ours that have fewer or more rules than they were given; the comment of a table says nothing of that.

    Raises NetError as `rules.steps` does.
    """
    wanted = _rules_by_chain(config, backend)
    held = {
        (chain.family if backend is Backend.IPTABLES else "", chain.name): len(chain.rules)
        for chain in firewall.chains.values()
        if chain.is_ours and (chain.tool == "nft") == (backend is Backend.NFT)
    }
    families = {family for family, _ in held}
    for (family, name), count in wanted.items():
        if family not in families:
            continue  # the whole table is missing, which the check of the set-up says
        if held.get((family, name), 0) != count:
            where = f"inet {rules_nft.TABLE} {name}" if backend is Backend.NFT else f"{family} mangle {name}"
            yield trouble(
                Trouble.RULES_CHANGED,
                "rules",
                f"{where} has {held.get((family, name), 'no chain, instead of')} of {count} rules",
                f"pinhole net up --backend {backend.value}",
            )


def _rules_by_chain(config: Config, backend: Backend) -> dict[tuple[str, str], int]:
    """How many rules each chain of ours should have."""
    counts: dict[tuple[str, str], int] = {}
    for step in rules.steps(config, backend):
        if backend is Backend.NFT and step.command[0] == "nft":
            for line in step.stdin.splitlines():
                words = line.split()
                if words[:1] == ["chain"]:
                    chain = ("", words[1])
                    counts[chain] = 0
                elif line.startswith("        ") and words and words[0] not in ("#", "type"):
                    counts[chain] += 1
        elif backend is Backend.IPTABLES and step.stdin:
            family = "ip" if step.version == 4 else "ip6"
            for line in step.stdin.splitlines():
                words = line.split()
                if line.startswith(":"):
                    counts[family, words[0][1:]] = 0
                elif words[:1] == ["-A"]:
                    counts[family, words[1]] += 1
    return counts
