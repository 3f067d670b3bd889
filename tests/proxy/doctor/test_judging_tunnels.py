"""What becomes of the packets of tunnels, which have no ports and no sockets that a rule knows, in input chains of
others, and by the routing rules of others."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from protocols.contract.addresses import Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import PortRange
from proxy.doctor.findings import Trouble
from tests.harness.firewalls import ACCEPT, CONFIG, DROP, LAN, base, filter_table, judge, match, routes

PPTP = HelperEntry(id=9, name="pptp", protocol=Transport.TCP, ports=(PortRange(1723, 1723),))
TUNNELS = Config(helpers=(PPTP,), policies=(LAN,))
IGNORING = Policy(name="lan-out", interfaces=("lan0",), accept=True, options={"pptp": {"tunnel": "ignore"}})
IGNORED = Config(helpers=(PPTP,), policies=(IGNORING,))
PROTOCOL = {"meta": {"key": "l4proto"}}
TRANSPARENT = {"socket": {"key": "transparent"}}
NAMED = "packets of tunnels (GRE)"


@pytest.mark.parametrize("protocol", ["gre", 47])
def test_who_drops_gre_drops_tunnels_and_nothing_else(protocol: str | int) -> None:
    firewall = base("input", [match(PROTOCOL, protocol), DROP])
    (found,) = judge(firewall, TUNNELS)
    assert found.name == Trouble.INPUT_DROPS.value[0] and found.detail.endswith(f"drops {NAMED} (IPv4)")
    assert judge(firewall, CONFIG) == judge(firewall, IGNORED) == []


@pytest.mark.parametrize("rule", ["-A INPUT -p gre -j DROP", "-A INPUT -p 47 -j DROP"])
def test_the_same_of_iptables(rule: str) -> None:
    (found,) = judge(filter_table(":INPUT ACCEPT [0:0]", rule), TUNNELS)
    assert NAMED in found.detail


def test_a_rule_that_looks_for_a_socket_finds_none_of_a_tunnel() -> None:
    (found,) = judge(base("input", [match(TRANSPARENT, 1), ACCEPT], policy="drop"), TUNNELS)
    assert NAMED in found.detail


def test_those_that_a_policy_lets_by_are_not_judged() -> None:
    to_servers = match(
        {"payload": {"protocol": "ip", "field": "daddr"}}, {"prefix": {"addr": "198.51.100.0", "len": 24}}
    )
    firewall = base("input", [match(PROTOCOL, "gre"), to_servers, DROP])
    own_way = IGNORING.model_copy(update={"name": "own", "destinations": (ip_network("198.51.100.0/24"),)})
    other = {"sources": (ip_network("10.1.0.0/24"),), "destinations": (ip_network("203.0.113.0/24"),)}
    taken = LAN.model_copy(update=other)
    assert judge(firewall, Config(helpers=(PPTP,), policies=(own_way, taken))) == []
    assert judge(
        firewall, Config(helpers=(PPTP,), policies=(LAN.model_copy(update={"destinations": own_way.destinations}),))
    )


def test_our_line_lets_them_in() -> None:
    line = "-A INPUT -m mark --mark 0x1000000/0x1000000 -j ACCEPT"
    assert judge(filter_table(":INPUT DROP [0:0]", line), TUNNELS) == []


@pytest.mark.parametrize(
    ("protocol", "count"),
    [
        ("gre", 1),
        ("47", 1),
        ("ipproto-47", 1),
        ("ipproto-6", 1),
        ("tcp", 1),
        ("ipproto-17", 0),
        ("udp", 0),
        ("icmp", 0),
    ],
)
def test_routing_rules_for_a_transport_come_before_ours_where_a_tunnel_or_its_session_has_it(
    protocol: str, count: int
) -> None:
    found = routes(f"50:\tfrom all ipproto {protocol} lookup 100", TUNNELS)
    assert [item.name for item in found] == [Trouble.ROUTING_RULE_BEFORE.value[0]] * count


def test_a_routing_rule_for_gre_is_none_for_sessions_without_tunnels() -> None:
    assert routes("50:\tfrom all ipproto gre lookup 100", CONFIG) == []


def test_a_rule_is_moved_in_words_that_the_command_takes() -> None:
    # `ip -Numeric rule show` prints `ipproto-47`, which `ip rule add` refuses.
    (found,) = routes("1:\tfrom all ipproto ipproto-47 lookup 100", TUNNELS)
    wanted = "ip -4 rule add from all ipproto 47 lookup 100 priority"
    assert found.remedy.startswith(wanted) and found.remedy.endswith(" from all ipproto 47 lookup 100 priority 1")
