from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from protocols.contract.addresses import Transport
from protocols.ftp.options import FtpOptions
from proxy.config import reading, schema
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import Dnat, Mark, PortRange
from proxy.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"
EXAMPLES = sorted(CONFIGS.glob("*.yaml"))

POLICY = "policies: [{name: all, action: accept}]\n"

Load = Callable[[str], Config]
Problems = Callable[[str], list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Config:
        file = tmp_path / "pinhole.yaml"
        file.write_text(text)
        return reading.load(file)

    return load


@pytest.fixture
def problems(load: Load, tmp_path: Path) -> Problems:
    """What is wrong with a text, without the name of its file."""

    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return [problem.removeprefix(f"{tmp_path}/pinhole.yaml:") for problem in caught.value.problems]

    return problems


def policy(keys: str) -> str:
    return f"policies:\n  - {{name: p, action: accept, {keys}}}\n"


def entries(*lines: str) -> str:
    return "session-helpers:\n" + "".join(f"  - {{{line}}}\n" for line in lines) + POLICY


# -- what a file says --------------------------------------------------------------------------------------------------


def test_everything_but_the_policies_has_a_default(load: Load) -> None:
    read = load(POLICY)
    assert read.helpers == reading.default().helpers
    assert (read.ports, read.limits, read.timeouts) == (
        PortRange(40000, 59999),
        schema.Limits(sessions=20_000, sessions_per_client=200, pinholes=100_000, pinholes_per_session=64),
        schema.Timeouts(pinhole_open=60, connect=10, half_closed=60, drain=30),
    )
    assert read.audit == schema.Audit(to="stdout", format="json")
    assert read.control == "/run/pinhole/control.sock"
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


# -- what is wrong with a key ------------------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    assert problems(
        "polcies: []\n"
        "session-helpers:\n"
        "  - {id: 1, name: ftp, protocol: tcp, port: 99999}\n"
        "policies:\n"
        "  - name: a\n"
        "    action: maybe\n"
        "  - {name: b, action: deny, snat: interface}\n"
        "limits:\n"
        '  sessions: "3"\n'
    ) == [
        "1:1: polcies: unknown key; did you mean 'policies'?",
        "3:45: session-helpers[0].port: a port is a number from 1 to 65535",
        "6:13: policies[0].action: expected accept or deny",
        "7:35: policies[1].snat: has no effect in a policy that denies",
        "9:13: limits.sessions: must be a valid integer, not '3'",
    ]


