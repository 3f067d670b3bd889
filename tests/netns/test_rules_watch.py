"""Rules and routes that somebody else takes away while the daemon serves: it says so, at once, and again when they are
back."""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from proxy.config import reading
from proxy.host import net, privileges, rules_routing
from proxy.host.news import concerns_us
from proxy.host.rules import Backend
from proxy.host.standing import Standing
from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tests.netns.test_privileges import capabilities
from tools.lab import Daemon, Lab
from tools.lab.daemon import COMMAND, ROOT

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept}]"
METRICS = ["curl", "-s", "--unix-socket"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("routed") as lab:
        yield lab


def made(lab: Lab, backend: Literal["nft", "iptables"], unprivileged: bool = False) -> Daemon:
    daemon = Daemon(lab, ALL, backend, unprivileged)
    daemon.net_up()
    return daemon


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Daemon]:
    daemon = made(lab, "nft")
    daemon.start()
    yield from served(daemon)


@pytest.fixture
def by_iptables(lab: Lab) -> Iterator[Daemon]:
    daemon = made(lab, "iptables")
    daemon.start()
    yield from served(daemon)


def served(daemon: Daemon) -> Iterator[Daemon]:
    watched(daemon, "all")
    yield daemon
    daemon.stop()
    shutil.rmtree(daemon.directory)


def watched(daemon: Daemon, what: str) -> None:
    """It has been looked at once."""
    until(lambda: daemon.ask("status")["rules_watched"] == what, lambda: daemon.ask("status"))


def said(daemon: Daemon) -> tuple[int, str]:
    """What `pinhole status` says, and its exit status."""
    done = daemon.command("status", "-c", str(daemon.config), check=False)
    return done.returncode, done.stdout


def missing(lab: Lab, daemon: Daemon, part: str) -> None:
    line = daemon.wait_for("rules.missing")
    assert any(part in text for text in line["parts"]), line
    status, text = said(daemon)
    assert status == 1
    assert "degraded" in text
    assert part in text
    # `net down` takes several parts away: the metric says how many are missing now, the line how many were at first.
    for _ in range(200):
        before, metrics, after = count_missing(daemon), metrics_of(lab, daemon), count_missing(daemon)
        if before == after:
            break
    assert before >= 1
    assert f"pinhole_rules_missing {before}.0" in metrics


def count_missing(daemon: Daemon) -> int:
    return len(daemon.ask("status")["rules_missing"])


def metrics_of(lab: Lab, daemon: Daemon) -> str:
    return lab.gateway.run([*METRICS, f"{daemon.directory}/control.sock", "http://pinhole/metrics"]).stdout


def restored(daemon: Daemon) -> None:
    daemon.net_up()
    daemon.wait_for("rules.restored")
    status, text = said(daemon)
    assert (status, "serving" in text) == (0, True)
    assert daemon.ask("status")["rules_missing"] == []


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("nft flush ruleset", "nft table inet pinhole: missing"),
        ("nft delete table inet pinhole", "nft table inet pinhole: missing"),
        ("nft flush chain inet pinhole prerouting", "nft table inet pinhole: changed"),
        ("nft insert rule inet pinhole prerouting accept", "nft table inet pinhole: changed"),
        ("ip rule flush protocol 213", "IPv4 rule fwmark"),
        ("ip -6 rule flush protocol 213", "IPv6 rule fwmark"),
        ("ip route flush table 5353", "IPv4 route local default"),
        ("ip -6 route flush table 5353", "IPv6 route local default"),
        ("ip link set lo down", "IPv6 route local default"),
        # Nothing is gone, but a rule without a priority comes before ours.
        ("ip rule add from 10.1.0.0/24 lookup main", "IPv4 rules of others before ours: priority 99"),
        ("ip -6 rule add not fwmark 51820 table main", "IPv6 rules of others before ours: priority 99"),
    ],
)
def test_what_somebody_takes_away_is_told_and_so_is_its_return(
    lab: Lab, daemon: Daemon, command: str, part: str
) -> None:
    lab.gateway.run(command.split())
    missing(lab, daemon, part)
    lab.gateway.run(["ip", "link", "set", "lo", "up"])
    restored(daemon)


def test_a_loopback_that_was_down_for_a_moment_has_lost_routes(lab: Lab, daemon: Daemon) -> None:
    lab.gateway.run(["sh", "-c", "ip link set lo down; ip link set lo up"])
    missing(lab, daemon, "IPv6 route local default")


@pytest.mark.parametrize(
    "command",
    [
        "iptables -t mangle -F",
        "iptables -t mangle -D PREROUTING 1",
        "ip6tables -t mangle -F PINHOLE",
        "nft flush ruleset",
    ],
)
def test_rules_of_iptables_are_watched_too(lab: Lab, by_iptables: Daemon, command: str) -> None:
    lab.gateway.run(command.split())
    missing(lab, by_iptables, "tables chain PINHOLE")
    restored(by_iptables)


def test_what_others_change_and_a_new_set_up_of_ours_are_nothing_to_tell(lab: Lab, daemon: Daemon) -> None:
    lab.gateway.run(["nft", "add table ip mine; add chain ip mine c; add rule ip mine c accept"])
    lab.gateway.run(["ip", "route", "add", "203.0.113.0/24", "via", "198.51.100.2"])
    daemon.net_up()
    daemon.write_config("policies: [{name: other, from: [wan0], action: accept}]")
    daemon.command("reload", "-c", str(daemon.config))
    daemon.net_up()
    assert said(daemon)[0] == 0
    lab.gateway.run(["nft", "delete", "table", "inet", "pinhole"])  # and everything before it has been heard
    daemon.wait_for("rules.missing")
    assert len(daemon.audit("rules.missing")) == 1


