"""What becomes of the packets of tunnels, which have no ports and no sockets that a rule knows, in input chains of
others."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from protocols.contract.addresses import Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import PortRange
from proxy.doctor.findings import Trouble
from tests.harness.firewalls import ACCEPT, CONFIG, DROP, LAN, base, filter_table, judge, match

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