def test_every_line_begins_with_the_file(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("ports: x\nlimits: y\n" + POLICY)
    assert [problem.startswith(f"{tmp_path}/pinhole.yaml:") for problem in caught.value.problems] == [True, True]


def test_a_broken_entry_does_not_make_policies_wrong(problems: Problems) -> None:
    text = "session-helpers: [{id: 1, name: ftp, protocol: tcp, port: 0}]\n" + policy("helpers: ftp")
    assert problems(text) == ["1:59: session-helpers[0].port: a port is a number from 1 to 65535"]


def test_unknown_key_without_a_likely_one_lists_those_that_exist(problems: Problems) -> None:
    assert problems(POLICY + "audit: {zzz: 1}") == ["2:9: audit.zzz: unknown key; known here: to, format"]


def test_names_of_the_code_are_no_keys(problems: Problems) -> None:
    found = problems("source: x\npolicies: [{name: a, action: accept, sources: 10.0.0.0/8}]")
    assert [line.partition("unknown key")[0] for line in found] == ["1:1: source: ", "2:38: policies[0].sources: "]


def test_key_given_twice_is_refused(problems: Problems) -> None:
    assert problems(POLICY + "ports: 5000-6000\nports: 6000-7000") == [
        "3:1: ports: this key was given before, in line 2"
    ]


def test_missing_key_is_reported_where_its_mapping_stands(problems: Problems) -> None:
    assert problems("policies:\n  - source: 10.0.0.0/8\n    action: accept\n") == [
        "2:5: policies[0].name: this key is missing"
    ]


def test_policies_are_required(problems: Problems) -> None:
    assert problems("version: 1") == ["1:1: policies: this key is missing"]
    assert problems("policies: []") == ["1:11: policies: no policy: every session would be denied"]


def test_wrong_shape_of_a_list_of_policies_is_one_problem(problems: Problems) -> None:
    assert problems("policies: accept") == ["1:11: policies: expected a list"]
    assert problems("policies: [accept]") == ["1:12: policies[0]: expected keys and values"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version: 2", "2:10: version: must be 1, not 2"),
        ("ports: 59999-40000", "2:8: ports: the range runs backwards; did you mean 40000-59999?"),
        ("ports: 0-5", "2:8: ports: a port is a number from 1 to 65535"),
        ("ports: 80-65535", "2:8: ports: ports below 1024 belong"),
        ("ports: [5000]", "2:8: ports: expected a port or a range"),
        ("ports: 010-020", "2:8: ports: ports below 1024 belong"),
        ("ports: true", "2:8: ports: expected a port or a range"),
        ("limits: {sessions: true}", "2:20: limits.sessions: must be a valid integer, not True"),
        ("limits: {sessions: 1.5}", "2:20: limits.sessions: must be a valid integer"),
        ("limits: {sessions: 0}", "2:20: limits.sessions: must be greater than or equal to 1, not 0"),
        ("limits: 5", "2:9: limits: expected keys and values"),
        ("limits:", "2:8: limits: expected keys and values"),
        ("timeouts: {connect: -1}", "2:21: timeouts.connect: must be greater than 0, not -1"),
        ("timeouts: {connect: fast}", "2:21: timeouts.connect: must be a valid number, not 'fast'"),
        ("timeouts: {connect: 1.0e+99}", "2:21: timeouts.connect: must be less than or equal to 604800"),
        ("audit: {to: audit.log}", "2:13: audit.to: expected stdout, stderr or the absolute path of a file"),
        ("audit: {format: xml}", "2:17: audit.format: must be 'json' or 'console', not 'xml'"),
        ("control: control.sock", "2:10: control: expected an absolute path"),
        (f"control: /{'x' * 107}", "2:10: control: the path is longer than the 107 bytes"),
        ("network: {mark: 0x1000000}", "2:17: network.mark: expected VALUE/MASK"),
        ("network: {mark: 0x3/0x1}", "2:17: network.mark: the mark has bits outside its mask 0x1"),
        ("network: {mark: 0/1}", "2:17: network.mark: a mark has 32 bits"),
        ("network: {mark: 1/4294967296}", "2:17: network.mark: a mark has 32 bits"),
        ("network: {table: 254}", "2:18: network.table: routing table 254 is one of the system's own"),
        ("network: {table: main}", "2:18: network.table: expected the number of a routing table"),
        ("network: {on_daemon_down: no}", "2:27: network.on_daemon_down: must be 'block' or 'bypass', not 'no'"),
        ("network: {listen_port: 80}", "2:24: network.listen_port: must be greater than or equal to 1024"),
    ],
)
def test_wrong_values(problems: Problems, text: str, problem: str) -> None:
    (found,) = problems(POLICY + text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("source: 10.1.0.1/24", "source: 10.1.0.1/24 has bits set outside its prefix; did you mean 10.1.0.0/24?"),
        ("source: 010.0.0.0/8", "source: '010.0.0.0/8' is not an IP network or address"),
        ("source: [10.0.0.0/8, lan]", "source[1]: 'lan' is not an IP network or address"),
        ("source: [any, 10.0.0.0/8]", "source: `any` stands alone"),
        ("source: 10", "source: expected an IP network"),
        ("from: a-name-too-long-for-linux", "from: expected the name of a network interface"),
        ("from: eth0/1", "from: expected the name of a network interface"),
        ("snat: masquerade", "snat: 'masquerade' is not an IP address; expected none, interface, an address or a list"),
        ("snat: []", "snat: the list of addresses is empty"),
        ("snat: 0.0.0.0", "snat: 0.0.0.0 is not the address of one host"),
        ("snat: 224.0.0.1", "snat: 224.0.0.1 is not the address of one host"),
        ("destination: 192.0.2.1, dnat: 10.1.0.21:0", "dnat: '0' is not a port"),
        ("destination: 192.0.2.1, dnat: 10.1.0.21:+21", "dnat: '+21' is not a port"),
        ("destination: 192.0.2.1, dnat: 10.1.0.21:65536", "dnat: '65536' is not a port"),
        ("destination: 192.0.2.1, dnat: server", "dnat: 'server' is not an IP address"),
        ("destination: 192.0.2.1, dnat: [10.1.0.21]", "dnat: expected ADDRESS or ADDRESS:PORT"),
        ("options: {ftp: {tls: maybe}}", "options.ftp.tls: must be 'allow' or 'deny', not 'maybe'"),
        ("options: {ftp: {tsl: deny}}", "options.ftp.tsl: unknown key; did you mean 'tls'?"),
        (
            "options: {ftp: {third_party: allow}}",
            "options.ftp.third_party: must be 'deny', not 'allow', or",
        ),
        ("options: {ftp: {third_party: [10.0.0.0/8, x]}}", "options.ftp.third_party[1]: 'x' is not an IP network"),
        ("options: {ftp: {third_party: [10.0.0.1/8]}}", "options.ftp.third_party[0]: 10.0.0.1/8 has bits set outside"),
        ("options: {ftp: {min_port: 0}}", "options.ftp.min_port: must be greater than or equal to 1, not 0"),
        ("options: {ftp: {idle: 10}}", "options.ftp.idle: must be greater than or equal to 300"),
        ("options: {ftp: {login_seconds: 0}}", "options.ftp.login_seconds: must be greater than 0, not 0"),
        ("options: {tns: {redirect_idle: -1}}", "options.tns.redirect_idle: must be greater than 0, not -1"),
        ("options: {tns: {hops: 9}}", "options.tns.hops: must be less than or equal to 8, not 9"),
        ("options: {sip: {ring_seconds: .nan}}", "options.sip.ring_seconds: must be "),
        ("options: {sip: {media_idle: .inf}}", "options.sip.media_idle: must be "),
        ("options: {sip: {max_calls: 0}}", "options.sip.max_calls: must be greater than or equal to 1, not 0"),
        ("options: {sip: {rates: {INVITE: 0}}}", "options.sip.rates.INVITE: must be greater than or equal to 1, not 0"),
        ("options: {sip: {rates: {invite: 1}}}", "options.sip.rates: 'invite' is not the name of a method"),
        ("options: {sip: {block_methods: [ACK]}}", "options.sip.block_methods: ACK is part of an INVITE"),
        ('source: ["fe80::1%lan0"]', "source[0]: fe80::1%lan0/128 names a zone"),
        (
            "options: {ftp: {commands_denied: [SITE, SITE CHMOD]}}",
            "options.ftp.commands_denied: 'SITE CHMOD' is",
        ),
        ("options: {ftp: {commands_denied: SITE}}", "options.ftp.commands_denied: expected a list"),
        ("options: {ftp: deny}", "options.ftp: expected keys and values"),
        ("options: {fpt: {}}", "options.fpt: there is no helper 'fpt' in this version, only: ftp"),
    ],
)
def test_wrong_values_in_a_policy(problems: Problems, keys: str, problem: str) -> None:
    (found,) = problems(policy(keys))
    assert found.partition(" policies[0].")[2].startswith(problem)


