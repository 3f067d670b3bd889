"""What keeps pinhole from working on this host, found by looking: kernel, rights, routes, and the rulesets of others.

Each check says what it saw and, when that is wrong, what to do. Facts are gathered first and judged by plain functions.
A ruleset can be written in ways that nobody recognises from outside, so what is judged from foreign rules is a warning.
"""

from __future__ import annotations

import errno
import json
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from protocols.engine import Endpoint, Transport
from proxy import net, rules, sockets
from proxy.config import Config, Mark, PortRange
from proxy.errors import NetError, SocketError
from proxy.rules import Backend

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

_DOCUMENTATION_ADDRESSES = ("192.0.2.1", "2001:db8::1")
"""Never addresses of this host (RFC 5737, RFC 3849), so only a transparent socket can be bound to them."""

_SYSCTL = Path("/proc/sys/net")
_MANGLE_PRIORITY = -150


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    check: str
    detail: str
    remedy: str = ""


def iptables_table(saved: str, table: str) -> str:
    """The part of `iptables-save` that is about one table; "" when there is none."""
    return saved.partition(f"*{table}\n")[2].partition("COMMIT\n")[0]


@dataclass(frozen=True, slots=True)
class Firewall:
    """The rulesets of this host: the objects of `nft --json list ruleset`, and `iptables-save` by IP version."""

    nft: list[dict[str, Any]] = field(default_factory=list)
    iptables: dict[int, str] = field(default_factory=dict)

    def chains(self) -> Iterator[dict[str, Any]]:
        """Chains of others, but not those that iptables made: they are read in its own words."""
        chains = (item["chain"] for item in self.nft if "chain" in item)
        return (chain for chain in chains if self._is_foreign(chain, chain["name"]))

    def rules(self) -> Iterator[dict[str, Any]]:
        found = (item["rule"] for item in self.nft if "rule" in item)
        return (rule for rule in found if self._is_foreign(rule, rule["chain"]))

    def _is_foreign(self, item: dict[str, Any], chain: str) -> bool:
        if item["family"] == "inet" and item["table"] == rules.TABLE:
            return False
        saved = self.iptables.get({"ip": 4, "ip6": 6}.get(item["family"], 0), "")
        return not re.search(rf"^:{re.escape(chain)} ", iptables_table(saved, item["table"]), flags=re.MULTILINE)

    def iptables_rules(self) -> Iterator[tuple[str, str, str]]:
        """(command, table, rule) of others."""
        for version, saved in self.iptables.items():
            table = ""
            for line in saved.splitlines():
                if line.startswith("*"):
                    table = line[1:]
                elif line.startswith(("-A ", ":")) and "PINHOLE" not in line:
                    yield rules.iptables(version), table, line


def examine(config: Config) -> list[Finding]:
    """All checks, in the order in which they should be mended. Reads only; what it binds it closes at once."""
    findings = [*_rights(), *_transparent_sockets(), *_listener(config), *_datagram_ports(config), *_addresses(config)]
    if net.capabilities() >> CAP_NET_ADMIN & 1:
        try:
            firewall = _gather()
            findings += _setup(config)
            findings += judge_marks(config, firewall)
            findings += _routing_rules(config)
            findings += judge_input(config, firewall)
            findings += judge_nat(config, firewall)
            findings += judge_helpers(config, firewall)
        except NetError as error:
            findings.append(Finding(Level.FAIL, "firewall", f"cannot be read: {error}", "see the message"))
    else:
        findings.append(
            Finding(Level.WARN, "firewall", "not examined: rules are shown only to root", "sudo pinhole doctor")
        )
    return [*findings, *_sysctls(config)]


# -- the process and its sockets --------------------------------------------------------------------------------------


def _rights() -> Iterator[Finding]:
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
    for address in _DOCUMENTATION_ADDRESSES:
        host = ip_address(address)
        check = f"transparent sockets, IPv{host.version}"
        try:
            sockets.listen(Endpoint(host, 0), 1).close()
            yield Finding(Level.OK, check, "can be bound")
        except SocketError as error:
            yield Finding(Level.FAIL, check, "not permitted", str(error))
        except OSError as error:
            level = Level.FAIL if host.version == 4 or net.has_ipv6() else Level.WARN
            yield Finding(level, check, f"cannot be bound: {error.strerror}", f"a kernel with IPv{host.version}")


