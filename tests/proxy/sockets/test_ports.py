"""The port pool: random, bounded, never the same port twice at a time."""

import itertools
import random
from ipaddress import ip_address

from protocols.contract.addresses import Host, Transport
from proxy.sockets.ports import PortPool

HOST = ip_address("203.0.113.7")
OTHER = ip_address("203.0.113.8")
TCP, UDP = Transport.TCP, Transport.UDP


def lease_all(pool: PortPool, host: Host = HOST, transport: Transport = TCP) -> list[int]:
    leased = []
    while (port := next(pool.candidates(transport, host), None)) is not None:
        pool.lease(transport, host, port)
        leased.append(port)
    return leased


def test_every_port_of_the_range_is_leased_once_and_then_none() -> None:
    assert sorted(lease_all(PortPool(40000, 40099))) == list(range(40000, 40100))


def test_ports_come_in_no_order() -> None:
    first = lease_all(PortPool(40000, 40099, random.Random(1)))
    second = lease_all(PortPool(40000, 40099, random.Random(2)))
    assert first != second
    assert sum(b - a == 1 for a, b in itertools.pairwise(first)) < 20


def test_a_released_port_can_be_leased_again() -> None:
    pool = PortPool(40000, 40000)
    assert lease_all(pool) == [40000]
    pool.release(TCP, HOST, 40000)
    assert lease_all(pool) == [40000]


def test_addresses_and_transports_have_ports_of_their_own() -> None:
    pool = PortPool(40000, 40003)
    for host, transport in ((HOST, TCP), (HOST, UDP), (OTHER, TCP)):
        assert len(lease_all(pool, host, transport)) == 4
    assert pool.in_use() == 12


def test_the_fullest_address_is_named_and_ports_beside_the_range_count_for_none() -> None:
    pool = PortPool(40000, 40003)
    lease_all(pool, OTHER, UDP)
    for port in (5060, 5061, 5062, 5063, 5064):
        pool.lease(UDP, HOST, port)
        pool.lease(UDP, OTHER, port)
    assert pool.fullest() == (len(pool), f"udp/{OTHER}")


def test_releasing_what_was_never_leased_does_nothing() -> None:
    pool = PortPool(40000, 40003)
    pool.release(TCP, HOST, 21)
    assert pool.in_use() == 0


def test_a_candidate_that_could_not_be_bound_is_followed_by_others() -> None:
    assert set(PortPool(40000, 40009).candidates(TCP, HOST)) == set(range(40000, 40010))


def test_a_narrowed_range_leaves_what_is_leased_alone() -> None:
    pool = PortPool(40000, 40001)
    lease_all(pool)
    pool.use(40001, 40002)
    assert lease_all(pool) == [40002]
    assert pool.in_use() == 3


def test_ports_where_others_come_for_sessions_are_never_drawn() -> None:
    pool = PortPool(40000, 40003, taken={40001, 40002})
    assert set(pool.candidates(UDP, HOST)) == {40000, 40003}
    assert (40000 in pool, 40001 in pool) == (True, False)
