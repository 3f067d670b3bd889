"""The text of firewall rules and routes. What the kernel makes of it is in tests/netns/test_net.py."""

from __future__ import annotations

import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from protocols.contract.addresses import Transport
from proxy.config import reading
from proxy.config.schema import Config, HelperEntry, NetworkSettings, Policy
from proxy.config.values import Dnat, Mark, PortRange
from proxy.errors import NetError
from proxy.host import rules, rules_iptables, rules_routing, scopes
from proxy.host.rules import Backend
from proxy.host.rules_routing import RoutingRule

ROOT = Path(__file__).parents[3]

FTP = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21),))
SIP_UDP = HelperEntry(id=2, name="sip", protocol=Transport.UDP, ports=(PortRange(5060, 5060),))
SIP_TCP = HelperEntry(id=3, name="sip", protocol=Transport.TCP, ports=(PortRange(5060, 5060), PortRange(5080, 5089)))
PPTP = HelperEntry(id=4, name="pptp", protocol=Transport.TCP, ports=(PortRange(1723, 1723),))
ANY = Policy(name="any", accept=True)

both_backends = pytest.mark.parametrize("backend", list(Backend), ids=lambda backend: backend.value)


def made(*policies: Policy, helpers: tuple[HelperEntry, ...] = (FTP,), **network: object) -> Config:
    return Config(helpers=helpers, policies=policies, network=NetworkSettings.model_validate(network))


def nft_sessions(config: Config) -> list[str]:
    """The rules that choose sessions, without family, address type and target."""
    text = rules.plan(config, Backend.NFT)
    found = re.findall(r'^ +meta nfproto (.*) jump take comment "(.*)"$', text, flags=re.MULTILINE)
    return [f"{match} ({comment})" for match, comment in found]


def iptables_sessions(config: Config) -> list[str]:
    text = rules.plan(config, Backend.IPTABLES)
    return re.findall(r"^-A PINHOLE (.*) -m pkttype .* -j TPROXY ", text, flags=re.MULTILINE)


# -- what is taken ----------------------------------------------------------------------------------------------------


def test_policy_without_limits_takes_its_ports_in_both_families() -> None:
    assert nft_sessions(made(ANY)) == [
        "ipv4 tcp dport 21 fib daddr type unicast (policy any)",
        "ipv6 tcp dport 21 fib daddr type unicast (policy any)",
    ]
    assert iptables_sessions(made(ANY)) == ["-p tcp -m multiport --dports 21"] * 2


def test_policy_takes_only_what_it_names() -> None:
    policy = Policy(
        name="lan-out",
        interfaces=("lan1", "lan0"),
        sources=(ip_network("10.1.0.0/24"), ip_network("fd01::/64")),
        destinations=(ip_network("192.0.2.0/24"), ip_network("198.51.100.7/32"), ip_network("2001:db8::/32")),
        helpers=("ftp",),
        accept=True,
    )
    config = made(policy, helpers=(FTP, SIP_UDP))
    assert nft_sessions(config) == [
        'ipv4 iifname { "lan0", "lan1" } ip saddr 10.1.0.0/24 ip daddr { 192.0.2.0/24, 198.51.100.7/32 } '
        "tcp dport 21 fib daddr type unicast (policy lan-out)",
        'ipv6 iifname { "lan0", "lan1" } ip6 saddr fd01::/64 ip6 daddr 2001:db8::/32 '
        "tcp dport 21 fib daddr type unicast (policy lan-out)",
    ]
    assert iptables_sessions(config) == [
        "-i lan0 -s 10.1.0.0/24 -d 192.0.2.0/24 -p tcp -m multiport --dports 21",
        "-i lan0 -s 10.1.0.0/24 -d 198.51.100.7/32 -p tcp -m multiport --dports 21",
        "-i lan1 -s 10.1.0.0/24 -d 192.0.2.0/24 -p tcp -m multiport --dports 21",
        "-i lan1 -s 10.1.0.0/24 -d 198.51.100.7/32 -p tcp -m multiport --dports 21",
        "-i lan0 -s fd01::/64 -d 2001:db8::/32 -p tcp -m multiport --dports 21",
        "-i lan1 -s fd01::/64 -d 2001:db8::/32 -p tcp -m multiport --dports 21",
    ]


