"""Judges the routing rules of this host: where packets of ours, and the sessions that we begin, go (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

from protocols.contract.addresses import Network, Transport
from proxy.config.schema import Config
from proxy.doctor.findings import Finding, Trouble, fine, trouble
from proxy.doctor.firewall import Firewall
from proxy.doctor.packets import Bits, Packet
from proxy.doctor.traffic import Traffic, marked
from proxy.doctor.walk import at_hook, walk
from proxy.host import rules_routing

_LOCAL, _MAIN, _DEFAULT = "255", "254", "253"
_NUMBERS = {Transport.TCP: "6", Transport.UDP: "17", Transport.GRE: "47"}
"""The numbers by which a routing rule names a transport."""


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A routing rule. `text` is its line in `ip -Numeric rule show`, without the priority, in words that `ip rule add`
    takes."""

    version: int
    priority: int
    text: str
    is_ours: bool = False

    def after(self, word: str) -> str:
        """The word that stands behind this one. It is "" when there is none."""
        words = self.text.split()
        return words[words.index(word) + 1] if word in words[:-1] else ""

    @property
    def arguments(self) -> str:
        """The arguments for `ip rule add` and `del`, without words that only describe the rule."""
        return re.sub(r" ?\[[a-z]+\]| ?\bproto \S+", "", self.text)


def routing_rules(version: int, text: str) -> list[RoutingRule]:
    """The routing rules in `text`, which is the output of `ip -Numeric rule show`."""
    found = []
    for line in text.splitlines():
        priority, colon, rest = line.partition(":")
        if colon and priority.strip().isdecimal():
            ours = re.search(rf"\bproto {rules_routing.ROUTE_PROTOCOL}\b", rest) is not None
            # `ip -Numeric` prints `ipproto-47`, and `ip rule add` takes the number alone.
            text = re.sub(r"\bipproto ipproto-", "ipproto ", " ".join(rest.split()))
            found.append(RoutingRule(version, int(priority), text, ours))
    return found


def _networks(text: str, version: int) -> tuple[Network, ...]:
    if text in ("", "all"):
        return ()
    try:
        return (ip_network(text, strict=False),)
    except ValueError:
        return ()


def _apart(one: tuple[Network, ...], other: tuple[Network, ...]) -> bool:
    """Whether no address is in both. () is every address."""
    return bool(one and other) and not any(
        left.version == right.version
        and int(left.network_address) <= int(right.broadcast_address)
        and int(right.network_address) <= int(left.broadcast_address)
        for left in one
        for right in other
    )


def _wanted_mark(rule: RoutingRule) -> tuple[int, int] | None:
    """The value and mask that the rule asks for. None: it asks for no mark, or cannot be read."""
    value, _, mask = rule.after("fwmark").partition("/")
    try:
        return int(value, 0), int(mask or "0xffffffff", 0)
    except ValueError:
        return None


def may_select(rule: RoutingRule, packet: Packet) -> bool:
    """Whether a routing rule may decide about a packet that comes in."""
    if rule.version != packet.version or " nop" in rule.text or "l3mdev" in rule.text:
        return False
    wanted = _wanted_mark(rule)
    mark = packet.mark
    fits = (
        not (wanted is not None and (wanted[0] ^ mark.value) & wanted[1] & mark.known)
        and not _apart(_networks(rule.after("from"), rule.version), packet.sources)
        and not _apart(_networks(rule.after("to"), rule.version), packet.destinations)
        and not (rule.after("iif") and packet.interface and rule.after("iif") != packet.interface)
        and rule.after("iif") != "lo"
        and not rule.after("oif")
        and rule.after("ipproto") in ("", packet.transport.value, _NUMBERS[packet.transport])
    )
    if not rule.text.startswith("not "):
        return fits
    # A rule with `not` leaves alone the packets that it surely names. That can be told only when it names nothing but a
    # mark whose bits are all known.
    names_only_mark = re.fullmatch(r"not from all fwmark \S+ .*", rule.text) is not None
    is_known = wanted is not None and not wanted[1] & ~mark.known
    return not (names_only_mark and is_known and fits)


