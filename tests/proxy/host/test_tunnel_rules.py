"""The text of the rules for tunnels. What the kernel makes of it is in tests/netns/test_tunnels.py."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest

from protocols.contract.addresses import Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import Dnat, PortRange
from proxy.host import rules, scopes
from proxy.host.rules import Backend
from proxy.host.rules_nft import OF_TUNNELS

PPTP = HelperEntry(id=1, name="pptp", protocol=Transport.TCP, ports=(PortRange(1723, 1723),))
FTP = HelperEntry(id=2, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21),))
LAN, WAN = ip_network("10.1.0.0/24"), ip_network("198.51.100.0/24")

both_backends = pytest.mark.parametrize("backend", list(Backend), ids=lambda backend: backend.value)


def made(*policies: Policy, helpers: tuple[HelperEntry, ...] = (FTP, PPTP)) -> Config:
    return Config(helpers=helpers, policies=policies)


def nft_tunnels(config: Config) -> list[str]:
    """The rules of the chain for tunnels, without counter, mark and comment. Those that let tunnels by end in `by`."""
    text = rules.plan(config, Backend.NFT)
    chain = re.search(r"    chain tunnels \{\n(.*?)    \}\n", text, flags=re.DOTALL)
    assert (chain is not None) == (f"{OF_TUNNELS} jump tunnels" in text)
    rule = re.compile(r"^ +(.*?) counter (meta mark set .* )?accept comment ", flags=re.MULTILINE)
    found = rule.findall(chain[1]) if chain else []
    return [matches if mark else f"{matches} by" for matches, mark in found]


def iptables_tunnels(config: Config) -> list[str]:
    found: list[tuple[str, str, str]] = re.findall(
        r'^-A PINHOLE (.*?) ?-p 47 -m u32 --u32 "0>>22&0x3C@0&0x7FFFF=0x1880B" -m addrtype --dst-type (\S+)( .*)',
        rules.plan(config, Backend.IPTABLES),
        flags=re.MULTILINE,
    )
    return [f"{hosts} {to} {'' if ' -j MARK ' in how else 'by'}".strip() for hosts, to, how in found]


def test_tunnels_of_a_policy_are_brought_both_ways() -> None:
    config = made(Policy(name="out", interfaces=("lan0",), sources=(LAN,), destinations=(WAN,), accept=True))
    assert nft_tunnels(config) == [
        'iifname "lan0" ip saddr 10.1.0.0/24 ip daddr 198.51.100.0/24 fib daddr type unicast',
        "ip saddr 198.51.100.0/24 ip daddr 10.1.0.0/24 fib daddr type unicast",
    ]
    assert iptables_tunnels(config) == [
        "-i lan0 -s 10.1.0.0/24 -d 198.51.100.0/24 UNICAST",
        "-s 198.51.100.0/24 -d 10.1.0.0/24 UNICAST",
    ]


def test_with_source_nat_servers_send_to_an_address_of_ours() -> None:
    out = Policy(name="out", interfaces=("lan0",), accept=True, snat="interface")
    assert nft_tunnels(made(out)) == ['iifname "lan0" fib daddr type unicast', "fib daddr type local"]
    fixed = out.model_copy(update={"snat": (ip_address("198.51.100.9"), ip_address("2001:db8::9"))})
    assert nft_tunnels(made(fixed))[1] == "ip daddr 198.51.100.9/32 fib daddr type { unicast, local }"
    assert iptables_tunnels(made(fixed))[1] == "-d 198.51.100.9/32 UNICAST,LOCAL"
    only_six = out.model_copy(update={"snat": (ip_address("2001:db8::9"),)})
    assert len(nft_tunnels(made(only_six))) == 1


def test_with_destination_nat_the_server_inside_sends() -> None:
    at = ip_network("198.51.100.1/32")
    publish = Policy(
        name="in",
        interfaces=("wan0",),
        destinations=(at,),
        accept=True,
        dnat=Dnat(ip_address("10.1.0.5"), None),
    )
    assert nft_tunnels(made(publish)) == [
        'iifname "wan0" ip daddr 198.51.100.1/32 fib daddr type { unicast, local }',
        "ip saddr 10.1.0.5/32 fib daddr type unicast",
    ]


@pytest.mark.parametrize(
    "policy",
    [
        Policy(name="p", accept=False),
        Policy(name="p", accept=True, helpers=("ftp",)),
        Policy(name="p", accept=True, sources=(ip_network("fd01::/64"),)),
        Policy(name="p", accept=True, destinations=(ip_network("fd01::/64"),)),
        Policy(name="p", accept=True, dnat=Dnat(ip_address("fd01::5"), None), snat="interface"),
        Policy(name="p", accept=True, options={"pptp": {"tunnel": "ignore"}}),
        Policy(name="p", accept=True, options={"pptp": {"mode": "observe"}}),
        Policy(name="p", accept=True, options={"pptp": {"mode": "off"}}),
    ],
    ids=["denied", "other_helper", "ipv6_clients", "ipv6_servers", "ipv6_server", "ignored", "observed", "off"],
)
@both_backends
def test_tunnels_that_nobody_carries_are_left_alone(backend: Backend, policy: Policy) -> None:
    text = rules.plan(made(policy), backend)
    assert "1880B" not in text and "1880b" not in text


@both_backends
def test_without_the_helper_there_is_no_such_rule(backend: Backend) -> None:
    text = rules.plan(made(Policy(name="any", accept=True), helpers=(FTP,)), backend)
    assert "1880B" not in text and "1880b" not in text and "tunnels" not in text


OWN_WAY = Policy(name="own", accept=True, destinations=(WAN,), options={"pptp": {"tunnel": "ignore"}})


def test_tunnels_to_servers_that_an_earlier_policy_lets_by_are_not_taken_by_a_later_one() -> None:
    out = Policy(name="out", interfaces=("lan0",), accept=True)
    taken = ['iifname "lan0" fib daddr type unicast', "fib daddr type unicast"]
    assert nft_tunnels(made(OWN_WAY, out)) == [
        "ip daddr 198.51.100.0/24 fib daddr type unicast by",
        "ip saddr 198.51.100.0/24 fib daddr type unicast by",
        *taken,
    ]
    assert iptables_tunnels(made(OWN_WAY, out))[:2] == [
        "-d 198.51.100.0/24 UNICAST by",
        "-s 198.51.100.0/24 UNICAST by",
    ]
    assert nft_tunnels(made(out, OWN_WAY)) == taken


def test_what_iptables_has_marked_is_taken_whatever_comes_behind_it() -> None:
    """A mark does not end the walk as `accept` does in nft."""
    text = rules.plan(made(OWN_WAY, Policy(name="p", accept=True)), Backend.IPTABLES)
    letting_by = [line for line in text.splitlines() if "1880B" in line and line.endswith(" -j RETURN")]
    assert len(letting_by) == 2
    assert all(" -m mark ! --mark 0x1000000/0x1000000 " in line for line in letting_by)


def test_a_policy_for_servers_anywhere_lets_none_by() -> None:
    """They would be tunnels of its own hosts, too, which clients elsewhere have begun."""
    anywhere = OWN_WAY.model_copy(update={"destinations": ()})
    publish = Policy(name="in", interfaces=("wan0",), accept=True, dnat=Dnat(ip_address("10.1.0.5"), None))
    assert nft_tunnels(made(anywhere, publish)) == nft_tunnels(made(publish))


def test_a_change_of_tunnels_is_a_change_of_what_is_taken() -> None:
    following = Policy(name="any", accept=True)
    ignoring = Policy(name="any", accept=True, options={"pptp": {"tunnel": "ignore"}})
    assert not scopes.do_for(made(following), made(ignoring))
    assert not scopes.do_for(made(ignoring), made(following))
    assert not scopes.do_for(made(following, OWN_WAY), made(OWN_WAY, following))
    assert scopes.do_for(made(following), made(following.model_copy(update={"name": "other"})))


def test_rules_that_bring_tunnels_of_a_policy_do_where_it_has_come_to_deny() -> None:
    """PP3: they are dropped, as they would be blocked; and those of sessions that stand still pass."""
    accepting = Policy(name="any", accept=True, snat="interface")
    denying = Policy(name="none", accept=False)
    assert scopes.do_for(made(accepting), made(denying))
    assert not scopes.do_for(made(denying), made(accepting))


def test_the_rule_says_its_protocol_where_nft_lists_it_again() -> None:
    """PP2: or a saved ruleset catches TCP and UDP, once it is loaded."""
    assert "ip protocol 47 @th,0,32 " in OF_TUNNELS
