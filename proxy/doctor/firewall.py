"""The rulesets of this host as one value (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from proxy.doctor import rulesets_iptables, rulesets_nft
from proxy.doctor.rulesets import Chain, Chains
from proxy.host import rules_iptables, rules_nft

_OUR_CHAINS = (*(chain for _, chain in rules_iptables.JUMPS), rules_iptables.NEW_TABLE)


@dataclass(frozen=True, slots=True)
class Saved:
    """The output of one of the save commands of iptables."""

    command: str
    """The command that changes these rules: iptables, ip6tables-legacy ..."""
    version: int
    text: str
    is_in_nft: bool
    """Whether `nft list ruleset` shows the same tables in its own words."""


@dataclass(frozen=True, slots=True)
class Firewall:
    """The rulesets of this host."""

    nft: Sequence[object] = ()
    """The objects of `nft --json list ruleset`."""
    saved: Sequence[Saved] = ()
    chains: Chains = field(init=False)

    def __post_init__(self) -> None:
        native = rulesets_nft.read(self.nft, rules_nft.TABLE)
        ages = {(chain.family, chain.table): chain.age for chain in native}
        found: list[Chain] = []
        of_iptables: set[tuple[str, str, str]] = set()
        for saved in self.saved:
            for chain in rulesets_iptables.read(saved.text, saved.version, _OUR_CHAINS, saved.command):
                if saved.is_in_nft:
                    of_iptables.add((chain.family, chain.table, chain.name))
                    chain = replace(chain, age=ages.get((chain.family, chain.table)))
                found.append(chain)
        found += [chain for chain in native if (chain.family, chain.table, chain.name) not in of_iptables]
        chains = {(chain.tool, chain.family, chain.table, chain.name): chain for chain in found}
        object.__setattr__(self, "chains", chains)

    def others(self) -> Iterator[Chain]:
        """The chains that are not ours."""
        return (chain for chain in self.chains.values() if not chain.is_ours)
