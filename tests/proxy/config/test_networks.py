"""Networks that have a name."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tests.harness.configurations import Load, Problems, policy

LAN, VPN, SIX = ip_network("10.1.0.0/16"), ip_network("10.9.0.0/24"), ip_network("fd01::/48")
NETWORKS = 'networks: {lan: [10.1.0.0/16, "fd01::/48"], vpn: 10.9.0.0/24, inside: [lan, vpn]}\n'


def test_a_name_stands_for_its_networks_in_a_policy(load: Load) -> None:
    (read,) = load(NETWORKS + policy("source: lan, destination: [vpn, 192.0.2.0/24]")).policies
    assert read.sources == (LAN, SIX)
    assert read.destinations == (VPN, ip_network("192.0.2.0/24"))


def test_a_name_may_stand_for_other_names(load: Load) -> None:
    read = load(NETWORKS + policy("source: inside"))
    assert read.policies[0].sources == (LAN, SIX, VPN)
    assert read.networks == {"lan": (LAN, SIX), "vpn": (VPN,), "inside": (LAN, SIX, VPN)}


def test_names_stand_in_the_options_of_helpers_too(load: Load) -> None:
    keys = "ftp: {third_party: vpn}, sip: {trusted_peers: [lan]}, tns: {redirect_to: [vpn, '*.db.example.org']}"
    options = load(NETWORKS + policy(f"options: {{{keys}}}")).policies[0].options
    assert options["ftp"].third_party == (VPN,)
    assert options["sip"].trusted_peers == (LAN, SIX)
    assert options["tns"].redirect_to == (VPN, "*.db.example.org")


def test_a_name_that_nothing_has_is_a_mistake_with_the_likely_one(problems: Problems) -> None:
    assert problems(NETWORKS + policy("source: [vpn, lann]")) == [
        "3:45: policies[0].source[1]: 'lann' is not an IP network or address, and no name under `networks`; "
        "did you mean 'lan'?"
    ]


def test_what_is_wrong_with_a_named_network_is_said_once_where_it_is_defined(problems: Problems) -> None:
    assert problems("networks: {lan: [10.1.0.0/33, 10.1.0.0/16]}\n" + policy("source: lan")) == [
        "1:18: networks.lan[0]: '10.1.0.0/33' is not an IP network or address"
    ]


def test_a_name_that_leads_back_to_itself_is_a_mistake(problems: Problems) -> None:
    found = problems("networks: {a: [b], b: [a]}\n" + policy("source: 10.0.0.0/8"))
    assert found[0] == "1:16: networks.a[0]: 'b' is defined by itself: b -> a -> b"


@pytest.mark.parametrize("name", ["any", "10.0.0.0/8", '"a b"', "1x", "interface"])
def test_a_name_cannot_be_taken_for_something_else(problems: Problems, name: str) -> None:
    (found,) = problems(f"networks: {{{name}: 10.0.0.0/8}}\n" + policy("source: 10.0.0.0/8"))
    assert "a name of networks has letters" in found


def test_a_prefix_that_is_wrong_is_no_word(problems: Problems) -> None:
    (found,) = problems(policy("options: {tns: {redirect_to: 10.1.0.0/8}}"))
    assert found.endswith("10.1.0.0/8 has bits set outside its prefix; did you mean 10.0.0.0/8?")
