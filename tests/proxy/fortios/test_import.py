"""`pinhole import fortios`: what a FortiGate is configured with, in our words, and never more than it lets through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from protocols.contract.addresses import Transport
from proxy.command.cli import main
from proxy.config import reading
from proxy.config.files import Source
from proxy.config.schema import REGISTRY, Config
from proxy.errors import PinholeError
from proxy.fortios import syntax, table
from proxy.fortios.importing import translated

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.conf"))
PBX = Path(__file__).parents[3] / "configs" / "pbx.yaml"

INTERFACES = """
config system interface
    edit "wan1"
        set ip 203.0.113.2 255.255.255.0
    next
end
"""


def configured(policy: str, more: str = "") -> str:
    """A file with one policy, from lan to wan1, and whatever else is given."""
    keys = {
        "srcintf": "lan",
        "dstintf": "wan1",
        "srcaddr": "all",
        "dstaddr": "all",
        "action": "accept",
        "service": "ALL",
    }
    lines = [line.strip() for line in policy.splitlines() if line.strip()]
    given = {line.split()[1] for line in lines}
    lines += [f"set {key} {value}" for key, value in keys.items() if key not in given]
    return f"{INTERFACES}{more}\nconfig firewall policy\nedit 7\n" + "\n".join(lines) + "\nnext\nend\n"


def read(text: str) -> Config:
    judged = reading.judge([Source("import", translated(text).encode())])
    assert judged.settings is not None, judged.problems
    return judged.settings


def only(text: str) -> dict[str, Any]:
    """The one policy that comes of a file, as it is written."""
    (found,) = yaml.safe_load(translated(text))["policies"]
    assert isinstance(found, dict)
    return found


def remarks(text: str) -> list[str]:
    """The remarks on policies."""
    _, _, below = translated(text).partition("\npolicies:\n")
    return [line.strip().removeprefix("# ") for line in below.splitlines() if line.strip().startswith("#")]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_comes_out_as_it_is_recorded_and_passes_check(file: Path) -> None:
    result = CliRunner().invoke(main, ["import", "fortios", str(file)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == file.with_suffix(".yaml").read_text()
    checked = CliRunner().invoke(main, ["check", "-"], input=result.stdout)
    assert checked.exit_code == 0
    assert all("has no interface" in line for line in checked.stderr.splitlines())


# -- the session-helper table ----------------------------------------------------------------------------------------


def test_the_table_of_the_factory_holds_where_a_file_has_none() -> None:
    assert [(entry.id, entry.name) for entry in read(configured("")).helpers] == [
        (1, "pptp"), (2, "h323"), (3, "ras"), (4, "tns"), (5, "tftp"), (6, "rtsp"), (7, "rtsp"),
        (8, "rtsp"), (9, "ftp"), (11, "pmap"), (12, "pmap"), (13, "sip"), (14, "dns"), (15, "rsh"), (16, "rsh"),
        (17, "dcerpc"), (18, "dcerpc"), (19, "mgcp"), (20, "mgcp"), (21, "sip"),
    ]  # fmt: skip


def test_an_entry_that_a_script_deletes_is_not_in_it() -> None:
    kernel = "config system settings\nset default-voip-alg-mode kernel-helper-based\nend\n"
    text = configured("", kernel + "config system session-helper\ndelete 13\nend\n")
    assert [entry.name for entry in read(text).helpers] == [
        "pptp",
        "h323",
        "ras",
        "tns",
        "tftp",
        "rtsp",
        "rtsp",
        "rtsp",
        "ftp",
        "pmap",
        "pmap",
        "dns",
        "rsh",
        "rsh",
        "dcerpc",
        "dcerpc",
        "mgcp",
        "mgcp",
    ]


def test_an_entry_that_is_dead_is_none_and_says_so_once() -> None:
    """OT2: `mms` is accepted, and is no row that looks active."""
    text = translated(configured(""))
    assert [line for line in text.splitlines() if "mms" in line] == [
        "  # 10: mms tcp 1863: not taken over: the protocol is dead: its last servers went off in 2014; "
        "tcp 1863 is left to the forward policy"
    ]


def test_an_entry_whose_helper_has_it_off_is_off_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """OT32: FortiOS's names stand for ours where they are others."""
    dns = replace(REGISTRY["ftp"], name="dns", ports=((Transport.UDP, 53),), off={(Transport.UDP, 53): "nobody asks"})
    monkeypatch.setattr(table, "REGISTRY", {**REGISTRY, "dns": dns})
    root = syntax.read(configured(""))
    rows, _ = table.entries(root, root)
    (row,) = (row for row in rows if row.id == 14)
    assert (row.name, row.off) == ("dns", "nobody asks")
    assert row.row == {"id": 14, "name": "dns", "protocol": "udp", "port": 53, "enabled": False}