def _listener(config: Config) -> Iterator[Finding]:
    port = config.network.listen_port
    for address in ("127.0.0.1", "::1") if net.has_ipv6() else ("127.0.0.1",):
        at = Endpoint(ip_address(address), port)
        check = f"listener {at}"
        try:
            sockets.listen(at, 1).close()
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
    """A service on every address has the port on those of others too, where our sockets would have to stand."""
    ports = {port for entry in config.helpers if entry.protocol is Transport.UDP for port in _few(entry.ports)}
    for port in sorted(ports):
        try:
            sockets.datagrams(Endpoint(ip_address(_DOCUMENTATION_ADDRESSES[0]), port)).close()
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
    """The first ports of each."""
    return (port for ports in ranges for port in range(ports.first, min(ports.last, ports.first + 15) + 1))


def _addresses(config: Config) -> Iterator[Finding]:
    for policy in config.policies:
        for host in policy.snat if not isinstance(policy.snat, str) else ():
            if not sockets.is_own(host):
                trouble = f"{host} is no address of this host: answers come back only if they are routed here"
                yield Finding(Level.WARN, f"policy {policy.name}, snat", trouble, "snat: interface; or add the address")


def _daemon_runs(control: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(control) == 0


# -- our own rules and routes -----------------------------------------------------------------------------------------


def _gather() -> Firewall:
    """Raises NetError. A firewall command that is not installed has no rules to show."""

    def output(command: tuple[str, ...]) -> str:
        try:
            done = net.run(command)
        except NetError:
            return ""
        return done.stdout if done.returncode == 0 else ""

    nft = output(("nft", "--json", "list", "ruleset"))
    saved = {version: output((f"{rules.iptables(version)}-save",)) for version in (4, 6)}
    return Firewall(json.loads(nft)["nftables"] if nft else [], saved)


def _setup(config: Config) -> Iterator[Finding]:
    stands: dict[Backend, list[net.Status]] = {}
    for backend in Backend:
        try:
            parts = net.status(config, backend)
        except NetError:
            continue  # its command is not installed
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


def _kernel(config: Config) -> Iterator[Finding]:
    """Whether the kernel would take the nft rules; nothing is changed."""
    step = next(step for step in rules.steps(config, Backend.NFT) if step.command[0] == "nft")
    done = net.run(("nft", "--check", *step.command[1:]), step.stdin)
    if done.returncode == 0:
        yield Finding(Level.OK, "kernel", "has nft tproxy and socket")
    else:
        yield Finding(
            Level.FAIL,
            "kernel",
            f"refuses the rules: {done.stderr.strip().splitlines()[0]}",
            "modprobe -a nft_tproxy nft_socket nft_fib_inet; or use --backend iptables",
        )


def _routing_rules(config: Config) -> Iterator[Finding]:
    """Routing rules that may decide about a packet with our mark before ours does."""
    mark = config.network.mark
    check = "routing rules"
    found = False
    for version in (4, 6) if net.has_ipv6() else (4,):
        for rule in net.routing(version)[0]:
            if rule["priority"] > rules.RULE_PRIORITY or rule.get("table") == "255":
                continue
            if rule.get("protocol") == str(rules.ROUTE_PROTOCOL):
                continue
            value, mask = int(rule.get("fwmark", "0"), 0), int(rule.get("fwmask", "0xffffffff"), 0)
            if "fwmark" in rule and (value ^ mark.value) & mask & mark.mask:
                continue  # never matches what carries our mark
            found = True
            yield Finding(
                Level.WARN,
                check,
                f"IPv{version} rule {rule['priority']} may match packets marked {mark} before ours does",
                f"give it a priority above {rules.RULE_PRIORITY}",
            )
    if not found:
        yield Finding(Level.OK, check, "none comes before ours")


# -- the rulesets of others -------------------------------------------------------------------------------------------


def _meta_mark(expression: Any) -> bool:
    return bool(expression == {"meta": {"key": "mark"}})


def _accepts(rule: dict[str, Any], mark: Mark) -> bool:
    """Whether an nft rule accepts packets because of our mark."""
    expressions = rule["expr"]
    if not expressions or "accept" not in expressions[-1]:
        return False
    for match in (item["match"] for item in expressions if "match" in item):
        left, right, mask = match["left"], match["right"], 0xFFFFFFFF
        if isinstance(left, dict) and "&" in left:
            left, mask = left["&"]
        if isinstance(right, dict) and "prefix" in right:  # how nft shows a mask of leading ones
            right, mask = right["prefix"]["addr"], 0xFFFFFFFF << (32 - right["prefix"]["len"]) & 0xFFFFFFFF
        if _meta_mark(left) and match["op"] == "==" and isinstance(right, int) and isinstance(mask, int):
            return right == mark.value & mask and mask & ~mark.mask == 0
    return False


def judge_input(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Input chains that drop by default, without the line that lets our packets in."""
    mark, check = config.network.mark, "input policy"
    found = False
    for chain in firewall.chains():
        if chain.get("hook") != "input":
            continue
        own = [
            rule for rule in firewall.rules() if (rule["family"], rule["table"]) == (chain["family"], chain["table"])
        ]
        last = [rule["expr"] for rule in own if rule["chain"] == chain["name"]][-1:]
        drops = chain.get("policy") == "drop" or any("drop" in expr[0] or "reject" in expr[0] for expr in last)
        if drops and not any(_accepts(rule, mark) for rule in own):
            found = True
            where = f"{chain['family']} {chain['table']} {chain['name']}"
            line = rules.input_line(config, Backend.NFT)
            yield Finding(
                Level.WARN,
                check,
                f"nft chain {where} drops by default and has no line for mark {mark}: sessions may hang",
                f"nft insert rule {where} {line}",
            )
    for version, saved in firewall.iptables.items():
        text = iptables_table(saved, "filter")
        shown = f"{mark.value:#x}" if mark.mask == 0xFFFFFFFF else str(mark)
        drops = bool(re.search(r"^:INPUT DROP |^-A INPUT -j (DROP|REJECT)\b", text, flags=re.MULTILINE))
        if drops and f"-m mark --mark {shown} -j ACCEPT" not in text:
            found = True
            command = rules.iptables(version)
            yield Finding(
                Level.WARN,
                check,
                f"{command}: INPUT drops by default and has no line for mark {mark}: sessions may hang",
                f"{command} --insert INPUT {rules.input_line(config, Backend.IPTABLES)}",
            )
    if not found:
        yield Finding(Level.OK, check, "lets packets with our mark in")


def judge_nat(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Source NAT of the kernel's, which would give a session that we send with the client's address another one."""
    check = "source NAT"
    if not any(policy.accept and policy.snat == "none" for policy in config.policies):
        yield Finding(Level.OK, check, "every policy has its own, the kernel finds nothing to change")
        return
    places = {
        f"nft {rule['family']} {rule['table']} {rule['chain']}"
        for rule in firewall.rules()
        if any("masquerade" in item or "snat" in item for item in rule["expr"])
    }
    places |= {
        f"{command} {table}"
        for command, table, rule in firewall.iptables_rules()
        if re.search(r" -j (MASQUERADE|SNAT|NETMAP)\b", rule)
    }
    for place in sorted(places):
        yield Finding(
            Level.WARN,
            check,
            f"{place} translates sources; where it meets sessions of a policy with `snat: none`, the server sees "
            "another address than the one announced in the session",
            "set `snat: interface` in that policy, or exempt these sessions from the rule",
        )
    if not places:
        yield Finding(Level.OK, check, "none by the kernel")


def judge_helpers(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Helpers of the kernel's connection tracking, which read and rewrite the same sessions."""
    check = "kernel helpers"
    ours = {entry.name for entry in config.helpers}
    found = []
    switch = _SYSCTL / "netfilter/nf_conntrack_helper"
    # Until Linux 5.19; later a helper is only attached by a rule.
    if switch.exists() and switch.read_text().strip() == "1":
        found.append(("attached to every session on its port", "sysctl -w net.netfilter.nf_conntrack_helper=0"))
    for helper in (item["ct helper"] for item in firewall.nft if "ct helper" in item):
        where = f"{helper['family']} {helper['table']}"
        used = any({"ct helper": helper["name"]} in rule["expr"] for rule in firewall.rules())
        if used and helper["type"] in ours:
            remedy = f'remove the rules `ct helper set "{helper["name"]}"` from nft table {where}'
            found.append((f"nft table {where} attaches {helper['type']}", remedy))
    for command, table, rule in firewall.iptables_rules():
        match = re.search(r" -j CT .*--helper (\S+)", rule)
        if match and match[1] in ours:
            found.append((f"{command} attaches {match[1]}", f"{command} -t {table} {rule.replace('-A', '-D', 1)}"))
    for detail, remedy in found:
        yield Finding(Level.WARN, check, f"{detail}: it would rewrite addresses a second time", remedy)
    if not found:
        yield Finding(Level.OK, check, "none attached to ours")


def _set_bits(value: Any) -> tuple[int, int] | None:
    """(bits that are set, bits that are kept) by an nft `meta mark set`; None when they are not known beforehand."""
    match value:
        case int():
            return value, 0
        case {"|": [inner, int(bits)]} if _meta_mark(inner):
            return bits, 0xFFFFFFFF
        case {"|": [{"&": [inner, int(kept)]}, int(bits)]} if _meta_mark(inner):
            return bits, kept
        case {"&": [inner, int(kept)]} if _meta_mark(inner):
            return 0, kept
    return None


def judge_marks(config: Config, firewall: Firewall) -> Iterator[Finding]:
    """Rules of others that set bits of our mark, or clear them after we have set them."""
    mark, check = config.network.mark, "mark"
    found = False
    late = {
        (chain["family"], chain["table"], chain["name"])
        for chain in firewall.chains()
        if chain.get("hook") == "prerouting" and chain["prio"] > _MANGLE_PRIORITY
    }
    for rule in firewall.rules():
        where = (rule["family"], rule["table"], rule["chain"])
        for mangle in (item["mangle"] for item in rule["expr"] if "mangle" in item):
            bits = _set_bits(mangle["value"]) if _meta_mark(mangle["key"]) else None
            if bits is None:
                continue
            sets, keeps = bits
            if sets & mark.mask == mark.value or (where in late and mark.mask & ~keeps):
                found = True
                yield Finding(Level.WARN, check, f"nft chain {' '.join(where)} changes bits of {mark}", _OTHER_MARK)
    for command, table, line in firewall.iptables_rules():
        match = re.search(r" -j (?:CONN)?MARK --set-xmark (0x[0-9a-f]+)/(0x[0-9a-f]+)", line)
        if match and int(match[1], 0) & mark.mask == mark.value:
            found = True
            yield Finding(Level.WARN, check, f"{command} -t {table} sets bits of {mark}: {line}", _OTHER_MARK)
    if not found:
        yield Finding(Level.OK, check, f"nobody else uses {mark}")


_OTHER_MARK = "choose other bits for network.mark, or for that rule"


# -- kernel parameters ------------------------------------------------------------------------------------------------


def _sysctl(name: str) -> str:
    """Its value; "" when this kernel has none of that name."""
    path = _SYSCTL / name
    return path.read_text().strip() if path.exists() else ""


def _sysctls(config: Config) -> Iterator[Finding]:
    bridges = [
        str(link["ifname"]) for link in json.loads(net.run(("ip", "-json", "link", "show", "type", "bridge")).stdout)
    ]
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        if (value := _sysctl(f"bridge/{name}")) and bridges:
            yield judge_bridges(bridges, name, value)
    for version, name in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")):
        check = f"forwarding, IPv{version}"
        if _sysctl(name) == "0" and (version == 4 or net.has_ipv6()):
            detail = "off: sessions of the helpers pass, all others do not; is this the router?"
            yield Finding(Level.WARN, check, detail, f"sysctl -w net.{name.replace('/', '.')}=1")
        elif _sysctl(name):
            yield Finding(Level.OK, check, "on")
    yield judge_ports(config.ports, _sysctl("ipv4/ip_local_port_range"), _sysctl("ipv4/ip_local_reserved_ports"))


def judge_bridges(bridges: list[str], name: str, value: str) -> Finding:
    """With br_netfilter, IP rules see a bridged packet while it is still on the bridge; the socket that TPROXY finds
    for it there is forgotten before the packet reaches IP, and the client's SYN is never answered."""
    if value == "0":
        return Finding(Level.OK, name, "off; sessions may come in by a bridge")
    detail = f"on (Docker does that): sessions that come in by a bridge ({', '.join(bridges)}) are never answered"
    return Finding(Level.FAIL, name, detail, f"sysctl -w net.bridge.{name}=0")


def judge_ports(ports: PortRange, local_range: str, reserved: str) -> Finding:
    """Whether the kernel gives ports of our pool to connections of other programs.

    local_range, reserved: ip_local_port_range ("32768 60999") and ip_local_reserved_ports ("40000-40009,8080").
    """
    first, last = map(int, local_range.split())
    shared = PortRange(max(first, ports.first), min(last, ports.last))
    kept = rules.merge_ports(_ranges(reserved.split(",") if reserved else ()))
    if shared.first > shared.last or any(item.first <= shared.first and shared.last <= item.last for item in kept):
        return Finding(Level.OK, "ports", f"{ports} are not given to other programs")
    wanted = ",".join(str(item) for item in rules.merge_ports((*kept, ports)))
    return Finding(
        Level.WARN,
        "ports",
        f"the kernel gives {shared} to connections of other programs; a pinhole cannot stand on a port in use",
        f"sysctl -w net.ipv4.ip_local_reserved_ports={wanted}",
    )


def _ranges(texts: Iterable[str]) -> Iterator[PortRange]:
    for text in texts:
        first, _, last = text.partition("-")
        yield PortRange(int(first), int(last or first))
