"""The package of each release of Debian on a machine with a real systemd: each step as an administrator expects it.

The steps are those of one machine's life, in order. Whatever the machine gets from elsewhere lies beside the package:
it has no network but that of its lab.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tools.debian.building import NAME, package
from tools.debian.machine import Machine, booted
from tools.debian.roots import RELEASES, base
from tools.lab import Lab
from tools.peers import audio, ftp, sipp

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="not installed (tools/setup --test): mmdebstrap"),
]

POLICY = "  - {name: lan-out, from: [lan0], action: accept, snat: interface}\n"
CONFIGURATION = f"policies:\n{POLICY}audit: {{to: /var/log/pinhole/audit.log}}\n"
RULESET = """#!/usr/sbin/nft -f
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        meta mark and 0x1000000 == 0x1000000 accept
        ct state invalid drop
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
    chain forward { type filter hook forward priority filter; policy drop; }
}
"""
SECONDS = 20


class Site:
    """The machine between a client inside and a server outside."""

    def __init__(self, lab: Lab, machine: Machine, server: ftp.Server, directory: Path) -> None:
        self._lab = lab
        self._server = server
        self._directory = directory
        self.machine = machine

    def download(self) -> None:
        """A client inside fetches a file, in active and in passive mode. Raises TransferFailed."""
        (curl,) = (client for client in ftp.CLIENTS if client.name == "curl")
        for active in (True, False):
            got = self._directory / "got"
            got.unlink(missing_ok=True)
            mode, steps = ftp.Mode(active, extended=True, version=4), [ftp.Get("file", got)]
            curl.do(self._lab.client, self._server.host.v4, self._server.login, mode, steps)
            assert got.read_bytes() == (self._server.home / "file").read_bytes()

    def call(self) -> None:
        """A phone inside calls one outside, which says what it hears. Raises CallFailed."""
        sipp.call(self._lab.client, self._lab.server, self._lab.server.v4, "udp", audio.noise(25))

    def has_kernel_path(self) -> bool:
        """Whether media may pass in the kernel, by the daemon's word."""
        said = json.loads(self.machine.run("pinhole", "status", "--json", check=False).stdout)
        return bool(said["fastpath"]["state"] == "on" and "lan0" in said["fastpath"]["interfaces"])

    def findings(self) -> list[dict[str, Any]]:
        """What doctor does not like on the machine."""
        said = json.loads(self.machine.run("pinhole", "doctor", "--json", check=False).stdout)
        return [finding for finding in said["findings"] if finding["level"] != "ok"]

    def take(self, advice: str) -> None:
        """Run a command that doctor names; with this system's programs, for that one has the least that there is."""
        self._lab.gateway.run(["sh", "-c", advice])

    def rules(self) -> str:
        """Rules and routing rules of pinhole on the machine."""
        tables = self.machine.run("nft", "list", "tables").stdout
        routes = self.machine.run("ip", "rule").stdout + self.machine.run("ip", "-6", "rule").stdout
        return "".join(line for line in (tables + routes).splitlines(True) if re.search(r"pinhole|5353", line))


