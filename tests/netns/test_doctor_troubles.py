"""Each trouble that the doctor knows, made on a gateway that is well: it is found, nothing else is, and where the
remedy is a command, the gateway is well again after it.

The kinds are those of the code (`Trouble`), so a new one fails here until it is provoked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.doctor import facts
from proxy.doctor.findings import Finding, Trouble
from proxy.holder import process
from proxy.host import entrances
from proxy.host.rules import Backend
from proxy.host.rules_nft import PREROUTING_PRIORITY
from proxy.host.rules_routing import ROUTE_PROTOCOL
from tests.harness.waiting import until
from tests.netns.doctor_site import COMMAND, LAN_OUT, ROOT, Site, well_hosts
from tests.netns.namespaces import needs_root, run

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS = 20.0


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    with well_hosts() as hosts, contextlib.ExitStack() as stack:
        yield Site(hosts, tmp_path, stack)


# -- how each is provoked: what makes it, of a site that is set up unless it says so ----------------------------------

Provocation = Callable[[Site], None]
PROVOCATIONS: dict[Trouble, Provocation] = {}
NOT_SET_UP = {
    Trouble.FASTPATH_IMPOSSIBLE,
    Trouble.RULES_NONE,
    Trouble.RULES_REFUSED,
    Trouble.LOAD_ORDER,
    Trouble.MARK_NOT_SET,
    Trouble.RULES_TWICE,
}
"""The provocation sets the site up itself, or leaves it."""
WITHOUT: dict[Trouble, tuple[str, ...]] = {
    Trouble.NO_RAW_RIGHT: ("net_raw",),
    Trouble.NO_LOW_PORT_RIGHT: ("net_bind_service",),
    Trouble.NO_RESERVED_PORT_RIGHT: ("net_bind_service",),
    Trouble.FIREWALL_NOT_EXAMINED: ("net_admin",),
    Trouble.TRANSPARENT_NOT_PERMITTED: ("net_raw", "net_admin"),
}
"""Rights that the command has to do without."""
TOGETHER: dict[Trouble, set[Trouble]] = {
    Trouble.TRANSPARENT_NOT_PERMITTED: {Trouble.NO_RAW_RIGHT, Trouble.FIREWALL_NOT_EXAMINED},
    Trouble.RULES_REFUSED: {Trouble.RULES_NONE},
    Trouble.MARK_NOT_SET: {Trouble.RULES_NOT_IN_FORCE},
}
"""Troubles that never come alone."""


def provokes(*kinds: Trouble) -> Callable[[Provocation], Provocation]:
    def known(provocation: Provocation) -> Provocation:
        for kind in kinds:
            assert kind not in PROVOCATIONS
            PROVOCATIONS[kind] = provocation
        return provocation

    return known


@provokes(*(set(WITHOUT) - {Trouble.NO_RESERVED_PORT_RIGHT}), Trouble.RULES_NONE)
def _nothing(site: Site) -> None:
    """What is wrong is that something is missing from the start."""


@provokes(Trouble.NO_RESERVED_PORT_RIGHT)
def _servers_that_trust_reserved_ports(site: Site) -> None:
    site.configure(helpers="session-helpers: [{id: 6, name: rsh, protocol: tcp, port: 514}]")
    site.up()


@provokes(Trouble.TRANSPARENT_NOT_POSSIBLE)
def _no_port_left(site: Site) -> None:
    site.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40000")


@provokes(Trouble.LISTENER_TAKEN)
def _listener_taken(site: Site) -> None:
    with site.gateway.inside():
        site.stack.enter_context(socket.create_server(("127.0.0.1", 50000)))


@provokes(Trouble.UDP_PORT_TAKEN)
def _udp_port_taken(site: Site) -> None:
    site.configure(helpers="session-helpers: [{id: 2, name: sip, protocol: udp, port: 5060}]")
    site.up()
    with site.gateway.inside():
        service = site.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    service.bind(("0.0.0.0", 5060))


@provokes(Trouble.SNAT_NOT_OURS)
def _foreign_address(site: Site) -> None:
    site.configure("policies: [{name: out, from: [lan0], source: [10.1.0.0/24], action: accept, snat: 192.0.2.200}]")
    site.up()


@provokes(Trouble.INTERFACE_UNKNOWN)
def _misspelled(site: Site) -> None:
    site.configure(LAN_OUT.replace("lan0", "lan00"))
    site.up()


@provokes(Trouble.AUDIT_NOT_WRITABLE)
def _no_directory_for_the_log(site: Site) -> None:
    site.configure(LAN_OUT, f"audit: {{to: {site.directory}/log/pinhole/audit.log}}")


@provokes(Trouble.AUDIT_NO_COLLECTOR)
def _nobody_collects(site: Site) -> None:
    unix, tcp = f"{site.directory}/log", "tcp://127.0.0.1:601"
    site.configure(LAN_OUT, f'audit: {{sinks: [{{to: syslog, server: {unix}}}, {{to: syslog, server: "{tcp}"}}]}}')


@provokes(Trouble.LIMIT_NEAR)
def _as_many_sessions_as_may_be(site: Site) -> None:
    site.configure(LAN_OUT, "limits: {sessions: 2}", f"audit: {{to: {site.directory}/audit.log}}", "user: root")
    address = str(site.hosts.server_address(4))
    with site.gateway.inside():
        words = (*COMMAND, "run", "-c", str(site.file))
        daemon = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
    site.stack.callback(daemon.wait)
    site.stack.callback(daemon.terminate)
    with site.hosts.server.inside():
        site.stack.enter_context(socket.create_server((address, 21)))
    until(lambda: (site.directory / "control.sock").exists())
    for _ in range(2):
        with site.hosts.client.inside():
            site.stack.enter_context(socket.create_connection((address, 21), timeout=SECONDS))
    until(lambda: (site.directory / "audit.log").read_text().count("session.opened") == 2)


# -- commands that do not answer --------------------------------------------------------------------------------------


@provokes(Trouble.FIREWALL_UNREADABLE)
def _no_addresses(site: Site) -> None:
    site.fake("ip", 'case "$*" in *address*) echo "JSON support not compiled-in"; exit 0;; esac; real "$@"')


@provokes(Trouble.BRIDGES_UNREADABLE)
def _no_links(site: Site) -> None:
    site.fake("ip", 'case "$*" in *bridge*) echo "JSON support not compiled-in"; exit 0;; esac; real "$@"')


@provokes(Trouble.FIREWALL_NO_JSON)
def _no_json(site: Site) -> None:
    site.fake("nft", 'case "$*" in *json*) echo "JSON support not compiled-in"; exit 0;; esac; real "$@"')


@provokes(Trouble.RULES_UNREADABLE)
def _iptables_fails(site: Site) -> None:
    site.fake("iptables-save", "echo 'iptables-save: incompatible' >&2; exit 1")


@provokes(Trouble.RULES_REFUSED)
def _kernel_without_tproxy(site: Site) -> None:
    site.fake("nft", 'case "$*" in *check*) echo "Error: No such file" >&2; exit 1;; esac; real "$@"')


# -- our own rules ----------------------------------------------------------------------------------------------------


@provokes(Trouble.RULES_TWICE)
def _both_backends(site: Site) -> None:
    site.plan(Backend.NFT)
    site.plan(Backend.IPTABLES)


@provokes(Trouble.RULES_NOT_IN_FORCE)
def _no_routing_rule(site: Site) -> None:
    site.run("ip", "rule", "flush", "protocol", str(ROUTE_PROTOCOL))


@provokes(Trouble.RULES_CHANGED)
def _changed_by_hand(site: Site) -> None:
    site.run("nft", "flush", "chain", "inet", "pinhole", "sessions")


# -- routing ----------------------------------------------------------------------------------------------------------


@provokes(Trouble.ROUTING_RULE_BEFORE)
def _routing_rule_before_ours(site: Site) -> None:
    site.run("ip", "rule", "add", "priority", "50", "from", "10.1.0.0/24", "lookup", "700")


@provokes(Trouble.ROUTING_BY_CLIENT)
def _routing_by_the_interface_of_clients(site: Site) -> None:
    site.run("ip", "rule", "add", "priority", "200", "iif", "lan0", "lookup", "700")


@provokes(Trouble.ROUTE_MARK_UNUSED)
def _mark_that_no_routing_rule_asks_for(site: Site) -> None:
    site.configure(LAN_OUT.replace("action", "route_mark: 2, snat: interface, action"))
    site.up()


@provokes(Trouble.ROUTE_MARK_FILTERED)
def _way_whose_answers_are_dropped(site: Site) -> None:
    _mark_that_no_routing_rule_asks_for(site)
    site.run("ip", "rule", "add", "fwmark", "0x2/0xff", "lookup", "102", "priority", "1000")
    site.run("ip", "route", "add", "default", "via", "192.0.2.2", "table", "102")
    site.run("sysctl", "-qw", "net.ipv4.conf.wan0.rp_filter=1")


# -- rulesets of others -----------------------------------------------------------------------------------------------


def _chain(site: Site, hook: str, priority: int, *lines: str, kind: str = "filter") -> None:
    rules = "\n".join(lines)
    site.nft(f"table ip other {{ chain one {{ type {kind} hook {hook} priority {priority}; {rules}\n }}; }}")


@provokes(Trouble.MARK_SHARED)
def _another_program_with_our_bit(site: Site) -> None:
    _chain(site, "prerouting", -160, "ip saddr 10.9.9.9 meta mark set 0x1000007")


@provokes(Trouble.MARK_OVERWRITTEN)
def _mark_taken_away(site: Site) -> None:
    _chain(site, "prerouting", PREROUTING_PRIORITY + 1, "meta mark set 7")


@provokes(Trouble.LOAD_ORDER)
def _mark_taken_away_in_another_order(site: Site) -> None:
    site.up()
    _chain(site, "prerouting", PREROUTING_PRIORITY, "meta mark set 7")


@provokes(Trouble.MARK_NOT_SET)
def _accepted_before_our_chain(site: Site) -> None:
    site.up(Backend.IPTABLES)
    site.run("iptables", "-t", "mangle", "-I", "PREROUTING", "-i", "lan0", "-j", "ACCEPT")


@provokes(Trouble.PREROUTING_DROPS)
def _dropped_before_ours(site: Site) -> None:
    _chain(site, "prerouting", -200, "tcp dport 21 drop")


@provokes(Trouble.INPUT_DROPS)
def _our_line_behind_the_one_about_states(site: Site) -> None:
    """Both legs of data from port 20 have the same addresses, so connection tracking takes the second for invalid."""
    line = "meta mark and 0x1000000 == 0x1000000 accept"
    _chain(site, "input", 0, "policy drop;", "ct state established,related accept", "ct state invalid drop", line)


@provokes(Trouble.OUTPUT_DROPS)
def _dropped_on_its_way_out(site: Site) -> None:
    _chain(site, "output", 0, "policy drop;", "ct state established,related accept")


@provokes(Trouble.FIREWALL_NOT_FOLLOWED)
def _chains_that_are_called_too_often(site: Site) -> None:
    site.configure(LAN_OUT.replace(', "fd01::/64"', ""))
    site.up()
    many = "\n".join(f"udp dport {port} accept" for port in range(1, 1001))
    often = "\n".join("jump many" for _ in range(101))
    hook = "type filter hook input priority 0;"
    site.nft(f"table ip other {{\nchain many {{\n{many}\n}}\nchain one {{ {hook}\n{often}\n}}\n}}")


@provokes(Trouble.NAT_OF_SOURCES)
def _masquerade(site: Site) -> None:
    _chain(site, "postrouting", 100, 'oifname "wan0" masquerade', kind="nat")


@provokes(Trouble.NAT_OF_DESTINATIONS)
def _redirect(site: Site) -> None:
    _chain(site, "prerouting", -100, "tcp dport 21 redirect to :2121", kind="nat")


@provokes(Trouble.HELPER_ATTACHED)
def _kernel_helper(site: Site) -> None:
    rule = ("PREROUTING", "-p", "tcp", "--dport", "21", "-j", "CT", "--helper", "ftp")
    site.run("iptables", "-t", "raw", "-A", *rule)


@provokes(Trouble.SEGMENT_IN_FORWARD)
def _clamp(site: Site) -> None:
    _chain(site, "forward", 0, "tcp flags syn tcp option maxseg size set 1300")


# -- kernel parameters ------------------------------------------------------------------------------------------------


def _parameters_of_another_kernel(site: Site) -> Path:
    """A copy of this one's, to be changed: parameters that this kernel has not cannot be set in it."""
    tree = site.directory / "sysctl"
    for directory in ("ipv4", "ipv6/conf/all", "ipv4/conf/all", "netfilter"):
        (tree / directory).mkdir(parents=True)
    for name in ("ipv4/ip_forward", "ipv4/ip_local_port_range", "ipv4/ip_local_reserved_ports",
                 "ipv6/conf/all/forwarding"):  # fmt: skip
        with site.gateway.inside():
            shutil.copyfile(facts.SYSCTL / name, tree / name)
    patch = pytest.MonkeyPatch()
    patch.setattr(facts, "SYSCTL", tree)
    site.stack.callback(patch.undo)
    return tree


