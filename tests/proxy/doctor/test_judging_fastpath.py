"""What the doctor says of media in the kernel, of hosts that a test machine is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from proxy.config import reading
from proxy.config.schema import Config, NetworkSettings
from proxy.doctor.findings import Finding, Level
from proxy.doctor.firewall import Firewall, Saved
from proxy.doctor.judging_fastpath import Kernel, judge_fastpath

HELD = Kernel(is_held=True)


def configured(fastpath: Literal["auto", "off", "require"]) -> Config:
    return reading.default().model_copy(update={"network": NetworkSettings(fastpath=fastpath)})


def judged(kernel: Kernel, fastpath: Literal["auto", "off", "require"] = "auto", rules: str = "") -> list[Finding]:
    saved = Saved("iptables", 4, f"*mangle\n:POSTROUTING ACCEPT [0:0]\n{rules}\nCOMMIT\n", is_in_nft=False)
    return list(judge_fastpath(configured(fastpath), kernel, Firewall((), (saved,))))


OBSTACLES: Sequence[tuple[Kernel, str]] = [
    (Kernel(), "no `pinhole fastpath` runs here"),
    (replace(HELD, release=(5, 10)), "Linux before 5.19"),
    (replace(HELD, is_little_endian=False), "bytes in the other order"),
    (replace(HELD, has_policies=True), "IPsec policies"),
]


@pytest.mark.parametrize(("kernel", "why"), OBSTACLES, ids=[why for _, why in OBSTACLES])
def test_where_it_cannot_be_had_that_is_well_unless_it_is_required(kernel: Kernel, why: str) -> None:
    (told,) = judged(kernel)
    assert told.level is Level.OK
    assert why in told.detail
    (wrong,) = judged(kernel, "require")
    assert (wrong.level, wrong.name) == (Level.FAIL, "fastpath.impossible")
    assert why in wrong.detail
    assert [finding.level for finding in judged(kernel, "off")] == [Level.OK]


def test_rules_by_mark_are_the_administrator_s_to_judge_who_requires_it() -> None:
    marked = replace(HELD, has_marks=True)
    assert "ask for a mark" in judged(marked)[0].detail
    assert all(finding.level is Level.OK for finding in judged(marked, "require"))


@pytest.mark.parametrize(
    ("release", "way"), [((5, 19), "clsact"), ((6, 1), "clsact"), ((6, 6), "tcx"), ((7, 0), "tcx")]
)
def test_the_kernel_says_how_programs_are_attached(release: tuple[int, int], way: str) -> None:
    assert judged(replace(HELD, release=release))[0].detail.endswith(way)


@pytest.mark.parametrize(
    "rule",
    [
        "-A POSTROUTING -p udp -m udp --dport 16384:32767 -j DSCP --set-dscp 0x2e",
        "-A POSTROUTING -o wan0 -j CLASSIFY --set-class 0001:0010",
        "-A POSTROUTING -p udp -m limit --limit 100/sec -j DROP",
        "-A POSTROUTING -p udp -j MARK --set-xmark 0x5/0xffffffff",
    ],
)
def test_rules_that_do_something_to_datagrams_are_named(rule: str) -> None:
    named = [finding for finding in judged(HELD, rules=rule) if finding.name == "fastpath.rules_missed"]
    assert len(named) == 1
    assert rule.partition(" -j ")[2].split()[0] in named[0].detail


@pytest.mark.parametrize(
    "rule",
    [
        "-A POSTROUTING -p tcp -j DSCP --set-dscp 0x2e",
        "-A POSTROUTING ! -p udp -j DSCP --set-dscp 0x2e",
        "-A POSTROUTING -m limit --limit 3/min -j LOG",
        "-A POSTROUTING -j CONNMARK --save-mark",
        "-A POSTROUTING -p udp -j ACCEPT",
    ],
)
def test_rules_that_do_nothing_to_datagrams_are_not(rule: str) -> None:
    assert all(finding.level is Level.OK for finding in judged(HELD, rules=rule))


@pytest.mark.parametrize(
    ("interfaces", "told"),
    [
        (("lan0", "wan0"), "attached to lan0, wan0"),
        ((), "attached to none, for there is no interface but loopback"),
    ],
)
def test_where_a_daemon_has_it_attached_is_told(interfaces: tuple[str, ...], told: str) -> None:
    found = judged(replace(HELD, daemon={"state": "on", "interfaces": interfaces}))
    assert [item.detail for item in found if item.check == "kernel path, interfaces"] == [told]