@pytest.fixture(scope="module", params=RELEASES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    release = RELEASES[request.param]
    built = package(release)
    with (
        Lab() as lab,
        booted(lab.gateway, base(release), built.parent) as machine,
        ftp.proftpd(lab.server) as server,
    ):
        (server.home / "file").write_bytes(os.urandom(100_000))
        yield Site(lab, machine, server, tmp_path_factory.mktemp("got"))


def test_it_is_installed_without_a_warning(site: Site) -> None:
    site.machine.run("sh", "-c", "cp /mnt/files/needed/*.deb /var/cache/apt/archives/ 2>/dev/null || true")
    options = ("--yes", "--no-install-recommends")
    said = site.machine.run("sh", "-c", f"apt-get install {' '.join(options)} /mnt/files/{NAME}_*.deb 2>&1").stdout
    assert not re.search(r"(?i)warning|error|failed", said), said


def test_nothing_runs_before_somebody_has_said_whom_to_serve(site: Site) -> None:
    assert site.machine.run("systemctl", "is-enabled", "pinhole", check=False).stdout == "disabled\n"
    assert not site.machine.is_active("pinhole")
    assert site.rules() == ""
    assert site.machine.run("systemctl", "is-system-running").stdout == "running\n"


def test_what_is_installed_is_in_order(site: Site) -> None:
    assert site.machine.run("pinhole", "--version").stdout.startswith("pinhole 0.")
    assert site.machine.run("pinhole", "check").returncode == 0
    assert site.machine.run("id", "--name", "--user", "pinhole").stdout == "pinhole\n"
    units = site.machine.run("sh", "-c", f"dpkg --listfiles {NAME} | grep '[.]service$'").stdout.split()
    assert site.machine.run("systemd-analyze", "verify", *units).stderr == ""


def test_it_serves_as_soon_as_it_has_been_started(site: Site) -> None:
    site.machine.write("/etc/nftables.conf", RULESET)
    site.machine.run("systemctl", "enable", "--now", "nftables")
    site.machine.write("/etc/pinhole/pinhole.yaml", CONFIGURATION)
    site.machine.run("systemctl", "enable", "--now", "pinhole")
    site.download()
    site.call()


def test_doctor_finds_nothing_once_its_advice_is_taken(site: Site) -> None:
    for finding in site.findings():
        site.take(finding["remedy"])
    assert site.findings() == []


def test_the_daemon_is_an_ordinary_user_without_the_right_to_change_rules(site: Site) -> None:
    pid = site.machine.show("pinhole", "MainPID")["MainPID"]
    status = dict(line.split(":\t", 1) for line in site.machine.run("cat", f"/proc/{pid}/status").stdout.splitlines())
    assert site.machine.run("stat", "--format=%U", f"/proc/{pid}").stdout == "pinhole\n"
    assert int(status["CapEff"], 16) == 1 << 13 | 1 << 10  # NET_RAW, NET_BIND_SERVICE


def test_what_attaches_programs_is_another_user_with_two_other_capabilities(site: Site) -> None:
    pid = site.machine.show("pinhole-fastpath", "MainPID")["MainPID"]
    status = dict(line.split(":\t", 1) for line in site.machine.run("cat", f"/proc/{pid}/status").stdout.splitlines())
    assert site.machine.run("stat", "--format=%U", f"/proc/{pid}").stdout == "pinhole-fastpath\n"
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {1 << 12 | 1 << 39}  # NET_ADMIN, BPF
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    until(site.has_kernel_path, "media does not pass in the kernel")


def test_killed_it_is_started_again_and_the_daemon_finds_it(site: Site) -> None:
    before = site.machine.show("pinhole-fastpath", "MainPID")["MainPID"]
    # On a busy machine the first one may have come later than the daemon waits for it, which is told alike.
    back = len(site.machine.audit("fastpath.back"))
    site.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "pinhole-fastpath")
    until(
        lambda: site.machine.show("pinhole-fastpath", "MainPID")["MainPID"] not in ("0", before),
        lambda: "it was not started again",
    )
    until(lambda: len(site.machine.audit("fastpath.back")) > back, "the daemon did not find it")
    # The tables come first, and then one interface after the other.
    until(site.has_kernel_path, "media does not pass in the kernel")
    known = len(site.machine.audit("pinhole.closed"))

    def is_carried() -> bool:
        """All audio of a call comes within a moment, for which a busy machine may leave the daemon without a turn."""
        site.call()
        return any(line.get("packets_in_kernel") for line in site.machine.audit("pinhole.closed")[known:])

    until(is_carried, "no packet passed in the kernel")


def test_reload_puts_a_new_configuration_in_force(site: Site) -> None:
    site.machine.write("/etc/pinhole/pinhole.yaml", CONFIGURATION.replace("accept, snat: interface", "deny"))
    site.machine.run("systemctl", "reload", "pinhole")
    with pytest.raises(ftp.TransferFailed):
        site.download()
    site.machine.write("/etc/pinhole/pinhole.yaml", CONFIGURATION)
    site.machine.run("systemctl", "reload", "pinhole")
    site.download()


