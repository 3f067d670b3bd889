"""What entries of the session-helper table and policies mean together, and what cannot work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Network, Transport
from proxy.config import schema
from proxy.config.reach import Above, Reach, contain, joined
from proxy.config.schema import Policy
from proxy.errors import ConfigError
from tests.harness.configurations import POLICY, Load, Problems, entries, policy

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


DISJOINT = [
    lambda number: f"source: 10.{number}.0.0/16",
    lambda number: f"source: [10.{number}.0.0/17, 10.{number}.128.0/17, 'fd00:{number}::/32'], helpers: ftp",
    lambda number: f"destination: 192.0.2.{number}",
]


@pytest.mark.parametrize("keys", DISJOINT)
def test_policies_for_other_sessions_are_not_even_compared(
    load: Load, monkeypatch: pytest.MonkeyPatch, keys: Callable[[int], str]
) -> None:
    """There may be thousands of them."""

    def refuse(reach: Reach, other: Reach) -> bool:
        raise AssertionError(f"{reach.name} is compared with {other.name}")

    monkeypatch.setattr(Reach, "takes_all_of", refuse)
    monkeypatch.setattr(Reach, "takes_some_of", refuse)
    lines = (f"  - {{name: p{number}, {keys(number)}, action: accept}}\n" for number in range(200))
    assert len(load("policies:\n" + "".join(lines)).policies) == 200


NETWORKS = st.lists(
    st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.7.0.0/16", "::/0", "fd00::/8"])
    .map(ip_network),
    max_size=3,
    unique=True,
)  # fmt: skip
POLICIES = st.lists(st.tuples(NETWORKS, NETWORKS, st.sets(st.sampled_from(["lan0", "wan0"]))), min_size=2, max_size=6)


@given(POLICIES)
def test_what_takes_the_sessions_of_a_policy_is_found_among_all_above_it(
    drawn: list[tuple[list[Network], list[Network], set[str]]],
) -> None:
    *before, last = (
        Reach.of(
            Policy(
                name=str(number),
                accept=True,
                sources=tuple(sources),
                destinations=tuple(destinations),
                interfaces=tuple(interfaces),
            ),
            frozenset({"ftp"}),
        )
        for number, (sources, destinations, interfaces) in enumerate(drawn)
    )
    above = Above()
    for other in before:
        above.add(other)
    assert above.taking_all_of(last) == next((other for other in before if other.takes_all_of(last)), None)
    some = [other for other in before if other.takes_some_of(last)]
    everybody = joined(each for other in some for each in other.sources)
    assert above.taking_together(last) == (some if len(some) > 1 and contain(everybody, last.sources) else [])


def test_a_thousand_policies_are_judged_in_seconds(load: Load) -> None:
    """A reload of so many must not take a minute."""
    lines = (
        f"  - {{name: p{number}, source: 10.{number // 256}.{number % 256}.0/24, action: accept}}\n"
        for number in range(1000)
    )
    began = time.process_time()
    load("policies:\n" + "".join(lines))
    assert time.process_time() - began < 5
