"""`pinhole net guard` beside a daemon that may change nothing: what somebody takes away of rules and routes is back
at once, and the daemon says so."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.host.news import NETLINK_NETFILTER
from proxy.host.passed import NEW_CONNECTIONS
from tests.harness.waiting import until
from tests.netns.ftp_talk import Talk, fate, server
from tests.netns.guard_site import ALL, LONGEST_SECONDS, Kept, is_read, kept_site
from tests.netns.namespaces import needs_root
from tools.lab import Lab
from tools.lab.daemon import COMMAND, ROOT, pinhole
from tools.lab.links import wait_until_up

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

TRACKED = (
    "table inet site { chain forward { type filter hook forward priority filter; ct state established accept; }; }"
)
LEAST_BYTES_OF_NEWS = 700
"""What the kernel counts for the news of one route."""


@pytest.fixture(scope="module", params=["nft", "iptables"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    with kept_site(f"network: {{backend: {request.param}}}\n") as site:
        site.guard()
        site.daemon.start()
        yield site


@pytest.fixture
def site() -> Iterator[Kept]:
    with kept_site() as site:
        yield site


LAST_HANDLE = "nft -a list chain inet pinhole prerouting | grep -o '[0-9]*$' | tail -n 1"
BY_BACKEND = {
    "nft": [
        "nft flush ruleset",
        "nft delete table inet pinhole",
        "nft 'flush chain inet pinhole prerouting; delete chain inet pinhole prerouting'",
        "nft flush chain inet pinhole take",
        f"nft delete rule inet pinhole prerouting handle $({LAST_HANDLE})",
        "nft insert rule inet pinhole prerouting accept",
    ],
    "iptables": [
        "nft flush ruleset",
        "iptables -t mangle -F; ip6tables -t mangle -F",
        "iptables -t mangle -D PREROUTING 1",
        "iptables -t mangle -F PINHOLE",
        "iptables -t mangle -D PINHOLE 2",
        "ip6tables -t mangle -D PINHOLE-GUARD 1",
    ],
}
OF_ROUTING = [
    "ip rule flush protocol 213",
    "ip rule del priority 101",
    "ip -6 rule del priority 100",
    "ip route flush table 5353",
    "ip -6 route flush table 5353",
    "printf 'link set lo down\\nlink set lo up\\n' | ip -batch -",
    "ip rule add from 203.0.113.0/24 lookup main",
]


@pytest.mark.parametrize("number", range(6))
def test_rules_that_somebody_takes_away_are_back_at_once(kept: Kept, number: int) -> None:
    backend = "nft" if "inet pinhole" in kept.run("nft list tables") else "iptables"
    back_at_once(kept, BY_BACKEND[backend][number])


@pytest.mark.parametrize("command", OF_ROUTING)
def test_so_are_routes(kept: Kept, command: str) -> None:
    back_at_once(kept, command)


def changes(kept: Kept) -> list[dict[str, Any]]:
    """What the log says of rules and routes: each `rules.restored` stands behind what was missing last."""
    return [line for line in kept.daemon.audit() if line["event"] in ("rules.missing", "rules.restored")]


def back_at_once(kept: Kept, command: str) -> None:
    """What a command of two parts takes away may be put back in two steps."""
    before, restored = len(changes(kept)), len(kept.daemon.audit("rules.restored"))
    with server(kept.lab.server), Talk(kept.lab.client, str(kept.lab.server.v4)) as talk:
        kept.run(command)
        kept.daemon.wait_for("rules.restored", restored + 1)
        assert talk.ask("NOOP").startswith("200")  # it has outlived that
    until(lambda: kept.status("net", "status") == kept.status("status") == 0)
    told = changes(kept)[before:]
    assert (told[0]["event"], told[-1]["event"]) == ("rules.missing", "rules.restored"), told
    for missing, line in itertools.pairwise(told):
        if line["event"] == "rules.restored":
            assert (line["by"], line["seconds"] < LONGEST_SECONDS) == ("guard", True), line
            assert (missing["event"], missing["parts"]) == ("rules.missing", line["parts"])
    assert is_read(kept.lab, kept.daemon)
    kept.run("ip rule del from 203.0.113.0/24 lookup main 2>/dev/null || true")


def hears_of_connections(site: Kept) -> bool:
    """Whether the guard has begun to listen to connection tracking, which it does when it hears that rules go."""
    with site.lab.gateway.inside():
        sockets = [line.split() for line in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]]
    return any((int(of), int(groups, 16)) == (NETLINK_NETFILTER, NEW_CONNECTIONS) for _, of, _, groups, *_ in sockets)


def test_what_passed_unread_meanwhile_is_said(site: Kept) -> None:
    site.lab.firewall(TRACKED)
    site.guard()
    site.daemon.start()
    with site.lab.gateway.inside():
        turn = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)  # nobody can put back anything for now
    site.run("nft delete table inet pinhole")
    until(lambda: hears_of_connections(site))
    with server(site.lab.server), Talk(site.lab.client, str(site.lab.server.v4)) as talk:
        assert talk.ask("NOOP").startswith("200")
        os.close(turn)
        line = site.daemon.wait_for("rules.restored")
        with pytest.raises(ConnectionResetError):  # unread it passes no longer, and its acknowledgements do not either
            talk.send(b"NOOP\r\n")
            raise ConnectionResetError if talk.end() == "reset" else AssertionError
    assert line["passed"] == 1
    assert line["sessions"][0].startswith(f"tcp {site.lab.client.v4}:")
    assert line["sessions"][0].endswith(f" > {site.lab.server.v4}:21")
    assert site.daemon.audit("session.opened") == []


def test_net_down_is_the_operators_will_and_net_up_is_so_too(site: Kept) -> None:
    site.guard()
    site.daemon.start()
    site.daemon.command("net", "down")
    site.daemon.wait_for("rules.missing")
    time.sleep(0.5)
    assert "pinhole" not in site.run("nft list tables; ip rule; ip -6 rule")
    assert site.status("status") == 1
    site.daemon.command("net", "up", "-c", str(site.daemon.config))
    assert site.daemon.wait_for("rules.restored")["by"] == "others"
    site.run("nft flush ruleset")
    assert site.daemon.wait_for("rules.restored", 2)["by"] == "guard"


def test_a_guard_that_is_killed_leaves_the_rules_and_the_next_one_is_found(site: Kept) -> None:
    guard = site.guard()
    site.daemon.start()
    guard.kill()
    guard.wait()
    until(lambda: site.daemon.ask("status")["rules_watched"] == "nothing")
    assert is_read(site.lab, site.daemon)
    site.guard()
    until(lambda: site.daemon.ask("status")["rules_watched"] == "all")
    site.run("nft flush ruleset")
    site.daemon.wait_for("rules.restored")


def test_there_is_one_guard_of_a_network_namespace(site: Kept) -> None:
    site.guard()
    for words in (("net", "guard"), ("run", "--net")):
        command = (*COMMAND, *words, "-c", str(site.daemon.config))
        refused = site.lab.gateway.run(command, cwd=ROOT, check=False)
        assert refused.returncode == 1
        assert "net guard" in refused.stderr or "guards the rules" in refused.stderr
    assert site.status("net", "status") == 0


SQUAT = """
import socket, sys
held = []
for name in ("pinhole-guard", *(f"pinhole-guard-{number:016x}" for number in range(20))):
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.bind(f"\\0{name}")
    door.listen(0)
    knocks = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    knocks.connect(f"\\0{name}")  # nobody else is let wait there
    held += [door, knocks]
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("is_of_run", [False, True])
def test_names_that_others_have_taken_hinder_nobody(site: Kept, is_of_run: bool) -> None:
    """Abstract names are anybody's, and who listens at one may keep whoever comes waiting."""
    drop = ("setpriv", "--reuid", "daemon", "--regid", "daemon", "--clear-groups")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with site.lab.gateway.popen([*drop, COMMAND[0], "-c", SQUAT], cwd=ROOT, **pipes) as others:
        assert others.stdin is not None and others.stdout is not None
        assert others.stdout.readline() == b"taken\n"
        if is_of_run:
            site.as_root()
            site.daemon.start("--net")
        else:
            site.guard()
            site.daemon.start()
        assert site.daemon.until(rules_kept=True)
        site.run("nft flush ruleset")
        assert site.daemon.wait_for("rules.restored")["by"] == "guard"
        site.daemon.command("net", "down")
        site.daemon.wait_for("rules.missing", 2)
        assert "pinhole" not in site.run("nft list tables")
        others.stdin.close()


