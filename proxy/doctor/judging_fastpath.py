"""Judges whether media can pass in the kernel, and what on this host it then no longer meets (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.schema import Config
from proxy.doctor.findings import Finding, Trouble, fine, in_words, trouble, well
from proxy.doctor.firewall import Firewall
from proxy.doctor.rulesets import Chain, Key, Rule, SetMark, Test, Verdict, cases, reachable

CHECK = "kernel path"
FIRST_RELEASE, FIRST_WITH_TCX = (5, 19), (6, 6)
"""Since then an ordinary user may write into tables; since then what is attached ends with its owner."""
_HOOKS = ("output", "forward", "postrouting")
_UDP = "udp"
_CHANGES = re.compile(r"\b(dscp|priority|ttl|hoplimit|ecn) set\b|-j (DSCP|TOS|CLASSIFY|TTL|HL|ECN)\b")
"""What of a rule's text says that it changes a header, or chooses a queue."""
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Kernel:
    """What this host and a running daemon say of the kernel path."""

    release: tuple[int, int] = (6, 6)
    """Of Linux."""
    is_little_endian: bool = True
    jit: str = "1"
    """net.core.bpf_jit_enable. "": this kernel has none."""
    is_held: bool = False
    """Whether a holder stands here."""
    has_policies: bool = False
    """Whether there are IPsec policies."""
    has_marks: bool = False
    """Whether routing rules of others ask for a mark."""
    interfaces: Collection[str] = ()
    """Those that this host has now."""
    not_forwarding: Mapping[str, tuple[int, ...]] | None = None
    """Interface -> IP versions that are not forwarded there. Those that forward all are left out."""
    daemon: Mapping[str, Any] | None = None
    """What a daemon that runs says of it in its status."""


def judge_fastpath(config: Config, kernel: Kernel, firewall: Firewall | None) -> Iterator[Finding]:
    """All that can be said. `firewall` is None when rulesets cannot be read."""
    wanted = config.network.fastpath
    if wanted == "off":
        yield fine(CHECK, "off (`network: fastpath`): all media passes the daemon")
        return
    obstacles = list(_obstacles(kernel, is_required=wanted == "require"))
    if obstacles and wanted == "require":
        for detail, remedy in obstacles:
            yield trouble(
                Trouble.FASTPATH_IMPOSSIBLE, CHECK, f"{detail}; `fastpath: require` keeps the daemon off", remedy
            )
        return
    if obstacles:
        why = "; ".join(detail for detail, _ in obstacles)
        yield fine(CHECK, f"off, so all media passes the daemon: {why}")
        return
    way = "tcx" if kernel.release >= FIRST_WITH_TCX else "clsact"
    yield fine(CHECK, f"a holder stands; Linux {kernel.release[0]}.{kernel.release[1]} has {way}")
    if kernel.jit == "0":
        detail = "the kernel interprets programs, which takes several times as long as running them"
        yield trouble(Trouble.FASTPATH_NO_JIT, CHECK, detail, "sysctl -w net.core.bpf_jit_enable=1")
    if kernel.daemon is not None:
        yield from _judge_daemon(config, kernel, kernel.daemon)
    if firewall is not None:
        yield from well(
            f"{CHECK}, rules", _judge_rules(firewall), "no rule of others changes or limits what it carries"
        )


def _obstacles(kernel: Kernel, is_required: bool) -> Iterator[tuple[str, str]]:
    """Why no media can pass in the kernel, each with what helps."""
    if not kernel.is_little_endian:
        yield "this machine has its bytes in the other order, and no program for that is written", "# another machine"
    if kernel.release < FIRST_RELEASE:
        yield "Linux before 5.19 lets no ordinary user write into tables", "# a newer kernel"
    if not kernel.is_held:
        remedy = (
            "systemctl enable --now pinhole-fastpath  # or `pinhole fastpath`; a daemon that root starts has its own"
        )
        yield "no `pinhole fastpath` runs here", remedy
    if kernel.has_policies:
        yield "there are IPsec policies, by which a packet could leave in clear", "ip xfrm policy  # shows them"
    if kernel.has_marks and not is_required:
        yield "routing rules ask for a mark, which packets do not have yet where the program stands", "ip rule"


def _judge_daemon(config: Config, kernel: Kernel, said: Mapping[str, Any]) -> Iterator[Finding]:
    """What a running daemon makes of it."""
    if said.get("state") != "on":
        detail = f"the running daemon does without: {said.get('reason') or 'it does not say why'}"
        remedy = "# see the messages of `pinhole fastpath`. Both of one version? systemd: SystemCallFilter needs bpf"
        yield trouble(Trouble.FASTPATH_NOT_USED, CHECK, detail, remedy)
        return
    attached = [str(name) for name in said.get("interfaces", ())]
    named = config.network.fastpath_interfaces
    found = {name for policy in config.policies for name in policy.interfaces if not named or name in named}
    if missing := sorted(found & set(kernel.interfaces) - set(attached)):
        detail = f"is not attached to {', '.join(missing)}: media that comes by there passes the daemon"
        remedy = "# a port of a bridge or a bond? Then `from` names the bridge or the bond. See `ip -details link`"
        yield trouble(Trouble.FASTPATH_NOT_ATTACHED, CHECK, detail, remedy)
    where = ", ".join(attached) or "none, for there is no interface but loopback"
    yield from well(f"{CHECK}, interfaces", _judge_forwarding(kernel, attached), f"attached to {where}")


def _judge_forwarding(kernel: Kernel, attached: list[str]) -> Iterator[Finding]:
    off = {name: versions for name, versions in (kernel.not_forwarding or {}).items() if name in attached}
    for name, versions in off.items():
        detail = f"forwarding of {in_words(versions)} is off at {name}: media that comes by there passes the daemon"
        remedy = "\n".join(f"sysctl -w net.ipv{version}.conf.{name}.forwarding=1" for version in versions)
        yield trouble(Trouble.FASTPATH_NOT_FORWARDING, CHECK, detail, remedy)


def _judge_rules(firewall: Firewall) -> Iterator[Finding]:
    """Rules of others that media would meet if the daemon sent it, or if it were forwarded."""
    found: dict[str, None] = {}
    starts = [chain for chain in firewall.others() if chain.hook in _HOOKS]
    for chain in (chain for start in starts for chain in reachable(firewall.chains, start)):
        found |= {f"{chain.place}: {rule.text}": None for rule in chain.rules if _is_missed(chain, rule)}
    if found:
        names = list(found)
        more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        detail = f"media in the kernel meets no rule; these change or limit UDP: {'; '.join(names[:_MOST_NAMED])}{more}"
        remedy = (
            "# meant for media? Then `options: {sip: {media_path: user}}` of a policy, or `network: {fastpath: off}`"
        )
        yield trouble(Trouble.FASTPATH_RULES_MISSED, f"{CHECK}, rules", detail, remedy)


def _is_missed(chain: Chain, rule: Rule) -> bool:
    """Whether a rule may do something to a datagram."""
    tests = [question for question in rule.questions if isinstance(question, Test)]
    if any(test.key is Key.PROTOCOL and (_UDP in test.values) == test.negated for test in tests):
        return False
    actions = [action for _, action in cases(rule)]
    limits = any(test.key is Key.WITHIN_RATE for test in tests)
    polices = limits and any(action in (Verdict.DROP, Verdict.REJECT, Verdict.ACCEPT) for action in actions)
    marks = any(isinstance(action, SetMark) and not action.is_restored for action in actions)
    return polices or marks or bool(_CHANGES.search(rule.text))
