"""By which addresses clients reach what policies publish (proxy/sessions/published.py)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Transport
from proxy.config.schema import Config, Policy
from proxy.config.values import Dnat
from proxy.sessions.published import Published
from proxy.sockets.arrival import Arrival

INSIDE, PUBLIC = ip_address("10.1.0.21"), ip_address("203.0.113.21")
INSIDE6, PUBLIC6 = ip_address("fd01::21"), ip_address("2001:db8::21")
ELSEWHERE = ip_address("192.0.2.1")


def comes(by: str, client: str = "192.0.2.77") -> Arrival:
    return Arrival(Transport.UDP, by, Endpoint(ip_address(client), 40000), Endpoint(ELSEWHERE, 53))


OUTSIDE, WITHIN = comes("wan0"), comes("lan0", "10.1.0.5")


def publishing(public: Host, inside: Host, port: int | None = None, accept: bool = True, **more: Any) -> Policy:
    more.setdefault("interfaces", ("wan0",))
    networks = more.pop("networks", (ip_network(public),))
    return Policy(name="in", accept=accept, destinations=networks, dnat=Dnat(inside, port), **more)


def published(*policies: Policy) -> Published:
    """10.1.0.0/24 and fd01::/64 are behind lan0, and all else behind wan0."""
    return Published(
        Config(policies=policies), lambda host: "lan0" if str(host).startswith(("10.1.0.", "fd01:")) else "wan0"
    )


def test_who_is_let_in_reaches_a_server_by_the_published_address_and_others_by_its_own() -> None:
    """DN13, DN14."""
    known = published(publishing(PUBLIC, INSIDE), publishing(PUBLIC6, INSIDE6))
    for inside, public in ((INSIDE, PUBLIC), (INSIDE6, PUBLIC6)):
        assert known.reached_as(OUTSIDE, inside) == {public}
        assert known.reached_as(WITHIN, public) == {inside}
        assert known.reached_as(OUTSIDE, public) == set()
        assert known.reached_as(WITHIN, inside) == set()
    assert known.reached_as(OUTSIDE, ELSEWHERE) == set()


def test_the_other_way_round() -> None:
    known = published(publishing(PUBLIC, INSIDE))
    assert known.reached_at(OUTSIDE, PUBLIC) == {INSIDE}
    assert known.reached_at(WITHIN, INSIDE) == {PUBLIC}
    assert known.reached_at(OUTSIDE, INSIDE) == set()
    assert known.reached_at(WITHIN, PUBLIC) == set()
    assert known.reached_at(WITHIN, ELSEWHERE) == set()


def test_the_source_of_a_policy_counts_as_its_interfaces_do() -> None:
    known = published(publishing(PUBLIC, INSIDE, sources=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))))
    assert known.reached_as(OUTSIDE, INSIDE) == {PUBLIC}
    assert known.reached_as(comes("wan0", "198.51.100.5"), INSIDE) == set()


def test_without_interfaces_the_way_to_the_server_tells_the_sides_apart() -> None:
    known = published(publishing(PUBLIC, INSIDE, interfaces=()))
    assert known.reached_as(OUTSIDE, INSIDE) == {PUBLIC}
    assert known.reached_as(WITHIN, PUBLIC) == {INSIDE}
    assert known.reached_as(WITHIN, INSIDE) == set()


def test_several_servers_at_one_address_are_ambiguous_and_one_server_by_several_ports_is_not() -> None:
    """DN16."""
    other = ip_address("10.1.0.22")
    ports = published(publishing(PUBLIC, INSIDE, 2121), publishing(PUBLIC, INSIDE, 5060))
    assert ports.reached_as(WITHIN, PUBLIC) == {INSIDE}
    several = published(publishing(PUBLIC, INSIDE, 2121), publishing(PUBLIC, other, 5060))
    assert several.reached_as(WITHIN, PUBLIC) == {INSIDE, other}
    assert several.reached_at(OUTSIDE, PUBLIC) == {INSIDE, other}
    twice = published(publishing(PUBLIC, INSIDE), publishing(ip_address("203.0.113.22"), INSIDE))
    assert twice.reached_as(OUTSIDE, INSIDE) == {PUBLIC, ip_address("203.0.113.22")}


def test_what_publishes_no_single_address_or_one_of_another_version_is_left_alone() -> None:
    for policy in (
        publishing(PUBLIC, INSIDE, networks=(ip_network("203.0.113.0/28"),)),
        publishing(PUBLIC, INSIDE, networks=()),
        publishing(PUBLIC, INSIDE6),
        publishing(PUBLIC, INSIDE, accept=False),
        Policy(name="out", accept=True, interfaces=("wan0",), destinations=(ip_network(PUBLIC),)),
    ):
        known = published(policy)
        assert [known.reached_as(WITHIN, PUBLIC), known.reached_as(OUTSIDE, INSIDE)] == [set(), set()]
