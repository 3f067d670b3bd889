"""The rules on a real kernel: nothing of others is touched by `net up`, and nothing of ours stays behind `net down`."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from proxy.config.schema import Policy
from proxy.config.values import Mark
from proxy.errors import NetError
from proxy.host import commands, net, rules, rules_iptables, rules_routing, steps
from proxy.host.rules import Backend
from tests.netns.namespaces import Hosts, Namespace, needs_root, run
from tests.netns.rules_site import both_backends, configuration, session_passes

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ADMINISTRATORS_NFT = """
    table inet filter {
        set blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/24 } }
        chain input {
            type filter hook input priority filter; policy drop;
            ct state established accept
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ip saddr @blocked drop
        }
    }
    table ip nat {
        chain postrouting {
            type nat hook postrouting priority srcnat;
            oifname "wan0" masquerade
        }
    }
"""
ADMINISTRATORS_IPTABLES = """
*mangle
:PREROUTING ACCEPT
:OWN -
-A PREROUTING -i lan0 -j OWN
-A OWN -j MARK --set-xmark 0x7/0xff
COMMIT
*raw
:PREROUTING ACCEPT
-A PREROUTING -p udp --dport 53 -j NOTRACK
COMMIT
"""


def administrators(gateway: Namespace) -> None:
    gateway.run("nft", "-f", "-", stdin=ADMINISTRATORS_NFT)
    for version in (4, 6):
        gateway.run(f"{rules_iptables.command(version)}-restore", stdin=ADMINISTRATORS_IPTABLES)
        gateway.run("ip", f"-{version}", "rule", "add", "fwmark", "0x7", "lookup", "700")
        gateway.run("ip", f"-{version}", "route", "add", "unreachable", "default", "table", "700")


def everything(gateway: Namespace) -> str:
    """All rules and routes, without counters and times.

    iptables lists its chains in the order of their making, so they are sorted here; rules keep their order. Its tables
    are left out of nft's listing, where its built-in chains stay once they were used, empty and accepting.
    """
    nft = gateway.run("nft", "-s", "list", "ruleset")
    found = [re.sub(r"^table ip6? (mangle|raw) \{\n(?:[\t ].*\n|\n)*\}\n", "", nft, flags=re.MULTILINE)]
    for version in (4, 6):
        saved = gateway.run(f"{rules_iptables.command(version)}-save")
        saved = re.sub(r"^#.*\n| \[\d+:\d+\]", "", saved, flags=re.MULTILINE)
        for table in saved.split("COMMIT\n"):
            found += sorted(table.splitlines(), key=lambda line: line.split()[:2])
        found.append(gateway.run("ip", f"-{version}", "rule"))
        routes = gateway.run("ip", f"-{version}", "route", "show", "table", "all")
        # Routes of link-local addresses appear a moment after their links.
        found += [line for line in routes.splitlines() if "fe80:" not in line]
    return "\n".join(found)


def without_ours(text: str) -> str:
    """`everything`, less what carries one of our names or numbers."""
    text = re.sub(r"^table inet pinhole \{\n(?:[\t ].*\n|\n)*\}\n", "", text, flags=re.MULTILINE)
    ours = rf"PINHOLE|proto {rules_routing.ROUTE_PROTOCOL}\b"
    return "".join(line for line in text.splitlines(keepends=True) if not re.search(ours, line))


@both_backends
def test_down_leaves_no_table_where_none_was(hosts: Hosts, backend: Backend) -> None:
    """To the letter, also in nft's own listing: with a filter table alone, and with nothing at all."""
    for rules_before in ("", "*filter\n:INPUT DROP\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"):
        for version in (4, 6):
            hosts.gateway.run(f"{rules_iptables.command(version)}-restore", stdin=rules_before)
        before = hosts.gateway.run("nft", "-s", "list", "ruleset")
        with hosts.gateway.inside():
            net.up(configuration(), backend)
            net.up(configuration(), backend)
            net.down(backend)
        assert hosts.gateway.run("nft", "-s", "list", "ruleset") == before