def test_action_is_a_word_not_a_boolean(problems: Problems) -> None:
    assert problems("policies: [{name: a, action: true}]") == ["1:30: policies[0].action: expected accept or deny"]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "20-", "x", "1.5", "true", "[]", "[[21]]"])
def test_wrong_ports_of_an_entry(problems: Problems, port: str) -> None:
    (found,) = problems(entries(f"id: 1, name: ftp, protocol: tcp, port: {port}"))
    assert found.startswith("2:") and "session-helpers[0].port" in found


@pytest.mark.parametrize("protocol", ["sctp", "1", "true", "[tcp]"])
def test_wrong_protocol_of_an_entry(problems: Problems, protocol: str) -> None:
    (found,) = problems(entries(f"id: 1, name: ftp, protocol: {protocol}, port: 21"))
    assert found.endswith("session-helpers[0].protocol: expected tcp or udp (or their numbers, 6 and 17)")


# -- entries that are off ----------------------------------------------------------------------------------------------


def test_the_built_in_table_has_those_entries_off_that_a_helper_has_off() -> None:
    sip = replace(schema.REGISTRY["sip"], off={(Transport.TCP, 5060): "for a test"})
    table = schema.default_table({"sip": sip})
    assert [(entry.protocol, entry.enabled) for entry in table] == [(Transport.UDP, True), (Transport.TCP, False)]


