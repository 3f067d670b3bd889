"""Judges the rulesets of others by what becomes of pinhole's packets in them (pure).

`traffic` says what those packets are; each is sent through the chains of a hook as the kernel would. What such a walk
finds is a warning, not a failure: a ruleset can ask about things that nobody knows beforehand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from proxy.config.schema import Config
from proxy.doctor.findings import Finding, Trouble, trouble
from proxy.doctor.firewall import Firewall
from proxy.doctor.judging_drops import judge_input, judge_output
from proxy.doctor.judging_marks import judge_marks
from proxy.doctor.judging_sessions import judge_destinations, judge_helpers, judge_nat, judge_segments
from proxy.doctor.packets import Packet
from proxy.doctor.traffic import Traffic
from proxy.doctor.walk import at_hook, walk


def judge(config: Config, firewall: Firewall, traffics: Sequence[Traffic], user: str) -> Iterator[Finding]:
    """All that can be said about the rulesets of others, in the order in which packets meet them.

    `user` is the number of the user that the daemon runs as, or a name where there is no such user.
    """
    inward = [packet for traffic in traffics for packet in traffic.inward]
    outward = [replace(packet, owner=user) for traffic in traffics for packet in traffic.outward]
    yield from _judge_extent(firewall, inward)
    yield from judge_marks(config, firewall, inward)
    yield from judge_input(config, firewall, inward)
    yield from judge_output(firewall, outward, user)
    yield from judge_nat(config, firewall, traffics)
    yield from judge_destinations(firewall, inward)
    yield from judge_helpers(config, firewall)
    yield from judge_segments(config, firewall)


def _judge_extent(firewall: Firewall, packets: Iterable[Packet]) -> Iterator[Finding]:
    """Report chains that call each other too often. They are not followed to their end, so what is said of them is half
    the truth."""
    for hook, packet in itertools.product(("prerouting", "input"), packets):
        if not walk(firewall.chains, at_hook(firewall.chains, hook, packet.version), packet).is_whole:
            detail = f"chains of {hook} call each other too often to be followed: not all of them were judged"
            yield trouble(Trouble.FIREWALL_NOT_FOLLOWED, "firewall", detail)
            return
