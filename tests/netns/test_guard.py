"""`pinhole net guard` beside a daemon that may change nothing: what somebody takes away of rules and routes is back
within a second, the daemon says so, and a reload brings other rules in force."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.command.client import ask
from tests.harness.waiting import until
from tests.netns.ftp_talk import Talk, fate, passive_address, server
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab
from tools.lab.daemon import COMMAND, ROOT, pinhole
from tools.lab.links import wait_until_up

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept}]\nuser: nobody\n"
NARROW = "policies: [{name: narrow, from: [lan0], source: 10.1.0.77, action: accept}]\nuser: nobody\n"
TRACKED = (
    "table inet site { chain forward { type filter hook forward priority filter; ct state established accept; }; }"
)
LONGEST_SECONDS = 5.0
"""Within which things are back. With nothing else to do it takes a tenth of this; while news go on to come, the guard
lets them come for a second before it begins, and the programs that set things up have their turn among others."""
LEAST_BYTES_OF_NEWS = 700
"""What the kernel counts for the news of one route."""


class Kept:
    """A lab whose gateway has a guard, and a daemon with two capabilities."""

    def __init__(self, lab: Lab, text: str = "") -> None:
        self.lab = lab
        self.daemon = Daemon(lab, ALL + text, "nft", unprivileged=True)
        self._guard: subprocess.Popen[Any] | None = None
        self.said = self.daemon.directory / "guard.log"

    def guard(self, *words: str) -> subprocess.Popen[Any]:
        before = self.entrances()
        with self.said.open("ab") as said:
            command = (*COMMAND, "net", "guard", "-c", str(self.daemon.config), *words)
            self._guard = self.lab.gateway.popen(command, cwd=ROOT, stdout=said, stderr=said)
        until(lambda: self.entrances() - before)
        return self._guard

    def entrances(self) -> set[str]:
        """Where somebody listens who may be a guard."""
        return {line for line in self.run("ss -Hxl").splitlines() if "@pinhole-guard" in line}

    def as_root(self) -> None:
        """Let root start the daemon."""
        shutil.rmtree(self.daemon.directory)
        self.daemon = Daemon(self.lab, ALL, "nft", unprivileged=False)
        self.said = self.daemon.directory / "guard.log"

    def run(self, command: str) -> str:
        return self.lab.gateway.run(["sh", "-c", command]).stdout

    def status(self, *words: str) -> int:
        return self.daemon.command(*words, "-c", str(self.daemon.config), check=False).returncode

    def close(self) -> None:
        self.daemon.stop()
        if self._guard is not None and self._guard.poll() is None:
            self._guard.terminate()
            assert self._guard.wait(20) == 0
        self.daemon.command("net", "down")
        assert "pinhole" not in self.run("nft list tables").lower()
        shutil.rmtree(self.daemon.directory)


def is_read(lab: Lab, daemon: Daemon) -> bool:
    """Whether the daemon reads a session and lets its data connection through."""
    before = len(daemon.audit("pinhole.used"))
    with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
        has_come = fate(lab.client, *passive_address(talk.ask("PASV"))) == "open payload"
    return has_come and bool(daemon.wait_for("pinhole.used", before + 1))


@pytest.fixture(scope="module", params=["nft", "iptables"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    with Lab("routed") as lab:
        site = Kept(lab, f"network: {{backend: {request.param}}}\n")
        site.guard()
        site.daemon.start()
        yield site
        site.close()


@pytest.fixture
def site() -> Iterator[Kept]:
    with Lab("routed") as lab:
        site = Kept(lab)
        yield site
        site.close()


LAST_HANDLE = "nft -a list chain inet pinhole prerouting | grep -o '[0-9]*$' | tail -n 1"
BY_BACKEND = {
    "nft": [
        "nft flush ruleset",
        "nft delete table inet pinhole",
        "nft flush chain inet pinhole prerouting; nft delete chain inet pinhole prerouting",
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
    "ip link set lo down; ip link set lo up",
    "ip rule add from 203.0.113.0/24 lookup main",
]


@pytest.mark.parametrize("number", range(6))
def test_rules_that_somebody_takes_away_are_back_at_once(kept: Kept, number: int) -> None:
    backend = "nft" if "inet pinhole" in kept.run("nft list tables") else "iptables"
    back_at_once(kept, BY_BACKEND[backend][number])


@pytest.mark.parametrize("command", OF_ROUTING)
def test_so_are_routes(kept: Kept, command: str) -> None:
    back_at_once(kept, command)


def back_at_once(kept: Kept, command: str) -> None:
    before = len(kept.daemon.audit("rules.restored"))
    with server(kept.lab.server), Talk(kept.lab.client, str(kept.lab.server.v4)) as talk:
        kept.run(command)
        line = kept.daemon.wait_for("rules.restored", before + 1)
        assert talk.ask("NOOP").startswith("200")  # it has outlived that
    assert kept.status("net", "status") == 0
    assert kept.status("status") == 0
    assert (line["by"], line["seconds"] < LONGEST_SECONDS) == ("guard", True), line
    assert kept.daemon.audit("rules.missing")[-1]["parts"] == line["parts"]
    assert is_read(kept.lab, kept.daemon)
    kept.run("ip rule del from 203.0.113.0/24 lookup main 2>/dev/null || true")


def test_what_passed_unread_meanwhile_is_said(site: Kept) -> None:
    site.lab.firewall(TRACKED)
    site.guard()
    site.daemon.start()
    with site.lab.gateway.inside():
        turn = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)  # nobody can put back anything for now
    site.run("nft delete table inet pinhole")
    time.sleep(0.1)
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


@pytest.mark.parametrize("ask", ["reload", "SIGHUP"])
def test_a_reload_brings_other_rules_in_force(site: Kept, ask: str) -> None:
    site.guard()
    site.daemon.start()
    site.daemon.write_config(NARROW)
    assert site.status("net", "status") == 1
    if ask == "reload":
        assert site.status("reload") == 0
    else:
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("config.reloaded")
    assert site.status("net", "status") == 0
    assert "10.1.0.77" in site.run("nft list table inet pinhole")
    assert not site.daemon.audit("rules.missing")


def test_told_by_a_signal_the_guard_sets_up_what_the_configuration_says_now(site: Kept) -> None:
    guard = site.guard()
    site.daemon.write_config("policies: [{name: broken}]\n")
    guard.send_signal(signal.SIGHUP)
    until(lambda: "policies[0]" in site.said.read_text())
    site.daemon.write_config(NARROW)
    guard.send_signal(signal.SIGHUP)
    until(lambda: "10.1.0.77" in site.run("nft list table inet pinhole"))
    assert site.status("net", "status") == 0


def test_a_reload_that_cannot_bring_rules_in_force_fails_and_changes_nothing(site: Kept) -> None:
    other = site.daemon.directory / "other.yaml"
    shutil.copy(site.daemon.config, other)
    site.guard("-c", str(other))
    site.daemon.start()
    site.daemon.write_config(NARROW)
    said = site.daemon.command("reload", "-c", str(site.daemon.config), check=False)
    assert said.returncode == 1
    assert f"the guard reads {other}, which asks for other rules" in said.stderr
    assert "10.1.0.77" not in site.run("nft list table inet pinhole")
    assert is_read(site.lab, site.daemon)


@pytest.mark.parametrize("as_root", [False, True])
def test_a_reload_whose_rules_cannot_be_had_leaves_the_control_socket_as_it_was(site: Kept, as_root: bool) -> None:
    if as_root:
        site.as_root()
    other = site.daemon.directory / "other.yaml"
    shutil.copy(site.daemon.config, other)
    site.guard("-c", str(other))
    site.daemon.start()
    control, moved = f"{site.daemon.directory}/control.sock", site.daemon.directory / "moved.sock"
    site.daemon.write_file(f"{NARROW}control: {moved}\n")
    (problem,) = ask(control, "POST", "v1/reload")["problems"]
    assert "asks for other rules" in problem and problem.endswith("nothing was reloaded")
    assert not moved.exists()
    assert ask(control, "GET", "v1/status")["state"] == "serving"


def test_without_a_guard_a_reload_to_other_rules_says_that_nobody_has_set_them_up(site: Kept) -> None:
    site.daemon.net_up()
    site.daemon.start()
    site.daemon.write_config(NARROW)
    said = site.daemon.command("reload", "-c", str(site.daemon.config), check=False)
    assert said.returncode == 1
    assert "the firewall rules are still the old ones" in said.stderr
    # The next one wants no others, and says so too: it cannot see whether somebody has done it.
    said = site.daemon.command("reload", "-c", str(site.daemon.config))
    assert "nobody here can see whether they are so yet" in said.stderr + said.stdout
    assert site.daemon.ask("status")["rules_in_doubt"]


def test_started_as_root_it_needs_no_guard_for_a_reload(site: Kept) -> None:
    site.as_root()
    site.daemon.net_up()
    site.daemon.start()
    until(lambda: site.daemon.ask("status")["rules_watched"] == "all")
    site.daemon.write_config(NARROW)
    assert site.status("reload") == 0
    assert site.status("net", "status") == 0
    site.daemon.command("net", "down")
    site.daemon.wait_for("rules.missing")
    site.daemon.write_config(ALL)
    assert site.status("reload") == 1  # it does not set up what the operator has taken down
    assert "pinhole" not in site.run("nft list tables")


def test_started_after_a_change_the_daemon_has_its_rules_set_up(site: Kept) -> None:
    site.guard()
    site.daemon.write_config(NARROW)
    site.daemon.start()
    assert site.status("net", "status") == 0


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


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_run_with_net_keeps_its_own_rules_and_takes_them_down_at_the_end(backend: str) -> None:
    with Lab("routed") as lab:
        daemon = Daemon(lab, ALL, "nft", unprivileged=False)
        daemon.start("--net", "--backend", backend)
        assert daemon.until(rules_kept=True)
        lab.gateway.run(["nft", "flush", "ruleset"])
        assert daemon.wait_for("rules.restored")["seconds"] < LONGEST_SECONDS
        assert is_read(lab, daemon)
        daemon.write_config(NARROW)
        assert daemon.command("reload", "-c", str(daemon.config)).returncode == 0
        assert "10.1.0.77" in lab.gateway.run(["nft", "list", "ruleset"]).stdout
        daemon.stop()
        assert "pinhole" not in lab.gateway.run(["sh", "-c", "nft list ruleset; ip rule"]).stdout.lower()
        shutil.rmtree(daemon.directory)


def test_a_second_run_with_net_is_told_of_the_first(site: Kept) -> None:
    site.as_root()
    site.daemon.start("--net")
    second = site.lab.gateway.run((*COMMAND, "run", "--net", "-c", str(site.daemon.config)), cwd=ROOT, check=False)
    assert (second.returncode, second.stderr) == (
        1,
        "pinhole: another `pinhole run --net` serves here, and keeps the rules: end it first\n",
    )
    assert site.status("net", "status") == 0


@pytest.mark.parametrize("command", ["run --net", "net guard"])
def test_net_up_by_the_other_backend_is_refused_where_a_guard_would_undo_it(site: Kept, command: str) -> None:
    if command == "net guard":
        site.guard("--backend", "nft")
        until(lambda: site.status("net", "status") == 0)
    else:
        site.as_root()
        site.daemon.start("--net", "--backend", "nft")
    before = site.run("nft list ruleset")
    up = ("net", "up", "-c", str(site.daemon.config), "--backend")
    refused = site.daemon.command(*up, "iptables", check=False)
    assert refused.returncode == 1
    assert f"`pinhole {command}` keeps rules by nft here, and would put them back" in refused.stderr
    assert site.run("nft list ruleset") == before
    assert site.status(*up[:2], "--backend", "nft") == 0


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_net_down_without_a_word_of_the_backend_lets_sessions_pass_as_before(site: Kept, backend: str) -> None:
    with server(site.lab.server):
        for _ in range(2):
            site.daemon.command("net", "up", "--backend", backend, "-c", str(site.daemon.config))
            assert site.status("net", "status") == 0
            assert fate(site.lab.client, str(site.lab.server.v4), 21) in ("refused", "silent")
            site.daemon.command("net", "down")
            assert site.status("net", "status") == 1
            assert fate(site.lab.client, str(site.lab.server.v4), 21).startswith("open 220")


def test_net_up_tells_a_reader_what_it_does(site: Kept) -> None:
    for backend, line in (
        ("nft", "nft: table inet pinhole"),
        ("iptables", "iptables: chains PINHOLE and PINHOLE-GUARD"),
    ):
        said = site.daemon.command("net", "up", "--backend", backend, "-c", str(site.daemon.config)).stderr
        assert line in said
        assert "-f -" not in said
        assert "sh -c" not in said


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
