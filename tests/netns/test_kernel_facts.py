"""What pinhole builds on in the kernel, and what it must not do: each fact by itself, so that a kernel that changes its
mind is found here and not in a customer's network."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from protocols.contract.addresses import Endpoint
from proxy.config import reading
from proxy.host import rules
from proxy.sockets import packet_info, transparent
from proxy.sockets.poll import READ
from tests.netns.namespaces import Hosts, needs_root, three_hosts

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

PORT = 45678
SECONDS = 10.0
"""For what is sure to come, whatever else the machine has to do."""
RULES = """
table inet facts {{
    chain prerouting {{
        type filter hook prerouting priority mangle; policy accept;
        meta l4proto {{ tcp, udp }} socket transparent 1 {wildcard} meta mark set {mark} accept
    }}
}}
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with three_hosts() as hosts:
        yield hosts


def steer(hosts: Hosts, wildcard: str = "") -> None:
    mark = reading.default().network.mark
    hosts.gateway.run("nft", "-f", "-", stdin=RULES.format(wildcard=wildcard, mark=f"{mark.value:#x}"))
    for step in rules.steps(reading.default(), rules.Backend.NFT):
        if step.command[0] == "ip":
            hosts.gateway.run(*step.command)


def connect(hosts: Hosts, target: Endpoint) -> socket.socket:
    with hosts.client.inside():
        return socket.create_connection((str(target.host), target.port), timeout=SECONDS)


@pytest.mark.parametrize("version", [4, 6])
def test_a_socket_on_a_foreign_address_receives_what_is_sent_there(hosts: Hosts, version: int) -> None:
    steer(hosts)
    target = Endpoint(hosts.server_address(version), PORT)
    with hosts.gateway.inside():
        listener = transparent.listen(target, 8)
    with listener, connect(hosts, target):
        # The client's connection stands before the last segment of the handshake has come here.
        assert select.select([listener], [], [], SECONDS)[0]
        arrival = transparent.accept(listener)
        assert arrival is not None
        sock, peer = arrival
        with sock:
            assert peer.host == hosts.client_address(version)
            assert transparent.local(sock) == target


def test_other_ports_of_that_host_still_reach_it(hosts: Hosts) -> None:
    steer(hosts)
    target = Endpoint(hosts.server_address(4), PORT)
    with hosts.gateway.inside():
        listener = transparent.listen(target, 8)
    with hosts.server.inside():
        real = socket.create_server((str(target.host), PORT + 1))
    with listener, real, connect(hosts, Endpoint(target.host, PORT + 1)):
        sock, _ = real.accept()
        sock.close()


def test_a_match_on_socket_wildcard_0_loses_the_end_of_the_handshake(hosts: Hosts) -> None:
    """So the static rule must never have it, however tidy it looks."""
    steer(hosts, wildcard="socket wildcard 0")
    target = Endpoint(hosts.server_address(4), PORT)
    with hosts.gateway.inside():
        listener = transparent.listen(target, 8)
    with listener, connect(hosts, target) as client:  # the SYN passes and is answered
        client.settimeout(0.3)
        with pytest.raises(OSError):
            client.recv(1)
        assert transparent.accept(listener) is None


@pytest.mark.parametrize("version", [4, 6])
def test_the_answers_to_a_spoofed_source_come_back(hosts: Hosts, version: int) -> None:
    steer(hosts)
    target = Endpoint(hosts.server_address(version), PORT)
    with hosts.server.inside():
        server = socket.create_server(
            (str(target.host), PORT), family=socket.AF_INET if version == 4 else socket.AF_INET6
        )
    with hosts.gateway.inside():
        ours = transparent.dial(target, Endpoint(hosts.client_address(version), 0))
    with server, ours:
        server.settimeout(SECONDS)
        sock, address = server.accept()
        with sock:
            assert packet_info.endpoint(address).host == hosts.client_address(version)
            sock.sendall(b"x")
            ours.settimeout(SECONDS)
            assert ours.recv(1) == b"x"
            assert transparent.dial_result(ours, READ) == 0
