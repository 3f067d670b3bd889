"""Rulesets and routing rules of others on a gateway: what the doctor says of them, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config.schema import Config
from proxy.doctor.findings import Level
from proxy.host import rules, rules_iptables, rules_nft
from proxy.host.rules import Backend
from tests.netns.doctor_site import lan_out, nft, only, run_remedy, up, well_hosts, wrong
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with well_hosts() as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return lan_out(tmp_path)


def test_nft_input_chain_that_drops_until_it_has_the_line(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    nft(hosts, "table inet filter { chain input { type filter hook input priority filter; policy drop; }; }")
    found = only(hosts, config)
    assert (found.level, found.check) == (Level.WARN, "input policy")
    run_remedy(hosts, found)
    assert wrong(hosts, config) == []


def test_nft_input_chain_that_ends_in_reject(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    nft(
        hosts,
        """table inet filter {
            chain input {
                type filter hook input priority filter
                ct state established accept
                reject
            }
        }""",
    )
    found = only(hosts, config)
    assert found.check == "input policy"
    run_remedy(hosts, found)
    assert wrong(hosts, config) == []


def test_nft_input_line_in_a_chain_jumped_to_counts(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    nft(
        hosts,
        f"""table inet filter {{
            chain helpers {{
                {rules.input_line(config, Backend.NFT)}
            }}
            chain input {{
                type filter hook input priority filter; policy drop;
                jump helpers
            }}
        }}""",
    )
    assert wrong(hosts, config) == []


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("dropping", [":INPUT DROP\n", ":INPUT ACCEPT\n-A INPUT -j REJECT\n"], ids=["policy", "last"])
def test_iptables_input_that_drops_until_it_has_the_line(
    hosts: Hosts, config: Config, version: int, dropping: str
) -> None:
    up(hosts, config, Backend.IPTABLES)
    hosts.gateway.run(f"{rules_iptables.command(version)}-restore", "--noflush", stdin=f"*filter\n{dropping}COMMIT\n")
    found = only(hosts, config)
    assert (found.level, found.check) == (Level.WARN, "input policy")
    run_remedy(hosts, found)
    assert wrong(hosts, config) == []


def test_nft_masquerade_on_a_policy_without_nat(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    nft(
        hosts,
        """table ip nat {
            chain out {
                type nat hook postrouting priority srcnat
                oifname "wan0" masquerade
            }
        }""",
    )
    found = only(hosts, config)
    assert (found.level, found.check) == (Level.WARN, "source NAT")
    assert found.detail.startswith("nft ip nat out: ")
    policy = config.policies[0].model_copy(update={"snat": "interface"})
    config = config.model_copy(update={"policies": (policy,)})
    assert wrong(hosts, config) == []


def test_iptables_masquerade_on_a_policy_without_nat(hosts: Hosts, config: Config) -> None:
    up(hosts, config, Backend.IPTABLES)
    hosts.gateway.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "wan0", "-j", "MASQUERADE")
    assert only(hosts, config).detail.startswith("iptables -t nat POSTROUTING: ")


def test_nft_kernel_helper_of_ours(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    nft(
        hosts,
        """table inet raw {
            ct helper ftp-standard { type "ftp" protocol tcp; }
            ct helper tftp-standard { type "tftp" protocol udp; }
            chain in {
                type filter hook prerouting priority 0
                tcp dport 21 ct helper set "ftp-standard"
                udp dport 69 ct helper set "tftp-standard"
            }
        }""",
    )
    found = only(hosts, config)
    assert (found.level, found.check) == (Level.WARN, "kernel helpers")
    assert "attaches ftp:" in found.detail


@pytest.mark.parametrize(
    ("rule", "is_wrong"),
    [
        ("meta mark set 0x1000007", True),
        ("meta mark set meta mark | 0x1000000", True),
        ("meta mark set meta mark & 0xfeffffff", True),
        ("meta mark set 7", True),
        ("meta mark set meta mark | 0x7", False),
        ("meta mark set meta mark & 0xffffff00 | 0x7", False),
    ],
)
def test_nft_rules_that_change_our_bits_after_us(hosts: Hosts, config: Config, rule: str, is_wrong: bool) -> None:
    up(hosts, config)
    nft(
        hosts,
        f"""table inet other {{
            chain late {{
                type filter hook prerouting priority {rules_nft.PREROUTING_PRIORITY + 1}
                {rule}
            }}
        }}""",
    )
    assert [finding.check for finding in wrong(hosts, config)] == (["mark"] if is_wrong else [])


def test_nft_rule_that_sets_the_whole_mark_before_us_is_fine(hosts: Hosts, config: Config) -> None:
    up(hosts, config)
    nft(
        hosts,
        """table inet other {
            chain early {
                type filter hook prerouting priority -160
                meta mark set 7
            }
        }""",
    )
    assert wrong(hosts, config) == []


@pytest.mark.parametrize(("value", "is_wrong"), [("0x1000007", True), ("0x7", False)])
def test_iptables_rules_that_set_our_bits(hosts: Hosts, config: Config, value: str, is_wrong: bool) -> None:
    up(hosts, config, Backend.IPTABLES)
    hosts.gateway.run("iptables", "-t", "mangle", "-I", "PREROUTING", "-j", "MARK", "--set-mark", value)
    assert [finding.check for finding in wrong(hosts, config)] == (["mark"] if is_wrong else [])


@pytest.mark.parametrize(
    ("rule", "is_wrong"),
    [
        (("priority", "50", "from", "10.1.0.0/24", "lookup", "700"), True),
        (("priority", "50", "fwmark", "0x1000000/0xff000000", "lookup", "700"), True),
        (("priority", "50", "fwmark", "0x7/0xff", "lookup", "700"), True),
        (("priority", "50", "fwmark", "0x7", "lookup", "700"), False),
        (("priority", "200", "from", "10.1.0.0/24", "lookup", "700"), False),
    ],
)
def test_routing_rules_before_ours(hosts: Hosts, config: Config, rule: tuple[str, ...], is_wrong: bool) -> None:
    up(hosts, config)
    hosts.gateway.run("ip", "rule", "add", *rule)
    assert [finding.check for finding in wrong(hosts, config)] == (["routing rules"] if is_wrong else [])
