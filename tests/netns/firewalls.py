"""Firewalls of others at work on the gateway of a lab, each out of its unpacked package: firewalld and ufw."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.harness.waiting import until
from tools.lab import Lab
from tools.peers.programs import UNPACKED

PYTHON = "/usr/bin/python3"
"""The system's, which has D-Bus and nftables."""
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
    """A firewalld at work on the gateway of a lab, and the command that it obeys."""

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


def _listens(path: Path) -> bool:
    """Whether somebody does so at this path, which is there a moment before."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def start_firewalld(lab: Lab, directory: Path, zones: Mapping[str, str] | None = None) -> Firewalld:
    """Start it, to be ended with the lab. `zones`: name of a zone -> what stands in its file."""
    bus, log = directory / "bus", directory / "firewalld.log"
    (directory / "bus.conf").write_text(BUS.format(path=bus))
    settings = directory / "settings"
    for name in ("zones", "policies", "services", "ipsets", "icmptypes", "helpers"):
        (settings / name).mkdir(parents=True)
    chosen = "DefaultZone=public\nFirewallBackend=nftables\nIPv6_rpfilter=yes\n"
    if "NftablesTableOwner" in (UNPACKED / "etc/firewalld/firewalld.conf").read_text():  # Debian 13
        chosen += "NftablesTableOwner=no\n"
    (settings / "firewalld.conf").write_text(chosen)
    for zone, text in (zones or {}).items():
        (settings / "zones" / f"{zone}.xml").write_text(f"<zone>{text}</zone>\n")
    environment = {
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}",
        "PYTHONPATH": str(UNPACKED / "usr/lib/python3/dist-packages"),
    }
    made = Firewalld(lab, os.environ | environment)
    made.start(["dbus-daemon", "--config-file", str(directory / "bus.conf"), "--nofork", "--nopidfile"], log)
    until(lambda: _listens(bus), log.read_text, SECONDS)
    program, shipped = str(UNPACKED / "usr/sbin/firewalld"), str(UNPACKED / "usr/lib/firewalld")
    words = ["--default-config", shipped, "--system-config", str(settings), "--log-file", str(directory / "log")]
    made.start([PYTHON, program, "--nofork", "--nopid", *words], log)
    until(lambda: made.command("--state", check=False) == 0, log.read_text, SECONDS)
    return made


class Ufw:
    """ufw with a root directory of its own, as its package leaves it after installation."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._lab = lab
        self._root = directory / "ufw"
        programs = "lib/ufw" if (UNPACKED / "lib/ufw").exists() else "usr/lib/ufw"  # Debian 12, 13
        for name in ("usr/share/ufw", programs, "etc/ufw"):
            shutil.copytree(UNPACKED / name, self._root / name)
        if not (self._root / "lib").exists():
            (self._root / "lib").symlink_to("usr/lib")
        (self._root / "etc/default").mkdir()
        shutil.copy(UNPACKED / "etc/default/ufw", self._root / "etc/default/ufw")
        self.settings = self._root / "etc/ufw"
        for file in (*(self._root / "usr/share/ufw/iptables").iterdir(), self._root / "usr/share/ufw/ufw.conf"):
            shutil.copy(file, self.settings)
        (self._root / "var/lib").mkdir(parents=True)

    def command(self, *words: str) -> None:
        """`ufw WORDS` on the gateway."""
        environment = os.environ | {"PYTHONPATH": str(UNPACKED / "usr/lib/python3/dist-packages")}
        where = (f"--rootdir={self._root}", f"--datadir={self._root}")
        self._lab.gateway.run([PYTHON, str(UNPACKED / "usr/sbin/ufw"), *where, *words], env=environment)
