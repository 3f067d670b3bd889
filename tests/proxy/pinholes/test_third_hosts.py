"""Where a party of a call may have its media, by routes and policy."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.pinholes import Party, Refusal
from proxy.config.schema import Policy
from proxy.pinholes.third_hosts import ThirdHosts, refusal_of_gateway
from proxy.sockets.routes import NO_WAY, Way
from tests.harness.scarce import no_descriptors

WAN, LAN, DMZ = Way(2), Way(3), Way(4)
ROUTES: dict[str, Way] = {
    "10.1.0.0/24": LAN,
    "10.9.0.0/24": DMZ,
    "fd01::/64": LAN,
    "198.51.100.0/24": WAN,
    "10.1.0.255/32": replace(LAN, is_to_one_host=False),
    "10.1.0.1/32": replace(LAN, is_to_us=True),
    "198.51.100.1/32": replace(WAN, is_to_us=True),
    "fd01::1/128": replace(LAN, is_to_us=True),
    "172.16.0.0/12": NO_WAY,
}
PLACE = Endpoint(ip_address("198.51.100.1"), 40000)
PHONE, SERVER = ip_address("10.1.0.2"), ip_address("198.51.100.2")


def route(host: Host) -> Way:
    found = [net for net in map(ip_network, ROUTES) if net.version == host.version and host in net]
    return ROUTES[str(max(found, key=lambda net: net.prefixlen))] if found else WAN


def default(host: Host) -> Way:
    return NO_WAY if any(host in net for net in map(ip_network, ROUTES) if net.version == host.version) else Way(0)


def may(party: Party, **policy: Any) -> bool:
    fields = {"name": "one", "sources": (), "destinations": (), **policy}
    hosts = ThirdHosts(lambda: 0.0, lambda at: at == PLACE, route, default)
    return hosts.may_wait(Policy.model_construct(**fields), party)


def outside(at: str, port: int = 5004) -> Party:
    return Party(Endpoint(ip_address(at), port), None, None, (), host=SERVER, side=Side.SERVER)


def inside(at: str, **more: Any) -> Party:
    party = Party(Endpoint(ip_address(at), 5004), None, None, (), host=PHONE, side=Side.CLIENT, is_inside=True)
    return replace(party, **more)


@pytest.mark.parametrize("at", ["198.51.100.2", "198.51.100.77", "192.0.2.9", "2001:db8::9"])
def test_media_servers_outside_are_hosts_of_their_own(at: str) -> None:
    assert may(outside(at))


OF_THE_INSIDE = ["10.1.0.2", "10.1.0.77", "10.9.0.7", "fd01::9"]
OURS = ["10.1.0.1", "198.51.100.1", "fd01::1"]
OF_MANY_OR_NOBODY = ["10.1.0.255", "255.255.255.255", "224.0.0.9", "240.0.0.1", "0.0.0.1", "127.0.0.1", "169.254.0.9"]
OF_MANY_OR_NOBODY += ["::1", "ff02::1", "fe80::9", "::ffff:192.0.2.9", "172.16.0.1"]


@pytest.mark.parametrize("at", [*OF_THE_INSIDE, *OURS, *OF_MANY_OR_NOBODY])
def test_nobody_outside_names_these(at: str) -> None:
    assert not may(outside(at))


def test_a_place_of_another_party_may_be_passed_on_as_it_was_told() -> None:
    assert may(outside(str(PLACE.host), PLACE.port))
    assert not may(outside(str(PLACE.host), PLACE.port + 2))


def test_what_the_policy_names_is_a_limit_for_both_sides() -> None:
    provider = (ip_network("198.51.100.0/25"),)
    assert may(outside("198.51.100.77"), destinations=provider)
    assert not may(outside("192.0.2.9"), destinations=provider)
    assert may(outside("192.0.2.9"), sources=provider)
    caller = replace(outside("192.0.2.9"), side=Side.CLIENT)
    assert not may(caller, sources=provider)
    assert may(caller, destinations=provider)


def test_what_rtcp_names_is_looked_at_as_well() -> None:
    own = outside(str(SERVER))
    assert may(own)
    assert not may(replace(own, control=Endpoint(ip_address("10.1.0.77"), 5005)))


def test_who_is_behind_us_opens_none_of_our_networks() -> None:
    assert may(inside("10.1.0.2"))
    for at in ("10.1.0.77", "10.9.0.7", "fd01::9"):
        assert not may(inside(at))
        assert not may(inside(at), sources=(ip_network("10.0.0.0/8"), ip_network("fd01::/64")))


def test_who_is_behind_us_has_media_where_an_option_says_so() -> None:
    for at in ("10.1.0.77", "10.9.0.7", "fd01::9"):
        assert may(inside(at, is_named=True))
        assert may(inside(at, is_named=True, mapped=SERVER))
    assert not may(inside("10.1.0.255", is_named=True))
    assert not may(inside("10.1.0.1", is_named=True))


def test_a_party_let_in_without_nat_names_media_servers_of_the_internet() -> None:
    """Nobody knows which side is inside then; what only the default route leads to is not ours."""
    caller = Party(
        Endpoint(ip_address("192.0.2.9"), 5004), None, None, (), host=SERVER, side=Side.CLIENT, is_inside=True
    )
    assert may(caller)


def test_no_third_host_gets_an_address_of_ours_without_a_name() -> None:
    assert not may(inside("192.0.2.9", mapped=ip_address("198.51.100.1")))


def test_where_nobody_can_see_whether_a_host_is_this_gateway_it_is_refused(network: None) -> None:
    assert refusal_of_gateway(ip_address("192.0.2.254")) == Refusal("target_is_gateway")
    assert refusal_of_gateway(ip_address("203.0.113.9")) is None
    with no_descriptors():
        assert refusal_of_gateway(ip_address("203.0.113.9")) == Refusal("no_descriptors")
