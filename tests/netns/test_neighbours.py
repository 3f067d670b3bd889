"""pinhole beside the rulesets of others (tests/rulesets), loaded before its own or after: files, active and passive,
and calls go through, with nothing but the line for input in the other ruleset.

What cannot work by our rules alone stands in `REMEDIES`, with the reason, and works once the remedy has been followed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.config import reading
from proxy.config.schema import Config
from proxy.host import net
from proxy.host.rules import Backend, input_line
from proxy.host.rules_iptables import command as iptables
from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tests.netns.talks import Way, call, transfer
from tools.lab import Lab, identity, pinhole
from tools.lab.gateways import BACKENDS, BackendName

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

RULESETS = Path(__file__).parents[1] / "rulesets"
NAMES = sorted({path.stem for path in RULESETS.iterdir()} - {"README"})

MASQUERADING = {"firewalld", "firewalld-accept", "fw4", "shorewall"}
"""On wan0: whoever has that says `snat: interface` (the doctor says so), and addresses of ours are what is seen."""

POLICIES = """version: 1
policies:
  - {name: as-they-are, from: [lan0], source: [10.1.0.2, "fd01::2"], action: accept}
  - {name: hidden, from: [lan0], source: [10.1.0.3, "fd01::3"], action: accept, snat: interface}
