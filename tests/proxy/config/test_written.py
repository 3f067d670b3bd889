"""The forms that the file has for what the code holds: times with units, lists of one without brackets."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import jsonschema
import pytest

from proxy.config.schema import json_schema
from tests.harness.configurations import POLICY, Load, Problems, policy


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("3m", 180), ("2h", 7200), ("1d", 86400), ("500ms", 0.5), ("1.5m", 90)],
)
def test_a_time_is_a_number_of_seconds_or_has_a_unit(load: Load, written: str, seconds: float) -> None:
    assert load(f"{POLICY}timeouts: {{udp_idle: {written}}}").timeouts.udp_idle == seconds
    options = load(policy(f"options: {{sip: {{call_idle: {written}}}}}")).policies[0].options
    assert options["sip"].call_idle == seconds


def test_a_time_that_may_be_left_out_has_units_too(load: Load) -> None:
    options = [load(policy(f"options: {{tns: {{redirect_idle: {written}}}}}")) for written in ("2h", "null")]
    assert [read.policies[0].options["tns"].redirect_idle for read in options] == [7200, None]


def test_the_bounds_of_a_time_hold_with_a_unit(problems: Problems) -> None:
    assert problems(policy("options: {ftp: {idle: 4m}}")) == [
        "2:53: policies[0].options.ftp.idle: must be greater than or equal to 300, not 240.0"
    ]


def test_the_schema_for_editors_takes_times_with_units() -> None:
    judge = jsonschema.Draft202012Validator(json_schema())
    for written, is_valid in (("3m", True), (90, True), ("3 m", False), (0, False)):
        assert judge.is_valid({"policies": [], "timeouts": {"connect": written}}) is is_valid


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ("ftp: {third_party: 10.0.0.0/8}", (ip_network("10.0.0.0/8"),)),
        ("ftp: {commands_denied: SITE}", ("SITE",)),
        ("sip: {media_from: 192.0.2.1}", (ip_network("192.0.2.1/32"),)),
        ("tns: {redirect_to: 10.0.0.0/8}", (ip_network("10.0.0.0/8"),)),
        ('tns: {redirect_to: "*.db.example.org"}', ("*.db.example.org",)),
        ("tftp: {names: pxelinux.0}", ("pxelinux.0",)),
    ],
)
def test_an_option_that_is_a_list_of_one_needs_no_brackets(load: Load, options: str, read: object) -> None:
    helper, _, key = options.partition(": {")
    found = load(policy(f"options: {{{options}}}")).policies[0].options[helper]
    assert getattr(found, key.partition(":")[0]) == read
    bracketed = f"{helper}: {{{key.partition(':')[0]}: [{key.partition(': ')[2][:-1]}]}}"
    assert load(policy(f"options: {{{bracketed}}}")).policies[0].options[helper] == found


def test_what_is_wrong_with_an_address_of_an_option_is_said_in_our_words(problems: Problems, load: Load) -> None:
    assert problems(policy("options: {tns: {hosts: {rac1: notanip}}}")) == [
        "2:61: policies[0].options.tns.hosts.rac1: 'notanip' is not an IP address"
    ]
    hosts = load(policy("options: {tns: {hosts: {rac1: 10.1.0.31}}}")).policies[0].options["tns"].hosts
    assert hosts == {"rac1": ip_address("10.1.0.31")}


def test_a_network_may_be_a_key_and_a_value_of_an_option(problems: Problems, load: Load) -> None:
    assert problems(policy("options: {dns: {translate: {192.0.2.0/24: 10.0.0.1/24}}}")) == [
        "2:73: policies[0].options.dns.translate.192.0.2.0/24: 10.0.0.1/24 has bits set outside its prefix; "
        "did you mean 10.0.0.0/24?"
    ]
    pairs = 'options: {dns: {translate: {192.0.2.0/24: 10.0.0.0/24, "2001:db8::1": "fd00::1"}}}'
    assert load(policy(pairs)).policies[0].options["dns"].translate == {
        ip_network("192.0.2.0/24"): ip_network("10.0.0.0/24"),
        ip_network("2001:db8::1"): ip_network("fd00::1"),
    }
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(
        {"policies": [{"name": "a", "action": "accept", "options": {"dns": {"translate": {"192.0.2.1": "10.0.0.1"}}}}]}
    )