def test_an_entry_that_a_file_lists_is_on_unless_it_says_otherwise(load: Load) -> None:
    one, other = (
        "id: 1, name: ftp, protocol: tcp, port: 21",
        "id: 2, name: ftp, protocol: tcp, port: 22, enabled: false",
    )
    assert [entry.id for entry in load(entries(one, other)).served] == [1]


def test_an_entry_that_is_off_leaves_its_ports_to_another(load: Load) -> None:
    one, other = (f"id: {number}, name: ftp, protocol: tcp, port: 21" for number in (1, 2))
    read = load(entries(f"{one}, enabled: false", other))
    assert [entry.id for entry in read.served] == [2]


def test_a_table_with_every_entry_off_is_as_good_as_empty(problems: Problems) -> None:
    (found,) = problems(entries("id: 1, name: ftp, protocol: tcp, port: 21, enabled: false"))
    assert found == "2:3: session-helpers: every entry is off: no session would ever be read"


def test_a_policy_for_a_helper_that_is_off_can_never_match(problems: Problems) -> None:
    one, other = (
        "id: 1, name: ftp, protocol: tcp, port: 21",
        "id: 2, name: sip, protocol: tcp, port: 5060, enabled: false",
    )
    table = entries(one, other).removesuffix(POLICY)
    (found,) = problems(table + policy("helpers: sip"))
    assert found.endswith("session-helpers has sip off, so this can never match")


# -- what is wrong between the parts -----------------------------------------------------------------------------------


def test_ports_of_two_entries_overlap(problems: Problems) -> None:
    first, second = "id: 1, name: ftp, protocol: tcp, port: 2000-2100", "id: 2, name: ftp, protocol: 6, port: 2050-2200"
    assert problems(entries(first, second)) == [
        "3:43: session-helpers[1].port: tcp port 2050-2100 is in entry 1 (ftp) too"
    ]


def test_ports_of_one_entry_overlap(problems: Problems) -> None:
    assert problems(entries("id: 1, name: ftp, protocol: tcp, port: [21, 20-25]")) == [
        "2:50: session-helpers[0].port[1]: tcp port 21 is in this entry already"
    ]


def test_id_of_an_entry_is_used_once(problems: Problems) -> None:
    one, other = (f"id: 7, name: ftp, protocol: tcp, port: {port}" for port in (21, 22))
    assert problems(entries(one, other)) == ["3:10: session-helpers[1].id: another entry has the id 7 too"]


def test_entry_of_a_helper_that_does_not_exist_names_those_that_do(problems: Problems) -> None:
    assert problems(entries("id: 1, name: gopher, protocol: tcp, port: 70")) == [
        "2:19: session-helpers[0].name: there is no helper 'gopher' in this version, only: "
        + ", ".join(schema.REGISTRY)
    ]


