"""What keeps pinhole from working on this host, found by looking: kernel, rights, routes, and the rulesets of others.

`facts` reads what the host says of itself; what it means is judged by plain functions: `judging` for rulesets,
`judging_routes` for routing rules, `judging_fastpath` for media in the kernel, `judging_host` for the rest. What cannot
be read is said, never taken for well.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from protocols.contract.addresses import Endpoint, Transport
from proxy.config.schema import Config
from proxy.config.values import PortRange
from proxy.doctor import (
    audit_places,
    facts,
    judging,
    judging_fastpath,
    judging_host,
    judging_own,
    judging_routes,
    traffic,
)
from proxy.doctor.findings import Finding, Trouble, fine, trouble
from proxy.doctor.firewall import Firewall
from proxy.errors import NetError, PinholeError, SocketError
from proxy.host import commands, entrances, net, privileges, routing, rules
from proxy.host.rules import Backend
from proxy.sockets import transparent

_DOCUMENTATION_ADDRESSES = ("192.0.2.1", "2001:db8::1")
"""Addresses that no host has (RFC 5737, RFC 3849), so only a transparent socket can be bound to them."""


def examine(
    config: Config, limits: Iterable[Mapping[str, Any]] = (), fastpath: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Run all checks, in the order in which their findings should be mended. They only read; a socket that they bind is
    closed at once. If a daemon runs, `limits` are the rows of `/v1/limits`, and `fastpath` is what its status says of
    media in the kernel."""
    findings = [*_rights(config), *_transparent_sockets(), *_listener(config)]
    findings += [*_datagram_ports(config), *_addresses(config)]
    findings += audit_places.try_places(config.audit)
    findings += judging_host.judge_interfaces(config, [name for _, name in socket.if_nameindex()])
    if privileges.NET_ADMIN in privileges.effective():
        try:
            findings += _firewall(config, fastpath)
        except NetError as error:
            detail = f"cannot be read: {error}"
            findings.append(trouble(Trouble.FIREWALL_UNREADABLE, "firewall", detail, "# see the message"))
    else:
        detail = "not examined: rules are shown only to root"
        findings.append(trouble(Trouble.FIREWALL_NOT_EXAMINED, "firewall", detail, "sudo pinhole doctor"))
    findings += _sysctls(config)
    if limits := list(limits):
        findings += judging_host.judge_limits(limits)
    return findings


def _firewall(config: Config, fastpath: Mapping[str, Any] | None) -> Iterator[Finding]:
    """All that rules and routes decide: ours, and those of others. Raises NetError."""
    firewall, is_readable = facts.firewall()
    if not is_readable:
        detail, remedy = (
            "nft does not tell its rules as JSON: not examined",
            "# an nft with JSON: Debian nftables, OpenWrt nftables-json",
        )
        yield trouble(Trouble.FIREWALL_NO_JSON, "firewall", detail, remedy)
    yield from _setup(config, firewall)
    traffics = traffic.of_config(config, facts.links())
    routes = facts.routing_rules()
    yield from judging_routes.judge_routing_rules(config, routes, traffics)
    yield from judging.judge(config, firewall, traffics, _user(config))
    yield from judging_routes.judge_ways(firewall, routes, traffics)
    yield from judging_routes.judge_route_marks(config, routes, facts.strict_ways(routes))
    yield from _automatic_helpers()
    yield from judging_fastpath.judge_fastpath(config, facts.fastpath(fastpath), firewall if is_readable else None)


# -- the process and its sockets --------------------------------------------------------------------------------------