def test_policies_are_not_mixed() -> None:
    """Sources of one policy do not meet interfaces or ports of another."""
    one = Policy(name="one", interfaces=("a",), sources=(ip_network("10.0.0.0/8"),), helpers=("ftp",), accept=True)
    two = Policy(name="two", interfaces=("b",), sources=(ip_network("172.16.0.0/12"),), helpers=("sip",), accept=True)
    assert iptables_sessions(made(one, two, helpers=(FTP, SIP_UDP))) == [
        "-i a -s 10.0.0.0/8 -p tcp -m multiport --dports 21",
        "-i b -s 172.16.0.0/12 -p udp -m multiport --dports 5060",
    ]


def test_denying_policy_is_taken_too() -> None:
    assert len(nft_sessions(made(Policy(name="no", accept=False)))) == 2


def test_networks_of_one_family_say_nothing_about_the_other() -> None:
    policy = Policy(name="four", sources=(ip_network("10.0.0.0/8"),), accept=True)
    assert {scope.version for scope in scopes.scopes(made(policy))} == {4}
    policy = Policy(name="mixed", sources=(ip_network("10.0.0.0/8"),), destinations=(ip_network("::/0"),), accept=True)
    assert list(scopes.scopes(made(policy))) == []


def test_networks_inside_others_are_left_out() -> None:
    networks = ("10.1.0.0/16", "10.0.0.0/8", "10.1.2.3/32", "192.168.0.0/25", "192.168.0.128/25")
    policy = Policy(name="lan", sources=tuple(map(ip_network, networks)), accept=True)
    (scope,) = scopes.scopes(made(policy))
    assert scope.sources == (ip_network("10.0.0.0/8"), ip_network("192.168.0.0/24"))


def test_everywhere_is_no_limit() -> None:
    policy = Policy(name="all", sources=(ip_network("0.0.0.0/0"), ip_network("10.0.0.0/8")), accept=True)
    (scope,) = scopes.scopes(made(policy))
    assert scope.sources == ()


def test_addresses_of_this_host_are_taken_only_where_they_are_published() -> None:
    publish = Policy(name="publish", accept=True, dnat=Dnat(ip_address("10.1.0.21"), None))
    (scope,) = scopes.scopes(made(publish))
    assert scope.own_addresses
    assert scope.version == 4
    assert "fib daddr type { unicast, local }" in nft_sessions(made(publish))[0]
    assert "addrtype" not in rules.plan(made(publish), Backend.IPTABLES)
    assert "-m addrtype ! --dst-type LOCAL" in rules.plan(made(ANY), Backend.IPTABLES)


def test_ports_of_all_entries_of_a_helper_are_merged() -> None:
    more = HelperEntry(id=4, name="sip", protocol=Transport.TCP, ports=(PortRange(5061, 5079), PortRange(5085, 5090)))
    tcp, udp = (scope for scope in scopes.scopes(made(ANY, helpers=(SIP_UDP, SIP_TCP, more))) if scope.version == 4)
    assert (tcp.transport, tcp.ports) == (Transport.TCP, (PortRange(5060, 5090),))
    assert (udp.transport, udp.ports) == (Transport.UDP, (PortRange(5060, 5060),))


def test_iptables_takes_fifteen_ports_at_a_time_and_a_range_counts_twice() -> None:
    ports = (*(PortRange(port, port) for port in range(2000, 2028, 2)), PortRange(3000, 3010), PortRange(4000, 4000))
    entry = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=ports)
    assert [rule.split()[-1] for rule in iptables_sessions(made(ANY, helpers=(entry,)))[:2]] == [
        ",".join(str(port) for port in range(2000, 2028, 2)),
        "3000:3010,4000",
    ]


def test_only_helper_ports_are_looked_at() -> None:
    text = rules.plan(made(ANY, helpers=(FTP, SIP_UDP, SIP_TCP)), Backend.NFT)
    assert re.findall(r"^ +(.*) jump sessions$", text, flags=re.MULTILINE) == [
        "tcp dport { 21, 5060, 5080-5089 }",
        "udp dport 5060",
    ]


@pytest.mark.parametrize("name", ["lan+", "lan*", 'la"n', "la;n", "$(id)"])
@both_backends
def test_interface_name_that_means_something_else_in_a_rule_is_refused(backend: Backend, name: str) -> None:
    policy = Policy(name="odd", interfaces=(name,), accept=True)
    with pytest.raises(NetError, match="policy odd: firewall rules cannot name the interface"):
        rules.plan(made(policy), backend)


@both_backends
def test_policy_name_cannot_leave_its_comment(backend: Backend) -> None:
    text = rules.plan(made(Policy(name='a" accept; \\`$x ü', accept=True)), backend)
    assert "policy a' accept; '''x ?\"" in text


# -- marks, tables, modes ---------------------------------------------------------------------------------------------