def test_the_sip_gateway_reads_its_own_ports_unless_it_is_left_to_the_helper() -> None:
    ports = "config system settings\nset sip-udp-port 5060 5080\nset sip-tcp-port 5070\nend\n"
    table = "config system session-helper\nedit 1\nset name ftp\nset protocol 6\nset port 2121\nnext\nend\n"
    found = [
        (entry.name, entry.protocol.value, str(entry.ports[0])) for entry in read(configured("", ports + table)).helpers
    ]
    assert found == [("ftp", "tcp", "2121"), ("sip", "udp", "5060"), ("sip", "udp", "5080"), ("sip", "tcp", "5070")]


def test_a_table_without_a_helper_of_ours_is_told() -> None:
    kernel = "config system settings\nset default-voip-alg-mode kernel-helper-based\nend\n"
    table = "config system session-helper\nedit 10\nset name mms\nset protocol 6\nset port 1863\nnext\nend\n"
    with pytest.raises(PinholeError, match="no entry of its session-helper table names a helper"):
        translated(configured("", kernel + table))


def test_addresses_that_are_translated_in_answers_of_name_servers_are_told_with_the_option() -> None:
    table = (
        "config firewall dnstranslation\n"
        "edit 1\nset src 203.0.113.0\nset dst 10.1.0.0\nset netmask 255.255.255.0\nnext\n"
        "edit 2\nset src 203.0.113.9\nset dst 10.2.0.9\nnext\n"
        "edit 3\nset src any\nnext\nend\n"
    )
    head = [line for line in translated(configured("", table)).splitlines() if "dnstranslation" in line]
    assert [line.rpartition("`options: ")[2] for line in head[:2]] == [
        "{dns: {translate: {203.0.113.0/24: 10.1.0.0/24}}}`",
        "{dns: {translate: {203.0.113.9/32: 10.2.0.9/32}}}`",
    ]
    assert head[2] == "# dnstranslation 3 is not mapped: its addresses cannot be read"


# -- policies --------------------------------------------------------------------------------------------------------


def test_source_nat_and_pools() -> None:
    pool = "config firewall ippool\nedit out\nset startip 203.0.113.10\nset endip 203.0.113.11\nnext\nend\n"
    assert only(configured("set nat enable"))["snat"] == "interface"
    pooled = only(configured("set nat enable\nset ippool enable\nset poolname out", pool))
    assert pooled["snat"] == ["203.0.113.10", "203.0.113.11"]
    assert "snat" not in only(configured(""))


def test_the_way_out_is_told_since_no_policy_of_ours_looks_at_it() -> None:
    assert remarks(configured(""))[1].startswith("there only what goes out by wan1; name `destination`")


def test_a_policy_of_ipv4_is_not_for_ipv6() -> None:
    assert only(configured(""))["source"] == ["0.0.0.0/0"]
    assert "source" not in only(configured("set srcaddr6 all\nset dstaddr6 all"))


def test_a_forwarded_port_is_published_for_its_helper() -> None:
    vip = (
        "config firewall vip\nedit ftp-in\nset extip 0.0.0.0\nset extintf wan1\nset mappedip 10.1.0.21\n"
        "set portforward enable\nset extport 21\nset mappedport 2121\nnext\nend\n"
    )
    assert only(configured("set srcintf wan1\nset dstintf lan\nset dstaddr ftp-in", vip)) == {
        "name": "policy 7", "from": ["wan1"], "source": ["0.0.0.0/0"], "destination": "203.0.113.2",
        "helpers": ["ftp"], "action": "accept", "dnat": "10.1.0.21:2121",
    }  # fmt: skip


