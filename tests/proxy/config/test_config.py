"""What a file says, which file is in force, and what holds without one."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from protocols.contract.addresses import Transport
from protocols.ftp.options import FtpOptions
from proxy.config import reading, recording, schema, whereabouts
from proxy.config.schema import HelperEntry, Policy
from proxy.config.values import Dnat, Mark, PortRange
from proxy.errors import ConfigError
from tests.harness.configurations import POLICY, Load, Problems, entries, policy

# -- what a file says --------------------------------------------------------------------------------------------------


def test_everything_but_the_policies_has_a_default(load: Load) -> None:
    read = load(POLICY)
    assert read.helpers == reading.default().helpers
    assert (read.ports, read.limits, read.timeouts) == (
        PortRange(40000, 59999),
        schema.Limits(sessions=20_000, sessions_per_client=200, pinholes=100_000, pinholes_per_session=64),
        schema.Timeouts(pinhole_open=60, connect=10, half_closed=60, drain=30),
    )
    assert read.audit == recording.Audit(to="stdout", format="json")
    assert read.control.path == "/run/pinhole/control.sock"
    network = read.network
    assert (network.mark, network.table) == (Mark(0x1000000, 0x1000000), 5353)
    assert (network.on_daemon_down, network.listen_port) == ("block", 50000)


def test_default_lets_private_networks_go_anywhere_without_nat() -> None:
    (only,) = reading.default().policies
    assert only.accept
    assert only.snat == "none"
    assert only.dnat is None
    assert not only.destinations
    assert set(map(str, only.sources)) == {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}


def test_default_table_has_ftp_on_its_port() -> None:
    (ftp,) = (entry for entry in reading.default().helpers if entry.name == "ftp")
    assert (ftp.protocol, ftp.ports) == (Transport.TCP, (PortRange(21, 21),))


def test_source_is_the_name_of_the_file(load: Load, tmp_path: Path) -> None:
    assert load(POLICY).source == f"{tmp_path}/pinhole.yaml"


def test_values_are_frozen(load: Load) -> None:
    read = load(POLICY)
    with pytest.raises(ValueError, match="frozen"):
        read.ports = PortRange(1, 2)


@pytest.mark.parametrize(
    ("written", "protocol"), [("tcp", "tcp"), ("TCP", "tcp"), ("6", "tcp"), ("udp", "udp"), ("17", "udp")]
)
def test_protocol_is_a_word_or_fortios_number(written: str, protocol: str) -> None:
    read = HelperEntry.model_validate_json(
        json.dumps({"id": 1, "name": "ftp", "protocol": int(written) if written.isdigit() else written, "port": 21})
    )
    assert read.protocol is Transport(protocol)


@pytest.mark.parametrize(
    ("written", "ports"),
    [
        ("21", [(21, 21)]),
        ("5080-5089", [(5080, 5089)]),
        ("5080 - 5089", [(5080, 5089)]),
        ("[2121, 5080-5089]", [(2121, 2121), (5080, 5089)]),
    ],
)
def test_port_is_a_number_a_range_or_a_list(load: Load, written: str, ports: list[tuple[int, int]]) -> None:
    read = load(entries(f"id: 1, name: ftp, protocol: tcp, port: {written}"))
    assert read.helpers[0].ports == tuple(PortRange(*pair) for pair in ports)


def test_policy_names_interfaces_and_networks(load: Load) -> None:
    keys = 'from: [lan0, lan1], source: [10.1.0.0/24, "fd01::/64"], destination: 192.0.2.1, helpers: ftp'
    read = load(policy(keys)).policies[0]
    assert read.interfaces == ("lan0", "lan1")
    assert read.sources == (ip_network("10.1.0.0/24"), ip_network("fd01::/64"))
    assert read.destinations == (ip_network("192.0.2.1/32"),)
    assert read.helpers == ("ftp",)


@pytest.mark.parametrize("written", ["any", "[any]", "[]"])
def test_any_is_the_same_as_left_out(load: Load, written: str) -> None:
    read = load(policy(f"from: {written}, source: {written}, destination: {written}, helpers: {written}")).policies[0]
    assert (read.interfaces, read.sources, read.destinations, read.helpers) == ((), (), (), ())


def test_ipv4_mapped_network_is_the_ipv4_network(load: Load) -> None:
    # Rule X5
    assert load(policy('source: "::ffff:10.1.0.0/112"')).policies[0].sources == (ip_network("10.1.0.0/16"),)


@pytest.mark.parametrize(
    ("written", "snat"),
    [
        ("none", "none"),
        ("interface", "interface"),
        ("192.0.2.1", (ip_address("192.0.2.1"),)),
        ('[192.0.2.1, "2001:db8::1"]', (ip_address("192.0.2.1"), ip_address("2001:db8::1"))),
    ],
)
def test_snat_forms(load: Load, written: str, snat: Any) -> None:
    assert load(policy(f"snat: {written}")).policies[0].snat == snat


@pytest.mark.parametrize(
    ("written", "dnat"),
    [
        ("10.1.0.21", Dnat(ip_address("10.1.0.21"), None)),
        ("10.1.0.21:2121", Dnat(ip_address("10.1.0.21"), 2121)),
        ('"fd01::21"', Dnat(ip_address("fd01::21"), None)),
        ('"[fd01::21]"', Dnat(ip_address("fd01::21"), None)),
        ('"[fd01::21]:2121"', Dnat(ip_address("fd01::21"), 2121)),
    ],
)
def test_dnat_forms(load: Load, written: str, dnat: Dnat) -> None:
    family = "203.0.113.7" if dnat.host.version == 4 else '"2001:db8::7"'
    assert load(policy(f"destination: {family}, dnat: {written}")).policies[0].dnat == dnat


def test_options_are_complete_for_every_helper(load: Load) -> None:
    plain, changed = load(
        "policies:\n"
        "  - {name: a, source: 10.0.0.0/8, action: accept}\n"
        "  - {name: b, action: accept, options: {ftp: {tls: deny}}}\n"
    ).policies
    assert plain.options == {name: each.options() for name, each in schema.REGISTRY.items()}
    assert isinstance(changed.options["ftp"], FtpOptions)
    assert changed.options["ftp"] == FtpOptions(tls="deny") != FtpOptions()


def test_mark_reads_hexadecimal_and_decimal(load: Load) -> None:
    assert load(POLICY + "network: {mark: 256/0xff00}\n").network.mark == Mark(0x100, 0xFF00)


def test_words_that_yaml_1_1_takes_for_booleans_stay_words(load: Load) -> None:
    read = load("policies: [{name: on, from: [no, yes], action: accept}]")
    assert (read.policies[0].name, read.policies[0].interfaces) == ("on", ("no", "yes"))


def test_ipv6_address_without_double_colon_is_no_base_60_number(load: Load) -> None:
    assert load(policy("source: 1:2:3:4:5:6:7:8")).policies[0].sources == (ip_network("1:2:3:4:5:6:7:8/128"),)


def test_an_alias_repeats_what_an_anchor_named(load: Load) -> None:
    read = load(
        "policies:\n"
        "  - {name: a, from: lan0, source: &lan [10.1.0.0/24], action: accept}\n"
        "  - {name: b, from: lan1, source: *lan, action: accept}\n"
    )
    assert read.policies[0].sources == read.policies[1].sources


# -- which file --------------------------------------------------------------------------------------------------------


def test_without_a_file_the_built_in_default_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", tmp_path / "none.yaml")
    assert reading.in_force(None) == reading.default()


def test_the_systems_file_is_in_force_when_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pinhole.yaml"
    file.write_text("policies: [{name: system, action: deny}]")
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", file)
    assert reading.in_force(None).policies[0].name == "system"


# -- marks, segments and clients of the network ------------------------------------------------------------------------


def test_policies_can_be_built_in_code() -> None:
    built = Policy(name="a", accept=True, snat=(ip_address("192.0.2.1"),), interfaces=("lan0",))
    assert (built.accept, built.snat, built.interfaces) == (True, (ip_address("192.0.2.1"),), ("lan0",))


def test_calls_need_a_pair_of_ports_that_nobody_comes_to_for_a_session(load: Load, problems: Problems) -> None:
    sip = entries("id: 1, name: sip, protocol: udp, port: [5060, 45061]")
    for ports in ("40001", "40001-40002", "45060-45061"):
        (problem,) = problems(sip + f"ports: {ports}")
        assert "ports: no call could have media" in problem
    load(sip + "ports: 40000-40001")
    load(entries("id: 1, name: ftp, protocol: tcp, port: 21") + "ports: 40001")


def test_a_method_may_have_any_name_that_the_grammar_lets_it(load: Load) -> None:
    load(policy("options: {sip: {block_methods: [X-FOO, MESSAGE]}}"))


@pytest.mark.parametrize(
    ("written", "user"), [("pinhole", "pinhole"), ("_ph-1", "_ph-1"), ("65521", "65521"), ('"007"', "007"), ("0", "0")]
)
def test_the_user_is_a_name_or_a_number(load: Load, written: str, user: str) -> None:
    assert load(f"{POLICY}\nuser: {written}").user == user
    assert load(POLICY).user is None


@pytest.mark.parametrize("written", ["-1", "true", '""', '"a b"', "1.5", '"-x"', "[root]", '"root\\n"', "4294967295"])
def test_what_is_no_user_is_refused(load: Load, written: str) -> None:
    with pytest.raises(ConfigError, match="expected the name or the number of a user"):
        load(f"{POLICY}\nuser: {written}")


@pytest.mark.parametrize(("written", "mark"), [("2", 2), ("0x2", 2), ('"0x20"', 32), ("0xfeffffff", 0xFEFFFFFF)])
def test_a_mark_for_routing_is_a_number(load: Load, written: str, mark: int) -> None:
    assert load(policy(f"route_mark: {written}")).policies[0].route_mark == mark


@pytest.mark.parametrize("written", ["0", "-1", "0x100000000", "true", '""', "0x2/0xff", "[2]", "two"])
def test_what_is_no_mark_for_routing_is_refused(problems: Problems, written: str) -> None:
    (problem,) = problems(policy(f"route_mark: {written}"))
    assert "expected the mark of a routing rule" in problem


def test_a_mark_for_routing_shares_no_bit_with_ours(problems: Problems) -> None:
    (problem,) = problems(policy("route_mark: 0x1000002"))
    assert "policies[0].route_mark: has bits of `network: mark`" in problem


def test_a_policy_that_denies_needs_no_mark_for_routing(problems: Problems) -> None:
    (problem,) = problems(
        "policies: [{name: a, action: accept, source: [10.0.0.0/8]}, {name: b, action: deny, route_mark: 2}]"
    )
    assert "route_mark: has no effect in a policy that denies" in problem


@pytest.mark.parametrize("written", ["535", "32768", '"1300"', "1300.5"])
def test_a_longest_segment_that_no_kernel_takes_is_refused(problems: Problems, written: str) -> None:
    (problem,) = problems(f"{POLICY}network: {{max_segment: {written}}}")
    assert "network.max_segment" in problem


def test_a_longest_segment_is_a_number_of_bytes(load: Load) -> None:
    assert load(f"{POLICY}network: {{max_segment: 1300}}").network.max_segment == 1300
    assert load(POLICY).network.max_segment is None


@pytest.mark.parametrize("written", ["lan+", "lan*", "la;n", "$(id)"])
def test_an_interface_that_rules_cannot_name_is_a_mistake_of_the_file(problems: Problems, written: str) -> None:
    (problem,) = problems(policy(f'from: [lan0, "{written}"]'))
    assert f"policies[0].from[1]: firewall rules cannot name the interface '{written}'" in problem
