"""Three hosts in network namespaces: client - gateway - server, IPv4 and IPv6, without any firewall rule.

client 10.1.0.2, fd01::2 | lan0 10.1.0.1, fd01::1  gateway  wan0 192.0.2.1, 2001:db8::1 | server 192.0.2.2, 2001:db8::2
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from protocols.contract.addresses import Host
from tools.lab.host import inside
from tools.lab.links import wait_until_up

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Sockets made and commands started in here belong to the namespace, and stay in it afterwards."""
        return inside(self.name)

    def run(self, *command: str, stdin: str = "") -> str:
        with self.inside():
            return run(*command, stdin=stdin)

    def sysctl(self, name: str, value: int) -> None:
        with self.inside():
            Path("/proc/sys/net", *name.split(".")).write_text(str(value))


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Hosts:
    client: Namespace
    gateway: Namespace
    server: Namespace

    def client_address(self, version: int) -> Host:
        return ip_address("10.1.0.2" if version == 4 else "fd01::2")

    def server_address(self, version: int) -> Host:
        return ip_address("192.0.2.2" if version == 4 else "2001:db8::2")

    def gateway_address(self, version: int) -> Host:
        """The one on the server's side."""
        return ip_address("192.0.2.1" if version == 4 else "2001:db8::1")


@dataclass(frozen=True, slots=True)
class End:
    """A host at the end of a link to the gateway."""

    host: Namespace
    link: str
    """As the gateway names it."""
    four: str
    six: str
    """How the addresses on it begin: the gateway's ends with 1, the host's with 2."""

    def of_gateway(self) -> list[str]:
        """For `ip`, in the gateway."""
        # A link whose number is that of its other end is taken into use a second later than others are.
        there = f"name eth0 index 7 netns {self.host.name}"
        return [f"link add {self.link} type veth peer {there}", *self._addresses(self.link, 1)]

    def of_host(self) -> list[str]:
        """For `ip`, at the host."""
        ways = [f"route add default via {begin}" for begin in (f"{self.four}.1", f"{self.six}:1")]
        return [*self._addresses("eth0", 2), *ways]

    def _addresses(self, link: str, number: int) -> list[str]:
        return [
            f"address add {self.four}.{number}/24 dev {link}",
            f"address add {self.six}:{number}/64 dev {link} nodad",
            f"link set {link} up",
        ]


def _ip(*lines: str, of: Namespace | None = None) -> None:
    """A batch of `ip`."""
    run("ip", *(("-n", of.name) if of else ()), "-batch", "-", stdin="".join(f"{line}\n" for line in lines))


@contextlib.contextmanager
def three_hosts() -> Iterator[Hosts]:
    tag = secrets.token_hex(3)
    names = [f"pinhole-{tag}-{host}" for host in ("client", "gateway", "server")]
    client, gateway, server = (Namespace(name) for name in names)
    ends = (
        End(client, "lan0", "10.1.0", "fd01:"),
        End(server, "wan0", "192.0.2", "2001:db8:"),
    )
    try:
        _ip(*(f"netns add {name}" for name in names))
        for namespace in (client, gateway, server):
            # Without waiting a second for others to claim the same link-local address.
            namespace.sysctl("ipv6.conf.default.accept_dad", 0)
        _ip("link set lo up", *itertools.chain.from_iterable(end.of_gateway() for end in ends), of=gateway)
        for end in ends:
            _ip("link set lo up", *end.of_host(), of=end.host)
        wait_until_up(names)
        gateway.sysctl("ipv4.ip_forward", 1)
        gateway.sysctl("ipv6.conf.all.forwarding", 1)
        yield Hosts(client, gateway, server)
    finally:
        lines = "".join(f"netns delete {name}\n" for name in names)
        subprocess.run(("ip", "-force", "-batch", "-"), input=lines, text=True, check=False, capture_output=True)
