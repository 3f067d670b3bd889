from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import Dnat, PortRange
from proxy.sessions.policy import Accepted, Denied, Nat, PolicyTable, nat
from proxy.sockets.arrival import Arrival

CLIENT, SERVER = "10.1.0.5", "198.51.100.9"


def arrival(
    client: str = CLIENT,
    server: str = SERVER,
    port: int = 21,
    interface: str = "lan0",
    transport: Transport = Transport.TCP,
) -> Arrival:
    return Arrival(transport, interface, Endpoint(ip_address(client), 40001), Endpoint(ip_address(server), port))


def policy(name: str = "p", accept: bool = True, **fields: Any) -> Policy:
    for key in ("sources", "destinations"):
        fields[key] = tuple(map(ip_network, fields.get(key, ())))
    return Policy(name=name, accept=accept, **fields)


def table(*policies: Policy) -> PolicyTable:
    entries = (
        HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21), PortRange(2100, 2102))),
        HelperEntry(id=2, name="other", protocol=Transport.TCP, ports=(PortRange(3000, 3000),)),
    )
    return PolicyTable(Config(helpers=entries, policies=policies))


def decided(decision: Accepted | Denied) -> str:
    return decision.policy.name if isinstance(decision, Accepted) else decision.reason


def test_the_first_policy_that_matches_decides() -> None:
    policies = table(policy("narrow", sources=["10.1.0.0/24"]), policy("wide", accept=False))
    assert decided(policies.decide(arrival())) == "narrow"
    assert policies.decide(arrival(client="10.2.0.5")) == Denied("denied_by_policy", "wide")


def test_a_deny_above_an_accept_wins() -> None:
    policies = table(policy("no", accept=False, destinations=[SERVER]), policy("yes"))
    assert policies.decide(arrival()) == Denied("denied_by_policy", "no")
    assert decided(policies.decide(arrival(server="198.51.100.10"))) == "yes"


def test_an_entry_that_is_off_serves_nobody() -> None:
    entry = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21),), enabled=False)
    other = HelperEntry(id=2, name="ftp", protocol=Transport.TCP, ports=(PortRange(2121, 2121),))
    policies = PolicyTable(Config(helpers=(entry, other), policies=(policy(),)))
    assert policies.decide(arrival()) == Denied("no_helper", None)
    assert not policies.has_helper(Transport.TCP, 21)
    assert decided(policies.decide(arrival(port=2121))) == "p"


def test_no_match_is_a_deny() -> None:
    assert table(policy(sources=["192.168.0.0/16"])).decide(arrival()) == Denied("no_policy", None)
    assert table().decide(arrival()) == Denied("no_policy", None)


def test_a_port_without_entry_has_no_helper() -> None:
    assert table(policy()).decide(arrival(port=22)) == Denied("no_helper", None)


def test_the_same_port_of_another_transport_has_no_helper() -> None:
    assert table(policy()).decide(arrival(transport=Transport.UDP)) == Denied("no_helper", None)


@pytest.mark.parametrize(("port", "matches"), [(2099, False), (2100, True), (2101, True), (2102, True), (2103, False)])
def test_both_ends_of_a_port_range_belong_to_it(port: int, matches: bool) -> None:
    assert isinstance(table(policy()).decide(arrival(port=port)), Accepted) is matches


def test_about_what_a_pinhole_lets_in_those_policies_decide_that_are_for_its_reader() -> None:
    """`arrival` is of the session that had the way opened; its port says nothing of the reader."""
    policies = table(policy("one", helpers=("ftp",)), policy("two", helpers=("other",)))
    assert decided(policies.decide(arrival())) == "one"
    decision = policies.decide(arrival(), "other")
    assert isinstance(decision, Accepted) and (decision.policy.name, decision.helper) == ("two", "other")
    assert decision.group.helper == "other"


def test_a_reader_that_is_in_no_entry_has_no_helper() -> None:
    assert table(policy()).decide(arrival(), "unknown") == Denied("no_helper", None)


def test_the_entry_that_matched_is_told() -> None:
    decision = table(policy()).decide(arrival(port=3000))
    assert isinstance(decision, Accepted)
    assert (decision.entry.id, decision.entry.name) == (2, "other")


def test_a_policy_for_other_helpers_is_passed_over() -> None:
    policies = table(policy("others", helpers=("other",)), policy("ftp", helpers=("ftp",)))
    assert decided(policies.decide(arrival())) == "ftp"
    assert decided(policies.decide(arrival(port=3000))) == "others"


def test_interface_by_which_the_session_came() -> None:
    policies = table(policy(interfaces=("lan0", "lan1")))
    assert isinstance(policies.decide(arrival(interface="lan1")), Accepted)
    assert policies.decide(arrival(interface="wan0")) == Denied("no_policy", None)


