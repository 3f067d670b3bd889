"""pinhole's line beside a real firewalld: the unit of configs/ puts it back after each reload."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tests.netns.talks import Way, call, transfer
from tools.lab import Lab, pinhole
from tools.lab.gateways import BACKENDS, BackendName
from tools.peers.ftp import UNPACKED

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

PYTHON = "/usr/bin/python3"
"""The system's, which has D-Bus and nftables."""
UNIT = Path(__file__).parents[2] / "configs" / "pinhole-firewalld.service"
SECONDS = 60
BUS = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
"""A bus of its own, which starts nothing: firewalld waits for a PolicyKit that cannot be started."""


@dataclass(frozen=True)
class Firewalld:
    lab: Lab
    environment: dict[str, str]

    def command(self, *words: str, check: bool = True) -> int:
        program = str(UNPACKED / "usr/bin/firewall-cmd")
        return self.lab.gateway.run([PYTHON, program, *words], env=self.environment, check=check).returncode

    def start(self, words: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return self.lab.gateway.popen(words, env=self.environment, stdout=file, stderr=file)

    def table(self) -> list[str]:
        return self.lab.gateway.run(["nft", "--handle", "list", "table", "inet", "firewalld"]).stdout.splitlines()

    def first_rule(self) -> str:
        """Of the input chain."""
        shown = self.lab.gateway.run(["nft", "list", "chain", "inet", "firewalld", "filter_INPUT"], check=False).stdout
        return next((line.strip() for line in shown.splitlines()[3:4]), "")


def until(ready: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while not ready():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


@pytest.fixture
def firewalld(tmp_path: Path) -> Iterator[Firewalld]:
    bus, log = tmp_path / "bus", tmp_path / "firewalld.log"
    (tmp_path / "bus.conf").write_text(BUS.format(path=bus))
    settings = tmp_path / "settings"
    for directory in ("zones", "policies", "services", "ipsets", "icmptypes", "helpers"):
        (settings / directory).mkdir(parents=True)
    (settings / "firewalld.conf").write_text("DefaultZone=public\nFirewallBackend=nftables\nIPv6_rpfilter=yes\n")
    with Lab() as lab:
        environment = {
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}",
            "PYTHONPATH": str(UNPACKED / "usr/lib/python3/dist-packages"),
        }
        made = Firewalld(lab, os.environ | environment)
        made.start(["dbus-daemon", "--config-file", str(tmp_path / "bus.conf"), "--nofork", "--nopidfile"], log)
        until(bus.exists, log)
        program, shipped = str(UNPACKED / "usr/sbin/firewalld"), str(UNPACKED / "usr/lib/firewalld")
        words = ["--default-config", shipped, "--system-config", str(settings), "--log-file", str(tmp_path / "log")]
        made.start([PYTHON, program, "--nofork", "--nopid", *words], log)
        until(lambda: made.command("--state", check=False) == 0, log)
        yield made


LINE = 'meta mark & 0x01000000 == 0x01000000 accept comment "pinhole"'


def start_unit(firewalld: Firewalld, log: Path) -> None:
    """As systemd would, until the line is there."""
    (start,) = (line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    shell, option, script = start.removeprefix("ExecStart=").split(" ", 2)
    firewalld.start([shell, option, script.strip("'")], log)
    until(lambda: firewalld.first_rule() == LINE, log)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_sessions_pass_beside_it_though_it_looks_for_ways_back_by_the_mark(
    firewalld: Firewalld, tmp_path: Path, backend: BackendName, is_first: bool
) -> None:
    """Which it does in IPv6, as it is shipped (IPv6_rpfilter=yes)."""
    lab, log = firewalld.lab, tmp_path / "unit.log"
    start_unit(firewalld, log)
    with pinhole(lab, "policies: [{name: all, from: [lan0], action: accept, snat: interface}]", backend) as daemon:
        if not is_first:  # its table is made anew
            table = firewalld.table()[0]
            firewalld.command("--reload")
            until(lambda: firewalld.first_rule() == LINE and firewalld.table()[0] != table, log)
        if not is_first and backend == "iptables":  # whose rules it flushes with its own (FlushAllOnReload)
            daemon.wait_for("rules.missing")
            daemon.net_up()
        for number, version in enumerate((4, 6)):
            way = Way(lab.client, lab.server, version)
            transfer(way, active=False)
            transfer(way, active=True)
            call(way, number)
        assert daemon.audit("session.failed") == []


def test_the_line_is_there_again_after_each_reload(firewalld: Firewalld, tmp_path: Path) -> None:
    log = tmp_path / "unit.log"
    start_unit(firewalld, log)
    for _ in range(2):
        before = firewalld.table()
        firewalld.command("--reload")
        until(lambda: firewalld.first_rule() == LINE, log)
        after = firewalld.table()
        # With its number: it is another table.
        assert after[0] != before[0]
        assert sum("pinhole" in rule for rule in after) == 1