def test_whom_it_does_not_know_may_neither_listen_nor_ask(site: Kept) -> None:
    site.guard()
    program = "from proxy.host.link import find; find().ask('rest')"
    drop = ("setpriv", "--reuid", "daemon", "--regid", "daemon", "--clear-groups")
    asked = site.lab.gateway.run((*drop, COMMAND[0], "-c", program), cwd=ROOT, check=False)
    assert "does not know user" in asked.stderr
    allowed = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    asked = site.lab.gateway.run((*allowed, COMMAND[0], "-c", program), cwd=ROOT, check=False)
    assert "may not ask the guard for 'rest'" in asked.stderr


def test_news_that_are_lost_since_too_many_came_are_no_reason_to_miss_what_is_gone(site: Kept) -> None:
    """ENOBUFS: the kernel keeps so many for a guard that does not get its turn, and drops the rest."""
    guard = site.guard()
    site.daemon.start()
    guard.send_signal(signal.SIGSTOP)
    room = int(Path("/proc/sys/net/core/rmem_default").read_text())
    tables = range(1000, 1002 + room // (256 * LEAST_BYTES_OF_NEWS))
    many = "".join(
        f"route add 203.0.113.{number}/32 dev lo table {table}\n" for table in tables for number in range(256)
    )
    site.lab.gateway.run(["ip", "-batch", "-"], stdin=many)
    site.run("ip rule flush protocol 213")
    drops = [int(line.split()[8]) for line in site.run("cat /proc/net/netlink").splitlines()[1:]]
    assert max(drops) > 0
    guard.send_signal(signal.SIGCONT)
    line = site.daemon.wait_for("rules.restored")
    assert any("rule" in part for part in line["parts"])
    assert is_read(site.lab, site.daemon)


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_a_host_that_gets_ipv6_later_is_set_up_for_it_at_once(site: Kept, backend: str) -> None:
    off = "for each in all default; do echo %d >/proc/sys/net/ipv6/conf/$each/disable_ipv6; done"
    site.run(off % 1)
    site.guard("--backend", backend)
    site.daemon.start()
    assert "213" not in site.run("ip -6 -N rule")
    site.run(off % 0)
    line = site.daemon.wait_for("rules.restored")
    assert (line["by"], [part for part in line["parts"] if "IPv6 rule" in part] != []) == ("guard", True)
    assert site.status("net", "status") == 0


# -- the host ----------------------------------------------------------------------------------------------------------


def test_an_interface_that_goes_down_and_comes_back_changes_nothing_for_new_sessions_or_old(site: Kept) -> None:
    site.guard()
    site.daemon.start()
    with server(site.lab.server), Talk(site.lab.client, str(site.lab.server.v4)) as talk:
        for interface in ("wan0", "lan0"):
            site.run(f"ip link set {interface} down; ip link set {interface} up")
            wait_until_up([site.lab.gateway.netns])
        assert talk.ask("NOOP").startswith("200")
    assert is_read(site.lab, site.daemon)
    assert site.status("status") == 0


def test_after_another_address_sessions_go_out_under_that_one() -> None:
    with Lab("nat") as lab, pinhole(lab, ALL.replace("accept", "accept, snat: interface")) as daemon:
        assert is_read(lab, daemon)
        lab.gateway.run(["ip", "address", "del", "198.51.100.1/24", "dev", "wan0"])
        lab.gateway.run(["ip", "address", "add", "198.51.100.77/24", "dev", "wan0"])
        assert is_read(lab, daemon)
        assert daemon.wait_for("session.opened", 2)["snat"].startswith("198.51.100.77")


def test_killed_and_started_again_it_serves_under_the_rules_that_stayed(site: Kept) -> None:
    site.guard()
    site.daemon.start()
    with server(site.lab.server), Talk(site.lab.client, str(site.lab.server.v4)) as talk:
        site.daemon.signal(signal.SIGKILL)
        site.daemon.wait()
        assert talk.end() in ("closed", "reset")
        assert fate(site.lab.client, str(site.lab.server.v4), 21) == "refused"
    site.daemon.start()
    assert is_read(site.lab, site.daemon)
    assert Path(site.daemon.directory / "control.sock").exists()