@pytest.mark.parametrize(
    ("network", "client", "matches"),
    [
        ("10.1.0.0/24", "10.1.0.255", True),
        ("10.1.0.0/24", "10.1.1.0", False),
        ("10.1.0.5/32", "10.1.0.5", True),
        ("0.0.0.0/0", "10.1.0.5", True),
        ("0.0.0.0/0", "fd01::5", False),
        ("::/0", "10.1.0.5", False),
        ("fd01::/64", "fd01::5", True),
        ("fd01::/64", "fd01:0:0:1::5", False),
        ("2001:db8::1/128", "2001:DB8:0::1", True),
        # Rule X5: an IPv4-mapped address is the IPv4 address.
        ("10.1.0.0/24", "::ffff:10.1.0.5", True),
        ("10.1.0.0/24", "::ffff:10.2.0.5", False),
        ("::ffff:10.1.0.0/120", "10.1.0.5", True),
        ("::/0", "::ffff:10.1.0.5", False),
    ],
)
def test_addresses_are_compared_as_addresses(network: str, client: str, matches: bool) -> None:
    assert isinstance(table(policy(sources=[network])).decide(arrival(client=client)), Accepted) is matches
    mirrored = table(policy(destinations=[network])).decide(arrival(server=client))
    assert isinstance(mirrored, Accepted) is matches


# -- NAT ---------------------------------------------------------------------------------------------------------------


def host(text: str) -> Any:
    return ip_address(text)


def test_without_nat_the_server_sees_the_client_and_is_dialled_where_the_client_dialled() -> None:
    assert nat(policy(), arrival()) == Nat(host(CLIENT), Endpoint(host(SERVER), 21))


def test_snat_interface_leaves_the_address_to_the_kernel() -> None:
    assert nat(policy(snat="interface"), arrival()) == Nat(None, Endpoint(host(SERVER), 21))


def test_snat_address() -> None:
    assert nat(policy(snat="203.0.113.1"), arrival()) == Nat(host("203.0.113.1"), Endpoint(host(SERVER), 21))


def test_snat_list_gives_a_client_always_the_same_address_and_uses_all() -> None:
    addresses = tuple(host(f"203.0.113.{number}") for number in range(1, 5))
    pool = policy(snat=addresses)
    first = [nat(pool, arrival(client=f"10.1.0.{number}")) for number in range(64)]
    again = [nat(pool, arrival(client=f"10.1.0.{number}", server="192.0.2.77")) for number in range(64)]
    chosen = [answer.source for answer in first if isinstance(answer, Nat)]
    assert chosen == [answer.source for answer in again if isinstance(answer, Nat)]
    assert set(chosen) == set(addresses)


def test_snat_list_takes_an_address_of_the_dialled_version() -> None:
    pool = policy(snat=(host("203.0.113.1"), host("2001:db8::1")))
    assert nat(pool, arrival()) == Nat(host("203.0.113.1"), Endpoint(host(SERVER), 21))
    over_6 = nat(pool, arrival(client="fd01::5", server="2001:db8:9::9"))
    assert over_6 == Nat(host("2001:db8::1"), Endpoint(host("2001:db8:9::9"), 21))


def test_snat_list_without_an_address_of_the_dialled_version_denies() -> None:
    only_6 = policy("six", snat=(host("2001:db8::1"),))
    assert nat(only_6, arrival()) == Denied("no_snat_address", "six")


@pytest.mark.parametrize(("port", "dialled"), [(None, 21), (2121, 2121)])
def test_dnat_dials_another_server(port: int | None, dialled: int) -> None:
    published = policy(dnat=Dnat(host("10.1.0.21"), port))
    assert nat(published, arrival()) == Nat(host(CLIENT), Endpoint(host("10.1.0.21"), dialled))


def test_dnat_to_the_other_version_needs_snat() -> None:
    to_6 = Dnat(host("fd01::21"), None)
    assert nat(policy("up", dnat=to_6), arrival()) == Denied("client_other_family", "up")
    assert nat(policy(dnat=to_6, snat="interface"), arrival()) == Nat(None, Endpoint(host("fd01::21"), 21))
    assert nat(policy(dnat=to_6, snat=(host("fd01::1"),)), arrival()) == Nat(
        host("fd01::1"), Endpoint(host("fd01::21"), 21)
    )


def test_ipv4_mapped_endpoints_are_dialled_as_ipv4() -> None:
    mapped = arrival(client=f"::ffff:{CLIENT}", server=f"::ffff:{SERVER}")
    assert nat(policy(), mapped) == Nat(host(CLIENT), Endpoint(host(SERVER), 21))
