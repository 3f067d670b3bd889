"""What keeps pinhole from working on this host, found by looking: kernel, rights, routes, and the rulesets of others.

Facts are gathered here; what they mean is judged by plain functions: `judging` for rulesets, `judging_host` for routing
rules and kernel parameters. What cannot be read is said, never taken for well.
"""

from __future__ import annotations

import errno
import json
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from protocols.contract.addresses import Endpoint, Network, Transport
from proxy.config.schema import Config
from proxy.config.values import PortRange
from proxy.doctor import judging, judging_host, traffic
from proxy.doctor.findings import Finding, Level
from proxy.doctor.judging import Firewall, Saved
from proxy.doctor.judging_host import RoutingRule
from proxy.doctor.traffic import Links
from proxy.errors import NetError, PinholeError, SocketError
from proxy.host import commands, net, privileges, rules
from proxy.host.rules import Backend
from proxy.sockets import transparent

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

_DOCUMENTATION_ADDRESSES = ("192.0.2.1", "2001:db8::1")
"""Addresses that no host has (RFC 5737, RFC 3849), so only a transparent socket can be bound to them."""

_SYSCTL = Path("/proc/sys/net")
_FLAVOURS = ("nft", "legacy")


def examine(config: Config) -> list[Finding]:
    """Run all checks, in the order in which their findings should be mended. They only read; a socket that they bind is
    closed at once."""
    findings = [*_rights(), *_transparent_sockets(), *_listener(config), *_datagram_ports(config), *_addresses(config)]
    findings += judging_host.judge_interfaces(config, [name for _, name in socket.if_nameindex()])
    if net.capabilities() >> CAP_NET_ADMIN & 1:
        try:
            firewall, unread = _firewall()
            findings += unread
            findings += _setup(config, firewall)
            traffics = traffic.of_config(config, _links())
            routes = _routing_rules()
            findings += judging_host.judge_routing_rules(config, routes, traffics)
            findings += judging.judge(config, firewall, traffics, _user(config))
            findings += judging_host.judge_ways(firewall, routes, traffics)
            findings += judging_host.judge_route_marks(config, routes, _strict_ways(routes))
            findings += _automatic_helpers()
        except NetError as error:
            findings.append(Finding(Level.FAIL, "firewall", f"cannot be read: {error}", "# see the message"))
    else:
        findings.append(
            Finding(Level.WARN, "firewall", "not examined: rules are shown only to root", "sudo pinhole doctor")
        )
    return [*findings, *_sysctls(config)]


# -- the process and its sockets --------------------------------------------------------------------------------------


