"""Firewalls of a gateway as values, in few words, and what the doctor says of them."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

from protocols.contract.addresses import Transport
from proxy.config.schema import Config, HelperEntry, Policy
from proxy.config.values import PortRange
from proxy.doctor import judging, judging_routes, traffic
from proxy.doctor.findings import Finding, Level
from proxy.doctor.firewall import Firewall, Saved
from proxy.doctor.traffic import Links
from proxy.host import rules_iptables, rules_nft

RULESETS = Path(__file__).parents[1] / "rulesets"
FTP = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21),))
SIP = HelperEntry(id=2, name="sip", protocol=Transport.UDP, ports=(PortRange(5060, 5060),))
LAN = Policy(name="lan-out", interfaces=("lan0",), accept=True)
LINKS = Links(
    {
        "lan0": (ip_network("10.1.0.0/24"), ip_network("fd01::/64")),
        "wan0": (ip_network("198.51.100.0/24"), ip_network("2001:db8:2::/64")),
    },
    {4: ("wan0",), 6: ("wan0",)},
)
CONFIG = Config(helpers=(FTP,), policies=(LAN,))
MARK = "meta mark and 0x1000000 == 0x1000000 accept"


def saved(text: str, version: int = 4) -> Saved:
    return Saved(rules_iptables.command(version), version, text, is_in_nft=False)


def judge(firewall: Firewall, config: Config = CONFIG, links: Links = LINKS) -> list[Finding]:
    found = judging.judge(config, firewall, traffic.of_config(config, links), "999")
    return [item for item in found if item.level is not Level.OK]


def filter_table(*lines: str) -> Firewall:
    return Firewall((), (saved("\n".join(("*filter", *lines, "COMMIT", ""))),))


def base(
    hook: str, *expressions: list[Any], policy: str = "accept", family: str = "inet", priority: int = 0
) -> Firewall:
    """One chain of nft, as its JSON has it."""
    chain = {"family": family, "table": "t", "name": "c", "hook": hook, "prio": priority, "policy": policy}
    return Firewall(
        [
            {"table": {"family": family, "name": "t", "handle": 1}},
            {"chain": {**chain, "type": "filter"}},
            *({"rule": {"family": family, "table": "t", "chain": "c", "expr": item}} for item in expressions),
        ]
    )


def match(left: object, right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


SOURCE6 = {"payload": {"protocol": "ip6", "field": "saddr"}}
IIFNAME = {"meta": {"key": "iifname"}}
META_MARK = {"meta": {"key": "mark"}}
STATE = {"ct": {"key": "state"}}
DROP, ACCEPT = {"drop": None}, {"accept": None}


def ours(config: Config) -> list[dict[str, Any]]:
    """Our table, as much of it as matters."""
    names = {"family": "inet", "table": rules_nft.TABLE}
    chain = {**names, "name": "prerouting", "hook": "prerouting", "prio": -150, "type": "filter", "policy": "accept"}
    mark = {"mangle": {"key": META_MARK, "value": {"|": [META_MARK, config.network.mark.value]}}}
    return [
        {"table": {"family": "inet", "name": rules_nft.TABLE, "handle": 9}},
        {"chain": chain},
        {"rule": {**names, "chain": "prerouting", "expr": [mark, ACCEPT]}},
    ]


def routes(text: str, config: Config = CONFIG) -> list[Finding]:
    found = judging_routes.routing_rules(4, text)
    judged = judging_routes.judge_routing_rules(config, found, traffic.of_config(config, LINKS))
    return [item for item in judged if item.level is not Level.OK]
