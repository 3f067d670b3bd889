from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from protocols.contract.addresses import Endpoint, Side, only
from tests.harness.playbook import NETWORKS, endpoint


def test_the_other_side() -> None:
    assert Side.CLIENT.other is Side.SERVER
    assert Side.SERVER.other is Side.CLIENT


def test_an_endpoint_is_written_as_in_a_url() -> None:
    assert str(Endpoint(ip_address("192.0.2.1"), 21)) == "192.0.2.1:21"
    assert str(Endpoint(ip_address("2001:db8::1"), 21)) == "[2001:db8::1]:21"


@pytest.mark.parametrize(("network", "mapped"), [("none", None), ("snat", Side.CLIENT), ("dnat", Side.SERVER)])
def test_a_side_is_mapped_when_its_address_differs(network: str, mapped: Side | None) -> None:
    peers = NETWORKS[network]
    assert [side for side in Side if peers.is_mapped(side)] == ([mapped] if mapped else [])


def test_each_side_has_its_own_address_and_the_one_the_other_knows() -> None:
    peers = NETWORKS["dnat"]
    assert peers.own(Side.SERVER) == endpoint("10.0.0.5:21")
    assert peers.as_seen(Side.SERVER) == endpoint("203.0.113.7:21")
    assert peers.own(Side.CLIENT) == endpoint("198.51.100.2:40000")
    assert peers.as_seen(Side.CLIENT) == endpoint("198.51.100.2:45000")


def test_only_admits_one_host() -> None:
    assert only(ip_address("192.0.2.1")) == (ip_network("192.0.2.1/32"),)
    assert only(ip_address("2001:db8::1")) == (ip_network("2001:db8::1/128"),)
