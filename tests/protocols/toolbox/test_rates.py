"""How often a source may ask over UDP."""

from __future__ import annotations

from ipaddress import ip_network

from protocols.toolbox.rates import IN_A_ROW_SECONDS, MAX_SOURCES, Rates


def test_addresses_of_one_network_have_rates_together() -> None:
    rates = Rates()
    network = ip_network("2001:db8:1::/64")
    assert sum(rates.may_call(network[low], "dump", 2, 0.0) for low in range(100)) == 2 * IN_A_ROW_SECONDS
    assert rates.may_call(ip_network("2001:db8:2::/64")[1], "dump", 2, 0.0)


def test_the_sources_that_are_remembered_have_a_bound() -> None:
    rates = Rates()
    for low in range(MAX_SOURCES + 10):
        assert rates.may_call(ip_network(low).network_address, "call", 1, 0.0)
    assert len(rates._left) == MAX_SOURCES
