"""Each fault that the doctor knows, made on a gateway, and found; and the same gateway without it, and nothing said."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from proxy.config.reading import default
from proxy.config.schema import Config, NetworkSettings, Policy
from proxy.config.values import PortRange
from proxy.doctor import examine, facts, judging_host
from proxy.doctor.findings import Level
from proxy.host import privileges, rules, rules_routing
from proxy.host.rules import Backend
from tests.netns.doctor_site import lan_out, nft, only, run_remedy, up, well_hosts, wrong
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

both_backends = pytest.mark.parametrize("backend", list(Backend), ids=lambda backend: backend.value)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with well_hosts() as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return lan_out(tmp_path)


@both_backends
def test_gateway_that_is_set_up_is_well(hosts: Hosts, config: Config, backend: Backend) -> None:
    up(hosts, config, backend)
    assert wrong(hosts, config) == []


@both_backends
def test_missing_routing_rule(hosts: Hosts, config: Config, backend: Backend) -> None:
    up(hosts, config, backend)
    hosts.gateway.run("ip", "rule", "flush", "protocol", str(rules_routing.ROUTE_PROTOCOL))
    found = only(hosts, config)
    assert (found.level, found.check) == (Level.FAIL, "IPv4 rule fwmark 0x1000000/0x1000000 lookup 5353")
    assert found.remedy == f"pinhole net up --backend {backend.value}"


@both_backends
def test_rules_of_another_configuration(hosts: Hosts, config: Config, backend: Backend) -> None:
    up(hosts, config.model_copy(update={"policies": (Policy(name="any", accept=True),)}), backend)
    assert {finding.remedy for finding in wrong(hosts, config)} == {f"pinhole net up --backend {backend.value}"}


@pytest.mark.parametrize(
    "change",
    [
        "nft flush chain inet pinhole sessions",
        "nft add rule inet pinhole prerouting accept",
        "nft flush chain inet pinhole forward; nft delete chain inet pinhole forward",
    ],
)
def test_rules_of_ours_that_were_changed_by_hand(hosts: Hosts, config: Config, change: str) -> None:
    """The comment of the table still says that it is up to date."""
    up(hosts, config)
    hosts.gateway.run("sh", "-ec", change)
    found = only(hosts, config)
    assert (found.level, found.remedy) == (Level.FAIL, "pinhole net up --backend nft")
    up(hosts, config)
    assert wrong(hosts, config) == []


def test_rules_of_ours_that_were_changed_by_hand_with_iptables(hosts: Hosts, config: Config) -> None:
    up(hosts, config, Backend.IPTABLES)
    hosts.gateway.run("ip6tables", "-t", "mangle", "-D", "PINHOLE", "2")
    found = only(hosts, config)
    assert (found.level, found.remedy) == (Level.FAIL, "pinhole net up --backend iptables")


def test_everything_of_ours_flushed(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    hosts.gateway.run("nft", "flush", "ruleset")
    assert {finding.remedy for finding in wrong(hosts, config)} == {"pinhole net up"}
    up(hosts, config)
    assert wrong(hosts, config) == []


def test_a_route_that_went_with_the_loopback_interface(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    hosts.gateway.run("ip", "link", "set", "lo", "down")
    hosts.gateway.run("ip", "link", "set", "lo", "up")
    found = only(hosts, config)
    assert (found.check, found.remedy) == (
        "IPv6 route local default dev lo table 5353",
        "pinhole net up --backend nft",
    )


def test_the_rule_for_ways_back_by_the_mark_is_missing(hosts: Hosts, config: Config) -> None:
    """Reverse-path filters that look at the mark (firewalld, NixOS) need it."""
    up(hosts, config)
    hosts.gateway.run("sh", "-ec", "ip -6 rule del iif lo fwmark 0x1000000/0x1000000 priority 100")
    found = only(hosts, config)
    assert found.detail == "the rule before it, for `lo`, is missing"
    assert found.remedy == "pinhole net up --backend nft"


def test_commands_that_do_not_speak_json(
    hosts: Hosts, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenWrt has an nft and an ip without it: what cannot be read is said."""
    up(hosts, config)
    for name, word in (("nft", "--json"), ("ip", "-json")):
        real = shutil.which(name)
        script = tmp_path / name
        script.write_text(
            f'#!/bin/sh\n[ "$1" = {word} ] && {{ echo "JSON support not compiled-in"; exit 0; }}\nexec {real} "$@"\n'
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = wrong(hosts, config)
    assert {finding.check for finding in found} == {"firewall", "bridges"}


def test_comments_in_any_encoding(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    hosts.gateway.run(
        "sh", "-c", "nft add table inet other; printf 'add table inet x { comment \"\\344\\377\"; }' | nft -f -"
    )
    hosts.gateway.run("sh", "-c", "iptables -A INPUT -s 192.0.2.99 -m comment --comment \"$(printf 'h\\344')\" -j DROP")
    assert wrong(hosts, config) == []


def test_src_valid_mark_is_no_matter(hosts: Hosts, config: Config) -> None:
    """Who asks for the way back by the mark is led past our route (test_net)."""
    up(hosts, config)
    hosts.gateway.sysctl("ipv4.conf.lan0.src_valid_mark", 1)
    assert wrong(hosts, config) == []


def test_listen_port_of_somebody_else(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    with hosts.gateway.inside():
        taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        settings = NetworkSettings(listen_port=taken.getsockname()[1])
        config = config.model_copy(update={"network": settings})
        up(hosts, config)
        assert only(hosts, config).check == f"listener 127.0.0.1:{settings.listen_port}"
        # ... unless it is the daemon, which then also has its control socket.
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(config.control.path)
            control.listen()
            assert wrong(hosts, config) == []


def test_an_interface_of_a_policy_that_is_not_there_is_found(hosts: Hosts, config: Config) -> None:
    policy = config.policies[0].model_copy(update={"interfaces": ("lan0", "eth7")})
    config = config.model_copy(update={"policies": (policy,)})
    up(hosts, config)
    found = only(hosts, config)
    assert (found.level, found.check) == (Level.WARN, "policy lan-out, from")
    assert "eth7" in found.detail
    hosts.gateway.run("ip", "link", "add", "eth7", "type", "veth", "peer", "name", "peer")
    assert wrong(hosts, config) == []


def test_a_mark_for_routing_needs_a_rule_and_a_way_back(hosts: Hosts, config: Config) -> None:
    policy = config.policies[0].model_copy(update={"route_mark": 2, "snat": "interface"})
    config = config.model_copy(update={"policies": (policy,)})
    up(hosts, config)
    gateway = hosts.gateway
    gateway.run("ip", "route", "add", "default", "via", "192.0.2.2")
    gateway.run("ip", "link", "add", "wan1.7", "type", "veth", "peer", "name", "peer")
    gateway.run("ip", "address", "add", "198.51.100.1/24", "dev", "wan1.7")
    for name in ("peer", "wan1.7"):
        gateway.run("ip", "link", "set", name, "up")
    found = only(hosts, config)
    assert (found.level, found.check) == (Level.WARN, "policy lan-out, route_mark")
    assert "no routing rule asks for 0x2" in found.detail
    gateway.run("ip", "rule", "add", "fwmark", "0x2/0xff", "lookup", "102", "priority", "1000")
    assert wrong(hosts, config) == []  # there is no table 102 yet
    gateway.run("ip", "route", "add", "default", "via", "198.51.100.2", "table", "102")
    gateway.run("sysctl", "-w", "net.ipv4.conf.wan1/7.rp_filter=1", "net.ipv4.conf.wan0.rp_filter=1")
    found = only(hosts, config)
    assert "come by wan1.7 are dropped: rp_filter" in found.detail
    run_remedy(hosts, found)
    assert wrong(hosts, config) == []


def test_without_rights_it_says_what_is_missing(hosts: Hosts, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "effective", lambda: frozenset({privileges.NET_RAW}))
    assert [(finding.level, finding.check) for finding in wrong(hosts, config)] == [
        (Level.WARN, "CAP_NET_BIND_SERVICE"),
        (Level.WARN, "firewall"),
    ]


def test_an_address_for_source_nat_that_is_not_this_hosts_is_found(hosts: Hosts) -> None:
    ours, other = hosts.gateway_address(4), ip_address("192.0.2.200")
    policy = Policy(name="out", accept=True, snat=(ours, other))
    with hosts.gateway.inside():
        (found,) = examine._addresses(default().model_copy(update={"policies": (policy,)}))
    assert (found.level, found.check) == (Level.WARN, "policy out, snat")
    assert found.detail.startswith("192.0.2.200 ")


# -- plain functions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local_range", "reserved", "remedy"),
    [
        ("32768 60999", "", "sysctl -w net.ipv4.ip_local_reserved_ports=40000-59999"),
        ("32768 60999", "8080,59990-60010", "sysctl -w net.ipv4.ip_local_reserved_ports=8080,40000-60010"),
        ("32768 60999", "40000-49999,50000-59999", ""),
        ("10000 39999", "", ""),
        ("10000 40000", "40000", ""),
    ],
)
def test_ports_that_the_kernel_gives_away(local_range: str, reserved: str, remedy: str) -> None:
    found = judging_host.judge_ports(PortRange(40000, 59999), local_range, reserved)
    assert found.remedy == remedy
    assert (found.level is Level.OK) == (not remedy)
    # Reserved ports are for those who ask for them by number, whoever that is.
    assert remedy or "a local user may still bind them" in found.detail


def test_netfilter_on_bridges(hosts: Hosts, config: Config) -> None:
    policy = config.policies[0].model_copy(update={"interfaces": ("lan0", "br-lan")})
    config = config.model_copy(update={"policies": (policy,)})
    up(hosts, config)
    hosts.gateway.sysctl("bridge.bridge-nf-call-iptables", 1)
    hosts.gateway.run("ip", "link", "add", "br-lan", "type", "bridge")
    hosts.gateway.run("ip", "link", "add", "docker0", "type", "bridge")
    hosts.gateway.sysctl("bridge.bridge-nf-call-ip6tables", 0)
    found = only(hosts, config)
    assert (found.level, found.remedy) == (Level.FAIL, "sysctl -w net.bridge.bridge-nf-call-iptables=0")
    assert "br-lan" in found.detail
    assert "docker0" not in found.detail


@pytest.mark.parametrize(
    ("network", "is_wrong"), [("172.17.0.1/16", False), ("198.51.100.1/24", True)], ids=["docker", "servers"]
)
def test_netfilter_on_bridges_that_sessions_do_not_come_by(
    hosts: Hosts, config: Config, network: str, is_wrong: bool
) -> None:
    """Docker sets it, and has a bridge of its own, on many a router whose sessions never see that bridge."""
    destinations = (ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24"))
    policy = config.policies[0].model_copy(update={"destinations": destinations})
    config = config.model_copy(update={"policies": (policy,)})
    up(hosts, config)
    hosts.gateway.sysctl("bridge.bridge-nf-call-iptables", 1)
    hosts.gateway.sysctl("bridge.bridge-nf-call-ip6tables", 0)
    hosts.gateway.run("ip", "link", "add", "docker0", "type", "bridge")
    hosts.gateway.run("ip", "address", "add", network, "dev", "docker0")
    assert [found.check for found in wrong(hosts, config)] == (["bridge-nf-call-iptables"] if is_wrong else [])


def test_a_default_route_over_two_uplinks_is_the_way_of_both(hosts: Hosts, config: Config) -> None:
    hosts.gateway.run("ip", "link", "add", "wan1", "type", "veth", "peer", "name", "peer")
    hosts.gateway.run("ip", "address", "add", "198.51.100.1/24", "dev", "wan1")
    hosts.gateway.run("ip", "link", "set", "wan1", "up")
    hosts.gateway.run("ip", "link", "set", "peer", "up")
    hops = ("nexthop", "via", "192.0.2.2", "nexthop", "via", "198.51.100.2")
    hosts.gateway.run("ip", "route", "add", "default", *hops)
    up(hosts, config)
    nft(
        hosts,
        f"""table inet filter {{
            chain input {{
                type filter hook input priority filter
                iifname "wan0" {rules.input_line(config, Backend.NFT)}
                iifname {{ "wan0", "wan1" }} drop
            }}
        }}""",
    )
    assert only(hosts, config).check == "input policy"  # answers by wan1 are dropped
    with hosts.gateway.inside():
        assert facts.links().outward[4] == ("wan0", "wan1")