@provokes(Trouble.HELPER_AUTOMATIC)
def _linux_5(site: Site) -> None:
    parameter = _parameters_of_another_kernel(site) / "netfilter" / "nf_conntrack_helper"
    parameter.write_text("1\n")
    site.fake("sysctl", f'[ "$*" = "-w net.netfilter.nf_conntrack_helper=0" ] && echo 0 >{parameter}')


@provokes(Trouble.PORTS_UNREADABLE)
def _no_port_range(site: Site) -> None:
    (_parameters_of_another_kernel(site) / "ipv4" / "ip_local_port_range").unlink()


@provokes(Trouble.PORTS_SHARED)
def _ports_that_are_not_reserved(site: Site) -> None:
    site.run("sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=")


@provokes(Trouble.BRIDGES_FILTERED)
def _clients_on_a_bridge(site: Site) -> None:
    site.configure(LAN_OUT.replace("[lan0]", "[lan0, br0]"))
    site.up()
    site.run("ip", "link", "add", "br0", "type", "bridge")
    site.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1")


@provokes(Trouble.FORWARDING_OFF)
def _forwarding_off(site: Site) -> None:
    site.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")


def _with_a_holder(site: Site, **said: object) -> None:
    """And with a daemon that says this of it."""
    with site.gateway.inside():
        site.stack.enter_context(entrances.make(process.ENTRANCE))
    site.fastpath = {"state": "on", "reason": None, "interfaces": ["lan0", "wan0"]} | said


