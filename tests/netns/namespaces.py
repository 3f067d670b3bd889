"""Three hosts in network namespaces: client - gateway - server, IPv4 and IPv6, without any firewall rule.

client 10.1.0.2, fd01::2 | lan0 10.1.0.1, fd01::1  gateway  wan0 192.0.2.1, 2001:db8::1 | server 192.0.2.2, 2001:db8::2
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from protocols.contract.addresses import Host
from tools.lab.links import wait_until_up

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def _enter(path: str) -> None:
    with open(path) as namespace:
        if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets made and commands started in here belong to the namespace, and stay in it afterwards."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(f"/run/netns/{self.name}")
            yield
        finally:
            if _libc.setns(before, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns back")
            os.close(before)

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


@contextlib.contextmanager
def three_hosts() -> Iterator[Hosts]:
    tag = secrets.token_hex(3)
    names = [f"pinhole-{tag}-{host}" for host in ("client", "gateway", "server")]
    client, gateway, server = (Namespace(name) for name in names)
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            # Without waiting a second for others to claim the same link-local address.
            Namespace(name).sysctl("ipv6.conf.default.accept_dad", 0)
        for end, ours, theirs, four, six in (
            (client, "eth0", "lan0", "10.1.0", "fd01:"),
            (server, "eth0", "wan0", "192.0.2", "2001:db8:"),
        ):
            # A link whose number is that of its other end is taken into use a second later than others are.
            run(
                "ip",
                "-n",
                end.name,
                "link",
                "add",
                ours,
                "index",
                "7",
                "type",
                "veth",
                "peer",
                theirs,
                "netns",
                gateway.name,
            )
            for namespace, link, number in ((end, ours, 2), (gateway, theirs, 1)):
                ip = ("ip", "-n", namespace.name)
                run(*ip, "address", "add", f"{four}.{number}/24", "dev", link)
                run(*ip, "address", "add", f"{six}:{number}/64", "dev", link, "nodad")
                run(*ip, "link", "set", link, "up")
            run("ip", "-n", end.name, "route", "add", "default", "via", f"{four}.1")
            run("ip", "-n", end.name, "-6", "route", "add", "default", "via", f"{six}:1")
        wait_until_up(names)
        gateway.sysctl("ipv4.ip_forward", 1)
        gateway.sysctl("ipv6.conf.all.forwarding", 1)
        yield Hosts(client, gateway, server)
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)
