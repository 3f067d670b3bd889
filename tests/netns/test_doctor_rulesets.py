"""Rulesets of others on a gateway: what the doctor says, whether FTP passes, and its remedies, followed to the letter.

One lab and one daemon for all of them: each case loads a ruleset (tests/rulesets) and takes it away again.
"""

from __future__ import annotations

import ftplib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from proxy.config import reading
from proxy.config.schema import Config
from proxy.doctor import examine
from proxy.doctor.findings import Finding, Level
from proxy.host import net
from proxy.host.rules import Backend
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole
from tools.peers.ftp import Server, vsftpd

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

RULESETS = Path(__file__).parents[1] / "rulesets"
NAMES = sorted({path.stem for path in RULESETS.iterdir() if path.suffix != ".md"})
POLICY = "policies: [{name: lan-out, from: [lan0], helpers: [ftp], snat: none, action: accept}]"
SILENCE_SECONDS = 1.0
"""What is expected to be dropped is waited for no longer."""
PATIENCE_SECONDS = 20.0
_PERHAPS = re.compile(r"drops data connections with the same addresses on both legs \(")
"""Connection tracking takes the two legs for one connection; whether out of step depends on sequence numbers."""
FATAL = {"input policy", "output policy", "mark", "prerouting", "routing rules"}
"""Checks that speak of sessions that do not work."""

_TRANSLATION = re.compile(
    r'(meta nfproto ipv4 )?(oifname "wan0" )?masquerade( comment "[^"]*")?;?|-A .*-j MASQUERADE.*'
)
"""The policy leaves clients their address. What a masquerade does to their sessions is judged in test_doctor.py."""

MARKED_BY_INTERFACE = """
table inet uplinks {
    chain prerouting {
        type filter hook prerouting priority mangle
        iifname "lan0" meta mark set 2
    }
}
"""

Flavour = Literal["nft", "legacy"]


@dataclass(frozen=True)
class Gateway:
    lab: Lab
    daemon: Daemon
    server: Server
    config: Config

    def up(self, backend: Backend = Backend.NFT) -> None:
        with self.lab.gateway.inside():
            net.up(self.config, backend)

    def load(self, name: str, flavour: Flavour = "nft") -> None:
        run = self.lab.gateway.run
        for suffix, command in (
            (".ipset", ("ipset", "restore")),
            (".sh", ("sh", "-e")),
            (".nft", ("nft", "-f", "-")),
            (".iptables", (f"iptables-{flavour}-restore", "--noflush")),
            (".ip6tables", (f"ip6tables-{flavour}-restore", "--noflush")),
        ):
            file = RULESETS / f"{name}{suffix}"
            if file.exists():
                run(command, stdin=_TRANSLATION.sub("", file.read_text()))

    def fatal(self) -> list[Finding]:
        with self.lab.gateway.inside():
            found = examine.examine(self.config)
        return [item for item in found if item.level is not Level.OK and item.check in FATAL]

    def ways(self) -> list[Finding]:
        with self.lab.gateway.inside():
            found = examine.examine(self.config)
        return [item for item in found if item.level is not Level.OK and item.check == "policy routing"]

    def is_dead(self, found: list[Finding], version: int) -> bool:
        return any(f"IPv{version}" in item.detail for item in found if not _PERHAPS.search(item.detail))

    def works(self, version: int, seconds: float = PATIENCE_SECONDS) -> bool:
        """Whether a file arrives both ways of FTP."""
        address = self.lab.server.v4 if version == 4 else self.lab.server.v6
        with self.lab.client.inside():
            return all(_arrives(str(address), self.server, is_passive, seconds) for is_passive in (True, False))

    def follow(self, found: Finding, backend: Backend) -> None:
        """Paste the remedy. `net up` is told of the configuration and backend, which stand elsewhere here."""
        if found.remedy.startswith("pinhole net up"):
            self.up(backend)
        else:
            self.lab.gateway.run(["sh", "-ec", found.remedy])

    def clear(self) -> None:
        run = self.lab.gateway.run
        run(["nft", "flush", "ruleset"])
        for command in ("iptables-legacy", "ip6tables-legacy"):
            for table in ("filter", "mangle", "nat", "raw"):
                for words in (["-F"], ["-X"]):
                    run([command, "-t", table, *words], check=False)
                for chain in ("INPUT", "OUTPUT", "FORWARD"):
                    run([command, "-t", table, "-P", chain, "ACCEPT"], check=False)
        run(["ipset", "destroy"])
        for version in ("-4", "-6"):
            run(["ip", version, "rule", "flush"])
            run(["sh", "-ec", f"ip {version} rule add priority 32766 lookup main"])
        for link in ("wg0", "tailscale0"):
            run(["ip", "link", "del", link], check=False)
        for table in ("1", "201", "51820"):
            run(["ip", "route", "flush", "table", table], check=False)
        for name in ("all", "lan0", "wan0"):
            run(["sysctl", "-qw", f"net.ipv4.conf.{name}.src_valid_mark=0"])