@provokes(Trouble.FASTPATH_IMPOSSIBLE)
def _a_kernel_path_that_nobody_holds(site: Site) -> None:
    site.configure(LAN_OUT, "network: {fastpath: require}")
    site.up()


@provokes(Trouble.FASTPATH_NOT_USED)
def _a_daemon_that_does_without_the_kernel_path(site: Site) -> None:
    _with_a_holder(site, state="off", reason="refused_by_kernel", interfaces=[])


@provokes(Trouble.FASTPATH_NOT_ATTACHED)
def _an_interface_without_the_program(site: Site) -> None:
    _with_a_holder(site, interfaces=["wan0"])


@provokes(Trouble.FASTPATH_NOT_FORWARDING)
def _an_interface_that_does_not_forward(site: Site) -> None:
    _with_a_holder(site)
    site.run("sysctl", "-qw", "net.ipv4.conf.lan0.forwarding=0")


@provokes(Trouble.FASTPATH_NO_JIT)
def _a_kernel_that_interprets_programs(site: Site) -> None:
    _with_a_holder(site)
    parameter = _parameters_of_another_kernel(site) / "core" / "bpf_jit_enable"
    parameter.parent.mkdir()
    parameter.write_text("0\n")
    site.fake("sysctl", f'[ "$*" = "-w net.core.bpf_jit_enable=1" ] && echo 1 >{parameter}')