def test_misspelt_helper_is_recognised(problems: Problems) -> None:
    (found,) = problems(policy("helpers: [fpt]"))
    assert found.endswith("; did you mean 'ftp'?")


def test_entry_with_the_wrong_transport(problems: Problems) -> None:
    assert problems(entries("id: 1, name: ftp, protocol: udp, port: 21")) == [
        "2:34: session-helpers[0].protocol: ftp runs over tcp only"
    ]


def test_an_empty_table_is_refused(problems: Problems) -> None:
    (found,) = problems("session-helpers: []\n" + POLICY)
    assert found.startswith("1:18: session-helpers: the table is empty")


def test_policy_for_a_helper_without_entry_can_never_match(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "REGISTRY", {**schema.REGISTRY, "other": schema.REGISTRY["ftp"]})
    table = "session-helpers: [{id: 1, name: ftp, protocol: tcp, port: 21}]\n"
    with pytest.raises(ConfigError, match=r"helpers\[1\]: session-helpers has no entry for other, so this can never"):
        load(table + policy("helpers: [ftp, other]"))


def test_name_of_a_policy_is_used_once(problems: Problems) -> None:
    text = "policies:\n  - {name: a, from: lan0, action: deny}\n  - {name: a, action: deny}\n"
    assert problems(text) == ["3:12: policies[1].name: another policy has the name 'a' too"]


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("", "source: 10.0.0.0/8"),
        ("", ""),
        ("from: [lan0, lan1]", "from: lan1"),
        ("source: [10.0.0.0/9, 10.128.0.0/9]", "source: 10.0.0.0/8"),
        ('source: [0.0.0.0/0, "::/0"]', ""),
        ("destination: 192.0.2.0/24", "destination: [192.0.2.1, 192.0.2.2], from: lan0"),
        ("helpers: ftp", "helpers: ftp"),
        ("helpers: ftp", ""),  # ftp is all that the table of this file has
    ],
)
def test_policy_below_a_wider_one_can_never_match(problems: Problems, above: str, below: str) -> None:
    text = "session-helpers: [{id: 1, name: ftp, protocol: tcp, port: 21}]\n"
    text += f"policies:\n  - {{name: a, action: deny, {above}}}\n  - {{name: b, action: accept, {below}}}\n"
    assert problems(text) == ["4:5: policies[1]: can never match: policy 'a' above takes all of its sessions"]


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("from: lan0", ""),
        ("from: lan0", "from: [lan0, lan1]"),
        ("source: 10.0.0.0/8", ""),
        ("source: 0.0.0.0/0", ""),
        ("source: 10.0.0.0/9", "source: 10.0.0.0/8"),
        ("source: 10.0.0.0/8", 'source: "fd00::/8"'),
        ("from: lan0, source: 10.0.0.0/8", "from: lan0"),
    ],
)
def test_policy_below_a_narrower_one_can_match(load: Load, above: str, below: str) -> None:
    text = f"policies:\n  - {{name: a, action: deny, {above}}}\n  - {{name: b, action: accept, {below}}}\n"
    assert len(load(text).policies) == 2


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('source: 10.0.0.0/8, destination: "fd00::/8"', "can never match: source and destination have no IP version"),
        (
            'destination: 192.0.2.1, dnat: "fd01::21"',
            ".dnat: IPv4 clients keep their own address and cannot reach an IPv6 server",
        ),
        ("source: 10.0.0.0/8, snat: fd01::1", ".snat: has no IPv4 address, so no session of this policy"),
        ("dnat: 10.1.0.21", ".dnat: takes every session, outgoing ones too"),
    ],
)
def test_nat_that_cannot_work(problems: Problems, keys: str, problem: str) -> None:
    (found,) = problems(policy(keys))
    assert problem in found


