"""A sound router of each example configuration, alone and beside the rules of Docker, firewalld and ufw: there is
nothing that the doctor finds, with either backend of ours. What its firewall drops until it has our line is said once,
and the line is put where the doctor says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest

from proxy.config import reading
from proxy.config.schema import Config, ControlSocket
from proxy.doctor import examine
from proxy.doctor.findings import Finding, Level, Trouble
from proxy.host import net
from proxy.host.rules import Backend
from tests.netns.firewalls import Ufw, start_firewalld
from tests.netns.namespaces import needs_root
from tools.lab import Lab

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ROOT = Path(__file__).parents[2]
RULESETS = ROOT / "tests" / "rulesets"

HOME = {
    "lan0": ("192.168.1.1/24", "2001:db8:1::1/64"),
    "wan0": ("203.0.113.7/24", "2001:db8:ffff::7/64"),
}
PUBLISHED = {"lan0": ("10.1.0.1/24",), "wan0": HOME["wan0"]}
ROUTERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "home-router": HOME,
    "minimal": HOME,
    "pinhole": HOME,
    "pbx": PUBLISHED,
    "published-server": PUBLISHED,
    "routed-firewall": {
        "office0": ("10.1.0.1/16", "fd01::1/48"),
        "servers0": ("10.20.0.1/24", "fd01:20::1/64"),
        "wan0": HOME["wan0"],
    },
}
"""Example -> the interfaces of its router, and their addresses."""
HAVE_NAT = ("home-router", "pbx", "published-server")
"""The kernel masquerades what goes out by `wan0`, as it does without pinhole. Elsewhere nobody translates."""
EXAMPLES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))

MASQUERADE = """
table ip nat {
    chain postrouting { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }
}
"""
LOCKED = """
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state invalid drop
        ct state established,related accept
        iifname != "wan0" tcp dport 22 accept
        meta l4proto { icmp, ipv6-icmp } accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        iifname != "wan0" accept
    }
    chain output { type filter hook output priority filter; policy accept; }
}
"""
"""A router as many are written: what is invalid is dropped before all else, so our line has to go to the top."""
ZONES = {
    "internal": '<interface name="lan0"/><interface name="office0"/><interface name="servers0"/><service name="ssh"/>',
    "external": '<interface name="wan0"/>',
}

Beside = Literal["alone", "docker", "firewalld", "ufw"]


class Router:
    """The gateway of a lab, whose interfaces are those of an example."""

    def __init__(self, lab: Lab, directory: Path, beside: Beside) -> None:
        self._lab = lab
        self._directory = directory
        self._firewalld = start_firewalld(lab, directory, ZONES) if beside == "firewalld" else None
        self._ufw = Ufw(lab, directory) if beside == "ufw" else None
        self.beside = beside
        self._unwire("lan0", "wan0")

    def run(self, *words: str, stdin: str = "") -> None:
        self._lab.gateway.run(words, stdin=stdin)

    @contextlib.contextmanager
    def of(self, example: str) -> Iterator[Config]:
        """The router that an example is for."""
        config = reading.load(ROOT / "configs" / f"{example}.yaml")
        audit = config.audit.model_copy(update={"to": str(self._directory / "audit.log")})
        config = config.model_copy(
            update={"audit": audit, "control": ControlSocket(path=str(self._directory / "control.sock"))}
        )
        try:
            self._wire(config, example)
            self._begin()
            yield config
        finally:
            self._end(example)

    def _wire(self, config: Config, example: str) -> None:
        # What Docker sets, and others leave as the kernel has it: 1.
        for name in ("iptables", "ip6tables"):
            self.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{name}=1")
        self.run("sysctl", "-qw", f"net.ipv4.ip_local_reserved_ports={config.ports}")
        for link, addresses in ROUTERS[example].items():
            self.run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-far")
            self.run("ip", "link", "set", f"{link}-far", "up")
            for address in addresses:
                self.run("ip", "address", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
            self.run("ip", "link", "set", link, "up")
        self.run("ip", "route", "add", "default", "via", "203.0.113.1")
        self.run("ip", "route", "add", "default", "via", "2001:db8:ffff::1")
        if example in HAVE_NAT:
            self.run("nft", "-f", "-", stdin=MASQUERADE)

    def _begin(self) -> None:
        if self._firewalld is not None:
            self._firewalld.command("--reload")
        elif self._ufw is not None:
            self._ufw.command("--force", "enable")
        elif self.beside == "docker":
            for command in ("iptables", "ip6tables"):
                text = (RULESETS / f"docker.{command}").read_text()
                self.run(f"{command}-restore", "--noflush", stdin=text)
            self.run("ip", "link", "add", "docker0", "type", "bridge")
            self.run("ip", "address", "add", "172.17.0.1/16", "dev", "docker0")
            self.run("ip", "address", "add", "fd00:d0c::1/64", "dev", "docker0", "nodad")
            self.run("ip", "link", "set", "docker0", "up")
        else:
            self.run("nft", "-f", "-", stdin=LOCKED)

    def _end(self, example: str) -> None:
        self._unwire(*ROUTERS[example], "docker0")
        if self._firewalld is not None:  # which misses its table if somebody takes that away
            self.run("nft", "-f", "-", stdin="table ip nat { }; delete table ip nat")
            return
        if self._ufw is not None:
            self._ufw.command("disable")
        self.run("nft", "flush", "ruleset")

    def _unwire(self, *links: str) -> None:
        for link in links:
            self._lab.gateway.run(["ip", "link", "del", link], check=False)

    @contextlib.contextmanager
    def served(self, config: Config, backend: Backend) -> Iterator[None]:
        with self._lab.gateway.inside():
            net.up(config, backend)
        try:
            yield
        finally:
            with self._lab.gateway.inside():
                net.clear()

    def wrong(self, config: Config) -> list[Finding]:
        with self._lab.gateway.inside():
            return [finding for finding in examine.examine(config) if finding.level is not Level.OK]

    def follow(self, finding: Finding) -> None:
        """Paste the remedy. Of ufw that part which lasts."""
        if self._ufw is not None:
            edit, _, command = finding.remedy.partition("# to last: ")[2].rpartition("; ")
            self.run("sh", "-ec", edit.replace("/etc/ufw", str(self._ufw.settings)))
            self._ufw.command(*command.split()[1:])
        else:
            self.run("sh", "-ec", finding.remedy)


@pytest.fixture(scope="module")
def router(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with Lab() as lab:
        yield Router(lab, tmp_path_factory.mktemp("router"), request.param)


def test_each_example_has_a_router() -> None:
    assert set(ROUTERS) == set(EXAMPLES)


@pytest.mark.parametrize("router", ["alone", "docker", "firewalld", "ufw"], indirect=True)
@pytest.mark.parametrize("example", EXAMPLES)
def test_nothing_is_found_on_a_sound_router(router: Router, example: str) -> None:
    with router.of(example) as config:
        for backend in Backend:
            with router.served(config, backend):
                for finding in router.wrong(config):
                    assert finding.name == str(Trouble.INPUT_DROPS), finding
                    router.follow(finding)
                assert router.wrong(config) == []


@pytest.mark.parametrize("router", ["docker"], indirect=True)
def test_a_policy_for_any_interface_is_also_for_containers(router: Router) -> None:
    """As long as one runs: the bridge filters, and Docker translates. Where interfaces are named, that is no matter."""
    with router.of("minimal") as config, router.served(config, Backend.NFT):
        router.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "container")
        router.run("ip", "link", "set", "veth0", "master", "docker0", "up")
        found = {finding.name for finding in router.wrong(config)}
        assert found == {str(Trouble.BRIDGES_FILTERED), str(Trouble.NAT_OF_SOURCES)}
        policies = tuple(policy.model_copy(update={"interfaces": ("lan0",)}) for policy in config.policies)
        named = config.model_copy(update={"policies": policies})
        with router.served(named, Backend.NFT):
            assert router.wrong(named) == []
