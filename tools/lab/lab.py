"""The hosts of a lab, wired and addressed."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import TracebackType
from typing import Literal

from tools.lab import janitor
from tools.lab.host import Host
from tools.lab.links import wait_until_up

PREFIX = "pinhole-lab"
LAN4, LAN6 = IPv4Network("10.1.0.0/24"), IPv6Network("fd01::/64")
"""The client's segment, unless it is told otherwise."""
WAN4, WAN6 = IPv4Network("198.51.100.0/24"), IPv6Network("2001:db8:2::/64")
"""The server's segment, unless it is told otherwise."""

Addresses = Literal["documentation", "global-wan", "global"]
Networks = tuple[IPv4Network, IPv6Network]

_DOCUMENTATION: dict[str, Networks] = {
    "lan0": (LAN4, LAN6),
    "lan1": (IPv4Network("10.9.0.0/24"), IPv6Network("fd09::/64")),
    "wan0": (WAN4, WAN6),
    "elsewhere": (IPv4Network("203.0.113.0/24"), IPv6Network("2001:db8:3::/64")),
}
# What is_global says yes to, and yet belongs to no ordinary host: IPv4 networks of services that IANA lists as
# globally reachable (AS112, AMT, the former 6to4 relays), and IPv6 networks that are given to nobody.
_GLOBAL: dict[str, Networks] = {
    "lan0": (IPv4Network("192.31.196.0/24"), IPv6Network("2d00:1::/64")),
    "lan1": (IPv4Network("192.175.48.0/24"), IPv6Network("2d00:9::/64")),
    "wan0": (IPv4Network("192.88.99.0/24"), IPv6Network("2d00:2::/64")),
    "elsewhere": (IPv4Network("192.52.193.0/24"), IPv6Network("2d00:3::/64")),
}
_NETWORKS: dict[Addresses, dict[str, Networks]] = {
    "documentation": _DOCUMENTATION,
    "global-wan": _GLOBAL | {port: _DOCUMENTATION[port] for port in ("lan0", "lan1")},
    "global": _GLOBAL,
}


@dataclass(frozen=True, slots=True)
class Segment:
    port: str
    """The gateway's interface on it."""
    networks: Networks
    names: tuple[str, ...]
    """Of the hosts on it, by their numbers from 2 on."""
    is_inside: bool


_numbers = itertools.count()