def _rights() -> Iterator[Finding]:
    """Whether this process has the rights that serving takes."""
    held = net.capabilities()
    for bit, name, level, purpose in (
        (CAP_NET_RAW, "CAP_NET_RAW", Level.FAIL, "transparent sockets need it"),
        (CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", Level.WARN, "FTP data from port 20 needs it"),
    ):
        if held >> bit & 1:
            yield Finding(Level.OK, name, "held")
        else:
            yield Finding(level, name, f"missing: {purpose}", f"systemd: AmbientCapabilities={name}; or run as root")


def _transparent_sockets() -> Iterator[Finding]:
    """Whether transparent sockets can be made."""
    for address in _DOCUMENTATION_ADDRESSES:
        host = ip_address(address)
        check = f"transparent sockets, IPv{host.version}"
        try:
            transparent.listen(Endpoint(host, 0), 1).close()
            yield Finding(Level.OK, check, "can be bound")
        except SocketError as error:
            yield Finding(Level.FAIL, check, "not permitted", str(error))
        except OSError as error:
            level = Level.FAIL if host.version == 4 or net.has_ipv6() else Level.WARN
            yield Finding(level, check, f"cannot be bound: {error.strerror}", f"a kernel with IPv{host.version}")


def _listener(config: Config) -> Iterator[Finding]:
    """Whether the port of the main listeners is free."""
    port = config.network.listen_port
    for address in ("127.0.0.1", "::1") if net.has_ipv6() else ("127.0.0.1",):
        at = Endpoint(ip_address(address), port)
        check = f"listener {at}"
        try:
            transparent.listen(at, 1).close()
            yield Finding(Level.OK, check, "free")
        except SocketError:
            continue  # reported by _transparent_sockets
        except OSError as error:
            if _daemon_runs(config.control):
                yield Finding(Level.OK, check, "in use by the running daemon")
            else:
                remedy = f"see who has it: ss -ltnp 'sport = :{port}'; or choose another network.listen_port"
                yield Finding(Level.FAIL, check, f"cannot be bound: {error.strerror}", remedy)


def _datagram_ports(config: Config) -> Iterator[Finding]:
    """Services on wildcard addresses that have a helper's port. They have the port on the addresses of other hosts too,
    where our sockets would have to stand."""
    ports = {port for entry in config.served if entry.protocol is Transport.UDP for port in _few(entry.ports)}
    for port in sorted(ports):
        try:
            transparent.datagrams(Endpoint(ip_address(_DOCUMENTATION_ADDRESSES[0]), port)).close()
        except SocketError:
            return  # reported by _transparent_sockets
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                trouble = "a service of this host has it on every address: sessions to it are refused (address_in_use)"
                remedy = (
                    f"see who has it: ss -ulnp 'sport = :{port}'; let it listen on addresses of its own, or stop it"
                )
                yield Finding(Level.FAIL, f"UDP port {port}", trouble, remedy)


def _few(ranges: Iterable[PortRange]) -> Iterator[int]:
    """The first ports of each range."""
    return (port for ports in ranges for port in range(ports.first, min(ports.last, ports.first + 15) + 1))


def _addresses(config: Config) -> Iterator[Finding]:
    """Whether this host has the addresses that policies use for `snat`."""
    for policy in config.policies:
        for host in policy.snat if not isinstance(policy.snat, str) else ():
            if not transparent.is_own(host):
                trouble = f"{host} is no address of this host: answers come back only if they are routed here"
                yield Finding(Level.WARN, f"policy {policy.name}, snat", trouble, "snat: interface; or add the address")


def _user(config: Config) -> str:
    """The number of the user that the daemon runs as, or would run as."""
    with socket.socket(socket.AF_UNIX) as client:
        if client.connect_ex(config.control) == 0:
            _, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return str(uid)
    try:
        return str(privileges.user(config.user).uid)
    except PinholeError:
        return config.user or privileges.USUAL_NAME  # the daemon says at its start that there is no such user


def _daemon_runs(control: str) -> bool:
    """Whether a daemon answers at this control socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(control) == 0


# -- the rulesets of this host -----------------------------------------------------------------------------------------


def _output(command: tuple[str, ...]) -> str | None:
    """What a command prints. None: it is not installed, or fails."""
    try:
        done = commands.run(command)
    except NetError:
        return None
    return done.stdout if done.returncode == 0 else None


def _firewall() -> tuple[Firewall, list[Finding]]:
    """The rulesets of this host, and findings about those that could not be read. A command that is not installed has
    no rules to show."""
    unread = []
    objects: Sequence[object] = ()
    if _output(("nft", "--version")) is not None:
        try:
            said = json.loads(_output(("nft", "--json", "list", "ruleset")) or "")
            objects = said["nftables"] if isinstance(said, dict) and isinstance(said.get("nftables"), list) else ()
        except json.JSONDecodeError:
            remedy = "# an nft with JSON: Debian nftables, OpenWrt nftables-json"
            unread.append(Finding(Level.WARN, "firewall", "nft does not tell its rules as JSON: not examined", remedy))
    return Firewall(objects, tuple(_saved())), unread


def _saved() -> Iterator[Saved]:
    """The rules of both flavours of iptables, since both are in force. The plain command is one of the two."""
    for version in (4, 6):
        plain = rules.iptables(version)
        names = _output((plain, "--version"))
        default = "nft" if names is not None and "nf_tables" in names else "legacy"
        for flavour in _FLAVOURS:
            command = plain if flavour == default else f"{plain}-{flavour}"
            if (text := _output((f"{command}-save",))) is not None:
                yield Saved(command, version, text, is_in_nft=flavour == "nft")


# -- links and routes --------------------------------------------------------------------------------------------------


def _of_ip(*words: str) -> list[dict[str, Any]]:
    """What a command of iproute2 prints, as values. Raises NetError."""
    return commands.read_json(("ip", "-json", *words))


def _links() -> Links:
    """The interfaces of this host and what is connected to them. Raises NetError."""
    networks: dict[str, tuple[Network, ...]] = {}
    for link in _of_ip("address", "show"):
        if "LOOPBACK" in link.get("flags", ()):
            continue
        networks[str(link.get("ifname"))] = tuple(
            ip_network(f"{item['local']}/{item['prefixlen']}", strict=False)
            for item in link.get("addr_info", ())
            if item.get("scope") == "global" and "local" in item
        )
    return Links(networks, {version: _default_ways(version, "main") for version in (4, 6)})


def _routing_rules() -> list[RoutingRule]:
    """The routing rules of this host. Raises NetError."""
    return [
        rule
        for version in ((4, 6) if net.has_ipv6() else (4,))
        for rule in judging_host.routing_rules(
            version, commands.read(("ip", f"-{version}", "-Numeric", "-details", "rule", "show"))
        )
    ]


def _strict_ways(routes: Iterable[RoutingRule]) -> dict[str, tuple[str, ...]]:
    """For each routing table that a mark leads to: the interfaces of its default routes where rp_filter (of IPv4 alone)
    drops packets, because the usual default route does not lead there. Raises NetError."""
    usual = _default_ways(4, "main")
    tables = {
        rule.after("lookup") for rule in routes if rule.version == 4 and rule.after("fwmark") and not rule.is_ours
    }
    found = {}
    for table in tables - {""}:
        try:
            ways = _default_ways(4, table)
        except NetError:  # there is no such table: it has no route yet
            continue
        found[table] = tuple(name for name in ways if name not in usual and _filters_strictly(name))
    return found


def _default_ways(version: int, table: str) -> tuple[str, ...]:
    """The interfaces of default routes, which may share one of several next hops. Raises NetError."""
    routes = _of_ip(f"-{version}", "route", "show", "table", table, "default")
    ways = (way for route in routes for way in (route, *route.get("nexthops", ())))
    return tuple(dict.fromkeys(str(way["dev"]) for way in ways if "dev" in way))


def _filters_strictly(interface: str) -> bool:
    """Whether rp_filter is strict at this interface. The greater of both values is in force."""
    return max(_sysctl(f"ipv4/conf/{name}/rp_filter") or "0" for name in ("all", interface)) == "1"


# -- our own rules and routes ------------------------------------------------------------------------------------------


def _setup(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Whether our own rules and routes stand."""
    stands: dict[Backend, list[net.Status]] = {}
    for backend in Backend:
        try:
            parts = net.status(config, backend)
        except NetError as error:
            if _output((backend.value, "--version")) is not None:
                yield Finding(Level.FAIL, "rules", f"cannot be told with {backend.value}: {error}", "# see the message")
            continue
        if any(part.detail != "missing" for part in parts if not part.what.startswith("IPv")):
            stands[backend] = parts
    if not stands:
        yield Finding(Level.FAIL, "rules", "nothing is set up", "pinhole net up")
        yield from _kernel(config)
    elif len(stands) > 1:
        remedy = "remove one: pinhole net down --backend iptables; pinhole net up --backend nft"
        yield Finding(Level.WARN, "rules", "set up with both backends", remedy)
    for backend, parts in stands.items():
        for part in parts:
            if part.present:
                yield Finding(Level.OK, part.what, part.detail)
            else:
                yield Finding(Level.FAIL, part.what, part.detail, f"pinhole net up --backend {backend.value}")
        if all(part.present for part in parts):
            yield from judging.judge_own(config, firewall, backend)


def _kernel(config: Config) -> Iterator[Finding]:
    """Whether the kernel would take the nft rules; nothing is changed."""
    step = next(step for step in rules.steps(config, Backend.NFT) if step.command[0] == "nft")
    done = commands.run(("nft", "--check", *step.command[1:]), step.stdin)
    if done.returncode == 0:
        yield Finding(Level.OK, "kernel", "has nft tproxy and socket")
    else:
        yield Finding(
            Level.FAIL,
            "kernel",
            f"refuses the rules: {(done.stderr.strip() or 'without a word').splitlines()[0]}",
            "modprobe -a nft_tproxy nft_socket nft_fib_inet; or use --backend iptables",
        )


# -- kernel parameters -------------------------------------------------------------------------------------------------


def _automatic_helpers() -> Iterator[Finding]:
    """Whether the kernel attaches helpers by itself, as it did until Linux 5.19; later only a rule attaches one."""
    if _sysctl("netfilter/nf_conntrack_helper") == "1":
        yield Finding(
            Level.WARN,
            "kernel helpers",
            "attached to every session on its port: they would rewrite addresses a second time",
            "sysctl -w net.netfilter.nf_conntrack_helper=0",
        )


def _sysctl(name: str) -> str:
    """The value of a kernel parameter. It is "" when this kernel has no parameter of that name."""
    path = _SYSCTL / name
    return path.read_text().strip() if path.exists() else ""


def _used(config: Config) -> set[str]:
    """Interfaces by which packets of sessions come in. "" is any, and also stands for those that cannot be told."""
    try:
        return {packet.interface for one in traffic.of_config(config, _links()) for packet in one.inward}
    except NetError:
        return {""}


def _sysctls(config: Config) -> Iterator[Finding]:
    """What kernel parameters do to our packets."""
    try:
        bridges = [str(link.get("ifname")) for link in _of_ip("link", "show", "type", "bridge")]
    except NetError as error:
        bridges = []
        yield Finding(Level.WARN, "bridges", f"cannot be looked at: {error}")
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        if (value := _sysctl(f"bridge/{name}")) and bridges:
            yield judging_host.judge_bridges(bridges, _used(config), name, value)
    for version, name in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")):
        check = f"forwarding, IPv{version}"
        if _sysctl(name) == "0" and (version == 4 or net.has_ipv6()):
            detail = "off: sessions of the helpers pass, all others do not; is this the router?"
            yield Finding(Level.WARN, check, detail, f"sysctl -w net.{name.replace('/', '.')}=1")
        elif _sysctl(name):
            yield Finding(Level.OK, check, "on")
    range_, reserved = _sysctl("ipv4/ip_local_port_range"), _sysctl("ipv4/ip_local_reserved_ports")
    yield judging_host.judge_ports(config.ports, range_, reserved)