def judge_routing_rules(config: Config, found: Sequence[RoutingRule], traffics: Iterable[Traffic]) -> Iterator[Finding]:
    """Routing rules that may decide about a packet with our mark before ours does."""
    check = "routing rules"
    packets = [
        # Bits beside ours belong to other programs, which may have set them.
        replace(packet, mark=Bits(packet.mark.value & packet.our_bits, packet.our_bits))
        for traffic in traffics
        for packet in map(marked, traffic.inward)
    ]
    nothing = True
    for version in sorted({rule.version for rule in found}):
        before = _before_ours([rule for rule in found if rule.version == version], packets)
        for rule in before:
            nothing = False
            yield trouble(
                Trouble.ROUTING_RULE_BEFORE,
                check,
                f"IPv{version} rule {rule.priority} ({rule.text}) decides about packets marked {config.network.mark} "
                "before ours does: they are not delivered",
                _taken_back(rule),
            )
    if nothing:
        yield fine(check, "none comes before ours")


def _before_ours(found: Sequence[RoutingRule], packets: Sequence[Packet]) -> list[RoutingRule]:
    """Rules of others that stand before the one of ours that leads to our route, in the order of the list."""
    ours = next((number for number, rule in enumerate(found) if rule.is_ours and rule.after("lookup")), None)
    if ours is None:
        ours = sum(rule.priority <= rules_routing.RULE_PRIORITY for rule in found)
    return [
        rule
        for rule in found[:ours]
        if not rule.is_ours and rule.after("lookup") != _LOCAL and any(may_select(rule, packet) for packet in packets)
    ]


def _taken_back(rule: RoutingRule) -> str:
    """The command that puts our rules first again: `net up` takes a place before all others, as long as there is
    one."""
    if rule.priority > rules_routing.RULES_IN_A_ROW:
        words = rule.arguments
        wireguard = "suppress_" in words or words.startswith("not ")
        return "pinhole net up" + ("  # to last: PostUp = pinhole net up, in the file of wg-quick" if wireguard else "")
    ip, words = f"ip -{rule.version} rule", rule.arguments
    place = rules_routing.RULE_PRIORITY + rules_routing.RULES_IN_A_ROW
    return f"{ip} add {words} priority {place} && {ip} del {words} priority {rule.priority}"


# -- the way of our own sessions to servers ----------------------------------------------------------------------------


def judge_ways(firewall: Firewall, found: Sequence[RoutingRule], traffics: Sequence[Traffic]) -> Iterator[Finding]:
    """Routing by a client's mark or interface, which the session that we begin towards the server does not have."""
    check = "policy routing"
    said: dict[str, Finding] = {}
    for rule in found:
        table = rule.after("lookup")
        if rule.is_ours or rule.after("iif") == "lo" or table in (_LOCAL, _MAIN, _DEFAULT):
            continue
        for traffic in traffics:
            if _is_followed_by_clients_alone(firewall, found, rule, traffic):
                said[rule.text] = _another_way(rule, traffic)
    yield from said.values()
    if not said:
        yield fine(check, "none goes by what only the client's packets have")


def _is_followed_by_clients_alone(
    firewall: Firewall, found: Sequence[RoutingRule], rule: RoutingRule, traffic: Traffic
) -> bool:
    """Whether the client's first packet would go by this rule, and the session that we begin would not."""
    clients = [packet for packet in traffic.inward if packet.state == "new" and not packet.is_transparent]
    servers = [packet for packet in traffic.outward if packet.state == "new" and packet.version == rule.version]
    if rule.text.startswith("not ") or all(_goes_that_way(found, rule, packet, traffic) for packet in servers):
        return False
    if rule.after("iif"):
        return any(may_select(rule, packet) for packet in clients)
    if not rule.after("fwmark"):
        return False
    return any(_is_given(firewall, rule, packet, "prerouting") for packet in clients) and not any(
        _is_given(firewall, rule, packet, "output") for packet in servers
    )


