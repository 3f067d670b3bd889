"""The hosts of a lab, wired and addressed."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network, ip_address
from types import TracebackType
from typing import Literal

from tools.lab import janitor
from tools.lab.host import Host

PREFIX = "pinhole-lab"
LAN4, LAN6 = IPv4Network("10.1.0.0/24"), IPv6Network("fd01::/64")
"""The client's segment."""
WAN4, WAN6 = IPv4Network("198.51.100.0/24"), IPv6Network("2001:db8:2::/64")
"""The server's segment."""

_SEGMENTS = (
    ("lan0", LAN4, LAN6, ("client", "client_stranger")),
    ("wan0", WAN4, WAN6, ("server", "server_stranger")),
)
_numbers = itertools.count()


class Lab:
    """Entered, the hosts stand: `client`, `client_stranger`, `gateway` (`lan0`, `wan0`), `server`, `server_stranger`.

    routes: `nat`: the server knows no way to the client's network, so that an address that leaks leads nowhere;
    `routed`: it has one, through the gateway. The client can always reach the server's network.
    Raises RuntimeError when the hosts cannot be made.
    """

    def __init__(self, routes: Literal["nat", "routed"] = "nat") -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._routes = routes
        both = {port: (four[1], six[1]) for port, four, six, _ in reversed(_SEGMENTS)}
        self.gateway = Host("gateway", f"{self.name}-gateway", both)
        self.hosts = {"gateway": self.gateway}
        for _, four, six, names in _SEGMENTS:
            for number, name in enumerate(names, 2):
                self.hosts[name] = Host(name, f"{self.name}-{name}", {"eth0": (four[number], six[number])})
        self.client, self.client_stranger = self.hosts["client"], self.hosts["client_stranger"]
        self.server, self.server_stranger = self.hosts["server"], self.hosts["server_stranger"]

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
            for port, four, six, ends in _SEGMENTS:
                for name in ends:
                    _ip(self._end_links(self.hosts[name], four, six, routed=port == "lan0"), self.hosts[name])
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
        for port, four, six, ends in _SEGMENTS:
            lines.append(f"link add {port} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
            lines.append(f"address add {four[1]}/{four.prefixlen} dev {port}")
            lines.append(f"address add {six[1]}/{six.prefixlen} dev {port} nodad")
            for number, name in enumerate(ends):
                link = f"{port}-{number}"
                lines.append(f"link add {link} type veth peer name eth0 netns {self.hosts[name].netns}")
                lines.append(f"link set {link} master {port} up")
            lines.append(f"link set {port} up")
        return "".join(f"{line}\n" for line in lines)

    def _end_links(self, host: Host, four: IPv4Network, six: IPv6Network, routed: bool) -> str:
        lines = [
            "link set lo up",
            f"address add {host.v4}/{four.prefixlen} dev eth0",
            f"address add {host.v6}/{six.prefixlen} dev eth0 nodad",
            "link set eth0 up",
        ]
        if routed or self._routes == "routed":
            lines += [f"route add default via {four[1]}", f"route add default via {six[1]}"]
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


def addresses(host: str) -> str:
    """For people: the interfaces and addresses of a host."""
    if host == "gateway":
        return ", ".join(f"{port} {four[1]} {six[1]}" for port, four, six, _ in _SEGMENTS)
    for _, four, six, names in _SEGMENTS:
        if host in names:
            number = names.index(host) + 2
            return f"eth0 {four[number]} {six[number]}"
    return str(ip_address(0))