def test_a_forwarded_port_of_no_helper_is_left_out() -> None:
    vip = (
        "config firewall vip\nedit web\nset extip 203.0.113.9\nset mappedip 10.1.0.80\nset portforward enable\n"
        "set extport 443\nset mappedport 443\nnext\nend\n"
    )
    text = configured("set dstaddr web", vip)
    assert remarks(text)[0] == "policy 7, virtual IP 'web' is left out: port 443/tcp is that of no helper"
    assert [policy.accept for policy in read(text).policies] == [False]


PORTS = (
    "config firewall vip\nedit pbx\nset extip 203.0.113.9\nset mappedip 10.1.0.50\nset portforward enable\n"
    "set protocol udp\nset extport {}\nset mappedport {}\nnext\nend\n"
)


def test_of_a_range_of_ports_those_of_helpers_are_published() -> None:
    text = configured("set dstaddr pbx", PORTS.format("5000-20000", "6000-21000"))
    assert only(text)["dnat"] == "10.1.0.50:6060"
    assert only(text)["helpers"] == ["sip"]


def test_a_range_of_ports_of_no_helper_is_left_out_in_one_line() -> None:
    text = configured("set dstaddr pbx", PORTS.format("10000-20000", "10000-20000"))
    assert remarks(text)[0] == "policy 7, virtual IP 'pbx' is left out: port 10000-20000/udp is that of no helper"
    assert len(remarks(text)) == 2


@pytest.mark.parametrize(
    ("ports", "why"),
    [
        (("5060-5061", "5060"), "the virtual IP 'pbx' maps 2 ports to 1"),
        (("5061-5060", "5060"), "the virtual IP 'pbx' cannot be read"),
        (("1-99999999999999999999999", "5060"), "the virtual IP 'pbx' cannot be read"),
    ],
)
def test_ports_that_cannot_be_mapped_are_told(ports: tuple[str, str], why: str) -> None:
    assert remarks(configured("set dstaddr pbx", PORTS.format(*ports)))[0] == f"policy 7 is left out: {why}"


def test_a_range_and_a_group_of_virtual_ips_become_a_policy_for_each_address() -> None:
    vips = (
        "config firewall vip\nedit pair\nset extip 203.0.113.20-203.0.113.21\nset mappedip 10.1.0.20-10.1.0.21\nnext\n"
        "edit one\nset extip 203.0.113.30\nset mappedip 10.1.0.30\nnext\nend\n"
        "config firewall vipgrp\nedit servers\nset member pair one\nnext\nend\n"
    )
    found = read(configured("set dstaddr servers", vips)).policies
    assert [(str(each.destinations[0]), str(each.dnat)) for each in found] == [
        ("203.0.113.20/32", "10.1.0.20"), ("203.0.113.21/32", "10.1.0.21"), ("203.0.113.30/32", "10.1.0.30"),
    ]  # fmt: skip
    assert len({each.name for each in found}) == 3


@pytest.mark.parametrize(
    "narrowing",
    [
        "set schedule weekdays", "set groups staff", "set srcaddr-negate enable", "set internet-service enable",
        "set action ipsec", "set nat64 enable", "set dstaddr nowhere", "set status disable",
    ],
)  # fmt: skip
def test_what_would_let_more_through_is_left_out(narrowing: str) -> None:
    text = configured(narrowing)
    assert "is left out: " in remarks(text)[0]
    assert [policy.accept for policy in read(text).policies] == [False]


def test_to_deny_more_is_allowed_and_told() -> None:
    text = configured("set action deny\nset schedule weekdays\nset dstintf any")
    assert [policy.accept for policy in read(text).policies] == [False]
    assert "`schedule` is not mapped: this denies more" in remarks(text)


def test_to_deny_one_way_out_would_deny_all_of_them() -> None:
    text = configured("set action deny")
    assert (
        remarks(text)[0]
        == "policy 7 is left out: it denies all that goes out by wan1, and ours do not look at the way out"
    )


def test_a_group_with_a_member_of_names_is_narrower_and_says_so() -> None:
    addresses = (
        "config firewall address\nedit lan\nset subnet 10.1.0.0 255.255.0.0\nnext\nedit cdn\nset type fqdn\n"
        "set fqdn cdn.example.com\nnext\nend\n"
        'config firewall addrgrp\nedit "both of them"\nset member lan cdn\nnext\nend\n'
    )
    text = configured('set srcaddr "both of them"', addresses)
    assert read(text).networks.keys() == {"lan", "both-of-them"}
    assert [str(network) for network in read(text).policies[0].sources] == ["10.1.0.0/16"]
    assert "'cdn' is of the type fqdn, which no policy of ours knows" in remarks(text)