def _goes_that_way(found: Sequence[RoutingRule], rule: RoutingRule, packet: Packet, traffic: Traffic) -> bool:
    """Whether a session that we begin is led to the same table, by its source address or the mark of its policy."""
    policy = traffic.policy
    sources = packet.sources if isinstance(policy.snat, str) else tuple(ip_network(host) for host in policy.snat)
    for other in found:
        if other.version != rule.version or other.after("lookup") != rule.after("lookup") or other.after("iif"):
            continue
        if other.after("fwmark"):
            mark = policy.route_mark
            if mark is not None and may_select(other, replace(packet, mark=Bits(mark))):
                return True
        elif sources and (networks := _networks(other.after("from"), rule.version)) and not _apart(networks, sources):
            return True
    return False


def _is_given(firewall: Firewall, rule: RoutingRule, packet: Packet, hook: str) -> bool:
    """Whether a firewall rule gives packets the mark that a routing rule asks for."""
    order = at_hook(firewall.chains, hook, packet.version)
    if hook == "output":
        # In output only chains of the kind `route` make the kernel look for a route again.
        order = [base for base in order if base.kind == "route"]
    order = [base for base in order if not base.is_ours]
    return any(
        may_select(rule, replace(packet, mark=change.after))
        for change in walk(firewall.chains, order, packet).changes
        if not change.is_restored and not change.chain.is_ours and change.after.value
    )


def _another_way(rule: RoutingRule, traffic: Traffic) -> Finding:
    policy = traffic.policy.name
    ip, table = f"ip -{rule.version} rule", rule.after("lookup")
    by = f"mark {rule.after('fwmark')}" if rule.after("fwmark") else f"interface {rule.after('iif')}"
    detail = (
        f"IPv{rule.version} rule {rule.priority} ({rule.text}) routes by {by}; a session of policy {policy} to a "
        "server begins on this host, has neither mark nor interface of its client, and goes by another table"
    )
    sources = [network for packet in traffic.inward for network in packet.sources if not packet.is_transparent]
    where = f"lookup {table}" if table else rule.arguments.rpartition(" ")[2]
    if traffic.policy.snat == "none" and sources:
        remedy = f"{ip} add from {sources[0]} {where} priority {rule.priority}"
    else:
        mark = rule.after("fwmark")
        too = "" if mark else f", and {ip} add fwmark 0x2 {where} priority {rule.priority}"
        remedy = f"# route_mark: {mark.partition('/')[0] or '0x2'} in policy {policy}{too}"
    return trouble(Trouble.ROUTING_BY_CLIENT, "policy routing", detail, remedy)


def judge_route_marks(
    config: Config, found: Sequence[RoutingRule], strict: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    """Policies with `route_mark`: whether a routing rule looks at the mark, and whether answers may come in by its way.

    `strict` has, for each routing table, the interfaces of its default routes where rp_filter drops what comes by
    another way than the usual one.
    """
    for policy in config.policies:
        mark = policy.route_mark
        if mark is None:
            continue
        check = f"policy {policy.name}, route_mark"
        looking = [rule for rule in found if not rule.is_ours and _looks_at(rule, mark)]
        if not looking:
            remedy = f"# ip rule add fwmark {mark:#x} lookup TABLE; or leave it out"
            detail = f"no routing rule asks for {mark:#x}: sessions to servers go by the usual way"
            yield trouble(Trouble.ROUTE_MARK_UNUSED, check, detail, remedy)
        tables = {rule.after("lookup") for rule in looking if rule.version == 4}
        for interface in sorted({name for table in tables for name in strict.get(table, ())}):
            detail = (
                f"answers that come by {interface} are dropped: rp_filter is strict, and the usual way is another one"
            )
            remedy = f"sysctl -w net.ipv4.conf.{interface.replace('.', '/')}.rp_filter=2"
            yield trouble(Trouble.ROUTE_MARK_FILTERED, check, detail, remedy)


def _looks_at(rule: RoutingRule, mark: int) -> bool:
    """Whether the routing rule looks at this mark."""
    wanted = _wanted_mark(rule)
    return wanted is not None and not (wanted[0] ^ mark) & wanted[1]
