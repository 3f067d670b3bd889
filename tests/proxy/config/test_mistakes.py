"""What is wrong with a key, or with the file as a whole: every mistake at once, at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols import HELPERS
from proxy.config import reading
from proxy.errors import ConfigError
from tests.harness.configurations import POLICY, Load, Problems, entries, policy

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
        "7:5: policies[1]: can never match: policy 'a' above takes all of its sessions",
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
    assert problems(POLICY + "audit: {zzz: 1}") == [
        "2:9: audit.zzz: unknown key; known here: to, format, chain, sinks, required, node, progress"
    ]


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
    (found,) = problems("policies: [accept]")
    assert found.startswith("1:12: policies[0]: expected keys and values; known here: name, from, source, ")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("audit: stdout", "known here: to, format, chain, sinks, required, node, progress"),
        (
            "audit: [{to: stdout}]",
            "known here: to, format, chain, sinks, required, node, progress; a list belongs below `sinks`",
        ),
        ("control: [/run/x.sock]", "known here: path, look, change"),
        ("metrics: 9467", "known here: listen"),
    ],
)
def test_where_keys_belong_they_are_named(problems: Problems, text: str, wanted: str) -> None:
    (found,) = problems(POLICY + text)
    assert found.endswith(f": expected keys and values; {wanted}")


def test_where_every_name_is_a_key_none_is_named(problems: Problems) -> None:
    assert problems(POLICY + "networks: 5") == ["2:11: networks: expected keys and values"]


def test_an_unknown_key_of_what_may_also_be_a_path(problems: Problems) -> None:
    assert problems(POLICY + "control: {group: x}") == [
        "2:11: control.group: unknown key; known here: path, look, change"
    ]


def test_a_table_of_which_nothing_can_be_read_is_not_empty(problems: Problems) -> None:
    (found,) = problems("session-helpers: [ftp]\n" + POLICY)
    assert found.startswith("1:19: session-helpers[0]: expected keys and values; known here: id, name, ")


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
        (
            "timeouts: {connect: fast}",
            "2:21: timeouts.connect: expected a time: seconds, or with a unit as 90s, 3m, 2h, 1d; not 'fast'",
        ),
        ('timeouts: {connect: "9"}', "2:21: timeouts.connect: expected a time"),
        ("timeouts: {connect: 3 m}", "2:21: timeouts.connect: expected a time"),
        ("timeouts: {connect: true}", "2:21: timeouts.connect: expected a time"),
        ("timeouts: {connect: 0s}", "2:21: timeouts.connect: must be greater than 0"),
        ("timeouts: {connect: 8d}", "2:21: timeouts.connect: must be less than or equal to 604800"),
        ("timeouts: {connect: 1.0e+99}", "2:21: timeouts.connect: must be less than or equal to 604800"),
        (
            "audit: {to: audit.log}",
            "2:13: audit.to: expected stdout, stderr, journal, syslog, or the absolute path of a file",
        ),
        ("audit: {format: xml}", "2:17: audit.format: must be 'json', 'console', 'ecs' or 'cef', not 'xml'"),
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
        ("options: {sip: {ring_seconds: .nan}}", "options.sip.ring_seconds: expected a time"),
        ("options: {sip: {media_idle: .inf}}", "options.sip.media_idle: expected a time"),
        ("options: {sip: {max_calls: 0}}", "options.sip.max_calls: must be greater than or equal to 1, not 0"),
        ("options: {sip: {rates: {INVITE: 0}}}", "options.sip.rates.INVITE: must be greater than or equal to 1, not 0"),
        ("options: {sip: {rates: {invite: 1}}}", "options.sip.rates: 'invite' is not the name of a method"),
        ("options: {dcerpc: {rates: {ept_insert: 1}}}", "options.dcerpc.rates: 'ept_insert' is neither ept_map nor"),
        ("options: {sip: {block_methods: [ACK]}}", "options.sip.block_methods: ACK is part of an INVITE"),
        ('source: ["fe80::1%lan0"]', "source[0]: fe80::1%lan0/128 names a zone"),
        (
            "options: {ftp: {commands_denied: [SITE, SITE CHMOD]}}",
            "options.ftp.commands_denied: 'SITE CHMOD' is",
        ),
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
    assert found == "2:1: a tab; YAML wants blanks, in front of a line and between a key and its value"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dnat: [fd01::21]:2121", '1:17: an address in brackets needs quotes: "[fd01::21]:2121"'),
        ("p: {dnat: [fd01::21]:2121}", '1:21: an address in brackets needs quotes: "[fd01::21]:2121"'),
        ("source: [::1]", '1:10: an address in brackets needs quotes: "[::1]"'),
        ("name: @x", "1:7: a value that begins with @ needs quotes"),
        ("redirect_to: *.db.example.org", "1:15: a value that begins with * or & needs quotes"),
        ("names: *boot", "1:8: no value above is named &boot; a word that begins with * needs quotes"),
        (
            "a: b: c",
            "1:5: a second `key:` in one line; a value with a colon at its end, or before a blank, needs quotes",
        ),
        ("a: b\nc", "2:1: expected `key: value`"),
        ("a: [1, 2\nb: 3", "2:2: expected a comma or ] in the list that begins in line 1"),
        ("a: {x: 1\nb: 2", "2:2: expected a comma or } in the braces that begin in line 1"),
        ("a:\n  b: 1\n c: 2", "3:2: this does not fit to what begins in line 1: it is indented otherwise, or a value"),
        ("a: 'x", "2:1: the quote that opens in line 1 is not closed"),
        ("a: - b", "1:4: an element `- ` of a list begins in a line of its own"),
        ("a: {c: ${X}}", '1:9: a variable inside braces or brackets needs quotes: "${NAME}"'),
    ],
)
def test_what_is_wrong_with_the_yaml_is_said_with_its_remedy(problems: Problems, text: str, problem: str) -> None:
    (found,) = problems(text + "\n")
    assert found.startswith(problem)


# -- what is wrong between the parts is found beside wrong values ------------------------------------------------------


def test_a_wrong_value_hides_nothing_else_of_its_entry(problems: Problems) -> None:
    assert problems(
        "session-helpers:\n"
        "  - {id: 1, name: ftp, protocol: tcp, port: 0}\n"
        "  - {id: x, name: ftpp, protocol: tcp, port: 2121}\n"
        "  - {id: 1, name: ftp, protocol: tcp, port: 2121}\n" + POLICY
    ) == [
        "2:45: session-helpers[0].port: a port is a number from 1 to 65535",
        "3:10: session-helpers[1].id: must be a valid integer, not 'x'",
        f"3:19: session-helpers[1].name: there is no helper 'ftpp' in this version, only: {', '.join(HELPERS)}; "
        "did you mean 'ftp'?",
        "4:10: session-helpers[2].id: another entry has the id 1 too",
        "4:45: session-helpers[2].port: tcp port 2121 is in entry 1 (ftpp) too",
    ]


def test_a_wrong_value_hides_nothing_else_of_its_policy(problems: Problems) -> None:
    assert problems(
        "policies:\n"
        "  - {name: a, source: 10.0.0.0/33, action: accept, helpers: tftpp}\n"
        "  - {name: a, source: 10.0.0.0/8, action: maybe, helpers: ftp}\n"
        "  - {name: b, source: 10.1.0.0/16, helpers: ftp}\n"
    ) == [
        "2:23: policies[0].source: '10.0.0.0/33' is not an IP network or address",
        f"2:61: policies[0].helpers: there is no helper 'tftpp' in this version, only: {', '.join(HELPERS)}; "
        "did you mean 'tftp'?",
        "3:12: policies[1].name: another policy has the name 'a' too",
        "3:43: policies[1].action: expected accept or deny",
        "4:5: policies[2]: can never match: policy 'a' above takes all of its sessions",
        "4:5: policies[2].action: this key is missing",
    ]


def test_what_depends_on_a_wrong_value_is_not_judged(problems: Problems) -> None:
    assert problems("policies: [{name: a, action: acept, snat: interface}, {name: b, source: x.y, action: deny}]") == [
        "1:30: policies[0].action: expected accept or deny",
        "1:73: policies[1].source: 'x.y' is not an IP network or address, and no name under `networks`",
    ]


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
