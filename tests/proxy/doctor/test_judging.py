"""What becomes of pinhole's packets in rulesets of others, judged without a kernel; and no ruleset that is too odd."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Transport
from proxy.config.schema import Config, HelperEntry, NetworkSettings, Policy
from proxy.config.values import PortRange
from proxy.doctor import judging, judging_own, judging_routes, traffic
from proxy.doctor.findings import Finding, Level, Trouble
from proxy.doctor.firewall import Firewall, Saved
from proxy.doctor.traffic import Links
from proxy.host import rules_iptables, rules_nft
from proxy.host.rules import Backend

RULESETS = Path(__file__).parents[2] / "rulesets"
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


# -- input -------------------------------------------------------------------------------------------------------------


def test_a_prefix_of_ipv6_that_is_longer_than_32_bits_is_no_trouble() -> None:
    prefix = {"prefix": {"addr": "fd12:3456:789a:1::", "len": 64}}
    (found,) = judge(base("input", [match(SOURCE6, prefix), ACCEPT], policy="drop"))
    assert found.check == "input policy"
    assert found.detail.startswith("nft inet t c: its policy drop drops ")
    assert found.remedy == f"nft insert rule inet t c {MARK}"


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(["-A INPUT -j DEEP", "-A DEEP -g END", "-A END -j DROP"], id="a jump and a goto"),
        pytest.param(["-A INPUT -i lan0 -j DROP"], id="not the last rule"),
        pytest.param(["-A INPUT ! -i lo -j REJECT --reject-with icmp-port-unreachable"], id="all but lo"),
        pytest.param(["-A INPUT -m limit --limit 3/min -j LOG", "-A INPUT -p tcp -j DROP"], id="behind a log"),
        pytest.param(["-A INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP"], id="by state"),
        pytest.param(["-A INPUT -d 10.0.0.0/8 -j ACCEPT", "-A INPUT -j DROP"], id="behind an exception"),
        pytest.param(["-A INPUT -m addrtype ! --dst-type LOCAL -j DROP"], id="addresses of others"),
        pytest.param(["-A INPUT -m iprange --src-range 10.0.0.0-10.255.255.255 -j DROP"], id="a range of addresses"),
    ],
)
def test_input_chains_of_iptables_that_drop_wherever_they_do_it(rules: list[str]) -> None:
    firewall = filter_table(":INPUT ACCEPT [0:0]", ":DEEP - [0:0]", ":END - [0:0]", *rules)
    (found,) = judge(firewall)
    assert found.check == "input policy"
    line = "-A INPUT -m mark --mark 0x1000000/0x1000000 -j ACCEPT"
    assert judge(filter_table(":INPUT ACCEPT [0:0]", ":DEEP - [0:0]", ":END - [0:0]", line, *rules)) == []


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(["-A INPUT -s 203.0.113.7/32 -j DROP"], id="a single host"),
        pytest.param(["-A INPUT -m set --match-set blocked src -j DROP"], id="a set of hosts"),
        pytest.param(["-A INPUT -i wan1 -j DROP"], id="another interface"),
        pytest.param(["-A INPUT -p udp -j DROP"], id="another transport"),
        pytest.param(["-A INPUT -j ACCEPT", "-A INPUT -j DROP"], id="never reached"),
        pytest.param(["-A INPUT -j SUB", "-A SUB -j RETURN", "-A SUB -j DROP"], id="behind a return"),
        pytest.param(["-A INPUT -m hashlimit --hashlimit-above 9/sec --hashlimit-name x -j DROP"], id="too many"),
        pytest.param(["-A INPUT -m mark ! --mark 0x1000000/0x1000000 -j DROP"], id="all that is not ours"),
        pytest.param(["-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN FIN,SYN -j DROP"], id="odd flags"),
        pytest.param(["-A INPUT -d 127.0.0.0/8 ! -i lo -j DROP"], id="loopback from outside"),
    ],
)
def test_rules_that_drop_others_say_nothing_of_us(rules: list[str]) -> None:
    assert judge(filter_table(":INPUT ACCEPT [0:0]", ":SUB - [0:0]", *rules)) == []


@pytest.mark.parametrize("kind", ["limit", "quota", "ct count"])
@pytest.mark.parametrize("place", ["rule", "set", "object"])
def test_what_drops_only_what_is_too_much_says_nothing_of_us(kind: str, place: str) -> None:
    body = {"val": 5, "rate": 5, "inv": True}
    statement: dict[str, Any] = {kind: body}
    if place == "set":
        statement = {"set": {"op": "add", "elem": SOURCE6, "set": "@s", "stmt": [statement]}}
    elif place == "object":
        statement = {kind: "mine"}
    named = {kind: {"family": "inet", "table": "t", "name": "mine", **body}}
    firewall = base("input", [statement, DROP])
    assert judge(Firewall([named, *firewall.nft])) == []
    # The other way round, only what is too much gets through.
    within = Firewall([{kind: named[kind] | {"inv": False}}, *base("input", [{kind: "mine"}, DROP]).nft])
    assert [found.check for found in judge(within)] == ["input policy"]


def test_a_quota_of_iptables_lets_in_until_it_is_used_up() -> None:
    quota = "-A INPUT -m quota {} 1000000 -j {}"
    assert judge(filter_table(":INPUT ACCEPT [0:0]", quota.format("! --quota", "DROP"))) == []
    assert judge(filter_table(":INPUT DROP [0:0]", quota.format("--quota", "ACCEPT"))) == []
    (found,) = judge(filter_table(":INPUT ACCEPT [0:0]", quota.format("--quota", "DROP")))
    assert found.check == "input policy"


def test_a_verdict_map_decides_by_interface() -> None:
    def vmap(lan: dict[str, Any]) -> dict[str, Any]:
        return {"vmap": {"key": IIFNAME, "data": {"set": [["lan0", lan], ["wan0", ACCEPT]]}}}

    assert judge(base("input", [vmap(ACCEPT)], [DROP])) == []
    (found,) = judge(base("input", [vmap(DROP)], [ACCEPT]))
    assert "'iifname vmap { lan0 : drop, wan0 : accept }' drops new sessions of clients" in found.detail


def test_a_named_map_and_a_named_set_are_looked_into() -> None:
    def firewall(interface: str) -> Firewall:
        made = base("input", [{"vmap": {"key": IIFNAME, "data": "@m"}}], [match(IIFNAME, "@s"), DROP])
        names = {"family": "inet", "table": "t"}
        return Firewall(
            [
                *made.nft,
                {"map": {**names, "name": "m", "type": "ifname", "map": "verdict", "elem": [["wan0", ACCEPT]]}},
                {"set": {**names, "name": "s", "type": "ifname", "elem": [interface]}},
            ]
        )

    assert len(judge(firewall("lan0"))) == 1
    assert judge(firewall("wan0")) == []


def test_each_base_chain_at_the_hook_has_its_say() -> None:
    """An accept ends its own chain alone, whatever the priorities are."""
    first = base("input", [ACCEPT], priority=-10)
    chain = {"family": "ip", "table": "late", "name": "in", "hook": "input", "prio": 10, "type": "filter"}
    (found,) = judge(Firewall([*first.nft, {"chain": {**chain, "policy": "drop"}}]))
    assert "nft ip late in" in found.detail
    assert found.detail.endswith("(IPv4)")


def test_a_family_is_not_asked_about_the_addresses_of_the_other() -> None:
    """`ip6 saddr != ...` never fits a packet of IPv4."""
    (found,) = judge(base("input", [match(SOURCE6, {"prefix": {"addr": "2001:db8::", "len": 32}}, "!="), DROP]))
    assert found.detail.endswith("(IPv6)")


def test_what_is_dropped_for_its_state_is_found_above_our_line() -> None:
    ours = [match({"&": [META_MARK, 0x1000000]}, 0x1000000), ACCEPT]
    invalid = [match(STATE, "invalid", "in"), DROP]
    assert judge(base("input", ours, invalid)) == []
    (found,) = judge(base("input", invalid, ours))
    assert "data connections with the same addresses on both legs" in found.detail


# -- output ------------------------------------------------------------------------------------------------------------


def test_an_output_chain_that_drops_what_we_send() -> None:
    established = "-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    (found,) = judge(filter_table(":OUTPUT DROP [0:0]", established))
    assert (found.check, found.remedy) == (
        "output policy",
        "iptables --insert OUTPUT -m owner --uid-owner 999 -j ACCEPT",
    )
    owner = "-A OUTPUT -m owner --uid-owner 999 -j ACCEPT"
    assert judge(filter_table(":OUTPUT DROP [0:0]", owner)) == []
    (found,) = judge(base("output", [match(STATE, ["established", "related"], "in"), ACCEPT], policy="drop"))
    assert found.remedy == "nft insert rule inet t c socket transparent 1 accept"


# -- source NAT --------------------------------------------------------------------------------------------------------


def nat(rule: str) -> Firewall:
    text = f"*nat\n:POSTROUTING ACCEPT [0:0]\n:SUB - [0:0]\n-A POSTROUTING {rule}\nCOMMIT\n"
    return Firewall((), (saved(text),))


@pytest.mark.parametrize("rule", ["-o wan0 -j MASQUERADE", "-s 10.1.0.0/24 -j SNAT --to-source 198.51.100.1"])
def test_kernel_translation_of_sessions_that_keep_their_address(rule: str) -> None:
    (found,) = judge(nat(rule))
    assert found.check == "source NAT"


@pytest.mark.parametrize("rule", ["-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "-o wan1 -j MASQUERADE"])
def test_kernel_translation_of_others(rule: str) -> None:
    assert judge(nat(rule)) == []


def test_a_masquerade_for_ipv4_says_nothing_of_a_policy_without_nat_for_ipv6() -> None:
    """The shipped home router: its only policy with `snat: none` is for IPv6."""
    policies = (
        Policy(name="v6", interfaces=("lan0",), sources=(ip_network("fd01::/64"),), accept=True),
        Policy(name="v4", interfaces=("lan0",), accept=True, snat="interface"),
    )
    config = CONFIG.model_copy(update={"policies": policies})
    assert judge(nat("-o wan0 -j MASQUERADE"), config) == []


PRIVATE = Policy(name="private", sources=(ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12")), accept=True)
DOCKER_NETWORK = ip_network("172.17.0.0/16")


@pytest.mark.parametrize(
    ("more", "is_found"),
    [
        pytest.param({}, False, id="no way there"),
        pytest.param({"docker0": (DOCKER_NETWORK,)}, True, id="an interface"),
        pytest.param({"eth1": (ip_network("172.17.8.0/24"),)}, True, id="an interface with a part of it"),
        pytest.param({"eth1": (ip_network("172.18.0.0/24"),)}, False, id="another network"),
    ],
)
def test_clients_of_any_interface_are_those_that_this_host_knows_a_way_to(
    more: dict[str, tuple[Any, ...]], is_found: bool
) -> None:
    """Docker translates the addresses of its containers, if there are any."""
    config = CONFIG.model_copy(update={"policies": (PRIVATE,)})
    docker = nat("-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
    for links in (replace(LINKS, networks={**LINKS.networks, **more}), replace(LINKS, beyond=more)):
        assert [item.check for item in judge(docker, config, links)] == ["source NAT"] * is_found
    deserted = replace(LINKS, networks={**LINKS.networks, **more}, deserted=frozenset(more))
    assert judge(docker, config, deserted) == []


def test_clients_behind_the_default_route_may_have_any_address_that_the_policy_names() -> None:
    policy = PRIVATE.model_copy(update={"interfaces": ("wan0",)})
    (found,) = judge(nat("-s 172.17.0.0/16 -j MASQUERADE"), CONFIG.model_copy(update={"policies": (policy,)}))
    assert found.name == str(Trouble.NAT_OF_SOURCES)


@pytest.mark.parametrize(
    ("rule", "is_found"),
    [
        ("-p tcp -m tcp --dport 21 -j REDIRECT --to-ports 2121", True),
        ("-i lan0 -p tcp -m multiport --dports 20,21 -j DNAT --to-destination 10.9.9.9", True),
        ("-m addrtype --dst-type LOCAL -j DOCKER", False),
        ("-d 203.0.113.7/32 -p tcp -m tcp --dport 21 -j DNAT --to-destination 10.9.9.9", False),
        ("-i lan0 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128", False),
    ],
)
def test_sessions_of_helper_ports_that_others_lead_elsewhere(rule: str, is_found: bool) -> None:
    docker = ":DOCKER - [0:0]\n-A DOCKER ! -i docker0 -p tcp -m tcp --dport 21 -j DNAT --to-destination 172.17.0.2:21"
    text = f"*nat\n:PREROUTING ACCEPT [0:0]\n{docker}\n-A PREROUTING {rule}\nCOMMIT\n"
    assert [item.check for item in judge(Firewall((), (saved(text),)))] == ["destination NAT"] * is_found


# -- marks of UDP, segment sizes ---------------------------------------------------------------------------------------


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


def test_a_mark_that_is_restored_for_udp_alone_matters_to_sip_alone() -> None:
    """wg-quick does that."""
    restore = [
        match({"meta": {"key": "l4proto"}}, "udp"),
        {"mangle": {"key": META_MARK, "value": {"ct": {"key": "mark"}}}},
    ]
    firewall = Firewall([*ours(CONFIG), *base("prerouting", restore, priority=-150).nft])
    assert judge(firewall) == []
    (found,) = judge(firewall, CONFIG.model_copy(update={"helpers": (SIP,)}))
    assert found.check == "mark"
    assert found.remedy == f"nft insert rule inet t c {MARK}"


def test_a_segment_size_that_is_set_in_forward() -> None:
    clamp = "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1300"
    text = f"*mangle\n:FORWARD ACCEPT [0:0]\n{clamp}\nCOMMIT\n"
    (found,) = judge(Firewall((), (saved(text),)))
    assert (found.check, "max_segment: 1300" in found.remedy) == ("segment size", True)
    size = {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1300}}
    assert [item.check for item in judge(base("forward", [size]))] == ["segment size"]


def test_a_segment_size_that_our_own_sessions_keep_to() -> None:
    size = {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1300}}
    for most, count in ((1301, 1), (1300, 0), (1200, 0)):
        config = CONFIG.model_copy(update={"network": NetworkSettings(max_segment=most)})
        assert len(judge(base("forward", [size]), config)) == count


def test_the_mark_of_a_policy_leads_its_sessions_the_same_way() -> None:
    mark = [match(IIFNAME, "lan0"), {"mangle": {"key": META_MARK, "value": 2}}]
    found = judging_routes.routing_rules(4, "200:\tfrom all fwmark 0x2/0xff lookup 102")
    for route_mark, level in ((2, Level.OK), (3, Level.WARN)):
        policy = Policy(name="nat", interfaces=("lan0",), accept=True, snat="interface", route_mark=route_mark)
        traffics = traffic.of_config(CONFIG.model_copy(update={"policies": (policy,)}), LINKS)
        marking = base("prerouting", mark, priority=-150)
        assert {item.level for item in judging_routes.judge_ways(marking, found, traffics)} == {level}


def test_a_segment_size_that_follows_the_route_is_no_loss() -> None:
    text = "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu\nCOMMIT\n"
    assert judge(Firewall((), (saved(text),))) == []


# -- whoever wrote the chain -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "version", "wanted"),
    [
        ("ufw.iptables", 4, "/etc/ufw/before.rules; ufw reload"),
        ("ufw.ip6tables", 6, "/etc/ufw/before6.rules; ufw reload"),
        ("shorewall.iptables", 4, "/etc/shorewall/started; shorewall reload"),
        ("nixos.iptables", 4, "networking.firewall.extraCommands"),
    ],
)
def test_the_remedy_says_how_it_lasts(name: str, version: int, wanted: str) -> None:
    found = judge(Firewall((), (saved((RULESETS / name).read_text(), version),)))
    assert any(wanted in item.remedy for item in found if item.check == "input policy")


# -- routing rules -----------------------------------------------------------------------------------------------------

WG_QUICK = """0:\tfrom all lookup 255
98:\tfrom all lookup 254 suppress_prefixlength 0 proto boot
99:\tnot from all fwmark 0xca6c lookup 51820 proto boot
100:\tfrom all fwmark 0x1000000/0x1000000 iif lo goto 102 proto 213
101:\tfrom all fwmark 0x1000000/0x1000000 lookup 5353 proto 213
102:\tfrom all nop proto 213
32766:\tfrom all lookup 254
"""


def routes(text: str, config: Config = CONFIG) -> list[Finding]:
    found = judging_routes.routing_rules(4, text)
    judged = judging_routes.judge_routing_rules(config, found, traffic.of_config(config, LINKS))
    return [item for item in judged if item.level is not Level.OK]


def test_both_rules_of_wg_quick_come_before_ours() -> None:
    found = routes(WG_QUICK)
    assert [item.detail.partition(")")[0] for item in found] == [
        "IPv4 rule 98 (from all lookup 254 suppress_prefixlength 0 proto boot",
        "IPv4 rule 99 (not from all fwmark 0xca6c lookup 51820 proto boot",
    ]
    assert {item.remedy.partition("  #")[0] for item in found} == {"pinhole net up"}


def test_a_rule_before_which_there_is_no_place_is_moved_itself() -> None:
    (found,) = routes(f"1:\tfrom all lookup 7 proto static\n{WG_QUICK.splitlines()[4]}")
    wanted = "ip -4 rule add from all lookup 7 priority 103 && ip -4 rule del from all lookup 7 priority 1"
    assert found.remedy == wanted


@pytest.mark.parametrize(
    "rule",
    [
        "from all iif wan1 lookup 7",
        "from all oif wan0 lookup 7",
        "from all iif lo lookup 7",
        "from all fwmark 0x2000000/0x3000000 lookup 7",
        "from all ipproto 17 lookup 7",
        "not from all fwmark 0x1000000/0x1000000 lookup 7",
    ],
)
def test_routing_rules_that_never_see_our_packets(rule: str) -> None:
    assert routes(f"50:\t{rule}\n{WG_QUICK.splitlines()[4]}") == []


def test_a_rule_of_the_same_priority_that_stands_first_comes_first() -> None:
    ours = WG_QUICK.splitlines()[4]
    assert len(routes(f"101:\tfrom all lookup 7\n{ours}")) == 1
    assert routes(f"{ours}\n101:\tfrom all lookup 7") == []


@pytest.mark.parametrize("policy", [LAN, Policy(name="nat", interfaces=("lan0",), accept=True, snat="interface")])
def test_routing_by_a_clients_mark_or_interface_that_our_own_session_has_not(policy: Policy) -> None:
    config = CONFIG.model_copy(update={"policies": (policy,)})
    traffics = traffic.of_config(config, LINKS)
    mark = [match(IIFNAME, "lan0"), {"mangle": {"key": META_MARK, "value": 2}}]
    marking = base("prerouting", mark, priority=-150)
    for text, firewall, count in (
        ("200:\tfrom all fwmark 0x2/0xff lookup 102", marking, 1),
        ("200:\tfrom all fwmark 0x3/0xff lookup 102", marking, 0),
        ("200:\tfrom all fwmark 0x80000/0xff0000 lookup 102", Firewall(), 0),
        ("200:\tfrom all iif lan0 lookup 102", Firewall(), 1),
        ("200:\tfrom all iif wan0 lookup 102", Firewall(), 0),
        ("200:\tfrom all fwmark 0x2/0xff lookup 254", marking, 0),
    ):
        found = list(judging_routes.judge_ways(firewall, judging_routes.routing_rules(4, text), traffics))
        assert sum(item.level is Level.WARN for item in found) == count, text
    found = list(
        judging_routes.judge_ways(
            Firewall(), judging_routes.routing_rules(4, "9:\tfrom all iif lan0 lookup 102"), traffics
        )
    )
    wanted = (
        "ip -4 rule add from 10.1.0.0/24 lookup 102 priority 9"
        if policy is LAN
        else "# route_mark: 0x2 in policy nat, and ip -4 rule add fwmark 0x2 lookup 102 priority 9"
    )
    assert found[0].remedy.startswith(wanted)


# -- any ruleset -------------------------------------------------------------------------------------------------------

TEXTS = sorted(RULESETS.glob("*.ip*tables"))
JSON = json.loads((Path(__file__).parent / "ruleset.json").read_text())["nftables"]
"""All nft rulesets of tests/rulesets and some expressions more, as nft 1.0.6 tells them."""
WORDS = sorted({word for path in TEXTS for word in path.read_text().split()})


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a JSON value: its holder and its key there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _nodes(value[key])


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_no_ruleset_of_nft_is_too_odd(random: random.Random, changes: int) -> None:
    objects = json.loads(json.dumps(random.sample(JSON, 60)))
    odd: list[Any] = [
        None,
        True,
        -1,
        1 << 70,
        "",
        "@nobody",
        "lan*",
        [],
        {},
        {"set": "@x"},
        {"prefix": {"addr": "::", "len": 999}},
    ]
    for _ in range(changes):
        places = list(_nodes(objects))
        holder, key = random.choice(places)
        other, name = random.choice(places)
        holder[key] = random.choice([*odd, json.loads(json.dumps(other[name]))])
        if random.random() < 0.2 and isinstance(holder, dict):
            del holder[key]
    judge(Firewall([*ours(CONFIG), *objects]))
    judging_own.judge_own(CONFIG, Firewall(objects), Backend.NFT)


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False), st.integers(1, 12))
def test_no_output_of_iptables_save_is_too_odd(path: Path, random: random.Random, changes: int) -> None:
    lines = path.read_text().splitlines()
    for _ in range(changes):
        at = random.randrange(len(lines))
        words = lines[at].split()
        if words:
            words[random.randrange(len(words))] = random.choice([*WORDS, "!", '"', "-m", "0x", "::/129", ""])
            lines[at] = " ".join(words)
        if random.random() < 0.2:
            lines.insert(at, lines[random.randrange(len(lines))])
    judge(Firewall(ours(CONFIG), (saved("\n".join(lines), 4), saved("\n".join(lines), 6))))


@given(st.text(alphabet=st.characters(max_codepoint=255)), st.text())
def test_any_text_is_judged(text: str, routing: str) -> None:
    judge(Firewall((), (saved(f"*filter\n:INPUT DROP\n-A INPUT {text}\n{text}"),)))
    routes(f"{routing}\n5:\t{routing}")


def test_chains_that_call_each_other_in_circles_or_too_often_are_given_up() -> None:
    """The kernel has no circles, but a ruleset is read while it changes."""
    lines = [f":C{number} - [0:0]" for number in range(40)]
    lines += [f"-A C{number} -j C{(number + step) % 40}" for number in range(40) for step in (0, 1, 1, 1)]
    (found,) = judge(filter_table(":INPUT ACCEPT [0:0]", *lines, "-A INPUT -j C0"))
    assert (found.check, "not all of them were judged" in found.detail) == ("firewall", True)


def test_rules_are_told_in_words() -> None:
    for chain in Firewall(JSON).chains.values():
        for rule in chain.rules:
            assert not re.search(r"[{}'\[]{2}|None", rule.text), rule.text