def test_bits_of_the_mark_that_are_not_ours_are_left_alone() -> None:
    config = made(ANY, mark=Mark(0x20, 0xF0))
    assert "meta mark set meta mark & 0xffffff0f | 0x20" in rules.plan(config, Backend.NFT)
    assert "MARK --set-xmark 0x20/0xf0\n" in rules.plan(config, Backend.IPTABLES)
    assert "--tproxy-mark 0x20/0xf0\n" in rules.plan(config, Backend.IPTABLES)


@both_backends
def test_marked_packets_are_routed_to_this_host_in_both_families(backend: Backend) -> None:
    text = rules.plan(made(ANY, mark=Mark(0x20, 0xF0), table=77), backend)
    for version in (4, 6):
        assert f"\nip -{version} rule add priority 101 fwmark 0x20/0xf0 lookup 77 protocol 213\n" in text
        assert f"\nip -{version} route replace local default dev lo table 77 protocol 213\n" in text


@both_backends
def test_who_asks_for_the_way_back_is_led_past_our_route(backend: Backend) -> None:
    """Reverse-path filters that look at the mark ask as if for a packet from lo; the rule to go to is there first."""
    text = rules.plan(made(ANY, mark=Mark(0x20, 0xF0), table=77), backend)
    for version in (4, 6):
        past = text.index(f"ip -{version} rule add priority 102 nop protocol 213\n")
        assert past < text.index(f"ip -{version} rule add priority 100 iif lo fwmark 0x20/0xf0 goto 102 protocol 213\n")


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        (RoutingRule(99), True),
        (RoutingRule(103), False),
        (RoutingRule(99, Mark(0x1, 0xFF)), True),  # it says nothing about our bit, so a packet may carry both
        (RoutingRule(99, Mark(0x1, 0xFFFFFFFF)), False),  # the whole mark, without our bit
        (RoutingRule(99, Mark(0x1000000, 0xFF000000)), True),
        (RoutingRule(99, Mark(0x2000000, 0xFF000000)), False),
        (RoutingRule(99, Mark(0xCA6C, 0xFFFFFFFF), is_inverted=True), True),  # wg-quick: not fwmark 51820
        (RoutingRule(99, is_for_arrivals=False), False),
    ],
)
def test_routing_rule_overtakes_ours_if_it_is_before_them_and_may_match_our_mark(rule: RoutingRule, may: bool) -> None:
    mark = Mark(0x1000000, 0x1000000)
    assert bool(rules_routing.overtaking([rule], mark, rules_routing.RULE_PRIORITY)) == may


@pytest.mark.parametrize(
    ("others", "priority"),
    [
        ([], 100),
        ([103, 1000, 32766], 100),
        ([102], 51),
        ([99, 98], 49),  # wg-quick came after us
        ([48, 47], 23),
        ([5], 2),
        ([4, 200], 1),
        ([1], 1),  # there is no place before it; `net status` says so
    ],
)
def test_our_routing_rules_are_before_those_of_others_and_leave_room(others: list[int], priority: int) -> None:
    mark = Mark(0x1000000, 0x1000000)
    found = [RoutingRule(number) for number in others]
    assert rules_routing.rule_priority(found, mark) == priority
    assert (rules_routing.overtaking(found, mark, priority) == []) == (others != [1])


def test_icmp_errors_about_our_packets_come_to_our_sockets() -> None:
    """iptables' match looks into them by itself."""
    assert "meta l4proto { tcp, udp, icmp, icmpv6 } socket transparent 1" in rules.plan(made(ANY), Backend.NFT)
    assert "-m socket --transparent" in rules.plan(made(ANY), Backend.IPTABLES)


def test_nft_rules_come_after_those_of_everybody_else() -> None:
    (hook,) = re.findall(r"hook prerouting priority (\d+);", rules.plan(made(ANY), Backend.NFT))
    security, firewalld_adds, selinux_last = 50, 10, 225
    assert security + firewalld_adds < int(hook) < selinux_last


def test_iptables_jumps_come_before_all_other_rules() -> None:
    text = rules.plan(made(ANY), Backend.IPTABLES)
    for hook, chain in rules_iptables.JUMPS:
        assert f"--insert {hook} --jump {chain}" in text
    assert "--append" not in text


@both_backends
def test_routes_come_before_what_marks(backend: Backend) -> None:
    text = rules.plan(made(ANY), backend)
    assert text.index("ip -6 rule add") < text.index("transparent")


