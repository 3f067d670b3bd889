"""Reserved ports: for whom they stand, and which are left to others."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Endpoint, Transport
from proxy.errors import SocketError
from proxy.sockets import reserved
from proxy.sockets.reserved import FIRST, LAST, LEAST_CHOSEN, MOST_LEASED, SERVICES, ReservedPorts
from tests.harness.scarce import no_descriptors
from tests.proxy.conftest import may_not_bind_reserved_ports

HOST, PEER = ip_address("203.0.113.7"), ip_address("192.0.2.1")


def test_ports_of_services_and_of_helpers_are_left_out() -> None:
    ports = set(ReservedPorts({700}).candidates(Transport.TCP, HOST))
    assert ports == set(range(FIRST, LAST + 1)) - SERVICES - {700}


def test_after_a_reload_the_ports_of_other_helpers_are_left_out() -> None:
    pool = ReservedPorts({700})
    pool.keep_off({701})
    ports = set(pool.candidates(Transport.TCP, HOST))
    assert 700 in ports and not ports & {701, *SERVICES}


def test_most_ports_of_an_address_stay_this_hosts_own() -> None:
    pool = ReservedPorts()
    for _ in range(MOST_LEASED):
        pool.lease(Transport.TCP, HOST, next(pool.candidates(Transport.TCP, HOST)))
    assert list(pool.candidates(Transport.TCP, HOST)) == []
    assert list(pool.candidates(Transport.UDP, HOST))


def test_a_peer_at_a_reserved_port_is_dialled_for_from_its_own_first_and_then_from_others() -> None:
    first, *others = ReservedPorts().sources(Endpoint(PEER, 1023), HOST)
    assert first == 1023 and set(others) == set(range(FIRST, LAST + 1)) - SERVICES


def test_on_its_own_address_a_peer_is_dialled_for_from_another_port() -> None:
    """RS13: the kernel's connection tracking would take both connections for one."""
    assert set(ReservedPorts().sources(Endpoint(PEER, 1023), PEER)) == set(range(FIRST, LAST)) - SERVICES


def test_on_its_own_address_it_is_dialled_for_last_from_those_that_it_may_soon_come_from_itself() -> None:
    """RS4, RS13."""
    ports = list(ReservedPorts().sources(Endpoint(PEER, 1023), PEER))
    low = [port for port in ports if port < LEAST_CHOSEN]
    assert ports[: len(low)] == low and len(set(low)) > 100
    assert len({next(ReservedPorts().sources(Endpoint(PEER, 1023), PEER)) for _ in range(50)}) > 10


@pytest.mark.parametrize("port", [511, 1024, 40000])
def test_for_a_peer_at_another_port_there_is_none(port: int) -> None:
    assert list(ReservedPorts().sources(Endpoint(PEER, port), HOST)) == [0]


def test_whoever_may_not_bind_them_is_told_what_to_do(network: None) -> None:
    reserved.check(["rsh"])
    with may_not_bind_reserved_ports(), pytest.raises(SocketError, match=r"from which rsh and pmap dial.*NET_BIND_SER"):
        reserved.check(["rsh", "pmap"])


def test_whether_they_can_be_bound_is_not_doubted_where_no_descriptor_is_left_to_try() -> None:
    with no_descriptors():
        reserved.check(["rsh"])
