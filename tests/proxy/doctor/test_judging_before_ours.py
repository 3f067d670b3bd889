"""What others do to packets before routing: before they come to our chain, and behind the jump to it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from protocols.contract.addresses import Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import PortRange
from proxy.doctor.findings import Finding, Trouble
from proxy.doctor.firewall import Firewall
from proxy.host import rules_iptables
from tests.harness.firewalls import DROP, FTP, LAN, base, judge, match, ours, saved

PPTP = HelperEntry(id=9, name="pptp", protocol=Transport.TCP, ports=(PortRange(1723, 1723),))
TUNNELS = Config(helpers=(PPTP,), policies=(LAN,))
GRE = "packets of tunnels (GRE)"
JUMP = f"-A PREROUTING -j {rules_iptables.CHAIN}"
OUR_JUMP_FIRST = "pinhole net up --backend iptables"


def mangle(config: Config, *rules: str) -> Firewall:
    """Our own chain of iptables, as `iptables-save` prints it, and these rules of PREROUTING."""
    # It prints numbers in its own way.
    chains = rules_iptables.table(config, 4, "pinhole 0").replace(
        "0>>22&0x3C@0&0x7FFFF=", "0x0>>0x16&0x3c@0x0&0x7ffff="
    )
    text = chains.replace("*mangle\n", "*mangle\n:PREROUTING ACCEPT [0:0]\n")
    return Firewall((), (saved(text.replace("COMMIT\n", "\n".join((*rules, "COMMIT", "")))),))


def raw(config: Config, rule: str) -> Firewall:
    """The same, and a rule of the table before it."""
    text = f"*raw\n:PREROUTING ACCEPT [0:0]\n{rule}\nCOMMIT\n{mangle(config, JUMP).saved[0].text}"
    return Firewall((), (saved(text),))


def remedies(found: list[Finding]) -> set[tuple[str, str]]:
    return {(item.name, item.remedy) for item in found}


DROPS, NOT_SET = str(Trouble.PREROUTING_DROPS), str(Trouble.MARK_NOT_SET)


def test_gre_that_is_dropped_before_ours_is_let_by_without_ports() -> None:
    dropped = base("prerouting", [match({"meta": {"key": "l4proto"}}, "gre"), DROP], priority=-200)
    (found,) = judge(Firewall([*dropped.nft, *ours(TUNNELS)]), TUNNELS)
    assert GRE in found.detail
    assert found.remedy == "nft insert rule inet t c ip protocol gre accept"
    (found,) = judge(raw(TUNNELS, "-A PREROUTING -p gre -j DROP"), TUNNELS)
    assert found.remedy == "iptables -t raw --insert PREROUTING -p gre -j ACCEPT"


@pytest.mark.parametrize("protocol", ["tcp", "gre"])
def test_what_ends_before_the_jump_to_our_chain_is_helped_by_the_jump_alone(protocol: str) -> None:
    """An exception there would keep what it lets by from our chain, as the rule does."""
    for verdict, name in (("DROP", DROPS), ("ACCEPT", NOT_SET)):
        rule = f"-A PREROUTING -p {protocol} -j {verdict}"
        assert remedies(judge(mangle(TUNNELS, rule, JUMP), TUNNELS)) == {(name, OUR_JUMP_FIRST)}


@pytest.mark.parametrize("verdict", ["DROP", "ACCEPT"])
@pytest.mark.parametrize("networks", [("10.1.0.0/25",), ("10.1.0.0/25", "10.1.0.128/26")])
def test_what_stands_behind_the_jump_meets_nothing_of_ours(verdict: str, networks: tuple[str, ...]) -> None:
    """Our chain takes each packet, also where none of its rules is for all of them."""
    policy = Policy(name="lan", interfaces=("lan0",), accept=True, sources=tuple(map(ip_network, networks)))
    config = Config(helpers=(FTP, PPTP), policies=(policy,))
    for protocol in ("tcp", "gre"):
        assert judge(mangle(config, JUMP, f"-A PREROUTING -p {protocol} -j {verdict}"), config) == []


def test_more_ports_than_one_rule_takes_are_let_by_in_several() -> None:
    many = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=tuple(PortRange(n, n) for n in range(21, 60, 2)))
    config = Config(helpers=(many,), policies=(LAN,))
    found = judge(raw(config, "-A PREROUTING -p tcp -j DROP"), config)
    lines = next(item.remedy for item in found if "--dports" in item.remedy).splitlines()
    assert [line.count(",") for line in lines] == [14, 4]