def test_started_without_rules_it_says_so(lab: Lab) -> None:
    daemon = Daemon(lab, ALL, "nft", unprivileged=False)
    daemon.start()
    missing(lab, daemon, "nft table inet pinhole: missing")
    remedy = f"`pinhole net up -c {daemon.config}`, or `pinhole run -c {daemon.config} --net`"
    said_at_once = f"nothing brings sessions here (nft table inet pinhole: missing): {remedy}"
    assert said_at_once in daemon.stderr.read_text()
    daemon.stop()
    shutil.rmtree(daemon.directory)


@pytest.mark.parametrize("begun_with", ["nothing", "nft"])
def test_rules_of_the_other_backend_set_up_while_it_serves_are_rules(lab: Lab, begun_with: str) -> None:
    daemon = Daemon(lab, ALL, "nft", unprivileged=False)
    if begun_with == "nft":
        daemon.net_up()
    daemon.start()
    watched(daemon, "all")
    if begun_with == "nft":
        daemon.net_down()
    missing(lab, daemon, "nft table inet pinhole: missing")
    daemon.command("net", "up", "--backend", "iptables", "-c", str(daemon.config))
    daemon.wait_for("rules.restored")
    assert said(daemon)[0] == 0
    told = len(daemon.audit("rules.missing"))
    lab.gateway.run(["iptables", "-t", "mangle", "-F"])
    assert "chain PINHOLE" in daemon.wait_for("rules.missing", told + 1)["parts"][0]
    daemon.stop()
    shutil.rmtree(daemon.directory)


def test_with_two_capabilities_alone_it_watches_what_everybody_may_see(lab: Lab) -> None:
    daemon = made(lab, "nft", unprivileged=True)
    daemon.start()
    watched(daemon, "routing")
    lab.gateway.run(["ip", "rule", "flush", "protocol", "213"])
    missing(lab, daemon, "IPv4 rule fwmark")
    restored(daemon)
    daemon.stop()
    shutil.rmtree(daemon.directory)


def test_as_the_unit_starts_it_the_rules_are_watched_and_the_daemon_has_two_capabilities(lab: Lab) -> None:
    daemon = made(lab, "nft")
    several = "-all,+net_raw,+net_bind_service,+net_admin"
    identity = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
    limits = ("--inh-caps", several, "--ambient-caps", several, "--bounding-set", several)
    run = ("setpriv", *identity, *limits, *COMMAND, "run", "-c", str(daemon.config))
    with daemon.stderr.open("ab") as stderr:
        process = lab.gateway.popen(run, cwd=ROOT, stdout=stderr, stderr=stderr)
    daemon.wait_for("daemon.started")
    watched(daemon, "all")
    assert capabilities(process.pid)["CapPrm"] == sum(1 << number for number in privileges.SERVING)
    lab.gateway.run(["nft", "flush", "ruleset"])
    missing(lab, daemon, "nft table inet pinhole: missing")
    restored(daemon)
    process.terminate()
    assert process.wait(60) == 0
    shutil.rmtree(daemon.directory)


def test_killed_it_leaves_no_process_behind(lab: Lab, daemon: Daemon) -> None:
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    watching = [os.pidfd_open(int(child)) for child in children]
    assert len(watching) == 2
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    for descriptor in watching:
        assert select.select([descriptor], [], [], 60)[0]  # it has ended
        os.close(descriptor)


# -- news --------------------------------------------------------------------------------------------------------------


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def nft(kind: int, table: bytes) -> bytes:
    data = table + b"\0"
    return message(10 << 8 | kind, b"\1\0\0\0" + struct.pack("=HH", 4 + len(data), 1) + data + bytes(-len(data) % 4))


def route(kind: int, table: int, protocol: int) -> bytes:
    return message(kind, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, table, protocol, 0, 2, 0))


@pytest.mark.parametrize(
    ("news", "of_rules", "is_ours"),
    [
        (nft(2, b"pinhole"), True, True),
        (nft(8, b"mangle"), True, True),
        (nft(8, b"filter"), True, False),
        (nft(8, b"filter") + nft(8, b"pinhole"), True, True),
        (nft(8, b"pinhole")[:20], True, False),
        (b"", True, False),
        (bytes(40), True, False),
        (route(25, 252, rules_routing.ROUTE_PROTOCOL), False, True),
        (route(25, 254, 4), False, False),
        (route(24, 99, 4), False, True),
        (message(33, bytes(12)), False, True),
        (message(16, struct.pack("=BxHi", 0, 0, 1) + bytes(8)), False, True),
        (message(16, struct.pack("=BxHi", 0, 0, 2) + bytes(8)), False, False),
        (message(25, b""), False, False),
        (message(16, b""), False, False),
    ],
)
def test_of_all_news_few_concern_us(news: bytes, of_rules: bool, is_ours: bool) -> None:
    assert concerns_us(news, of_rules, table=99) is is_ours


def test_where_nobody_tells_of_changes_it_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, looks in (("iptables v1.8.9 (legacy)", True), ("iptables v1.8.9 (nf_tables)", False)):
        monkeypatch.setattr(net, "read", lambda _, kind=kind: kind)
        standing = Standing(reading.default(), Backend.IPTABLES, sees_rules=True)
        assert standing.needs_looking is looks
    assert not Standing(reading.default(), Backend.NFT, sees_rules=True).needs_looking
    assert not Standing(reading.default(), Backend.IPTABLES, sees_rules=False).needs_looking
