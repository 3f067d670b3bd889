"""What becomes of pinhole's packets in input and output chains of others, judged without a kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocols.contract.addresses import Transport
from proxy.config import reading
from proxy.config.schema import Config, HelperEntry
from proxy.config.values import PortRange
from proxy.doctor.findings import Trouble
from proxy.doctor.firewall import Firewall
from tests.harness.firewalls import (
    ACCEPT,
    CONFIG,
    DROP,
    IIFNAME,
    LAN,
    MARK,
    META_MARK,
    RULESETS,
    SOURCE6,
    STATE,
    base,
    filter_table,
    judge,
    match,
    saved,
)

CONFIGS = Path(__file__).parents[3] / "configs"

# -- input ------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("snat", "is_found"), [("none", True), ("interface", False)])
def test_the_order_matters_where_both_legs_may_have_the_same_addresses(snat: str, is_found: bool) -> None:
    """With source NAT they differ, so there our line may stand behind the one about states."""
    ours = [match({"&": [META_MARK, 0x1000000]}, 0x1000000), ACCEPT]
    established = [match(STATE, ["established", "related"], "in"), ACCEPT]
    invalid = [match(STATE, "invalid", "in"), DROP]
    config = CONFIG.model_copy(update={"policies": (LAN.model_copy(update={"snat": snat}),)})
    found = judge(base("input", established, invalid, ours, policy="drop"), config)
    assert [item.name for item in found] == [str(Trouble.INPUT_DROPS)] * is_found


def test_on_the_home_router_the_order_matters_for_ipv6() -> None:
    config = reading.load(CONFIGS / "home-router.yaml")
    ours = [match({"&": [META_MARK, 0x1000000]}, 0x1000000), ACCEPT]
    invalid = [match(STATE, "invalid", "in"), DROP]
    (found,) = judge(base("input", invalid, ours, policy="drop"), config)
    assert found.detail.endswith("drops data connections with the same addresses on both legs (IPv6)")
    assert found.remedy.startswith("nft insert rule inet t c ")


@pytest.mark.parametrize(
    ("name", "protocol", "told"),
    [
        ("ftp", "tcp", ["data connections of servers"]),
        ("sip", "udp", ["media and data of servers"]),
        ("tftp", "udp", ["media and data of servers"]),
        ("rtsp", "tcp", ["media and data of servers"]),
        ("h323", "tcp", ["media and data of servers", "data connections of servers"]),
        ("rsh", "tcp", ["data connections of servers"]),
        ("tns", "tcp", []),
        ("dns", "udp", []),
    ],
)
def test_what_servers_begin_has_to_be_let_in(name: str, protocol: str, told: list[str]) -> None:
    """What clients begin, and all answers, are let in here."""
    entry = HelperEntry(id=1, name=name, protocol=Transport(protocol), ports=(PortRange(21, 21),))
    from_clients = [match(IIFNAME, "lan0"), ACCEPT]
    answers = [match(STATE, ["established", "related", "invalid"], "in"), ACCEPT]
    found = judge(base("input", from_clients, answers, policy="drop"), Config(helpers=(entry,), policies=(LAN,)))
    assert [item.detail for item in found] == [
        f"nft inet t c: its policy drop drops {', '.join(told)} (IPv4 and IPv6)" for _ in range(bool(told))
    ]


def test_a_reserved_port_of_a_server_is_not_covered_by_a_rule_for_high_ports() -> None:
    high = [match({"payload": {"protocol": "tcp", "field": "dport"}}, {"range": [1024, 65535]}), ACCEPT]
    from_clients = [match(IIFNAME, "lan0"), ACCEPT]
    answers = [match(STATE, ["established", "related", "invalid"], "in"), ACCEPT]
    firewall = base("input", from_clients, answers, high, policy="drop")
    for name, is_found in (("ftp", False), ("rsh", True)):
        entry = HelperEntry(id=1, name=name, protocol=Transport.TCP, ports=(PortRange(21, 21),))
        assert bool(judge(firewall, Config(helpers=(entry,), policies=(LAN,)))) is is_found


# -- output -----------------------------------------------------------------------------------------------------------


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


# -- whoever wrote the chain ------------------------------------------------------------------------------------------


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