@provokes(Trouble.FASTPATH_RULES_MISSED)
def _rules_that_change_datagrams(site: Site) -> None:
    _with_a_holder(site)
    site.nft("table inet site { chain out { type filter hook postrouting priority 0; ip dscp set ef; }; }")


# -- the tests --------------------------------------------------------------------------------------------------------


def test_every_trouble_of_the_code_is_provoked() -> None:
    assert set(PROVOCATIONS) == set(Trouble)


def _found(site: Site, kind: Trouble) -> list[Finding]:
    """What is wrong. What depends on the process, or on a daemon, the command says."""
    if kind is Trouble.LIMIT_NEAR:
        return site.told()
    if kind in WITHOUT:
        return site.told("setpriv", f"--bounding-set={','.join(f'-{right}' for right in WITHOUT[kind])}")
    return site.findings()


@pytest.mark.parametrize("kind", list(Trouble), ids=str)
def test_each_trouble_is_found_and_no_other(site: Site, kind: Trouble) -> None:
    if kind not in NOT_SET_UP:
        site.up()
    PROVOCATIONS[kind](site)
    found = _found(site, kind)
    assert {finding.name for finding in found} == {str(one) for one in {kind} | TOGETHER.get(kind, set())}, found
    (level,) = {finding.level for finding in found if finding.name == str(kind)}
    assert level is kind.level
    for finding in found:
        run("sh", "-nc", finding.remedy)
    if orders := [finding for finding in found if _mends(finding)]:
        for finding in orders:
            site.follow(finding)
        assert site.findings() == []


_SHOWS: tuple[list[str], ...] = ([], ["ss"], ["sudo"], ["modprobe"], ["systemctl"])
"""Commands that change nothing here."""


def _mends(finding: Finding) -> bool:
    """Whether the remedy is a command that changes something here."""
    return finding.remedy.partition("#")[0].split(maxsplit=1)[:1] not in _SHOWS
