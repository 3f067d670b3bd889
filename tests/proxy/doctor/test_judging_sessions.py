"""What rulesets of others do to sessions, judged without a kernel: addresses, marks, segment sizes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from proxy.config.schema import NetworkSettings, Policy
from proxy.doctor.findings import Trouble
from proxy.doctor.firewall import Firewall
from tests.harness.firewalls import CONFIG, LAN, LINKS, MARK, META_MARK, SIP, base, judge, match, ours, saved

# -- addresses --------------------------------------------------------------------------------------------------------


def nat(rule: str) -> Firewall:
    text = f"*nat\n:POSTROUTING ACCEPT [0:0]\n:SUB - [0:0]\n-A POSTROUTING {rule}\nCOMMIT\n"
    return Firewall((), (saved(text),))


@pytest.mark.parametrize("rule", ["-o wan0 -j MASQUERADE", "-s 10.1.0.0/24 -j SNAT --to-source 198.51.100.1"])
def test_kernel_translation_of_sessions_that_keep_their_address(rule: str) -> None:
    (found,) = judge(nat(rule))
    assert found.check == "source NAT"


@pytest.mark.parametrize("rule", ["-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "-o wan1 -j MASQUERADE"])
def test_kernel_translation_of_others(rule: str) -> None:
    assert judge(nat(rule)) == []


def test_a_masquerade_for_ipv4_says_nothing_of_a_policy_without_nat_for_ipv6() -> None:
    """The shipped home router: its only policy with `snat: none` is for IPv6."""
    policies = (
        Policy(name="v6", interfaces=("lan0",), sources=(ip_network("fd01::/64"),), accept=True),
        Policy(name="v4", interfaces=("lan0",), accept=True, snat="interface"),
    )
    config = CONFIG.model_copy(update={"policies": policies})
    assert judge(nat("-o wan0 -j MASQUERADE"), config) == []


PRIVATE = Policy(name="private", sources=(ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12")), accept=True)
DOCKER_NETWORK = ip_network("172.17.0.0/16")


@pytest.mark.parametrize(
    ("more", "is_found"),
    [
        pytest.param({}, False, id="no way there"),
        pytest.param({"docker0": (DOCKER_NETWORK,)}, True, id="an interface"),
        pytest.param({"eth1": (ip_network("172.17.8.0/24"),)}, True, id="an interface with a part of it"),
        pytest.param({"eth1": (ip_network("172.18.0.0/24"),)}, False, id="another network"),
    ],
)
def test_clients_of_any_interface_are_those_that_this_host_knows_a_way_to(
    more: dict[str, tuple[Any, ...]], is_found: bool
) -> None:
    """Docker translates the addresses of its containers, if there are any."""
    config = CONFIG.model_copy(update={"policies": (PRIVATE,)})
    docker = nat("-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
    for links in (replace(LINKS, networks={**LINKS.networks, **more}), replace(LINKS, beyond=more)):
        assert [item.check for item in judge(docker, config, links)] == ["source NAT"] * is_found
    deserted = replace(LINKS, networks={**LINKS.networks, **more}, deserted=frozenset(more))
    assert judge(docker, config, deserted) == []


def test_clients_of_an_interface_are_not_those_of_another_one() -> None:
    """The LAN has no address of the networks that the policy names, and Docker's bridge has."""
    policy = PRIVATE.model_copy(update={"interfaces": ("lan0",), "sources": (ip_network("172.16.0.0/12"),)})
    config = CONFIG.model_copy(update={"policies": (policy,)})
    links = replace(LINKS, networks={**LINKS.networks, "docker0": (DOCKER_NETWORK,)})
    assert judge(nat("-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"), config, links) == []
    assert len(judge(nat("-s 172.18.0.0/16 -j MASQUERADE"), config, links)) == 1


def test_sessions_to_a_network_behind_a_static_route_go_out_by_its_interface() -> None:
    """Sites that a VPN joins, on a router that masquerades what goes to the internet."""
    policy = LAN.model_copy(update={"destinations": (ip_network("10.99.0.0/16"),)})
    config = CONFIG.model_copy(update={"policies": (policy,)})
    masquerade = nat("-o wan0 -j MASQUERADE")
    assert len(judge(masquerade, config)) == 1
    assert judge(masquerade, config, replace(LINKS, beyond={"wg0": (ip_network("10.99.0.0/16"),)})) == []


def test_clients_behind_the_default_route_may_have_any_address_that_the_policy_names() -> None:
    policy = PRIVATE.model_copy(update={"interfaces": ("wan0",)})
    (found,) = judge(nat("-s 172.17.0.0/16 -j MASQUERADE"), CONFIG.model_copy(update={"policies": (policy,)}))
    assert found.name == str(Trouble.NAT_OF_SOURCES)


@pytest.mark.parametrize(
    ("rule", "is_found"),
    [
        ("-p tcp -m tcp --dport 21 -j REDIRECT --to-ports 2121", True),
        ("-i lan0 -p tcp -m multiport --dports 20,21 -j DNAT --to-destination 10.9.9.9", True),
        ("-m addrtype --dst-type LOCAL -j DOCKER", False),
        ("-d 203.0.113.7/32 -p tcp -m tcp --dport 21 -j DNAT --to-destination 10.9.9.9", False),
        ("-i lan0 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128", False),
    ],
)
def test_sessions_of_helper_ports_that_others_lead_elsewhere(rule: str, is_found: bool) -> None:
    docker = ":DOCKER - [0:0]\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 21 -j DNAT --to-destination 172.17.0.2:21"
    text = f"*nat\n:PREROUTING ACCEPT [0:0]\n{docker}\n-A PREROUTING {rule}\nCOMMIT\n"
    assert [item.check for item in judge(Firewall((), (saved(text),)))] == ["destination NAT"] * is_found


# -- marks of UDP, segment sizes --------------------------------------------------------------------------------------


def test_a_mark_that_is_restored_for_udp_alone_matters_to_sip_alone() -> None:
    """wg-quick does that."""
    restore = [
        match({"meta": {"key": "l4proto"}}, "udp"),
        {"mangle": {"key": META_MARK, "value": {"ct": {"key": "mark"}}}},
    ]
    firewall = Firewall([*ours(CONFIG), *base("prerouting", restore, priority=-150).nft])
    assert judge(firewall) == []
    (found,) = judge(firewall, CONFIG.model_copy(update={"helpers": (SIP,)}))
    assert found.check == "mark"
    assert found.remedy == f"nft insert rule inet t c {MARK}"


def test_a_segment_size_that_is_set_in_forward() -> None:
    clamp = "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1300"
    text = f"*mangle\n:FORWARD ACCEPT [0:0]\n{clamp}\nCOMMIT\n"
    (found,) = judge(Firewall((), (saved(text),)))
    assert (found.check, "max_segment: 1300" in found.remedy) == ("segment size", True)
    size = {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1300}}
    assert [item.check for item in judge(base("forward", [size]))] == ["segment size"]


def test_a_segment_size_that_our_own_sessions_keep_to() -> None:
    size = {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1300}}
    for most, count in ((1301, 1), (1300, 0), (1200, 0)):
        config = CONFIG.model_copy(update={"network": NetworkSettings(max_segment=most)})
        assert len(judge(base("forward", [size]), config)) == count


def test_a_segment_size_that_follows_the_route_is_no_loss() -> None:
    text = "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu\nCOMMIT\n"
    assert judge(Firewall((), (saved(text),))) == []