def _arrives(address: str, server: Server, is_passive: bool, seconds: float) -> bool:
    """Whether a client gets the file."""
    try:
        with ftplib.FTP(timeout=seconds) as ftp:
            ftp.connect(address)
            ftp.login(server.login.user, server.login.password)
            ftp.voidcmd("TYPE I")
            with _passive(ftp) if is_passive else _active(ftp) as data:
                return data.recv(5, socket.MSG_WAITALL) == b"hello"
    except (OSError, EOFError, ftplib.Error):
        return False


def _passive(ftp: ftplib.FTP) -> socket.socket:
    return ftp.transfercmd("RETR hello")


def _active(ftp: ftplib.FTP) -> socket.socket:
    """ftplib's own way leaves its listener open when the server refuses."""
    assert ftp.sock
    host = ftp.sock.getsockname()[0]
    with socket.create_server((host, 0), family=ftp.sock.family) as listener:
        listener.settimeout(ftp.timeout)
        (ftp.sendeprt if ":" in host else ftp.sendport)(host, listener.getsockname()[1])
        ftp.sendcmd("RETR hello")
        data, _ = listener.accept()
    data.settimeout(ftp.timeout)
    return data


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Lab(routes="routed") as lab, pinhole(lab, POLICY) as daemon, vsftpd(lab.server) as server:
        (server.home / "hello").write_bytes(b"hello")
        made = Gateway(lab, daemon, server, reading.load(daemon.config))
        made.clear()
        yield made
        made.clear()


@pytest.fixture
def clean(gateway: Gateway) -> Iterator[Gateway]:
    try:
        yield gateway
    finally:
        gateway.clear()


WAYS: tuple[tuple[Flavour, Backend, Literal["before", "after"]], ...] = (
    ("nft", Backend.NFT, "before"),
    ("nft", Backend.NFT, "after"),
    ("nft", Backend.IPTABLES, "before"),
    ("legacy", Backend.NFT, "before"),
)
"""iptables of which flavour the ruleset is loaded with; which of our backends; loaded before our rules, or after."""
CASES = [
    pytest.param(name, flavour, backend, when, id=f"{name}-{flavour}-{backend.value}-{when}")
    for name in NAMES
    for flavour, backend, when in WAYS
    if flavour == "nft" or list(RULESETS.glob(f"{name}.ip*tables"))
]


@pytest.mark.parametrize(("name", "flavour", "backend", "when"), CASES)
def test_the_doctor_says_what_happens_and_its_remedies_mend_it(
    clean: Gateway, name: str, flavour: Flavour, backend: Backend, when: str
) -> None:
    """Loaded before our rules are, or after: chains of one priority run in another order then."""
    if when == "before":
        clean.load(name, flavour)
    clean.up(backend)
    if when == "after":
        clean.load(name, flavour)
    found = clean.fatal()
    for version in (4, 6):
        is_dead = clean.is_dead(found, version)
        works = clean.works(version, SILENCE_SECONDS if is_dead else PATIENCE_SECONDS)
        assert works is not is_dead, (version, found)
    for _ in range(12):
        if not found:
            break
        for item in found:
            clean.follow(item, backend)
        found = clean.fatal()
    assert found == []
    for version in (4, 6):
        assert clean.works(version), version


def test_a_client_that_is_routed_by_its_mark_goes_that_way_after_the_remedy(clean: Gateway) -> None:
    """The table leads nowhere: as long as sessions arrive, they go by another one."""
    run = clean.lab.gateway.run
    run(["sh", "-ec", "ip route add blackhole default table 201; ip rule add fwmark 2/0xff lookup 201 priority 500"])
    run(["nft", "-f", "-"], stdin=MARKED_BY_INTERFACE)
    clean.up()
    assert clean.works(4)
    (found,) = clean.ways()
    assert found.remedy == "ip -4 rule add from 10.1.0.0/24 lookup 201 priority 500"
    clean.follow(found, Backend.NFT)
    assert clean.ways() == []
    assert not clean.works(4, SILENCE_SECONDS)
