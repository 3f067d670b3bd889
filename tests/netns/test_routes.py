"""What the kernel says about the way to a host."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address

import pytest

from proxy.sockets.routes import KEPT_SECONDS, NO_WAY, Way, Ways, way_to
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [pytest.mark.netns, needs_root]


@pytest.mark.parametrize(
    ("host", "interface"), [("10.1.0.2", "lan0"), ("192.0.2.2", "wan0"), ("fd01::2", "lan0"), ("2001:db8::2", "wan0")]
)
def test_a_host_is_reached_by_the_interface_of_its_route(hosts: Hosts, host: str, interface: str) -> None:
    with hosts.gateway.inside():
        assert way_to(ip_address(host)) == Way(socket.if_nametoindex(interface))


@pytest.mark.parametrize("host", ["10.1.0.1", "192.0.2.1", "127.0.0.1", "fd01::1", "::1"])
def test_an_address_of_this_host_is_known_as_such(hosts: Hosts, host: str) -> None:
    with hosts.gateway.inside():
        assert way_to(ip_address(host)).is_to_us


@pytest.mark.parametrize("host", ["10.1.0.255", "255.255.255.255", "224.0.0.1", "ff02::1"])
def test_broadcast_and_multicast_lead_to_no_single_host(hosts: Hosts, host: str) -> None:
    with hosts.gateway.inside():
        assert not Ways(lambda: 0.0).to(ip_address(host)).is_to_one_host


@pytest.mark.parametrize("host", ["203.0.113.1", "2001:db8:ffff::1"])
def test_there_may_be_no_way(hosts: Hosts, host: str) -> None:
    with hosts.gateway.inside():
        with pytest.raises(OSError, match="unreachable"):
            way_to(ip_address(host))
        assert Ways(lambda: 0.0).to(ip_address(host)) == NO_WAY


def test_the_kernel_is_asked_again_after_a_moment() -> None:
    asked = []
    now = 0.0

    def ask(host: object) -> Way:
        asked.append(host)
        return Way(len(asked))

    ways, host = Ways(lambda: now, ask), ip_address("192.0.2.2")
    assert [ways.to(host).interface, ways.to(host).interface] == [1, 1]
    now = KEPT_SECONDS
    assert ways.to(host).interface == 2


@pytest.mark.parametrize(("code", "interface"), [(errno.EMFILE, 1), (errno.ENETUNREACH, 0)])
def test_a_way_that_was_known_holds_while_there_is_no_room_to_ask(code: int, interface: int) -> None:
    now = 0.0

    def ask(host: object) -> Way:
        if now:
            raise OSError(code, "")
        return Way(1)

    ways, host = Ways(lambda: now, ask), ip_address("192.0.2.2")
    assert ways.to(host).interface == 1
    now = KEPT_SECONDS
    assert ways.to(host).interface == interface