def test_transparent_sockets_come_before_new_sessions() -> None:
    nft = rules.plan(made(ANY), Backend.NFT)
    assert nft.index("socket transparent 1 jump ours") < nft.index("tcp dport 21 jump sessions")
    iptables = rules.plan(made(ANY), Backend.IPTABLES)
    assert iptables.index("-m socket --transparent") < iptables.index("-j TPROXY")


def test_block_ends_what_nobody_takes_and_bypass_does_not() -> None:
    assert "reject with tcp reset" in rules.plan(made(ANY), Backend.NFT)
    assert "reject" not in rules.plan(made(ANY, on_daemon_down="bypass"), Backend.NFT)


def test_bypass_marks_only_what_the_listener_takes() -> None:
    for line in rules.plan(made(ANY, on_daemon_down="bypass"), Backend.NFT).splitlines():
        if " tproxy " in line:
            assert line.index(" tproxy ") < line.index(" mark set ")


def test_bypass_with_iptables_is_refused_with_a_remedy() -> None:
    with pytest.raises(NetError, match=r"use the nft backend, or set network\.on_daemon_down to block"):
        rules.plan(made(ANY, on_daemon_down="bypass"), Backend.IPTABLES)


# -- the text ---------------------------------------------------------------------------------------------------------


@both_backends
def test_plan_names_the_administrators_line(backend: Backend) -> None:
    config = made(ANY)
    assert f"{rules.input_line(config, backend)}\n" in rules.plan(config, backend)


@both_backends
def test_plan_is_a_script_that_a_shell_understands(backend: Backend) -> None:
    text = rules.plan(made(ANY), backend)
    assert text.startswith("#!/bin/sh\n")
    assert subprocess.run(("sh", "-n"), input=text, text=True, check=False).returncode == 0


@both_backends
def test_label_changes_with_the_rules_and_with_nothing_else(backend: Backend) -> None:
    label = rules.label(made(ANY), backend)
    assert rules.label(made(ANY, table=77), backend) == label
    assert rules.label(made(ANY, listen_port=50001), backend) != label


@both_backends
def test_label_stands_in_the_rules(backend: Backend) -> None:
    config = made(ANY)
    for version in (4, 6):
        assert f'"{rules.label(config, backend, version)}"' in rules.plan(config, backend)


def test_removal_takes_our_chains_and_every_jump_to_them() -> None:
    saved = (
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:PINHOLE - [0:0]\n:PINHOLE-GUARD - [0:0]\n:OWN - [0:0]\n"
        "-A PREROUTING -j PINHOLE\n-A PREROUTING -i lan0 -j PINHOLE\n-A FORWARD -j PINHOLE-GUARD\n"
        "-A PREROUTING -j OWN\n-A PINHOLE -j ACCEPT\nCOMMIT\n"
    )
    assert rules_iptables.removal(saved).splitlines() == [
        "*mangle",
        "-D PREROUTING -j PINHOLE",
        "-D PREROUTING -i lan0 -j PINHOLE",
        "-D FORWARD -j PINHOLE-GUARD",
        "-F PINHOLE",
        "-F PINHOLE-GUARD",
        "-X PINHOLE",
        "-X PINHOLE-GUARD",
        "COMMIT",
    ]


def test_removal_of_nothing_is_nothing() -> None:
    assert rules_iptables.removal("*mangle\n:PREROUTING ACCEPT [0:0]\n:PINHOLED - [0:0]\nCOMMIT\n") == ""


def test_script_in_tools_is_the_plan_of_the_default_configuration() -> None:
    """When it is not, and /etc has no configuration: pinhole net plan --backend iptables > tools/pinhole-iptables.sh"""
    script = ROOT / "tools/pinhole-iptables.sh"
    assert script.read_text() == rules.plan(reading.default(), Backend.IPTABLES)
    assert script.stat().st_mode & 0o111


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_nft_understands_every_form_of_rule() -> None:
    everything = Policy(
        name="all",
        interfaces=("a", "b"),
        sources=(ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12"), ip_network("fd00::/8")),
        destinations=(ip_network("192.0.2.1/32"), ip_network("2001:db8::/32")),
        accept=True,
        dnat=Dnat(ip_address("10.1.0.21"), None),
    )
    config = made(everything, ANY, helpers=(FTP, SIP_UDP, SIP_TCP, PPTP), mark=Mark(7, 0xFFFFFFFF))
    (step,) = (step for step in rules.steps(config, Backend.NFT) if step.command[0] == "nft")
    # In a user namespace of its own, so that nothing but the text can be refused.
    command = ("unshare", "--user", "--map-root-user", "--net", "nft", "--check", *step.command[1:])
    done = subprocess.run(command, input=step.stdin, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("user namespaces are not allowed here")
    assert done.stderr == ""