def test_groups_within_one_another_end_and_say_so() -> None:
    groups = (
        "config firewall address\nedit lan\nset subnet 10.1.0.0 255.255.0.0\nnext\nend\n"
        "config firewall addrgrp\nedit one\nset member two\nnext\nedit two\nset member one lan\nnext\nend\n"
    )
    text = configured("set srcaddr one", groups)
    assert [str(network) for network in read(text).policies[0].sources] == ["10.1.0.0/16"]
    assert "'one' is within itself, or within too many groups" in remarks(text)


def test_addresses_whose_names_differ_in_other_scripts_alone_keep_apart() -> None:
    names = [f"\u0430{chr(0x430 + number)}" for number in range(30)]
    addresses = "".join(
        f"edit {name}\nset subnet 10.1.{number}.0 255.255.255.0\nnext\n" for number, name in enumerate(names)
    )
    text = configured(f"set srcaddr {' '.join(names)}", f"config firewall address\n{addresses}end\n")
    assert len(read(text).networks) == len(read(text).policies[0].sources) == 30


def test_groups_nested_without_end_end() -> None:
    nested = "".join(f"edit g{number}\nset member g{number + 1}\nnext\n" for number in range(2000))
    text = configured("set srcaddr g0", f"config firewall addrgrp\n{nested}end\n")
    assert any("within too many groups" in remark for remark in remarks(text))


def test_names_of_interfaces_that_linux_cannot_have_are_made_ones() -> None:
    text = configured('set srcintf "a very long name/1"')
    assert only(text)["from"] == ["a-very-long-nam"]
    assert "# interface 'a very long name/1' of the FortiGate is called 'a-very-long-nam' here" in translated(text)


def test_a_text_of_the_file_is_never_more_than_a_text() -> None:
    text = configured('set name "x\n  - {name: y, action: accept}\n${HOME} #"\nset groups "g\npolicies: []"')
    assert [policy.name for policy in read(text).policies] == ["nothing"]
    named = configured('set name "x: ${HOME} #"')
    assert read(named).policies[0].name == "x: ${HOME} #"


# -- the text --------------------------------------------------------------------------------------------------------


def test_texts_may_have_several_lines_and_quotes() -> None:
    found = syntax.read('config a\nset key "one\ntwo \\"three\\"" four\nset empty \'\'\n# config b\nend\n').block("a")
    assert found.settings == {"key": ['one\ntwo "three"', "four"], "empty": [""]}


def test_of_several_virtual_domains_one_is_chosen() -> None:
    policy = configured("").partition("config firewall policy")[2]
    domains = "".join(
        f"config vdom\nedit {name}\nconfig firewall policy\n{policy.replace('lan', name)}end\n"
        for name in ("root", "dmz")
    )
    text = f"config vdom\nedit root\nnext\nedit dmz\nnext\nend\nconfig global\n{INTERFACES}end\n{domains}"
    assert only(text)["from"] == ["root"]
    assert yaml.safe_load(translated(text, "dmz"))["policies"][0]["from"] == ["dmz"]
    with pytest.raises(PinholeError, match="no virtual domain 'x', only: root, dmz"):
        translated(text, "x")


@pytest.mark.parametrize("text", ["", "hello\n", "end\n", "config a\nend\nend\n", "policies: []\n", "config a\n" * 40])
def test_what_is_no_configuration_of_fortios_is_told(text: str) -> None:
    with pytest.raises(PinholeError):
        translated(text)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["import", "fortios", str(tmp_path / "none.conf")])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"pinhole: {tmp_path}/none.conf: cannot be read: No such file or directory\n"


def test_what_show_prints_as_fortios_has_it_comes_back_as_it_was() -> None:
    shown = CliRunner().invoke(main, ["show", "session-helper", "--format", "fortios", "-c", str(PBX)]).stdout
    table = reading.load(PBX).served
    # In the order of a FortiGate.
    assert {(entry.name, entry.protocol, entry.ports) for entry in read(shown).served} == {
        (entry.name, entry.protocol, entry.ports) for entry in table
    }
