"""Judges input and output chains of others: whether they drop packets of ours (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from protocols.contract.addresses import Transport
from proxy.config.schema import Config
from proxy.doctor.findings import Finding, Trouble, in_words, trouble, well
from proxy.doctor.firewall import Firewall
from proxy.doctor.packets import Packet
from proxy.doctor.remedies import accept_ours, lasting
from proxy.doctor.rulesets import Chain, Chains
from proxy.doctor.traffic import marked
from proxy.doctor.walk import End, at_hook, walk


@dataclass(slots=True)
class _Dropped:
    """A rule, or a policy, and the packets of ours that it drops."""

    end: End
    names: list[str] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)

    def said(self) -> str:
        """The packets in words."""
        rule = self.end.rule
        what = f"{rule.text!r}" if rule is not None else f"its policy {self.end.verdict.value}"
        place = self.end.chain.place
        return f"{place}: {what} drops {', '.join(self.names)} ({in_words(self.versions)})"


def _dropped(chains: Chains, hook: str, packets: Iterable[Packet]) -> list[_Dropped]:
    """For each base chain the first rule that drops packets of ours, since one remedy helps all of them."""
    found: dict[int, _Dropped] = {}
    for packet in packets:
        end = walk(chains, at_hook(chains, hook, packet.version), packet).end
        if end is None or end.chain.is_ours:
            continue
        dropped = found.setdefault(id(end.base), _Dropped(end))
        dropped.versions.add(packet.version)
        if packet.name not in dropped.names:
            dropped.names.append(packet.name)
    return list(found.values())


def judge_input(config: Config, firewall: Firewall, packets: Iterable[Packet]) -> Iterator[Finding]:
    """Input chains that drop packets of ours."""
    arrived = [replace(marked(packet), is_transparent=packet.transport is not Transport.GRE) for packet in packets]
    found = (
        trouble(
            Trouble.INPUT_DROPS,
            "input policy",
            dropped.said(),
            accept_ours(config, dropped.end.base) + lasting(config, firewall, dropped.end.base),
        )
        for dropped in _dropped(firewall.chains, "input", arrived)
    )
    yield from well("input policy", found, "lets packets with our mark in")


def judge_output(firewall: Firewall, packets: Iterable[Packet], user: str) -> Iterator[Finding]:
    """Output chains that drop what our sockets send. Such packets have no mark and are known by their owner."""
    found = (
        trouble(Trouble.OUTPUT_DROPS, "output policy", dropped.said(), _let_out(dropped.end.base, user))
        for dropped in _dropped(firewall.chains, "output", packets)
    )
    yield from well("output policy", found, "lets out what pinhole sends")


def _let_out(base: Chain, user: str) -> str:
    if base.tool == "nft":
        return f"nft insert rule {base.family} {base.table} {base.name} socket transparent 1 accept"
    table = "" if base.table == "filter" else f" -t {base.table}"
    return f"{base.tool}{table} --insert {base.name} -m owner --uid-owner {user} -j ACCEPT"