def test_reload_brings_rules_in_force_as_well(site: Site) -> None:
    site.machine.write("/etc/pinhole/pinhole.yaml", CONFIGURATION.replace("action:", "source: 192.0.2.0/24, action:"))
    site.machine.run("systemctl", "reload", "pinhole")
    assert "192.0.2.0/24" in site.machine.run("nft", "list", "table", "inet", "pinhole").stdout
    site.machine.write("/etc/pinhole/pinhole.yaml", CONFIGURATION)
    site.machine.run("systemctl", "reload", "pinhole-guard")
    until(
        lambda: "192.0.2.0/24" not in site.machine.run("nft", "list", "table", "inet", "pinhole").stdout,
        lambda: "it stays",
    )
    site.machine.run("systemctl", "reload", "pinhole")


def test_reload_fails_with_a_mistake_and_all_stays_as_it_was(site: Site) -> None:
    site.machine.write("/etc/pinhole/pinhole.yaml", CONFIGURATION.replace("accept", "acept"))
    assert site.machine.run("systemctl", "reload", "pinhole", check=False).returncode != 0
    site.machine.write("/etc/pinhole/pinhole.yaml", CONFIGURATION)
    assert site.machine.is_active("pinhole")
    site.download()


def test_rules_that_somebody_flushed_are_put_back(site: Site) -> None:
    before = len(site.machine.audit("rules.restored"))
    site.machine.run("nft", "flush", "ruleset")
    until(lambda: len(site.machine.audit("rules.restored")) > before, "nobody put the rules back")
    site.download()
    site.call()


def test_rules_outlive_a_restart_of_the_firewall(site: Site) -> None:
    before = len(site.machine.audit("rules.restored"))
    site.machine.run("systemctl", "restart", "nftables")
    until(lambda: len(site.machine.audit("rules.restored")) > before, "nobody put the rules back")
    site.download()


def test_it_serves_again_after_it_was_killed(site: Site) -> None:
    before = site.machine.show("pinhole", "MainPID")["MainPID"]
    site.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "pinhole")
    until(
        lambda: site.machine.show("pinhole", "MainPID")["MainPID"] not in ("0", before),
        lambda: "it was not started again",
    )
    until(lambda: site.machine.is_active("pinhole"), "it did not come up again")
    site.download()
    site.call()


def test_logrotate_moves_the_audit_log_and_no_line_is_lost(site: Site) -> None:
    before = len(site.machine.audit())
    site.machine.run("logrotate", "--force", f"/etc/logrotate.d/{NAME}")
    site.download()
    until(lambda: len(site.machine.audit()) > before, "the log does not go on")
    assert site.machine.run("test", "-s", "/var/log/pinhole/audit.log.1").returncode == 0
    until(lambda: site.machine.run("cat", "/var/log/pinhole/audit.log").stdout, "the new file stays empty")


def test_an_upgrade_begins_the_service_anew(site: Site) -> None:
    before = site.machine.show("pinhole", "MainPID")["MainPID"]
    said = site.machine.run("sh", "-c", f"apt-get install --reinstall --yes /mnt/files/{NAME}_*.deb 2>&1").stdout
    assert not re.search(r"(?i)warning|error|failed", said), said
    assert site.machine.show("pinhole", "MainPID")["MainPID"] not in ("0", before)
    site.download()


def test_removal_takes_the_rules_down_and_keeps_what_the_administrator_wrote(site: Site) -> None:
    assert site.rules()
    said = site.machine.run("sh", "-c", f"apt-get remove --yes {NAME} 2>&1").stdout
    assert not re.search(r"(?i)warning|error|failed", said), said
    assert site.rules() == ""
    assert site.machine.run("sh", "-c", "ls /usr/lib/pinhole /usr/bin/pinhole 2>/dev/null", check=False).stdout == ""
    assert site.machine.run("cat", "/etc/pinhole/pinhole.yaml").stdout == CONFIGURATION
    assert site.machine.audit()


def test_purging_leaves_nothing(site: Site) -> None:
    said = site.machine.run("sh", "-c", f"apt-get purge --yes {NAME} 2>&1").stdout
    assert not re.search(r"(?i)warning|error|failed", said), said
    left = site.machine.run("find", "/etc", "/var/log", "/usr/lib", "/run", "-path", "*pinhole*", check=False).stdout
    assert left == ""
    assert site.machine.run("systemctl", "is-system-running").stdout == "running\n"