@pytest.mark.parametrize(
    "keys",
    [
        'destination: 192.0.2.1, dnat: "fd01::21", snat: interface',
        "from: wan0, dnat: 10.1.0.21",
        "snat: 192.0.2.1",
        'destination: 192.0.2.1, dnat: "fd01::21", snat: "fd01::1"',
    ],
)
def test_nat_that_can_work(load: Load, keys: str) -> None:
    assert load(policy(keys)).policies[0].accept


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ("snat: interface", "snat"),
        ("from: wan0, dnat: 10.1.0.21", "dnat"),
        ("options: {ftp: {tls: deny}}", "options.ftp"),
    ],
)
def test_what_a_denying_policy_has_no_use_for(problems: Problems, keys: str, where: str) -> None:
    (found,) = problems(f"policies: [{{name: a, action: deny, {keys}}}]")
    assert found.endswith(f"policies[0].{where}: has no effect in a policy that denies")


# -- what is wrong with the file ---------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        reading.load(tmp_path / "none.yaml")
    assert caught.value.problems == (f"{tmp_path}/none.yaml: cannot be read: No such file or directory",)


def test_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        reading.load(tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_empty_file(problems: Problems, text: str) -> None:
    assert len(problems(text)) == 1


def test_file_that_is_no_mapping(problems: Problems) -> None:
    assert problems("- a\n- b\n") == ["1:1: expected keys and values, `policies: ...` at least"]


def test_syntax_errors_have_line_and_column(problems: Problems) -> None:
    (found,) = problems("policies:\n  - {name: a, action: accept\nports: 1\n")
    assert found.startswith("3:")
    (found,) = problems("a: b: c\n")
    assert found.startswith("1:5: ")


def test_tab_as_indentation(problems: Problems) -> None:
    (found,) = problems("limits:\n\tsessions: 3\n")
    assert found.startswith("2:1: ")


def test_two_documents_are_refused(problems: Problems) -> None:
    (found,) = problems(POLICY + "---\n" + POLICY)
    assert found.startswith("2:1: ")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "pinhole.yaml"
    file.write_bytes(b"version: 1\nports: \xff\n")
    with pytest.raises(ConfigError) as caught:
        reading.load(file)
    assert caught.value.problems == (f"{file}:2:8: not UTF-8 text",)


def test_control_characters_are_refused_at_their_place(problems: Problems) -> None:
    assert problems("version: 1\nports: \x07\n") == ["2:8: a character that YAML does not allow"]


def test_keys_are_words(problems: Problems) -> None:
    assert problems(POLICY + "? [a, b]\n: 1\n") == ["2:3: a key must be a word"]


def test_tags_are_refused(problems: Problems) -> None:
    assert problems(POLICY + "control: !secret /x\n") == ["2:10: control: the tag !secret is not used here"]
    assert problems(POLICY + "limits: !!python/object/apply:os.system {sessions: 5}\n") == [
        "2:9: limits: the tag tag:yaml.org,2002:python/object/apply:os.system is not used here"
    ]
    found = problems(POLICY + "limits: {sessions: !!int many}\n")
    assert "2:20: limits.sessions: the tag tag:yaml.org,2002:int is not used here" in found


def test_deep_nesting_is_refused(problems: Problems) -> None:
    assert problems("a: " + "[" * 100_000) == ["1:23: nested too deeply"]


def test_alias_bomb_is_refused(problems: Problems) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (found,) = problems("\n".join(lines))
    assert "aliases" in found


def test_alias_of_itself_is_refused(problems: Problems) -> None:
    (found,) = problems("policies: &p [*p]\n")
    assert "aliases" in found


def test_huge_file_is_refused(problems: Problems, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        (tmp_path / "big.yaml").write_text("#" * (5 << 20))
        reading.load(tmp_path / "big.yaml")


# -- which file --------------------------------------------------------------------------------------------------------


def test_without_a_file_the_built_in_default_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SYSTEM_PATH", tmp_path / "none.yaml")
    assert reading.in_force(None) == reading.default()


def test_the_systems_file_is_in_force_when_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pinhole.yaml"
    file.write_text("policies: [{name: system, action: deny}]")
    monkeypatch.setattr(reading, "SYSTEM_PATH", file)
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