class Lab:
    """Entered, the hosts stand: `client`, `client_stranger`, `gateway` (`lan0`, `wan0`), `server`, `server_stranger`.

    routes: `nat`: the server knows no way to the client's network, so that an address that leaks leads nowhere;
    `routed`: it has one, through the gateway. The client can always reach the server's network.
    addresses: `documentation`: all that stand outside are for documentation, which Python calls private; `global-wan`:
    those have global addresses; `global`: all have. The hosts are in namespaces of their own without a way out.
    wide: there are also a second network inside (`lan1`, with the host `neighbour`), and behind `wan0` a host in a
    network of its own (`elsewhere`), which all hosts outside reach directly.
    Raises RuntimeError when the hosts cannot be made.
    """

    def __init__(
        self,
        routes: Literal["nat", "routed"] = "nat",
        addresses: Addresses = "documentation",
        wide: bool = False,
    ) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._routes = routes
        self.networks = _NETWORKS[addresses]
        """By the gateway's interface; and `elsewhere`."""
        self.segments = (
            Segment("lan0", self.networks["lan0"], ("client", "client_stranger"), is_inside=True),
            *([Segment("lan1", self.networks["lan1"], ("neighbour",), is_inside=True)] if wide else []),
            Segment("wan0", self.networks["wan0"], ("server", "server_stranger"), is_inside=False),
        )
        self._is_wide = wide
        ports = {segment.port: _hosts_of(segment.networks, 1) for segment in reversed(self.segments)}
        self.gateway = Host("gateway", f"{self.name}-gateway", ports)
        self.hosts = {"gateway": self.gateway}
        for segment in self.segments:
            for number, name in enumerate(segment.names, 2):
                self._add(name, segment.networks, number)
        if wide:
            self._add("elsewhere", self.networks["elsewhere"], 2)
        self.client, self.client_stranger = self.hosts["client"], self.hosts["client_stranger"]
        self.server, self.server_stranger = self.hosts["server"], self.hosts["server_stranger"]

    def _add(self, name: str, networks: Networks, number: int) -> None:
        self.hosts[name] = Host(name, f"{self.name}-{name}", {"eth0": _hosts_of(networks, number)})

    @property
    def neighbour(self) -> Host:
        """Of a wide lab: the host in the second network inside."""
        return self.hosts["neighbour"]

    @property
    def elsewhere(self) -> Host:
        """Of a wide lab: the host outside that is in no network of the gateway's."""
        return self.hosts["elsewhere"]

    def __enter__(self) -> Lab:
        names = [host.netns for host in self.hosts.values()]
        command = (sys.executable, "-I", "-S", janitor.__file__, str(os.getpid()), *names)
        self._janitor = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _ip("".join(f"netns add {name}\n" for name in names))
            for host in self.hosts.values():
                _before_links(host)
            _ip(self._gateway_links(), self.gateway)
            for segment in self.segments:
                for name in segment.names:
                    _ip(self._end_links(self.hosts[name], segment), self.hosts[name])
            if self._is_wide:
                _ip(self._elsewhere_links(), self.elsewhere)
            wait_until_up(names)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every process in the lab and remove it."""
        assert self._janitor.stdin
        self._janitor.stdin.close()
        status = self._janitor.wait()
        for host in self.hosts.values():
            host.reap()
        if status:
            raise RuntimeError(f"{self.name} could not be removed; `python -m tools.lab down {self.name}` tries again")

    def _gateway_links(self) -> str:
        # A segment is a bridge whose own interface is the gateway's: one hop less than a bridge that stands apart.
        lines = ["link set lo up"]
        for number, segment in enumerate(self.segments):
            port, (four, six) = segment.port, segment.networks
            # A bridge without an address of its own has the lowest one of its links, and so another one when a link
            # leaves it, while hosts remember the one that it had.
            address = f"02:00:00:00:00:{number:02x}"
            lines.append(f"link add {port} address {address} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
            lines.append(f"address add {four[1]}/{four.prefixlen} dev {port}")
            lines.append(f"address add {six[1]}/{six.prefixlen} dev {port} nodad")
            ends = [*segment.names, "elsewhere"] if self._is_wide and not segment.is_inside else segment.names
            for number, name in enumerate(ends):
                link = f"{port}-{number}"
                lines.append(f"link add {link} type veth peer name eth0 netns {self.hosts[name].netns}")
                lines.append(f"link set {link} master {port} up")
            lines.append(f"link set {port} up")
        if self._is_wide:
            lines += (f"route add {network} dev wan0" for network in self.networks["elsewhere"])
        return "".join(f"{line}\n" for line in lines)

    def _end_links(self, host: Host, segment: Segment) -> str:
        four, six = segment.networks
        lines = _own_links(host, segment.networks)
        if segment.is_inside or self._routes == "routed":
            lines += [f"route add default via {four[1]}", f"route add default via {six[1]}"]
        if self._is_wide and not segment.is_inside:
            lines += (f"route add {network} dev eth0" for network in self.networks["elsewhere"])
        return "".join(f"{line}\n" for line in lines)

    def _elsewhere_links(self) -> str:
        lines = _own_links(self.elsewhere, self.networks["elsewhere"])
        lines += (f"route add {network} dev eth0" for network in self.networks["wan0"])
        if self._routes == "routed":
            lines += (f"route add default via {network[1]}" for network in self.networks["wan0"])
        return "".join(f"{line}\n" for line in lines)

    # -- the gateway's own ruleset ----------------------------------------------------------------------------------

    def firewall(self, text: str) -> None:
        """Load a ruleset of nft in the gateway."""
        self.gateway.run(["nft", "-f", "-"], stdin=text)

    def lock_down(self, line: str = "", backend: Literal["nft", "iptables"] = "nft") -> None:
        """The gateway's administrator: everything is dropped on input and forward, but for one line on input.

        Neighbour discovery stays, without which IPv6 has no link. Nothing is accepted for being established.
        line: as `net plan` names it: a rule of nft, or the arguments of `iptables --insert INPUT`.
        """
        if backend == "nft":
            self.firewall(
                f"""
                table inet lock_down {{
                    chain input {{
                        type filter hook input priority filter; policy drop;
                        {line}
                        ct state invalid drop
                        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
                    }}
                    chain forward {{ type filter hook forward priority filter; policy drop; }}
                }}
                """
            )
            return
        for restore in ("iptables-restore", "ip6tables-restore"):
            rules = ["*filter", ":INPUT DROP", ":FORWARD DROP"]
            rules += [f"-A INPUT {line}"] if line else []
            rules.append("-A INPUT -m conntrack --ctstate INVALID -j DROP")
            if restore == "ip6tables-restore":
                rules += [f"-A INPUT -p icmpv6 --icmpv6-type {kind} -j ACCEPT" for kind in (135, 136)]
            self.gateway.run([restore], stdin="".join(f"{rule}\n" for rule in (*rules, "COMMIT")))


def _hosts_of(networks: Networks, number: int) -> tuple[IPv4Address, IPv6Address]:
    four, six = networks
    return four[number], six[number]


def _own_links(host: Host, networks: Networks) -> list[str]:
    four, six = networks
    return [
        "link set lo up",
        f"address add {host.v4}/{four.prefixlen} dev eth0",
        f"address add {host.v6}/{six.prefixlen} dev eth0 nodad",
        "link set eth0 up",
    ]


def _before_links(host: Host) -> None:
    """What must be set before interfaces appear, or they take the old values."""
    with host.inside():
        for name in ("all", "default"):
            _write(f"ipv6/conf/{name}/accept_dad", "0")
        if host.name == "gateway":
            _write("ipv4/ip_forward", "1")
            # The segments are bridges; TPROXY and br_netfilter exclude each other (pinhole doctor says so, too).
            for name in ("iptables", "ip6tables", "arptables"):
                if os.path.exists(f"/proc/sys/net/bridge/bridge-nf-call-{name}"):
                    _write(f"bridge/bridge-nf-call-{name}", "0")
            for name in ("all", "default"):
                _write(f"ipv6/conf/{name}/forwarding", "1")


def _write(name: str, value: str) -> None:
    with open(f"/proc/sys/net/{name}", "w") as file:
        file.write(value)


def _ip(text: str, host: Host | None = None) -> None:
    """A batch of `ip`. It dies with its parent, so that nothing is made after the janitor has cleaned."""
    where = ("-n", host.netns) if host else ()
    command = ("setpriv", "--pdeathsig", "KILL", "ip", *where, "-batch", "-")
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the lab cannot be made: {done.stderr.strip()}")


# -- those that stand --------------------------------------------------------------------------------------------------


def standing() -> dict[str, list[str]]:
    """Every lab of this machine: its name, its namespaces."""
    found: dict[str, list[str]] = {}
    names = sorted(os.listdir(janitor.NAMESPACES)) if os.path.isdir(janitor.NAMESPACES) else []
    for name in names:
        if match := re.fullmatch(rf"({PREFIX}-\d+-\d+)-\w+", name):
            found.setdefault(match[1], []).append(name)
    return found


def creator(name: str) -> int:
    """Pid of the process that made a lab; it may be long gone."""
    return int(name.split("-")[-2])


def has_creator(name: str) -> bool:
    return os.path.exists(f"/proc/{creator(name)}")


def addresses(host: Host) -> str:
    """For people: the interfaces and addresses of a host."""
    return ", ".join(f"{port} {four} {six}" for port, (four, six) in host.interfaces.items())
