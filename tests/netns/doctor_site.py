"""A gateway that the doctor looks at: three hosts, a configuration, and whatever is made wrong with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from protocols.contract.addresses import Transport
from proxy.config import reading
from proxy.config.schema import Config, ControlSocket, HelperEntry, Policy
from proxy.config.values import PortRange
from proxy.doctor import examine
from proxy.doctor.findings import Finding, Level
from proxy.host import net, rules
from proxy.host.rules import Backend
from tests.netns.namespaces import Hosts, run, three_hosts

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "proxy")
FTP = "session-helpers: [{id: 1, name: ftp, protocol: tcp, port: 21}]"
LAN_OUT = 'policies: [{name: lan-out, from: [lan0], source: [10.1.0.0/24, "fd01::/64"], action: accept}]'


class Site:
    """A gateway that is set up and well, until something is done to it. It changes PATH, which is to be put back."""

    def __init__(self, hosts: Hosts, directory: Path, stack: contextlib.ExitStack) -> None:
        self.hosts = hosts
        self.gateway = hosts.gateway
        self.directory = directory
        self.stack = stack
        """What is to be undone at the end."""
        self.backend = Backend.NFT
        self.limits: list[dict[str, Any]] = []
        self.fastpath: dict[str, Any] | None = None
        self.file = directory / "pinhole.yaml"
        self.commands = directory / "bin"
        self.commands.mkdir()
        os.environ["PATH"] = f"{self.commands}:{os.environ['PATH']}"
        self.configure()
        # The remedies say `pinhole`, and leave out which configuration is meant.
        self.fake("pinhole", f'cd {ROOT}; exec {" ".join(COMMAND)} "$@" -c {self.file}')

    def configure(self, policies: str = LAN_OUT, *more: str, helpers: str = FTP) -> None:
        """Write the configuration."""
        texts = (f"control: {self.directory}/control.sock", helpers, policies, *more)
        self.file.write_text("".join(f"{text}\n" for text in texts))

    @property
    def config(self) -> Config:
        return reading.load(self.file)

    def up(self, backend: Backend = Backend.NFT) -> None:
        self.backend = backend
        with self.gateway.inside():
            net.up(self.config, backend)

    def plan(self, backend: Backend) -> None:
        """Set up as `up` does, but beside what stands."""
        self.gateway.run("sh", stdin=rules.plan(self.config, backend))

    def run(self, *command: str, stdin: str = "") -> None:
        self.gateway.run(*command, stdin=stdin)

    def nft(self, text: str) -> None:
        self.gateway.run("nft", "-f", "-", stdin=text)

    def fake(self, name: str, script: str) -> None:
        """Put another command in the place of one of the system's. In the script `real` calls that one."""
        real = shutil.which(name)
        (self.commands / name).write_text(f'#!/bin/sh\nreal() {{ {real} "$@"; }}\n{script}\n')
        (self.commands / name).chmod(0o755)

    def findings(self) -> list[Finding]:
        """All that is wrong."""
        with self.gateway.inside():
            found = examine.examine(self.config, self.limits, self.fastpath)
        return [finding for finding in found if finding.level is not Level.OK]

    def told(self, *before: str) -> list[Finding]:
        """What `pinhole doctor` says is wrong. `before`: a command that runs it, as setpriv does."""
        with self.gateway.inside():
            words = (*before, *COMMAND, "doctor", "--json", "-c", str(self.file))
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        found = (Finding(**item | {"level": Level(item["level"])}) for item in json.loads(done.stdout)["findings"])
        return [finding for finding in found if finding.level is not Level.OK]

    def follow(self, finding: Finding) -> None:
        """Paste the remedy."""
        with self.gateway.inside():
            run("sh", "-ec", finding.remedy)


# -- the same without a file ------------------------------------------------------------------------------------------

FTP_ENTRY = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21),))


@contextlib.contextmanager
def well_hosts() -> Iterator[Hosts]:
    """Three hosts, and nothing wrong with the gateway but that our rules are missing."""
    with three_hosts() as hosts:
        hosts.gateway.run("sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000-59999")
        yield hosts


def lan_out(directory: Path) -> Config:
    """A policy for the clients of such a gateway."""
    sources = (ip_network("10.1.0.0/24"), ip_network("fd01::/64"))
    policy = Policy(name="lan-out", interfaces=("lan0",), sources=sources, accept=True)
    return Config(helpers=(FTP_ENTRY,), policies=(policy,), control=ControlSocket(path=str(directory / "control.sock")))


def wrong(hosts: Hosts, config: Config) -> list[Finding]:
    with hosts.gateway.inside():
        return [finding for finding in examine.examine(config) if finding.level is not Level.OK]


def only(hosts: Hosts, config: Config) -> Finding:
    found = wrong(hosts, config)
    assert len(found) == 1, found
    return found[0]


def up(hosts: Hosts, config: Config, backend: Backend = Backend.NFT) -> None:
    with hosts.gateway.inside():
        net.up(config, backend)


def nft(hosts: Hosts, text: str) -> None:
    hosts.gateway.run("nft", "-f", "-", stdin=text)


def run_remedy(hosts: Hosts, found: Finding) -> None:
    with hosts.gateway.inside():
        run("sh", "-ec", found.remedy)