def _rights(config: Config) -> Iterator[Finding]:
    """Whether this process has the rights that serving takes."""
    held = privileges.effective()
    low_ports = Trouble.NO_LOW_PORT_RIGHT, "FTP data from port 20 needs it"
    if helpers := config.on_reserved_ports:
        low_ports = Trouble.NO_RESERVED_PORT_RIGHT, f"without it the daemon does not start: {' and '.join(helpers)}"
    for number, name, (kind, purpose) in (
        (privileges.NET_RAW, "CAP_NET_RAW", (Trouble.NO_RAW_RIGHT, "transparent sockets need it")),
        (privileges.NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", low_ports),
    ):
        if number in held:
            yield fine(name, "held")
        else:
            yield trouble(kind, name, f"missing: {purpose}", f"# systemd: AmbientCapabilities={name}; or run as root")


def _transparent_sockets() -> Iterator[Finding]:
    """Whether transparent sockets can be made."""
    for address in _DOCUMENTATION_ADDRESSES:
        host = ip_address(address)
        check = f"transparent sockets, IPv{host.version}"
        try:
            transparent.listen(Endpoint(host, 0), 1).close()
            yield fine(check, "can be bound")
        except SocketError as error:
            yield trouble(Trouble.TRANSPARENT_NOT_PERMITTED, check, "not permitted", f"# {error}")
        except OSError as error:
            if host.version == 6 and not routing.has_ipv6():
                yield fine(check, "not needed: no interface has an IPv6 address")
                continue
            detail = f"cannot be bound: {error.strerror}"
            remedy = f"# has this kernel IPv{host.version}, and has net.ipv4.ip_local_port_range a port left?"
            yield trouble(Trouble.TRANSPARENT_NOT_POSSIBLE, check, detail, remedy)


def _listener(config: Config) -> Iterator[Finding]:
    """Whether the port of the main listeners is free."""
    port = config.network.listen_port
    for address in ("127.0.0.1", "::1") if routing.has_ipv6() else ("127.0.0.1",):
        at = Endpoint(ip_address(address), port)
        check = f"listener {at}"
        try:
            transparent.listen(at, 1).close()
            yield fine(check, "free")
        except SocketError:
            continue  # reported by _transparent_sockets
        except OSError as error:
            if _daemon_at(config.control.path) is not None:
                yield fine(check, "in use by the running daemon")
            else:
                remedy = f"ss -ltnp 'sport = :{port}'  # who has it? Or choose another network.listen_port"
                yield trouble(Trouble.LISTENER_TAKEN, check, f"cannot be bound: {error.strerror}", remedy)


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
                detail = "a service of this host has it on every address: sessions to it are refused (address_in_use)"
                remedy = f"ss -ulnp 'sport = :{port}'  # who has it? Let it listen on addresses of its own, or stop it"
                yield trouble(Trouble.UDP_PORT_TAKEN, f"UDP port {port}", detail, remedy)


def _few(ranges: Iterable[PortRange]) -> Iterator[int]:
    """The first ports of each range."""
    return (port for ports in ranges for port in range(ports.first, min(ports.last, ports.first + 15) + 1))


def _addresses(config: Config) -> Iterator[Finding]:
    """Whether this host has the addresses that policies use for `snat`."""
    for policy in config.policies:
        for host in policy.snat if not isinstance(policy.snat, str) else ():
            if not transparent.is_own(host):
                detail = f"{host} is no address of this host: answers come back only if they are routed here"
                remedy = "# snat: interface; or add the address"
                yield trouble(Trouble.SNAT_NOT_OURS, f"policy {policy.name}, snat", detail, remedy)


def _user(config: Config) -> str:
    """The number of the user that the daemon runs as, or would run as."""
    if (uid := _daemon_at(config.control.path)) is not None:
        return str(uid)
    try:
        return str(privileges.user(config.user).uid)
    except PinholeError:
        return config.user or privileges.USUAL_NAME  # the daemon says at its start that there is no such user


def _daemon_at(control: str) -> int | None:
    """The user of the daemon that answers at this control socket. None: nobody answers."""
    with socket.socket(socket.AF_UNIX) as client:
        return entrances.user_at(client) if client.connect_ex(control) == 0 else None


# -- our own rules and routes ------------------------------------------------------------------------------------------


def _setup(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Whether our own rules and routes stand."""
    stands: dict[Backend, list[net.Status]] = {}
    for backend in Backend:
        try:
            parts = net.status(config, backend)
        except NetError as error:
            if facts.output((backend.value, "--version")) is not None:
                detail = f"cannot be told with {backend.value}: {error}"
                yield trouble(Trouble.RULES_UNREADABLE, "rules", detail, "# see the message")
            continue
        if any(part.detail != "missing" for part in parts if not part.what.startswith("IPv")):
            stands[backend] = parts
    if not stands:
        yield trouble(Trouble.RULES_NONE, "rules", "nothing is set up", "pinhole net up")
        yield from _kernel(config)
    elif len(stands) > 1:
        yield trouble(Trouble.RULES_TWICE, "rules", "set up with both backends", "pinhole net up")
    for backend, parts in stands.items():
        for part in parts:
            if part.present:
                yield fine(part.what, part.detail)
            else:
                remedy = f"pinhole net up --backend {backend.value}"
                yield trouble(Trouble.RULES_NOT_IN_FORCE, part.what, part.detail, remedy)
        if all(part.present for part in parts):
            yield from judging_own.judge_own(config, firewall, backend)


def _kernel(config: Config) -> Iterator[Finding]:
    """Whether the kernel would take the nft rules; nothing is changed."""
    step = next(step for step in rules.steps(config, Backend.NFT) if step.command[0] == "nft")
    done = commands.run(("nft", "--check", *step.command[1:]), step.stdin)
    if done.returncode == 0:
        yield fine("kernel", "has nft tproxy and socket")
    else:
        yield trouble(
            Trouble.RULES_REFUSED,
            "kernel",
            f"refuses the rules: {(done.stderr.strip() or 'without a word').splitlines()[0]}",
            "modprobe -a nft_tproxy nft_socket nft_fib_inet  # or use --backend iptables",
        )


# -- kernel parameters -------------------------------------------------------------------------------------------------


def _automatic_helpers() -> Iterator[Finding]:
    """Whether the kernel attaches helpers by itself, as it did until Linux 5.19; later only a rule attaches one."""
    if facts.sysctl("netfilter/nf_conntrack_helper") == "1":
        yield trouble(
            Trouble.HELPER_AUTOMATIC,
            "kernel helpers",
            "attached to every session on its port: they would rewrite addresses a second time",
            "sysctl -w net.netfilter.nf_conntrack_helper=0",
        )


def _used(config: Config, bridges: Iterable[str]) -> set[str]:
    """The bridges by which packets of sessions may come in."""
    try:
        links = facts.links()
        interfaces = {packet.interface for one in traffic.of_config(config, links) for packet in one.inward}
    except NetError:
        return set(bridges)
    # Where packets may come by any interface, they come by no bridge that nobody is on.
    return {name for name in bridges if name in interfaces or ("" in interfaces and name not in links.deserted)}


def _sysctls(config: Config) -> Iterator[Finding]:
    """What kernel parameters do to our packets."""
    try:
        bridges = facts.bridges()
    except NetError as error:
        bridges = []
        yield trouble(Trouble.BRIDGES_UNREADABLE, "bridges", f"cannot be looked at: {error}")
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        if (value := facts.sysctl(f"bridge/{name}")) and bridges:
            yield judging_host.judge_bridges(bridges, _used(config, bridges), name, value)
    for version, name in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")):
        check = f"forwarding, IPv{version}"
        if facts.sysctl(name) == "0" and (version == 4 or routing.has_ipv6()):
            detail = "off: sessions of the helpers pass, all others do not; is this the router?"
            remedy = f"sysctl -w net.{name.replace('/', '.')}=1"
            yield trouble(Trouble.FORWARDING_OFF, check, detail, remedy)
        elif facts.sysctl(name):
            yield fine(check, "on")
    range_, reserved = facts.sysctl("ipv4/ip_local_port_range"), facts.sysctl("ipv4/ip_local_reserved_ports")
    yield judging_host.judge_ports(config.ports, range_, reserved)
