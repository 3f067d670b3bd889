"""A narrow link that no host of a session has itself, but two routers further on have: what is too long for it is told
by ICMP errors, which must reach the sockets of the gateway, whoever's address those stand on.

    far client --- client === client_stranger --- gateway --- server_stranger === server --- far server

(===: the link that is narrow in its turn; the lab's ordinary hosts are the routers.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from tests.netns.namespaces import needs_root
from tests.netns.talks import Address, Way, call, database, transfer
from tools.lab import Host, Lab, pinhole
from tools.lab.gateways import BACKENDS, BackendName

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

FULL, SIZE = 1500, 200_000
"""A transfer is longer than any first burst."""
SECONDS = 20.0
"""The longest wait for what should come: an error may be lost, as routers send few of them in a second."""

ROLES = ("snat_none", "snat_interface", "dnat", "dnat_and_snat")
POLICIES = """version: 1
ports: 40000-49999
policies:
  - {name: snat_none, from: [lan0], destination: [192.0.2.2, "fd09::2"], action: accept}
  - {name: snat_interface, from: [lan0], destination: [192.0.2.3, "fd09::3"], action: accept, snat: interface}
  - {name: dnat, from: [wan0], destination: [198.51.100.1], action: accept, dnat: 10.3.0.2}
  - {name: dnat6, from: [wan0], destination: ["2001:db8:2::1"], action: accept, dnat: "fd03::2"}
  - {name: both, from: [wan0], destination: [198.51.100.9], action: accept, dnat: 10.3.0.2, snat: interface}
  - {name: both6, from: [wan0], destination: ["2001:db8:2::9"], action: accept, dnat: "fd03::2", snat: interface}
"""


def _ip(host: Host, text: str) -> None:
    host.run(("ip", "-batch", "-"), stdin=text)


@dataclass(slots=True)
class Site:
    lab: Lab
    far_client: Host
    far_server: Host
    calls: Iterator[int]

    @property
    def narrow(self) -> dict[str, tuple[Host, Host]]:
        lab = self.lab
        return {"client": (lab.client, lab.client_stranger), "server": (lab.server, lab.server_stranger)}

    def wire(self) -> None:
        lab = self.lab
        for far, near, edge, inside, four, six in (
            (self.far_client, lab.client, lab.client_stranger, "lan0", "10.3", "fd03"),
            (self.far_server, lab.server, lab.server_stranger, "wan0", "192.0", "fd09"),
        ):
            net4 = f"{four}.0" if far is self.far_client else "192.0.2"
            gate = lab.gateway.interfaces[inside]
            _ip(near, "link set eth0 down\n")
            _ip(far, "link set lo up\n")
            _ip(near, f"link add far type veth peer name eth0 netns {far.netns}\n")
            _ip(near, f"link add mid type veth peer name mid netns {edge.netns}\n")
            _ip(
                far,
                f"address add {net4}.2/24 dev eth0\naddress add {net4}.3/24 dev eth0\nlink set eth0 up\n"
                f"address add {six}::2/64 dev eth0 nodad\naddress add {six}::3/64 dev eth0 nodad\n"
                f"route add default via {net4}.1\nroute add default via {six}::1\n",
            )
            _ip(
                near,
                f"address add {net4}.1/24 dev far\naddress add {six}::1/64 dev far nodad\nlink set far up\n"
                f"address add 172.31.0.1/30 dev mid\naddress add {six}:1::1/64 dev mid nodad\nlink set mid up\n"
                f"route replace default via 172.31.0.2\nroute replace default via {six}:1::2\n",
            )
            _ip(
                edge,
                f"address add 172.31.0.2/30 dev mid\naddress add {six}:1::2/64 dev mid nodad\nlink set mid up\n"
                f"route add {net4}.0/24 via 172.31.0.1\nroute add {six}::/64 via {six}:1::1\n",
            )
            edge4, edge6 = edge.address(4), edge.address(6)
            _ip(lab.gateway, f"route add {net4}.0/24 via {edge4}\nroute add {six}::/64 via {edge6}\n")
            assert gate
            for router in (near, edge):
                router.sysctl("ipv4.ip_forward", 1)
                router.sysctl("ipv6.conf.all.forwarding", 1)
        _ip(lab.gateway, "address add 198.51.100.9/24 dev wan0\naddress add 2001:db8:2::9/64 dev wan0 nodad\n")

    def narrowed(self, side: str, mtu: int) -> None:
        """Only this link is narrow, and nobody knows it from before."""
        for name, ends in self.narrow.items():
            for host in ends:
                _ip(host, f"link set mid mtu {mtu if name == side else FULL}\n")
        for host in (*self.lab.hosts.values(),):
            _ip(host, "route flush cache\n")
            host.run(("ip", "-6", "route", "flush", "cache"))

    def way(self, role: str, version: int) -> Way:
        def at(four: str, six: str) -> Address:
            return ip_address(four if version == 4 else six)

        match role:
            case "snat_none":
                return Way(self.far_client, self.far_server, version, SECONDS)
            case "snat_interface":
                return Way(self.far_client, self.far_server, version, SECONDS, stands_on=at("192.0.2.3", "fd09::3"))
            case "dnat":
                known_as = at("198.51.100.1", "2001:db8:2::1")
            case _:
                known_as = at("198.51.100.9", "2001:db8:2::9")
        return Way(self.far_server, self.far_client, version, SECONDS, known_as=known_as)


@pytest.fixture(scope="module", params=BACKENDS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    backend: BackendName = request.param
    lab = Lab("routed")
    far_client = Host("far_client", f"{lab.name}-far_client", {"eth0": _both("10.3.0.2", "fd03::2")})
    far_server = Host("far_server", f"{lab.name}-far_server", {"eth0": _both("192.0.2.2", "fd09::2")})
    lab.hosts |= {host.name: host for host in (far_client, far_server)}
    with lab:
        made = Site(lab, far_client, far_server, itertools.count())
        made.wire()
        with pinhole(lab, POLICIES, backend, unprivileged=True) as daemon:
            daemon.lock_down()
            yield made


def _both(four: str, six: str) -> tuple[IPv4Address, IPv6Address]:
    return IPv4Address(four), IPv6Address(six)


ATTEMPTS: dict[str, Callable[[Way, int], object]] = {
    "FTP passive, download": lambda way, _: transfer(way, active=False, size=SIZE),
    "FTP passive, upload": lambda way, _: transfer(way, active=False, upload=True, size=SIZE),
    "FTP active, download": lambda way, _: transfer(way, active=True, size=SIZE),
    "FTP active, upload": lambda way, _: transfer(way, active=True, upload=True, size=SIZE),
    "TNS, download": lambda way, _: database(way, upload=False, size=SIZE),
    "TNS, upload": lambda way, _: database(way, upload=True, size=SIZE),
    # Two datagrams of 1500, or in IPv6 of 1280: routers cut no datagrams of IPv6.
    "SIP over UDP": lambda way, number: call(way, number, padding=1350),
    "SIP over TCP": lambda way, number: call(way, number, transport="tcp", padding=4000),
}


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("mtu", [1400, 1280])
@pytest.mark.parametrize("side", ["client", "server"])
def test_what_is_too_long_for_a_link_on_the_way_is_sent_again_in_shorter_pieces(
    site: Site, side: str, mtu: int, role: str, version: int
) -> None:
    stuck = {}
    for name, attempt in ATTEMPTS.items():
        site.narrowed(side, mtu)
        try:
            attempt(site.way(role, version), next(site.calls))
        except (OSError, AssertionError) as error:
            stuck[name] = repr(error)
    assert stuck == {}
