"""Where packets of ours go by the routing rules of others, judged without a kernel."""

from __future__ import annotations

import pytest

from proxy.config.schema import Policy
from proxy.doctor import judging_routes, traffic
from proxy.doctor.findings import Level
from proxy.doctor.firewall import Firewall
from tests.harness.firewalls import CONFIG, IIFNAME, LAN, LINKS, META_MARK, base, match, routes

WG_QUICK = """0:\tfrom all lookup 255
98:\tfrom all lookup 254 suppress_prefixlength 0 proto boot
99:\tnot from all fwmark 0xca6c lookup 51820 proto boot
100:\tfrom all fwmark 0x1000000/0x1000000 iif lo goto 102 proto 213
101:\tfrom all fwmark 0x1000000/0x1000000 lookup 5353 proto 213
102:\tfrom all nop proto 213
32766:\tfrom all lookup 254
"""


def test_both_rules_of_wg_quick_come_before_ours() -> None:
    found = routes(WG_QUICK)
    assert [item.detail.partition(")")[0] for item in found] == [
        "IPv4 rule 98 (from all lookup 254 suppress_prefixlength 0 proto boot",
        "IPv4 rule 99 (not from all fwmark 0xca6c lookup 51820 proto boot",
    ]
    assert {item.remedy.partition("  #")[0] for item in found} == {"pinhole net up"}


def test_a_rule_before_which_there_is_no_place_is_moved_itself() -> None:
    (found,) = routes(f"1:\tfrom all lookup 7 proto static\n{WG_QUICK.splitlines()[4]}")
    wanted = "ip -4 rule add from all lookup 7 priority 103 && ip -4 rule del from all lookup 7 priority 1"
    assert found.remedy == wanted


@pytest.mark.parametrize(
    "rule",
    [
        "from all iif wan1 lookup 7",
        "from all oif wan0 lookup 7",
        "from all iif lo lookup 7",
        "from all fwmark 0x2000000/0x3000000 lookup 7",
        "from all ipproto 17 lookup 7",
        "not from all fwmark 0x1000000/0x1000000 lookup 7",
    ],
)
def test_routing_rules_that_never_see_our_packets(rule: str) -> None:
    assert routes(f"50:\t{rule}\n{WG_QUICK.splitlines()[4]}") == []


def test_a_rule_of_the_same_priority_that_stands_first_comes_first() -> None:
    ours = WG_QUICK.splitlines()[4]
    assert len(routes(f"101:\tfrom all lookup 7\n{ours}")) == 1
    assert routes(f"{ours}\n101:\tfrom all lookup 7") == []


@pytest.mark.parametrize("policy", [LAN, Policy(name="nat", interfaces=("lan0",), accept=True, snat="interface")])
def test_routing_by_a_clients_mark_or_interface_that_our_own_session_has_not(policy: Policy) -> None:
    config = CONFIG.model_copy(update={"policies": (policy,)})
    traffics = traffic.of_config(config, LINKS)
    mark = [match(IIFNAME, "lan0"), {"mangle": {"key": META_MARK, "value": 2}}]
    marking = base("prerouting", mark, priority=-150)
    for text, firewall, count in (
        ("200:\tfrom all fwmark 0x2/0xff lookup 102", marking, 1),
        ("200:\tfrom all fwmark 0x3/0xff lookup 102", marking, 0),
        ("200:\tfrom all fwmark 0x80000/0xff0000 lookup 102", Firewall(), 0),
        ("200:\tfrom all iif lan0 lookup 102", Firewall(), 1),
        ("200:\tfrom all iif wan0 lookup 102", Firewall(), 0),
        ("200:\tfrom all fwmark 0x2/0xff lookup 254", marking, 0),
    ):
        found = list(judging_routes.judge_ways(firewall, judging_routes.routing_rules(4, text), traffics))
        assert sum(item.level is Level.WARN for item in found) == count, text
    found = list(
        judging_routes.judge_ways(
            Firewall(), judging_routes.routing_rules(4, "9:\tfrom all iif lan0 lookup 102"), traffics
        )
    )
    wanted = (
        "ip -4 rule add from 10.1.0.0/24 lookup 102 priority 9"
        if policy is LAN
        else "# route_mark: 0x2 in policy nat, and ip -4 rule add fwmark 0x2 lookup 102 priority 9"
    )
    assert found[0].remedy.startswith(wanted)


def test_the_mark_of_a_policy_leads_its_sessions_the_same_way() -> None:
    mark = [match(IIFNAME, "lan0"), {"mangle": {"key": META_MARK, "value": 2}}]
    found = judging_routes.routing_rules(4, "200:\tfrom all fwmark 0x2/0xff lookup 102")
    for route_mark, level in ((2, Level.OK), (3, Level.WARN)):
        policy = Policy(name="nat", interfaces=("lan0",), accept=True, snat="interface", route_mark=route_mark)
        traffics = traffic.of_config(CONFIG.model_copy(update={"policies": (policy,)}), LINKS)
        marking = base("prerouting", mark, priority=-150)
        assert {item.level for item in judging_routes.judge_ways(marking, found, traffics)} == {level}