"""

SECONDS = 10.0
"""For what must answer, on a busy machine, too."""
SECONDS_THAT_FAIL = 1.5
"""What does not answer is given less time: a SYN is sent again after a second."""


@dataclass(frozen=True, slots=True)
class Remedy:
    reason: str
    command: tuple[str, ...]
    """UP and OTHER_BACKEND stand for themselves."""
    backends: tuple[BackendName, ...] = BACKENDS
    orders: tuple[str, ...] = ("after", "before")
    """When the ruleset was loaded, seen from ours."""
    versions: tuple[int, ...] = (4, 6)


UP = ("pinhole", "net", "up")
OTHER_BACKEND = ("pinhole", "net", "up", "--backend", "nft")
_OUTPUT = "it drops what programs of this host send"
_WHOLE_MARK = "it writes whole marks at mangle, after iptables"
_IPTABLES_USER = ("-m", "owner", "--uid-owner", identity.USER, "-j", "ACCEPT")
_NFT_USER = ("meta", "skuid", identity.USER, "accept")

REMEDIES: dict[str, tuple[Remedy, ...]] = {
    "shorewall": (Remedy(_OUTPUT, ("iptables", "-I", "OUTPUT", *_IPTABLES_USER), versions=(4,)),),
    "strict-output": (Remedy(_OUTPUT, ("nft", "insert", "rule", "inet", "hardened", "output", *_NFT_USER)),),
    "wg-quick": (
        Remedy("routing rules without a priority come before ours", UP, orders=("after",), versions=(4,)),
        Remedy(_WHOLE_MARK, OTHER_BACKEND, backends=("iptables",), orders=("before",), versions=(4,)),
    ),
    "two-uplinks": (Remedy(_WHOLE_MARK, OTHER_BACKEND, backends=("iptables",), orders=("before",)),),
    "one-host-marked": (Remedy(_WHOLE_MARK, OTHER_BACKEND, backends=("iptables",), orders=("before",), versions=(4,)),),
}


@dataclass(slots=True)
class Router:
    lab: Lab
    settings: Config
    backend: BackendName
    calls: Iterator[int]

    def load(self, name: str) -> None:
        """A ruleset, each part by the program that loads such ones (tests/rulesets/README.md)."""
        gateway = self.lab.gateway
        for suffix, command in (
            (".ipset", ("ipset", "restore")),
            (".sh", ("sh", "-e")),
            (".nft", ("nft", "-f", "-")),
            # Programs that live beside others replace no table as a whole.
            (".iptables", ("iptables-restore", "--noflush")),
            (".ip6tables", ("ip6tables-restore", "--noflush")),
        ):
            path = RULESETS / f"{name}{suffix}"
            if path.exists():
                gateway.run(command, stdin=path.read_text())
        self._let_in()

    def up(self) -> None:
        with self.lab.gateway.inside():
            net.up(self.settings, Backend(self.backend))

    def follow(self, remedy: Remedy) -> None:
        if remedy.command == UP:
            self.up()
        elif remedy.command == OTHER_BACKEND:
            with self.lab.gateway.inside():
                net.down(Backend(self.backend))
                net.up(self.settings, Backend.NFT)
        else:
            self.lab.gateway.run(remedy.command)

    def _let_in(self) -> None:
        """Our line, at the top of each chain of theirs for input."""
        gateway = self.lab.gateway
        for chain in self._chains():
            if chain.get("hook") == "input" and chain["family"] == "inet":
                where = ("inet", chain["table"], chain["name"])
                gateway.run(("nft", "insert", "rule", *where, input_line(self.settings, Backend.NFT)))
        for version in (4, 6):
            line = input_line(self.settings, Backend.IPTABLES).split()
            gateway.run((iptables(version), "--insert", "INPUT", *line))

    def _chains(self) -> list[dict[str, str]]:
        listed = json.loads(self.lab.gateway.run(("nft", "--json", "list", "chains")).stdout)["nftables"]
        return [item["chain"] for item in listed if "chain" in item]

    def clear(self) -> None:
        """Nothing is left of the last ruleset, nor of ours."""
        gateway = self.lab.gateway
        with gateway.inside():
            for backend in Backend:
                net.down(backend)
        gateway.run(("nft", "flush", "ruleset"))
        # The kernel gives up what rules refer to a moment after it has answered that they are gone.
        until(lambda: gateway.run(("ipset", "destroy"), check=False).returncode == 0, "sets are still in use")
        for version in (4, 6):
            for line in gateway.run(("ip", f"-{version}", "rule")).stdout.splitlines():
                number = line.partition(":")[0]
                if number not in ("0", "32766", "32767"):
                    gateway.run(("ip", f"-{version}", "rule", "del", "priority", number))
        for link in ("wg0", "tailscale0"):
            gateway.run(("ip", "link", "del", link), check=False)
        for table in ("1", "52", "201"):
            for version in (4, 6):
                gateway.run(("ip", f"-{version}", "route", "flush", "table", table), check=False)
        gateway.sysctl("ipv4.conf.all.src_valid_mark", 0)

    def trouble(self, name: str, version: int, seconds: float) -> str:
        """What does not work, each given so many seconds a step; "" when all does."""
        hidden = name in MASQUERADING
        client = self.lab.client_stranger if hidden else self.lab.client
        way = Way(client, self.lab.server, version, seconds)
        attempts: dict[str, Callable[[], object]] = {
            "passive": lambda: transfer(way, active=False),
            "active": lambda: transfer(way, active=True),
            "call": lambda: call(way, next(self.calls)),
        }
        found = []
        for what, attempt in attempts.items():
            try:
                attempt()
            except (OSError, AssertionError) as error:
                found.append(f"{what}: {error!r}")
        return "; ".join(found)


@pytest.fixture(scope="module", params=BACKENDS)
def router(request: pytest.FixtureRequest) -> Iterator[Router]:
    backend: BackendName = request.param
    with Lab("routed") as lab, pinhole(lab, POLICIES, backend, unprivileged=True) as daemon:
        yield Router(lab, reading.load(daemon.config), backend, itertools.count())


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("name", NAMES)
def test_sessions_pass_beside_the_ruleset_of_another_program(router: Router, name: str, order: str) -> None:
    router.clear()
    for step in (router.up, lambda: router.load(name)) if order == "after" else (lambda: router.load(name), router.up):
        step()
    for remedy in REMEDIES.get(name, ()):
        if router.backend in remedy.backends and order in remedy.orders:
            for version in remedy.versions:
                assert router.trouble(name, version, SECONDS_THAT_FAIL), f"works by itself, though {remedy.reason}"
            router.follow(remedy)
    for version in (4, 6):
        assert router.trouble(name, version, SECONDS) == ""


def test_rulesets_that_need_a_remedy_are_there() -> None:
    assert REMEDIES.keys() <= set(NAMES)