@both_backends
def test_other_rules_stay_as_they_are_and_down_leaves_no_trace(hosts: Hosts, backend: Backend) -> None:
    administrators(hosts.gateway)
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(configuration(), backend)
    during = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.down(backend)
    assert during != before
    assert without_ours(during) == before
    assert everything(hosts.gateway) == before


@both_backends
def test_up_twice_is_as_up_once(hosts: Hosts, backend: Backend) -> None:
    administrators(hosts.gateway)
    with hosts.gateway.inside():
        net.up(configuration(), backend)
        once = everything(hosts.gateway)
        net.up(configuration(), backend)
    assert everything(hosts.gateway) == once


@both_backends
def test_up_leaves_routes_that_stand_alone(hosts: Hosts, backend: Backend) -> None:
    """Packets of sessions that stand have their way at every moment."""
    said: list[str] = []
    with hosts.gateway.inside():
        net.up(configuration(), backend)
        net.up(configuration(Policy(name="any", accept=True)), backend, said.append)
        assert not [line for line in said if line.startswith("ip ")]
        run("ip", "rule", "del", "priority", "101")
        net.up(configuration(), backend, said.append)
        assert [line for line in said if "fwmark" in line]
        assert all(item.present for item in net.status(configuration(), backend))


@both_backends
def test_pasted_plan_is_up(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
        by_up = everything(hosts.gateway)
        net.down(backend)
        for _ in range(2):
            run("sh", stdin=rules.plan(config, backend))
        assert all(item.present for item in net.status(config, backend))
    assert everything(hosts.gateway) == by_up


@both_backends
def test_up_replaces_another_configuration_and_down_needs_not_know_it(hosts: Hosts, backend: Backend) -> None:
    administrators(hosts.gateway)
    config = configuration()
    other = configuration(Policy(name="any", accept=True), mark=Mark(0x80, 0x80), table=77, listen_port=50001)
    with hosts.gateway.inside():
        net.up(config, backend)
        alone = everything(hosts.gateway)
        net.up(other, backend)
        assert not all(item.present for item in net.status(config, backend))
        assert all(item.present for item in net.status(other, backend))
        net.up(config, backend)
    assert everything(hosts.gateway) == alone
    with hosts.gateway.inside():
        net.down(backend)
        assert not any(item.present for item in net.status(config, backend))
    assert everything(hosts.gateway) == without_ours(alone)


@both_backends
def test_down_with_nothing_set_up_is_no_error(hosts: Hosts, backend: Backend) -> None:
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.down(backend)
    assert everything(hosts.gateway) == before


@pytest.fixture
def legacy_iptables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`iptables` is the one that does not keep its tables in nftables."""
    for command in ("iptables", "ip6tables"):
        for form in ("", "-save", "-restore"):
            there = shutil.which(f"{command}-legacy{form}")
            assert there
            (tmp_path / f"{command}{form}").symlink_to(there)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("legacy_iptables")
def test_legacy_iptables_carries_sessions_and_is_taken_down_without_an_error(hosts: Hosts) -> None:
    """Its mangle table stays, empty, for as long as its kernel module."""
    config = configuration()
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(config, Backend.IPTABLES)
        assert all(item.present for item in net.status(config, Backend.IPTABLES))
    assert session_passes(hosts, config, 4)
    assert session_passes(hosts, config, 6)
    with hosts.gateway.inside():
        net.down(Backend.IPTABLES)
        net.down(Backend.IPTABLES)
    assert [line for line in everything(hosts.gateway).splitlines() if ":" not in line[:1] and line != "*mangle"] == [
        line for line in before.splitlines() if ":" not in line[:1] and line != "*mangle"
    ]


def test_down_without_nft_leaves_an_empty_table(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """iptables over nftables is there, the package nftables is not: all that is ours goes even so."""
    config = configuration()
    for command in ("iptables", "ip6tables"):
        for form in ("", "-save", "-restore"):
            (tmp_path / f"{command}{form}").symlink_to(shutil.which(f"{command}{form}") or "")
    for command in ("ip", "sh", "grep"):
        (tmp_path / command).symlink_to(shutil.which(command) or "")
    with hosts.gateway.inside():
        net.up(config, Backend.IPTABLES)
        with monkeypatch.context() as patched:
            patched.setattr(commands, "_SYSTEM_PATH", "")
            patched.setenv("PATH", str(tmp_path))
            net.down(Backend.IPTABLES)
    assert "PINHOLE" not in everything(hosts.gateway)


def test_status_tells_a_second_jump_and_down_removes_both(hosts: Hosts) -> None:
    administrators(hosts.gateway)
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, Backend.IPTABLES)
        run("iptables", "-t", "mangle", "-A", "PREROUTING", "-j", rules_iptables.CHAIN)
        wrong = [item.detail for item in net.status(config, Backend.IPTABLES) if not item.present]
        net.down(Backend.IPTABLES)
    assert wrong == ["2 jumps from PREROUTING instead of one"]
    assert "PINHOLE" not in everything(hosts.gateway)


@both_backends
def test_host_without_ipv6_is_set_up_for_ipv4(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    hosts.gateway.sysctl("ipv6.conf.all.disable_ipv6", 1)
    said: list[str] = []
    with hosts.gateway.inside():
        net.up(config, backend, said.append)
        by_up = everything(hosts.gateway)
        assert all(item.present for item in net.status(config, backend))
        net.down(backend)
        run("sh", stdin=rules.plan(config, backend))
    assert everything(hosts.gateway) == by_up
    assert said[0] == "no interface has an IPv6 address: set up for IPv4 alone"


@both_backends
def test_up_takes_the_place_of_the_other_backend(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    (other,) = set(Backend) - {backend}
    said: list[str] = []
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(config, other)
        assert (net.standing(), net.all_standing()) == (other, [other])
        net.up(config, backend, said.append)
        assert f"rules by {other.value} stood as well, and are removed" in said
        assert net.all_standing() == [backend]
        assert [part for part in net.status(config, backend) if not part.present] == []
        net.down(backend)
    assert everything(hosts.gateway) == before


@both_backends
def test_down_of_one_backend_leaves_the_routes_to_the_other(hosts: Hosts, backend: Backend) -> None:
    """Both stand where somebody has pasted a plan beside the rules of the other."""
    config = configuration()
    (other,) = set(Backend) - {backend}
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(config, other)
        run("sh", stdin=rules.plan(config, backend))
        assert net.all_standing() == list(Backend)
        net.down(backend)
        assert [part for part in net.status(config, other) if not part.present] == []
        assert net.standing() is other
        net.down(other)
    assert everything(hosts.gateway) == before


@both_backends
def test_clear_removes_all_of_both_whatever_is_left_of_it(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    (other,) = set(Backend) - {backend}
    administrators(hosts.gateway)
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(config, other)
        run("sh", stdin=rules.plan(config, backend))
        # Of iptables half has gone already.
        run("sh", "-c", "iptables -t mangle -D PREROUTING -j PINHOLE; iptables -t mangle -F PINHOLE")
        run("iptables", "-t", "mangle", "-X", "PINHOLE")
        net.clear()
        net.clear()
    assert everything(hosts.gateway) == before


def test_missing_command_names_the_package() -> None:
    with pytest.raises(NetError, match="apt install iptables"):
        commands.run(("iptables-that-is-not-there",))


def test_a_command_that_cannot_be_started_is_no_traceback(tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.touch(0o644)
    with pytest.raises(NetError, match="nft cannot be started: Permission denied"):
        commands.run((str(program),))


def test_refused_rules_are_reported_with_the_command(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = steps.Step(("nft", "-f", "-"), "table inet pinhole { nonsense }\n")
    monkeypatch.setattr(rules, "steps", lambda config, backend: (broken,))
    with hosts.gateway.inside(), pytest.raises(NetError, match=r"nft -f -: .*syntax error"):
        net.up(configuration(), Backend.NFT)
